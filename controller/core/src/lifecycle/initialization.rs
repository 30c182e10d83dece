//! A Node becomes usable: what is waited for, in order (spec core 3.1, Initialization).

use super::{
    Milestone, Step, node_ready,
    registration::{has_label, same},
};
use crate::{
    api::{
        NodeClaim,
        conditions::{Conditioned, INITIALIZED, TRUE},
        labels,
    },
    model::{Resources, ephemeral_taint, taint_text},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};
use std::{fmt, sync::Arc};

/// What a registered NodeClaim still waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum WaitingFor {
    Node,
    Ready,
    StartupTaint(String),
    EphemeralTaint(String),
    Resource(String),
}

impl WaitingFor {
    /// The condition's reason.
    fn reason(&self) -> &'static str {
        match self {
            Self::Node => "NodeNotFound",
            Self::Ready => "NodeNotReady",
            Self::StartupTaint(_) => "StartupTaintsExist",
            Self::EphemeralTaint(_) => "KnownEphemeralTaintsExist",
            Self::Resource(_) => "ResourceNotRegistered",
        }
    }
}

impl fmt::Display for WaitingFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node => f.write_str("Node not registered with cluster"),
            Self::Ready => f.write_str("Node status is NotReady"),
            Self::StartupTaint(taint) => write!(f, "StartupTaint \"{taint}\" still exists"),
            Self::EphemeralTaint(taint) => write!(f, "KnownEphemeralTaint \"{taint}\" still exists"),
            Self::Resource(name) => write!(f, "Resource \"{name}\" was requested but not registered"),
        }
    }
}

/// Initializes the NodeClaim if its Node has become usable. The Node is the one that this step writes, if it writes one.
pub(super) fn initialize(step: &mut Step, nodes: &[Arc<Node>], now: Timestamp) {
    let written = step.node.take();
    let node = written.as_ref().or(match nodes {
        [node] => Some(node),
        [] | [_, _, ..] => None,
    });
    match (waits_for(&step.claim, node), node) {
        (None, Some(node)) => {
            let mut usable = node.clone();
            let labelled = has_label(&usable, labels::INITIALIZED);
            usable.metadata.labels.get_or_insert_default().insert(labels::INITIALIZED.to_owned(), "true".to_owned());
            step.claim.set_true(INITIALIZED, now);
            step.milestones.push(Milestone::Initialized);
            step.node = if labelled { written } else { Some(usable) };
        }
        (waiting, _) => {
            let waiting = waiting.unwrap_or(WaitingFor::Node);
            step.claim.set_unknown(INITIALIZED, waiting.reason(), &waiting.to_string(), now);
            step.node = written;
        }
    }
}

fn waits_for(claim: &NodeClaim, node: Option<&Node>) -> Option<WaitingFor> {
    let Some(node) = node else { return Some(WaitingFor::Node) };
    if node_ready(node) != Some(TRUE) {
        return Some(WaitingFor::Ready);
    }
    let taints: &[Taint] = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let startup = |taint: &&Taint| claim.spec.startup_taints.iter().any(|own| same(own, taint));
    if let Some(taint) = taints.iter().find(startup) {
        return Some(WaitingFor::StartupTaint(taint_text(taint)));
    }
    if let Some(taint) = taints.iter().find(|taint| ephemeral_taint(taint)) {
        return Some(WaitingFor::EphemeralTaint(taint_text(taint)));
    }
    missing_resource(claim, node).map(WaitingFor::Resource)
}

/// The first resource that the claim asks for and the Node does not offer, such as a GPU whose device plugin is not up.
fn missing_resource(claim: &NodeClaim, node: &Node) -> Option<String> {
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    let allocatable = allocatable.map(Resources::of_capacity).unwrap_or_default();
    let requested = Resources::of_capacity(&claim.spec.resources.requests);
    requested.iter().find(|(name, amount)| *amount != 0 && allocatable.get(name) == 0).map(|(name, _)| name.to_owned())
}
