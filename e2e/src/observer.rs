//! Watches of the cluster: changes of pods, Nodes, NodeClaims and events become entries of the log, and bindings are timed.

use crate::{
    control_plane::Own,
    event_log::{EventLog, Source},
    objects::is_true,
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
                let key = (kind, key(&object));
                let after = state(kind, &object);
                let before = seen.insert(key.clone(), after.clone());
                if before.as_ref() != Some(&after) {
                    log.add(now, Source::Cluster, format!("{}/{}", kind.to_lowercase(), key.1), &after);
                    count(kind, before.as_deref(), &after, &object, now, &tally);
                }
            }
            Event::Delete(object) => {
                let key = (kind, key(&object));
                // Events expire or are collected with their namespace; that is no news.
                if seen.remove(&key).is_some() && kind != "Event" {
                    log.add(now, Source::Cluster, format!("{}/{}", kind.to_lowercase(), key.1), "deleted");
                }
            }
            Event::Init | Event::InitDone => {}
        }
    }
}

fn key(object: &DynamicObject) -> String {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    match object.metadata.namespace.as_deref() {
        None | Some("") => name.to_owned(),
        Some(namespace) => format!("{namespace}/{name}"),
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// What of an object is worth a line when it changes.
fn state(kind: &str, object: &DynamicObject) -> String {
    let value = &object.data;
    match kind {
        "Pod" => pod_state(object),
        "Node" => node_state(object),
        "NodeClaim" => claim_state(object),
        _ => format!(
            "{} {}/{}: {}",
            text(value, "/reason"),
            text(value, "/involvedObject/kind").to_lowercase(),
            text(value, "/involvedObject/name"),
            text(value, "/message")
        ),
    }
}

fn pod_state(object: &DynamicObject) -> String {
    let value = &object.data;
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
    if object.metadata.deletion_timestamp.is_some() {
        parts.push("terminating".to_owned());
    }
    parts.join(" ")
}

fn node_state(object: &DynamicObject) -> String {
    let value = &object.data;
    let mut parts = vec![if is_true(value, "Ready") { "Ready" } else { "NotReady" }.to_owned()];
    let taints = value["spec"]["taints"].as_array();
    let taints: Vec<&str> = taints.into_iter().flatten().map(|taint| text(taint, "/key")).collect();
    if !taints.is_empty() {
        parts.push(format!("taints {}", taints.join(" ")));
    }
    if object.metadata.deletion_timestamp.is_some() {
        parts.push("terminating".to_owned());
    }
    parts.join(" ")
}

fn claim_state(object: &DynamicObject) -> String {
    let value = &object.data;
    let labels = object.metadata.labels.as_ref();
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).map_or("?", String::as_str);
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
    if object.metadata.deletion_timestamp.is_some() {
        parts.push("terminating".to_owned());
    }
    if parts.is_empty() { "created".to_owned() } else { parts.join(" ") }
}

fn conditions(value: &Value) -> impl Iterator<Item = (&str, &str, &str)> {
    let conditions = value["status"]["conditions"].as_array().into_iter().flatten();
    conditions.map(|condition| (text(condition, "/type"), text(condition, "/status"), text(condition, "/reason")))
}

fn count(kind: &str, before: Option<&str>, after: &str, object: &DynamicObject, now: Timestamp, tally: &SharedTally) {
    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    match kind {
        "Pod" => {
            tally.pods += u64::from(before.is_none());
            let was_bound = before.is_some_and(|before| before.contains(" on "));
            if !was_bound && after.contains(" on ") {
                let created = object.metadata.creation_timestamp.as_ref();
                tally.time_to_bind.extend(created.map(|created| now.duration_since(created.0)));
            }
        }
        "Node" => tally.nodes += u64::from(before.is_none()),
        "Event" => tally.evictions += u64::from(before.is_none() && after.starts_with("Evicted ")),
        _ => {}
    }
}
