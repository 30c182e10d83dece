//! Pod affinity, anti-affinity and spreading: what they allow, worked out once per pod over all nodes.

use super::{
    filter::{matches_node_affinity, tolerates},
    pod::{PodInfo, PodRule, Spread},
    reason::Reason,
    snapshot::{Count, NodeInfo, PerNode, Snapshot},
};
use std::collections::{BTreeMap, BTreeSet};

/// The domains of one topology key.
type Domains<'a> = BTreeSet<&'a str>;

/// What affinity and spreading allow for one pod.
pub(super) struct TopologyRules<'a> {
    /// Required affinity: key and the domains that have what is asked for.
    near: Vec<(&'a str, Domains<'a>)>,
    /// Whether the pod may be the first of those that it wants to be near.
    may_be_first: bool,
    far: Vec<(&'a str, Domains<'a>)>,
    others_far: Vec<(&'a str, Domains<'a>)>,
    spreads: Vec<HardSpread<'a>>,
}

struct HardSpread<'a> {
    key: &'a str,
    /// Pods per eligible domain.
    pods: BTreeMap<&'a str, i64>,
    /// The most pods that a domain may have before this one.
    most: i64,
}

impl<'a> TopologyRules<'a> {
    pub(super) fn of(snapshot: &'a Snapshot, pod: &'a PodInfo) -> Self {
        let near = near(snapshot, pod);
        let nobody = near.iter().all(|(_, domains)| domains.is_empty());
        let others = snapshot.held().filter(|(rule, _)| snapshot.matches(rule, pod));
        Self {
            may_be_first: nobody && pod.affinity.iter().all(|rule| snapshot.matches(rule, pod)),
            near,
            far: pod.avoided.iter().map(|rule| (rule.topology_key.as_str(), occupied(snapshot, rule))).collect(),
            others_far: others
                .map(|(rule, per_node)| (rule.topology_key.as_str(), domains(snapshot, &rule.topology_key, per_node)))
                .collect(),
            spreads: pod
                .spreads
                .iter()
                .filter(|spread| spread.hard)
                .map(|spread| hard(snapshot, pod, spread))
                .collect(),
        }
    }

    pub(super) fn check(&self, node: &NodeInfo) -> Result<(), Reason> {
        for spread in &self.spreads {
            let domain = node.domain(spread.key).ok_or(Reason::SpreadLabelMissing)?;
            if spread.pods.get(domain).copied().unwrap_or(0) > spread.most {
                return Err(Reason::Spread);
            }
        }
        let is_in = |(key, domains): &(&str, Domains)| node.domain(key).is_some_and(|domain| domains.contains(domain));
        let has_keys = || self.near.iter().all(|(key, _)| node.domain(key).is_some());
        if !(self.near.iter().all(is_in) || (self.may_be_first && has_keys())) {
            return Err(Reason::PodAffinity);
        }
        if self.far.iter().any(is_in) {
            return Err(Reason::PodAntiAffinity);
        }
        if self.others_far.iter().any(is_in) { Err(Reason::OthersAntiAffinity) } else { Ok(()) }
    }
}

/// The domains for each rule of required affinity: where there are pods that all rules are about, as kube-scheduler counts.
fn near<'a>(snapshot: &'a Snapshot, pod: &'a PodInfo) -> Vec<(&'a str, Domains<'a>)> {
    match pod.affinity.as_slice() {
        [] => Vec::new(),
        [rule] => vec![(rule.topology_key.as_str(), occupied(snapshot, rule))],
        rules => {
            let per_node = snapshot.per_node_of_all(rules);
            let domains =
                |rule: &'a PodRule| (rule.topology_key.as_str(), domains(snapshot, &rule.topology_key, &per_node));
            rules.iter().map(domains).collect()
        }
    }
}

fn occupied<'a>(snapshot: &'a Snapshot, rule: &PodRule) -> Domains<'a> {
    let per_node = snapshot.per_node(&Count { rule: rule.clone(), live_only: false });
    domains(snapshot, &rule.topology_key, &per_node)
}

/// The domains of the nodes in `per_node`.
fn domains<'a>(snapshot: &'a Snapshot, key: &str, per_node: &PerNode) -> Domains<'a> {
    per_node.keys().filter_map(|name| snapshot.node(name)?.domain(key)).collect()
}

fn hard<'a>(snapshot: &'a Snapshot, pod: &'a PodInfo, spread: &'a Spread) -> HardSpread<'a> {
    let all_keys: Vec<&str> =
        pod.spreads.iter().filter(|spread| spread.hard).map(|spread| spread.rule.topology_key.as_str()).collect();
    let is_eligible = |node: &&NodeInfo| {
        all_keys.iter().all(|key| node.domain(key).is_some())
            && (!spread.honour_affinity || matches_node_affinity(pod, node))
            && (!spread.honour_taints || tolerates(pod, node))
    };
    let key = spread.rule.topology_key.as_str();
    let per_node = snapshot.per_node(&Count { rule: spread.rule.clone(), live_only: true });
    let mut pods: BTreeMap<&str, i64> = BTreeMap::new();
    for node in snapshot.nodes().filter(is_eligible) {
        if let Some(domain) = node.domain(key) {
            *pods.entry(domain).or_default() += per_node.get(&node.name.0).copied().unwrap_or(0);
        }
    }
    let too_few = i64::try_from(pods.len()).unwrap_or(i64::MAX) < spread.min_domains;
    let least = if too_few { 0 } else { pods.values().copied().min().unwrap_or(0) };
    HardSpread { key, pods, most: least + spread.max_skew - i64::from(snapshot.matches(&spread.rule, pod)) }
}
