//! Pods that run, counted once by the groups that select them: many solves of one snapshot ask the same groups again, and each
//! leaves out but a few nodes and pods.

use super::{
    bits::Bits,
    classes::Shape,
    existing::{ExistingNode, satisfied},
    topology::{Group, Groups, namespace, required_anti},
};
use crate::model::{ClusterSnapshot, PodKey, Requirement, Requirements, is_active, is_terminating, tolerates_all};
use k8s_openapi::api::core::v1::{Pod, Toleration};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

/// What runs on the machines of a snapshot. Machines are meant by their positions in [`super::Prepared`]'s list.
#[derive(Debug)]
pub(super) struct Running {
    /// Where each pod runs; asked for only where one moves though its machine stays.
    homes: OnceLock<BTreeMap<PodKey, (usize, Arc<Pod>)>>,
    /// Pods that keep others away, by the identity of the group that they do that to; asked for only by solves that know groups.
    keepers: OnceLock<BTreeMap<String, Tally>>,
    /// Likewise.
    kinds: OnceLock<Vec<Kind>>,
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
    /// The machines whose labels satisfy requirements, whatever their taints.
    labelled: Mutex<BTreeMap<Requirements, Bits>>,
}

/// Pods of one namespace with the same labels: a group selects all of them or none.
#[derive(Debug)]
struct Kind {
    /// One of them.
    example: Arc<Pod>,
    /// By position of the machine: how many are active, and how many are not being deleted.
    counts: Vec<(usize, [u32; 2])>,
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
            homes: OnceLock::new(),
            keepers: OnceLock::new(),
            kinds: OnceLock::new(),
            positions: nodes.iter().enumerate().map(|(position, node)| (node.index, position)).collect(),
            kept_away,
            selected: Mutex::default(),
            values: Mutex::default(),
            accepting: Mutex::default(),
            labelled: Mutex::default(),
        }
    }

    fn keepers_by_group(&self, snapshot: &ClusterSnapshot, nodes: &[ExistingNode]) -> &BTreeMap<String, Tally> {
        self.keepers.get_or_init(|| {
            let groups = Groups::new(&snapshot.namespaces);
            let mut keepers = BTreeMap::new();
            for (position, pod) in all(snapshot, nodes) {
                for term in required_anti(pod) {
                    let group = groups.term_group(pod, term);
                    let tally = keepers.entry(group.identity()).or_insert_with(|| Tally::none(nodes.len()));
                    tally.count(position, &nodes[position], &group.key, counts(pod));
                }
            }
            keepers
        })
    }

    fn kinds(&self, snapshot: &ClusterSnapshot, nodes: &[ExistingNode]) -> &[Kind] {
        self.kinds.get_or_init(|| {
            let mut numbers = BTreeMap::new();
            let mut kinds: Vec<Kind> = Vec::new();
            for (position, pod) in all(snapshot, nodes) {
                let next = kinds.len();
                let number = *numbers.entry((namespace(pod), pod.metadata.labels.as_ref())).or_insert(next);
                if number == next {
                    kinds.push(Kind { example: Arc::clone(pod), counts: Vec::new() });
                }
                kinds[number].count(position, counts(pod));
            }
            kinds
        })
    }

    /// Counts what runs now rather than when the first solve asks.
    pub(super) fn count(&self, snapshot: &ClusterSnapshot, nodes: &[ExistingNode]) {
        self.keepers_by_group(snapshot, nodes);
        self.kinds(snapshot, nodes);
    }

    /// Those of `pods` that run on machines that are not `gone`.
    pub(super) fn moving(
        &self,
        pods: &[Arc<Pod>],
        gone: &BTreeSet<usize>,
        (snapshot, nodes): (&ClusterSnapshot, &[ExistingNode]),
    ) -> Moving {
        let on_gone = gone.iter().flat_map(|index| &snapshot.nodes[*index].pods);
        let going: BTreeSet<(&str, Option<&str>)> = on_gone.map(|pod| full_name(pod)).collect();
        let mut others = pods.iter().filter(|pod| !going.contains(&full_name(pod))).peekable();
        if nodes.is_empty() || others.peek().is_none() {
            return Vec::new();
        }
        let homes = self.homes.get_or_init(|| {
            all(snapshot, nodes).map(|(position, pod)| (PodKey::of(pod), (position, Arc::clone(pod)))).collect()
        });
        let gone: BTreeSet<usize> = self.positions_of(gone).collect();
        let keys: BTreeSet<PodKey> = others.map(|pod| PodKey::of(pod)).collect();
        keys.iter().filter_map(|key| homes.get(key)).filter(|(home, _)| !gone.contains(home)).cloned().collect()
    }

    /// The positions of machines that are meant by their positions in the snapshot.
    pub(super) fn positions_of(&self, machines: &BTreeSet<usize>) -> impl Iterator<Item = usize> {
        machines.iter().filter_map(|index| self.positions.get(index).copied())
    }

    /// The pods that keep a group away; none if there are none.
    pub(super) fn keepers(&self, identity: &str, snapshot: &ClusterSnapshot, nodes: &[ExistingNode]) -> Option<&Tally> {
        self.keepers_by_group(snapshot, nodes).get(identity)
    }

    /// The pods that a group selects.
    pub(super) fn selected(&self, group: &Group, snapshot: &ClusterSnapshot, nodes: &[ExistingNode]) -> Arc<Tally> {
        let mut known = self.selected.lock().unwrap_or_else(PoisonError::into_inner);
        let count = || {
            let mut tally = Tally::none(nodes.len());
            for kind in self.kinds(snapshot, nodes).iter().filter(|kind| group.selects(&kind.example)) {
                for (position, counts) in &kind.counts {
                    tally.count(*position, &nodes[*position], &group.key, *counts);
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

    /// The machines whose labels satisfy requirements, whatever their taints.
    pub(super) fn labelled(&self, asked: &Requirements, nodes: &[ExistingNode]) -> Bits {
        let mut known = self.labelled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bits) = known.get(asked) {
            return bits.clone();
        }
        let mut bits = Bits::none(nodes.len());
        let satisfying = nodes.iter().enumerate().filter(|(_, node)| satisfied(&node.labels, asked));
        satisfying.for_each(|(position, _)| bits.insert(position));
        known.insert(asked.clone(), bits.clone());
        bits
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
        let mut bits = Bits::none(nodes.len());
        let is_tolerated = |position: &usize| tolerates_all(&shape.tolerations, &nodes[*position].taints);
        let labelled = self.labelled(&shape.requirements, nodes);
        labelled.iter().filter(is_tolerated).for_each(|position| bits.insert(position));
        by_tolerations.push((Arc::clone(&shape.tolerations), bits.clone()));
        bits
    }
}

impl Tally {
    fn none(nodes: usize) -> Self {
        Self { active: vec![0; nodes], staying: vec![0; nodes], by_domain: BTreeMap::new() }
    }

    fn count(&mut self, position: usize, node: &ExistingNode, key: &str, [active, staying]: [u32; 2]) {
        self.staying[position] += staying;
        self.active[position] += active;
        if let Some(domain) = domain(node, key).filter(|_| active > 0) {
            *self.by_domain.entry(domain.to_owned()).or_insert(0) += active;
        }
    }
}

impl Kind {
    /// Counts a further pod; machines come in order.
    fn count(&mut self, position: usize, [active, staying]: [u32; 2]) {
        match self.counts.last_mut().filter(|(last, _)| *last == position) {
            Some((_, counts)) => *counts = [counts[0] + active, counts[1] + staying],
            None => self.counts.push((position, [active, staying])),
        }
    }
}

/// Every pod with the position of its machine, machines in order.
fn all<'a>(snapshot: &'a ClusterSnapshot, nodes: &'a [ExistingNode]) -> impl Iterator<Item = (usize, &'a Arc<Pod>)> {
    let of_node = |(position, node): (usize, &ExistingNode)| {
        snapshot.nodes[node.index].pods.iter().map(move |pod| (position, pod))
    };
    nodes.iter().enumerate().flat_map(of_node)
}

/// Whether a pod counts as active, and as one that is not being deleted.
fn counts(pod: &Pod) -> [u32; 2] {
    [u32::from(is_active(pod)), u32::from(!is_terminating(pod))]
}

fn full_name(pod: &Pod) -> (&str, Option<&str>) {
    (namespace(pod), pod.metadata.name.as_deref())
}

/// The value that a machine has for a label.
pub(super) fn domain<'a>(node: &'a ExistingNode, key: &str) -> Option<&'a str> {
    node.labels.get(key).and_then(Requirement::single_value)
}
