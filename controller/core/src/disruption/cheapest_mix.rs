//! The least that CPU and memory cost when several machines may be bought for them.
//!
//! If types could be mixed at will, and bought in parts, the cheapest machines for some CPU and memory would be of two types at most:
//! of those that give the most of both for a dollar, the two between which lies what is asked for.

use crate::model::Price;

/// What a type holds and costs. By what a dollar buys of it, it is a point: so much CPU, so much memory.
#[derive(Clone, Copy, Debug)]
struct Corner {
    cpu: i128,
    memory: i128,
    price: i128,
}

/// The types of which cheapest mixes are made.
#[derive(Debug)]
pub(super) struct CheapestMix {
    /// From the one that gives the most CPU for a dollar to the one that gives the most memory: the upper hull. If something costs
    /// nothing, only that.
    corners: Vec<Corner>,
}

impl CheapestMix {
    /// Of types by what pods can use of their CPU and memory, and what they cost.
    pub(super) fn new(types: impl Iterator<Item = (i64, i64, Price)>) -> Self {
        let corner = |(cpu, memory, price): (i64, i64, Price)| Corner {
            cpu: cpu.into(),
            memory: memory.into(),
            price: price.nanos().max(0).into(),
        };
        let mut all: Vec<Corner> = types.filter(|(cpu, memory, _)| *cpu > 0 && *memory > 0).map(corner).collect();
        if let Some(free) = all.iter().find(|own| own.price == 0) {
            return Self { corners: vec![*free] };
        }
        all.sort_by(|a, b| {
            let more_cpu = (b.cpu * a.price).cmp(&(a.cpu * b.price));
            more_cpu.then((b.memory * a.price).cmp(&(a.memory * b.price)))
        });
        let mut corners: Vec<Corner> = Vec::new();
        for own in all {
            if corners.last().is_some_and(|last| own.memory * last.price <= last.memory * own.price) {
                continue;
            }
            while let [.., before, last] = corners[..]
                && !is_corner(before, last, own)
            {
                corners.pop();
            }
            corners.push(own);
        }
        Self { corners }
    }

    /// What so much CPU and memory cost at least; none if nothing can be bought.
    pub(super) fn price(&self, cpu: i64, memory: i64) -> Option<Price> {
        let (cpu, memory) = (i128::from(cpu.max(0)), i128::from(memory.max(0)));
        let (first, last) = (self.corners.first()?, self.corners.last()?);
        // What CPU and memory are worth so that no type is worth more than it costs: at either end, and between two corners.
        let at_ends = (cpu * first.price / first.cpu).max(memory * last.price / last.memory);
        let between = self.corners.windows(2).map(|pair| {
            let (a, b) = (pair[0], pair[1]);
            let worth_of_cpu = a.price * b.memory - b.price * a.memory;
            let worth_of_memory = b.price * a.cpu - a.price * b.cpu;
            (worth_of_cpu * cpu + worth_of_memory * memory) / (a.cpu * b.memory - b.cpu * a.memory)
        });
        let nanos = between.fold(at_ends, i128::max);
        Some(Price::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX)))
    }
}

/// Whether `b` is better than any mix of `a` and `c`: the way from one to the next turns left there.
fn is_corner(a: Corner, b: Corner, c: Corner) -> bool {
    let minor = |p: Corner, q: Corner| p.cpu * q.memory - q.cpu * p.memory;
    minor(a, b) * c.price - minor(a, c) * b.price + minor(b, c) * a.price > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mix(types: &[(i64, i64, i64)]) -> CheapestMix {
        CheapestMix::new(types.iter().map(|(cpu, memory, price)| (*cpu, *memory, Price::from_nanos(*price))))
    }

    #[test]
    fn what_lies_between_two_types_is_made_of_both() {
        let mix = mix(&[(4, 8, 160), (4, 16, 200), (2, 16, 120), (4, 12, 300)]);
        assert_eq!(mix.price(8, 32), Some(Price::from_nanos(373)), "4/3 of the first and 4/3 of the third");
        assert_eq!(mix.price(4, 8), Some(Price::from_nanos(160)));
        assert_eq!(mix.price(4, 0), Some(Price::from_nanos(160)));
        assert_eq!(mix.price(0, 32), Some(Price::from_nanos(240)));
    }

    #[test]
    fn where_nothing_can_be_bought_nothing_has_a_price_and_what_is_paid_for_has_none() {
        assert_eq!(mix(&[]).price(1, 1), None);
        assert_eq!(mix(&[(4, 8, 160), (4, 8, 0)]).price(100, 1), Some(Price::ZERO));
    }

    proptest::proptest! {
        /// No machines that hold what is asked for cost less.
        #[test]
        fn no_machines_cost_less(
            types in proptest::collection::vec((1_i64..100, 1_i64..100, 1_i64..1000), 1..8),
            bought in proptest::collection::vec(0_i64..4, 8),
        ) {
            let holds = |of: fn(&(i64, i64, i64)) -> i64| types.iter().zip(&bought).map(|(own, times)| of(own) * times).sum::<i64>();
            let (cpu, memory, price) = (holds(|own| own.0), holds(|own| own.1), holds(|own| own.2));
            let least = mix(&types).price(cpu, memory).unwrap();
            proptest::prop_assert!(least <= Price::from_nanos(price), "{least:?}");
        }

        /// What one type holds costs no less than the cheapest way there is for it alone.
        #[test]
        fn one_type_alone_costs_what_it_costs(cpu in 1_i64..100, memory in 1_i64..100, price in 1_i64..1000, times in 1_i64..9) {
            let least = mix(&[(cpu, memory, price)]).price(cpu * times, memory * times);
            proptest::prop_assert_eq!(least, Some(Price::from_nanos(price * times)));
        }
    }
}
