//! What is to be disrupted: candidates, commands, and how they are told.

use super::DisruptionCost;
use crate::{
    api::DisruptionReason,
    lifecycle::{About, Event},
    model::{CapacityType, NodeClaimName, NodeName, NodePoolName, PodKey, Price},
    scheduling::PlannedNodeClaim,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, fmt, sync::Arc};

/// The ways to look for something to disrupt, in the order in which they are tried (spec core 4.1). The set and its order are
/// policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Machines beyond the number that their pool is to have.
    StaticScaleDown,
    /// Machines without pods that mind.
    Emptiness,
    /// Machines that say that they are broken.
    Repair,
    /// Machines that have reached their age.
    Expiration,
    /// Machines that are not what is asked for any more.
    Drift,
    /// Several machines for none or fewer.
    MultiNodeConsolidation,
    /// One machine for none or something cheaper.
    SingleNodeConsolidation,
}

impl Method {
    /// In the order in which they are tried.
    pub const ALL: [Self; 7] = [
        Self::StaticScaleDown,
        Self::Emptiness,
        Self::Repair,
        Self::Expiration,
        Self::Drift,
        Self::MultiNodeConsolidation,
        Self::SingleNodeConsolidation,
    ];

    /// Why machines that it finds are disrupted.
    pub fn reason(self) -> DisruptionReason {
        match self {
            Self::StaticScaleDown => DisruptionReason::ScaledDown,
            Self::Emptiness => DisruptionReason::Empty,
            Self::Repair => DisruptionReason::Unhealthy,
            Self::Expiration => DisruptionReason::Expired,
            Self::Drift => DisruptionReason::Drifted,
            Self::MultiNodeConsolidation | Self::SingleNodeConsolidation => DisruptionReason::Underutilized,
        }
    }

    /// The value of the metric label `consolidation_type`.
    pub fn consolidation_type(self) -> &'static str {
        match self {
            Self::Emptiness => "empty",
            Self::StaticScaleDown | Self::Repair | Self::Expiration | Self::Drift => "",
            Self::MultiNodeConsolidation => "multi",
            Self::SingleNodeConsolidation => "single",
        }
    }

    /// A stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::StaticScaleDown => "static-scale-down",
            Self::Emptiness => "emptiness",
            Self::Repair => "repair",
            Self::Expiration => "expiration",
            Self::Drift => "drift",
            Self::MultiNodeConsolidation => "multi-node",
            Self::SingleNodeConsolidation => "single-node",
        }
    }

    /// Whether what it finds is looked at again after a while before it is done.
    pub fn waits(self) -> bool {
        match self {
            Self::Emptiness | Self::MultiNodeConsolidation | Self::SingleNodeConsolidation => true,
            Self::StaticScaleDown | Self::Repair | Self::Expiration | Self::Drift => false,
        }
    }
}

/// What machines cost per hour together.
pub(super) fn price_of_all<'a>(candidates: impl IntoIterator<Item = &'a Candidate>) -> Price {
    candidates.into_iter().map(|candidate| candidate.price).sum()
}

/// What machines that are planned cost per hour together: the cheapest offering of the first type of each.
pub(super) fn cheapest_of_all(planned: &[PlannedNodeClaim]) -> Price {
    planned.iter().map(|own| own.cheapest_price).sum()
}

/// A machine that may be disrupted.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its position in the snapshot's `nodes`.
    pub index: usize,
    /// Its Node.
    pub node: NodeName,
    /// Its NodeClaim.
    pub node_claim: NodeClaimName,
    /// Its pool.
    pub node_pool: NodePoolName,
    /// Its instance type, where its labels say.
    pub instance_type: Option<String>,
    /// Its zone, where its labels say.
    pub zone: Option<String>,
    /// How it is paid for, where its labels say.
    pub capacity_type: Option<CapacityType>,
    /// What it costs per hour; zero where that is not known.
    pub price: Price,
    /// What moving its pods costs.
    pub cost: DisruptionCost,
    /// The pods that need another place, by namespace and name.
    pub pods: Vec<Arc<Pod>>,
}

impl Candidate {
    /// Dear machines whose pods hardly mind come first: by price per cost, the names settling ties.
    pub(super) fn before(&self, other: &Self) -> std::cmp::Ordering {
        let value = |own: &Self, others: &Self| i128::from(own.price.nanos()) * i128::from(others.cost.units());
        value(other, self).cmp(&value(self, other)).then_with(|| self.node.cmp(&other.node))
    }
}

/// Whether a command only deletes, or replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    /// The pods find room elsewhere.
    Delete,
    /// New machines come first.
    Replace,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Delete => "delete",
            Self::Replace => "replace",
        })
    }
}

/// Names a command; the same in every run with the same input.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommandId(String);

impl CommandId {
    /// From what the command is about and when it was found, in the form of a UUID.
    fn new(method: Method, candidates: &[Candidate], found_at: Timestamp) -> Self {
        let mut hash = Sha256::new();
        hash.update(format!("{} {found_at}", method.code()));
        candidates.iter().for_each(|candidate| hash.update(format!(" {}", candidate.node_claim)));
        let hex: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Self([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
    }

    /// The id of a command that was found before.
    pub(super) fn known(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a pod goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Move {
    /// The pod.
    pub pod: PodKey,
    /// To which machine.
    pub to: MoveTo,
}

impl Move {
    /// The machine that it goes to, if that exists.
    pub(super) fn existing(&self) -> Option<&str> {
        match &self.to {
            MoveTo::Existing(name) => Some(name),
            MoveTo::Replacement(_) => None,
        }
    }
}

/// A machine that takes a pod over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MoveTo {
    /// One that exists, by [`crate::model::StateNode::name`].
    Existing(String),
    /// The replacement at this position of the command.
    Replacement(usize),
}

/// Machines to disrupt together.
#[derive(Clone, Debug)]
pub struct Command {
    /// Its id.
    pub id: CommandId,
    /// How it was found.
    pub method: Method,
    /// The machines to give back.
    pub candidates: Vec<Candidate>,
    /// The machines to launch before.
    pub replacements: Vec<PlannedNodeClaim>,
    /// Where the candidates' pods go, as far as that was worked out.
    pub moves: Vec<Move>,
    /// When it was found.
    pub found_at: Timestamp,
}

impl Command {
    pub(super) fn new(
        method: Method,
        candidates: Vec<Candidate>,
        replacements: Vec<PlannedNodeClaim>,
        moves: Vec<Move>,
        found_at: Timestamp,
    ) -> Self {
        let id = CommandId::new(method, &candidates, found_at);
        Self { id, method, candidates, replacements, moves, found_at }
    }

    /// Whether it only deletes.
    pub fn decision(&self) -> Decision {
        if self.replacements.is_empty() { Decision::Delete } else { Decision::Replace }
    }

    /// Why.
    pub fn reason(&self) -> DisruptionReason {
        self.method.reason()
    }

    /// What the candidates cost per hour.
    pub fn price(&self) -> Price {
        price_of_all(&self.candidates)
    }

    /// What the replacements cost per hour: the cheapest offering of the first type of each.
    pub fn replacement_price(&self) -> Price {
        cheapest_of_all(&self.replacements)
    }

    /// What it saves per hour; negative where replacing drifted machines costs more.
    pub fn savings(&self) -> Price {
        self.price().saturating_sub(self.replacement_price())
    }

    /// The command without its id, for events.
    pub fn short_text(&self) -> String {
        let decision = self.decision();
        if let [first, _, ..] = self.candidates.as_slice() {
            return format!("{decision}: [{}] (part of {}-node consolidation)", first.node, self.candidates.len());
        }
        format!("{decision}: [{}]{}", self.node_names(), self.arrow())
    }

    fn node_names(&self) -> String {
        let names: Vec<&str> = self.candidates.iter().map(|candidate| candidate.node.as_str()).collect();
        names.join(", ")
    }

    fn arrow(&self) -> String {
        match self.replacements.len() {
            0 => String::new(),
            1 => " -> [1 replacement]".to_owned(),
            count => format!(" -> [{count} replacements]"),
        }
    }

    /// What the owners of the candidates are told when it was found; only of replacements.
    pub fn found_events(&self) -> Vec<Event> {
        match self.decision() {
            Decision::Delete => Vec::new(),
            Decision::Replace => {
                let message =
                    format!("Consolidation candidate: {} (savings: {})", self.short_text(), dollars(self.savings()));
                self.about_candidates("ConsolidationCandidate", &message)
            }
        }
    }

    /// An event about each candidate's Node and NodeClaim.
    pub(super) fn about_candidates(&self, reason: &'static str, message: &str) -> Vec<Event> {
        let about = |candidate: &Candidate| {
            [About::Node(candidate.node.to_string()), About::NodeClaim(candidate.node_claim.to_string())]
        };
        self.candidates.iter().flat_map(about).map(|about| Event::normal(about, reason, message)).collect()
    }
}

impl fmt::Display for Command {
    /// As in the log line `disrupting node(s)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pools: BTreeSet<&str> = self.candidates.iter().map(|candidate| candidate.node_pool.as_str()).collect();
        let pools = pools.into_iter().collect::<Vec<_>>().join(",");
        write!(
            f,
            "{}/{}: {}: nodepools=[{pools}]: [{}]{} (savings: {})",
            self.reason(),
            self.id,
            self.decision(),
            self.node_names(),
            self.arrow(),
            dollars(self.savings())
        )
    }
}

/// A price to the cent, as in the reference's texts.
pub(super) fn dollars(price: Price) -> String {
    const NANOS_PER_CENT: i64 = 10_000_000;
    let cents = (price.nanos().abs() + NANOS_PER_CENT / 2) / NANOS_PER_CENT;
    format!("{}${}.{:02}", if price < Price::ZERO { "-" } else { "" }, cents / 100, cents % 100)
}
