//! What is known of the cluster at one instant: the input of every decision.

use super::{GangKey, NodeClaimName, NodeName, NodePoolName, ProviderId, Settings, Storage};
use crate::api::{NodeClaim, NodeOverlay, NodePool};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Namespace, Node, Pod},
    policy::v1::PodDisruptionBudget,
};
use std::{collections::BTreeMap, sync::Arc};

/// The cluster at `now`. Objects are shared, so a snapshot is cheap to make and to fork.
#[derive(Clone, Debug)]
pub struct ClusterSnapshot {
    /// The time of the decision.
    pub now: Timestamp,
    /// Every NodePool, whatever its state.
    pub node_pools: BTreeMap<NodePoolName, Arc<NodePool>>,
    /// Every NodeOverlay, if they are looked at. Catalogs have what they say in them already ([`super::Overlays`]).
    pub node_overlays: Vec<Arc<NodeOverlay>>,
    /// Machines: every NodeClaim with its Node, and every Node without a NodeClaim. Sorted by name.
    pub nodes: Vec<StateNode>,
    /// Pods that wait for a node (`PodScheduled` is False with reason `Unschedulable`, and so on: spec core 2.3).
    pub pending: Vec<Arc<Pod>>,
    /// Pods that stand for the room that CapacityBuffers keep free ([`super::Buffer::virtual_pods`]). Places are found for
    /// them as for those that wait, after those, and nobody is told.
    pub virtual_pods: Vec<Arc<Pod>>,
    /// Every DaemonSet.
    pub daemon_sets: Vec<Arc<DaemonSet>>,
    /// Every PodDisruptionBudget.
    pub pod_disruption_budgets: Vec<Arc<PodDisruptionBudget>>,
    /// Every Namespace.
    pub namespaces: Vec<Arc<Namespace>>,
    /// Claims, volumes and what makes and attaches them.
    pub storage: Arc<Storage>,
    /// Sets of pods that start together (replicas left out), with how many of each must.
    pub gangs: BTreeMap<GangKey, u32>,
    /// How to decide.
    pub settings: Settings,
}

impl ClusterSnapshot {
    /// A cluster at `now` in which there is nothing, decided on by the usual settings.
    pub fn empty(now: Timestamp) -> Self {
        Self {
            now,
            node_pools: BTreeMap::new(),
            node_overlays: Vec::new(),
            nodes: Vec::new(),
            pending: Vec::new(),
            virtual_pods: Vec::new(),
            daemon_sets: Vec::new(),
            pod_disruption_budgets: Vec::new(),
            namespaces: Vec::new(),
            storage: Arc::default(),
            gangs: BTreeMap::new(),
            settings: Settings::default(),
        }
    }

    /// The machine of a NodeClaim.
    pub fn machine_of(&self, claim: &NodeClaimName) -> Option<&StateNode> {
        self.nodes.iter().find(|machine| machine.claim_name() == Some(claim.as_str()))
    }
}

/// One machine: a NodeClaim, a Node, or (once registered) both (spec core 2.1). At least one of the two is present.
#[derive(Clone, Debug, Default)]
pub struct StateNode {
    /// The Node object, once it exists.
    pub node: Option<Arc<Node>>,
    /// The NodeClaim object; none for machines that the controller does not manage.
    pub node_claim: Option<Arc<NodeClaim>>,
    /// Pods bound to the node that are not terminal. Sorted by namespace and name.
    pub pods: Vec<Arc<Pod>>,
    /// Whether a disruption command or a deletion has claimed it (spec core 2.1, MarkedForDeletion).
    pub marked_for_deletion: bool,
    /// Until when it is nominated for a pending pod and must not be disrupted.
    pub nominated_until: Option<Timestamp>,
}

impl StateNode {
    /// The Node's name if there is one, else the NodeClaim's.
    pub fn name(&self) -> &str {
        let node = self.node.as_ref().and_then(|node| node.metadata.name.as_deref());
        node.or(self.claim_name()).unwrap_or_default()
    }

    /// The NodeClaim's name, if there is one.
    pub fn claim_name(&self) -> Option<&str> {
        self.node_claim.as_ref().and_then(|claim| claim.metadata.name.as_deref())
    }

    /// The name of the Node object, if it exists.
    pub fn node_name(&self) -> Option<NodeName> {
        self.node.as_ref().and_then(|node| node.metadata.name.as_deref()).map(NodeName::from)
    }

    /// The machine's id in its cloud, from the NodeClaim's status or the Node's spec.
    pub fn provider_id(&self) -> Option<ProviderId> {
        let claim = self.node_claim.as_ref().and_then(|claim| claim.status.as_ref()?.provider_id.as_deref());
        let node = self.node.as_ref().and_then(|node| node.spec.as_ref()?.provider_id.as_deref());
        claim.or(node).filter(|id| !id.is_empty()).map(ProviderId::from)
    }
}
