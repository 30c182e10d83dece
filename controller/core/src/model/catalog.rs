//! What each pool may buy.

use super::{CapacityType, InstanceType, NodePoolName};
use jiff::Timestamp;
use std::{collections::BTreeMap, sync::Arc};

/// The instance types offered to each NodePool, as its NodeClass resolves them. A type that is out of stock is present with
/// its offerings unavailable. A pool without an entry can launch nothing (its catalog could not be read).
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// By pool; each list sorted by name.
    pub by_pool: BTreeMap<NodePoolName, Arc<[Arc<InstanceType>]>>,
}

impl Catalog {
    /// The types of `pool`; empty where nothing is known.
    pub fn of(&self, pool: &NodePoolName) -> &[Arc<InstanceType>] {
        self.by_pool.get(pool).map_or(&[], |types| types)
    }

    /// Whether both are the same objects. Types are immutable and shared, and whoever makes catalogs hands out the same until
    /// it learns something new.
    pub fn is_same(&self, other: &Self) -> bool {
        let same_types = |a: &[Arc<InstanceType>], b: &[Arc<InstanceType>]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b))
        };
        self.by_pool.len() == other.by_pool.len()
            && self
                .by_pool
                .iter()
                .zip(&other.by_pool)
                .all(|((name, types), (other, others))| name == other && same_types(types, others))
    }
}

/// Offerings that were refused for want of capacity, and until when that is remembered (spec aws 2.6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnavailableOfferings {
    until: BTreeMap<(CapacityType, String, String), Timestamp>,
}

impl UnavailableOfferings {
    /// Remembers that `instance_type` in `zone` is out of capacity until `until`; a later mark extends an earlier one.
    pub fn mark(&mut self, capacity_type: CapacityType, instance_type: &str, zone: &str, until: Timestamp) {
        let key = (capacity_type, instance_type.to_owned(), zone.to_owned());
        let entry = self.until.entry(key).or_insert(until);
        *entry = (*entry).max(until);
    }

    /// Until when the offering is thought to be out of capacity; none if it may be tried at `now`.
    pub fn until(
        &self,
        capacity_type: CapacityType,
        instance_type: &str,
        zone: &str,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let key = (capacity_type, instance_type.to_owned(), zone.to_owned());
        self.until.get(&key).copied().filter(|until| *until > now)
    }

    /// Forgets what has expired at `now`.
    pub fn expire(&mut self, now: Timestamp) {
        self.until.retain(|_, until| *until > now);
    }

    /// What is remembered, in order.
    pub fn iter(&self) -> impl Iterator<Item = (CapacityType, &str, &str, Timestamp)> {
        self.until
            .iter()
            .map(|((capacity_type, name, zone), until)| (*capacity_type, name.as_str(), zone.as_str(), *until))
    }
}
