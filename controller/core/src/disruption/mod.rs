//! Which nodes should go, and why not the others (spec core 4).
//!
//! [`decide`] is the entry. It looks at every machine once and tries the methods in order until one finds something:
//!
//! 1. `candidates` — which machines may be disrupted at all
//! 2. `budgets` — how many of each pool
//! 3. `static_pools`, `emptiness`, `repair`, `expiration`, `drift`, `consolidation` — the methods; `overdue` is what the three
//!    share that go whatever that costs; `simulate` asks [`crate::scheduling`] what would become of the pods, `bound` spares
//!    most of the asking, `replacement` looks for something cheaper, `balanced` weighs savings against disruption
//! 4. `explain` — every check of one machine, for people who ask; `look` — consolidation's questions, for tools that measure
//! 5. [`orchestration`] — sees a command through, one step at a time; `validate` looks again before anything is done; `stamp`
//!    writes commands onto NodeClaims, and [`resume`] finds them there
//!
//! A pass need not be made while the snapshot, the catalog and the running commands are the same and
//! [`DisruptionDecision::next_check`] has not come: its answer would be the same. Between passes, [`decide_remembering`] also
//! spares consolidation where what it looks at is the same though the snapshot is not.

mod balanced;
mod bound;
mod budgets;
mod candidates;
mod cheapest_mix;
mod checks;
mod churn;
mod command;
mod consolidation;
mod cost;
mod decide;
mod drift;
mod emptiness;
mod expiration;
mod explain;
mod look;
mod memory;
pub mod orchestration;
mod overdue;
mod pdb;
mod repair;
mod replacement;
mod simulate;
mod stamp;
mod static_pools;
mod validate;
mod why_kept;

pub use budgets::BudgetUse;
pub use candidates::machine_price;
pub use checks::Check;
pub use command::{Candidate, Command, CommandId, Decision, Method, Move, MoveTo};
pub use cost::DisruptionCost;
pub use decide::{DisruptionDecision, DisruptionInput, Tried, decide, decide_remembering, decide_within};
pub use explain::{
    Checked, Draining, Gain, NodeExplanation, Overdue, PodExplanation, PodFact, StillThere, explain_node, explain_pod,
};
pub use look::ConsolidationLook;
pub use memory::ConsolidationMemory;
pub use pdb::{Arithmetic, BudgetOfPod};
pub use repair::{Broken, broken};
pub use stamp::resume;
pub use validate::{Rejected, revalidate};
pub use why_kept::{KeptEvent, WhyKept};

#[cfg(test)]
mod tests;
