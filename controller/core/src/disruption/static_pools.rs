//! Machines of pools that are to have a fixed number of them: those that are too many, and what comes in place of one (spec core
//! 2.19, 4.8).

use super::{
    Candidate, Command, Method, WhyKept,
    candidates::{asking_pods, candidate, is_claimed},
    cost::DisruptionCost,
    decide::Pass,
    orchestration::{CommandRecord, claimed},
};
use crate::{
    lifecycle::expires_at,
    model::{ClusterSnapshot, NodePoolName, StateNode, WhyNot, is_daemon_pod},
    scheduling::{PlannedNodeClaim, is_deleted, machines_of, nodes_left, static_machine, static_pools, wanted},
};

/// A lifetime is counted in so many parts.
const WHOLE_LIFE: i128 = 1000;

/// One command for the first pool that has too many machines: those that were not launched first, then empty ones, then those whose
/// pods mind the least and that have not long to go, those with pods that ask to be left alone last. Budgets are not asked: the
/// number is what the pool's owner wants.
pub(super) fn find_surplus(pass: &mut Pass<'_>) -> Option<Command> {
    let snapshot = pass.input.snapshot;
    let claimed = claimed(pass.input.running, None);
    let surplus = static_pools(snapshot).find_map(|(name, pool)| {
        let mut staying: Vec<(Rank, usize)> = machines_of(snapshot, name)
            .filter(|(_, machine)| !machine.is_going_away() && !is_claimed(machine, &claimed))
            .map(|(index, machine)| (rank(machine, snapshot), index))
            .collect();
        staying.sort();
        let chosen = staying.iter().take(staying.len().saturating_sub(wanted(pool)));
        let candidates: Vec<Candidate> =
            chosen.filter_map(|(_, index)| candidate(*index, &snapshot.nodes[*index], pass.catalog())).collect();
        (!candidates.is_empty()).then_some(candidates)
    });
    surplus.map(|own| Command::new(Method::StaticScaleDown, own, Vec::new(), Vec::new(), snapshot.now))
}

/// In which order machines go; the lowest first.
type Rank = (Minds, i128, String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Minds {
    NotLaunched,
    Nobody,
    Somebody,
    AsksToBeLeftAlone,
}

fn rank(machine: &StateNode, snapshot: &ClusterSnapshot) -> Rank {
    let asks = asking_pods(machine, snapshot.now).next().is_some();
    let minds = if machine.provider_id().is_none() {
        Minds::NotLaunched
    } else if asks {
        Minds::AsksToBeLeftAlone
    } else if machine.pods.iter().all(|pod| is_daemon_pod(pod)) {
        Minds::Nobody
    } else {
        Minds::Somebody
    };
    let pods = machine.pods.iter().map(|pod| DisruptionCost::of_pod(pod)).sum::<DisruptionCost>();
    (minds, i128::from(pods.units()) * life_left(machine, snapshot), machine.name().to_owned())
}

/// Which part of its life a machine still has.
fn life_left(machine: &StateNode, snapshot: &ClusterSnapshot) -> i128 {
    let times = machine.node_claim.as_ref().and_then(|claim| {
        let created = claim.metadata.creation_timestamp.as_ref()?.0;
        Some((created, expires_at(claim)?))
    });
    let Some((created, end)) = times else { return WHOLE_LIFE };
    let whole = (end.as_nanosecond() - created.as_nanosecond()).max(1);
    ((end.as_nanosecond() - snapshot.now.as_nanosecond()) * WHOLE_LIFE / whole).clamp(0, WHOLE_LIFE)
}

/// What comes in place of a machine of a static pool; why it has to stay for now.
pub(super) fn replacement(pass: &Pass<'_>, candidate: &Candidate) -> Result<PlannedNodeClaim, WhyKept> {
    let (snapshot, name) = (pass.input.snapshot, &candidate.node_pool);
    let Some((_, pool)) = static_pools(snapshot).find(|(own, _)| *own == name) else {
        return Err(WhyKept::StaticPool(name.clone()));
    };
    if machines_of(snapshot, name).filter(|(_, own)| !is_deleted(own)).count() > wanted(pool) {
        return Err(WhyKept::StaticPoolBusy(name.clone()));
    }
    let no_machine = |why| WhyKept::NoReplacement { node_pool: name.clone(), why };
    if nodes_left(snapshot, name, pool) <= to_come(name, pass.input.running) {
        return Err(no_machine(WhyNot::NodeLimit));
    }
    static_machine(snapshot, pass.input.catalog, name).map_err(no_machine)
}

/// How many machines running commands will still create in the pool.
fn to_come(pool: &NodePoolName, running: &[CommandRecord]) -> u64 {
    let missing = |record: &CommandRecord| {
        let planned = record.command.replacements.iter().enumerate();
        planned.filter(|(index, own)| own.node_pool == *pool && !record.created.contains_key(index)).count() as u64
    };
    running.iter().filter(|own| own.phase.is_running()).map(missing).sum()
}
