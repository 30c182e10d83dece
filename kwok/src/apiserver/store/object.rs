//! One stored object, and its bytes.

use super::{GroupResource, ObjectName};
use crate::apiserver::value;
use bytes::Bytes;
use serde_json::Value;
use std::sync::OnceLock;

/// A version of an object as it is stored. Never changed: a write makes a new one.
#[derive(Debug)]
pub struct Object {
    value: Value,
    revision: u64,
    json: OnceLock<Bytes>,
}

impl Object {
    /// The version written at `revision`; the value's `metadata.resourceVersion` is set to it. At 0 it was never written.
    pub(crate) fn new(mut value: Value, revision: u64) -> Self {
        if revision > 0 {
            value::set(&mut value, &["metadata"], "resourceVersion", revision.to_string());
        }
        Self { value, revision, json: OnceLock::new() }
    }

    /// An object as another API server sent it, with the resource version that it says (0 if that is no number).
    pub fn received(value: Value) -> Self {
        let revision = value::text_or_empty(&value, &["metadata", "resourceVersion"]).parse().unwrap_or(0);
        Self { value, revision, json: OnceLock::new() }
    }

    /// The whole object.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The resource version.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        value::text_or_empty(&self.value, &["metadata", "name"])
    }

    /// `metadata.namespace`; empty for objects of the whole cluster.
    pub fn namespace(&self) -> &str {
        value::text_or_empty(&self.value, &["metadata", "namespace"])
    }

    /// `metadata.uid`.
    pub fn uid(&self) -> &str {
        value::text_or_empty(&self.value, &["metadata", "uid"])
    }

    /// Whether deletion has begun.
    pub fn is_terminating(&self) -> bool {
        value::text(&self.value, &["metadata", "deletionTimestamp"]).is_some()
    }

    /// Namespace and name.
    pub(crate) fn key(&self) -> ObjectName {
        ObjectName { namespace: self.namespace().to_owned(), name: self.name().to_owned() }
    }

    /// The object as JSON, serialised once however often it is sent.
    pub fn json(&self) -> Bytes {
        self.json.get_or_init(|| serialized(&self.value)).clone()
    }
}

/// A JSON value's bytes.
pub(crate) fn serialized(value: &Value) -> Bytes {
    Bytes::from(serde_json::to_vec(value).expect("a JSON value with text keys can always be written"))
}

/// Where an object is: its resource, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectRef {
    /// The resource it belongs to.
    pub resource: GroupResource,
    /// Namespace and name.
    pub name: ObjectName,
}
