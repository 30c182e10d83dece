//! `Drifted` and `Consolidatable`: the conditions of a NodeClaim that voluntary disruption goes by (spec core 3.2, 5).

use super::later;
use crate::{
    api::{
        NodeClaim, NodePool,
        conditions::{CONSOLIDATABLE, Conditioned, DRIFTED, INITIALIZED, LAUNCHED},
        labels,
    },
    model::{CapacityType, InstanceType, Requirements, WellKnownLabels},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::{sync::Arc, time::Duration};

/// Claims younger than this are not compared with the catalog, which may lag behind.
const INSTANCE_TYPE_GRACE: Duration = Duration::from_hours(1);
/// A pod coming or going is noted at most so often, to spare the API server.
const POD_EVENT_INTERVAL: Duration = Duration::from_secs(10);

/// Why `claim` is no longer what its pool asks for; the first reason wins. None where only the provider can still tell.
/// `types` is the pool's catalog; none where it is not known.
pub fn drift_reason(
    claim: &NodeClaim,
    pool: &NodePool,
    types: Option<&[Arc<InstanceType>]>,
    now: Timestamp,
) -> Option<&'static str> {
    if hash_differs(claim, pool) {
        Some("NodePoolDrifted")
    } else if requirements_differ(claim, pool) {
        Some("RequirementsDrifted")
    } else if types.is_some_and(|types| is_old_enough(claim, now) && instance_type_is_gone(claim, types)) {
        Some("InstanceTypeNotFound")
    } else {
        None
    }
}

/// `claim` with `Drifted` (for `drift`, the reason of the pool or the provider) and `Consolidatable` as they should be, and
/// when they change by time alone. None as `pool` means that the pool is gone: nothing is said then.
pub fn disruption_conditions(
    claim: &NodeClaim,
    pool: Option<&NodePool>,
    drift: Option<&str>,
    now: Timestamp,
) -> (NodeClaim, Option<Timestamp>) {
    let mut after = claim.clone();
    let Some(pool) = pool.filter(|_| claim.metadata.deletion_timestamp.is_none()) else { return (after, None) };
    match drift.filter(|_| claim.is_true(LAUNCHED)) {
        Some(reason) => after.set_true_with(DRIFTED, reason, reason, now),
        None => after.clear_condition(DRIFTED),
    };
    match consolidatable_from(claim, pool) {
        Some(from) if from <= now => {
            after.set_true(CONSOLIDATABLE, now);
            (after, None)
        }
        from => {
            after.clear_condition(CONSOLIDATABLE);
            (after, from)
        }
    }
}

/// `claim` with a pod's coming or going noted; none where one was noted a moment ago.
pub fn with_pod_event(claim: &NodeClaim, now: Timestamp) -> Option<NodeClaim> {
    let last = claim.status.as_ref().and_then(|status| status.last_pod_event_time.as_ref());
    if last.is_some_and(|last| now < later(last.0, POD_EVENT_INTERVAL)) {
        return None;
    }
    let mut after = claim.clone();
    let second = Timestamp::from_second(now.as_second()).expect("whole seconds of a valid time are a valid time");
    after.status.get_or_insert_default().last_pod_event_time = Some(Time(second));
    Some(after)
}

/// From when on pods have left the machine alone for long enough; none for `Never`, for static pools and before it is
/// initialized.
fn consolidatable_from(claim: &NodeClaim, pool: &NodePool) -> Option<Timestamp> {
    let wait = pool.spec.disruption.consolidate_after.value().filter(|_| !pool.spec.is_static())?;
    let initialized = claim.condition(INITIALIZED).filter(|condition| condition.status == "True")?;
    let last_pod = claim.status.as_ref().and_then(|status| status.last_pod_event_time.as_ref());
    Some(later(last_pod.map_or(initialized.last_transition_time.0, |last| last.0), wait))
}

fn hash_differs(claim: &NodeClaim, pool: &NodePool) -> bool {
    let of_claim = |key| claim.metadata.annotations.as_ref().and_then(|annotations| annotations.get(key));
    let of_pool = |key| pool.metadata.annotations.as_ref().and_then(|annotations| annotations.get(key));
    let (Some(claim_hash), Some(pool_hash)) = (of_claim(labels::NODE_POOL_HASH), of_pool(labels::NODE_POOL_HASH))
    else {
        return false;
    };
    let (claim_version, pool_version) =
        (of_claim(labels::NODE_POOL_HASH_VERSION), of_pool(labels::NODE_POOL_HASH_VERSION));
    claim_version.is_some() && claim_version == pool_version && claim_hash != pool_hash
}

/// Widening a pool's requirements never drifts its claims; asking for a label that the claim lacks does.
fn requirements_differ(claim: &NodeClaim, pool: &NodePool) -> bool {
    let of_pool = Requirements::from_specs(&pool.spec.template.spec.requirements);
    claim_labels(claim).compatible(&of_pool, &WellKnownLabels::none()).is_err()
}

fn claim_labels(claim: &NodeClaim) -> Requirements {
    Requirements::from_labels(claim.metadata.labels.iter().flatten())
}

fn is_old_enough(claim: &NodeClaim, now: Timestamp) -> bool {
    claim.metadata.creation_timestamp.as_ref().is_some_and(|created| now >= later(created.0, INSTANCE_TYPE_GRACE))
}

/// Whether the type is no longer in the catalog, or is nowhere offered as the claim has it (be it out of stock). A reserved
/// machine may live on as on-demand once its reservation ends.
fn instance_type_is_gone(claim: &NodeClaim, types: &[Arc<InstanceType>]) -> bool {
    let labels_of_claim = claim.metadata.labels.clone().unwrap_or_default();
    let Some(name) = labels_of_claim.get(labels::INSTANCE_TYPE) else { return false };
    let Some(instance_type) = types.iter().find(|instance_type| instance_type.name == *name) else { return true };
    let mut known = claim_labels(claim);
    let reserved =
        labels_of_claim.get(labels::CAPACITY_TYPE).map(String::as_str) == Some(CapacityType::Reserved.as_str());
    if reserved {
        for label in [
            labels::CAPACITY_TYPE,
            labels::CAPACITY_RESERVATION_ID,
            labels::CAPACITY_RESERVATION_TYPE,
            labels::CAPACITY_RESERVATION_INTERRUPTIBLE,
        ] {
            known.remove(label);
        }
    }
    !instance_type
        .offerings
        .iter()
        .filter(|offering| !reserved || offering.capacity_type != CapacityType::Spot)
        .any(|offering| known.intersects(&offering.requirements))
}

#[cfg(test)]
#[path = "conditions_tests.rs"]
mod tests;
