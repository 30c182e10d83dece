//! The mirror as the deciders want it: machines with their pods, and pods that wait.

use super::State;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use sawhorse_core::{
    api::{NodeClaim, labels},
    model::{ClusterSnapshot, NodeClaimName, NodeName, NodePoolName, StateNode, Storage, is_terminal},
};
use std::{collections::BTreeMap, sync::Arc};

pub(super) fn build(state: &State, now: Timestamp) -> ClusterSnapshot {
    let pools =
        state.node_pools.iter().map(|pool| (NodePoolName::from(name_of(&pool.metadata.name)), Arc::clone(pool)));
    ClusterSnapshot {
        now,
        node_pools: pools.collect(),
        node_overlays: state.node_overlays(),
        nodes: machines(state),
        pending: state.pending.iter().filter_map(|key| state.pod(key)).collect(),
        virtual_pods: state.virtual_pods(),
        daemon_sets: state.daemon_sets.iter().cloned().collect(),
        pod_disruption_budgets: state.pod_disruption_budgets.iter().cloned().collect(),
        namespaces: state.namespaces.iter().cloned().collect(),
        storage: Arc::new(Storage::of(
            state.persistent_volume_claims.iter().cloned(),
            state.persistent_volumes.iter().cloned(),
            state.storage_classes.iter().cloned(),
            state.csi_nodes.iter().cloned(),
        )),
        gangs: BTreeMap::new(),
        settings: state.settings.clone(),
    }
}

/// Every NodeClaim with its Node, then every Node without a NodeClaim; sorted by name.
fn machines(state: &State) -> Vec<StateNode> {
    let mut nodes: BTreeMap<&str, &Arc<Node>> = BTreeMap::new();
    let mut without_id = Vec::new();
    for node in state.nodes.iter() {
        match provider_id_of_node(node) {
            Some(id) => {
                nodes.insert(id, node);
            }
            None => without_id.push(node),
        }
    }
    let mut machines: Vec<StateNode> = Vec::with_capacity(state.node_claims.iter().len() + without_id.len());
    for claim in state.node_claims.iter() {
        let node = provider_id_of_claim(claim).and_then(|id| nodes.remove(id));
        machines.push(machine(state, Some(claim), node));
    }
    let unmanaged = nodes.into_values().chain(without_id).filter(|node| !awaits_its_claim(node));
    machines.extend(unmanaged.map(|node| machine(state, None, Some(node))));
    machines.sort_by(|a, b| a.name().cmp(b.name()));
    machines
}

fn machine(state: &State, claim: Option<&Arc<NodeClaim>>, node: Option<&Arc<Node>>) -> StateNode {
    let claim_name = claim.map(|claim| NodeClaimName::from(name_of(&claim.metadata.name)));
    let marked = claim_name.as_ref().is_some_and(|name| state.marked.contains(name));
    let leaving = match claim {
        Some(claim) => claim.metadata.deletion_timestamp.is_some() || instance_is_terminating(claim),
        None => node.is_some_and(|node| node.metadata.deletion_timestamp.is_some()),
    };
    let mut pods = node.map_or_else(Vec::new, |node| state.pods_on(&NodeName::from(name_of(&node.metadata.name))));
    pods.retain(|pod: &Arc<Pod>| !is_terminal(pod));
    StateNode {
        node: node.cloned(),
        node_claim: claim.cloned(),
        pods,
        marked_for_deletion: marked || leaving,
        nominated_until: claim_name.and_then(|name| state.nominated.get(&name).copied()),
    }
}

/// A Node that says it is managed but has neither registered nor a NodeClaim that knows its machine: the NodeClaim's status
/// has not been written yet, and counting both would count the machine twice.
fn awaits_its_claim(node: &Node) -> bool {
    let label = |key: &str| node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(key));
    label(labels::NODE_POOL) && !label(labels::REGISTERED)
}

fn instance_is_terminating(claim: &NodeClaim) -> bool {
    let conditions = claim.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|condition| condition.type_ == "InstanceTerminating" && condition.status == "True")
}

pub(super) fn provider_id_of_node(node: &Node) -> Option<&str> {
    node.spec.as_ref()?.provider_id.as_deref().filter(|id| !id.is_empty())
}

pub(super) fn provider_id_of_claim(claim: &NodeClaim) -> Option<&str> {
    claim.status.as_ref()?.provider_id.as_deref().filter(|id| !id.is_empty())
}

fn name_of(name: &Option<String>) -> &str {
    name.as_deref().unwrap_or_default()
}
