//! The JSON door to the core: `sawhorse solve`.
//!
//! One object in, one object out; prices are dollars per hour. The input is strict: a field that nobody reads, a value of the
//! wrong kind or a name that is given twice is an error that names the field and its line.
//!
//! - `schema` — what may be said
//! - `strict` — finds fields that nobody reads, and lines
//! - `world` — the input as a snapshot and a catalog
//! - `save` — a snapshot as such an input
//! - `answer` — the decision as JSON

mod answer;
mod save;
mod schema;
mod strict;
mod world;

pub use save::save;

use crate::{
    disruption::{DisruptionInput, decide},
    model::{Catalog, ClusterSnapshot},
    scheduling::{IndexedCatalog, Prepared, SchedulingInput, lower_bound, pods_of_leaving_nodes, solve_while},
};
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;
use thiserror::Error;

/// How long a solve may take where the input does not say.
const DEFAULT_TIMEOUT_SECONDS: f64 = 60.0;

/// What is wrong with the input; one line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}line {line}: {message}", path.as_ref().map(|path| format!("`{path}`, ")).unwrap_or_default())]
pub struct SolveError {
    path: Option<String>,
    line: usize,
    message: String,
}

impl SolveError {
    /// The field, e.g. `pods[3].metadata.name`; none where the text is not JSON.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// The line, from 1.
    pub fn line(&self) -> usize {
        self.line
    }
}

/// What an input says, for tools that want to decide themselves.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The cluster, pending pods included.
    pub snapshot: ClusterSnapshot,
    /// What can be bought.
    pub catalog: Catalog,
    /// Whether pods may get machines that are not reserved while reserved ones would do but are all taken.
    pub reserved_fallback: bool,
    timeout_seconds: Option<f64>,
}

impl Problem {
    /// Reads and checks an input.
    ///
    /// # Errors
    /// [`SolveError`] for the first thing that is wrong with it.
    pub fn read(input: &str) -> Result<Self, SolveError> {
        let input = schema::read(input)?;
        let (timeout_seconds, reserved_fallback) = (input.options.timeout_seconds, input.options.reserved_fallback);
        let (snapshot, catalog) = world::of(input);
        Ok(Self { snapshot, catalog, reserved_fallback, timeout_seconds })
    }

    /// The pods that wait, those of nodes that go away, and those that stand for room to be kept.
    pub fn to_place(&self) -> Vec<Arc<Pod>> {
        let waiting = self.snapshot.pending.iter().cloned().chain(pods_of_leaving_nodes(&self.snapshot));
        waiting.chain(self.snapshot.virtual_pods.iter().cloned()).collect()
    }
}

/// Solves the problem that `input` states, and with `disrupt` also says which of its nodes should go. `millis` tells how many
/// milliseconds have passed since some moment; the answer's times and the input's `timeoutSeconds` are measured by it.
///
/// ```
/// let input = r#"{
///   "nodePools": [{"metadata": {"name": "default"}, "spec": {"template": {"spec": {"requirements": []}}}}],
///   "instanceTypes": [{"name": "m5.large", "capacity": {"cpu": "2", "memory": "8Gi", "pods": "29"},
///     "offerings": [{"zone": "a", "capacityType": "on-demand", "price": 0.096}]}],
///   "pods": [{"metadata": {"name": "web"}, "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}}]
/// }"#;
/// let answer = sawhorse_core::solve::solve_json(input, false, || 0).unwrap();
/// assert!(answer.contains(r#""launch":{"instanceType":"m5.large","zone":"a","capacityType":"on-demand","price":0.096}"#));
/// assert!(answer.contains(r#""totalPrice":0.096"#));
/// ```
///
/// # Errors
/// [`SolveError`] for the first thing that is wrong with the input. Pods without a place are part of the answer.
pub fn solve_json(input: &str, disrupt: bool, mut millis: impl FnMut() -> u64) -> Result<String, SolveError> {
    let problem = Problem::read(input)?;
    let timeout = problem.timeout_seconds.unwrap_or(DEFAULT_TIMEOUT_SECONDS);
    let started = millis();
    let deadline = started.saturating_add((timeout * 1000.0) as u64);
    let catalog = IndexedCatalog::new(problem.catalog.clone());
    let prepared = Prepared::new(&problem.snapshot, &catalog);
    let pods = problem.to_place();
    let reserved_fallback = problem.reserved_fallback;
    let scheduling = SchedulingInput { reserved_fallback, ..SchedulingInput::new(&prepared, &pods) };
    let results = solve_while(&scheduling, &mut || millis() < deadline);
    let solve_millis = millis().saturating_sub(started);
    let bound = lower_bound(&scheduling, &results);
    let mut answer = answer::Answer::of(&results, bound, solve_millis);
    if disrupt {
        let from = millis();
        let decision = decide(&DisruptionInput { snapshot: &problem.snapshot, catalog: &catalog, running: &[] });
        answer.add_commands(&decision, millis().saturating_sub(from));
    }
    Ok(serde_json::to_string(&answer).expect("the answer has only text keys and finite numbers"))
}

#[cfg(test)]
mod tests;
