//! Why a class of pods found no place: per pool, the first criterion that stopped it.

use super::{
    claims::lacking_values,
    classes::{Class, Classes},
    packing::Packing,
    pool::Pool,
    prepared::Prepared,
};
use crate::{
    api::labels,
    model::{CPU, Exceeding, Incompatible, NodePoolName, Resources, Shortfall, WhyNot},
};

/// From so many thousandths of a CPU on, a request is thought to be a typing error: a million CPUs.
const ABSURD_MILLI_CPU: i64 = 1_000_000_000;

/// Why the pods of `class` that are left found no place.
pub(super) fn why_not(prepared: &Prepared<'_>, classes: &Classes, packing: &mut Packing<'_>, class: usize) -> WhyNot {
    if packing.unseen.contains(&class) {
        return WhyNot::OutOfTime;
    }
    if prepared.pools.is_empty() && prepared.closed.is_empty() {
        return WhyNot::NoNodePools;
    }
    let open = (0..prepared.pools.len())
        .map(|pool| (prepared.pools[pool].name.clone(), in_pool(prepared, classes, packing, class, pool)))
        .collect::<Vec<_>>();
    let level = packing.level_of(class);
    let pools = open.into_iter().chain(prepared.closed.iter().cloned());
    let told = pools.map(|(pool, why)| {
        let why = or_sold_out(prepared, classes, class, level, &pool, why);
        (pool, why)
    });
    WhyNot::NoPool { pools: told.collect() }
}

/// `why`, or that a type would do which is out of stock: what is in stock is then not to blame.
fn or_sold_out(
    prepared: &Prepared<'_>,
    classes: &Classes,
    class: usize,
    level: usize,
    pool: &NodePoolName,
    why: WhyNot,
) -> WhyNot {
    let no_type = matches!(
        why,
        WhyNot::NoInstanceType(_) | WhyNot::NoTypes | WhyNot::Incompatible(Incompatible::UnknownLabel { .. })
    );
    if !no_type {
        return why;
    }
    let own = &classes.list[class];
    let shapes = own.levels[level].iter().map(|shape| &classes.shapes[*shape]);
    prepared.sold_out().would_do(pool, own, shapes, &prepared.well_known).unwrap_or(why)
}

fn in_pool(prepared: &Prepared<'_>, classes: &Classes, packing: &mut Packing<'_>, class: usize, pool: usize) -> WhyNot {
    let own = &classes.list[class];
    let level = &own.levels[packing.level_of(class)];
    let mut first = None;
    for shape in level {
        match packing.scopes.of_shape(*shape, &classes.shapes, pool) {
            Ok(scope) => return in_scope(prepared, packing, own, scope),
            Err(why) => {
                first.get_or_insert(why);
            }
        }
    }
    match first {
        Some(WhyNot::Incompatible(Incompatible::UnknownLabel { key, .. })) if labels::is_restricted(&key) => {
            WhyNot::RestrictedLabel { key }
        }
        other => other.unwrap_or(WhyNot::NoTypes),
    }
}

fn in_scope(prepared: &Prepared<'_>, packing: &Packing<'_>, class: &Class, scope: usize) -> WhyNot {
    let scope = packing.scopes.get(scope);
    let pool = &prepared.pools[scope.pool];
    if class.request.is_none() {
        let asked = class.requests.iter().filter(|(_, amount)| *amount > 0).map(|(name, _)| name);
        let unknown = asked.filter(|name| prepared.dimensions.position(name).is_none());
        return WhyNot::NoSuchResource { resources: unknown.map(str::to_owned).collect() };
    }
    let mut shortfall = Shortfall { absurd_cpu: class.requests.get(CPU) >= ABSURD_MILLI_CPU, ..Shortfall::default() };
    let mut meeting = Vec::new();
    let mut only_reserved = false;
    for (position, kind) in pool.types.iter().enumerate() {
        let requirements = scope.admission.types.contains(position);
        let offering = kind.admitted(&scope.admission).next().is_some();
        let fits =
            class.request.as_ref().is_some_and(|request| super::dimensions::times_that_fit(request, &kind.room, 1) > 0);
        shortfall.requirements |= requirements;
        shortfall.fits |= fits;
        shortfall.offering |= offering;
        shortfall.requirements_and_fits |= requirements && fits;
        shortfall.requirements_and_offering |= requirements && offering;
        shortfall.fits_and_offering |= fits && offering;
        if requirements && offering && fits {
            only_reserved |= scope.price(position).is_none();
            meeting.push(position);
        }
    }
    if meeting.is_empty() {
        return WhyNot::NoInstanceType(shortfall);
    }
    beyond_types(pool, packing, class, scope, &meeting, only_reserved)
}

/// The cheapest of `meeting`, with the first limit that it would exceed.
fn exceeding(pool: &Pool, packing: &Packing<'_>, scope: &super::scopes::Scope, meeting: &[usize]) -> Exceeding {
    let left = &packing.limits[scope.pool].left;
    let cheapest = meeting.iter().copied().min_by_key(|kind| (scope.price(*kind), *kind));
    let found = cheapest.and_then(|kind| {
        let capacity = &pool.types[kind].capacity;
        let dimension = (0..left.len()).find(|dimension| capacity[*dimension] > left[*dimension])?;
        let resource = packing.prepared.dimensions.name(dimension).to_owned();
        let limit = Resources::of_capacity(&pool.object.spec.limits).get(&resource);
        let with_it = limit - left[dimension] + capacity[dimension];
        Some(Exceeding { instance_type: pool.types[kind].kind.name.clone(), resource, with_it, limit })
    });
    found.unwrap_or_default()
}

/// Some types would do by themselves: something of the pool or of other pods stood in the way.
fn beyond_types(
    pool: &Pool,
    packing: &Packing<'_>,
    class: &Class,
    scope: &super::scopes::Scope,
    meeting: &[usize],
    only_reserved: bool,
) -> WhyNot {
    let limits = &packing.limits[scope.pool];
    if limits.nodes_left <= 0 {
        return WhyNot::NodeLimit;
    }
    let within: Vec<usize> = meeting
        .iter()
        .copied()
        .filter(|kind| Pool::within_limits(&limits.left, limits.nodes_left, &pool.types[*kind].capacity))
        .collect();
    if within.is_empty() {
        let nearest = exceeding(pool, packing, scope, meeting);
        return WhyNot::Limit { resources: packing.exceeded(scope.pool, meeting), nearest };
    }
    if only_reserved && within.iter().all(|kind| scope.price(*kind).is_none()) {
        return WhyNot::NoReservation;
    }
    let lacking = lacking_values(pool, &within, &scope.admission.requirements);
    if !lacking.is_empty() {
        return WhyNot::MinValues { labels: lacking.into_keys().collect() };
    }
    let taken = |kind: &usize| {
        let ports = &pool.daemon_groups[pool.types[*kind].daemon_group].ports;
        class.ports.iter().find(|own| ports.iter().any(|port| port.conflicts_with(own)))
    };
    if let Some(port) =
        within.iter().map(taken).collect::<Option<Vec<_>>>().and_then(|ports| ports.first().map(|port| port.port))
    {
        return WhyNot::HostPort { port };
    }
    WhyNot::Topology {
        kind: if class.host.affinity.is_empty() { "topology spread" } else { "pod affinity" },
        key: labels::HOSTNAME.to_owned(),
        detail: "no single node that could be launched holds all of the pods that must be together".to_owned(),
    }
}
