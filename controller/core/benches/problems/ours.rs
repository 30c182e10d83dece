//! One problem solved, checked and measured.

use k8s_openapi::api::core::v1::Pod;
use sawhorse_core::{
    check::violations,
    model::PodKey,
    scheduling::{Effort, Prepared, Results, SchedulingInput, solve, tight_lower_bound},
    solve::Problem,
};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

/// What became of a problem.
pub(crate) struct Ours {
    pub(crate) price: f64,
    pub(crate) nodes: usize,
    /// Pods that have a place.
    pub(crate) placed: BTreeSet<String>,
    pub(crate) pods: usize,
    /// Rules that the answer breaks.
    pub(crate) wrong: Vec<String>,
    pub(crate) solved_in: Duration,
}

/// A moment; benchmarks are the ones that may look.
#[expect(clippy::disallowed_methods, reason = "it measures how long something really takes")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Solves, hands the input to `further`, and checks.
pub(crate) fn solve_problem<T>(
    problem: &Problem,
    effort: Effort,
    check: bool,
    further: impl FnOnce(&SchedulingInput<'_>, &Results) -> T,
) -> (Ours, T) {
    let pods = problem.to_place();
    let started = now();
    let prepared = Prepared::new(&problem.snapshot, &problem.catalog);
    let reserved_fallback = problem.reserved_fallback;
    let input = SchedulingInput { reserved_fallback, effort, ..SchedulingInput::new(&prepared, &pods) };
    let results = solve(&input);
    let solved_in = started.elapsed();
    let further = further(&input, &results);
    let wrong = if check { violations(&input, &results) } else { Vec::new() };
    let ours = Ours {
        price: results.total_price().dollars(),
        nodes: results.planned.len(),
        placed: results.placed().map(|pod| pod_name(pod)).collect(),
        pods: pods.len(),
        wrong: wrong.iter().map(ToString::to_string).collect(),
        solved_in,
    };
    (ours, further)
}

/// `namespace/name`.
pub(crate) fn pod_name(pod: &Pod) -> String {
    let key = PodKey::of(pod);
    format!("{}/{}", key.namespace, key.name)
}

/// The least that the pods that have a place can cost.
pub(crate) fn bound(input: &SchedulingInput<'_>, results: &Results) -> f64 {
    let pods: Vec<Arc<Pod>> = results.placed().cloned().collect();
    tight_lower_bound(input, &pods).dollars()
}
