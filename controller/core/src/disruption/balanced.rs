//! Policy `Balanced`: a move must save at least half as large a share of its pool's cost as it disrupts of its pool (spec
//! core 4.7, Balanced policy).

use super::{
    Candidate, DisruptionCost, WhyKept,
    candidates::{pool_of, price_of},
    command::price_of_all,
};
use crate::{
    api::ConsolidationPolicy,
    model::{Catalog, ClusterSnapshot, NodePoolName, Price},
};
use std::collections::{BTreeMap, BTreeSet};

/// A score of 1/`K` will do.
const K: i128 = 2;

/// What each pool costs and what disrupting all of it would cost.
#[derive(Debug, Default)]
pub(super) struct PoolTotals(BTreeMap<NodePoolName, Totals>);

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    price: Price,
    disruption: DisruptionCost,
}

impl PoolTotals {
    pub(super) fn new(snapshot: &ClusterSnapshot, catalog: &Catalog) -> Self {
        let mut totals: BTreeMap<NodePoolName, Totals> = BTreeMap::new();
        for machine in snapshot.nodes.iter().filter(|machine| machine.is_managed()) {
            let of_node = machine.labels();
            let Some(pool) = machine.node_pool() else { continue };
            let price = price_of(catalog.of(&pool), &of_node).unwrap_or_default();
            let own = totals.entry(pool).or_default();
            own.price = own.price.saturating_add(price);
            let cost = DisruptionCost::of_moving(machine.pods.iter().map(|pod| &**pod));
            own.disruption = [own.disruption, cost].into_iter().sum();
        }
        Self(totals)
    }

    /// Why a move is not worth it for one of its Balanced pools; none if it is for all of them.
    pub(super) fn objection(
        &self,
        candidates: &[&Candidate],
        savings: Price,
        snapshot: &ClusterSnapshot,
    ) -> Option<WhyKept> {
        let all = price_of_all(candidates.iter().copied());
        let pools: BTreeSet<&NodePoolName> = candidates
            .iter()
            .filter(|candidate| is_balanced(candidate, snapshot))
            .map(|candidate| &candidate.node_pool)
            .collect();
        pools.into_iter().find_map(|pool| {
            let own = || candidates.iter().filter(|candidate| candidate.node_pool == *pool);
            let price = price_of_all(own().copied());
            let cost: DisruptionCost = own().map(|candidate| candidate.cost).sum();
            let score = self.score(pool, share(savings, price, all), cost);
            (score.hundredths < 100 / K)
                .then(|| WhyKept::Unbalanced { score: i64::try_from(score.hundredths).unwrap_or(i64::MAX) })
        })
    }

    fn score(&self, pool: &NodePoolName, savings: Price, cost: DisruptionCost) -> Score {
        let totals = self.0.get(pool).copied().unwrap_or_default();
        Score::new(savings.nanos(), cost.units(), totals.price.nanos(), totals.disruption.units())
    }
}

pub(super) fn is_balanced(candidate: &Candidate, snapshot: &ClusterSnapshot) -> bool {
    pool_of(candidate, snapshot)
        .is_some_and(|pool| pool.spec.disruption.consolidation_policy == ConsolidationPolicy::Balanced)
}

/// Savings are split over the pools by what their candidates cost.
fn share(savings: Price, own: Price, all: Price) -> Price {
    if all <= Price::ZERO {
        return Price::ZERO;
    }
    let nanos = i128::from(savings.nanos()) * i128::from(own.nanos()) / i128::from(all.nanos());
    Price::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}

/// Share of the savings by share of the disruption, in hundredths rounded down, so that nothing is approved by rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Score {
    hundredths: i128,
}

impl Score {
    fn new(savings: i64, disruption: i64, pool_price: i64, pool_disruption: i64) -> Self {
        let zero = savings <= 0 || pool_price <= 0 || pool_disruption <= 0;
        let hundredths = match (zero, disruption) {
            (true, _) => 0,
            (false, ..=0) => i128::MAX,
            (false, _) => {
                100 * i128::from(savings) * i128::from(pool_disruption)
                    / (i128::from(pool_price) * i128::from(disruption))
            }
        };
        Self { hundredths }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    // Golden values of spec core A.5, in hundredths.
    #[rstest]
    #[case([100, 1, 1000, 10], 100)]
    #[case([50, 1, 1000, 10], 50)]
    #[case([49, 1, 1000, 10], 49)]
    #[case([200, 11, 1000, 110], 200)]
    #[case([100, 5, 1000, 20], 40)]
    #[case([0, 1, 1000, 10], 0)]
    #[case([-100, 1, 1000, 10], 0)]
    #[case([100, 1, 0, 10], 0)]
    #[case([100, 0, 1000, 10], i128::MAX)]
    fn golden(#[case] input: [i64; 4], #[case] hundredths: i128) {
        let [savings, disruption, price, pool] = input;
        assert_eq!(Score::new(savings, disruption, price, pool).hundredths, hundredths);
    }
}
