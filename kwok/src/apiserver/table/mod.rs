//! Tables: what `kubectl get` prints (`meta.k8s.io/v1 Table`).

use super::{registry::ResourceType, store::Object};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// What each row carries of its object (`includeObject`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum IncludeObject {
    None,
    #[default]
    Metadata,
    Object,
}

/// The table of `objects`; ages are counted to `now`. `metadata` is the list's.
pub(crate) fn render(
    _resource: &ResourceType,
    objects: &[Arc<Object>],
    metadata: &Value,
    include: IncludeObject,
    _now: Timestamp,
) -> Value {
    let rows: Vec<Value> = objects.iter().map(|object| row(object, include)).collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": [
            {"name": "Name", "type": "string", "format": "name", "description": "Name of the object", "priority": 0},
            {"name": "Created At", "type": "date", "format": "", "description": "When it was created", "priority": 0},
        ],
        "rows": rows,
    })
}

fn row(object: &Object, include: IncludeObject) -> Value {
    let created = super::value::text_or_empty(object.value(), &["metadata", "creationTimestamp"]);
    let mut row = json!({"cells": [object.name(), created]});
    match include {
        IncludeObject::None => {}
        IncludeObject::Metadata => row["object"] = partial_metadata(object.value()),
        IncludeObject::Object => row["object"] = object.value().clone(),
    }
    row
}

/// An object reduced to its metadata (`PartialObjectMetadata`).
pub(crate) fn partial_metadata(object: &Value) -> Value {
    let metadata = object.get("metadata").cloned().unwrap_or_default();
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}
