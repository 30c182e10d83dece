//! Why a pod gets no place. Each reason has a stable code; its text is what people, events and snapshots see.

use super::{Incompatible, InvalidResource, NodePoolName, quantity_text};
use std::fmt;
use thiserror::Error;

/// The first reason that stopped a pod: of itself, of one pool, or of every pool.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WhyNot {
    /// Scheduling gates hold it back: it waits for someone else.
    #[error("its scheduling gates are still set: {}", quoted(gates))]
    Gated {
        /// The gates' names.
        gates: Vec<String>,
    },
    /// A DaemonSet owns it: it runs where nodes are, and none is bought for it.
    #[error("it belongs to a DaemonSet: its pods run on nodes that others need")]
    DaemonPod,
    /// A Node owns it.
    #[error("it is a static pod: it lives and dies with its node")]
    StaticPod,
    /// An amount that it asks for cannot be read.
    #[error(transparent)]
    InvalidAmount(#[from] InvalidResource),
    /// Its required node affinity selects nodes by field.
    #[error("node selector term with matchFields is not supported")]
    MatchFields,
    /// It asks for a label that users may not ask for.
    #[error("label `{key}` is restricted: no node that the controller launches can be chosen by it")]
    RestrictedLabel {
        /// The label's key.
        key: String,
    },
    /// It opts out of every NodePool.
    #[error("it asks for nodes without a NodePool (`karpenter.sh/nodepool` `DoesNotExist`)")]
    OptsOut,
    /// It needs something that is not decided here yet, so that placing it would be a guess.
    #[error("{constraint} is not supported yet, so no node is launched for it")]
    Unsupported {
        /// What it needs, e.g. `a persistent volume claim`.
        constraint: &'static str,
    },
    /// A volume that it claims is not to be had yet, whatever the node.
    #[error("persistentvolumeclaim `{claim}` {why}")]
    Volume {
        /// The claim's name.
        claim: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// There is no pool from which a machine could be launched.
    #[error("no dynamic nodepools found")]
    NoNodePools,
    /// It starts together with others, and too few of them would find a place.
    #[error(
        "its gang `{gang}` starts with {needed} pods and only {found} would find a place; of the first that would not: {nearest}"
    )]
    Gang {
        /// The gang's name.
        gang: String,
        /// How many run or would find a place.
        found: u32,
        /// How many must.
        needed: u32,
        /// Why the first of the others would not.
        nearest: Box<Self>,
    },
    /// It starts together with others, and their place is for a gang of higher priority.
    #[error("its gang `{gang}` makes room for one of higher priority")]
    GangGaveWay {
        /// The gang's name.
        gang: String,
    },
    /// It starts together with others that are not there yet.
    #[error("its gang `{gang}` starts with {needed} pods and has only {there} yet")]
    GangIncomplete {
        /// The gang's name.
        gang: String,
        /// How many there are.
        there: u32,
        /// How many must be there.
        needed: u32,
    },
    /// The pass ended before the pod was looked at.
    #[error("the time for this pass was over before it was looked at; it comes first in the next")]
    OutOfTime,
    /// No pool could take it.
    #[error("{}", no_pool(pools))]
    NoPool {
        /// Each pool's own reason, in the order in which they were tried.
        pools: Vec<(NodePoolName, Self)>,
    },
    /// The pool's machines keep it away.
    #[error("did not tolerate taint `{taint}`")]
    Taint {
        /// The first taint that it does not tolerate, as `key=value:effect`.
        taint: String,
    },
    /// The pool's requirements or labels exclude what it asks for.
    #[error("incompatible requirements, {0}")]
    Incompatible(#[from] Incompatible),
    /// No instance type will do.
    #[error(transparent)]
    NoInstanceType(#[from] Shortfall),
    /// It asks for something that no machine of any pool has.
    #[error("no instance type has enough resources (none has any {})", quoted(resources))]
    NoSuchResource {
        /// The resources' names.
        resources: Vec<String>,
    },
    /// Types would do, but none of them can be bought where and how it is asked for. The reference forgets such types before it
    /// looks, and then blames the others.
    #[error("no instance type has the required offering: {}", sold_out(instance_types, *more))]
    OutOfCapacity {
        /// The cheapest of those types.
        instance_types: Vec<String>,
        /// How many more there are.
        more: usize,
    },
    /// The pool cannot launch anything at present.
    #[error("is not ready: {message}")]
    PoolNotReady {
        /// What its `Ready` condition says.
        message: String,
    },
    /// The pool offers no instance type at all.
    #[error("NodePool requirements filtered out all compatible available instance types")]
    NoTypes,
    /// Too few distinct values of a label remain.
    #[error("minValues requirement is not met for label(s) {}", quoted(labels))]
    MinValues {
        /// The labels that have too few values.
        labels: Vec<String>,
    },
    /// The pool may have no further node.
    #[error("node limits have been exhausted for nodepool")]
    NodeLimit,
    /// What would hold it would exceed the pool's limits.
    #[error("all available instance types exceed limits for nodepool (limits reached: {}{nearest})", quoted(resources))]
    Limit {
        /// The resources whose limits are in the way.
        resources: Vec<String>,
        /// The cheapest type that would do.
        nearest: Exceeding,
    },
    /// Only reserved machines would do and none is left to reserve.
    #[error("one or more instance types with compatible reserved offerings are available, but could not be reserved")]
    NoReservation,
    /// No domain is left that satisfies a topology constraint.
    #[error("unsatisfiable topology constraint for {kind}, key={key} ({detail})")]
    Topology {
        /// `topology spread`, `pod affinity` or `pod anti-affinity`.
        kind: &'static str,
        /// The topology's label.
        key: String,
        /// Counts by domain, as text.
        detail: String,
    },
    /// A host port that it needs is taken by daemons on every machine that would do.
    #[error("host port {port} is taken by a DaemonSet on every node that would do")]
    HostPort {
        /// The port.
        port: i32,
    },
}

impl WhyNot {
    /// The stable code of the reason: for metric labels, snapshots and scripts. Of several pools' reasons it is that of the
    /// pool that came closest.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Gated { .. } => "gated",
            Self::DaemonPod => "daemon-pod",
            Self::StaticPod => "static-pod",
            Self::InvalidAmount(_) => "invalid-amount",
            Self::MatchFields => "match-fields",
            Self::RestrictedLabel { .. } => "restricted-label",
            Self::OptsOut => "opts-out",
            Self::Unsupported { .. } => "unsupported",
            Self::Volume { .. } => "volume",
            Self::Gang { .. } => "gang",
            Self::GangGaveWay { .. } => "gang-gave-way",
            Self::GangIncomplete { .. } => "gang-incomplete",
            Self::NoNodePools => "no-node-pools",
            Self::OutOfTime => "out-of-time",
            Self::NoPool { pools } => self.nearest(pools).map_or("no-node-pools", Self::code),
            Self::Taint { .. } => "taint",
            Self::Incompatible(Incompatible::UnknownLabel { .. }) => "unknown-label",
            Self::Incompatible(Incompatible::Disjoint { .. }) => "incompatible-requirements",
            Self::Incompatible(Incompatible::Contradiction { .. }) => "contradictory-requirements",
            Self::NoInstanceType(shortfall) => shortfall.code(),
            Self::NoSuchResource { .. } => "not-enough-resources",
            Self::OutOfCapacity { .. } => "no-offering",
            Self::PoolNotReady { .. } => "pool-not-ready",
            Self::NoTypes => "no-instance-types",
            Self::MinValues { .. } => "min-values",
            Self::NodeLimit => "node-limit",
            Self::Limit { .. } => "limit",
            Self::NoReservation => "no-reservation",
            Self::Topology { .. } => "topology",
            Self::HostPort { .. } => "host-port",
        }
    }

    /// How far a pod came before this stopped it; the further, the nearer the miss.
    fn progress(&self) -> u8 {
        match self {
            Self::NoNodePools | Self::NoTypes | Self::PoolNotReady { .. } => 0,
            Self::Taint { .. } => 1,
            Self::Incompatible(_) => 2,
            Self::NoInstanceType(_) | Self::NoSuchResource { .. } => 3,
            Self::HostPort { .. } => 4,
            Self::MinValues { .. } => 5,
            Self::Topology { .. } => 6,
            Self::NoReservation | Self::OutOfCapacity { .. } => 7,
            Self::NodeLimit | Self::Limit { .. } => 8,
            Self::Gated { .. }
            | Self::DaemonPod
            | Self::StaticPod
            | Self::InvalidAmount(_)
            | Self::MatchFields
            | Self::RestrictedLabel { .. }
            | Self::OptsOut
            | Self::Unsupported { .. }
            | Self::Volume { .. }
            | Self::Gang { .. }
            | Self::GangGaveWay { .. }
            | Self::GangIncomplete { .. }
            | Self::OutOfTime
            | Self::NoPool { .. } => 9,
        }
    }

    fn nearest<'a>(&self, pools: &'a [(NodePoolName, Self)]) -> Option<&'a Self> {
        // Of equally near ones the first tried is meant, hence the reversal: `max_by_key` returns the last.
        pools.iter().rev().map(|(_, why)| why).max_by_key(|why| why.progress())
    }

    /// Whether the pod is left alone on purpose, so that no event is due.
    pub fn is_silent(&self) -> bool {
        matches!(self, Self::Gated { .. } | Self::DaemonPod | Self::StaticPod | Self::OptsOut)
    }
}

/// An instance type that would do but for a limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exceeding {
    /// Its name; empty if none is named.
    pub instance_type: String,
    /// A resource of which it has too much.
    pub resource: String,
    /// What the pool's machines would have of it, in the resource's own unit.
    pub with_it: i64,
    /// What they may have.
    pub limit: i64,
}

impl fmt::Display for Exceeding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { instance_type, resource, with_it, limit } = self;
        if instance_type.is_empty() {
            return Ok(());
        }
        let [with_it, limit] = [with_it, limit].map(|amount| quantity_text(resource, *amount));
        write!(f, "; `{instance_type}` would do, but with it `{resource}` would be {with_it} of {limit}")
    }
}

/// Which of the three criteria for instance types at least one type met, alone and in pairs (spec core 2.9). No type met all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Error)]
pub struct Shortfall {
    /// Some type's labels satisfy the requirements.
    pub requirements: bool,
    /// Some type has enough resources.
    pub fits: bool,
    /// Some type has a wanted offering that is available.
    pub offering: bool,
    /// Some type meets the first two.
    pub requirements_and_fits: bool,
    /// Some type meets the first and the third.
    pub requirements_and_offering: bool,
    /// Some type meets the last two.
    pub fits_and_offering: bool,
    /// The pod asks for a million CPUs or more.
    pub absurd_cpu: bool,
}

impl Shortfall {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match (self.requirements, self.fits, self.offering) {
            (true, false, _) => "not-enough-resources",
            (false, true, _) => "no-matching-instance-type",
            (true, true, false) => "no-offering",
            (false, false, _) => "no-instance-type",
            (true, true, true) => self.pair_code(),
        }
    }

    fn pair_code(&self) -> &'static str {
        match (self.requirements_and_fits, self.requirements_and_offering) {
            (true, _) => "no-offering",
            (false, true) => "not-enough-resources",
            (false, false) => "no-instance-type",
        }
    }

    fn text(&self) -> &'static str {
        match (self.requirements, self.fits, self.offering) {
            (false, false, false) => {
                "no instance type met the scheduling requirements or had enough resources or had a required offering"
            }
            (false, false, true) => "no instance type met the scheduling requirements or had enough resources",
            (false, true, false) => "no instance type met the scheduling requirements or had a required offering",
            (true, false, false) => "no instance type had enough resources or had a required offering",
            (false, true, true) => "no instance type met all requirements",
            (true, false, true) => "no instance type has enough resources",
            (true, true, false) => "no instance type has the required offering",
            (true, true, true) => self.pair_text(),
        }
    }

    fn pair_text(&self) -> &'static str {
        if self.requirements_and_fits {
            "no instance type which met the scheduling requirements and had enough resources, had a required offering"
        } else if self.fits_and_offering {
            "no instance type which had enough resources and the required offering met the scheduling requirements"
        } else if self.requirements_and_offering {
            "no instance type which met the scheduling requirements and the required offering had the required resources"
        } else {
            "no instance type met the requirements/resources/offering tuple"
        }
    }
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())?;
        if self.absurd_cpu && !self.fits { f.write_str(" (CPU request >= 1 Million, m vs M typo?)") } else { Ok(()) }
    }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn sold_out(instance_types: &[String], more: usize) -> String {
    let names = quoted(instance_types);
    match (instance_types.len(), more) {
        (1, 0) => format!("{names} would do but is out of capacity"),
        (_, 0) => format!("{names} would do but are out of capacity"),
        _ => format!("{names} and {more} more would do but are out of capacity"),
    }
}

fn no_pool(pools: &[(NodePoolName, WhyNot)]) -> String {
    pools.iter().map(|(pool, why)| format!("NodePool `{pool}`: {why}")).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::{Exceeding, Shortfall, WhyNot};
    use crate::model::NodePoolName;

    #[test]
    fn the_nearest_miss_gives_the_code() {
        let taint = WhyNot::Taint { taint: "gpu:NoSchedule".to_owned() };
        let nearest = Exceeding {
            instance_type: "m5.large".to_owned(),
            resource: "cpu".to_owned(),
            with_it: 9_500,
            limit: 8_000,
        };
        let limit = WhyNot::Limit { resources: vec!["cpu".to_owned()], nearest };
        let why = WhyNot::NoPool { pools: vec![(NodePoolName::from("a"), taint), (NodePoolName::from("b"), limit)] };
        assert_eq!(why.code(), "limit");
        assert_eq!(
            why.to_string(),
            "NodePool `a`: did not tolerate taint `gpu:NoSchedule`; NodePool `b`: all available instance types exceed limits \
             for nodepool (limits reached: `cpu`; `m5.large` would do, but with it `cpu` would be 9500m of 8)"
        );
    }

    #[test]
    fn what_is_out_of_capacity_is_named() {
        let why = |names: &[&str], more| {
            let instance_types = names.iter().map(|name| (*name).to_owned()).collect();
            WhyNot::OutOfCapacity { instance_types, more }.to_string()
        };
        let start = "no instance type has the required offering";
        assert_eq!(why(&["a"], 0), format!("{start}: `a` would do but is out of capacity"));
        assert_eq!(why(&["a", "b"], 0), format!("{start}: `a`, `b` would do but are out of capacity"));
        assert_eq!(why(&["a", "b"], 5), format!("{start}: `a`, `b` and 5 more would do but are out of capacity"));
    }

    #[test]
    fn an_absurd_request_is_doubted() {
        let why = Shortfall { requirements: true, offering: true, absurd_cpu: true, ..Shortfall::default() };
        assert_eq!(why.to_string(), "no instance type has enough resources (CPU request >= 1 Million, m vs M typo?)");
        assert_eq!(why.code(), "not-enough-resources");
    }

    #[test]
    fn pairs_are_told_apart() {
        let all = Shortfall { requirements: true, fits: true, offering: true, ..Shortfall::default() };
        let with = |change: fn(&mut Shortfall)| {
            let mut changed = all;
            change(&mut changed);
            changed.to_string()
        };
        assert!(with(|s| s.requirements_and_fits = true).ends_with("had a required offering"));
        assert!(with(|s| s.fits_and_offering = true).ends_with("met the scheduling requirements"));
        assert!(with(|s| s.requirements_and_offering = true).ends_with("had the required resources"));
        assert!(with(|_| ()).ends_with("tuple"));
    }
}
