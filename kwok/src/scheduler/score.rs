//! Which of the nodes that a pod may go to is best: kube-scheduler's scores, in integers from 0 to 100 with its weights.

use super::{
    affinity::is_tolerated,
    pod::PodInfo,
    snapshot::{Count, NodeInfo, Snapshot},
};
use std::collections::BTreeMap;

const MAX: i64 = 100;
const TAINT_WEIGHT: i64 = 3;
const NODE_AFFINITY_WEIGHT: i64 = 2;
const SPREAD_WEIGHT: i64 = 2;
const POD_AFFINITY_WEIGHT: i64 = 2;

/// The best of `nodes`, which are in order of their names; of equals the first.
pub(super) fn best<'a>(snapshot: &Snapshot, pod: &PodInfo, nodes: &[&'a NodeInfo]) -> Option<&'a NodeInfo> {
    if let [only] = nodes {
        return Some(only);
    }
    let mut totals: Vec<i64> = nodes.iter().map(|node| resources(pod, node)).collect();
    let mut add = |weight: i64, scores: Vec<i64>| {
        totals.iter_mut().zip(scores).for_each(|(total, score)| *total += weight * score);
    };
    let raw = |of: &dyn Fn(&NodeInfo) -> i64| nodes.iter().map(|node| of(node)).collect::<Vec<i64>>();
    add(TAINT_WEIGHT, fewest_best(&raw(&|node| disliked_taints(pod, node))));
    if !pod.preferred_nodes.is_empty() {
        add(NODE_AFFINITY_WEIGHT, most_best(&raw(&|node| preferred_nodes(pod, node))));
    }
    if pod.spreads.iter().any(|spread| !spread.hard) {
        add(SPREAD_WEIGHT, fewest_best(&crowding(snapshot, pod, nodes)));
    }
    if !pod.preferred_pods.is_empty() {
        add(POD_AFFINITY_WEIGHT, between(&preferred_pods(snapshot, pod, nodes)));
    }
    let best = totals.iter().enumerate().max_by_key(|(index, total)| (**total, std::cmp::Reverse(*index)));
    best.map(|(index, _)| nodes[index])
}

/// Least allocated plus balanced allocation, over cpu and memory.
fn resources(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let share = |name: &str| {
        let have = node.facts.allocatable.get(name);
        let used = (node.counted.get(name) + pod.counted.get(name)).min(have);
        // In thousandths; a resource that the node does not have counts as used up.
        i64::try_from(i128::from(used) * 1_000 / i128::from(have.max(1))).unwrap_or(1_000).clamp(0, 1_000)
    };
    let (cpu, memory) = (share("cpu"), share("memory"));
    let least_allocated = ((1_000 - cpu) + (1_000 - memory)) / 20;
    // The standard deviation of two shares is half of their difference.
    let balanced = (1_000 - (cpu - memory).abs() / 2) / 10;
    least_allocated + balanced
}

fn disliked_taints(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let soft = node.facts.taints.iter().filter(|taint| taint.effect == "PreferNoSchedule");
    soft.filter(|taint| !is_tolerated(taint, &pod.tolerations)).count() as i64
}

fn preferred_nodes(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let matching = pod.preferred_nodes.iter().filter(|(_, term)| term.matches(&node.name.0, &node.facts.labels));
    matching.map(|(weight, _)| weight).sum()
}

/// How many pods of the soft spread constraints are in each node's domains.
fn crowding(snapshot: &Snapshot, pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
    let mut crowding = vec![0; nodes.len()];
    for spread in pod.spreads.iter().filter(|spread| !spread.hard) {
        let count = Count { rule: spread.rule.clone(), live_only: true };
        let pods = per_domain(snapshot, &count);
        for (node, crowding) in nodes.iter().zip(&mut crowding) {
            let domain = node.domain(&spread.rule.topology_key);
            *crowding += domain.and_then(|domain| pods.get(domain)).copied().unwrap_or(0);
        }
    }
    crowding
}

/// The weights of the pods that the pod would like to be near or far from, in each node's domains.
fn preferred_pods(snapshot: &Snapshot, pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
    let mut sums = vec![0; nodes.len()];
    for (weight, rule) in &pod.preferred_pods {
        let pods = per_domain(snapshot, &Count { rule: rule.clone(), live_only: false });
        for (node, sum) in nodes.iter().zip(&mut sums) {
            let domain = node.domain(&rule.topology_key);
            *sum += weight * domain.and_then(|domain| pods.get(domain)).copied().unwrap_or(0);
        }
    }
    sums
}

fn per_domain<'a>(snapshot: &'a Snapshot, count: &Count) -> BTreeMap<&'a str, i64> {
    let mut pods = BTreeMap::new();
    for (name, number) in snapshot.per_node(count).iter() {
        if let Some(domain) = snapshot.node(name).and_then(|node| node.domain(&count.rule.topology_key)) {
            *pods.entry(domain).or_default() += number;
        }
    }
    pods
}

fn most_best(raw: &[i64]) -> Vec<i64> {
    let most = raw.iter().copied().max().unwrap_or(0);
    raw.iter().map(|value| if most > 0 { value * MAX / most } else { 0 }).collect()
}

fn fewest_best(raw: &[i64]) -> Vec<i64> {
    let most = raw.iter().copied().max().unwrap_or(0);
    raw.iter().map(|value| if most > 0 { MAX - value * MAX / most } else { MAX }).collect()
}

fn between(raw: &[i64]) -> Vec<i64> {
    let (least, most) = (raw.iter().copied().min().unwrap_or(0), raw.iter().copied().max().unwrap_or(0));
    raw.iter().map(|value| if most > least { (value - least) * MAX / (most - least) } else { 0 }).collect()
}
