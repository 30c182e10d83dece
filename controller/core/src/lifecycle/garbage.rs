//! Garbage collection both ways: NodeClaims without a machine, machines without a NodeClaim (spec core 3.2, aws 6).

use super::{later, node_ready};
use crate::{
    api::{
        NodeClaim,
        conditions::{Conditioned, REGISTERED, TRUE},
    },
    model::{ClusterSnapshot, NodeClaimName, ProviderId, StateNode},
};
use jiff::Timestamp;
use std::{collections::BTreeSet, time::Duration};

/// Machines younger than this may belong to a NodeClaim whose status has not been written yet.
const ORPHAN_GRACE: Duration = Duration::from_secs(30);

/// A machine that the cloud lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedInstance {
    /// Its id.
    pub provider_id: ProviderId,
    /// The NodeClaim it was bought for, from its tags.
    pub node_claim: Option<String>,
    /// When it was bought.
    pub launched_at: Timestamp,
    /// Whether it is shutting down.
    pub terminating: bool,
}

/// Registered NodeClaims whose machine the cloud no longer lists, to be deleted as
/// [`super::DeletionReason::GarbageCollected`]. A Node that is still Ready vouches for its machine.
pub fn uncollected_claims(snapshot: &ClusterSnapshot, listed: &[ListedInstance]) -> Vec<NodeClaimName> {
    let alive: BTreeSet<&ProviderId> =
        listed.iter().filter(|instance| !instance.terminating).map(|instance| &instance.provider_id).collect();
    let is_lost = |machine: &&StateNode| {
        let registered = machine.node_claim.as_ref().is_some_and(|claim| is_live(claim) && claim.is_true(REGISTERED));
        let vouched = machine.node.as_ref().is_some_and(|node| node_ready(node) == Some(TRUE));
        registered && !vouched && machine.provider_id().is_some_and(|id| !alive.contains(&id))
    };
    let name = |machine: &StateNode| machine.node_claim.as_ref()?.metadata.name.as_deref().map(NodeClaimName::from);
    snapshot.nodes.iter().filter(is_lost).filter_map(name).collect()
}

/// Machines that no NodeClaim knows, to be given back. One that was bought for an existing NodeClaim waits to be adopted by
/// it; the launch is repeated with the same token and finds it.
pub fn orphans(snapshot: &ClusterSnapshot, listed: &[ListedInstance]) -> Vec<ProviderId> {
    let claims = || snapshot.nodes.iter().filter_map(|machine| machine.node_claim.as_ref());
    let known: BTreeSet<&str> = claims().filter_map(|claim| claim.status.as_ref()?.provider_id.as_deref()).collect();
    let waiting: BTreeSet<&str> = claims()
        .filter(|claim| claim.status.as_ref().is_none_or(|status| status.provider_id.is_none()))
        .filter_map(|claim| claim.metadata.name.as_deref())
        .collect();
    let is_orphan = |instance: &&ListedInstance| {
        !instance.terminating
            && snapshot.now >= later(instance.launched_at, ORPHAN_GRACE)
            && !known.contains(instance.provider_id.as_str())
            && instance.node_claim.as_deref().is_none_or(|name| !waiting.contains(name))
    };
    listed.iter().filter(is_orphan).map(|instance| instance.provider_id.clone()).collect()
}

fn is_live(claim: &NodeClaim) -> bool {
    claim.metadata.deletion_timestamp.is_none()
}

#[cfg(test)]
#[path = "garbage_tests.rs"]
mod tests;
