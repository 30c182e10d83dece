//! Evicting a pod (`pods/eviction`): a deletion that PodDisruptionBudgets may refuse
//! (`pkg/registry/core/pod/storage/eviction.go`).

use crate::apiserver::{
    patch::managers,
    request::{Query, ResourcePath},
    state::{Call, State},
    status::{ApiError, Cause, plain_success},
    store::{
        GroupResource, LabelSelector, Object,
        lifecycle::{self, time_text},
    },
    value::{at, integer, items, members_mut, set, text, text_or_empty},
    verbs::{
        Answer,
        delete::{DeleteOptions, delete_object},
        update::existing,
    },
};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// Evictions that a budget may have granted without the deletions having been seen.
const MAX_DISRUPTED_PODS: usize = 2000;

/// How long a client is asked to wait for the disruption controller.
const RETRY_AFTER_SECONDS: u32 = 10;

/// The program as which the server writes budgets.
const OWN_AGENT: &str = "kube-apiserver";

const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

fn budgets() -> GroupResource {
    GroupResource::new("policy", "poddisruptionbudgets")
}

/// Evicts the pod in the path.
pub(crate) fn evict(state: &mut State, call: &Call, eviction: &Value) -> Result<Answer, ApiError> {
    check_name(call, eviction)?;
    let pod = existing(state, call)?;
    let empty = json!({});
    let options = DeleteOptions::read(call, at(eviction, &["deleteOptions"]).unwrap_or(&empty))?;
    let protecting = if is_ignored(&pod) { Vec::new() } else { protecting(state, &pod) };
    let is_free = match protecting.as_slice() {
        [] => false,
        [budget] => ask(state, call, budget, &pod, options.dry_run)?,
        _ => return Err(several_budgets()),
    };
    options.check(&call.resource, &pod).map_err(|error| match protecting.as_slice() {
        // The pod may have become healthy since: to be asked again.
        [budget] if is_free && options.resource_version.is_none() => processing(budget.name()),
        _ => error,
    })?;
    let pod = if options.dry_run { pod } else { mark(state, call, &pod) };
    let options = DeleteOptions { resource_version: None, ..options };
    delete_object(state, call, &pod, &options)?;
    Ok(Answer::value(StatusCode::CREATED, plain_success(StatusCode::CREATED)))
}

fn check_name(call: &Call, eviction: &Value) -> Result<(), ApiError> {
    let path = call.path.name.as_deref().unwrap_or_default();
    match text(eviction, &["metadata", "name"]) {
        Some(name) if name != path => Err(ApiError::bad_request("name in URL does not match name in Eviction object")),
        _ => Ok(()),
    }
}

/// Notes on the pod why it goes.
fn mark(state: &mut State, call: &Call, pod: &Arc<Object>) -> Arc<Object> {
    let mut value = pod.value().clone();
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastProbeTime": null, "lastTransitionTime": time_text(call.now),
    });
    put_condition(&mut value, condition);
    if lifecycle::is_same(&value, pod.value()) {
        return Arc::clone(pod);
    }
    state.put(&call.resource.storage, value, call.now)
}

/// Puts a condition in the place of that of its type; one that has not changed keeps its time.
fn put_condition(object: &mut Value, mut condition: Value) {
    let conditions = members_mut(object, &["status"]).entry("conditions").or_insert_with(|| json!([]));
    let Some(conditions) = conditions.as_array_mut() else { return };
    match conditions.iter_mut().find(|old| old.get("type") == condition.get("type")) {
        Some(old) => {
            if old.get("status") == condition.get("status")
                && let Some(time) = old.get("lastTransitionTime")
            {
                condition["lastTransitionTime"] = time.clone();
            }
            *old = condition;
        }
        None => conditions.push(condition),
    }
}

/// Budgets do not count pods that have ended, have not begun, or are going already.
fn is_ignored(pod: &Object) -> bool {
    pod.is_terminating()
        || ["Succeeded", "Failed", "Pending"].contains(&text_or_empty(pod.value(), &["status", "phase"]))
}

fn protecting(state: &State, pod: &Object) -> Vec<Arc<Object>> {
    let labels = at(pod.value(), &["metadata", "labels"]);
    let selects = |budget: &&Arc<Object>| {
        let selector = at(budget.value(), &["spec", "selector"]).and_then(LabelSelector::from_object);
        selector.is_some_and(|selector| selector.matches(labels))
    };
    state.store.objects_in(&budgets(), pod.namespace()).filter(selects).cloned().collect()
}

fn several_budgets() -> ApiError {
    ApiError::internal(
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
    )
}

/// Takes one disruption from the budget, or says why not; answers whether the pod may go without.
fn ask(state: &mut State, call: &Call, budget: &Arc<Object>, pod: &Object, dry_run: bool) -> Result<bool, ApiError> {
    if is_free(budget, pod) {
        return Ok(true);
    }
    let left = granted(budget)?;
    if dry_run {
        return Ok(false);
    }
    let resource = state.registry.find("policy", "v1", "poddisruptionbudgets").cloned();
    let resource = resource.ok_or_else(ApiError::no_such_path)?;
    let mut value = charged(budget.value(), pod.name(), left, call.now);
    // The server asks itself for it, so that the status is its own from then on.
    let path = ResourcePath {
        plural: resource.plural.clone(),
        name: Some(budget.name().to_owned()),
        subresource: Some("status".to_owned()),
        ..call.path.clone()
    };
    let own = Call { resource, path, query: Query::default(), now: call.now, user_agent: OWN_AGENT.to_owned() };
    managers::record(&own.resource, &mut value, Some(budget.value()), &own);
    state.put(&budgets(), value, call.now);
    Ok(false)
}

/// Whether an unhealthy pod may go without being counted (`unhealthyPodEvictionPolicy`).
fn is_free(budget: &Object, pod: &Object) -> bool {
    if is_ready(pod) {
        return false;
    }
    let count = |key| integer(budget.value(), &["status", key]).unwrap_or_default();
    let always = text(budget.value(), &["spec", "unhealthyPodEvictionPolicy"]) == Some("AlwaysAllow");
    always || (count("currentHealthy") >= count("desiredHealthy") && count("desiredHealthy") > 0)
}

fn is_ready(pod: &Object) -> bool {
    let conditions = items(pod.value(), &["status", "conditions"]);
    conditions
        .iter()
        .any(|condition| text(condition, &["type"]) == Some("Ready") && text(condition, &["status"]) == Some("True"))
}

/// How many disruptions are left after this one.
fn granted(budget: &Object) -> Result<i64, ApiError> {
    let name = budget.name();
    let number = |path: &[&str]| integer(budget.value(), path).unwrap_or_default();
    if number(&["status", "observedGeneration"]) < number(&["metadata", "generation"]) {
        return Err(processing(name));
    }
    let allowed = number(&["status", "disruptionsAllowed"]);
    if allowed < 0 {
        return Err(ApiError::forbidden(&budgets(), name, "pdb disruptions allowed is negative"));
    }
    let disrupted =
        at(budget.value(), &["status", "disruptedPods"]).and_then(Value::as_object).map_or(0, |pods| pods.len());
    if disrupted > MAX_DISRUPTED_PODS {
        return Err(ApiError::forbidden(
            &budgets(),
            name,
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        ));
    }
    if allowed == 0 {
        let (needed, healthy) = (number(&["status", "desiredHealthy"]), number(&["status", "currentHealthy"]));
        return Err(refused(
            format!("The disruption budget {name} needs {needed} healthy pods and has {healthy} currently"),
            0,
        ));
    }
    Ok(allowed - 1)
}

fn processing(budget: &str) -> ApiError {
    let message = format!("The disruption budget {budget} is still being processed by the server.");
    refused(message, RETRY_AFTER_SECONDS)
}

fn refused(message: String, retry_after_seconds: u32) -> ApiError {
    let cause = Cause { reason: "DisruptionBudget".into(), message, field: String::new() };
    ApiError::too_many_requests(REFUSED, retry_after_seconds, vec![cause])
}

fn charged(budget: &Value, pod: &str, left: i64, now: Timestamp) -> Value {
    let mut budget = budget.clone();
    set(&mut budget, &["status"], "disruptionsAllowed", left);
    members_mut(&mut budget, &["status", "disruptedPods"]).insert(pod.to_owned(), time_text(now).into());
    if left == 0 {
        refuse_further(&mut budget, now);
    }
    budget
}

fn refuse_further(budget: &mut Value, now: Timestamp) {
    let generation = integer(budget, &["status", "observedGeneration"]).unwrap_or_default();
    let condition = json!({
        "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
        "lastTransitionTime": time_text(now), "observedGeneration": generation,
    });
    put_condition(budget, condition);
}
