//! The rules of pods and pod templates (`pkg/apis/core/validation/validation.go`).

use super::{
    metadata::{label_problem, qualified_name_problem, subdomain_problem, validate_labels},
    quantity::Quantity,
};
use crate::apiserver::{
    field_error::FieldError,
    value::{at, carry_over, integer, items, members_mut, text, text_or_empty},
};
use serde_json::Value;
use std::collections::BTreeSet;

const RESTART_POLICIES: [&str; 3] = ["Always", "Never", "OnFailure"];
const MAX_PORT: i64 = 65_535;

/// What is wrong with a new pod.
pub(super) fn validate_create(pod: &Value) -> Vec<FieldError> {
    validate_spec(pod.get("spec").unwrap_or(&Value::Null), "spec")
}

/// What is wrong with the pod spec under `field`.
pub(super) fn validate_spec(spec: &Value, field: &str) -> Vec<FieldError> {
    let mut errors = validate_containers(spec, field);
    errors.extend(validate_choices(spec, field));
    errors.extend(validate_labels(spec.get("nodeSelector"), &format!("{field}.nodeSelector")));
    errors.extend(validate_tolerations(spec, field));
    errors.extend(validate_affinity(spec, field));
    errors.extend(validate_spread(spec, field));
    if let Some(node) = text(spec, &["nodeName"]).filter(|node| !node.is_empty()) {
        errors.extend(
            subdomain_problem(node).map(|problem| FieldError::invalid(format!("{field}.nodeName"), node, problem)),
        );
    }
    errors
}

fn validate_choices(spec: &Value, field: &str) -> Vec<FieldError> {
    let choices: [(&str, &[&str]); 3] = [
        ("restartPolicy", &RESTART_POLICIES),
        ("dnsPolicy", &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]),
        ("preemptionPolicy", &["Never", "PreemptLowerPriority"]),
    ];
    let wrong = |(key, allowed): (&str, &[&str])| {
        let found = text(spec, &[key])?;
        (!allowed.contains(&found)).then(|| FieldError::not_supported(format!("{field}.{key}"), found, allowed))
    };
    choices.into_iter().filter_map(wrong).collect()
}

fn validate_containers(spec: &Value, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if items(spec, &["containers"]).is_empty() {
        errors.push(FieldError::required(format!("{field}.containers"), ""));
    }
    let volumes = validate_volumes(spec, field, &mut errors);
    let mut names = BTreeSet::new();
    for list in ["containers", "initContainers"] {
        for (index, container) in items(spec, &[list]).iter().enumerate() {
            let field = format!("{field}.{list}[{index}]");
            let name = text_or_empty(container, &["name"]);
            if !name.is_empty() && !names.insert(name.to_owned()) {
                errors.push(FieldError::duplicate(format!("{field}.name"), name));
            }
            errors.extend(validate_container(container, &field, &volumes));
        }
    }
    errors
}

/// Containers for debugging have a name of their own, an image, and may name a container that there is.
pub(super) fn validate_ephemeral(pod: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let names = ["containers", "initContainers"].into_iter().flat_map(|list| items(pod, &["spec", list]));
    let targets: BTreeSet<&str> = names.map(|container| text_or_empty(container, &["name"])).collect();
    let mut taken = targets.clone();
    for (index, container) in items(pod, &["spec", "ephemeralContainers"]).iter().enumerate() {
        let field = format!("spec.ephemeralContainers[{index}]");
        errors.extend(validate_name(container, &format!("{field}.name")));
        if !taken.insert(text_or_empty(container, &["name"])) {
            errors.push(FieldError::duplicate(format!("{field}.name"), text_or_empty(container, &["name"])));
        }
        if text_or_empty(container, &["image"]).is_empty() {
            errors.push(FieldError::required(format!("{field}.image"), ""));
        }
        let target = text_or_empty(container, &["targetContainerName"]);
        if !target.is_empty() && !targets.contains(target) {
            errors.push(FieldError::not_found(format!("{field}.targetContainerName"), target));
        }
    }
    errors
}

fn validate_volumes(spec: &Value, field: &str, errors: &mut Vec<FieldError>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (index, volume) in items(spec, &["volumes"]).iter().enumerate() {
        let field = format!("{field}.volumes[{index}].name");
        errors.extend(validate_name(volume, &field));
        let name = text_or_empty(volume, &["name"]).to_owned();
        if !names.insert(name.clone()) {
            errors.push(FieldError::duplicate(field, name));
        }
    }
    names
}

fn validate_name(value: &Value, field: &str) -> Option<FieldError> {
    match text_or_empty(value, &["name"]) {
        "" => Some(FieldError::required(field, "")),
        name => label_problem(name).map(|problem| FieldError::invalid(field, name, problem)),
    }
}

fn validate_container(container: &Value, field: &str, volumes: &BTreeSet<String>) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> = validate_name(container, &format!("{field}.name")).into_iter().collect();
    if text_or_empty(container, &["image"]).is_empty() {
        errors.push(FieldError::required(format!("{field}.image"), ""));
    }
    let policies = ["Always", "IfNotPresent", "Never"];
    if let Some(policy) = text(container, &["imagePullPolicy"]).filter(|policy| !policies.contains(policy)) {
        errors.push(FieldError::not_supported(format!("{field}.imagePullPolicy"), policy, &policies));
    }
    for (index, port) in items(container, &["ports"]).iter().enumerate() {
        let number = integer(port, &["containerPort"]).unwrap_or_default();
        if !(1..=MAX_PORT).contains(&number) {
            let detail = format!("must be between 1 and {MAX_PORT}, inclusive");
            errors.push(FieldError::invalid(format!("{field}.ports[{index}].containerPort"), number, detail));
        }
    }
    for (index, mount) in items(container, &["volumeMounts"]).iter().enumerate() {
        let name = text_or_empty(mount, &["name"]);
        if !volumes.contains(name) {
            errors.push(FieldError::not_found(format!("{field}.volumeMounts[{index}].name"), name));
        }
    }
    errors.extend(validate_resources(container, field));
    errors
}

fn validate_resources(container: &Value, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for kind in ["limits", "requests"] {
        let amounts = at(container, &["resources", kind]).and_then(Value::as_object);
        for (name, amount) in amounts.into_iter().flatten() {
            let field = format!("{field}.resources.{kind}[{name}]");
            errors.extend(
                qualified_name_problem(name).map(|problem| FieldError::invalid(&field, name.as_str(), problem)),
            );
            let quantity = amount.as_str().and_then(Quantity::parse);
            if quantity.is_some_and(Quantity::is_negative) {
                errors.push(FieldError::invalid(field, amount.clone(), "must be greater than or equal to 0"));
            }
        }
    }
    let limits = at(container, &["resources", "limits"]).and_then(Value::as_object);
    for (name, limit) in limits.into_iter().flatten() {
        let request = text(container, &["resources", "requests", name]);
        let parsed = (request.and_then(Quantity::parse), limit.as_str().and_then(Quantity::parse));
        if let (Some(requested), Some(limited)) = parsed
            && requested.exceeds(limited)
        {
            let detail = format!("must be less than or equal to {name} limit of {}", limited.canonical());
            errors.push(FieldError::invalid(
                format!("{field}.resources.requests"),
                request.unwrap_or_default(),
                detail,
            ));
        }
    }
    errors
}

fn validate_tolerations(spec: &Value, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, toleration) in items(spec, &["tolerations"]).iter().enumerate() {
        let field = format!("{field}.tolerations[{index}]");
        let (key, operator) = (text_or_empty(toleration, &["key"]), text_or_empty(toleration, &["operator"]));
        if !key.is_empty() {
            errors.extend(
                qualified_name_problem(key).map(|problem| FieldError::invalid(format!("{field}.key"), key, problem)),
            );
        } else if operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid(format!("{field}.operator"), operator, detail));
        }
        if operator == "Exists" && !text_or_empty(toleration, &["value"]).is_empty() {
            let detail = "value must be empty when `operator` is 'Exists'";
            errors.push(FieldError::invalid(
                format!("{field}.operator"),
                text_or_empty(toleration, &["value"]),
                detail,
            ));
        }
        if !["", "Exists", "Equal"].contains(&operator) {
            errors.push(FieldError::not_supported(format!("{field}.operator"), operator, &["Equal", "Exists"]));
        }
        let effect = text_or_empty(toleration, &["effect"]);
        if !["", "NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
            errors.push(FieldError::not_supported(
                format!("{field}.effect"),
                effect,
                &["NoSchedule", "PreferNoSchedule", "NoExecute"],
            ));
        }
        if toleration.get("tolerationSeconds").is_some() && effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid(format!("{field}.effect"), effect, detail));
        }
    }
    errors
}

/// Node affinity terms name operators that exist, with as many values as the operator takes.
fn validate_affinity(spec: &Value, field: &str) -> Vec<FieldError> {
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let terms = items(spec, &["affinity", "nodeAffinity", required, "nodeSelectorTerms"]);
    let path = format!("{field}.affinity.nodeAffinity.{required}");
    if at(spec, &["affinity", "nodeAffinity", required]).is_some() && terms.is_empty() {
        return vec![FieldError::required(
            format!("{path}.nodeSelectorTerms"),
            "must have at least one node selector term",
        )];
    }
    let mut errors = Vec::new();
    for (index, term) in terms.iter().enumerate() {
        for (place, expression) in items(term, &["matchExpressions"]).iter().enumerate() {
            errors.extend(validate_expression(
                expression,
                &format!("{path}.nodeSelectorTerms[{index}].matchExpressions[{place}]"),
            ));
        }
    }
    errors
}

fn validate_expression(expression: &Value, field: &str) -> Vec<FieldError> {
    let operator = text_or_empty(expression, &["operator"]);
    let count = items(expression, &["values"]).len();
    let mut errors = Vec::new();
    match operator {
        "In" | "NotIn" if count == 0 => {
            errors.push(FieldError::required(
                format!("{field}.values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            ));
        }
        "Exists" | "DoesNotExist" if count > 0 => {
            errors.push(FieldError::forbidden(
                format!("{field}.values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ));
        }
        "Gt" | "Lt" if count != 1 => {
            errors.push(FieldError::required(
                format!("{field}.values"),
                "must be specified single value when `operator` is 'Lt' or 'Gt'",
            ));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errors.push(FieldError::invalid(format!("{field}.operator"), other, "not a valid selector operator")),
    }
    let key = text_or_empty(expression, &["key"]);
    errors.extend(qualified_name_problem(key).map(|problem| FieldError::invalid(format!("{field}.key"), key, problem)));
    errors
}

fn validate_spread(spec: &Value, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, constraint) in items(spec, &["topologySpreadConstraints"]).iter().enumerate() {
        let field = format!("{field}.topologySpreadConstraints[{index}]");
        let skew = integer(constraint, &["maxSkew"]).unwrap_or_default();
        if skew <= 0 {
            errors.push(FieldError::invalid(format!("{field}.maxSkew"), skew, "must be greater than zero"));
        }
        if text_or_empty(constraint, &["topologyKey"]).is_empty() {
            errors.push(FieldError::required(format!("{field}.topologyKey"), "can not be empty"));
        }
        let action = text_or_empty(constraint, &["whenUnsatisfiable"]);
        let known = ["DoNotSchedule", "ScheduleAnyway"];
        if !known.contains(&action) {
            errors.push(FieldError::not_supported(format!("{field}.whenUnsatisfiable"), action, &known));
        }
    }
    errors
}

/// What a pod update may not do.
pub(super) fn validate_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = validate_spec(new.get("spec").unwrap_or(&Value::Null), "spec");
    for list in ["containers", "initContainers"] {
        let path = ["spec", list];
        if items(new, &path).len() != items(old, &path).len() {
            errors.push(FieldError::forbidden(path.join("."), "pod updates may not add or remove containers"));
            return errors;
        }
    }
    if let Some(error) = changed_deadline(new, old) {
        errors.push(error);
        return errors;
    }
    errors.extend(removed_tolerations(new, old));
    errors.extend(added_gates(new, old));
    if masked(new, old).get("spec") != old.get("spec") {
        errors.push(FieldError::forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        ));
    }
    errors
}

/// A deadline may be set, and brought forward.
fn changed_deadline(new: &Value, old: &Value) -> Option<FieldError> {
    let path = ["spec", "activeDeadlineSeconds"];
    let wrong = |found: Value, detail: String| Some(FieldError::invalid(path.join("."), found, detail));
    match (integer(new, &path), integer(old, &path)) {
        (Some(seconds), _) if i32::try_from(seconds).is_err() || seconds < 0 => {
            wrong(seconds.into(), format!("must be between 0 and {}, inclusive", i32::MAX))
        }
        (Some(seconds), Some(before)) if before < seconds => {
            wrong(seconds.into(), "must be less than or equal to previous value".into())
        }
        (None, Some(_)) => wrong(Value::Null, "must not update from a positive integer to nil value".into()),
        _ => None,
    }
}

/// Tolerations stay, but for their seconds.
fn removed_tolerations(new: &Value, old: &Value) -> Option<FieldError> {
    let untimed = |toleration: &Value| {
        let mut toleration = toleration.clone();
        members_mut(&mut toleration, &[]).remove("tolerationSeconds");
        toleration
    };
    let kept: Vec<Value> = items(new, &["spec", "tolerations"]).iter().map(untimed).collect();
    let all_kept = items(old, &["spec", "tolerations"]).iter().all(|toleration| kept.contains(&untimed(toleration)));
    let detail = "existing toleration can not be modified except its tolerationSeconds";
    (!all_kept).then(|| FieldError::forbidden("spec.tolerations", detail))
}

fn added_gates(new: &Value, old: &Value) -> Vec<FieldError> {
    let before = items(old, &["spec", "schedulingGates"]);
    let gates = items(new, &["spec", "schedulingGates"]).iter().enumerate();
    gates
        .filter(|(_, gate)| !before.contains(gate))
        .map(|(index, gate)| {
            let name = text_or_empty(gate, &["name"]);
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            FieldError::forbidden(format!("spec.schedulingGates[{index}]"), detail)
        })
        .collect()
}

/// The new pod with everything that may change put back to what it was.
fn masked(new: &Value, old: &Value) -> Value {
    let mut new = new.clone();
    for key in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        carry_over(&mut new, old, &["spec"], key);
    }
    let gated = !items(old, &["spec", "schedulingGates"]).is_empty();
    if gated {
        // While a pod is gated its node selection may be narrowed.
        for key in ["nodeSelector", "affinity"] {
            carry_over(&mut new, old, &["spec"], key);
        }
    }
    for list in ["containers", "initContainers"] {
        let before = items(old, &["spec", list]).to_vec();
        let after = members_mut(&mut new, &["spec"]).get_mut(list).and_then(Value::as_array_mut);
        for (container, before) in after.into_iter().flatten().zip(&before) {
            carry_over(container, before, &[], "image");
        }
    }
    new
}
