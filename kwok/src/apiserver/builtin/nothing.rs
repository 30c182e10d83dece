//! What the API's Go types write even where it is nothing: times as null, states of containers as `{}`. Who writes the rest of a
//! condition owns these too.

use super::kind_defaults::first_status;
use crate::apiserver::value::{Members, at, members_mut, set_default};
use serde_json::{Value, json};

/// Adds it to an object that was read as its kind; `given` is the object before.
pub(super) fn write(kind: &str, object: &mut Value, given: &Value) {
    drop_selector(kind, object, given);
    write_status(kind, object);
    if WITH_COMMON_CONDITIONS.contains(&kind) {
        for condition in elements(members_mut(object, &["status"]), "conditions") {
            if condition.get("lastTransitionTime").is_some_and(|time| time == ZERO_TIME) {
                members_mut(condition, &[]).insert("lastTransitionTime".into(), Value::Null);
            }
        }
    }
    let times: &[&str] = match kind {
        "Pod" | "PersistentVolumeClaim" | "Job" => &["lastProbeTime", "lastTransitionTime"],
        "Node" => &["lastHeartbeatTime", "lastTransitionTime"],
        "Deployment" => &["lastUpdateTime", "lastTransitionTime"],
        "ReplicaSet"
        | "ReplicationController"
        | "StatefulSet"
        | "DaemonSet"
        | "Namespace"
        | "HorizontalPodAutoscaler" => &["lastTransitionTime"],
        _ => return,
    };
    let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) else { return };
    for condition in elements(status, "conditions") {
        let condition = members_mut(condition, &[]);
        for time in times {
            condition.entry(*time).or_insert(Value::Null);
        }
        for text in ["message", "reason"] {
            if condition.get(text).is_some_and(|text| text == "") {
                condition.remove(text);
            }
        }
    }
    if kind == "Pod" {
        for list in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
            for container in elements(status, list) {
                set_default(container, &[], "state", json!({}));
                set_default(container, &[], "lastState", json!({}));
            }
        }
    }
}

/// Kinds whose conditions are of the type that all share: its time is read by everybody as one that must be there.
const WITH_COMMON_CONDITIONS: [&str; 2] = ["Service", "PodDisruptionBudget"];

/// What Go reads where there is no time, and writes as null.
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// Puts the zero time where a condition has none, so that it can be read.
pub(super) fn read_times(kind: &str, object: &mut Value) {
    if !WITH_COMMON_CONDITIONS.contains(&kind) {
        return;
    }
    let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) else { return };
    for condition in elements(status, "conditions") {
        set_default(condition, &[], "lastTransitionTime", ZERO_TIME);
    }
}

/// Counts of statuses that are pointers in Go, where none is something else than nothing.
const OPTIONAL_COUNTS: [&str; 5] =
    ["collisionCount", "ready", "terminating", "terminatingReplicas", "observedGeneration"];

/// A status has what Go writes always, and nothing else that is nothing.
fn write_status(kind: &str, object: &mut Value) {
    let Some(always) = always_in_status(kind) else { return };
    let status = members_mut(object, &["status"]);
    let is_optional = |key: &str| {
        // Only stateful sets have a pointer here.
        OPTIONAL_COUNTS.contains(&key) && (key != "observedGeneration" || kind == "StatefulSet")
    };
    status.retain(|key, value| *value != 0 && *value != "" || is_optional(key));
    for (key, nothing) in always.as_object().into_iter().flatten() {
        status.entry(key.as_str()).or_insert_with(|| nothing.clone());
    }
}

/// The status of an object of which nobody has told anything, for kinds that have one always.
fn always_in_status(kind: &str) -> Option<Value> {
    match kind {
        "Namespace" => Some(json!({"phase": "Active"})),
        "PersistentVolume" | "PersistentVolumeClaim" => Some(json!({"phase": "Pending"})),
        "Service" => Some(json!({"loadBalancer": {}})),
        _ => first_status(kind),
    }
}

/// And the other way about: no selector is something else than an empty one.
fn drop_selector(kind: &str, object: &mut Value, given: &Value) {
    let is_workload = ["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"].contains(&kind);
    if is_workload && at(given, &["spec", "selector"]).is_none_or(Value::is_null) && object.get("spec").is_some() {
        members_mut(object, &["spec"]).remove("selector");
    }
}

fn elements<'a>(members: &'a mut Members, key: &str) -> impl Iterator<Item = &'a mut Value> {
    members.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter(|element| element.is_object())
}
