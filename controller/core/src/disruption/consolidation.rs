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
    scheduling::PlannedNodeClaim,
};
use std::collections::BTreeMap;

/// How many machines are replaced together at most.
const MAX_TOGETHER: usize = 100;

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
/// depend on its length alone, so that it is found in a few tries. A longer one that saves no more is not worth the further pods
/// that it moves.
pub(super) fn find_multi(pass: &mut Pass<'_>) -> Option<Command> {
    let candidates = within_budgets(pass);
    let mut best: Option<(usize, Price, Consolidation)> = None;
    let (mut shortest, mut longest) = (2, candidates.len().min(MAX_TOGETHER));
    while shortest <= longest && pass.evaluations_left > 0 {
        let length = usize::midpoint(shortest, longest);
        let together: Vec<&Candidate> = candidates[..length].iter().collect();
        match evaluate(pass, &together, true) {
            Ok(found) => {
                let saves = found.saves(&together);
                if best.as_ref().is_none_or(|(_, most, _)| saves > *most) {
                    best = Some((length, saves, found));
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
    let (length, _, found) = best?;
    let together = candidates.into_iter().take(length).collect();
    Some(Command::new(
        Method::MultiNodeConsolidation,
        together,
        found.replacements,
        found.moves,
        pass.input.snapshot.now,
    ))
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
            Ok(found) => {
                let now = pass.input.snapshot.now;
                return Some(Command::new(
                    Method::SingleNodeConsolidation,
                    vec![candidate],
                    found.replacements,
                    found.moves,
                    now,
                ));
            }
            Err(why) => pass.keep(&candidate, why),
        }
    }
    None
}

/// Whether one machine can go or be replaced by something cheaper: by another machine, or by several smaller ones that cost less
/// together.
pub(super) fn evaluate_single(pass: &mut Pass<'_>, candidate: &Candidate) -> Result<Consolidation, WhyKept> {
    // No replacement saves more than deleting would: where not even that is worth it nothing has to be simulated.
    if let Some(why) = pass.unbalanced(&[candidate], candidate.price) {
        return Err(why);
    }
    evaluate(pass, &[candidate], false)
}

/// Whether `candidates` can become nothing or fewer machines, or one of them others, that cost less.
pub(super) fn evaluate(pass: &mut Pass<'_>, candidates: &[&Candidate], multi: bool) -> Result<Consolidation, WhyKept> {
    if let Some(why) = pass.bound().objection(candidates) {
        return Err(why);
    }
    pass.evaluations_left = pass.evaluations_left.saturating_sub(1);
    let mut simulated = pass.simulator().without(candidates)?;
    if !multi && simulated.planned.len() > 1 {
        // A harder look may find cheaper machines than several that the first found, or fewer. It is one question in many.
        let costs = |own: &Simulation| (cheapest_of_all(&own.planned), own.planned.len());
        let thorough = pass.simulator().thoroughly_without(candidates).ok();
        simulated = thorough.filter(|own| costs(own) < costs(&simulated)).unwrap_or(simulated);
    }
    judge(pass, simulated, candidates, multi)
}

/// Whether what would become of the pods is worth it.
fn judge(
    pass: &Pass<'_>,
    simulated: Simulation,
    candidates: &[&Candidate],
    multi: bool,
) -> Result<Consolidation, WhyKept> {
    if multi && simulated.planned.len() >= candidates.len() {
        return Err(WhyKept::NeedsSeveral(simulated.planned.len()));
    }
    let rules = Rules { multi, spot_to_spot: pass.input.snapshot.settings.feature_gates.spot_to_spot_consolidation };
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
