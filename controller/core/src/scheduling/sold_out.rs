//! What pools could launch were it in stock: nothing is decided by it, but pods that wait for it are told so.

use super::{
    classes::{Class, Shape},
    dimensions::times_that_fit,
    key_index::KeyIndex,
    pool::{Admission, Pool},
    prepared::Pools,
};
use crate::model::{NodePoolName, Price, WellKnownLabels, WhyNot, tolerates_all};
use std::collections::{BTreeMap, BTreeSet};

/// So many types are named at most: events are short.
const NAMED_TYPES: usize = 3;

/// The pools as they would be if they had only what is out of stock.
#[derive(Debug)]
pub(super) struct SoldOut {
    pools: BTreeMap<NodePoolName, Pool>,
    signatures: KeyIndex,
}

impl SoldOut {
    pub(super) fn of(pools: Pools) -> Self {
        let by_name = pools.open.into_iter().map(|pool| (pool.name.clone(), pool));
        Self { pools: by_name.collect(), signatures: pools.signatures }
    }

    /// That types of `pool` would do for a pod of `class` in one of its `shapes`; none if none would.
    pub(super) fn would_do<'a>(
        &self,
        pool: &NodePoolName,
        class: &Class,
        shapes: impl Iterator<Item = &'a Shape>,
        well_known: &WellKnownLabels,
    ) -> Option<WhyNot> {
        let (pool, request) = (self.pools.get(pool)?, class.request.as_ref()?);
        let mut found: BTreeSet<(Price, &str)> = BTreeSet::new();
        for shape in shapes.filter(|shape| tolerates_all(&shape.tolerations, pool.taints())) {
            let Ok(admission) = pool.admit(&shape.requirements, &self.signatures, well_known) else { continue };
            let large_enough =
                admission.types.iter().filter(|kind| times_that_fit(request, &pool.types[*kind].room, 1) > 0);
            found.extend(large_enough.filter_map(|kind| cheapest(pool, kind, &admission)));
        }
        let instance_types: Vec<String> = found.iter().take(NAMED_TYPES).map(|(_, name)| (*name).to_owned()).collect();
        let more = found.len() - instance_types.len();
        (!found.is_empty()).then_some(WhyNot::OutOfCapacity { instance_types, more })
    }
}

/// The price and name of a type that has an offering of those asked for.
fn cheapest<'a>(pool: &'a Pool, kind: usize, admission: &Admission) -> Option<(Price, &'a str)> {
    let own = &pool.types[kind];
    Some((own.admitted(admission).map(|(_, offering)| offering.price).min()?, &own.kind.name))
}
