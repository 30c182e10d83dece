//! Emptying a node in the right order, and giving its machine back (spec core 3.3, 3.4).
//!
//! - [`drain`] — which pods are told to go now, which are waited for and why
//! - [`node_step`] — what a Node that is being deleted needs next: taint, drain, volumes, machine, finalizer
//! - [`claim_step`] — what a NodeClaim that is being deleted needs next: its Nodes, its machine, finalizer
//!
//! A step may ask something of the cloud or the cluster; call it again with the answer. Nothing here does anything.

mod claim;
mod drain;
mod node;

pub use claim::claim_step;
pub(crate) use drain::is_drainable;
pub use drain::{Drain, DrainAction, DrainWait, drain};
pub use node::{NodeTermination, Question, TerminationAction, TerminationStep, WaitingFor, node_step};

use crate::api::{NodeClaim, labels};
use jiff::Timestamp;
use std::time::Duration;

/// How often the cloud is asked whether a machine is gone.
pub const INSTANCE_POLL: Duration = Duration::from_secs(5);
/// How often a drain and volumes are looked at while they are waited for.
pub const DRAIN_POLL: Duration = Duration::from_secs(1);

/// What the cloud says of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// It is there.
    Present,
    /// It is being ended.
    Terminating,
    /// It is not there any more.
    Gone,
}

/// Why a claim's deadline cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "annotation `{}` of NodeClaim `{claim}` is `{text}`, which is no time: write RFC 3339, such as `2026-01-31T12:00:00Z`",
    labels::TERMINATION_TIMESTAMP
)]
pub struct InvalidDeadline {
    claim: String,
    text: String,
}

/// When the remaining pods are deleted by force; none where there is all the time they need.
///
/// # Errors
/// The annotation is not a time.
pub fn deadline(claim: &NodeClaim) -> Result<Option<Timestamp>, InvalidDeadline> {
    let annotations = claim.metadata.annotations.as_ref();
    let Some(text) = annotations.and_then(|annotations| annotations.get(labels::TERMINATION_TIMESTAMP)) else {
        return Ok(None);
    };
    let invalid = || InvalidDeadline { claim: claim.metadata.name.clone().unwrap_or_default(), text: text.clone() };
    text.parse().map(Some).map_err(|_| invalid())
}
