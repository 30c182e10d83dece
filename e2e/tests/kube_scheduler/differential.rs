//! The embedded scheduler and kube-scheduler are asked which nodes each pending pod may go to.

use crate::{
    cases::{Case, case, shared},
    cluster::{Allow, Cluster, REFUSED, Told, key, uid},
    explained::Explained,
};
use k8s_openapi::api::core::v1::Pod;
use sawhorse_kwok::scheduler::{GATED, PodInfo, Snapshot, Unschedulable, feasible, has_finished, is_gated};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Clusters, and pods that wait in each.
const CLUSTERS: usize = 150;
const PODS: usize = 4;
/// How often a pod on which the two differ is asked about again: kube-scheduler may not have seen the whole cluster yet.
const AGAIN: usize = 3;

/// What one of the two says of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Verdict {
    nodes: Vec<String>,
    /// Reason and message while the pod waits; of the message only the first sentence where nodes passed: the second is about
    /// those that the test refused.
    said: (String, String),
}

fn read<T: DeserializeOwned>(object: &Value) -> T {
    serde_json::from_value(object.clone()).unwrap()
}

fn snapshot(shared: &[Value], storage: &[Value], nodes: &[Value], bound: &[Value]) -> Snapshot {
    let mut snapshot = Snapshot::new();
    for object in shared.iter().chain(storage) {
        snapshot.apply(object.clone()).unwrap();
    }
    nodes.iter().for_each(|node| assert!(snapshot.apply_node(&read(node))));
    for pod in bound.iter().map(read::<Pod>).filter(|pod| !has_finished(pod)) {
        let node = pod.spec.as_ref().unwrap().node_name.clone().unwrap();
        snapshot.assign(PodInfo::of(&pod), &node);
    }
    snapshot
}

fn ours(snapshot: &Snapshot, pod: &Value) -> Verdict {
    let pod: Pod = read(pod);
    if is_gated(&pod) {
        return Verdict { nodes: Vec::new(), said: ("SchedulingGated".to_owned(), GATED.to_owned()) };
    }
    let (nodes, others) = feasible(snapshot, &PodInfo::of(&pod));
    let nodes: Vec<String> = nodes.into_iter().map(|node| node.0).collect();
    let message = match others {
        Unschedulable::Nodes { nodes: all, reasons, .. } if !nodes.is_empty() => {
            first_sentence(all, reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect())
        }
        others => others.to_string(),
    };
    Verdict { nodes, said: ("Unschedulable".to_owned(), message) }
}

fn first_sentence(nodes: usize, mut parts: Vec<String>) -> String {
    parts.sort();
    format!("0/{nodes} nodes are available: {}.", parts.join(", "))
}

fn theirs(told: &Told) -> Verdict {
    let mut nodes = told.passed.clone().unwrap_or_default();
    nodes.sort();
    let (reason, message) = told.why_not.clone().unwrap_or_default();
    let message = if nodes.is_empty() { message } else { without_refused(&message) };
    Verdict { nodes, said: (reason, message) }
}

/// The message without the nodes that the test refused, and without what comes after: preemption is tried for them.
fn without_refused(message: &str) -> String {
    let first = message.split(". ").next().unwrap_or_default().trim_end_matches('.');
    let (start, parts) = first.split_once(": ").unwrap_or((first, ""));
    let others: Vec<&str> = parts.split(", ").filter(|part| !part.ends_with(REFUSED)).collect();
    format!("{start}: {}.", others.join(", "))
}

/// What was found in all cases.
#[derive(Default)]
struct Report {
    cases: usize,
    feasible: usize,
    asked_again: usize,
    meant: usize,
    unknown: Vec<String>,
}

pub(crate) async fn run() {
    let cluster = Cluster::start().await;
    cluster.allow(Allow::None);
    let mut shared = cluster.create(&shared()).await;
    shared.push(cluster.get("/api/v1/namespaces/default").await);
    let explained = Explained::read(include_str!("explained.yaml"));
    let mut report = Report::default();
    for index in 0..CLUSTERS {
        let case = Numbered { index, case: case(index, PODS), shared: &shared };
        one_case(&cluster, &case, &explained, &mut report).await;
        if (index + 1) % 25 == 0 {
            eprintln!("{} of {CLUSTERS} clusters, {} differences", index + 1, report.unknown.len());
        }
    }
    cluster.stop().await;
    report.unknown.iter().for_each(|found| eprintln!("{found}\n"));
    eprintln!(
        "{} scheduling cases, {} with a feasible node; asked again {}; differences: {} meant, {} unknown",
        report.cases,
        report.feasible,
        report.asked_again,
        report.meant,
        report.unknown.len()
    );
    assert!(report.cases >= 500 && report.feasible * 4 > report.cases, "the cases try too little");
    assert_eq!(report.unknown.len(), 0, "differences that nothing explains");
    assert_eq!(explained.unused(), Vec::<&str>::new(), "differences that are explained, but are none any more");
}

struct Numbered<'a> {
    index: usize,
    case: Case,
    /// What all cases share, as the server has it.
    shared: &'a [Value],
}

async fn one_case(cluster: &Cluster, numbered: &Numbered<'_>, explained: &Explained, report: &mut Report) {
    let (case, index) = (&numbered.case, numbered.index);
    let storage = cluster.create(&case.storage).await;
    let nodes = cluster.create(&case.nodes).await;
    let mut bound = cluster.create(&case.bound).await;
    for pod in bound.iter_mut().step_by(7) {
        *pod = cluster.begin_deletion(pod).await;
    }
    let snapshot = snapshot(numbered.shared, &storage, &nodes, &bound);
    let mut asked: Vec<&Value> = case.pending.iter().collect();
    for round in 0..=AGAIN {
        let pods: Vec<Value> = asked.iter().map(|pod| (*pod).clone()).collect();
        let created = cluster.create(&pods).await;
        let told = cluster.outcomes(&created.iter().map(uid).collect::<Vec<_>>()).await;
        let mut differing = Vec::new();
        for ((given, pod), told) in asked.iter().zip(&created).zip(&told) {
            let (ours, theirs) = (ours(&snapshot, pod), theirs(told));
            let differs = ours != theirs;
            if differs && round < AGAIN {
                differing.push(*given);
                continue;
            }
            report.cases += 1;
            report.feasible += usize::from(!theirs.nodes.is_empty());
            if differs && explained.covers(&pod.to_string(), &theirs.said.1, &ours.said.1) {
                report.meant += 1;
            } else if differs {
                let yaml = serde_saphyr::to_string(&pod["spec"]).unwrap();
                let found = format!(
                    "cluster {index}, {} {}:\n  theirs {theirs:?}\n  ours   {ours:?}\n{}\n{yaml}",
                    key(pod),
                    pod["metadata"]["labels"],
                    told_of(&nodes, &bound),
                );
                report.unknown.push(found);
            }
        }
        if differing.is_empty() {
            break;
        }
        report.asked_again += differing.len();
        let again: Vec<Value> = created.iter().filter(|pod| is_one_of(pod, &differing)).cloned().collect();
        cluster.delete(&again).await;
        asked = differing;
    }
    clear(cluster).await;
}

/// The cluster in short.
fn told_of(nodes: &[Value], bound: &[Value]) -> String {
    let node = |own: &Value| format!("  node {} {}", own["metadata"]["name"], own["metadata"]["labels"]);
    let pod = |own: &Value| {
        let (metadata, node) = (&own["metadata"], &own["spec"]["nodeName"]);
        let leaving = !metadata["deletionTimestamp"].is_null();
        format!("  pod {} on {node} {} {} leaving: {leaving}", key(own), metadata["labels"], own["status"]["phase"])
    };
    nodes.iter().map(node).chain(bound.iter().map(pod)).collect::<Vec<_>>().join("\n")
}

fn is_one_of(pod: &Value, asked: &[&Value]) -> bool {
    asked.iter().any(|asked| asked["metadata"]["name"] == pod["metadata"]["name"])
}

async fn clear(cluster: &Cluster) {
    let mut paths: Vec<String> = Vec::new();
    for namespace in ["default", "blue", "green"] {
        paths.push(format!("/api/v1/namespaces/{namespace}/pods"));
        paths.push(format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims"));
    }
    paths.extend(["/api/v1/nodes", "/api/v1/persistentvolumes", "/apis/storage.k8s.io/v1/csinodes"].map(str::to_owned));
    cluster.clear(&paths).await;
}
