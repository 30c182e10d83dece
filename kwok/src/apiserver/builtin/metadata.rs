//! The rules of `metadata`, common to all kinds (`k8s.io/apimachinery/pkg/api/validation`).

use crate::apiserver::{
    field_error::FieldError,
    registry::ResourceType,
    store::lifecycle::{FOREGROUND, ORPHAN},
    value::{at, items, text, text_or_empty, texts},
};
use serde_json::Value;

const DNS_LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const DNS_SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED_NAME: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const NO_FINALIZER: &str = "name is neither a standard finalizer name nor is it fully qualified";
/// Groups whose kinds are checked by the rules that all have in common.
const GENERIC: [&str; 4] = ["coordination.k8s.io", "policy", "apiextensions.k8s.io", "apiregistration.k8s.io"];
const MAX_LABEL: usize = 63;
const MAX_SUBDOMAIN: usize = 253;
const MAX_ANNOTATIONS_BYTES: usize = 256 * 1024;

/// What is wrong with an object's `metadata`; `old` is the object before, for updates.
pub(crate) fn validate_metadata(resource: &ResourceType, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if old.is_none() {
        errors.extend(validate_name(resource, object));
    }
    errors.extend(validate_labels(at(object, &["metadata", "labels"]), "metadata.labels"));
    errors.extend(validate_annotations(at(object, &["metadata", "annotations"]), "metadata.annotations"));
    errors.extend(validate_owners(object));
    errors.extend(texts(object, &["metadata", "finalizers"]).enumerate().filter_map(|(index, finalizer)| {
        let known = [FOREGROUND, ORPHAN, "kubernetes"].contains(&finalizer);
        // Leases, budgets and definitions are checked by the common rules only.
        let strict = resource.builtin().is_some() && !GENERIC.contains(&resource.group.as_str());
        let unqualified = strict && !finalizer.contains('/');
        let problem = unqualified.then(|| NO_FINALIZER.to_owned()).filter(|_| !known)?;
        Some(FieldError::invalid(format!("metadata.finalizers[{index}]"), finalizer, problem))
    }));
    errors.extend(texts(object, &["metadata", "finalizers"]).filter_map(|finalizer| {
        let problem = qualified_name_problem(finalizer)?;
        Some(FieldError::invalid("metadata.finalizers", finalizer, problem))
    }));
    errors.extend(old.and_then(|old| added_finalizers(object, old)));
    errors
}

/// The rule for names differs by kind: paths for RBAC and budgets, labels for namespaces and services, DNS subdomains for the rest.
fn validate_name(resource: &ResourceType, object: &Value) -> Option<FieldError> {
    let name = text_or_empty(object, &["metadata", "name"]);
    if name.is_empty() {
        return Some(FieldError::required("metadata.name", "name or generateName is required"));
    }
    let problem = match resource.kind.as_str() {
        "Namespace" | "Service" => label_problem(name),
        _ if ["rbac.authorization.k8s.io", "policy"].contains(&resource.group.as_str()) => path_segment_problem(name),
        _ => subdomain_problem(name),
    };
    problem.map(|problem| FieldError::invalid("metadata.name", name, problem))
}

/// Why a text is no DNS label.
pub(crate) fn label_problem(text: &str) -> Option<String> {
    if text.len() > MAX_LABEL {
        return Some(format!("must be no more than {MAX_LABEL} bytes"));
    }
    (!is_dns_label(text)).then(|| DNS_LABEL.to_owned())
}

/// Why a text is no DNS subdomain.
pub(crate) fn subdomain_problem(text: &str) -> Option<String> {
    if text.len() > MAX_SUBDOMAIN {
        return Some(format!("must be no more than {MAX_SUBDOMAIN} bytes"));
    }
    (!text.split('.').all(is_dns_label)).then(|| DNS_SUBDOMAIN.to_owned())
}

fn path_segment_problem(text: &str) -> Option<String> {
    let refused = ["%", "/"].into_iter().find(|part| text.contains(part));
    if [".", ".."].contains(&text) {
        return Some(format!("may not be '{text}'"));
    }
    refused.map(|part| format!("may not contain '{part}'"))
}

fn is_dns_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// The characters of label values and of the names in keys.
fn is_name_part(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.bytes().all(inner) && edge(text.bytes().next()) && edge(text.bytes().last())
}

/// Why a text is no qualified name, such as a label's key.
pub(crate) fn qualified_name_problem(key: &str) -> Option<String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if let Some(prefix) = prefix {
        if prefix.is_empty() {
            return Some("prefix part must be non-empty".into());
        }
        if let Some(problem) = subdomain_problem(prefix) {
            return Some(format!("prefix part {problem}"));
        }
    }
    if name.is_empty() {
        return Some("name part must be non-empty".into());
    }
    if name.len() > MAX_LABEL {
        return Some(format!("name part must be no more than {MAX_LABEL} bytes"));
    }
    (!is_name_part(name)).then(|| QUALIFIED_NAME.to_owned())
}

/// Why a text is no label value.
pub(crate) fn label_value_problem(value: &str) -> Option<String> {
    if value.len() > MAX_LABEL {
        return Some(format!("must be no more than {MAX_LABEL} bytes"));
    }
    (!value.is_empty() && !is_name_part(value)).then(|| LABEL_VALUE.to_owned())
}

/// What is wrong with a map of labels under `field`.
pub(crate) fn validate_labels(labels: Option<&Value>, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        errors.extend(qualified_name_problem(key).map(|problem| FieldError::invalid(field, key.as_str(), problem)));
        match value.as_str() {
            Some(value) => {
                errors.extend(label_value_problem(value).map(|problem| FieldError::invalid(field, value, problem)))
            }
            None => errors.push(FieldError::invalid(format!("{field}.{key}"), value.clone(), "must be a string")),
        }
    }
    errors
}

/// What is wrong with a map of annotations under `field`.
pub(super) fn validate_annotations(annotations: Option<&Value>, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut size = 0;
    for (key, value) in annotations.and_then(Value::as_object).into_iter().flatten() {
        size += key.len() + value.as_str().map_or(0, str::len);
        errors.extend(
            qualified_name_problem(&key.to_lowercase())
                .map(|problem| FieldError::invalid(field, key.as_str(), problem)),
        );
        if !value.is_string() {
            errors.push(FieldError::invalid(format!("{field}.{key}"), value.clone(), "must be a string"));
        }
    }
    if size > MAX_ANNOTATIONS_BYTES {
        errors.push(FieldError::too_long(field, MAX_ANNOTATIONS_BYTES));
    }
    errors
}

fn validate_owners(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for owner in items(object, &["metadata", "ownerReferences"]) {
        for key in ["apiVersion", "kind", "name", "uid"] {
            if text_or_empty(owner, &[key]).is_empty() {
                errors.push(FieldError::invalid(format!("metadata.ownerReferences.{key}"), "", "must not be empty"));
            }
        }
    }
    let controllers = items(object, &["metadata", "ownerReferences"])
        .iter()
        .filter(|owner| owner.get("controller") == Some(&Value::Bool(true)));
    if controllers.count() > 1 {
        let detail = "Only one reference can have Controller set to true";
        errors.push(FieldError::invalid(
            "metadata.ownerReferences",
            at(object, &["metadata", "ownerReferences"]).cloned().unwrap_or_default(),
            detail,
        ));
    }
    errors
}

/// What is being deleted may lose finalizers, not gain them.
pub(crate) fn added_finalizers(object: &Value, old: &Value) -> Option<FieldError> {
    text(old, &["metadata", "deletionTimestamp"])?;
    let before: Vec<&str> = texts(old, &["metadata", "finalizers"]).collect();
    let added: Vec<&str> =
        texts(object, &["metadata", "finalizers"]).filter(|finalizer| !before.contains(finalizer)).collect();
    let detail = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        added.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
    );
    (!added.is_empty()).then(|| FieldError::forbidden("metadata.finalizers", detail))
}
