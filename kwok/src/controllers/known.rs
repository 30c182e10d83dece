//! Objects as controllers know them, by key, never older than what was seen or written before.

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Affinity, Node, NodeSelectorRequirement, Pod, PodStatus, Taint},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::Resource;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Namespace and name; the namespace is empty for objects of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Key {
    pub(super) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    pub(super) fn of(meta: &ObjectMeta) -> Self {
        Self::new(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
    }
}

pub(super) type Labels = BTreeMap<String, String>;

/// What keeping an object needs to know of it.
pub(super) trait Known {
    fn key(&self) -> Key;
    fn uid(&self) -> &str;
    fn version(&self) -> u64;
}

/// Versions of objects can be compared since Kubernetes 1.35; one that is no number is taken to be new.
fn version_of(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(u64::MAX)
}

impl<K: Resource> Known for K {
    fn key(&self) -> Key {
        Key::of(self.meta())
    }

    fn uid(&self) -> &str {
        self.meta().uid.as_deref().unwrap_or_default()
    }

    fn version(&self) -> u64 {
        version_of(self.meta())
    }
}

/// The objects of one kind.
#[derive(Debug)]
pub(super) struct Objects<T> {
    by_key: BTreeMap<Key, Arc<T>>,
    /// While a list is under way: what was known when it began and it has not given yet.
    unlisted: BTreeSet<Key>,
    pub(super) synced: bool,
}

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Self { by_key: BTreeMap::new(), unlisted: BTreeSet::new(), synced: false }
    }
}

impl<T: Known> Objects<T> {
    pub(super) fn get(&self, key: &Key) -> Option<&Arc<T>> {
        self.by_key.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Arc<T>)> {
        self.by_key.iter()
    }

    /// The objects of a namespace, by name.
    pub(super) fn within<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<T>> {
        let all = self.by_key.range(Key::new(namespace, "")..);
        all.take_while(move |(key, _)| key.namespace == namespace).map(|(_, object)| object)
    }

    /// Keeps the object unless something newer is known; answers with what was there before and what is now.
    pub(super) fn apply(&mut self, object: T) -> Option<(Option<Arc<T>>, Arc<T>)> {
        let key = object.key();
        let known = self.by_key.get(&key);
        if known.is_some_and(|known| known.uid() == object.uid() && known.version() >= object.version()) {
            return None;
        }
        let object = Arc::new(object);
        let old = self.by_key.insert(key, Arc::clone(&object));
        Some((old, object))
    }

    /// Keeps the object, whatever is known.
    pub(super) fn replace(&mut self, object: T) {
        self.by_key.insert(object.key(), Arc::new(object));
    }

    /// Forgets the object, unless another one has its name by now.
    pub(super) fn remove(&mut self, key: &Key, uid: &str) -> Option<Arc<T>> {
        if self.by_key.get(key).is_some_and(|known| known.uid() == uid) { self.by_key.remove(key) } else { None }
    }

    pub(super) fn begin_list(&mut self) {
        self.unlisted = self.by_key.keys().cloned().collect();
    }

    pub(super) fn listed(&mut self, key: &Key) {
        self.unlisted.remove(key);
    }

    /// What was known before the list and is not in it. What was written here meanwhile is not among it.
    pub(super) fn end_list(&mut self) -> Vec<Arc<T>> {
        self.synced = true;
        std::mem::take(&mut self.unlisted).iter().filter_map(|key| self.by_key.remove(key)).collect()
    }
}

/// The controller among an object's owners.
pub(super) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|reference| reference.controller == Some(true))
}

/// Phases in the order in which pods are given up (`controller_utils.go`, `ActivePods`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Pending,
    Unknown,
    Running,
    Succeeded,
    Failed,
}

/// What controllers need to know of a pod.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PodFacts {
    pub(super) key: Key,
    pub(super) uid: String,
    version: u64,
    pub(super) labels: Labels,
    pub(super) controller: Option<OwnerReference>,
    pub(super) phase: Phase,
    /// Since when it is Ready, if it is.
    pub(super) ready_since: Option<Timestamp>,
    pub(super) ready: bool,
    /// The node it is bound to.
    pub(super) node: Option<String>,
    /// The node it is bound to, or else the one that its affinity names, as a daemon's does.
    pub(super) meant_for: Option<String>,
    pub(super) created: Timestamp,
    pub(super) terminating: bool,
    /// `controller.kubernetes.io/pod-deletion-cost`; cheaper ones go first.
    pub(super) deletion_cost: i32,
    /// The most restarts of any container.
    pub(super) restarts: i32,
    /// `batch.kubernetes.io/job-completion-index`.
    pub(super) completion_index: Option<i32>,
}

impl Known for PodFacts {
    fn key(&self) -> Key {
        self.key.clone()
    }

    fn uid(&self) -> &str {
        &self.uid
    }

    fn version(&self) -> u64 {
        self.version
    }
}

impl PodFacts {
    pub(super) fn of(pod: &Pod) -> Self {
        let spec = pod.spec.as_ref();
        let status = pod.status.clone().unwrap_or_default();
        let node = spec.and_then(|spec| spec.node_name.clone()).filter(|node| !node.is_empty());
        let annotation = |name: &str| pod.metadata.annotations.as_ref()?.get(name)?.parse().ok();
        let ready = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
        let ready = ready.filter(|condition| condition.status == "True");
        Self {
            key: Key::of(&pod.metadata),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            version: version_of(&pod.metadata),
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            controller: controller_of(&pod.metadata).cloned(),
            phase: phase_of(status.phase.as_deref()),
            ready_since: ready.and_then(|condition| condition.last_transition_time.as_ref()).map(|time| time.0),
            ready: ready.is_some(),
            meant_for: node.clone().or_else(|| named_node(spec?.affinity.as_ref()?)),
            node,
            created: pod.metadata.creation_timestamp.as_ref().map(|time| time.0).unwrap_or_default(),
            terminating: pod.metadata.deletion_timestamp.is_some(),
            deletion_cost: annotation("controller.kubernetes.io/pod-deletion-cost").unwrap_or_default(),
            restarts: restarts(&status),
            completion_index: annotation("batch.kubernetes.io/job-completion-index"),
        }
    }

    /// Neither ended nor going.
    pub(super) fn is_active(&self) -> bool {
        !self.is_finished() && !self.terminating
    }

    pub(super) fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// Ready for at least `min_ready_seconds`.
    pub(super) fn is_available(&self, min_ready_seconds: i32, now: Timestamp) -> bool {
        self.available_at(min_ready_seconds).is_some_and(|at| at <= now)
    }

    /// When it will have been Ready long enough.
    pub(super) fn available_at(&self, min_ready_seconds: i32) -> Option<Timestamp> {
        let since = self.ready_since.filter(|_| self.ready)?;
        Some(since + jiff::SignedDuration::from_secs(min_ready_seconds.into()))
    }

    pub(super) fn is_controlled_by(&self, uid: &str) -> bool {
        self.controller.as_ref().is_some_and(|controller| controller.uid == uid)
    }
}

fn phase_of(phase: Option<&str>) -> Phase {
    match phase {
        Some("Running") => Phase::Running,
        Some("Succeeded") => Phase::Succeeded,
        Some("Failed") => Phase::Failed,
        Some("Unknown") => Phase::Unknown,
        Some(_) | None => Phase::Pending,
    }
}

fn restarts(status: &PodStatus) -> i32 {
    status.container_statuses.iter().flatten().map(|container| container.restart_count).max().unwrap_or_default()
}

/// The node that required affinity names by `metadata.name`.
fn named_node(affinity: &Affinity) -> Option<String> {
    let required = affinity.node_affinity.as_ref()?.required_during_scheduling_ignored_during_execution.as_ref()?;
    let mut fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let names = |field: &&NodeSelectorRequirement| field.key == "metadata.name" && field.operator == "In";
    match fields.find(names)?.values.as_deref() {
        Some([name]) => Some(name.clone()),
        Some(_) | None => None,
    }
}

/// What controllers need to know of a node.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NodeFacts {
    pub(super) name: String,
    uid: String,
    version: u64,
    pub(super) labels: Labels,
    /// Its taints, with the one for cordoned nodes.
    pub(super) taints: Vec<Taint>,
}

impl Known for NodeFacts {
    fn key(&self) -> Key {
        Key::new("", &self.name)
    }

    fn uid(&self) -> &str {
        &self.uid
    }

    fn version(&self) -> u64 {
        self.version
    }
}

impl NodeFacts {
    pub(super) fn of(node: &Node) -> Self {
        let spec = node.spec.clone().unwrap_or_default();
        let mut taints = spec.taints.unwrap_or_default();
        const CORDON: &str = "node.kubernetes.io/unschedulable";
        if spec.unschedulable == Some(true) && !taints.iter().any(|taint| taint.key == CORDON) {
            taints.push(Taint { key: CORDON.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() });
        }
        Self {
            name: node.metadata.name.clone().unwrap_or_default(),
            uid: node.metadata.uid.clone().unwrap_or_default(),
            version: version_of(&node.metadata),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints,
        }
    }

    /// Whether both mean the same to daemons.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.uid == other.uid && self.labels == other.labels && self.taints == other.taints
    }
}
