//! Why a pod cannot go to a node, in kube-scheduler's words.

use std::{collections::BTreeMap, fmt};

/// Why one node is out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The node is cordoned.
    Cordoned,
    /// A taint is not tolerated.
    UntoleratedTaint {
        /// The taint's key.
        key: String,
        /// The taint's value; empty if it has none.
        value: String,
    },
    /// `nodeSelector` or required node affinity.
    NodeAffinity,
    /// The pod names another node.
    NodeNameMismatch,
    /// A host port is taken.
    HostPort,
    /// As many pods as the node takes are there.
    TooManyPods,
    /// Too little of a resource is left.
    Insufficient(String),
    /// A bound volume cannot be used from there.
    VolumeAffinity,
    /// The storage class provisions no volume there.
    StorageTopology,
    /// A spread constraint would be violated.
    Spread,
    /// The node lacks the label of a spread constraint.
    SpreadLabelMissing,
    /// Required pod affinity.
    PodAffinity,
    /// The pod's required anti-affinity.
    PodAntiAffinity,
    /// Another pod's required anti-affinity.
    OthersAntiAffinity,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UntoleratedTaint { key, value } => {
                return write!(f, "node(s) had untolerated taint {{{key}: {value}}}");
            }
            Self::Insufficient(resource) => return write!(f, "Insufficient {resource}"),
            Self::Cordoned => "node(s) were unschedulable",
            Self::NodeAffinity => "node(s) didn't match Pod's node affinity/selector",
            Self::NodeNameMismatch => "node(s) didn't match the requested node name",
            Self::HostPort => "node(s) didn't have free ports for the requested pod ports",
            Self::TooManyPods => "Too many pods",
            Self::VolumeAffinity => "node(s) didn't match PersistentVolume's node affinity",
            Self::StorageTopology => "node(s) didn't match the StorageClass's allowed topologies",
            Self::Spread => "node(s) didn't match pod topology spread constraints",
            Self::SpreadLabelMissing => "node(s) didn't match pod topology spread constraints (missing required label)",
            Self::PodAffinity => "node(s) didn't match pod affinity rules",
            Self::PodAntiAffinity => "node(s) didn't match pod anti-affinity rules",
            Self::OthersAntiAffinity => "node(s) didn't satisfy existing pods anti-affinity rules",
        })
    }
}

impl Reason {
    /// Whether a node might do if pods of lower priority left it (`Unschedulable`, not `UnschedulableAndUnresolvable`).
    fn yields_to_preemption(&self) -> bool {
        match self {
            Self::HostPort
            | Self::TooManyPods
            | Self::Insufficient(_)
            | Self::Spread
            | Self::PodAntiAffinity
            | Self::OthersAntiAffinity => true,
            Self::Cordoned
            | Self::UntoleratedTaint { .. }
            | Self::NodeAffinity
            | Self::NodeNameMismatch
            | Self::VolumeAffinity
            | Self::StorageTopology
            | Self::SpreadLabelMissing
            | Self::PodAffinity => false,
        }
    }
}

/// Why a pod can go nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unschedulable {
    /// Something about the pod itself, whatever the nodes: a claim that is missing or not bound.
    Pod {
        /// How many nodes there are.
        nodes: usize,
        /// What it is.
        problem: String,
    },
    /// Every node is out.
    Nodes {
        /// How many nodes there are.
        nodes: usize,
        /// How many of them are out for each reason.
        reasons: BTreeMap<Reason, usize>,
    },
}

impl Unschedulable {
    /// The reasons without their counts: what has to change before a pod's condition is worth writing again.
    pub fn kinds(&self) -> Vec<String> {
        match self {
            Self::Pod { problem, .. } => vec![problem.clone()],
            Self::Nodes { reasons, .. } => reasons.keys().map(Reason::to_string).collect(),
        }
    }

    /// What the pod is told: the reasons, and what looking for victims came to. Nothing here makes room by preemption.
    pub fn message(&self) -> String {
        let (nodes, hopeless) = match self {
            Self::Pod { nodes, .. } => (*nodes, *nodes),
            Self::Nodes { nodes, reasons } => {
                let hopeless = reasons.iter().filter(|(reason, _)| !reason.yields_to_preemption());
                (*nodes, hopeless.map(|(_, count)| count).sum::<usize>().min(*nodes))
            }
        };
        if nodes == 0 {
            return self.to_string();
        }
        let parts = [
            (nodes - hopeless, "No preemption victims found for incoming pod"),
            (hopeless, "Preemption is not helpful for scheduling"),
        ];
        let mut parts: Vec<String> =
            parts.iter().filter(|(count, _)| *count > 0).map(|(count, text)| format!("{count} {text}")).collect();
        parts.sort();
        format!("{self} no new claims to deallocate, preemption: 0/{nodes} nodes are available: {}.", parts.join(", "))
    }
}

impl fmt::Display for Unschedulable {
    /// As kube-scheduler writes it into the pod's condition and the event.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod { nodes: 0, .. } | Self::Nodes { nodes: 0, .. } => {
                f.write_str("no nodes available to schedule pods")
            }
            Self::Pod { nodes, problem } => write!(f, "0/{nodes} nodes are available: {problem}."),
            Self::Nodes { nodes, reasons } => {
                let mut parts: Vec<String> =
                    reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
                parts.sort();
                write!(f, "0/{nodes} nodes are available: {}.", parts.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Reason, Unschedulable};
    use std::collections::BTreeMap;

    #[test]
    fn a_pod_is_told_what_preemption_came_to() {
        let reasons = BTreeMap::from([(Reason::Cordoned, 1), (Reason::TooManyPods, 2)]);
        let why = Unschedulable::Nodes { nodes: 3, reasons };
        assert_eq!(
            why.message(),
            "0/3 nodes are available: 1 node(s) were unschedulable, 2 Too many pods. no new claims to deallocate, preemption: 0/3 nodes are available: \
             1 Preemption is not helpful for scheduling, 2 No preemption victims found for incoming pod."
        );
        let why = Unschedulable::Nodes { nodes: 0, reasons: BTreeMap::new() };
        assert_eq!(why.message(), "no nodes available to schedule pods");
    }
}
