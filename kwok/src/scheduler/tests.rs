//! Pods and nodes in short form → where the pod goes, or the scheduler's message.

use super::{PodInfo, Snapshot, schedule};
use k8s_openapi::api::core::v1::{Node, Pod};
use rstest::rstest;
use serde_json::{Value, json};

#[expect(clippy::needless_pass_by_value, reason = "literals read better without a reference")]
/// A node in `zone` with so much cpu, further labels, and taints.
fn node(name: &str, zone: &str, cpu: &str, taints: Value) -> Node {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "zone": zone, "disk": format!("disk-{zone}")}},
        "spec": {"taints": taints},
        "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "4"}},
    }))
    .unwrap()
}

#[expect(clippy::needless_pass_by_value, reason = "literals read better without a reference")]
/// A pod labelled `app` that asks for one cpu, with `spec` on top.
fn pod(name: &str, app: &str, spec: Value) -> Pod {
    let mut whole = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]});
    json_patch::merge(&mut whole, &spec);
    let metadata = json!({"name": name, "namespace": "default", "uid": name, "labels": {"app": app}});
    serde_json::from_value(json!({"metadata": metadata, "spec": whole})).unwrap()
}

fn snapshot(nodes: &[Node], pods: &[(Pod, &str)]) -> Snapshot {
    let mut snapshot = Snapshot::new();
    nodes.iter().for_each(|node| assert!(snapshot.apply_node(node)));
    pods.iter().for_each(|(pod, node)| assert!(snapshot.assign(PodInfo::of(pod), node)));
    snapshot
}

/// The node's name, or the message.
fn outcome(snapshot: &Snapshot, pod: &Pod) -> String {
    schedule(snapshot, &PodInfo::of(pod)).map_or_else(|why| why.to_string(), |node| node.0)
}

fn three() -> Vec<Node> {
    vec![node("a", "1", "4", json!([])), node("b", "1", "4", json!([])), node("c", "2", "4", json!([]))]
}

fn near(app: &str, key: &str) -> Value {
    json!({"requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key}]})
}

fn spread(key: &str, skew: i64, when: &str) -> Value {
    json!({"topologySpreadConstraints": [{"maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": when, "labelSelector": {"matchLabels": {"app": "web"}}}]})
}

#[rstest]
#[case::ties_go_by_name(json!({}), "a")]
#[case::node_selector(json!({"nodeSelector": {"zone": "2"}}), "c")]
#[case::wrong_selector(json!({"nodeSelector": {"zone": "3"}}), "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.")]
#[case::node_affinity(json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["1"]}]}]}}}}), "c")]
#[case::node_affinity_by_name(json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}]}}}}), "b")]
#[case::preferred_node(json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 10, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["2"]}]}}]}}}), "c")]
#[case::too_big(json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "5", "memory": "9Gi"}}}]}), "0/3 nodes are available: 3 Insufficient cpu, 3 Insufficient memory.")]
#[case::a_resource_nobody_has(json!({"containers": [{"name": "c", "resources": {"requests": {"nvidia.com/gpu": "1"}}}]}), "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")]
#[case::affinity_without_anybody(json!({"affinity": {"podAffinity": near("db", "zone")}}), "0/3 nodes are available: 3 node(s) didn't match pod affinity rules.")]
#[case::affinity_to_oneself(json!({"affinity": {"podAffinity": near("web", "zone")}}), "a")]
#[case::missing_claim(json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}), "0/3 nodes are available: persistentvolumeclaim \"data\" not found.")]
#[case::other_node_named(json!({"nodeName": "z"}), "0/3 nodes are available: 3 node(s) didn't match the requested node name.")]
fn on_empty_nodes(#[case] spec: Value, #[case] expected: &str) {
    assert_eq!(outcome(&snapshot(&three(), &[]), &pod("web", "web", spec)), expected);
}

#[test]
fn messages_count_each_reason() {
    let taint = json!([{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]);
    let mut cordoned = node("d", "1", "4", json!([]));
    cordoned.spec.as_mut().unwrap().unschedulable = Some(true);
    let nodes =
        [node("a", "1", "4", taint), node("b", "1", "500m", json!([])), node("c", "1", "500m", json!([])), cordoned];
    assert_eq!(
        outcome(&snapshot(&nodes, &[]), &pod("web", "web", json!({}))),
        "0/4 nodes are available: 1 node(s) had untolerated taint {gpu: yes}, 1 node(s) were unschedulable, 2 Insufficient cpu."
    );
    assert_eq!(outcome(&Snapshot::new(), &pod("web", "web", json!({}))), "no nodes available to schedule pods");
}

#[rstest]
#[case::hard(json!([{"key": "gpu", "effect": "NoSchedule"}]), json!({}), "b")]
#[case::tolerated(json!([{"key": "gpu", "effect": "NoSchedule"}]), json!({"tolerations": [{"key": "gpu", "operator": "Exists"}]}), "a")]
#[case::soft(json!([{"key": "gpu", "effect": "PreferNoSchedule"}]), json!({}), "b")]
#[case::no_execute(json!([{"key": "gpu", "effect": "NoExecute"}]), json!({}), "b")]
fn taints_keep_off(#[case] taints: Value, #[case] spec: Value, #[case] expected: &str) {
    let nodes = [node("a", "1", "4", taints), node("b", "1", "4", json!([]))];
    assert_eq!(outcome(&snapshot(&nodes, &[]), &pod("web", "web", spec)), expected);
}

#[rstest]
#[case::emptier_first(json!({}), "b")]
#[case::near_in_the_zone(json!({"affinity": {"podAffinity": near("db", "zone")}}), "b")]
#[case::near_on_the_host(json!({"affinity": {"podAffinity": near("db", "kubernetes.io/hostname")}}), "a")]
#[case::far_in_the_zone(json!({"affinity": {"podAntiAffinity": near("db", "zone")}}), "c")]
#[case::rather_near(json!({"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"}}]}}}), "a")]
#[case::rather_far(json!({"affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "zone"}}]}}}), "c")]
fn beside_a_pod_on_a(#[case] spec: Value, #[case] expected: &str) {
    let snapshot = snapshot(&three(), &[(pod("db", "db", json!({})), "a")]);
    assert_eq!(outcome(&snapshot, &pod("web", "web", spec)), expected);
}

#[test]
fn anti_affinity_is_symmetric() {
    let shy = pod("db", "db", json!({"affinity": {"podAntiAffinity": near("web", "zone")}}));
    let mut snapshot = snapshot(&three(), &[(shy, "a")]);
    assert_eq!(outcome(&snapshot, &pod("web", "web", json!({}))), "c");
    let only_zone_1 = json!({"nodeSelector": {"zone": "1"}});
    assert_eq!(
        outcome(&snapshot, &pod("web", "web", only_zone_1.clone())),
        "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, \
         2 node(s) didn't satisfy existing pods anti-affinity rules."
    );
    assert!(snapshot.remove_pod(&PodInfo::of(&pod("db", "db", json!({}))).name));
    assert_eq!(outcome(&snapshot, &pod("web", "web", only_zone_1)), "a");
}

#[rstest]
#[case::first(&[], spread("zone", 1, "DoNotSchedule"), "a")]
#[case::evens_out(&["a"], spread("zone", 1, "DoNotSchedule"), "c")]
#[case::skew_allows(&["a"], spread("zone", 2, "DoNotSchedule"), "b")]
#[case::over_hosts(&["a", "b"], spread("kubernetes.io/hostname", 1, "DoNotSchedule"), "c")]
#[case::soft(&["a", "b"], spread("zone", 1, "ScheduleAnyway"), "c")]
#[case::missing_label(&[], spread("rack", 1, "DoNotSchedule"), "0/3 nodes are available: 3 node(s) didn't match pod topology spread constraints (missing required label).")]
fn spreading(#[case] there: &[&str], #[case] spec: Value, #[case] expected: &str) {
    let pods: Vec<(Pod, &str)> =
        there.iter().map(|node| (pod(&format!("web-{node}"), "web", json!({})), *node)).collect();
    assert_eq!(outcome(&snapshot(&three(), &pods), &pod("web", "web", spec)), expected);
}

#[test]
fn spreading_counts_only_nodes_that_the_pod_may_use_and_pods_that_stay() {
    let mut spec = spread("zone", 1, "DoNotSchedule");
    spec["nodeSelector"] = json!({"zone": "1"});
    let on = |name: &str| pod(name, "web", json!({}));
    let held = snapshot(&three(), &[(on("x"), "a"), (on("y"), "b")]);
    assert_eq!(outcome(&held, &pod("web", "web", spec)), "a", "zone 2 is not eligible, so zone 1 is all there is");
    let mut leaving = on("x");
    leaving.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    let left = snapshot(&three(), &[(leaving, "a"), (on("y"), "c")]);
    assert_eq!(
        outcome(&left, &pod("web", "web", spread("zone", 1, "DoNotSchedule"))),
        "b",
        "a pod that leaves does not count"
    );
}

#[test]
fn host_ports_and_pod_counts_run_out() {
    let port = json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]});
    let nodes = [node("a", "1", "9", json!([]))];
    let there = snapshot(&nodes, &[(pod("x", "x", port.clone()), "a")]);
    assert_eq!(
        outcome(&there, &pod("web", "web", port)),
        "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."
    );
    let four: Vec<(Pod, &str)> = (0..4).map(|n| (pod(&n.to_string(), "x", json!({})), "a")).collect();
    assert_eq!(
        outcome(&snapshot(&nodes, &four), &pod("web", "web", json!({}))),
        "0/1 nodes are available: 1 Too many pods."
    );
}

#[test]
fn bound_volumes_draw_their_pod() {
    let mut there = snapshot(&three(), &[]);
    let claim = json!({"metadata": {"name": "data", "namespace": "default"}, "spec": {"volumeName": "pv"}});
    let volume = json!({"metadata": {"name": "pv"}, "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["2"]}]}]}}}});
    there.volumes.apply_claim(&serde_json::from_value(claim).unwrap());
    there.volumes.apply_volume(&serde_json::from_value(volume).unwrap());
    let spec = json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]});
    assert_eq!(outcome(&there, &pod("web", "web", spec.clone())), "c");
    let waiting = json!({"metadata": {"name": "data", "namespace": "default"}, "spec": {"storageClassName": "late"}});
    there.volumes.apply_claim(&serde_json::from_value(waiting).unwrap());
    assert!(outcome(&there, &pod("web", "web", spec.clone())).contains("unbound immediate PersistentVolumeClaims"));
    let class = json!({"metadata": {"name": "late"}, "provisioner": "p", "volumeBindingMode": "WaitForFirstConsumer",
        "allowedTopologies": [{"matchLabelExpressions": [{"key": "zone", "values": ["2"]}]}]});
    there.volumes.apply_class(&serde_json::from_value(class).unwrap());
    assert_eq!(outcome(&there, &pod("web", "web", spec)), "c");
}

#[test]
fn prepared_counts_stay_true_as_pods_come_and_go() {
    let spec = spread("zone", 1, "DoNotSchedule");
    let asking = PodInfo::of(&pod("web", "web", spec));
    let mut kept = snapshot(&three(), &[]);
    kept.prepare(&asking);
    for step in 0..12 {
        let name = format!("web-{}", step % 5);
        let other = PodInfo::of(&pod(&name, "web", json!({})));
        if !kept.remove_pod(&other.name) {
            kept.assign(other, ["a", "b", "c"][step % 3]);
        }
        let mut fresh = kept.clone();
        fresh.forget_counts();
        assert_eq!(schedule(&kept, &asking), schedule(&fresh, &asking), "step {step}");
    }
}

#[test]
fn a_thousand_spread_pods_on_a_thousand_nodes_even_out() {
    let mut there = Snapshot::new();
    for index in 0..1_000 {
        let mut node = node(&format!("node-{index:04}"), &(index % 3).to_string(), "16", json!([]));
        let allocatable = node.status.as_mut().unwrap().allocatable.as_mut().unwrap();
        allocatable
            .insert("pods".to_owned(), k8s_openapi::apimachinery::pkg::api::resource::Quantity("110".to_owned()));
        there.apply_node(&node);
    }
    for index in 0..1_000 {
        let asking = PodInfo::of(&pod(&format!("web-{index}"), "web", spread("zone", 1, "DoNotSchedule")));
        there.prepare(&asking);
        let node = schedule(&there, &asking).unwrap();
        there.assign(asking, &node.0);
    }
    let zones = there.nodes().map(|node| (node.facts.labels["zone"].clone(), node.pods));
    let mut sums = std::collections::BTreeMap::new();
    zones.for_each(|(zone, pods)| *sums.entry(zone).or_insert(0) += pods);
    assert_eq!(sums.values().copied().collect::<Vec<i64>>(), [334, 333, 333]);
}
