//! Server-side apply (`application/apply-patch+yaml`).
//!
//! For now every applier owns everything: what is applied is merged in, nothing is removed, and nothing conflicts.

use super::strategic;
use crate::apiserver::{registry::ResourceType, state::Call, status::ApiError, value::set};
use serde_json::Value;

/// The object that an apply makes where there was none.
pub(crate) fn create(_resource: &ResourceType, given: &Value, call: &Call) -> Result<Value, ApiError> {
    require_manager(call)?;
    Ok(given.clone())
}

/// The object after an apply; `old` is the object as the request's version shows it.
pub(crate) fn apply(resource: &ResourceType, old: &Value, given: &Value, call: &Call) -> Result<Value, ApiError> {
    require_manager(call)?;
    let mut new = old.clone();
    if resource.custom().is_some() {
        json_patch::merge(&mut new, given);
    } else {
        strategic::merge(&resource.kind, &mut new, given).map_err(|error| ApiError::bad_request(error.to_string()))?;
    }
    set(&mut new, &[], "kind", resource.kind.as_str());
    Ok(new)
}

fn require_manager(call: &Call) -> Result<(), ApiError> {
    match call.query.field_manager.as_deref() {
        Some(manager) if !manager.is_empty() => Ok(()),
        _ => Err(ApiError::unprocessable(
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        )),
    }
}
