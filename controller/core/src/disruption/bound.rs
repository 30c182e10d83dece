//! The least that a replacement must cost, without a simulation. In a well-filled cluster this is what most machines are kept
//! by, at a thousandth of the price of a simulation.
//!
//! Invariant: it errs on one side only. Whatever keeps pods apart (taints, affinity, daemons, limits) is left out, so that a
//! replacement that a simulation would find is never ruled out here; for one machine, a replacement by one. That several would cost
//! less where not even one does is not looked for then: every well-filled machine would be broken up for the next smaller sizes.

use super::{Candidate, WhyKept, cheapest_mix::CheapestMix, churn, command::price_of_all};
use crate::{
    api::{NodePool, NodeSelectorRequirementWithMinValues, labels},
    model::{
        CPU, Catalog, ClusterSnapshot, InstanceType, MEMORY, NodePoolName, PODS, Price, Requirements, Resources,
        pod_requests,
    },
};
use k8s_openapi::api::core::v1::Pod;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};

/// Amounts of [`DIMENSIONS`].
type Amounts = [i64; 3];
/// What is looked at: what runs out in practice.
const DIMENSIONS: [&str; 3] = [CPU, MEMORY, PODS];

/// What is free, and what can be bought.
#[derive(Debug)]
pub(super) struct Bound {
    /// What is free on each machine that pods could move to, by position in the snapshot.
    free: BTreeMap<usize, Amounts>,
    offers: Arc<Offers>,
}

/// What the pools of a snapshot may buy of a catalog, the cheapest first.
#[derive(Debug)]
pub(super) struct Offers {
    catalog: Catalog,
    pools: Vec<(NodePoolName, Vec<NodeSelectorRequirementWithMinValues>)>,
    list: Vec<Offer>,
    /// What they cost at least if several are bought; worked out when it matters.
    mix: OnceLock<CheapestMix>,
}

/// A type that a pool may buy.
#[derive(Debug)]
struct Offer {
    /// Its best price under the pool's requirements.
    price: Price,
    /// What pods could use of it.
    usable: Amounts,
    instance_type: Arc<InstanceType>,
    requirements: Arc<Requirements>,
    /// Whether the pool's requirements allow the type; worked out when it matters, as it costs the most.
    allowed: OnceLock<bool>,
}

impl Offers {
    pub(super) fn new(snapshot: &ClusterSnapshot, catalog: &Catalog) -> Self {
        let mut list: Vec<Offer> =
            snapshot.node_pools.iter().flat_map(|(name, pool)| offers(pool, catalog.of(name))).collect();
        list.sort_by(|a, b| (a.price, &a.instance_type.name).cmp(&(b.price, &b.instance_type.name)));
        let pools = asked(snapshot).map(|(name, asked)| (name.clone(), asked.clone())).collect();
        Self { catalog: catalog.clone(), pools, list, mix: OnceLock::new() }
    }

    /// Whether these are what [`Self::new`] would find.
    pub(super) fn are_of(&self, snapshot: &ClusterSnapshot, catalog: &Catalog) -> bool {
        self.catalog.is_same(catalog) && self.pools.iter().map(|(name, asked)| (name, asked)).eq(asked(snapshot))
    }

    fn mix(&self) -> &CheapestMix {
        self.mix.get_or_init(|| {
            let allowed = self.list.iter().filter(|offer| offer.is_allowed());
            CheapestMix::new(allowed.map(|offer| (offer.usable[0], offer.usable[1], offer.price)))
        })
    }
}

/// What each pool asks of its machines.
fn asked(
    snapshot: &ClusterSnapshot,
) -> impl Iterator<Item = (&NodePoolName, &Vec<NodeSelectorRequirementWithMinValues>)> {
    snapshot.node_pools.iter().map(|(name, pool)| (name, &pool.spec.template.spec.requirements))
}

impl Bound {
    pub(super) fn new(snapshot: &ClusterSnapshot, offers: Arc<Offers>) -> Self {
        let targets = snapshot.nodes.iter().enumerate().filter(|(_, own)| own.is_initialized() && !own.is_going_away());
        let free = targets.map(|(index, own)| (index, amounts(&own.available()))).collect();
        Self { free, offers }
    }

    /// Why `candidates` can surely not be replaced by something cheaper, or deleted; none if a simulation has to tell.
    pub(super) fn objection(&self, candidates: &[&Candidate]) -> Option<WhyKept> {
        let needed = self.needed_of_replacement(candidates)?;
        let price = price_of_all(candidates.iter().copied());
        let cheapest = self.offers.list.iter().find(|offer| fits(&needed, &offer.usable) && offer.is_allowed());
        match cheapest {
            Some(cheapest) if cheapest.price < price => None,
            other => {
                let cheapest = other.map(|offer| (offer.instance_type.name.clone(), offer.price));
                Some(WhyKept::NotCheaper { cheapest, price })
            }
        }
    }

    /// Why `candidates` can surely not be replaced by machines that cost enough less together; none if a simulation has to tell.
    pub(super) fn objection_to_several(&self, candidates: &[&Candidate]) -> Option<WhyKept> {
        let [cpu, memory, _] = self.needed_of_replacement(candidates)?;
        let (price, enough) = (price_of_all(candidates.iter().copied()), churn::most_worth(candidates));
        match self.offers.mix().price(cpu, memory) {
            Some(least) if least <= enough && least < price => None,
            Some(least) if least < price => {
                let (saves, needed) = (price.saturating_sub(least), price.saturating_sub(enough));
                Some(WhyKept::SavesTooLittle { saves, needed })
            }
            _ => Some(WhyKept::NotCheaper { cheapest: None, price }),
        }
    }

    /// What a replacement has to hold at least; none if the pods might all find room elsewhere.
    fn needed_of_replacement(&self, candidates: &[&Candidate]) -> Option<Amounts> {
        let requests = requests(candidates);
        let smallest = requests.keys().copied().reduce(|a, b| zip(a, b, i64::min))?;
        let gone: BTreeSet<usize> = candidates.iter().map(|candidate| candidate.index).collect();
        let targets: Vec<&Amounts> = self
            .free
            .iter()
            .filter(|(index, free)| !gone.contains(*index) && fits(&smallest, free))
            .map(|(_, free)| free)
            .collect();
        let homeless = |request: &Amounts| !targets.iter().any(|free| fits(request, free));
        let mut stranded = [0; 3];
        let mut all = [0; 3];
        for (request, count) in &requests {
            let together = request.map(|amount| amount.saturating_mul(*count));
            all = zip(all, together, i64::saturating_add);
            if homeless(request) {
                stranded = zip(stranded, together, i64::saturating_add);
            }
        }
        let room = targets.iter().fold([0; 3], |room, free| zip(room, **free, i64::saturating_add));
        let overflow = zip(all, room, i64::saturating_sub);
        let needed = zip(stranded, overflow, i64::max);
        (needed.iter().any(|amount| *amount > 0)).then_some(needed)
    }
}

impl Offer {
    fn is_allowed(&self) -> bool {
        *self.allowed.get_or_init(|| self.requirements.intersects(&self.instance_type.requirements))
    }
}

fn offers(pool: &NodePool, types: &[Arc<InstanceType>]) -> Vec<Offer> {
    let requirements = Arc::new(Requirements::from_specs(&pool.spec.template.spec.requirements));
    let offer = |own: &Arc<InstanceType>| {
        Some(Offer {
            price: best_price(own, &requirements)?,
            usable: usable(own),
            instance_type: Arc::clone(own),
            requirements: Arc::clone(&requirements),
            allowed: OnceLock::new(),
        })
    };
    types.iter().filter_map(offer).collect()
}

/// How many of the candidates' pods ask for what.
fn requests(candidates: &[&Candidate]) -> BTreeMap<Amounts, i64> {
    let mut requests = BTreeMap::new();
    let of_pod = |pod: &Pod| amounts(&pod_requests(pod).unwrap_or_default());
    for pod in candidates.iter().flat_map(|candidate| &candidate.pods) {
        *requests.entry(of_pod(pod)).or_insert(0) += 1;
    }
    requests
}

fn amounts(resources: &Resources) -> Amounts {
    DIMENSIONS.map(|name| resources.get(name))
}

fn usable(own: &InstanceType) -> Amounts {
    let overhead = &own.overhead;
    DIMENSIONS.map(|name| {
        let kept = overhead.kube_reserved.get(name)
            + overhead.system_reserved.get(name)
            + overhead.eviction_threshold.get(name);
        own.capacity.get(name) - kept
    })
}

fn best_price(own: &InstanceType, requirements: &Requirements) -> Option<Price> {
    let has = |key: &str, value: &str| requirements.get(key).is_none_or(|requirement| requirement.has(value));
    let open = own.offerings.iter().filter(|offering| {
        offering.available
            && has(labels::CAPACITY_TYPE, offering.capacity_type.as_str())
            && has(labels::ZONE, &offering.zone)
    });
    open.map(|offering| offering.price).min()
}

fn zip(a: Amounts, b: Amounts, join: fn(i64, i64) -> i64) -> Amounts {
    [join(a[0], b[0]), join(a[1], b[1]), join(a[2], b[2])]
}

/// A request of nothing fits even where nothing is left.
fn fits(request: &Amounts, free: &Amounts) -> bool {
    request.iter().zip(free).all(|(asked, free)| *asked <= 0 || asked <= free)
}
