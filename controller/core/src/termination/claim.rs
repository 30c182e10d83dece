//! What a NodeClaim that is being deleted needs next (spec core 3.3).

use super::{
    INSTANCE_POLL, InstanceState,
    node::{Question, TerminationAction, TerminationStep, WaitingFor, expiring},
};
use crate::{
    api::{
        NodeClaim,
        conditions::{Conditioned, INSTANCE_TERMINATING, REGISTERED},
        labels,
    },
    lifecycle::{About, later},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use std::sync::Arc;

/// What `claim` needs at `now`. `nodes` are the Nodes with its provider id; `instance` is the answer to
/// [`Question::DeleteInstance`], if it has been asked in this round. A claim that is not being deleted, or is not ours to
/// hold, needs nothing.
pub fn claim_step(
    claim: &NodeClaim,
    nodes: &[Arc<Node>],
    instance: Option<InstanceState>,
    now: Timestamp,
) -> TerminationStep {
    let mut step = TerminationStep::new(None, Some(claim));
    let held = claim.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == labels::TERMINATION_FINALIZER);
    let Some(deleted) = claim.metadata.deletion_timestamp.as_ref().filter(|_| held).map(|time| time.0) else {
        return step;
    };
    set_deadline(&mut step, deleted);
    // A Node that never registered is not ours to delete.
    if claim.is_true(REGISTERED) && !nodes.is_empty() {
        let names: Vec<String> = nodes.iter().filter_map(|node| node.metadata.name.clone()).collect();
        let live = nodes.iter().filter(|node| node.metadata.deletion_timestamp.is_none());
        step.actions.extend(live.filter_map(|node| node.metadata.name.clone()).map(TerminationAction::DeleteNode));
        step.waiting = Some(WaitingFor::Nodes(names));
        return step;
    }
    if claim.status.as_ref().is_none_or(|status| status.provider_id.is_none()) {
        return finish(step);
    }
    let Some(instance) = instance else { return step.ask(Question::DeleteInstance) };
    if let Some(claim) = &mut step.claim {
        claim.set_true(INSTANCE_TERMINATING, now);
    }
    match instance {
        InstanceState::Gone => finish(step),
        InstanceState::Present | InstanceState::Terminating => {
            step.wait(WaitingFor::Instance, later(now, INSTANCE_POLL))
        }
    }
}

/// Writes down by when all pods must be gone, if the claim says how long they may take.
fn set_deadline(step: &mut TerminationStep, deleted: Timestamp) {
    let Some(claim) = &mut step.claim else { return };
    let Some(grace) = claim.spec.termination_grace_period.as_ref().map(|grace| grace.value()) else { return };
    let annotations = claim.metadata.annotations.get_or_insert_default();
    if annotations.contains_key(labels::TERMINATION_TIMESTAMP) {
        return;
    }
    let deadline = later(deleted, grace);
    annotations.insert(labels::TERMINATION_TIMESTAMP.to_owned(), format!("{deadline:.0}"));
    let about = About::NodeClaim(claim.metadata.name.clone().unwrap_or_default());
    step.events.push(expiring(about, deadline));
}

/// Lets the NodeClaim go.
fn finish(mut step: TerminationStep) -> TerminationStep {
    if let Some(finalizers) = step.claim.as_mut().and_then(|claim| claim.metadata.finalizers.as_mut()) {
        finalizers.retain(|finalizer| finalizer != labels::TERMINATION_FINALIZER);
    }
    step
}

#[cfg(test)]
#[path = "claim_tests.rs"]
mod tests;
