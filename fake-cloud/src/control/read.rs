//! Endpoints that only read.

use super::answer::{Answer, PoolQuery, Refusal, page_size, query};
use crate::{
    app::SharedWorld,
    world::{Amount, Instance, InstanceCost, InstanceState, Ledger, World, matches_pattern},
};
use axum::{Json, extract::State, http::Uri};
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) async fn capacity(State(world): State<SharedWorld>, uri: Uri) -> Answer {
    let wanted: PoolQuery = query(&uri)?;
    Ok(Json(world.with(|world| {
        let named = wanted.instance_type.is_some() || wanted.zone.is_some() || wanted.capacity_type.is_some();
        let pools = if named { named_pools(world, &wanted) } else { world.used_pools() };
        json!({"default": world.default_capacity(), "pools": pools})
    })))
}

pub(super) async fn prices(State(world): State<SharedWorld>, uri: Uri) -> Answer {
    let wanted: PoolQuery = query(&uri)?;
    if wanted.instance_type.is_none() {
        let message = "`instanceType` is missing: name the pools, e.g. `?instanceType=m5.*`";
        return Err(Refusal::bad_request(message.to_owned()));
    }
    Ok(Json(world.with(|world| json!({"pools": named_pools(world, &wanted)}))))
}

fn named_pools(world: &World, wanted: &PoolQuery) -> Vec<crate::world::PoolState> {
    let matches = |pattern: &Option<String>, text: &str| pattern.as_deref().is_none_or(|it| matches_pattern(it, text));
    world.pool_states(|instance_type, zone, market| {
        matches(&wanted.instance_type, instance_type)
            && matches(&wanted.zone, zone)
            && wanted.capacity_type.is_none_or(|wanted| wanted == market)
    })
}

pub(super) async fn delays(State(world): State<SharedWorld>) -> Answer {
    Ok(Json(json!(world.with(|world| world.delays()))))
}

pub(super) async fn throttling(State(world): State<SharedWorld>) -> Answer {
    Ok(Json(json!(world.with(|world| world.throttling()))))
}

pub(super) async fn consistency(State(world): State<SharedWorld>) -> Answer {
    Ok(Json(json!(world.with(|world| world.consistency()))))
}

pub(super) async fn events(State(world): State<SharedWorld>) -> Answer {
    Ok(Json(json!(world.with(|world| world.event_config().clone()))))
}

pub(super) async fn faults(State(world): State<SharedWorld>) -> Answer {
    Ok(Json(world.with(|world| json!({"faults": world.faults()}))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditQuery {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

pub(super) async fn audit(State(world): State<SharedWorld>, uri: Uri) -> Answer {
    let AuditQuery { after, limit } = query(&uri)?;
    let limit = page_size(limit)?;
    Ok(Json(world.with(|world| {
        let entries: Vec<_> = world.audit_page(after, limit).collect();
        let next = entries.last().filter(|_| entries.len() == limit).map(|entry| entry.number);
        json!({"entries": entries, "next": next})
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InstanceQuery {
    state: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn instances(State(world): State<SharedWorld>, uri: Uri) -> Answer {
    let InstanceQuery { state, after, limit } = query(&uri)?;
    let (limit, state) = (page_size(limit)?, state.as_deref().map(state_named).transpose()?);
    Ok(Json(world.with(|world| {
        let wanted = |instance: &&Instance| {
            state.is_none_or(|state| instance.state == state) && after.as_ref().is_none_or(|after| instance.id > *after)
        };
        let page: Vec<_> = world.instances().filter(wanted).take(limit).collect();
        let next = page.last().filter(|_| page.len() == limit).map(|instance| &instance.id);
        json!({"instances": page.iter().map(|instance| described(world, instance)).collect::<Vec<_>>(), "next": next})
    })))
}

fn state_named(name: &str) -> Result<InstanceState, Refusal> {
    let known = InstanceState::ALL.into_iter().find(|state| state.as_str() == name);
    known.ok_or_else(|| {
        let names = InstanceState::ALL.map(InstanceState::as_str).join(", ");
        Refusal::bad_request(format!("there is no state `{name}`: it can be {names}"))
    })
}

pub(super) fn described(world: &World, instance: &Instance) -> Value {
    let cost = world.cost_of(instance);
    json!({
        "instanceId": instance.id,
        "instanceType": instance.machine_type,
        "zone": instance.zone.name,
        "capacityType": instance.market,
        "state": instance.state.as_str(),
        "stateReason": instance.state_reason.map(|reason| reason.code()),
        "launched": instance.launched,
        "interruption": instance.interruption,
        "privateDnsName": instance.private_dns_name,
        "capacityReservation": instance.reservation,
        "tags": instance.tags,
        "dollars": cost.cost.to_string(),
        "dollarsPerHour": cost.price,
    })
}

pub(super) async fn ledger(State(world): State<SharedWorld>) -> Answer {
    Ok(Json(ledger_json(&world.with(|world| world.ledger()))))
}

pub(super) fn ledger_json(ledger: &Ledger) -> Value {
    let by_market: serde_json::Map<String, Value> =
        ledger.by_market.iter().map(|(market, amount)| (market.to_string(), json!(money(*amount)))).collect();
    json!({
        "total": money(ledger.total),
        "byCapacityType": by_market,
        "reservations": {"idle": money(ledger.reservations.idle), "upfront": money(ledger.reservations.upfront)},
        "nanoDollarsPerHour": number(ledger.nano_dollars_per_hour),
        "calls": ledger.calls,
        "instancesByState": ledger.instances_by_state,
        "launched": ledger.launched,
        "remaining": ledger.remaining,
    })
}

/// An amount as readers want it: readable, and exact.
fn money(amount: Amount) -> Value {
    json!({"dollars": amount.to_string(), "nanoDollars": number(amount.nano_dollars())})
}

/// JSON numbers end where 64 bits do: 18 billion dollars.
fn number(nano_dollars: u128) -> u64 {
    u64::try_from(nano_dollars).unwrap_or(u64::MAX)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CostQuery {
    #[serde(default)]
    after: usize,
    limit: Option<usize>,
}

pub(super) async fn costs(State(world): State<SharedWorld>, uri: Uri) -> Answer {
    let CostQuery { after, limit } = query(&uri)?;
    let limit = page_size(limit)?;
    Ok(Json(world.with(|world| {
        let page: Vec<Value> = world.costs().skip(after).take(limit).map(|cost| cost_json(&cost)).collect();
        let next = (page.len() == limit).then_some(after + limit);
        json!({"instances": page, "next": next})
    })))
}

fn cost_json(cost: &InstanceCost) -> Value {
    json!({
        "instanceId": cost.instance_id,
        "instanceType": cost.machine_type,
        "zone": cost.zone,
        "capacityType": cost.market,
        "ranSeconds": number(cost.ran_nanoseconds / 1_000_000_000),
        "cost": money(cost.cost),
        "dollarsPerHour": cost.price,
    })
}
