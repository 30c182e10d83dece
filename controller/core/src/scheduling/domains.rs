//! Constraints between pods of one zone (or any other domain than a host): required (anti-)affinity and spread.
//!
//! A class that such a constraint speaks of is split before packing, so many pods to each domain, and each part is pinned to its
//! domain. Packing then need not know of domains. Where a part finds no place, the split is made again with what was possible.

use super::{
    classes::{Class, Classes, DomainRules, Shape, SpreadRule},
    existing::satisfied,
    prepared::Prepared,
    scopes::Scopes,
};
use crate::model::{Operator, PodKey, Requirement, Requirements, WhyNot, is_active, tolerates_all};
use k8s_openapi::api::core::v1::Pod;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// How many pods of a class (by position) found room in a domain, where not all did.
pub(super) type Caps = BTreeMap<(usize, String), u32>;

/// Classes whose parts are pinned to domains.
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) classes: Classes,
    /// By class: the class and domain that it is a part of.
    pub(super) parts: Vec<Option<(usize, String)>>,
}

impl Pinned {
    /// Every part of the classes of which some part is in `short`.
    pub(super) fn all_parts_of(&self, short: &Caps) -> impl Iterator<Item = (usize, String)> {
        let classes: BTreeSet<usize> = short.keys().map(|(class, _)| *class).collect();
        self.parts.iter().flatten().filter(move |(class, _)| classes.contains(class)).cloned()
    }
}

/// Whether some class has to be pinned.
pub(super) fn needed(classes: &Classes, prepared: &Prepared<'_>) -> bool {
    let spoken = spoken_of(classes, prepared);
    classes.list.iter().any(|class| is_bound_to_domains(class, &spoken))
}

fn is_bound_to_domains(class: &Class, spoken: &BTreeSet<usize>) -> bool {
    !class.domain.is_empty() || class.domain.selected.iter().any(|group| spoken.contains(group))
}

/// Pods that ask for nothing themselves come first, then those that keep others away or want their own kind; those that spread
/// take all of them into account; those that follow others come last.
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
    let running = prepared.keepers.iter().flat_map(|pod| classes.groups.kept_away_by(pod));
    let waiting = classes.list.iter().flat_map(|class| class.domain.groups());
    running.chain(waiting).filter(|group| !classes.groups.get(*group).is_by_host()).collect()
}

/// Splits the classes that topology constraints over domains speak of.
pub(super) fn pin(
    base: &Classes,
    prepared: &Prepared<'_>,
    gone: &BTreeSet<usize>,
    moving: &BTreeSet<PodKey>,
    caps: &Caps,
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
    };
    pinning.count_keepers();
    let (mut list, mut parts) = (Vec::new(), Vec::new());
    let mut order: Vec<(usize, &Class)> = base.list.iter().enumerate().collect();
    order.sort_by_key(|(position, class)| (turn(class), *position));
    for (position, class) in order {
        if is_bound_to_domains(class, &spoken) {
            for (domain, part) in pinning.split(position, class, caps) {
                list.push(part);
                parts.push(Some((position, domain)));
            }
        } else {
            list.push(class.clone());
            parts.push(None);
        }
    }
    let classes = Classes { list, shapes: pinning.shapes, groups: base.groups.clone(), refused: pinning.refused };
    Pinned { classes, parts }
}

struct Pinning<'a> {
    prepared: &'a Prepared<'a>,
    base: &'a Classes,
    gone: &'a BTreeSet<usize>,
    moving: &'a BTreeSet<PodKey>,
    scopes: Scopes<'a>,
    shapes: Vec<Shape>,
    /// By group and domain: pods placed by this split so far.
    counts: BTreeMap<(usize, String), u32>,
    /// By group and domain: pods that keep the group away.
    keepers: BTreeMap<(usize, String), u32>,
    refused: Vec<(Arc<Pod>, WhyNot)>,
    spoken: BTreeSet<usize>,
}

/// A domain as a class meets it.
struct Domain {
    name: String,
    /// What one pod is worth there; none if it can only join machines that exist.
    worth: Option<i128>,
    /// Whether the class may go there; a domain that it cannot use may still count for its spread.
    usable: bool,
    /// Whether a node is there or could be launched within the pools' limits: kube-scheduler counts domains by their nodes.
    has_nodes: bool,
    /// Whether it is there only for spread constraints that count nodes whatever node affinity says of them.
    beyond: bool,
    placed: u32,
    cap: u32,
}

impl Pinning<'_> {
    /// The machines that count, with what runs there and stays.
    fn running(&self) -> impl Iterator<Item = (&Requirements, &Pod)> {
        let nodes = self.prepared.nodes.iter().filter(|node| !self.gone.contains(&node.index));
        nodes.flat_map(|node| {
            let pods = &self.prepared.snapshot().nodes[node.index].pods;
            let stays = |pod: &&Arc<Pod>| is_active(pod) && !self.moving.contains(&PodKey::of(pod));
            pods.iter().filter(stays).map(move |pod| (&node.labels, &**pod))
        })
    }

    fn count_keepers(&mut self) {
        let mut keepers = BTreeMap::new();
        for (labels, pod) in self.running() {
            for group in self.base.groups.kept_away_by(pod) {
                let domain = labels.get(&self.base.groups.get(group).key).and_then(Requirement::single_value);
                if let Some(domain) = domain {
                    *keepers.entry((group, domain.to_owned())).or_insert(0) += 1;
                }
            }
        }
        self.keepers = keepers;
    }

    /// The class's parts by domain; pods that fit into no domain are refused.
    fn split(&mut self, position: usize, class: &Class, caps: &Caps) -> Vec<(String, Class)> {
        let Some(key) = self.key(class) else {
            let constraint = "a set of topology constraints over more than one label besides the host name";
            self.refuse(&class.pods, &WhyNot::Unsupported { constraint });
            return Vec::new();
        };
        let mut domains = self.domains(class, &key);
        for domain in &mut domains {
            domain.cap = caps.get(&(position, domain.name.clone())).copied().unwrap_or(u32::MAX);
        }
        let running = self.running_counts(class, &key);
        let mut unplaced = 0;
        for _ in 0..class.count() {
            let Some(chosen) = self.choose(class, &domains, &running) else {
                unplaced += 1;
                continue;
            };
            domains[chosen].placed += 1;
            self.enter(class, &domains[chosen].name.clone());
        }
        let (placed, rest) = class.pods.split_at(class.pods.len() - unplaced);
        if !rest.is_empty() {
            self.refuse(rest, &self.why(class, &key, &domains, &running));
        }
        self.parts(class, &key, placed, &domains)
    }

    fn parts(&mut self, class: &Class, key: &str, pods: &[Arc<Pod>], domains: &[Domain]) -> Vec<(String, Class)> {
        let mut rest = pods;
        let mut parts = Vec::new();
        for domain in domains.iter().filter(|domain| domain.placed > 0) {
            let (own, others) = rest.split_at(domain.placed as usize);
            rest = others;
            let here = Requirement::new(key, Operator::In, [&domain.name]);
            let levels = class.levels.iter().map(|level| self.narrowed(level, &here));
            let levels: Vec<Vec<usize>> = levels.filter(|level| !level.is_empty()).collect();
            let part = Class { pods: own.to_vec(), levels, domain: DomainRules::default(), ..class.clone() };
            parts.push((domain.name.clone(), part));
        }
        parts
    }

    /// The shapes of a level with the domain added; those that contradict it are left out.
    fn narrowed(&mut self, level: &[usize], here: &Requirement) -> Vec<usize> {
        let mut found = Vec::new();
        for shape in level {
            let mut narrowed = self.shapes[*shape].clone();
            narrowed.requirements.add(here.clone());
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

    /// The one label that the class's constraints, and those that keep it away, speak of.
    fn key(&self, class: &Class) -> Option<String> {
        let rules = &class.domain;
        let selected = rules.selected.iter().copied().filter(|group| self.spoken.contains(group));
        let keys: BTreeSet<&str> =
            rules.groups().chain(selected).map(|group| self.base.groups.get(group).key.as_str()).collect();
        (keys.len() == 1).then(|| keys.first().map(|key| (*key).to_owned())).flatten()
    }

    /// The domains that the class may use: those where it could be launched, and those of nodes that would take it.
    fn domains(&mut self, class: &Class, key: &str) -> Vec<Domain> {
        let mut names: BTreeSet<String> = self.prepared.values_of(key);
        names.extend(
            self.prepared.nodes.iter().filter_map(|node| Some(node.labels.get(key)?.single_value()?.to_owned())),
        );
        let level = class.levels.last().cloned().unwrap_or_default();
        let looks_beyond = class.domain.spread.iter().any(|rule| !rule.honor_affinity);
        let mut found = Vec::new();
        for name in names {
            let here = Requirement::new(key, Operator::In, [&name]);
            let shapes = self.narrowed(&level, &here);
            let worth = self.worth(class, &shapes);
            let (accepted, counted) = self.nodes_in(&shapes);
            let beyond = worth.is_none() && !accepted && !counted;
            if !beyond || looks_beyond {
                let (usable, has_nodes) = (worth.is_some() || accepted, counted || self.is_within_limits(&shapes));
                found.push(Domain { name, worth, usable, has_nodes, beyond, placed: 0, cap: u32::MAX });
            }
        }
        found
    }

    /// Whether some node would take pods of these shapes, and whether some has the labels for it.
    fn nodes_in(&self, shapes: &[usize]) -> (bool, bool) {
        let (mut accepted, mut counted) = (false, false);
        for node in self.prepared.nodes.iter().filter(|node| !self.gone.contains(&node.index)) {
            for shape in shapes.iter().map(|shape| &self.shapes[*shape]) {
                let labelled = satisfied(&node.labels, &shape.requirements);
                counted |= labelled;
                accepted |= labelled && tolerates_all(&shape.tolerations, &node.taints);
            }
        }
        (accepted, counted)
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
    fn running_counts(&self, class: &Class, key: &str) -> BTreeMap<(usize, String), u32> {
        let rules = &class.domain;
        let level = class.levels.last().cloned().unwrap_or_default();
        let spread = |group: usize| rules.spread.iter().find(|rule| rule.group == group);
        let groups: BTreeSet<usize> = rules.groups().chain(rules.selected.iter().copied()).collect();
        let mut counts = BTreeMap::new();
        for node in self.prepared.nodes.iter().filter(|node| !self.gone.contains(&node.index)) {
            let Some(domain) = node.labels.get(key).and_then(Requirement::single_value) else { continue };
            let pods = &self.prepared.snapshot().nodes[node.index].pods;
            for pod in pods.iter().filter(|pod| is_active(pod) && !self.moving.contains(&PodKey::of(pod))) {
                for group in groups.iter().copied().filter(|group| self.base.groups.get(*group).selects(pod)) {
                    let counted = |rule: &SpreadRule| {
                        let shapes = || level.iter().map(|shape| &self.shapes[*shape]);
                        (!rule.honor_affinity || shapes().any(|shape| satisfied(&node.labels, &shape.requirements)))
                            && (!rule.honor_taints
                                || shapes().any(|shape| tolerates_all(&shape.tolerations, &node.taints)))
                    };
                    if spread(group).is_none_or(counted) {
                        *counts.entry((group, domain.to_owned())).or_insert(0) += 1;
                    }
                }
            }
        }
        counts
    }

    /// The domain for one more pod: the emptiest that the constraints allow, the cheapest of equally empty ones.
    fn choose(&self, class: &Class, domains: &[Domain], running: &BTreeMap<(usize, String), u32>) -> Option<usize> {
        let allowed = (0..domains.len()).filter(|index| self.allows(class, domains, *index, running));
        allowed.min_by_key(|index| {
            let domain = &domains[*index];
            // Pods that ask for nothing themselves keep out of the way of those that spread.
            let watched = class.domain.spread.iter().map(|rule| rule.group);
            let watched: Vec<usize> =
                if class.domain.is_empty() { class.domain.selected.clone() } else { watched.collect() };
            let load: u32 = watched.into_iter().map(|group| self.count(group, &domain.name, running)).sum();
            (load, domain.worth.unwrap_or(0), domain.name.clone())
        })
    }

    fn allows(
        &self,
        class: &Class,
        domains: &[Domain],
        index: usize,
        running: &BTreeMap<(usize, String), u32>,
    ) -> bool {
        let rules = &class.domain;
        let domain = &domains[index];
        if !domain.usable || domain.placed >= domain.cap {
            return false;
        }
        let here = |group: usize| self.count(group, &domain.name, running);
        let kept_out = rules.selected.iter().any(|group| self.keepers.contains_key(&(*group, domain.name.clone())));
        if kept_out || rules.anti.iter().any(|group| here(*group) > 0) {
            return false;
        }
        let near = rules.affinity.iter().all(|group| {
            here(*group) > 0 || (rules.selected.contains(group) && !self.present(*group, domains, running))
        });
        near && rules.spread.iter().all(|rule| self.within_skew(class, rule, domains, index, running))
    }

    /// Whether some pod of the group is in a domain that the class may use.
    fn present(&self, group: usize, domains: &[Domain], running: &BTreeMap<(usize, String), u32>) -> bool {
        domains.iter().any(|domain| self.count(group, &domain.name, running) > 0)
    }

    fn within_skew(
        &self,
        class: &Class,
        rule: &SpreadRule,
        domains: &[Domain],
        index: usize,
        running: &BTreeMap<(usize, String), u32>,
    ) -> bool {
        // Where node affinity does not count, other pods may bring nodes to any domain: all are counted, so that the plan holds.
        let counts_here = |domain: &&Domain| {
            !rule.honor_affinity || (!domain.beyond && domain.has_nodes && (domain.usable || !rule.honor_taints))
        };
        let counted: Vec<&Domain> = domains.iter().filter(counts_here).collect();
        let counts = counted.iter().map(|domain| self.count(rule.group, &domain.name, running));
        let too_few = (counted.len() as u64) < u64::from(rule.min_domains);
        let least = if too_few { 0 } else { counts.min().unwrap_or(0) };
        let own = u32::from(class.domain.selected.contains(&rule.group));
        // The domain itself is among those counted, so the difference is never negative.
        (self.count(rule.group, &domains[index].name, running) + own).saturating_sub(least) <= rule.max_skew
    }

    fn count(&self, group: usize, domain: &str, running: &BTreeMap<(usize, String), u32>) -> u32 {
        let key = (group, domain.to_owned());
        self.counts.get(&key).copied().unwrap_or(0) + running.get(&key).copied().unwrap_or(0)
    }

    fn enter(&mut self, class: &Class, domain: &str) {
        for group in &class.domain.selected {
            *self.counts.entry((*group, domain.to_owned())).or_insert(0) += 1;
        }
        for group in &class.domain.anti {
            *self.keepers.entry((*group, domain.to_owned())).or_insert(0) += 1;
        }
    }

    fn why(&self, class: &Class, key: &str, domains: &[Domain], running: &BTreeMap<(usize, String), u32>) -> WhyNot {
        let rules = &class.domain;
        let (kind, group) = if let Some(rule) = rules.spread.first() {
            ("topology spread", Some(rule.group))
        } else if let Some(group) = rules.affinity.first() {
            ("pod affinity", Some(*group))
        } else {
            ("pod anti-affinity", rules.anti.first().or(rules.selected.first()).copied())
        };
        let counts = domains.iter().map(|domain| {
            let count = group.map_or(0, |group| self.count(group, &domain.name, running));
            format!("{}: {count}", domain.name)
        });
        let counts = counts.collect::<Vec<_>>().join(", ");
        let detail = if counts.is_empty() { "no domain will do".to_owned() } else { format!("counts = {counts}") };
        WhyNot::Topology { kind, key: key.to_owned(), detail }
    }
}
