//! What the cloud has refused lately, and until when that is remembered (spec aws 2.6).

use jiff::{SignedDuration, Timestamp};
use sawhorse_core::model::{CapacityType, UnavailableOfferings};
use std::collections::{BTreeMap, BTreeSet};

/// How long a refusal is remembered.
pub(super) const MEMORY: SignedDuration = SignedDuration::from_mins(3);

/// Pools without capacity, subnets without addresses, and spot as a whole where its role cannot be made.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals {
    offerings: UnavailableOfferings,
    subnets: BTreeMap<String, Timestamp>,
    spot_until: Option<Timestamp>,
    /// Placement groups, by id and zone, that take no machine more.
    groups: BTreeMap<(String, String), Timestamp>,
    /// Raised with every change, so that what was computed from this can be told to be old.
    generation: u64,
}

impl Refusals {
    /// The pool refused at `now`.
    pub(super) fn mark_pool(&mut self, capacity_type: CapacityType, instance_type: &str, zone: &str, now: Timestamp) {
        self.offerings.mark(capacity_type, instance_type, zone, now + MEMORY);
        self.generation += 1;
    }

    /// `subnet` had no address at `now`.
    pub(super) fn mark_subnet(&mut self, subnet: &str, now: Timestamp) {
        self.subnets.insert(subnet.to_owned(), now + MEMORY);
        self.generation += 1;
    }

    /// Spot could not be bought at all at `now`.
    pub(super) fn mark_spot(&mut self, now: Timestamp) {
        self.spot_until = Some(now + MEMORY);
        self.generation += 1;
    }

    /// The placement group took no machine more in `zone` at `now`.
    pub(super) fn mark_group(&mut self, group: &str, zone: &str, now: Timestamp) {
        self.groups.insert((group.to_owned(), zone.to_owned()), now + MEMORY);
        self.generation += 1;
    }

    /// Forgets what has expired at `now`, and returns the generation of what is left.
    pub(super) fn expire(&mut self, now: Timestamp) -> u64 {
        let before = self.extent();
        self.offerings.expire(now);
        self.subnets.retain(|_, until| *until > now);
        self.groups.retain(|_, until| *until > now);
        self.spot_until = self.spot_until.filter(|until| *until > now);
        if before != self.extent() {
            self.generation += 1;
        }
        self.generation
    }

    fn extent(&self) -> (usize, usize, usize, Option<Timestamp>) {
        (self.offerings.iter().count(), self.subnets.len(), self.groups.len(), self.spot_until)
    }

    /// Whether machines may be launched into the placement group in `zone` at `now`.
    pub(super) fn allows_group(&self, group: &str, zone: &str, now: Timestamp) -> bool {
        self.groups.get(&(group.to_owned(), zone.to_owned())).is_none_or(|until| *until <= now)
    }

    /// Whether the pool may be tried at `now`.
    pub(super) fn allows_pool(
        &self,
        capacity_type: CapacityType,
        instance_type: &str,
        zone: &str,
        now: Timestamp,
    ) -> bool {
        let spot_refused = capacity_type == CapacityType::Spot && self.spot_until.is_some_and(|until| until > now);
        !spot_refused && self.offerings.until(capacity_type, instance_type, zone, now).is_none()
    }

    /// The types of which a pool is refused at `now`; all (none is returned) where spot, a subnet or a placement group is.
    pub(super) fn refused_types(&self, now: Timestamp) -> Option<BTreeSet<&str>> {
        let everywhere = self.spot_until.is_some_and(|until| until > now)
            || self.subnets.values().chain(self.groups.values()).any(|until| *until > now);
        let of_types = self.offerings.iter().filter(|(_, _, _, until)| *until > now).map(|(_, name, _, _)| name);
        (!everywhere).then(|| of_types.collect())
    }

    /// Subnets without addresses at `now`.
    pub(super) fn full_subnets(&self, now: Timestamp) -> BTreeSet<String> {
        self.subnets.iter().filter(|(_, until)| **until > now).map(|(id, _)| id.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_remembered_for_three_minutes() {
        let now = Timestamp::UNIX_EPOCH;
        let mut refusals = Refusals::default();
        refusals.mark_pool(CapacityType::Spot, "m5.large", "a", now);
        let allows = |refusals: &Refusals, kind, after| {
            refusals.allows_pool(kind, "m5.large", "a", now + SignedDuration::from_secs(after))
        };
        assert!(!allows(&refusals, CapacityType::Spot, 179));
        assert!(allows(&refusals, CapacityType::Spot, 180));
        assert!(allows(&refusals, CapacityType::OnDemand, 0));
        let marked = refusals.expire(now);
        assert_eq!(refusals.expire(now + SignedDuration::from_secs(179)), marked);
        assert_eq!(refusals.expire(now + SignedDuration::from_secs(180)), marked + 1);
    }

    #[test]
    fn without_its_role_no_spot_can_be_bought() {
        let now = Timestamp::UNIX_EPOCH;
        let mut refusals = Refusals::default();
        refusals.mark_spot(now);
        assert!(!refusals.allows_pool(CapacityType::Spot, "m5.large", "a", now));
        assert!(refusals.allows_pool(CapacityType::OnDemand, "m5.large", "a", now));
    }
}
