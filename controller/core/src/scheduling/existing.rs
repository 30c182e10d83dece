//! Machines that exist or are on their way, and what still fits onto them (spec core 2.8).

use super::{
    bits::Bits,
    classes::{Class, Classes, Shape},
    daemons::{Daemon, DaemonGroup},
    dimensions::{Dimensions, fits, take, times_that_fit},
    host::HostState,
    prepared::Prepared,
    running::Running,
    volumes::attachable,
};
use crate::model::{
    HostPort, NO_SCHEDULE, Requirement, Requirements, Resources, StateNode, Storage, host_ports, is_daemon_pod,
    is_terminal, pod_requests,
};
use k8s_openapi::api::core::v1::Taint;

/// A machine as pods meet it.
#[derive(Debug)]
pub(super) struct ExistingNode {
    /// Its position in the snapshot.
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) initialized: bool,
    pub(super) labels: Requirements,
    pub(super) taints: Vec<Taint>,
    /// What is left for pods, by dimension.
    pub(super) free: Vec<i64>,
    pub(super) ports: Vec<HostPort>,
}

impl ExistingNode {
    pub(super) fn of(
        index: usize,
        node: &StateNode,
        dimensions: &Dimensions,
        daemons: &[Daemon],
        storage: &Storage,
    ) -> Self {
        let labels = node.known_labels();
        let mut taints = node.taints();
        taints.extend(cordon(node));
        let expected = DaemonGroup::of(daemons.iter().filter(|daemon| daemon.runs_on(&labels, &taints)));
        let mut bound = Resources::new();
        for pod in node.pods.iter().filter(|pod| is_daemon_pod(pod) && !is_terminal(pod)) {
            bound.add(&pod_requests(pod).unwrap_or_default());
        }
        let still_to_come: Resources =
            expected.requests.iter().map(|(name, amount)| (name, (amount - bound.get(name)).max(0))).collect();
        let mut free = dimensions.room(&node.available());
        take(&dimensions.array(&still_to_come), &mut free, 1);
        let pods = node.pods.iter().filter(|pod| !is_terminal(pod)).map(AsRef::as_ref);
        for (driver, left) in attachable(node.name(), pods, storage) {
            if let Some(dimension) = dimensions.attachments(&driver) {
                free[dimension] = left.max(0);
            }
        }
        let running = node.pods.iter().filter(|pod| !is_terminal(pod));
        Self {
            index,
            name: node.name().to_owned(),
            initialized: node.is_initialized(),
            labels,
            taints,
            free,
            // What a daemon will listen on is taken, whether it is there already or not.
            ports: running.flat_map(|pod| host_ports(pod)).chain(expected.ports).collect(),
        }
    }
}

/// The taint of a cordoned node, which a real control plane sets itself.
fn cordon(node: &StateNode) -> Option<Taint> {
    let cordoned = node.node.as_ref()?.spec.as_ref()?.unschedulable == Some(true);
    let taint = || Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: NO_SCHEDULE.to_owned(),
        ..Taint::default()
    };
    cordoned.then(taint)
}

/// Whether a node of which `labels` is known will surely satisfy `asked`.
pub(super) fn satisfied(labels: &Requirements, asked: &Requirements) -> bool {
    let holds = |asked: &Requirement| match labels.get(asked.key()) {
        Some(own) => asked.covers(own),
        None => asked.allows_absent(),
    };
    asked.iter().all(holds)
}

/// The nodes of one solve, being filled.
#[derive(Clone, Debug)]
pub(super) struct Filling<'a> {
    nodes: &'a [ExistingNode],
    running: &'a Running,
    /// By position in `nodes`; none where the node is treated as gone.
    rooms: Vec<Option<Room>>,
    /// By shape: the nodes that satisfy it.
    accepted: Vec<Option<Bits>>,
    /// Positions in `nodes`, in the order in which they are filled.
    order: Vec<usize>,
}

/// What is left of one node, and what came onto it: (class, how many).
#[derive(Clone, Debug)]
struct Room {
    free: Vec<i64>,
    ports: Vec<HostPort>,
    host: HostState,
    contents: Vec<(usize, u32)>,
}

impl Room {
    /// Takes up to `most` pods of the class; returns how many.
    fn take_in(&mut self, position: usize, class: &Class, request: &[i64], most: u32) -> u32 {
        // Most nodes have no room, which is seen sooner than who is on them.
        if !fits(request, &self.free) {
            return 0;
        }
        let most = class.at_most_on(&self.host, &self.ports, most);
        let times = times_that_fit(request, &self.free, most);
        if times > 0 {
            self.put(position, class, request, times);
        }
        times
    }

    fn put(&mut self, position: usize, class: &Class, request: &[i64], times: u32) {
        take(request, &mut self.free, times);
        self.ports.extend(class.ports.iter().cloned());
        class.enter(&mut self.host, times);
        self.contents.push((position, times));
    }
}

impl<'a> Filling<'a> {
    pub(super) fn new(
        prepared: &'a Prepared<'_>,
        gone: &std::collections::BTreeSet<usize>,
        mut host_of: impl FnMut(usize) -> HostState,
    ) -> Self {
        let room = |node: &ExistingNode, host| Room {
            free: node.free.clone(),
            ports: node.ports.clone(),
            host,
            contents: Vec::new(),
        };
        let rooms = prepared.nodes.iter().enumerate();
        let rooms = rooms
            .map(|(position, node)| (!gone.contains(&node.index)).then(|| room(node, host_of(position))))
            .collect();
        Self {
            nodes: &prepared.nodes,
            running: prepared.running(),
            rooms,
            accepted: Vec::new(),
            order: (0..prepared.nodes.len()).collect(),
        }
    }

    /// Places up to `count` pods of `class` onto nodes that satisfy one of `shapes`; returns how many found a place.
    pub(super) fn place(
        &mut self,
        position: usize,
        class: &Class,
        level: &[usize],
        shapes: &[Shape],
        count: u32,
    ) -> u32 {
        let Some(request) = &class.request else { return 0 };
        let mut left = count;
        let accepting = self.accepting(level, shapes);
        for node in self.order.iter().copied().filter(|node| accepting.contains(*node)) {
            if left == 0 {
                break;
            }
            let Some(room) = &mut self.rooms[node] else { continue };
            left -= room.take_in(position, class, request, left);
        }
        count - left
    }

    /// Places up to `most` pods of `class` onto one node, which accepts them; returns how many found room.
    pub(super) fn place_on(&mut self, node: usize, position: usize, class: &Class, most: u32) -> u32 {
        let Some((room, request)) = self.rooms[node].as_mut().zip(class.request.as_ref()) else { return 0 };
        room.take_in(position, class, request, most)
    }

    /// Positions of the nodes in the order in which they are filled.
    pub(super) fn order(&self) -> &[usize] {
        &self.order
    }

    /// What is left of a node; none if it is treated as gone.
    pub(super) fn free_of(&self, node: usize) -> Option<&[i64]> {
        self.rooms[node].as_ref().map(|room| room.free.as_slice())
    }

    /// Whether the node satisfies one of `shapes`; all of them have been asked for before.
    pub(super) fn accepts(&self, node: usize, level: &[usize]) -> bool {
        level
            .iter()
            .any(|shape| self.accepted.get(*shape).and_then(Option::as_ref).is_some_and(|nodes| nodes.contains(node)))
    }

    /// Lets pods of `class`, which want each other's company and have none yet, begin on the node that takes most of them; returns
    /// how many it took, none if fewer than `least` would fit anywhere.
    pub(super) fn begin(
        &mut self,
        position: usize,
        class: &Class,
        level: &[usize],
        shapes: &[Shape],
        (least, count): (u32, u32),
    ) -> u32 {
        let Some(request) = &class.request else { return 0 };
        let mut best: Option<(u32, usize)> = None;
        for node in self.accepting(level, shapes).iter() {
            let Some(room) = &self.rooms[node] else { continue };
            let times = times_that_fit(request, &room.free, class.at_most_on_new(&room.host, &room.ports, count, true));
            if times >= least && best.is_none_or(|(most, _)| times > most) {
                best = Some((times, node));
            }
        }
        let Some((times, node)) = best else { return 0 };
        if let Some(room) = &mut self.rooms[node] {
            room.put(position, class, request, times);
        }
        times
    }

    /// What is free on all nodes together, by dimension; nothing if there are none.
    pub(super) fn free(&self) -> Vec<i64> {
        let all: Vec<usize> = (0..self.nodes.len()).collect();
        self.free_on(&all)
    }

    fn free_on(&self, nodes: &[usize]) -> Vec<i64> {
        let mut sum = Vec::new();
        for room in nodes.iter().filter_map(|node| self.rooms[*node].as_ref()) {
            sum.resize(room.free.len(), 0i64);
            sum.iter_mut().zip(&room.free).for_each(|(sum, free)| *sum = sum.saturating_add((*free).max(0)));
        }
        sum
    }

    /// Puts the nodes in the order in which they are filled: those first that are asked for least. What a class asks for counts on
    /// every node that would take it as it prefers, divided by what is free on all of those.
    pub(super) fn weigh(&mut self, classes: &Classes) {
        let mut pressure: Vec<Vec<f64>> = vec![Vec::new(); self.nodes.len()];
        for class in &classes.list {
            let Some(request) = &class.request else { continue };
            let nodes: Vec<usize> = self.accepting(&class.levels[0], &classes.shapes).iter().collect();
            let free = self.free_on(&nodes);
            let asked = |(asked, free): (&i64, &i64)| *asked as f64 * f64::from(class.count()) / (*free).max(1) as f64;
            let share: Vec<f64> = request.iter().zip(&free).map(asked).collect();
            for node in nodes {
                let own = &mut pressure[node];
                own.resize(share.len(), 0.0);
                own.iter_mut().zip(&share).for_each(|(own, share)| *own += share);
            }
        }
        let most: Vec<f64> = pressure.iter().map(|own| own.iter().copied().fold(0.0, f64::max)).collect();
        self.order = (0..self.nodes.len()).collect();
        self.order.sort_by(|a, b| most[*a].total_cmp(&most[*b]).then(a.cmp(b)));
    }

    fn accepting(&mut self, level: &[usize], shapes: &[Shape]) -> Bits {
        let mut found = Bits::none(self.nodes.len());
        for shape in level {
            if self.accepted.len() <= *shape {
                self.accepted.resize(*shape + 1, None);
            }
            let (nodes, running) = (self.nodes, self.running);
            let bits = self.accepted[*shape].get_or_insert_with(|| running.accepting(&shapes[*shape], nodes));
            found.unite(bits);
        }
        found
    }

    /// Whether some pod of the group is on some node.
    pub(super) fn has(&self, group: usize) -> bool {
        self.rooms.iter().flatten().any(|room| room.host.has(group))
    }

    /// Position of each node that got pods, with what it got.
    pub(super) fn contents(&self) -> impl Iterator<Item = (&'a ExistingNode, &[(usize, u32)])> {
        let filled = self.nodes.iter().zip(&self.rooms);
        filled.filter_map(|(node, room)| {
            let contents =
                room.as_ref().map(|room| room.contents.as_slice()).filter(|contents| !contents.is_empty())?;
            Some((node, contents))
        })
    }
}
