//! An object as kubelets remember it: as text, because what is parsed takes ten times as much memory, and most objects are
//! looked at once an hour.

use super::object::text;
use serde_json::Value;

/// An object, and of it what is asked for often.
pub(super) struct Tracked {
    json: Box<[u8]>,
    pub(super) uid: Box<str>,
    /// Of a Pod the name of its node.
    pub(super) of: Box<str>,
    /// How many times something was drawn for this object: names its next stream.
    pub(super) draws: u64,
}

impl Tracked {
    pub(super) fn new(value: &Value) -> Self {
        let mut tracked = Self { json: Box::default(), uid: Box::default(), of: Box::default(), draws: 0 };
        tracked.set(value);
        tracked
    }

    /// The object has changed.
    pub(super) fn set(&mut self, value: &Value) {
        self.json = value.to_string().into_bytes().into();
        self.uid = text(value, &["metadata", "uid"]).into();
        self.of = text(value, &["spec", "nodeName"]).into();
    }

    /// The object.
    pub(super) fn value(&self) -> Value {
        serde_json::from_slice(&self.json).expect("it was written by `set`")
    }
}
