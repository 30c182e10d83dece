//! The mirror of the cluster: fed by watches and by the answers to our own writes, read as a [`ClusterSnapshot`].
//!
//! - [`store`] — the objects of one kind, in order, with our writes that are not echoed yet
//! - [`kinds`] — which kinds are mirrored, and what of them is not worth remembering
//! - [`pods`] — which pods count, and which changes of a pod count
//! - [`buffers`] — what CapacityBuffers refer to
//! - [`snapshot`] — the mirror as the deciders want it
//! - [`mirror`] — the shared handle: one lock, listeners, a revision to wait for
//! - [`follow`] — the watch of one kind
//!
//! Nothing in here awaits, but [`follow`].

mod buffers;
mod follow;
mod kinds;
mod mirror;
pub(crate) mod pods;
mod snapshot;
mod store;

pub(crate) use follow::follow;
pub(crate) use kinds::{Change, Mirrored};
pub(crate) use mirror::{Listener, Mirror};
pub(crate) use store::Step;

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
        core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, PodTemplate},
        policy::v1::PodDisruptionBudget,
        storage::v1::{CSINode, StorageClass},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use sawhorse_core::{
    api::{CapacityBuffer, Ec2NodeClass, NodeClaim, NodeOverlay, NodePool},
    model::{ClusterSnapshot, NodeClaimName, NodeName, PodKey, ProviderId, Settings},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use store::{Origin, Store};

/// What is known of the cluster.
///
/// Invariant: `revision` moves exactly when something changed that a decision can depend on. Heartbeats, lease renewals
/// and new versions of the same content do not move it, so that loops may sleep on it.
#[derive(Debug, Default)]
pub(crate) struct State {
    node_pools: Store<NodePool>,
    node_claims: Store<NodeClaim>,
    ec2_node_classes: Store<Ec2NodeClass>,
    nodes: Store<Node>,
    pods: Store<Pod>,
    daemon_sets: Store<DaemonSet>,
    pod_disruption_budgets: Store<PodDisruptionBudget>,
    namespaces: Store<Namespace>,
    persistent_volume_claims: Store<PersistentVolumeClaim>,
    persistent_volumes: Store<PersistentVolume>,
    storage_classes: Store<StorageClass>,
    csi_nodes: Store<CSINode>,
    /// Followed with the feature NodeOverlay only.
    node_overlays: Store<NodeOverlay>,
    /// These, and what they may refer to, are followed with the feature CapacityBuffer only.
    capacity_buffers: Store<CapacityBuffer>,
    pod_templates: Store<PodTemplate>,
    deployments: Store<Deployment>,
    stateful_sets: Store<StatefulSet>,
    replica_sets: Store<ReplicaSet>,
    pods_by_node: BTreeMap<NodeName, BTreeSet<PodKey>>,
    /// Nodes and NodeClaims by the id of their machine; more than one of a kind only if something is wrong.
    nodes_by_id: BTreeMap<String, BTreeSet<String>>,
    claims_by_id: BTreeMap<String, BTreeSet<String>>,
    /// Pods that wait for a machine.
    pending: BTreeSet<PodKey>,
    /// How often something came up that may need a new machine: a pod that waits, a machine that goes away.
    arrivals: u64,
    /// When a pod last came to or left the machine of a NodeClaim, until its status says so.
    pod_events: BTreeMap<NodeClaimName, Timestamp>,
    /// NodeClaims that a disruption command has claimed (spec core 2.1, MarkedForDeletion).
    marked: BTreeSet<NodeClaimName>,
    nominated: BTreeMap<NodeClaimName, Timestamp>,
    settings: Settings,
    revision: u64,
    cached: Option<(u64, ClusterSnapshot)>,
}

impl State {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Takes in what the watch shows.
    pub(crate) fn apply<K: Mirrored>(&mut self, object: K) -> Option<Change> {
        self.take_in(object, Origin::Watch)
    }

    /// Takes in the answer to one of our writes; it counts at once.
    pub(crate) fn wrote<K: Mirrored>(&mut self, object: K) -> Option<Change> {
        self.take_in(object, Origin::Write)
    }

    /// The object is gone.
    pub(crate) fn delete<K: Mirrored>(&mut self, meta: &ObjectMeta) -> Option<Change> {
        let step = K::store(self).delete(meta)?;
        Some(self.changed(step))
    }

    /// Replaces all objects of a kind by a complete list.
    pub(crate) fn reset<K: Mirrored>(&mut self, mut objects: Vec<K>) -> Vec<Change> {
        objects.iter_mut().for_each(K::strip);
        let first = !K::store(self).is_listed();
        let steps = K::store(self).reset(objects);
        // Having seen the list of a kind is news of its own: `synced` may have become true.
        self.revision += u64::from(first);
        steps.into_iter().map(|step| self.changed(step)).collect()
    }

    fn take_in<K: Mirrored>(&mut self, mut object: K, origin: Origin) -> Option<Change> {
        object.strip();
        let step = K::store(self).apply(object, origin)?;
        Some(self.changed(step))
    }

    fn changed<K: Mirrored>(&mut self, step: Step<K>) -> Change {
        self.revision += 1;
        K::index(self, &step);
        K::change(step)
    }

    /// Whether every kind has been listed once. Unlike the reference (spec core 2.1), a NodeClaim that has not launched yet
    /// does not hold everything up: machines are kept by NodeClaim, not by provider id, so it is known without one.
    pub(crate) fn synced(&self) -> bool {
        self.node_pools.is_listed()
            && self.node_claims.is_listed()
            && self.ec2_node_classes.is_listed()
            && self.nodes.is_listed()
            && self.pods.is_listed()
            && self.daemon_sets.is_listed()
            && self.pod_disruption_budgets.is_listed()
            && self.namespaces.is_listed()
            && self.persistent_volume_claims.is_listed()
            && self.persistent_volumes.is_listed()
            && self.storage_classes.is_listed()
            && self.csi_nodes.is_listed()
            && (!self.settings.feature_gates.node_overlay || self.node_overlays.is_listed())
            && (!self.settings.feature_gates.capacity_buffer || self.buffers_listed())
    }

    /// Moves when something changed that a decision can depend on.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// The cluster as the deciders want it. Made anew only when the revision has moved.
    pub(crate) fn snapshot(&mut self, now: Timestamp) -> ClusterSnapshot {
        self.nominated.retain(|_, until| *until > now);
        let cached = self.cached.take().filter(|(revision, _)| *revision == self.revision);
        let (revision, snapshot) = cached.unwrap_or_else(|| (self.revision, snapshot::build(self, now)));
        let mut fresh = snapshot.clone();
        self.cached = Some((revision, snapshot));
        fresh.now = now;
        fresh
    }

    /// Keeps the machine of `claim` from disruption until `until`, for the pods that were planned onto it.
    pub(crate) fn nominate(&mut self, claim: &NodeClaimName, until: Timestamp) {
        let entry = self.nominated.entry(claim.clone()).or_insert(until);
        *entry = (*entry).max(until);
        self.revision += 1;
    }

    /// How often something came up that may need a new machine.
    pub(crate) fn arrivals(&self) -> u64 {
        self.arrivals
    }

    /// Whether something may need a new machine: a pod waits, a machine is going away, or room is to be kept.
    pub(crate) fn is_demand(&self) -> bool {
        let leaves = |claim: &Arc<NodeClaim>| claim.metadata.deletion_timestamp.is_some();
        !self.pending.is_empty()
            || !self.marked.is_empty()
            || self.capacity_buffers.iter().len() > 0
            || self.node_claims.iter().any(leaves)
    }

    /// A pod came to or left the machine of `claim`.
    pub(crate) fn pod_event(&mut self, claim: &NodeClaimName, at: Timestamp) {
        self.pod_events.insert(claim.clone(), at);
    }

    /// When a pod last came to or left the machine of `claim`, as far as this process has seen.
    pub(crate) fn last_pod_event(&self, claim: &NodeClaimName) -> Option<Timestamp> {
        self.pod_events.get(claim).copied()
    }

    /// Says that a disruption command has claimed the machine of `claim`, or no longer does.
    pub(crate) fn mark(&mut self, claim: &NodeClaimName, marked: bool) {
        let changed = if marked { self.marked.insert(claim.clone()) } else { self.marked.remove(claim) };
        self.revision += u64::from(changed);
    }

    pub(crate) fn node_pool(&self, name: &str) -> Option<Arc<NodePool>> {
        self.node_pools.get("", name).cloned()
    }

    pub(crate) fn node_pools(&self) -> Vec<Arc<NodePool>> {
        self.node_pools.iter().cloned().collect()
    }

    pub(crate) fn node_claim(&self, name: &str) -> Option<Arc<NodeClaim>> {
        self.node_claims.get("", name).cloned()
    }

    pub(crate) fn node_claims(&self) -> Vec<Arc<NodeClaim>> {
        self.node_claims.iter().cloned().collect()
    }

    pub(crate) fn ec2_node_class(&self, name: &str) -> Option<Arc<Ec2NodeClass>> {
        self.ec2_node_classes.get("", name).cloned()
    }

    pub(crate) fn node_overlay(&self, name: &str) -> Option<Arc<NodeOverlay>> {
        self.node_overlays.get("", name).cloned()
    }

    pub(crate) fn node_overlays(&self) -> Vec<Arc<NodeOverlay>> {
        self.node_overlays.iter().cloned().collect()
    }

    pub(crate) fn node(&self, name: &str) -> Option<Arc<Node>> {
        self.nodes.get("", name).cloned()
    }

    /// The nodes with this provider id; more than one only if something is wrong.
    pub(crate) fn nodes_of(&self, id: &ProviderId) -> Vec<Arc<Node>> {
        let names = self.nodes_by_id.get(id.as_str()).into_iter().flatten();
        names.filter_map(|name| self.node(name)).collect()
    }

    /// The NodeClaims with this provider id; more than one only if something is wrong.
    pub(crate) fn claims_of(&self, id: &ProviderId) -> Vec<Arc<NodeClaim>> {
        let names = self.claims_by_id.get(id.as_str()).into_iter().flatten();
        names.filter_map(|name| self.node_claim(name)).collect()
    }

    pub(crate) fn pod(&self, key: &PodKey) -> Option<Arc<Pod>> {
        self.pods.get(&key.namespace, &key.name).cloned()
    }

    /// Every pod on a node, terminal ones too, by namespace and name.
    pub(crate) fn pods_on(&self, node: &NodeName) -> Vec<Arc<Pod>> {
        let keys = self.pods_by_node.get(node).into_iter().flatten();
        keys.filter_map(|key| self.pod(key)).collect()
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }
}

#[cfg(test)]
mod tests;
