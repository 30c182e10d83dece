//! What a patch makes of an object, worked out locally so that a patch which changes nothing is not sent (spec kwok 2).
//!
//! Strategic merge knows the merge keys of Node and Pod metadata and status, which is what stages patch; a list that it does
//! not know is replaced, as the API server does for lists without a merge key.

use super::effect::PatchKind;
use serde_json::{Map, Value};

/// Merge keys by the name of the list.
const MERGE_KEYS: [(&str, &str); 12] = [
    ("addresses", "type"),
    ("conditions", "type"),
    ("containerStatuses", "name"),
    ("containers", "name"),
    ("env", "name"),
    ("ephemeralContainerStatuses", "name"),
    ("hostIPs", "ip"),
    ("initContainerStatuses", "name"),
    ("initContainers", "name"),
    ("ownerReferences", "uid"),
    ("podIPs", "ip"),
    ("volumes", "name"),
];

/// Lists of plain values that are merged as sets.
const SETS: [&str; 2] = ["finalizers", "podCIDRs"];

/// `object` after the patch; none if the patch cannot be applied, which the server is left to say.
pub(crate) fn patched(object: &Value, kind: PatchKind, body: &Value) -> Option<Value> {
    let mut result = object.clone();
    match kind {
        PatchKind::Json => {
            let patch: json_patch::Patch = serde_json::from_value(body.clone()).ok()?;
            json_patch::patch(&mut result, &patch).ok()?;
        }
        PatchKind::Merge => json_patch::merge(&mut result, body),
        PatchKind::Strategic => merge(&mut result, body),
        PatchKind::Apply => return None,
    }
    Some(result)
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if fields.get("$patch").and_then(Value::as_str) == Some("replace") {
        *target = Value::Object(fields.iter().filter(|(name, _)| *name != "$patch").map(own).collect());
        return;
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(object) = target else { return };
    for (name, value) in fields {
        merge_field(object, name, value);
    }
}

fn own((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}

fn merge_field(object: &mut Map<String, Value>, name: &str, value: &Value) {
    let merge_key = MERGE_KEYS.iter().find(|(list, _)| *list == name).map(|(_, key)| *key);
    match value {
        _ if name.starts_with("$setElementOrder/") || name.starts_with("$retainKeys") => {}
        Value::Null => {
            object.remove(name);
        }
        Value::Array(items) if name.starts_with("$deleteFromPrimitiveList/") => {
            let list = name.trim_start_matches("$deleteFromPrimitiveList/");
            if let Some(Value::Array(have)) = object.get_mut(list) {
                have.retain(|item| !items.contains(item));
            }
        }
        Value::Object(_) => merge(object.entry(name).or_insert(Value::Null), value),
        Value::Array(items) => match (object.get_mut(name), merge_key) {
            (Some(Value::Array(have)), Some(key)) => merge_list(have, items, key),
            (Some(Value::Array(have)), None) if SETS.contains(&name) => {
                let new: Vec<Value> = items.iter().filter(|item| !have.contains(item)).cloned().collect();
                have.extend(new);
            }
            _ => {
                object.insert(name.to_owned(), Value::Array(items.clone()));
            }
        },
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            object.insert(name.to_owned(), value.clone());
        }
    }
}

fn merge_list(have: &mut Vec<Value>, items: &[Value], key: &str) {
    if items.iter().any(|item| item["$patch"] == "replace") {
        *have = items.iter().filter(|item| item["$patch"] != "replace").cloned().collect();
        return;
    }
    for item in items {
        let position =
            have.iter().position(|existing| existing.get(key).is_some() && existing.get(key) == item.get(key));
        match position {
            Some(index) if item["$patch"] == "delete" => {
                have.remove(index);
            }
            Some(index) => merge(&mut have[index], item),
            None if item["$patch"] == "delete" => {}
            None => have.push(item.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PatchKind, patched};
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case::by_key(json!({"conditions": [{"type": "A", "s": 1}, {"type": "B"}]}), json!({"conditions": [{"type": "A", "r": 2}, {"type": "C"}]}),
        json!({"conditions": [{"type": "A", "s": 1, "r": 2}, {"type": "B"}, {"type": "C"}]}))]
    #[case::null_removes(json!({"a": 1, "b": {"c": 2}}), json!({"a": null, "b": {"c": null}}), json!({"b": {}}))]
    #[case::delete_one(json!({"podIPs": [{"ip": "1"}, {"ip": "2"}]}), json!({"podIPs": [{"ip": "1", "$patch": "delete"}]}), json!({"podIPs": [{"ip": "2"}]}))]
    #[case::replace_list(json!({"conditions": [{"type": "A"}]}), json!({"conditions": [{"$patch": "replace"}, {"type": "B"}]}), json!({"conditions": [{"type": "B"}]}))]
    #[case::unknown_list(json!({"args": [1, 2]}), json!({"args": [3]}), json!({"args": [3]}))]
    #[case::a_set(json!({"finalizers": ["a"]}), json!({"finalizers": ["a", "b"]}), json!({"finalizers": ["a", "b"]}))]
    #[case::element_order_is_a_hint(json!({"a": 1}), json!({"$setElementOrder/conditions": [{"type": "A"}]}), json!({"a": 1}))]
    fn strategic_merge(#[case] object: Value, #[case] patch: Value, #[case] expected: Value) {
        assert_eq!(patched(&object, PatchKind::Strategic, &patch), Some(expected));
    }

    #[test]
    fn other_kinds() {
        let object = json!({"a": [1], "b": 1});
        assert_eq!(patched(&object, PatchKind::Merge, &json!({"a": [2], "b": null})), Some(json!({"a": [2]})));
        assert_eq!(
            patched(&object, PatchKind::Json, &json!([{"op": "remove", "path": "/b"}])),
            Some(json!({"a": [1]}))
        );
        assert_eq!(patched(&object, PatchKind::Json, &json!([{"op": "remove", "path": "/c"}])), None);
    }
}
