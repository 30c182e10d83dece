//! What is looked at again and again in a cluster, by its invariants and the report's plots: read once from each version of
//! an object.

use crate::{control_plane::ControlPlane, invariants::Moment};
use jiff::Timestamp;
use sawhorse_core::{
    api::{DisruptionReason, NodeClaim, NodePool, labels},
    model::Resources,
};
use sawhorse_fake_cloud::world::{InstanceState, World};
use sawhorse_kwok::apiserver::{GroupResource, Object};
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The tag that says which NodeClaim a machine was bought for.
pub(crate) const CLAIM_TAG: &str = "karpenter.sh/nodeclaim";

/// The objects of one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) pods: Vec<Arc<PodFacts>>,
    pub(crate) nodes: Vec<Arc<NodeFacts>>,
    pub(crate) claims: Vec<Arc<ClaimFacts>>,
    pub(crate) pools: Vec<Arc<PoolFacts>>,
    /// PodDisruptionBudgets.
    pub(crate) budgets: Vec<Arc<Value>>,
    /// CapacityBuffers.
    pub(crate) buffers: Vec<Arc<Value>>,
    /// The NodeClaims whose machines run and are not about to be taken.
    pub(crate) running: BTreeSet<String>,
    /// Pods and Nodes as they are stored.
    pub(crate) moment: Moment,
    pub(crate) now: Timestamp,
}

/// What is known of the objects of a control plane: there are many, and few have changed since the last look.
#[derive(Debug, Default)]
pub(crate) struct KnownObjects {
    pods: Known<PodFacts>,
    nodes: Known<NodeFacts>,
    claims: Known<ClaimFacts>,
    pools: Known<PoolFacts>,
    budgets: Known<Value>,
    buffers: Known<Value>,
}

impl KnownObjects {
    /// The objects that there are `now`.
    pub(crate) fn cluster(&mut self, objects: &ControlPlane, world: &World, now: Timestamp) -> Cluster {
        let list = |group: &str, resource: &str| objects.list(&GroupResource::new(group, resource));
        let (pods, nodes) = (list("", "pods"), list("", "nodes"));
        Cluster {
            pods: self.pods.of(&pods),
            nodes: self.nodes.of(&nodes),
            moment: Moment { pods, nodes },
            claims: self.claims.of(&list("karpenter.sh", "nodeclaims")),
            pools: self.pools.of(&list("karpenter.sh", "nodepools")),
            budgets: self.budgets.of(&list("policy", "poddisruptionbudgets")),
            buffers: self.buffers.of(&list("autoscaling.x-k8s.io", "capacitybuffers")),
            running: running(world),
            now,
        }
    }
}

/// What is asked of an object.
pub(crate) trait Facts {
    /// As the object says it.
    fn of(object: &Value) -> Self;
}

/// Of few objects, everything.
impl Facts for Value {
    fn of(object: &Value) -> Self {
        object.clone()
    }
}

/// What is asked of a pod.
#[derive(Debug)]
pub(crate) struct PodFacts {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// The Node that it is bound to.
    pub(crate) node: Option<String>,
    pub(crate) phase: String,
    pub(crate) is_deleted: bool,
    pub(crate) is_ready: bool,
    /// Whether it goes because somebody asked the eviction API.
    pub(crate) is_evicted: bool,
    /// Whether it asks to be left alone for good.
    pub(crate) asks_to_stay: bool,
    /// Whether it asks to be left alone, for good or for a while.
    pub(crate) is_protected: bool,
    /// Whether something keeps it from being scheduled at all for now.
    pub(crate) is_gated: bool,
    /// Whether it comes and goes with its Node: of a DaemonSet, or the Node's own.
    pub(crate) belongs_to_node: bool,
}

impl PodFacts {
    pub(crate) fn is_ended(&self) -> bool {
        self.phase == "Succeeded" || self.phase == "Failed"
    }
}

impl Facts for PodFacts {
    fn of(pod: &Value) -> Self {
        let labels = pod["metadata"]["labels"].as_object().into_iter().flatten();
        let target = condition(pod, "DisruptionTarget");
        Self {
            name: name_of(pod),
            namespace: text(&pod["metadata"]["namespace"]),
            labels: labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect(),
            node: pod["spec"]["nodeName"].as_str().map(str::to_owned),
            phase: text(&pod["status"]["phase"]),
            is_deleted: is_deleted(pod),
            is_ready: is_true(pod, "Ready"),
            is_evicted: target.is_some_and(|own| own["reason"] == "EvictionByEvictionAPI"),
            asks_to_stay: pod["metadata"]["annotations"][labels::DO_NOT_DISRUPT] == "true",
            is_protected: !pod["metadata"]["annotations"][labels::DO_NOT_DISRUPT].is_null(),
            is_gated: pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()),
            belongs_to_node: belongs_to_node(pod),
        }
    }
}

/// What is asked of a Node.
#[derive(Debug)]
pub(crate) struct NodeFacts {
    pub(crate) name: String,
    pub(crate) pool: String,
    pub(crate) is_deleted: bool,
    pub(crate) is_initialized: bool,
    /// Whether it is kept from pods since it is to go.
    pub(crate) is_tainted: bool,
    /// Whether somebody wants it to be left alone, for good or for a while.
    pub(crate) is_protected: bool,
    /// Since when it is not Ready, if it is not.
    pub(crate) unready_since: Option<Timestamp>,
}

impl Facts for NodeFacts {
    fn of(node: &Value) -> Self {
        let taints = node["spec"]["taints"].as_array().into_iter().flatten();
        Self {
            name: name_of(node),
            pool: label(node, labels::NODE_POOL),
            is_deleted: is_deleted(node),
            is_initialized: label(node, labels::INITIALIZED) == "true",
            is_tainted: taints.into_iter().any(|taint| taint["key"] == labels::DISRUPTED_TAINT),
            is_protected: !node["metadata"]["annotations"][labels::DO_NOT_DISRUPT].is_null(),
            unready_since: (conditions(node).find(|own| own["type"] == "Ready" && own["status"] != "True"))
                .and_then(|own| own["lastTransitionTime"].as_str()?.parse().ok()),
        }
    }
}

/// What is asked of a NodeClaim.
#[derive(Debug)]
pub(crate) struct ClaimFacts {
    pub(crate) name: String,
    pub(crate) pool: String,
    pub(crate) capacity_type: String,
    pub(crate) capacity: Resources,
    /// The Node that its machine became.
    pub(crate) node: Option<String>,
    pub(crate) created: Option<Timestamp>,
    pub(crate) is_deleted: bool,
    pub(crate) is_initialized: bool,
    /// Whether its machine's end is under way in the cloud.
    pub(crate) is_terminating: bool,
    /// Whether pods may keep it only for so long.
    pub(crate) is_bounded: bool,
    /// Whether it came in place of another.
    pub(crate) is_replacement: bool,
    /// Whether its machine is not what is asked for any more.
    pub(crate) is_drifted: bool,
    /// Why it is being disrupted, if a command has it.
    pub(crate) reason: Option<DisruptionReason>,
    /// The command that has it.
    pub(crate) command: Option<Command>,
    /// The id of the command that it came for.
    pub(crate) came_for: Option<String>,
    /// The whole of it, if it can be read and came for a command.
    pub(crate) whole: Option<NodeClaim>,
}

impl Facts for ClaimFacts {
    fn of(claim: &Value) -> Self {
        let annotations = &claim["metadata"]["annotations"];
        let annotation = |key: &str| serde_json::from_str::<Value>(annotations[key].as_str()?).ok();
        let reason = condition(claim, "DisruptionReason").map(|own| text(&own["reason"]));
        let reasons = DisruptionReason::BUDGETED.into_iter().chain([DisruptionReason::ScaledDown]);
        let came_for = annotation(labels::REPLACEMENT_OF).and_then(|own| own["id"].as_str().map(str::to_owned));
        Self {
            name: name_of(claim),
            pool: label(claim, labels::NODE_POOL),
            capacity_type: label(claim, labels::CAPACITY_TYPE),
            capacity: quantities(&claim["status"]["capacity"]),
            node: claim["status"]["nodeName"].as_str().map(str::to_owned),
            created: claim["metadata"]["creationTimestamp"].as_str().and_then(|text| text.parse().ok()),
            is_deleted: is_deleted(claim),
            is_initialized: is_true(claim, "Initialized"),
            is_terminating: is_true(claim, "InstanceTerminating"),
            is_bounded: !claim["spec"]["terminationGracePeriod"].is_null(),
            is_replacement: !annotations[labels::REPLACEMENT_FOR].is_null(),
            reason: reason.and_then(|text| reasons.into_iter().find(|own| own.as_str() == text)),
            command: annotation(labels::COMMAND).map(|own| Command::of(&own)),
            whole: came_for.as_ref().and_then(|_| NodeClaim::deserialize(claim).ok()),
            came_for,
            is_drifted: is_true(claim, "Drifted"),
        }
    }
}

/// A disruption command, as it is written on the NodeClaims that it gives back.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) id: String,
    pub(crate) method: String,
    pub(crate) candidates: Vec<String>,
    /// How many NodeClaims come in place of them.
    pub(crate) replacements: u64,
    pub(crate) found_at: Option<Timestamp>,
}

impl Command {
    /// One part that cannot be read hides none of the others.
    fn of(written: &Value) -> Self {
        Self {
            id: text(&written["id"]),
            method: text(&written["method"]),
            candidates: written["candidates"].as_array().into_iter().flatten().map(text).collect(),
            replacements: written["replacements"].as_u64().unwrap_or(0),
            found_at: written["foundAt"].as_str().and_then(|text| text.parse().ok()),
        }
    }
}

/// What is asked of a NodePool.
#[derive(Debug)]
pub(crate) struct PoolFacts {
    pub(crate) name: String,
    pub(crate) limits: Resources,
    /// The whole of it, if it can be read.
    pub(crate) pool: Option<NodePool>,
}

impl Facts for PoolFacts {
    fn of(pool: &Value) -> Self {
        let whole = NodePool::deserialize(pool).ok();
        Self { name: name_of(pool), limits: quantities(&pool["spec"]["limits"]), pool: whole }
    }
}

/// Objects of one kind as they were at the last look.
#[derive(Debug)]
struct Known<F> {
    /// By the address of the object, which is not used again while the object is held here.
    known: BTreeMap<usize, (Arc<Object>, Arc<F>)>,
}

impl<F> Default for Known<F> {
    fn default() -> Self {
        Self { known: BTreeMap::new() }
    }
}

impl<F: Facts> Known<F> {
    /// What there is to know of `objects` now, in their order; those that are not among them are forgotten.
    fn of(&mut self, objects: &[Arc<Object>]) -> Vec<Arc<F>> {
        let mut before = std::mem::take(&mut self.known);
        let facts = objects.iter().map(|object| {
            let at = Arc::as_ptr(object).addr();
            let own = before.remove(&at).unwrap_or_else(|| {
                let facts = Arc::new(F::of(object.value()));
                (Arc::clone(object), facts)
            });
            let facts = Arc::clone(&own.1);
            self.known.insert(at, own);
            facts
        });
        facts.collect()
    }
}

fn running(world: &World) -> BTreeSet<String> {
    let runs = world.instances().filter(|own| own.state == InstanceState::Running);
    runs.filter_map(|own| own.tags.get(CLAIM_TAG).cloned()).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn name_of(object: &Value) -> String {
    text(&object["metadata"]["name"])
}

pub(crate) fn label(object: &Value, key: &str) -> String {
    text(&object["metadata"]["labels"][key])
}

pub(crate) fn is_deleted(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// Whether a pod comes and goes with its Node: of a DaemonSet, or the Node's own.
pub(crate) fn belongs_to_node(pod: &Value) -> bool {
    let mut owners = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    owners.any(|own| own["kind"] == "DaemonSet" || own["kind"] == "Node")
}

fn conditions(object: &Value) -> impl Iterator<Item = &Value> {
    object["status"]["conditions"].as_array().into_iter().flatten()
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    conditions(object).find(|own| own["type"] == kind && own["status"] == "True")
}

pub(crate) fn is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some()
}

fn quantities(value: &Value) -> Resources {
    Resources::of_capacity(&BTreeMap::deserialize(value).unwrap_or_default())
}

/// What there is to know of objects that a test writes down.
#[cfg(test)]
pub(crate) fn each_of<F: Facts>(objects: impl IntoIterator<Item = Value>) -> Vec<Arc<F>> {
    objects.into_iter().map(|object| Arc::new(F::of(&object))).collect()
}
