//! The objects of one moment, and what invariants ask of them.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

/// An object.
pub(super) type Json<'a> = Cow<'a, Value>;

/// The objects of one moment.
#[derive(Debug, Default)]
pub(super) struct Cluster<'a> {
    pub(super) pods: Vec<Json<'a>>,
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

pub(super) fn is_ended(pod: &Value) -> bool {
    pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed"
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
