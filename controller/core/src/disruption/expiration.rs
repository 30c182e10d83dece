//! Machines that have reached their age (spec core 3.2). Unlike in the reference, budgets and what pods ask for hold them up, and
//! what comes in their place is there first; [`crate::model::Settings::forceful_expiration`] gives the reference's way, which is
//! [`crate::lifecycle`]'s.

use super::{
    Candidate, Command, Method,
    candidates::claim_of,
    decide::Pass,
    overdue::{self, Due},
};
use crate::lifecycle::expires_at;

/// The first machine over its age that can be replaced.
pub(super) fn find(pass: &mut Pass<'_>) -> Option<Command> {
    let snapshot = pass.input.snapshot;
    if snapshot.settings.forceful_expiration {
        return None;
    }
    let expired = |own: &Candidate| {
        let since = expires_at(claim_of(own, snapshot)?).filter(|at| *at <= snapshot.now)?;
        Some(Due { since, candidate: own.clone() })
    };
    let due = pass.survey.eventually().filter_map(expired).collect();
    overdue::find(pass, Method::Expiration, due)
}
