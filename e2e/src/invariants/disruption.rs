//! What must hold of voluntary disruption.

use super::objects::{Cluster, PodFacts, annotation, condition, each, is_deleted, is_true, label, name_of, overdue};
use jiff::{SignedDuration, Timestamp};
use sawhorse_core::{
    api::{DisruptionReason, NodePool, allowed_disruptions, labels},
    model::Settings,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

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
    pub(super) fn violations(&mut self, cluster: &Cluster<'_>) -> Vec<String> {
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
    fn node_pool_budgets_hold(&mut self, cluster: &Cluster<'_>) -> Vec<String> {
        let mut found = Vec::new();
        for pool in each(&cluster.pools) {
            let name = name_of(pool);
            let own = || each(&cluster.claims).filter(|claim| label(claim, labels::NODE_POOL) == name);
            // Budgets count a machine until its end is under way in the cloud.
            let counts = |claim: &&Value| is_true(claim, "Initialized") && !is_true(claim, "InstanceTerminating");
            let reason = |claim| Some((claim, reason_of(claim)?));
            let going = own().filter_map(reason).filter(|(claim, _)| counts(claim));
            let going: Vec<(&str, DisruptionReason)> = going.map(|(claim, reason)| (name_of(claim), reason)).collect();
            let limited = going.iter().filter(|(_, reason)| !self.unlimited.contains(reason));
            let fresh: BTreeSet<DisruptionReason> =
                limited.filter(|(claim, _)| !self.begun.contains(*claim)).map(|(_, reason)| *reason).collect();
            if fresh.is_empty() {
                continue;
            }
            let total = u32::try_from(own().filter(counts).count()).unwrap_or(u32::MAX);
            let pool: NodePool = serde_json::from_value(pool.clone()).unwrap_or_default();
            for reason in fresh {
                // A window may have closed between the decision and this look.
                let at = |time: Timestamp| allowed_disruptions(&pool, reason, total, time).allowed;
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
    fn replacements_come_first(&mut self, cluster: &Cluster<'_>) -> Vec<String> {
        let mut found = Vec::new();
        for claim in each(&cluster.claims).filter(|claim| is_deleted(claim)) {
            let name = name_of(claim);
            let is_new = self.deleted.insert(name.to_owned());
            // What the cloud takes is not ours to keep.
            let ours = cluster.running.contains(name) && label(claim, labels::CAPACITY_TYPE) == "on-demand";
            let Some(command) = annotation(claim, labels::COMMAND).filter(|_| is_new && ours) else { continue };
            let id = command["id"].as_str().unwrap_or_default();
            let wanted = command["replacements"].as_u64().unwrap_or(0);
            let of_command = |own: &&Value| {
                annotation(own, labels::REPLACEMENT_OF).is_some_and(|stamp| stamp["id"].as_str() == Some(id))
            };
            let usable = each(&cluster.claims).filter(of_command).filter(|own| is_true(own, "Initialized")).count();
            if (usable as u64) < wanted {
                found.push(format!("S10: `{name}` is given back with {usable} of {wanted} replacements usable"));
            }
        }
        found
    }

    /// S17: a Node is not kept from pods for a disruption that was given up.
    fn taints_are_taken_off(&mut self, cluster: &Cluster<'_>) -> Vec<String> {
        let claimed: BTreeSet<&str> = each(&cluster.claims)
            .filter(|claim| is_deleted(claim) || reason_of(claim).is_some())
            .filter_map(|claim| claim["status"]["nodeName"].as_str())
            .collect();
        let idle = |node: &&Value| !is_deleted(node) && is_tainted(node) && !claimed.contains(name_of(node));
        let idle = each(&cluster.nodes).filter(idle).map(|own| (name_of(own), ABORTED_GRACE)).collect();
        let too_long = overdue(&mut self.idle, &idle, cluster.now);
        too_long.map(|(node, since)| format!("S17: `{node}` is tainted for nothing since {since}")).collect()
    }
}

/// S4: no more pods are being evicted than their PodDisruptionBudgets allow while fewer are healthy than they ask for.
fn evictions_keep_budgets(cluster: &Cluster<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let evicted: Vec<&PodFacts> = being_evicted(cluster).collect();
    if evicted.is_empty() {
        return found;
    }
    for budget in each(&cluster.budgets) {
        let spec = &budget["spec"];
        let simple = spec["selector"]["matchExpressions"].is_null();
        let evicted = evicted.iter().filter(|pod| selects(budget, pod)).count();
        if evicted == 0 || !simple || spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow" {
            continue;
        }
        let staying = || cluster.pods.iter().filter(|pod| !pod.is_deleted && !pod.is_ended && selects(budget, pod));
        let expected = staying().count();
        let healthy = staying().filter(|pod| pod.is_ready).count();
        let needed = needed(spec, expected);
        if healthy < needed && evicted > expected.saturating_sub(needed) {
            found.push(format!(
                "S4: {evicted} pods of `{}` are being evicted, {healthy} of {expected} are healthy and {needed} must be",
                name_of(budget)
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
fn protected_pods_stay(cluster: &Cluster<'_>) -> Vec<String> {
    let bounded: BTreeSet<&str> = each(&cluster.claims)
        .filter(|claim| !claim["spec"]["terminationGracePeriod"].is_null())
        .filter_map(|claim| claim["status"]["nodeName"].as_str())
        .collect();
    let free = |pod: &PodFacts| bounded.contains(pod.node.as_deref().unwrap_or_default());
    let evicted = being_evicted(cluster).filter(|pod| pod.asks_to_stay && !free(pod));
    evicted.map(|pod| format!("S5: `{}` asks to be left alone and is being evicted", pod.name)).collect()
}

/// S19: what came as a replacement is not replaced in its turn at once.
fn nothing_is_replaced_twice(cluster: &Cluster<'_>) -> Vec<String> {
    let replaced = |claim: &&Value| {
        reason_of(claim) == Some(DisruptionReason::Underutilized)
            && annotation(claim, labels::COMMAND).is_some_and(|command| command["replacements"].as_u64() > Some(0))
    };
    let fresh = |claim: &&Value| {
        let created = claim["metadata"]["creationTimestamp"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
        let found = annotation(claim, labels::COMMAND);
        let found = found.and_then(|command| command["foundAt"].as_str()?.parse::<Timestamp>().ok());
        created.zip(found).is_some_and(|(created, found)| found.duration_since(created) < SETTLED_AFTER)
    };
    let marked = |claim: &&Value| !claim["metadata"]["annotations"][labels::REPLACEMENT_FOR].is_null();
    let twice = each(&cluster.claims).filter(|claim| marked(claim) && replaced(claim) && fresh(claim));
    twice.map(|claim| format!("S19: `{}` came as a replacement and is replaced already", name_of(claim))).collect()
}

fn being_evicted<'a>(cluster: &'a Cluster<'_>) -> impl Iterator<Item = &'a PodFacts> {
    cluster.pods.iter().map(AsRef::as_ref).filter(|pod| pod.is_deleted && pod.is_evicted)
}

/// Why a NodeClaim is being disrupted, if a command has it.
fn reason_of(claim: &Value) -> Option<DisruptionReason> {
    let text = condition(claim, "DisruptionReason")?["reason"].as_str()?;
    let all = DisruptionReason::BUDGETED.into_iter().chain([DisruptionReason::ScaledDown]);
    all.into_iter().find(|own| own.as_str() == text)
}

fn is_tainted(node: &Value) -> bool {
    let taints = node["spec"]["taints"].as_array();
    taints.into_iter().flatten().any(|taint| taint["key"] == labels::DISRUPTED_TAINT)
}

fn selects(budget: &Value, pod: &PodFacts) -> bool {
    let wanted = budget["spec"]["selector"]["matchLabels"].as_object();
    let has = |(key, value): (&String, &Value)| pod.labels.get(key).is_some_and(|own| value == own.as_str());
    budget["metadata"]["namespace"] == pod.namespace.as_str() && wanted.is_some_and(|wanted| wanted.iter().all(has))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::objects::Json;
    use rstest::rstest;
    use serde_json::json;
    use std::{borrow::Cow, sync::Arc};

    fn now() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().unwrap()
    }

    fn owned(objects: impl IntoIterator<Item = Value>) -> Vec<Json<'static>> {
        objects.into_iter().map(Cow::Owned).collect()
    }

    fn facts(pods: impl IntoIterator<Item = Value>) -> Vec<Arc<PodFacts>> {
        pods.into_iter().map(|pod| Arc::new(PodFacts::of(&pod))).collect()
    }

    fn cluster() -> Cluster<'static> {
        Cluster {
            pods: Vec::new(),
            nodes: Vec::new(),
            claims: Vec::new(),
            pools: owned([
                json!({"metadata": {"name": "default"}, "spec": {"disruption": {"budgets": [{"nodes": "1"}]}}}),
            ]),
            buffers: Vec::new(),
            budgets: owned([json!({
                "metadata": {"name": "web", "namespace": "default"},
                "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}},
            })]),
            running: BTreeSet::from(["claim-0".to_owned(), "claim-1".to_owned()]),
            now: now(),
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

    fn of(cluster: &Cluster<'_>) -> Vec<String> {
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
        assert_eq!(of(&Cluster { pods: facts(pods), ..cluster() }), expected);
    }

    #[test]
    fn a_protected_pod_is_evicted_only_from_a_machine_that_bounds_it() {
        let mut own = pod("job", true, true);
        own["metadata"]["labels"]["app"] = json!("job");
        own["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"] = json!("true");
        let mut bounded = claim(0, None, &json!({}));
        let pods = facts([own]);
        assert_eq!(of(&Cluster { pods: pods.clone(), claims: owned([bounded.clone()]), ..cluster() }), ["S5"]);
        bounded["spec"]["terminationGracePeriod"] = json!("1h");
        assert_eq!(of(&Cluster { pods, claims: owned([bounded]), ..cluster() }), Vec::<String>::new());
    }

    #[test]
    fn a_budget_of_one_lets_one_go() {
        let going = |count| owned((0..count).map(|index| claim(index, Some("Drifted"), &json!({}))));
        assert_eq!(of(&Cluster { claims: going(1), ..cluster() }), Vec::<String>::new());
        assert_eq!(of(&Cluster { claims: going(2), ..cluster() }), ["S6"]);
        let scaled = owned((0..2).map(|index| claim(index, Some("ScaledDown"), &json!({}))));
        assert_eq!(of(&Cluster { claims: scaled, ..cluster() }), Vec::<String>::new());
    }

    #[test]
    fn nothing_is_given_back_before_what_replaces_it_is_usable() {
        let command =
            json!({"sawhorse.karpenter.sh/command": r#"{"id":"x","replacements":1,"foundAt":"2026-01-01T00:55:00Z"}"#});
        let mut going = claim(0, Some("Drifted"), &command);
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:59:00Z");
        let mut coming = claim(1, None, &json!({"sawhorse.karpenter.sh/replacement-of": r#"{"id":"x","index":0}"#}));
        assert_eq!(of(&Cluster { claims: owned([going.clone(), coming.clone()]), ..cluster() }), Vec::<String>::new());
        coming["status"]["conditions"] = json!([]);
        assert_eq!(of(&Cluster { claims: owned([going, coming]), ..cluster() }), ["S10"]);
    }

    #[test]
    fn a_taint_that_nobody_stands_behind_is_noticed_after_a_while() {
        let node = json!({"metadata": {"name": "node-0"}, "spec": {"taints": [{"key": "karpenter.sh/disrupted"}]}});
        let mut invariant = Disruption::new(&Settings::default());
        let cluster = Cluster { nodes: owned([node]), claims: owned([claim(0, None, &json!({}))]), ..cluster() };
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
        assert_eq!(of(&Cluster { claims: owned([own]), ..cluster() }), ["S19"]);
    }
}
