//! Objects, resource versions and watch history. **Pure**: no clock, no waiting, no randomness.
//!
//! - [`object`] — one stored version of an object and its bytes
//! - [`collection`] — the objects of one resource, with the events that made them so
//! - [`selector`] — label and field selectors
//! - [`owners`] — who owns whom, and what garbage collection has to look at
//! - [`lifecycle`] — what the server does to `metadata` on create, update and delete

mod collection;
pub(crate) mod lifecycle;
mod object;
mod owners;
mod selector;

pub(crate) use collection::{Compacted, Event, EventKind, event_line};
pub(crate) use object::serialized;
pub use object::{Object, ObjectRef};
pub(crate) use owners::Work;
pub(crate) use selector::{FieldSelector, Filter, LabelSelector};

use collection::Collection;
use owners::Owners;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

/// A resource without its version: what objects are stored under.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupResource {
    /// The API group; empty for the core group.
    pub group: String,
    /// The plural name, e.g. `pods`.
    pub resource: String,
}

impl GroupResource {
    /// The resource `resource` of the group `group`.
    pub fn new(group: &str, resource: &str) -> Self {
        Self { group: group.to_owned(), resource: resource.to_owned() }
    }
}

impl fmt::Display for GroupResource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.resource)?;
        if self.group.is_empty() { Ok(()) } else { write!(formatter, ".{}", self.group) }
    }
}

/// An object's name within its resource. Orders by namespace, then name, as lists are ordered.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectName {
    /// Empty for objects of the whole cluster.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl ObjectName {
    /// The object `name` in `namespace` (empty for the whole cluster).
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

/// Part of a list, and where the next part begins.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) objects: Vec<Arc<Object>>,
    /// The version that the list shows.
    pub(crate) revision: u64,
    /// The last object returned, if more follow.
    pub(crate) last: Option<ObjectName>,
    /// How many follow, where that is known (no selectors).
    pub(crate) remaining: Option<usize>,
}

/// Which part of a list is wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct PageRequest {
    /// 0 for all.
    pub(crate) limit: usize,
    /// Begin with this name.
    pub(crate) from: Option<ObjectName>,
    /// As of this version, exactly; `None` for now.
    pub(crate) revision: Option<u64>,
}

/// All objects of the cluster.
#[derive(Debug)]
pub(crate) struct Store {
    revision: u64,
    history_limit: usize,
    collections: BTreeMap<GroupResource, Collection>,
    owners: Owners,
    touched: BTreeSet<GroupResource>,
    draws: BTreeMap<(&'static str, String), u64>,
}

impl Store {
    /// An empty store that keeps so many events per resource for watches and consistent lists.
    pub(crate) fn new(history_limit: usize) -> Self {
        Self {
            revision: 1,
            history_limit,
            collections: BTreeMap::new(),
            owners: Owners::default(),
            touched: BTreeSet::new(),
            draws: BTreeMap::new(),
        }
    }

    /// The version of the last write.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// The object, if it exists.
    pub(crate) fn get(&self, resource: &GroupResource, name: &ObjectName) -> Option<&Arc<Object>> {
        self.collections.get(resource)?.get(name)
    }

    /// The objects of a resource in order of namespace and name.
    pub(crate) fn objects(&self, resource: &GroupResource) -> impl Iterator<Item = &Arc<Object>> {
        self.collections.get(resource).into_iter().flat_map(Collection::objects)
    }

    /// The objects of a resource in one namespace, in order of name.
    pub(crate) fn objects_in<'a>(
        &'a self,
        resource: &GroupResource,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        self.collections.get(resource).into_iter().flat_map(move |collection| collection.objects_in(namespace))
    }

    /// The resources that have ever had an object.
    pub(crate) fn resources(&self) -> impl Iterator<Item = &GroupResource> {
        self.collections.keys()
    }

    /// One page of the objects that match.
    pub(crate) fn list(
        &self,
        resource: &GroupResource,
        filter: &Filter,
        page: &PageRequest,
    ) -> Result<Page, Compacted> {
        let empty = Collection::default();
        let collection = self.collections.get(resource).unwrap_or(&empty);
        collection.list(filter, page, self.revision)
    }

    /// The events after `revision`, oldest first.
    pub(crate) fn events_after(
        &self,
        resource: &GroupResource,
        revision: u64,
    ) -> Result<impl Iterator<Item = &Arc<Event>>, Compacted> {
        let events = self.collections.get(resource).map(|collection| collection.events_after(revision)).transpose()?;
        Ok(events.into_iter().flatten())
    }

    /// Writes a new object or a new version of one. The caller has checked what may be written.
    pub(crate) fn put(&mut self, resource: &GroupResource, value: Value) -> Arc<Object> {
        self.revision += 1;
        let object = Arc::new(Object::new(value, self.revision));
        let collection = self.collections.entry(resource.clone()).or_default();
        let previous = collection.put(Arc::clone(&object), self.history_limit);
        self.owners.written(resource, previous.as_deref(), &object);
        self.touched.insert(resource.clone());
        object
    }

    /// Removes an object for good; its last version, as the DELETED event shows it, is `value`.
    pub(crate) fn remove(&mut self, resource: &GroupResource, value: Value) -> Arc<Object> {
        self.revision += 1;
        let object = Arc::new(Object::new(value, self.revision));
        if let Some(collection) = self.collections.get_mut(resource) {
            collection.remove(Arc::clone(&object), self.history_limit);
        }
        self.owners.removed(resource, &object);
        self.look_at_containers(resource, &object);
        self.touched.insert(resource.clone());
        object
    }

    /// A namespace or definition that is going away may have been waiting for this object to be gone.
    fn look_at_containers(&mut self, resource: &GroupResource, removed: &Object) {
        let namespace = (GroupResource::new("", "namespaces"), ObjectName::new("", removed.namespace()));
        let definitions = GroupResource::new("apiextensions.k8s.io", "customresourcedefinitions");
        let definition = (definitions, ObjectName::new("", &resource.to_string()));
        for (resource, name) in [namespace, definition] {
            if self.get(&resource, &name).is_some_and(|container| container.is_terminating()) {
                self.owners.look_at(ObjectRef { resource, name });
            }
        }
    }

    /// Forgets the history up to now, as etcd's compaction does: older versions can no longer be watched from.
    pub(crate) fn compact(&mut self) {
        let revision = self.revision;
        self.collections.values_mut().for_each(|collection| collection.compact(revision));
    }

    /// Forgets the history of what was written up to this version.
    pub(crate) fn forget(&mut self, revision: u64) {
        self.collections.values_mut().for_each(|collection| collection.forget(revision));
    }

    /// Objects of a resource that is served from now on: there is no earlier version to watch from.
    pub(crate) fn begin(&mut self, resource: &GroupResource) {
        let revision = self.revision;
        self.collections.entry(resource.clone()).or_insert_with(|| Collection::beginning_at(revision));
    }

    /// The resources written since the last call.
    pub(crate) fn take_touched(&mut self) -> BTreeSet<GroupResource> {
        std::mem::take(&mut self.touched)
    }

    /// The next piece of work for garbage collection.
    pub(crate) fn next_work(&mut self) -> Option<Work> {
        self.owners.next_work()
    }

    /// Who owns whom.
    pub(crate) fn owners(&self) -> &Owners {
        &self.owners
    }

    /// How often something of this purpose and entity was drawn before; counts this one.
    pub(crate) fn nth(&mut self, purpose: &'static str, entity: String) -> u64 {
        let count = self.draws.entry((purpose, entity)).or_default();
        *count += 1;
        *count - 1
    }
}

#[cfg(test)]
mod tests {
    use super::{EventKind, Filter, GroupResource, ObjectName, PageRequest, Store};
    use serde_json::{Value, json};

    fn pod(name: &str, note: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": "default", "uid": name}, "note": note})
    }

    fn pods() -> GroupResource {
        GroupResource::new("", "pods")
    }

    #[test]
    fn events_tell_what_happened_after_a_version() {
        let mut store = Store::new(10);
        let first = store.put(&pods(), pod("a", "1")).revision();
        store.put(&pods(), pod("a", "2"));
        store.remove(&pods(), pod("a", "2"));
        let kinds: Vec<EventKind> = store.events_after(&pods(), first).unwrap().map(|event| event.kind).collect();
        assert_eq!(kinds, [EventKind::Modified, EventKind::Deleted]);
        assert!(store.get(&pods(), &ObjectName::new("default", "a")).is_none());
    }

    #[test]
    fn forgotten_versions_are_gone() {
        let mut store = Store::new(2);
        let first = store.put(&pods(), pod("a", "1")).revision();
        for note in ["2", "3", "4"] {
            store.put(&pods(), pod("a", note));
        }
        assert!(store.events_after(&pods(), first).is_err());
        assert_eq!(store.events_after(&pods(), store.revision() - 2).unwrap().count(), 2);
        store.compact();
        assert!(store.events_after(&pods(), store.revision() - 1).is_err());
        assert_eq!(store.events_after(&pods(), store.revision()).unwrap().count(), 0);
    }

    #[test]
    fn what_nobody_wrote_is_not_forgotten() {
        let mut store = Store::new(10);
        let first = store.put(&pods(), pod("a", "1")).revision();
        let second = store.put(&pods(), pod("a", "2")).revision();
        store.put(&pods(), pod("a", "3"));
        let quiet = GroupResource::new("", "nodes");
        store.begin(&quiet);
        store.forget(second);
        assert!(store.events_after(&pods(), first).is_err());
        assert_eq!(store.events_after(&pods(), second).unwrap().count(), 1);
        store.forget(store.revision());
        assert_eq!(store.events_after(&quiet, store.revision()).unwrap().count(), 0);
        assert!(store.events_after(&quiet, first).is_err(), "nothing is known from before it began");
    }

    #[test]
    fn pages_show_one_version() {
        let mut store = Store::new(10);
        for name in ["a", "b", "c"] {
            store.put(&pods(), pod(name, "old"));
        }
        let first =
            store.list(&pods(), &Filter::default(), &PageRequest { limit: 2, ..PageRequest::default() }).unwrap();
        assert_eq!(first.remaining, Some(1));
        store.put(&pods(), pod("c", "new"));
        store.put(&pods(), pod("d", "new"));
        store.remove(&pods(), pod("b", "old"));
        let from = first.last.map(|last| ObjectName::new(&last.namespace, &format!("{}\0", last.name)));
        let next = PageRequest { limit: 2, from, revision: Some(first.revision) };
        let second = store.list(&pods(), &Filter::default(), &next).unwrap();
        let notes: Vec<_> =
            second.objects.iter().map(|object| (object.name().to_owned(), object.value()["note"].clone())).collect();
        assert_eq!(notes, [("c".to_owned(), json!("old"))]);
        assert!(second.last.is_none());
    }
}
