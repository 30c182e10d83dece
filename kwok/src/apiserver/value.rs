//! Reading and writing places in JSON objects by path.

use serde_json::{Map, Value};

/// A JSON object's members.
pub(crate) type Members = Map<String, Value>;

/// The value at `path`, if every step of it exists.
pub(crate) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

/// The keys of a simple JSON path: `.spec.replicas`.
pub(crate) fn segments(path: &str) -> Vec<&str> {
    path.split('.').filter(|part| !part.is_empty()).collect()
}

/// The text at `path`.
pub(crate) fn text<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    at(value, path)?.as_str()
}

/// The text at `path`, or the empty text.
pub(crate) fn text_or_empty<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    text(value, path).unwrap_or_default()
}

/// The whole number at `path`.
pub(crate) fn integer(value: &Value, path: &[&str]) -> Option<i64> {
    at(value, path)?.as_i64()
}

/// The list at `path`, or no items.
pub(crate) fn items<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    at(value, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The members of the object at `path`, made where missing; a step that is no object is replaced by one.
pub(crate) fn members_mut<'a>(value: &'a mut Value, path: &[&str]) -> &'a mut Members {
    let mut here = object_mut(value);
    for key in path {
        here = object_mut(here.entry(*key).or_insert(Value::Null));
    }
    here
}

fn object_mut(value: &mut Value) -> &mut Members {
    if !value.is_object() {
        *value = Value::Object(Members::new());
    }
    value.as_object_mut().expect("made an object just above")
}

/// Writes `new` at `key` of the object at `path`.
pub(crate) fn set(value: &mut Value, path: &[&str], key: &str, new: impl Into<Value>) {
    members_mut(value, path).insert(key.to_owned(), new.into());
}

/// Writes `new` at `key` of the object at `path` unless something is there.
pub(crate) fn set_default(value: &mut Value, path: &[&str], key: &str, new: impl Into<Value>) {
    let members = members_mut(value, path);
    if members.get(key).is_none_or(Value::is_null) {
        members.insert(key.to_owned(), new.into());
    }
}

/// Puts `source`'s member `key` into `target`, or takes it away where `source` has none.
pub(crate) fn carry_over(target: &mut Value, source: &Value, path: &[&str], key: &str) {
    match at(source, path).and_then(|members| members.get(key)) {
        // Comparing costs less than copying.
        Some(kept) if at(target, path).and_then(|members| members.get(key)) == Some(kept) => {}
        Some(kept) => set(target, path, key, kept.clone()),
        None => {
            members_mut(target, path).remove(key);
        }
    }
}

/// The texts in the list at `path`.
pub(crate) fn texts<'a>(value: &'a Value, path: &[&str]) -> impl Iterator<Item = &'a str> {
    items(value, path).iter().filter_map(Value::as_str)
}
