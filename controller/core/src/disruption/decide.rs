//! One pass over the methods.

use super::{
    BudgetUse, Candidate, Command, CommandId, Method, WhyKept,
    balanced::{PoolTotals, is_balanced},
    bound::{Bound, Offers},
    budgets::Budgets,
    candidates::{Survey, earlier, survey},
    consolidation, drift, emptiness, expiration,
    memory::{self, ConsolidationMemory},
    orchestration::{CommandRecord, claimed, done_ahead},
    repair,
    simulate::Simulator,
    static_pools,
};
use crate::{
    api::DisruptionReason,
    lifecycle::{About, Event},
    model::{Catalog, ClusterSnapshot, NodeClaimName, Price},
    scheduling::IndexedCatalog,
};
use jiff::Timestamp;
use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// How many sets of machines are tried in a pass at most; the next pass goes on where this one stopped. It bounds a pass over a
/// very large cluster, as the reference's time limits do, which begin anew.
const MAX_EVALUATIONS: u32 = 2_000;
/// How many commands are found in a pass at most.
const MAX_COMMANDS: usize = 10;

/// What a decision about disruption follows from.
#[derive(Clone, Copy, Debug)]
pub struct DisruptionInput<'a> {
    /// The cluster.
    pub snapshot: &'a ClusterSnapshot,
    /// What each pool may buy.
    pub catalog: &'a IndexedCatalog,
    /// The commands that are being seen through.
    pub running: &'a [CommandRecord],
}

/// What to disrupt, and why not the rest.
#[derive(Clone, Debug, Default)]
pub struct DisruptionDecision {
    /// The commands to start, in the order in which they were found; each with those before it in mind.
    pub commands: Vec<Command>,
    /// Every machine that is in none of them with the first reason that kept it, by name.
    pub kept: Vec<(String, WhyKept)>,
    /// Sets of several machines that were tried and dropped.
    pub tried: Vec<Tried>,
    /// How the pools' budgets stand, by pool and reason, without the new commands.
    pub budgets: Vec<BudgetUse>,
    /// What users are told.
    pub events: Vec<Event>,
    /// When the answer may change though the input, but for the time, is the same; none if only with the input.
    pub next_check: Option<Timestamp>,
}

/// A set of machines that was tried and dropped.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    /// By which method.
    pub method: Method,
    /// The machines' Nodes.
    pub nodes: Vec<String>,
    /// Why it was dropped.
    pub why: WhyKept,
}

/// What the methods share.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    pub(super) input: DisruptionInput<'a>,
    pub(super) survey: Survey,
    pub(super) budgets: Budgets,
    pub(super) kept: BTreeMap<String, WhyKept>,
    pub(super) tried: Vec<Tried>,
    /// How many sets of machines may still be tried.
    pub(super) evaluations_left: u32,
    /// Where looking at single machines begins: at the NodeClaim at which an earlier pass stopped.
    pub(super) resume_at: Option<NodeClaimName>,
    /// At which NodeClaim it stopped, if it did.
    pub(super) stopped_at: Option<NodeClaimName>,
    simulator: OnceCell<Simulator<'a>>,
    totals: OnceCell<PoolTotals>,
    offers: OnceCell<Arc<Offers>>,
    bound: OnceCell<Bound>,
}

impl<'a> Pass<'a> {
    /// A look at the cluster as if the command `except` were not running.
    pub(super) fn new(input: &DisruptionInput<'a>, except: Option<&CommandId>) -> Self {
        let claimed = claimed(input.running, except);
        Self {
            input: *input,
            survey: survey(input.snapshot, input.catalog.catalog(), &claimed),
            budgets: Budgets::new(input.snapshot, &claimed),
            kept: BTreeMap::new(),
            tried: Vec::new(),
            evaluations_left: MAX_EVALUATIONS,
            resume_at: None,
            stopped_at: None,
            simulator: OnceCell::new(),
            totals: OnceCell::new(),
            offers: OnceCell::new(),
            bound: OnceCell::new(),
        }
    }

    pub(super) fn catalog(&self) -> &'a Catalog {
        self.input.catalog.catalog()
    }

    pub(super) fn simulator(&self) -> &Simulator<'a> {
        self.simulator.get_or_init(|| Simulator::new(self.input.snapshot, self.input.catalog))
    }

    /// Why moving `candidates` for `savings` is not worth it for a pool that weighs them; none where no pool does.
    pub(super) fn unbalanced(&self, candidates: &[&Candidate], savings: Price) -> Option<WhyKept> {
        if !candidates.iter().any(|candidate| is_balanced(candidate, self.input.snapshot)) {
            return None;
        }
        let totals = self.totals.get_or_init(|| PoolTotals::new(self.input.snapshot, self.catalog()));
        totals.objection(candidates, savings, self.input.snapshot)
    }

    /// Why the budgets of the machine's pool allow no further disruption for `reason`; none if they do.
    pub(super) fn over_budget(&self, candidate: &Candidate, reason: DisruptionReason) -> Option<WhyKept> {
        let node_pool = candidate.node_pool.clone();
        (self.budgets.left(&node_pool, reason) == 0).then_some(WhyKept::Budget { node_pool, reason })
    }

    pub(super) fn bound(&self) -> &Bound {
        self.bound.get_or_init(|| {
            let offers = self.offers.get_or_init(|| Arc::new(Offers::new(self.input.snapshot, self.catalog())));
            Bound::new(self.input.snapshot, Arc::clone(offers))
        })
    }

    /// The first reason stands.
    pub(super) fn keep(&mut self, candidate: &Candidate, why: WhyKept) {
        self.kept.entry(candidate.node.to_string()).or_insert(why);
    }

    /// `first` is how budgets stood, and which machines were no candidates, before any of the commands was found.
    fn conclude(self, commands: Vec<Command>, first: First) -> DisruptionDecision {
        let taken: BTreeSet<&str> =
            commands.iter().flat_map(|command| &command.candidates).map(|candidate| candidate.node.as_str()).collect();
        let mut kept = self.kept;
        kept.extend(self.survey.kept);
        kept.extend(first.kept);
        for candidate in &self.survey.candidates {
            kept.entry(candidate.node.to_string()).or_insert(WhyKept::NotLookedAt);
        }
        kept.retain(|name, _| !taken.contains(name.as_str()));
        let mut events = self.survey.events;
        events.extend(self.budgets.events());
        events.extend(commands.iter().flat_map(Command::found_events));
        events.extend(kept_events(&kept, self.input.snapshot));
        let proposed = commands.iter().filter_map(Command::validate_at);
        let look_again = proposed.chain(self.input.running.iter().filter_map(CommandRecord::validate_at)).min();
        DisruptionDecision {
            next_check: earlier(earlier(self.survey.changes_at, self.budgets.changes_at), look_again),
            kept: kept.into_iter().collect(),
            tried: self.tried,
            budgets: first.budgets,
            events,
            commands,
        }
    }
}

/// What a look found before any of its commands.
#[derive(Debug)]
struct First {
    budgets: Vec<BudgetUse>,
    kept: BTreeMap<String, WhyKept>,
}

/// Decides what to disrupt, with the commands in mind that are running: their machines are gone already, and their pods where
/// they are to go.
pub fn decide(input: &DisruptionInput<'_>) -> DisruptionDecision {
    look(input, &mut ConsolidationMemory::default(), MAX_EVALUATIONS)
}

/// [`decide`] that does not look again for consolidations where it found none before: what it looks at is the same, though
/// the snapshot is not. It looks again after half an hour all the same. A pass that had to stop goes on where it stopped.
pub fn decide_remembering(input: &DisruptionInput<'_>, memory: &mut ConsolidationMemory) -> DisruptionDecision {
    decide_within(input, memory, MAX_EVALUATIONS)
}

/// [`decide_remembering`] that tries so many sets of machines at most.
pub fn decide_within(
    input: &DisruptionInput<'_>,
    memory: &mut ConsolidationMemory,
    max_evaluations: u32,
) -> DisruptionDecision {
    let now = input.snapshot.now;
    let mut decision = look(input, memory, max_evaluations);
    let unfinished = memory.place().is_some().then_some(now);
    decision.next_check = earlier(decision.next_check, memory.speaks_at(now));
    decision.next_check = earlier(decision.next_check, unfinished);
    decision
}

/// Looks again and again, each time as if what was found before were done, until nothing more is found.
fn look(input: &DisruptionInput<'_>, memory: &mut ConsolidationMemory, max_evaluations: u32) -> DisruptionDecision {
    let mut running = input.running.to_vec();
    let mut commands: Vec<Command> = Vec::new();
    let mut first: Option<First> = None;
    let mut left = max_evaluations;
    loop {
        let ahead = done_ahead(input.snapshot, &running, None);
        let snapshot = ahead.as_ref().unwrap_or(input.snapshot);
        let mut pass = Pass::new(&DisruptionInput { snapshot, catalog: input.catalog, running: &running }, None);
        pass.evaluations_left = left;
        if first.is_none() {
            first = Some(First { budgets: pass.budgets.uses(), kept: pass.survey.kept.clone() });
        }
        let found = find(&mut pass, memory);
        left = pass.evaluations_left;
        match found {
            Some(command) if commands.len() + 1 < MAX_COMMANDS => {
                running.push(CommandRecord::new(command.clone()));
                commands.push(command);
            }
            last => {
                commands.extend(last);
                let first = first.expect("the first look has just been made, or one before it");
                return pass.conclude(commands, first);
            }
        }
    }
}

/// What the first method finds that finds anything.
fn find(pass: &mut Pass<'_>, memory: &mut ConsolidationMemory) -> Option<Command> {
    let whatever_it_costs = static_pools::find_surplus(pass)
        .or_else(|| emptiness::find(pass))
        .or_else(|| repair::find(pass))
        .or_else(|| expiration::find(pass))
        .or_else(|| drift::find(pass));
    if whatever_it_costs.is_some() {
        return whatever_it_costs;
    }
    let fingerprint = memory::fingerprint(pass);
    if let Some(kept) = memory.recall(pass, fingerprint) {
        for (name, why) in kept {
            pass.kept.entry(name.clone()).or_insert_with(|| why.clone());
        }
        return None;
    }
    pass.offers = memory.offers(pass).into();
    pass.resume_at = memory.place().cloned();
    // What looks at several machines leaves something for looking at each: otherwise none might ever be looked at.
    let for_each = pass.evaluations_left.div_ceil(2);
    pass.evaluations_left -= for_each;
    let found = consolidation::find_multi(pass);
    pass.evaluations_left += for_each;
    let found = found.or_else(|| consolidation::find_single(pass)).or_else(|| consolidation::find_few(pass, memory));
    let found = found.map(|command| consolidation::or_more_worth(pass, command));
    memory.stop_at(pass.stopped_at.take());
    if found.is_none() && memory.place().is_none() {
        memory.remember(pass, fingerprint);
    }
    found
}

/// Each reason is told to the Node and to its NodeClaim.
fn kept_events(kept: &BTreeMap<String, WhyKept>, snapshot: &ClusterSnapshot) -> Vec<Event> {
    let mut events = Vec::new();
    for machine in &snapshot.nodes {
        let Some(why) = kept.get(machine.name()) else { continue };
        let Some(kind) = why.event() else { continue };
        let node = machine.node_name().map(|name| About::Node(name.to_string()));
        let claim = machine.claim_name().map(|name| About::NodeClaim(name.to_owned()));
        let message = why.to_string();
        let about = [node, claim].into_iter().flatten();
        events.extend(about.map(|about| kind.about(about, message.clone())));
    }
    events
}
