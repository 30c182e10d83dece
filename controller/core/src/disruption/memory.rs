//! Not looking twice for what was not there (spec core 4.7, Sleeping between changes).
//!
//! The reference goes by an epoch that some changes move; what it forgets to count is found minutes late. Here everything that
//! consolidation looks at is put into one number, and only while that stays the same it sleeps.

use super::{Candidate, WhyKept, bound::Offers, decide::Pass};
use crate::{
    lifecycle::later,
    model::{Catalog, NodeClaimName, PodKey, StateNode, is_provisionable, is_terminal, is_terminating, pod_spec},
};
use jiff::Timestamp;
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

/// After so long it looks again, whatever it has seen: not for what it may have missed, but for what a few machines could become. That
/// follows from the rest of the cluster too, but hardly ever changes with it; so sets of a few machines that were to go together are
/// left alone as long while they and their pods are the same.
const SLEEP: Duration = Duration::from_mins(30);
/// What keeps machines is told again after so long: events that were held back, and those that have been forgotten.
const SILENCE: Duration = Duration::from_mins(5);

/// What [`super::decide_remembering`] keeps between passes. Forgetting it costs time and nothing else; with it, what a few machines
/// could become together may be found later.
#[derive(Clone, Debug, Default)]
pub struct ConsolidationMemory {
    nothing: Option<Nothing>,
    place: Option<NodeClaimName>,
    few: Few,
    offers: Option<Arc<Offers>>,
}

/// Sets of a few machines for which nothing was found, by [`of_few`], with when they were looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Few {
    tried: BTreeMap<u64, Timestamp>,
    catalog: Option<Catalog>,
}

/// Where consolidation found nothing.
#[derive(Clone, Debug)]
struct Nothing {
    fingerprint: u64,
    catalog: Catalog,
    at: Timestamp,
    kept: BTreeMap<String, WhyKept>,
}

impl ConsolidationMemory {
    /// Why each machine was kept, if consolidation has looked at just this and found nothing.
    pub(super) fn recall(&self, pass: &Pass<'_>, fingerprint: u64) -> Option<&BTreeMap<String, WhyKept>> {
        let nothing = self.nothing.as_ref().filter(|nothing| nothing.fingerprint == fingerprint)?;
        let awake = pass.input.snapshot.now >= later(nothing.at, SLEEP);
        (!awake && nothing.catalog.is_same(pass.catalog())).then_some(&nothing.kept)
    }

    /// Remembers that nothing was found.
    pub(super) fn remember(&mut self, pass: &Pass<'_>, fingerprint: u64) {
        let (catalog, at) = (pass.catalog().clone(), pass.input.snapshot.now);
        self.nothing = Some(Nothing { fingerprint, catalog, at, kept: pass.kept.clone() });
    }

    /// At which NodeClaim looking at single machines had to stop; none if it came to the end.
    pub(super) fn place(&self) -> Option<&NodeClaimName> {
        self.place.as_ref()
    }

    /// Remembers where it had to stop.
    pub(super) fn stop_at(&mut self, place: Option<NodeClaimName>) {
        self.place = place;
    }

    /// What can be bought: the same as the last time, if neither catalog nor pools have changed.
    pub(super) fn offers(&mut self, pass: &Pass<'_>) -> Arc<Offers> {
        let (snapshot, catalog) = (pass.input.snapshot, pass.catalog());
        let known = self.offers.take().filter(|own| own.are_of(snapshot, catalog));
        let offers = known.unwrap_or_else(|| Arc::new(Offers::new(snapshot, catalog)));
        Arc::clone(self.offers.insert(offers))
    }

    /// The sets of a few machines that were looked at a moment ago, with the prices of now.
    pub(super) fn few(&mut self, pass: &Pass<'_>) -> &mut Few {
        let now = pass.input.snapshot.now;
        if self.few.catalog.as_ref().is_none_or(|own| !own.is_same(pass.catalog())) {
            self.few = Few { tried: BTreeMap::new(), catalog: Some(pass.catalog().clone()) };
        }
        self.few.tried.retain(|_, at| now < later(*at, SLEEP));
        &mut self.few
    }

    /// When there is something to be said again, though it may not look again.
    pub(super) fn speaks_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.nothing.as_ref().map(|_| later(now, SILENCE))
    }
}

impl Few {
    /// Whether these machines were looked at together, with the same pods on them.
    pub(super) fn has_tried(&self, few: &[Candidate]) -> bool {
        self.tried.contains_key(&of_few(few))
    }

    /// Remembers that nothing was found for these machines together.
    pub(super) fn has_failed(&mut self, few: &[Candidate], now: Timestamp) {
        self.tried.insert(of_few(few), now);
    }
}

/// All that consolidation looks at, but for the catalog and the time.
pub(super) fn fingerprint(pass: &Pass<'_>) -> u64 {
    let snapshot = pass.input.snapshot;
    let mut hash = DefaultHasher::new();
    snapshot.nodes.iter().for_each(|machine| hash_machine(machine, &mut hash));
    for candidate in &pass.survey.candidates {
        let quiet = super::emptiness::objection(candidate, snapshot).is_none();
        (candidate.node_claim.as_str(), candidate.cost.units(), candidate.price, quiet).hash(&mut hash);
    }
    pass.survey.kept.iter().for_each(|(name, why)| (name, why.code()).hash(&mut hash));
    for pod in snapshot.pending.iter().filter(|pod| is_provisionable(pod)).chain(&snapshot.virtual_pods) {
        (PodKey::of(pod), &pod.metadata.uid).hash(&mut hash);
    }
    for (name, pool) in &snapshot.node_pools {
        (name.as_str(), serde_json::to_string(&pool.spec).unwrap_or_default()).hash(&mut hash);
    }
    for daemons in &snapshot.daemon_sets {
        (&daemons.metadata.uid, &daemons.metadata.name, daemons.metadata.generation).hash(&mut hash);
    }
    for namespace in &snapshot.namespaces {
        (&namespace.metadata.name, &namespace.metadata.labels).hash(&mut hash);
    }
    let storage = &snapshot.storage;
    storage.claims.iter().for_each(|(name, own)| (name, &own.metadata.resource_version).hash(&mut hash));
    storage.volumes.iter().for_each(|(name, own)| (name, &own.metadata.resource_version).hash(&mut hash));
    storage.classes.iter().for_each(|(name, own)| (name, &own.metadata.resource_version).hash(&mut hash));
    storage.csi_nodes.iter().for_each(|(name, own)| (name, &own.metadata.resource_version).hash(&mut hash));
    for budget in pass.budgets.uses() {
        (budget.node_pool.as_str(), budget.reason.as_str(), budget.left()).hash(&mut hash);
    }
    hash.finish()
}

/// The machines, what they cost, and what runs on them.
fn of_few(few: &[Candidate]) -> u64 {
    let mut hash = DefaultHasher::new();
    for candidate in few {
        (candidate.node_claim.as_str(), candidate.price, candidate.pods.len()).hash(&mut hash);
        candidate.pods.iter().for_each(|pod| (PodKey::of(pod), &pod.metadata.uid).hash(&mut hash));
    }
    hash.finish()
}

fn hash_machine(machine: &StateNode, hash: &mut DefaultHasher) {
    (machine.name(), machine.is_initialized(), machine.is_going_away()).hash(hash);
    if let Some(node) = &machine.node {
        node.metadata.labels.hash(hash);
        for taint in node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()) {
            (&taint.key, &taint.value, &taint.effect).hash(hash);
        }
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        allocatable.into_iter().flatten().for_each(|(name, amount)| (name, &amount.0).hash(hash));
    }
    for pod in &machine.pods {
        (&pod.metadata.namespace, &pod.metadata.name, &pod.metadata.uid, &pod.metadata.labels).hash(hash);
        (is_terminal(pod), is_terminating(pod), pod.metadata.generation).hash(hash);
        let requests = pod_spec(pod).containers.iter().filter_map(|own| own.resources.as_ref()?.requests.as_ref());
        requests.flatten().for_each(|(name, amount)| (name, &amount.0).hash(hash));
    }
}
