//! Create.

use super::{Answer, check_namespace, check_type, decode, fill_in, validate};
use crate::apiserver::{
    builtin,
    field_error::FieldError,
    patch::{managers, server_side_apply::not_converted},
    registry::{ResourceType, custom},
    request::ResourcePath,
    state::{Call, State, namespaces},
    status::ApiError,
    store::{Object, ObjectName, lifecycle},
    subresource::{binding, reviews},
    value::{members_mut, set, text, text_or_empty},
};
use http::StatusCode;
use serde_json::Value;
use std::sync::Arc;

/// Creates the object in the body.
pub(crate) fn create(state: &mut State, call: &Call, body: Value) -> Result<Answer, ApiError> {
    create_as(state, call, body, Given::Whole)
}

/// As what an object that is created was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// As it is.
    Whole,
    /// By an apply, which has worked out the fields' owners itself.
    Applied,
    /// As one of another kind, which has none of this one's defaults.
    OfAnotherKind,
}

/// As [`create`].
pub(crate) fn create_as(state: &mut State, call: &Call, mut body: Value, given: Given) -> Result<Answer, ApiError> {
    let applied = given == Given::Applied;
    if given == Given::Whole {
        check_kind(state, call, &body)?;
    }
    check_type(&call.resource, &mut body)?;
    check_namespace(call, &mut body)?;
    let (mut object, mut warnings) = decode(call, body)
        .map_err(|error| if applied { not_converted(&call.resource, call, &error) } else { error })?;
    if applied {
        // An apply makes whatever version there is.
        members_mut(&mut object, &["metadata"]).remove("resourceVersion");
    }
    if call.resource.kind == "Binding" && call.resource.builtin().is_some() {
        return bind(state, call, &object);
    }
    if call.resource.is_virtual() {
        return Ok(Answer::value(StatusCode::CREATED, reviews::answer(&call.resource, object)));
    }
    if given != Given::OfAnotherKind {
        fill_in(&call.resource, &mut object);
    }
    warnings.extend(super::warnings(&call.resource, &object, None));
    if call.resource.kind == "CustomResourceDefinition" {
        custom::default_definition(&mut object);
    }
    if !applied {
        managers::record(&call.resource, &mut object, None, call);
    }
    let object = prepare(state, call, object)?;
    let created = if call.query.dry_run {
        Arc::new(Object::new(object, 0))
    } else {
        state.put(&call.resource.storage, object, call.now)
    };
    Ok(Answer::object(StatusCode::CREATED, created).with_warnings(warnings))
}

/// A custom resource of another kind is one that breaks a rule, among others.
fn check_kind(state: &mut State, call: &Call, body: &Value) -> Result<(), ApiError> {
    let resource = &call.resource;
    let found = text_or_empty(body, &["kind"]);
    let is_own = text_or_empty(body, &["apiVersion"]) == resource.api_version();
    if resource.custom().is_none() || !is_own || found.is_empty() || found == resource.kind {
        return Ok(());
    }
    let kind = FieldError::invalid("kind", found, format!("must be {}", resource.kind));
    let mut error = ApiError::invalid(&resource.group, found, text_or_empty(body, &["metadata", "name"]), &[kind]);
    let mut named = body.clone();
    set(&mut named, &[], "kind", resource.kind.as_str());
    let mut asked = call.clone();
    asked.query.dry_run = true;
    if let Err(other) = create_as(state, &asked, named, Given::OfAnotherKind)
        && other.code == StatusCode::UNPROCESSABLE_ENTITY
    {
        error.details.causes.extend(other.details.causes);
    }
    Err(error)
}

/// A binding by its own path: the pod is the one of its name.
fn bind(state: &mut State, call: &Call, binding: &Value) -> Result<Answer, ApiError> {
    let pods = state.registry.find("", "v1", "pods").cloned().ok_or_else(ApiError::no_such_path)?;
    let name = Some(text_or_empty(binding, &["metadata", "name"]).to_owned());
    let path = ResourcePath { plural: pods.plural.clone(), name, ..call.path.clone() };
    binding::bind(state, &Call { resource: pods, path, ..call.clone() }, binding)
}

/// Everything between the decoded body, filled in, and the store.
fn prepare(state: &mut State, call: &Call, mut object: Value) -> Result<Value, ApiError> {
    let resource = &call.resource;
    let namespace = text_or_empty(&object, &["metadata", "namespace"]).to_owned();
    give_name(state, call, &mut object, &namespace);
    let name = ObjectName::new(&namespace, text_or_empty(&object, &["metadata", "name"]));
    check_namespace_accepts(state, resource, &name)?;
    // What is wrong with an object is said before that there is one of its name.
    let existing = state.store.get(&resource.storage, &name).map(|existing| existing.uid().to_owned());
    let is_new = existing.is_none();
    let uid = existing.unwrap_or_else(|| state.new_uid(&resource.storage, &name));
    lifecycle::prepare_create(&mut object, &uid, call.now, resource.generation);
    clear_status(resource, &mut object);
    builtin::prepare_create(resource, &mut object, state)?;
    if resource.kind == "CustomResourceDefinition" {
        let status = custom::first_status(&object);
        set(&mut object, &[], "status", status);
        lifecycle::set_finalizer(&mut object, custom::CLEANUP, !call.query.dry_run);
    }
    validate(resource, &object, None)?;
    // The store refuses it, which a dry run does not reach.
    if !call.query.dry_run && !text_or_empty(&object, &["metadata", "resourceVersion"]).is_empty() {
        return Err(ApiError::internal("resourceVersion should not be set on objects to be created"));
    }
    if is_new { Ok(object) } else { Err(ApiError::already_exists(&resource.group_resource(), &name.name)) }
}

fn give_name(state: &mut State, call: &Call, object: &mut Value, namespace: &str) {
    let prefix = text_or_empty(object, &["metadata", "generateName"]).to_owned();
    if text_or_empty(object, &["metadata", "name"]).is_empty() && !prefix.is_empty() {
        let name = state.new_name(&call.resource.storage, namespace, &prefix);
        set(object, &["metadata"], "name", name);
    }
}

/// A namespace must exist and not be going away (the `NamespaceLifecycle` admission plugin).
fn check_namespace_accepts(state: &State, resource: &ResourceType, name: &ObjectName) -> Result<(), ApiError> {
    if !resource.namespaced {
        return Ok(());
    }
    let namespace = state.store.get(&namespaces(), &ObjectName::new("", &name.namespace));
    match namespace {
        None => Err(ApiError::not_found(&namespaces(), &name.namespace)),
        Some(namespace) if namespace.is_terminating() => {
            let why =
                format!("unable to create new content in namespace {} because it is being terminated", name.namespace);
            Err(ApiError::forbidden(&resource.group_resource(), &name.name, &why))
        }
        Some(_) => Ok(()),
    }
}

/// Status is not the creator's to write, except of Nodes: the kubelet registers them with it.
fn clear_status(resource: &ResourceType, object: &mut Value) {
    if resource.status && resource.kind != "Node" && text(object, &["kind"]).is_some() {
        members_mut(object, &[]).remove("status");
    }
}
