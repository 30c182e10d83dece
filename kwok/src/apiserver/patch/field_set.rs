//! Sets of fields as `managedFields` has them (`fieldsV1`), and how lists and maps of a kind are identified.

use crate::apiserver::{
    registry::{Origin, ResourceType},
    value::{Members, texts},
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// How a value is owned: as a whole, or member by member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Atomic,
    Granular,
    Set,
    /// Elements are told apart by these keys.
    Map(Vec<String>),
}

/// A set of fields: path elements as `fieldsV1` writes them (`f:name`, `k:{…}`, `v:…`), nested.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FieldSet {
    /// Whether the field itself belongs to the set, not only fields below it.
    pub(super) is_member: bool,
    pub(super) below: BTreeMap<String, Self>,
}

impl FieldSet {
    /// Reads `fieldsV1`.
    pub(super) fn read(fields: &Value) -> Self {
        let members = fields.as_object();
        let below = members.into_iter().flatten().filter(|(key, _)| *key != ".");
        let below: BTreeMap<String, Self> = below.map(|(key, value)| (key.clone(), Self::read(value))).collect();
        let is_member = below.is_empty() || fields.get(".").is_some();
        Self { is_member, below }
    }

    /// The set as `fieldsV1`.
    pub(super) fn to_value(&self) -> Value {
        let mut members: Map<String, Value> =
            self.below.iter().map(|(key, below)| (key.clone(), below.to_value())).collect();
        if self.is_member && !self.below.is_empty() {
            members.insert(".".into(), json!({}));
        }
        Value::Object(members)
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.is_member && self.below.is_empty()
    }

    pub(super) fn insert(&mut self, path: &[String]) {
        let end = path.iter().fold(self, |set, element| set.below.entry(element.clone()).or_default());
        end.is_member = true;
    }

    pub(super) fn remove(&mut self, path: &[String]) {
        let Some((first, rest)) = path.split_first() else {
            self.is_member = false;
            return;
        };
        if let Some(below) = self.below.get_mut(first) {
            below.remove(rest);
            if below.is_empty() {
                self.below.remove(first);
            }
        }
    }

    pub(super) fn contains(&self, path: &[String]) -> bool {
        let end = path.iter().try_fold(self, |set, element| set.below.get(element));
        end.is_some_and(|set| set.is_member)
    }

    /// All members' paths, parents before their children.
    pub(super) fn paths(&self) -> Vec<Vec<String>> {
        let mut paths = Vec::new();
        self.collect(&mut Vec::new(), &mut paths);
        paths
    }

    fn collect(&self, here: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
        if self.is_member && !here.is_empty() {
            paths.push(here.clone());
        }
        for (element, below) in &self.below {
            here.push(element.clone());
            below.collect(here, paths);
            here.pop();
        }
    }
}

/// Members that the server sets or that name the object; nobody owns them.
const NOT_OWNED: [&str; 11] = [
    "name",
    "namespace",
    "generateName",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "managedFields",
];

/// The fields that an object of the resource has.
pub(super) fn fields_of(resource: &ResourceType, object: &Value) -> FieldSet {
    let mut owned = object.clone();
    if let Some(members) = owned.as_object_mut() {
        members.remove("apiVersion");
        members.remove("kind");
        if let Some(metadata) = members.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|key, _| !NOT_OWNED.contains(&key.as_str()));
            if metadata.is_empty() {
                members.remove("metadata");
            }
        }
    }
    let mut set = collect(resource, &owned, &mut Vec::new());
    set.is_member = false;
    set
}

fn collect(resource: &ResourceType, value: &Value, names: &mut Vec<String>) -> FieldSet {
    let leaf = FieldSet { is_member: true, below: BTreeMap::new() };
    match (value, shape(resource, names, value)) {
        (Value::Object(members), Shape::Granular) if !members.is_empty() => {
            let mut below = BTreeMap::new();
            for (key, member) in members.iter().filter(|(_, member)| !member.is_null()) {
                names.push(key.clone());
                below.insert(format!("f:{key}"), collect(resource, member, names));
                names.pop();
            }
            FieldSet { is_member: false, below }
        }
        (Value::Array(elements), Shape::Map(keys)) if !elements.is_empty() => {
            let each = elements.iter().map(|element| {
                let mut set = collect(resource, element, names);
                set.is_member = true;
                (key_element(element, &keys), set)
            });
            FieldSet { is_member: false, below: each.collect() }
        }
        (Value::Array(elements), Shape::Set) if !elements.is_empty() => FieldSet {
            is_member: false,
            below: elements.iter().map(|one| (format!("v:{one}"), leaf.clone())).collect(),
        },
        _ => leaf,
    }
}

/// `k:{"name":"web"}`; a port without protocol is a TCP port.
pub(super) fn key_element(element: &Value, keys: &[String]) -> String {
    let key: BTreeMap<&String, Value> = keys.iter().filter_map(|key| Some((key, key_value(element, key)?))).collect();
    format!("k:{}", json!(key))
}

fn key_value(element: &Value, key: &str) -> Option<Value> {
    element.get(key).cloned().or_else(|| (key == "protocol").then(|| "TCP".into()))
}

/// Whether an element of a list is the one that a path element names.
pub(super) fn is_named(element: &Value, path_element: &str) -> bool {
    if let Some(value) = path_element.strip_prefix("v:") {
        return serde_json::from_str::<Value>(value).is_ok_and(|value| value == *element);
    }
    let key: Option<Members> = path_element.strip_prefix("k:").and_then(|key| serde_json::from_str(key).ok());
    key.is_some_and(|key| key.iter().all(|(name, value)| key_value(element, name).as_ref() == Some(value)))
}

/// The value at a path.
pub(super) fn value_at<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, element| match element.strip_prefix("f:") {
        Some(name) => value.get(name),
        None => value.as_array()?.iter().find(|one| is_named(one, element)),
    })
}

/// How the value under these names (list elements have none) is owned.
pub(super) fn shape(resource: &ResourceType, names: &[String], value: &Value) -> Shape {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match &resource.origin {
        _ if matches!(names.first(), Some(&"metadata")) => builtin_shape(&resource.kind, &names, value),
        Origin::BuiltIn(kind) => builtin_shape(kind.kind, &names, value),
        Origin::Custom(version) => custom_shape(version.schema.source(), &names, value),
    }
}

fn custom_shape(schema: &Value, names: &[&str], value: &Value) -> Shape {
    let mut here = Some(schema);
    for name in names {
        here = here.map(|schema| schema.get("items").unwrap_or(schema)).and_then(|schema| {
            schema.pointer("/properties").and_then(|all| all.get(name)).or_else(|| schema.get("additionalProperties"))
        });
    }
    // Elements of a list are looked up under the list's own names.
    let here = if value.is_object() { here.map(|schema| schema.get("items").unwrap_or(schema)) } else { here };
    let says = |key: &str| here.and_then(|schema| schema.get(key)).and_then(Value::as_str);
    match (value, says("x-kubernetes-list-type"), says("x-kubernetes-map-type")) {
        (Value::Array(_), Some("map"), _) => {
            let keys = here.map(|schema| texts(schema, &["x-kubernetes-list-map-keys"]).map(str::to_owned).collect());
            Shape::Map(keys.unwrap_or_default())
        }
        (Value::Array(_), Some("set"), _) => Shape::Set,
        (Value::Object(_), _, Some("atomic")) => Shape::Atomic,
        (Value::Object(_), ..) => Shape::Granular,
        _ => Shape::Atomic,
    }
}

/// The list types of the built-in API types (`+listType`, `+listMapKey`, `+mapType` in their sources).
fn builtin_shape(kind: &str, names: &[&str], value: &Value) -> Shape {
    let last = names.last().copied().unwrap_or_default();
    let parent = names.len().checked_sub(2).map(|index| names[index]).unwrap_or_default();
    if value.is_object() {
        return if is_atomic_map(kind, parent, last) { Shape::Atomic } else { Shape::Granular };
    }
    let keys: &[&str] = match (parent, last) {
        ("metadata", "finalizers") | ("spec", "podCIDRs") => return Shape::Set,
        ("metadata", "ownerReferences") => &["uid"],
        ("spec", "containers" | "initContainers" | "ephemeralContainers" | "volumes" | "imagePullSecrets")
        | ("spec", "schedulingGates" | "resourceClaims") => &["name"],
        ("containers" | "initContainers" | "ephemeralContainers", "env") => &["name"],
        ("containers" | "initContainers" | "ephemeralContainers", "ports") => &["containerPort", "protocol"],
        ("containers" | "initContainers" | "ephemeralContainers", "volumeMounts") => &["mountPath"],
        ("containers" | "initContainers" | "ephemeralContainers", "volumeDevices") => &["devicePath"],
        ("spec", "hostAliases") => &["ip"],
        ("spec", "topologySpreadConstraints") => &["topologyKey", "whenUnsatisfiable"],
        ("spec", "ports") if kind == "Service" => &["port", "protocol"],
        ("status", "podIPs" | "hostIPs") => &["ip"],
        ("status", "addresses") if kind == "Node" => &["type"],
        ("status", "conditions") if kind != "Job" => &["type"],
        ("", "webhooks" | "secrets" | "imagePullSecrets") => &["name"],
        _ => return Shape::Atomic,
    };
    Shape::Map(keys.iter().map(ToString::to_string).collect())
}

fn is_atomic_map(kind: &str, parent: &str, name: &str) -> bool {
    match name {
        "selector" => kind != "ReplicationController" || parent == "spec",
        "labelSelector" | "namespaceSelector" | "nodeSelector" | "podSelector" | "secretKeyRef" | "configMapKeyRef"
        | "fieldRef" | "resourceFieldRef" | "claimRef" | "targetRef" | "involvedObject" => true,
        _ => false,
    }
}
