//! Machines that are not what is asked for any more (spec core 4.8; pools with a fixed number of machines are not handled).

use super::{
    Candidate, Command, Method, WhyKept,
    candidates::{claim_of, pool_of},
    decide::Pass,
};
use crate::{
    api::{
        DisruptionReason,
        conditions::{Conditioned, DRIFTED, TRUE},
    },
    model::ClusterSnapshot,
};
use jiff::Timestamp;

/// The first drifted machine whose pods find another place, be it on any number of new machines: those without pods first,
/// then those that drifted first. Prices do not matter.
pub(super) fn find(pass: &mut Pass<'_>) -> Option<Command> {
    let snapshot = pass.input.snapshot;
    let all = pass.survey.candidates.iter().chain(&pass.survey.eventual);
    let mut drifted: Vec<(bool, Timestamp, Candidate)> = all
        .filter(|candidate| pool_of(candidate, snapshot).is_some_and(|pool| !pool.spec.is_static()))
        .filter_map(|candidate| Some((!candidate.pods.is_empty(), drifted_at(candidate, snapshot)?, candidate.clone())))
        .collect();
    drifted.sort_by(|a, b| (a.0, a.1, &a.2.node).cmp(&(b.0, b.1, &b.2.node)));
    for (_, _, candidate) in drifted {
        if pass.budgets.left(&candidate.node_pool, DisruptionReason::Drifted) == 0 {
            let why = WhyKept::Budget { node_pool: candidate.node_pool.clone(), reason: DisruptionReason::Drifted };
            pass.keep(&candidate, why);
            continue;
        }
        let simulated = pass.simulator().without(&[&candidate]);
        match simulated {
            Ok(found) => {
                return Some(Command::new(Method::Drift, vec![candidate], found.planned, found.moves, snapshot.now));
            }
            Err(why) => pass.keep(&candidate, why),
        }
    }
    None
}

fn drifted_at(candidate: &Candidate, snapshot: &ClusterSnapshot) -> Option<Timestamp> {
    let condition = claim_of(candidate, snapshot)?.condition(DRIFTED).filter(|condition| condition.status == TRUE)?;
    Some(condition.last_transition_time.0)
}
