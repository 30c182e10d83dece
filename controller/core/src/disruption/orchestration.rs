//! Seeing a command through, one step at a time (spec core 4.9).
//!
//! A [`CommandRecord`] is at one [`Phase`]; [`advance`] compares it with the cluster and says what to do next and when to come
//! again. Every step can be repeated: what has been done already is seen in the snapshot and not asked for again.

use super::{
    Candidate, Command, CommandId, DisruptionInput, Method, MoveTo, Rejected, candidates::machine_price, revalidate,
    stamp,
};
use crate::{
    api::{
        DisruptionReason, NodeClaim,
        conditions::{Conditioned, DISRUPTION_REASON, INITIALIZED},
        labels,
    },
    lifecycle::{About, Event, later},
    model::{Catalog, ClusterSnapshot, NodeClaimName, NodeName, PodKey, Price, StateNode},
    scheduling::PlannedNodeClaim,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

/// How long a command waits before it is looked at again and then done.
pub const VALIDATION_DELAY: Duration = Duration::from_secs(15);
/// How often a running command is looked at where nothing else happens.
const POLL: Duration = Duration::from_secs(1);
/// A command may take this long for each machine in the queue, within the two bounds below.
const TIME_PER_NODE: Duration = Duration::from_millis(80);
const MIN_TIME: Duration = Duration::from_mins(10);
const MAX_TIME: Duration = Duration::from_hours(1);

/// A command that is being seen through.
#[derive(Clone, Debug)]
pub struct CommandRecord {
    /// What is to be done.
    pub command: Command,
    /// How far it has come.
    pub phase: Phase,
    /// The NodeClaims created for its replacements so far, by position.
    pub created: BTreeMap<usize, NodeClaimName>,
    /// When it was found.
    pub created_at: Timestamp,
}

/// How far a command has come.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// It waits to be looked at again.
    Proposed {
        /// When that is due.
        validate_at: Timestamp,
    },
    /// Its machines are being tainted and its NodeClaims told why.
    Claiming,
    /// Its replacements are being created.
    Replacing,
    /// Its replacements have to become usable.
    Waiting,
    /// Its machines are being given back.
    Deleting,
    /// It is done.
    Done,
    /// It was given up before anything was done.
    Rejected(Rejected),
    /// It was given up and undone, but for replacements that exist.
    RolledBack(WhyRolledBack),
}

impl Phase {
    /// Whether it still holds its machines.
    pub fn is_running(&self) -> bool {
        match self {
            Self::Proposed { .. } | Self::Claiming | Self::Replacing | Self::Waiting | Self::Deleting => true,
            Self::Done | Self::Rejected(_) | Self::RolledBack(_) => false,
        }
    }

    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Proposed { .. } => "proposed",
            Self::Claiming => "claiming",
            Self::Replacing => "replacing",
            Self::Waiting => "waiting",
            Self::Deleting => "deleting",
            Self::Done => "done",
            Self::Rejected(_) => "rejected",
            Self::RolledBack(_) => "rolled-back",
        }
    }
}

/// Why a command was undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhyRolledBack {
    /// A replacement is gone.
    ReplacementDeleted(NodeClaimName),
    /// A replacement could not be created.
    ReplacementNotCreated(String),
    /// It took too long.
    TimedOut,
    /// None of its machines is left to be given back.
    NothingLeft,
    /// Whoever saw it through ended before all of its replacements had been created.
    Interrupted,
}

impl WhyRolledBack {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ReplacementDeleted(_) => "replacement-deleted",
            Self::ReplacementNotCreated(_) => "replacement-not-created",
            Self::TimedOut => "timed-out",
            Self::NothingLeft => "nothing-left",
            Self::Interrupted => "interrupted",
        }
    }
}

impl fmt::Display for WhyRolledBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReplacementDeleted(name) => write!(f, "replacement was deleted (NodeClaim={name})"),
            Self::ReplacementNotCreated(problem) => write!(f, "replacement could not be created: {problem}"),
            Self::TimedOut => f.write_str("command reached timeout"),
            Self::NothingLeft => f.write_str("its nodes are gone already"),
            Self::Interrupted => f.write_str("the controller ended before its replacements had been created"),
        }
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum OrchestrationAction {
    /// Taint the Node as being disrupted.
    Taint(NodeName),
    /// Take that taint off.
    Untaint(NodeName),
    /// Set the NodeClaim's condition `DisruptionReason` True with this reason as reason and message.
    SetDisruptionReason(NodeClaimName, DisruptionReason),
    /// Write the command onto the NodeClaim, as its annotation [`labels::COMMAND`].
    WriteRecord(NodeClaimName, String),
    /// Clear that condition and that annotation.
    ClearDisruptionReason(NodeClaimName),
    /// Create the replacement at this position of the command, then say [`CommandRecord::created`] or
    /// [`CommandRecord::creation_failed`].
    CreateReplacement(usize),
    /// Count the machine as going away, so that nothing is planned onto it and its pods are planned elsewhere.
    Mark(NodeClaimName),
    /// No longer do.
    Unmark(NodeClaimName),
    /// Keep the machine from being disrupted for the pods that come to it.
    Nominate(String),
    /// Give its pods no more time: set the NodeClaim's annotation [`labels::TERMINATION_TIMESTAMP`] to now.
    Hurry(NodeClaimName),
    /// Delete the NodeClaim.
    DeleteClaim(NodeClaimName),
    /// Write onto a replacement that nothing is replaced by it, as its annotation [`labels::ABANDONED`].
    Abandon(NodeClaimName),
    /// Delete a replacement that came to nothing.
    GiveUpReplacement(NodeClaimName),
}

/// A step of a command.
#[derive(Clone, Debug)]
pub struct Advance {
    /// The command as it is after the step.
    pub record: CommandRecord,
    /// What to do, in order.
    pub actions: Vec<OrchestrationAction>,
    /// What to tell.
    pub events: Vec<Event>,
    /// When to come again; none once it is not running any more.
    pub look_again: Option<Timestamp>,
}

impl Command {
    /// When it is to be looked at again; none if it is done at once.
    pub fn validate_at(&self) -> Option<Timestamp> {
        self.method.waits().then(|| later(self.found_at, VALIDATION_DELAY))
    }
}

impl CommandRecord {
    /// The record of a new command.
    pub fn new(command: Command) -> Self {
        let phase = command.validate_at().map_or(Phase::Claiming, |validate_at| Phase::Proposed { validate_at });
        Self { created_at: command.found_at, command, phase, created: BTreeMap::new() }
    }

    /// When the command is to be looked at again, while it waits for that.
    pub fn validate_at(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Proposed { validate_at } => Some(validate_at),
            Phase::Claiming
            | Phase::Replacing
            | Phase::Waiting
            | Phase::Deleting
            | Phase::Done
            | Phase::Rejected(_)
            | Phase::RolledBack(_) => None,
        }
    }

    /// The replacement to create at `index`, which says whose it is.
    pub fn replacement(&self, index: usize) -> Option<PlannedNodeClaim> {
        stamp::stamped(&self.command, index)
    }

    /// What the command saves per hour as things came out: what its candidates cost less what its replacements do. None where
    /// the price of one of them is not known.
    pub fn realized_savings(&self, snapshot: &ClusterSnapshot, catalog: &Catalog) -> Option<Price> {
        let price = |name: &NodeClaimName| machine_price(snapshot.machine_of(name)?, catalog);
        let costs: Option<Price> = self.created.values().map(price).sum();
        Some(self.command.price().saturating_sub(costs?))
    }

    /// The replacement at `index` has been created as `claim`.
    pub fn created(&mut self, index: usize, claim: NodeClaimName) {
        self.created.insert(index, claim);
    }

    /// The replacement at `index` could not be created: everything is undone in the next step.
    pub fn creation_failed(&mut self, index: usize, problem: &str) {
        let problem = format!("number {}: {problem}", index + 1);
        self.phase = Phase::RolledBack(WhyRolledBack::ReplacementNotCreated(problem));
    }
}

/// Moves `record` on. `input.running` includes it.
pub fn advance(record: &CommandRecord, input: &DisruptionInput<'_>) -> Advance {
    let mut step =
        Stepper { snapshot: input.snapshot, record: record.clone(), actions: Vec::new(), events: Vec::new() };
    match &record.phase {
        Phase::Proposed { validate_at } if input.snapshot.now >= *validate_at => step.validate(input),
        Phase::Proposed { .. } | Phase::Done | Phase::Rejected(_) => {}
        Phase::RolledBack(_) => step.undo(),
        Phase::Claiming | Phase::Replacing | Phase::Waiting | Phase::Deleting => step.go_on(input),
    }
    step.finish()
}

/// The NodeClaims that running commands but `except` have.
pub(super) fn claimed<'a>(running: &'a [CommandRecord], except: Option<&CommandId>) -> BTreeSet<&'a NodeClaimName> {
    let others = running.iter().filter(|record| Some(&record.command.id) != except && record.phase.is_running());
    others.flat_map(|record| &record.command.candidates).map(|candidate| &candidate.node_claim).collect()
}

/// What should be tidied up after a restart: taints and reasons that no running command stands behind (spec core 4.1).
pub fn stale(snapshot: &ClusterSnapshot, running: &[CommandRecord]) -> Vec<OrchestrationAction> {
    let claimed = claimed(running, None);
    let mut actions = Vec::new();
    for machine in &snapshot.nodes {
        let Some(claim) = &machine.node_claim else { continue };
        let name = NodeClaimName::from(claim.metadata.name.as_deref().unwrap_or_default());
        if machine.is_going_away() || claimed.contains(&name) {
            continue;
        }
        if let Some(node) =
            machine.node.as_ref().filter(|node| node.metadata.deletion_timestamp.is_none() && is_tainted(node))
        {
            actions.push(OrchestrationAction::Untaint(node.metadata.name.as_deref().unwrap_or_default().into()));
        }
        if tells_of_a_command(claim) {
            actions.push(OrchestrationAction::ClearDisruptionReason(name));
        }
    }
    actions
}

/// `snapshot` as it will be when the running commands but `except` are done, as far as it does not say so by itself yet: their
/// machines are going, and the pods on them are where they are to go. None where that is no different.
pub(super) fn done_ahead(
    snapshot: &ClusterSnapshot,
    running: &[CommandRecord],
    except: Option<&CommandId>,
) -> Option<ClusterSnapshot> {
    let early = |record: &&CommandRecord| match record.phase {
        Phase::Proposed { .. } | Phase::Claiming | Phase::Replacing => Some(&record.command.id) != except,
        // Later its machines are marked, and its replacements are there.
        Phase::Waiting | Phase::Deleting | Phase::Done | Phase::Rejected(_) | Phase::RolledBack(_) => false,
    };
    let mut ahead: Option<ClusterSnapshot> = None;
    for record in running.iter().filter(early) {
        do_ahead(ahead.get_or_insert_with(|| snapshot.clone()), &record.command);
    }
    ahead
}

fn do_ahead(snapshot: &mut ClusterSnapshot, command: &Command) {
    let mut pods = BTreeMap::new();
    for candidate in &command.candidates {
        let is_it = |machine: &&mut StateNode| machine.name() == candidate.node.as_str();
        let Some(machine) = snapshot.nodes.iter_mut().find(is_it) else { continue };
        machine.marked_for_deletion = true;
        pods.extend(std::mem::take(&mut machine.pods).into_iter().map(|pod| (PodKey::of(&pod), pod)));
    }
    // Pods for replacements have a place of their own; they are left out.
    for own in &command.moves {
        let MoveTo::Existing(node) = &own.to else { continue };
        let Some(machine) = snapshot.nodes.iter_mut().find(|machine| machine.name() == node) else { continue };
        machine.pods.extend(pods.remove(&own.pod));
        machine.pods.sort_by_cached_key(|pod| PodKey::of(pod));
        let nominated = later(snapshot.now, snapshot.settings.nomination_window());
        machine.nominated_until = machine.nominated_until.max(Some(nominated));
    }
}

struct Stepper<'a> {
    snapshot: &'a ClusterSnapshot,
    record: CommandRecord,
    actions: Vec<OrchestrationAction>,
    events: Vec<Event>,
}

impl Stepper<'_> {
    fn finish(self) -> Advance {
        let look_again = match &self.record.phase {
            Phase::Proposed { validate_at } => Some(*validate_at),
            phase if phase.is_running() => Some(later(self.snapshot.now, POLL)),
            _ => None,
        };
        Advance { record: self.record, actions: self.actions, events: self.events, look_again }
    }

    fn validate(&mut self, input: &DisruptionInput<'_>) {
        match revalidate(&self.record.command, input) {
            Ok(command) => {
                self.record.command = command;
                self.record.phase = Phase::Claiming;
                self.go_on(input);
            }
            Err(rejected) => {
                let command = &self.record.command;
                if command.method != Method::Emptiness {
                    let savings = super::command::dollars(command.savings());
                    let text = command.short_text();
                    let message =
                        format!("Consolidation rejected: {text}, reason: {} (savings: {savings})", rejected.code());
                    self.events.extend(command.about_candidates("ConsolidationRejected", &message));
                }
                self.record.phase = Phase::Rejected(rejected);
            }
        }
    }

    fn go_on(&mut self, input: &DisruptionInput<'_>) {
        if self.live_candidates().next().is_none() && self.record.phase != Phase::Deleting {
            return self.roll_back(WhyRolledBack::NothingLeft);
        }
        if self.snapshot.now >= self.deadline(input.running) && self.record.phase != Phase::Deleting {
            return self.roll_back(WhyRolledBack::TimedOut);
        }
        // Each phase falls through to the next as soon as there is nothing left to do in it.
        if self.record.phase == Phase::Claiming && self.claim_all() {
            self.record.phase = Phase::Replacing;
        }
        if self.record.phase == Phase::Replacing && self.create_all() {
            self.mark_all();
            self.record.phase = Phase::Waiting;
        }
        if self.record.phase == Phase::Waiting && self.replacements_usable() {
            self.tell_terminating();
            self.record.phase = Phase::Deleting;
        }
        if self.record.phase == Phase::Deleting && self.delete_all() {
            self.record.phase = Phase::Done;
        }
    }

    fn deadline(&self, running: &[CommandRecord]) -> Timestamp {
        let machines: usize =
            running.iter().filter(|own| own.phase.is_running()).map(|own| own.command.candidates.len()).sum();
        let allowed =
            TIME_PER_NODE.saturating_mul(u32::try_from(machines).unwrap_or(u32::MAX)).clamp(MIN_TIME, MAX_TIME);
        later(self.record.created_at, allowed)
    }

    fn claim(&self, name: &NodeClaimName) -> Option<&Arc<NodeClaim>> {
        self.snapshot.machine_of(name).and_then(|machine| machine.node_claim.as_ref())
    }

    /// The candidates whose NodeClaims are still there and not being deleted.
    fn live_candidates(&self) -> impl Iterator<Item = (&Candidate, &StateNode)> {
        self.record.command.candidates.iter().filter_map(|candidate| {
            let machine = self.snapshot.machine_of(&candidate.node_claim)?;
            let live = machine.node_claim.as_ref().is_some_and(|claim| claim.metadata.deletion_timestamp.is_none());
            live.then_some((candidate, machine))
        })
    }

    /// Whether every candidate is tainted and told why; asks for what is missing.
    fn claim_all(&mut self) -> bool {
        let reason = self.record.command.reason();
        let record = stamp::of_candidates(&self.record.command);
        let mut missing = Vec::new();
        for (candidate, machine) in self.live_candidates() {
            let claim = machine.node_claim.as_ref();
            if claim.is_some_and(|claim| !tells_of(claim, self.record.command.id.as_str())) {
                missing.push(OrchestrationAction::WriteRecord(candidate.node_claim.clone(), record.clone()));
            }
            if machine.node.as_ref().is_some_and(|node| !is_tainted(node)) {
                missing.push(OrchestrationAction::Taint(candidate.node.clone()));
            }
            if claim.is_some_and(|claim| !claim.is_true(DISRUPTION_REASON)) {
                missing.push(OrchestrationAction::SetDisruptionReason(candidate.node_claim.clone(), reason));
            }
        }
        let done = missing.is_empty();
        self.actions.extend(missing);
        done
    }

    /// Whether every replacement has been created; asks for those that have not.
    fn create_all(&mut self) -> bool {
        let missing =
            (0..self.record.command.replacements.len()).filter(|index| !self.record.created.contains_key(index));
        let missing: Vec<_> = missing.map(OrchestrationAction::CreateReplacement).collect();
        let done = missing.is_empty();
        self.actions.extend(missing);
        done
    }

    /// Only once all replacements are there, lest provisioning buys machines for the same pods as well.
    fn mark_all(&mut self) {
        let marks: Vec<_> = self
            .live_candidates()
            .map(|(candidate, _)| OrchestrationAction::Mark(candidate.node_claim.clone()))
            .collect();
        self.actions.extend(marks);
        let targets: BTreeSet<String> = self
            .record
            .command
            .moves
            .iter()
            .filter_map(|step| match &step.to {
                MoveTo::Existing(node) => Some(node.clone()),
                MoveTo::Replacement(_) => None,
            })
            .collect();
        self.actions.extend(targets.into_iter().map(OrchestrationAction::Nominate));
    }

    fn replacements_usable(&mut self) -> bool {
        let created: Vec<NodeClaimName> = self.record.created.values().cloned().collect();
        let mut usable = true;
        for name in created {
            let Some(claim) = self.claim(&name).filter(|claim| claim.metadata.deletion_timestamp.is_none()) else {
                self.roll_back(WhyRolledBack::ReplacementDeleted(name));
                return false;
            };
            if claim.is_true(INITIALIZED) {
                continue;
            }
            usable = false;
            let about = About::NodeClaim(name.to_string());
            let launching = format!("Launching NodeClaim: {}", self.record.command.reason());
            self.events.push(Event::normal(about.clone(), "DisruptionLaunching", launching));
            let waiting = "Waiting on readiness to continue disruption";
            self.events.push(Event::normal(about, "DisruptionWaitingReadiness", waiting));
        }
        usable
    }

    fn tell_terminating(&mut self) {
        let reason = self.record.command.reason();
        let events: Vec<Event> = self
            .live_candidates()
            .flat_map(|(candidate, _)| {
                let node = About::Node(candidate.node.to_string());
                let claim = About::NodeClaim(candidate.node_claim.to_string());
                [
                    Event::normal(node, "DisruptionTerminating", format!("Disrupting Node: {reason}")),
                    Event::normal(claim, "DisruptionTerminating", format!("Disrupting NodeClaim: {reason}")),
                ]
            })
            .collect();
        self.events.extend(events);
    }

    /// Whether every candidate's NodeClaim is being deleted or gone; asks for the deletion of the others.
    fn delete_all(&mut self) -> bool {
        // What is broken may never answer.
        let hurry = self.record.command.method == Method::Repair;
        let missing: Vec<_> = self
            .live_candidates()
            .flat_map(|(candidate, _)| {
                let name = || candidate.node_claim.clone();
                let hurry = hurry.then(|| OrchestrationAction::Hurry(name()));
                hurry.into_iter().chain([OrchestrationAction::DeleteClaim(name())])
            })
            .collect();
        let done = missing.is_empty();
        self.actions.extend(missing);
        done
    }

    fn roll_back(&mut self, why: WhyRolledBack) {
        self.record.phase = Phase::RolledBack(why);
        self.undo();
    }

    /// Lets the candidates go on as before. Replacements that exist stay, as ordinary machines that go if they stay empty; those
    /// that have had all the time and are of no use yet go at once.
    fn undo(&mut self) {
        let mut actions = Vec::new();
        for (candidate, machine) in self.live_candidates() {
            if machine.node.as_ref().is_some_and(|node| is_tainted(node)) {
                actions.push(OrchestrationAction::Untaint(candidate.node.clone()));
            }
            if machine.node_claim.as_ref().is_some_and(|claim| tells_of_a_command(claim)) {
                actions.push(OrchestrationAction::ClearDisruptionReason(candidate.node_claim.clone()));
            }
        }
        let too_late = self.record.phase == Phase::RolledBack(WhyRolledBack::TimedOut);
        for name in self.record.created.values() {
            let Some(claim) = self.claim(name).filter(|own| own.metadata.deletion_timestamp.is_none()) else {
                continue;
            };
            if too_late && !claim.is_true(INITIALIZED) {
                actions.push(OrchestrationAction::GiveUpReplacement(name.clone()));
            } else if annotation(claim, labels::ABANDONED).is_none() {
                actions.push(OrchestrationAction::Abandon(name.clone()));
            }
        }
        let unmark = self
            .record
            .command
            .candidates
            .iter()
            .map(|candidate| OrchestrationAction::Unmark(candidate.node_claim.clone()));
        actions.extend(unmark);
        self.actions = actions;
    }
}

fn annotation<'a>(claim: &'a NodeClaim, key: &str) -> Option<&'a str> {
    claim.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Whether some command is written onto the NodeClaim, or why it goes.
fn tells_of_a_command(claim: &NodeClaim) -> bool {
    claim.is_true(DISRUPTION_REASON) || annotation(claim, labels::COMMAND).is_some()
}

/// Whether the command with this id is written onto the NodeClaim.
fn tells_of(claim: &NodeClaim, id: &str) -> bool {
    annotation(claim, labels::COMMAND).is_some_and(|text| text.contains(id))
}

fn is_tainted(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    taints.iter().any(|taint| taint.key == labels::DISRUPTED_TAINT && taint.effect == "NoSchedule")
}

#[cfg(test)]
#[path = "orchestration_tests.rs"]
mod tests;
