//! What must come to an end sooner or later: drained machines are given back, and so are empty, drifted and broken ones; pods that wait
//! are told why.

use super::{allowed, overdue, second_opinion::Stored};
use crate::{
    facts::CONTROLLER,
    objects::{ClaimFacts, Cluster, NodeFacts, PodFacts, PoolFacts},
};
use jiff::{SignedDuration, Timestamp};
use sawhorse_core::{
    api::DisruptionReason,
    model::{Settings, WhyNot},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What is due may take so long: a cloud that throttles or refuses, a controller that starts anew.
const GRACE: SignedDuration = SignedDuration::from_mins(30);
/// A Node that is not Ready is borne so long.
const BORNE: SignedDuration = SignedDuration::from_mins(30);
/// More than this share of a pool's Nodes is not taken for broken.
const MOST_BROKEN_PERCENT: usize = 20;

/// What was seen before.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Whether broken machines are replaced.
    repairs: bool,
    /// Since when pods wait of which nothing has been told.
    waiting: BTreeMap<String, Timestamp>,
    /// Pods of which it has been told why they wait, or where they are to go.
    told: BTreeSet<String>,
    /// Since when pools have so many drifted machines, though one more may go.
    drifted: BTreeMap<String, Timestamp>,
    /// Since when broken Nodes could be replaced.
    broken: BTreeMap<String, Timestamp>,
    /// Since when deleted Nodes have no pod that they wait for.
    drained: BTreeMap<String, Timestamp>,
    /// Since when Nodes have no pod, and may go.
    empty: BTreeMap<String, Timestamp>,
}

impl Progress {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { repairs: settings.feature_gates.node_repair, ..Self::default() }
    }

    /// Everything that is violated now.
    pub(super) fn violations(&mut self, cluster: &Cluster, stored: Stored<'_>) -> Vec<String> {
        let staying = cluster.pods.iter().filter(|pod| !pod.is_ended() && !pod.belongs_to_node);
        let busy: BTreeSet<&str> = staying.filter_map(|pod| pod.node.as_deref()).collect();
        let idle = |node: &NodeFacts| !busy.contains(node.name.as_str());
        let mut found = self.drained_machines_end(cluster, idle);
        found.extend(self.empty_machines_go(cluster, idle));
        found.extend(self.waiting_pods_are_told_why(cluster, stored));
        found.extend(self.drift_goes_on(cluster));
        if self.repairs {
            found.extend(self.broken_machines_go(cluster));
        }
        found
    }

    /// L3: of a pod that waits it is told before long why it does, or which machine it is to have; to be seen late is no reason.
    fn waiting_pods_are_told_why(&mut self, cluster: &Cluster, stored: Stored<'_>) -> Vec<String> {
        let waits = |pod: &&PodFacts| pod.node.is_none() && !pod.is_gated && !pod.is_deleted && !pod.is_ended();
        let waiting = cluster.pods.iter().map(AsRef::as_ref).filter(waits);
        let names: BTreeSet<String> = waiting.map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect();
        self.told.retain(|told| names.contains(told));
        let due = names.iter().filter(|name| !self.told.contains(*name)).map(|name| (name.as_str(), GRACE)).collect();
        let late: BTreeMap<String, Timestamp> =
            overdue(&mut self.waiting, &due, cluster.now).map(|(pod, since)| (pod.clone(), *since)).collect();
        if late.is_empty() {
            return Vec::new();
        }
        let events = stored("", "events");
        let ours = events
            .iter()
            .map(|event| event.value())
            .filter(|event| event["source"]["component"] == CONTROLLER && !is_late(event));
        self.told.extend(ours.map(|event| {
            let about = &event["involvedObject"];
            format!(
                "{}/{}",
                about["namespace"].as_str().unwrap_or_default(),
                about["name"].as_str().unwrap_or_default()
            )
        }));
        let silent = late.iter().filter(|(pod, _)| !self.told.contains(*pod));
        silent.map(|(pod, since)| format!("L3: `{pod}` waits since {since} and nothing was told of it")).collect()
    }

    /// L6: while a pool's budgets let one more drifted machine go, one goes before long.
    fn drift_goes_on(&mut self, cluster: &Cluster) -> Vec<String> {
        let mut due: BTreeMap<String, SignedDuration> = BTreeMap::new();
        for pool in &cluster.pools {
            let own = cluster.claims.iter().filter(|claim| claim.pool == pool.name && claim.is_drifted);
            let free = own.filter(|claim| claim.reason.is_none() && may_be_replaced(claim, cluster)).count();
            if free > 0 && has_budget(pool, DisruptionReason::Drifted, cluster) {
                due.insert(format!("`{}` has {free} drifted machines that may go", pool.name), GRACE);
            }
        }
        let due = due.iter().map(|(what, grace)| (what.as_str(), *grace)).collect();
        let late = overdue(&mut self.drifted, &due, cluster.now);
        late.map(|(what, since)| format!("L6: {what} since {since}")).collect()
    }

    /// L7: a Node that is not Ready for longer than is borne is replaced, unless so many are that it must be something else.
    fn broken_machines_go(&mut self, cluster: &Cluster) -> Vec<String> {
        let mut due: BTreeMap<&str, SignedDuration> = BTreeMap::new();
        for pool in &cluster.pools {
            let own: Vec<&NodeFacts> =
                cluster.nodes.iter().map(AsRef::as_ref).filter(|own| own.pool == pool.name).collect();
            let broken: Vec<&&NodeFacts> = own.iter().filter(|own| own.unready_since.is_some()).collect();
            if broken.is_empty()
                || broken.len() * 100 > own.len() * MOST_BROKEN_PERCENT
                || !has_budget(pool, DisruptionReason::Unhealthy, cluster)
            {
                continue;
            }
            let going = |node: &NodeFacts| {
                let own = cluster.claims.iter().find(|claim| claim.node.as_ref() == Some(&node.name));
                own.is_none_or(|claim| claim.is_deleted || claim.reason.is_some() || !claim.is_initialized)
            };
            let staying = broken.into_iter().filter(|node| !node.is_deleted && !node.is_protected && !going(node));
            due.extend(staying.map(|node| (node.name.as_str(), BORNE + GRACE)));
        }
        let late = overdue(&mut self.broken, &due, cluster.now);
        late.map(|(node, since)| format!("L7: `{node}` is broken since {since} and still there")).collect()
    }

    /// L4: a Node that is deleted and waits for no pod any more is gone soon.
    fn drained_machines_end(&mut self, cluster: &Cluster, idle: impl Fn(&NodeFacts) -> bool) -> Vec<String> {
        let drained = cluster.nodes.iter().filter(|node| node.is_deleted && idle(node));
        let drained = drained.map(|node| (node.name.as_str(), GRACE)).collect();
        let late = overdue(&mut self.drained, &drained, cluster.now);
        late.map(|(node, since)| format!("L4: `{node}` is drained since {since} and still there")).collect()
    }

    /// L8: a Node that no pod is on is given back, where its pool wants that and a budget lets it, and no CapacityBuffer keeps
    /// it: of those there is at most one for each pod that room is kept for.
    fn empty_machines_go(&mut self, cluster: &Cluster, idle: impl Fn(&NodeFacts) -> bool) -> Vec<String> {
        let may_go = |node: &NodeFacts| !node.is_deleted && node.is_initialized && !node.is_protected && idle(node);
        let mut due: BTreeMap<&str, SignedDuration> = BTreeMap::new();
        for pool in &cluster.pools {
            let own: Vec<&str> = cluster
                .nodes
                .iter()
                .filter(|node| node.pool == pool.name && may_go(node))
                .map(|node| node.name.as_str())
                .collect();
            if !own.is_empty()
                && let Some(after) = gives_back_after(pool, cluster)
            {
                due.extend(own.into_iter().map(|node| (node, after + GRACE)));
            }
        }
        let late = overdue(&mut self.empty, &due, cluster.now);
        let kept = cluster.buffers.iter().filter_map(|buffer| buffer["status"]["replicas"].as_u64()).sum::<u64>();
        let late = late.skip(usize::try_from(kept).unwrap_or(usize::MAX));
        late.map(|(node, since)| format!("L8: `{node}` is empty since {since} and still there")).collect()
    }
}

/// Whether an event tells only that there was no time to look.
fn is_late(event: &Value) -> bool {
    event["message"].as_str().is_some_and(|text| text.contains(&WhyNot::OutOfTime.to_string()))
}

/// Whether nothing on the machine, nor anything that its pods ask for, stands against its going.
fn may_be_replaced(claim: &ClaimFacts, cluster: &Cluster) -> bool {
    let Some(name) = claim.node.as_deref().filter(|_| claim.is_initialized && !claim.is_deleted) else { return false };
    let node = cluster.nodes.iter().find(|own| own.name == name);
    let protected = |pod: &PodFacts| pod.node.as_deref() == Some(name) && !pod.is_ended() && pod.is_protected;
    cluster.budgets.is_empty()
        && node.is_some_and(|node| !node.is_protected && !node.is_deleted && node.unready_since.is_none())
        && !cluster.pods.iter().any(|pod| protected(pod))
}

/// Whether one more machine of the pool may be disrupted for this reason.
fn has_budget(facts: &PoolFacts, reason: DisruptionReason, cluster: &Cluster) -> bool {
    let Some(pool) = &facts.pool else { return false };
    let own = cluster.claims.iter().filter(|claim| claim.pool == facts.name && claim.is_initialized);
    let is_going = |claim: &&Arc<ClaimFacts>| {
        let is_ready = |node: &Arc<NodeFacts>| Some(&node.name) == claim.node.as_ref() && node.unready_since.is_none();
        claim.reason.is_some() || claim.is_deleted || !cluster.nodes.iter().any(is_ready)
    };
    own.filter(is_going).count() < allowed(pool, reason, cluster) as usize
}

/// After how long a pool gives empty machines back; never, if it does not, has a fixed number of them, or has no budget now.
fn gives_back_after(facts: &PoolFacts, cluster: &Cluster) -> Option<SignedDuration> {
    let pool = facts.pool.as_ref()?;
    let after = pool.spec.disruption.consolidate_after.value().filter(|_| !pool.spec.is_static())?;
    SignedDuration::try_from(after).ok().filter(|_| allowed(pool, DisruptionReason::Empty, cluster) > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::each_of;
    use rstest::rstest;
    use sawhorse_kwok::apiserver::Object;
    use serde_json::json;

    fn world(node: Value, pods: &[Value], minutes: i64) -> Cluster {
        let claim = json!({
            "metadata": {"name": "claim", "labels": {"karpenter.sh/nodepool": "default"}},
            "status": {"conditions": [{"type": "Initialized", "status": "True"}]},
        });
        let pool = json!({"metadata": {"name": "default"}, "spec": {
            "template": {"spec": {"nodeClassRef": {"group": "", "kind": "", "name": ""}, "requirements": []}},
            "disruption": {"consolidateAfter": "10m", "budgets": [{"nodes": "0", "schedule": "0 2 * * *", "duration": "1h"}]},
        }});
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        Cluster {
            nodes: each_of([node]),
            pods: each_of(pods.iter().cloned()),
            claims: each_of([claim]),
            pools: each_of([pool]),
            now: start + SignedDuration::from_mins(minutes),
            ..Cluster::default()
        }
    }

    fn nothing(_group: &str, _resource: &str) -> Vec<Arc<Object>> {
        Vec::new()
    }

    fn node() -> Value {
        let labels = json!({"karpenter.sh/nodepool": "default", "karpenter.sh/initialized": "true"});
        json!({"metadata": {"name": "node", "labels": labels}})
    }

    fn pod(owner: &str) -> Value {
        json!({"metadata": {"name": "pod", "ownerReferences": [{"kind": owner}]}, "spec": {"nodeName": "node"}})
    }

    fn after(node: &Value, pods: &[Value], minutes: &[i64]) -> Vec<String> {
        let mut progress = Progress::default();
        let found = minutes.iter().map(|at| progress.violations(&world(node.clone(), pods, *at), &nothing));
        let last = found.last().unwrap_or_default();
        last.into_iter().map(|text| text.split(':').next().unwrap().to_owned()).collect()
    }

    #[rstest]
    #[case::it_may_wait(&[], &[0, 40], &[])]
    #[case::it_should_be_gone(&[], &[0, 41], &["L8"])]
    #[case::a_daemon_is_nothing(&[pod("DaemonSet")], &[0, 41], &["L8"])]
    #[case::a_pod_is_on_it(&[pod("ReplicaSet")], &[0, 41], &[])]
    #[case::the_budget_was_shut(&[], &[0, 130, 181], &[])]
    fn empty_machines(#[case] pods: &[Value], #[case] minutes: &[i64], #[case] expected: &[&str]) {
        assert_eq!(after(&node(), pods, minutes), expected);
    }

    #[rstest]
    #[case::for_a_pod(1, &[])]
    #[case::for_none(0, &["L8"])]
    fn a_buffer_keeps_an_empty_machine(#[case] replicas: u64, #[case] expected: &[&str]) {
        let mut progress = Progress::default();
        let mut found = Vec::new();
        for minutes in [0, 41] {
            let buffers = each_of([json!({"status": {"replicas": replicas}})]);
            found = progress.violations(&Cluster { buffers, ..world(node(), &[], minutes) }, &nothing);
        }
        let codes: Vec<&str> = found.iter().filter_map(|text| text.split(':').next()).collect();
        assert_eq!(codes, expected);
    }

    #[rstest]
    #[case::it_waits_for_a_pod(&[pod("ReplicaSet")], &[])]
    #[case::it_waits_for_nothing(&[], &["L4"])]
    fn drained_machines(#[case] pods: &[Value], #[case] expected: &[&str]) {
        let mut node = node();
        node["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(after(&node, pods, &[0, 31]), expected);
    }

    fn event(component: &str, message: &str) -> Value {
        let about = json!({"namespace": "default", "name": "waits"});
        json!({"source": {"component": component}, "involvedObject": about, "message": message})
    }

    #[rstest]
    #[case::nobody_says_why(None, &["L3"])]
    #[case::the_scheduler_does(Some(event("default-scheduler", "0/1 nodes are available")), &["L3"])]
    #[case::the_controller_does(Some(event("karpenter", "Failed to schedule pod, no NodePool would do")), &[])]
    #[case::it_was_not_looked_at(Some(event("karpenter", &WhyNot::OutOfTime.to_string())), &["L3"])]
    fn pods_that_wait(#[case] event: Option<Value>, #[case] expected: &[&str]) {
        let mut progress = Progress::default();
        let pod = json!({"metadata": {"name": "waits", "namespace": "default"}, "status": {"phase": "Pending"}});
        let events: Vec<_> = event.into_iter().map(|event| Arc::new(Object::received(event))).collect();
        let stored = |_group: &str, _resource: &str| events.clone();
        let mut cluster = Cluster { pods: each_of([pod]), ..Cluster::default() };
        assert_eq!(progress.violations(&cluster, &stored), Vec::<String>::new());
        cluster.now += SignedDuration::from_mins(31);
        let found = progress.violations(&cluster, &stored);
        assert_eq!(found.iter().map(|text| text.split(':').next().unwrap()).collect::<Vec<_>>(), expected);
    }

    /// Five machines, of which the first `drifted` are, in a pool of which one may go at a time.
    fn five(drifted: usize, going: usize, unready: usize, minutes: i64) -> Cluster {
        let labels = json!({"karpenter.sh/nodepool": "default", "karpenter.sh/initialized": "true"});
        let claim = |index: usize| {
            let mut conditions = vec![json!({"type": "Initialized", "status": "True"})];
            conditions.extend((index < drifted).then(|| json!({"type": "Drifted", "status": "True"})));
            conditions.extend(
                (index < going).then(|| json!({"type": "DisruptionReason", "status": "True", "reason": "Drifted"})),
            );
            let name = format!("claim-{index}");
            let status = json!({"nodeName": format!("node-{index}"), "conditions": conditions});
            json!({"metadata": {"name": name, "labels": labels}, "status": status})
        };
        let node = |index: usize| {
            let status = if index < unready { "Unknown" } else { "True" };
            let ready = json!({"type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z"});
            json!({"metadata": {"name": format!("node-{index}"), "labels": labels}, "status": {"conditions": [ready]}})
        };
        let pool = json!({"metadata": {"name": "default"}, "spec": {
            "template": {"spec": {"nodeClassRef": {"group": "", "kind": "", "name": ""}, "requirements": []}},
            "disruption": {"consolidateAfter": "Never", "budgets": [{"nodes": "2"}]},
        }});
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        Cluster {
            nodes: each_of((0..5).map(node)),
            claims: each_of((0..5).map(claim)),
            pools: each_of([pool]),
            now: start + SignedDuration::from_mins(minutes),
            ..Cluster::default()
        }
    }

    #[rstest]
    #[case::nothing_is_done(&[(3, 0, 0), (3, 0, 0)], &["L6"])]
    #[case::one_has_gone(&[(3, 0, 0), (2, 0, 0)], &[])]
    #[case::as_many_go_as_may(&[(3, 2, 0), (3, 2, 0)], &[])]
    #[case::one_more_could(&[(3, 1, 0), (3, 1, 0)], &["L6"])]
    #[case::none_is_left(&[(1, 1, 0), (1, 1, 0)], &[])]
    fn drifted_machines(#[case] seen: &[(usize, usize, usize)], #[case] expected: &[&str]) {
        assert_eq!(seen_every(31, seen), expected);
    }

    #[rstest]
    #[case::one_stays(&[(0, 0, 1), (0, 0, 1)], &["L7"])]
    #[case::it_is_well_again(&[(0, 0, 1), (0, 0, 0)], &[])]
    #[case::one_is_being_replaced(&[(0, 1, 1), (0, 1, 1)], &[])]
    #[case::two_of_five_are_too_many(&[(0, 0, 2), (0, 0, 2)], &[])]
    fn broken_machines(#[case] seen: &[(usize, usize, usize)], #[case] expected: &[&str]) {
        assert_eq!(seen_every(61, seen), expected);
    }

    fn seen_every(minutes: i64, seen: &[(usize, usize, usize)]) -> Vec<String> {
        let mut progress = Progress { repairs: true, ..Progress::default() };
        let looks = (0..).zip(seen).map(|(look, (drifted, going, unready))| {
            progress.violations(&five(*drifted, *going, *unready, look * minutes), &nothing)
        });
        let found = looks.last().unwrap_or_default();
        // What is empty is none of this.
        let found = found.into_iter().map(|text| text.split(':').next().unwrap().to_owned());
        found.filter(|code| code != "L8").collect()
    }
}
