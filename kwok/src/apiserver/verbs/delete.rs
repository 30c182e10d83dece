//! Delete, of one object and of a collection.

use super::{Answer, AnswerBody, list_metadata, update::existing};
use crate::apiserver::{
    field_error::FieldError,
    registry::ResourceType,
    state::{Call, State},
    status::{ApiError, success},
    store::{
        Object, PageRequest,
        lifecycle::{self, Deletion, Outcome, Propagation},
    },
    value::{at, integer, members_mut, text},
};
use http::StatusCode;
use serde_json::Value;
use std::sync::Arc;

/// What the body and the query of a deletion ask for (`meta.k8s.io/v1 DeleteOptions`).
#[derive(Clone, Debug, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) deletion: Deletion,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) dry_run: bool,
}

impl DeleteOptions {
    /// Reads the options; the body counts before the query.
    pub(crate) fn read(call: &Call, body: &Value) -> Result<Self, ApiError> {
        let grace_seconds = integer(body, &["gracePeriodSeconds"]).or(call.query.grace_seconds);
        let orphan = at(body, &["orphanDependents"]).and_then(Value::as_bool).or(call.query.orphan_dependents);
        let policy = text(body, &["propagationPolicy"]).or(call.query.propagation.as_deref());
        let propagation = match policy {
            Some(policy) => Some(read_propagation(policy)?),
            None => orphan.map(|orphan| if orphan { Propagation::Orphan } else { Propagation::Background }),
        };
        let precondition = |key| text(body, &["preconditions", key]).map(str::to_owned);
        Ok(Self {
            deletion: Deletion { grace_seconds, propagation },
            uid: precondition("uid"),
            resource_version: precondition("resourceVersion"),
            dry_run: call.query.dry_run
                || at(body, &["dryRun"]).and_then(Value::as_array).is_some_and(|all| !all.is_empty()),
        })
    }

    fn check(&self, resource: &ResourceType, object: &Object) -> Result<(), ApiError> {
        let failed = |what: &str, asked: &str, found: &str| {
            let why = format!("Precondition failed: {what} in precondition: {asked}, {what} in object meta: {found}");
            Err(ApiError::conflict(&resource.group_resource(), object.name(), &why))
        };
        match (&self.uid, &self.resource_version) {
            (Some(uid), _) if uid != object.uid() => failed("UID", uid, object.uid()),
            (_, Some(version)) if *version != object.revision().to_string() => {
                failed("ResourceVersion", version, &object.revision().to_string())
            }
            _ => Ok(()),
        }
    }
}

fn read_propagation(policy: &str) -> Result<Propagation, ApiError> {
    match policy {
        "Background" => Ok(Propagation::Background),
        "Foreground" => Ok(Propagation::Foreground),
        "Orphan" => Ok(Propagation::Orphan),
        other => {
            let known = ["Foreground", "Background", "Orphan"];
            let problem = FieldError::not_supported("propagationPolicy", other, &known);
            let mut error = ApiError::unprocessable(format!(
                "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: {}",
                problem.body()
            ));
            error.details.causes = vec![problem.cause()];
            Err(error)
        }
    }
}

/// Deletes the object that the path names.
pub(crate) fn delete(state: &mut State, call: &Call, body: &Value) -> Result<Answer, ApiError> {
    let options = DeleteOptions::read(call, body)?;
    let object = existing(state, call)?;
    delete_object(state, call, &object, &options)
}

/// Kinds of the core group whose deletion answers with the object (`ReturnDeletedObject`).
const ANSWERED_WITH_OBJECT: [&str; 8] = [
    "Pod",
    "Service",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "ServiceAccount",
    "ResourceQuota",
    "PodTemplate",
    "Namespace",
];

/// Deletes an object, or begins to.
pub(crate) fn delete_object(
    state: &mut State,
    call: &Call,
    object: &Arc<Object>,
    options: &DeleteOptions,
) -> Result<Answer, ApiError> {
    let resource = &call.resource;
    options.check(resource, object)?;
    check_protected(resource, object)?;
    let (left, removed) = perform(state, call, object, options);
    let foreground = options.deletion.propagation == Some(Propagation::Foreground);
    if !removed || ANSWERED_WITH_OBJECT.contains(&resource.kind.as_str()) {
        let code = if !removed && foreground { StatusCode::ACCEPTED } else { StatusCode::OK };
        return Ok(Answer::object(code, left));
    }
    Ok(Answer::value(StatusCode::OK, success(&resource.group_resource(), object.name(), object.uid())))
}

fn perform(state: &mut State, call: &Call, object: &Arc<Object>, options: &DeleteOptions) -> (Arc<Object>, bool) {
    let resource = &call.resource;
    let graceful = if resource.kind == "Pod" { lifecycle::pod_grace_seconds(object.value()) } else { None };
    match lifecycle::delete(object.value(), options.deletion, graceful, call.now) {
        Outcome::Unchanged => (Arc::clone(object), false),
        Outcome::Remove(value) if options.dry_run => {
            (Arc::new(Object::new(ended(resource, value, object), object.revision())), true)
        }
        Outcome::Mark(value) if options.dry_run => (Arc::new(Object::new(value, object.revision())), false),
        Outcome::Remove(value) => (state.remove(&resource.storage, ended(resource, value, object)), true),
        Outcome::Mark(mut value) => {
            if resource.kind == "Namespace" {
                lifecycle::mark_namespace(&mut value);
            }
            (state.put(&resource.storage, value, call.now), false)
        }
    }
}

/// What is removed at once was never marked, but for pods, whose deletion is always graceful.
fn ended(resource: &ResourceType, mut value: Value, object: &Object) -> Value {
    if resource.kind != "Pod" && !object.is_terminating() {
        for key in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
            members_mut(&mut value, &["metadata"]).remove(key);
        }
    }
    value
}

fn check_protected(resource: &ResourceType, object: &Object) -> Result<(), ApiError> {
    const PROTECTED: [&str; 3] = ["default", "kube-system", "kube-public"];
    if resource.kind == "Namespace" && PROTECTED.contains(&object.name()) {
        return Err(ApiError::forbidden(
            &resource.group_resource(),
            object.name(),
            "this namespace may not be deleted",
        ));
    }
    Ok(())
}

/// Deletes all objects that the path and the selectors choose; answers with them.
pub(crate) fn delete_collection(state: &mut State, call: &Call, body: &Value) -> Result<Answer, ApiError> {
    let options = DeleteOptions::read(call, body)?;
    super::read::check_field_selector(&call.resource, &call.query)?;
    let filter = call.query.filter(&call.path);
    let page = state.store.list(&call.resource.storage, &filter, &PageRequest::default());
    let objects = page.map_err(|_| ApiError::expired("The resourceVersion for the provided list is too old."))?.objects;
    for object in &objects {
        delete_object(state, call, object, &options)?;
    }
    let metadata = list_metadata(state.store.revision(), None, None);
    Ok(Answer { code: StatusCode::OK, body: AnswerBody::List(objects, metadata), warnings: Vec::new() })
}
