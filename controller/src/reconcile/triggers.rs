//! Which loop looks at what when something changes.

use super::{claim_name, node_name, pool_of, queue::WorkQueue};
use crate::{
    metrics::{Metrics, seconds},
    state::{Change, Listener, Mirror, Step, pods},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use sawhorse_ambient::Clock;
use sawhorse_core::{
    api::{CapacityBuffer, Ec2NodeClass, NodeClaim, NodeOverlay, NodePool},
    lifecycle::TemplateRef,
    model::{BufferKey, NodeClaimName, NodeName, NodeOverlayName, NodePoolName, ProviderId},
};
use std::{sync::Arc, time::Duration};

/// A pool's counters follow its machines within this time, as the reference's do; so a hundred machines cost one write.
const COUNT_AFTER: SignedDuration = SignedDuration::from_secs(5);

/// The queues of the loops that look at one object at a time.
#[derive(Clone)]
pub(crate) struct Queues {
    clock: Clock,
    pub(super) node_claims: WorkQueue<NodeClaimName>,
    pub(super) conditions: WorkQueue<NodeClaimName>,
    pub(super) nodes: WorkQueue<NodeName>,
    pub(super) node_pools: WorkQueue<NodePoolName>,
    pub(super) node_classes: WorkQueue<String>,
    pub(super) capacity_buffers: WorkQueue<BufferKey>,
    pub(super) node_overlays: WorkQueue<NodeOverlayName>,
}

impl Queues {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            node_claims: WorkQueue::new(clock),
            conditions: WorkQueue::new(clock),
            nodes: WorkQueue::new(clock),
            node_pools: WorkQueue::new(clock),
            node_classes: WorkQueue::new(clock),
            capacity_buffers: WorkQueue::new(clock),
            node_overlays: WorkQueue::new(clock),
        }
    }

    /// What the mirror tells of changes.
    pub(crate) fn listeners(&self, metrics: Metrics, clock: Clock) -> Vec<Listener> {
        let queues = self.clone();
        let route: Listener = Box::new(move |mirror, change| queues.route(mirror, change));
        let observe: Listener = Box::new(move |_, change| observe_pod(&metrics, change, clock.now()));
        vec![route, observe]
    }

    fn route(&self, mirror: &Mirror, change: &Change) {
        match change {
            Change::NodePool(step) => self.node_pool_changed(mirror, step),
            Change::NodeClaim(step) => self.node_claim_changed(mirror, step),
            Change::Ec2NodeClass(step) => self.node_class_changed(mirror, step),
            Change::Node(step) => self.node_changed(mirror, step),
            Change::Pod(step) => self.pod_changed(mirror, step),
            Change::CapacityBuffer(step) => self.capacity_buffer_changed(step),
            Change::NodeOverlay(step) => self.node_overlay_changed(mirror, step),
            Change::Template(of) => self.template_changed(mirror, of),
            // The provisioner and disruption follow the revision, which has moved.
            Change::Other => {}
        }
    }

    fn node_pool_changed(&self, mirror: &Mirror, step: &Step<NodePool>) {
        let Some(pool) = step.either() else { return };
        let name = NodePoolName::from(pool.metadata.name.as_deref().unwrap_or_default());
        let spec_changed =
            step.before.as_ref().map(|before| &before.spec) != step.after.as_ref().map(|after| &after.spec);
        let hash_changed =
            step.before.as_ref().map(|before| &before.metadata) != step.after.as_ref().map(|after| &after.metadata);
        if spec_changed || hash_changed {
            for claim in mirror.read(|state| state.node_claims()) {
                if pool_of(claim.metadata.labels.as_ref()).as_ref() == Some(&name) {
                    self.conditions.add(claim_name(&claim));
                }
            }
        }
        self.node_pools.add(name);
    }

    fn node_claim_changed(&self, mirror: &Mirror, step: &Step<NodeClaim>) {
        let Some(claim) = step.either() else { return };
        self.node_claims.add(claim_name(claim));
        self.conditions.add(claim_name(claim));
        self.count(pool_of(claim.metadata.labels.as_ref()));
        self.node_classes.add(claim.spec.node_class_ref.name.clone());
        // The end of a NodeClaim ends its Node, and the Node's end waits for the NodeClaim's conditions.
        if let Some(id) = claim.status.as_ref().and_then(|status| status.provider_id.as_deref()) {
            let nodes = mirror.read(|state| state.nodes_of(&ProviderId::from(id)));
            let leaving = nodes.iter().filter(|node| node.metadata.deletion_timestamp.is_some());
            leaving.for_each(|node| self.nodes.add(node_name(node)));
        }
    }

    fn node_class_changed(&self, mirror: &Mirror, step: &Step<Ec2NodeClass>) {
        let name = step.either().and_then(|class| class.metadata.name.clone()).unwrap_or_default();
        for pool in mirror.read(|state| state.node_pools()) {
            if pool.spec.template.spec.node_class_ref.name == name {
                self.node_pools.add(NodePoolName::from(pool.metadata.name.as_deref().unwrap_or_default()));
            }
        }
        for claim in mirror.read(|state| state.node_claims()) {
            if claim.spec.node_class_ref.name == name {
                self.conditions.add(claim_name(&claim));
            }
        }
        self.node_classes.add(name);
    }

    fn capacity_buffer_changed(&self, step: &Step<CapacityBuffer>) {
        if let Some(buffer) = step.either() {
            self.capacity_buffers.add(BufferKey::of(buffer));
        }
    }

    fn node_overlay_changed(&self, mirror: &Mirror, step: &Step<NodeOverlay>) {
        if step.before.as_ref().map(|own| &own.spec) != step.after.as_ref().map(|own| &own.spec) {
            // Another may be in conflict with it, or no longer.
            self.look_at_overlays(mirror);
        } else if let Some(overlay) = step.either() {
            self.node_overlays.add(NodeOverlayName::from(overlay.metadata.name.as_deref().unwrap_or_default()));
        }
    }

    /// All of them are to be evaluated anew.
    pub(super) fn look_at_overlays(&self, mirror: &Mirror) {
        for overlay in mirror.read(|state| state.node_overlays()) {
            self.node_overlays.add(NodeOverlayName::from(overlay.metadata.name.as_deref().unwrap_or_default()));
        }
    }

    fn template_changed(&self, mirror: &Mirror, of: &TemplateRef) {
        mirror.read(|state| state.buffers_by(of)).into_iter().for_each(|key| self.capacity_buffers.add(key));
    }

    fn node_changed(&self, mirror: &Mirror, step: &Step<Node>) {
        let Some(node) = step.either() else { return };
        if node.metadata.deletion_timestamp.is_some() {
            self.nodes.add(node_name(node));
        }
        self.count(pool_of(node.metadata.labels.as_ref()));
        if let Some(id) = node.spec.as_ref().and_then(|spec| spec.provider_id.as_deref()) {
            for claim in mirror.read(|state| state.claims_of(&ProviderId::from(id))) {
                self.node_claims.add(claim_name(&claim));
            }
        }
    }

    fn pod_changed(&self, mirror: &Mirror, step: &Step<Pod>) {
        let Some(node) = step.either().and_then(|pod| pods::node_of(pod)) else { return };
        let Some(object) = mirror.read(|state| state.node(node.as_str())) else { return };
        if object.metadata.deletion_timestamp.is_some() {
            self.nodes.add(node.clone());
        }
        if pods::event_on(step.before.as_deref(), step.after.as_deref()).is_none() {
            return;
        }
        if let Some(id) = object.spec.as_ref().and_then(|spec| spec.provider_id.as_deref()) {
            for claim in mirror.read(|state| state.claims_of(&ProviderId::from(id))) {
                mirror.update(|state| state.pod_event(&claim_name(&claim), self.clock.now()));
                self.conditions.add(claim_name(&claim));
            }
        }
    }

    /// The pool's machines are to be counted.
    fn count(&self, pool: Option<NodePoolName>) {
        if let Some(pool) = pool {
            self.node_pools.add_at(pool, self.clock.now() + COUNT_AFTER);
        }
    }
}

/// Feeds the metrics of pods that come up.
fn observe_pod(metrics: &Metrics, change: &Change, now: Timestamp) {
    let Change::Pod(Step { before: Some(before), after: Some(after) }) = change else { return };
    let Some(created) = after.metadata.creation_timestamp.as_ref() else { return };
    let age = || seconds(Duration::try_from(now.duration_since(created.0)).unwrap_or_default());
    if pods::node_of(before).is_none() && pods::node_of(after).is_some() {
        metrics.pods_bound_duration.observe(age());
    }
    if !is_ready(before) && is_ready(after) {
        metrics.pods_startup_duration.observe("", age());
    }
}

fn is_ready(pod: &Arc<Pod>) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
