//! Which kinds are mirrored, and what of them is not worth remembering.

use super::{
    State, pods, snapshot,
    store::{Step, Store},
};
use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
        core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, PodTemplate},
        policy::v1::PodDisruptionBudget,
        storage::v1::{CSINode, StorageClass},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::Resource;
use sawhorse_core::{
    api::{CapacityBuffer, Ec2NodeClass, NodeClaim, NodeOverlay, NodePool},
    lifecycle::{TemplateKind, TemplateRef},
    model::{NodeClaimName, PodKey, is_provisionable},
};
use serde::de::DeserializeOwned;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::Arc,
};

/// One object changed in a way that a decision can depend on.
#[derive(Debug)]
pub(crate) enum Change {
    NodePool(Step<NodePool>),
    NodeClaim(Step<NodeClaim>),
    Ec2NodeClass(Step<Ec2NodeClass>),
    Node(Step<Node>),
    Pod(Step<Pod>),
    CapacityBuffer(Step<CapacityBuffer>),
    NodeOverlay(Step<NodeOverlay>),
    /// Something that has a template of pods, of which CapacityBuffers may keep room.
    Template(TemplateRef),
    /// Of a kind that no loop looks at one by one; the revision has moved.
    Other,
}

/// A kind that is mirrored.
pub(crate) trait Mirrored:
    Resource<DynamicType = ()> + PartialEq + Clone + DeserializeOwned + Debug + Send + Sync + 'static
{
    /// Where its objects are.
    fn store(state: &mut State) -> &mut Store<Self>;

    /// The change as one of all kinds.
    fn change(step: Step<Self>) -> Change;

    /// Removes what no decision depends on: it saves memory, and what only ever changes there is no change.
    fn strip(&mut self) {
        self.meta_mut().managed_fields = None;
    }

    /// Keeps what is derived of this kind.
    fn index(_state: &mut State, _step: &Step<Self>) {}
}

macro_rules! mirrored {
    ($kind:ident, $store:ident, $change:expr) => {
        impl Mirrored for $kind {
            fn store(state: &mut State) -> &mut Store<Self> {
                &mut state.$store
            }

            fn change(step: Step<Self>) -> Change {
                $change(step)
            }
        }
    };
}

mirrored!(NodePool, node_pools, Change::NodePool);
mirrored!(Ec2NodeClass, ec2_node_classes, Change::Ec2NodeClass);
mirrored!(DaemonSet, daemon_sets, |_| Change::Other);
mirrored!(PodDisruptionBudget, pod_disruption_budgets, |_| Change::Other);
mirrored!(Namespace, namespaces, |_| Change::Other);
mirrored!(PersistentVolumeClaim, persistent_volume_claims, |_| Change::Other);
mirrored!(PersistentVolume, persistent_volumes, |_| Change::Other);
mirrored!(StorageClass, storage_classes, |_| Change::Other);
mirrored!(CSINode, csi_nodes, |_| Change::Other);

impl Mirrored for CapacityBuffer {
    fn store(state: &mut State) -> &mut Store<Self> {
        &mut state.capacity_buffers
    }

    fn change(step: Step<Self>) -> Change {
        Change::CapacityBuffer(step)
    }

    fn index(state: &mut State, step: &Step<Self>) {
        let spec = |buffer: &Option<Arc<Self>>| buffer.as_ref().map(|buffer| buffer.spec.clone());
        state.arrivals += u64::from(step.after.is_some() && spec(&step.before) != spec(&step.after));
    }
}

impl Mirrored for NodeOverlay {
    fn store(state: &mut State) -> &mut Store<Self> {
        &mut state.node_overlays
    }

    fn change(step: Step<Self>) -> Change {
        Change::NodeOverlay(step)
    }

    fn index(state: &mut State, step: &Step<Self>) {
        // Machines may have now what pods wait for.
        let spec = |overlay: &Option<Arc<Self>>| overlay.as_ref().map(|overlay| overlay.spec.clone());
        state.arrivals += u64::from(spec(&step.before) != spec(&step.after));
    }
}

/// What CapacityBuffers keep room by. Of its metadata and of workloads nothing counts but what [`super::buffers`] asks for.
macro_rules! has_template {
    ($kind:ident, $store:ident, $strip:expr) => {
        impl Mirrored for $kind {
            fn store(state: &mut State) -> &mut Store<Self> {
                &mut state.$store
            }

            fn change(step: Step<Self>) -> Change {
                let meta = step.either().map(|object| object.meta().clone()).unwrap_or_default();
                Change::Template(template_ref(TemplateKind::$kind, &meta))
            }

            fn strip(&mut self) {
                let meta = self.meta_mut();
                (meta.managed_fields, meta.annotations, meta.labels) = (None, None, None);
                $strip(self);
            }

            fn index(state: &mut State, step: &Step<Self>) {
                let Some(object) = step.either() else { return };
                let of = template_ref(TemplateKind::$kind, object.meta());
                state.arrivals += u64::from(!state.buffers_by(&of).is_empty());
            }
        }
    };
}

has_template!(PodTemplate, pod_templates, |_: &mut Self| {});
has_template!(Deployment, deployments, |own: &mut Self| own.status = None);
has_template!(StatefulSet, stateful_sets, |own: &mut Self| own.status = None);
has_template!(ReplicaSet, replica_sets, |own: &mut Self| own.status = None);

fn template_ref(kind: TemplateKind, meta: &ObjectMeta) -> TemplateRef {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    TemplateRef { kind, namespace: text(&meta.namespace), name: text(&meta.name) }
}

impl Mirrored for NodeClaim {
    fn store(state: &mut State) -> &mut Store<Self> {
        &mut state.node_claims
    }

    fn change(step: Step<Self>) -> Change {
        Change::NodeClaim(step)
    }

    fn index(state: &mut State, step: &Step<Self>) {
        // The pods of a machine that is going away will need another place.
        let leaves =
            |claim: &Option<Arc<Self>>| claim.as_ref().is_some_and(|it| it.metadata.deletion_timestamp.is_some());
        state.arrivals += u64::from(!leaves(&step.before) && leaves(&step.after));
        index_by_id(&mut state.claims_by_id, step, snapshot::provider_id_of_claim);
        if let Step { before: Some(gone), after: None } = step {
            let name = NodeClaimName::from(gone.metadata.name.as_deref().unwrap_or_default());
            state.marked.remove(&name);
            state.nominated.remove(&name);
            state.pod_events.remove(&name);
        }
    }
}

impl Mirrored for Node {
    fn store(state: &mut State) -> &mut Store<Self> {
        &mut state.nodes
    }

    fn change(step: Step<Self>) -> Change {
        Change::Node(step)
    }

    fn strip(&mut self) {
        self.metadata.managed_fields = None;
        let Some(status) = &mut self.status else { return };
        status.images = None;
        status.conditions.iter_mut().flatten().for_each(|condition| condition.last_heartbeat_time = None);
    }

    fn index(state: &mut State, step: &Step<Self>) {
        index_by_id(&mut state.nodes_by_id, step, snapshot::provider_id_of_node);
    }
}

impl Mirrored for Pod {
    fn store(state: &mut State) -> &mut Store<Self> {
        &mut state.pods
    }

    fn change(step: Step<Self>) -> Change {
        Change::Pod(step)
    }

    fn strip(&mut self) {
        self.metadata.managed_fields = None;
        let Some(status) = &mut self.status else { return };
        pods::strip_statuses(&mut status.container_statuses);
        pods::strip_statuses(&mut status.init_container_statuses);
        status.ephemeral_container_statuses = None;
        status.conditions.iter_mut().flatten().for_each(|condition| condition.last_probe_time = None);
    }

    fn index(state: &mut State, step: &Step<Self>) {
        index_pending(state, step);
        let old = step.before.as_deref().and_then(pods::place);
        let new = step.after.as_deref().and_then(pods::place);
        if old == new {
            return;
        }
        if let Some((node, key)) = old
            && let Some(pods) = state.pods_by_node.get_mut(&node)
        {
            pods.remove(&key);
            if pods.is_empty() {
                state.pods_by_node.remove(&node);
            }
        }
        if let Some((node, key)) = new {
            state.pods_by_node.entry(node).or_default().insert(key);
        }
    }
}

/// Keeps the names of the objects by the id of their machine.
fn index_by_id<K: Mirrored>(
    names: &mut BTreeMap<String, BTreeSet<String>>,
    step: &Step<K>,
    id: fn(&K) -> Option<&str>,
) {
    let of = |object: &Option<Arc<K>>| {
        let object = object.as_deref()?;
        Some((id(object)?.to_owned(), object.meta().name.clone()?))
    };
    let (old, new) = (of(&step.before), of(&step.after));
    if old == new {
        return;
    }
    if let Some((id, name)) = old
        && let Some(of_id) = names.get_mut(&id)
    {
        of_id.remove(&name);
        if of_id.is_empty() {
            names.remove(&id);
        }
    }
    if let Some((id, name)) = new {
        names.entry(id).or_default().insert(name);
    }
}

fn index_pending(state: &mut State, step: &Step<Pod>) {
    let Some(key) = step.either().map(|pod| PodKey::of(pod)) else { return };
    let waits = |pod: &Option<Arc<Pod>>| pod.as_deref().is_some_and(is_provisionable);
    if waits(&step.after) {
        state.arrivals += u64::from(!waits(&step.before));
        state.pending.insert(key);
    } else {
        state.pending.remove(&key);
    }
}
