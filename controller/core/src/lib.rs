//! The decision core: facts come in as a value, a pure function decides and says why.
//!
//! No I/O, no clock, no randomness, no `async`. The map, in reading order:
//!
//! - [`api`] — the custom resources as users write them
//! - [`model`] — the vocabulary that deciders think in ([`model::ClusterSnapshot`] is the input of them all)
//! - [`scheduling`] — pods + cluster + catalog → where each pod goes and what to launch (**start here**)
//! - [`disruption`] — which nodes should go, and why not the others
//! - [`lifecycle`] — what a NodeClaim needs next
//! - [`termination`] — emptying a node in the right order
//! - [`check`] — independent rules that every decision must satisfy
//! - [`plan`] — what would become of a cluster (`sawhorse plan`)
//! - [`report`] — decisions as text for people
//! - [`scenario`] — scenario files ⇄ inputs
//! - [`solve`] — the JSON door to the core (`sawhorse solve`)

pub mod api;
pub mod check;
pub mod disruption;
pub mod lifecycle;
pub mod model;
pub mod plan;
pub mod report;
pub mod scenario;
pub mod scheduling;
pub mod solve;
pub mod termination;
