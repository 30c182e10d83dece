//! Placement groups: machines close together, or apart (spec aws 1.4, 2.5, 3.2).
//!
//! The reference multiplies every offering by the partitions of a group. They are all equal, so here the type says which partitions
//! there are, and what a NodeClaim requires of them decides (docs/differences.md).

use super::{cache::Cache, call::Calls, node_class::Verdict, sdk::Clients, tags::filter};
use crate::cloud::CloudError;
use aws_sdk_ec2::types::{PlacementGroup, PlacementGroupState};
use sawhorse_core::{
    api::{Ec2NodeClass, PlacementGroupSelector, labels},
    model::{Operator, Requirement, Requirements},
};
use serde::Serialize;

const UNKNOWN: &str = "InvalidPlacementGroup.Unknown";

/// The group that machines of a NodeClass are launched into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct GroupFacts {
    pub(super) id: String,
    /// `cluster`, `spread` or `partition`.
    pub(super) strategy: String,
    /// How many partitions it has; 0 if it has none.
    pub(super) partitions: i32,
}

/// Where in a placement group machines of a template are launched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct InGroup {
    pub(super) id: String,
    pub(super) partition: Option<i32>,
}

/// What the selector of a NodeClass resolves to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Resolved {
    pub(super) group: Option<GroupFacts>,
    /// Why there is none, if one is wanted.
    pub(super) problem: Verdict,
}

/// The group that `class` selects, kept for a while.
pub(super) async fn resolve(
    kept: &Cache<Resolved>,
    calls: &Calls,
    clients: &Clients,
    class: &Ec2NodeClass,
) -> Result<Resolved, CloudError> {
    let Some(selector) = &class.spec.placement_group_selector else { return Ok(Resolved::default()) };
    let key = format!("{:?} {:?}", selector.id, selector.name);
    kept.get_or(&key, read(calls, clients, selector)).await
}

async fn read(calls: &Calls, clients: &Clients, selector: &PlacementGroupSelector) -> Result<Resolved, CloudError> {
    let request = || {
        let request = clients.ec2.describe_placement_groups().filters(filter("state", ["available"]));
        let request = request.set_group_ids(selector.id.clone().map(|id| vec![id]));
        request.set_group_names(selector.name.clone().map(|name| vec![name])).send()
    };
    match calls.send("DescribePlacementGroups", request).await {
        Ok(answer) => {
            let available = answer.placement_groups().iter().filter(|one| is_available(one)).find_map(facts);
            let problem = available.is_none().then(not_found);
            Ok(Resolved { group: available, problem })
        }
        Err(error) if error.has_code(UNKNOWN) => Ok(Resolved { group: None, problem: Some(not_found()) }),
        // What may pass is no fault of the class.
        Err(error) if error.may_pass() => Err(error),
        Err(error) => {
            Ok(Resolved { group: None, problem: Some(("PlacementGroupResolutionFailed", error.to_string())) })
        }
    }
}

fn not_found() -> (&'static str, String) {
    let message =
        "`spec.placementGroupSelector` matches no available placement group; check its name or id and the region";
    ("PlacementGroupNotFound", message.to_owned())
}

fn is_available(group: &PlacementGroup) -> bool {
    group.state().is_none_or(|state| *state == PlacementGroupState::Available)
}

fn facts(group: &PlacementGroup) -> Option<GroupFacts> {
    Some(GroupFacts {
        id: group.group_id()?.to_owned(),
        strategy: group.strategy()?.as_str().to_owned(),
        partitions: group.partition_count().unwrap_or(0),
    })
}

/// What types say of the group: its id, and its partitions if it has some.
pub(super) fn requirements(group: &GroupFacts) -> Vec<Requirement> {
    let partitions = (1..=group.partitions).map(|number| number.to_string());
    let id = Requirement::new(labels::PLACEMENT_GROUP_ID, Operator::In, [&group.id]);
    let partition = Requirement::new(labels::PLACEMENT_GROUP_PARTITION, Operator::In, partitions);
    [id].into_iter().chain((group.partitions > 0).then_some(partition)).collect()
}

/// The partition of a machine: the first in the text's order that its claim allows, of those that its type has.
pub(super) fn partition(of_claim: &Requirements, of_type: &Requirements) -> Option<String> {
    let known = of_type.get(labels::PLACEMENT_GROUP_PARTITION)?;
    let allowed = |number: &&str| of_claim.get(labels::PLACEMENT_GROUP_PARTITION).is_none_or(|one| one.has(number));
    known.values().filter(allowed).min().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn group(partitions: i32) -> GroupFacts {
        GroupFacts { id: "pg-1".into(), strategy: "partition".into(), partitions }
    }

    #[rstest]
    #[case::all(3, &[], Some("1"))]
    #[case::named(3, &["3", "2"], Some("2"))]
    #[case::not_there(3, &["4"], None)]
    #[case::without_partitions(0, &[], None)]
    fn the_first_partition_that_is_allowed(
        #[case] partitions: i32,
        #[case] allowed: &[&str],
        #[case] expected: Option<&str>,
    ) {
        let of_type: Requirements = requirements(&group(partitions)).into_iter().collect();
        let mut of_claim = Requirements::new();
        if !allowed.is_empty() {
            of_claim.add(Requirement::new(labels::PLACEMENT_GROUP_PARTITION, Operator::In, allowed));
        }
        assert_eq!(partition(&of_claim, &of_type).as_deref(), expected);
    }
}
