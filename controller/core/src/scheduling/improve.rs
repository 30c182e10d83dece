//! Makes a packing cheaper: machines that cost much for what they hold are given up, and their pods are packed anew.
//!
//! Greedy packing leaves its worst machines to the end, where what is left fits nothing well. A few of them together can mostly
//! be replaced by machines that fit better. Every try either costs less and is kept, or is undone; so the answer is usable at any
//! moment.

use super::{
    claims::cheapest_price,
    packing::{Bin, FEWER_NODES_PERMILLE, Limits, Packing},
};
use std::{cmp::Reverse, collections::BTreeMap};

/// Of the machines that cost most for what they hold so many are looked at.
const WORST: usize = 24;
/// So many machines are given up together at most.
const TOGETHER: usize = 5;
/// Copies of one machine that are looked at.
const COPIES: usize = 3;
/// Rounds over the worst machines; each begins with the worst of what the last one left.
const ROUNDS: usize = 4;

/// How pods are packed anew.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// At every step the best machine; of those that are within so many thousandths of it the one that holds most.
    Greedy(i128),
    /// All into one machine.
    Together,
}

const WAYS: [Way; 3] = [Way::Greedy(FEWER_NODES_PERMILLE), Way::Greedy(0), Way::Together];

impl Packing<'_> {
    /// Replaces machines by cheaper ones as long as that succeeds, and while `go_on` says so.
    pub(super) fn improve(&mut self, go_on: &mut dyn FnMut() -> bool) {
        // Which reservation pays for what is settled; to take it back is not worth the trouble.
        if !self.scopes.ledger.is_empty() {
            return;
        }
        for _ in 0..ROUNDS {
            if !self.improve_once(go_on) {
                return;
            }
        }
    }

    /// One round; whether something became cheaper.
    fn improve_once(&mut self, go_on: &mut dyn FnMut() -> bool) -> bool {
        let mut better = false;
        for together in 1..=TOGETHER {
            let mut worst = self.worst();
            let mut from = 0;
            while from + together <= worst.len() {
                if !go_on() {
                    return false;
                }
                if self.try_anew(&worst[from..from + together]) {
                    better = true;
                    worst = self.worst();
                } else {
                    from += 1;
                }
            }
        }
        better
    }

    /// Positions of machines that may be given up, those that cost most for what they hold first.
    fn worst(&mut self) -> Vec<usize> {
        self.price_all();
        let mut copies: BTreeMap<(usize, usize, &[(usize, u32)]), usize> = BTreeMap::new();
        let mut all: Vec<(i128, usize)> = Vec::new();
        for (position, bin) in self.bins.iter().enumerate() {
            let seen = copies.entry((bin.scope, bin.kind, &bin.contents)).or_insert(0);
            *seen += 1;
            if *seen <= COPIES && bin.contents.iter().all(|(class, _)| self.may_move(*class)) {
                // In millionths.
                all.push((i128::from(price(bin)) * 1_000_000 / self.worth_of(bin).max(1), position));
            }
        }
        all.sort_unstable_by_key(|(cost, position)| (Reverse(*cost), *position));
        all.into_iter().map(|(_, position)| position).take(WORST).collect()
    }

    fn price_all(&mut self) {
        for bin in self.bins.iter_mut().filter(|bin| bin.price.is_none()) {
            bin.price = Some(cheapest_price(self.prepared, &self.scopes, self.classes, bin).nanos());
        }
    }

    /// Packs the pods of these machines anew; whether that made them cheaper. If not, nothing has changed.
    fn try_anew(&mut self, positions: &[usize]) -> bool {
        let mut sorted = positions.to_vec();
        sorted.sort_unstable();
        let mut kept = std::mem::take(&mut self.bins);
        let given_up: Vec<Bin> = sorted.iter().rev().map(|position| kept.remove(*position)).collect();
        let before = (std::mem::take(&mut self.left), self.limits.clone());
        let mut to_pack = vec![0; before.0.len()];
        for bin in &given_up {
            bin.contents.iter().for_each(|(class, times)| to_pack[*class] += times);
            self.give_back(bin);
        }
        let found = self.cheapest_way(&given_up, &to_pack);
        self.left = before.0;
        self.bins = kept;
        if let Some((bins, limits)) = found {
            self.bins.extend(bins);
            self.limits = limits;
            return true;
        }
        self.limits = before.1;
        for (position, bin) in sorted.iter().zip(given_up.into_iter().rev()) {
            self.bins.insert(*position, bin);
        }
        false
    }

    /// Machines for `to_pack` that cost less than `given_up`, with the limits that they leave.
    fn cheapest_way(&mut self, given_up: &[Bin], to_pack: &[u32]) -> Option<(Vec<Bin>, Vec<Limits>)> {
        let mut cheapest: i64 = given_up.iter().map(price).sum();
        let mut order: Vec<usize> = (0..to_pack.len()).filter(|class| to_pack[*class] > 0).collect();
        order.sort_by_key(|class| (Reverse(self.worth_of_one(*class)), *class));
        let limits = self.limits.clone();
        let mut best = None;
        for way in WAYS {
            self.left = to_pack.to_vec();
            self.limits.clone_from(&limits);
            match way {
                Way::Greedy(tolerance) => self.open_all(&order, tolerance),
                Way::Together => self.open_one_for_all(&order, given_up),
            }
            self.price_all();
            let bins = std::mem::take(&mut self.bins);
            let sum: i64 = bins.iter().map(price).sum();
            if sum < cheapest && order.iter().all(|class| self.left[*class] == 0) {
                cheapest = sum;
                best = Some((bins, self.limits.clone()));
            }
        }
        best
    }

    fn open_all(&mut self, order: &[usize], tolerance: i128) {
        self.tolerance = tolerance;
        for position in 0..order.len() {
            while self.left[order[position]] > 0 && self.open_for(order[position], &order[position..]) {}
        }
        self.tolerance = FEWER_NODES_PERMILLE;
    }

    /// Opens the cheapest machine that holds all of `order`, in pools of the weight that `given_up` had.
    fn open_one_for_all(&mut self, order: &[usize], given_up: &[Bin]) {
        let weight = |bin: &Bin| self.prepared.pools[self.scopes.get(bin.scope).pool].weight;
        let Some((own, first)) = given_up.first().map(weight).zip(order.first().copied()) else { return };
        if given_up.iter().any(|bin| weight(bin) != own) {
            return;
        }
        let pools = (0..self.prepared.pools.len()).filter(|pool| self.prepared.pools[*pool].weight == own);
        let mut best = None;
        for pool in pools.collect::<Vec<_>>() {
            for position in 0..self.class_scopes[first][pool].len() {
                let scope = self.class_scopes[first][pool][position];
                for kind in self.front(scope) {
                    let Some(candidate) = self.fill(scope, kind, first, order) else { continue };
                    let held: u32 = candidate.bin.contents.iter().map(|(_, times)| times).sum();
                    let all: u32 = order.iter().map(|class| self.left[*class]).sum();
                    let cheaper = best.as_ref().is_none_or(|best: &super::packing::Candidate| candidate.price < best.price);
                    if held == all && cheaper {
                        best = Some(candidate);
                    }
                }
            }
        }
        if let Some(candidate) = best {
            self.open(candidate, order);
        }
    }
}

/// What the machine will cost, in nano-dollars.
fn price(bin: &Bin) -> i64 {
    bin.price.unwrap_or(i64::MAX / 1_000)
}
