//! Sets of pods that are placed all or not at all.
//!
//! A solve looks at pods only. Where it would place too few of a gang to start, all its pods are refused and the others are
//! solved again, so that nothing is bought for pods that would only wait for one another. One gang is given up at a time, because
//! another may then have the room that it needs; in the end each of them is tried once more beside those that start.

use super::{Results, SchedulingInput, Unschedulable};
use crate::model::{GangKey, PodKey, WhyNot, is_active};
use k8s_openapi::api::core::v1::Pod;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The pods of a solve that belong to gangs of which the least number of pods is known.
#[derive(Debug)]
pub(super) struct Gangs {
    list: BTreeMap<GangKey, Gang>,
}

#[derive(Clone, Debug)]
struct Gang {
    /// So many must start together.
    min_member: u32,
    /// So many run already and stay.
    running: u32,
    pods: Vec<Arc<Pod>>,
    priority: i32,
}

/// A gang that cannot start.
pub(super) struct Short {
    key: GangKey,
    gang: Gang,
    why: WhyNot,
}

impl Short {
    pub(super) fn pods(&self) -> &[Arc<Pod>] {
        &self.gang.pods
    }

    /// Whether it had all that it needs and made room for a gang of higher priority.
    pub(super) fn gave_way(&self) -> bool {
        matches!(self.why, WhyNot::GangGaveWay { .. })
    }

    /// In the order in which they are looked at again.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        (Reverse(self.gang.priority), self.gang.pods.len(), self.key.clone())
    }
}

impl Gangs {
    pub(super) fn of(input: &SchedulingInput<'_>) -> Self {
        let snapshot = input.prepared.snapshot();
        let mut list: BTreeMap<GangKey, Gang> = BTreeMap::new();
        if snapshot.gangs.is_empty() {
            return Self { list };
        }
        for pod in input.pods {
            let Some(key) = GangKey::of(pod) else { continue };
            let Some(min_member) = snapshot.gangs.get(&key.group()).copied() else { continue };
            let priority = super::classes::priority(pod);
            let gang = list.entry(key).or_insert(Gang { min_member, running: 0, pods: Vec::new(), priority });
            gang.pods.push(pod.clone());
            gang.priority = gang.priority.min(priority);
        }
        let moving: BTreeSet<PodKey> = list.values().flat_map(|gang| &gang.pods).map(|pod| PodKey::of(pod)).collect();
        let stay = snapshot.nodes.iter().enumerate().filter(|(index, _)| !input.without.contains(index));
        for pod in stay.flat_map(|(_, node)| &node.pods) {
            let gang = GangKey::of(pod).and_then(|key| list.get_mut(&key));
            if let Some(gang) = gang.filter(|_| is_active(pod) && !moving.contains(&PodKey::of(pod))) {
                gang.running += 1;
            }
        }
        Self { list }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Gangs of which not even enough pods are there yet: they wait for their owner, and nothing is bought for them.
    pub(super) fn incomplete(&mut self) -> Vec<Short> {
        let known = |gang: &Gang| gang.running + gang.pods.len() as u32;
        let lacks = |gang: &Gang| known(gang) < gang.min_member;
        let keys: Vec<GangKey> = self.list.iter().filter(|(_, gang)| lacks(gang)).map(|(key, _)| key.clone()).collect();
        let short = keys.into_iter().filter_map(|key| self.list.remove_entry(&key)).map(|(key, gang)| {
            let why = WhyNot::GangIncomplete { gang: key.to_string(), there: known(&gang), needed: gang.min_member };
            Short { key, gang, why }
        });
        short.collect()
    }

    /// If `results` leave some gang short: the one that gives way. It is the one of least priority, of those that are short
    /// or stand below one that is; of several the one that lacks most. It is not looked at again.
    pub(super) fn give_up(&mut self, results: &Results) -> Option<Short> {
        let lacking = |gang: &Gang| gang.min_member.saturating_sub(gang.placed(results));
        let most = self.list.values().filter(|gang| lacking(gang) > 0).map(|gang| gang.priority).max()?;
        let gives_way = |gang: &Gang| lacking(gang) > 0 || gang.priority < most;
        let worst = (self.list.iter().filter(|(_, gang)| gives_way(gang)))
            .min_by_key(|(key, gang)| (gang.priority, Reverse(lacking(gang)), Reverse((*key).clone())));
        let key = worst.map(|(key, _)| key.clone())?;
        self.list.remove(&key).map(|gang| gang.short(&key, results))
    }

    /// Whether `results` let each gang start, and with them one that was given up: it then belongs to them again.
    pub(super) fn start_with(&mut self, short: &Short, results: &Results) -> bool {
        let starts = |gang: &Gang| gang.placed(results) >= gang.min_member;
        let all = starts(&short.gang) && self.list.values().all(starts);
        if all {
            self.list.insert(short.key.clone(), short.gang.clone());
        }
        all
    }
}

impl Gang {
    /// How many of its pods run or have a place.
    fn placed(&self, results: &Results) -> u32 {
        let found = self.pods.iter().filter(|pod| results.why_not(&PodKey::of(pod)).is_none());
        self.running + found.count() as u32
    }

    fn short(self, key: &GangKey, results: &Results) -> Short {
        let first = self.pods.iter().find_map(|pod| results.why_not(&PodKey::of(pod))).cloned();
        let (gang, found, needed) = (key.to_string(), self.placed(results), self.min_member);
        // One that has all it needs gives way to a gang of higher priority.
        let nearest = Box::new(first.unwrap_or(WhyNot::OutOfTime));
        let why =
            if found < needed { WhyNot::Gang { gang, found, needed, nearest } } else { WhyNot::GangGaveWay { gang } };
        Short { key: key.clone(), gang: self, why }
    }
}

/// Adds the pods of gangs that were given up.
pub(super) fn refuse(results: &mut Results, short: Vec<Short>) {
    for Short { gang, why, .. } in short {
        let refused = gang.pods.into_iter().map(|pod| Unschedulable { key: PodKey::of(&pod), pod, why: why.clone() });
        results.unschedulable.extend(refused);
    }
    results.unschedulable.sort_by(|a, b| a.key.cmp(&b.key));
}
