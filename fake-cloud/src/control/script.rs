//! Endpoints that change the world. Each is written into the audit trail, whether it was carried out or refused.

use super::answer::{Answer, Refusal, body};
use crate::{
    app::SharedWorld,
    world::{CallRecord, CapacityRule, Delays, FaultRule, PriceRule, QuotaRule, World},
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
};
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
