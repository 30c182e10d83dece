//! Fewer or cheaper machines for the same pods (spec core 4.7).

use super::{
    Candidate, Command, DisruptionInput, Method, Move, MoveTo, Tried, WhyKept,
    candidates::{find_type, pool_of},
    churn,
    command::{cheapest_of_all, price_of_all},
    decide::Pass,
    emptiness,
    memory::ConsolidationMemory,
    orchestration::{CommandRecord, done_ahead},
    replacement::{Rules, all_cheaper},
    simulate::Simulation,
};
use crate::{
    api::{ConsolidationPolicy, DisruptionReason, labels},
    model::{CapacityType, Catalog, ClusterSnapshot, NodePoolName, PodKey, Price},
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
    /// A run of machines, which are not to become more.
    Run,
    /// A few machines, which are not to become more either, and are looked at as hard as a single one.
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

/// The longest run of candidates, in order, that can become nothing or cheaper machines together, and no more of them. Whether a run
/// can is taken to depend on its length alone, so that it is found in a few tries. A longer one is taken if what it saves more is
/// worth the further pods that it moves.
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
    let run = &candidates[..length];
    let (together, found) = without_swaps(pass, run, &found).unwrap_or_else(|| (run.to_vec(), found));
    let (mut together, found) = without_those_that_may_stay(pass, together, found);
    if let [_] = together[..] {
        return together.pop().map(|candidate| single(pass, candidate, found));
    }
    Some(command(pass, together, found, Look::Run))
}

/// The run without machines that only become others that cost as much; none if there are none, or the rest saves less without them.
fn without_swaps(
    pass: &mut Pass<'_>,
    candidates: &[Candidate],
    found: &Consolidation,
) -> Option<(Vec<Candidate>, Consolidation)> {
    let others: Vec<&Candidate> = candidates.iter().filter(|own| !is_swapped(own, found)).collect();
    if others.is_empty() || others.len() == candidates.len() {
        return None;
    }
    let all: Vec<&Candidate> = candidates.iter().collect();
    let rest = evaluate_part(pass, &others).ok().filter(|rest| rest.saves(&others) >= found.saves(&all))?;
    Some((others.into_iter().cloned().collect(), rest))
}

/// The machines without those whose going saves little of what they cost, though it moves their pods: those of most pods first.
fn without_those_that_may_stay(
    pass: &mut Pass<'_>,
    mut together: Vec<Candidate>,
    mut found: Consolidation,
) -> (Vec<Candidate>, Consolidation) {
    let bought: BTreeSet<&PodKey> =
        found.moves.iter().filter(|its| matches!(its.to, MoveTo::Replacement(_))).map(|its| &its.pod).collect();
    let needs_one = |own: &&Candidate| own.pods.iter().any(|pod| bought.contains(&PodKey::of(pod)));
    let mut order: Vec<(usize, String)> =
        together.iter().filter(needs_one).map(|own| (own.pods.len(), own.node.to_string())).collect();
    order.sort_by(|a, b| (b.0, &a.1).cmp(&(a.0, &b.1)));
    for (_, node) in order {
        if together.len() == 1 || pass.evaluations_left == 0 {
            break;
        }
        let all: Vec<&Candidate> = together.iter().collect();
        let (own, rest): (Vec<&Candidate>, Vec<&Candidate>) = all.iter().partition(|own| own.node.as_str() == node);
        let Ok(without) = evaluate_part(pass, &rest) else { continue };
        if !is_worth_more(found.saves(&all), without.saves(&rest), &own) {
            found = without;
            together = rest.into_iter().cloned().collect();
        }
    }
    (together, found)
}

/// Whether a machine's pods would all go to one new machine, alone, that costs no less.
fn is_swapped(candidate: &Candidate, found: &Consolidation) -> bool {
    let own: BTreeSet<PodKey> = candidate.pods.iter().map(|pod| PodKey::of(pod)).collect();
    let mut targets = found.moves.iter().filter(|its| own.contains(&its.pod)).map(|its| &its.to);
    let Some(to @ MoveTo::Replacement(index)) = targets.next() else { return false };
    let alone = found.moves.iter().all(|its| (its.to == *to) == own.contains(&its.pod));
    alone && found.replacements[*index].cheapest_price >= candidate.price
}

/// The run, or its first part if that saves nearly as much: what moving its last pods saves is least. Half of it is looked at, and
/// all but the last.
fn shortened(
    pass: &mut Pass<'_>,
    candidates: &[Candidate],
    (mut length, mut found): (usize, Consolidation),
) -> (usize, Consolidation) {
    'shorter: while length > 1 && pass.evaluations_left > 0 {
        let whole: Vec<&Candidate> = candidates[..length].iter().collect();
        // Of two machines both are the same.
        let mut shorter_ones = vec![length / 2, length - 1];
        shorter_ones.dedup();
        for shorter in shorter_ones {
            let (part, rest) = whole.split_at(shorter);
            let Ok(part_found) = evaluate_part(pass, part) else { continue };
            if !is_worth_more(found.saves(&whole), part_found.saves(part), rest) {
                (length, found) = (shorter, part_found);
                continue 'shorter;
            }
        }
        break;
    }
    (length, found)
}

/// What is left of a run, which may be one machine.
fn evaluate_part(pass: &mut Pass<'_>, part: &[&Candidate]) -> Result<Consolidation, WhyKept> {
    if let [only] = part { evaluate_single(pass, only) } else { evaluate(pass, part, Look::Run) }
}

/// Whether it is worth it that `further` machines go, too, to save `more` in all rather than `less`.
fn is_worth_more(more: Price, less: Price, further: &[&Candidate]) -> bool {
    let share = price_of_all(further.iter().copied()).nanos() / FURTHER_SAVE_ONE_IN;
    more > less.saturating_add(Price::from_nanos(share))
}

/// The first few candidates next to one another in order that can become machines which cost less, and are no more than they. Pods
/// that share their machines badly may share others well, though none of these machines can be replaced by itself. What was tried a
/// moment ago is passed by.
pub(super) fn find_few(pass: &mut Pass<'_>, memory: &mut ConsolidationMemory) -> Option<Command> {
    let candidates = within_budgets(pass);
    let (now, few) = (pass.input.snapshot.now, memory.few(pass));
    let mut tries = FEW_TRIES;
    for length in FEW {
        for window in candidates.windows(length) {
            if pass.evaluations_left == 0 || tries == 0 {
                return None;
            }
            if few.has_tried(window) {
                continue;
            }
            let together: Vec<&Candidate> = window.iter().collect();
            let left = pass.evaluations_left;
            let found = evaluate(pass, &together, Look::Few);
            tries -= u32::from(pass.evaluations_left < left);
            if let Ok(found) = found {
                return Some(command(pass, window.to_vec(), found, Look::Few));
            }
            few.has_failed(window, now);
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

/// `command`, or what is worth more and cannot be done any more after it: something cheaper in place of a machine that would take
/// its pods over. With further pods on it fewer types are cheaper, on spot perhaps too few to choose from.
pub(super) fn or_more_worth(pass: &mut Pass<'_>, command: Command) -> Command {
    let saves = command.savings();
    let targets: BTreeSet<&str> = command.moves.iter().filter_map(Move::existing).collect();
    let (snapshot, catalog) = (pass.input.snapshot, pass.catalog());
    let takes_over = pass.survey.candidates.iter().filter(|own| targets.contains(own.node.as_str()));
    let mut receivers: Vec<Candidate> =
        takes_over.filter(|own| objection(own, snapshot, catalog).is_none()).cloned().collect();
    receivers.sort_by(|a, b| (b.price, &a.node).cmp(&(a.price, &b.node)));
    // Only spot asks for a choice of types.
    let spot_to_spot = snapshot.settings.feature_gates.spot_to_spot_consolidation;
    let (mut most, mut best) = (saves, None);
    for receiver in receivers.into_iter().take(RECEIVERS) {
        let may_be_lost = spot_to_spot && receiver.capacity_type == Some(CapacityType::Spot);
        if receiver.price <= saves && !may_be_lost {
            continue;
        }
        if pass.evaluations_left == 0 || pass.over_budget(&receiver, DisruptionReason::Underutilized).is_some() {
            continue;
        }
        let Ok(found) = evaluate_single(pass, &receiver) else { continue };
        let mut worth = found.saves(&[&receiver]);
        let is_lost = may_be_lost && is_lost_after(pass, &command, &receiver);
        if worth <= most && !is_lost {
            continue;
        }
        let instead = single(pass, receiver, found);
        if is_lost {
            worth = worth.saturating_add(saved_after(pass, &instead, &command.candidates));
        }
        if worth > most {
            most = worth;
            best = Some(instead);
        }
    }
    best.unwrap_or(command)
}

/// Whether the machine that takes the pods of `command` over is too cheap then to be replaced by spot, because too few types are
/// cheaper that would hold them, too.
fn is_lost_after(pass: &mut Pass<'_>, command: &Command, receiver: &Candidate) -> bool {
    pass.evaluations_left = pass.evaluations_left.saturating_sub(1);
    let all: Vec<&Candidate> = command.candidates.iter().chain([receiver]).collect();
    let simulated = pass.simulator().without(&all, effort(&[receiver], Look::Single));
    simulated.is_ok_and(|simulated| {
        matches!(judge(pass, simulated, &[receiver], Look::Single), Err(WhyKept::SpotToSpotTooFew(_)))
    })
}

/// What `candidates` would save, each by itself, once `command` is done.
fn saved_after(pass: &mut Pass<'_>, command: &Command, candidates: &[Candidate]) -> Price {
    let DisruptionInput { snapshot, catalog, running } = pass.input;
    let record = CommandRecord::new(command.clone());
    let Some(mut snapshot) = done_ahead(snapshot, std::slice::from_ref(&record), None) else { return Price::ZERO };
    // By then nothing is expected on them any more.
    snapshot.nodes.iter_mut().for_each(|machine| machine.nominated_until = None);
    let running = [running, &[record]].concat();
    let mut after = Pass::new(&DisruptionInput { snapshot: &snapshot, catalog, running: &running }, None);
    let there = |own: &&Candidate| candidates.iter().any(|other| other.node_claim == own.node_claim);
    let candidates: Vec<Candidate> = after.survey.candidates.iter().filter(there).cloned().collect();
    pass.evaluations_left = pass.evaluations_left.saturating_sub(u32::try_from(candidates.len()).unwrap_or(u32::MAX));
    candidates.iter().fold(Price::ZERO, |saved, own| {
        let found = evaluate_single(&mut after, own);
        saved.saturating_add(found.map_or(Price::ZERO, |found| found.saves(&[own])))
    })
}

/// The command that does with a candidate what was found for it.
fn single(pass: &Pass<'_>, candidate: Candidate, found: Consolidation) -> Command {
    command(pass, vec![candidate], found, Look::Single)
}

/// The command that does with candidates what was found for them by such a look.
fn command(pass: &Pass<'_>, candidates: Vec<Candidate>, found: Consolidation, look: Look) -> Command {
    let together: Vec<&Candidate> = candidates.iter().collect();
    let Consolidation { replacements, moves } = cheapest(pass, &together, found, look);
    let method = match look {
        Look::Single => Method::SingleNodeConsolidation,
        Look::Run | Look::Few => Method::MultiNodeConsolidation,
    };
    Command::new(method, candidates, replacements, moves, pass.input.snapshot.now)
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

/// Whether `candidates` can become nothing or no more machines than they are, or one of them others, that cost less.
pub(super) fn evaluate(pass: &mut Pass<'_>, candidates: &[&Candidate], look: Look) -> Result<Consolidation, WhyKept> {
    let objection = match look {
        Look::Single => pass.bound().objection(candidates),
        Look::Run | Look::Few => pass.bound().objection_to_several(candidates),
    };
    if let Some(why) = objection {
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

/// The cheapest machines for the pods of candidates that can be replaced by `found`: a harder look may find cheaper ones, or
/// fewer. It is taken once, when it is clear which candidates go.
fn cheapest(pass: &Pass<'_>, candidates: &[&Candidate], found: Consolidation, look: Look) -> Consolidation {
    if found.replacements.is_empty() {
        return found;
    }
    let costs = |own: &Consolidation| (cheapest_of_all(&own.replacements), own.replacements.len());
    let thorough = pass.simulator().without(candidates, Effort::Thorough);
    let thorough = thorough.and_then(|simulated| judge(pass, simulated, candidates, look)).ok();
    thorough.filter(|own| costs(own) < costs(&found)).unwrap_or(found)
}

/// Whether what would become of the pods is worth it.
fn judge(
    pass: &Pass<'_>,
    simulated: Simulation,
    candidates: &[&Candidate],
    look: Look,
) -> Result<Consolidation, WhyKept> {
    let needed = simulated.planned.len();
    if look != Look::Single && needed > candidates.len() {
        return Err(WhyKept::NeedsSeveral(needed));
    }
    let rules = Rules {
        multi: look != Look::Single,
        // That they become fewer has an end; that they become others might go on for ever.
        choice_of_spot: needed >= candidates.len(),
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
