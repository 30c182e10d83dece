//! One step of a NodeClaim's life.

use super::{LAUNCH_TIMEOUT, LaunchOutcome, REGISTRATION_TIMEOUT, initialization, later, launch, registration};
use crate::{
    api::{
        NodeClaim,
        conditions::{Conditioned, INITIALIZED, LAUNCHED, REGISTERED},
        labels,
    },
    model::Settings,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use std::{fmt, sync::Arc};

/// What should be written, then done, then looked at again.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The NodeClaim as it should be.
    pub claim: NodeClaim,
    /// The Node as it should be; none where it stays as it is. Written before the NodeClaim.
    pub node: Option<Node>,
    /// What to do once both are written, in order.
    pub actions: Vec<Action>,
    /// What to tell.
    pub events: Vec<super::Event>,
    /// What has been reached in this step, to be logged and counted.
    pub milestones: Vec<Milestone>,
    /// When to come again if nothing happens before.
    pub look_again: LookAgain,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Buy the machine, then call [`next_step`] again with the answer.
    Launch,
    /// Delete the NodeClaim.
    DeleteClaim(DeletionReason),
    /// Tell the NodePool's registration health.
    RecordRegistration {
        /// Whether the machine became a node.
        success: bool,
    },
}

/// Why a NodeClaim is deleted outside of voluntary disruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeletionReason {
    /// Nothing that it allows has capacity.
    InsufficientCapacity,
    /// Its NodeClass cannot be used.
    NodeClassNotReady,
    /// It was not launched in time.
    LaunchTimeout,
    /// Its Node did not join in time.
    RegistrationTimeout,
    /// It has reached its age.
    Expired,
    /// Its machine is gone.
    GarbageCollected,
    /// The spot market takes its machine back.
    SpotInterrupted,
    /// Its machine was stopped.
    InstanceStopped,
    /// Its machine is being ended.
    InstanceTerminated,
    /// The cloud plans something for its machine.
    ScheduledChange,
    /// The reservation that its machine runs in is taken back.
    ReservationInterrupted,
    /// The capacity block that its machine runs in ends soon.
    BlockExpiring,
}

impl DeletionReason {
    /// The value of the metric label `reason`.
    pub fn code(self) -> &'static str {
        match self {
            Self::InsufficientCapacity => "insufficient_capacity",
            Self::NodeClassNotReady => "nodeclass_not_ready",
            Self::LaunchTimeout => "launch_timeout",
            Self::RegistrationTimeout => "registration_timeout",
            Self::Expired => "expired",
            Self::GarbageCollected => "garbage_collected",
            Self::SpotInterrupted => "spot_interrupted",
            Self::InstanceStopped => "instance_stopped",
            Self::InstanceTerminated => "instance_terminated",
            Self::ScheduledChange => "scheduled_change",
            Self::ReservationInterrupted => "capacity_reservation_interrupted",
            Self::BlockExpiring => "capacity_block_expiring",
        }
    }
}

impl fmt::Display for DeletionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// What a NodeClaim has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Milestone {
    /// Its machine has been bought.
    Launched,
    /// Its Node has joined.
    Registered,
    /// Its Node can run pods.
    Initialized,
}

impl Milestone {
    /// The log message that operators look for.
    pub fn log_message(self) -> &'static str {
        match self {
            Self::Launched => "launched nodeclaim",
            Self::Registered => "registered nodeclaim",
            Self::Initialized => "initialized nodeclaim",
        }
    }
}

/// When to come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookAgain {
    /// When one of the objects has changed.
    OnChange,
    /// Then, or when one of the objects has changed.
    At(Timestamp),
    /// After the loop's usual backoff: what was tried failed.
    Backoff,
}

impl Step {
    fn new(claim: &NodeClaim) -> Self {
        Self {
            claim: claim.clone(),
            node: None,
            actions: Vec::new(),
            events: Vec::new(),
            milestones: Vec::new(),
            look_again: LookAgain::OnChange,
        }
    }

    pub(super) fn claim_name(&self) -> String {
        self.claim.metadata.name.clone().unwrap_or_default()
    }

    /// The sooner of what was said before and `when`; a backoff is sooner than any time, as the loop bounds it.
    pub(super) fn look_again(&mut self, when: LookAgain) {
        self.look_again = match (self.look_again, when) {
            (LookAgain::Backoff, _) | (_, LookAgain::Backoff) => LookAgain::Backoff,
            (LookAgain::At(a), LookAgain::At(b)) => LookAgain::At(a.min(b)),
            (LookAgain::OnChange, other) | (other, LookAgain::OnChange) => other,
        };
    }

    fn deletes(&self) -> bool {
        self.actions.iter().any(|action| matches!(action, Action::DeleteClaim(_)))
    }
}

/// What `claim` needs at `now`. `nodes` are the Nodes with its provider id; `launch` is the cloud's answer to the
/// [`Action::Launch`] of the step before, if that was one; `settings` say whether age alone ends a machine. A claim that is being
/// deleted needs nothing here (see [`crate::termination`]).
pub fn next_step(
    claim: &NodeClaim,
    nodes: &[Arc<Node>],
    launch: Option<&LaunchOutcome>,
    settings: &Settings,
    now: Timestamp,
) -> Step {
    let mut step = Step::new(claim);
    if claim.metadata.deletion_timestamp.is_some() {
        return step;
    }
    add_finalizer(&mut step.claim);
    step.claim.initialize_conditions(now);
    launch_if_due(&mut step, launch, now);
    if step.claim.is_true(LAUNCHED) && step.claim.is_unknown(REGISTERED) {
        registration::register(&mut step, nodes, now);
    }
    if step.claim.is_true(REGISTERED) && !step.claim.is_true(INITIALIZED) {
        initialization::initialize(&mut step, nodes, now);
    }
    if !step.deletes() {
        expire(&mut step, settings, now);
    }
    if !step.deletes() {
        liveness(&mut step, now);
    }
    // A claim that goes buys nothing on its way.
    if step.deletes() {
        step.actions.retain(|action| *action != Action::Launch);
        step.look_again = LookAgain::OnChange;
    }
    step
}

fn add_finalizer(claim: &mut NodeClaim) {
    let finalizers = claim.metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|finalizer| finalizer == labels::TERMINATION_FINALIZER) {
        finalizers.push(labels::TERMINATION_FINALIZER.to_owned());
    }
}

fn launch_if_due(step: &mut Step, outcome: Option<&LaunchOutcome>, now: Timestamp) {
    if !step.claim.is_unknown(LAUNCHED) {
        return;
    }
    match outcome {
        Some(outcome) => launch::conclude(step, outcome, now),
        None => step.actions.push(Action::Launch),
    }
}

/// When the machine of `claim` has reached its age; never, if its pool says so.
pub fn expires_at(claim: &NodeClaim) -> Option<Timestamp> {
    Some(later(claim.metadata.creation_timestamp.as_ref()?.0, claim.spec.expire_after.value()?))
}

/// Without asking a budget or its pods, and with no replacement first. Of a machine that came to be of use, that is done only where
/// it is wanted: otherwise [`crate::disruption`] sees to it.
fn expire(step: &mut Step, settings: &Settings, now: Timestamp) {
    if step.claim.is_true(INITIALIZED) && !settings.forceful_expiration {
        return;
    }
    let Some(age) = step.claim.spec.expire_after.value() else { return };
    delete_from(step, age, DeletionReason::Expired, now);
}

fn liveness(step: &mut Step, now: Timestamp) {
    if !step.claim.is_true(LAUNCHED) {
        delete_from(step, LAUNCH_TIMEOUT, DeletionReason::LaunchTimeout, now);
    }
    if !step.claim.is_true(REGISTERED) && !step.deletes() {
        delete_from(step, REGISTRATION_TIMEOUT, DeletionReason::RegistrationTimeout, now);
    }
    if step.deletes() {
        step.actions.insert(0, Action::RecordRegistration { success: false });
    }
}

/// Deletes the claim once it is `age` old; until then looks again at that time. Conditions that nothing has changed since
/// creation count from creation too, so that one clock serves all timeouts.
fn delete_from(step: &mut Step, age: std::time::Duration, reason: DeletionReason, now: Timestamp) {
    let Some(created) = step.claim.metadata.creation_timestamp.as_ref().map(|time| time.0) else { return };
    let due = later(created, age);
    if now >= due {
        step.actions.push(Action::DeleteClaim(reason));
    } else {
        step.look_again(LookAgain::At(due));
    }
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;
