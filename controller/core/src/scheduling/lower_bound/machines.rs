//! What the tight bound knows of a problem: pods by class, and every machine that could hold some of them.
//!
//! Kept: requests, daemons, node selectors and taints, host ports, required anti-affinity of pods to their own kind on one node,
//! spread over nodes, pools' limits, free room of nodes that exist. Left out, which makes the bound lower but never wrong:
//! everything that ties pods to zones, other anti-affinity, `minValues`, how many machines a reservation holds.

use super::super::{
    SchedulingInput,
    classes::{Class, Classes},
    dimensions::times_that_fit,
    scopes::Scopes,
};
use crate::model::{HostPort, tolerates_all};
use k8s_openapi::api::core::v1::Pod;
use std::{collections::BTreeMap, sync::Arc};

/// Pods that are equal as far as the bound can see.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) count: u32,
    /// By dimension that some pod asks for.
    pub(super) request: Vec<i64>,
}

/// A kind of machine.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    /// Dollars per hour; nothing for a node that exists.
    pub(super) price: f64,
    /// By dimension that some pod asks for.
    pub(super) room: Vec<i64>,
    /// By item: how many fit if nothing else is there.
    pub(super) most: Vec<u32>,
    /// What one machine takes of each limit, as a part of what is left of it.
    pub(super) limits: Vec<(usize, f64)>,
    /// Whether there is only this one.
    pub(super) exists: bool,
}

/// A problem as the bound sees it.
#[derive(Debug)]
pub(super) struct Relaxed {
    pub(super) items: Vec<Item>,
    /// Of each of these sets of items, a machine holds one pod at most. No item is in two.
    pub(super) cliques: Vec<Vec<usize>>,
    pub(super) machines: Vec<Machine>,
    /// How many limits there are.
    pub(super) limits: usize,
}

impl Relaxed {
    pub(super) fn of(input: &SchedulingInput<'_>, pods: &[Arc<Pod>]) -> Self {
        let classes = Classes::of(pods, input.prepared);
        let list: Vec<&Class> = classes.list.iter().filter(|class| class.request.is_some()).collect();
        let mut reader = Reader { input, classes: &classes, asked: asked(&list), list, limits: BTreeMap::new() };
        let items: Vec<Item> = reader.list.iter().map(|class| reader.item(class)).collect();
        let mut machines = reader.for_sale(&items);
        machines.extend(reader.existing(&items));
        let cliques = cliques(&reader.list);
        let limits = reader.limits.len();
        Self { items, cliques, machines, limits }.without_hopeless()
    }

    /// Drops items that no machine holds: they are no part of the problem.
    fn without_hopeless(mut self) -> Self {
        for item in 0..self.items.len() {
            if self.machines.iter().all(|machine| machine.most[item] == 0) {
                self.items[item].count = 0;
            }
        }
        self
    }
}

/// Dimensions that some class asks for.
fn asked(list: &[&Class]) -> Vec<usize> {
    let requests = || list.iter().filter_map(|class| class.request.as_ref());
    let count = requests().next().map_or(0, Vec::len);
    (0..count).filter(|dimension| requests().any(|request| request[*dimension] > 0)).collect()
}

struct Reader<'a, 'b> {
    input: &'a SchedulingInput<'b>,
    classes: &'a Classes,
    list: Vec<&'a Class>,
    asked: Vec<usize>,
    /// By pool and dimension (one past the last stands for the count of nodes): the limit's number.
    limits: BTreeMap<(usize, usize), usize>,
}

impl Reader<'_, '_> {
    fn item(&self, class: &Class) -> Item {
        let request = class.request.as_deref().unwrap_or_default();
        Item { count: class.count(), request: self.asked.iter().map(|dimension| request[*dimension]).collect() }
    }

    /// What pools could launch and nothing beats.
    fn for_sale(&mut self, items: &[Item]) -> Vec<Machine> {
        let input = self.input;
        let mut scopes = Scopes::new(input.prepared, true);
        let mut all = Vec::new();
        for pool in 0..input.prepared.pools.len() {
            // By item: what the pool could launch for it. The last level asks least, so it bounds the others too.
            let wanted: Vec<Vec<usize>> = (self.list.iter())
                .map(|class| {
                    let shapes = class.levels.last().into_iter().flatten();
                    shapes.filter_map(|shape| scopes.of_shape(*shape, &self.classes.shapes, pool).ok()).collect()
                })
                .collect();
            for kind in 0..input.prepared.pools[pool].types.len() {
                all.extend(self.offers(pool, kind, items, &wanted, &scopes));
            }
        }
        undominated(all)
    }

    /// The cheapest ways to buy machines of one type, one for each set of items that may use it.
    fn offers(
        &mut self,
        pool: usize,
        kind: usize,
        items: &[Item],
        wanted: &[Vec<usize>],
        scopes: &Scopes<'_>,
    ) -> Vec<Machine> {
        let own = &self.input.prepared.pools[pool];
        let of_type = &own.types[kind];
        let Some(limits) = self.limits_of(pool, &of_type.capacity) else { return Vec::new() };
        let room: Vec<i64> = self.asked.iter().map(|dimension| of_type.room[*dimension]).collect();
        let ports = &own.daemon_groups[of_type.daemon_group].ports;
        let fitting: Vec<u32> =
            self.list.iter().zip(items).map(|(class, item)| at_most(class, item, &room, ports)).collect();
        let mut cheapest: BTreeMap<Vec<u32>, f64> = BTreeMap::new();
        for offering in &of_type.offerings {
            let admits = |scope: &usize| {
                let admission = &scopes.get(*scope).admission;
                admission.types.contains(kind) && admission.signatures.contains(offering.signature)
            };
            let most: Vec<u32> = (wanted.iter().zip(&fitting))
                .map(|(scopes, most)| if scopes.iter().any(admits) { *most } else { 0 })
                .collect();
            if most.iter().any(|most| *most > 0) {
                let price = of_type.offering(*offering).price.dollars();
                cheapest.entry(most).and_modify(|own| *own = own.min(price)).or_insert(price);
            }
        }
        let machine =
            |(most, price)| Machine { price, room: room.clone(), most, limits: limits.clone(), exists: false };
        cheapest.into_iter().map(machine).collect()
    }

    /// What a machine of that capacity takes of the pool's limits; none if there is not even room for one.
    fn limits_of(&mut self, pool: usize, capacity: &[i64]) -> Option<Vec<(usize, f64)>> {
        let own = &self.input.prepared.pools[pool];
        let nodes = (capacity.len(), 1, own.nodes_left);
        let amounts =
            capacity.iter().zip(&own.left).enumerate().map(|(dimension, (used, left))| (dimension, *used, *left));
        let mut taken = Vec::new();
        for (dimension, used, left) in amounts.chain([nodes]) {
            if used <= 0 || left == i64::MAX {
                continue;
            }
            if used > left {
                return None;
            }
            let next = self.limits.len();
            taken.push((*self.limits.entry((pool, dimension)).or_insert(next), used as f64 / left as f64));
        }
        Some(taken)
    }

    fn existing(&self, items: &[Item]) -> Vec<Machine> {
        let prepared = self.input.prepared;
        let here = prepared.nodes.iter().filter(|node| !self.input.without.contains(&node.index));
        let machine = |node: &super::super::existing::ExistingNode| {
            let room: Vec<i64> = self.asked.iter().map(|dimension| node.free[*dimension].max(0)).collect();
            let will_do = |class: &Class| {
                class.levels.last().into_iter().flatten().any(|shape| {
                    let shape = &self.classes.shapes[*shape];
                    tolerates_all(&shape.tolerations, &node.taints)
                        && super::super::existing::satisfied(&node.labels, &shape.requirements)
                })
            };
            let most = self
                .list
                .iter()
                .zip(items)
                .map(|(class, item)| if will_do(class) { at_most(class, item, &room, &node.ports) } else { 0 });
            Machine { price: 0.0, most: most.collect(), room, limits: Vec::new(), exists: true }
        };
        here.map(machine).filter(|machine| machine.most.iter().any(|most| *most > 0)).collect()
    }
}

/// How many pods of a class a machine holds if nothing but daemons is there.
fn at_most(class: &Class, item: &Item, room: &[i64], taken: &[HostPort]) -> u32 {
    let mut most = times_that_fit(&item.request, room, item.count);
    if !class.ports.is_empty() {
        most = most.min(1);
    }
    if class.ports.iter().any(|own| taken.iter().any(|port| own.conflicts_with(port))) {
        return 0;
    }
    if class.host.anti.iter().any(|group| class.host.selected.contains(group)) {
        most = most.min(1);
    }
    // Those that follow others may be scheduled in an order in which spread does not hold them back.
    let follows = !class.host.affinity.is_empty() || !class.domain.affinity.is_empty();
    for (group, skew) in class.host.spread.iter().filter(|_| !follows) {
        if class.host.selected.contains(group) {
            most = most.min(*skew);
        }
    }
    most
}

/// Sets of classes of which no two pods share a node: by a host port, or because they keep a group away to which they belong.
/// A class is put into the largest of the sets that it belongs to.
fn cliques(list: &[&Class]) -> Vec<Vec<usize>> {
    let mut sets: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (position, class) in list.iter().enumerate() {
        for port in &class.ports {
            // Addresses of their own do not get into each other's way, so each port has a set per address.
            for other in list.iter().flat_map(|class| &class.ports).filter(|other| other.conflicts_with(port)) {
                let set = sets.entry(format!("port {} {} {}", port.port, port.protocol, other.ip)).or_default();
                if set.last() != Some(&position) && port.conflicts_with(other) {
                    set.push(position);
                }
            }
        }
        for group in class.host.anti.iter().filter(|group| class.host.selected.contains(group)) {
            sets.entry(format!("group {group}")).or_default().push(position);
        }
    }
    let apart = |a: usize, b: usize| keeps_away(list[a], list[b]) || keeps_away(list[b], list[a]);
    let mut by_size: Vec<Vec<usize>> = sets.into_values().collect();
    by_size.sort_by_key(|set| std::cmp::Reverse(set.len()));
    let mut taken = vec![false; list.len()];
    let mut cliques = Vec::new();
    for set in by_size {
        let mut clique: Vec<usize> = Vec::new();
        for member in set.into_iter().filter(|member| !taken[*member]) {
            if clique.iter().all(|other| apart(*other, member)) {
                clique.push(member);
            }
        }
        if clique.len() > 1 {
            clique.iter().for_each(|member| taken[*member] = true);
            cliques.push(clique);
        }
    }
    cliques
}

/// Whether no pod of `b` may be on a node with one of `a`.
fn keeps_away(a: &Class, b: &Class) -> bool {
    a.ports.iter().any(|own| b.ports.iter().any(|other| own.conflicts_with(other)))
        || a.host.anti.iter().any(|group| b.host.selected.contains(group))
}

/// Without machines that another holds everything of, for no more money and no more of any limit.
fn undominated(mut all: Vec<Machine>) -> Vec<Machine> {
    all.sort_by(|a, b| a.price.total_cmp(&b.price).then_with(|| b.room.cmp(&a.room)));
    let mut front: Vec<Machine> = Vec::new();
    for machine in all {
        if !front.iter().any(|other| beats(other, &machine)) {
            front.push(machine);
        }
    }
    front
}

fn beats(better: &Machine, worse: &Machine) -> bool {
    better.room.iter().zip(&worse.room).all(|(better, worse)| better >= worse)
        && better
            .limits
            .iter()
            .all(|(limit, part)| worse.limits.iter().any(|(other, theirs)| other == limit && theirs >= part))
        && better.most.iter().zip(&worse.most).all(|(better, worse)| better >= worse)
}
