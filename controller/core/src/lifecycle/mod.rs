//! What a NodeClaim needs next: launch, registration, initialization, liveness, expiration (spec core 3.1, 3.2), and the
//! conditions that disruption goes by (spec core 3.2, 5).
//!
//! - [`next_step`] — the whole life of a NodeClaim until it is deleted, one step at a time (**start here**)
//! - [`LaunchOutcome`] — what the cloud may answer to a launch, and what follows from each answer
//! - [`Event`] — what users are told
//! - [`disruption_conditions`], [`drift_reason`] — `Drifted` and `Consolidatable`
//! - [`DoNotDisrupt`] — how long a pod asks to be left alone; drains and disruption both heed it
//! - [`resolve`], [`buffer_with_status`] — for which pods a CapacityBuffer keeps room, and what its users are told
//! - [`overlay_with_status`] — whether a NodeOverlay counts
//! - [`uncollected_claims`], [`orphans`] — garbage collection both ways
//!
//! Every function returns what should be written and done; none does anything. Write the objects of a [`Step`] first, then
//! perform its actions in order.

mod capacity_buffer;
mod conditions;
mod do_not_disrupt;
mod event;
mod garbage;
mod initialization;
mod launch;
mod node_overlay;
mod registration;
mod step;

pub use capacity_buffer::{
    ResolvedBuffer, Template, TemplateKind, TemplateRef, WhyUnresolved, buffer_with_status, is_ready_for_provisioning,
    resolve, template_of,
};
pub use conditions::{disruption_conditions, drift_reason, with_pod_event};
pub use do_not_disrupt::DoNotDisrupt;
pub use event::{About, Event};
pub use garbage::{ListedInstance, orphans, uncollected_claims};
pub use launch::{LaunchOutcome, LaunchedMachine};
pub use node_overlay::overlay_with_status;
pub use step::{Action, DeletionReason, LookAgain, Milestone, Step, expires_at, next_step};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use std::time::Duration;

/// A launch that has not succeeded for so long since the NodeClaim's creation has failed.
pub const LAUNCH_TIMEOUT: Duration = Duration::from_mins(5);
/// A machine whose Node has not joined for so long since the NodeClaim's creation never will.
pub const REGISTRATION_TIMEOUT: Duration = Duration::from_mins(15);

/// `time` and then `duration`, at most the end of time.
pub(crate) fn later(time: Timestamp, duration: Duration) -> Timestamp {
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// The status of the Node's condition `Ready`, if it has one.
pub(crate) fn node_ready(node: &Node) -> Option<&str> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == "Ready").map(|condition| condition.status.as_str())
}

/// `text`, cut to 300 characters and `...` if it is longer: API servers and people have limits.
pub(crate) fn cut(text: &str) -> String {
    const MAX_MESSAGE_CHARS: usize = 300;
    match text.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod fixtures;
