//! What follows from the cloud's answer to a launch (spec core 3.1, Launch).

use super::{About, Action, DeletionReason, Event, LookAgain, Milestone, Step, cut};
use crate::{
    api::conditions::{Conditioned, LAUNCHED},
    model::Resources,
};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// What the cloud answered to a launch. Each variant has exactly one behaviour.
#[derive(Clone, Debug, PartialEq)]
pub enum LaunchOutcome {
    /// The machine is there.
    Launched(Box<LaunchedMachine>),
    /// Nothing that the claim allows has capacity: the claim is deleted, so that its pods are planned anew.
    InsufficientCapacity {
        /// Which offerings were refused.
        message: String,
    },
    /// The NodeClass cannot be used: the claim is deleted.
    NodeClassNotReady {
        /// Why.
        message: String,
    },
    /// The cloud refused for a reason worth a code of its own: retried.
    CreateError {
        /// The condition's reason.
        reason: String,
        /// The condition's message.
        message: String,
    },
    /// Anything else: retried.
    Failed {
        /// What went wrong.
        message: String,
    },
}

/// A machine that was bought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LaunchedMachine {
    /// Its id as its Node will carry it.
    pub provider_id: String,
    /// The image it boots.
    pub image_id: String,
    /// Labels that the cloud knows of it; the claim's own win.
    pub labels: BTreeMap<String, String>,
    /// Annotations for the claim; these win over the claim's own.
    pub annotations: BTreeMap<String, String>,
    /// What it has.
    pub capacity: Resources,
    /// What of it pods can use.
    pub allocatable: Resources,
}

/// Takes the cloud's answer into the step.
pub(super) fn conclude(step: &mut Step, outcome: &LaunchOutcome, now: Timestamp) {
    match outcome {
        LaunchOutcome::Launched(machine) => launched(step, machine, now),
        LaunchOutcome::InsufficientCapacity { message } => {
            let name = step.claim_name();
            let message = format!("NodeClaim {name} event: {}", cut(message));
            step.events.push(Event::warning(About::NodeClaim(name), "InsufficientCapacityError", message));
            step.actions.push(Action::DeleteClaim(DeletionReason::InsufficientCapacity));
        }
        LaunchOutcome::NodeClassNotReady { .. } => {
            step.actions.push(Action::DeleteClaim(DeletionReason::NodeClassNotReady))
        }
        LaunchOutcome::CreateError { reason, message } => retry(step, reason, message, now),
        LaunchOutcome::Failed { message } => retry(step, "LaunchFailed", message, now),
    }
}

fn launched(step: &mut Step, machine: &LaunchedMachine, now: Timestamp) {
    let labels = step.claim.metadata.labels.get_or_insert_default();
    for (key, value) in &machine.labels {
        labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    let annotations = step.claim.metadata.annotations.get_or_insert_default();
    annotations.extend(machine.annotations.iter().map(|(key, value)| (key.clone(), value.clone())));
    let status = step.claim.status.get_or_insert_default();
    status.provider_id = Some(machine.provider_id.clone());
    status.image_id = Some(machine.image_id.clone()).filter(|id| !id.is_empty());
    status.capacity = machine.capacity.to_quantities();
    status.allocatable = machine.allocatable.to_quantities();
    step.claim.set_true(LAUNCHED, now);
    step.milestones.push(Milestone::Launched);
}

fn retry(step: &mut Step, reason: &str, message: &str, now: Timestamp) {
    step.claim.set_unknown(LAUNCHED, reason, &cut(message), now);
    step.look_again(LookAgain::Backoff);
}
