//! One pod: the node it goes to, or why it can go nowhere.

use super::{
    filter::{is_crowded, reasons_against},
    pod::PodInfo,
    reason::{Reason, Unschedulable},
    score::best,
    snapshot::{NodeInfo, NodeName, Snapshot},
    topology::TopologyRules,
};
use std::collections::BTreeMap;

/// The node that `pod` goes to.
///
/// # Errors
/// [`Unschedulable`] with the reasons and how many nodes are out for each.
pub fn schedule(snapshot: &Snapshot, pod: &PodInfo) -> Result<NodeName, Unschedulable> {
    let (nodes, others) = examine(snapshot, pod);
    best(snapshot, pod, &nodes).map(|node| node.name.clone()).ok_or(others)
}

/// The nodes that `pod` may go to, and why the others are out.
pub fn feasible(snapshot: &Snapshot, pod: &PodInfo) -> (Vec<NodeName>, Unschedulable) {
    let (nodes, others) = examine(snapshot, pod);
    (nodes.iter().map(|node| node.name.clone()).collect(), others)
}

fn examine<'a>(snapshot: &'a Snapshot, pod: &PodInfo) -> (Vec<&'a NodeInfo>, Unschedulable) {
    let (nodes, preempts) = (snapshot.node_count(), pod.preempts);
    let whole = |problem: String| (Vec::new(), Unschedulable::Pod { nodes, problem });
    let named = pod.named_nodes();
    if named.as_ref().is_some_and(std::collections::BTreeSet::is_empty) {
        return whole("pod affinity terms conflict".to_owned());
    }
    let volumes = match snapshot.volumes.rules(pod, snapshot.pods()) {
        Ok(volumes) => volumes,
        Err(problem) => return whole(problem),
    };
    let topology = TopologyRules::of(snapshot, pod);
    let (mut feasible, mut reasons, mut crowded) = (Vec::new(), BTreeMap::new(), 0);
    for node in snapshot.nodes() {
        let is_named = named.as_ref().is_none_or(|named| named.contains(node.name.0.as_str()));
        let against = if is_named { reasons_against(pod, node, &volumes, &topology) } else { vec![Reason::NotNamed] };
        if against.is_empty() {
            feasible.push(node);
            continue;
        }
        crowded += usize::from(is_crowded(pod, node, &against));
        against.into_iter().for_each(|reason| *reasons.entry(reason).or_default() += 1);
    }
    (feasible, Unschedulable::Nodes { nodes, reasons, crowded, preempts })
}
