//! What a Node that is being deleted needs next (spec core 3.4).

use super::{DRAIN_POLL, Drain, DrainAction, INSTANCE_POLL, InstanceState, InvalidDeadline, deadline, drain};
use crate::{
    api::{
        NodeClaim,
        conditions::{Conditioned, DISRUPTION_REASON, DRAINED, INSTANCE_TERMINATING, TRUE, VOLUMES_DETACHED},
        labels::{self, disrupted_taint},
    },
    lifecycle::{About, Event, later, node_ready},
    model::{PodKey, pod_spec},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use std::{fmt, sync::Arc, time::Duration};

/// A drain lasts at least so long, so that pods bound just before the taint are seen.
const MIN_DRAIN: Duration = Duration::from_secs(5);
/// How many volumes an event names.
const MAX_VOLUMES_NAMED: usize = 5;

/// What is known of a Node that is being deleted.
#[derive(Clone, Copy, Debug)]
pub struct NodeTermination<'a> {
    /// The Node.
    pub node: &'a Node,
    /// The NodeClaim with its provider id; none if there is none, or several.
    pub claim: Option<&'a NodeClaim>,
    /// The pods bound to it.
    pub pods: &'a [Arc<Pod>],
    /// The answer to [`Question::Instance`] or [`Question::DeleteInstance`], if it has been asked in this round.
    pub instance: Option<InstanceState>,
    /// The answer to [`Question::Volumes`], if it has been asked in this round: names of the persistent volumes that are
    /// still attached, without those of pods that are not waited for.
    pub volumes: Option<&'a [String]>,
    /// The time.
    pub now: Timestamp,
}

/// What to write, do and ask next.
#[derive(Clone, Debug, PartialEq)]
pub struct TerminationStep {
    /// The NodeClaim as it should be; none if there is none.
    pub claim: Option<NodeClaim>,
    /// The Node as it should be; none if there is none.
    pub node: Option<Node>,
    /// What to do once both are written, in order.
    pub actions: Vec<TerminationAction>,
    /// What to find out before the next step, which can follow at once; none where nothing is to be asked.
    pub question: Option<Question>,
    /// What to tell.
    pub events: Vec<Event>,
    /// What is waited for; none once the finalizer is off, or where a question is open.
    pub waiting: Option<WaitingFor>,
    /// When to come again if nothing happens before.
    pub look_again: Option<Timestamp>,
    /// Whether the Node was tainted in this step (`tainted node` is logged then).
    pub tainted: bool,
    /// Whether the drain came to its end in this step.
    pub drained: bool,
    /// Why pods are evicted, for their events and metrics.
    pub eviction_reason: String,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum TerminationAction {
    /// Delete the NodeClaim, so that it goes with its Node.
    DeleteClaim,
    /// Delete a Node of the NodeClaim.
    DeleteNode(String),
    /// Tell a pod to go.
    Pod(DrainAction),
}

/// What to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Whether the cloud still has the machine.
    Instance,
    /// Which volumes are attached to the node.
    Volumes,
    /// Tell the cloud to end the machine, and how far that has come.
    DeleteInstance,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq)]
pub enum WaitingFor {
    /// Pods to go.
    Drain(Drain),
    /// The shortest time that a drain takes.
    MinDrain,
    /// Volumes to be detached.
    Volumes(Vec<String>),
    /// The machine to be gone.
    Instance,
    /// The NodeClaim's Nodes to be gone.
    Nodes(Vec<String>),
    /// Someone to correct the deadline.
    Deadline(InvalidDeadline),
}

impl WaitingFor {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Drain(_) | Self::MinDrain => "drain",
            Self::Volumes(_) => "volumes",
            Self::Instance => "instance",
            Self::Nodes(_) => "nodes",
            Self::Deadline(_) => "invalid-deadline",
        }
    }
}

impl fmt::Display for WaitingFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drain(drain) => {
                write!(f, "Failed to drain node, {} pods are waiting to be evicted", drain.waiting.len())
            }
            Self::MinDrain => f.write_str("no pod is left; pods bound just before the taint may still show up"),
            Self::Volumes(names) => write!(f, "Awaiting deletion of bound volume attachments ({})", first_names(names)),
            Self::Instance => f.write_str("the machine is being ended"),
            Self::Nodes(names) => write!(f, "nodes are being deleted ({})", first_names(names)),
            Self::Deadline(error) => error.fmt(f),
        }
    }
}

fn first_names(names: &[String]) -> String {
    let shown = names.iter().take(MAX_VOLUMES_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_VOLUMES_NAMED) {
        0 => shown,
        more => format!("{shown} and {more} other(s)"),
    }
}

impl TerminationStep {
    pub(super) fn new(node: Option<&Node>, claim: Option<&NodeClaim>) -> Self {
        Self {
            claim: claim.cloned(),
            node: node.cloned(),
            actions: Vec::new(),
            question: None,
            events: Vec::new(),
            waiting: None,
            look_again: None,
            tainted: false,
            drained: false,
            eviction_reason: claim.map_or_else(|| FORCEFUL.to_owned(), eviction_reason),
        }
    }

    pub(super) fn ask(mut self, question: Question) -> Self {
        self.question = Some(question);
        self
    }

    pub(super) fn wait(mut self, waiting: WaitingFor, until: Timestamp) -> Self {
        self.waiting = Some(waiting);
        self.look_again = Some(until);
        self
    }
}

const FORCEFUL: &str = "Forceful Termination";

/// The reason of the disruption command that claimed it, if one did.
fn eviction_reason(claim: &NodeClaim) -> String {
    let condition = claim.condition(DISRUPTION_REASON).filter(|condition| condition.status == TRUE);
    condition.map_or_else(|| FORCEFUL.to_owned(), |condition| condition.reason.clone())
}

/// What the Node needs next. A Node that is not being deleted, or is not ours to hold, needs nothing.
pub fn node_step(input: &NodeTermination<'_>) -> TerminationStep {
    let mut step = TerminationStep::new(Some(input.node), input.claim);
    if input.node.metadata.deletion_timestamp.is_none() || !has_finalizer(input.node) {
        return step;
    }
    if input.claim.is_some_and(|claim| claim.metadata.deletion_timestamp.is_none()) {
        step.actions.push(TerminationAction::DeleteClaim);
    }
    if node_ready(input.node) != Some(TRUE) {
        match input.instance {
            // Only asked about machines that look dead: a healthy one is drained first in any case.
            None => return step.ask(Question::Instance),
            Some(InstanceState::Gone) => return finish(step),
            Some(InstanceState::Present | InstanceState::Terminating) => {}
        }
    }
    let deadline = match input.claim.map(deadline).transpose() {
        Ok(deadline) => deadline.flatten(),
        Err(error) => return step.wait(WaitingFor::Deadline(error), later(input.now, INSTANCE_POLL)),
    };
    if let Some(deadline) = deadline {
        step.events.push(expiring(About::Node(node_name(input.node)), deadline));
    }
    taint(&mut step);
    match drain_step(&mut step, input, deadline) {
        Some((waiting, until)) => step.wait(waiting, until),
        None => volumes_step(step, input, deadline),
    }
}

pub(super) fn expiring(about: About, deadline: Timestamp) -> Event {
    Event::warning(about, "TerminationGracePeriodExpiring", format!("All pods will be deleted by {deadline:.0}"))
}

/// Keeps new pods and load balancers away. The taint replaces other effects of its key.
fn taint(step: &mut TerminationStep) {
    let Some(node) = &mut step.node else { return };
    let before = node.clone();
    let taint = disrupted_taint();
    let taints = node.spec.get_or_insert_default().taints.get_or_insert_default();
    if !taints.iter().any(|own| own.key == taint.key && own.effect == taint.effect) {
        taints.retain(|own| own.key != taint.key);
        taints.push(taint);
    } else {
        taints.retain(|own| own.key != taint.key || own.effect == taint.effect);
    }
    let of_node = node.metadata.labels.get_or_insert_default();
    of_node.insert(labels::EXCLUDE_FROM_LOAD_BALANCERS.to_owned(), "karpenter".to_owned());
    step.tainted = *node != before;
}

/// Empties the Node; what is waited for, and until when at most.
fn drain_step(
    step: &mut TerminationStep,
    input: &NodeTermination<'_>,
    deadline: Option<Timestamp>,
) -> Option<(WaitingFor, Timestamp)> {
    let now = input.now;
    if input.claim.is_some_and(|claim| claim.is_true(DRAINED)) {
        return None;
    }
    let drain = drain(input.pods, deadline, now);
    let poll = later(now, DRAIN_POLL);
    if !drain.is_done() {
        begin_drain(step, now);
        for action in &drain.actions {
            step.events.extend(forced(action, deadline));
            step.actions.push(TerminationAction::Pod(action.clone()));
        }
        let waiting = WaitingFor::Drain(drain);
        let about = About::Node(node_name(input.node));
        step.events.push(Event::warning(about, "FailedDraining", waiting.to_string()));
        return Some((waiting, poll));
    }
    begin_drain(step, now);
    let began = step
        .claim
        .as_ref()
        .and_then(|claim| claim.condition(DRAINED))
        .map(|condition| condition.last_transition_time.0);
    let over = began.map(|began| later(began, MIN_DRAIN));
    if let Some(over) = over.filter(|over| now < *over) {
        return Some((WaitingFor::MinDrain, over));
    }
    if let Some(claim) = &mut step.claim {
        claim.set_true(DRAINED, now);
    }
    step.drained = true;
    None
}

fn begin_drain(step: &mut TerminationStep, now: Timestamp) {
    if let Some(claim) = &mut step.claim {
        claim.set_unknown(DRAINED, "Draining", "", now);
    }
}

/// What a pod's owner is told when it is deleted by force.
fn forced(action: &DrainAction, deadline: Option<Timestamp>) -> Option<Event> {
    let (DrainAction::ForceDelete { pod, grace_seconds }, Some(deadline)) = (action, deadline) else { return None };
    let own = pod_spec(pod).termination_grace_period_seconds.unwrap_or_default();
    let message = format!(
        "Deleting the pod to accommodate the terminationTime {deadline:.0} of the node. The pod was granted {grace_seconds} seconds of \
         grace-period of its {own} terminationGracePeriodSeconds. This bypasses the PDB of the pod and the do-not-disrupt annotation."
    );
    Some(Event::normal(About::Pod(PodKey::of(pod)), "Disrupted", message))
}

fn volumes_step(
    mut step: TerminationStep,
    input: &NodeTermination<'_>,
    deadline: Option<Timestamp>,
) -> TerminationStep {
    let now = input.now;
    if input.claim.is_some_and(|claim| !claim.is_unknown(VOLUMES_DETACHED)) {
        return instance_step(step, input);
    }
    let Some(volumes) = input.volumes else { return step.ask(Question::Volumes) };
    if volumes.is_empty() {
        if let Some(claim) = &mut step.claim {
            claim.set_true(VOLUMES_DETACHED, now);
        }
        return instance_step(step, input);
    }
    if deadline.is_some_and(|deadline| now >= deadline) {
        if let Some(claim) = &mut step.claim {
            claim.set_false(VOLUMES_DETACHED, "TerminationGracePeriodElapsed", "", now);
        }
        return instance_step(step, input);
    }
    if let Some(claim) = &mut step.claim {
        claim.set_unknown(VOLUMES_DETACHED, "AwaitingVolumeDetachment", "", now);
    }
    let waiting = WaitingFor::Volumes(volumes.to_vec());
    step.events.push(Event::normal(
        About::Node(node_name(input.node)),
        "AwaitingVolumeDetachment",
        waiting.to_string(),
    ));
    step.wait(waiting, later(now, DRAIN_POLL))
}

fn instance_step(mut step: TerminationStep, input: &NodeTermination<'_>) -> TerminationStep {
    let has_machine = |claim: &NodeClaim| claim.status.as_ref().is_some_and(|status| status.provider_id.is_some());
    let Some(claim) = step.claim.as_mut().filter(|claim| has_machine(claim)) else { return finish(step) };
    match input.instance {
        // That it is there says nothing of its end: it has to be told.
        None | Some(InstanceState::Present) => step.ask(Question::DeleteInstance),
        Some(InstanceState::Terminating) => {
            claim.set_true(INSTANCE_TERMINATING, input.now);
            step.wait(WaitingFor::Instance, later(input.now, INSTANCE_POLL))
        }
        Some(InstanceState::Gone) => {
            claim.set_true(INSTANCE_TERMINATING, input.now);
            finish(step)
        }
    }
}

/// Lets the Node go.
fn finish(mut step: TerminationStep) -> TerminationStep {
    if let Some(finalizers) = step.node.as_mut().and_then(|node| node.metadata.finalizers.as_mut()) {
        finalizers.retain(|finalizer| finalizer != labels::TERMINATION_FINALIZER);
    }
    step
}

fn has_finalizer(node: &Node) -> bool {
    node.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == labels::TERMINATION_FINALIZER)
}

fn node_name(node: &Node) -> String {
    node.metadata.name.clone().unwrap_or_default()
}

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;
