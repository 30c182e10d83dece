//! Stored objects shown in another version, and back.
//!
//! Custom resources with the conversion strategy `None` only change their `apiVersion`. Events have two forms of the same
//! data: the core group's, which is stored, and that of `events.k8s.io`.

use super::{registry::ResourceType, store::Object, value::members_mut};
use serde_json::Value;
use std::borrow::Cow;

/// Fields of events: the core group's name and that of `events.k8s.io`.
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// An object as the resource shows it.
pub(crate) fn shown<'a>(resource: &ResourceType, object: &'a Object) -> Cow<'a, Value> {
    if resource.is_stored_form() {
        return Cow::Borrowed(object.value());
    }
    let mut value = object.value().clone();
    rename(resource, &mut value, |(stored, shown)| (stored, shown));
    members_mut(&mut value, &[]).insert("apiVersion".into(), resource.api_version().into());
    Cow::Owned(value)
}

/// An object as it is stored.
pub(crate) fn stored(resource: &ResourceType, value: &mut Value) {
    if resource.is_stored_form() {
        return;
    }
    rename(resource, value, |(stored, shown)| (shown, stored));
    members_mut(value, &[]).insert("apiVersion".into(), resource.storage_api_version.clone().into());
}

type FieldPair = (&'static str, &'static str);

fn rename(resource: &ResourceType, value: &mut Value, direction: impl Fn(FieldPair) -> FieldPair) {
    if resource.group != "events.k8s.io" {
        return;
    }
    let members = members_mut(value, &[]);
    for pair in EVENT_FIELDS {
        let (from, to) = direction(pair);
        if let Some(moved) = members.remove(from) {
            members.insert(to.to_owned(), moved);
        }
    }
}
