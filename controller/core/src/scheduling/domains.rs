//! Constraints between pods of one zone (or any other domain than a host): required (anti-)affinity and spread.
//!
//! A class that such a constraint speaks of is split before packing, so many pods to each domain, and each part is pinned to its
//! domain. Packing then need not know of domains. Where a part finds no place, the split is made again with what was possible. How even
//! it is where that is open is [`Split`]'s.
//! Constraints over several labels (zone and capacity type) make a domain of each combination of their values.

use super::{
    bits::Bits,
    classes::{Class, Classes, DomainRules, Preference, Shape, SpreadRule},
    dimensions::times_that_fit,
    existing::satisfied,
    prepared::Prepared,
    running::{Moving, Tally, domain},
    scopes::Scopes,
};
use crate::model::{Operator, Requirement, WhyNot, is_active, tolerates_all};
use k8s_openapi::api::core::v1::Pod;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The values of a class's topology labels, in the order of the labels: which domain it is.
type Values = Vec<String>;

/// How many pods of a class (by position) found room in a domain, where not all did.
pub(super) type Caps = BTreeMap<(usize, Values), u32>;

/// What earlier splits have shown.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) caps: Caps,
    /// Domains in which there is no node for the class and none comes about, because limits are reached: kube-scheduler, which
    /// counts domains by their nodes, does not see them.
    pub(super) absent: BTreeSet<(usize, Values)>,
    /// Domains that were thought absent once, until a machine came about there.
    pub(super) present: BTreeSet<(usize, Values)>,
}

/// So many combinations of values are looked at; constraints over more labels than that allows are refused.
const MAX_DOMAINS: usize = 1_024;

/// Which of the domains that the constraints allow comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Split {
    /// The emptiest, and the cheapest of equally empty ones.
    Even,
    /// One with room on machines that exist, then the cheapest, and the emptiest of equally cheap ones.
    Cheap,
}

/// Classes whose parts are pinned to domains.
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) classes: Classes,
    /// By class: the class and domain that it is a part of.
    pub(super) parts: Vec<Option<(usize, Values)>>,
    /// By class that was split: the labels that its domains are made of.
    pub(super) keys: BTreeMap<usize, Vec<String>>,
}

impl Pinned {
    /// Every part of the classes of which some part is in `short`.
    pub(super) fn all_parts_of(&self, short: &Caps) -> impl Iterator<Item = (usize, Values)> {
        let classes: BTreeSet<usize> = short.keys().map(|(class, _)| *class).collect();
        self.parts.iter().flatten().filter(move |(class, _)| classes.contains(class)).cloned()
    }
}

/// Whether some class has to be pinned.
pub(super) fn needed(classes: &Classes, prepared: &Prepared<'_>) -> bool {
    let spoken = spoken_of(classes, prepared);
    classes.list.iter().any(|class| is_bound_to_domains(class, &spoken))
}

/// Whether [`Split::Cheap`] may differ from [`Split::Even`]: some class may be spread less evenly than it can be.
pub(super) fn has_choice(classes: &Classes) -> bool {
    classes.list.iter().any(may_be_uneven)
}

/// Classes with preferences are left alone: what they prefer goes before what it costs.
fn may_be_uneven(class: &Class) -> bool {
    class.levels.len() == 1 && class.domain.spread.iter().any(|rule| rule.max_skew > 1)
}

fn is_bound_to_domains(class: &Class, spoken: &BTreeSet<usize>) -> bool {
    !class.domain.is_empty()
        || !class.domain.preferred.is_empty()
        || class.domain.selected.iter().any(|group| spoken.contains(group))
}

/// Pods that ask for nothing themselves come first, then those that keep others away or want their own kind; those that spread
/// take all of them into account; those that follow others come last, one after the other.
fn turn(class: &Class) -> u8 {
    let rules = &class.domain;
    let follows = rules.affinity.iter().any(|group| !rules.selected.contains(group));
    match (rules.is_empty(), follows, rules.spread.is_empty()) {
        (true, _, _) => 0,
        (false, false, true) => 1,
        (false, false, false) => 2,
        (false, true, _) => 3,
    }
}

/// The groups that some pod, running or to be placed, speaks of: where their pods go must be known.
fn spoken_of(classes: &Classes, prepared: &Prepared<'_>) -> BTreeSet<usize> {
    let running = prepared.kept_away().iter().filter_map(|group| classes.groups.find(&group.identity()));
    let waiting = classes.list.iter().flat_map(|class| class.domain.groups());
    running.chain(waiting).filter(|group| !classes.groups.get(*group).is_by_host()).collect()
}

/// Splits the classes that topology constraints over domains speak of.
pub(super) fn pin(
    base: &Classes,
    prepared: &Prepared<'_>,
    gone: &BTreeSet<usize>,
    moving: &Moving,
    known: &Known,
    split: Split,
) -> Pinned {
    let spoken = spoken_of(base, prepared);
    let mut pinning = Pinning {
        prepared,
        base,
        gone,
        moving,
        scopes: Scopes::new(prepared, true),
        shapes: base.shapes.clone(),
        counts: BTreeMap::new(),
        keepers: BTreeMap::new(),
        refused: base.refused.clone(),
        spoken: spoken.clone(),
        split,
    };
    pinning.count_keepers();
    let (mut list, mut parts, mut keys) = (Vec::new(), Vec::new(), BTreeMap::new());
    let mut order: Vec<(usize, &Class)> = base.list.iter().enumerate().collect();
    let behind = base.behind_in_domains();
    order.sort_by_key(|(position, class)| (turn(class), behind[*position], *position));
    for (position, class) in order {
        if is_bound_to_domains(class, &spoken) {
            keys.insert(position, pinning.keys(class));
            for (values, part) in pinning.split(position, class, known) {
                list.push(part);
                parts.push(Some((position, values)));
            }
        } else {
            list.push(class.clone());
            parts.push(None);
        }
    }
    let classes = Classes { list, shapes: pinning.shapes, groups: base.groups.clone(), refused: pinning.refused };
    Pinned { classes, parts, keys }
}

struct Pinning<'a> {
    prepared: &'a Prepared<'a>,
    base: &'a Classes,
    gone: &'a BTreeSet<usize>,
    moving: &'a Moving,
    scopes: Scopes<'a>,
    shapes: Vec<Shape>,
    /// Pods placed by this split so far.
    counts: Counts,
    /// Pods that keep the group away.
    keepers: Counts,
    refused: Vec<(Arc<Pod>, WhyNot)>,
    spoken: BTreeSet<usize>,
    split: Split,
}

/// Pods by group and the value that their machine has for the group's label.
type Counts = BTreeMap<(usize, String), u32>;

/// A class being split.
struct Parting<'a> {
    class: &'a Class,
    /// The labels that its domains are made of.
    keys: Vec<String>,
    /// Pods that run.
    running: Counts,
}

/// A domain as a class meets it.
struct Domain {
    values: Values,
    /// What one pod is worth there; none if it can only join machines that exist.
    worth: Option<i128>,
    /// So many of them machines that exist have room for, if that was looked at.
    room: u32,
    /// Whether the class may go there; a domain that it cannot use may still count for its spread.
    usable: bool,
    /// Whether a node is there that counts for the class.
    exists: bool,
    /// Whether a node is there or could be launched within the pools' limits: kube-scheduler counts domains by their nodes.
    has_nodes: bool,
    /// Whether it is there only for spread constraints that count nodes whatever node affinity says of them.
    beyond: bool,
    placed: u32,
    cap: u32,
}

impl Pinning<'_> {
    fn count_keepers(&mut self) {
        let running = self.prepared.running();
        let groups = &self.base.groups;
        let mut keepers = BTreeMap::new();
        for group in 0..groups.len() {
            let own = groups.get(group);
            let Some(tally) = self.prepared.keepers_of(&own.identity()).filter(|_| !own.is_by_host()) else { continue };
            let gone = running.positions_of(self.gone).map(|position| (position, tally.active[position]));
            let moving = self.moving.iter().filter(|(_, pod)| is_active(pod));
            let moving = moving.filter(|(_, pod)| groups.kept_away_by(pod).contains(&group));
            let left = self.left(tally, group, gone.chain(moving.map(|(position, _)| (*position, 1))));
            keepers.extend(left.into_iter().map(|(domain, count)| ((group, domain), count)));
        }
        self.keepers = keepers;
    }

    /// What is left of a tally by domain without so many pods at these positions.
    fn left(&self, tally: &Tally, group: usize, without: impl Iterator<Item = (usize, u32)>) -> BTreeMap<String, u32> {
        let mut left = tally.by_domain.clone();
        for (position, count) in without {
            let domain = domain(&self.prepared.nodes[position], &self.base.groups.get(group).key);
            if let Some(counted) = domain.and_then(|domain| left.get_mut(domain)) {
                *counted -= count;
            }
        }
        left.retain(|_, count| *count > 0);
        left
    }

    /// The class's parts by domain; pods that fit into no domain are refused.
    fn split(&mut self, position: usize, class: &Class, known: &Known) -> Vec<(Values, Class)> {
        let keys = self.keys(class);
        let Some(mut domains) = self.domains(class, &keys) else {
            let constraint =
                "a set of topology constraints over labels with more than a thousand combinations of values";
            self.refuse(&class.pods, &WhyNot::Unsupported { constraint });
            return Vec::new();
        };
        for domain in &mut domains {
            let key = (position, domain.values.clone());
            domain.cap = known.caps.get(&key).copied().unwrap_or(u32::MAX);
            domain.has_nodes &= domain.exists || !known.absent.contains(&key);
        }
        let parting = Parting { running: self.running_counts(class, &keys), class, keys };
        let mut unplaced = 0;
        for _ in 0..class.count() {
            let Some(chosen) = self.choose(&parting, &domains) else {
                unplaced += 1;
                continue;
            };
            domains[chosen].placed += 1;
            self.enter(&parting, &domains[chosen]);
        }
        let (placed, rest) = class.pods.split_at(class.pods.len() - unplaced);
        if !rest.is_empty() {
            self.refuse(rest, &self.why(&parting, &domains));
        }
        self.parts(&parting, placed, &domains)
    }

    fn parts(&mut self, parting: &Parting<'_>, pods: &[Arc<Pod>], domains: &[Domain]) -> Vec<(Values, Class)> {
        let class = parting.class;
        let mut rest = pods;
        let mut parts = Vec::new();
        for domain in domains.iter().filter(|domain| domain.placed > 0) {
            let (own, others) = rest.split_at(domain.placed as usize);
            rest = others;
            let here = here(&parting.keys, &domain.values);
            let levels = class.levels.iter().map(|level| self.narrowed(level, &here));
            let levels: Vec<Vec<usize>> = levels.filter(|level| !level.is_empty()).collect();
            let part = Class { pods: own.to_vec(), levels, domain: DomainRules::default(), ..class.clone() };
            parts.push((domain.values.clone(), part));
        }
        parts
    }

    /// The shapes of a level with the domain added; those that contradict it are left out.
    fn narrowed(&mut self, level: &[usize], here: &[Requirement]) -> Vec<usize> {
        let mut found = Vec::new();
        for shape in level {
            let mut narrowed = self.shapes[*shape].clone();
            here.iter().for_each(|one| narrowed.requirements.add(one.clone()));
            if narrowed.requirements.contradiction().is_some() {
                continue;
            }
            let known = self.shapes.iter().position(|own| *own == narrowed);
            found.push(known.unwrap_or_else(|| {
                self.shapes.push(narrowed);
                self.shapes.len() - 1
            }));
        }
        found
    }

    fn refuse(&mut self, pods: &[Arc<Pod>], why: &WhyNot) {
        self.refused.extend(pods.iter().map(|pod| (pod.clone(), why.clone())));
    }

    /// The labels that the class's constraints, and those that keep it away, speak of.
    fn keys(&self, class: &Class) -> Vec<String> {
        let rules = &class.domain;
        let selected = rules.selected.iter().copied().filter(|group| self.spoken.contains(group));
        let keys: BTreeSet<&str> = rules
            .groups()
            .chain(rules.preferred_groups())
            .chain(selected)
            .map(|group| self.base.groups.get(group).key.as_str())
            .collect();
        keys.into_iter().map(str::to_owned).collect()
    }

    /// The domains that the class may use: those where it could be launched, and those of nodes that would take it. None if
    /// there are too many to look at.
    fn domains(&mut self, class: &Class, keys: &[String]) -> Option<Vec<Domain>> {
        let level = class.levels.last().cloned().unwrap_or_default();
        let is_cheap = self.is_cheap(class);
        let looks_beyond = class.domain.spread.iter().any(|rule| !rule.honor_affinity);
        let mut found = Vec::new();
        for values in self.combinations(keys)? {
            let here = here(keys, &values);
            let shapes = self.narrowed(&level, &here);
            let worth = self.worth(class, &shapes);
            let (accepted, counted) = (self.is_accepted(&shapes), self.is_counted(&level, &here));
            let beyond = worth.is_none() && !accepted && !counted;
            if !beyond || looks_beyond {
                let (usable, has_nodes) = (worth.is_some() || accepted, counted || self.is_within_limits(&shapes));
                let exists = counted;
                let room = if is_cheap { self.room(class, &shapes) } else { 0 };
                found.push(Domain { values, worth, room, usable, exists, has_nodes, beyond, placed: 0, cap: u32::MAX });
            }
        }
        Some(found)
    }

    /// Every combination of the values that machines have, or may have, for `keys`, in order.
    fn combinations(&self, keys: &[String]) -> Option<Vec<Values>> {
        let mut all: Vec<Values> = vec![Vec::new()];
        for key in keys {
            let values = self.prepared.values_with_nodes(key);
            if all.len() * values.len() > MAX_DOMAINS {
                return None;
            }
            let with = |so_far: &Values| {
                let so_far = so_far.clone();
                values.iter().map(move |value| [so_far.clone(), vec![value.clone()]].concat()).collect::<Vec<_>>()
            };
            all = all.iter().flat_map(with).collect();
        }
        Some(all)
    }

    /// Whether some node would take pods of these shapes.
    fn is_accepted(&self, shapes: &[usize]) -> bool {
        let (running, nodes) = (self.prepared.running(), &self.prepared.nodes);
        shapes.iter().any(|shape| self.is_one_that_stays(&running.accepting(&self.shapes[*shape], nodes)))
    }

    /// Whether the class goes to the cheapest domains.
    fn is_cheap(&self, class: &Class) -> bool {
        self.split == Split::Cheap && may_be_uneven(class)
    }

    /// How many pods of the class the nodes have room for that would take pods of these shapes, were there no others.
    fn room(&self, class: &Class, shapes: &[usize]) -> u32 {
        let Some(request) = &class.request else { return 0 };
        let (running, nodes) = (self.prepared.running(), &self.prepared.nodes);
        let mut accepting = Bits::none(nodes.len());
        for shape in shapes {
            running.accepting(&self.shapes[*shape], nodes).iter().for_each(|position| accepting.insert(position));
        }
        let staying = accepting.iter().map(|position| &nodes[position]).filter(|node| !self.gone.contains(&node.index));
        let room = staying.map(|node| times_that_fit(request, &node.free, class.count()));
        room.fold(0, u32::saturating_add)
    }

    /// Whether some node in the domain has the labels that pods of these shapes themselves ask for: its pods count for spreads,
    /// wherever volumes are.
    fn is_counted(&self, level: &[usize], here: &[Requirement]) -> bool {
        let (running, nodes) = (self.prepared.running(), &self.prepared.nodes);
        let here = running.labelled(&here.iter().cloned().collect(), nodes);
        level.iter().any(|shape| {
            let mut own = running.labelled(&self.shapes[*shape].own, nodes);
            own.intersect(&here);
            self.is_one_that_stays(&own)
        })
    }

    /// Whether one of these nodes stays.
    fn is_one_that_stays(&self, nodes: &Bits) -> bool {
        nodes.iter().any(|position| !self.gone.contains(&self.prepared.nodes[position].index))
    }

    fn worth(&mut self, class: &Class, shapes: &[usize]) -> Option<i128> {
        let request = class.request.as_ref()?;
        let mut least: Option<i128> = None;
        for pool in 0..self.prepared.pools.len() {
            for shape in shapes {
                let Ok(scope) = self.scopes.of_shape(*shape, &self.shapes, pool) else { continue };
                if let Some(worth) = self.scopes.worth(scope, request) {
                    least = Some(least.map_or(worth, |least| least.min(worth)));
                }
            }
        }
        least
    }

    /// Whether some machine for these shapes could be launched within its pool's limits as they are.
    fn is_within_limits(&mut self, shapes: &[usize]) -> bool {
        (0..self.prepared.pools.len()).any(|pool| {
            shapes.iter().any(|shape| {
                let scope = self.scopes.of_shape(*shape, &self.shapes, pool);
                scope.is_ok_and(|scope| self.scopes.is_within_limits(scope))
            })
        })
    }

    /// By group and domain: pods that run, on the nodes that the class's spread constraints count.
    fn running_counts(&self, class: &Class, keys: &[String]) -> Counts {
        let rules = &class.domain;
        let spread = |group: usize| rules.spread.iter().find(|rule| rule.group == group);
        let spoken = rules.groups().chain(rules.preferred_groups());
        let groups: BTreeSet<usize> = spoken.chain(rules.selected.iter().copied()).collect();
        // Others are not asked about.
        let groups = groups.into_iter().filter(|group| keys.contains(&self.base.groups.get(*group).key));
        let mut counts = Counts::new();
        for group in groups {
            let tally = self.prepared.selected_by(self.base.groups.get(group));
            let left = match spread(group).filter(|rule| !self.counts_everywhere(class, rule)) {
                None => {
                    let gone = self.prepared.running().positions_of(self.gone);
                    let gone = gone.map(|position| (position, tally.active[position]));
                    let moving = self.moving_of(group).map(|position| (position, 1));
                    self.left(&tally, group, gone.chain(moving))
                }
                Some(rule) => self.counted(class, rule, &tally),
            };
            counts.extend(left.into_iter().map(|(domain, count)| ((group, domain), count)));
        }
        counts
    }

    /// Where pods of the group run that will not be there, though their machines stay.
    fn moving_of(&self, group: usize) -> impl Iterator<Item = usize> {
        let group = self.base.groups.get(group);
        let moving = self.moving.iter().filter(|(_, pod)| is_active(pod) && group.selects(pod));
        moving.map(|(position, _)| *position)
    }

    /// A node counts for spreads only if it has all labels that the pod spreads over.
    fn spread_keys(&self, class: &Class) -> BTreeSet<&str> {
        class.domain.spread.iter().map(|rule| self.base.groups.get(rule.group).key.as_str()).collect()
    }

    /// Whether the class's constraint counts every node that has its label.
    fn counts_everywhere(&self, class: &Class, rule: &SpreadRule) -> bool {
        let level = class.levels.last().map_or(&[][..], Vec::as_slice);
        let asks_nothing = || level.iter().any(|shape| self.shapes[*shape].own.is_empty());
        self.spread_keys(class).len() == 1 && !rule.honor_taints && (!rule.honor_affinity || asks_nothing())
    }

    /// The pods of a tally by domain on the nodes that the class's constraint counts.
    fn counted(&self, class: &Class, rule: &SpreadRule, tally: &Tally) -> BTreeMap<String, u32> {
        let level = class.levels.last().map_or(&[][..], Vec::as_slice);
        let shapes = || level.iter().map(|shape| &self.shapes[*shape]);
        let keys = self.spread_keys(class);
        let mut moving: BTreeMap<usize, u32> = BTreeMap::new();
        self.moving_of(rule.group).for_each(|position| *moving.entry(position).or_insert(0) += 1);
        let mut counts = BTreeMap::new();
        for (position, node) in
            self.prepared.nodes.iter().enumerate().filter(|(_, own)| !self.gone.contains(&own.index))
        {
            let count = tally.active[position] - moving.get(&position).copied().unwrap_or(0);
            let counted = count > 0
                && keys.iter().all(|key| domain(node, key).is_some())
                && (!rule.honor_affinity || shapes().any(|shape| satisfied(&node.labels, &shape.own)))
                && (!rule.honor_taints || shapes().any(|shape| tolerates_all(&shape.tolerations, &node.taints)));
            if let Some(domain) = domain(node, &self.base.groups.get(rule.group).key).filter(|_| counted) {
                *counts.entry(domain.to_owned()).or_insert(0) += count;
            }
        }
        counts
    }

    /// The domain for one more pod, of those that the constraints allow: the first as [`Split`] says.
    fn choose(&self, parting: &Parting<'_>, domains: &[Domain]) -> Option<usize> {
        let rules = &parting.class.domain;
        // Pods that ask for nothing themselves keep out of the way of those that spread.
        let watched: Vec<usize> = if rules.is_empty() {
            rules.selected.iter().copied().filter(|group| self.spoken.contains(group)).collect()
        } else {
            rules.spread.iter().map(|rule| rule.group).collect()
        };
        let allowed = (0..domains.len()).filter(|index| self.allows(parting, domains, *index));
        allowed.min_by_key(|index| {
            let domain = &domains[*index];
            let load: u32 = watched.iter().map(|group| self.count(parting, *group, domain)).sum();
            let (dislike, worth) = (self.dislike(parting, domain), domain.worth.unwrap_or(0));
            // What goes before the load, and what after it.
            let (first, then) = if self.is_cheap(parting.class) {
                let worth = if domain.placed < domain.room { 0 } else { worth };
                ((dislike, worth), (0, 0))
            } else {
                ((0, 0), (dislike, worth))
            };
            (first, load, then, domain.values.clone())
        })
    }

    /// How little one more pod of the class would like the domain.
    fn dislike(&self, parting: &Parting<'_>, domain: &Domain) -> i64 {
        let of = |(group, preference): &(usize, Preference)| {
            let there = i64::from(self.count(parting, *group, domain));
            match preference {
                Preference::Spread => there,
                Preference::Near(weight) => -weight * there.min(1),
                Preference::Apart(weight) => weight * there,
            }
        };
        parting.class.domain.preferred.iter().map(of).sum()
    }

    fn allows(&self, parting: &Parting<'_>, domains: &[Domain], index: usize) -> bool {
        let rules = &parting.class.domain;
        let domain = &domains[index];
        if !domain.usable || domain.placed >= domain.cap {
            return false;
        }
        let here = |group: usize| self.count(parting, group, domain);
        let kept_out = |group: &usize| {
            self.value(parting, *group, domain)
                .is_some_and(|value| self.keepers.contains_key(&(*group, value.to_owned())))
        };
        if rules.selected.iter().any(kept_out) || rules.anti.iter().any(|group| here(*group) > 0) {
            return false;
        }
        let near = rules.affinity.iter().all(|group| {
            here(*group) > 0 || (rules.selected.contains(group) && !self.present(parting, *group, domains))
        });
        near && rules.spread.iter().all(|rule| self.within_skew(parting, rule, domains, index))
    }

    /// Whether some pod of the group is in a domain that the class may use.
    fn present(&self, parting: &Parting<'_>, group: usize, domains: &[Domain]) -> bool {
        domains.iter().any(|domain| self.count(parting, group, domain) > 0)
    }

    fn within_skew(&self, parting: &Parting<'_>, rule: &SpreadRule, domains: &[Domain], index: usize) -> bool {
        // Where node affinity does not count, other pods may bring nodes to any domain: all are counted, so that the plan holds.
        let counts_here = |domain: &&Domain| {
            !rule.honor_affinity || (!domain.beyond && domain.has_nodes && (domain.usable || !rule.honor_taints))
        };
        // Domains that differ in other labels only are one for this constraint.
        let counts: BTreeMap<Option<&str>, u32> = (domains.iter().filter(counts_here))
            .map(|domain| (self.value(parting, rule.group, domain), self.count(parting, rule.group, domain)))
            .collect();
        let too_few = (counts.len() as u64) < u64::from(rule.min_domains);
        let least = if too_few { 0 } else { counts.into_values().min().unwrap_or(0) };
        let own = u32::from(parting.class.domain.selected.contains(&rule.group));
        // The domain itself is among those counted, so the difference is never negative.
        (self.count(parting, rule.group, &domains[index]) + own).saturating_sub(least) <= rule.max_skew
    }

    /// The value that machines of the domain have for the group's label; none if the class does not speak of it.
    fn value<'a>(&self, parting: &Parting<'_>, group: usize, domain: &'a Domain) -> Option<&'a str> {
        let key = &self.base.groups.get(group).key;
        parting.keys.iter().position(|own| own == key).map(|position| domain.values[position].as_str())
    }

    fn count(&self, parting: &Parting<'_>, group: usize, domain: &Domain) -> u32 {
        let Some(value) = self.value(parting, group, domain) else { return 0 };
        let key = (group, value.to_owned());
        self.counts.get(&key).copied().unwrap_or(0) + parting.running.get(&key).copied().unwrap_or(0)
    }

    fn enter(&mut self, parting: &Parting<'_>, domain: &Domain) {
        for group in &parting.class.domain.selected {
            if let Some(value) = self.value(parting, *group, domain) {
                *self.counts.entry((*group, value.to_owned())).or_insert(0) += 1;
            }
        }
        for group in &parting.class.domain.anti {
            if let Some(value) = self.value(parting, *group, domain) {
                *self.keepers.entry((*group, value.to_owned())).or_insert(0) += 1;
            }
        }
    }

    fn why(&self, parting: &Parting<'_>, domains: &[Domain]) -> WhyNot {
        let rules = &parting.class.domain;
        let (kind, group) = if let Some(rule) = rules.spread.first() {
            ("topology spread", Some(rule.group))
        } else if let Some(group) = rules.affinity.first() {
            ("pod affinity", Some(*group))
        } else {
            ("pod anti-affinity", rules.anti.first().or(rules.selected.first()).copied())
        };
        let counts = domains.iter().map(|domain| {
            let count = group.map_or(0, |group| self.count(parting, group, domain));
            format!("{}: {count}", domain.values.join("/"))
        });
        let counts = counts.collect::<Vec<_>>().join(", ");
        let detail = if counts.is_empty() { "no domain will do".to_owned() } else { format!("counts = {counts}") };
        WhyNot::Topology { kind, key: parting.keys.join(", "), detail }
    }
}

/// What holds of machines in a domain.
fn here(keys: &[String], values: &[String]) -> Vec<Requirement> {
    keys.iter().zip(values).map(|(key, value)| Requirement::new(key, Operator::In, [value])).collect()
}
