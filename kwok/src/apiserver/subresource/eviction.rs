//! Evicting a pod (`pods/eviction`): a deletion that PodDisruptionBudgets may refuse
//! (`pkg/registry/core/pod/storage/eviction.go`).

use crate::apiserver::{
    state::{Call, State},
    status::{ApiError, Cause, plain_success},
    store::{GroupResource, LabelSelector, Object, lifecycle::time_text},
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
    check_uid(&pod, &options)?;
    if !is_ignored(&pod) {
        let protecting = protecting(state, &pod);
        match protecting.as_slice() {
            [] => {}
            [budget] => ask(state, call, budget, &pod, options.dry_run)?,
            _ => return Err(several_budgets()),
        }
    }
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

fn check_uid(pod: &Object, options: &DeleteOptions) -> Result<(), ApiError> {
    match &options.uid {
        Some(uid) if uid != pod.uid() => {
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", pod.uid());
            Err(ApiError::conflict(&GroupResource::new("", "pods"), pod.name(), &why))
        }
        _ => Ok(()),
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

/// Takes one disruption from the budget, or says why not.
fn ask(state: &mut State, call: &Call, budget: &Arc<Object>, pod: &Object, dry_run: bool) -> Result<(), ApiError> {
    if is_free(budget, pod) {
        return Ok(());
    }
    let left = granted(budget)?;
    if !dry_run {
        let value = charged(budget.value(), pod.name(), left, call.now);
        state.put(&budgets(), value, call.now);
    }
    Ok(())
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
        let message = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refused(message, RETRY_AFTER_SECONDS));
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
    let mut conditions = items(budget, &["status", "conditions"]).to_vec();
    conditions.retain(|condition| text(condition, &["type"]) != Some("DisruptionAllowed"));
    let generation = integer(budget, &["status", "observedGeneration"]).unwrap_or_default();
    conditions.push(json!({
        "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
        "lastTransitionTime": time_text(now), "observedGeneration": generation,
    }));
    set(budget, &["status"], "conditions", conditions);
}
