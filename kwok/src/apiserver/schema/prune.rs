//! Pruning: fields that a schema does not know fall away.

use super::node::Node;
use crate::apiserver::value::Members;
use serde_json::Value;

/// Members of `metadata`; the rest of what stands there is no field (`meta.k8s.io/v1 ObjectMeta`).
const METADATA: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Removes what `node` does not know from an object that has `apiVersion`, `kind` and `metadata`.
pub(super) fn prune_object(node: &Node, object: &mut Value, path: &str, unknown: &mut Vec<String>) {
    let Some(members) = object.as_object_mut() else { return };
    if let Some(metadata) = members.get_mut("metadata").and_then(Value::as_object_mut) {
        retain(metadata, &join(path, "metadata"), unknown, |key| METADATA.contains(&key));
    }
    prune_members(node, members, path, &["apiVersion", "kind", "metadata"], unknown);
}

fn prune_members(node: &Node, members: &mut Members, path: &str, implied: &[&str], unknown: &mut Vec<String>) {
    if !node.preserve && node.additional.is_none() && !node.additional_any {
        retain(members, path, unknown, |key| node.properties.contains_key(key) || implied.contains(&key));
    }
    for (key, member) in members.iter_mut().filter(|(key, _)| !implied.contains(&key.as_str())) {
        if let Some(below) = node.member(key) {
            prune_value(below, member, &join(path, key), unknown);
        }
    }
}

fn prune_value(node: &Node, value: &mut Value, path: &str, unknown: &mut Vec<String>) {
    if node.embedded {
        return prune_object(node, value, path, unknown);
    }
    match (value, &node.items) {
        (Value::Object(members), _) => prune_members(node, members, path, &[], unknown),
        (Value::Array(elements), Some(items)) => {
            for (index, element) in elements.iter_mut().enumerate() {
                prune_value(items, element, &format!("{path}[{index}]"), unknown);
            }
        }
        _ => {}
    }
}

fn retain(members: &mut Members, path: &str, unknown: &mut Vec<String>, known: impl Fn(&str) -> bool) {
    unknown.extend(members.keys().filter(|key| !known(key)).map(|key| join(path, key)));
    members.retain(|key, _| known(key));
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
