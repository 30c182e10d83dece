//! The objects of one kind, as last seen by the watch or written by us.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// How many deleted objects are remembered per kind, so that the late answer to one of our writes cannot bring one back.
/// The answer is late by one request; a few hundred requests at most are in flight at a time.
const GONE_REMEMBERED: usize = 1024;

/// An object's namespace (empty for cluster-scoped kinds) and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectKey {
    /// Empty for cluster-scoped kinds.
    pub(crate) namespace: Arc<str>,
    /// The name.
    pub(crate) name: Arc<str>,
}

impl ObjectKey {
    pub(crate) fn of(meta: &ObjectMeta) -> Self {
        Self::new(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
    }

    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: Arc::from(namespace), name: Arc::from(name) }
    }
}

/// Who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The watch.
    Watch,
    /// The answer to our own write: an intent that the watch has not echoed yet.
    Write,
}

/// One object before and after; at least one of the two is present.
#[derive(Debug)]
pub(crate) struct Step<K> {
    pub(crate) before: Option<Arc<K>>,
    pub(crate) after: Option<Arc<K>>,
}

impl<K> Step<K> {
    /// The object as it is, or as it last was.
    pub(crate) fn either(&self) -> Option<&Arc<K>> {
        self.after.as_ref().or(self.before.as_ref())
    }
}

/// The objects of one kind.
///
/// Invariant: of one object (by UID) the version kept never goes back, so an answer to a write and the watch may arrive in
/// any order.
#[derive(Debug)]
pub(crate) struct Store<K> {
    objects: BTreeMap<ObjectKey, Arc<K>>,
    /// Our writes that the watch has not shown yet: they survive a re-list that does not show them.
    intents: BTreeSet<ObjectKey>,
    gone: VecDeque<String>,
    listed: bool,
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), intents: BTreeSet::new(), gone: VecDeque::new(), listed: false }
    }
}

impl<K: Resource + PartialEq> Store<K> {
    /// Takes in one object; none if nothing but its version is new.
    pub(crate) fn apply(&mut self, mut object: K, origin: Origin) -> Option<Step<K>> {
        let key = ObjectKey::of(object.meta());
        let known = self.objects.get(&key);
        if known.is_some_and(|known| is_older(object.meta(), known.meta())) || self.is_gone(object.meta()) {
            return None;
        }
        match origin {
            Origin::Watch => self.intents.remove(&key),
            Origin::Write => self.intents.insert(key.clone()),
        };
        let changed = known.is_none_or(|known| !same_but_version(&mut object, known));
        let after = Arc::new(object);
        let before = self.objects.insert(key, Arc::clone(&after));
        changed.then_some(Step { before, after: Some(after) })
    }

    /// Removes one object; none if it was not known (or a newer object has its name).
    pub(crate) fn delete(&mut self, meta: &ObjectMeta) -> Option<Step<K>> {
        self.remember_gone(meta);
        let key = ObjectKey::of(meta);
        if self.objects.get(&key)?.meta().uid != meta.uid {
            return None;
        }
        self.intents.remove(&key);
        self.objects.remove(&key).map(|before| Step { before: Some(before), after: None })
    }

    /// Replaces everything by a complete list, keeping our own writes that it does not show yet.
    pub(crate) fn reset(&mut self, objects: Vec<K>) -> Vec<Step<K>> {
        self.listed = true;
        let listed: BTreeSet<ObjectKey> = objects.iter().map(|object| ObjectKey::of(object.meta())).collect();
        let missing = self.objects.iter().filter(|(key, _)| !listed.contains(key) && !self.intents.contains(key));
        let missing: Vec<ObjectMeta> = missing.map(|(_, object)| object.meta().clone()).collect();
        let mut steps: Vec<Step<K>> = missing.iter().filter_map(|meta| self.delete(meta)).collect();
        steps.extend(objects.into_iter().filter_map(|object| self.apply(object, Origin::Watch)));
        steps
    }

    /// Whether a complete list has been seen.
    pub(crate) fn is_listed(&self) -> bool {
        self.listed
    }

    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<&Arc<K>> {
        self.objects.get(&ObjectKey::new(namespace, name))
    }

    /// All objects by namespace and name.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<K>> {
        self.objects.values()
    }

    fn is_gone(&self, meta: &ObjectMeta) -> bool {
        meta.uid.as_ref().is_some_and(|uid| self.gone.contains(uid))
    }

    fn remember_gone(&mut self, meta: &ObjectMeta) {
        if let Some(uid) = meta.uid.clone().filter(|uid| !self.gone.contains(uid)) {
            self.gone.truncate(GONE_REMEMBERED - 1);
            self.gone.push_front(uid);
        }
    }
}

/// Whether `new` is an earlier version of the object that `known` is (resource versions are comparable numbers since
/// Kubernetes 1.35; where one is not a number the newcomer wins).
fn is_older(new: &ObjectMeta, known: &ObjectMeta) -> bool {
    let version = |meta: &ObjectMeta| meta.resource_version.as_ref()?.parse::<u64>().ok();
    new.uid == known.uid && matches!((version(new), version(known)), (Some(new), Some(known)) if new < known)
}

/// Whether the two differ in their resource version at most.
fn same_but_version<K: Resource + PartialEq>(object: &mut K, known: &K) -> bool {
    let version = object.meta().resource_version.clone();
    object.meta_mut().resource_version.clone_from(&known.meta().resource_version);
    let same = object == known;
    object.meta_mut().resource_version = version;
    same
}

#[cfg(test)]
mod tests {
    use super::{Origin, Store};
    use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::ObjectMeta};
    use std::collections::BTreeMap;

    fn namespace(name: &str, uid: &str, version: u64, label: &str) -> Namespace {
        Namespace {
            metadata: ObjectMeta {
                name: Some(name.into()),
                uid: Some(uid.into()),
                resource_version: Some(version.to_string()),
                labels: Some(BTreeMap::from([("label".into(), label.into())])),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        }
    }

    fn names(store: &Store<Namespace>) -> Vec<&str> {
        store.iter().filter_map(|object| object.metadata.name.as_deref()).collect()
    }

    #[test]
    fn a_new_version_without_a_new_content_is_no_change() {
        let mut store = Store::default();
        assert!(store.apply(namespace("a", "1", 1, "x"), Origin::Watch).is_some());
        assert!(store.apply(namespace("a", "1", 2, "x"), Origin::Watch).is_none());
        assert_eq!(store.get("", "a").unwrap().metadata.resource_version.as_deref(), Some("2"));
        assert!(store.apply(namespace("a", "1", 3, "y"), Origin::Watch).is_some());
    }

    #[test]
    fn the_watch_does_not_take_back_what_we_wrote() {
        let mut store = Store::default();
        store.apply(namespace("a", "1", 10, "written"), Origin::Write);
        assert!(store.apply(namespace("a", "1", 9, "stale"), Origin::Watch).is_none());
        assert_eq!(store.get("", "a").unwrap().metadata.labels.as_ref().unwrap()["label"], "written");
    }

    #[test]
    fn the_late_answer_to_a_write_does_not_bring_a_deleted_object_back() {
        let mut store = Store::default();
        store.apply(namespace("a", "1", 1, "x"), Origin::Watch);
        store.delete(&namespace("a", "1", 3, "x").metadata);
        assert!(store.apply(namespace("a", "1", 2, "x"), Origin::Write).is_none());
        assert!(names(&store).is_empty());
        assert!(store.apply(namespace("a", "2", 4, "x"), Origin::Watch).is_some(), "a new object of that name");
    }

    #[test]
    fn the_delete_of_an_earlier_object_of_that_name_is_ignored() {
        let mut store = Store::default();
        store.apply(namespace("a", "2", 5, "x"), Origin::Write);
        assert!(store.delete(&namespace("a", "1", 4, "x").metadata).is_none());
        assert_eq!(names(&store), ["a"]);
    }

    #[test]
    fn a_list_removes_what_it_does_not_show_but_not_our_latest_writes() {
        let mut store = Store::default();
        store.apply(namespace("old", "1", 1, "x"), Origin::Watch);
        store.apply(namespace("ours", "2", 9, "x"), Origin::Write);
        assert!(!store.is_listed());
        let steps = store.reset(vec![namespace("new", "3", 8, "x")]);
        assert_eq!(names(&store), ["new", "ours"]);
        assert_eq!(steps.len(), 2);
        store.apply(namespace("ours", "2", 9, "x"), Origin::Watch);
        store.reset(vec![namespace("new", "3", 8, "x")]);
        assert_eq!(names(&store), ["new"], "once echoed, it goes as the others do");
        assert!(store.is_listed());
    }
}
