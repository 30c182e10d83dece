//! Which machine to open next: the one that costs least per worth of pods packed.

use super::{
    dimensions::is_within,
    packing::{Candidate, Packing},
    pool::Pool,
    scopes::{Scope, ScopeId},
};
use crate::model::Price;

/// So many classes are looked at when a machine is judged; of more, a regular sample is. The chosen machine is filled from all.
const JUDGED_CLASSES: usize = 128;
/// Where there are more than so many, each machine matters less, and fewer are looked at.
const MANY_CLASSES: usize = 400;
/// And so many where a machine is filled balanced, which looks at each of them many times.
const BALANCED_CLASSES: usize = 32;
/// So many of the machines that come out best filled in order are looked at closely: filled in other ways too.
const CLOSELY: usize = 10;
/// And so many where there are more than [`MANY_CLASSES`].
const CLOSELY_OF_MANY: usize = 4;

/// Thousandths: what more may be paid for a machine where it only matters how much it holds.
const ANY_PRICE: i128 = 100_000;

impl Packing<'_> {
    /// The best machine for `class` in pools of equal weight.
    pub(super) fn best(&mut self, class: usize, pools: std::ops::Range<usize>, order: &[usize]) -> Option<Candidate> {
        let live: Vec<usize> = order.iter().copied().filter(|other| self.left[*other] > 0).collect();
        let all: i128 = live.iter().map(|other| self.worth[*other] * i128::from(self.left[*other])).sum();
        let sample = sampled(&live, if live.len() > MANY_CLASSES { BALANCED_CLASSES } else { JUDGED_CLASSES });
        let mut candidates: Vec<Candidate> = Vec::new();
        // Of the best so far: price and worth.
        let mut best: Option<(i128, i128)> = None;
        for pool in pools {
            let tolerance = self.tolerance_in(pool);
            for position in 0..self.class_scopes[class][pool].len() {
                let scope = self.class_scopes[class][pool][position];
                for kind in self.front(scope) {
                    let Some(price) = self.scopes.get(scope).price(kind) else { continue };
                    let price = i128::from(price.nanos().max(1));
                    // Dearer ones cannot make up for it, even if they held all that is left.
                    if best.is_some_and(|(least, worth)| price * worth * 1000 > least * all * (1000 + tolerance)) {
                        break;
                    }
                    let Some(candidate) = self.fill(scope, kind, class, &sample) else { continue };
                    if best.is_none_or(|(least, worth)| price * worth < least * candidate.worth) {
                        best = Some((price, candidate.worth));
                    }
                    let holds_all = candidate.worth == all;
                    candidates.push(candidate);
                    if holds_all {
                        break;
                    }
                }
            }
        }
        if live.len() > 1 {
            self.judge_closely(&mut candidates, class, &live);
        }
        self.pick(candidates)
    }

    /// So many thousandths more per worth may be paid for a machine of the pool if it holds more.
    fn tolerance_in(&self, pool: usize) -> i128 {
        let is_scarce = self.for_number && self.prepared.pools[pool].nodes_left != i64::MAX;
        if is_scarce { ANY_PRICE } else { self.tolerance }
    }

    /// The candidate with the least price per worth; of those that are about as good, the one that holds most.
    fn pick(&self, candidates: Vec<Candidate>) -> Option<Candidate> {
        let costs = |candidate: &Candidate| i128::from(candidate.price.nanos().max(1));
        let mut best: Option<&Candidate> = None;
        for candidate in &candidates {
            let better = |own: &&Candidate| costs(candidate) * own.worth < costs(own) * candidate.worth;
            if best.is_none_or(|own| better(&own)) {
                best = Some(candidate);
            }
        }
        let (price, worth) = best.map(|best| (costs(best), best.worth))?;
        let close = |candidate: &Candidate| {
            let tolerance = self.tolerance_in(self.scopes.get(candidate.bin.scope).pool);
            costs(candidate) * worth * 1000 <= price * candidate.worth * (1000 + tolerance)
        };
        let mut chosen: Option<Candidate> = None;
        for candidate in candidates.into_iter().filter(close) {
            if chosen.as_ref().is_none_or(|own| candidate.worth > own.worth) {
                chosen = Some(candidate);
            }
        }
        chosen
    }

    /// Adds other ways to fill the machines that came out best: with nothing but `class`, and balanced.
    fn judge_closely(&mut self, candidates: &mut Vec<Candidate>, class: usize, live: &[usize]) {
        let cost = |own: &Candidate| own.price.nanos().max(1) as f64 / (own.worth.max(1)) as f64;
        candidates.sort_by(|a, b| cost(a).total_cmp(&cost(b)).then_with(|| place_of(a).cmp(&place_of(b))));
        let sample = sampled(live, BALANCED_CLASSES);
        let closely = if live.len() > MANY_CLASSES { CLOSELY_OF_MANY } else { CLOSELY };
        let closely: Vec<(ScopeId, usize, bool)> = (candidates.iter().take(closely))
            .map(|own| (own.asked_scope, own.bin.kind, own.bin.contents.len() > 1))
            .collect();
        for (scope, kind, mixed) in closely {
            if mixed {
                candidates.extend(self.fill(scope, kind, class, &[]));
            }
            candidates.extend(self.fill_balanced(scope, kind, class, &sample));
        }
    }

    /// The types of `scope` that no other beats in price and room.
    pub(super) fn front(&mut self, scope: ScopeId) -> Vec<usize> {
        if let Some(known) = self.fronts.get(&scope) {
            return known.clone();
        }
        let own = self.scopes.get(scope);
        let pool = &self.prepared.pools[own.pool];
        let mut priced: Vec<(Price, usize)> = own.types().filter_map(|kind| Some((own.price(kind)?, kind))).collect();
        priced.sort_unstable();
        let mut front: Vec<usize> = Vec::new();
        for (_, kind) in priced {
            // A reservation may hold too few machines to stand in for other types.
            let mut others = front.iter().filter(|other| !is_reserved(pool, own, **other));
            if !others.any(|other| beats(pool, *other, kind, &self.asked)) {
                front.push(kind);
            }
        }
        self.fronts.insert(scope, front.clone());
        front
    }
}

/// A regular sample of so many at most.
fn sampled(live: &[usize], most: usize) -> Vec<usize> {
    live.iter().copied().step_by(live.len().div_ceil(most).max(1)).collect()
}

/// Decides between candidates that are equally good.
fn place_of(own: &Candidate) -> (ScopeId, usize) {
    (own.asked_scope, own.bin.kind)
}

/// Whether `other` has at least the room of `kind` and needs no more of what is limited; it is known to cost no more.
fn beats(pool: &Pool, other: usize, kind: usize, asked: &[usize]) -> bool {
    let (better, worse) = (&pool.types[other], &pool.types[kind]);
    let roomier = asked.iter().all(|dimension| better.room[*dimension] >= worse.room[*dimension]);
    let within = || is_within(&better.capacity, &worse.capacity);
    roomier && (!pool.limited || within())
}

/// Whether a machine of `kind` would come out of a reservation.
fn is_reserved(pool: &Pool, scope: &Scope, kind: usize) -> bool {
    let own = &pool.types[kind];
    scope.offer(kind).is_some_and(|offering| own.offering(offering).reservation_id.is_some())
}
