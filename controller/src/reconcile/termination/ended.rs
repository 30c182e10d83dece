//! What is said and counted when a Node or a NodeClaim has come to its end.

use super::super::Context;
use crate::metrics::{InPool, InPoolAndZone, Terminated, seconds};
use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Node, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::ResourceExt;
use sawhorse_core::{
    api::{
        NodeClaim,
        conditions::{Conditioned, INSTANCE_TERMINATING},
        labels,
    },
    termination::TerminationStep,
};
use std::time::Duration;

/// A NodeClaim whose finalizer went with this write is gone.
pub(super) fn say_if_claim_ended(ctx: &Context, before: &NodeClaim, after: &NodeClaim) {
    if !lost_finalizer(&before.metadata, &after.metadata) {
        return;
    }
    ctx.memory.launches.forget(before);
    let nodepool = label(&before.metadata, labels::NODE_POOL);
    let terminated = Terminated {
        nodepool: nodepool.clone(),
        capacity_type: label(&before.metadata, labels::CAPACITY_TYPE),
        zone: label(&before.metadata, labels::ZONE),
    };
    ctx.metrics.node_claims_terminated.get_or_create(&terminated).inc();
    let pool = InPool { nodepool };
    if let Some(since) = deleted_at(&before.metadata) {
        ctx.metrics.node_claims_termination_duration.get_or_create(&pool).observe(passed(since, ctx.now()));
    }
    if let Some(told) = after.condition(INSTANCE_TERMINATING) {
        let took = passed(told.last_transition_time.0, ctx.now());
        ctx.metrics.node_claims_instance_termination_duration.get_or_create(&pool).observe(took);
    }
    let id = before.status.as_ref().and_then(|status| status.provider_id.clone()).unwrap_or_default();
    ctx.decided(
        "nodeclaim.lifecycle",
        "deleted nodeclaim",
        vec![("NodeClaim", before.name_any()), ("provider-id", id)],
    );
}

/// A Node whose finalizer went with this write is gone.
pub(super) fn say_if_node_ended(ctx: &Context, before: &Node, after: &Node) {
    if !lost_finalizer(&before.metadata, &after.metadata) {
        return;
    }
    let nodepool = label(&before.metadata, labels::NODE_POOL);
    let of = InPoolAndZone { nodepool: nodepool.clone(), zone: label(&before.metadata, labels::ZONE) };
    ctx.metrics.nodes_terminated.get_or_create(&of).inc();
    if let Some(since) = deleted_at(&before.metadata) {
        ctx.metrics.nodes_termination_duration.observe(&nodepool, passed(since, ctx.now()));
    }
    if let Some(created) = before.metadata.creation_timestamp.as_ref() {
        let age = passed(created.0, ctx.now());
        ctx.metrics.nodes_lifetime_duration.get_or_create(&InPool { nodepool }).observe(age);
    }
    ctx.decided("node.termination", "deleted node", vec![("Node", before.name_any())]);
}

/// A drain came to its end.
pub(super) fn count_drained(ctx: &Context, step: &TerminationStep) {
    let nodepool = step.node.as_ref().map(|node| label(&node.metadata, labels::NODE_POOL)).unwrap_or_default();
    ctx.metrics.nodes_drained.get_or_create(&InPool { nodepool }).inc();
}

fn lost_finalizer(before: &ObjectMeta, after: &ObjectMeta) -> bool {
    let held = |meta: &ObjectMeta| meta.finalizers.iter().flatten().any(|held| held == labels::TERMINATION_FINALIZER);
    held(before) && !held(after)
}

fn label(meta: &ObjectMeta, key: &str) -> String {
    meta.labels.as_ref().and_then(|labels| labels.get(key)).cloned().unwrap_or_default()
}

fn deleted_at(meta: &ObjectMeta) -> Option<Timestamp> {
    meta.deletion_timestamp.as_ref().map(|time| time.0)
}

fn passed(since: Timestamp, now: Timestamp) -> f64 {
    seconds(Duration::try_from(now.duration_since(since)).unwrap_or_default())
}
