//! The verbs, each a function of the state and a call.
//!
//! - [`read`] — get and list
//! - [`watch`] — the stream of events
//! - [`create`], [`update`] (PUT and PATCH), [`delete`]

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod read;
pub(crate) mod update;
pub(crate) mod watch;

use super::{
    builtin, convert,
    field_error::FieldError,
    negotiation::{judge_unknown, unknown_fields},
    registry::{Origin, ResourceType, custom},
    state::Call,
    status::ApiError,
    store::Object,
    value::{segments, set, text, text_or_empty},
};
use bytes::Bytes;
use http::StatusCode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};
use std::sync::Arc;

/// What a request is answered with.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: StatusCode,
    pub(crate) body: AnswerBody,
    pub(crate) warnings: Vec<String>,
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum AnswerBody {
    /// A stored object of the call's resource.
    Object(Arc<Object>),
    /// A list of stored objects and the list's metadata.
    List(Vec<Arc<Object>>, Value),
    /// Any other object.
    Value(Value),
    /// Text, not JSON.
    Text(Bytes),
}

impl Answer {
    /// An answer with an object of the resource.
    pub(crate) fn object(code: StatusCode, object: Arc<Object>) -> Self {
        Self { code, body: AnswerBody::Object(object), warnings: Vec::new() }
    }

    /// An answer with another object.
    pub(crate) fn value(code: StatusCode, value: Value) -> Self {
        Self { code, body: AnswerBody::Value(value), warnings: Vec::new() }
    }

    /// The same answer with warnings for the user.
    pub(crate) fn with_warnings(self, warnings: Vec<String>) -> Self {
        Self { warnings, ..self }
    }
}

/// Checks `apiVersion` and `kind`, filling them in where they are missing.
pub(crate) fn check_type(resource: &ResourceType, object: &mut Value) -> Result<(), ApiError> {
    let expected = resource.api_version();
    if object.get("metadata").is_some_and(|metadata| !metadata.is_object() && !metadata.is_null()) {
        return Err(not_handled(resource, "json: cannot unmarshal `metadata`: an object is expected"));
    }
    let untyped = ["apiVersion", "kind"].iter().any(|key| text_or_empty(object, &[key]).is_empty());
    if resource.custom().is_some() && untyped {
        return Err(ApiError::bad_request("Object 'Kind' or 'apiVersion' is missing"));
    }
    for (key, expected, what) in
        [("apiVersion", expected.as_str(), "API version"), ("kind", resource.kind.as_str(), "kind")]
    {
        match text_or_empty(object, &[key]) {
            "" => set(object, &[], key, expected),
            found if found == expected => {}
            found => {
                let message =
                    format!("the {what} in the data ({found}) does not match the expected {what} ({expected})");
                return Err(ApiError::bad_request(message));
            }
        }
    }
    Ok(())
}

/// Checks that the body's namespace is the path's, filling it in where it is missing.
pub(crate) fn check_namespace(call: &Call, object: &mut Value) -> Result<(), ApiError> {
    let Some(namespace) = call.path.namespace.as_deref().filter(|_| call.resource.namespaced) else {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("namespace");
        }
        return Ok(());
    };
    match text_or_empty(object, &["metadata", "namespace"]) {
        "" => set(object, &["metadata"], "namespace", namespace),
        found if found == namespace => {}
        found => {
            let message = format!(
                "the namespace of the provided object does not match the namespace sent on the request: `{found}` instead of `{namespace}`"
            );
            return Err(ApiError::bad_request(message));
        }
    }
    Ok(())
}

/// Reads an object as its kind: unknown fields fall away (or are refused, or warned of), wrong types are refused.
pub(crate) fn decode(call: &Call, object: Value) -> Result<(Value, Vec<String>), ApiError> {
    let resource = &call.resource;
    let (mut known, unknown) = match &resource.origin {
        Origin::BuiltIn(kind) => {
            let mut given = object;
            // Who owns what is read as it is.
            let owners =
                given.get_mut("metadata").and_then(Value::as_object_mut).and_then(|all| all.remove("managedFields"));
            builtin::normalize(kind, &mut given).map_err(|why| not_handled(resource, &why))?;
            let mut known = kind.read(&given).map_err(|error| not_handled(resource, &error.message))?;
            let unknown = unknown_fields(&given, &known);
            builtin::write_nothing(kind, &mut known, &given);
            if kind.kind == "CustomResourceDefinition" {
                custom::write_whole_numbers(&mut known);
            }
            if let Some(owners) = owners.filter(Value::is_array) {
                set(&mut known, &["metadata"], "managedFields", owners);
            }
            (known, unknown)
        }
        Origin::Custom(version) => {
            let mut known = object;
            builtin::write_empty_texts(&mut known);
            let metadata = known.get("metadata").cloned().unwrap_or_default();
            if let Err(error) = serde_json::from_value::<Option<ObjectMeta>>(metadata) {
                return Err(not_handled(resource, &format!("json: cannot unmarshal `metadata`: {error}")));
            }
            let unknown = version.schema.prune(&mut known);
            (known, unknown)
        }
    };
    drop_empty_metadata(&mut known, resource.builtin().is_some());
    let warnings = judge_unknown(&unknown, call.query.field_validation, &resource.kind, &resource.version)?;
    convert::stored(resource, &mut known);
    Ok((known, warnings))
}

/// What is empty is not written. An empty list of owners forgets them, of built-in kinds.
fn drop_empty_metadata(object: &mut Value, is_builtin: bool) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, member| match member {
            Value::Object(members) => !members.is_empty(),
            Value::Array(items) => !items.is_empty() || key == "managedFields" && is_builtin,
            _ => true,
        });
    }
}

fn not_handled(resource: &ResourceType, why: &str) -> ApiError {
    let ResourceType { kind, version, .. } = resource;
    ApiError::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"))
}

/// Fills in the kind's defaults.
pub(crate) fn fill_in(resource: &ResourceType, object: &mut Value) {
    match &resource.origin {
        Origin::BuiltIn(kind) => builtin::fill_in(kind, object),
        Origin::Custom(version) => version.schema.default(object),
    }
}

/// What of an object has no effect, or another one, for its user; `old` is the object before, for updates.
pub(crate) fn warnings(resource: &ResourceType, object: &Value, old: Option<&Value>) -> Vec<String> {
    resource.builtin().map(|kind| builtin::warnings(kind, object, old)).unwrap_or_default()
}

/// Checks the kind's rules.
pub(crate) fn validate(resource: &ResourceType, object: &Value, old: Option<&Value>) -> Result<(), ApiError> {
    let mut errors = builtin::validate_metadata(resource, object, old);
    errors.extend(match &resource.origin {
        Origin::BuiltIn(kind) => builtin::validate(kind, object, old),
        Origin::Custom(version) => {
            let mut found = version.schema.validate(object, old, &errors);
            found.extend(scale_errors(resource, object));
            found
        }
    });
    if errors.is_empty() { Ok(()) } else { Err(invalid(resource, object, &errors)) }
}

/// The counts that the scale subresource shows must be some, its selector a text.
fn scale_errors(resource: &ResourceType, object: &Value) -> Vec<FieldError> {
    let Some(paths) = &resource.scale else { return Vec::new() };
    let wrong = |path: &str, is_right: &dyn Fn(&Value) -> bool, what: &str| {
        let reached = segments(path).into_iter().try_fold(Some(object), |reached, key| match reached {
            Some(Value::Object(members)) => Ok(members.get(key)),
            None | Some(Value::Null) => Ok(None),
            Some(other) => Err(other),
        });
        let found = match reached {
            Ok(found) => found.filter(|found| !is_right(found)),
            // Something else is on the way.
            Err(other) => Some(other),
        };
        found.map(|found| FieldError::invalid(path, found.clone(), what))
    };
    let is_count = |found: &Value| found.as_i64().is_some_and(|count| count >= 0);
    let counts = [&paths.spec_replicas, &paths.status_replicas];
    let counts = counts.into_iter().filter_map(|path| wrong(path, &is_count, "should be a non-negative integer"));
    let selector = paths.label_selector.iter().filter_map(|path| wrong(path, &Value::is_string, "should be a text"));
    counts.chain(selector).collect()
}

/// The 422 for an object.
pub(crate) fn invalid(resource: &ResourceType, object: &Value, errors: &[FieldError]) -> ApiError {
    let name = text(object, &["metadata", "name"]).unwrap_or_default();
    ApiError::invalid(&resource.group, &resource.kind, name, errors)
}

/// The metadata of a list.
pub(crate) fn list_metadata(revision: u64, continue_token: Option<String>, remaining: Option<usize>) -> Value {
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if let Some(token) = continue_token {
        metadata["continue"] = token.into();
    }
    if let Some(remaining) = remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    metadata
}
