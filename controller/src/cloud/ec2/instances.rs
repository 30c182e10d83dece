//! Machines as EC2 describes them: found by id, by cluster, by NodeClaim; and terminated (spec aws 3.8, 6).

use super::{
    batch::{Answers, failed},
    call::{Calls, all_pages},
    error::NO_SUCH_INSTANCE,
    pace::Urgency,
    sdk::Clients,
    tags::{self, LIVE_STATES, filter},
};
use crate::cloud::{CloudError, CloudInstance, DeleteProgress};
use aws_sdk_ec2::types::{CapacityReservationPreference, Filter, Instance};
use futures::future::join_all;
use jiff::Timestamp;
use sawhorse_core::{
    api::labels,
    model::{CapacityType, ProviderId},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Machines per page, the most that EC2 gives.
const PER_PAGE: i32 = 1_000;

/// A machine with what drift is judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) instance: CloudInstance,
    pub(super) subnet: Option<String>,
    /// Sorted.
    pub(super) security_groups: Vec<String>,
}

/// `aws:///<zone>/<instance id>`, as nodes carry it.
pub(super) fn provider_id(zone: &str, instance_id: &str) -> ProviderId {
    ProviderId::from(format!("aws:///{zone}/{instance_id}"))
}

/// The instance id within a node's provider id; none of other clouds' ids.
pub(super) fn instance_id(id: &ProviderId) -> Option<&str> {
    let (_, instance) = id.as_str().strip_prefix("aws://")?.rsplit_once('/')?;
    Some(instance).filter(|instance| !instance.is_empty())
}

/// Reads the description of one machine; none if it lacks what every machine has.
fn read(instance: &Instance) -> Option<Described> {
    let zone = instance.placement()?.availability_zone()?.to_owned();
    let tags = tags::read(instance.tags());
    let mut security_groups: Vec<_> =
        instance.security_groups().iter().filter_map(|group| group.group_id().map(str::to_owned)).collect();
    security_groups.sort();
    Some(Described {
        instance: CloudInstance {
            provider_id: provider_id(&zone, instance.instance_id()?),
            instance_type: instance.instance_type()?.as_str().to_owned(),
            capacity_type: capacity_type(instance),
            reservation_id: instance.capacity_reservation_id().map(str::to_owned),
            image_id: instance.image_id().unwrap_or_default().to_owned(),
            launched_at: launch_time(instance).unwrap_or(Timestamp::UNIX_EPOCH),
            terminating: state(instance) == "shutting-down",
            node_claim: tags.get(tags::NODE_CLAIM).cloned(),
            zone,
            tags,
        },
        subnet: instance.subnet_id().map(str::to_owned),
        security_groups,
    })
}

fn state(instance: &Instance) -> &str {
    instance.state().and_then(|state| state.name()).map(|name| name.as_str()).unwrap_or_default()
}

fn launch_time(instance: &Instance) -> Option<Timestamp> {
    let time = instance.launch_time()?;
    Timestamp::new(time.secs(), i32::try_from(time.subsec_nanos()).ok()?).ok()
}

/// Spot by its request, reserved by its reservation, else on-demand (spec aws 0, fact 5).
fn capacity_type(instance: &Instance) -> CapacityType {
    let only = CapacityReservationPreference::CapacityReservationsOnly;
    let specification = instance.capacity_reservation_specification();
    let reserved =
        specification.and_then(|specification| specification.capacity_reservation_preference()) == Some(&only);
    if instance.spot_instance_request_id().is_some() {
        CapacityType::Spot
    } else if reserved && instance.capacity_reservation_id().is_some() {
        CapacityType::Reserved
    } else {
        CapacityType::OnDemand
    }
}

fn live() -> Filter {
    filter("instance-state-name", LIVE_STATES)
}

/// The machines with these ids, those that are there and not terminated. One that EC2 does not know fails the whole call, so
/// that each is then asked for alone.
pub(super) async fn get(calls: &Calls, clients: &Clients, ids: Vec<String>) -> Answers<Option<Described>> {
    let ask = |ids: Vec<String>| async move {
        let request = || clients.ec2.describe_instances().set_instance_ids(Some(ids.clone())).filters(live()).send();
        match calls.send("DescribeInstances", request).await {
            Ok(answer) => {
                let machines = answer.reservations().iter().flat_map(|one| one.instances());
                let mut found: BTreeMap<String, Described> =
                    machines.filter_map(|one| Some((one.instance_id()?.to_owned(), read(one)?))).collect();
                ids.into_iter().map(|id| (id.clone(), Ok(found.remove(&id)))).collect()
            }
            Err(error) if error.is_not_found() && ids.len() == 1 => ids.into_iter().map(|id| (id, Ok(None))).collect(),
            Err(error) => failed(ids, error),
        }
    };
    together_or_alone(ids, ask).await
}

/// Asks for all at once; if one of them is not found, for each alone.
async fn together_or_alone<V, F>(ids: Vec<String>, ask: impl Fn(Vec<String>) -> F) -> Answers<V>
where
    F: Future<Output = Answers<V>>,
{
    let answers = ask(ids).await;
    let alone = |answer: &Result<V, Arc<CloudError>>| answer.as_ref().is_err_and(|error| error.is_not_found());
    let (again, mut settled): (Answers<V>, Answers<V>) = answers.into_iter().partition(|(_, answer)| alone(answer));
    for one in join_all(again.into_keys().map(|id| ask(vec![id]))).await {
        settled.extend(one);
    }
    settled
}

/// Every machine of `cluster` that is not terminated, by provider id.
pub(super) async fn list(calls: &Calls, clients: &Clients, cluster: &str) -> Result<Vec<Described>, CloudError> {
    let filters = [
        filter("tag-key", [labels::NODE_POOL]),
        filter("tag-key", [labels::EC2_NODE_CLASS]),
        filter(&format!("tag:{}", tags::CLUSTER_NAME), [cluster]),
        live(),
    ];
    describe(calls, clients, Urgency::Usual, &filters).await
}

/// The machine that was bought for the NodeClaim with this name and UID; the oldest, should there be several.
pub(super) async fn find(
    calls: &Calls,
    clients: &Clients,
    cluster: &str,
    name: &str,
    uid: &str,
) -> Result<Option<Described>, CloudError> {
    let filters = [
        filter(&format!("tag:{}", tags::NODE_CLAIM), [name]),
        filter(&format!("tag:{}", tags::NODE_CLAIM_UID), [uid]),
        filter(&format!("tag:{}", tags::CLUSTER_NAME), [cluster]),
        filter("instance-state-name", ["pending", "running"]),
    ];
    let found = describe(calls, clients, Urgency::Launch, &filters).await?;
    Ok(found.into_iter().min_by(|a, b| {
        (a.instance.launched_at, &a.instance.provider_id).cmp(&(b.instance.launched_at, &b.instance.provider_id))
    }))
}

async fn describe(
    calls: &Calls,
    clients: &Clients,
    urgency: Urgency,
    filters: &[Filter],
) -> Result<Vec<Described>, CloudError> {
    let mut found: Vec<Described> = all_pages("DescribeInstances", |token| async move {
        let request = || {
            let request = clients.ec2.describe_instances().set_filters(Some(filters.to_vec()));
            request.max_results(PER_PAGE).set_next_token(token.clone()).send()
        };
        let page = calls.send_as(urgency, "DescribeInstances", request).await?;
        let machines = page.reservations().iter().flat_map(|one| one.instances()).filter_map(read);
        Ok((machines.collect(), page.next_token.clone()))
    })
    .await?;
    found.sort_by(|a, b| a.instance.provider_id.cmp(&b.instance.provider_id));
    Ok(found)
}

/// Terminates the machines. One that the answer does not speak of is asked for alone.
pub(super) async fn terminate(calls: &Calls, clients: &Clients, ids: Vec<String>) -> Answers<DeleteProgress> {
    let ask = |ids: Vec<String>| async move {
        let request = || clients.ec2.terminate_instances().set_instance_ids(Some(ids.clone())).send();
        match calls.send("TerminateInstances", request).await {
            Ok(answer) if ids.len() > 1 => {
                let ended: BTreeSet<&str> =
                    answer.terminating_instances().iter().filter_map(|one| one.instance_id()).collect();
                let ended = |id: &str| ended.contains(id).then_some(DeleteProgress::Terminating);
                ids.into_iter().map(|id| (id.clone(), ended(&id).ok_or_else(|| Arc::new(unmentioned(&id))))).collect()
            }
            Ok(_) => ids.into_iter().map(|id| (id, Ok(DeleteProgress::Terminating))).collect(),
            Err(error) if error.is_not_found() && ids.len() == 1 => {
                ids.into_iter().map(|id| (id, Ok(DeleteProgress::NotFound))).collect()
            }
            Err(error) => failed(ids, error),
        }
    };
    together_or_alone(ids, ask).await
}

fn unmentioned(id: &str) -> CloudError {
    let (code, message) = (NO_SUCH_INSTANCE.to_owned(), format!("the answer does not mention `{id}`"));
    CloudError::Rejected { operation: "TerminateInstances", code, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_ec2::types::{CapacityReservationSpecificationResponse, InstanceState, InstanceStateName, Placement};
    use rstest::rstest;

    #[rstest]
    #[case("aws:///us-east-1a/i-0123", Some("i-0123"))]
    #[case("kwok://node-1", None)]
    #[case("aws:///us-east-1a/", None)]
    fn a_provider_id_names_an_instance(#[case] id: &str, #[case] expected: Option<&str>) {
        assert_eq!(instance_id(&ProviderId::from(id)), expected);
    }

    #[rstest]
    #[case::spot(Some("sir-1"), None, None, CapacityType::Spot)]
    #[case::reserved(None, Some("cr-1"), Some("capacity-reservations-only"), CapacityType::Reserved)]
    #[case::open_reservation(None, Some("cr-1"), Some("open"), CapacityType::OnDemand)]
    #[case::no_specification(None, Some("cr-1"), None, CapacityType::OnDemand)]
    #[case::plain(None, None, None, CapacityType::OnDemand)]
    fn how_a_machine_is_paid_for(
        #[case] spot: Option<&str>,
        #[case] reservation: Option<&str>,
        #[case] preference: Option<&str>,
        #[case] expected: CapacityType,
    ) {
        let specification = preference.map(|preference| {
            CapacityReservationSpecificationResponse::builder()
                .capacity_reservation_preference(preference.into())
                .build()
        });
        let instance = Instance::builder()
            .set_spot_instance_request_id(spot.map(str::to_owned))
            .set_capacity_reservation_id(reservation.map(str::to_owned))
            .set_capacity_reservation_specification(specification)
            .build();
        assert_eq!(capacity_type(&instance), expected);
    }

    #[test]
    fn a_description_is_read() {
        let instance = Instance::builder()
            .instance_id("i-1")
            .instance_type("m5.large".into())
            .image_id("ami-1")
            .subnet_id("subnet-a")
            .placement(Placement::builder().availability_zone("us-east-1a").build())
            .state(InstanceState::builder().name(InstanceStateName::ShuttingDown).build())
            .launch_time(aws_smithy_types::DateTime::from_secs(60))
            .tags(aws_sdk_ec2::types::Tag::builder().key(tags::NODE_CLAIM).value("claim-1").build())
            .build();
        let described = read(&instance).unwrap();
        assert_eq!(described.instance.provider_id.as_str(), "aws:///us-east-1a/i-1");
        assert_eq!(described.instance.launched_at, Timestamp::from_second(60).unwrap());
        assert!(described.instance.terminating);
        assert_eq!(described.instance.node_claim.as_deref(), Some("claim-1"));
        assert_eq!(described.subnet.as_deref(), Some("subnet-a"));
    }
}
