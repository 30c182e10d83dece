//! The objects of one moment, and what invariants ask of them.

use jiff::{SignedDuration, Timestamp};
use sawhorse_core::api::labels;
use sawhorse_kwok::apiserver::Object;
use serde_json::Value;
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// An object.
pub(super) type Json<'a> = Cow<'a, Value>;

/// The objects of one moment.
#[derive(Debug, Default)]
pub(super) struct Cluster<'a> {
    pub(super) pods: Vec<Arc<PodFacts>>,
    pub(super) nodes: Vec<Json<'a>>,
    pub(super) claims: Vec<Json<'a>>,
    pub(super) pools: Vec<Json<'a>>,
    pub(super) budgets: Vec<Json<'a>>,
    /// CapacityBuffers.
    pub(super) buffers: Vec<Json<'a>>,
    /// The NodeClaims whose machines run.
    pub(super) running: BTreeSet<String>,
    pub(super) now: Timestamp,
}

/// What invariants ask of a pod.
#[derive(Debug)]
pub(super) struct PodFacts {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) labels: BTreeMap<String, String>,
    /// The Node that it is bound to.
    pub(super) node: Option<String>,
    pub(super) is_deleted: bool,
    pub(super) is_ended: bool,
    pub(super) is_ready: bool,
    /// Whether it goes because somebody asked the eviction API.
    pub(super) is_evicted: bool,
    /// Whether it asks to be left alone for good.
    pub(super) asks_to_stay: bool,
    /// Whether it comes and goes with its Node: of a DaemonSet, or the Node's own.
    pub(super) belongs_to_node: bool,
}

impl PodFacts {
    pub(super) fn of(pod: &Value) -> Self {
        let labels = pod["metadata"]["labels"].as_object().into_iter().flatten();
        let owners = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        let target = condition(pod, "DisruptionTarget");
        Self {
            name: name_of(pod).to_owned(),
            namespace: pod["metadata"]["namespace"].as_str().unwrap_or_default().to_owned(),
            labels: labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect(),
            node: pod["spec"]["nodeName"].as_str().map(str::to_owned),
            is_deleted: is_deleted(pod),
            is_ended: pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed",
            is_ready: is_true(pod, "Ready"),
            is_evicted: target.is_some_and(|own| own["reason"] == "EvictionByEvictionAPI"),
            asks_to_stay: pod["metadata"]["annotations"][labels::DO_NOT_DISRUPT] == "true",
            belongs_to_node: owners.into_iter().any(|own| own["kind"] == "DaemonSet" || own["kind"] == "Node"),
        }
    }
}

/// Pods as they were at the last look: there are many, and few have changed since.
#[derive(Debug, Default)]
pub(super) struct KnownPods {
    /// By the address of the object, which is not used again while the object is held here.
    known: BTreeMap<usize, (Arc<Object>, Arc<PodFacts>)>,
}

impl KnownPods {
    /// What there is to know of `pods` now, in their order; those that are not among them are forgotten.
    pub(super) fn of(&mut self, pods: Vec<Arc<Object>>) -> Vec<Arc<PodFacts>> {
        let mut before = std::mem::take(&mut self.known);
        let facts = pods.into_iter().map(|pod| {
            let at = Arc::as_ptr(&pod).addr();
            let own = before.remove(&at).unwrap_or_else(|| {
                let facts = Arc::new(PodFacts::of(pod.value()));
                (pod, facts)
            });
            let facts = Arc::clone(&own.1);
            self.known.insert(at, own);
            facts
        });
        facts.collect()
    }
}

pub(super) fn each<'a>(objects: &'a [Json<'_>]) -> impl Iterator<Item = &'a Value> {
    objects.iter().map(AsRef::as_ref)
}

pub(super) fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

pub(super) fn label<'a>(object: &'a Value, key: &str) -> &'a str {
    object["metadata"]["labels"][key].as_str().unwrap_or_default()
}

/// An annotation that is JSON.
pub(super) fn annotation(object: &Value, key: &str) -> Option<Value> {
    serde_json::from_str(object["metadata"]["annotations"][key].as_str()?).ok()
}

pub(super) fn is_deleted(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|own| own["type"] == kind && own["status"] == "True")
}

pub(super) fn is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some()
}

/// Notes since when each name of `due` is there, and gives those that are there for longer than it says.
pub(super) fn overdue<'a>(
    since: &'a mut BTreeMap<String, Timestamp>,
    due: &BTreeMap<&str, SignedDuration>,
    now: Timestamp,
) -> impl Iterator<Item = (&'a String, &'a Timestamp)> {
    since.retain(|name, _| due.contains_key(name.as_str()));
    for name in due.keys() {
        since.entry((*name).to_owned()).or_insert(now);
    }
    since.iter().filter(move |(name, since)| now.duration_since(**since) > due[name.as_str()])
}
