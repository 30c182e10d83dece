//! Problems for the decision core, drawn from a seed, as `sawhorse solve` reads them: real instance types, pools, nodes with pods
//! on them, daemons, and pods that wait.

use crate::draw::{APPS, HOST, ZONE, affinity_term, chance, one, put, some, spread};
use sawhorse_ambient::{Seed, Stream};
use sawhorse_fake_cloud::world::{Catalogue, MachineType};
use serde_json::{Map, Value, json};

const REGION: &str = "us-west-2";
const ZONES: [&str; 3] = ["us-west-2a", "us-west-2b", "us-west-2c"];
pub(crate) const CAPACITY_TYPE: &str = "karpenter.sh/capacity-type";
pub(crate) const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";
const POOL: &str = "karpenter.sh/nodepool";
const ARCH: &str = "kubernetes.io/arch";
const CATEGORY: &str = "karpenter.k8s.aws/instance-category";
const TIER: &str = "example.com/tier";
const NAMESPACES: [&str; 3] = ["default", "blue", "green"];
/// Machine types that a world knows.
const TYPES: usize = 24;

/// The namespaces that all worlds share, besides `default`, and what pods with overhead name.
pub(crate) fn shared() -> Vec<Value> {
    let namespace = |name: &&str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"team": name}}});
    let mut all: Vec<Value> = NAMESPACES[1..].iter().map(namespace).collect();
    all.push(json!({
        "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "heavy"}, "handler": "heavy",
        "overhead": {"podFixed": {"cpu": "250m", "memory": "120Mi"}},
    }));
    all
}

pub(crate) fn world(seed: Seed, index: usize) -> Value {
    let mut stream = seed.stream(&["judged world", &index.to_string()]);
    let types = instance_types(&mut stream);
    let pools: Vec<Value> = (0..1 + stream.below(3)).map(|number| pool(&mut stream, number)).collect();
    let mut nodes: Vec<Value> = (0..stream.below(6)).map(|number| node(&mut stream, number, &types, &pools)).collect();
    let daemon_sets: Vec<Value> = (0..stream.below(3)).map(|number| daemon_set(&mut stream, number)).collect();
    let mut pods = Vec::new();
    for number in 0..2 + stream.below(5) {
        pods.extend(deployment(&mut stream, number));
    }
    let mut running = Vec::new();
    for number in 0..stream.below(3) {
        running.extend(deployment(&mut stream, 100 + number));
    }
    for mut pod in running {
        // What runs has been let in, so that its node has what it asks for.
        if let Some(resources) = pod["spec"]["containers"][0]["resources"].as_object_mut() {
            resources.remove("limits");
            resources["requests"].as_object_mut().unwrap().remove("nvidia.com/gpu");
        }
        if !nodes.is_empty() {
            let index = usize::try_from(stream.below(nodes.len() as u64)).unwrap();
            let own = nodes[index]["pods"].as_array_mut().unwrap();
            if own.len() < 4 {
                own.push(pod);
            }
        }
    }
    let default = json!({"metadata": {"name": "default", "labels": {"kubernetes.io/metadata.name": "default"}}});
    let namespace = |name: &&str| json!({"metadata": {"name": name, "labels": {"team": name, "kubernetes.io/metadata.name": name}}});
    let namespaces: Vec<Value> = std::iter::once(default).chain(NAMESPACES[1..].iter().map(namespace)).collect();
    json!({
        "nodePools": pools, "instanceTypes": types, "nodes": nodes, "pods": pods, "daemonSets": daemon_sets,
        "namespaces": namespaces,
        "wellKnownLabels": [CATEGORY, "karpenter.k8s.aws/instance-family", "karpenter.k8s.aws/instance-size",
            "karpenter.k8s.aws/instance-cpu", "karpenter.k8s.aws/instance-memory"],
    })
}

fn instance_types(stream: &mut Stream) -> Vec<Value> {
    let catalogue = Catalogue::embedded();
    let usual = |own: &&MachineType| {
        own.current_generation && !own.bare_metal && own.cpu.vcpus <= 32 && own.usage_classes.contains(&"spot")
    };
    let all: Vec<&MachineType> = catalogue.machine_types().iter().filter(usual).collect();
    let mut types = std::collections::BTreeMap::new();
    while types.len() < TYPES {
        let own = one(stream, &all);
        if let Some(price) = catalogue.list_price(REGION, catalogue.index_of(own.name).unwrap()) {
            types.entry(own.name).or_insert_with(|| instance_type(stream, own, &price.price.to_string()));
        }
    }
    types.into_values().collect()
}

fn instance_type(stream: &mut Stream, own: &MachineType, price: &str) -> Value {
    let price: f64 = price.trim_start_matches('$').parse().unwrap();
    let pods = (own.network.max_interfaces * (own.network.ipv4_per_interface - 1) + 2).min(110);
    let memory = own.memory_mib * 925 / 1000;
    let mut capacity = json!({
        "cpu": own.cpu.vcpus.to_string(), "memory": format!("{memory}Mi"), "pods": pods.to_string(),
        "ephemeral-storage": "20Gi",
    });
    for gpu in own.gpus.iter().filter(|gpu| gpu.manufacturer == "NVIDIA" && gpu.count > 0) {
        capacity["nvidia.com/gpu"] = json!(gpu.count.to_string());
    }
    let (family, size) = own.name.split_once('.').unwrap();
    let category: String = family.chars().take_while(char::is_ascii_alphabetic).collect();
    let arch = if own.architectures.contains(&"arm64") { "arm64" } else { "amd64" };
    let is = |key: &str, value: &str| json!({"key": key, "operator": "In", "values": [value]});
    let mut offerings = Vec::new();
    for zone in ZONES {
        if chance(stream, 15) {
            continue;
        }
        for (kind, share) in [("on-demand", 1.0), ("spot", 0.3 + stream.below(30) as f64 / 100.0)] {
            let price = (price * share * 1e6).round() / 1e6;
            offerings
                .push(json!({"zone": zone, "capacityType": kind, "price": price, "available": chance(stream, 90)}));
        }
    }
    json!({
        "name": own.name, "capacity": capacity,
        "overhead": {
            "kubeReserved": {"cpu": format!("{}m", 60 + 10 * own.cpu.vcpus), "memory": format!("{}Mi", 255 + 11 * pods)},
            "evictionThreshold": {"memory": "100Mi"},
        },
        "requirements": [
            is(ARCH, arch), is("kubernetes.io/os", "linux"), is(CATEGORY, &category),
            is("karpenter.k8s.aws/instance-family", family), is("karpenter.k8s.aws/instance-size", size),
            is("karpenter.k8s.aws/instance-cpu", &own.cpu.vcpus.to_string()),
            is("karpenter.k8s.aws/instance-memory", &own.memory_mib.to_string()),
        ],
        "offerings": offerings,
    })
}

fn pool(stream: &mut Stream, number: u64) -> Value {
    let within = |key: &str, values: Vec<&str>| json!({"key": key, "operator": "In", "values": values});
    let mut requirements = vec![within(CAPACITY_TYPE, some(stream, &["on-demand", "spot"]))];
    if chance(stream, 30) {
        requirements.push(within(ZONE, some(stream, &ZONES)));
    }
    if chance(stream, 40) {
        requirements.push(within(ARCH, some(stream, &["amd64", "arm64"])));
    }
    if chance(stream, 30) {
        requirements.push(within(TIER, vec!["gold", "silver"]));
    }
    if chance(stream, 20) {
        requirements.push(json!({"key": "karpenter.k8s.aws/instance-cpu", "operator": "Lt", "values": ["17"]}));
    }
    let mut template = json!({"requirements": requirements});
    if number > 0 && chance(stream, 40) {
        template["taints"] =
            json!([{"key": "dedicated", "value": "gpu", "effect": one(stream, &["NoSchedule", "NoExecute"])}]);
    }
    if chance(stream, 25) {
        template["startupTaints"] = json!([{"key": "example.com/starting", "effect": "NoSchedule"}]);
    }
    let mut spec = json!({"template": {"metadata": {"labels": {}}, "spec": template}});
    if chance(stream, 40) {
        spec["template"]["metadata"]["labels"]["team"] = json!(one(stream, &["blue", "green"]));
    }
    if chance(stream, 20) {
        spec["limits"] = json!({"cpu": (8 + stream.below(40)).to_string()});
    }
    if chance(stream, 30) {
        spec["weight"] = json!(1 + stream.below(50));
    }
    json!({"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": format!("pool-{number}")}, "spec": spec})
}

/// A node of one of the pools, or of nobody.
fn node(stream: &mut Stream, number: u64, types: &[Value], pools: &[Value]) -> Value {
    let kind = &types[usize::try_from(stream.below(types.len() as u64)).unwrap()];
    let pool = &pools[usize::try_from(stream.below(pools.len() as u64)).unwrap()];
    let name = format!("node-{number}");
    let mut labels = labels_of(kind);
    labels.insert(HOST.to_owned(), json!(name));
    labels.insert(ZONE.to_owned(), json!(one(stream, &ZONES)));
    let mut taints = json!([]);
    if chance(stream, 75) {
        labels.insert(POOL.to_owned(), pool["metadata"]["name"].clone());
        labels.insert(CAPACITY_TYPE.to_owned(), json!(one(stream, &["on-demand", "spot"])));
        let own = &pool["spec"]["template"];
        labels.extend(own["metadata"]["labels"].as_object().unwrap().clone());
        taints = own["spec"].get("taints").cloned().unwrap_or(json!([]));
    }
    let unschedulable = chance(stream, 8);
    if unschedulable {
        // As the node lifecycle controller would.
        let taint = json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"});
        taints.as_array_mut().unwrap().push(taint);
    }
    let allocatable = allocatable_of(kind);
    json!({
        "node": {
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels},
            "spec": {"taints": taints, "unschedulable": unschedulable},
            "status": {"allocatable": allocatable, "capacity": kind["capacity"]},
        },
        "pods": [],
    })
}

/// The labels that every machine of the type has.
pub(crate) fn labels_of(kind: &Value) -> Map<String, Value> {
    let mut labels = Map::new();
    labels.insert(INSTANCE_TYPE.to_owned(), kind["name"].clone());
    for requirement in kind["requirements"].as_array().unwrap() {
        labels.insert(requirement["key"].as_str().unwrap().to_owned(), requirement["values"][0].clone());
    }
    labels
}

/// Capacity minus overhead.
pub(crate) fn allocatable_of(kind: &Value) -> Value {
    let number = |amount: &Value, unit: &str| {
        let text = amount.as_str().unwrap_or("0");
        text.trim_end_matches(unit).parse::<u64>().unwrap()
    };
    let overhead = &kind["overhead"];
    let mut allocatable = kind["capacity"].clone();
    let cpu = number(&allocatable["cpu"], "") * 1000 - number(&overhead["kubeReserved"]["cpu"], "m");
    let memory = ["kubeReserved", "evictionThreshold"].iter().map(|part| number(&overhead[part]["memory"], "Mi"));
    let memory = number(&allocatable["memory"], "Mi") - memory.sum::<u64>();
    (allocatable["cpu"], allocatable["memory"]) = (json!(format!("{cpu}m")), json!(format!("{memory}Mi")));
    allocatable
}

fn daemon_set(stream: &mut Stream, number: u64) -> Value {
    let name = format!("daemon-{number}");
    let container = json!({"name": "c", "image": "i", "resources": {"requests": {
        "cpu": one(stream, &["50m", "250m", "500m"]), "memory": one(stream, &["64Mi", "300Mi", "1Gi"])}}});
    let mut spec = json!({"containers": [container]});
    if chance(stream, 30) {
        spec["tolerations"] = json!([{"operator": "Exists"}]);
    }
    if chance(stream, 30) {
        let (key, values) = one(
            stream,
            &[(ARCH, ["amd64", "arm64"]), (CAPACITY_TYPE, ["spot", "on-demand"]), (ZONE, ["us-west-2a", "us-west-2b"])],
        );
        spec["nodeSelector"] = json!({key: one(stream, &values)});
    }
    // Two daemons on one port would keep each other off.
    if number == 0 && chance(stream, 20) {
        spec["containers"][0]["ports"] = json!([{"containerPort": 80, "hostPort": 9100}]);
    }
    let labels = json!({"app": name});
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": name, "namespace": "kube-system"},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
    })
}

/// Equal pods.
fn deployment(stream: &mut Stream, number: u64) -> Vec<Value> {
    let namespace = one(stream, &NAMESPACES);
    let mut labels = json!({"app": one(stream, &APPS)});
    if chance(stream, 40) {
        labels["version"] = json!(one(stream, &["1", "2"]));
    }
    let mut spec = Map::new();
    containers(stream, &mut spec);
    node_rules(stream, &mut spec);
    pod_rules(stream, &mut spec, &labels);
    let pod = |index: u64| {
        let metadata = json!({"name": format!("d{number}-{index}"), "namespace": namespace, "labels": labels});
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    };
    (0..1 + stream.below(7)).map(pod).collect()
}

fn requests(stream: &mut Stream) -> Value {
    let mut requests = Map::new();
    if chance(stream, 90) {
        requests.insert("cpu".to_owned(), json!(one(stream, &["100m", "250m", "0.5", "1", "1500m", "2", "3"])));
    }
    if chance(stream, 90) {
        requests.insert("memory".to_owned(), json!(one(stream, &["128Mi", "500M", "1Gi", "2Gi", "3.5Gi", "7Gi"])));
    }
    Value::from(requests)
}

fn containers(stream: &mut Stream, spec: &mut Map<String, Value>) {
    let mut main = json!({"name": "c", "image": "i", "resources": {"requests": requests(stream)}});
    if chance(stream, 4) {
        main["resources"]["requests"]["nvidia.com/gpu"] = json!("1");
        main["resources"]["limits"] = json!({"nvidia.com/gpu": "1"});
    }
    if chance(stream, 6) {
        main["ports"] = json!([{"containerPort": 80, "hostPort": one(stream, &[80, 9100])}]);
    }
    let mut containers = vec![main];
    if chance(stream, 15) {
        containers.push(json!({"name": "c2", "image": "i", "resources": {"requests": requests(stream)}}));
    }
    let mut init = Vec::new();
    for index in 0..stream.below(6).saturating_sub(3) {
        let mut own = json!({"name": format!("i{index}"), "image": "i", "resources": {"requests": requests(stream)}});
        if chance(stream, 50) {
            own["restartPolicy"] = json!("Always");
        }
        init.push(own);
    }
    if chance(stream, 6) {
        containers = vec![json!({"name": "c", "image": "i"})];
        init.clear();
        spec.insert("resources".to_owned(), json!({"requests": {"cpu": one(stream, &["500m", "2"]), "memory": "2Gi"}}));
    }
    spec.insert("containers".to_owned(), json!(containers));
    put(spec, "initContainers", json!(init));
    if chance(stream, 6) {
        spec.insert("runtimeClassName".to_owned(), json!("heavy"));
        spec.insert("overhead".to_owned(), json!({"cpu": "250m", "memory": "120Mi"}));
    }
}

fn node_rules(stream: &mut Stream, spec: &mut Map<String, Value>) {
    let labels: [(&str, &[&str]); 6] = [
        (ZONE, &ZONES),
        (ARCH, &["amd64", "arm64"]),
        (CAPACITY_TYPE, &["spot", "on-demand"]),
        ("team", &["blue", "green"]),
        (TIER, &["gold", "silver"]),
        (CATEGORY, &["c", "m", "r", "t"]),
    ];
    if chance(stream, 20) {
        let (key, values) = one(stream, &labels);
        put(spec, "nodeSelector", json!({key: one(stream, values)}));
    }
    if chance(stream, 20) {
        let terms: Vec<Value> = (0..1 + stream.below(2))
            .map(|_| {
                let requirements: Vec<Value> = (0..1 + stream.below(2))
                    .map(|_| crate::draw::node_requirement(stream, &labels, "karpenter.k8s.aws/instance-cpu"))
                    .collect();
                json!({"matchExpressions": requirements})
            })
            .collect();
        let required = json!({"nodeSelectorTerms": terms});
        let node = json!({"requiredDuringSchedulingIgnoredDuringExecution": required});
        spec.insert("affinity".to_owned(), json!({"nodeAffinity": node}));
    }
    if chance(stream, 25) {
        put(spec, "tolerations", json!([{"key": "dedicated", "operator": "Exists"}]));
    }
}

fn pod_rules(stream: &mut Stream, spec: &mut Map<String, Value>, labels: &Value) {
    let own = json!({"matchLabels": {"app": labels["app"]}});
    let mut spreads = Vec::new();
    for (key, percent) in [(ZONE, 22), (HOST, 10)] {
        if chance(stream, percent) {
            let when = one(stream, &["DoNotSchedule", "DoNotSchedule", "DoNotSchedule", "ScheduleAnyway"]);
            spreads.push(spread(stream, key, when, &own));
        }
    }
    put(spec, "topologySpreadConstraints", json!(spreads));
    for kind in ["podAffinity", "podAntiAffinity"] {
        if chance(stream, 12) {
            let mut term = if chance(stream, 60) {
                json!({"labelSelector": own, "topologyKey": one(stream, &[ZONE, HOST])})
            } else {
                affinity_term(stream, &[ZONE, HOST])
            };
            if chance(stream, 10) {
                term["matchLabelKeys"] = json!(["version"]);
            }
            if term["labelSelector"].to_string().contains("version") {
                term.as_object_mut().unwrap().remove("matchLabelKeys");
            }
            let affinity = spec.entry("affinity").or_insert_with(|| json!({}));
            affinity[kind] = json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]});
        }
    }
}
