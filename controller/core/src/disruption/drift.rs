//! Machines that are not what is asked for any more (spec core 4.8).

use super::{
    Candidate, Command, Method,
    candidates::claim_of,
    decide::Pass,
    overdue::{self, Due},
};
use crate::api::{
    NodeClaim,
    conditions::{Conditioned, DRIFTED, TRUE},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// The first drifted machine that can be replaced. Prices do not matter.
pub(super) fn find(pass: &mut Pass<'_>) -> Option<Command> {
    let snapshot = pass.input.snapshot;
    let due = |own: &Candidate| {
        let since = drifted(claim_of(own, snapshot)?)?.last_transition_time.0;
        Some(Due { since, candidate: own.clone() })
    };
    let due = pass.survey.eventually().filter_map(due).collect();
    overdue::find(pass, Method::Drift, due)
}

/// The condition that says that a machine has drifted, if it has.
pub(super) fn drifted(claim: &NodeClaim) -> Option<&Condition> {
    claim.condition(DRIFTED).filter(|condition| condition.status == TRUE)
}
