//! Pods that run, counted once by the groups that select them: many solves of one snapshot ask the same groups again, and each
//! leaves out but a few nodes and pods.

use super::{
    bits::Bits,
    classes::Shape,
    existing::{ExistingNode, accepting_nodes},
    topology::{Group, Groups, required_anti},
};
use crate::model::{ClusterSnapshot, PodKey, Requirement, Requirements, is_active, is_terminating};
use k8s_openapi::api::core::v1::{Pod, Toleration};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

/// What runs on the machines of a snapshot. Machines are meant by their positions in [`super::Prepared`]'s list.
#[derive(Debug)]
pub(super) struct Running {
    /// Asked for only by solves that know groups.
    pods: OnceLock<Pods>,
    /// By position in the snapshot.
    positions: BTreeMap<usize, usize>,
    /// Groups that some active pod keeps away, each once.
    pub(super) kept_away: Vec<Group>,
    /// Pods that a group selects, by the group's identity; counted when it is asked for.
    selected: Mutex<BTreeMap<String, Arc<Tally>>>,
    /// The values that machines have for a label.
    values: Mutex<BTreeMap<String, Arc<BTreeSet<String>>>>,
    /// The machines that satisfy a shape.
    accepting: Mutex<BTreeMap<Requirements, Vec<Accepting>>>,
}

/// Where each pod runs, and which of them keep others away.
#[derive(Debug, Default)]
struct Pods {
    homes: BTreeMap<PodKey, (usize, Arc<Pod>)>,
    /// By the identity of the group that is kept away.
    keepers: BTreeMap<String, Tally>,
}

type Accepting = (Arc<[Toleration]>, Bits);

/// Pods by machine.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Those that are active, by position.
    pub(super) active: Vec<u32>,
    /// Those that are not being deleted, by position.
    pub(super) staying: Vec<u32>,
    /// Those that are active, by the value that their machine has for the group's label.
    pub(super) by_domain: BTreeMap<String, u32>,
}

/// Pods that a solve gives another place though their machines stay.
pub(super) type Moving = Vec<(usize, Arc<Pod>)>;

impl Running {
    pub(super) fn of(nodes: &[ExistingNode], kept_away: Vec<Group>) -> Self {
        Self {
            pods: OnceLock::new(),
            positions: nodes.iter().enumerate().map(|(position, node)| (node.index, position)).collect(),
            kept_away,
            selected: Mutex::default(),
            values: Mutex::default(),
            accepting: Mutex::default(),
        }
    }

    fn pods(&self, snapshot: &ClusterSnapshot, nodes: &[ExistingNode]) -> &Pods {
        self.pods.get_or_init(|| {
            let mut pods = Pods::default();
            let groups = Groups::new(&snapshot.namespaces);
            for (position, node) in nodes.iter().enumerate() {
                for pod in &snapshot.nodes[node.index].pods {
                    pods.homes.insert(PodKey::of(pod), (position, Arc::clone(pod)));
                    for term in required_anti(pod) {
                        let group = groups.term_group(pod, term);
                        let tally = pods.keepers.entry(group.identity()).or_insert_with(|| Tally::none(nodes.len()));
                        tally.count(position, node, pod, &group.key);
                    }
                }
            }
            pods
        })
    }

    /// Those of `pods` that run on machines that are not `gone`.
    pub(super) fn moving(
        &self,
        pods: &[Arc<Pod>],
        gone: &BTreeSet<usize>,
        (snapshot, nodes): (&ClusterSnapshot, &[ExistingNode]),
    ) -> Moving {
        if nodes.is_empty() {
            return Vec::new();
        }
        let homes = &self.pods(snapshot, nodes).homes;
        let gone: BTreeSet<usize> = self.positions_of(gone).collect();
        let keys: BTreeSet<PodKey> = pods.iter().map(|pod| PodKey::of(pod)).collect();
        keys.iter().filter_map(|key| homes.get(key)).filter(|(home, _)| !gone.contains(home)).cloned().collect()
    }

    /// The positions of machines that are meant by their positions in the snapshot.
    pub(super) fn positions_of(&self, machines: &BTreeSet<usize>) -> impl Iterator<Item = usize> {
        machines.iter().filter_map(|index| self.positions.get(index).copied())
    }

    /// The pods that keep a group away; none if there are none.
    pub(super) fn keepers(&self, identity: &str, snapshot: &ClusterSnapshot, nodes: &[ExistingNode]) -> Option<&Tally> {
        self.pods(snapshot, nodes).keepers.get(identity)
    }

    /// The pods that a group selects.
    pub(super) fn selected(&self, group: &Group, snapshot: &ClusterSnapshot, nodes: &[ExistingNode]) -> Arc<Tally> {
        let mut known = self.selected.lock().unwrap_or_else(PoisonError::into_inner);
        let count = || {
            let mut tally = Tally::none(nodes.len());
            for (position, node) in nodes.iter().enumerate() {
                for pod in snapshot.nodes[node.index].pods.iter().filter(|pod| group.selects(pod)) {
                    tally.count(position, node, pod, &group.key);
                }
            }
            Arc::new(tally)
        };
        Arc::clone(known.entry(group.identity()).or_insert_with(count))
    }

    /// The values that machines have for a label, and those of `others`.
    pub(super) fn values(
        &self,
        key: &str,
        nodes: &[ExistingNode],
        others: impl FnOnce() -> BTreeSet<String>,
    ) -> Arc<BTreeSet<String>> {
        let mut known = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let find = || {
            let own = nodes.iter().filter_map(|node| domain(node, key).map(str::to_owned));
            Arc::new(others().into_iter().chain(own).collect())
        };
        Arc::clone(known.entry(key.to_owned()).or_insert_with(find))
    }

    /// The machines that satisfy a shape.
    pub(super) fn accepting(&self, shape: &Shape, nodes: &[ExistingNode]) -> Bits {
        let mut known = self.accepting.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains_key(&shape.requirements) {
            known.insert(shape.requirements.clone(), Vec::new());
        }
        let by_tolerations = known.get_mut(&shape.requirements).expect("it has just been put there");
        if let Some((_, bits)) = by_tolerations.iter().find(|(own, _)| *own == shape.tolerations) {
            return bits.clone();
        }
        let bits = accepting_nodes(nodes, shape);
        by_tolerations.push((Arc::clone(&shape.tolerations), bits.clone()));
        bits
    }
}

impl Tally {
    fn none(nodes: usize) -> Self {
        Self { active: vec![0; nodes], staying: vec![0; nodes], by_domain: BTreeMap::new() }
    }

    fn count(&mut self, position: usize, node: &ExistingNode, pod: &Pod, key: &str) {
        self.staying[position] += u32::from(!is_terminating(pod));
        if is_active(pod) {
            self.active[position] += 1;
            if let Some(domain) = domain(node, key) {
                *self.by_domain.entry(domain.to_owned()).or_insert(0) += 1;
            }
        }
    }
}

/// The value that a machine has for a label.
pub(super) fn domain<'a>(node: &'a ExistingNode, key: &str) -> Option<&'a str> {
    node.labels.get(key).and_then(Requirement::single_value)
}
