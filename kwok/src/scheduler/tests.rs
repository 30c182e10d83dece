//! Pods and nodes in short form → where the pod goes, or the scheduler's message.

use super::{PodInfo, Snapshot, Unschedulable, schedule};
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

/// The node's name, or the message without what it says of preemption.
fn outcome(snapshot: &Snapshot, pod: &Pod) -> String {
    let message = |why: Unschedulable| why.to_string().split(" no new claims").next().unwrap_or_default().to_owned();
    schedule(snapshot, &PodInfo::of(pod)).map_or_else(message, |node| node.0)
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
#[case::missing_claim(json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}), "0/3 nodes are available: persistentvolumeclaim \"data\" not found. not found")]
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
        "0/4 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, 2 Insufficient cpu."
    );
    assert_eq!(outcome(&Snapshot::new(), &pod("web", "web", json!({}))), "no nodes available to schedule pods");
}

#[rstest]
#[case::fewer_pods_might_help(json!({}), "1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling.")]
#[case::too_big_for_any(json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "9"}}}]}), "3 Preemption is not helpful for scheduling.")]
#[case::not_asked_for(json!({"preemptionPolicy": "Never"}), "not eligible due to preemptionPolicy=Never.")]
fn messages_say_that_nobody_makes_room(#[case] mut spec: Value, #[case] expected: &str) {
    spec["nodeSelector"] = json!({"zone": "2"});
    let full = snapshot(&three(), &["v", "w", "x", "y"].map(|name| (pod(name, "x", json!({})), "c")));
    let message = schedule(&full, &PodInfo::of(&pod("web", "web", spec))).unwrap_err().to_string();
    let said = message.split_once(" no new claims to deallocate, preemption: ").unwrap().1;
    assert_eq!(said.strip_prefix("0/3 nodes are available: ").unwrap_or(said), expected);
}

#[rstest]
#[case::in_every_term(&[&["b"][..], &["a"]], json!({"zone": "2"}), "0/3 nodes are available: 1 node(s) didn't satisfy plugin(s) [NodeAffinity], 2 node(s) didn't match Pod's node affinity/selector.")]
#[case::in_one_of_two_terms(&[&["b"][..], &[]], json!({}), "b")]
#[case::contradictory(&[&["a", "b"][..]], json!({}), "0/3 nodes are available: pod affinity terms conflict. not found")]
fn node_affinity_may_name_nodes(#[case] terms: &[&[&str]], #[case] selector: Value, #[case] expected: &str) {
    let field = |name: &&str| json!({"key": "metadata.name", "operator": "In", "values": [name]});
    let fields = |names: &&[&str]| json!({"matchFields": names.iter().map(field).collect::<Vec<_>>()});
    let terms: Vec<Value> = terms.iter().map(fields).collect();
    let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
    let mut spec = json!({"affinity": {"nodeAffinity": required}});
    spec["nodeSelector"] = selector;
    assert_eq!(outcome(&snapshot(&three(), &[]), &pod("web", "web", spec)), expected);
}

#[rstest]
#[case::all(json!({}), "c")]
#[case::selected(json!({"matchLabels": {"team": "blue"}}), "c")]
#[case::not_selected(json!({"matchLabels": {"team": "green"}}), "b")]
#[case::not_in(json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["green"]}]}), "c")]
fn namespaces_are_selected_by_their_labels(#[case] selector: Value, #[case] expected: &str) {
    let mut other = pod("db", "db", json!({}));
    other.metadata.namespace = Some("blue".to_owned());
    let mut there = snapshot(&three(), &[(other, "a")]);
    let namespace = json!({"kind": "Namespace", "metadata": {"name": "blue", "labels": {"team": "blue"}}});
    there.apply(namespace).unwrap();
    let mut term = near("db", "zone");
    term["requiredDuringSchedulingIgnoredDuringExecution"][0]["namespaceSelector"] = selector;
    let spec = json!({"affinity": {"podAntiAffinity": term}});
    assert_eq!(outcome(&there, &pod("web", "web", spec)), expected);
}

/// kube-scheduler asks its selector about a namespace without labels too; of pods on nodes it asks about theirs.
#[test]
fn a_selector_that_selects_namespaces_without_labels_selects_all() {
    let selector = json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["blue"]}]});
    let mut term = near("db", "zone");
    term["requiredDuringSchedulingIgnoredDuringExecution"][0]["namespaceSelector"] = selector;
    let apart = json!({"affinity": {"podAntiAffinity": term}});
    let (mut blue, mut asking) = (pod("db", "db", json!({})), pod("x", "x", apart));
    blue.metadata.namespace = Some("blue".to_owned());
    let namespace = json!({"kind": "Namespace", "metadata": {"name": "blue", "labels": {"team": "blue"}}});
    let mut there = snapshot(&three(), &[(blue.clone(), "a")]);
    there.apply(namespace.clone()).unwrap();
    assert_eq!(outcome(&there, &asking), "c");
    asking.metadata.namespace = Some("default".to_owned());
    let mut there = snapshot(&three()[..1], &[(asking, "a")]);
    there.apply(namespace).unwrap();
    assert_eq!(outcome(&there, &blue), "a");
}

#[test]
fn a_spread_that_selects_every_pod_counts_none() {
    let mut spec = spread("zone", 1, "DoNotSchedule");
    spec["topologySpreadConstraints"][0]["labelSelector"] = json!({});
    let on = |name: &str| (pod(name, "web", json!({})), "a");
    let there = snapshot(&three()[..2], &[on("x"), on("y")]);
    assert_eq!(outcome(&there, &pod("web", "web", spec)), "b");
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

const ZONE: &str = "topology.kubernetes.io/zone";

/// A claim of `default` of the class, on top of which comes `spec`.
#[expect(clippy::needless_pass_by_value, reason = "literals read better without a reference")]
fn claim(name: &str, class: &str, spec: Value) -> Value {
    let mut whole = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": "2Gi"}}});
    json_patch::merge(&mut whole, &spec);
    json!({"kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": "default"}, "spec": whole})
}

#[expect(clippy::needless_pass_by_value, reason = "literals read better without a reference")]
fn volume(name: &str, class: &str, zone: &str, spec: Value) -> Value {
    let mut whole = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": class, "capacity": {"storage": "5Gi"},
        "csi": {"driver": "d", "volumeHandle": name}, "nodeAffinity": {"required": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]}]}}});
    json_patch::merge(&mut whole, &spec);
    json!({"kind": "PersistentVolume", "metadata": {"name": name}, "spec": whole, "status": {"phase": "Available"}})
}

fn class(name: &str, provisioner: &str, mode: &str) -> Value {
    json!({"kind": "StorageClass", "metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": mode})
}

fn with_claims(name: &str, claims: &[&str]) -> Pod {
    let volume = |claim: &&str| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}});
    pod(name, "web", json!({"volumes": claims.iter().map(volume).collect::<Vec<_>>()}))
}

/// What becomes of a pod with the claim `data` where these objects are.
fn with_storage(objects: &[Value]) -> String {
    let mut there = snapshot(&three(), &[]);
    objects.iter().for_each(|object| there.apply(object.clone()).unwrap());
    outcome(&there, &with_claims("web", &["data"]))
}

#[rstest]
#[case::bound(json!({"volumeName": "pv"}), &[volume("pv", "late", "2", json!({}))], "c")]
#[case::bound_to_nothing(json!({"volumeName": "pv"}), &[], "0/3 nodes are available: persistentvolume \"pv\" not found. not found")]
#[case::immediate(json!({"storageClassName": "now"}), &[], "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found")]
#[case::made_anywhere(json!({}), &[], "a")]
#[case::nothing_is_made(json!({"storageClassName": "static"}), &[], "0/3 nodes are available: 3 node(s) didn't find available persistent volumes to bind.")]
#[case::one_is_there(json!({"storageClassName": "static"}), &[volume("pv", "static", "2", json!({}))], "c")]
#[case::too_small(json!({"storageClassName": "static", "resources": {"requests": {"storage": "6Gi"}}}), &[volume("pv", "static", "2", json!({}))], "0/3 nodes are available: 3 node(s) didn't find available persistent volumes to bind.")]
#[case::meant_for_another(json!({"storageClassName": "static"}), &[volume("pv", "static", "2", json!({"claimRef": {"namespace": "default", "name": "other"}}))], "0/3 nodes are available: 3 node(s) didn't find available persistent volumes to bind.")]
#[case::meant_for_it(json!({"storageClassName": "static"}), &[volume("pv", "other", "2", json!({})), volume("pw", "static", "2", json!({"claimRef": {"namespace": "default", "name": "data"}}))], "c")]
fn claims_draw_their_pod(#[case] spec: Value, #[case] volumes: &[Value], #[case] expected: &str) {
    let mut objects = vec![class("late", "d", "WaitForFirstConsumer"), class("now", "d", "Immediate")];
    objects
        .extend([class("static", "kubernetes.io/no-provisioner", "WaitForFirstConsumer"), claim("data", "late", spec)]);
    objects.extend_from_slice(volumes);
    assert_eq!(with_storage(&objects), expected);
}

#[test]
fn volumes_are_made_only_where_their_class_allows() {
    let mut class = class("late", "d", "WaitForFirstConsumer");
    class["allowedTopologies"] = json!([{"matchLabelExpressions": [{"key": "zone", "values": ["2"]}]}]);
    assert_eq!(with_storage(&[class.clone(), claim("data", "late", json!({}))]), "c");
    let mut told = claim("data", "late", json!({}));
    told["metadata"]["annotations"] = json!({"volume.kubernetes.io/selected-node": "a"});
    assert!(with_storage(&[class, told]).contains("didn't find available persistent volumes to bind"));
}

#[test]
fn the_zone_that_a_volume_is_labelled_with_counts_where_nodes_have_zones() {
    let mut nodes = three();
    for (node, zone) in nodes.iter_mut().zip(["x", "y"]) {
        node.metadata.labels.as_mut().unwrap().insert(ZONE.to_owned(), zone.to_owned());
    }
    let mut there = snapshot(&nodes, &[]);
    let mut labelled = volume("pv", "late", "1", json!({}));
    labelled["metadata"]["labels"] = json!({ZONE: "y__z"});
    there.apply(labelled).unwrap();
    there.apply(claim("data", "late", json!({"volumeName": "pv"}))).unwrap();
    assert_eq!(outcome(&there, &with_claims("web", &["data"])), "b");
}

#[test]
fn drivers_attach_so_many_volumes_and_some_claims_serve_one_pod() {
    let claims = ["one", "two", "three"].map(|name| claim(name, "late", json!({})));
    let mut there = snapshot(&three()[..1], &[(with_claims("x", &["one"]), "a")]);
    let limits = json!({"kind": "CSINode", "metadata": {"name": "a"}, "spec": {"drivers": [{"name": "d", "nodeID": "a", "allocatable": {"count": 2}}]}});
    for object in claims.into_iter().chain([class("late", "d", "WaitForFirstConsumer"), limits]) {
        there.apply(object).unwrap();
    }
    assert_eq!(outcome(&there, &with_claims("web", &["one", "two"])), "a", "the volume that is there counts once");
    assert_eq!(
        outcome(&there, &with_claims("web", &["two", "three"])),
        "0/1 nodes are available: 1 node(s) exceed max volume count."
    );
    there.apply(claim("one", "late", json!({"accessModes": ["ReadWriteOncePod"]}))).unwrap();
    assert!(outcome(&there, &with_claims("web", &["one"])).contains("already in-use by another pod"));
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
