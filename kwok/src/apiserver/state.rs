//! What the server knows: the store, the resources served, and what writes draw from (time, seed).

use super::{
    registry::{Registry, ResourceType, custom},
    request::{Query, ResourcePath},
    store::{GroupResource, Object, ObjectName, Store},
};
use jiff::{SignedDuration, Timestamp};
use sawhorse_ambient::Seed;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// Everything behind the server's lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    pub(crate) seed: Seed,
    pub(crate) requests: BTreeMap<(String, String), u64>,
    /// When old versions were forgotten last, and the version of then, up to which they are forgotten next.
    pub(crate) compacted: (Timestamp, u64),
}

/// How often old versions are forgotten: they are kept for once to twice as long (`--etcd-compaction-interval`).
const COMPACTION_EVERY: SignedDuration = SignedDuration::from_mins(5);

/// One request to a resource, as values.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) resource: Arc<ResourceType>,
    pub(crate) path: ResourcePath,
    pub(crate) query: Query,
    pub(crate) now: Timestamp,
    /// The `User-Agent`; empty where none was sent.
    pub(crate) user_agent: String,
}

/// The longest name of a field manager.
const MAX_MANAGER: usize = 128;

impl Call {
    /// Who owns what the request writes: the field manager it names, else the program it comes from.
    pub(crate) fn manager(&self) -> &str {
        let agent = || self.user_agent.split('/').next().unwrap_or_default();
        let named = self.query.field_manager.as_deref().filter(|name| !name.is_empty());
        match named.unwrap_or_else(agent) {
            "" => "unknown",
            name => &name[..name.floor_char_boundary(MAX_MANAGER)],
        }
    }

    /// The key of the object that the path names.
    pub(crate) fn object_name(&self) -> ObjectName {
        ObjectName::new(
            self.path.namespace.as_deref().unwrap_or_default(),
            self.path.name.as_deref().unwrap_or_default(),
        )
    }
}

/// The resource of namespaces.
pub(crate) fn namespaces() -> GroupResource {
    GroupResource::new("", "namespaces")
}

/// The resource of definitions.
pub(crate) fn definitions() -> GroupResource {
    GroupResource::new("apiextensions.k8s.io", "customresourcedefinitions")
}

impl State {
    /// Writes an object that has been checked; a definition takes effect at once.
    pub(crate) fn put(&mut self, storage: &GroupResource, mut value: Value, now: Timestamp) -> Arc<Object> {
        let is_definition = *storage == definitions();
        if is_definition {
            custom::establish(&mut value, now);
        }
        let object = self.store.put(storage, value);
        if is_definition {
            let served = custom::storage(object.value());
            self.store.begin(&served);
            self.registry.replace_custom(&served, custom::resource_types(object.value()));
        }
        object
    }

    /// Removes an object; a definition's resources are no longer served.
    pub(crate) fn remove(&mut self, storage: &GroupResource, value: Value) -> Arc<Object> {
        let object = self.store.remove(storage, value);
        if *storage == definitions() {
            self.registry.replace_custom(&custom::storage(object.value()), Vec::new());
        }
        object
    }

    /// A uid for a new object: the same whenever the same entity is made for the nth time in a run with the same seed.
    pub(crate) fn new_uid(&mut self, storage: &GroupResource, name: &ObjectName) -> String {
        let resource = storage.to_string();
        let nth = self.store.nth("uid", format!("{resource}/{}/{}", name.namespace, name.name)).to_string();
        self.seed.stream(&["uid", &resource, &name.namespace, &name.name, &nth]).uuid()
    }

    /// A name from `generateName`: five characters that contain no vowels, as Kubernetes draws them.
    pub(crate) fn new_name(&mut self, storage: &GroupResource, namespace: &str, prefix: &str) -> String {
        const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        // Prefixes are cut so that the name stays a DNS label (63 characters).
        const PREFIX_LENGTH: usize = 58;
        let resource = storage.to_string();
        let kept: String = prefix.chars().take(PREFIX_LENGTH).collect();
        loop {
            let nth = self.store.nth("name", format!("{resource}/{namespace}/{prefix}")).to_string();
            let suffix = self.seed.stream(&["generateName", &resource, namespace, prefix, &nth]).text(ALPHABET, 5);
            let name = ObjectName::new(namespace, &format!("{kept}{suffix}"));
            if self.store.get(storage, &name).is_none() {
                return name.name;
            }
        }
    }

    /// Forgets versions that have become old, if it is time to.
    pub(crate) fn forget_old(&mut self, now: Timestamp) {
        let (since, revision) = self.compacted;
        if now.duration_since(since) >= COMPACTION_EVERY {
            self.store.forget(revision);
            self.compacted = (now, self.store.revision());
        }
    }

    /// Counts a request for the run's summary.
    pub(crate) fn count(&mut self, verb: &str, resource: &str) {
        *self.requests.entry((verb.to_owned(), resource.to_owned())).or_default() += 1;
    }
}
