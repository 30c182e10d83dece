//! A Node joins: what it takes over from its NodeClaim (spec core 3.1, Registration).

use super::{About, Action, Event, Milestone, Step};
use crate::api::{
    NodeClaim,
    conditions::{Conditioned, REGISTERED},
    labels,
};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Node, Taint},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use std::{collections::BTreeMap, sync::Arc};

/// Registers the NodeClaim's Node if it has joined. `nodes` are those with the claim's provider id.
pub(super) fn register(step: &mut Step, nodes: &[Arc<Node>], now: Timestamp) {
    match nodes {
        [] => {
            step.claim.set_unknown(REGISTERED, "NodeNotFound", "Node not registered with cluster", now);
        }
        [node] => register_node(step, node, now),
        // Terminal: which of them is ours cannot be known. Liveness removes the claim in the end.
        [_, _, ..] => {
            let message = "Invariant violated, matched multiple nodes";
            step.claim.set_false(REGISTERED, "MultipleNodesFound", message, now);
        }
    }
}

fn register_node(step: &mut Step, node: &Node, now: Timestamp) {
    let registered_before = has_label(node, labels::REGISTERED);
    if !registered_before && !taints(node).iter().any(|taint| same(taint, &labels::unregistered_taint())) {
        let message = "Missing karpenter.sh/unregistered taint which prevents registration related race conditions on Karpenter-managed nodes";
        step.events.push(Event::warning(About::NodeClaim(step.claim_name()), "UnregisteredTaintMissing", message));
    }
    let mut joined = synced(&step.claim, node);
    let all_taints = joined.spec.get_or_insert_default().taints.get_or_insert_default();
    all_taints.retain(|taint| !same(taint, &labels::unregistered_taint()));
    joined.metadata.labels.get_or_insert_default().insert(labels::REGISTERED.to_owned(), "true".to_owned());
    step.claim.status.get_or_insert_default().node_name = joined.metadata.name.clone();
    step.claim.set_true(REGISTERED, now);
    step.node = Some(joined);
    step.milestones.push(Milestone::Registered);
    step.actions.push(Action::RecordRegistration { success: true });
}

/// The Node with what it takes over: finalizer, owner, labels and annotations (the claim's win), and taints by key and
/// effect, unless the Node says that it has them already.
fn synced(claim: &NodeClaim, node: &Node) -> Node {
    let mut node = node.clone();
    let finalizers = node.metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|finalizer| finalizer == labels::TERMINATION_FINALIZER) {
        finalizers.push(labels::TERMINATION_FINALIZER.to_owned());
    }
    own(claim, &mut node);
    overlay(node.metadata.labels.get_or_insert_default(), claim.metadata.labels.as_ref());
    overlay(node.metadata.annotations.get_or_insert_default(), claim.metadata.annotations.as_ref());
    if !has_label(&node, labels::DO_NOT_SYNC_TAINTS) {
        let taints = node.spec.get_or_insert_default().taints.get_or_insert_default();
        for taint in claim.spec.taints.iter().chain(&claim.spec.startup_taints) {
            if !taints.iter().any(|own| same(own, taint)) {
                taints.push(taint.clone());
            }
        }
    }
    node
}

fn own(claim: &NodeClaim, node: &mut Node) {
    let uid = claim.metadata.uid.clone().unwrap_or_default();
    let owners = node.metadata.owner_references.get_or_insert_default();
    if owners.iter().any(|owner| owner.uid == uid) {
        return;
    }
    owners.push(OwnerReference {
        api_version: "karpenter.sh/v1".to_owned(),
        kind: "NodeClaim".to_owned(),
        name: claim.metadata.name.clone().unwrap_or_default(),
        uid,
        block_owner_deletion: Some(true),
        controller: None,
    });
}

fn overlay(onto: &mut BTreeMap<String, String>, from: Option<&BTreeMap<String, String>>) {
    onto.extend(from.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
}

fn taints(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

/// Taints are the same if key and effect are.
pub(super) fn same(a: &Taint, b: &Taint) -> bool {
    a.key == b.key && a.effect == b.effect
}

pub(super) fn has_label(node: &Node, label: &str) -> bool {
    node.metadata.labels.as_ref().and_then(|labels| labels.get(label)).is_some_and(|value| value == "true")
}
