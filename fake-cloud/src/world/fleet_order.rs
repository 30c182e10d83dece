//! In which order a fleet tries its pools: the allocation strategies, as a pure function over a table.

use super::{AllocationStrategy, Price, Priority};

/// A pool is as deep as it can be when it has ten times what the fleet asks for.
const DEEP: u64 = 10;

/// What a strategy looks at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    /// The price now; a pool without one goes last (it will refuse).
    pub(crate) price: Option<Price>,
    /// Machines the pool can give; `None` is no limit.
    pub(crate) free: Option<u32>,
    /// As given; without one goes last.
    pub(crate) priority: Option<Priority>,
}

/// The candidates' places in the order to try them. Equals keep the order of the request.
pub(crate) fn fleet_order(strategy: AllocationStrategy, target: u32, candidates: &[Candidate]) -> Vec<usize> {
    let cheapest = candidates.iter().filter_map(|candidate| candidate.price).min().unwrap_or_default();
    let price = |candidate: &Candidate| candidate.price.map_or(u64::MAX, Price::nanos);
    let shallowness = |candidate: &Candidate| 1000 - depth_per_mille(candidate.free, target);
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    match strategy {
        AllocationStrategy::LowestPrice | AllocationStrategy::Diversified => {
            order.sort_by_key(|place| price(&candidates[*place]));
        }
        AllocationStrategy::Prioritized => order.sort_by_key(|place| by_priority(&candidates[*place])),
        AllocationStrategy::CapacityOptimized => order.sort_by_key(|place| shallowness(&candidates[*place])),
        AllocationStrategy::CapacityOptimizedPrioritized => {
            order.sort_by_key(|place| (shallowness(&candidates[*place]), by_priority(&candidates[*place])));
        }
        AllocationStrategy::PriceCapacityOptimized => {
            order.sort_by_key(|place| {
                let candidate = &candidates[*place];
                relative_price(candidate.price, cheapest).saturating_add(shallowness(candidate))
            });
        }
    }
    order
}

fn by_priority(candidate: &Candidate) -> (bool, Option<Priority>) {
    (candidate.priority.is_none(), candidate.priority)
}

/// Thousandths of the depth that is deep enough.
fn depth_per_mille(free: Option<u32>, target: u32) -> u64 {
    let enough = u64::from(target.max(1)) * DEEP;
    free.map_or(1000, |free| (u64::from(free) * 1000 / enough).min(1000))
}

/// Thousandths of the cheapest price: a pool twice as dear as the cheapest ranks with an empty one at the cheapest price.
fn relative_price(price: Option<Price>, cheapest: Price) -> u64 {
    let Some(price) = price else { return u64::MAX };
    let relative = u128::from(price.nanos()) * 1000 / u128::from(cheapest.nanos().max(1));
    u64::try_from(relative).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Candidate, fleet_order};
    use crate::world::{AllocationStrategy::*, Price, Priority};
    use rstest::rstest;

    /// (price in cents, free machines, priority)
    type Row = (Option<u64>, Option<u32>, Option<f64>);

    const TABLE: [Row; 5] = [
        (Some(30), None, Some(2.0)),
        (Some(10), Some(1), Some(1.92e-8)),
        (Some(12), Some(100), None),
        (Some(10), Some(0), Some(1.0)),
        (None, None, Some(0.0)),
    ];

    fn candidate((cents, free, priority): Row) -> Candidate {
        let price = cents.map(|cents| Price::from_nanos(cents * 10_000_000));
        Candidate { price, free, priority: priority.and_then(Priority::new) }
    }

    #[rstest]
    #[case::cheapest_first(LowestPrice, 1, [1, 3, 2, 0, 4])]
    #[case::diversified_begins_cheapest(Diversified, 1, [1, 3, 2, 0, 4])]
    #[case::smallest_priority_first(Prioritized, 1, [4, 1, 3, 0, 2])]
    #[case::deepest_first(CapacityOptimized, 1, [0, 2, 4, 1, 3])]
    #[case::deepest_then_priority(CapacityOptimizedPrioritized, 1, [4, 0, 2, 1, 3])]
    #[case::depth_beats_a_small_saving(PriceCapacityOptimized, 1, [2, 1, 3, 0, 4])]
    #[case::what_is_deep_depends_on_the_target(PriceCapacityOptimized, 100, [1, 3, 2, 0, 4])]
    fn orders(#[case] strategy: super::AllocationStrategy, #[case] target: u32, #[case] expected: [usize; 5]) {
        assert_eq!(fleet_order(strategy, target, &TABLE.map(candidate)), expected);
    }
}
