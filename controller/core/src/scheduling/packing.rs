//! Which machines to open, and what goes into each: at every step the machine that costs least per worth of pods packed.
//!
//! The worth of a pod is what it would cost alone in bulk: the least price of a machine, over all that will do, divided by how
//! many such pods it holds. A machine packed with pods whose worth exceeds its price is a bargain, because their needs complement
//! each other; one with idle room is dear. Machines are opened for the most worthy class first and filled up with others.

use super::{
    classes::{Class, Classes},
    dimensions::{take, times_that_fit},
    existing::Filling,
    host::HostState,
    pool::Pool,
    prepared::Prepared,
    scopes::{ScopeId, Scopes},
    worths::{Contender, Worths},
};
use crate::{
    api::labels,
    model::{HostPort, MinValuesPolicy, Price, Requirement},
};
use std::collections::{BTreeMap, BTreeSet};

/// A balanced filling adds a quarter of what would fit at a time: few steps, yet room to change its mind.
pub(super) const BALANCED_PORTION: u32 = 4;

/// A machine to be launched.
#[derive(Clone, Debug)]
pub(super) struct Bin {
    pub(super) scope: ScopeId,
    /// Position in the pool's types: what it was filled for.
    pub(super) kind: usize,
    pub(super) free: Vec<i64>,
    pub(super) ports: Vec<HostPort>,
    host: HostState,
    /// (class, how many)
    pub(super) contents: Vec<(usize, u32)>,
    /// The reservation that pays for it.
    pub(super) reservation: Option<String>,
    /// What it holds of its pool's limits, by dimension.
    pub(super) held: Vec<i64>,
    /// What the cheapest type that holds its pods costs, in nano-dollars; none until that has been looked up.
    pub(super) price: Option<i64>,
}

/// What may still be launched from a pool.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) left: Vec<i64>,
    pub(super) nodes_left: i64,
}

/// One solve under way.
pub(super) struct Packing<'a> {
    pub(super) prepared: &'a Prepared<'a>,
    pub(super) classes: &'a Classes,
    pub(super) scopes: Scopes<'a>,
    /// By class: pods without a place.
    pub(super) left: Vec<u32>,
    /// By class: the level of preference that is being tried.
    pub(super) level: Vec<usize>,
    /// By class: whether it was relaxed after some of its pods had found their place, which they must keep.
    relaxed_late: Vec<bool>,
    /// By class: what one pod is worth, in nano-dollars.
    pub(super) worth: Vec<i128>,
    /// By class and pool: the scopes of its level, alternatives.
    pub(super) class_scopes: Vec<Vec<Vec<ScopeId>>>,
    /// Among machines whose price per worth is within so many thousandths of the best, the one that holds most is taken.
    pub(super) tolerance: i128,
    /// So many thousandths more may be paid for fewer nodes.
    pub(super) fewer_nodes_within: i128,
    /// Whether as many pods as can be are to have a place: where only so many nodes may be launched, those that hold most are.
    pub(super) for_number: bool,
    /// How often a class was looked at while some machine was filled.
    pub(super) work: u64,
    pub(super) bins: Vec<Bin>,
    /// By pool.
    pub(super) limits: Vec<Limits>,
    /// By scope: its types that no other beats, cheapest first.
    pub(super) fronts: BTreeMap<ScopeId, Vec<usize>>,
    /// Dimensions that some class asks for.
    pub(super) asked: Vec<usize>,
    /// By class: how far back it is in a row of pods that follow each other.
    behind: Vec<usize>,
    /// By group: whether some pod of it is on some node.
    pub(super) present: Vec<bool>,
    /// How many of the pods that want to be together must be on the machine that is opened for them; none: all.
    least_together: Option<u32>,
    /// Classes that were not looked at in time.
    pub(super) unseen: BTreeSet<usize>,
}

/// A machine that could be opened.
pub(super) struct Candidate {
    pub(super) price: Price,
    pub(super) worth: i128,
    pub(super) bin: Bin,
    /// What its first class allows; pods that came later may have narrowed it.
    pub(super) asked_scope: ScopeId,
}

impl<'a> Packing<'a> {
    pub(super) fn new(prepared: &'a Prepared<'a>, classes: &'a Classes, reserved_fallback: bool) -> Self {
        let count = classes.list.len();
        let fewer_nodes_within = i128::from(prepared.snapshot().settings.fewer_nodes_within_permille);
        let asked = |dimension: &usize| {
            let mut requests = classes.list.iter().filter_map(|class| class.request.as_ref());
            requests.any(|request| request[*dimension] > 0)
        };
        let limits = prepared.pools.iter().map(|pool| Limits { left: pool.left.clone(), nodes_left: pool.nodes_left });
        Self {
            prepared,
            classes,
            scopes: Scopes::new(prepared, reserved_fallback),
            left: classes.list.iter().map(Class::count).collect(),
            level: vec![0; count],
            relaxed_late: vec![false; count],
            worth: vec![0; count],
            tolerance: fewer_nodes_within,
            fewer_nodes_within,
            for_number: false,
            work: 0,
            class_scopes: vec![Vec::new(); count],
            bins: Vec::new(),
            limits: limits.collect(),
            fronts: BTreeMap::new(),
            asked: (0..prepared.dimensions.len()).filter(asked).collect(),
            behind: classes.behind_on_nodes(),
            present: vec![false; classes.groups.len()],
            least_together: None,
            unseen: BTreeSet::new(),
        }
    }

    /// Finds places for every class, first on `existing` machines, then on new ones.
    pub(super) fn run(&mut self, existing: &mut Filling<'_>, worths: Worths, go_on: &mut dyn FnMut() -> bool) {
        self.present = (0..self.classes.groups.len()).map(|group| existing.has(group)).collect();
        (0..self.classes.list.len()).for_each(|class| self.enter_level(class));
        let in_bulk = self.worth.clone();
        match worths {
            Worths::Bulk => {
                self.fill_existing(existing, true);
                self.place_left(existing, go_on);
            }
            Worths::Learnt(learnt) => {
                self.worth = learnt;
                self.fill_existing(existing, false);
                self.place_left(existing, go_on);
            }
            Worths::Number => {
                self.for_number = true;
                self.worth = self.worths_by_number();
                self.fill_existing(existing, true);
                self.place_left(existing, go_on);
                self.for_number = false;
                self.worth = in_bulk;
            }
            Worths::Size => {
                self.worth = self.worths_by_size();
                self.fill_existing(existing, false);
                self.worth = in_bulk;
                self.place_left(existing, go_on);
            }
        }
    }

    /// Finds new machines for what has no place yet.
    fn place_left(&mut self, existing: &mut Filling<'_>, go_on: &mut dyn FnMut() -> bool) {
        let mut order: Vec<usize> = (0..self.classes.list.len()).filter(|class| self.left[*class] > 0).collect();
        order.sort_by_key(|class| (self.turn(*class), std::cmp::Reverse(self.worth[*class]), *class));
        for position in 0..order.len() {
            let class = order[position];
            while self.left[class] > 0 {
                if !go_on() {
                    self.unseen.extend(order[position..].iter().copied().filter(|class| self.left[*class] > 0));
                    return;
                }
                if self.open_for(class, &order[position..]) || self.join_open(class) || self.grow_for(class) {
                    continue;
                }
                if self.relax(class) {
                    self.place_on_existing(class, existing);
                    self.join_open(class);
                } else if !self.begin_in_part(class, existing, &order[position..]) {
                    break;
                }
            }
        }
    }

    /// Whether pods of the class want the company of others.
    pub(super) fn follows(&self, class: usize) -> bool {
        !self.classes.list[class].host.affinity.is_empty()
    }

    /// Who follows nobody goes first, then those that want company, each after the ones that it follows.
    pub(super) fn turn(&self, class: usize) -> (bool, usize) {
        (self.follows(class), self.behind[class])
    }

    /// Where no machine holds all pods that want to be together, as many as one holds are placed; the others wait.
    fn begin_in_part(&mut self, class: usize, existing: &mut Filling<'_>, order: &[usize]) -> bool {
        if !self.may_begin(class) {
            return false;
        }
        let most = self.most_together(class);
        if self.begin_on_existing(class, existing, most.max(1)) {
            return true;
        }
        let found = [most, 1].into_iter().any(|least| {
            self.least_together = Some(least);
            least > 0 && self.open_for(class, order)
        });
        self.least_together = None;
        found || self.begin_on_existing(class, existing, 1)
    }

    /// Whether pods have no place because others hold what limits allow.
    pub(super) fn is_held_back(&self) -> bool {
        let wants_of_it = |class: usize| {
            let by_pool = self.class_scopes[class].iter().enumerate();
            by_pool.filter(|(_, scopes)| !scopes.is_empty()).any(|(pool, _)| self.prepared.pools[pool].is_limited())
        };
        let waits = |class: usize| self.left[class] > 0 && !self.follows(class);
        !self.bins.is_empty() && (0..self.left.len()).any(|class| waits(class) && wants_of_it(class))
    }

    /// How many pods of the class the machine holds that could be launched and holds most.
    fn most_together(&self, class: usize) -> u32 {
        let Some(request) = &self.classes.list[class].request else { return 0 };
        let scopes = self.class_scopes[class].iter().flatten().map(|scope| self.scopes.get(*scope));
        let rooms = scopes.flat_map(|scope| {
            let types = &self.prepared.pools[scope.pool].types;
            scope.types().map(move |kind| &types[kind].room)
        });
        rooms.map(|room| times_that_fit(request, room, self.left[class])).max().unwrap_or(0)
    }

    /// How many pods have no place, those that are refused by themselves or by their domains among them.
    pub(super) fn without_place(&self) -> usize {
        let left: u32 = self.left.iter().sum();
        left as usize + self.classes.refused.len()
    }

    /// By pool, the heaviest first: how many pods machines of pools that weigh less are planned for.
    pub(super) fn on_lesser_pools(&self) -> Vec<u32> {
        let mut planned = vec![0u32; self.prepared.pools.len()];
        for bin in &self.bins {
            planned[self.scopes.get(bin.scope).pool] += bin.contents.iter().map(|(_, times)| times).sum::<u32>();
        }
        let pools = &self.prepared.pools;
        let on_lesser = |weight: i32| {
            let lesser = pools.iter().zip(&planned).filter(|(pool, _)| pool.weight < weight);
            lesser.map(|(_, pods)| pods).sum()
        };
        pools.iter().map(|pool| on_lesser(pool.weight)).collect()
    }

    /// Records that `times` pods of the class have found their place.
    pub(super) fn settle(&mut self, class: usize, times: u32) {
        self.left[class] -= times;
        if times > 0 {
            let selected = &self.classes.list[class].host.selected;
            selected.iter().for_each(|group| self.present[*group] = true);
        }
    }

    /// Goes to the next level of preference; false at the last.
    pub(super) fn relax(&mut self, class: usize) -> bool {
        let more = self.level[class] + 1 < self.classes.list[class].levels.len();
        if more {
            self.relaxed_late[class] |= self.left[class] < self.classes.list[class].count();
            self.level[class] += 1;
            self.enter_level(class);
        }
        more
    }

    /// Works out where the class could be launched at its level, and what it is worth.
    fn enter_level(&mut self, class: usize) {
        let own = &self.classes.list[class];
        let level = &own.levels[self.level[class]];
        let mut by_pool = Vec::with_capacity(self.prepared.pools.len());
        let mut worth: Option<i128> = None;
        for pool in 0..self.prepared.pools.len() {
            let mut alternatives = Vec::new();
            if let Some(request) = &own.request {
                for shape in level {
                    let Ok(scope) = self.scopes.of_shape(*shape, &self.classes.shapes, pool) else { continue };
                    if let Some(own_worth) = self.scopes.worth(scope, request) {
                        alternatives.push(scope);
                        worth = Some(worth.map_or(own_worth, |worth| worth.min(own_worth)));
                    }
                }
            }
            by_pool.push(alternatives);
        }
        self.class_scopes[class] = by_pool;
        self.worth[class] = worth.unwrap_or(1);
    }

    pub(super) fn is_launchable(&self, class: usize) -> bool {
        self.class_scopes[class].iter().any(|alternatives| !alternatives.is_empty())
    }

    /// Puts pods of `class` into machines that are open already; true if some found room.
    fn join_open(&mut self, class: usize) -> bool {
        let own = &self.classes.list[class];
        let Some(request) = &own.request else { return false };
        let before = self.left[class];
        for position in 0..self.bins.len() {
            if self.left[class] == 0 {
                break;
            }
            let bin = &self.bins[position];
            let most = own.at_most_on(&bin.host, &bin.ports, self.left[class]);
            let times = times_that_fit(request, &bin.free, most);
            if times == 0 {
                continue;
            }
            let (scope, kind, reservation) = (bin.scope, bin.kind, bin.reservation.clone());
            if let Some(scope) = self.joined_scope(scope, kind, reservation.as_deref(), class) {
                let bin = &mut self.bins[position];
                take(request, &mut bin.free, times);
                bin.scope = scope;
                bin.ports.extend(own.ports.iter().cloned());
                own.enter(&mut bin.host, times);
                bin.contents.push((class, times));
                bin.price = None;
                self.settle(class, times);
            }
        }
        self.left[class] < before
    }

    /// Makes a machine that is open larger, so that pods of `class`, which want the company of its pods, find room beside them.
    fn grow_for(&mut self, class: usize) -> bool {
        if self.classes.list[class].host.affinity.is_empty() {
            return false;
        }
        (0..self.bins.len()).any(|position| {
            let bin = &self.bins[position];
            let most = self.classes.list[class].at_most_on(&bin.host, &bin.ports, self.left[class]);
            // As many as there are, or at least one.
            bin.reservation.is_none() && most > 0 && (self.grow(position, class, most) || self.grow(position, class, 1))
        })
    }

    fn grow(&mut self, position: usize, class: usize, times: u32) -> bool {
        let own = &self.classes.list[class];
        let Some(request) = &own.request else { return false };
        let (scope, kind) = (self.bins[position].scope, self.bins[position].kind);
        let pool = self.scopes.get(scope).pool;
        if self.prepared.pools[pool].min_values().next().is_some() {
            return false;
        }
        let types = &self.prepared.pools[pool].types;
        let mut used: Vec<i64> =
            types[kind].room.iter().zip(&self.bins[position].free).map(|(room, free)| room - free).collect();
        used.iter_mut().zip(request).for_each(|(used, asked)| *used += asked * i64::from(times));
        let before = self.bins[position].clone();
        self.give_back(&before);
        for alternative in self.class_scopes[class][pool].clone() {
            let Some(merged) = self.scopes.merge(scope, alternative) else { continue };
            let fitting = self.front(merged).into_iter().find(|kind| {
                let limits = &self.limits[pool];
                let holds = types[*kind].room.iter().zip(&used).all(|(room, used)| *used <= 0 || used <= room);
                holds && Pool::within_limits(&limits.left, limits.nodes_left, &types[*kind].capacity)
            });
            let Some(kind) = fitting else { continue };
            let bin = &mut self.bins[position];
            (bin.scope, bin.kind, bin.price) = (merged, kind, None);
            bin.free = types[kind].room.iter().zip(&used).map(|(room, used)| room - used).collect();
            bin.held.clone_from(&types[kind].capacity);
            bin.ports.extend(own.ports.iter().cloned());
            own.enter(&mut bin.host, times);
            bin.contents.push((class, times));
            let grown = bin.clone();
            self.book(&grown, 1);
            self.settle(class, times);
            return true;
        }
        self.book(&before, 1);
        false
    }

    /// The scope of a machine once pods of `class` join it; none if they cannot, or would make it dearer.
    fn joined_scope(
        &mut self,
        scope: ScopeId,
        kind: usize,
        reservation: Option<&str>,
        class: usize,
    ) -> Option<ScopeId> {
        let pool = self.scopes.get(scope).pool;
        for position in 0..self.class_scopes[class][pool].len() {
            let alternative = self.class_scopes[class][pool][position];
            let Some(merged) = self.scopes.merge(scope, alternative) else { continue };
            if self.scopes.keeps(kind, reservation, scope, merged) {
                return Some(merged);
            }
        }
        None
    }

    /// Opens machines for `class`, filling them up from `order`; false if none can be.
    pub(super) fn open_for(&mut self, class: usize, order: &[usize]) -> bool {
        let mut from = 0;
        while from < self.prepared.pools.len() {
            let weight = self.prepared.pools[from].weight;
            let to = self.prepared.pools[from..].iter().take_while(|pool| pool.weight == weight).count() + from;
            if let Some(best) = self.best(class, from..to, order) {
                self.open(best, order);
                return true;
            }
            from = to;
        }
        false
    }

    /// Fills one machine of `kind` with pods of `class`, then with others in order; none if not even one pod fits.
    pub(super) fn fill(&mut self, scope: ScopeId, kind: usize, class: usize, others: &[usize]) -> Option<Candidate> {
        let mut bin = self.begin(scope, kind, class, u32::MAX)?;
        for other in others.iter().copied().filter(|other| *other != class) {
            self.add(&mut bin, other, u32::MAX);
        }
        self.finish(bin, scope)
    }

    /// Fills one machine of `kind` so that its resources are used up together: each time with the class that is worth most per
    /// share of the resource it is scarcest in.
    pub(super) fn fill_balanced(
        &mut self,
        scope: ScopeId,
        kind: usize,
        class: usize,
        others: &[usize],
    ) -> Option<Candidate> {
        let mut bin = self.begin(scope, kind, class, 1)?;
        let mut open = self.contenders(others.iter().copied());
        while let Some(position) = self.most_worthy(&bin.free, &open) {
            self.work += open.len() as u64 / 8;
            let Contender { class: next, request, .. } = open[position];
            let fitting = times_that_fit(request, &bin.free, u32::MAX);
            if self.add(&mut bin, next, (fitting / BALANCED_PORTION).max(1)) == 0 {
                open.remove(position);
            }
        }
        self.finish(bin, scope)
    }

    /// A machine of `kind` with up to `most` pods of `class`; none if it may not be launched or not even one fits.
    fn begin(&mut self, scope: ScopeId, kind: usize, class: usize, most: u32) -> Option<Bin> {
        let pool_index = self.scopes.get(scope).pool;
        let pool = &self.prepared.pools[pool_index];
        let limits = &self.limits[pool_index];
        if !Pool::within_limits(&limits.left, limits.nodes_left, &pool.types[kind].capacity) {
            return None;
        }
        self.scopes.get(scope).price(kind)?;
        let mut bin = self.empty_bin(scope, kind);
        let own = &self.classes.list[class];
        let needs_all = !own.host.affinity.is_empty();
        let begun_elsewhere = own.host.affinity.iter().any(|group| self.present[*group]);
        let most = if needs_all { u32::MAX } else { most };
        if begun_elsewhere
            || self.add(&mut bin, class, most) == 0
            || (needs_all && bin.contents[0].1 < self.least_together.unwrap_or(self.left[class]))
        {
            return None;
        }
        Some(bin)
    }

    fn finish(&mut self, mut bin: Bin, asked_scope: ScopeId) -> Option<Candidate> {
        if !self.keep_choice(&mut bin) {
            return None;
        }
        let worth = self.worth_of(&bin);
        let price = self.scopes.get(bin.scope).price(bin.kind)?;
        Some(Candidate { price, worth, bin, asked_scope })
    }

    /// What the pods of a machine are worth, in nano-dollars.
    pub(super) fn worth_of(&self, bin: &Bin) -> i128 {
        bin.contents.iter().map(|(class, times)| self.worth[*class] * i128::from(*times)).sum()
    }

    /// What one pod of the class is worth, in nano-dollars.
    pub(super) fn worth_of_one(&self, class: usize) -> i128 {
        self.worth[class]
    }

    /// What one pod of each class is worth.
    pub(super) fn worths(&self) -> &[i128] {
        &self.worth
    }

    pub(super) fn set_worths(&mut self, worths: Vec<i128>) {
        self.worth = worths;
    }

    pub(super) fn set_worth(&mut self, class: usize, worth: i128) {
        self.worth[class] = worth;
    }

    /// Whether pods of the class may leave their machine for another one that would do: none of them follows others, and all
    /// have been placed at the level of preference at which the class is now.
    pub(super) fn may_move(&self, class: usize) -> bool {
        self.classes.list[class].host.affinity.is_empty() && !self.relaxed_late[class]
    }

    /// Gives back what a machine holds of its pool's limits.
    pub(super) fn give_back(&mut self, bin: &Bin) {
        let limits = &mut self.limits[self.scopes.get(bin.scope).pool];
        for (left, held) in limits.left.iter_mut().zip(&bin.held).filter(|(left, _)| **left != i64::MAX) {
            *left += held;
        }
        limits.nodes_left = limits.nodes_left.saturating_add(1);
    }

    fn empty_bin(&self, scope: ScopeId, kind: usize) -> Bin {
        let pool = &self.prepared.pools[self.scopes.get(scope).pool];
        let own = &pool.types[kind];
        Bin {
            scope,
            kind,
            free: own.room.clone(),
            ports: pool.daemon_groups[own.daemon_group].ports.clone(),
            host: HostState::empty(&self.classes.groups),
            contents: Vec::new(),
            reservation: None,
            held: own.capacity.clone(),
            price: None,
        }
    }

    /// Adds as many pods of `class` as fit, at most `most`; returns how many.
    fn add(&mut self, bin: &mut Bin, class: usize, most: u32) -> u32 {
        if self.left[class] == 0 {
            return 0;
        }
        self.work += 1;
        let own = &self.classes.list[class];
        let Some(request) = &own.request else { return 0 };
        let fitting = times_that_fit(request, &bin.free, self.left[class].min(most));
        if fitting == 0 {
            return 0;
        }
        let here = bin.contents.iter().position(|(other, _)| *other == class);
        let waiting = self.left[class] - here.map_or(0, |position| bin.contents[position].1);
        let times = own.at_most_on_new(&bin.host, &bin.ports, fitting.min(waiting), bin.contents.is_empty());
        if times == 0 {
            return 0;
        }
        let Some(scope) = self.joined_scope(bin.scope, bin.kind, bin.reservation.as_deref(), class) else { return 0 };
        bin.scope = scope;
        take(request, &mut bin.free, times);
        bin.ports.extend(own.ports.iter().cloned());
        own.enter(&mut bin.host, times);
        match here {
            Some(position) => bin.contents[position].1 += times,
            None => bin.contents.push((class, times)),
        }
        times
    }

    /// Takes pods out again, last ones first, until enough types would do for the pool's `minValues`; false if there never are.
    fn keep_choice(&mut self, bin: &mut Bin) -> bool {
        let pool = &self.prepared.pools[self.scopes.get(bin.scope).pool];
        let strict = self.prepared.snapshot().settings.min_values_policy == MinValuesPolicy::Strict;
        if !strict || pool.min_values().next().is_none() {
            return true;
        }
        while !bin.contents.is_empty() {
            let types = super::claims::sufficient_types(self.prepared, &self.scopes, self.classes, bin, &self.limits);
            if super::claims::lacking_values(pool, &types, &self.scopes.get(bin.scope).admission.requirements)
                .is_empty()
            {
                return true;
            }
            self.take_out_some(bin);
        }
        false
    }

    /// Halves what the last class has in the machine, so that a long way down is short.
    fn take_out_some(&self, bin: &mut Bin) {
        let Some((class, times)) = bin.contents.pop() else { return };
        let request = self.classes.list[class].request.as_deref().unwrap_or_default();
        let kept = times / 2;
        for (free, asked) in bin.free.iter_mut().zip(request) {
            *free += asked * i64::from(times - kept);
        }
        if kept > 0 {
            bin.contents.push((class, kept));
        }
    }

    /// Opens the machine that was judged best, fills it up from all classes, and repeats it as often as its contents allow.
    pub(super) fn open(&mut self, best: Candidate, order: &[usize]) {
        let mut bin = best.bin;
        let pool = &self.prepared.pools[self.scopes.get(bin.scope).pool];
        if pool.min_values().next().is_none() {
            for other in order {
                self.add(&mut bin, *other, u32::MAX);
            }
        }
        bin.reservation = self.reservation(&bin);
        self.hold_choice(&mut bin);
        let copies = self.copies(&bin);
        bin.contents.iter().for_each(|(class, times)| self.settle(*class, times * copies));
        self.book(&bin, copies);
        for _ in 0..copies {
            self.bins.push(bin.clone());
        }
    }

    /// Where the pool asks for a choice of types, a machine holds as much of the limits as its largest type would, so that
    /// the choice is still there in the end.
    fn hold_choice(&self, bin: &mut Bin) {
        let pool = &self.prepared.pools[self.scopes.get(bin.scope).pool];
        if pool.limited && pool.min_values().next().is_some() {
            for kind in super::claims::sufficient_types(self.prepared, &self.scopes, self.classes, bin, &self.limits) {
                bin.held
                    .iter_mut()
                    .zip(&pool.types[kind].capacity)
                    .for_each(|(held, capacity)| *held = (*held).max(*capacity));
            }
        }
    }

    fn copies(&self, filled: &Bin) -> u32 {
        // Pods that want each other's company are together on one machine, as many as it holds.
        let wants_company = |(class, _): &(usize, u32)| !self.classes.list[*class].host.affinity.is_empty();
        if filled.contents.iter().any(wants_company) {
            return 1;
        }
        let by_contents = filled.contents.iter().map(|(class, times)| self.left[*class] / times).min().unwrap_or(1);
        let pool = self.scopes.get(filled.scope).pool;
        let limits = &self.limits[pool];
        let by_limits = times_that_fit(&filled.held, &limits.left, by_contents);
        let by_nodes = u32::try_from(limits.nodes_left).unwrap_or(u32::MAX);
        let held = |id: &String| self.scopes.ledger.get(id).copied().unwrap_or(0);
        let by_reservation = filled.reservation.as_ref().map_or(u32::MAX, held);
        by_limits.min(by_nodes).min(by_reservation).max(1)
    }

    fn reservation(&self, filled: &Bin) -> Option<String> {
        let scope = self.scopes.get(filled.scope);
        let kind = &self.prepared.pools[scope.pool].types[filled.kind];
        kind.offering(scope.offer(filled.kind)?).reservation_id.clone()
    }

    fn book(&mut self, filled: &Bin, copies: u32) {
        let pool = self.scopes.get(filled.scope).pool;
        let limits = &mut self.limits[pool];
        for (left, held) in limits.left.iter_mut().zip(&filled.held).filter(|(left, _)| **left != i64::MAX) {
            *left -= held * i64::from(copies);
        }
        if limits.nodes_left != i64::MAX {
            limits.nodes_left -= i64::from(copies);
        }
        if let Some(id) = &filled.reservation {
            self.scopes.reserve(id, copies);
            if self.scopes.ledger.get(id) == Some(&0) {
                self.fronts.clear();
            }
        }
    }

    /// The limited resources of which every one of `kinds` needs more than is left.
    pub(super) fn exceeded(&self, pool: usize, kinds: &[usize]) -> Vec<String> {
        let left = &self.limits[pool].left;
        let types = &self.prepared.pools[pool].types;
        let in_the_way =
            |dimension: &usize| kinds.iter().any(|kind| types[*kind].capacity[*dimension] > left[*dimension]);
        (0..left.len())
            .filter(in_the_way)
            .map(|dimension| self.prepared.dimensions.name(dimension).to_owned())
            .collect()
    }

    /// The value of a label that the machine will most likely have; none where that is open.
    pub(super) fn label_of(&self, bin: &Bin, key: &str) -> Option<String> {
        let settled = self.scopes.get(bin.scope).admission.requirements.get(key).and_then(Requirement::single_value);
        let offered = || {
            let offering = super::claims::cheapest_offering(self.prepared, &self.scopes, self.classes, bin)?;
            match key {
                labels::ZONE => Some(offering.zone.clone()),
                labels::CAPACITY_TYPE => Some(offering.capacity_type.as_str().to_owned()),
                _ => None,
            }
        };
        settled.map(str::to_owned).or_else(offered)
    }

    /// The level of preference at which `class` was last tried.
    pub(super) fn level_of(&self, class: usize) -> usize {
        self.level[class]
    }
}
