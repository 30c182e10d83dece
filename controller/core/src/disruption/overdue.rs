//! Machines that have to go whatever that costs: broken, too old, or not what is asked for any more. Each goes by itself, what
//! comes in its place first.

use super::{Candidate, Command, Method, Move, WhyKept, candidates::pool_of, decide::Pass, static_pools};
use crate::scheduling::{Effort, PlannedNodeClaim};
use jiff::Timestamp;

/// A machine that has to go.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) candidate: Candidate,
    /// Since when.
    pub(super) since: Timestamp,
}

/// The first of `due` that budgets allow and whose pods find another place, be it on any number of new machines: those without
/// pods first, then by the time since when they have to go.
pub(super) fn find(pass: &mut Pass<'_>, method: Method, mut due: Vec<Due>) -> Option<Command> {
    due.sort_by(|a, b| {
        let rank = |own: &Due| (!own.candidate.pods.is_empty(), own.since);
        rank(a).cmp(&rank(b)).then_with(|| a.candidate.node.cmp(&b.candidate.node))
    });
    for Due { candidate, .. } in due {
        match in_its_place(pass, method, &candidate) {
            Ok((planned, moves)) => {
                return Some(Command::new(method, vec![candidate], planned, moves, pass.input.snapshot.now));
            }
            Err(why) => pass.keep(&candidate, why),
        }
    }
    None
}

/// What comes in place of a machine and where its pods go; why it has to stay for now.
pub(super) fn in_its_place(
    pass: &Pass<'_>,
    method: Method,
    candidate: &Candidate,
) -> Result<(Vec<PlannedNodeClaim>, Vec<Move>), WhyKept> {
    if let Some(why) = pass.over_budget(candidate, method.reason()) {
        return Err(why);
    }
    if pool_of(candidate, pass.input.snapshot).is_some_and(|pool| pool.spec.is_static()) {
        return static_pools::replacement(pass, candidate).map(|planned| (vec![planned], Vec::new()));
    }
    pass.simulator().without(&[candidate], Effort::Quick).map(|found| (found.planned, found.moves))
}
