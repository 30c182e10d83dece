//! What the API's Go types write even where it is nothing: times as null, states of containers as `{}`. Who writes the rest of a
//! condition owns these too.

use crate::apiserver::value::{Members, at, members_mut, set_default};
use serde_json::{Value, json};

/// Adds it to an object that was read as its kind; `given` is the object before.
pub(super) fn write(kind: &str, object: &mut Value, given: &Value) {
    drop_selector(kind, object, given);
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
        for time in times {
            members_mut(condition, &[]).entry(*time).or_insert(Value::Null);
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
