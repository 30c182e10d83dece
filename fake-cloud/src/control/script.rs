//! Endpoints that change the world. Each is written into the audit trail, whether it was carried out or refused.

use super::answer::{Answer, Refusal, body};
use crate::{
    app::SharedWorld,
    world::{
        AllocationRequest, Body, CallRecord, CapacityRule, Check, Consistency, Credentials, Delays, EventConfig,
        FaultRule, InstanceState, Placement, PriceRule, QuotaRule, ReservationRequest, ScheduledCode, Selection,
        TagSpecification, Tags, Throttling, World, matches_pattern,
    },
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

type Given = Result<Bytes, BytesRejection>;

/// Characters of a request's body that the audit trail keeps.
const RECORDED_MAX: usize = 400;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules<T> {
    rules: Vec<T>,
}

/// Lets `act` change the world and records that.
fn change(
    world: &SharedWorld,
    operation: &str,
    parameters: String,
    act: impl FnOnce(&mut World) -> Result<Value, Refusal>,
) -> Answer {
    world.with(|world| {
        let outcome = act(world);
        let result = outcome.as_ref().map_or_else(|refusal| refusal.code().to_owned(), |_| "ok".to_owned());
        let status = outcome.as_ref().map_or_else(|refusal| refusal.status().as_u16(), |_| 200);
        let operation = format!("control/{operation}");
        let record = CallRecord { door: "control", operation, parameters, result, status, ids: Vec::new() };
        world.record_call(record, false);
        outcome.map(Json)
    })
}

/// What the audit trail keeps of a body.
fn summary(given: &Given) -> String {
    let bytes = given.as_ref().map(|bytes| &bytes[..]).unwrap_or_default();
    String::from_utf8_lossy(bytes).chars().take(RECORDED_MAX).collect()
}

pub(super) async fn set_capacity(State(world): State<SharedWorld>, given: Given) -> Answer {
    change(&world, "SetCapacity", summary(&given), |world| {
        let Rules::<CapacityRule> { rules } = body(given)?;
        Ok(json!({"pools": world.set_capacity(&rules)?}))
    })
}

pub(super) async fn set_prices(State(world): State<SharedWorld>, given: Given) -> Answer {
    change(&world, "SetPrices", summary(&given), |world| {
        let Rules::<PriceRule> { rules } = body(given)?;
        Ok(json!({"pools": world.set_prices(&rules)?}))
    })
}

pub(super) async fn set_delays(State(world): State<SharedWorld>, given: Given) -> Answer {
    change(&world, "SetDelays", summary(&given), |world| {
        let changes: Map<String, Value> = body(given)?;
        let delays = merged(world.delays(), changes)?;
        world.set_delays(delays)?;
        Ok(json!(delays))
    })
}

/// The delays with those given over them.
fn merged(delays: Delays, changes: Map<String, Value>) -> Result<Delays, Refusal> {
    let mut all = json!(delays);
    for (name, value) in changes {
        all[name] = value;
    }
    serde_json::from_value(all).map_err(|error| Refusal::bad_request(format!("the body is not as expected: {error}")))
}

pub(super) async fn set_quotas(State(world): State<SharedWorld>, given: Given) -> Answer {
    change(&world, "SetQuotas", summary(&given), |world| {
        let Rules::<QuotaRule> { rules } = body(given)?;
        world.set_quotas(&rules);
        Ok(json!({"quotas": rules.len()}))
    })
}

pub(super) async fn add_fault(State(world): State<SharedWorld>, given: Given) -> Answer {
    change(&world, "AddFault", summary(&given), |world| {
        let rule: FaultRule = body(given)?;
        Ok(json!(world.add_fault(rule)?))
    })
}

pub(super) async fn clear_faults(State(world): State<SharedWorld>) -> Answer {
    change(&world, "ClearFaults", String::new(), |world| Ok(json!({"removed": world.clear_faults()})))
}

pub(super) async fn remove_fault(State(world): State<SharedWorld>, Path(id): Path<String>) -> Answer {
    change(&world, "RemoveFault", id.clone(), |world| match world.remove_fault(&id) {
        Some(fault) => Ok(json!(fault)),
        None => {
            let known: Vec<&str> = world.faults().iter().map(|fault| fault.id.as_str()).collect();
            Err(Refusal::not_found(format!("there is no fault rule `{id}`; in force: [{}]", known.join(", "))))
        }
    })
}

pub(super) async fn interrupt(State(world): State<SharedWorld>, Path(id): Path<String>) -> Answer {
    change(&world, "Interrupt", id.clone(), |world| Ok(json!({"instanceId": id, "at": world.interrupt(&id)?})))
}

pub(super) async fn kill(State(world): State<SharedWorld>, Path(id): Path<String>) -> Answer {
    change(&world, "Kill", id.clone(), |world| {
        world.kill(&id)?;
        Ok(json!({"instanceId": id}))
    })
}

pub(super) async fn set_throttling(State(world): State<SharedWorld>, given: Given) -> Answer {
    change(&world, "SetThrottling", summary(&given), |world| {
        let throttling: Throttling = body(given)?;
        world.set_throttling(throttling)?;
        Ok(json!(throttling))
    })
}

pub(super) async fn set_consistency(State(world): State<SharedWorld>, given: Given) -> Answer {
    change(&world, "SetConsistency", summary(&given), |world| {
        let consistency: Consistency = body(given)?;
        world.set_consistency(consistency)?;
        Ok(json!(consistency))
    })
}

pub(super) async fn set_events(State(world): State<SharedWorld>, given: Given) -> Answer {
    change(&world, "SetEvents", summary(&given), |world| {
        let events: EventConfig = body(given)?;
        world.set_events(events)?;
        Ok(json!(world.event_config()))
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEvent {
    queue: Option<String>,
    body: String,
}

pub(super) async fn send_event(State(world): State<SharedWorld>, given: Given) -> Answer {
    change(&world, "SendEvent", summary(&given), |world| {
        let RawEvent { queue, body } = body(given)?;
        let queue = queue.or_else(|| world.event_config().queue.clone()).unwrap_or_default();
        Ok(json!({"messageId": world.send_message(&queue, Body::Text(body), None)?}))
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenCredentials {
    credentials: Credentials,
}

pub(super) async fn set_credentials(State(world): State<SharedWorld>, given: Given) -> Answer {
    change(&world, "SetCredentials", summary(&given), |world| {
        let GivenCredentials { credentials } = body(given)?;
        world.set_credentials(credentials);
        Ok(json!({"credentials": credentials}))
    })
}

pub(super) async fn interrupt_many(State(world): State<SharedWorld>, given: Given) -> Answer {
    change(&world, "InterruptMany", summary(&given), |world| {
        let selection: Selection = body(given)?;
        let spot = Selection { capacity_type: Some(crate::world::Market::Spot), ..selection };
        let ids = world.selected(&spot);
        for id in &ids {
            world.interrupt(id)?;
        }
        Ok(json!({"instanceIds": ids}))
    })
}

pub(super) async fn lose_many(State(world): State<SharedWorld>, given: Given) -> Answer {
    change(&world, "LoseMany", summary(&given), |world| {
        let selection: Selection = body(given)?;
        let ids = world.selected(&selection);
        for id in &ids {
            world.kill(id)?;
        }
        Ok(json!({"instanceIds": ids}))
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewBlock {
    instance_type: String,
    zone: String,
    count: u32,
    #[serde(default, with = "crate::world::duration")]
    start: jiff::SignedDuration,
    #[serde(with = "crate::world::duration")]
    end: jiff::SignedDuration,
    #[serde(default)]
    tags: Tags,
}

pub(super) async fn grant_block(State(world): State<SharedWorld>, given: Given) -> Answer {
    change(&world, "GrantCapacityBlock", summary(&given), |world| {
        let NewBlock { instance_type, zone, count, start, end, tags } = body(given)?;
        let now = world.now();
        let times = (now.saturating_add(start).unwrap_or(now), now.saturating_add(end).unwrap_or(now));
        Ok(json!({"capacityReservationId": world.grant_block(&instance_type, &zone, count, times, tags)?}))
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewReservation {
    instance_type: String,
    zone: String,
    count: u32,
    #[serde(default)]
    targeted: bool,
    /// How long from now on; for ever if not given.
    #[serde(default, with = "crate::world::duration")]
    end: jiff::SignedDuration,
    #[serde(default)]
    tags: Tags,
    /// Whether the machines are lent by a reservation without tags, which can take them back.
    #[serde(default)]
    interruptible: bool,
}

pub(super) async fn reserve(State(world): State<SharedWorld>, given: Given) -> Answer {
    change(&world, "Reserve", summary(&given), |world| {
        let NewReservation { instance_type, zone, count, targeted, end, tags, interruptible } = body(given)?;
        let tags = vec![TagSpecification { resource: "capacity-reservation".to_owned(), tags }];
        let request = ReservationRequest {
            machine_type: instance_type,
            zone,
            count,
            targeted: targeted || interruptible,
            end: (!end.is_zero()).then(|| world.now().saturating_add(end).unwrap_or(Timestamp::MAX)),
            platform: "Linux/UNIX".to_owned(),
            tenancy: "default".to_owned(),
            tags: if interruptible { Vec::new() } else { tags.clone() },
            ..ReservationRequest::default()
        };
        let mut id = world.create_reservation(&request)?;
        if interruptible {
            id = world.lend(&AllocationRequest { source: id, count, tags, ..AllocationRequest::default() })?;
        }
        Ok(json!({"capacityReservationId": id}))
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Strategy {
    Cluster,
    Spread,
    Partition,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewGroup {
    name: String,
    strategy: Strategy,
    #[serde(default = "two")]
    partitions: u32,
}

/// EC2's number of partitions where none is given.
fn two() -> u32 {
    2
}

pub(super) async fn create_placement_group(State(world): State<SharedWorld>, given: Given) -> Answer {
    change(&world, "CreatePlacementGroup", summary(&given), |world| {
        let NewGroup { name, strategy, partitions } = body(given)?;
        let strategy = match strategy {
            Strategy::Cluster => Placement::Cluster,
            Strategy::Spread => Placement::Spread,
            Strategy::Partition => Placement::Partition(partitions),
        };
        Ok(json!({"groupId": world.create_placement_group(&name, strategy, Tags::new())?.id}))
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reclaim {
    reservation: String,
    count: Option<u32>,
}

pub(super) async fn reclaim(State(world): State<SharedWorld>, given: Given) -> Answer {
    change(&world, "Reclaim", summary(&given), |world| {
        let Reclaim { reservation: id, count } = body(given)?;
        let interruptible = world.reservations().filter(|one| one.interruptible.is_some());
        let mut ids: Vec<String> =
            interruptible.map(|one| one.id.clone()).filter(|known| matches_pattern(&id, known)).collect();
        if !id.contains(['*', '?']) {
            ids = vec![id];
        }
        ids.iter().try_for_each(|id| world.reclaim_lent(id, count))?;
        Ok(json!({"capacityReservationIds": ids}))
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    parameter: String,
}

pub(super) async fn release_images(State(world): State<SharedWorld>, given: Given) -> Answer {
    change(&world, "ReleaseImages", summary(&given), |world| {
        let Release { parameter } = body(given)?;
        Ok(json!({"parameters": world.release_images(&parameter)?}))
    })
}

pub(super) async fn rebalance(State(world): State<SharedWorld>, Path(id): Path<String>) -> Answer {
    change(&world, "Rebalance", id.clone(), |world| {
        world.recommend_rebalance(&id)?;
        Ok(json!({"instanceId": id}))
    })
}

/// The machines that a pattern names; an id without wildcards names itself, so that one that is unknown is told.
fn named(world: &World, pattern: &str) -> Vec<String> {
    if !pattern.contains(['*', '?']) {
        return vec![pattern.to_owned()];
    }
    let alive = world.instances().filter(|one| one.state != InstanceState::Terminated);
    alive.map(|one| one.id.clone()).filter(|id| matches_pattern(pattern, id)).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Impaired {
    check: Option<Check>,
}

pub(super) async fn impair(State(world): State<SharedWorld>, Path(id): Path<String>, given: Given) -> Answer {
    change(&world, "Impair", id.clone(), |world| {
        let Impaired { check } = body(given)?;
        named(world, &id).iter().try_for_each(|id| world.impair(id, check))?;
        Ok(json!({"instanceId": id, "check": check}))
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Planned {
    code: ScheduledCode,
    #[serde(default, with = "crate::world::duration")]
    after: jiff::SignedDuration,
}

pub(super) async fn schedule(State(world): State<SharedWorld>, Path(id): Path<String>, given: Given) -> Answer {
    change(&world, "Schedule", id.clone(), |world| {
        let Planned { code, after } = body(given)?;
        let mut not_before = None;
        for id in named(world, &id) {
            not_before = Some(world.schedule(&id, code, after)?);
        }
        Ok(json!({"instanceId": id, "notBefore": not_before}))
    })
}
