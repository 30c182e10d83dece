//! What would become of the pods if some machines were gone (spec core 4.10).

use super::{Candidate, Move, MoveTo, WhyKept};
use crate::{
    model::{ClusterSnapshot, PodKey, is_provisionable, is_virtual},
    scheduling::{
        Effort, IndexedCatalog, PlannedNodeClaim, Prepared, Results, SchedulingInput, pods_to_provision, solve,
    },
};
use k8s_openapi::api::core::v1::Pod;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

/// How many pods without a place are remembered.
const MAX_PODS: usize = 5;

/// Answers many questions about one snapshot; what they share is made ready once.
pub(super) struct Simulator<'a> {
    prepared: Prepared<'a>,
    /// Pods that need a place in any case.
    waiting: Vec<Arc<Pod>>,
    /// Those of them that have none now, and may go on waiting.
    pending: BTreeSet<PodKey>,
    /// Those of them on machines that go away: for them a machine that is not ready yet will do.
    leaving: BTreeSet<PodKey>,
    /// How many of the pods that stand for a buffer have no room now.
    without_room: usize,
}

impl fmt::Debug for Simulator<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

/// What would become of the pods.
#[derive(Debug)]
pub(super) struct Simulation {
    /// The machines that would have to be launched.
    pub(super) planned: Vec<PlannedNodeClaim>,
    /// Where the candidates' pods would go.
    pub(super) moves: Vec<Move>,
}

impl<'a> Simulator<'a> {
    pub(super) fn new(snapshot: &'a ClusterSnapshot, catalog: &IndexedCatalog) -> Self {
        let waiting = pods_to_provision(snapshot);
        let mut pending: BTreeSet<PodKey> =
            snapshot.pending.iter().filter(|pod| is_provisionable(pod)).map(|pod| PodKey::of(pod)).collect();
        let prepared = Prepared::new(snapshot, catalog);
        let mut without_room = 0;
        if !snapshot.virtual_pods.is_empty() {
            let results =
                solve(&SchedulingInput { reserved_fallback: true, ..SchedulingInput::new(&prepared, &waiting) });
            without_room = not_on_machines(&results);
            // What has no place with all machines there does not keep any of them.
            pending.extend(results.unschedulable.iter().filter(|own| is_virtual(&own.pod)).map(|own| own.key.clone()));
        }
        let leaving = waiting.iter().map(|pod| PodKey::of(pod)).filter(|key| !pending.contains(key)).collect();
        Self { prepared, waiting, pending, leaving, without_room }
    }

    /// Makes ready now what the first question would make ready.
    pub(super) fn make_ready(&self) {
        self.prepared.count_running();
    }

    /// How many pods of buffers would lose their room on machines that are there if `candidates`, on which nothing else
    /// runs, were gone.
    pub(super) fn losing_room(&self, candidates: &[&Candidate]) -> usize {
        let without: BTreeSet<usize> = candidates.iter().map(|candidate| candidate.index).collect();
        let input = SchedulingInput {
            without: &without,
            reserved_fallback: true,
            ..SchedulingInput::new(&self.prepared, &self.waiting)
        };
        not_on_machines(&solve(&input)).saturating_sub(self.without_room)
    }

    /// What would become of the pods without `candidates`, with so hard a look for few and cheap machines; why that cannot be where
    /// one of them would be without a place.
    pub(super) fn without(&self, candidates: &[&Candidate], effort: Effort) -> Result<Simulation, WhyKept> {
        let mut pods = self.waiting.clone();
        pods.extend(candidates.iter().flat_map(|candidate| candidate.pods.iter().cloned()));
        let without: BTreeSet<usize> = candidates.iter().map(|candidate| candidate.index).collect();
        let input = SchedulingInput {
            prepared: &self.prepared,
            pods: &pods,
            without: &without,
            reserved_fallback: true,
            effort,
        };
        let results = solve(&input);
        if let Some(why) = self.failure(&results) {
            return Err(why);
        }
        let moves = moves(&results, candidates);
        Ok(Simulation { planned: results.planned, moves })
    }

    fn failure(&self, results: &Results) -> Option<WhyKept> {
        let mut homeless = results.unschedulable.iter().filter(|pod| !self.pending.contains(&pod.key)).peekable();
        if homeless.peek().is_some() {
            let count = homeless.clone().count();
            let pods = homeless.take(MAX_PODS).map(|pod| (pod.key.clone(), pod.why.clone())).collect();
            return Some(WhyKept::PodsDoNotFit { pods, count });
        }
        let uninitialized = results.placements.iter().filter(|placement| !placement.initialized);
        uninitialized
            .flat_map(|placement| placement.pods.iter().map(move |pod| (PodKey::of(pod), &placement.node)))
            .find(|(pod, _)| !self.pending.contains(pod) && !self.leaving.contains(pod))
            .map(|(pod, node)| WhyKept::TargetNotInitialized { pod, node: node.clone() })
    }
}

/// How many pods of buffers are not on machines that are there.
fn not_on_machines(results: &Results) -> usize {
    let planned = results.planned.iter().flat_map(|own| &own.pods);
    planned.chain(results.unschedulable.iter().map(|own| &own.pod)).filter(|pod| is_virtual(pod)).count()
}

/// Where the candidates' pods would go, by pod.
fn moves(results: &Results, candidates: &[&Candidate]) -> Vec<Move> {
    let existing = results.placements.iter().flat_map(|placement| {
        placement.pods.iter().map(|pod| (PodKey::of(pod), MoveTo::Existing(placement.node.clone())))
    });
    let planned =
        results.planned.iter().enumerate().flat_map(|(index, planned)| {
            planned.pods.iter().map(move |pod| (PodKey::of(pod), MoveTo::Replacement(index)))
        });
    let mut targets: BTreeMap<PodKey, MoveTo> = existing.chain(planned).collect();
    let pods = candidates.iter().flat_map(|candidate| &candidate.pods).map(|pod| PodKey::of(pod));
    let mut moves: Vec<Move> = pods.filter_map(|pod| targets.remove(&pod).map(|to| Move { pod, to })).collect();
    moves.sort();
    moves
}
