//! From a filled machine to a NodeClaim: every type that would do, cheapest first, within limits (spec core 2.10).

use super::{
    classes::Classes,
    dimensions::is_within,
    packing::{Bin, Limits},
    pool::{Pool, PoolType, offering_requirements},
    prepared::Prepared,
    results::{Launch, PlannedNodeClaim},
    scopes::{Scope, ScopeId, Scopes},
};
use crate::{
    api::{hash, labels},
    model::{CapacityType, HostPort, Offering, Operator, PodKey, Price, Requirement, Requirements, Resources},
};
use k8s_openapi::api::core::v1::Pod;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The types of the bin's pool that would hold its pods and are within the pool's limits, cheapest first, as many as a claim
/// may name.
pub(super) fn sufficient_types(
    prepared: &Prepared<'_>,
    scopes: &Scopes<'_>,
    classes: &Classes,
    bin: &Bin,
    limits: &[Limits],
) -> Vec<usize> {
    let scope = scopes.get(bin.scope);
    let left = &limits[scope.pool].left;
    let mut types = holding_types(prepared, scope, classes, bin);
    types.retain(|kind| is_within(&prepared.pools[scope.pool].types[*kind].capacity, left));
    types.truncate(prepared.snapshot().settings.max_instance_types);
    types
}

/// What the bin will cost: the price of the cheapest type that holds its pods and, in a limited pool, no more of the limits than
/// the bin does.
pub(super) fn cheapest_price(prepared: &Prepared<'_>, scopes: &Scopes<'_>, classes: &Classes, bin: &Bin) -> Price {
    cheapest_offering(prepared, scopes, classes, bin).map_or(Price::ZERO, |offering| offering.price)
}

/// As what the bin will most likely be launched.
pub(super) fn cheapest_offering<'a>(
    prepared: &'a Prepared<'_>,
    scopes: &Scopes<'_>,
    classes: &Classes,
    bin: &Bin,
) -> Option<&'a Offering> {
    let scope = scopes.get(bin.scope);
    let pool = &prepared.pools[scope.pool];
    let holding = Holding::new(prepared, scope, classes, bin);
    let mut best: Option<(Price, usize)> = None;
    for kind in scope.admission.types.iter() {
        // What is dearer need not be asked whether it would do.
        let cheaper = holding.price(kind).filter(|price| best.is_none_or(|best| (*price, kind) < best));
        if let Some(price) = cheaper
            && holding.holds(kind)
            && (!pool.limited || is_within(&pool.types[kind].capacity, &bin.held))
        {
            best = Some((price, kind));
        }
    }
    cheapest(&pool.types[best.map_or(bin.kind, |(_, kind)| kind)], scope, bin.reservation.as_deref(), None)
}

/// The types that would hold the bin's pods, cheapest first.
fn holding_types(prepared: &Prepared<'_>, scope: &Scope, classes: &Classes, bin: &Bin) -> Vec<usize> {
    let holding = Holding::new(prepared, scope, classes, bin);
    let admitted = scope.admission.types.iter().filter(|kind| holding.holds(*kind));
    let mut types: Vec<(Price, usize)> = Vec::with_capacity(holding.pool.types.len());
    types.extend(admitted.filter_map(|kind| Some((holding.price(kind)?, kind))));
    types.sort_unstable();
    types.iter().map(|(_, kind)| *kind).collect()
}

/// What is asked of each type that might hold a bin's pods.
struct Holding<'a> {
    pool: &'a Pool,
    scope: &'a Scope,
    bin: &'a Bin,
    /// What the pods take, where they take something: dimension and amount.
    used: Vec<(usize, i64)>,
    ports: Vec<&'a HostPort>,
}

impl<'a> Holding<'a> {
    fn new(prepared: &'a Prepared<'_>, scope: &'a Scope, classes: &'a Classes, bin: &'a Bin) -> Self {
        let pool = &prepared.pools[scope.pool];
        let used = pool.types[bin.kind].room.iter().zip(&bin.free).map(|(room, free)| room - free).enumerate();
        let ports = bin.contents.iter().flat_map(|(class, _)| &classes.list[*class].ports);
        Self { pool, scope, bin, used: used.filter(|(_, used)| *used > 0).collect(), ports: ports.collect() }
    }

    /// Whether the pods find room on a machine of `kind`, beside its daemons.
    fn holds(&self, kind: usize) -> bool {
        let own = &self.pool.types[kind];
        let free_ports = || {
            let taken = &self.pool.daemon_groups[own.daemon_group].ports;
            !self.ports.iter().any(|port| taken.iter().any(|taken| taken.conflicts_with(port)))
        };
        self.used.iter().all(|(dimension, used)| *used <= own.room[*dimension]) && free_ports()
    }

    /// What a machine of `kind` costs; none where it cannot be had. What a reserved machine may be is what the reservation gives
    /// it: once the last one is taken the scope offers the type no longer, but those that took it still have it.
    fn price(&self, kind: usize) -> Option<Price> {
        if self.bin.reservation.is_some() {
            return Some(cheapest(&self.pool.types[kind], self.scope, self.bin.reservation.as_deref(), None)?.price);
        }
        self.scope.price(kind)?;
        self.scope.unreserved(kind)
    }
}

/// The cheapest offering of a type that may be launched in `scope`, out of `reservation` if there is one, and of one capacity type
/// if that is given.
fn cheapest<'a>(
    kind: &'a PoolType,
    scope: &Scope,
    reservation: Option<&str>,
    capacity_type: Option<CapacityType>,
) -> Option<&'a Offering> {
    kind.admitted(&scope.admission)
        .map(|(_, offering)| offering)
        .filter(|offering| offering.reservation_id.as_deref() == reservation)
        .filter(|offering| capacity_type.is_none_or(|wanted| offering.capacity_type == wanted))
        .min_by_key(|offering| offering.by_price())
}

/// The keys of which too few values remain among `types`, with how many there are.
pub(super) fn lacking_values(pool: &Pool, types: &[usize], requirements: &Requirements) -> BTreeMap<String, u32> {
    let lacking = |(key, wanted): (&str, u32)| {
        let asked = requirements.get(key);
        let mut values: BTreeSet<&str> = BTreeSet::new();
        for kind in types {
            let kind = &pool.types[*kind].kind;
            match kind.requirements.get(key) {
                Some(own) => values.extend(own.values().filter(|value| asked.is_none_or(|asked| asked.has(value)))),
                None if key == labels::INSTANCE_TYPE => {
                    values.insert(&kind.name);
                }
                None => {}
            }
        }
        let there = u32::try_from(values.len()).unwrap_or(u32::MAX);
        (there < wanted).then(|| (key.to_owned(), there))
    };
    pool.min_values().filter_map(lacking).collect()
}

/// What makes the same types hold two machines: scope, type, contents and reservation.
type BinKey<'a> = (ScopeId, usize, &'a [(usize, u32)], Option<&'a str>);
/// What makes two claims equal but for their pods: scope, types and reservation.
type ClaimKey<'a> = (ScopeId, Vec<usize>, Option<&'a str>);

/// Turns filled machines into claims. `pods` gives the pods of a class, as many as are asked for.
pub(super) fn planned_claims(
    prepared: &Prepared<'_>,
    scopes: &Scopes<'_>,
    classes: &Classes,
    bins: &[Bin],
    mut limits: Vec<Limits>,
    mut pods: impl FnMut(usize, u32) -> Vec<Arc<Pod>>,
) -> Vec<PlannedNodeClaim> {
    let mut to_come = vec![0i64; prepared.pools.len()];
    bins.iter().for_each(|bin| to_come[scopes.get(bin.scope).pool] += 1);
    let mut claims: Vec<(usize, PlannedNodeClaim)> = Vec::new();
    // Where nothing is limited, equal contents fit into the same types.
    let mut widened_to: BTreeMap<BinKey<'_>, Vec<usize>> = BTreeMap::new();
    let mut empty: BTreeMap<ClaimKey<'_>, PlannedNodeClaim> = BTreeMap::new();
    for bin in bins {
        let pool = scopes.get(bin.scope).pool;
        let mut widen = || widened(prepared, scopes, classes, bin, &mut limits[pool], to_come[pool]);
        let types = if prepared.pools[pool].limited {
            widen()
        } else {
            let key = (bin.scope, bin.kind, bin.contents.as_slice(), bin.reservation.as_deref());
            widened_to.entry(key).or_insert_with(widen).clone()
        };
        to_come[pool] -= 1;
        let key = (bin.scope, types, bin.reservation.as_deref());
        let draft = |(_, types, reservation): &ClaimKey<'_>| {
            Draft { prepared, scope: scopes.get(bin.scope), reservation: *reservation, types: types.clone() }.claim()
        };
        let mut claim = empty.entry(key).or_insert_with_key(draft).clone();
        for (class, times) in &bin.contents {
            claim.resources.add(&classes.list[*class].requests.times(i64::from(*times)));
            claim.pods.extend(pods(*class, *times));
        }
        claim.pods.sort_by_cached_key(|pod| PodKey::of(pod));
        claims.push((pool, claim));
    }
    claims.sort_by_key(|(pool, _)| *pool);
    claims.into_iter().map(|(_, claim)| claim).collect()
}

/// Every type that would do. In a limited pool each of the `to_come` machines may grow by its share of what is left.
fn widened(
    prepared: &Prepared<'_>,
    scopes: &Scopes<'_>,
    classes: &Classes,
    bin: &Bin,
    limits: &mut Limits,
    to_come: i64,
) -> Vec<usize> {
    let scope = scopes.get(bin.scope);
    let pool = &prepared.pools[scope.pool];
    let mut types = holding_types(prepared, scope, classes, bin);
    let share = |left: &i64| if *left == i64::MAX { i64::MAX } else { (*left).max(0) / to_come.max(1) };
    let may_hold: Vec<i64> =
        bin.held.iter().zip(&limits.left).map(|(held, left)| held.saturating_add(share(left))).collect();
    types.retain(|kind| is_within(&pool.types[*kind].capacity, &may_hold));
    types.truncate(prepared.snapshot().settings.max_instance_types);
    // It is kept for each machine.
    types.shrink_to_fit();
    for (dimension, left) in limits.left.iter_mut().enumerate().filter(|(_, left)| **left != i64::MAX) {
        let largest = types.iter().map(|kind| pool.types[*kind].capacity[dimension]).max().unwrap_or(0);
        *left -= (largest - bin.held[dimension]).max(0);
    }
    types
}

/// A claim being written.
struct Draft<'a> {
    prepared: &'a Prepared<'a>,
    scope: &'a Scope,
    reservation: Option<&'a str>,
    types: Vec<usize>,
}

impl Draft<'_> {
    /// The claim without its pods.
    fn claim(mut self) -> PlannedNodeClaim {
        let capacity_types = self.capacity_types();
        let of_type = |kind: usize| {
            let offerings = capacity_types.iter().filter_map(|wanted| self.offering(kind, Some(*wanted)));
            offerings.map(|offering| offering.price).min()
        };
        let mut priced: Vec<(Price, usize)> =
            self.types.iter().filter_map(|kind| Some((of_type(*kind)?, *kind))).collect();
        priced.sort_unstable();
        let cheapest_price = priced.first().map_or(Price::ZERO, |(price, _)| *price);
        self.types = priced.into_iter().map(|(_, kind)| kind).collect();
        let launch = self.launch(capacity_types[0]);
        let pool = self.pool();
        let (requirements, relaxed) = self.requirements(&capacity_types);
        let template = &pool.object.spec.template;
        PlannedNodeClaim {
            node_pool: pool.name.clone(),
            pods: Vec::new(),
            instance_types: self.types.iter().map(|kind| pool.types[*kind].kind.clone()).collect(),
            labels: self.labels(),
            annotations: self.annotations(relaxed),
            taints: template.spec.taints.clone(),
            startup_taints: template.spec.startup_taints.clone(),
            resources: self.resources(),
            cheapest_price,
            launch,
            min_values_relaxed: relaxed,
            largest_capacity: self
                .types
                .iter()
                .fold(Resources::new(), |most, kind| most.max(&pool.types[*kind].kind.capacity)),
            requirements,
        }
    }

    fn pool(&self) -> &Pool {
        &self.prepared.pools[self.scope.pool]
    }

    fn offering(&self, kind: usize, capacity_type: Option<CapacityType>) -> Option<&Offering> {
        cheapest(&self.pool().types[kind], self.scope, self.reservation, capacity_type)
    }

    /// How the machine may be paid for, what is tried first in front. Clouds prefer spot wherever it is allowed; where on-demand
    /// is cheaper, spot is therefore left out.
    fn capacity_types(&self) -> Vec<CapacityType> {
        if self.reservation.is_some() {
            return vec![CapacityType::Reserved];
        }
        let least =
            |wanted| self.types.iter().filter_map(|kind| self.offering(*kind, Some(wanted))).map(|own| own.price).min();
        match (least(CapacityType::Spot), least(CapacityType::OnDemand)) {
            (Some(spot), Some(on_demand)) if spot <= on_demand => vec![CapacityType::Spot, CapacityType::OnDemand],
            (Some(_), None) => vec![CapacityType::Spot],
            (_, Some(_)) | (None, None) => vec![CapacityType::OnDemand],
        }
    }

    fn launch(&self, capacity_type: CapacityType) -> Launch {
        let offers = self.types.iter().filter_map(|kind| Some((*kind, self.offering(*kind, Some(capacity_type))?)));
        let (kind, offering) = offers
            .min_by(|a, b| (a.1.price, a.0).cmp(&(b.1.price, b.0)))
            .expect("a machine is only filled for a type that has an offering, and its own type is among those that hold its pods");
        Launch {
            instance_type: self.pool().types[kind].kind.name.clone(),
            zone: offering.zone.clone(),
            capacity_type,
            price: offering.price,
            reservation_id: offering.reservation_id.clone(),
        }
    }

    /// What is written into the claim, and whether some `minValues` had to be lowered.
    fn requirements(&self, capacity_types: &[CapacityType]) -> (Requirements, bool) {
        let pool = self.pool();
        let mut written = Pool::written(&self.scope.admission.requirements);
        let names = self.types.iter().map(|kind| pool.types[*kind].kind.name.as_str());
        written.add(Requirement::new(labels::INSTANCE_TYPE, Operator::In, names));
        written.add(Requirement::new(
            labels::CAPACITY_TYPE,
            Operator::In,
            capacity_types.iter().map(|own| own.as_str()),
        ));
        if self.reservation.is_some() {
            let offerings = self.types.iter().filter_map(|kind| self.offering(*kind, None));
            if let Some(offering) = offerings.into_iter().next() {
                written.extend(&offering_requirements(offering));
            }
        }
        let lacking = lacking_values(pool, &self.types, &self.scope.admission.requirements);
        for (key, there) in &lacking {
            if let Some(requirement) = written.remove(key) {
                written.add(requirement.with_min_values(Some(*there)));
            }
        }
        (written, !lacking.is_empty())
    }

    /// The template's labels, and a value for every label of the user's own that is asked for.
    fn labels(&self) -> BTreeMap<String, String> {
        let mut all = self.pool().labels.clone();
        for requirement in Pool::written(&self.scope.admission.requirements).iter() {
            let key = requirement.key();
            if all.contains_key(key) || self.prepared.well_known.contains(key) || labels::is_restricted(key) {
                continue;
            }
            if let Some(value) = requirement.any_value() {
                all.insert(key.to_owned(), value);
            }
        }
        all
    }

    fn annotations(&self, relaxed: bool) -> BTreeMap<String, String> {
        let pool = self.pool();
        let mut annotations = pool.object.spec.template.metadata.annotations.clone();
        annotations.insert(labels::NODE_POOL_HASH.to_owned(), hash::node_pool(&pool.object));
        annotations.insert(labels::NODE_POOL_HASH_VERSION.to_owned(), hash::NODE_POOL_VERSION.to_owned());
        if pool.min_values().next().is_some() {
            annotations.insert(labels::MIN_VALUES_RELAXED.to_owned(), relaxed.to_string());
        }
        let kinds = || self.types.iter().map(|kind| &pool.types[*kind].kind);
        let overlaid = [
            (labels::PRICE_OVERLAY_APPLIED, kinds().any(|kind| kind.is_price_overlaid())),
            (labels::CAPACITY_OVERLAY_APPLIED, kinds().any(|kind| kind.is_capacity_overlaid())),
        ];
        let applied = overlaid.into_iter().filter(|(_, applied)| *applied);
        annotations.extend(applied.map(|(key, _)| (key.to_owned(), "true".to_owned())));
        annotations
    }

    /// The least that daemons take on any of the types.
    fn resources(&self) -> Resources {
        let pool = self.pool();
        let groups = self.types.iter().map(|kind| pool.types[*kind].daemon_group).collect::<BTreeSet<_>>();
        let overheads = groups.into_iter().map(|group| pool.daemon_groups[group].requests.clone());
        overheads.reduce(|least, other| least.min(&other)).unwrap_or_default()
    }
}
