//! Fleets after they were asked for, and spot requests.

use super::{Answer, Call, error::Refusal, filter, fleet, instance_xml, page::Page, query::Params, xml::Xml};
use crate::world::{CloudError, Filterable, FleetRecord, Instance, InstanceState, Market, ResourceKind, Tags, passes};
use std::borrow::Cow;

/// Fleets and targets of one request, in EC2's limits.
const IDS_MAX: usize = 100;
const REGIONS_MAX: usize = 10;

/// `DescribeFleets`: instant fleets are shown when named, as EC2 does.
pub(crate) fn describe(call: &Call<'_>, mut params: Params) -> Answer {
    let ids = params.texts("FleetId")?;
    let filters = filter::take::<FleetRecord>(&mut params, true)?;
    let page = Page::take(&mut params, call.action, &(1..=100))?;
    params.finish()?;
    for id in &ids {
        call.world.fleet(id)?;
    }
    let chosen = call.world.fleets().filter(|record| ids.contains(&record.fleet.id) && passes(*record, &filters));
    let (records, next) = page.cut(chosen, |record| record.fleet.id.clone())?;
    let mut xml = Xml::new();
    xml.items("fleetSet", records, write);
    xml.optional("nextToken", next);
    Ok(xml)
}

fn write(xml: &mut Xml, record: &FleetRecord) {
    xml.text("fleetId", &record.fleet.id);
    xml.text("fleetState", if record.deleted { "deleted_terminating" } else { "active" });
    xml.time("createTime", record.created);
    xml.text("type", "instant");
    xml.text("fulfilledCapacity", record.fleet.instance_ids().count());
    xml.node("targetCapacitySpecification", |xml| {
        xml.text("totalTargetCapacity", record.target);
        xml.text("defaultTargetCapacityType", record.market.as_str());
    });
    fleet::write_outcome(xml, &record.fleet, false);
    xml.tags("tagSet", &record.tags);
}

/// `DescribeFleetInstances`, which EC2 does not have for instant fleets.
pub(crate) fn describe_instances(call: &Call<'_>, mut params: Params) -> Answer {
    let id = params.required("FleetId")?;
    filter::take::<Instance>(&mut params, false)?;
    Page::take(&mut params, call.action, &(1..=1000))?;
    params.finish()?;
    call.world.fleet(&id)?;
    let text = format!("The fleet '{id}' is of type instant, of which DescribeFleets shows the instances.");
    Err(Refusal::bad("Unsupported", text))
}

/// `DeleteFleets`: with their machines, since an instant fleet cannot be deleted without.
pub(crate) fn delete(call: &mut Call<'_>, mut params: Params) -> Answer {
    let ids = params.texts("FleetId")?;
    let terminate = params.boolean("TerminateInstances")?;
    params.finish()?;
    if ids.is_empty() {
        return Err(Refusal::missing_parameter("FleetId"));
    }
    if ids.len() > IDS_MAX {
        return Err(Refusal::invalid_parameter(format!("At most {IDS_MAX} fleets can be deleted at once")));
    }
    if terminate != Some(true) {
        let text = "An instant fleet is deleted with its instances only: set TerminateInstances.";
        return Err(Refusal::bad("InvalidParameterCombination", text));
    }
    let (mut deleted, mut unknown) = (Vec::new(), Vec::new());
    for id in ids {
        match call.world.delete_fleet(&id) {
            Ok(_) => deleted.push(id),
            Err(error) => unknown.push((id, Refusal::from(error))),
        }
    }
    call.touched.extend(deleted.iter().cloned());
    let mut xml = Xml::new();
    xml.items("successfulFleetDeletionSet", deleted, |xml, id| {
        xml.text("fleetId", id);
        xml.text("currentFleetState", "deleted_terminating");
        xml.text("previousFleetState", "active");
    });
    xml.items("unsuccessfulFleetDeletionSet", unknown, |xml, (id, refusal)| {
        xml.text("fleetId", id);
        xml.node("error", |xml| {
            let missing = refusal.code.as_ref() == "InvalidFleetId.NotFound";
            xml.text("code", if missing { "fleetIdDoesNotExist" } else { "unexpectedError" });
            xml.text("message", &refusal.message);
        });
    });
    Ok(xml)
}

impl Filterable for FleetRecord {
    const NAMES: &'static [&'static str] = &[
        "activity-status",
        "excess-capacity-termination-policy",
        "fleet-state",
        "replace-unhealthy-instances",
        "type",
    ];

    fn values(&self, name: &str) -> Vec<Cow<'_, str>> {
        match name {
            "fleet-state" => vec![if self.deleted { "deleted_terminating" } else { "active" }.into()],
            "type" => vec!["instant".into()],
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

/// A spot request, which is one with its machine.
struct SpotRequest<'i>(&'i Instance);

impl SpotRequest<'_> {
    fn id(&self) -> &str {
        self.0.spot_request_id.as_deref().unwrap_or_default()
    }

    /// State, code and message as EC2 has them.
    fn status(&self) -> (&'static str, &'static str, &'static str) {
        match self.0.state {
            InstanceState::Pending | InstanceState::Running if self.0.interruption.is_some() => {
                ("active", "marked-for-termination", "Your Spot Instance is marked for termination.")
            }
            InstanceState::Pending | InstanceState::Running => {
                ("active", "fulfilled", "Your Spot request is fulfilled.")
            }
            InstanceState::ShuttingDown
            | InstanceState::Terminated
            | InstanceState::Stopping
            | InstanceState::Stopped => match self.0.state_reason.map(crate::world::StateReason::code) {
                Some("Server.SpotInstanceTermination") => (
                    "closed",
                    "instance-terminated-no-capacity",
                    "Your Spot Instance was terminated because there is no Spot capacity available.",
                ),
                _ => ("closed", "instance-terminated-by-user", "Your Spot Instance was terminated by the user."),
            },
        }
    }
}

/// `DescribeSpotInstanceRequests`.
pub(crate) fn describe_spot_requests(call: &Call<'_>, mut params: Params) -> Answer {
    let ids = params.texts("SpotInstanceRequestId")?;
    let filters = filter::take::<SpotRequest<'_>>(&mut params, true)?;
    let page = Page::take(&mut params, call.action, &(5..=1000))?;
    params.finish()?;
    let mut all: Vec<SpotRequest<'_>> =
        call.world.instances().filter(|instance| instance.market == Market::Spot).map(SpotRequest).collect();
    all.sort_by(|one, other| one.id().cmp(other.id()));
    if let Some(id) = ids.iter().find(|id| !all.iter().any(|request| request.id() == **id)) {
        return Err(CloudError::NotFound { kind: ResourceKind::SpotRequest, id: id.clone() }.into());
    }
    let chosen = all
        .iter()
        .filter(|request| (ids.is_empty() || ids.iter().any(|id| id == request.id())) && passes(*request, &filters));
    let (requests, next) = page.cut(chosen, |request| request.id().to_owned())?;
    let mut xml = Xml::new();
    xml.items("spotInstanceRequestSet", requests, |xml, request| write_spot_request(xml, call, request));
    xml.optional("nextToken", next);
    Ok(xml)
}

fn write_spot_request(xml: &mut Xml, call: &Call<'_>, request: &SpotRequest<'_>) {
    let instance = request.0;
    let (state, code, message) = request.status();
    xml.text("spotInstanceRequestId", request.id());
    xml.text("state", state);
    xml.node("status", |xml| {
        xml.text("code", code);
        xml.time("updateTime", instance.state_since);
        xml.text("message", message);
    });
    xml.text("type", "one-time");
    xml.text("instanceId", &instance.id);
    xml.text("instanceInterruptionBehavior", "terminate");
    xml.time("createTime", instance.launched);
    xml.text("productDescription", "Linux/UNIX");
    xml.text("launchedAvailabilityZone", instance.zone.name);
    xml.node("launchSpecification", |xml| {
        xml.optional("imageId", instance.settings.image_id.as_deref());
        xml.text("instanceType", instance.machine_type);
        xml.text("subnetId", &instance.subnet_id);
        instance_xml::write_groups(xml, call, instance.security_group_ids());
    });
    let given = instance.settings.tags.iter().filter(|tags| tags.resource == "spot-instances-request");
    xml.tags("tagSet", given.flat_map(|tags| &tags.tags));
}

/// `CancelSpotInstanceRequests`: the machines run on, as EC2 does it.
pub(crate) fn cancel_spot_requests(call: &mut Call<'_>, mut params: Params) -> Answer {
    let ids = params.texts("SpotInstanceRequestId")?;
    params.finish()?;
    if ids.is_empty() {
        return Err(Refusal::missing_parameter("SpotInstanceRequestId"));
    }
    let known = |id: &String| call.world.instances().any(|instance| instance.spot_request_id.as_ref() == Some(id));
    if let Some(id) = ids.iter().find(|id| !known(id)) {
        return Err(CloudError::NotFound { kind: ResourceKind::SpotRequest, id: id.clone() }.into());
    }
    let mut xml = Xml::new();
    xml.items("spotInstanceRequestSet", ids, |xml, id| {
        xml.text("spotInstanceRequestId", id);
        xml.text("state", "cancelled");
    });
    Ok(xml)
}

impl Filterable for SpotRequest<'_> {
    const NAMES: &'static [&'static str] = &[
        "create-time",
        "instance-id",
        "launch.image-id",
        "launch.instance-type",
        "launched-availability-zone",
        "spot-instance-request-id",
        "state",
        "status-code",
        "type",
    ];

    fn values(&self, name: &str) -> Vec<Cow<'_, str>> {
        let value: Cow<'_, str> = match name {
            "create-time" => super::xml::iso_8601(self.0.launched).into(),
            "instance-id" => self.0.id.as_str().into(),
            "launch.image-id" => self.0.settings.image_id.as_deref().unwrap_or_default().into(),
            "launch.instance-type" => self.0.machine_type.into(),
            "launched-availability-zone" => self.0.zone.name.into(),
            "spot-instance-request-id" => self.id().into(),
            "state" => self.status().0.into(),
            "status-code" => self.status().1.into(),
            "type" => "one-time".into(),
            _ => return Vec::new(),
        };
        vec![value]
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.0.tags)
    }
}

/// `GetSpotPlacementScores`: 10 where every type asked for has the capacity, less where some do not.
pub(crate) fn spot_placement_scores(call: &Call<'_>, mut params: Params) -> Answer {
    let types = params.texts("InstanceType")?;
    let target = params.number::<u32>("TargetCapacity")?.ok_or_else(|| Refusal::missing_parameter("TargetCapacity"))?;
    params.text("TargetCapacityUnitType");
    let single = params.boolean("SingleAvailabilityZone")?.unwrap_or(false);
    let regions = params.texts("RegionName")?;
    let page = Page::take(&mut params, call.action, &(10..=1000))?;
    params.finish()?;
    if types.is_empty() {
        return Err(Refusal::missing_parameter("InstanceType"));
    }
    if regions.len() > REGIONS_MAX {
        return Err(Refusal::invalid_parameter(format!("At most {REGIONS_MAX} regions can be named")));
    }
    let here = call.world.region();
    let asked = regions.is_empty() || regions.iter().any(|region| region == here);
    let zones = call.world.zones().iter().filter(|_| asked);
    let scores: Vec<(&str, u32)> = zones.map(|zone| (zone.id, score(call, &types, zone.name, target))).collect();
    let best = scores.iter().map(|(_, score)| *score).max();
    let rows: Vec<(Option<&str>, u32)> = match (single, best) {
        (true, _) => scores.into_iter().map(|(zone, score)| (Some(zone), score)).collect(),
        (false, Some(best)) => vec![(None, best)],
        (false, None) => Vec::new(),
    };
    let (rows, next) = page.cut(rows, |(zone, _)| zone.unwrap_or("-").to_owned())?;
    let mut xml = Xml::new();
    xml.items("spotPlacementScoreSet", rows, |xml, (zone, score)| {
        xml.text("region", here);
        xml.optional("availabilityZoneId", zone);
        xml.text("score", score);
    });
    xml.optional("nextToken", next);
    Ok(xml)
}

fn score(call: &Call<'_>, types: &[String], zone: &str, target: u32) -> u32 {
    let pools = call.world.pool_states(|name, of, market| {
        market == Market::Spot && of == zone && types.iter().any(|wanted| wanted == name)
    });
    let deep = pools.iter().filter(|pool| pool.capacity.is_none_or(|most| most.saturating_sub(pool.in_use) >= target));
    let share = deep.count() * 9 / types.len().max(1);
    1 + u32::try_from(share).unwrap_or(9).min(9)
}
