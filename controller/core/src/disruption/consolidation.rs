//! Fewer or cheaper machines for the same pods (spec core 4.7).

use super::{
    Candidate, Command, Method, Move, Tried, WhyKept,
    candidates::{find_type, pool_of},
    churn,
    command::{cheapest_of_all, price_of_all},
    decide::Pass,
    emptiness,
    replacement::{Rules, all_cheaper},
    simulate::Simulation,
};
use crate::{
    api::{ConsolidationPolicy, DisruptionReason, labels},
    model::{Catalog, ClusterSnapshot, NodePoolName, Price},
    scheduling::{Effort, PlannedNodeClaim},
};
use std::collections::{BTreeMap, BTreeSet};

/// How many machines are replaced together at most.
const MAX_TOGETHER: usize = 100;
/// So many of the machines that would take pods over are looked at, the dearest first.
const RECEIVERS: usize = 3;

/// Machines by which a run becomes longer have to save one part in so many of what they cost.
const FURTHER_SAVE_ONE_IN: i64 = 10;
/// So many machines are a few.
const FEW: [usize; 3] = [2, 3, 4];
/// So many sets of a few are tried at most.
const FEW_TRIES: u32 = 60;

/// How a set of machines is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// One machine, which may become several.
    Single,
    /// A run of machines, which are to become fewer.
    Run,
    /// A few machines, which are not to become more.
    Few,
}

/// A set of machines that can go, with what comes in their place.
#[derive(Debug)]
pub(super) struct Consolidation {
    pub(super) replacements: Vec<PlannedNodeClaim>,
    pub(super) moves: Vec<Move>,
}

impl Consolidation {
    /// What it saves per hour in place of `candidates`.
    pub(super) fn saves(&self, candidates: &[&Candidate]) -> Price {
        price_of_all(candidates.iter().copied()).saturating_sub(cheapest_of_all(&self.replacements))
    }
}

/// The longest run of candidates, in order, that can become nothing or fewer machines together. Whether a run can is taken to
/// depend on its length alone, so that it is found in a few tries. A longer one is taken if what it saves more is worth the further
/// pods that it moves.
pub(super) fn find_multi(pass: &mut Pass<'_>) -> Option<Command> {
    let candidates = within_budgets(pass);
    let mut best: Option<(usize, Consolidation)> = None;
    let (mut shortest, mut longest) = (2, candidates.len().min(MAX_TOGETHER));
    while shortest <= longest && pass.evaluations_left > 0 {
        let length = usize::midpoint(shortest, longest);
        let together: Vec<&Candidate> = candidates[..length].iter().collect();
        match evaluate(pass, &together, Look::Run) {
            Ok(found) => {
                let is_better = |(shorter, best): &(usize, Consolidation)| {
                    let saves = best.saves(&together[..*shorter]);
                    is_worth_more(found.saves(&together), saves, &together[*shorter..])
                };
                if best.as_ref().is_none_or(is_better) {
                    best = Some((length, found));
                }
                shortest = length + 1;
            }
            Err(why) => {
                let nodes = together.iter().map(|candidate| candidate.node.to_string()).collect();
                pass.tried.push(Tried { method: Method::MultiNodeConsolidation, nodes, why });
                longest = length - 1;
            }
        }
    }
    let (length, found) = shortened(pass, &candidates, best?);
    let together = candidates.into_iter().take(length).collect();
    Some(Command::new(
        Method::MultiNodeConsolidation,
        together,
        found.replacements,
        found.moves,
        pass.input.snapshot.now,
    ))
}

/// The run, or its first part if that saves nearly as much: what moving its last pods saves is least.
fn shortened(
    pass: &mut Pass<'_>,
    candidates: &[Candidate],
    (mut length, mut found): (usize, Consolidation),
) -> (usize, Consolidation) {
    while length >= 4 && pass.evaluations_left > 0 {
        let whole: Vec<&Candidate> = candidates[..length].iter().collect();
        let (part, rest) = whole.split_at(length / 2);
        let Ok(shorter) = evaluate(pass, part, Look::Run) else { break };
        if is_worth_more(found.saves(&whole), shorter.saves(part), rest) {
            break;
        }
        (length, found) = (part.len(), shorter);
    }
    (length, found)
}

/// Whether it is worth it that `further` machines go, too, to save `more` in all rather than `less`.
fn is_worth_more(more: Price, less: Price, further: &[&Candidate]) -> bool {
    let share = price_of_all(further.iter().copied()).nanos() / FURTHER_SAVE_ONE_IN;
    more > less.saturating_add(Price::from_nanos(share))
}

/// The first few candidates next to one another in order that can become machines which cost less, and are no more than they. Pods
/// that share their machines badly may share others well, though none of these machines can be replaced by itself.
pub(super) fn find_few(pass: &mut Pass<'_>) -> Option<Command> {
    let candidates = within_budgets(pass);
    let mut tries = FEW_TRIES;
    for length in FEW {
        for window in candidates.windows(length) {
            if pass.evaluations_left == 0 || tries == 0 {
                return None;
            }
            let together: Vec<&Candidate> = window.iter().collect();
            let left = pass.evaluations_left;
            let found = evaluate(pass, &together, Look::Few);
            tries -= u32::from(pass.evaluations_left < left);
            if let Ok(Consolidation { replacements, moves }) = found {
                let now = pass.input.snapshot.now;
                return Some(Command::new(Method::MultiNodeConsolidation, window.to_vec(), replacements, moves, now));
            }
        }
    }
    None
}

/// The first candidate that can go or be replaced by something cheaper.
pub(super) fn find_single(pass: &mut Pass<'_>) -> Option<Command> {
    let mut candidates = in_turns(consolidatable(pass));
    let stopped = pass.resume_at.as_ref().and_then(|at| candidates.iter().position(|own| own.node_claim == *at));
    candidates.rotate_left(stopped.unwrap_or(0));
    for candidate in candidates {
        if pass.evaluations_left == 0 {
            pass.stopped_at = Some(candidate.node_claim);
            return None;
        }
        if let Some(why) = pass.over_budget(&candidate, DisruptionReason::Underutilized) {
            pass.keep(&candidate, why);
            continue;
        }
        match evaluate_single(pass, &candidate) {
            Ok(found) => return Some(single(pass, candidate, found)),
            Err(why) => pass.keep(&candidate, why),
        }
    }
    None
}

/// `command`, or what saves more and cannot be done any more after it: something cheaper in place of a machine that would take its
/// pods over. With further pods on it fewer types are cheaper, on spot perhaps too few to choose from.
pub(super) fn or_more_worth(pass: &mut Pass<'_>, command: Command) -> Command {
    let mut saves = command.savings();
    let targets: BTreeSet<&str> = command.moves.iter().filter_map(Move::existing).collect();
    let (snapshot, catalog) = (pass.input.snapshot, pass.catalog());
    let takes_over =
        pass.survey.candidates.iter().filter(|own| targets.contains(own.node.as_str()) && own.price > saves);
    let mut receivers: Vec<Candidate> =
        takes_over.filter(|own| objection(own, snapshot, catalog).is_none()).cloned().collect();
    receivers.sort_by(|a, b| (b.price, &a.node).cmp(&(a.price, &b.node)));
    let mut best = None;
    for receiver in receivers.into_iter().take(RECEIVERS) {
        if pass.evaluations_left == 0 || pass.over_budget(&receiver, DisruptionReason::Underutilized).is_some() {
            continue;
        }
        let Ok(found) = evaluate_single(pass, &receiver) else { continue };
        if found.saves(&[&receiver]) > saves {
            saves = found.saves(&[&receiver]);
            best = Some((receiver, found));
        }
    }
    best.map_or(command, |(receiver, found)| single(pass, receiver, found))
}

/// The command that does with a candidate what was found for it.
fn single(pass: &Pass<'_>, candidate: Candidate, found: Consolidation) -> Command {
    let Consolidation { replacements, moves } = cheapest(pass, &candidate, found);
    let now = pass.input.snapshot.now;
    Command::new(Method::SingleNodeConsolidation, vec![candidate], replacements, moves, now)
}

/// Whether one machine can go or be replaced by something cheaper: by another machine, or by several smaller ones that cost less
/// together.
pub(super) fn evaluate_single(pass: &mut Pass<'_>, candidate: &Candidate) -> Result<Consolidation, WhyKept> {
    // No replacement saves more than deleting would: where not even that is worth it nothing has to be simulated.
    if let Some(why) = pass.unbalanced(&[candidate], candidate.price) {
        return Err(why);
    }
    evaluate(pass, &[candidate], Look::Single)
}

/// Whether `candidates` can become nothing or fewer machines, or one of them others, that cost less.
pub(super) fn evaluate(pass: &mut Pass<'_>, candidates: &[&Candidate], look: Look) -> Result<Consolidation, WhyKept> {
    if let Some(why) = pass.bound().objection(candidates) {
        return Err(why);
    }
    pass.evaluations_left = pass.evaluations_left.saturating_sub(1);
    let simulated = pass.simulator().without(candidates, effort(candidates, look))?;
    judge(pass, simulated, candidates, look)
}

/// How hard is looked at first for what would become of the pods of `candidates`.
pub(super) fn effort(candidates: &[&Candidate], look: Look) -> Effort {
    match look {
        Look::Single | Look::Few => Effort::Within(churn::most_worth(candidates)),
        Look::Run => Effort::Quick,
    }
}

/// The cheapest machines for the pods of a candidate that can be replaced by `found`: a harder look may find cheaper ones, or
/// fewer. It is taken once, when it is clear which candidate goes.
fn cheapest(pass: &Pass<'_>, candidate: &Candidate, found: Consolidation) -> Consolidation {
    if found.replacements.len() < 2 {
        return found;
    }
    let costs = |own: &Consolidation| (cheapest_of_all(&own.replacements), own.replacements.len());
    let thorough = pass.simulator().without(&[candidate], Effort::Thorough);
    let thorough = thorough.and_then(|simulated| judge(pass, simulated, &[candidate], Look::Single)).ok();
    thorough.filter(|own| costs(own) < costs(&found)).unwrap_or(found)
}

/// Whether what would become of the pods is worth it.
fn judge(
    pass: &Pass<'_>,
    simulated: Simulation,
    candidates: &[&Candidate],
    look: Look,
) -> Result<Consolidation, WhyKept> {
    let most = match look {
        Look::Single => usize::MAX,
        Look::Run => candidates.len() - 1,
        Look::Few => candidates.len(),
    };
    if simulated.planned.len() > most {
        return Err(WhyKept::NeedsSeveral(simulated.planned.len()));
    }
    let rules = Rules {
        multi: look != Look::Single,
        choice_of_spot: look != Look::Run,
        spot_to_spot: pass.input.snapshot.settings.feature_gates.spot_to_spot_consolidation,
    };
    let replacements = all_cheaper(simulated.planned, candidates, rules)?;
    if let Some(why) = churn::objection(candidates, &replacements, pass.input.snapshot) {
        return Err(why);
    }
    let replacements = replacements.into_iter().map(churn::marked).collect();
    let found = Consolidation { replacements, moves: simulated.moves };
    match pass.unbalanced(candidates, found.saves(candidates)) {
        Some(why) => Err(why),
        None => Ok(found),
    }
}

/// The candidates that consolidation may look at, in order; the others are kept with their reasons.
pub(super) fn consolidatable(pass: &mut Pass<'_>) -> Vec<Candidate> {
    let (snapshot, catalog) = (pass.input.snapshot, pass.catalog());
    let mut chosen = Vec::new();
    for candidate in pass.survey.candidates.clone() {
        match objection(&candidate, snapshot, catalog) {
            None => chosen.push(candidate),
            Some(why) => pass.keep(&candidate, why),
        }
    }
    chosen.sort_by(Candidate::before);
    chosen
}

fn within_budgets(pass: &mut Pass<'_>) -> Vec<Candidate> {
    let mut taken: BTreeMap<NodePoolName, u32> = BTreeMap::new();
    let candidates = consolidatable(pass);
    let budgets = &pass.budgets;
    let fits = |candidate: &Candidate| {
        let taken = taken.entry(candidate.node_pool.clone()).or_default();
        let fits = *taken < budgets.left(&candidate.node_pool, DisruptionReason::Underutilized);
        *taken += u32::from(fits);
        fits
    };
    let mut fits = fits;
    candidates.into_iter().filter(|candidate| fits(candidate)).collect()
}

/// Why consolidation does not look at a machine.
pub(super) fn objection(candidate: &Candidate, snapshot: &ClusterSnapshot, catalog: &Catalog) -> Option<WhyKept> {
    let pool = pool_of(candidate, snapshot)?;
    if pool.spec.is_static() {
        return Some(WhyKept::StaticPool(candidate.node_pool.clone()));
    }
    let Some(name) = &candidate.instance_type else { return Some(WhyKept::MissingLabel(labels::INSTANCE_TYPE)) };
    if find_type(catalog.of(&candidate.node_pool), name).is_none() {
        return Some(WhyKept::InstanceTypeNotFound(name.clone()));
    }
    if candidate.capacity_type.is_none() {
        return Some(WhyKept::MissingLabel(labels::CAPACITY_TYPE));
    }
    if candidate.zone.is_none() {
        return Some(WhyKept::MissingLabel(labels::ZONE));
    }
    if let Some(why @ WhyKept::ConsolidationDisabled(_)) = emptiness::objection(candidate, snapshot) {
        return Some(why);
    }
    if candidate.cost.is_empty() {
        // Emptiness has looked at it.
        return emptiness::objection(candidate, snapshot).or(Some(WhyKept::NotLookedAt));
    }
    if pool.spec.disruption.consolidation_policy == ConsolidationPolicy::WhenEmpty {
        return Some(WhyKept::PolicyWhenEmpty(candidate.node_pool.clone()));
    }
    emptiness::objection(candidate, snapshot)
}

/// The pools take turns, so that a large one does not keep the others waiting; within a pool the order stays.
fn in_turns(candidates: Vec<Candidate>) -> Vec<Candidate> {
    let mut order: Vec<NodePoolName> = Vec::new();
    let mut queues: BTreeMap<NodePoolName, std::collections::VecDeque<Candidate>> = BTreeMap::new();
    for candidate in candidates {
        if !queues.contains_key(&candidate.node_pool) {
            order.push(candidate.node_pool.clone());
        }
        queues.entry(candidate.node_pool.clone()).or_default().push_back(candidate);
    }
    let mut turns = Vec::new();
    while !queues.is_empty() {
        for pool in &order {
            match queues.get_mut(pool).and_then(std::collections::VecDeque::pop_front) {
                Some(candidate) => turns.push(candidate),
                None => drop(queues.remove(pool)),
            }
        }
    }
    turns
}
