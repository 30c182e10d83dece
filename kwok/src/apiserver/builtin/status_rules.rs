//! The rules of statuses: counts are counts, and parts are no more than their whole (`Validate…Status` of `pkg/apis/*/validation`).

use crate::apiserver::{
    field_error::FieldError,
    value::{integer, items, text, text_or_empty},
};
use serde_json::Value;

/// What is wrong with the status of an object of a built-in kind.
pub(super) fn validate(kind: &str, object: &Value) -> Vec<FieldError> {
    match kind {
        "Deployment" | "ReplicaSet" | "StatefulSet" => {
            let mut errors = negative_counts(object, &[]);
            errors.extend(parts_of_replicas(kind, object));
            errors
        }
        "DaemonSet" => negative_counts(object, &[]),
        "PodDisruptionBudget" => {
            let mut errors = negative_counts(object, &["observedGeneration"]);
            for (index, condition) in items(object, &["status", "conditions"]).iter().enumerate() {
                errors.extend(condition_errors(condition, &format!("status.conditions[{index}]")));
            }
            errors
        }
        _ => Vec::new(),
    }
}

fn negative_counts(object: &Value, free: &[&str]) -> Vec<FieldError> {
    let members = object.get("status").and_then(Value::as_object).into_iter().flatten();
    let counts = members.filter(|(key, _)| !free.contains(&key.as_str()));
    let negative = counts.filter_map(|(key, count)| Some((key, count.as_i64().filter(|count| *count < 0)?)));
    negative
        .map(|(key, count)| FieldError::invalid(format!("status.{key}"), count, "must be greater than or equal to 0"))
        .collect()
}

fn parts_of_replicas(kind: &str, object: &Value) -> Vec<FieldError> {
    let count = |key: &str| integer(object, &["status", key]).unwrap_or_default();
    let more = |part: &str, whole: &str| {
        let told = if whole == "replicas" { "status.replicas" } else { whole };
        let error =
            || FieldError::invalid(format!("status.{part}"), count(part), format!("cannot be greater than {told}"));
        (count(part) > count(whole)).then(error)
    };
    let parts: &[&str] = match kind {
        "Deployment" => &["updatedReplicas", "readyReplicas", "availableReplicas"],
        "ReplicaSet" => &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
        _ => &["currentReplicas", "updatedReplicas", "readyReplicas", "availableReplicas"],
    };
    let of_replicas = parts.iter().filter_map(|part| more(part, "replicas"));
    of_replicas.chain(more("availableReplicas", "readyReplicas")).collect()
}

/// The rules of `meta/v1 Condition`.
fn condition_errors(condition: &Value, field: &str) -> Vec<FieldError> {
    const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
    let mut errors = Vec::new();
    for key in ["type", "reason"] {
        if text_or_empty(condition, &[key]).is_empty() {
            errors.push(FieldError::required(format!("{field}.{key}"), ""));
        }
    }
    let status = text_or_empty(condition, &["status"]);
    if !STATUSES.contains(&status) {
        errors.push(FieldError::not_supported(format!("{field}.status"), status, &STATUSES));
    }
    if text(condition, &["lastTransitionTime"]).is_none() {
        errors.push(FieldError::required(format!("{field}.lastTransitionTime"), "must be set"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::validate;
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    // None ready is more than less than none.
    #[case("ReplicaSet", json!({"replicas": -1}), &["status.replicas", "status.fullyLabeledReplicas", "status.readyReplicas", "status.availableReplicas"])]
    #[case("Deployment", json!({"replicas": 2, "updatedReplicas": 3, "availableReplicas": 1}), &["status.updatedReplicas", "status.availableReplicas"])]
    #[case("PodDisruptionBudget", json!({"disruptionsAllowed": -1, "observedGeneration": -1}), &["status.disruptionsAllowed"])]
    #[case("PodDisruptionBudget", json!({"conditions": [{"type": "A", "status": "Maybe", "reason": "R"}]}),
        &["status.conditions[0].status", "status.conditions[0].lastTransitionTime"])]
    #[case("Node", json!({"replicas": -1}), &[])]
    fn statuses(#[case] kind: &str, #[case] status: Value, #[case] expected: &[&str]) {
        let errors = validate(kind, &json!({"status": status}));
        let fields: Vec<String> = errors.iter().map(|error| error.cause().field).collect();
        assert_eq!(fields, expected);
    }
}
