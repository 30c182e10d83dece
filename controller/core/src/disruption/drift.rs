//! Machines that are not what is asked for any more (spec core 4.8).

use super::{
    Candidate, Command, Method,
    candidates::claim_of,
    decide::Pass,
    overdue::{self, Due},
};
use crate::{
    api::conditions::{Conditioned, DRIFTED, TRUE},
    model::ClusterSnapshot,
};
use jiff::Timestamp;

/// The first drifted machine that can be replaced. Prices do not matter.
pub(super) fn find(pass: &mut Pass<'_>) -> Option<Command> {
    let snapshot = pass.input.snapshot;
    let drifted = |own: &Candidate| Some(Due { since: drifted_at(own, snapshot)?, candidate: own.clone() });
    let due = pass.survey.eventually().filter_map(drifted).collect();
    overdue::find(pass, Method::Drift, due)
}

fn drifted_at(candidate: &Candidate, snapshot: &ClusterSnapshot) -> Option<Timestamp> {
    let condition = claim_of(candidate, snapshot)?.condition(DRIFTED).filter(|condition| condition.status == TRUE)?;
    Some(condition.last_transition_time.0)
}
