//! Update and patch: a change of an existing object, of all of it or of the part that a subresource shows.

use super::{Answer, check_namespace, check_type, decode, fill_in, validate};
use crate::apiserver::{
    builtin, convert,
    field_error::FieldError,
    patch::{self, Patch},
    registry::{ResourceType, custom},
    state::{Call, State},
    status::ApiError,
    store::{
        Object,
        lifecycle::{self, Generation},
    },
    value::{at, carry_over, members_mut, set, text_or_empty},
};
use http::StatusCode;
use serde_json::Value;
use std::sync::Arc;

/// The part of an object that a request may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Main,
    Status,
    /// A pod's `spec.ephemeralContainers`.
    EphemeralContainers,
    /// A pod's resources (`pods/resize`).
    Resize,
    /// A namespace's `spec.finalizers`.
    Finalize,
}

/// Replaces the object, or its part, by the one in the body.
pub(crate) fn replace(state: &mut State, call: &Call, part: Part, mut body: Value) -> Result<Answer, ApiError> {
    call.query.check_write("UpdateOptions", false)?;
    check_type(&call.resource, &mut body)?;
    check_namespace(call, &mut body)?;
    check_name(call, &body)?;
    let found = existing(state, call);
    let is_missing = found.as_ref().is_err_and(|error| error.code == StatusCode::NOT_FOUND);
    if is_missing && part == Part::Main && is_created_by_update(&call.resource) {
        members_mut(&mut body, &["metadata"]).remove("resourceVersion");
        return super::create::create(state, call, body);
    }
    // What cannot be read is refused before what does not exist.
    let given = decode(call, body)?;
    let old = found?;
    require_version(&call.resource, &given.0)?;
    write_given(state, call, part, &old, given, false)
}

/// Changes the object, or its part, as the patch says. A server-side apply creates what does not exist.
pub(crate) fn patch(state: &mut State, call: &Call, part: Part, patch: &Patch) -> Result<Answer, ApiError> {
    let old = match (existing(state, call), patch) {
        (Err(error), Patch::Apply(_)) if error.code == StatusCode::NOT_FOUND && part == Part::Main => {
            return apply_new(state, call, patch);
        }
        (Err(error), Patch::Apply(given)) if is_created_by_update(&call.resource) => {
            // What cannot be applied is refused before what does not exist and might be made.
            patch::server_side_apply::check(&call.resource, given, call)?;
            return Err(error);
        }
        (found, _) => found?,
    };
    let shown = convert::shown(&call.resource, &old);
    let mut body = patch::apply(&call.resource, &shown, patch, call)?;
    check_type(&call.resource, &mut body)?;
    check_name(call, &body)?;
    let given = decode(call, body).map_err(|error| match patch {
        Patch::Strategic(changes) => patch::does_not_fit(changes, error),
        Patch::Json(_) | Patch::Merge(_) => patch::does_not_decode(error),
        Patch::Apply(_) => patch::server_side_apply::not_converted(&call.resource, call, &error),
        Patch::Unreadable(_) => error,
    })?;
    write_given(state, call, part, &old, given, matches!(patch, Patch::Apply(_)))
}

fn apply_new(state: &mut State, call: &Call, patch: &Patch) -> Result<Answer, ApiError> {
    let Patch::Apply(given) = patch else { return Err(ApiError::method_not_allowed()) };
    let body = patch::server_side_apply::apply(&call.resource, None, given, call)?;
    check_name(call, &body)?;
    super::create::create_as(state, call, body, super::create::Given::Applied)
}

/// Kinds that an update creates where they do not exist (`AllowCreateOnUpdate`).
fn is_created_by_update(resource: &ResourceType) -> bool {
    const CREATED: [&str; 6] = ["Service", "Lease", "Event", "Endpoints", "EndpointSlice", "LimitRange"];
    let rbac = resource.group == "rbac.authorization.k8s.io";
    resource.builtin().is_some_and(|kind| rbac || CREATED.contains(&kind.kind))
}

/// The object that the path names.
pub(crate) fn existing(state: &State, call: &Call) -> Result<Arc<Object>, ApiError> {
    let name = call.object_name();
    let found = state.store.get(&call.resource.storage, &name);
    found.cloned().ok_or_else(|| ApiError::not_found(&call.resource.group_resource(), &name.name))
}

fn check_name(call: &Call, body: &Value) -> Result<(), ApiError> {
    let expected = call.object_name().name;
    match text_or_empty(body, &["metadata", "name"]) {
        found if found == expected => Ok(()),
        "" => Err(ApiError::bad_request(
            "the name of the object must be given in `metadata.name` and match the name on the URL",
        )),
        found => Err(ApiError::bad_request(format!(
            "the name of the object ({found}) does not match the name on the URL ({expected})"
        ))),
    }
}

/// Custom resources, leases and budgets may only be replaced by who has read them (the others allow unconditional updates).
fn require_version(resource: &ResourceType, body: &Value) -> Result<(), ApiError> {
    let unconditional = resource.builtin().is_some_and(|kind| !["Lease", "PodDisruptionBudget"].contains(&kind.kind));
    if unconditional || !text_or_empty(body, &["metadata", "resourceVersion"]).is_empty() {
        return Ok(());
    }
    let error = FieldError::invalid("metadata.resourceVersion", 0, "must be specified for an update");
    let name = text_or_empty(body, &["metadata", "name"]);
    Err(ApiError::invalid(&resource.group, &resource.plural, name, &[error]))
}

/// The common end of replace and patch: preconditions, rules, the store.
pub(crate) fn write(
    state: &mut State,
    call: &Call,
    part: Part,
    old: &Arc<Object>,
    body: Value,
) -> Result<Answer, ApiError> {
    let given = decode(call, body)?;
    write_given(state, call, part, old, given, false)
}

/// As [`write`], of an object that was decoded, with its warnings; an apply has worked out the fields' owners itself.
fn write_given(
    state: &mut State,
    call: &Call,
    part: Part,
    old: &Arc<Object>,
    (mut given, mut warnings): (Value, Vec<String>),
    applied: bool,
) -> Result<Answer, ApiError> {
    let resource = &call.resource;
    check_preconditions(call, old, &given)?;
    if at(&given, &["metadata", "deletionTimestamp"]).is_some() && !old.is_terminating() {
        let found = at(&given, &["metadata", "deletionTimestamp"]).cloned().unwrap_or_default();
        let error = FieldError::invalid("metadata.deletionTimestamp", found, "field is immutable");
        return Err(super::invalid(resource, &given, &[error]));
    }
    fill_in(resource, &mut given);
    if !applied {
        patch::managers::record(resource, &mut given, Some(old.value()), call);
    }
    let owners = at(&given, &["metadata", "managedFields"]).cloned();
    let mut new = merged(resource, part, given, old.value());
    match owners {
        Some(owners) => set(&mut new, &["metadata"], "managedFields", owners),
        None => drop(members_mut(&mut new, &["metadata"]).remove("managedFields")),
    }
    // What users note counts where they write, not with a status.
    let generation = match resource.generation {
        Generation::SpecAndAnnotations if part != Part::Main => Generation::Spec,
        generation => generation,
    };
    lifecycle::prepare_update(&mut new, old.value(), generation);
    if resource.kind == "CustomResourceDefinition" {
        custom::default_definition(&mut new);
    }
    builtin::prepare_update(resource, &mut new, old.value());
    check_part(resource, part, &new, old.value())?;
    warnings.extend(super::warnings(resource, &new, Some(old.value())));
    let written = store(state, call, new, old);
    Ok(Answer::object(StatusCode::OK, written).with_warnings(warnings))
}

/// Subresources of built-in kinds change only what they are for, so the kind's rules for updates do not apply to them.
fn check_part(resource: &ResourceType, part: Part, new: &Value, old: &Value) -> Result<(), ApiError> {
    if part == Part::EphemeralContainers {
        let errors = builtin::validate_ephemeral_containers(new);
        return if errors.is_empty() { Ok(()) } else { Err(super::invalid(resource, new, &errors)) };
    }
    if let Some(kind) = resource.builtin().filter(|_| builtin::is_checked_by_part(part)) {
        let mut errors = if part == Part::Status { builtin::validate_status(kind, new) } else { Vec::new() };
        errors.extend(builtin::added_finalizers(new, old));
        return if errors.is_empty() { Ok(()) } else { Err(super::invalid(resource, new, &errors)) };
    }
    validate(resource, new, Some(old))
}

fn check_preconditions(call: &Call, old: &Object, body: &Value) -> Result<(), ApiError> {
    let resource = call.resource.group_resource();
    let uid = text_or_empty(body, &["metadata", "uid"]);
    if !uid.is_empty() && uid != old.uid() {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", old.uid());
        return Err(ApiError::conflict(&resource, old.name(), &why));
    }
    let version = text_or_empty(body, &["metadata", "resourceVersion"]);
    if !version.is_empty() && version != "0" && version != old.revision().to_string() {
        return Err(ApiError::modified(&resource, old.name()));
    }
    Ok(())
}

/// The new object, with everything that the request may not change taken from the old one.
fn merged(resource: &ResourceType, part: Part, mut given: Value, old: &Value) -> Value {
    match part {
        Part::Main => {
            if resource.status {
                carry_over(&mut given, old, &[], "status");
            }
            // Only `finalize` changes a namespace's spec.
            if resource.builtin().is_some_and(|kind| kind.kind == "Namespace") {
                carry_over(&mut given, old, &[], "spec");
            }
            given
        }
        Part::Status => status_only(resource, given, old),
        Part::EphemeralContainers => with_member(old, &given, &["spec"], "ephemeralContainers"),
        Part::Resize => builtin::resized(old, &given),
        Part::Finalize => with_member(old, &given, &["spec"], "finalizers"),
    }
}

fn with_member(old: &Value, given: &Value, path: &[&str], key: &str) -> Value {
    let mut new = old.clone();
    carry_over(&mut new, given, path, key);
    new
}

/// Status updates of built-in kinds may change the metadata too, but for what the kind keeps.
fn status_only(resource: &ResourceType, mut given: Value, old: &Value) -> Value {
    let kept = match resource.builtin().map(|kind| kind.kind) {
        None | Some("CustomResourceDefinition" | "VolumeAttachment") => {
            let status = members_mut(&mut given, &[]).remove("status");
            let mut new = old.clone();
            match status {
                Some(status) => set(&mut new, &[], "status", status),
                None => drop(members_mut(&mut new, &[]).remove("status")),
            }
            return new;
        }
        Some("Deployment") => "labels",
        Some(_) => "ownerReferences",
    };
    carry_over(&mut given, old, &["metadata"], kept);
    let is_own = |key: &&String| !["metadata", "status"].contains(&key.as_str());
    let keys =
        |object: &Value| object.as_object().into_iter().flat_map(|members| members.keys()).cloned().collect::<Vec<_>>();
    for key in keys(&given).iter().chain(&keys(old)).filter(is_own) {
        carry_over(&mut given, old, &[], key);
    }
    given
}

/// Writes unless nothing changed; removes what has nothing left to wait for.
fn store(state: &mut State, call: &Call, mut new: Value, old: &Arc<Object>) -> Arc<Object> {
    if lifecycle::is_same(&new, old.value()) {
        return Arc::clone(old);
    }
    members_mut(&mut new, &["metadata"]).remove("resourceVersion");
    if call.query.dry_run {
        return Arc::new(Object::new(new, old.revision()));
    }
    if lifecycle::is_finished(&new) {
        // Who watches is told what was stored last; the update that ends an object is not stored.
        state.remove(&call.resource.storage, old.value().clone());
        return Arc::new(Object::new(new, old.revision()));
    }
    state.put(&call.resource.storage, new, call.now)
}
