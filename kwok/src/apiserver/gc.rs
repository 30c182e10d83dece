//! Garbage collection: dependents whose owners are gone, and the finalizers that are the server's own (foreground and orphan
//! deletion, namespaces, definitions).
//!
//! [`step`] does one piece of the work that writes have left behind; [`run`] is the task that does them all.

use super::{
    registry::{ResourceType, custom},
    request::{Query, ResourcePath},
    server::Inner,
    state::{Call, State, definitions, namespaces},
    store::{
        GroupResource, Object, ObjectRef, Work,
        lifecycle::{self, Deletion, FOREGROUND, ORPHAN, Propagation},
    },
    value::{at, items, members_mut, text},
    verbs::delete::{DeleteOptions, delete_object},
};
use jiff::Timestamp;
use serde_json::Value;
use std::sync::{Arc, Weak};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Works until the server is gone.
pub(crate) async fn run(server: Weak<Inner>, wake: Arc<Notify>, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = wake.notified() => {}
        }
        let Some(server) = server.upgrade() else { return };
        let now = server.clock.now();
        while server.write(|state| step(state, now)) {}
    }
}

/// Does the next piece of work; answers whether there was one.
pub(crate) fn step(state: &mut State, now: Timestamp) -> bool {
    let Some(work) = state.store.next_work() else { return false };
    match work {
        Work::OwnerGone(uid) => {
            for place in state.store.owners().dependents(&uid) {
                check_owners(state, &place, now);
            }
        }
        Work::CheckOwners(place) => check_owners(state, &place, now),
        Work::Finalize(place) => finalize(state, &place, now),
    }
    true
}

fn current(state: &State, place: &ObjectRef) -> Option<Arc<Object>> {
    state.store.get(&place.resource, &place.name).cloned()
}

/// Deletes a dependent that has owners, none of which exist; otherwise only takes the missing ones off its list.
fn check_owners(state: &mut State, place: &ObjectRef, now: Timestamp) {
    let Some(object) = current(state, place) else { return };
    let references = items(object.value(), &["metadata", "ownerReferences"]);
    let exists = |reference: &&Value| text(reference, &["uid"]).is_some_and(|uid| state.store.owners().exists(uid));
    let left: Vec<Value> = references.iter().filter(exists).cloned().collect();
    if references.is_empty() || left.len() == references.len() {
        return;
    }
    if left.is_empty() {
        delete(state, place, &object, Propagation::Background, now);
    } else {
        let mut value = object.value().clone();
        members_mut(&mut value, &["metadata"]).insert("ownerReferences".into(), left.into());
        state.put(&place.resource, value, now);
    }
}

fn delete(state: &mut State, place: &ObjectRef, object: &Arc<Object>, propagation: Propagation, now: Timestamp) {
    let Some(resource) = state.registry.stored(&place.resource).cloned() else { return };
    if object.is_terminating() {
        return;
    }
    // A deletion that was asked for with its own policy keeps it.
    let options = DeleteOptions {
        deletion: Deletion { grace_seconds: None, propagation: Some(propagation) },
        ..DeleteOptions::default()
    };
    let call = call_for(resource, place, now);
    // The only refusals are preconditions, of which there are none, and protected namespaces, which stay.
    if let Err(error) = delete_object(state, &call, object, &options) {
        tracing::debug!(%error, resource = %place.resource, name = place.name.name, "not collected");
    }
}

fn call_for(resource: Arc<ResourceType>, place: &ObjectRef, now: Timestamp) -> Call {
    let namespace = Some(place.name.namespace.clone()).filter(|namespace| !namespace.is_empty());
    let path = ResourcePath {
        group: resource.group.clone(),
        version: resource.version.clone(),
        namespace,
        plural: resource.plural.clone(),
        name: Some(place.name.name.clone()),
        subresource: None,
    };
    Call { resource, path, query: Query::default(), now, user_agent: String::new() }
}

/// Goes on with the deletion of an object that waits for one of the server's own finalizers.
fn finalize(state: &mut State, place: &ObjectRef, now: Timestamp) {
    let Some(object) = current(state, place).filter(|object| object.is_terminating()) else { return };
    if lifecycle::has_finalizer(object.value(), ORPHAN) {
        orphan_dependents(state, &object, now);
        return drop_finalizer(state, place, ORPHAN, now);
    }
    if lifecycle::has_finalizer(object.value(), FOREGROUND) && dependents_are_gone(state, &object, now) {
        return drop_finalizer(state, place, FOREGROUND, now);
    }
    if place.resource == namespaces() && namespace_is_empty(state, &object, now) {
        return finish_namespace(state, place, now);
    }
    if place.resource == definitions() && instances_are_gone(state, &object, now) {
        drop_finalizer(state, place, custom::CLEANUP, now);
    }
}

fn drop_finalizer(state: &mut State, place: &ObjectRef, finalizer: &str, now: Timestamp) {
    let Some(object) = current(state, place) else { return };
    let mut value = object.value().clone();
    lifecycle::set_finalizer(&mut value, finalizer, false);
    put_or_remove(state, place, value, now);
}

fn put_or_remove(state: &mut State, place: &ObjectRef, value: Value, now: Timestamp) {
    if lifecycle::is_finished(&value) {
        state.remove(&place.resource, value);
    } else {
        state.put(&place.resource, value, now);
    }
}

/// Takes the owner off its dependents' lists.
fn orphan_dependents(state: &mut State, owner: &Object, now: Timestamp) {
    for place in state.store.owners().dependents(owner.uid()) {
        let Some(dependent) = current(state, &place) else { continue };
        let mut value = dependent.value().clone();
        let references = items(&value, &["metadata", "ownerReferences"]).to_vec();
        let left: Vec<Value> =
            references.into_iter().filter(|reference| text(reference, &["uid"]) != Some(owner.uid())).collect();
        let metadata = members_mut(&mut value, &["metadata"]);
        if left.is_empty() {
            metadata.remove("ownerReferences");
        } else {
            metadata.insert("ownerReferences".into(), left.into());
        }
        state.put(&place.resource, value, now);
    }
}

/// Deletes the dependents in the foreground; answers whether none that blocks the owner is left.
fn dependents_are_gone(state: &mut State, owner: &Object, now: Timestamp) -> bool {
    for place in state.store.owners().dependents(owner.uid()) {
        if let Some(dependent) = current(state, &place) {
            delete(state, &place, &dependent, Propagation::Foreground, now);
        }
    }
    let dependents = state.store.owners().dependents(owner.uid());
    let blocks = |place: &ObjectRef| {
        let dependent = current(state, place);
        let references = dependent
            .as_ref()
            .map(|object| items(object.value(), &["metadata", "ownerReferences"]))
            .unwrap_or_default();
        references.iter().any(|reference| {
            text(reference, &["uid"]) == Some(owner.uid())
                && at(reference, &["blockOwnerDeletion"]).and_then(Value::as_bool) == Some(true)
        })
    };
    !dependents.iter().any(blocks)
}

/// Deletes what is in a namespace; answers whether nothing is left.
fn namespace_is_empty(state: &mut State, namespace: &Object, now: Timestamp) -> bool {
    let inside = |state: &State| -> Vec<(GroupResource, Arc<Object>)> {
        let resources: Vec<GroupResource> = state.store.resources().cloned().collect();
        let in_resource = |resource: &GroupResource| -> Vec<_> {
            state
                .store
                .objects_in(resource, namespace.name())
                .map(|object| (resource.clone(), Arc::clone(object)))
                .collect()
        };
        resources.iter().flat_map(in_resource).collect()
    };
    delete_all(state, inside(state), now);
    inside(state).is_empty()
}

fn delete_all(state: &mut State, objects: Vec<(GroupResource, Arc<Object>)>, now: Timestamp) {
    for (resource, object) in objects {
        let place = ObjectRef { resource, name: object.key() };
        delete(state, &place, &object, Propagation::Background, now);
    }
}

fn finish_namespace(state: &mut State, place: &ObjectRef, now: Timestamp) {
    let Some(object) = current(state, place) else { return };
    let mut value = object.value().clone();
    members_mut(&mut value, &["spec"]).remove("finalizers");
    put_or_remove(state, place, value, now);
}

/// Deletes a definition's objects; answers whether none is left.
fn instances_are_gone(state: &mut State, definition: &Object, now: Timestamp) -> bool {
    if !lifecycle::has_finalizer(definition.value(), custom::CLEANUP) {
        return false;
    }
    let storage = custom::storage(definition.value());
    let instances = state.store.objects(&storage).map(|object| (storage.clone(), Arc::clone(object))).collect();
    delete_all(state, instances, now);
    state.store.objects(&storage).next().is_none()
}
