//! One pod: the node it goes to, or why it can go nowhere.

use super::{
    filter::reasons_against,
    pod::PodInfo,
    reason::Unschedulable,
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
    let nodes = snapshot.node_count();
    let volumes = snapshot.volumes.rules(pod).map_err(|problem| Unschedulable::Pod { nodes, problem })?;
    let topology = TopologyRules::of(snapshot, pod);
    let mut reasons = BTreeMap::new();
    let mut feasible: Vec<&NodeInfo> = Vec::new();
    for node in snapshot.nodes() {
        let against = reasons_against(pod, node, &volumes, &topology);
        if against.is_empty() {
            feasible.push(node);
        }
        against.into_iter().for_each(|reason| *reasons.entry(reason).or_default() += 1);
    }
    best(snapshot, pod, &feasible).map(|node| node.name.clone()).ok_or(Unschedulable::Nodes { nodes, reasons })
}
