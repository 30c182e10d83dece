//! Strategic merge patch, with the merge keys of the built-in kinds (`patchStrategy` and `patchMergeKey` in the API types).

use crate::apiserver::value::Members;
use serde_json::Value;

/// A patch that contradicts the object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StrategicError {
    /// An element of a list that is merged by key lacks the key.
    #[error("map: {element} does not contain declared merge key: {key}")]
    NoMergeKey { element: String, key: &'static str },
    /// A `$patch` directive that does not exist.
    #[error("unknown patch type found: `{0}`: `replace` or `delete` is expected")]
    UnknownDirective(String),
}

/// How a list is patched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListRule {
    /// Replaced as a whole.
    Atomic,
    /// Merged as a set of plain values.
    Set,
    /// Elements with the same value of this field are merged.
    ByKey(&'static str),
}

/// How the list under the last of `path`'s keys is patched; list indices are not part of the path.
fn list_rule(kind: &str, path: &[&str]) -> ListRule {
    let [.., parent, key] = path else { return ListRule::Atomic };
    let in_container = ["containers", "initContainers", "ephemeralContainers"].contains(parent);
    match (*parent, *key) {
        ("metadata", "finalizers") => ListRule::Set,
        ("metadata", "ownerReferences") => ListRule::ByKey("uid"),
        ("spec", "podCIDRs") if kind == "Node" => ListRule::Set,
        ("spec", "finalizers") => ListRule::Atomic,
        ("status", "conditions") => ListRule::ByKey("type"),
        ("status", "addresses") if kind == "Node" => ListRule::ByKey("type"),
        ("status", "podIPs" | "hostIPs") => ListRule::ByKey("ip"),
        ("status", "resourceClaimStatuses") => ListRule::ByKey("name"),
        (
            "spec",
            "containers"
            | "initContainers"
            | "ephemeralContainers"
            | "volumes"
            | "imagePullSecrets"
            | "schedulingGates"
            | "resourceClaims",
        ) => ListRule::ByKey("name"),
        ("spec", "hostAliases") => ListRule::ByKey("ip"),
        ("spec", "topologySpreadConstraints") => ListRule::ByKey("topologyKey"),
        ("spec", "ports") if kind == "Service" => ListRule::ByKey("port"),
        ("spec", "drivers") if kind == "CSINode" => ListRule::ByKey("name"),
        (_, "ports") if in_container => ListRule::ByKey("containerPort"),
        (_, "env") if in_container => ListRule::ByKey("name"),
        (_, "volumeMounts") if in_container => ListRule::ByKey("mountPath"),
        (_, "volumeDevices") if in_container => ListRule::ByKey("devicePath"),
        _ => top_level_rule(kind, path),
    }
}

fn top_level_rule(kind: &str, path: &[&str]) -> ListRule {
    match (kind, path) {
        ("ServiceAccount", ["", "secrets"]) => ListRule::ByKey("name"),
        ("ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration", ["", "webhooks"]) => {
            ListRule::ByKey("name")
        }
        _ => ListRule::Atomic,
    }
}

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE_VALUES: &str = "$deleteFromPrimitiveList/";

/// Merges `patch` into `object`, an object of the built-in kind `kind`.
pub(crate) fn merge(kind: &str, object: &mut Value, patch: &Value) -> Result<(), StrategicError> {
    merge_value(kind, &[""], object, patch)
}

fn merge_value(kind: &str, path: &[&str], target: &mut Value, patch: &Value) -> Result<(), StrategicError> {
    match (target.as_object_mut(), patch.as_object()) {
        (Some(target), Some(patch)) => merge_members(kind, path, target, patch),
        (None, Some(patch)) => {
            let mut fresh = Members::new();
            merge_members(kind, path, &mut fresh, patch)?;
            *target = Value::Object(fresh);
            Ok(())
        }
        _ => {
            *target = patch.clone();
            Ok(())
        }
    }
}

fn merge_members(kind: &str, path: &[&str], target: &mut Members, patch: &Members) -> Result<(), StrategicError> {
    match patch.get(DIRECTIVE).map(|directive| directive.as_str().unwrap_or_default()) {
        None => {}
        Some("replace") => target.clear(),
        Some("delete") => {
            target.clear();
            return Ok(());
        }
        Some(other) => return Err(StrategicError::UnknownDirective(other.to_owned())),
    }
    if let Some(kept) = patch.get(RETAIN_KEYS).and_then(Value::as_array) {
        target.retain(|key, _| kept.iter().any(|kept| kept == key));
    }
    let before = ordered_lists(target, patch);
    for (key, value) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        let below = [path, &[key.as_str()]].concat();
        merge_member(kind, &below, target, key, value)?;
    }
    delete_plain_values(target, patch);
    for (key, original) in before {
        let rule = list_rule(kind, &[path, &[key]].concat());
        let order = patch.get(&format!("{ORDER}{key}")).and_then(Value::as_array);
        if let (Some(list), Some(order)) = (target.get_mut(key).and_then(Value::as_array_mut), order) {
            reorder(list, &original, order, rule);
        }
    }
    Ok(())
}

/// The lists whose order the patch sets, as they are before it.
fn ordered_lists<'a>(target: &Members, patch: &'a Members) -> Vec<(&'a str, Vec<Value>)> {
    let keys = patch.keys().filter_map(|directive| directive.strip_prefix(ORDER));
    keys.map(|key| (key, target.get(key).and_then(Value::as_array).cloned().unwrap_or_default())).collect()
}

fn merge_member(
    kind: &str,
    path: &[&str],
    target: &mut Members,
    key: &str,
    patch: &Value,
) -> Result<(), StrategicError> {
    if patch.is_null() {
        target.remove(key);
        return Ok(());
    }
    let is_alike = |old: &Value| old.is_object() && patch.is_object() || old.is_array() && patch.is_array();
    if !target.get(key).is_some_and(is_alike) {
        match added(patch) {
            Some(new) => drop(target.insert(key.to_owned(), new)),
            None => drop(target.remove(key)),
        }
        return Ok(());
    }
    if patch.get(DIRECTIVE).and_then(Value::as_str) == Some("delete") {
        target.remove(key);
        return Ok(());
    }
    // The one field of the built-in kinds with `patchStrategy: replace`.
    if kind == "PodDisruptionBudget" && path == ["", "spec", "selector"] {
        target.insert(key.to_owned(), patch.clone());
        return Ok(());
    }
    let place = target.entry(key).or_insert(Value::Null);
    match patch.as_array() {
        Some(elements) => merge_list(kind, path, place, elements),
        None => merge_value(kind, path, place, patch),
    }
}

/// What a patch puts where nothing was, or something of another type: taken as it is, without nulls and without what has a directive.
/// Nothing is merged, so that nothing has to fit.
fn added(patch: &Value) -> Option<Value> {
    match patch {
        Value::Object(members) if members.contains_key(DIRECTIVE) => None,
        Value::Object(members) => {
            let kept = members.iter().filter(|(_, member)| !member.is_null());
            let kept = kept.filter_map(|(key, member)| Some((key.clone(), added(member)?)));
            Some(Value::Object(kept.collect()))
        }
        Value::Array(elements) => Some(elements.iter().filter_map(added).collect()),
        plain => Some(plain.clone()),
    }
}

fn merge_list(kind: &str, path: &[&str], target: &mut Value, patch: &[Value]) -> Result<(), StrategicError> {
    let original = target.as_array().cloned().unwrap_or_default();
    let mut list = original.clone();
    let rule = list_rule(kind, path);
    match rule {
        ListRule::Atomic => list = patch.to_vec(),
        ListRule::Set => list.extend(patch.iter().filter(|value| !original.contains(value)).cloned()),
        ListRule::ByKey(key) => merge_by_key(kind, path, &mut list, patch, key)?,
    }
    if rule != ListRule::Atomic {
        reorder(&mut list, &original, patch, rule);
    }
    *target = Value::Array(list);
    Ok(())
}

fn merge_by_key(
    kind: &str,
    path: &[&str],
    list: &mut Vec<Value>,
    patch: &[Value],
    key: &'static str,
) -> Result<(), StrategicError> {
    if patch.iter().any(|element| element.get(DIRECTIVE).and_then(Value::as_str) == Some("replace")) {
        list.clear();
    }
    for element in patch {
        let directive = element.get(DIRECTIVE).and_then(Value::as_str);
        // `{$patch: replace}` alone only says that the rest replaces the list.
        if directive == Some("replace") && element.as_object().is_some_and(|members| members.len() == 1) {
            continue;
        }
        let Some(id) = element.get(key) else {
            return Err(StrategicError::NoMergeKey { element: element.to_string(), key });
        };
        let position = list.iter().position(|found| found.get(key) == Some(id));
        match (directive, position) {
            (Some("delete"), _) => list.retain(|found| found.get(key) != Some(id)),
            (_, Some(position)) => merge_value(kind, path, &mut list[position], element)?,
            (_, None) => {
                let mut fresh = Value::Null;
                merge_value(kind, path, &mut fresh, element)?;
                list.push(fresh);
            }
        }
    }
    Ok(())
}

fn delete_plain_values(target: &mut Members, patch: &Members) {
    for (directive, values) in patch {
        let Some(key) = directive.strip_prefix(DELETE_VALUES) else { continue };
        if let (Some(list), Some(values)) = (target.get_mut(key).and_then(Value::as_array_mut), values.as_array()) {
            list.retain(|found| !values.contains(found));
        }
    }
}

/// Elements named in `order` take its order. The others keep their place before those that followed them in the original.
fn reorder(list: &mut Vec<Value>, original: &[Value], order: &[Value], rule: ListRule) {
    let id = |value: &Value| match rule {
        ListRule::ByKey(key) => value.get(key).cloned().unwrap_or_default(),
        ListRule::Atomic | ListRule::Set => value.clone(),
    };
    let rank = |value: &Value| order.iter().position(|named| id(named) == id(value));
    let position = |value: &Value| original.iter().position(|found| id(found) == id(value));
    let (mut named, others): (Vec<Value>, Vec<Value>) =
        std::mem::take(list).into_iter().partition(|value| rank(value).is_some());
    named.sort_by_key(rank);
    let mut others = others.into_iter().peekable();
    for value in named {
        let here = position(&value);
        // New elements have no place in the original and go before whatever is left.
        while let Some(other) = others.next_if(|other| here.is_some_and(|here| position(other) < Some(here))) {
            list.push(other);
        }
        list.push(value);
    }
    list.extend(others);
}

#[cfg(test)]
mod tests {
    use super::merge;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn pod() -> Value {
        json!({"metadata": {"finalizers": ["a", "b"], "labels": {"x": "1", "y": "2"}}, "spec": {"containers": [
            {"name": "web", "image": "web:1", "ports": [{"containerPort": 80, "name": "http"}], "env": [{"name": "A", "value": "1"}]},
            {"name": "log", "image": "log:1"},
        ], "tolerations": [{"key": "old"}]}})
    }

    #[rstest]
    #[case::containers_merge_by_name(
        json!({"spec": {"containers": [{"name": "log", "image": "log:2"}]}}), "/spec/containers/1", json!({"name": "log", "image": "log:2"}))]
    #[case::nested_lists_merge_too(
        json!({"spec": {"containers": [{"name": "web", "env": [{"name": "B", "value": "2"}]}]}}),
        "/spec/containers/0/env", json!([{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]))]
    #[case::what_was_there_keeps_its_place_before_what_followed_it(
        json!({"spec": {"containers": [{"name": "new"}, {"name": "log", "image": "log:2"}]}}), "/spec/containers/0/name", json!("new"))]
    #[case::elements_are_deleted(
        json!({"spec": {"containers": [{"name": "web", "$patch": "delete"}]}}), "/spec/containers", json!([{"name": "log", "image": "log:1"}]))]
    #[case::lists_are_replaced(
        json!({"spec": {"containers": [{"$patch": "replace"}, {"name": "new"}]}}), "/spec/containers", json!([{"name": "new"}]))]
    #[case::tolerations_are_atomic(
        json!({"spec": {"tolerations": [{"key": "new"}]}}), "/spec/tolerations", json!([{"key": "new"}]))]
    #[case::finalizers_are_a_set(json!({"metadata": {"finalizers": ["b", "c"]}}), "/metadata/finalizers", json!(["a", "b", "c"]))]
    #[case::values_are_deleted(
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}), "/metadata/finalizers", json!(["b"]))]
    #[case::null_removes(json!({"metadata": {"labels": {"x": null}}}), "/metadata/labels", json!({"y": "2"}))]
    #[case::maps_are_replaced(json!({"metadata": {"labels": {"$patch": "replace", "z": "3"}}}), "/metadata/labels", json!({"z": "3"}))]
    #[case::keys_are_retained(json!({"metadata": {"labels": {"$retainKeys": ["y"], "y": "4"}}}), "/metadata/labels", json!({"y": "4"}))]
    #[case::order_is_set(
        json!({"spec": {"$setElementOrder/containers": [{"name": "new"}, {"name": "web"}], "containers": [{"name": "new"}]}}),
        "/spec/containers/0/name", json!("new"))]
    fn patches(#[case] patch: Value, #[case] pointer: &str, #[case] expected: Value) {
        let mut object = pod();
        merge("Pod", &mut object, &patch).unwrap();
        assert_eq!(object.pointer(pointer), Some(&expected), "{object:#}");
    }

    #[rstest]
    #[case(json!({"spec": {"containers": [{"image": "x"}]}}), "does not contain declared merge key: name")]
    #[case(json!({"spec": {"$patch": "rename"}}), "`rename`")]
    fn bad_patches_are_refused(#[case] patch: Value, #[case] expected: &str) {
        let error = merge("Pod", &mut pod(), &patch).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
