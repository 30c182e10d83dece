//! Nodes, the pods on them, and counts of pods by rule, kept up to date change by change.

use super::{
    affinity::Labels,
    pod::{HostPort, NamespaceLabels, PodInfo, PodName, PodRule},
    resources::Resources,
    volumes::Volumes,
};
use k8s_openapi::api::core::v1::{Namespace, Node, Taint};
use std::{
    borrow::{Borrow, Cow},
    collections::BTreeMap,
    fmt,
    sync::Arc,
};

/// A node's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeName(pub String);

impl Borrow<str> for NodeName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a node is like, apart from the pods on it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NodeFacts {
    pub(super) labels: Labels,
    pub(super) taints: Vec<Taint>,
    pub(super) unschedulable: bool,
    pub(super) allocatable: Resources,
}

/// A node and the sums over its pods.
#[derive(Clone, Debug)]
pub(super) struct NodeInfo {
    pub(super) name: NodeName,
    pub(super) facts: NodeFacts,
    pub(super) requested: Resources,
    pub(super) counted: Resources,
    pub(super) pods: i64,
    pub(super) ports: Vec<HostPort>,
}

impl NodeInfo {
    /// The node's value of a topology key.
    pub(super) fn domain(&self, key: &str) -> Option<&str> {
        self.facts.labels.get(key).map(String::as_str)
    }
}

/// How many pods that a rule is about are on each node; nodes without any are left out.
pub(super) type PerNode = BTreeMap<String, i64>;

/// Which pods are counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Count {
    pub(super) rule: PodRule,
    /// Whether pods that are being deleted are left out, as spreading does.
    pub(super) live_only: bool,
}

impl Count {
    /// Spreading counts nobody where its selector asks for nothing, though the pod that is placed counts then.
    fn counts(&self, pod: &PodInfo, namespaces: &NamespaceLabels) -> bool {
        !(self.live_only && (pod.terminating || self.rule.selector.is_empty())) && self.rule.matches(pod, namespaces)
    }
}

/// Counts kept ready at most; beyond it they are begun anew, so that rules of deployments long gone do not pile up.
const MAX_COUNTS: usize = 4_096;

/// The cluster as the scheduler sees it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    nodes: BTreeMap<NodeName, NodeInfo>,
    pods: BTreeMap<PodName, Arc<PodInfo>>,
    counts: BTreeMap<Count, PerNode>,
    /// Required anti-affinity of pods on nodes: how many pods with this rule are on each node.
    held: BTreeMap<PodRule, PerNode>,
    namespaces: NamespaceLabels,
    pub(super) volumes: Volumes,
}

impl Snapshot {
    /// An empty cluster.
    pub fn new() -> Self {
        Self::default()
    }

    /// A node was added or has changed; says whether anything that scheduling looks at did.
    pub fn apply_node(&mut self, node: &Node) -> bool {
        let Some(name) = node.metadata.name.clone() else { return false };
        let spec = node.spec.clone().unwrap_or_default();
        let facts = NodeFacts {
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints: spec.taints.unwrap_or_default(),
            unschedulable: spec.unschedulable.unwrap_or(false),
            allocatable: Resources::of(node.status.as_ref().and_then(|status| status.allocatable.as_ref())),
        };
        match self.nodes.get_mut(name.as_str()) {
            Some(known) if known.facts == facts => false,
            Some(known) => {
                known.facts = facts;
                true
            }
            None => {
                self.add_node(NodeName(name), facts);
                true
            }
        }
    }

    fn add_node(&mut self, name: NodeName, facts: NodeFacts) {
        let mut info = NodeInfo {
            facts,
            requested: Resources::default(),
            counted: Resources::default(),
            pods: 0,
            ports: Vec::new(),
            name: name.clone(),
        };
        // Pods may have been seen before their node.
        self.pods.values().filter(|pod| pod.node.as_deref() == Some(name.0.as_str())).for_each(|pod| info.add(pod));
        self.nodes.insert(name, info);
    }

    /// A claim, a volume, a storage class, what a node attaches or a namespace, as JSON; other kinds are passed over.
    ///
    /// # Errors
    /// The object is not what its kind says.
    pub fn apply(&mut self, object: serde_json::Value) -> serde_json::Result<()> {
        match object["kind"].as_str().unwrap_or_default() {
            "PersistentVolumeClaim" => self.volumes.apply_claim(&serde_json::from_value(object)?),
            "PersistentVolume" => self.volumes.apply_volume(&serde_json::from_value(object)?),
            "StorageClass" => self.volumes.apply_class(&serde_json::from_value(object)?),
            "CSINode" => self.volumes.apply_csi_node(&serde_json::from_value(object)?),
            "Namespace" => {
                self.apply_namespace(&serde_json::from_value(object)?);
            }
            _ => {}
        }
        Ok(())
    }

    /// A namespace was added or has changed; says whether its labels did.
    pub fn apply_namespace(&mut self, namespace: &Namespace) -> bool {
        let Some(name) = namespace.metadata.name.clone() else { return false };
        let labels = namespace.metadata.labels.clone().unwrap_or_default();
        let changed = self.namespaces.get(&name) != Some(&labels);
        if changed {
            self.namespaces.insert(name, labels);
            // Selectors over namespaces may now count others.
            self.counts.clear();
        }
        changed
    }

    /// A namespace is gone.
    pub fn remove_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
        self.counts.clear();
    }

    /// A node is gone; its pods stay until they are gone themselves.
    pub fn remove_node(&mut self, name: &str) {
        self.nodes.remove(name);
    }

    /// The names of all nodes.
    pub fn node_names(&self) -> impl Iterator<Item = &NodeName> {
        self.nodes.keys()
    }

    /// A pod is on a node, or is about to be; says whether that is new.
    pub fn assign(&mut self, pod: PodInfo, node: &str) -> bool {
        let pod = Arc::new(PodInfo { node: Some(node.to_owned()), ..pod });
        let known = self.pods.get(&pod.name);
        let same = |known: &&Arc<PodInfo>| {
            known.uid == pod.uid
                && known.node == pod.node
                && known.terminating == pod.terminating
                && known.signature == pod.signature
        };
        if known.is_some_and(|known| same(&known)) {
            return false;
        }
        self.remove_pod(&pod.name);
        self.tally(&pod, node, 1);
        if let Some(info) = self.nodes.get_mut(node) {
            info.add(&pod);
        }
        self.pods.insert(pod.name.clone(), pod);
        true
    }

    /// A pod is gone or has finished; says whether it was on a node.
    pub fn remove_pod(&mut self, name: &PodName) -> bool {
        let Some(pod) = self.pods.remove(name) else { return false };
        if let Some(node) = &pod.node {
            self.tally(&pod, node, -1);
            if let Some(info) = self.nodes.get_mut(node.as_str()) {
                info.remove(&pod);
            }
        }
        true
    }

    fn tally(&mut self, pod: &PodInfo, node: &str, change: i64) {
        for (_, per_node) in self.counts.iter_mut().filter(|(count, _)| count.counts(pod, &self.namespaces)) {
            bump(per_node, node, change);
        }
        for rule in &pod.anti_affinity {
            let per_node = self.held.entry(rule.clone()).or_default();
            bump(per_node, node, change);
            if per_node.is_empty() {
                self.held.remove(rule);
            }
        }
    }

    /// Makes the counts that placing `pod` will ask for, so that they are kept up to date from here on.
    pub(super) fn prepare(&mut self, pod: &PodInfo) {
        let wanted: Vec<Count> = counts_of(pod).filter(|count| !self.counts.contains_key(count)).collect();
        if self.counts.len() + wanted.len() > MAX_COUNTS {
            self.counts.clear();
        }
        for count in wanted {
            let per_node = self.count(&count);
            self.counts.insert(count, per_node);
        }
    }

    fn count(&self, count: &Count) -> PerNode {
        let mut per_node = PerNode::new();
        for pod in self.pods.values().filter(|pod| count.counts(pod, &self.namespaces)) {
            bump(&mut per_node, pod.node.as_deref().unwrap_or_default(), 1);
        }
        per_node
    }

    /// How many pods `count` is about are on each node.
    pub(super) fn per_node(&self, count: &Count) -> Cow<'_, PerNode> {
        self.counts.get(count).map_or_else(|| Cow::Owned(self.count(count)), Cow::Borrowed)
    }

    /// How many pods that all `rules` are about are on each node.
    pub(super) fn per_node_of_all(&self, rules: &[PodRule]) -> PerNode {
        let mut per_node = PerNode::new();
        let is_meant = |pod: &&Arc<PodInfo>| rules.iter().all(|rule| self.matches(rule, pod));
        for pod in self.pods.values().filter(is_meant) {
            bump(&mut per_node, pod.node.as_deref().unwrap_or_default(), 1);
        }
        per_node
    }

    /// Whether `rule` is about `pod`.
    pub(super) fn matches(&self, rule: &PodRule, pod: &PodInfo) -> bool {
        rule.matches(pod, &self.namespaces)
    }

    /// The pods that are on nodes that are there.
    pub(super) fn pods(&self) -> impl Iterator<Item = &PodInfo> {
        let is_there = |pod: &&PodInfo| pod.node.as_ref().is_some_and(|node| self.nodes.contains_key(node.as_str()));
        self.pods.values().map(AsRef::as_ref).filter(is_there)
    }

    /// The anti-affinity that pods on nodes hold, and on which nodes they are.
    pub(super) fn held(&self) -> impl Iterator<Item = (&PodRule, &PerNode)> {
        self.held.iter()
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.values()
    }

    pub(super) fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.nodes.get(name)
    }

    pub(super) fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Forgets the counts that are kept ready; they are then made afresh each time.
    #[cfg(test)]
    pub(super) fn forget_counts(&mut self) {
        self.counts.clear();
    }

    /// The pods on nodes, by name.
    pub(super) fn pod_names(&self) -> impl Iterator<Item = &PodName> {
        self.pods.keys()
    }
}

/// The counts that placing `pod` asks for.
fn counts_of(pod: &PodInfo) -> impl Iterator<Item = Count> {
    let affinity = pod.affinity.iter().chain(&pod.avoided).chain(pod.preferred_pods.iter().map(|(_, rule)| rule));
    let affinity = affinity.map(|rule| Count { rule: rule.clone(), live_only: false });
    affinity.chain(pod.spreads.iter().map(|spread| Count { rule: spread.rule.clone(), live_only: true }))
}

fn bump(per_node: &mut PerNode, node: &str, change: i64) {
    let count = per_node.entry(node.to_owned()).or_default();
    *count += change;
    if *count == 0 {
        per_node.remove(node);
    }
}

impl NodeInfo {
    fn add(&mut self, pod: &PodInfo) {
        self.requested.add(&pod.requests);
        self.counted.add(&pod.counted);
        self.pods += 1;
        self.ports.extend(pod.host_ports.iter().cloned());
    }

    fn remove(&mut self, pod: &PodInfo) {
        self.requested.subtract(&pod.requests);
        self.counted.subtract(&pod.counted);
        self.pods -= 1;
        for port in &pod.host_ports {
            if let Some(index) = self.ports.iter().position(|used| used == port) {
                self.ports.swap_remove(index);
            }
        }
    }
}
