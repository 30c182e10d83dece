//! The number of replicas as `autoscaling/v1 Scale`.

use crate::apiserver::{
    convert,
    negotiation::read_object,
    patch,
    registry::ScalePaths,
    state::{Call, State},
    status::{ApiError, Cause},
    store::Object,
    value::{at, integer, segments, set, text, text_or_empty},
    verbs::{
        Answer, AnswerBody,
        update::{self, Part, existing},
    },
};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;

/// Answers a request to `scale`.
pub(crate) fn dispatch(
    state: &mut State,
    call: &Call,
    method: &Method,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Answer, ApiError> {
    let paths = call.resource.scale.clone().ok_or_else(ApiError::no_such_path)?;
    // What is no Scale is refused before an object that does not exist.
    let given = if method == Method::PUT { Some(read_scale(call, headers, body)?) } else { None };
    let object = existing(state, call)?;
    let shown = scale_of(call, &object, &paths);
    let has_replicas =
        call.resource.builtin().is_some() || at(object.value(), &segments(&paths.spec_replicas)).is_some();
    let wanted = match (method.as_str(), given) {
        ("GET", _) if !has_replicas => {
            let message = format!("the spec replicas field \"{}\" does not exist", paths.spec_replicas);
            let mut error = ApiError { reason: "InternalError", ..ApiError::internal(message.clone()) };
            error.details.causes.push(Cause { message, ..Cause::default() });
            return Err(error);
        }
        ("GET", _) => return Ok(Answer::value(StatusCode::OK, shown)),
        (_, Some(given)) => given,
        ("PATCH", _) => patch::apply(&call.resource, &shown, &patch::read(headers, body, call)?, call)?,
        _ => return Err(ApiError::method_not_allowed()),
    };
    if !has_replicas && at(&wanted, &["spec", "replicas"]).is_none() {
        let message = format!("the spec replicas field \"{}\" cannot be empty", paths.spec_replicas);
        return Err(ApiError::bad_request(message));
    }
    write(state, call, &object, &paths, &wanted)
}

fn read_scale(call: &Call, headers: &HeaderMap, body: &Bytes) -> Result<Value, ApiError> {
    let scale = read_object(headers, body)?;
    let (named, expected) = (text_or_empty(&scale, &["metadata", "name"]), call.object_name().name);
    if !named.is_empty() && named != expected {
        let message = format!("the name of the object ({named}) does not match the name on the URL ({expected})");
        return Err(ApiError::bad_request(message));
    }
    let found = ["apiVersion", "kind"].map(|key| text_or_empty(&scale, &[key]).to_owned());
    let is_scale = ["autoscaling/v1", ""].contains(&found[0].as_str()) && ["Scale", ""].contains(&found[1].as_str());
    if is_scale {
        Ok(scale)
    } else {
        Err(ApiError::bad_request(format!("{} is no autoscaling/v1 Scale", found.join(" "))))
    }
}

fn write(
    state: &mut State,
    call: &Call,
    object: &Arc<Object>,
    paths: &ScalePaths,
    wanted: &Value,
) -> Result<Answer, ApiError> {
    let replicas = integer(wanted, &["spec", "replicas"]).unwrap_or_default();
    // Of a custom resource the definition says what is too few.
    if replicas < 0 && call.resource.custom().is_none() {
        let error = crate::apiserver::field_error::FieldError::invalid(
            "spec.replicas",
            replicas,
            "must be greater than or equal to 0",
        );
        return Err(ApiError::invalid("autoscaling", "Scale", object.name(), &[error]));
    }
    let mut body = convert::shown(&call.resource, object).into_owned();
    for key in ["uid", "resourceVersion"] {
        match text(wanted, &["metadata", key]) {
            Some(given) if !given.is_empty() => set(&mut body, &["metadata"], key, given),
            _ => {}
        }
    }
    let path = segments(&paths.spec_replicas);
    if let Some((last, parents)) = path.split_last() {
        set(&mut body, parents, last, replicas);
    }
    let answer = update::write(state, call, Part::Main, object, body)?;
    match answer.body {
        AnswerBody::Object(written) => Ok(Answer::value(StatusCode::OK, scale_of(call, &written, paths))),
        AnswerBody::List(..) | AnswerBody::Value(_) | AnswerBody::Text(_) => Ok(answer),
    }
}

fn scale_of(call: &Call, object: &Object, paths: &ScalePaths) -> Value {
    let value = object.value();
    let mut metadata = json!({
        "name": object.name(), "namespace": object.namespace(), "uid": object.uid(),
        "resourceVersion": object.revision().to_string(),
        "creationTimestamp": text_or_empty(value, &["metadata", "creationTimestamp"]),
    });
    if object.namespace().is_empty() {
        metadata.as_object_mut().expect("written as an object just above").remove("namespace");
    }
    let mut status = json!({"replicas": integer(value, &segments(&paths.status_replicas)).unwrap_or_default()});
    let selector = selector_text(call, value, paths);
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    let replicas = integer(value, &segments(&paths.spec_replicas)).unwrap_or_default();
    // None at all is left out, as the field is optional.
    let spec = if replicas == 0 { json!({}) } else { json!({ "replicas": replicas }) };
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status})
}

fn selector_text(call: &Call, value: &Value, paths: &ScalePaths) -> String {
    if let Some(path) = &paths.label_selector {
        return text_or_empty(value, &segments(path)).to_owned();
    }
    // Replication controllers select by plain equality.
    let selector = at(value, &["spec", "selector"]);
    let labels = if call.resource.kind == "ReplicationController" {
        selector
    } else {
        selector.and_then(|selector| selector.get("matchLabels"))
    };
    let equal = labels
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    let expressions =
        selector.map(|selector| crate::apiserver::value::items(selector, &["matchExpressions"])).unwrap_or_default();
    equal.chain(expressions.iter().map(expression_text)).collect::<Vec<_>>().join(",")
}

fn expression_text(expression: &Value) -> String {
    let key = text_or_empty(expression, &["key"]);
    let values = crate::apiserver::value::texts(expression, &["values"]).collect::<Vec<_>>().join(",");
    match text_or_empty(expression, &["operator"]) {
        "In" => format!("{key} in ({values})"),
        "NotIn" => format!("{key} notin ({values})"),
        "DoesNotExist" => format!("!{key}"),
        _ => key.to_owned(),
    }
}
