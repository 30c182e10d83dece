//! Filters and binds as kube-scheduler does, written independently of the decision core on purpose: it is the second opinion.
//!
//! - [`Snapshot`] — nodes, the pods on them and volumes, kept up to date change by change
//! - [`schedule`] — one pod: the node it goes to, or why each node is out. Pure.
//! - `filter`, `topology`, `volumes` (of what `storage` knows) — kube-scheduler's filters; `score` — its scores
//! - `queue` — which pod is next, and when a pod that did not fit is tried again
//! - [`run`] — the shell: watches in; bindings, conditions and events out
//!
//! Which nodes are feasible is held to the real kube-scheduler by `e2e/tests/kube_scheduler`. Left out: preemption (a pod never
//! displaces another), dynamic resource allocation, image locality, storage capacity, volume attachments that no pod accounts
//! for, disks that a pod names without a claim, and sampling of nodes in clusters above a hundred (every node is looked at).

mod affinity;
mod filter;
mod pod;
mod queue;
mod reason;
mod resources;
mod run;
mod schedule;
mod score;
#[cfg(test)]
mod shell_tests;
mod snapshot;
mod storage;
#[cfg(test)]
mod tests;
mod topology;
mod volumes;

pub use pod::{PodInfo, PodName};
pub use reason::{Reason, Unschedulable};
pub use run::{GATED, SchedulerConfig, has_finished, is_gated, run};
pub use schedule::{feasible, schedule};
pub use snapshot::{NodeName, Snapshot};
