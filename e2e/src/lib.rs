//! The whole loop in one environment, run by scenario files.
//!
//! - [`scenario`] — the file: ordinary Kubernetes objects and one `Scenario` object (pure)
//! - [`control_plane`] — what the objects live in: embedded, or real programs in fast motion
//! - [`environment`] — control plane, cloud, kubelets, scheduler and controller wired together
//! - [`facts`] — what expectations can speak about, as one value (pure)
//! - [`run`] — a scenario from its first step to its summary
//! - [`event_log`] — everything that happened, in order, one line each
//! - [`observer`] — watches of the cluster, written into the log
//! - [`invariants`] — what must hold at every moment of every run (pure)
//! - `objects` — what invariants and plots look at again and again, read once from each version of an object
//! - [`timeline`] — a run as a person reads it, and as snapshots hold it (pure)
//! - [`report`] — a run as one HTML file (pure)
//! - [`summary`] — figures of a run and the closing table

pub mod control_plane;
pub mod environment;
pub mod event_log;
pub mod facts;
pub mod invariants;
mod objects;
pub mod observer;
pub mod report;
pub mod run;
pub mod scenario;
pub mod summary;
pub mod timeline;
