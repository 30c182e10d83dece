//! From HTTP to the verbs and back.

use super::{
    convert, discovery,
    negotiation::{Accept, Form, read_object},
    openapi, patch,
    registry::ResourceType,
    request::{Query, ResourcePath},
    server::Inner,
    state::{Call, State},
    status::ApiError,
    store::{Object, serialized},
    stream, subresource, table,
    verbs::{
        Answer, AnswerBody, create, delete, read,
        update::{self, Part},
        watch::Watch,
    },
};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    response::Response,
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use serde_json::Value;
use std::sync::Arc;

/// The largest body that is read (the API server's limit for objects: 3 MiB).
const MAX_BODY_BYTES: usize = 3 * 1024 * 1024;

/// The router of a server. Paths are read by hand, because definitions add resources while it runs.
pub(crate) fn router(server: Arc<Inner>) -> Router {
    Router::new().fallback(move |request: Request| {
        let server = Arc::clone(&server);
        async move { answer(&server, request).await }
    })
}

async fn answer(server: &Arc<Inner>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = match to_bytes(body, MAX_BODY_BYTES).await {
        Ok(body) => route(server, &parts, &body),
        Err(_) => Err(ApiError::too_large(MAX_BODY_BYTES)),
    };
    result.unwrap_or_else(|error| failure(&error))
}

fn route(server: &Arc<Inner>, parts: &Parts, body: &Bytes) -> Result<Response, ApiError> {
    match ResourcePath::parse(parts.uri.path()) {
        Some(path) => resource_request(server, parts, body, path),
        None => document(server, parts),
    }
}

/// Everything that is not below a resource: discovery, health, version, OpenAPI.
fn document(server: &Arc<Inner>, parts: &Parts) -> Result<Response, ApiError> {
    let path = parts.uri.path().trim_end_matches('/');
    if let Some(text) = health(path) {
        return Ok(text_response(StatusCode::OK, Bytes::from_static(text.as_bytes())));
    }
    if parts.method != Method::GET {
        return Err(ApiError::method_not_allowed());
    }
    if path.starts_with("/openapi/") {
        let accept = parts.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        if path == "/openapi/v2" && accept == openapi::ASKED_PROTOBUF {
            let document = Bytes::from(openapi::version_2_in_protobuf());
            return Ok(respond(StatusCode::OK, openapi::PROTOBUF_TYPE, document));
        }
        // Other clients ask for Protobuf first and take what the content type says.
        let registry = &server.lock().registry;
        return openapi::document(registry, path)
            .map(|value| json_response(StatusCode::OK, "application/json", serialized(&value)))
            .ok_or_else(ApiError::no_such_path);
    }
    let accept = Accept::parse(&parts.headers)?;
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let found = discovery::document(&server.lock().registry, path, accept.form == Form::AggregatedDiscovery, host);
    let found = found.ok_or_else(ApiError::no_such_path)?;
    let media_type = if found.is_aggregated { discovery::AGGREGATED_TYPE } else { "application/json" };
    Ok(json_response(StatusCode::OK, media_type, serialized(&found.value)))
}

fn health(path: &str) -> Option<&'static str> {
    ["/healthz", "/livez", "/readyz"]
        .iter()
        .any(|prefix| path == *prefix || path.starts_with(&format!("{prefix}/")))
        .then_some("ok")
}

fn resource_request(
    server: &Arc<Inner>,
    parts: &Parts,
    body: &Bytes,
    path: ResourcePath,
) -> Result<Response, ApiError> {
    // All namespaces at once are not deleted, whatever is asked for.
    if path.plural == "namespaces" && path.group.is_empty() && path.name.is_none() && parts.method == Method::DELETE {
        return Err(ApiError::method_not_allowed());
    }
    let query = Query::parse(parts.uri.query().unwrap_or_default())?;
    let accept = Accept::parse(&parts.headers)?;
    let found = server.lock().registry.find(&path.group, &path.version, &path.plural).cloned();
    let Some(resource) = found else { return nothing_served(server, &path) };
    check_scope(&resource, &path, &parts.method)?;
    let user_agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let call = Call { resource, path, query, now: server.clock.now(), user_agent: user_agent.to_owned() };
    if parts.method == Method::GET && call.query.watch && call.path.subresource.is_none() {
        return watch(server, call, accept);
    }
    let result = server.write(|state| {
        state.count(verb(&parts.method, &call), &counted_name(&call));
        dispatch(state, &call, &parts.method, &parts.headers, body)
    });
    result.map(|mut answer| {
        answer.warnings.extend(deprecation(&call.resource));
        written(&call, accept, answer)
    })
}

/// Where only definitions make groups, nobody is there to say in JSON that there is nothing.
fn nothing_served(server: &Inner, path: &ResourcePath) -> Result<Response, ApiError> {
    let is_defined = |resource: &Arc<ResourceType>| resource.group == path.group && resource.custom().is_some();
    if server.lock().registry.all().any(is_defined) {
        return Ok(text_response(StatusCode::NOT_FOUND, Bytes::from_static(b"404 page not found\n")));
    }
    Err(ApiError::no_such_path())
}

/// Kinds that are to be used no more.
fn deprecation(resource: &ResourceType) -> Option<String> {
    let is_endpoints = resource.builtin().is_some_and(|kind| kind.kind == "Endpoints");
    is_endpoints.then(|| "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".to_owned())
}

/// Objects in namespaces are named with their namespace; those of the cluster without.
fn check_scope(resource: &ResourceType, path: &ResourcePath, method: &Method) -> Result<(), ApiError> {
    let across_namespaces = path.name.is_none() && method == Method::GET;
    let deletes_all = path.name.is_none() && method == Method::DELETE;
    match (resource.namespaced, &path.namespace) {
        (true, Some(_)) | (false, None) => Ok(()),
        (true, None) if across_namespaces => Ok(()),
        (true, None) if deletes_all || path.name.is_none() => Err(ApiError::method_not_allowed()),
        (true, None) | (false, Some(_)) => Err(ApiError::no_such_path()),
    }
}

/// The name under which a request is counted.
fn counted_name(call: &Call) -> String {
    match &call.path.subresource {
        Some(subresource) => format!("{}/{subresource}", call.path.plural),
        None => call.path.plural.clone(),
    }
}

/// The request's verb, as RBAC names it.
fn verb(method: &Method, call: &Call) -> &'static str {
    let named = call.path.name.is_some();
    match method.as_str() {
        "GET" if call.query.watch => "watch",
        "GET" if named => "get",
        "GET" => "list",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" if named => "delete",
        "DELETE" => "deletecollection",
        _ => "other",
    }
}

fn watch(server: &Arc<Inner>, mut call: Call, accept: Accept) -> Result<Response, ApiError> {
    if let Some(name) = call.path.name.take() {
        call.query.fields = call.query.fields.with_name(&name);
    }
    // The receiver comes first: what is written between the two is then seen as a change.
    let written = server.subscribe(&call.resource.storage);
    let (watch, first) = {
        let mut state = server.lock();
        state.count("watch", &call.path.plural);
        Watch::begin(&state, call, accept.form)?
    };
    let lines = stream::lines(server, watch, first, written);
    let mut response = Response::new(Body::from_stream(lines));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn dispatch(
    state: &mut State,
    call: &Call,
    method: &Method,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Answer, ApiError> {
    if let Some(name) = call.path.subresource.clone() {
        return subresource::dispatch(state, call, &name, method, headers, body);
    }
    if call.resource.is_virtual() && method != Method::POST {
        return Err(ApiError::method_not_allowed());
    }
    match (method.as_str(), call.path.name.is_some()) {
        ("GET", true) => read::get(state, call),
        ("GET", false) => read::list(state, call),
        ("POST", false) => {
            call.query.check_write("CreateOptions", false)?;
            create::create(state, call, read_object(headers, body)?)
        }
        ("PUT", true) => update::replace(state, call, Part::Main, read_object(headers, body)?),
        ("PATCH", true) => update::patch(state, call, Part::Main, &patch::read(headers, body, call)?),
        ("DELETE", true) => delete::delete(state, call, &optional_object(headers, body)?),
        ("DELETE", false) => delete::delete_collection(state, call, &optional_object(headers, body)?),
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// The options of a deletion may be left out.
pub(crate) fn optional_object(headers: &HeaderMap, body: &Bytes) -> Result<Value, ApiError> {
    if body.is_empty() { Ok(Value::Object(super::value::Members::new())) } else { read_object(headers, body) }
}

/// An answer in the form that was asked for.
fn written(call: &Call, accept: Accept, answer: Answer) -> Response {
    let Answer { code, body, warnings } = answer;
    let bytes = match body {
        AnswerBody::Text(text) => return text_response(code, text),
        AnswerBody::Value(value) => serialized(&value),
        AnswerBody::Object(object) => object_bytes(call, accept.form, &object),
        AnswerBody::List(objects, metadata) => list_bytes(call, accept.form, &objects, &metadata),
    };
    let mut response =
        if accept.yaml { yaml_response(code, &bytes) } else { json_response(code, media_type(accept.form), bytes) };
    for warning in warnings {
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{}\"", warning.replace('"', "\\\""))) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}

fn media_type(form: Form) -> &'static str {
    match form {
        Form::Table => "application/json;as=Table;v=v1;g=meta.k8s.io",
        Form::PartialMetadata => "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
        Form::Plain | Form::AggregatedDiscovery => "application/json",
    }
}

fn object_bytes(call: &Call, form: Form, object: &Arc<Object>) -> Bytes {
    match form {
        Form::Table => {
            let metadata = serde_json::json!({"resourceVersion": object.revision().to_string()});
            serialized(&table::render(
                &call.resource,
                std::slice::from_ref(object),
                &metadata,
                call.query.include_object,
                call.now,
            ))
        }
        Form::PartialMetadata => serialized(&table::partial_metadata(object.value())),
        Form::Plain | Form::AggregatedDiscovery => shown_bytes(&call.resource, object),
    }
}

fn shown_bytes(resource: &ResourceType, object: &Object) -> Bytes {
    if resource.is_stored_form() { object.json() } else { serialized(&convert::shown(resource, object)) }
}

/// A list, put together from its objects' own bytes.
fn list_bytes(call: &Call, form: Form, objects: &[Arc<Object>], metadata: &Value) -> Bytes {
    let resource = &call.resource;
    let (kind, api_version) = match form {
        Form::Table => {
            let table = table::render(resource, objects, metadata, call.query.include_object, call.now);
            return serialized(&table);
        }
        Form::PartialMetadata => ("PartialObjectMetadataList", "meta.k8s.io/v1".to_owned()),
        Form::Plain | Form::AggregatedDiscovery => (resource.list_kind.as_str(), resource.api_version()),
    };
    let head = format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":[");
    let mut bytes = BytesMut::from(head.as_bytes());
    let types = format!("{{\"apiVersion\":\"{}\",\"kind\":\"{}\",", resource.api_version(), resource.kind);
    for (index, object) in objects.iter().enumerate() {
        if index > 0 {
            bytes.extend_from_slice(b",");
        }
        match form {
            Form::PartialMetadata => bytes.extend_from_slice(&serialized(&table::partial_metadata(object.value()))),
            Form::Plain | Form::Table | Form::AggregatedDiscovery => {
                // Items of built-in lists do not say their type again; it is the first that objects say.
                let shown = shown_bytes(resource, object);
                match shown.strip_prefix(types.as_bytes()).filter(|_| resource.builtin().is_some()) {
                    Some(untyped) => {
                        bytes.extend_from_slice(b"{");
                        bytes.extend_from_slice(untyped);
                    }
                    None => bytes.extend_from_slice(&shown),
                }
            }
        }
    }
    bytes.extend_from_slice(b"]}");
    bytes.freeze()
}

fn json_response(code: StatusCode, media_type: &'static str, bytes: Bytes) -> Response {
    respond(code, media_type, bytes)
}

fn text_response(code: StatusCode, text: Bytes) -> Response {
    respond(code, "text/plain; charset=utf-8", text)
}

fn yaml_response(code: StatusCode, json: &Bytes) -> Response {
    let value: Value = serde_json::from_slice(json).expect("JSON that was just written can be read");
    match serde_saphyr::to_string(&value) {
        Ok(text) => respond(code, "application/yaml", Bytes::from(text)),
        Err(error) => failure(&ApiError::internal(format!("unable to write YAML: {error}"))),
    }
}

fn respond(code: StatusCode, media_type: &'static str, bytes: Bytes) -> Response {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

fn failure(error: &ApiError) -> Response {
    let mut response = respond(error.code, "application/json", serialized(&error.to_value()));
    let seconds = error.details.retry_after_seconds;
    if seconds > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
