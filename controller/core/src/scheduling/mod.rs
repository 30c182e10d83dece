//! Pods + cluster + catalog → where each pod goes and what to launch.
//!
//! [`solve`] is the entry. It works on classes of equal pods rather than on pods, on interned shapes rather than on labels, and
//! on bit sets of instance types:
//!
//! 1. [`Prepared`] turns a snapshot and a catalog into arrays once; many solves share it.
//! 2. `classes` groups the pods; what is wrong with a pod by itself is its reason at once.
//! 3. `existing` fills machines that exist or are on their way.
//! 4. `packing` opens machines for the rest, each time the one that costs least per worth of pods packed.
//! 5. `improve` packs the machines that cost most for what they hold anew.
//! 6. `claims` widens each machine to every type that would do, within the pools' limits.
//!
//! Unlike the reference (spec core 2.5), which fills one claim until only huge machines are left and never looks at the price
//! while it packs, a machine here is chosen for its price per packed pod, across the pools of equal weight.

mod bits;
mod claims;
mod class_key;
mod classes;
mod daemons;
mod dimensions;
mod domains;
mod existing;
mod explain;
mod gangs;
mod host;
mod improve;
mod indexed_catalog;
mod judging;
mod key_index;
mod lower_bound;
mod onto_nodes;
mod packing;
mod pods;
mod pool;
mod prepared;
mod results;
mod running;
mod scopes;
mod selector;
mod sold_out;
mod static_pools;
mod topology;
mod volumes;
mod worths;

pub use indexed_catalog::IndexedCatalog;
pub use lower_bound::{lower_bound, tight_lower_bound};
pub use pods::{pods_of_leaving_nodes, pods_to_provision};
pub use prepared::Prepared;
pub use results::{Launch, Placement, PlannedNodeClaim, Results, Unschedulable};
pub use static_pools::{StaticShortage, static_shortage};
pub(crate) use static_pools::{is_deleted, machines_of, nodes_left, static_machine, static_pools, wanted};

use crate::model::{PodKey, Price, WhyNot};
use classes::Classes;
use domains::{Caps, Known, Pinned, Split};
use existing::Filling;
use gangs::{Gangs, Short};
use host::{Counted, HostState};
use k8s_openapi::api::core::v1::Pod;
use packing::Packing;
use running::Moving;
use std::{collections::BTreeSet, sync::Arc};
use worths::Worths;

/// How often a split over domains is made again because a part of it found no room; after that what still finds none is not
/// placed at all, so that the rest is spread as it asks.
const MAX_ROUNDS: u32 = 8;
/// How often all is placed anew where there are both nodes and new machines.
const ANEW: u32 = 6;

/// Pods are spread less evenly than they can be only where that saves so many thousandths.
const SKEW_SAVES_PERMILLE: i64 = 20;

/// So many gangs that gave way are tried again.
const TAKEN_BACK: usize = 16;

/// What to place, and on what.
#[derive(Clone, Copy, Debug)]
pub struct SchedulingInput<'a> {
    /// The cluster and the catalog, made ready.
    pub prepared: &'a Prepared<'a>,
    /// The pods to place, in any order. Where they run now does not matter.
    pub pods: &'a [Arc<Pod>],
    /// Positions in the snapshot's `nodes` of machines to treat as gone, their pods with them: the candidates of a
    /// disruption. They still count against their pools' limits.
    pub without: &'a BTreeSet<usize>,
    /// Whether pods may get machines that are not reserved while reserved ones would do but are all taken.
    pub reserved_fallback: bool,
    /// How hard to look for a cheaper answer.
    pub effort: Effort,
}

/// No machine is treated as gone.
static NONE_GONE: BTreeSet<usize> = BTreeSet::new();

impl<'a> SchedulingInput<'a> {
    /// What provisioning asks: `pods` on the whole cluster, waiting for reserved machines rather than paying for others, as cheap
    /// as can be found.
    pub fn new(prepared: &'a Prepared<'a>, pods: &'a [Arc<Pod>]) -> Self {
        Self { prepared, pods, without: &NONE_GONE, reserved_fallback: false, effort: Effort::Thorough }
    }
}

/// What a harder look makes an answer cheaper by is seldom more than so many thousandths.
const IN_REACH_PERMILLE: i128 = 100;

/// How hard to look for a cheaper answer once there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// The first answer will do: for questions that are asked by the hundred.
    Quick,
    /// As [`Self::Thorough`], until the machines cost no more than this together. The first answer will do if it is one machine, or
    /// costs so much more that a harder look will hardly bring it down to that.
    Within(Price),
    /// The machines that cost most for what they hold are packed anew.
    #[default]
    Thorough,
}

impl Effort {
    /// What machines may cost together that need not become cheaper; none where they are to become as cheap as can be.
    fn enough(self) -> Option<Price> {
        if let Self::Within(most) = self { Some(most) } else { None }
    }

    /// Whether to look harder for something cheaper than `packing`.
    fn goes_on_from(self, packing: &mut Packing<'_>) -> bool {
        match self {
            Self::Quick => false,
            Self::Thorough => true,
            Self::Within(most) => {
                packing.price_all();
                let (cost, machines) = packing.cost();
                let in_reach = || i128::from(cost) * (1_000 - IN_REACH_PERMILLE) <= i128::from(most.nanos()) * 1_000;
                machines > 1 && cost > most.nanos() && in_reach()
            }
        }
    }
}

/// Decides where each pod of the input goes. The order of the input's lists does not matter.
pub fn solve(input: &SchedulingInput<'_>) -> Results {
    solve_while(input, &mut || true)
}

/// [`solve`] that ends as soon as `go_on` says so: pods that were not looked at by then get [`WhyNot::OutOfTime`]. What has
/// been decided until then holds.
pub fn solve_while(input: &SchedulingInput<'_>, go_on: &mut dyn FnMut() -> bool) -> Results {
    let mut gangs = Gangs::of(input);
    if gangs.is_empty() {
        return solve_pods(input, go_on);
    }
    let incomplete = gangs.incomplete();
    let mut short = Vec::new();
    let mut results = loop {
        let results = solve_without(input, incomplete.iter().chain(&short), go_on);
        match gangs.give_up(&results) {
            Some(another) => short.push(another),
            None => break results,
        }
    };
    take_gangs_back(input, (&mut gangs, &incomplete, &mut short), &mut results, go_on);
    gangs::refuse(&mut results, incomplete.into_iter().chain(short).collect());
    results
}

/// A gang that gave way may have done so for one that gave way later itself: each is tried again, and starts if nothing that
/// has a place loses it by that.
fn take_gangs_back(
    input: &SchedulingInput<'_>,
    (gangs, incomplete, short): (&mut Gangs, &[Short], &mut Vec<Short>),
    results: &mut Results,
    go_on: &mut dyn FnMut() -> bool,
) {
    short.sort_by_cached_key(Short::rank);
    // With one gang alone the first try was the same.
    let again = if short.len() > 1 || short.iter().any(Short::gave_way) { short.len().min(TAKEN_BACK) } else { 0 };
    let mut from = 0;
    for _ in 0..again {
        let own = short.remove(from);
        let own_pods: BTreeSet<PodKey> = own.pods().iter().map(|pod| PodKey::of(pod)).collect();
        let with_it = solve_without(input, incomplete.iter().chain(short.iter()), go_on);
        let placed_before = |key: &PodKey| !own_pods.contains(key) && results.why_not(key).is_none();
        let lost = with_it.unschedulable.iter().any(|pod| placed_before(&pod.key));
        if !lost && gangs.start_with(&own, &with_it) {
            *results = with_it;
        } else {
            short.insert(from, own);
            from += 1;
        }
    }
}

/// Decides where each pod goes but those of `refused`.
fn solve_without<'a>(
    input: &SchedulingInput<'_>,
    refused: impl Iterator<Item = &'a Short>,
    go_on: &mut dyn FnMut() -> bool,
) -> Results {
    let refused: BTreeSet<PodKey> = refused.flat_map(Short::pods).map(|pod| PodKey::of(pod)).collect();
    let pods: Vec<Arc<Pod>> = input.pods.iter().filter(|pod| !refused.contains(&PodKey::of(pod))).cloned().collect();
    solve_pods(&SchedulingInput { pods: &pods, ..*input }, go_on)
}

/// Decides where each pod goes by itself.
fn solve_pods(input: &SchedulingInput<'_>, go_on: &mut dyn FnMut() -> bool) -> Results {
    let prepared = input.prepared;
    let base = Classes::of(input.pods, prepared);
    let moving = if base.groups.len() == 0 { Moving::new() } else { prepared.moving(input.pods, input.without) };
    if !domains::needed(&base, prepared) {
        let mut placed = place(input, &base, &moving, go_on);
        placed.improve(input.effort, go_on);
        return placed.results(prepared, &base);
    }
    solve_split(input, &base, &moving, Split::Even, go_on, |mut even, classes, go_on| {
        let may_differ = even.may_be_split_anew(input.effort) && domains::has_choice(&base);
        let cheap = (may_differ && go_on()).then(|| {
            solve_split(input, &base, &moving, Split::Cheap, go_on, |mut cheap, classes, _| {
                cheap.is_worth_its_skew(&mut even).then(|| cheap.results(prepared, classes))
            })
        });
        cheap.flatten().unwrap_or_else(|| even.results(prepared, classes))
    })
}

/// Decides where each pod goes by itself, spread over domains in one way, and hands it to `then`.
fn solve_split<T>(
    input: &SchedulingInput<'_>,
    base: &Classes,
    moving: &Moving,
    split: Split,
    go_on: &mut dyn FnMut() -> bool,
    then: impl FnOnce(Placed<'_>, &Classes, &mut dyn FnMut() -> bool) -> T,
) -> T {
    let prepared = input.prepared;
    let mut known = Known::default();
    let mut round = 1;
    loop {
        let pinned = domains::pin(base, prepared, input.without, moving, &known, split);
        let mut placed = place(input, &pinned.classes, moving, go_on);
        let short = placed.short(&pinned);
        let mut came = placed.came(&pinned, &known);
        if short.is_empty() && came.is_empty() {
            // Other machines for the same pods; they may stand in a domain where there was none.
            placed.improve(input.effort, go_on);
            came = placed.came(&pinned, &known);
        }
        if (short.is_empty() && came.is_empty()) || !placed.packing.unseen.is_empty() {
            return then(placed, &pinned.classes, go_on);
        }
        if round < MAX_ROUNDS {
            came.iter().for_each(|domain| {
                known.absent.remove(domain);
            });
            known.present.extend(came);
            let gone = short.iter().filter(|(domain, found)| {
                **found == 0 && !known.present.contains(*domain) && !placed.has_machine_in(&pinned, domain)
            });
            known.absent.extend(gone.map(|(domain, _)| domain.clone()));
            known.caps.extend(short);
        } else {
            // Each time at least one class more has no domain left, so this comes to an end.
            known.absent.clear();
            known.caps.extend(pinned.all_parts_of(&short).map(|part| (part, 0)));
        }
        round += 1;
    }
}

/// One placing of all classes.
struct Placed<'a> {
    packing: Packing<'a>,
    filling: Filling<'a>,
}

/// Places all classes. It is tried a few times where some pods stand on room that is paid for already and some on new machines, or
/// where limits left some out: with the largest pods first on that room, then each time with what the pods came to cost before, and
/// those first that had no place.
fn place<'a>(
    input: &SchedulingInput<'a>,
    classes: &'a Classes,
    moving: &Moving,
    go_on: &mut dyn FnMut() -> bool,
) -> Placed<'a> {
    let prepared = input.prepared;
    let counted = Counted::new(&classes.groups, prepared, moving);
    let mut nodes = Filling::new(prepared, input.without, |position| HostState::of(&counted, position));
    nodes.weigh(classes);
    let mut best = place_once(input, classes, nodes.clone(), Worths::Bulk, go_on);
    if !input.effort.goes_on_from(&mut best.packing) {
        return best;
    }
    let on_both = !best.packing.bins.is_empty() && best.filling.contents().next().is_some();
    let is_held_back = best.packing.is_held_back();
    if !(on_both || is_held_back) {
        return best;
    }
    best.packing.price_all();
    if is_held_back && go_on() {
        let mut many = place_once(input, classes, nodes.clone(), Worths::Number, go_on);
        many.packing.price_all();
        if many.rank() < best.rank() {
            best = many;
        }
    }
    let mut learnt = best.packing.learnt();
    for number in 0..ANEW {
        if !go_on() {
            break;
        }
        let by_size = on_both && number == 0;
        let worths = if by_size { Worths::Size } else { Worths::Learnt(learnt.clone()) };
        let mut other = place_once(input, classes, nodes.clone(), worths, go_on);
        other.packing.price_all();
        if !by_size {
            learnt = other.packing.learnt();
        }
        if other.rank() < best.rank() {
            best = other;
        }
    }
    best
}

fn place_once<'a>(
    input: &SchedulingInput<'a>,
    classes: &'a Classes,
    mut filling: Filling<'a>,
    worths: Worths,
    go_on: &mut dyn FnMut() -> bool,
) -> Placed<'a> {
    let mut packing = Packing::new(input.prepared, classes, input.reserved_fallback);
    packing.run(&mut filling, worths, go_on);
    Placed { packing, filling }
}

impl Placed<'_> {
    /// The less the better: pods without a place, what the machines cost, how many there are.
    fn rank(&self) -> (usize, i64, usize) {
        let (cost, machines) = self.packing.cost();
        (self.packing.without_place(), cost, machines)
    }

    /// Makes the machines better, if the effort is wanted; every pod that has a place keeps one.
    fn improve(&mut self, effort: Effort, go_on: &mut dyn FnMut() -> bool) {
        if effort.goes_on_from(&mut self.packing) {
            self.packing.improve(effort.enough(), go_on);
        }
    }

    /// The domains that were taken to have no machine and in which one is planned now.
    fn came(&self, pinned: &Pinned, known: &Known) -> Vec<(usize, Vec<String>)> {
        known.absent.iter().filter(|domain| self.has_machine_in(pinned, domain)).cloned().collect()
    }

    /// The parts of which some pods found no room, with how many did.
    fn short(&self, pinned: &Pinned) -> Caps {
        let parts = pinned.parts.iter().enumerate().filter_map(|(class, part)| Some((class, part.clone()?)));
        let short = parts.filter(|(class, _)| self.packing.left[*class] > 0);
        short.map(|(class, part)| (part, pinned.classes.list[class].count() - self.packing.left[class])).collect()
    }

    /// Whether some machine is planned that would be launched in a domain of a class as things are now.
    fn has_machine_in(&self, pinned: &Pinned, (class, values): &(usize, Vec<String>)) -> bool {
        let Some(keys) = pinned.keys.get(class) else { return false };
        let is_there = |bin: &packing::Bin| {
            let label = |key: &str| self.packing.label_of(bin, key);
            keys.iter().zip(values).all(|(key, value)| label(key).is_none_or(|own| own == *value))
        };
        self.packing.bins.iter().any(is_there)
    }

    /// What the machines cost together, in nano-dollars.
    fn cost(&mut self) -> i64 {
        self.packing.price_all();
        self.packing.cost().0
    }

    /// Whether another split over domains may be looked for.
    fn may_be_split_anew(&mut self, effort: Effort) -> bool {
        match effort {
            Effort::Quick => false,
            Effort::Within(most) => self.cost() > most.nanos(),
            Effort::Thorough => !self.packing.bins.is_empty(),
        }
    }

    /// Whether this split, less even than it could be, costs so much less than the `even` one. What is said by weights is not given
    /// up for money.
    fn is_worth_its_skew(&mut self, even: &mut Placed<'_>) -> bool {
        let most = even.cost() / 1_000 * (1_000 - SKEW_SAVES_PERMILLE);
        let (own, others) = (self.packing.on_lesser_pools(), even.packing.on_lesser_pools());
        let keeps_to_weights = own.iter().zip(&others).all(|(own, other)| own <= other);
        let places_all = self.packing.without_place() <= even.packing.without_place();
        places_all && keeps_to_weights && self.cost() < most
    }

    fn results(mut self, prepared: &Prepared<'_>, classes: &Classes) -> Results {
        assemble(prepared, classes, &mut self.packing, &self.filling)
    }
}

/// Hands the pods of each class out to the places found for it, in order.
fn assemble(prepared: &Prepared<'_>, classes: &Classes, packing: &mut Packing<'_>, filling: &Filling<'_>) -> Results {
    let mut next: Vec<usize> = vec![0; classes.list.len()];
    let mut take = |class: usize, times: u32| {
        let from = next[class];
        next[class] += times as usize;
        classes.list[class].pods[from..next[class]].to_vec()
    };
    let mut placements: Vec<Placement> = (filling.contents())
        .map(|(node, contents)| {
            let mut pods: Vec<Arc<Pod>> = contents.iter().flat_map(|(class, times)| take(*class, *times)).collect();
            pods.sort_by_cached_key(|pod| PodKey::of(pod));
            Placement { node: node.name.clone(), index: node.index, initialized: node.initialized, pods }
        })
        .collect();
    placements.sort_by(|a, b| a.node.cmp(&b.node));
    let limits = packing.limits.clone();
    let planned = claims::planned_claims(prepared, &packing.scopes, classes, &packing.bins, limits, &mut take);
    let mut unschedulable: Vec<Unschedulable> = Vec::new();
    let refuse = |pod: &Arc<Pod>, why: WhyNot| Unschedulable { key: PodKey::of(pod), pod: pod.clone(), why };
    unschedulable.extend(classes.refused.iter().map(|(pod, why)| refuse(pod, why.clone())));
    for class in (0..classes.list.len()).filter(|class| packing.left[*class] > 0).collect::<Vec<_>>() {
        let why = explain::why_not(prepared, classes, packing, class);
        unschedulable.extend(take(class, packing.left[class]).iter().map(|pod| refuse(pod, why.clone())));
    }
    unschedulable.sort_by(|a, b| a.key.cmp(&b.key));
    Results { placements, planned, unschedulable }
}

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;
