//! Sets of pods that are placed all or not at all.
//!
//! A solve looks at pods only. Where it would place too few of a gang to start, all its pods are refused and the others are
//! solved again, so that nothing is bought for pods that would only wait for one another. One gang is given up at a time, because
//! another may then have the room that it needs.

use super::{Results, SchedulingInput, Unschedulable};
use crate::model::{GangKey, PodKey, WhyNot, is_active};
use k8s_openapi::api::core::v1::Pod;
use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

/// The pods of a solve that belong to gangs of which the least number of pods is known.
#[derive(Debug)]
pub(super) struct Gangs {
    list: BTreeMap<GangKey, Gang>,
}

#[derive(Debug)]
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
    pub(super) pods: Vec<Arc<Pod>>,
    pub(super) why: WhyNot,
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
        let moving: std::collections::BTreeSet<PodKey> =
            list.values().flat_map(|gang| &gang.pods).map(|pod| PodKey::of(pod)).collect();
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
        let keys: Vec<GangKey> =
            self.list.iter().filter(|(_, gang)| lacks(gang)).map(|(key, _)| key.clone()).collect();
        let short = keys.into_iter().filter_map(|key| self.list.remove_entry(&key)).map(|(key, gang)| {
            let why = WhyNot::GangIncomplete { gang: key.to_string(), there: known(&gang), needed: gang.min_member };
            Short { pods: gang.pods, why }
        });
        short.collect()
    }

    /// Of the gangs that `results` leave short one, of the least priority, that lacks most: it is not looked at again.
    pub(super) fn give_up(&mut self, results: &Results) -> Option<Short> {
        let placed = |gang: &Gang| {
            let found = gang.pods.iter().filter(|pod| results.why_not(&PodKey::of(pod)).is_none());
            gang.running + found.count() as u32
        };
        let short = self.list.iter().map(|(key, gang)| (key, gang, gang.min_member.saturating_sub(placed(gang))));
        let worst = short
            .filter(|(.., lacking)| *lacking > 0)
            .min_by_key(|(key, gang, lacking)| (gang.priority, Reverse(*lacking), Reverse((*key).clone())));
        let (key, found) = worst.map(|(key, gang, _)| (key.clone(), placed(gang)))?;
        let gang = self.list.remove(&key)?;
        let first = gang.pods.iter().find_map(|pod| results.why_not(&PodKey::of(pod))).cloned();
        let nearest = Box::new(first.unwrap_or(WhyNot::OutOfTime));
        let why = WhyNot::Gang { gang: key.to_string(), found, needed: gang.min_member, nearest };
        Some(Short { pods: gang.pods, why })
    }
}

/// Adds the pods of gangs that were given up.
pub(super) fn refuse(results: &mut Results, short: Vec<Short>) {
    for Short { pods, why } in short {
        let refused = pods.into_iter().map(|pod| Unschedulable { key: PodKey::of(&pod), pod, why: why.clone() });
        results.unschedulable.extend(refused);
    }
    results.unschedulable.sort_by(|a, b| a.key.cmp(&b.key));
}
