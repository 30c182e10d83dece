//! Machines that exist or are on their way, and what still fits onto them (spec core 2.8).

use super::{
    bits::Bits,
    classes::{Class, Shape},
    daemons::{Daemon, DaemonGroup},
    dimensions::{Dimensions, take, times_that_fit},
    host::HostState,
    prepared::Prepared,
    volumes::attachable,
};
use crate::model::{
    HostPort, NO_SCHEDULE, Requirement, Requirements, Resources, StateNode, Storage, host_ports, is_daemon_pod,
    is_terminal, pod_requests, tolerates_all,
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
#[derive(Debug)]
pub(super) struct Filling<'a> {
    nodes: &'a [ExistingNode],
    /// By position in `nodes`; none where the node is treated as gone.
    rooms: Vec<Option<Room>>,
    /// By shape: the nodes that satisfy it.
    accepted: Vec<Option<Bits>>,
}

/// What is left of one node, and what came onto it: (class, how many).
#[derive(Debug)]
struct Room {
    free: Vec<i64>,
    ports: Vec<HostPort>,
    host: HostState,
    contents: Vec<(usize, u32)>,
}

impl Room {
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
        mut host_of: impl FnMut(&ExistingNode) -> HostState,
    ) -> Self {
        let room = |node: &ExistingNode, host| Room {
            free: node.free.clone(),
            ports: node.ports.clone(),
            host,
            contents: Vec::new(),
        };
        let rooms = prepared.nodes.iter().map(|node| (!gone.contains(&node.index)).then(|| room(node, host_of(node))));
        let rooms = rooms.collect();
        Self { nodes: &prepared.nodes, rooms, accepted: Vec::new() }
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
        for node in self.accepting(level, shapes).iter() {
            if left == 0 {
                break;
            }
            let Some(room) = &mut self.rooms[node] else { continue };
            let most = class.at_most_on(&room.host, &room.ports, left);
            let times = times_that_fit(request, &room.free, most);
            if times > 0 {
                room.put(position, class, request, times);
                left -= times;
            }
        }
        count - left
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

    fn accepting(&mut self, level: &[usize], shapes: &[Shape]) -> Bits {
        let mut found = Bits::none(self.nodes.len());
        for shape in level {
            if self.accepted.len() <= *shape {
                self.accepted.resize(*shape + 1, None);
            }
            let nodes = self.nodes;
            let bits = self.accepted[*shape].get_or_insert_with(|| accepting_nodes(nodes, &shapes[*shape]));
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

fn accepting_nodes(nodes: &[ExistingNode], shape: &Shape) -> Bits {
    let mut bits = Bits::none(nodes.len());
    for (position, node) in nodes.iter().enumerate() {
        if tolerates_all(&shape.tolerations, &node.taints) && satisfied(&node.labels, &shape.requirements) {
            bits.insert(position);
        }
    }
    bits
}
