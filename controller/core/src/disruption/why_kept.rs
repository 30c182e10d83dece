//! Why a machine is kept. Each reason has a stable code; its text is what events and reports show (spec core 4.2, 4.6, 4.7).

use crate::{
    api::DisruptionReason,
    lifecycle::{About, Event},
    model::{NodePoolName, PodKey, Price, WhyNot},
};
use jiff::{SignedDuration, Timestamp};
use std::fmt;

/// How many pods a text names.
const MAX_PODS_NAMED: usize = 5;

/// The first reason that kept a machine from being disrupted.
#[derive(Clone, Debug, PartialEq)]
pub enum WhyKept {
    /// A running command has it already.
    InCommand,
    /// The controller does not manage it.
    Unmanaged,
    /// Its Node has not joined yet.
    NoNode,
    /// Its Node is not initialized yet.
    NotInitialized,
    /// It is going away already.
    GoingAway,
    /// Pods are expected on it.
    Nominated {
        /// Until when.
        until: Timestamp,
    },
    /// Its Node asks for it.
    NodeDoNotDisrupt,
    /// It belongs to no NodePool.
    NoNodePool,
    /// Its NodePool is unknown, or has no instance types.
    NodePoolNotFound(NodePoolName),
    /// A pod on it asks for it.
    PodDoNotDisrupt(PodKey),
    /// A PodDisruptionBudget lets none of its pods go now.
    PodDisruptionBudget {
        /// A pod that would have to go.
        pod: PodKey,
        /// The budget, as namespace/name.
        budget: String,
    },
    /// Several PodDisruptionBudgets select a pod on it, which the eviction API refuses.
    SeveralPodDisruptionBudgets {
        /// The pod.
        pod: PodKey,
    },
    /// Its pool has a fixed number of machines.
    StaticPool(NodePoolName),
    /// Its pool has a fixed number of machines, and at present more than that: others are being replaced.
    StaticPoolBusy(NodePoolName),
    /// Nothing can be launched in its place.
    NoReplacement {
        /// The pool.
        node_pool: NodePoolName,
        /// Why.
        why: WhyNot,
    },
    /// It says that it is broken, but so do too many of its pool.
    TooManyUnhealthy(NodePoolName),
    /// Its pool says `consolidateAfter: Never`.
    ConsolidationDisabled(NodePoolName),
    /// Its pool consolidates empty machines only.
    PolicyWhenEmpty(NodePoolName),
    /// Pods have not left it alone for long enough.
    Settling,
    /// It is the room that CapacityBuffers keep for so many pods.
    BufferPods(usize),
    /// Its instance type is not in the catalog.
    InstanceTypeNotFound(String),
    /// Its Node lacks a label that prices go by.
    MissingLabel(&'static str),
    /// Its pool's budget is used up.
    Budget {
        /// The pool.
        node_pool: NodePoolName,
        /// For what.
        reason: DisruptionReason,
    },
    /// Not all of its pods would find another place.
    PodsDoNotFit {
        /// The first of them, and why not.
        pods: Vec<(PodKey, WhyNot)>,
        /// How many there are in all.
        count: usize,
    },
    /// A pod would have to wait for a machine that is not initialized yet.
    TargetNotInitialized {
        /// The pod.
        pod: PodKey,
        /// The machine.
        node: String,
    },
    /// Its pods would need several new machines.
    NeedsSeveral(usize),
    /// No machine that would do is cheaper.
    NotCheaper {
        /// The cheapest that would do, and its price; none where nothing would do at all.
        cheapest: Option<(String, Price)>,
        /// What it would replace.
        price: Price,
    },
    /// Cheaper types alone are too few for `minValues`.
    MinValues(String),
    /// Replacing spot by spot is switched off.
    SpotToSpotDisabled,
    /// Too few cheaper types for replacing spot by spot.
    SpotToSpotTooFew(usize),
    /// A replacement would save too little for the pods that would have to move.
    SavesTooLittle {
        /// What it would save per hour.
        saves: Price,
        /// What it would have to save.
        needed: Price,
    },
    /// It came as a replacement itself a moment ago.
    JustReplaced {
        /// Until when it is not replaced again.
        until: Timestamp,
    },
    /// The savings are not worth the disruption.
    Unbalanced {
        /// The score in hundredths; 50 would do.
        score: i64,
    },
    /// Another command goes first, or the pass was over before it was looked at.
    NotLookedAt,
}

/// Which event a reason is told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptEvent {
    /// `DisruptionBlocked`.
    DisruptionBlocked,
    /// `Unconsolidatable`.
    Unconsolidatable,
    /// `NodeRepairBlocked`.
    NodeRepairBlocked,
}

impl KeptEvent {
    /// The event's reason.
    pub fn reason(self) -> &'static str {
        match self {
            Self::DisruptionBlocked => "DisruptionBlocked",
            Self::Unconsolidatable => "Unconsolidatable",
            Self::NodeRepairBlocked => "NodeRepairBlocked",
        }
    }

    /// How long an identical event is held back.
    pub fn window(self) -> SignedDuration {
        match self {
            Self::DisruptionBlocked => SignedDuration::from_mins(2),
            Self::Unconsolidatable | Self::NodeRepairBlocked => SignedDuration::from_mins(15),
        }
    }

    /// The event.
    pub fn about(self, about: About, message: String) -> Event {
        let event = match self {
            Self::DisruptionBlocked | Self::Unconsolidatable => Event::normal(about, self.reason(), message),
            Self::NodeRepairBlocked => Event::warning(about, self.reason(), message),
        };
        event.window(self.window())
    }
}

impl WhyKept {
    /// The stable code: for metric labels, snapshots and scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InCommand => "in-command",
            Self::Unmanaged => "unmanaged",
            Self::NoNode => "no-node",
            Self::NotInitialized => "not-initialized",
            Self::GoingAway => "going-away",
            Self::Nominated { .. } => "nominated",
            Self::NodeDoNotDisrupt => "node-do-not-disrupt",
            Self::NoNodePool => "no-node-pool",
            Self::NodePoolNotFound(_) => "node-pool-not-found",
            Self::PodDoNotDisrupt(_) => "do-not-disrupt",
            Self::PodDisruptionBudget { .. } => "pdb",
            Self::SeveralPodDisruptionBudgets { .. } => "several-pdbs",
            Self::StaticPool(_) => "static-pool",
            Self::StaticPoolBusy(_) => "static-pool-busy",
            Self::NoReplacement { .. } => "no-replacement",
            Self::TooManyUnhealthy(_) => "too-many-unhealthy",
            Self::ConsolidationDisabled(_) => "consolidation-disabled",
            Self::PolicyWhenEmpty(_) => "policy-when-empty",
            Self::Settling => "settling",
            Self::BufferPods(_) => "buffer-pods",
            Self::InstanceTypeNotFound(_) => "instance-type-not-found",
            Self::MissingLabel(_) => "missing-label",
            Self::Budget { .. } => "budget",
            Self::PodsDoNotFit { .. } => "pods-do-not-fit",
            Self::TargetNotInitialized { .. } => "target-not-initialized",
            Self::NeedsSeveral(_) => "needs-several",
            Self::NotCheaper { .. } => "not-cheaper",
            Self::MinValues(_) => "min-values",
            Self::SpotToSpotDisabled => "spot-to-spot-disabled",
            Self::SpotToSpotTooFew(_) => "spot-to-spot-too-few",
            Self::SavesTooLittle { .. } => "saves-too-little",
            Self::JustReplaced { .. } => "just-replaced",
            Self::Unbalanced { .. } => "unbalanced",
            Self::NotLookedAt => "not-looked-at",
        }
    }

    /// The event that tells it; none where users need not be told.
    pub fn event(&self) -> Option<KeptEvent> {
        match self {
            Self::InCommand
            | Self::Unmanaged
            | Self::NoNodePool
            | Self::StaticPool(_)
            | Self::StaticPoolBusy(_)
            | Self::Settling
            | Self::BufferPods(_)
            | Self::Budget { .. }
            | Self::Unbalanced { .. }
            | Self::SavesTooLittle { .. }
            | Self::JustReplaced { .. }
            | Self::NotLookedAt => None,
            Self::NoNode
            | Self::NotInitialized
            | Self::GoingAway
            | Self::Nominated { .. }
            | Self::NodeDoNotDisrupt
            | Self::NodePoolNotFound(_)
            | Self::PodDoNotDisrupt(_)
            | Self::PodDisruptionBudget { .. }
            | Self::SeveralPodDisruptionBudgets { .. }
            | Self::NoReplacement { .. } => Some(KeptEvent::DisruptionBlocked),
            Self::TooManyUnhealthy(_) => Some(KeptEvent::NodeRepairBlocked),
            Self::ConsolidationDisabled(_)
            | Self::PolicyWhenEmpty(_)
            | Self::InstanceTypeNotFound(_)
            | Self::MissingLabel(_)
            | Self::PodsDoNotFit { .. }
            | Self::TargetNotInitialized { .. }
            | Self::NeedsSeveral(_)
            | Self::NotCheaper { .. }
            | Self::MinValues(_)
            | Self::SpotToSpotDisabled
            | Self::SpotToSpotTooFew(_) => Some(KeptEvent::Unconsolidatable),
        }
    }
}

impl fmt::Display for WhyKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InCommand => f.write_str("Node is being disrupted already"),
            Self::Unmanaged => f.write_str("Node has no NodeClaim"),
            Self::NoNode => f.write_str("Nodeclaim does not have an associated node"),
            Self::NotInitialized => f.write_str("Node isn't initialized"),
            Self::GoingAway => f.write_str("Node is deleting or marked for deletion"),
            Self::Nominated { .. } => f.write_str("Node is nominated for a pending pod"),
            Self::NodeDoNotDisrupt => {
                f.write_str("Disruption is blocked through the \"karpenter.sh/do-not-disrupt\" annotation")
            }
            Self::NoNodePool => f.write_str("Node does not have label \"karpenter.sh/nodepool\""),
            Self::NodePoolNotFound(pool) => write!(f, "NodePool not found (NodePool={pool})"),
            Self::PodDoNotDisrupt(pod) => write!(f, "Pod has \"karpenter.sh/do-not-disrupt\" annotation (Pod={pod})"),
            Self::PodDisruptionBudget { pod, budget } => {
                write!(f, "Pdb prevents pod evictions (Pod={pod}, PodDisruptionBudget={budget})")
            }
            Self::SeveralPodDisruptionBudgets { pod } => {
                write!(f, "Eviction does not support multiple PDBs (Pod={pod})")
            }
            Self::StaticPool(pool) => write!(f, "NodePool \"{pool}\" has a fixed number of nodes"),
            Self::StaticPoolBusy(pool) => {
                write!(f, "NodePool \"{pool}\" has more nodes than replicas while others of it are being replaced")
            }
            Self::NoReplacement { node_pool, why } => {
                write!(f, "NodePool \"{node_pool}\" can launch no replacement: {why}")
            }
            Self::TooManyUnhealthy(_) => f.write_str("more than 20% nodes are unhealthy in the nodepool"),
            Self::ConsolidationDisabled(pool) => write!(f, "NodePool \"{pool}\" has consolidation disabled"),
            Self::PolicyWhenEmpty(pool) => {
                write!(f, "NodePool \"{pool}\" has consolidation policy WhenEmpty, but node is not empty")
            }
            Self::Settling => f.write_str("its pods changed less than consolidateAfter ago"),
            Self::BufferPods(1) => f.write_str("a CapacityBuffer keeps it for a pod to come"),
            Self::BufferPods(count) => write!(f, "CapacityBuffers keep it for {count} pods to come"),
            Self::InstanceTypeNotFound(name) => write!(f, "Instance Type \"{name}\" not found"),
            Self::MissingLabel(label) => write!(f, "Node does not have label \"{label}\""),
            Self::Budget { node_pool, reason } => {
                write!(f, "the budgets of NodePool \"{node_pool}\" allow no further disruption for reason {reason} now")
            }
            Self::PodsDoNotFit { pods, count } => pods_do_not_fit(pods, *count, f),
            Self::TargetNotInitialized { pod, node } => {
                write!(f, "Not all pods would schedule, {pod} would schedule against uninitialized node/{node}")
            }
            Self::NeedsSeveral(count) => write!(f, "Can't remove without creating {count} candidates"),
            Self::NotCheaper { cheapest, price } => not_cheaper(cheapest.as_ref(), *price, f),
            Self::MinValues(label) => {
                write!(f, "Filtering by price: minValues requirement is not met for label(s) {label}")
            }
            Self::SpotToSpotDisabled => {
                f.write_str("SpotToSpotConsolidation is disabled, can't replace a spot node with a spot node")
            }
            Self::SpotToSpotTooFew(count) => write!(
                f,
                "SpotToSpotConsolidation requires 15 cheaper instance type options than the current candidate to consolidate, got {count}"
            ),
            Self::SavesTooLittle { saves, needed } => write!(
                f,
                "a replacement would save {saves}/h, which is less than {needed}/h for the pods that would move"
            ),
            Self::JustReplaced { .. } => f.write_str("it came as a replacement less than 15 minutes ago"),
            Self::Unbalanced { score } => {
                let (whole, hundredths) = (score / 100, score % 100);
                write!(f, "score {whole}.{hundredths:02} < threshold 0.50: the savings are not worth the disruption")
            }
            Self::NotLookedAt => f.write_str("another disruption goes first"),
        }
    }
}

fn not_cheaper(cheapest: Option<&(String, Price)>, price: Price, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("Can't replace with a cheaper node")?;
    let Some((name, cheapest)) = cheapest else { return Ok(()) };
    write!(f, " ({name} {cheapest} is the cheapest that would do; now {price})")
}

fn pods_do_not_fit(pods: &[(PodKey, WhyNot)], count: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let shown: Vec<String> = pods.iter().take(MAX_PODS_NAMED).map(|(pod, why)| format!("{pod} reason {why}")).collect();
    write!(f, "Not all pods would schedule, {}", shown.join("; "))?;
    match count.saturating_sub(shown.len()) {
        0 => Ok(()),
        more => write!(f, " and {more} other(s)"),
    }
}
