//! What the server knows about its built-in kinds: defaults, rules, and the objects that every cluster has.

mod metadata;

pub(crate) use metadata::validate_metadata;

use super::{
    field_error::FieldError,
    registry::{ResourceType, builtin::BuiltinKind},
    state::{State, namespaces},
    store::{ObjectName, lifecycle::{self, Generation}},
    value::{carry_over, set},
    verbs::update::Part,
};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) fn normalize(_object: &mut Value) {}
pub(crate) fn fill_in(_kind: &BuiltinKind, _object: &mut Value) {}
pub(crate) fn validate(kind: &BuiltinKind, object: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    match kind.kind {
        "CustomResourceDefinition" => super::registry::custom::validate_definition(object),
        _ => Vec::new(),
    }
}
pub(crate) fn prepare_create(resource: &ResourceType, object: &mut Value, _state: &State) {
    if resource.kind == "Pod" {
        set(object, &[], "status", json!({"phase": "Pending"}));
    }
    if resource.kind == "Namespace" {
        set(object, &["spec"], "finalizers", json!(["kubernetes"]));
        set(object, &["status"], "phase", "Active");
    }
}
pub(crate) fn prepare_update(_resource: &ResourceType, _new: &mut Value, _old: &Value, _part: Part) {}

/// A pod with the resources of another.
pub(crate) fn resized(old: &Value, given: &Value) -> Value {
    let mut new = old.clone();
    carry_over(&mut new, given, &["spec"], "containers");
    new
}

/// The objects that every cluster has.
pub(crate) fn bootstrap(state: &mut State, now: Timestamp) {
    for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        let mut object = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
        });
        let uid = state.new_uid(&namespaces(), &ObjectName::new("", name));
        lifecycle::prepare_create(&mut object, &uid, now, Generation::None);
        state.put(&namespaces(), object, now);
    }
}
