//! What pods are worth to each other: who goes onto a machine is whoever is worth most for what it takes of it.

use super::{classes::Class, dimensions::times_that_fit, packing::Packing, scopes::Scope};

/// Where limits allow so many pods of two classes, they are equal.
const MANY: i64 = 1_000;
/// Values that differ by no more than this part of them are equal: then the first one counts.
const ROUNDING: f64 = 1e-9;

/// What pods are worth while they are placed.
pub(super) enum Worths {
    /// What each would cost alone in bulk.
    Bulk,
    /// By class: what was learnt from what they came to cost.
    Learnt(Vec<i128>),
    /// The larger the more, on machines that exist: what is left over for new ones is small, and fits many of them.
    Size,
    /// The more of them the limits allow, the more; so that as many as can be have a place.
    Number,
}

/// A class that competes for what is free of a machine.
#[derive(Clone, Copy)]
pub(super) struct Contender<'a> {
    pub(super) class: usize,
    /// What one pod is worth, in nano-dollars.
    worth: f64,
    pub(super) request: &'a [i64],
    rates: &'a [f64],
}

impl<'a> Packing<'a> {
    /// What pods are worth where it counts how many of them have a place: the more of them limits allow, the more.
    pub(super) fn worths_by_number(&self) -> Vec<i128> {
        let number = |class: usize| {
            let request = self.classes.list[class].request.as_ref()?;
            let scopes = self.class_scopes[class].iter().flatten().map(|scope| self.scopes.get(*scope));
            let within = |scope: &Scope| {
                let pool = &self.prepared.pools[scope.pool];
                let by_resources = times_that_fit(request, &pool.left, u32::MAX);
                let on_one = |kind: usize| times_that_fit(request, &pool.types[kind].room, u32::MAX);
                let on_one = i64::from(scope.types().map(on_one).max().unwrap_or(0));
                i64::from(by_resources).min(on_one.saturating_mul(pool.nodes_left))
            };
            scopes.filter(|scope| self.prepared.pools[scope.pool].is_limited()).map(within).max()
        };
        let most = self.worth.iter().max().copied().unwrap_or(1);
        let worth =
            |class: usize| number(class).map_or(self.worth[class], |number| most * i128::from(number.clamp(1, MANY)));
        (0..self.worth.len()).map(worth).collect()
    }

    /// What pods are worth where the largest are to come first.
    pub(super) fn worths_by_size(&self) -> Vec<i128> {
        let most = self.worth.iter().max().copied().unwrap_or(1).max(1);
        // Who comes next is told by worth for size, and in bulk worth is about size.
        self.worth.iter().map(|worth| (worth * worth / most).max(1)).collect()
    }

    /// Those of `classes` of which there are machines at all, with what they are worth now.
    pub(super) fn contenders(&self, classes: impl Iterator<Item = usize>) -> Vec<Contender<'a>> {
        let all: &'a [Class] = &self.classes.list;
        let contender = |class: usize| {
            let request = all[class].request.as_deref()?;
            Some(Contender { class, worth: self.worth[class] as f64, request, rates: &all[class].rates })
        };
        classes.filter_map(contender).collect()
    }

    /// The one of `open`, by position, that is worth most per share of what is free of the resource it is scarcest in.
    pub(super) fn most_worthy(&self, free: &[i64], open: &[Contender<'_>]) -> Option<usize> {
        let mut best: Option<(f64, usize)> = None;
        for (position, own) in open.iter().enumerate() {
            if self.asked.iter().any(|dimension| own.request[*dimension] > free[*dimension].max(0)) {
                continue;
            }
            let times = |dimension: &usize| free[*dimension] as f64 * own.rates[*dimension];
            let value = own.worth * self.asked.iter().map(times).fold(f64::INFINITY, f64::min);
            if best.is_none_or(|(most, _)| value > most * (1.0 + ROUNDING)) {
                best = Some((value, position));
            }
        }
        best.map(|(_, position)| position)
    }
}
