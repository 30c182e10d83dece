//! The JSON merge patch that leads from one value to another.

use serde_json::{Map, Value};

/// The patches of everything but the status, and of the status; none where nothing differs.
pub(super) fn split(before: &Value, after: &Value) -> (Option<Value>, Option<Value>) {
    let mut main = merge_patch(before, after).unwrap_or_default();
    let status = main.as_object_mut().and_then(|fields| fields.remove("status"));
    let main = main.as_object().filter(|fields| !fields.is_empty()).cloned().map(Value::Object);
    (main, status)
}

/// The merge patch (RFC 7396) that makes `after` of `before`; none if they are equal. Lists are replaced whole.
fn merge_patch(before: &Value, after: &Value) -> Option<Value> {
    if before == after {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return Some(after.clone());
    };
    let removed = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let changed = new.iter().filter_map(|(key, value)| {
        let patch = match old.get(key) {
            Some(was) => merge_patch(was, value)?,
            None => value.clone(),
        };
        Some((key.clone(), patch))
    });
    Some(Value::Object(removed.chain(changed).collect::<Map<_, _>>()))
}

#[cfg(test)]
mod tests {
    use super::split;
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case::nothing(json!({"a": 1}), json!({"a": 1}), None, None)]
    #[case::changed(json!({"a": {"b": 1, "c": 2}}), json!({"a": {"b": 1, "c": 3}}), Some(json!({"a": {"c": 3}})), None)]
    #[case::removed(json!({"a": {"b": 1}}), json!({"a": {}}), Some(json!({"a": {"b": null}})), None)]
    #[case::added(json!({}), json!({"a": {"b": 1}}), Some(json!({"a": {"b": 1}})), None)]
    #[case::lists_are_replaced(json!({"a": [1, 2]}), json!({"a": [2]}), Some(json!({"a": [2]})), None)]
    #[case::status_apart(
        json!({"a": 1, "status": {"x": 1}}), json!({"a": 2, "status": {"x": 2}}), Some(json!({"a": 2})), Some(json!({"x": 2}))
    )]
    #[case::only_status(json!({"a": 1}), json!({"a": 1, "status": {"x": 2}}), None, Some(json!({"x": 2})))]
    fn patches(
        #[case] before: Value,
        #[case] after: Value,
        #[case] main: Option<Value>,
        #[case] status: Option<Value>,
    ) {
        assert_eq!(split(&before, &after), (main, status));
    }
}
