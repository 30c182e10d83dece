//! Binding a pod to a node (`pods/binding`).

use crate::apiserver::{
    state::{Call, State},
    status::{ApiError, plain_success},
    store::{GroupResource, Object, ObjectName, lifecycle::time_text},
    value::{at, items, members_mut, set, text, text_or_empty},
    verbs::{Answer, update::existing},
};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Binds the pod in the path to the node in the body.
pub(crate) fn bind(state: &mut State, call: &Call, binding: &Value) -> Result<Answer, ApiError> {
    let node = text_or_empty(binding, &["target", "name"]);
    check_target(binding, node)?;
    let pod = existing(state, call)?;
    check_pod(&pod, binding, node)?;
    if !call.query.dry_run {
        let mut bound = bound(pod.value(), binding, node, call.now);
        if let Some(node) = state.store.get(&GroupResource::new("", "nodes"), &ObjectName::new("", node)) {
            label_by_place(&mut bound, node.value());
        }
        state.put(&call.resource.storage, bound, call.now);
    }
    Ok(Answer::value(StatusCode::CREATED, plain_success(StatusCode::CREATED)))
}

fn check_target(binding: &Value, node: &str) -> Result<(), ApiError> {
    let kind = text_or_empty(binding, &["target", "kind"]);
    let problem = match (node, kind) {
        ("", _) => crate::apiserver::field_error::FieldError::required("target.name", ""),
        (_, "" | "Node") => return Ok(()),
        (_, other) => crate::apiserver::field_error::FieldError::not_supported("target.kind", other, &["Node", ""]),
    };
    // What is wrong with a binding is told as it is.
    Err(ApiError::internal(problem.to_string()))
}

fn check_pod(pod: &Object, binding: &Value, node: &str) -> Result<(), ApiError> {
    let resource = GroupResource::new("", "pods/binding");
    let name = pod.name();
    let refused = |why: &str| Err(ApiError::conflict(&resource, name, why));
    let uid = text_or_empty(binding, &["metadata", "uid"]);
    if !uid.is_empty() && uid != pod.uid() {
        return refused(&format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", pod.uid()));
    }
    if pod.is_terminating() {
        return refused(&format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    match text_or_empty(pod.value(), &["spec", "nodeName"]) {
        "" => {}
        bound if bound == node => return refused(&format!("pod {name} is already assigned to node \"{bound}\"")),
        bound => return refused(&format!("pod {name} is already assigned to node \"{bound}\"")),
    }
    if items(pod.value(), &["spec", "schedulingGates"]).is_empty() {
        Ok(())
    } else {
        refused(&format!("pod {name} has non-empty .spec.schedulingGates"))
    }
}

/// A pod says in which zone and region its node is (the `PodTopologyLabels` admission plugin).
fn label_by_place(pod: &mut Value, node: &Value) {
    for key in ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"] {
        if let Some(place) = text(node, &["metadata", "labels", key]) {
            set(pod, &["metadata", "labels"], key, place);
        }
    }
}

fn bound(pod: &Value, binding: &Value, node: &str, now: Timestamp) -> Value {
    let mut pod = pod.clone();
    set(&mut pod, &["spec"], "nodeName", node);
    for key in ["annotations", "labels"] {
        let given = at(binding, &["metadata", key]).and_then(Value::as_object);
        if let Some(given) = given {
            members_mut(&mut pod, &["metadata", key]).extend(given.clone());
        }
    }
    let mut conditions = items(&pod, &["status", "conditions"]).to_vec();
    conditions.retain(|condition| text(condition, &["type"]) != Some("PodScheduled"));
    conditions.push(
        json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": time_text(now)}),
    );
    set(&mut pod, &["status"], "conditions", conditions);
    pod
}
