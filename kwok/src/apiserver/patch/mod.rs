//! The four kinds of patch.
//!
//! - JSON patch (RFC 6902) and merge patch (RFC 7396) by the `json-patch` crate
//! - [`strategic`] — Kubernetes' own merge, for built-in kinds
//! - [`server_side_apply`] — merging by field ownership; [`managers`] — who owns what, recorded with every write
//! - [`field_set`] — sets of fields; [`shapes`] — how the fields of a kind are owned; [`typed`] — objects by their shapes

mod field_set;
pub(crate) mod managers;
pub(crate) mod server_side_apply;
pub(crate) mod shapes;
pub(crate) mod strategic;
mod typed;

use super::{
    field_error::FieldError,
    negotiation::{media_type, read_json_patch, read_yaml},
    registry::ResourceType,
    request::FieldValidation,
    state::Call,
    status::ApiError,
    value::text_or_empty,
};
use bytes::Bytes;
use http::HeaderMap;
use json_patch::{AddOperation, PatchOperation};
use serde_json::Value;
use std::collections::BTreeMap;

/// Operations that one JSON patch may have (`jsonpatch.MaxJSONPatchOperations`).
const MAX_OPERATIONS: usize = 10_000;

/// The media type of server-side apply.
const APPLY: &str = "application/apply-patch+yaml";

/// A patch that was read.
#[derive(Clone, Debug)]
pub(crate) enum Patch {
    Json(json_patch::Patch),
    Merge(Value),
    Strategic(Value),
    Apply(Value),
    /// Not readable as what it says it is: told once the object is found.
    Unreadable(ApiError),
}

/// Reads a patch by its media type.
pub(crate) fn read(headers: &HeaderMap, body: &Bytes, call: &Call) -> Result<Patch, ApiError> {
    let resource = &call.resource;
    let media_type = media_type(headers);
    let is_strategic = media_type == "application/strategic-merge-patch+json" && resource.custom().is_none();
    let is_known = ["application/json-patch+json", "application/merge-patch+json", APPLY].contains(&media_type);
    if is_known || is_strategic {
        call.query.check_write("PatchOptions", media_type == APPLY)?;
    }
    match media_type {
        "application/json-patch+json" => read_operations(body),
        "application/merge-patch+json" => Ok(or_unreadable(object(read_json_patch(body)?), Patch::Merge, call)),
        "application/strategic-merge-patch+json" if is_strategic => {
            Ok(or_unreadable(object(read_json_patch(body)?), Patch::Strategic, call))
        }
        APPLY => object(read_yaml(body)?).map(Patch::Apply),
        _ if resource.custom().is_some() => Err(ApiError::unsupported_media_type(
            "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
        )),
        _ => Err(ApiError::unsupported_media_type(
            "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml",
        )),
    }
}

fn or_unreadable(read: Result<Value, ApiError>, patch: fn(Value) -> Patch, call: &Call) -> Patch {
    let is_strategic = matches!(patch(Value::Null), Patch::Strategic(_));
    match read {
        Ok(value) => patch(value),
        // Who does not want it checked learns it from what it gives.
        Err(error) if call.query.field_validation == FieldValidation::Ignore && !is_strategic => {
            Patch::Unreadable(does_not_decode(error))
        }
        Err(error) => Patch::Unreadable(error),
    }
}

fn object(value: Value) -> Result<Value, ApiError> {
    if value.is_object() { Ok(value) } else { Err(ApiError::bad_request("a patch of this type must be an object")) }
}

/// What a strategic merge gives is no object of its kind: told of the patch, as its `String` is in Go.
pub(crate) fn does_not_fit(patch: &Value, error: ApiError) -> ApiError {
    let detail = match error.message.rsplit_once(" of type ") {
        Some((_, wanted)) if ["string", "int32", "int64", "bool", "float64"].contains(&wanted) => {
            format!("unrecognized type: {wanted}")
        }
        _ => error.message,
    };
    ApiError::invalid("", "", "", &[FieldError::invalid("patch", in_go(patch), detail)])
}

/// What a JSON or merge patch gives is no object of its kind.
pub(crate) fn does_not_decode(error: ApiError) -> ApiError {
    ApiError::invalid("", "", "", &[FieldError::invalid("patch", Value::Null, error.message)])
}

/// A value as Go prints it.
fn in_go(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(in_go).collect::<Vec<_>>().join(" ")),
        Value::Object(members) => {
            let members: BTreeMap<_, _> = members.iter().collect();
            let members = members.iter().map(|(key, value)| format!("{key}:{}", in_go(value)));
            format!("map[{}]", members.collect::<Vec<_>>().join(" "))
        }
    }
}

fn read_operations(body: &Bytes) -> Result<Patch, ApiError> {
    let value = read_json_patch(body)?;
    let is_list = value.is_array();
    let patch: json_patch::Patch = match serde_json::from_value(value) {
        Ok(patch) => patch,
        // A list of what are no operations is a patch that cannot be applied.
        Err(_) if is_list => return Ok(Patch::Unreadable(rejected())),
        Err(error) => {
            return Ok(Patch::Unreadable(ApiError::bad_request(format!("error decoding patch: {error}"))));
        }
    };
    if patch.0.len() > MAX_OPERATIONS {
        let message =
            format!("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}", patch.0.len());
        return Err(ApiError {
            code: http::StatusCode::PAYLOAD_TOO_LARGE,
            reason: "RequestEntityTooLarge",
            ..ApiError::bad_request(message)
        });
    }
    Ok(Patch::Json(patch))
}

/// The object after the patch.
pub(crate) fn apply(resource: &ResourceType, old: &Value, patch: &Patch, call: &Call) -> Result<Value, ApiError> {
    let mut new = old.clone();
    match patch {
        Patch::Json(operations) => {
            for operation in &operations.0 {
                let operation = added_where_missing(operation, &new);
                json_patch::patch(&mut new, &[operation]).map_err(|_| rejected())?;
            }
        }
        Patch::Merge(changes) => json_patch::merge(&mut new, changes),
        Patch::Strategic(changes) => strategic::merge(&resource.kind, &mut new, changes)
            .map_err(|error| ApiError::internal(error.to_string()))?,
        Patch::Unreadable(error) => return Err(error.clone()),
        Patch::Apply(given) => new = server_side_apply::apply(resource, Some(old), given, call)?,
    }
    // A patch that does not speak of the version applies to whatever version is there.
    debug_assert!(old.get("metadata").is_some());
    if text_or_empty(&new, &["metadata", "name"]).is_empty() {
        return Err(rejected());
    }
    Ok(new)
}

/// A member that does not exist is added where it is to be replaced, as the API server's library does.
fn added_where_missing(operation: &PatchOperation, object: &Value) -> PatchOperation {
    if let PatchOperation::Replace(replace) = operation {
        let parent = replace.path.parent().and_then(|parent| parent.resolve(object).ok());
        let is_missing = replace.path.resolve(object).is_err();
        if is_missing && parent.is_some_and(Value::is_object) {
            return PatchOperation::Add(AddOperation { path: replace.path.clone(), value: replace.value.clone() });
        }
    }
    operation.clone()
}

/// What exactly is wrong the API server keeps to itself.
fn rejected() -> ApiError {
    ApiError::unprocessable("the server rejected our request due to an error in our request")
}
