//! The four kinds of patch.
//!
//! - JSON patch (RFC 6902) and merge patch (RFC 7396) by the `json-patch` crate
//! - [`strategic`] — Kubernetes' own merge, for built-in kinds
//! - [`server_side_apply`] — merging by field ownership; [`field_set`] — sets of fields

mod field_set;
pub(crate) mod server_side_apply;
pub(crate) mod strategic;

use super::{
    negotiation::{media_type, read_json, read_yaml},
    registry::ResourceType,
    state::Call,
    status::ApiError,
    value::text_or_empty,
};
use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

/// Operations that one JSON patch may have (`jsonpatch.MaxJSONPatchOperations`).
const MAX_OPERATIONS: usize = 10_000;

/// A patch that was read.
#[derive(Clone, Debug)]
pub(crate) enum Patch {
    Json(json_patch::Patch),
    Merge(Value),
    Strategic(Value),
    Apply(Value),
}

/// Reads a patch by its media type.
pub(crate) fn read(headers: &HeaderMap, body: &Bytes, resource: &ResourceType) -> Result<Patch, ApiError> {
    match media_type(headers) {
        "application/json-patch+json" => read_operations(body),
        "application/merge-patch+json" => object(read_json(body)?).map(Patch::Merge),
        "application/strategic-merge-patch+json" if resource.custom().is_none() => {
            object(read_json(body)?).map(Patch::Strategic)
        }
        "application/apply-patch+yaml" => object(read_yaml(body)?).map(Patch::Apply),
        _ if resource.custom().is_some() => Err(ApiError::unsupported_media_type(
            "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
        )),
        _ => Err(ApiError::unsupported_media_type(
            "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml",
        )),
    }
}

fn object(value: Value) -> Result<Value, ApiError> {
    if value.is_object() { Ok(value) } else { Err(ApiError::bad_request("a patch of this type must be an object")) }
}

fn read_operations(body: &Bytes) -> Result<Patch, ApiError> {
    let patch: json_patch::Patch = serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
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
            json_patch::patch(&mut new, operations).map_err(|error| rejected(&error.to_string()))?
        }
        Patch::Merge(changes) => json_patch::merge(&mut new, changes),
        Patch::Strategic(changes) => strategic::merge(&resource.kind, &mut new, changes)
            .map_err(|error| ApiError::bad_request(error.to_string()))?,
        Patch::Apply(given) => new = server_side_apply::apply(resource, old, given, call)?,
    }
    // A patch that does not speak of the version applies to whatever version is there.
    debug_assert!(old.get("metadata").is_some());
    if text_or_empty(&new, &["metadata", "name"]).is_empty() {
        return Err(rejected("the patch removes `metadata.name`"));
    }
    Ok(new)
}

fn rejected(why: &str) -> ApiError {
    ApiError::unprocessable(format!("the server rejected our request due to an error in our request: {why}"))
}
