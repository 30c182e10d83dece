//! Machines that say that they are broken (spec core 3.5). Unlike in the reference, budgets hold them up, and what comes in their
//! place is there first; [`crate::model::Settings::forceful_repair`] gives the reference's way. What their pods ask for does not
//! count either way: it may be that nothing runs there any more.

use super::{
    Candidate, Command, Method, WhyKept,
    decide::Pass,
    overdue::{self, Due},
};
use crate::{
    lifecycle::later,
    model::{ClusterSnapshot, NodePoolName, RepairPolicy, Settings, StateNode},
};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// More than this share of a pool's machines is not taken for broken: then it is something else that is.
const MOST_PERCENT: usize = 20;

/// What a Node says of its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken<'a> {
    /// The condition that says so.
    pub policy: &'a RepairPolicy,
    /// From when on that is borne no longer.
    pub due: Timestamp,
}

/// Whether the machine says that it is broken: by the condition that is borne the shortest from now on, if several do.
pub fn broken<'a>(machine: &StateNode, settings: &'a Settings) -> Option<Broken<'a>> {
    let conditions = machine.node.as_ref()?.status.as_ref()?.conditions.as_deref().unwrap_or_default();
    let says = |policy: &'a RepairPolicy| {
        let own = conditions.iter().find(|own| own.type_ == policy.condition && own.status == policy.status)?;
        Some(Broken { policy, due: later(own.last_transition_time.as_ref()?.0, policy.toleration) })
    };
    let wanted = settings.repair_policies.iter().filter(|_| settings.feature_gates.node_repair);
    wanted.filter_map(says).min_by_key(|own| own.due)
}

/// The first broken machine that can be replaced; forcefully all of them.
pub(super) fn find(pass: &mut Pass<'_>) -> Option<Command> {
    let snapshot = pass.input.snapshot;
    let mut due = Vec::new();
    let pools: BTreeSet<&NodePoolName> = pass.survey.broken.iter().map(|(own, _)| &own.node_pool).collect();
    let unbelievable: BTreeSet<NodePoolName> =
        pools.into_iter().filter(|pool| is_most_of_pool_broken(pool, snapshot)).cloned().collect();
    for (candidate, since) in pass.survey.broken.clone() {
        if unbelievable.contains(&candidate.node_pool) {
            let why = WhyKept::TooManyUnhealthy(candidate.node_pool.clone());
            pass.keep(&candidate, why);
        } else {
            due.push(Due { candidate, since });
        }
    }
    if !snapshot.settings.forceful_repair {
        return overdue::find(pass, Method::Repair, due);
    }
    due.sort_by(|a, b| (a.since, &a.candidate.node).cmp(&(b.since, &b.candidate.node)));
    let candidates: Vec<Candidate> = due.into_iter().map(|own| own.candidate).collect();
    (!candidates.is_empty()).then(|| Command::new(Method::Repair, candidates, Vec::new(), Vec::new(), snapshot.now))
}

/// Whether more of the pool's machines say that they are broken, however long they have, than can be believed.
fn is_most_of_pool_broken(pool: &NodePoolName, snapshot: &ClusterSnapshot) -> bool {
    let own: Vec<&StateNode> =
        snapshot.nodes.iter().filter(|own| own.node.is_some() && own.node_pool().as_ref() == Some(pool)).collect();
    let broken = own.iter().filter(|own| broken(own, &snapshot.settings).is_some()).count();
    broken > (own.len() * MOST_PERCENT).div_ceil(100)
}
