//! Makes a packing better: sets of machines are given up, and their pods are packed anew.
//!
//! Greedy packing leaves its worst machines to the end, where what is left fits nothing well. Three things are tried:
//!
//! 1. All pods are packed anew a few times, with what a pod is worth learnt from what it came to cost in the time before.
//! 2. A few machines at a time, mostly such as cost much for what they hold, are replaced by machines that fit better.
//! 3. Machines are merged into larger ones, where that costs no more than the settings allow.
//!
//! Every try either is better and kept, or is undone; so the answer is usable at any moment. How much is tried is counted, not
//! timed: the answer does not depend on how fast the machine is unless time runs out altogether.

use super::{
    claims::cheapest_price,
    packing::{Bin, Candidate, Limits, Packing},
};
use crate::model::Price;
use std::{cmp::Reverse, collections::BTreeMap};

/// How often all is packed anew.
const RESTARTS: usize = 16;
/// How often where something is only to become cheap enough.
const HASTY_RESTARTS: usize = 4;
/// So many sets of machines are tried at most.
const TRIES: usize = 5_000;
/// After so many in a row that were not better it ends; of few machines there are fewer sets.
const IN_VAIN: usize = 600;
/// So many machines are given up together at most.
const TOGETHER: usize = 6;
/// Copies of one machine that are looked at.
const COPIES: usize = 3;
/// So many looks at a class while filling a machine improving may take for each pod, for up to [`SMALL`] pods. Of more pods, in
/// which greedy packing leaves less to be improved, less is done for each.
const WORK: u64 = 20_000;
const SMALL: u64 = 400;
/// One part in so many of it goes into packing all anew more than once: of many pods, replacing some machines finds more.
const ALL_ANEW: u64 = 3;
/// So many times less is done where something is only to become cheap enough.
const HASTE: u64 = 40;
/// A pod that found no place is worth so many times more when all is placed anew.
const LEFT_OUT: i128 = 4;
/// Machines that are merged at a time, the most first.
const MERGED: [usize; 5] = [8, 5, 4, 3, 2];

/// How pods are packed anew.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// At every step the best machine; of those that are within so many thousandths of it the one that holds most.
    Greedy(i128),
    /// As before, with what pods are worth changed a little by chance.
    Perturbed,
    /// All into one machine.
    Together,
}

/// Machines that were given up, and what was there besides.
struct GivenUp {
    /// Positions in the list of machines, in order.
    positions: Vec<usize>,
    bins: Vec<Bin>,
    kept: Vec<Bin>,
    left: Vec<u32>,
    limits: Vec<Limits>,
    to_pack: Vec<u32>,
}

/// Other machines for the same pods, with the limits that they leave.
struct Found {
    bins: Vec<Bin>,
    limits: Vec<Limits>,
}

/// Scope, type and contents: what machines have in common that are copies of each other.
type Likeness<'a> = (usize, usize, &'a [(usize, u32)]);

/// A sequence of numbers that looks drawn, the same every time.
struct Sequence(u64);

impl Sequence {
    fn below(&mut self, bound: usize) -> usize {
        // Knuth's multiplier; the upper half is the better one.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound.max(1)
    }

    /// As before, small ones more often.
    fn low(&mut self, bound: usize) -> usize {
        let (a, b) = (self.below(bound), self.below(bound));
        a.min(b)
    }
}

impl Packing<'_> {
    /// Replaces machines by better ones as long as that succeeds, they cost more than `enough` together if that is said, and
    /// while `go_on` says so.
    pub(super) fn improve(&mut self, enough: Option<Price>, go_on: &mut dyn FnMut() -> bool) {
        // Which reservation pays for what is settled; to take it back is not worth the trouble.
        if !self.scopes.ledger.is_empty() || self.bins.is_empty() {
            return;
        }
        let pods: u64 = self.classes.list.iter().map(|class| u64::from(class.count())).sum();
        let budget = if pods <= SMALL { WORK * pods } else { WORK * SMALL * SMALL / pods };
        // Whether it can become cheap enough is asked of every machine; most that can do so early.
        let (budget, restarts) = if enough.is_some() { (budget / HASTE, HASTY_RESTARTS) } else { (budget, RESTARTS) };
        let until = self.work + budget;
        self.price_all();
        self.pack_all_anew((until, self.work + budget / ALL_ANEW), restarts, go_on);
        self.replace_some(until, enough, go_on);
        if self.costs_at_most(enough) {
            return;
        }
        self.tolerance = self.fewer_nodes_within;
        self.merge(until.max(self.work) + budget / 4, go_on);
    }

    /// Packs all anew, with pods worth what they came to cost: once until so much work has been done, more often until so much.
    fn pack_all_anew(&mut self, (once, more): (u64, u64), restarts: usize, go_on: &mut dyn FnMut() -> bool) {
        let heaviest = self.bins.iter().map(|bin| self.weight(bin)).max();
        let movable: Vec<usize> = (0..self.bins.len())
            .filter(|bin| self.may_be_given_up(&self.bins[*bin]) && Some(self.weight(&self.bins[*bin])) == heaviest)
            .collect();
        if movable.len() < 2 {
            return;
        }
        // It takes about as much work as all that was done so far.
        let each = self.work.max(1);
        let (own, given_up) = (self.worths().to_vec(), self.give_up(&movable));
        self.learn(&given_up.bins);
        let mut best: Option<Found> = None;
        let mut least = cost(&given_up.bins);
        for round in 0..restarts {
            let until = if round == 0 { once } else { more };
            if self.work + each > until || !go_on() {
                break;
            }
            let tolerance = if round % 2 == 0 { self.fewer_nodes_within } else { 0 };
            let (found, complete) = self.pack(&given_up, Way::Greedy(tolerance), &mut Sequence(0));
            self.learn(&found.bins);
            let as_heavy = found.bins.iter().all(|bin| Some(self.weight(bin)) == heaviest);
            if complete && as_heavy && cost(&found.bins) < least {
                least = cost(&found.bins);
                best = Some(found);
            }
        }
        self.set_worths(own);
        if let Some(found) = best {
            given_up.settle(self, found);
        } else {
            given_up.take_back(self);
        }
    }

    /// What the planned machines cost, in nano-dollars, and how many they are; they have been priced.
    pub(super) fn cost(&self) -> (i64, usize) {
        cost(&self.bins)
    }

    /// What pods are worth after it is known what machines were bought for them.
    pub(super) fn learnt(&self) -> Vec<i128> {
        let mut worths = self.learnt_from(&self.bins, self.worths().to_vec());
        let without_place = worths.iter_mut().zip(&self.left).filter(|(_, left)| **left > 0);
        without_place.for_each(|(worth, _)| *worth = worth.saturating_mul(LEFT_OUT));
        worths
    }

    /// Pods are worth more than was thought where their machines cost more than what they hold is worth.
    fn learnt_from(&self, bins: &[Bin], mut worths: Vec<i128>) -> Vec<i128> {
        let mut paid: BTreeMap<usize, (i128, i128)> = BTreeMap::new();
        for bin in bins {
            let (price, worth) = (i128::from(price(bin)), self.worth_of(bin).max(1));
            for (class, times) in &bin.contents {
                let own = paid.entry(*class).or_insert((0, 0));
                own.0 += self.worth_of_one(*class) * price / worth * i128::from(*times);
                own.1 += i128::from(*times);
            }
        }
        for (class, (paid, times)) in paid {
            worths[class] = i128::midpoint(worths[class], paid / times.max(1)).max(1);
        }
        worths
    }

    /// Goes on with what was learnt.
    fn learn(&mut self, bins: &[Bin]) {
        let learnt = self.learnt_from(bins, self.worths().to_vec());
        self.set_worths(learnt);
    }

    fn costs_at_most(&self, enough: Option<Price>) -> bool {
        enough.is_some_and(|enough| self.cost().0 <= enough.nanos())
    }

    /// Tries sets of machines, mostly of such as cost much for what they hold.
    fn replace_some(&mut self, until: u64, enough: Option<Price>, go_on: &mut dyn FnMut() -> bool) {
        let mut sequence = Sequence(1);
        let mut worst = self.worst();
        let mut in_vain = 0;
        for number in 0..TRIES {
            let patience = IN_VAIN.min(20 * worst.len() * worst.len());
            let is_good = in_vain == 0 && self.costs_at_most(enough);
            if is_good || in_vain >= patience || worst.is_empty() || self.work > until || !go_on() {
                return;
            }
            // First each of the worst with those next to it, then any.
            let systematic = systematic(&worst, number);
            let greedy = Way::Greedy(if number % 2 == 0 { self.fewer_nodes_within } else { 0 });
            let ways = if systematic.is_some() {
                [Way::Greedy(self.fewer_nodes_within), Way::Greedy(0), Way::Together]
            } else {
                [greedy, Way::Perturbed, Way::Together]
            };
            let positions = systematic.unwrap_or_else(|| drawn(&worst, &mut sequence));
            let budget = cost_at(&self.bins, &positions);
            if self.try_anew(&positions, budget, &ways, &mut sequence).is_some() {
                in_vain = 0;
                worst = self.worst();
            } else {
                in_vain += 1;
            }
        }
    }

    /// Merges machines into larger ones, for as much more money as the settings allow.
    fn merge(&mut self, until: u64, go_on: &mut dyn FnMut() -> bool) {
        let within = i64::try_from(self.fewer_nodes_within).unwrap_or(0);
        let mut allowed = cost(&self.bins).0 / 1_000 * within;
        for together in MERGED {
            let mut list = self.by_scope();
            let mut from = 0;
            while from + together <= list.len() {
                if self.work > until || !go_on() {
                    return;
                }
                let positions = list[from..from + together].to_vec();
                let own = cost_at(&self.bins, &positions);
                let budget = (own.0 + allowed.min(own.0 / 1_000 * within), own.1);
                if let Some(price) = self.try_anew(&positions, budget, &[Way::Together], &mut Sequence(0)) {
                    allowed -= price - own.0;
                    list = self.by_scope();
                } else {
                    from += 1;
                }
            }
        }
    }

    /// The weight of the machine's pool. What is said by weights is not given up for money: machines are replaced by such of pools
    /// of the same weight.
    fn weight(&self, bin: &Bin) -> i32 {
        self.prepared.pools[self.scopes.get(bin.scope).pool].weight
    }

    /// Positions of machines that may be given up; those next to each other are alike.
    fn by_scope(&mut self) -> Vec<usize> {
        self.work += self.bins.len() as u64;
        let mut all: Vec<usize> = (0..self.bins.len()).filter(|bin| self.may_be_given_up(&self.bins[*bin])).collect();
        all.sort_by_key(|position| (self.bins[*position].scope, price(&self.bins[*position]), *position));
        all
    }

    /// Positions of machines that may be given up, those that cost most for what they hold first.
    fn worst(&mut self) -> Vec<usize> {
        self.work += self.bins.len() as u64;
        let mut copies: BTreeMap<Likeness<'_>, usize> = BTreeMap::new();
        let mut all: Vec<(i128, usize)> = Vec::new();
        for (position, bin) in self.bins.iter().enumerate() {
            let seen = copies.entry((bin.scope, bin.kind, &bin.contents)).or_insert(0);
            *seen += 1;
            if *seen <= COPIES && self.may_be_given_up(bin) {
                // In millionths.
                all.push((i128::from(price(bin)) * 1_000_000 / self.worth_of(bin).max(1), position));
            }
        }
        all.sort_unstable_by_key(|(cost, position)| (Reverse(*cost), *position));
        all.into_iter().map(|(_, position)| position).collect()
    }

    fn may_be_given_up(&self, bin: &Bin) -> bool {
        bin.contents.iter().all(|(class, _)| self.may_move(*class))
    }

    pub(super) fn price_all(&mut self) {
        for bin in self.bins.iter_mut().filter(|bin| bin.price.is_none()) {
            bin.price = Some(cheapest_price(self.prepared, &self.scopes, self.classes, bin).nanos());
        }
    }

    /// Packs the pods of these machines anew; what they cost then, if that came below `budget`. If not, nothing has changed.
    fn try_anew(
        &mut self,
        positions: &[usize],
        budget: (i64, usize),
        ways: &[Way],
        sequence: &mut Sequence,
    ) -> Option<i64> {
        let weight = self.weight(&self.bins[*positions.first()?]);
        if positions.iter().any(|position| self.weight(&self.bins[*position]) != weight) {
            return None;
        }
        let given_up = self.give_up(positions);
        let mut least = budget;
        let mut best = None;
        for way in ways {
            let (found, complete) = self.pack(&given_up, *way, sequence);
            let cost = cost(&found.bins);
            // Fewer machines for no more money are better too; where more may be paid, only fewer machines are.
            let fewer = !matches!(way, Way::Together) || cost.1 < positions.len() || positions.len() == 1;
            let as_heavy = found.bins.iter().all(|bin| self.weight(bin) == weight);
            if complete && cost < least && fewer && as_heavy {
                least = cost;
                best = Some(found);
            }
        }
        match best {
            Some(found) => given_up.settle(self, found),
            None => {
                given_up.take_back(self);
                return None;
            }
        }
        Some(least.0)
    }

    fn give_up(&mut self, positions: &[usize]) -> GivenUp {
        let mut sorted = positions.to_vec();
        sorted.sort_unstable();
        let mut kept = std::mem::take(&mut self.bins);
        let bins: Vec<Bin> = sorted.iter().rev().map(|position| kept.swap_remove(*position)).collect();
        let left = std::mem::take(&mut self.left);
        let limits = self.limits.clone();
        let mut to_pack = vec![0; left.len()];
        for bin in &bins {
            bin.contents.iter().for_each(|(class, times)| to_pack[*class] += times);
            self.give_back(bin);
        }
        self.work += left.len() as u64 / 8;
        GivenUp { positions: sorted, bins, kept, left, limits, to_pack }
    }

    /// Packs what was given up in one way; and whether all of it found room. The limits are as they were then.
    fn pack(&mut self, given_up: &GivenUp, way: Way, sequence: &mut Sequence) -> (Found, bool) {
        let mut order: Vec<usize> = (0..given_up.to_pack.len()).filter(|class| given_up.to_pack[*class] > 0).collect();
        let worths: Vec<i128> = order.iter().map(|class| self.worth_of_one(*class)).collect();
        let packed = order.clone();
        if matches!(way, Way::Perturbed) {
            for class in &packed {
                let changed = self.worth_of_one(*class) * (768 + sequence.below(512) as i128) / 1024;
                self.set_worth(*class, changed.max(1));
            }
        }
        order.sort_by_key(|class| (Reverse(self.worth_of_one(*class)), *class));
        let before = self.limits.clone();
        self.left.clone_from(&given_up.to_pack);
        match way {
            Way::Greedy(tolerance) => self.open_all(&order, tolerance),
            Way::Perturbed => self.open_all(&order, 0),
            Way::Together => self.open_one_for_all(&order, &given_up.bins),
        }
        packed.into_iter().zip(worths).for_each(|(class, worth)| self.set_worth(class, worth));
        self.price_all();
        let complete = order.iter().all(|class| self.left[*class] == 0);
        let limits = std::mem::replace(&mut self.limits, before);
        (Found { bins: std::mem::take(&mut self.bins), limits }, complete)
    }

    fn open_all(&mut self, order: &[usize], tolerance: i128) {
        self.tolerance = tolerance;
        for position in 0..order.len() {
            while self.left[order[position]] > 0 && self.open_for(order[position], &order[position..]) {}
        }
    }

    /// Opens the cheapest machine that holds all of `order`, in pools of the weight that `given_up` had.
    fn open_one_for_all(&mut self, order: &[usize], given_up: &[Bin]) {
        let own = given_up.first().map(|bin| self.weight(bin));
        let Some((own, first)) = own.zip(order.first().copied()) else { return };
        let all: u32 = order.iter().map(|class| self.left[*class]).sum();
        let pools = (0..self.prepared.pools.len()).filter(|pool| self.prepared.pools[*pool].weight == own);
        let mut best: Option<Candidate> = None;
        for pool in pools.collect::<Vec<_>>() {
            for position in 0..self.class_scopes[first][pool].len() {
                let scope = self.class_scopes[first][pool][position];
                let fitting = self.front(scope).into_iter().find_map(|kind| {
                    let candidate = self.fill(scope, kind, first, order)?;
                    let held: u32 = candidate.bin.contents.iter().map(|(_, times)| times).sum();
                    (held == all).then_some(candidate)
                });
                if let Some(candidate) = fitting
                    && best.as_ref().is_none_or(|best| candidate.price < best.price)
                {
                    best = Some(candidate);
                }
            }
        }
        if let Some(candidate) = best {
            self.open(candidate, order);
        }
    }
}

impl GivenUp {
    /// Puts other machines in their place.
    fn settle(self, packing: &mut Packing<'_>, found: Found) {
        packing.left = self.left;
        packing.bins = self.kept;
        packing.bins.extend(found.bins);
        packing.limits = found.limits;
    }

    /// Puts everything back as it was.
    fn take_back(self, packing: &mut Packing<'_>) {
        packing.left = self.left;
        packing.limits = self.limits;
        packing.bins = self.kept;
        // The last that was taken out comes back first.
        for (position, bin) in self.positions.into_iter().zip(self.bins.into_iter().rev()) {
            packing.bins.push(bin);
            let last = packing.bins.len() - 1;
            packing.bins.swap(position, last);
        }
    }
}

/// The worst machine with its neighbours, the second with its, and so on, for sets of one, two and three; none after that.
fn systematic(worst: &[usize], number: usize) -> Option<Vec<usize>> {
    let mut number = number;
    for together in 1..=3.min(worst.len()) {
        let sets = worst.len() - together + 1;
        if number < sets.min(IN_VAIN / 4) {
            return Some(worst[number..number + together].to_vec());
        }
        number -= sets.min(IN_VAIN / 4);
    }
    None
}

/// Some of the machines, the worst more often than others.
fn drawn(worst: &[usize], sequence: &mut Sequence) -> Vec<usize> {
    let together = 2 + sequence.below(TOGETHER - 1);
    let mut set: Vec<usize> = Vec::with_capacity(together);
    for _ in 0..together {
        let position = worst[sequence.low(worst.len())];
        if !set.contains(&position) {
            set.push(position);
        }
    }
    set
}

/// What machines cost, in nano-dollars, and how many there are.
fn cost(bins: &[Bin]) -> (i64, usize) {
    (bins.iter().map(price).sum(), bins.len())
}

fn cost_at(bins: &[Bin], positions: &[usize]) -> (i64, usize) {
    (positions.iter().map(|position| price(&bins[*position])).sum(), positions.len())
}

/// What the machine will cost, in nano-dollars.
fn price(bin: &Bin) -> i64 {
    bin.price.unwrap_or(i64::MAX / 1_000_000)
}
