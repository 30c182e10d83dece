//! Whether a pod may go to a node: kube-scheduler's filters in its order; the first that fails gives the reasons.

use super::{
    affinity::is_tolerated,
    pod::{HostPort, PodInfo},
    reason::Reason,
    snapshot::NodeInfo,
    topology::TopologyRules,
    volumes::VolumeRules,
};
use k8s_openapi::api::core::v1::Taint;

/// Why `pod` may not go to `node`; empty if it may.
pub(super) fn reasons_against(
    pod: &PodInfo,
    node: &NodeInfo,
    volumes: &VolumeRules<'_>,
    topology: &TopologyRules<'_>,
) -> Vec<Reason> {
    let first = check_node(pod, node).err().map(|reason| vec![reason]);
    let then = || Some(insufficient(pod, node)).filter(|reasons| !reasons.is_empty());
    let storage = || volumes.check(node).err();
    let last = || topology.check(node).err().map(|reason| vec![reason]);
    first.or_else(then).or_else(storage).or_else(last).unwrap_or_default()
}

fn check_node(pod: &PodInfo, node: &NodeInfo) -> Result<(), Reason> {
    let cordon = Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    if node.facts.unschedulable && !is_tolerated(&cordon, &pod.tolerations) {
        return Err(Reason::Cordoned);
    }
    if pod.node.as_ref().is_some_and(|name| *name != node.name.0) {
        return Err(Reason::NodeNameMismatch);
    }
    if !tolerates(pod, node) {
        return Err(Reason::UntoleratedTaint);
    }
    if !matches_node_affinity(pod, node) {
        return Err(Reason::NodeAffinity);
    }
    if pod.host_ports.iter().any(|port| node.ports.iter().any(|used| collides(port, used))) {
        return Err(Reason::HostPort);
    }
    Ok(())
}

/// Whether the pod tolerates the node's taints.
pub(super) fn tolerates(pod: &PodInfo, node: &NodeInfo) -> bool {
    let mut hard = node.facts.taints.iter().filter(|taint| taint.effect != "PreferNoSchedule");
    hard.all(|taint| is_tolerated(taint, &pod.tolerations))
}

/// Whether `nodeSelector` and required node affinity allow the node.
pub(super) fn matches_node_affinity(pod: &PodInfo, node: &NodeInfo) -> bool {
    let labels = &node.facts.labels;
    pod.node_selector.iter().all(|requirement| requirement.matches(labels))
        && pod.node_terms.as_ref().is_none_or(|terms| terms.iter().any(|term| term.matches(&node.name.0, labels)))
}

fn collides(a: &HostPort, b: &HostPort) -> bool {
    const ANY: &str = "0.0.0.0";
    a.0 == b.0 && a.2 == b.2 && (a.1 == b.1 || a.1 == ANY || b.1 == ANY)
}

/// Every resource of which too little is left.
fn insufficient(pod: &PodInfo, node: &NodeInfo) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if node.pods + 1 > node.facts.allocatable.get("pods") {
        reasons.push(Reason::TooManyPods);
    }
    for (name, asked) in pod.requests.iter() {
        let left = node.facts.allocatable.get(name) - node.requested.get(name);
        if asked > 0 && asked > left {
            reasons.push(Reason::Insufficient(name.to_owned()));
        }
    }
    reasons
}

/// Whether fewer pods on the node might let the pod in, as kube-scheduler judges by the reasons.
pub(super) fn is_crowded(pod: &PodInfo, node: &NodeInfo, reasons: &[Reason]) -> bool {
    reasons.iter().all(|reason| match reason {
        Reason::HostPort
        | Reason::TooManyPods
        | Reason::VolumeInUse
        | Reason::TooManyVolumes
        | Reason::Spread
        | Reason::PodAntiAffinity
        | Reason::OthersAntiAffinity => true,
        Reason::Insufficient(name) => pod.requests.get(name) <= node.facts.allocatable.get(name),
        Reason::Cordoned
        | Reason::UntoleratedTaint
        | Reason::NodeAffinity
        | Reason::NotNamed
        | Reason::NodeNameMismatch
        | Reason::VolumeAffinity
        | Reason::NoVolume
        | Reason::VolumeZone
        | Reason::SpreadLabelMissing
        | Reason::PodAffinity => false,
    })
}
