//! Why a pod cannot go to a node, in kube-scheduler's words.

use std::{collections::BTreeMap, fmt};

/// Why one node is out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The node is cordoned.
    Cordoned,
    /// A taint is not tolerated.
    UntoleratedTaint,
    /// `nodeSelector` or required node affinity.
    NodeAffinity,
    /// All terms of required node affinity name nodes, and this is none of them.
    NotNamed,
    /// The pod names another node.
    NodeNameMismatch,
    /// A host port is taken.
    HostPort,
    /// As many pods as the node takes are there.
    TooManyPods,
    /// Too little of a resource is left.
    Insufficient(String),
    /// Another pod uses a claim that only one pod at a time may use.
    VolumeInUse,
    /// As many volumes as the driver attaches are there.
    TooManyVolumes,
    /// A bound volume cannot be used from there.
    VolumeAffinity,
    /// No volume is there for a claim, and none is made there.
    NoVolume,
    /// The labels of a bound volume name another zone or region.
    VolumeZone,
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
            Self::Insufficient(resource) => return write!(f, "Insufficient {resource}"),
            Self::UntoleratedTaint => "node(s) had untolerated taint(s)",
            Self::Cordoned => "node(s) were unschedulable",
            Self::NodeAffinity => "node(s) didn't match Pod's node affinity/selector",
            Self::NotNamed => "node(s) didn't satisfy plugin(s) [NodeAffinity]",
            Self::NodeNameMismatch => "node(s) didn't match the requested node name",
            Self::HostPort => "node(s) didn't have free ports for the requested pod ports",
            Self::TooManyPods => "Too many pods",
            Self::VolumeAffinity => "node(s) didn't match PersistentVolume's node affinity",
            Self::VolumeInUse => {
                "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"
            }
            Self::TooManyVolumes => "node(s) exceed max volume count",
            Self::NoVolume => "node(s) didn't find available persistent volumes to bind",
            Self::VolumeZone => "node(s) had no available volume zone",
            Self::Spread => "node(s) didn't match pod topology spread constraints",
            Self::SpreadLabelMissing => "node(s) didn't match pod topology spread constraints (missing required label)",
            Self::PodAffinity => "node(s) didn't match pod affinity rules",
            Self::PodAntiAffinity => "node(s) didn't match pod anti-affinity rules",
            Self::OthersAntiAffinity => "node(s) didn't satisfy existing pods anti-affinity rules",
        })
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
        /// On how many of them fewer pods might help.
        crowded: usize,
        /// Whether the pod may displace others.
        preempts: bool,
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
}

impl fmt::Display for Unschedulable {
    /// As kube-scheduler writes it into the pod's condition and the event.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod { nodes: 0, .. } | Self::Nodes { nodes: 0, .. } => {
                f.write_str("no nodes available to schedule pods")
            }
            // kube-scheduler has not looked at the nodes then, and misses what it would go on with.
            Self::Pod { nodes, problem } => write!(f, "0/{nodes} nodes are available: {problem}. not found"),
            Self::Nodes { nodes, reasons, crowded, preempts } => {
                let first = none_of(*nodes, reasons.iter().map(|(reason, count)| (reason, *count)));
                let second = if *preempts { no_preemption(*nodes, *crowded) } else { NO_PREEMPTION.to_owned() };
                write!(f, "{first} no new claims to deallocate, preemption: {second}")
            }
        }
    }
}

/// What kube-scheduler says of pods that displace nobody.
const NO_PREEMPTION: &str = "not eligible due to preemptionPolicy=Never.";

/// What it says once it has found nobody whose place the pod could take: here nobody ever is.
fn no_preemption(nodes: usize, crowded: usize) -> String {
    let counts = [
        ("No preemption victims found for incoming pod", crowded),
        ("Preemption is not helpful for scheduling", nodes - crowded),
    ];
    none_of(nodes, counts.into_iter().filter(|(_, count)| *count > 0))
}

/// The counts in the order of their texts, as kube-scheduler sorts them.
fn none_of<R: fmt::Display>(nodes: usize, counts: impl Iterator<Item = (R, usize)>) -> String {
    let mut parts: Vec<String> = counts.map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    format!("0/{nodes} nodes are available: {}.", parts.join(", "))
}
