//! Machines without pods that mind (spec core 4.6).

use super::{
    Candidate, Command, Method, WhyKept,
    candidates::{claim_of, pool_of},
    decide::Pass,
};
use crate::{
    api::{
        DisruptionReason, NodeClaim,
        conditions::{CONSOLIDATABLE, Conditioned},
        labels,
    },
    lifecycle::later,
    model::{ClusterSnapshot, NodePoolName},
};
use jiff::Timestamp;
use std::{collections::BTreeMap, time::Duration};

/// A replacement that nothing was replaced by may serve others for so long before it goes, if it is empty.
const ABANDONED_FOR: Duration = Duration::from_mins(5);

/// One command with as many empty machines as budgets allow. Nothing needs another place but the room that buffers
/// keep.
pub(super) fn find(pass: &mut Pass<'_>) -> Option<Command> {
    let mut empty: Vec<Candidate> = pass.survey.candidates.iter().filter(|own| own.cost.is_empty()).cloned().collect();
    empty.sort_by(Candidate::before);
    let mut chosen = Vec::new();
    let mut taken: BTreeMap<NodePoolName, u32> = BTreeMap::new();
    for candidate in empty {
        if let Some(why) = objection(&candidate, pass.input.snapshot) {
            pass.keep(&candidate, why);
            continue;
        }
        let taken = taken.entry(candidate.node_pool.clone()).or_default();
        if *taken >= pass.budgets.left(&candidate.node_pool, DisruptionReason::Empty) {
            let why = WhyKept::Budget { node_pool: candidate.node_pool.clone(), reason: DisruptionReason::Empty };
            pass.keep(&candidate, why);
            continue;
        }
        if let Some(why) = keeps_room(&candidate, &chosen, pass) {
            pass.keep(&candidate, why);
            continue;
        }
        *taken += 1;
        chosen.push(candidate);
    }
    let now = pass.input.snapshot.now;
    (!chosen.is_empty()).then(|| Command::new(Method::Emptiness, chosen, Vec::new(), Vec::new(), now))
}

/// Why an empty machine is kept all the same.
pub(super) fn objection(candidate: &Candidate, snapshot: &ClusterSnapshot) -> Option<WhyKept> {
    let name = || candidate.node_pool.clone();
    let Some(pool) = pool_of(candidate, snapshot) else { return Some(WhyKept::NodePoolNotFound(name())) };
    let claim = claim_of(candidate, snapshot);
    if pool.spec.is_static() {
        Some(WhyKept::StaticPool(name()))
    } else if claim.and_then(|claim| given_up_at(claim)).is_some_and(|at| at <= snapshot.now) {
        None
    } else if pool.spec.disruption.consolidate_after.value().is_none() {
        Some(WhyKept::ConsolidationDisabled(name()))
    } else if claim.is_some_and(|claim| claim.is_true(CONSOLIDATABLE)) {
        None
    } else {
        Some(WhyKept::Settling)
    }
}

/// Why an empty machine is kept once `gone` are gone: buffers have their room on it.
pub(super) fn keeps_room(candidate: &Candidate, gone: &[Candidate], pass: &Pass<'_>) -> Option<WhyKept> {
    if pass.input.snapshot.virtual_pods.is_empty() {
        return None;
    }
    let together: Vec<&Candidate> = gone.iter().chain([candidate]).collect();
    let count = pass.simulator().losing_room(&together);
    (count > 0).then_some(WhyKept::BufferPods(count))
}

/// From when on a machine that is empty goes whatever its pool says of consolidation: it came as a replacement for others that
/// were not replaced.
pub(super) fn given_up_at(claim: &NodeClaim) -> Option<Timestamp> {
    let abandoned: Timestamp = claim.metadata.annotations.as_ref()?.get(labels::ABANDONED)?.parse().ok()?;
    Some(later(abandoned, ABANDONED_FOR))
}
