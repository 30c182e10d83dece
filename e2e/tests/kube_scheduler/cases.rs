//! Clusters and pending pods, drawn from a seed, that try what kube-scheduler's filters look at.

use crate::draw::{APPS, HOST, ZONE, affinity_term, chance, node_requirement, one, pod_selector, put, some, spread};
use sawhorse_ambient::{Seed, Stream};
use serde_json::{Map, Value, json};

/// A cluster and the pods that wait in it. Nothing in it has a uid yet.
pub(crate) struct Case {
    /// Claims, volumes and what nodes attach: made first.
    pub(crate) storage: Vec<Value>,
    pub(crate) nodes: Vec<Value>,
    /// Pods on nodes.
    pub(crate) bound: Vec<Value>,
    pub(crate) pending: Vec<Value>,
}

const NAMESPACES: [&str; 3] = ["default", "blue", "green"];
const DRIVER: &str = "ebs.example.com";
const TIER: &str = "example.com/tier";
const LABELS: [(&str, &[&str]); 4] =
    [(ZONE, &["a", "b", "c"]), ("disk", &["ssd", "hdd"]), ("rack", &["1", "2"]), ("absent", &["x"])];
const KEYS: [&str; 4] = [ZONE, HOST, "rack", "absent"];

/// What all cases share: made once.
pub(crate) fn shared() -> Vec<Value> {
    let namespace = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"team": name}}});
    let class = |name: &str, mode: &str, provisioner: &str, zones: &[&str]| {
        let mut class = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
            "provisioner": provisioner, "volumeBindingMode": mode,
        });
        if !zones.is_empty() {
            class["allowedTopologies"] = json!([{"matchLabelExpressions": [{"key": ZONE, "values": zones}]}]);
        }
        class
    };
    let priority = |name: &str, value: i64, policy: &str| {
        json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value,
            "preemptionPolicy": policy,
        })
    };
    vec![
        namespace("blue"),
        namespace("green"),
        class("late", "WaitForFirstConsumer", DRIVER, &[]),
        class("zonal", "WaitForFirstConsumer", DRIVER, &["a", "b"]),
        class("static", "WaitForFirstConsumer", "kubernetes.io/no-provisioner", &[]),
        class("now", "Immediate", DRIVER, &[]),
        priority("meek", 1_000, "Never"),
        priority("bold", 2_000, "PreemptLowerPriority"),
        json!({
            "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "heavy"}, "handler": "heavy",
            "overhead": {"podFixed": {"cpu": "250m", "memory": "120Mi"}},
        }),
    ]
}

pub(crate) fn case(index: usize, pods: usize) -> Case {
    let mut stream = Seed(11).stream(&["scheduling case", &index.to_string()]);
    let nodes: Vec<Value> = (0..3 + stream.below(5)).map(|number| node(&mut stream, &format!("n{number}"))).collect();
    let names: Vec<String> = nodes.iter().map(|node| node["metadata"]["name"].as_str().unwrap().to_owned()).collect();
    let storage = storage(&mut stream, &names);
    let mut bound = Vec::new();
    for number in 0..stream.below(12) {
        let mut pod = pod(&mut stream, &format!("bound-{number}"), &names, true);
        // Now and then the node of a pod is gone.
        let node =
            if chance(&mut stream, 4) { "gone".to_owned() } else { names[below(&mut stream, names.len())].clone() };
        pod["spec"]["nodeName"] = json!(node);
        if chance(&mut stream, 8) {
            pod["status"] = json!({"phase": one(&mut stream, &["Succeeded", "Failed"])});
        }
        bound.push(pod);
    }
    let pending = (0..pods).map(|number| pod(&mut stream, &format!("pending-{number}"), &names, false)).collect();
    Case { storage, nodes, bound, pending }
}

fn below(stream: &mut Stream, bound: usize) -> usize {
    usize::try_from(stream.below(bound as u64)).unwrap()
}

fn node(stream: &mut Stream, name: &str) -> Value {
    let mut labels = Map::new();
    for (key, values) in [(ZONE, &["a", "b", "c"][..]), ("disk", &["ssd", "hdd"]), ("rack", &["1", "2"])] {
        if chance(stream, 85) {
            labels.insert(key.to_owned(), json!(one(stream, values)));
        }
    }
    if chance(stream, 95) {
        labels.insert(HOST.to_owned(), json!(name));
    }
    if chance(stream, 70) {
        labels.insert(TIER.to_owned(), json!(one(stream, &["0", "3", "5", "8", "x", "007"])));
    }
    let mut taints = Vec::new();
    for (key, value) in [("dedicated", one(stream, &["gpu", "db"])), ("flaky", "")] {
        if chance(stream, 20) {
            let effect = one(stream, &["NoSchedule", "NoSchedule", "PreferNoSchedule", "NoExecute"]);
            taints.push(json!({"key": key, "value": value, "effect": effect}));
        }
    }
    let mut allocatable = json!({
        "cpu": one(stream, &["2", "4", "3500m", "1930m"]), "memory": one(stream, &["4Gi", "2000M", "8Gi", "3500000Ki"]),
        "pods": one(stream, &["2", "5", "110", "110"]),
    });
    for (resource, amount) in
        [("ephemeral-storage", "20Gi"), ("nvidia.com/gpu", "2"), ("example.com/dongle", "3"), ("hugepages-2Mi", "64Mi")]
    {
        if chance(stream, 50) {
            allocatable[resource] = json!(amount);
        }
    }
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels},
        "spec": {"taints": taints, "unschedulable": chance(stream, 10)},
        "status": {"allocatable": allocatable.clone(), "capacity": allocatable},
    })
}

/// Volumes, claims `data-0` to `data-7` in every namespace as each is drawn, and limits of what nodes attach.
fn storage(stream: &mut Stream, nodes: &[String]) -> Vec<Value> {
    let mut all = Vec::new();
    for node in nodes {
        if chance(stream, 40) {
            continue;
        }
        let driver =
            json!({"name": DRIVER, "nodeID": node, "topologyKeys": [], "allocatable": {"count": 1 + stream.below(3)}});
        let drivers = if chance(stream, 80) { json!([driver]) } else { json!([]) };
        all.push(json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": {"name": node}, "spec": {"drivers": drivers},
        }));
    }
    for number in 0..2 {
        let class = one(stream, &["static", "late"]);
        all.push(volume(stream, &format!("spare-{number}"), class, None));
    }
    for number in 0..8 {
        let namespace = one(stream, &NAMESPACES);
        claim(stream, namespace, &format!("data-{number}"), nodes, &mut all);
    }
    for namespace in NAMESPACES {
        let mut claim = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "late", "volumeName": "spare-0"});
        claim["resources"] = json!({"requests": {"storage": "1Gi"}});
        let metadata = json!({"name": "named", "namespace": namespace});
        all.push(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": claim}));
    }
    all
}

fn volume(stream: &mut Stream, name: &str, class: &str, claim: Option<Value>) -> Value {
    let mut spec = json!({
        "capacity": {"storage": one(stream, &["1Gi", "5Gi", "10Gi"])}, "accessModes": [one(stream, &["ReadWriteOnce", "ReadWriteOnce", "ReadWriteOncePod"])],
        "storageClassName": class,
    });
    if chance(stream, 80) {
        spec["csi"] = json!({"driver": DRIVER, "volumeHandle": format!("handle-{name}")});
    } else {
        spec["hostPath"] = json!({"path": "/data"});
    }
    if chance(stream, 60) {
        let requirements = [json!({"key": ZONE, "operator": "In", "values": some(stream, &["a", "b", "c"])})];
        spec["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": requirements}]}});
    }
    let phase = if claim.is_some() { "Bound" } else { one(stream, &["Available", "Available", "Pending"]) };
    if let Some(claim) = claim {
        spec["claimRef"] = claim;
    }
    let mut labels = Map::new();
    if chance(stream, 25) {
        labels.insert(ZONE.to_owned(), json!(one(stream, &["a", "b", "a__b"])));
    }
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name, "labels": labels}, "spec": spec,
        "status": {"phase": phase},
    })
}

/// A claim in one of the states that claims are in, with its volume if it has one.
fn claim(stream: &mut Stream, namespace: &str, name: &str, nodes: &[String], all: &mut Vec<Value>) {
    let class = one(stream, &["late", "late", "zonal", "static", "now"]);
    let mode = one(stream, &["ReadWriteOnce", "ReadWriteOnce", "ReadWriteOncePod"]);
    let mut metadata = json!({"name": name, "namespace": namespace});
    let mut spec = json!({
        "accessModes": [mode], "storageClassName": class,
        "resources": {"requests": {"storage": one(stream, &["1Gi", "4Gi", "8Gi"])}},
    });
    let mut status = json!({});
    match stream.below(10) {
        // Bound, its volume there or gone.
        state @ 0..=4 => {
            let volume_name = format!("volume-{name}");
            spec["volumeName"] = json!(volume_name);
            metadata["annotations"] = json!({"pv.kubernetes.io/bind-completed": "yes"});
            status = json!({"phase": if state == 4 && chance(stream, 30) { "Lost" } else { "Bound" }});
            if state != 0 || chance(stream, 70) {
                let claim = json!({"namespace": namespace, "name": name});
                all.push(volume(stream, &volume_name, class, Some(claim)));
            }
        }
        5 => {
            let node = &nodes[below(stream, nodes.len())];
            metadata["annotations"] = json!({"volume.kubernetes.io/selected-node": node});
        }
        6 => {
            let claim = json!({"namespace": namespace, "name": name});
            all.push(volume(stream, &format!("meant-{name}"), class, Some(claim)));
        }
        _ => {}
    }
    all.push(json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec, "status": status,
    }));
}

fn pod(stream: &mut Stream, name: &str, nodes: &[String], bound: bool) -> Value {
    let namespace = one(stream, &NAMESPACES);
    let mut labels = json!({"app": one(stream, &APPS)});
    if chance(stream, 50) {
        labels["version"] = json!(one(stream, &["1", "2"]));
    }
    let mut spec = Map::new();
    containers(stream, &mut spec);
    node_rules(stream, &mut spec, nodes);
    pod_rules(stream, &mut spec);
    if chance(stream, 20) {
        let claims = (0..1 + stream.below(2)).map(|number| {
            let claim = if chance(stream, 5) { "named".to_owned() } else { format!("data-{}", stream.below(9)) };
            json!({"name": format!("v{number}"), "persistentVolumeClaim": {"claimName": claim}})
        });
        put(&mut spec, "volumes", claims.collect());
    } else if chance(stream, 2) {
        let template =
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
        put(&mut spec, "volumes", json!([{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}]));
    }
    if chance(stream, 10) {
        // Of pods that wait only one that displaces nobody has priority over others.
        let class = if bound { one(stream, &["meek", "bold"]) } else { "meek" };
        put(&mut spec, "priorityClassName", json!(class));
    }
    if !bound && chance(stream, 3) {
        put(&mut spec, "schedulingGates", json!([{"name": "example.com/wait"}]));
    }
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": labels}, "spec": spec,
    })
}

fn resources(stream: &mut Stream) -> Value {
    let mut requests = Map::new();
    if chance(stream, 75) {
        requests.insert("cpu".to_owned(), json!(one(stream, &["100m", "0.5", "1", "1500m", "2", "0"])));
    }
    if chance(stream, 75) {
        requests.insert("memory".to_owned(), json!(one(stream, &["128Mi", "500M", "1Gi", "2Gi", "3.5Gi"])));
    }
    let mut limits = Map::new();
    if chance(stream, 10) {
        requests.insert("ephemeral-storage".to_owned(), json!(one(stream, &["1Gi", "15Gi"])));
    }
    for (resource, amounts) in
        [("nvidia.com/gpu", ["1", "2"]), ("example.com/dongle", ["1", "0"]), ("hugepages-2Mi", ["32Mi", "64Mi"])]
    {
        if chance(stream, 6) {
            let amount = json!(one(stream, &amounts));
            requests.entry("cpu").or_insert(json!("10m"));
            requests.insert(resource.to_owned(), amount.clone());
            limits.insert(resource.to_owned(), amount);
        }
    }
    // A request that is left out is as high as the limit.
    if chance(stream, 10) && !requests.contains_key("memory") {
        limits.insert("memory".to_owned(), json!("1Gi"));
    }
    json!({"requests": requests, "limits": limits})
}

fn containers(stream: &mut Stream, spec: &mut Map<String, Value>) {
    let container = |name: &str, stream: &mut Stream| {
        let mut container = json!({"name": name, "image": "i", "resources": resources(stream)});
        if chance(stream, 12) {
            // No two containers of a pod may ask for the same.
            let number = match name {
                "c0" => one(stream, &[80, 8080]),
                "c1" => 8443,
                _ => 9000 + i32::from(name == "i1"),
            };
            let mut port = json!({"containerPort": 80, "hostPort": number, "protocol": one(stream, &["TCP", "UDP"])});
            if chance(stream, 40) {
                port["hostIP"] = json!(one(stream, &["127.0.0.1", "10.0.0.1", "0.0.0.0"]));
            }
            container["ports"] = json!([port]);
        }
        container
    };
    let number = 1 + stream.below(2);
    let main: Vec<Value> = (0..number).map(|index| container(&format!("c{index}"), stream)).collect();
    let mut init = Vec::new();
    for index in 0..stream.below(4).saturating_sub(1) {
        let mut own = container(&format!("i{index}"), stream);
        if chance(stream, 50) {
            own["restartPolicy"] = json!("Always");
        }
        init.push(own);
    }
    spec.insert("containers".to_owned(), json!(main));
    put(spec, "initContainers", json!(init));
    if chance(stream, 8) {
        put(spec, "runtimeClassName", json!("heavy"));
    }
    if chance(stream, 8) {
        // At least what the containers ask for together.
        let mut whole = json!({"requests": {"cpu": "9"}});
        if chance(stream, 60) {
            spec.insert("containers".to_owned(), json!([{"name": "c0", "image": "i"}]));
            spec.remove("initContainers");
            whole =
                json!({"requests": {"cpu": one(stream, &["500m", "1", "3"]), "memory": one(stream, &["1Gi", "3Gi"])}});
        }
        spec.insert("resources".to_owned(), whole);
    }
}

fn node_rules(stream: &mut Stream, spec: &mut Map<String, Value>, nodes: &[String]) {
    if chance(stream, 15) {
        let (key, values) = one(stream, &LABELS);
        put(spec, "nodeSelector", json!({key: one(stream, values)}));
    }
    if chance(stream, 25) {
        let terms: Vec<Value> = (0..1 + stream.below(2)).map(|_| node_term(stream, nodes)).collect();
        let required = json!({"nodeSelectorTerms": terms});
        spec.insert(
            "affinity".to_owned(),
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}),
        );
    }
    let mut tolerations = Vec::new();
    for (key, value) in [("dedicated", one(stream, &["gpu", "db"])), ("node.kubernetes.io/unschedulable", "")] {
        if chance(stream, 25) {
            let mut own = if chance(stream, 50) {
                json!({"key": key, "operator": "Exists"})
            } else {
                json!({"key": key, "operator": "Equal", "value": value})
            };
            if chance(stream, 50) {
                own["effect"] = json!(one(stream, &["NoSchedule", "NoSchedule", "NoExecute"]));
            }
            tolerations.push(own);
        }
    }
    if chance(stream, 8) {
        tolerations.push(json!({"operator": "Exists"}));
    }
    put(spec, "tolerations", json!(tolerations));
}

fn node_term(stream: &mut Stream, nodes: &[String]) -> Value {
    let mut term = Map::new();
    let requirements: Vec<Value> = (0..stream.below(3)).map(|_| node_requirement(stream, &LABELS, TIER)).collect();
    put(&mut term, "matchExpressions", json!(requirements));
    if term.is_empty() || chance(stream, 10) {
        let node = if chance(stream, 10) { "gone" } else { nodes[below(stream, nodes.len())].as_str() };
        let field = json!({"key": "metadata.name", "operator": one(stream, &["In", "In", "NotIn"]), "values": [node]});
        let mut fields = vec![field];
        if chance(stream, 10) {
            fields.push(json!({"key": "metadata.name", "operator": "In", "values": [nodes[0]]}));
        }
        put(&mut term, "matchFields", json!(fields));
    }
    Value::from(term)
}

fn pod_rules(stream: &mut Stream, spec: &mut Map<String, Value>) {
    let mut spreads = Vec::new();
    for key in KEYS {
        if chance(stream, if key == "absent" { 2 } else { 13 }) {
            let when = one(stream, &["DoNotSchedule", "DoNotSchedule", "DoNotSchedule", "ScheduleAnyway"]);
            let selector = if chance(stream, 3) { Value::Null } else { pod_selector(stream) };
            let mut own = spread(stream, key, when, &selector);
            if own["labelSelector"].is_null() {
                // Labels are only taken from the pod where there is a selector.
                own.as_object_mut().unwrap().remove("matchLabelKeys");
            }
            spreads.push(own);
        }
    }
    put(spec, "topologySpreadConstraints", json!(spreads));
    for kind in ["podAffinity", "podAntiAffinity"] {
        if chance(stream, 14) {
            let terms: Vec<Value> = (0..1 + stream.below(2)).map(|_| term(stream)).collect();
            let affinity = spec.entry("affinity").or_insert_with(|| json!({}));
            affinity[kind] = json!({"requiredDuringSchedulingIgnoredDuringExecution": terms});
        }
    }
}

fn term(stream: &mut Stream) -> Value {
    let mut term = affinity_term(stream, &KEYS[..3]);
    let names_version = term["labelSelector"].to_string().contains("version");
    if !names_version && chance(stream, 20) {
        term[one(stream, &["matchLabelKeys", "mismatchLabelKeys"])] = json!(["version"]);
    }
    term
}
