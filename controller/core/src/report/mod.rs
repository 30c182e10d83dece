//! Decisions as text for people: the same in snapshots, in `sawhorse explain` and in logs.
//!
//! Only what was decided, why not otherwise, and what it costs; aligned, in a stable order, with totals that can be added up
//! by eye. Names of machines to come are the pool's with a number, as their real names do not exist yet.

mod disruption;
mod explain;
mod plan;
mod scheduling;
mod text;

pub use disruption::disruption_text;
pub use explain::{node_explained, pod_explained};
pub use plan::plan_text;
pub use scheduling::scheduling_text;
