//! A decision as if it had been carried out.

use crate::{
    api::{NodeClaim, NodePool, conditions, conditions::Conditioned, labels},
    disruption::{Command, MoveTo},
    model::{CapacityType, ClusterSnapshot, InstanceType, Operator, PodKey, StateNode, is_reschedulable, is_virtual},
    scheduling::PlannedNodeClaim,
};
use k8s_openapi::{
    api::core::v1::{Node, NodeCondition, NodeSpec, NodeStatus, Pod, PodCondition, PodStatus},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use std::{collections::BTreeMap, collections::BTreeSet, sync::Arc};

/// A cluster that does at once what it is told.
#[derive(Debug)]
pub(super) struct World {
    pub(super) snapshot: ClusterSnapshot,
    launched: BTreeMap<String, u32>,
}

impl World {
    pub(super) fn new(snapshot: ClusterSnapshot) -> Self {
        Self { snapshot, launched: BTreeMap::new() }
    }

    /// A new machine, ready and empty; its name.
    pub(super) fn launch(&mut self, planned: &PlannedNodeClaim) -> String {
        let number = self.launched.entry(planned.node_pool.to_string()).or_default();
        *number += 1;
        let name = format!("{}-new-{number}", planned.node_pool);
        let machine = self.machine(&name, planned);
        let position = self.snapshot.nodes.partition_point(|own| own.name() < name.as_str());
        self.snapshot.nodes.insert(position, machine);
        name
    }

    /// Binds pods to a machine. Those that stand for a buffer go on waiting: the room is to stay free.
    pub(super) fn place(&mut self, node: &str, pods: &[Arc<Pod>]) {
        let keys: BTreeSet<PodKey> = pods.iter().map(|pod| PodKey::of(pod)).collect();
        self.snapshot.pending.retain(|pod| !keys.contains(&PodKey::of(pod)));
        // Pods of machines that go away move as well.
        for machine in &mut self.snapshot.nodes {
            machine.pods.retain(|pod| !keys.contains(&PodKey::of(pod)));
        }
        let Some(machine) = self.snapshot.nodes.iter_mut().find(|own| own.name() == node) else { return };
        machine.pods.extend(pods.iter().filter(|pod| !is_virtual(pod)).map(|pod| bound(pod, node)));
        machine.pods.sort_by_cached_key(|pod| PodKey::of(pod));
    }

    /// Takes a machine away; the pods that need another place.
    pub(super) fn remove(&mut self, name: &str) -> Vec<Arc<Pod>> {
        let Some(position) = self.snapshot.nodes.iter().position(|own| own.name() == name) else { return Vec::new() };
        let machine = self.snapshot.nodes.remove(position);
        machine.pods.into_iter().filter(|pod| is_reschedulable(pod)).collect()
    }

    /// Lets pods wait for a place.
    pub(super) fn wait(&mut self, pods: &[Arc<Pod>]) {
        self.snapshot.pending.extend(pods.iter().map(waiting));
    }

    /// Carries a command out whose replacements are there as `names`; how many pods had to move.
    pub(super) fn carry_out(&mut self, command: &Command, names: &[String]) -> usize {
        let mut homeless = Vec::new();
        for candidate in &command.candidates {
            homeless.extend(self.remove(candidate.node.as_str()));
        }
        let moved = homeless.len();
        let mut by_target: BTreeMap<&str, Vec<Arc<Pod>>> = BTreeMap::new();
        for own in &command.moves {
            let to = match &own.to {
                MoveTo::Existing(node) => Some(node.as_str()),
                MoveTo::Replacement(index) => names.get(*index).map(String::as_str),
            };
            let position = homeless.iter().position(|pod| PodKey::of(pod) == own.pod);
            if let (Some(to), Some(position)) = (to, position) {
                by_target.entry(to).or_default().push(homeless.swap_remove(position));
            }
        }
        for (to, pods) in by_target {
            self.place(to, &pods);
        }
        self.wait(&homeless);
        moved
    }

    fn machine(&self, name: &str, planned: &PlannedNodeClaim) -> StateNode {
        let kind = planned.instance_types.iter().find(|own| own.name == planned.launch.instance_type);
        let labels = node_labels(name, planned, kind.map(AsRef::as_ref));
        let capacity = kind.map(|kind| kind.capacity.to_quantities());
        let allocatable = kind.map(|kind| kind.allocatable().to_quantities());
        let ready = NodeCondition {
            type_: conditions::READY.to_owned(),
            status: conditions::TRUE.to_owned(),
            ..NodeCondition::default()
        };
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            uid: Some(name.to_owned()),
            labels: Some(labels),
            annotations: Some(planned.annotations.clone()),
            creation_timestamp: Some(Time(self.snapshot.now)),
            ..ObjectMeta::default()
        };
        let node = Node {
            metadata: metadata.clone(),
            spec: Some(NodeSpec {
                provider_id: Some(format!("plan:///{name}")),
                taints: Some(planned.taints.clone()),
                ..NodeSpec::default()
            }),
            status: Some(NodeStatus { capacity, allocatable, conditions: Some(vec![ready]), ..NodeStatus::default() }),
        };
        let pool = self.snapshot.node_pools.get(&planned.node_pool);
        let node_claim = pool.map(|pool| Arc::new(self.node_claim(metadata, planned, pool)));
        StateNode { node: Some(Arc::new(node)), node_claim, ..StateNode::default() }
    }

    fn node_claim(&self, metadata: ObjectMeta, planned: &PlannedNodeClaim, pool: &NodePool) -> NodeClaim {
        let now = self.snapshot.now;
        let mut claim = planned.node_claim(pool);
        let annotations = [
            (labels::NODE_POOL_HASH.to_owned(), crate::api::hash::node_pool(pool)),
            (labels::NODE_POOL_HASH_VERSION.to_owned(), crate::api::hash::NODE_POOL_VERSION.to_owned()),
        ];
        claim.metadata = metadata;
        claim.metadata.annotations.get_or_insert_default().extend(annotations);
        let status = claim.status.get_or_insert_default();
        status.node_name.clone_from(&claim.metadata.name);
        status.provider_id = claim.metadata.name.as_ref().map(|name| format!("plan:///{name}"));
        for reached in [
            conditions::LAUNCHED,
            conditions::REGISTERED,
            conditions::INITIALIZED,
            conditions::CONSOLIDATABLE,
            conditions::READY,
        ] {
            claim.set_true(reached, now);
        }
        claim
    }
}

/// What a machine launched so would be labelled with.
fn node_labels(name: &str, planned: &PlannedNodeClaim, kind: Option<&InstanceType>) -> BTreeMap<String, String> {
    let of_kind = kind.into_iter().flat_map(|kind| kind.requirements.iter());
    let single = of_kind.filter(|own| own.operator() == Operator::In);
    let mut all: BTreeMap<String, String> =
        single.filter_map(|own| Some((own.key().to_owned(), own.single_value()?.to_owned()))).collect();
    all.extend(planned.requirements.single_values());
    all.extend(planned.labels.clone());
    let launch = &planned.launch;
    all.remove(labels::CAPACITY_RESERVATION_ID);
    if let (Some(id), CapacityType::Reserved) = (&launch.reservation_id, launch.capacity_type) {
        all.insert(labels::CAPACITY_RESERVATION_ID.to_owned(), id.clone());
    }
    let own = [
        (labels::INSTANCE_TYPE, launch.instance_type.as_str()),
        (labels::ZONE, launch.zone.as_str()),
        (labels::CAPACITY_TYPE, launch.capacity_type.as_str()),
        (labels::NODE_POOL, planned.node_pool.as_str()),
        (labels::HOSTNAME, name),
        (labels::REGISTERED, "true"),
        (labels::INITIALIZED, "true"),
    ];
    all.extend(own.map(|(key, value)| (key.to_owned(), value.to_owned())));
    all
}

fn bound(pod: &Arc<Pod>, node: &str) -> Arc<Pod> {
    let mut pod = Pod::clone(pod);
    pod.spec.get_or_insert_default().node_name = Some(node.to_owned());
    let status = pod.status.get_or_insert_default();
    status.conditions.iter_mut().flatten().for_each(|own| {
        if own.type_ == "PodScheduled" {
            own.status = "True".to_owned();
            own.reason = None;
        }
    });
    status.phase = Some("Running".to_owned());
    Arc::new(pod)
}

/// The pod as its owner makes it anew, with nowhere to go yet.
fn waiting(pod: &Arc<Pod>) -> Arc<Pod> {
    let mut pod = Pod::clone(pod);
    pod.metadata.deletion_timestamp = None;
    pod.spec.get_or_insert_default().node_name = None;
    pod.status = Some(PodStatus {
        phase: Some("Pending".to_owned()),
        conditions: Some(vec![PodCondition {
            type_: "PodScheduled".to_owned(),
            status: "False".to_owned(),
            reason: Some("Unschedulable".to_owned()),
            ..PodCondition::default()
        }]),
        ..PodStatus::default()
    });
    Arc::new(pod)
}
