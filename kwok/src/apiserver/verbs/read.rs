//! Get and list.

use super::{Answer, AnswerBody, list_metadata};
use crate::apiserver::{
    registry::ResourceType,
    request::Query,
    state::{Call, State},
    status::ApiError,
    store::{ObjectName, PageRequest},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use serde::{Deserialize, Serialize};

/// Answers one object.
pub(crate) fn get(state: &State, call: &Call) -> Result<Answer, ApiError> {
    let name = call.object_name();
    let object = state.store.get(&call.resource.storage, &name);
    let object = object.ok_or_else(|| ApiError::not_found(&call.resource.group_resource(), &name.name))?;
    Ok(Answer::object(StatusCode::OK, object.clone()))
}

/// Where the next page begins, as clients carry it around.
#[derive(Debug, Serialize, Deserialize)]
struct Continue {
    v: String,
    rv: u64,
    start: String,
}

/// The version of such tokens.
const TOKEN_VERSION: &str = "meta.k8s.io/v1";

/// Answers a list, or one page of it.
pub(crate) fn list(state: &State, call: &Call) -> Result<Answer, ApiError> {
    call.query.check_list()?;
    check_field_selector(&call.resource, &call.query)?;
    let filter = call.query.filter(&call.path);
    let request = page_request(call, state.store.revision())?;
    let page = state.store.list(&call.resource.storage, &filter, &request).map_err(|_| too_old_list(&call.query))?;
    let token = page.last.map(|last| encode(call, page.revision, &last));
    let metadata = list_metadata(page.revision, token, page.remaining);
    Ok(Answer { code: StatusCode::OK, body: AnswerBody::List(page.objects, metadata), warnings: Vec::new() })
}

/// Fields that every selector may name; definitions may add to them.
const COMMON_FIELDS: [&str; 2] = ["metadata.name", "metadata.namespace"];

fn builtin_fields(kind: &str) -> &'static [&'static str] {
    match kind {
        "Pod" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "Node" => &["spec.unschedulable"],
        "Namespace" => &["status.phase"],
        "Secret" => &["type"],
        "Event" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "reportingController",
        ],
        "ReplicaSet" | "ReplicationController" => &["status.replicas"],
        "Job" => &["status.successful"],
        _ => &[],
    }
}

/// Refuses selectors on fields that the resource does not select by.
pub(crate) fn check_field_selector(resource: &ResourceType, query: &Query) -> Result<(), ApiError> {
    let custom = resource.custom().map(|version| version.selectable_fields.as_slice()).unwrap_or_default();
    for field in query.fields.fields() {
        let has_own_fields = resource.custom().is_some() || ["Namespace", "Node"].contains(&resource.kind.as_str());
        let of_cluster = has_own_fields && !resource.namespaced && field == "metadata.namespace";
        let known = COMMON_FIELDS.contains(&field.as_str()) && !of_cluster
            || builtin_fields(&resource.kind).contains(&field.as_str())
            || custom.contains(&field);
        if !known {
            return Err(ApiError::bad_request(format!("field label not supported: {field}")));
        }
    }
    Ok(())
}

fn page_request(call: &Call, now: u64) -> Result<PageRequest, ApiError> {
    let query = &call.query;
    let limit = query.limit;
    if let Some(token) = &query.continue_token {
        let (revision, from) = decode(call, token)?;
        if query.resource_version.as_deref().is_some_and(|version| version != "0") {
            return Err(ApiError::bad_request("specifying resource version is not allowed when using continue"));
        }
        return Ok(PageRequest { limit, from: Some(from), revision: Some(revision) });
    }
    let asked = query.resource_version.as_deref().map(parse_version).transpose()?;
    match asked {
        Some(version) if version > now => Err(ApiError::too_large_version(version, now)),
        Some(version) if query.resource_version_match.as_deref() == Some("Exact") => {
            Ok(PageRequest { limit, from: None, revision: Some(version) })
        }
        // Any version comes from memory, whole.
        Some(0) => Ok(PageRequest::default()),
        _ => Ok(PageRequest { limit, ..PageRequest::default() }),
    }
}

/// Reads a resource version.
pub(crate) fn parse_version(text: &str) -> Result<u64, ApiError> {
    text.parse()
        .map_err(|_| ApiError::bad_request(format!("Invalid value: \"{text}\": a resource version is a whole number")))
}

fn too_old_list(query: &Query) -> ApiError {
    if query.continue_token.is_some() {
        return ApiError::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.",
        );
    }
    let asked = query.resource_version.as_deref().unwrap_or_default();
    ApiError::expired(format!("The resourceVersion for the provided list is too old: {asked}"))
}

/// The next page begins right behind the last object of this one.
fn encode(call: &Call, revision: u64, last: &ObjectName) -> String {
    let after = format!("{}\0", last.name);
    let start = if call.resource.namespaced && call.path.namespace.is_none() {
        format!("{}/{after}", last.namespace)
    } else {
        after
    };
    let token = Continue { v: TOKEN_VERSION.into(), rv: revision, start };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("text and a number can always be written"))
}

fn decode(call: &Call, token: &str) -> Result<(u64, ObjectName), ApiError> {
    let invalid =
        || ApiError::bad_request("continue key is not valid: it must be the `metadata.continue` of the list before");
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
    let token: Continue = serde_json::from_slice(&bytes).map_err(|_| invalid())?;
    if token.v != TOKEN_VERSION || token.rv == 0 || token.start.is_empty() {
        return Err(invalid());
    }
    let from = match &call.path.namespace {
        Some(namespace) => ObjectName::new(namespace, &token.start),
        None => {
            let (namespace, name) = token.start.split_once('/').unwrap_or(("", &token.start));
            ObjectName::new(namespace, name)
        }
    };
    Ok((token.rv, from))
}
