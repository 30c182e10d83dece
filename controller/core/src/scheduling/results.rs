//! What `solve` decides.

use crate::{
    api::{NodeClaim, NodeClaimSpec, NodePool, ResourceRequirements},
    model::{
        BufferKey, BufferRoom, CapacityType, InstanceType, NodePoolName, PodKey, Price, Requirements, Resources,
        WhyNot, buffer_of,
    },
};
use k8s_openapi::{
    api::core::v1::{Pod, Taint},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use std::{collections::BTreeMap, sync::Arc};

/// Where each pod goes. Every pod of the input is in exactly one of the three lists.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// Pods for machines that exist or are on their way, in the order of the machines' names.
    pub placements: Vec<Placement>,
    /// Machines to launch, by pool and then in the order in which they were planned.
    pub planned: Vec<PlannedNodeClaim>,
    /// Pods without a place, by namespace and name.
    pub unschedulable: Vec<Unschedulable>,
}

impl Results {
    /// What the planned machines cost together per hour.
    pub fn total_price(&self) -> Price {
        self.planned.iter().map(|planned| planned.launch.price).sum()
    }

    /// Whether every pod has a place.
    pub fn all_placed(&self) -> bool {
        self.unschedulable.is_empty()
    }

    /// Where the pods that stand for CapacityBuffers are, by buffer.
    pub fn buffer_rooms(&self) -> BTreeMap<BufferKey, BufferRoom> {
        let mut rooms: BTreeMap<BufferKey, BufferRoom> = BTreeMap::new();
        let mut add = |pod: &Pod, count: fn(&mut BufferRoom) -> &mut u32| {
            if let Some(buffer) = buffer_of(pod) {
                *count(rooms.entry(buffer).or_default()) += 1;
            }
        };
        self.placements.iter().flat_map(|own| &own.pods).for_each(|pod| add(pod, |room| &mut room.existing));
        self.planned.iter().flat_map(|own| &own.pods).for_each(|pod| add(pod, |room| &mut room.planned));
        self.unschedulable.iter().for_each(|own| add(&own.pod, |room| &mut room.failed));
        rooms
    }

    /// The pods that have a place, those on planned machines first.
    pub fn placed(&self) -> impl Iterator<Item = &Arc<Pod>> {
        let existing = self.placements.iter().flat_map(|placement| &placement.pods);
        self.planned.iter().flat_map(|planned| &planned.pods).chain(existing)
    }

    /// Why `pod` has no place; none if it has one.
    pub fn why_not(&self, pod: &PodKey) -> Option<&WhyNot> {
        let found = self.unschedulable.binary_search_by(|own| own.key.cmp(pod)).ok();
        found.map(|index| &self.unschedulable[index].why)
    }
}

/// Pods for a machine that exists or is on its way.
#[derive(Clone, Debug)]
pub struct Placement {
    /// [`crate::model::StateNode::name`] of the machine.
    pub node: String,
    /// Its position in the snapshot's `nodes`.
    pub index: usize,
    /// Whether it was initialized: a pod planned onto another may have to wait, or find that it never comes.
    pub initialized: bool,
    /// The pods, by namespace and name.
    pub pods: Vec<Arc<Pod>>,
}

/// A pod without a place.
#[derive(Clone, Debug)]
pub struct Unschedulable {
    /// The pod's key.
    pub key: PodKey,
    /// The pod.
    pub pod: Arc<Pod>,
    /// Why.
    pub why: WhyNot,
}

/// A machine to launch: any of `instance_types` will hold `pods`.
#[derive(Clone, Debug)]
pub struct PlannedNodeClaim {
    /// The pool that it belongs to.
    pub node_pool: NodePoolName,
    /// The pods planned onto it, by namespace and name.
    pub pods: Vec<Arc<Pod>>,
    /// The types that will do, cheapest first; at most `max_instance_types`, never empty.
    pub instance_types: Arc<[Arc<InstanceType>]>,
    /// What must hold of the machine's labels, instance type and capacity type included.
    pub requirements: Requirements,
    /// Labels of the NodeClaim.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the NodeClaim.
    pub annotations: BTreeMap<String, String>,
    /// Taints that the machine keeps.
    pub taints: Vec<Taint>,
    /// Taints that the machine starts with.
    pub startup_taints: Vec<Taint>,
    /// What its pods and daemons ask for.
    pub resources: Resources,
    /// The price of the cheapest offering that will do.
    pub cheapest_price: Price,
    /// The offering that is expected to be launched.
    pub launch: Launch,
    /// Whether `minValues` had to be lowered.
    pub min_values_relaxed: bool,
    /// The most of each resource that the machine may turn out to have: what it holds of its pool's limits until it is
    /// launched.
    pub largest_capacity: Resources,
}

/// One way to buy one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The instance type's name.
    pub instance_type: String,
    /// The zone.
    pub zone: String,
    /// How it is paid for.
    pub capacity_type: CapacityType,
    /// Per hour.
    pub price: Price,
    /// The reservation that it draws on.
    pub reservation_id: Option<String>,
}

impl PlannedNodeClaim {
    /// The object to create (spec core 1.5): its name is left to the API server (`generateName`), and deleting the pool deletes
    /// it.
    pub fn node_claim(&self, pool: &NodePool) -> NodeClaim {
        let template = &pool.spec.template.spec;
        let spec = NodeClaimSpec {
            taints: self.taints.clone(),
            startup_taints: self.startup_taints.clone(),
            requirements: self.requirements.to_specs(),
            resources: ResourceRequirements { requests: self.resources.to_quantities() },
            node_class_ref: template.node_class_ref.clone(),
            termination_grace_period: template.termination_grace_period.clone(),
            expire_after: template.expire_after.clone(),
        };
        let owner = OwnerReference {
            api_version: "karpenter.sh/v1".to_owned(),
            kind: "NodePool".to_owned(),
            name: self.node_pool.to_string(),
            uid: pool.metadata.uid.clone().unwrap_or_default(),
            block_owner_deletion: Some(true),
            controller: None,
        };
        let metadata = ObjectMeta {
            generate_name: Some(format!("{}-", self.node_pool)),
            labels: Some(self.labels.clone()),
            annotations: Some(self.annotations.clone()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        };
        NodeClaim { metadata, spec, status: None }
    }
}
