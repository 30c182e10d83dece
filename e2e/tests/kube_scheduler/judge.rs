//! kube-scheduler judges the decision core: worlds are decided as `sawhorse solve` does, the nodes are made, and the real
//! scheduler is asked of each pod.
//!
//! - *Where planned*: every other pod is bound where it was planned. Each pod must be accepted on its node, and no node may pass
//!   for a pod that was called unschedulable. A refusal is a fault of the core.
//! - *Free*: all pods are left to the scheduler at once, in an order and with preferences of its own. It may use up the room of a
//!   pod that fits nowhere else; how often is told.

use crate::{
    cluster::{Allow, Cluster, key, uid},
    draw::{HOST, ZONE},
    worlds::{CAPACITY_TYPE, allocatable_of, labels_of, shared, world},
};
use indicatif::{ProgressBar, ProgressStyle};
use sawhorse_ambient::Seed;
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Worlds that are judged.
const WORLDS: usize = 200;

/// What the core decided of a world.
struct Plan {
    /// Each pod's node, by namespace and name.
    nodes: BTreeMap<String, String>,
    /// The machines to launch, as nodes.
    launched: Vec<Value>,
    /// Why a pod has no place, by namespace and name.
    errors: BTreeMap<String, String>,
}

/// What all worlds came to.
#[derive(Default)]
struct Tally {
    planned: usize,
    unschedulable: usize,
    asked: usize,
    launched: usize,
    stranded: usize,
    stranded_worlds: usize,
    stolen: usize,
    /// Worlds in which pods are refused where they are planned only because others are bound already.
    order_matters: usize,
    /// What the core is to blame for.
    faults: Vec<String>,
}

#[expect(clippy::disallowed_methods, reason = "a test has no command line")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

pub(crate) async fn run() {
    let seed = Seed(number("JUDGE_SEED").unwrap_or(23));
    let cluster = Cluster::start().await;
    cluster.create(&shared()).await;
    let mut tally = Tally::default();
    let bar = ProgressBar::new(WORLDS as u64);
    bar.set_style(ProgressStyle::with_template("{elapsed} {bar:30} {pos}/{len} worlds {msg}").unwrap());
    let worlds = number("JUDGE_WORLD").map_or(0..WORLDS, |only| only as usize..only as usize + 1);
    let count = worlds.len();
    for index in worlds {
        let world = world(seed, index);
        let faults = judge(&cluster, &world, &mut tally).await;
        if !faults.is_empty() {
            let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("judged-world-{index}.json"));
            fs::write(&file, serde_json::to_string_pretty(&world).unwrap()).unwrap();
            let told = format!("world {index}:\n  {}\n  sawhorse solve < {}", faults.join("\n  "), file.display());
            bar.suspend(|| eprintln!("{told}"));
            tally.faults.push(told);
        }
        bar.inc(1);
        bar.set_message(format!("{} faults, {} worlds with stranded pods", tally.faults.len(), tally.stranded_worlds));
        if bar.is_hidden() && (index + 1) % 25 == 0 {
            eprintln!("{} of {count} worlds, {}", index + 1, bar.message());
        }
    }
    bar.finish_and_clear();
    cluster.stop().await;
    report(&tally, count);
}

fn report(tally: &Tally, worlds: usize) {
    eprintln!(
        "{worlds} worlds, {} machines launched, {} pods planned, {} unschedulable\n\
         where planned: {} asked (equal pods on one node are asked once), in {} worlds the core was wrong ({} of them: the order matters)\n\
         free: {} pods stranded in {} worlds, {} pods bound that the core called unschedulable",
        tally.launched,
        tally.planned,
        tally.unschedulable,
        tally.asked,
        tally.faults.len(),
        tally.order_matters,
        tally.stranded,
        tally.stranded_worlds,
        tally.stolen,
    );
    assert_eq!(tally.faults.len(), 0, "worlds in which kube-scheduler does not accept what the core decided");
}

fn full_name(name: &str) -> String {
    if name.contains('/') { name.to_owned() } else { format!("default/{name}") }
}

fn decide(world: &Value) -> Plan {
    let answer = sawhorse_core::solve::solve_json(&world.to_string(), false, || 0).unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let mut plan = Plan { nodes: BTreeMap::new(), launched: Vec::new(), errors: BTreeMap::new() };
    let mut note = |node: &str, pods: &Value| {
        let pods = pods.as_array().unwrap().iter().map(|pod| full_name(pod.as_str().unwrap()));
        plan.nodes.extend(pods.map(|pod| (pod, node.to_owned())));
    };
    for node in answer["existingNodes"].as_array().unwrap() {
        note(node["name"].as_str().unwrap(), &node["pods"]);
    }
    for (index, claim) in answer["newNodeClaims"].as_array().unwrap().iter().enumerate() {
        let name = format!("claim-{index}");
        note(&name, &claim["pods"]);
        plan.launched.push(machine(world, claim, &name));
    }
    for (pod, error) in answer["errors"].as_object().unwrap() {
        plan.errors.insert(full_name(pod), format!("{}: {}", error["code"], error["message"]));
    }
    plan
}

/// The node that the claim's launch becomes.
fn machine(world: &Value, claim: &Value, name: &str) -> Value {
    let launch = &claim["launch"];
    let kind =
        world["instanceTypes"].as_array().unwrap().iter().find(|own| own["name"] == launch["instanceType"]).unwrap();
    let mut labels: Map<String, Value> = claim["labels"].as_object().unwrap().clone();
    for requirement in claim["requirements"].as_array().unwrap() {
        let is_in = requirement["operator"] == "In";
        // Of several values that are left any may become the node's.
        if let Some(value) = requirement["values"].as_array().and_then(|values| values.last()).filter(|_| is_in) {
            labels.entry(requirement["key"].as_str().unwrap()).or_insert(value.clone());
        }
    }
    labels.extend(labels_of(kind));
    labels.insert(ZONE.to_owned(), launch["zone"].clone());
    labels.insert(CAPACITY_TYPE.to_owned(), launch["capacityType"].clone());
    labels.insert(HOST.to_owned(), json!(name));
    for key in ["karpenter.sh/registered", "karpenter.sh/initialized"] {
        labels.insert(key.to_owned(), json!("true"));
    }
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels},
        "spec": {"taints": claim["taints"]},
        "status": {"allocatable": allocatable_of(kind), "capacity": kind["capacity"]},
    })
}

fn bound(pod: &Value, node: &str) -> Value {
    let mut pod = pod.clone();
    pod["spec"]["nodeName"] = json!(node);
    pod
}

/// What the core is to blame for in this world.
async fn judge(cluster: &Cluster, world: &Value, tally: &mut Tally) -> Vec<String> {
    let plan = decide(world);
    let pods = world["pods"].as_array().unwrap();
    tally.planned += plan.nodes.len();
    tally.unschedulable += plan.errors.len();
    tally.launched += plan.launched.len();
    let existing = world["nodes"].as_array().unwrap();
    let mut nodes: Vec<Value> = existing.iter().map(|own| own["node"].clone()).collect();
    nodes.extend(plan.launched.iter().cloned());
    cluster.create(&nodes).await;
    let on_node = |own: &Value| {
        let name = own["node"]["metadata"]["name"].as_str().unwrap().to_owned();
        own["pods"].as_array().unwrap().iter().map(move |pod| bound(pod, &name)).collect::<Vec<_>>()
    };
    let running: Vec<Value> = existing.iter().flat_map(on_node).collect();
    cluster.create(&running).await;
    let mut faults = daemons(cluster, world, &nodes).await;
    faults.extend(where_planned(cluster, &plan, pods, tally).await);
    free(cluster, &plan, pods, tally).await;
    clear(cluster).await;
    faults
}

/// Daemon pods, as the DaemonSet controller makes them for each node; those that the scheduler keeps off for good are taken
/// back, as that controller would not have made them.
async fn daemons(cluster: &Cluster, world: &Value, nodes: &[Value]) -> Vec<String> {
    cluster.allow(Allow::All);
    let mut pods = Vec::new();
    for set in world["daemonSets"].as_array().unwrap() {
        for node in nodes {
            pods.push(daemon(set, node["metadata"]["name"].as_str().unwrap()));
        }
    }
    let created = cluster.create(&pods).await;
    let told = cluster.outcomes(&created.iter().map(uid).collect::<Vec<_>>()).await;
    let mut faults = Vec::new();
    let mut refused = Vec::new();
    for (pod, told) in created.iter().zip(&told).filter(|(_, told)| told.node.is_none()) {
        refused.push(pod.clone());
        let (_, message) = told.why_not.clone().unwrap_or_default();
        let is_new = key(pod).contains("claim-");
        if is_new && ["Insufficient", "free ports", "Too many pods"].iter().any(|lack| message.contains(lack)) {
            faults.push(format!("there is no room for the daemon {}: {message}", key(pod)));
        }
    }
    cluster.delete(&refused).await;
    faults
}

fn daemon(set: &Value, node: &str) -> Value {
    let template = &set["spec"]["template"];
    let mut spec = template["spec"].clone();
    let field = json!({"key": "metadata.name", "operator": "In", "values": [node]});
    spec["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchFields": [field]}]}}});
    let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
    tolerations.push(json!({"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"}));
    spec["tolerations"] = json!(tolerations);
    let name = format!("{}-{node}", set["metadata"]["name"].as_str().unwrap());
    let metadata = json!({"name": name, "namespace": "kube-system", "labels": template["metadata"]["labels"]});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}

async fn where_planned(cluster: &Cluster, plan: &Plan, pods: &[Value], tally: &mut Tally) -> Vec<String> {
    cluster.allow(Allow::Planned(plan.nodes.clone()));
    let (placed, left): (Vec<&Value>, Vec<&Value>) = pods.iter().partition(|pod| plan.nodes.contains_key(&key(pod)));
    let all: Vec<Value> = placed.iter().map(|pod| bound(pod, &plan.nodes[&key(pod)])).collect();
    cluster.create(&all).await;
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for pod in &all {
        // Of equal pods on one node the scheduler thinks the same.
        let alike =
            (pod["metadata"]["namespace"].to_string(), pod["metadata"]["labels"].to_string(), pod["spec"].to_string());
        if seen.insert(alike) {
            tally.asked += 1;
            faults.extend(refusal(cluster, pod).await);
        }
    }
    let refused = faults.len();
    cluster.allow(Allow::None);
    let waiting: Vec<Value> = left.into_iter().cloned().collect();
    let created = cluster.create(&waiting).await;
    let told = cluster.outcomes(&created.iter().map(uid).collect::<Vec<_>>()).await;
    for (pod, told) in created.iter().zip(told) {
        if let Some(nodes) = told.passed.filter(|passed| !passed.is_empty()) {
            let why = &plan.errors[&key(pod)];
            faults.push(format!("{} is called unschedulable ({why}), but passes for {}", key(pod), nodes.join(", ")));
        }
    }
    cluster.delete(&created).await;
    cluster.delete(&all).await;
    if refused > 0 {
        // kube-scheduler looks only at the rules of the pod that it places: another order may do.
        cluster.allow(Allow::Planned(plan.nodes.clone()));
        let waiting: Vec<Value> = placed.into_iter().cloned().collect();
        let left = offer(cluster, &waiting).await;
        if left.is_empty() {
            tally.order_matters += 1;
        }
        faults.push(match left.is_empty() {
            true => "in some order every pod is accepted where it is planned".to_owned(),
            false => format!("in no order that was tried are accepted where they are planned: {left:?}"),
        });
        let bound: Vec<Value> = waiting.into_iter().filter(|pod| !left.contains(&key(pod))).collect();
        cluster.delete(&bound).await;
    }
    faults
}

/// Why the scheduler does not accept a pod on the node that it is bound to, all others being where they are.
async fn refusal(cluster: &Cluster, pod: &Value) -> Option<String> {
    let mut waiting = pod.clone();
    waiting["spec"].as_object_mut().unwrap().remove("nodeName");
    cluster.delete(std::slice::from_ref(pod)).await;
    let created = cluster.create_one(&waiting).await;
    let told = cluster.outcomes(&[uid(&created)]).await.remove(0);
    if told.node.is_some() {
        return None;
    }
    cluster.delete(&[created]).await;
    cluster.create_one(pod).await;
    let (_, message) = told.why_not.unwrap_or_default();
    let passed = told.passed.unwrap_or_default().join(", ");
    Some(format!(
        "{} is refused where it is planned, on {}: {message} (passed: {passed})",
        key(pod),
        pod["spec"]["nodeName"]
    ))
}

/// All planned pods at once, in an order and with preferences of the scheduler's own; then those that were called unschedulable.
async fn free(cluster: &Cluster, plan: &Plan, pods: &[Value], tally: &mut Tally) {
    cluster.allow(Allow::All);
    let (placed, others): (Vec<Value>, Vec<Value>) =
        pods.iter().cloned().partition(|pod| plan.nodes.contains_key(&key(pod)));
    let stranded = offer(cluster, &placed).await.len();
    tally.stranded += stranded;
    tally.stranded_worlds += usize::from(stranded > 0);
    tally.stolen += others.len() - offer(cluster, &others).await.len();
}

/// Leaves the pods to the scheduler; those that it does not bind are offered again until none of them finds a place any more,
/// and are returned.
async fn offer(cluster: &Cluster, pods: &[Value]) -> BTreeSet<String> {
    let mut left = pods.to_vec();
    loop {
        let created = cluster.create(&left).await;
        let told = cluster.outcomes(&created.iter().map(uid).collect::<Vec<_>>()).await;
        let waiting = created.into_iter().zip(told).filter(|(_, told)| told.node.is_none());
        let waiting: Vec<Value> = waiting.map(|(pod, _)| pod).collect();
        cluster.delete(&waiting).await;
        let names: BTreeSet<String> = waiting.iter().map(key).collect();
        let before = left.len();
        left.retain(|pod| names.contains(&key(pod)));
        if left.is_empty() || left.len() == before {
            return names;
        }
    }
}

async fn clear(cluster: &Cluster) {
    let namespaces = ["default", "blue", "green", "kube-system"];
    let mut paths: Vec<String> =
        namespaces.iter().map(|namespace| format!("/api/v1/namespaces/{namespace}/pods")).collect();
    paths.push("/api/v1/nodes".to_owned());
    cluster.clear(&paths).await;
}
