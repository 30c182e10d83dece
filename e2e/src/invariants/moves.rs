//! What must hold of pods that are moved, or could be, as kube-scheduler sees it (`second_opinion`).

use super::{
    allowed, overdue,
    second_opinion::{Moment, Stored, left_together, without_a_place},
};
use crate::objects::{ClaimFacts, Cluster, NodeFacts, PodFacts, PoolFacts};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus};
use kube::core::ObjectMeta;
use sawhorse_core::{
    api::{ConsolidationPolicy, DisruptionReason},
    model::CapacityType,
};
use sawhorse_kwok::scheduler::PodName;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A Node that the others have room for may stay so long: many are given back one at a time.
const GRACE: SignedDuration = SignedDuration::from_mins(60);
/// Whether Nodes could go is asked of clusters with at most so many.
const SMALL: usize = 8;
/// And so often.
const ASKED_EVERY: SignedDuration = SignedDuration::from_mins(2);

/// What was seen before.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// The commands whose pods were looked at.
    judged: BTreeSet<String>,
    /// What there was at the last look.
    before: Moment,
    /// Since when Nodes, with what is on them, could be given back.
    spare: BTreeMap<String, Timestamp>,
    asked: Option<Timestamp>,
}

impl Moves {
    /// Everything that is violated now.
    pub(super) fn violations(&mut self, cluster: &Cluster, stored: Stored<'_>) -> Vec<String> {
        let mut found = self.pods_have_a_place(cluster, stored);
        if self.asked.is_none_or(|asked| cluster.now.duration_since(asked) >= ASKED_EVERY) {
            self.asked = Some(cluster.now);
            found.extend(self.spare_machines_go(cluster, stored));
        }
        self.before = cluster.moment.clone();
        found
    }

    /// S9: each pod of a machine that is disrupted could go to another that is there or comes for it: as things are once what
    /// comes has been launched, or where nothing comes at some moment between the look before the command began and this one.
    fn pods_have_a_place(&mut self, cluster: &Cluster, stored: Stored<'_>) -> Vec<String> {
        let mut disrupted: BTreeMap<&str, (u64, BTreeSet<&str>)> = BTreeMap::new();
        for claim in &cluster.claims {
            let Some(command) = claim.command.as_ref().filter(|own| !self.judged.contains(&own.id)) else { continue };
            let (_, nodes) = disrupted.entry(&command.id).or_insert((command.replacements, BTreeSet::new()));
            nodes.extend(claim.node.as_deref());
        }
        let mut found = Vec::new();
        for (id, (replacements, nodes)) in disrupted {
            let coming: Vec<Node> = cluster.claims.iter().filter_map(|own| node_to_be(own, id)).collect();
            if (coming.len() as u64) < replacements {
                continue;
            }
            self.judged.insert(id.to_owned());
            let leaving = if replacements == 0 { &self.before } else { &cluster.moment }.leaving(&nodes);
            if leaving.is_empty() {
                continue;
            }
            let between = Moment { pods: self.before.pods.clone(), nodes: cluster.moment.nodes.clone() };
            let moments = [&self.before, &between, &cluster.moment];
            let moments = if replacements == 0 { &moments[..] } else { &moments[2..] };
            let mut stranded: BTreeSet<PodName> = leaving.iter().map(|pod| pod.name.clone()).collect();
            for moment in moments {
                if !stranded.is_empty() {
                    stranded = &stranded & &without_a_place(&moment.without(&nodes, &coming, stored), &leaving);
                }
            }
            if !stranded.is_empty() {
                let pods: Vec<String> = stranded.iter().map(ToString::to_string).collect();
                let pods = pods.join("`, `");
                found.push(format!("S9: command `{id}` leaves `{pods}` without a place"));
            }
        }
        found
    }

    /// L5: no Node stays that could be given back with nothing in its place, where its pool wants that, a budget lets it, and
    /// nothing that could stand against it is there at all.
    fn spare_machines_go(&mut self, cluster: &Cluster, stored: Stored<'_>) -> Vec<String> {
        let spare = if cluster.nodes.len() <= SMALL { spare_machines(cluster, stored) } else { BTreeMap::new() };
        let spare = spare.iter().map(|(key, after)| (key.as_str(), *after)).collect();
        let late = overdue(&mut self.spare, &spare, cluster.now);
        late.map(|(what, since)| format!("L5: {what} could go since {since} and is still there")).collect()
    }
}

/// The Node that a replacement for the command becomes; none if its machine is not launched.
fn node_to_be(claim: &Arc<ClaimFacts>, command: &str) -> Option<Node> {
    let whole = claim.whole.as_ref().filter(|_| claim.came_for.as_deref() == Some(command))?;
    let status = whole.status.as_ref()?;
    let allocatable = Some(status.allocatable.clone()).filter(|own| !own.is_empty())?;
    let name = whole.metadata.name.clone()?;
    let mut labels = whole.metadata.labels.clone().unwrap_or_default();
    labels.insert("kubernetes.io/hostname".to_owned(), name.clone());
    Some(Node {
        metadata: ObjectMeta { name: Some(name), labels: Some(labels), ..ObjectMeta::default() },
        spec: Some(NodeSpec { taints: Some(whole.spec.taints.clone()), ..NodeSpec::default() }),
        status: Some(NodeStatus { allocatable: Some(allocatable), ..NodeStatus::default() }),
    })
}

/// Nodes whose pods fit on the others, with what is on them, and how long they may stay.
fn spare_machines(cluster: &Cluster, stored: Stored<'_>) -> BTreeMap<String, SignedDuration> {
    let waits = cluster.pods.iter().any(|pod| pod.node.is_none());
    let is_settled = |node: &Arc<NodeFacts>| node.is_initialized && !node.is_deleted && !node.is_tainted;
    if waits || !cluster.budgets.is_empty() || !cluster.buffers.is_empty() || !cluster.nodes.iter().all(is_settled) {
        return BTreeMap::new();
    }
    let mut spare = BTreeMap::new();
    for pool in &cluster.pools {
        let Some(after) = consolidates_after(pool, cluster) else { continue };
        for claim in cluster.claims.iter().filter(|own| own.pool == pool.name) {
            let Some(node) = claim.node.as_deref() else { continue };
            let own = || cluster.pods.iter().filter(|pod| pod.node.as_deref() == Some(node) && !pod.is_ended());
            let moves = |pod: &&Arc<PodFacts>| !pod.belongs_to_node;
            let is_protected = cluster.nodes.iter().any(|own| own.name == node && own.is_protected);
            // A reservation is paid for either way.
            let may_go = claim.capacity_type != CapacityType::Reserved.as_str() && !is_protected;
            if may_go
                && !own().any(|pod| pod.is_protected)
                && own().any(|pod| moves(&pod))
                && has_spare_room(cluster, node, stored)
            {
                let pods: Vec<&str> = own().filter(moves).map(|pod| pod.name.as_str()).collect();
                spare.insert(format!("`{node}` with `{}`", pods.join("`, `")), after + GRACE);
            }
        }
    }
    spare
}

/// Whether all pods of the Node find a place on the others.
fn has_spare_room(cluster: &Cluster, node: &str, stored: Stored<'_>) -> bool {
    let own = BTreeSet::from([node]);
    left_together(cluster.moment.without(&own, &[], stored), cluster.moment.leaving(&own)).is_empty()
}

/// After how long a pool consolidates machines with pods; never if it does not, or has no budget now.
fn consolidates_after(facts: &PoolFacts, cluster: &Cluster) -> Option<SignedDuration> {
    let pool = facts.pool.as_ref()?;
    let disruption = &pool.spec.disruption;
    if pool.spec.is_static() || disruption.consolidation_policy != ConsolidationPolicy::WhenEmptyOrUnderutilized {
        return None;
    }
    let after = disruption.consolidate_after.value()?;
    SignedDuration::try_from(after).ok().filter(|_| allowed(pool, DisruptionReason::Underutilized, cluster) > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::each_of;
    use rstest::rstest;
    use sawhorse_kwok::apiserver::Object;
    use serde_json::{Value, json};

    fn node(name: &str, cpu: u32) -> Value {
        let labels = json!({"karpenter.sh/nodepool": "default", "karpenter.sh/initialized": "true", "kubernetes.io/hostname": name});
        json!({"metadata": {"name": name, "labels": labels}, "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": 10}}})
    }

    fn pod(name: &str, node: &str, spec: &Value) -> Value {
        let mut pod = json!({
            "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
            "spec": {"nodeName": node, "containers": [{"name": "main", "resources": {"requests": {"cpu": 1}}}]},
            "status": {"phase": "Running"},
        });
        spec.as_object().into_iter().flatten().for_each(|(key, value)| pod["spec"][key] = value.clone());
        pod
    }

    /// A command for the first of some machines, which nothing or a machine of so many cores replaces.
    fn cluster(nodes: &[Value], pods: &[Value], replacement: Option<u32>, minutes: i64) -> Cluster {
        let claim = |name: &str, node: &str, annotations: Value, cpu: Option<u32>| {
            let labels = json!({"karpenter.sh/nodepool": "default"});
            let allocatable =
                cpu.map_or(json!({}), |cpu| json!({"cpu": cpu.to_string(), "memory": "8Gi", "pods": "10"}));
            let spec = json!({"nodeClassRef": {"group": "", "kind": "", "name": ""}, "requirements": []});
            let conditions =
                [json!({"type": "Initialized", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"})];
            let status = json!({"nodeName": node, "allocatable": allocatable, "conditions": conditions});
            json!({"metadata": {"name": name, "labels": labels, "annotations": annotations}, "spec": spec, "status": status})
        };
        let command =
            json!({"id": "x", "method": "drift", "replacements": u32::from(replacement.is_some())}).to_string();
        let command = if minutes > 0 { json!({"sawhorse.karpenter.sh/command": command}) } else { json!({}) };
        let mut claims = vec![claim("claim-0", "node-0", command, None), claim("claim-1", "node-1", json!({}), None)];
        let came_for = json!({"sawhorse.karpenter.sh/replacement-of": r#"{"id":"x","index":0}"#});
        claims.extend(replacement.map(|cpu| claim("claim-2", "", came_for, Some(cpu))));
        let pool = json!({"metadata": {"name": "default"}, "spec": {
            "template": {"spec": {"nodeClassRef": {"group": "", "kind": "", "name": ""}, "requirements": []}},
            "disruption": {"consolidateAfter": "10m", "budgets": [{"nodes": "1"}]},
        }});
        let stored = |objects: &[Value]| objects.iter().map(|own| Arc::new(Object::received(own.clone()))).collect();
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        Cluster {
            nodes: each_of(nodes.iter().cloned()),
            pods: each_of(pods.iter().cloned()),
            claims: each_of(claims),
            pools: each_of([pool]),
            moment: Moment { pods: stored(pods), nodes: stored(nodes) },
            now: start + SignedDuration::from_mins(minutes),
            ..Cluster::default()
        }
    }

    fn nothing(_group: &str, _resource: &str) -> Vec<Arc<Object>> {
        Vec::new()
    }

    fn codes(found: &[String]) -> Vec<&str> {
        found.iter().map(|text| text.split(':').next().unwrap()).collect()
    }

    #[rstest]
    #[case::there_is_room(2, json!({}), None, &[])]
    #[case::there_is_none(1, json!({}), None, &["S9"])]
    #[case::what_comes_has_room(1, json!({}), Some(1), &[])]
    #[case::what_comes_has_none(1, json!({}), Some(0), &["S9"])]
    #[case::what_comes_is_another(2, json!({"nodeSelector": {"kubernetes.io/hostname": "node-0"}}), Some(4), &["S9"])]
    fn pods_of_a_disrupted_machine(
        #[case] cpu: u32,
        #[case] spec: Value,
        #[case] replacement: Option<u32>,
        #[case] expected: &[&str],
    ) {
        let nodes = [node("node-0", 2), node("node-1", cpu)];
        let pods = [pod("a", "node-0", &spec), pod("b", "node-1", &json!({}))];
        let mut moves = Moves::default();
        assert_eq!(moves.violations(&cluster(&nodes, &pods, None, 0), &nothing), Vec::<String>::new());
        assert_eq!(codes(&moves.violations(&cluster(&nodes, &pods, replacement, 1), &nothing)), expected);
        // It is told once.
        assert_eq!(moves.violations(&cluster(&nodes, &pods, replacement, 1), &nothing), Vec::<String>::new());
    }

    #[test]
    fn a_pod_that_follows_another_goes_where_that_one_does() {
        let near = json!({"labelSelector": {"matchLabels": {"app": "a"}}, "topologyKey": "kubernetes.io/hostname"});
        let near = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [near]}}});
        let nodes = [node("node-0", 2), node("node-1", 4)];
        let pods = [pod("0", "node-0", &near), pod("a", "node-0", &json!({}))];
        let mut moves = Moves::default();
        moves.violations(&cluster(&nodes, &pods, None, 0), &nothing);
        assert_eq!(moves.violations(&cluster(&nodes, &pods, None, 1), &nothing), Vec::<String>::new());
    }

    #[rstest]
    #[case::it_may_wait(2, 69, &[])]
    #[case::it_should_be_gone(2, 71, &["L5"])]
    #[case::nothing_else_has_room(1, 71, &[])]
    fn a_machine_that_the_others_have_room_for(#[case] cpu: u32, #[case] minutes: i64, #[case] expected: &[&str]) {
        let nodes = [node("node-0", 1), node("node-1", cpu)];
        let pods = [pod("a", "node-0", &json!({})), pod("b", "node-1", &json!({}))];
        let mut moves = Moves::default();
        for at in [0, minutes] {
            let cluster = cluster(&nodes, &pods, None, -1);
            let found =
                moves.violations(&Cluster { now: cluster.now + SignedDuration::from_mins(at), ..cluster }, &nothing);
            assert_eq!(codes(&found), if at == 0 { &[] } else { expected });
        }
    }
}
