//! Machines that have reached their age (spec core 3.2). Unlike in the reference, budgets and what pods ask for hold them up, and
//! what comes in their place is there first; [`crate::model::Settings::forceful_expiration`] gives the reference's way, which is
//! [`crate::lifecycle`]'s.

use super::{
    Candidate, Command, Method,
    candidates::claim_of,
    decide::Pass,
    overdue::{self, Due},
};
use crate::{api::NodeClaim, lifecycle::expires_at};
use jiff::Timestamp;

/// The first machine over its age that can be replaced.
pub(super) fn find(pass: &mut Pass<'_>) -> Option<Command> {
    let snapshot = pass.input.snapshot;
    if snapshot.settings.forceful_expiration {
        return None;
    }
    let due = |own: &Candidate| {
        Some(Due { since: expired_at(claim_of(own, snapshot)?, snapshot.now)?, candidate: own.clone() })
    };
    let due = pass.survey.eventually().filter_map(due).collect();
    overdue::find(pass, Method::Expiration, due)
}

/// When a machine reached its age, if it has at `now`.
pub(super) fn expired_at(claim: &NodeClaim, now: Timestamp) -> Option<Timestamp> {
    expires_at(claim).filter(|at| *at <= now)
}
