//! Why one machine stays or goes, and why one pod can or cannot be evicted: every check, not only the first that fails.

use super::{
    BudgetOfPod, Candidate, DisruptionInput, Method, Move, WhyKept,
    candidates::{MachineFacts, asking_pods, candidate, evicted_pods},
    checks::Check,
    consolidation,
    decide::Pass,
    drift::drifted,
    emptiness,
    expiration::expired_at,
    orchestration::claimed,
    overdue,
    pdb::PodBudgets,
    repair::broken,
};
use crate::{
    api::DisruptionReason,
    lifecycle::DoNotDisrupt,
    model::{ClusterSnapshot, PodKey, Price, StateNode},
    scheduling::PlannedNodeClaim,
    termination::{DrainWait, deadline, drain},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

/// What was asked of a machine, and what came of it.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What was asked.
    pub check: Check,
    /// Why it does not hold; none if it does.
    pub objection: Option<WhyKept>,
    /// What that follows from, pod by pod.
    pub facts: Vec<PodFact>,
}

/// What one pod has to do with a check.
#[derive(Clone, Debug)]
pub enum PodFact {
    /// It asks that its machine be kept.
    Asks(PodKey, DoNotDisrupt),
    /// A PodDisruptionBudget speaks of it.
    Budget(PodKey, BudgetOfPod),
}

/// What could be had from a machine if nothing kept it.
#[derive(Clone, Debug)]
pub enum Gain {
    /// Nothing: it would stay all the same.
    None(WhyKept),
    /// It could go, or be replaced.
    Some {
        /// What would come in its place.
        replacements: Vec<PlannedNodeClaim>,
        /// Where its pods would go.
        moves: Vec<Move>,
        /// What that would save per hour.
        saves: Price,
    },
}

/// Why a machine has to go whatever that costs.
#[derive(Clone, Debug)]
pub struct Overdue {
    /// The kind of reason.
    pub reason: DisruptionReason,
    /// What it is in particular.
    pub what: String,
    /// Why it has to wait, if so.
    pub waits: Option<WhyKept>,
}

/// The emptying of a machine.
#[derive(Clone, Debug)]
pub struct Draining {
    /// Since when it goes on.
    pub since: Timestamp,
    /// When what is left is deleted by force, if ever.
    pub deadline: Option<Timestamp>,
    /// The pods that are still there.
    pub waiting: Vec<StillThere>,
}

/// A pod that a drain waits for.
#[derive(Clone, Debug)]
pub struct StillThere {
    /// The pod.
    pub pod: PodKey,
    /// Why it is still there.
    pub why: DrainWait,
    /// What PodDisruptionBudgets say of it, if it is to be evicted now.
    pub budgets: Vec<BudgetOfPod>,
}

/// Why a machine stays or goes.
#[derive(Clone, Debug)]
pub struct NodeExplanation {
    /// Its name.
    pub node: String,
    /// What is known of it, as far as it has a Node, a NodeClaim and a pool.
    pub candidate: Option<Candidate>,
    /// Every check, in order.
    pub checks: Vec<Checked>,
    /// Why it has to go whatever that costs, for each reason that it has.
    pub overdue: Vec<Overdue>,
    /// What its drain waits for, if it is being emptied.
    pub drain: Option<Draining>,
    /// What its going would bring; none where that cannot be worked out.
    pub gain: Option<Gain>,
}

impl NodeExplanation {
    /// The first check that keeps the machine; none if it may go.
    pub fn first_objection(&self) -> Option<&Checked> {
        self.checks.iter().find(|own| own.objection.is_some())
    }
}

/// Why a pod can or cannot be evicted from the machine that it runs on.
#[derive(Clone, Debug)]
pub struct PodExplanation {
    /// The machine.
    pub node: String,
    /// Whether a drain would evict it at all.
    pub is_evicted: bool,
    /// What it asks for.
    pub asks: DoNotDisrupt,
    /// What PodDisruptionBudgets say of it.
    pub budgets: Vec<BudgetOfPod>,
    /// Why it cannot be evicted now.
    pub kept: Option<WhyKept>,
}

/// Explains the machine with this name, of its Node or of its NodeClaim; none if there is no such machine.
pub fn explain_node(input: &DisruptionInput<'_>, name: &str) -> Option<NodeExplanation> {
    let snapshot = input.snapshot;
    let is_it = |machine: &StateNode| machine.name() == name || machine.claim_name() == Some(name);
    let index = snapshot.nodes.iter().position(is_it)?;
    let machine = &snapshot.nodes[index];
    let mut pass = Pass::new(input, None);
    let candidate = candidate(index, machine, pass.catalog());
    let gain = candidate.as_ref().filter(|_| can_be_simulated(machine)).map(|own| gain(&mut pass, own));
    let mut checks = of_machine(machine, input);
    checks.extend(of_pods(machine, snapshot));
    if let Some(candidate) = &candidate {
        checks.extend(of_consolidation(candidate, &pass));
    }
    if let Some(gain) = &gain {
        let objection = match gain {
            Gain::None(why) => Some(why.clone()),
            Gain::Some { .. } => None,
        };
        checks.push(Checked { check: Check::WorthIt, objection, facts: Vec::new() });
    }
    let overdue = candidate.as_ref().map_or_else(Vec::new, |own| overdue_of(own, machine, &pass));
    let drain = draining(machine, snapshot);
    Some(NodeExplanation { node: machine.name().to_owned(), candidate, checks, overdue, drain, gain })
}

/// Explains the pod, if it runs on a machine. Why a pod waits is what [`crate::scheduling::solve`] says.
pub fn explain_pod(snapshot: &ClusterSnapshot, key: &PodKey) -> Option<PodExplanation> {
    let found = |machine: &StateNode| machine.pods.iter().find(|pod| PodKey::of(pod) == *key).cloned();
    let (machine, pod) = snapshot.nodes.iter().find_map(|machine| Some((machine, found(machine)?)))?;
    let budgets = PodBudgets::new(&snapshot.pod_disruption_budgets, &snapshot.nodes);
    let asks = DoNotDisrupt::of(&pod, snapshot.now);
    let is_evicted = evicted_pods(machine, snapshot.now).any(|own| PodKey::of(own) == *key);
    let by_wish = asks.protects().then(|| WhyKept::PodDoNotDisrupt(key.clone()));
    Some(PodExplanation {
        node: machine.name().to_owned(),
        is_evicted,
        kept: by_wish.or_else(|| budgets.why_kept(&pod).filter(|_| is_evicted)),
        budgets: budgets.of_pod(&pod),
        asks,
    })
}

fn of_machine(machine: &StateNode, input: &DisruptionInput<'_>) -> Vec<Checked> {
    let claimed = claimed(input.running, None);
    let facts = MachineFacts { machine, snapshot: input.snapshot, catalog: input.catalog.catalog(), claimed: &claimed };
    let checked = |check| Checked { check, objection: facts.objection(check), facts: Vec::new() };
    Check::OF_MACHINES.into_iter().map(checked).collect()
}

fn of_pods(machine: &StateNode, snapshot: &ClusterSnapshot) -> [Checked; 2] {
    let now = snapshot.now;
    let asking: Vec<PodKey> = asking_pods(machine, now).map(|pod| PodKey::of(pod)).collect();
    let asks = machine.pods.iter().map(|pod| (PodKey::of(pod), DoNotDisrupt::of(pod, now)));
    let asks = asks.filter(|(_, asks)| *asks != DoNotDisrupt::No).map(|(pod, asks)| PodFact::Asks(pod, asks));
    let allow = Checked {
        check: Check::PodsAllow,
        objection: asking.first().cloned().map(WhyKept::PodDoNotDisrupt),
        facts: asks.collect(),
    };
    let budgets = PodBudgets::new(&snapshot.pod_disruption_budgets, &snapshot.nodes);
    let of_pod = |pod: &Pod| {
        let key = PodKey::of(pod);
        budgets.of_pod(pod).into_iter().map(move |own| PodFact::Budget(key.clone(), own)).collect::<Vec<_>>()
    };
    let budgeted = Checked {
        check: Check::PodBudgetsAllow,
        objection: evicted_pods(machine, now).find_map(|pod| budgets.why_kept(pod)),
        facts: evicted_pods(machine, now).flat_map(|pod| of_pod(pod)).collect(),
    };
    [allow, budgeted]
}

fn of_consolidation(candidate: &Candidate, pass: &Pass<'_>) -> [Checked; 3] {
    let snapshot = pass.input.snapshot;
    let objection = if candidate.cost.is_empty() {
        emptiness::objection(candidate, snapshot).or_else(|| emptiness::keeps_room(candidate, &[], pass))
    } else {
        consolidation::objection(candidate, snapshot, pass.catalog())
    };
    let settling = objection.clone().filter(|why| *why == WhyKept::Settling);
    let reason = if candidate.cost.is_empty() { DisruptionReason::Empty } else { DisruptionReason::Underutilized };
    let checked = |check, objection| Checked { check, objection, facts: Vec::new() };
    [
        checked(Check::PoolConsolidates, objection.filter(|why| *why != WhyKept::Settling)),
        checked(Check::Settled, settling),
        checked(Check::WithinBudget, pass.over_budget(candidate, reason)),
    ]
}

/// Of a machine that is coming or going the pods are counted elsewhere already.
fn can_be_simulated(machine: &StateNode) -> bool {
    machine.is_initialized() && !machine.is_going_away()
}

fn gain(pass: &mut Pass<'_>, candidate: &Candidate) -> Gain {
    if candidate.cost.is_empty() {
        return Gain::Some { replacements: Vec::new(), moves: Vec::new(), saves: candidate.price };
    }
    match consolidation::evaluate_single(pass, candidate) {
        Err(why) => Gain::None(why),
        Ok(found) => {
            let saves = found.saves(&[candidate]);
            Gain::Some { replacements: found.replacements, moves: found.moves, saves }
        }
    }
}

fn overdue_of(candidate: &Candidate, machine: &StateNode, pass: &Pass<'_>) -> Vec<Overdue> {
    let snapshot = pass.input.snapshot;
    let claim = machine.node_claim.as_deref();
    let broken = broken(machine, &snapshot.settings).filter(|own| own.due <= snapshot.now);
    let broken =
        broken.map(|own| format!("{} is {} for more than it is borne", own.policy.condition, own.policy.status));
    let expired = claim.and_then(|own| expired_at(own, snapshot.now)).map(|at| format!("since {at:.0}"));
    let drifted = claim.and_then(drifted).map(|own| own.reason.clone());
    let reasons = [(Method::Repair, broken), (Method::Expiration, expired), (Method::Drift, drifted)];
    let overdue = |(method, what): (Method, Option<String>)| {
        Some(Overdue { reason: method.reason(), what: what?, waits: waits(method, candidate, pass) })
    };
    reasons.into_iter().filter_map(overdue).collect()
}

/// Why a machine that has to go has to wait. What pods ask for keeps it, unless it is broken or they may not ask for ever.
fn waits(method: Method, candidate: &Candidate, pass: &Pass<'_>) -> Option<WhyKept> {
    let allowed = method == Method::Repair || pass.survey.eventually().any(|own| own.node == candidate.node);
    let kept = pass.survey.kept.get(candidate.node.as_str()).filter(|_| !allowed);
    kept.cloned().or_else(|| overdue::in_its_place(pass, method, candidate).err())
}

fn draining(machine: &StateNode, snapshot: &ClusterSnapshot) -> Option<Draining> {
    let since = machine.node.as_ref()?.metadata.deletion_timestamp.as_ref()?.0;
    let deadline = machine.node_claim.as_ref().and_then(|claim| deadline(claim).ok().flatten());
    let budgets = PodBudgets::new(&snapshot.pod_disruption_budgets, &snapshot.nodes);
    let says = |key: &PodKey, wait: DrainWait| {
        let pod = machine.pods.iter().find(|pod| wait == DrainWait::Eviction && PodKey::of(pod) == *key);
        pod.map_or_else(Vec::new, |pod| budgets.of_pod(pod))
    };
    let waiting = drain(&machine.pods, deadline, snapshot.now).waiting.into_iter();
    let waiting = waiting.map(|(pod, why)| StillThere { budgets: says(&pod, why), pod, why }).collect();
    Some(Draining { since, deadline, waiting })
}
