//! Every pod is decided upon exactly once.

use super::Violation;
use crate::{
    model::PodKey,
    scheduling::{Results, SchedulingInput},
};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(input: &SchedulingInput<'_>, results: &Results, found: &mut Vec<Violation>) {
    let asked: BTreeSet<PodKey> = input.pods.iter().map(|pod| PodKey::of(pod)).collect();
    let mut decided: BTreeMap<PodKey, u32> = BTreeMap::new();
    let placed = results.placements.iter().flat_map(|placement| &placement.pods);
    let planned = results.planned.iter().flat_map(|planned| &planned.pods);
    let refused = results.unschedulable.iter().map(|refused| &refused.pod);
    for pod in placed.chain(planned).chain(refused) {
        *decided.entry(PodKey::of(pod)).or_insert(0) += 1;
    }
    for (pod, times) in &decided {
        if !asked.contains(pod) {
            found.push(Violation::new("accounted", pod.to_string(), "was not asked for"));
        }
        if *times > 1 {
            found.push(Violation::new("accounted", pod.to_string(), format!("is decided upon {times} times")));
        }
    }
    for pod in asked.iter().filter(|pod| !decided.contains_key(pod)) {
        found.push(Violation::new("accounted", pod.to_string(), "is not decided upon"));
    }
}
