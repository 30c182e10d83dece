//! Resources as arrays: each name that any machine has is a position.

use crate::model::{PODS, Resources};
use std::collections::BTreeSet;

/// What a machine has of a dimension that is not limited there: far more than any pods ask for, and far from overflowing.
const UNLIMITED: i64 = i64::MAX / 4;
/// Begins the names of dimensions that count volumes by their driver. No resource is called so.
const ATTACHMENTS: &str = "attachments of ";

/// The resource names that machines have, in a fixed order; and the drivers that can only attach so many volumes.
#[derive(Clone, Debug)]
pub(super) struct Dimensions(Vec<String>);

impl Dimensions {
    /// `known` and the names of all of `machines`; and of `drivers`.
    pub(super) fn of<'a>(
        known: &BTreeSet<String>,
        machines: impl Iterator<Item = &'a Resources>,
        drivers: &BTreeSet<&str>,
    ) -> Self {
        let mut names = known.clone();
        names.insert(PODS.to_owned());
        names.extend(drivers.iter().map(|driver| format!("{ATTACHMENTS}{driver}")));
        for (name, _) in machines.flat_map(Resources::iter) {
            if !names.contains(name) {
                names.insert(name.to_owned());
            }
        }
        Self(names.into_iter().collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn name(&self, index: usize) -> &str {
        &self.0[index]
    }

    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.0.binary_search_by(|own| own.as_str().cmp(name)).ok()
    }

    /// `resources` as an array; names that no machine has are left out.
    pub(super) fn array(&self, resources: &Resources) -> Vec<i64> {
        let mut array = vec![0; self.len()];
        for (name, amount) in resources.iter() {
            if let Some(index) = self.position(name) {
                array[index] = amount;
            }
        }
        array
    }

    /// The position of the volumes that `driver` attaches; none if it may attach any number.
    pub(super) fn attachments(&self, driver: &str) -> Option<usize> {
        self.position(&format!("{ATTACHMENTS}{driver}"))
    }

    /// Whether a dimension counts volumes.
    pub(super) fn counts_volumes(&self, index: usize) -> bool {
        self.0[index].starts_with(ATTACHMENTS)
    }

    /// What a machine with `resources` has: as many volumes as anyone may want.
    pub(super) fn room(&self, resources: &Resources) -> Vec<i64> {
        let mut room = self.array(resources);
        for (index, amount) in room.iter_mut().enumerate().filter(|(index, _)| self.counts_volumes(*index)) {
            debug_assert!(*amount == 0, "{} is no resource", self.name(index));
            *amount = UNLIMITED;
        }
        room
    }

    /// `requests` as an array; none if some resource is asked for that no machine has.
    pub(super) fn requests(&self, requests: &Resources) -> Option<Vec<i64>> {
        let known = requests.iter().all(|(name, amount)| amount <= 0 || self.position(name).is_some());
        known.then(|| self.array(requests))
    }
}

/// Whether `request` fits into `free`; it never does where something free is below zero.
pub(super) fn fits(request: &[i64], free: &[i64]) -> bool {
    request.iter().zip(free).all(|(asked, there)| *there >= (*asked).max(0))
}

/// How many times `request` fits into `free`, at most `most`; none at all where something free is below zero.
pub(super) fn times_that_fit(request: &[i64], free: &[i64], most: u32) -> u32 {
    // Most often there is no room for one: that is seen without dividing.
    if !fits(request, free) {
        return 0;
    }
    let times = request.iter().zip(free).filter(|(asked, _)| **asked > 0).map(|(asked, there)| there / asked);
    times.fold(i64::from(most), i64::min).try_into().unwrap_or(0)
}

/// Whether each of `amounts` is at most what `most` has in its place.
pub(super) fn is_within(amounts: &[i64], most: &[i64]) -> bool {
    amounts.iter().zip(most).all(|(amount, most)| amount <= most)
}

/// Takes `times` times `request` from `free`.
pub(super) fn take(request: &[i64], free: &mut [i64], times: u32) {
    for (asked, there) in request.iter().zip(free) {
        *there = there.saturating_sub(asked.saturating_mul(i64::from(times)));
    }
}

#[cfg(test)]
mod tests {
    use super::{Dimensions, take, times_that_fit};
    use crate::model::Resources;
    use std::collections::BTreeSet;

    #[test]
    fn what_no_machine_has_cannot_be_asked_for() {
        let machine = Resources::from_iter([("cpu", 4000), ("memory", 100)]);
        let dimensions = Dimensions::of(&BTreeSet::new(), [machine.clone()].iter(), &BTreeSet::new());
        assert_eq!(dimensions.array(&machine), [4000, 100, 0]);
        assert_eq!(dimensions.requests(&Resources::from_iter([("cpu", 1), ("gpu", 0)])), Some(vec![1, 0, 0]));
        assert_eq!(dimensions.requests(&Resources::from_iter([("gpu", 1)])), None);
    }

    #[test]
    fn the_scarcest_resource_decides() {
        assert_eq!(times_that_fit(&[2, 3, 0], &[10, 10, 0], 9), 3);
        assert_eq!(times_that_fit(&[2, 3, 0], &[10, 10, -1], 9), 0);
        let mut free = vec![10, 10, 0];
        take(&[2, 3, 0], &mut free, 3);
        assert_eq!(free, [4, 1, 0]);
    }
}
