//! The built-in controllers that a loop needs, in one task: Deployment, ReplicaSet, StatefulSet, DaemonSet, Job, the status of
//! PodDisruptionBudgets, and what every namespace has. Owner garbage collection and the end of namespaces are the API server's own (`apiserver`).
//!
//! - [`run`] — the shell: watches in, requests out
//! - `known`, `world` — what is known, kept up to date change by change, and what a change makes worth looking at
//! - `queue` — objects to look at, each once, in a total order
//! - `plan` — what a controller wants done; `template` — pods and hashes from templates
//! - `replica_set`, `victims`, `deployment`, `rollout`, `proportional`, `stateful_set`, `daemon_set`, `eligibility`, `job`,
//!   `revisions`, `budget`, `namespace` — **pure**: object + what it owns + now → plan
//!
//! Left out: CronJob, ReplicationController, pods of a stateful set's older template (a partitioned one makes new pods from the
//! new template), `maxSurge` of daemon sets, `podFailurePolicy`, `successPolicy` and per-index limits of jobs, and budgets over
//! custom resources with a `scale` subresource.

mod budget;
mod daemon_set;
mod deployment;
mod eligibility;
mod job;
mod known;
mod namespace;
mod plan;
mod proportional;
mod queue;
mod replica_set;
mod revisions;
mod rollout;
mod run;
#[cfg(test)]
mod shell_tests;
mod stateful_set;
mod template;
mod victims;
mod world;

pub use run::{ControllersConfig, run};
