//! The controller: watches a cluster, asks the core, acts through a cloud provider.
//!
//! - [`args`], [`runtime`] — options, wiring, leader lease, health and metrics server, shutdown
//! - [`state`] — the mirror of the cluster, fed by watches, no `await`
//! - [`cloud`] — the seam to clouds, and the providers behind it
//! - [`reconcile`] — one file per loop: snapshot → core function → apply
//! - [`apply`] — the only writer to the API server
//! - [`capture`] — a cluster as it is now, read once
//! - [`metrics`] — metric structs
//! - [`leader`], [`serve`] — one instance acts at a time; the doors for operators

pub mod apply;
pub mod args;
pub mod capture;
pub mod cloud;
mod leader;
pub mod metrics;
pub mod reconcile;
pub mod runtime;
mod serve;
pub mod state;
