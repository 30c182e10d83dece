//! Tables: what `kubectl get` prints (`meta.k8s.io/v1 Table`).
//!
//! - [`columns`] — the columns of built-in kinds; [`cells`], [`more_cells`], [`pod`] — what stands in them
//! - [`json_path`] — where the columns of custom resources look
//! - [`age`] — times as ages, which the server writes and `kubectl` only prints

mod age;
mod cells;
mod columns;
mod json_path;
mod more_cells;
mod pod;

use super::{
    builtin::TEMPLATE_GENERATION,
    registry::{PrinterColumn, ResourceType},
    store::Object,
};
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
    resource: &ResourceType,
    objects: &[Arc<Object>],
    metadata: &Value,
    include: IncludeObject,
    now: Timestamp,
) -> Value {
    let (definitions, cells) = match resource.custom() {
        Some(version) => custom(&version.columns, objects, now),
        None => builtin(resource, objects, now),
    };
    let rows: Vec<Value> =
        objects.iter().zip(cells).map(|(object, cells)| row(resource, object, &cells, include)).collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": definitions, "rows": rows,
    })
}

type Columns = (Vec<Value>, Vec<Vec<Value>>);

fn builtin(resource: &ResourceType, objects: &[Arc<Object>], now: Timestamp) -> Columns {
    let columns = columns::of(&resource.group, &resource.kind);
    let definitions = columns.iter().map(|column| definition(column.name, column.kind, "", "", column.priority));
    let cells = objects.iter().map(|object| columns.iter().map(|column| (column.cell)(object.value(), now)).collect());
    (definitions.collect(), cells.collect())
}

fn custom(columns: &[PrinterColumn], objects: &[Arc<Object>], now: Timestamp) -> Columns {
    let age = PrinterColumn {
        name: "Age".into(),
        kind: "date".into(),
        format: String::new(),
        description: "When the object was created".into(),
        priority: 0,
        json_path: ".metadata.creationTimestamp".into(),
    };
    // A definition without columns gets the age.
    let columns = if columns.is_empty() { std::slice::from_ref(&age) } else { columns };
    let name = definition("Name", "string", "", "", 0);
    let definitions =
        std::iter::once(name).chain(columns.iter().map(|column| {
            definition(&column.name, &column.kind, &column.format, &column.description, column.priority)
        }));
    let cells = objects.iter().map(|object| {
        let name = Value::from(object.name());
        std::iter::once(name).chain(columns.iter().map(|column| custom_cell(column, object.value(), now))).collect()
    });
    (definitions.collect(), cells.collect())
}

fn definition(name: &str, kind: &str, format: &str, description: &str, priority: i64) -> Value {
    let format = if name == "Name" { "name" } else { format };
    json!({"name": name, "type": kind, "format": format, "description": description, "priority": priority})
}

/// The first value that the column's path leads to, in the column's type; other types leave the cell empty.
fn custom_cell(column: &PrinterColumn, object: &Value, now: Timestamp) -> Value {
    let Some(found) = json_path::find(object, &column.json_path).into_iter().next() else { return Value::Null };
    match column.kind.as_str() {
        "string" => json_path::shown(found).into(),
        "date" => age::since(Some(found), now),
        "integer" => found.as_i64().or_else(|| found.as_f64().map(|number| number as i64)).into(),
        "number" => found.as_f64().into(),
        "boolean" => found.as_bool().into(),
        _ => Value::Null,
    }
}

fn row(resource: &ResourceType, object: &Object, cells: &[Value], include: IncludeObject) -> Value {
    let mut row = json!({"cells": cells});
    match include {
        IncludeObject::None => {}
        IncludeObject::Metadata => row["object"] = partial_metadata(object.value()),
        IncludeObject::Object => row["object"] = super::convert::shown(resource, object).into_owned(),
    }
    row
}

/// An object reduced to its metadata (`PartialObjectMetadata`).
pub(crate) fn partial_metadata(object: &Value) -> Value {
    let mut metadata = object.get("metadata").cloned().unwrap_or_default();
    // It is no annotation where the server counts it, and becomes one only with the whole object.
    if object.get("kind").is_some_and(|kind| kind == "DaemonSet")
        && let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut)
    {
        annotations.remove(TEMPLATE_GENERATION);
        if annotations.is_empty() {
            metadata.as_object_mut().map(|metadata| metadata.remove("annotations"));
        }
    }
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}
