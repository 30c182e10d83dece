//! What must come to an end sooner or later: drained machines are given back, and so are empty ones.

use super::overdue;
use crate::objects::{Cluster, NodeFacts, PoolFacts};
use jiff::{SignedDuration, Timestamp};
use sawhorse_core::api::{DisruptionReason, allowed_disruptions};
use std::collections::{BTreeMap, BTreeSet};

/// What is due may take so long: a cloud that throttles or refuses, a controller that starts anew.
const GRACE: SignedDuration = SignedDuration::from_mins(30);

/// What was seen before.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Since when deleted Nodes have no pod that they wait for.
    drained: BTreeMap<String, Timestamp>,
    /// Since when Nodes have no pod, and may go.
    empty: BTreeMap<String, Timestamp>,
}

impl Progress {
    /// Everything that is violated now.
    pub(super) fn violations(&mut self, cluster: &Cluster) -> Vec<String> {
        let staying = cluster.pods.iter().filter(|pod| !pod.is_ended() && !pod.belongs_to_node);
        let busy: BTreeSet<&str> = staying.filter_map(|pod| pod.node.as_deref()).collect();
        let idle = |node: &NodeFacts| !busy.contains(node.name.as_str());
        let mut found = self.drained_machines_end(cluster, idle);
        found.extend(self.empty_machines_go(cluster, idle));
        found
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

/// After how long a pool gives empty machines back; never, if it does not, has a fixed number of them, or has no budget now.
fn gives_back_after(facts: &PoolFacts, cluster: &Cluster) -> Option<SignedDuration> {
    let pool = facts.pool.as_ref()?;
    let after = pool.spec.disruption.consolidate_after.value().filter(|_| !pool.spec.is_static())?;
    let own = cluster.claims.iter().filter(|claim| claim.pool == facts.name && claim.is_initialized);
    let total = u32::try_from(own.count()).unwrap_or(u32::MAX);
    let budget = allowed_disruptions(pool, DisruptionReason::Empty, total, cluster.now);
    SignedDuration::try_from(after).ok().filter(|_| budget.allowed > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::each_of;
    use rstest::rstest;
    use serde_json::{Value, json};

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

    fn node() -> Value {
        let labels = json!({"karpenter.sh/nodepool": "default", "karpenter.sh/initialized": "true"});
        json!({"metadata": {"name": "node", "labels": labels}})
    }

    fn pod(owner: &str) -> Value {
        json!({"metadata": {"name": "pod", "ownerReferences": [{"kind": owner}]}, "spec": {"nodeName": "node"}})
    }

    fn after(node: &Value, pods: &[Value], minutes: &[i64]) -> Vec<String> {
        let mut progress = Progress::default();
        let found = minutes.iter().map(|at| progress.violations(&world(node.clone(), pods, *at)));
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
            found = progress.violations(&Cluster { buffers, ..world(node(), &[], minutes) });
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
}
