//! What must hold of voluntary disruption.

use super::overdue;
use crate::objects::{ClaimFacts, Cluster, PodFacts};
use jiff::{SignedDuration, Timestamp};
use sawhorse_core::{
    api::{DisruptionReason, NodePool, allowed_disruptions},
    model::Settings,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A Node may be tainted so long for a disruption that nobody is at.
const ABORTED_GRACE: SignedDuration = SignedDuration::from_mins(5);
/// A replacement that consolidation launched is not replaced again for so long.
const SETTLED_AFTER: SignedDuration = SignedDuration::from_mins(15);

/// What was seen before.
#[derive(Debug, Default)]
pub(super) struct Disruption {
    /// Reasons that ask no budget.
    unlimited: Vec<DisruptionReason>,
    /// NodeClaims whose disruption has begun.
    begun: BTreeSet<String>,
    /// NodeClaims that were deleted.
    deleted: BTreeSet<String>,
    /// Since when Nodes are tainted for nothing.
    idle: BTreeMap<String, Timestamp>,
    looked: Option<Timestamp>,
}

impl Disruption {
    pub(super) fn new(settings: &Settings) -> Self {
        let mut unlimited = vec![DisruptionReason::ScaledDown];
        unlimited.extend(settings.forceful_repair.then_some(DisruptionReason::Unhealthy));
        Self { unlimited, ..Self::default() }
    }

    /// Everything that is violated now.
    pub(super) fn violations(&mut self, cluster: &Cluster) -> Vec<String> {
        let mut found = evictions_keep_budgets(cluster);
        found.extend(protected_pods_stay(cluster));
        found.extend(self.node_pool_budgets_hold(cluster));
        found.extend(self.replacements_come_first(cluster));
        found.extend(self.taints_are_taken_off(cluster));
        found.extend(nothing_is_replaced_twice(cluster));
        self.looked = Some(cluster.now);
        found
    }

    /// S6: when a disruption begins, no more machines of the pool are being disrupted than its budgets allow.
    fn node_pool_budgets_hold(&mut self, cluster: &Cluster) -> Vec<String> {
        let mut found = Vec::new();
        for facts in &cluster.pools {
            let name = &facts.name;
            // Budgets count a machine until its end is under way in the cloud.
            let counts =
                |claim: &&Arc<ClaimFacts>| claim.pool == *name && claim.is_initialized && !claim.is_terminating;
            let own = || cluster.claims.iter().filter(counts);
            let going: Vec<(&str, DisruptionReason)> =
                own().filter_map(|claim| Some((claim.name.as_str(), claim.reason?))).collect();
            let limited = going.iter().filter(|(_, reason)| !self.unlimited.contains(reason));
            let fresh: BTreeSet<DisruptionReason> =
                limited.filter(|(claim, _)| !self.begun.contains(*claim)).map(|(_, reason)| *reason).collect();
            if fresh.is_empty() {
                continue;
            }
            let total = u32::try_from(own().count()).unwrap_or(u32::MAX);
            let unreadable = NodePool::default();
            let pool = facts.pool.as_ref().unwrap_or(&unreadable);
            for reason in fresh {
                // A window may have closed between the decision and this look.
                let at = |time: Timestamp| allowed_disruptions(pool, reason, total, time).allowed;
                let allowed = at(cluster.now).max(self.looked.map_or(0, at));
                if going.len() > allowed as usize {
                    let count = going.len();
                    found.push(format!("S6: {count} of `{name}` are being disrupted, {allowed} may be for {reason}"));
                }
            }
            self.begun.extend(going.iter().map(|(claim, _)| (*claim).to_owned()));
        }
        found
    }

    /// S10: a machine that is to be replaced, and that runs, is given back only once its replacements are usable.
    fn replacements_come_first(&mut self, cluster: &Cluster) -> Vec<String> {
        let mut found = Vec::new();
        for claim in cluster.claims.iter().filter(|claim| claim.is_deleted) {
            let name = &claim.name;
            let is_new = self.deleted.insert(name.clone());
            // What the cloud takes is not ours to keep.
            let ours = cluster.running.contains(name) && claim.capacity_type == "on-demand";
            let Some(command) = claim.command.as_ref().filter(|_| is_new && ours) else { continue };
            let of_command = |own: &&Arc<ClaimFacts>| own.came_for.as_ref() == Some(&command.id) && own.is_initialized;
            let usable = cluster.claims.iter().filter(of_command).count() as u64;
            let wanted = command.replacements;
            if usable < wanted {
                found.push(format!("S10: `{name}` is given back with {usable} of {wanted} replacements usable"));
            }
        }
        found
    }

    /// S17: a Node is not kept from pods for a disruption that was given up.
    fn taints_are_taken_off(&mut self, cluster: &Cluster) -> Vec<String> {
        let claimed = cluster.claims.iter().filter(|claim| claim.is_deleted || claim.reason.is_some());
        let claimed: BTreeSet<&str> = claimed.filter_map(|claim| claim.node.as_deref()).collect();
        let tainted = cluster.nodes.iter().filter(|node| !node.is_deleted && node.is_tainted);
        let idle = tainted.map(|node| node.name.as_str()).filter(|name| !claimed.contains(name));
        let idle = idle.map(|name| (name, ABORTED_GRACE)).collect();
        let too_long = overdue(&mut self.idle, &idle, cluster.now);
        too_long.map(|(node, since)| format!("S17: `{node}` is tainted for nothing since {since}")).collect()
    }
}

/// S4: no more pods are being evicted than their PodDisruptionBudgets allow while fewer are healthy than they ask for.
fn evictions_keep_budgets(cluster: &Cluster) -> Vec<String> {
    let mut found = Vec::new();
    let evicted: Vec<&PodFacts> = being_evicted(cluster).collect();
    if evicted.is_empty() {
        return found;
    }
    for budget in &cluster.budgets {
        let spec = &budget["spec"];
        let simple = spec["selector"]["matchExpressions"].is_null();
        let evicted = evicted.iter().filter(|pod| selects(budget, pod)).count();
        if evicted == 0 || !simple || spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow" {
            continue;
        }
        let staying = || cluster.pods.iter().filter(|pod| !pod.is_deleted && !pod.is_ended() && selects(budget, pod));
        let expected = staying().count();
        let healthy = staying().filter(|pod| pod.is_ready).count();
        let needed = needed(spec, expected);
        if healthy < needed && evicted > expected.saturating_sub(needed) {
            found.push(format!(
                "S4: {evicted} pods of `{}` are being evicted, {healthy} of {expected} are healthy and {needed} must be",
                budget["metadata"]["name"].as_str().unwrap_or_default()
            ));
        }
    }
    found
}

/// How many pods a budget wants to be healthy.
fn needed(spec: &Value, expected: usize) -> usize {
    let count = |value: &Value| {
        let percent = value.as_str().and_then(|text| text.strip_suffix('%')?.parse::<usize>().ok());
        percent.map(|percent| (expected * percent).div_ceil(100)).or(value.as_u64().map(|count| count as usize))
    };
    let unavailable = count(&spec["maxUnavailable"]).map(|most| expected.saturating_sub(most));
    unavailable.or(count(&spec["minAvailable"])).unwrap_or(0)
}

/// S5: a pod that asks to be left alone for good is not evicted, unless its machine's NodeClaim bounds that.
fn protected_pods_stay(cluster: &Cluster) -> Vec<String> {
    let bounded = cluster.claims.iter().filter(|claim| claim.is_bounded);
    let bounded: BTreeSet<&str> = bounded.filter_map(|claim| claim.node.as_deref()).collect();
    let free = |pod: &PodFacts| bounded.contains(pod.node.as_deref().unwrap_or_default());
    let evicted = being_evicted(cluster).filter(|pod| pod.asks_to_stay && !free(pod));
    evicted.map(|pod| format!("S5: `{}` asks to be left alone and is being evicted", pod.name)).collect()
}

/// S19: what came as a replacement is not replaced in its turn at once.
fn nothing_is_replaced_twice(cluster: &Cluster) -> Vec<String> {
    let twice = |claim: &&Arc<ClaimFacts>| {
        let command = claim.command.as_ref().filter(|command| command.replacements > 0);
        let found = command.and_then(|command| command.found_at);
        let underutilized = claim.reason == Some(DisruptionReason::Underutilized);
        let fresh =
            claim.created.zip(found).is_some_and(|(created, found)| found.duration_since(created) < SETTLED_AFTER);
        claim.is_replacement && underutilized && fresh
    };
    let twice = cluster.claims.iter().filter(twice);
    twice.map(|claim| format!("S19: `{}` came as a replacement and is replaced already", claim.name)).collect()
}

fn being_evicted(cluster: &Cluster) -> impl Iterator<Item = &PodFacts> {
    cluster.pods.iter().map(AsRef::as_ref).filter(|pod| pod.is_deleted && pod.is_evicted)
}

fn selects(budget: &Value, pod: &PodFacts) -> bool {
    let wanted = budget["spec"]["selector"]["matchLabels"].as_object();
    let has = |(key, value): (&String, &Value)| pod.labels.get(key).is_some_and(|own| value == own.as_str());
    budget["metadata"]["namespace"] == pod.namespace.as_str() && wanted.is_some_and(|wanted| wanted.iter().all(has))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::each_of;
    use rstest::rstest;
    use serde_json::json;

    fn now() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().unwrap()
    }

    fn cluster() -> Cluster {
        Cluster {
            pools: each_of([
                json!({"metadata": {"name": "default"}, "spec": {"disruption": {"budgets": [{"nodes": "1"}]}}}),
            ]),
            budgets: each_of([json!({
                "metadata": {"name": "web", "namespace": "default"},
                "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}},
            })]),
            running: BTreeSet::from(["claim-0".to_owned(), "claim-1".to_owned()]),
            now: now(),
            ..Cluster::default()
        }
    }

    fn pod(name: &str, ready: bool, evicted: bool) -> Value {
        let mut pod = json!({
            "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}, "annotations": {}},
            "spec": {"nodeName": "node-0"},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
        });
        if evicted {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:59:00Z");
            pod["status"]["conditions"]
                .as_array_mut()
                .unwrap()
                .push(json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}));
        }
        pod
    }

    fn claim(index: usize, reason: Option<&str>, annotations: &Value) -> Value {
        let mut conditions = vec![json!({"type": "Initialized", "status": "True"})];
        conditions.extend(reason.map(|own| json!({"type": "DisruptionReason", "status": "True", "reason": own})));
        json!({
            "metadata": {
                "name": format!("claim-{index}"), "annotations": annotations, "creationTimestamp": "2026-01-01T00:50:00Z",
                "labels": {"karpenter.sh/nodepool": "default", "karpenter.sh/capacity-type": "on-demand"},
            },
            "spec": {}, "status": {"conditions": conditions, "nodeName": format!("node-{index}")},
        })
    }

    fn of(cluster: &Cluster) -> Vec<String> {
        let found = Disruption::new(&Settings::default()).violations(cluster);
        found.into_iter().map(|text| text.split(':').next().unwrap().to_owned()).collect()
    }

    #[rstest]
    #[case::one_may_go(&[(true, false), (true, false), (false, false), (true, true)], &[])]
    #[case::two_may_not(&[(true, false), (false, false), (false, false), (true, true), (true, true)], &["S4"])]
    #[case::they_were_lost_and_not_evicted(&[(true, false), (false, false), (false, false)], &[])]
    fn evictions(#[case] pods: &[(bool, bool)], #[case] expected: &[&str]) {
        let pods =
            pods.iter().enumerate().map(|(index, (ready, evicted))| pod(&format!("web-{index}"), *ready, *evicted));
        assert_eq!(of(&Cluster { pods: each_of(pods), ..cluster() }), expected);
    }

    #[test]
    fn a_protected_pod_is_evicted_only_from_a_machine_that_bounds_it() {
        let mut own = pod("job", true, true);
        own["metadata"]["labels"]["app"] = json!("job");
        own["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"] = json!("true");
        let mut bounded = claim(0, None, &json!({}));
        let pods = each_of([own]);
        assert_eq!(of(&Cluster { pods: pods.clone(), claims: each_of([bounded.clone()]), ..cluster() }), ["S5"]);
        bounded["spec"]["terminationGracePeriod"] = json!("1h");
        assert_eq!(of(&Cluster { pods, claims: each_of([bounded]), ..cluster() }), Vec::<String>::new());
    }

    #[test]
    fn a_budget_of_one_lets_one_go() {
        let going = |count| each_of((0..count).map(|index| claim(index, Some("Drifted"), &json!({}))));
        assert_eq!(of(&Cluster { claims: going(1), ..cluster() }), Vec::<String>::new());
        assert_eq!(of(&Cluster { claims: going(2), ..cluster() }), ["S6"]);
        let scaled = each_of((0..2).map(|index| claim(index, Some("ScaledDown"), &json!({}))));
        assert_eq!(of(&Cluster { claims: scaled, ..cluster() }), Vec::<String>::new());
    }

    #[test]
    fn nothing_is_given_back_before_what_replaces_it_is_usable() {
        let command =
            json!({"sawhorse.karpenter.sh/command": r#"{"id":"x","replacements":1,"foundAt":"2026-01-01T00:55:00Z"}"#});
        let mut going = claim(0, Some("Drifted"), &command);
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:59:00Z");
        let mut coming = claim(1, None, &json!({"sawhorse.karpenter.sh/replacement-of": r#"{"id":"x","index":0}"#}));
        assert_eq!(
            of(&Cluster { claims: each_of([going.clone(), coming.clone()]), ..cluster() }),
            Vec::<String>::new()
        );
        coming["status"]["conditions"] = json!([]);
        assert_eq!(of(&Cluster { claims: each_of([going, coming]), ..cluster() }), ["S10"]);
    }

    #[test]
    fn a_taint_that_nobody_stands_behind_is_noticed_after_a_while() {
        let node = json!({"metadata": {"name": "node-0"}, "spec": {"taints": [{"key": "karpenter.sh/disrupted"}]}});
        let mut invariant = Disruption::new(&Settings::default());
        let cluster = Cluster { nodes: each_of([node]), claims: each_of([claim(0, None, &json!({}))]), ..cluster() };
        assert_eq!(invariant.violations(&cluster), Vec::<String>::new());
        let later = Cluster { now: "2026-01-01T01:06:00Z".parse().unwrap(), ..cluster };
        assert_eq!(invariant.violations(&later).len(), 1);
    }

    #[test]
    fn a_replacement_is_not_replaced_within_a_quarter_of_an_hour() {
        let annotations = json!({
            "sawhorse.karpenter.sh/replacement-for": "Underutilized",
            "sawhorse.karpenter.sh/command": r#"{"id":"x","replacements":1,"foundAt":"2026-01-01T00:55:00Z"}"#,
        });
        let own = claim(0, Some("Underutilized"), &annotations);
        assert_eq!(of(&Cluster { claims: each_of([own]), ..cluster() }), ["S19"]);
    }
}
