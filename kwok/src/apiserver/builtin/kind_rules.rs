//! The rules of kinds other than pods (`pkg/apis/*/validation`).

use super::{
    metadata::{validate_annotations, validate_labels},
    pod_rules::validate_spec,
};
use crate::apiserver::{
    field_error::FieldError,
    store::LabelSelector,
    value::{at, carry_over, integer, items, members_mut, text, text_or_empty},
};
use serde_json::{Map, Value};
use std::{collections::BTreeSet, net::Ipv4Addr};

/// What is wrong with an object of a built-in kind; `old` is the object before, for updates.
pub(super) fn validate(kind: &str, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    match kind {
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" => validate_workload(kind, object, old),
        "Job" => validate_job(object, old),
        "CronJob" => {
            let template = at(object, &["spec", "jobTemplate", "spec", "template"]).unwrap_or(&Value::Null);
            let mut errors = validate_template(template, "spec.jobTemplate.spec.template");
            match text_or_empty(object, &["spec", "schedule"]) {
                "" => errors.push(FieldError::required("spec.schedule", "")),
                schedule if !schedule.starts_with('@') && schedule.split_whitespace().count() != 5 => {
                    let fields: Vec<&str> = schedule.split_whitespace().collect();
                    let found = format!("found {}: [{}]", fields.len(), fields.join(" "));
                    let detail = format!("expected exactly 5 fields, {found}");
                    errors.push(FieldError::invalid("spec.schedule", schedule, detail));
                }
                _ => {}
            }
            let policies = ["Allow", "Forbid", "Replace"];
            if let Some(policy) =
                text(object, &["spec", "concurrencyPolicy"]).filter(|policy| !policies.contains(policy))
            {
                errors.push(FieldError::not_supported("spec.concurrencyPolicy", policy, &policies));
            }
            errors
        }
        "PodDisruptionBudget" => validate_budget(object),
        "Lease" => validate_lease(object),
        "Node" => validate_node(object, old),
        "Service" => validate_service(object, old),
        "ConfigMap" | "Secret" => {
            let mut errors = validate_data_keys(object);
            if kind == "Secret" {
                errors.extend(missing_secret_keys(object));
            }
            errors.extend(old.into_iter().flat_map(|old| validate_immutable_data(object, old)));
            errors
        }
        "PriorityClass" => validate_priority_class(object, old),
        "StorageClass" => validate_storage_class(object, old),
        "PersistentVolumeClaim" => validate_claim(object, old),
        "PersistentVolume" => validate_volume(object),
        "Role" | "ClusterRole" => validate_role(object),
        "RoleBinding" | "ClusterRoleBinding" => old.map(|old| unchanged(object, old, &["roleRef"])).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// A template of pods.
fn validate_template(template: &Value, field: &str) -> Vec<FieldError> {
    let mut errors = validate_labels(at(template, &["metadata", "labels"]), &format!("{field}.labels"));
    errors.extend(validate_annotations(at(template, &["metadata", "annotations"]), &format!("{field}.annotations")));
    errors.extend(validate_spec(template.get("spec").unwrap_or(&Value::Null), &format!("{field}.spec")));
    errors
}

fn validate_priority_class(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let Some(old) = old else {
        let policies = ["Never", "PreemptLowerPriority"];
        let policy = text_or_empty(object, &["preemptionPolicy"]);
        let refused =
            (!policies.contains(&policy)).then(|| FieldError::not_supported("preemptionPolicy", policy, &policies));
        return refused.into_iter().collect();
    };
    let changed = object.get("value") != old.get("value");
    let value = changed.then(|| FieldError::forbidden("value", "may not be changed in an update."));
    value.into_iter().chain(unchanged(object, old, &["preemptionPolicy"])).collect()
}

/// Keys become names of files.
fn validate_data_keys(object: &Value) -> Vec<FieldError> {
    const EXPECTED: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
    let is_key =
        |key: &str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    let mut errors = Vec::new();
    for field in ["data", "binaryData"] {
        let keys = object.get(field).and_then(Value::as_object).into_iter().flat_map(|data| data.keys());
        errors.extend(
            keys.filter(|key| !is_key(key))
                .map(|key| FieldError::invalid(format!("{field}[{key}]"), key.as_str(), EXPECTED)),
        );
    }
    errors
}

/// Secrets of Kubernetes' own types have the keys that these are made of.
fn missing_secret_keys(secret: &Value) -> Vec<FieldError> {
    const ACCOUNT: &str = "kubernetes.io/service-account.name";
    let has = |key: &str| at(secret, &["data", key]).is_some();
    let required = |key: &str| FieldError::required(format!("data[{key}]"), "");
    let keys: &[&str] = match text_or_empty(secret, &["type"]) {
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        // One of the two is enough.
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => &["username", "password"],
        "kubernetes.io/service-account-token"
            if text_or_empty(secret, &["metadata", "annotations", ACCOUNT]).is_empty() =>
        {
            return vec![FieldError::required(format!("metadata.annotations[{ACCOUNT}]"), "")];
        }
        _ => &[],
    };
    keys.iter().filter(|key| !has(key)).map(|key| required(key)).collect()
}

fn unchanged(object: &Value, old: &Value, path: &[&str]) -> Vec<FieldError> {
    if at(object, path) == at(old, path) {
        return Vec::new();
    }
    let found = at(object, path).cloned().unwrap_or_default();
    vec![FieldError::invalid(path.join("."), found, "field is immutable")]
}

fn not_negative(object: &Value, path: &[&str]) -> Option<FieldError> {
    let number = integer(object, path).filter(|number| *number < 0)?;
    Some(FieldError::invalid(path.join("."), number, "must be greater than or equal to 0"))
}

fn validate_workload(kind: &str, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    errors.extend(not_negative(object, &["spec", "replicas"]));
    errors.extend(not_negative(object, &["spec", "minReadySeconds"]));
    errors.extend(validate_selector(kind, object));
    let template = at(object, &["spec", "template"]).unwrap_or(&Value::Null);
    errors.extend(validate_template(template, "spec.template"));
    if let Some(policy) = text(template, &["spec", "restartPolicy"]).filter(|policy| *policy != "Always") {
        errors.push(FieldError::not_supported("spec.template.spec.restartPolicy", policy, &["Always"]));
    }
    if let Some(old) = old {
        if kind == "StatefulSet" {
            errors.extend(changed_stateful_set(object, old));
        } else {
            errors.extend(unchanged(object, old, &["spec", "selector"]));
        }
    }
    errors.extend(match kind {
        "Deployment" => validate_strategy(object),
        "DaemonSet" | "StatefulSet" => validate_update_strategy(kind, object),
        _ => None,
    });
    if let Some(other) = text(object, &["spec", "podManagementPolicy"])
        && kind == "StatefulSet"
        && !["OrderedReady", "Parallel"].contains(&other)
    {
        let detail = "must be 'OrderedReady' or 'Parallel'";
        errors.push(FieldError::invalid("spec.podManagementPolicy", other, detail));
    }
    errors
}

/// A selector there must be (daemon sets have their own way to say so), and it must select the template's labels.
fn validate_selector(kind: &str, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let selector = at(object, &["spec", "selector"]).filter(|selector| !selector.is_null());
    let parts = selector.and_then(Value::as_object).into_iter().flat_map(|selector| selector.values());
    let is_empty = parts.fold(true, |all, part| {
        all && part.as_object().is_none_or(Map::is_empty) && part.as_array().is_none_or(Vec::is_empty)
    });
    match selector {
        None if kind != "DaemonSet" => errors.push(FieldError::required("spec.selector", "")),
        Some(selector) if is_empty => {
            // Replica sets are called so too.
            let named = if kind == "ReplicaSet" { "deployment".to_owned() } else { kind.to_lowercase() };
            let detail = format!("empty selector is invalid for {named}");
            errors.push(FieldError::invalid("spec.selector", selector.clone(), detail));
        }
        None | Some(_) => {}
    }
    let labels = at(object, &["spec", "template", "metadata", "labels"]);
    let matches = selector.and_then(LabelSelector::from_object).is_some_and(|selector| selector.matches(labels));
    if !matches {
        let found = labels.cloned().unwrap_or_default();
        let detail = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid("spec.template.metadata.labels", found, detail));
    }
    errors
}

fn validate_strategy(object: &Value) -> Option<FieldError> {
    let strategy = text_or_empty(object, &["spec", "strategy", "type"]);
    let known = ["Recreate", "RollingUpdate"];
    if !known.contains(&strategy) {
        return Some(FieldError::not_supported("spec.strategy", strategy, &known));
    }
    let has_details = at(object, &["spec", "strategy", "rollingUpdate"]).is_some();
    (strategy == "Recreate" && has_details).then(|| {
        FieldError::forbidden("spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")
    })
}

fn validate_update_strategy(kind: &str, object: &Value) -> Option<FieldError> {
    let strategy = text_or_empty(object, &["spec", "updateStrategy", "type"]);
    let known = ["OnDelete", "RollingUpdate"];
    let is_known = known.contains(&strategy);
    let has_details = at(object, &["spec", "updateStrategy", "rollingUpdate"]).is_some();
    match kind {
        "DaemonSet" => (!is_known).then(|| FieldError::not_supported("spec.updateStrategy", strategy, &known)),
        _ if strategy.is_empty() => Some(FieldError::required("spec.updateStrategy", "")),
        _ if !is_known => {
            let detail = "must be 'RollingUpdate' or 'OnDelete'";
            Some(FieldError::invalid("spec.updateStrategy", strategy, detail))
        }
        _ => (strategy == "OnDelete" && has_details).then(|| {
            let found = at(object, &["spec", "updateStrategy", "rollingUpdate"]).cloned().unwrap_or_default();
            let detail = "only allowed for updateStrategy 'RollingUpdate'";
            FieldError::invalid("spec.updateStrategy.rollingUpdate", found, detail)
        }),
    }
}

fn changed_stateful_set(object: &Value, old: &Value) -> Option<FieldError> {
    let mut masked = object.clone();
    let changeable = [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    for key in changeable {
        carry_over(&mut masked, old, &["spec"], key);
    }
    (masked.get("spec") != old.get("spec")).then(|| {
        FieldError::forbidden(
            "spec",
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        )
    })
}

fn validate_job(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for key in ["parallelism", "completions", "backoffLimit"] {
        errors.extend(not_negative(object, &["spec", key]));
    }
    let template = at(object, &["spec", "template"]).unwrap_or(&Value::Null);
    errors.extend(validate_template(template, "spec.template"));
    if text(template, &["spec", "restartPolicy"]) == Some("Always") {
        errors.push(FieldError::required("spec.template.spec.restartPolicy", "valid values: \"OnFailure\", \"Never\""));
    }
    if let Some(old) = old {
        errors.extend(unchanged(object, old, &["spec", "selector"]));
        errors.extend(unchanged(object, old, &["spec", "completionMode"]));
        errors.extend(unchanged(object, old, &["spec", "completions"]));
        let suspended = at(old, &["spec", "suspend"]) == Some(&Value::Bool(true));
        let templates = [object, old].map(|job| fixed_template(job, suspended));
        if templates[0] != templates[1] {
            errors.push(FieldError::invalid("spec.template", templates[0].clone(), "field is immutable"));
        }
    }
    errors
}

/// What of a job's template may not change: all of it, but for where the pods of a suspended job may go.
fn fixed_template(job: &Value, suspended: bool) -> Value {
    let mut template = at(job, &["spec", "template"]).cloned().unwrap_or_default();
    if suspended {
        let movable: [(&[&str], &[&str]); 3] = [
            (&["metadata"], &["labels", "annotations"]),
            (&["spec"], &["nodeSelector", "tolerations", "schedulingGates"]),
            (&["spec", "affinity"], &["nodeAffinity"]),
        ];
        for (path, keys) in movable {
            if at(&template, path).is_some() {
                keys.iter().for_each(|key| drop(members_mut(&mut template, path).remove(*key)));
            }
        }
    }
    template
}

fn validate_lease(lease: &Value) -> Vec<FieldError> {
    let duration = integer(lease, &["spec", "leaseDurationSeconds"]).filter(|seconds| *seconds <= 0);
    let duration =
        duration.map(|seconds| FieldError::invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"));
    duration.into_iter().chain(not_negative(lease, &["spec", "leaseTransitions"])).collect()
}

fn validate_budget(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let both = at(object, &["spec", "minAvailable"]).is_some() && at(object, &["spec", "maxUnavailable"]).is_some();
    if both {
        let spec = object.get("spec").cloned().unwrap_or_default();
        errors.push(FieldError::invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set"));
    }
    for key in ["minAvailable", "maxUnavailable"] {
        errors.extend(not_negative(object, &["spec", key]));
        let percentage = text(object, &["spec", key]).filter(|text| !is_percentage(text));
        if let Some(found) = percentage {
            let detail = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
            errors.push(FieldError::invalid(format!("spec.{key}"), found, detail));
        }
    }
    errors
}

fn is_percentage(text: &str) -> bool {
    text.strip_suffix('%').is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

fn validate_node(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, taint) in items(object, &["spec", "taints"]).iter().enumerate() {
        // Told below `metadata`, by a slip that clients have come to know.
        let field = format!("metadata.taints[{index}]");
        let (key, effect) = (text_or_empty(taint, &["key"]), text_or_empty(taint, &["effect"]));
        errors.extend(
            super::metadata::qualified_name_problem(key)
                .map(|problem| FieldError::invalid(format!("{field}.key"), key, problem)),
        );
        let value = text_or_empty(taint, &["value"]);
        errors.extend(
            super::metadata::label_value_problem(value)
                .map(|problem| FieldError::invalid(format!("{field}.value"), value, problem)),
        );
        let known = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        match effect {
            "" => errors.push(FieldError::required(format!("{field}.effect"), "")),
            effect if !known.contains(&effect) => {
                errors.push(FieldError::not_supported(format!("{field}.effect"), effect, &known))
            }
            _ => {}
        }
        if !seen.insert((key.to_owned(), effect.to_owned())) {
            let mut duplicate = FieldError::duplicate(field, taint.clone());
            duplicate.detail = "taints must be unique by key and effect pair".into();
            errors.push(duplicate);
        }
    }
    let provider = |object: &Value| text_or_empty(object, &["spec", "providerID"]).to_owned();
    if old.is_some_and(|old| !provider(old).is_empty() && provider(old) != provider(object)) {
        errors.push(FieldError::forbidden(
            "spec.providerID",
            "node updates may not change providerID except from \"\" to valid",
        ));
    }
    errors
}

fn validate_service(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let kind = text_or_empty(object, &["spec", "type"]);
    let known = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    if !known.contains(&kind) {
        errors.push(FieldError::not_supported("spec.type", kind, &known));
    }
    let headless = text(object, &["spec", "clusterIP"]) == Some("None");
    let ports = items(object, &["spec", "ports"]);
    if ports.is_empty() && !headless && kind != "ExternalName" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    if kind == "ExternalName" {
        errors.extend(validate_external_name(object));
    } else if old.is_none() {
        errors.extend(validate_address(object));
    }
    for (index, port) in ports.iter().enumerate() {
        let number = integer(port, &["port"]).unwrap_or_default();
        if !(1..=65_535).contains(&number) {
            errors.push(FieldError::invalid(
                format!("spec.ports[{index}].port"),
                number,
                "must be between 1 and 65535, inclusive",
            ));
        }
        if ports.len() > 1 && text_or_empty(port, &["name"]).is_empty() {
            errors.push(FieldError::required(format!("spec.ports[{index}].name"), ""));
        }
    }
    let has_address = |service: &Value| text(service, &["spec", "type"]) != Some("ExternalName");
    let moved = |old: &&Value| at(object, &["spec", "clusterIP"]) != at(old, &["spec", "clusterIP"]);
    if has_address(object) && old.filter(|old| has_address(old)).is_some_and(|old| moved(&old)) {
        let found = at(object, &["spec", "clusterIPs"]).cloned().unwrap_or_default();
        errors.push(FieldError::invalid("spec.clusterIPs[0]", found, "may not change once set"));
    }
    errors
}

/// What of an object has no effect, or another one, for its user; `old` is the object before, for updates.
pub(super) fn warnings(kind: &str, object: &Value, old: Option<&Value>) -> Vec<String> {
    let template = match kind {
        "Service" => return warnings_of_service(object),
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" => ["spec", "template"].as_slice(),
        "CronJob" => &["spec", "jobTemplate", "spec", "template"],
        _ => return Vec::new(),
    };
    // What was told of before is not told again.
    if old.is_some_and(|old| at(old, template) == at(object, template)) {
        return Vec::new();
    }
    let path = [template, &["spec", "terminationGracePeriodSeconds"]].concat();
    let is_negative = integer(object, &path).is_some_and(|seconds| seconds < 0);
    let told = || format!("{}: must be >= 0; negative values are invalid and will be treated as 1", path.join("."));
    is_negative.then(told).into_iter().collect()
}

/// What of a service without an address, or with a name elsewhere, has no effect (`pkg/api/service`).
fn warnings_of_service(service: &Value) -> Vec<String> {
    let spec = |key: &str| text_or_empty(service, &["spec", key]);
    let is_external = spec("type") == "ExternalName";
    let has_addresses = !items(service, &["spec", "externalIPs"]).is_empty();
    let told = [
        (is_external && has_addresses, "externalIPs is ignored when spec.type is \"ExternalName\""),
        (
            !is_external && !spec("externalName").is_empty(),
            "externalName is ignored when spec.type is not \"ExternalName\"",
        ),
    ];
    let ignored = [
        (!spec("loadBalancerIP").is_empty(), "loadBalancerIP is ignored for headless services"),
        (has_addresses, "externalIPs is ignored for headless services"),
        (!["", "None"].contains(&spec("sessionAffinity")), "SessionAffinity is ignored for headless services"),
    ];
    let ignored = ignored.map(|(is_set, what)| (spec("clusterIP") == "None" && is_set, what));
    let told = told.into_iter().chain(ignored).filter(|(is_so, _)| *is_so);
    told.map(|(_, what)| format!("spec.{what}")).collect()
}

/// A service that asks for an address can have one of those that are given to services.
fn validate_address(service: &Value) -> Option<FieldError> {
    let asked = text_or_empty(service, &["spec", "clusterIP"]).parse::<Ipv4Addr>().ok()?;
    let [first, second, ..] = asked.octets();
    let is_given = first == 10 && SERVICE_RANGE.contains(&second);
    let detail = format!("failed to allocate IP {asked}: the provided network does not match the current range");
    let found = at(service, &["spec", "clusterIPs"]).cloned().unwrap_or_default();
    (!is_given).then(|| FieldError::invalid("spec.clusterIPs", found, detail))
}

/// The second part of services' addresses, in 10.96.0.0/12.
const SERVICE_RANGE: std::ops::Range<u8> = 96..112;

/// A name elsewhere stands instead of an address.
fn validate_external_name(service: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let has = |key: &str| at(service, &["spec", key]).is_some();
    for key in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if has(key) || key == "clusterIPs" && has("clusterIP") {
            errors.push(FieldError::forbidden(format!("spec.{key}"), "may not be set for ExternalName services"));
        }
    }
    match text_or_empty(service, &["spec", "externalName"]).trim_end_matches('.') {
        "" => errors.push(FieldError::required("spec.externalName", "")),
        name => errors.extend(
            super::metadata::subdomain_problem(name)
                .map(|problem| FieldError::invalid("spec.externalName", name, problem)),
        ),
    }
    errors
}

fn validate_immutable_data(object: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if at(old, &["immutable"]) == Some(&Value::Bool(true)) {
        for key in ["data", "binaryData", "immutable"] {
            if object.get(key) != old.get(key) {
                errors.push(FieldError::forbidden(key, "field is immutable when `immutable` is set"));
            }
        }
    }
    errors.extend(unchanged(object, old, &["type"]));
    errors
}

fn validate_storage_class(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if text_or_empty(object, &["provisioner"]).is_empty() {
        errors.push(FieldError::required("provisioner", ""));
    }
    errors.extend(old.into_iter().flat_map(|old| unchanged(object, old, &["volumeBindingMode"])));
    if old.is_none() {
        for (key, known) in [
            ("reclaimPolicy", ["Delete", "Retain"].as_slice()),
            ("volumeBindingMode", ["Immediate", "WaitForFirstConsumer"].as_slice()),
        ] {
            if let Some(other) = text(object, &[key]).filter(|found| !known.contains(found)) {
                errors.push(FieldError::not_supported(key, other, known));
            }
        }
    }
    for key in ["parameters", "provisioner", "reclaimPolicy"] {
        if old.is_some_and(|old| old.get(key) != object.get(key)) {
            errors.push(FieldError::forbidden(key, format!("updates to {key} are forbidden.")));
        }
    }
    errors
}

/// A volume has a size and is of one type.
fn validate_volume(object: &Value) -> Vec<FieldError> {
    const NO_TYPES: [&str; 8] = [
        "capacity",
        "accessModes",
        "storageClassName",
        "volumeMode",
        "persistentVolumeReclaimPolicy",
        "mountOptions",
        "claimRef",
        "nodeAffinity",
    ];
    let mut errors = Vec::new();
    if at(object, &["spec", "capacity", "storage"]).is_none() {
        let found = at(object, &["spec", "capacity"]).cloned().unwrap_or_default();
        if found.as_object().is_none_or(Map::is_empty) {
            errors.push(FieldError::required("spec.capacity", ""));
        }
        errors.push(FieldError::not_supported("spec.capacity", found, &["storage"]));
    }
    let members = object.get("spec").and_then(Value::as_object);
    let has_type = members.is_some_and(|spec| {
        spec.keys().any(|key| !NO_TYPES.contains(&key.as_str()) && key != "volumeAttributesClassName")
    });
    if !has_type {
        errors.push(FieldError::required("spec", "must specify a volume type"));
    }
    errors
}

fn validate_claim(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if items(object, &["spec", "accessModes"]).is_empty() {
        errors.push(FieldError::required("spec.accessModes", "at least 1 access mode is required"));
    }
    if text_or_empty(object, &["spec", "resources", "requests", "storage"]).is_empty() {
        errors.push(FieldError::required("spec.resources[storage]", ""));
    }
    errors.extend(old.and_then(|old| changed_claim(object, old)));
    errors
}

/// A claim may get its class and its volume, and ask for more once it has it.
fn changed_claim(object: &Value, old: &Value) -> Option<FieldError> {
    let mut masked = object.clone();
    if text_or_empty(old, &["spec", "volumeName"]).is_empty() {
        carry_over(&mut masked, old, &["spec"], "volumeName");
    }
    if at(old, &["spec", "storageClassName"]).is_none() {
        carry_over(&mut masked, old, &["spec"], "storageClassName");
    }
    if text_or_empty(old, &["status", "phase"]) == "Bound" {
        carry_over(&mut masked, old, &["spec", "resources"], "requests");
        carry_over(&mut masked, old, &["spec"], "volumeAttributesClassName");
    }
    let detail =
        "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
    (masked.get("spec") != old.get("spec")).then(|| FieldError::forbidden("spec", detail))
}

fn validate_role(object: &Value) -> Vec<FieldError> {
    let rules = items(object, &["rules"]).iter().enumerate();
    let without_verbs = rules.filter(|(_, rule)| items(rule, &["verbs"]).is_empty());
    without_verbs
        .map(|(index, _)| {
            FieldError::required(format!("rules[{index}].verbs"), "verbs must contain at least one value")
        })
        .collect()
}
