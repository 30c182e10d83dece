//! Delete, of one object and of a collection.

use super::{Answer, AnswerBody, list_metadata, update::existing};
use crate::apiserver::{
    field_error::FieldError,
    registry::ResourceType,
    request::options,
    state::{Call, State},
    status::{ApiError, success},
    store::{
        GroupResource, Object, PageRequest,
        lifecycle::{self, Deletion, Outcome, Propagation},
    },
    value::{Members, at, carry_over, integer, members_mut, text, texts},
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
    /// `orphanDependents: false`: what is left for a while is answered as accepted.
    pub(crate) waits: bool,
}

impl DeleteOptions {
    /// Reads the options: of the query only where there is no body.
    pub(crate) fn read(call: &Call, body: &Value) -> Result<Self, ApiError> {
        if body.as_object().is_none_or(Members::is_empty) {
            call.query.check_write("DeleteOptions", false)?;
            let query = &call.query;
            let (grace, dry_run) = (query.grace_seconds, query.dry_run);
            return Self::checked(grace, query.orphan_dependents, query.propagation.as_deref(), dry_run);
        }
        let dry_run: Vec<&str> = texts(body, &["dryRun"]).collect();
        if let Some(unknown) = dry_run.iter().find(|value| **value != "All") {
            options("DeleteOptions", &[FieldError::not_supported("dryRun", *unknown, &["All"])])?;
        }
        let grace = integer(body, &["gracePeriodSeconds"]);
        let orphan = at(body, &["orphanDependents"]).and_then(Value::as_bool);
        let read = Self::checked(grace, orphan, text(body, &["propagationPolicy"]), !dry_run.is_empty())?;
        let precondition = |key| text(body, &["preconditions", key]).map(str::to_owned);
        Ok(Self { uid: precondition("uid"), resource_version: precondition("resourceVersion"), ..read })
    }

    fn checked(
        grace_seconds: Option<i64>,
        orphan: Option<bool>,
        policy: Option<&str>,
        dry_run: bool,
    ) -> Result<Self, ApiError> {
        let mut problems = Vec::new();
        if let (Some(_), Some(policy)) = (orphan, policy) {
            let detail = "orphanDependents and deletionPropagation cannot be both set";
            problems.push(FieldError::invalid("propagationPolicy", policy, detail));
        }
        let propagation = match policy {
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            Some("Orphan") => Some(Propagation::Orphan),
            Some(other) => {
                let known = ["Foreground", "Background", "Orphan", "nil"];
                problems.push(FieldError::not_supported("propagationPolicy", other, &known));
                None
            }
            None => orphan.map(|orphan| if orphan { Propagation::Orphan } else { Propagation::Background }),
        };
        options("DeleteOptions", &problems)?;
        // Less than nothing counts as one second.
        let grace_seconds = grace_seconds.map(|seconds| if seconds < 0 { 1 } else { seconds });
        let deletion = Deletion { grace_seconds, propagation };
        Ok(Self { deletion, dry_run, waits: orphan == Some(false), ..Self::default() })
    }

    /// Who deletes jobs without saying what becomes of their pods is warned, even where there is none to delete.
    fn warnings(&self, resource: &ResourceType) -> Vec<String> {
        if self.deletion.propagation.is_none() && is_job(resource) { vec![JOB_WARNING.to_owned()] } else { Vec::new() }
    }

    /// Checks the preconditions.
    pub(crate) fn check(&self, resource: &ResourceType, object: &Object) -> Result<(), ApiError> {
        let failed = |what: &str, asked: &str, found: &str| {
            let why = format!("Precondition failed: {what} in precondition: {asked}, {what} in object meta: {found}");
            // Namespaces are asked for themselves, and are called by their plural.
            let named = if resource.kind == "Namespace" { &resource.plural } else { &resource.kind };
            Err(ApiError::conflict(&GroupResource::new(&resource.group, named), object.name(), &why))
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

/// Deletes the object that the path names.
pub(crate) fn delete(state: &mut State, call: &Call, body: &Value) -> Result<Answer, ApiError> {
    let options = DeleteOptions::read(call, body)?;
    let object = existing(state, call)?;
    let warnings = options.warnings(&call.resource);
    Ok(delete_object(state, call, &object, &options)?.with_warnings(warnings))
}

const JOB_WARNING: &str = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning";

/// Kinds whose deletion answers with the object (`ReturnDeletedObject`).
const ANSWERED_WITH_OBJECT: [&str; 12] = [
    "Pod",
    "Service",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "ServiceAccount",
    "ResourceQuota",
    "PodTemplate",
    "Namespace",
    "StorageClass",
    "CSINode",
    "CSIDriver",
    "VolumeAttachment",
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
    if !removed || ANSWERED_WITH_OBJECT.contains(&resource.kind.as_str()) {
        let code = if !removed && options.waits { StatusCode::ACCEPTED } else { StatusCode::OK };
        return Ok(Answer::object(code, left));
    }
    Ok(Answer::value(StatusCode::OK, success(&resource.group_resource(), object.name(), object.uid())))
}

fn perform(state: &mut State, call: &Call, object: &Arc<Object>, options: &DeleteOptions) -> (Arc<Object>, bool) {
    let resource = &call.resource;
    let graceful = if resource.kind == "Pod" { lifecycle::pod_grace_seconds(object.value()) } else { None };
    let propagation = options.deletion.propagation.or_else(|| usual_propagation(resource, object));
    // Namespaces take with them what is in them.
    let propagation = propagation.filter(|_| resource.kind != "Namespace");
    let deletion = Deletion { propagation, ..options.deletion };
    match lifecycle::delete(object.value(), deletion, graceful, call.now) {
        Outcome::Unchanged => (Arc::clone(object), false),
        Outcome::Remove(value) if options.dry_run => {
            (Arc::new(Object::new(ended(resource, value, object), object.revision())), true)
        }
        Outcome::Mark(value) if options.dry_run => (Arc::new(Object::new(value, object.revision())), false),
        Outcome::Remove(value) => {
            let last = ended(resource, value, object);
            if resource.kind == "Pod" && is_ending_now(&last, object) {
                // Graceful deletion is stored however short it is.
                state.put(&resource.storage, last.clone(), call.now);
            }
            (state.remove(&resource.storage, last), true)
        }
        Outcome::Mark(mut value) => {
            if resource.kind == "Namespace" {
                lifecycle::mark_namespace(&mut value);
                members_mut(&mut value, &["metadata"]).remove("deletionGracePeriodSeconds");
            }
            (state.put(&resource.storage, value, call.now), false)
        }
    }
}

/// Whether a deletion gives the pod less time than it had.
fn is_ending_now(last: &Value, object: &Object) -> bool {
    let grace = |pod: &Value| integer(pod, &["metadata", "deletionGracePeriodSeconds"]);
    !object.is_terminating() || grace(last) != grace(object.value())
}

/// What becomes of dependents unless the request or the object says so: jobs of `batch/v1` orphan their pods, as they did
/// before there was garbage collection.
fn usual_propagation(resource: &ResourceType, object: &Object) -> Option<Propagation> {
    let says = [lifecycle::FOREGROUND, lifecycle::ORPHAN];
    let is_said = says.iter().any(|finalizer| lifecycle::has_finalizer(object.value(), finalizer));
    (is_job(resource) && !is_said).then_some(Propagation::Orphan)
}

fn is_job(resource: &ResourceType) -> bool {
    resource.kind == "Job" && resource.builtin().is_some()
}

/// What is removed at once was never marked, but for pods, whose deletion is always graceful.
fn ended(resource: &ResourceType, mut value: Value, object: &Object) -> Value {
    if resource.kind != "Pod" && !object.is_terminating() {
        for key in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
            members_mut(&mut value, &["metadata"]).remove(key);
        }
        carry_over(&mut value, object.value(), &["metadata"], "generation");
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
    // They are answered as they were listed.
    let metadata = list_metadata(state.store.revision(), None, None);
    for object in &objects {
        delete_object(state, call, object, &options)?;
    }
    let warnings = options.warnings(&call.resource);
    Ok(Answer { code: StatusCode::OK, body: AnswerBody::List(objects, metadata), warnings })
}
