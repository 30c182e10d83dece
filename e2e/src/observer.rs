//! Watches of the cluster: changes of pods, Nodes, NodeClaims and events become entries of the log, and bindings are timed.

use crate::{
    control_plane::Own,
    event_log::{EventLog, Source},
};
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, Client,
    core::{ApiResource, DynamicObject, GroupVersionKind},
    runtime::{watcher, watcher::Event},
};
use sawhorse_ambient::Clock;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// What was counted on the way.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// From each pod's creation to its binding, in order of binding.
    pub time_to_bind: Vec<SignedDuration>,
    /// Pods that were created.
    pub pods: u64,
    /// Pods that were evicted.
    pub evictions: u64,
    /// Nodes that joined.
    pub nodes: u64,
}

/// The tally of a run, shared.
pub type SharedTally = Arc<Mutex<Tally>>;

/// What is watched: group, version, kind, plural.
const KINDS: [(&str, &str, &str, &str); 4] = [
    ("", "v1", "Pod", "pods"),
    ("", "v1", "Node", "nodes"),
    ("karpenter.sh", "v1", "NodeClaim", "nodeclaims"),
    ("", "v1", "Event", "events"),
];

/// Watches until dropped, but for what is the cluster's `own`.
pub async fn observe(client: Client, clock: Clock, log: EventLog, tally: SharedTally, own: Own) {
    let watches = KINDS.map(|(group, version, kind, plural)| {
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let config = watcher::Config::default();
        watcher(api, config).map(move |event| (kind, event)).boxed()
    });
    let mut events = futures::stream::select_all(watches);
    let mut seen: BTreeMap<(&str, String), String> = BTreeMap::new();
    while let Some((kind, event)) = events.next().await {
        let Ok(event) = event else { continue };
        let now = clock.now();
        match event {
            Event::Apply(object) | Event::InitApply(object) if own.has(kind, &object) => {}
            Event::Apply(object) | Event::InitApply(object) => {
                let value = serde_json::to_value(&object).expect("objects are JSON");
                let key = (kind, key(&value));
                let after = state(kind, &value);
                let before = seen.insert(key.clone(), after.clone());
                if before.as_ref() != Some(&after) {
                    log.add(now, Source::Cluster, format!("{}/{}", kind.to_lowercase(), key.1), &after);
                    count(kind, before.as_deref(), &after, &value, now, &tally);
                }
            }
            Event::Delete(object) => {
                let value = serde_json::to_value(&object).expect("objects are JSON");
                let key = (kind, key(&value));
                // Events expire or are collected with their namespace; that is no news.
                if seen.remove(&key).is_some() && kind != "Event" {
                    log.add(now, Source::Cluster, format!("{}/{}", kind.to_lowercase(), key.1), "deleted");
                }
            }
            Event::Init | Event::InitDone => {}
        }
    }
}

fn key(value: &Value) -> String {
    let name = text(value, "/metadata/name");
    match text(value, "/metadata/namespace") {
        "" => name.to_owned(),
        namespace => format!("{namespace}/{name}"),
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// What of an object is worth a line when it changes.
fn state(kind: &str, value: &Value) -> String {
    match kind {
        "Pod" => pod_state(value),
        "Node" => node_state(value),
        "NodeClaim" => claim_state(value),
        _ => format!(
            "{} {}/{}: {}",
            text(value, "/reason"),
            text(value, "/involvedObject/kind").to_lowercase(),
            text(value, "/involvedObject/name"),
            text(value, "/message")
        ),
    }
}

fn pod_state(value: &Value) -> String {
    let mut parts = vec![text(value, "/status/phase").to_owned()];
    let node = text(value, "/spec/nodeName");
    if node.is_empty() {
        let reason = conditions(value).find(|(kind, _, _)| *kind == "PodScheduled").map(|(_, _, reason)| reason);
        parts.extend(reason.filter(|reason| !reason.is_empty()).map(str::to_owned));
    } else {
        parts.push(format!("on {node}"));
    }
    if is_true(value, "Ready") {
        parts.push("ready".to_owned());
    }
    if !value["metadata"]["deletionTimestamp"].is_null() {
        parts.push("terminating".to_owned());
    }
    parts.join(" ")
}

fn node_state(value: &Value) -> String {
    let mut parts = vec![if is_true(value, "Ready") { "Ready" } else { "NotReady" }.to_owned()];
    let taints = value["spec"]["taints"].as_array();
    let taints: Vec<&str> = taints.into_iter().flatten().map(|taint| text(taint, "/key")).collect();
    if !taints.is_empty() {
        parts.push(format!("taints {}", taints.join(" ")));
    }
    if !value["metadata"]["deletionTimestamp"].is_null() {
        parts.push("terminating".to_owned());
    }
    parts.join(" ")
}

fn claim_state(value: &Value) -> String {
    let label = |key: &str| value["metadata"]["labels"][key].as_str().unwrap_or("?");
    let mut parts = Vec::new();
    if is_true(value, "Launched") {
        parts.push(format!(
            "{} {} {}",
            label("node.kubernetes.io/instance-type"),
            label("karpenter.sh/capacity-type"),
            label("topology.kubernetes.io/zone")
        ));
    }
    parts.extend(conditions(value).filter(|(_, status, _)| *status == "True").map(|(kind, _, _)| kind.to_owned()));
    if !value["metadata"]["deletionTimestamp"].is_null() {
        parts.push("terminating".to_owned());
    }
    if parts.is_empty() { "created".to_owned() } else { parts.join(" ") }
}

fn conditions(value: &Value) -> impl Iterator<Item = (&str, &str, &str)> {
    let conditions = value["status"]["conditions"].as_array().into_iter().flatten();
    conditions.map(|condition| (text(condition, "/type"), text(condition, "/status"), text(condition, "/reason")))
}

fn is_true(value: &Value, kind: &str) -> bool {
    conditions(value).any(|(found, status, _)| found == kind && status == "True")
}

fn count(kind: &str, before: Option<&str>, after: &str, value: &Value, now: Timestamp, tally: &SharedTally) {
    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    match kind {
        "Pod" => {
            tally.pods += u64::from(before.is_none());
            let was_bound = before.is_some_and(|before| before.contains(" on "));
            if !was_bound && after.contains(" on ") {
                let created: Result<Timestamp, _> = text(value, "/metadata/creationTimestamp").parse();
                tally.time_to_bind.extend(created.ok().map(|created| now.duration_since(created)));
            }
        }
        "Node" => tally.nodes += u64::from(before.is_none()),
        "Event" => tally.evictions += u64::from(before.is_none() && after.starts_with("Evicted ")),
        _ => {}
    }
}
