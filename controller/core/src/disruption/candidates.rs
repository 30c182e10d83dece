//! Which machines may be disrupted at all, and why the others may not (spec core 4.2).

use super::{
    Candidate, DisruptionCost, WhyKept, checks::Check, emptiness::given_up_at, pdb::PodBudgets, repair::broken,
};
use crate::{
    api::{NodeClaim, NodePool, labels},
    lifecycle::{DoNotDisrupt, Event, expires_at},
    model::{
        CapacityType, Catalog, ClusterSnapshot, InstanceType, NodeClaimName, NodeName, NodePoolName, PodKey, Price,
        StateNode, is_active, is_reschedulable,
    },
    termination::is_drainable,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use std::{collections::BTreeMap, collections::BTreeSet, sync::Arc};

/// How much a disruption respects what pods ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Always.
    Graceful,
    /// Only while the NodeClaim sets no bound to it by its termination grace period.
    Eventual,
}

/// What is asked of a broken machine: also one that never was whole is given up.
const OF_BROKEN: [Check; 6] =
    [Check::Managed, Check::Free, Check::Joined, Check::Staying, Check::NodeAllows, Check::PoolKnown];

/// A look at every machine of a snapshot.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Those that may be disrupted gracefully, by position.
    pub(super) candidates: Vec<Candidate>,
    /// Those that may be disrupted only eventually, by position: pods ask that they be kept, but not for ever.
    pub(super) eventual: Vec<Candidate>,
    /// Those that say that they are broken, and are borne no longer, with since when; whatever their pods ask for.
    pub(super) broken: Vec<(Candidate, Timestamp)>,
    /// Why machines are not among `candidates`, by name.
    pub(super) kept: BTreeMap<String, WhyKept>,
    /// What pods' owners are told.
    pub(super) events: Vec<Event>,
    /// When that changes by time alone.
    pub(super) changes_at: Option<Timestamp>,
}

impl Survey {
    /// Those that may be disrupted at all.
    pub(super) fn eventually(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().chain(&self.eventual)
    }
}

/// Looks at every machine. `claimed` are the NodeClaims that running commands have.
pub(super) fn survey(snapshot: &ClusterSnapshot, catalog: &Catalog, claimed: &BTreeSet<&NodeClaimName>) -> Survey {
    let budgets = PodBudgets::new(&snapshot.pod_disruption_budgets, &snapshot.nodes);
    let mut survey = Survey::default();
    for (index, machine) in snapshot.nodes.iter().enumerate() {
        let facts = MachineFacts { machine, snapshot, catalog, claimed };
        note_times(index, &facts, &mut survey);
        match usable(index, &facts) {
            Ok(candidate) => sort_in(candidate, machine, &budgets, snapshot.now, &mut survey),
            Err(why) => {
                if let WhyKept::Nominated { until } = why {
                    survey.changes_at = earlier(survey.changes_at, Some(until));
                }
                survey.kept.insert(machine.name().to_owned(), why);
            }
        }
    }
    survey
}

pub(super) fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    [a, b].into_iter().flatten().min()
}

fn sort_in(candidate: Candidate, machine: &StateNode, budgets: &PodBudgets<'_>, now: Timestamp, survey: &mut Survey) {
    for pod in &machine.pods {
        let asked = DoNotDisrupt::of(pod, now);
        survey.events.extend(asked.event(pod));
        survey.changes_at = earlier(survey.changes_at, asked.changes_at());
    }
    let Some(why) = pods_keep(machine, budgets, now) else {
        survey.candidates.push(candidate);
        return;
    };
    survey.kept.insert(machine.name().to_owned(), why);
    if class_of(machine) == Class::Eventual {
        survey.eventual.push(candidate);
    }
}

fn class_of(machine: &StateNode) -> Class {
    let bounded = machine.node_claim.as_ref().is_some_and(|claim| claim.spec.termination_grace_period.is_some());
    if bounded { Class::Eventual } else { Class::Graceful }
}

/// The first reason that a pod gives for keeping the machine. Daemon and static pods count for do-not-disrupt; budgets are
/// asked only about pods that would be evicted.
fn pods_keep(machine: &StateNode, budgets: &PodBudgets<'_>, now: Timestamp) -> Option<WhyKept> {
    let asks = asking_pods(machine, now).next();
    if let Some(pod) = asks {
        return Some(WhyKept::PodDoNotDisrupt(PodKey::of(pod)));
    }
    evicted_pods(machine, now).find_map(|pod| budgets.why_kept(pod))
}

/// The pods that ask that their machine be kept.
pub(super) fn asking_pods(machine: &StateNode, now: Timestamp) -> impl Iterator<Item = &Arc<Pod>> {
    machine.pods.iter().filter(move |pod| DoNotDisrupt::of(pod, now).protects())
}

/// The pods that a drain would evict.
pub(super) fn evicted_pods(machine: &StateNode, now: Timestamp) -> impl Iterator<Item = &Arc<Pod>> {
    machine.pods.iter().filter(move |pod| is_active(pod) && is_drainable(pod, now))
}

/// What is known of a machine, if nothing but its pods can still keep it.
fn usable(index: usize, facts: &MachineFacts<'_>) -> Result<Candidate, WhyKept> {
    match Check::OF_MACHINES.into_iter().find_map(|check| facts.objection(check)) {
        Some(why) => Err(why),
        None => candidate(index, facts.machine, facts.catalog).ok_or(WhyKept::NoNodePool),
    }
}

/// Whether the machine is broken, and when time alone makes it too old or broken for too long.
fn note_times(index: usize, facts: &MachineFacts<'_>, survey: &mut Survey) {
    let MachineFacts { machine, snapshot, catalog, .. } = *facts;
    let now = snapshot.now;
    let expires = machine.node_claim.as_ref().and_then(|claim| expires_at(claim)).filter(|at| *at > now);
    let given_up = machine.node_claim.as_ref().and_then(|claim| given_up_at(claim)).filter(|at| *at > now);
    survey.changes_at = earlier(earlier(survey.changes_at, expires), given_up);
    let Some(broken) = broken(machine, &snapshot.settings) else { return };
    if broken.due > now {
        survey.changes_at = earlier(survey.changes_at, Some(broken.due));
    } else if OF_BROKEN.into_iter().all(|check| facts.objection(check).is_none()) {
        survey.broken.extend(candidate(index, machine, catalog).map(|own| (own, broken.due)));
    }
}

/// A machine and what surrounds it.
#[derive(Clone, Copy, Debug)]
pub(super) struct MachineFacts<'a> {
    pub(super) machine: &'a StateNode,
    pub(super) snapshot: &'a ClusterSnapshot,
    pub(super) catalog: &'a Catalog,
    pub(super) claimed: &'a BTreeSet<&'a NodeClaimName>,
}

impl MachineFacts<'_> {
    /// Why the machine does not pass one of [`Check::OF_MACHINES`]; those that look at something else it passes.
    pub(super) fn objection(&self, check: Check) -> Option<WhyKept> {
        let machine = self.machine;
        match check {
            Check::Managed => (!machine.is_managed()).then_some(WhyKept::Unmanaged),
            Check::Free => is_claimed(self.machine, self.claimed).then_some(WhyKept::InCommand),
            Check::Joined => machine.node.is_none().then_some(WhyKept::NoNode),
            Check::Initialized => (!machine.is_initialized()).then_some(WhyKept::NotInitialized),
            Check::Staying => machine.is_going_away().then_some(WhyKept::GoingAway),
            Check::NotNominated => {
                let until = machine.nominated_until.filter(|until| *until > self.snapshot.now);
                until.map(|until| WhyKept::Nominated { until })
            }
            Check::NodeAllows => {
                let asks = machine.annotations().get(labels::DO_NOT_DISRUPT).is_some_and(|value| value == "true");
                asks.then_some(WhyKept::NodeDoNotDisrupt)
            }
            Check::PoolKnown => {
                let Some(pool) = machine.node_pool() else { return Some(WhyKept::NoNodePool) };
                let known = self.snapshot.node_pools.contains_key(&pool) && !self.catalog.of(&pool).is_empty();
                (!known).then_some(WhyKept::NodePoolNotFound(pool))
            }
            Check::PodsAllow
            | Check::PodBudgetsAllow
            | Check::PoolConsolidates
            | Check::Settled
            | Check::WithinBudget
            | Check::WorthIt => None,
        }
    }
}

/// Whether the machine's NodeClaim is one of those that commands have.
pub(super) fn is_claimed(machine: &StateNode, claimed: &BTreeSet<&NodeClaimName>) -> bool {
    machine.claim_name().is_some_and(|name| claimed.contains(&NodeClaimName::from(name)))
}

/// The machine as a candidate, whatever keeps it; none without a NodeClaim or a pool. Before its Node
/// has joined it goes by its NodeClaim's name.
pub(super) fn candidate(index: usize, machine: &StateNode, catalog: &Catalog) -> Option<Candidate> {
    let claim = machine.node_claim.as_ref()?;
    let of_node = machine.labels();
    let node_pool = of_node.get(labels::NODE_POOL).map(NodePoolName::from)?;
    let mut pods: Vec<Arc<Pod>> = machine.pods.iter().filter(|pod| is_reschedulable(pod)).cloned().collect();
    pods.sort_by_cached_key(|pod| crate::model::PodKey::of(pod));
    Some(Candidate {
        index,
        node: NodeName::from(machine.name()),
        node_claim: NodeClaimName::from(claim.metadata.name.as_deref().unwrap_or_default()),
        price: price_of(catalog.of(&node_pool), &of_node).unwrap_or_default(),
        node_pool,
        instance_type: of_node.get(labels::INSTANCE_TYPE).cloned(),
        zone: of_node.get(labels::ZONE).cloned(),
        capacity_type: of_node.get(labels::CAPACITY_TYPE).and_then(|text| CapacityType::parse(text)),
        cost: DisruptionCost::of_moving(machine.pods.iter().map(|pod| &**pod)),
        pods,
    })
}

/// What a machine costs per hour, if the catalog has its type.
pub fn machine_price(machine: &StateNode, catalog: &Catalog) -> Option<Price> {
    let of_node = machine.labels();
    price_of(catalog.of(&of_node.get(labels::NODE_POOL).map(NodePoolName::from)?), &of_node)
}

/// What a machine with these labels costs: the price of its type's offering in its zone and capacity type, and of its
/// reservation where that is said. Whether it could be bought now does not matter.
pub(super) fn price_of(types: &[Arc<InstanceType>], of_node: &BTreeMap<String, String>) -> Option<Price> {
    let name = of_node.get(labels::INSTANCE_TYPE)?;
    let zone = of_node.get(labels::ZONE)?;
    let capacity_type = CapacityType::parse(of_node.get(labels::CAPACITY_TYPE)?)?;
    let instance_type = find_type(types, name)?;
    let reservation = of_node.get(labels::CAPACITY_RESERVATION_ID);
    instance_type
        .offerings
        .iter()
        .filter(|offering| offering.zone == *zone && offering.capacity_type == capacity_type)
        .min_by_key(|offering| (reservation != offering.reservation_id.as_ref(), offering.price))
        .map(|offering| offering.price)
}

/// The type of that name. Catalogs are sorted by name; one that is not is slower to search, not wrong.
pub(super) fn find_type<'a>(types: &'a [Arc<InstanceType>], name: &str) -> Option<&'a Arc<InstanceType>> {
    match types.binary_search_by(|own| own.name.as_str().cmp(name)) {
        Ok(position) => types.get(position),
        Err(_) => types.iter().find(|own| own.name == name),
    }
}

/// The pool of a candidate; its being there is one of the conditions for being a candidate.
pub(super) fn pool_of<'a>(candidate: &Candidate, snapshot: &'a ClusterSnapshot) -> Option<&'a Arc<NodePool>> {
    snapshot.node_pools.get(&candidate.node_pool)
}

/// The NodeClaim of a candidate.
pub(super) fn claim_of<'a>(candidate: &Candidate, snapshot: &'a ClusterSnapshot) -> Option<&'a Arc<NodeClaim>> {
    snapshot.nodes.get(candidate.index)?.node_claim.as_ref()
}
