//! What the server knows about its built-in kinds: defaults, rules, and the objects that every cluster has.
//!
//! - [`metadata`] — the rules of `metadata`, of custom resources too
//! - [`pod_defaults`], [`pod_rules`] — pods and pod templates
//! - [`kind_defaults`], [`kind_rules`] — everything else
//! - [`nothing`] — what is written even where it is nothing
//! - [`status_rules`] — the rules of statuses, of all kinds
//! - [`quantity`] — amounts of resources

mod kind_defaults;
mod kind_rules;
mod metadata;
mod nothing;
mod pod_defaults;
mod pod_rules;
mod quantity;
mod status_rules;

pub(crate) use kind_defaults::TEMPLATE_GENERATION;
pub(crate) use metadata::{added_finalizers, label_value_problem, validate_metadata};
pub use pod_defaults::tolerate_for_a_while;
pub(crate) use quantity::Quantity;

use super::{
    field_error::FieldError,
    registry::{ResourceType, builtin::BuiltinKind, custom},
    state::{State, namespaces},
    status::ApiError,
    store::{
        GroupResource, ObjectName,
        lifecycle::{self, Generation},
    },
    value::{self, at, carry_over, members_mut, set},
    verbs::update::Part,
};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The first address of the services' range.
const OWN_ADDRESS: &str = "10.96.0.1";
/// Members whose values are quantities, wherever they stand in a built-in kind.
const QUANTITY_MAPS: [&str; 13] = [
    "requests",
    "limits",
    "capacity",
    "allocatable",
    "hard",
    "used",
    "overhead",
    "default",
    "defaultRequest",
    "max",
    "min",
    "maxLimitRequestRatio",
    "allocatedResources",
];

/// Writes quantities in their canonical form, as the server's decoding does.
///
/// # Errors
/// The first text that is no quantity.
pub(crate) fn normalize(kind: &BuiltinKind, object: &mut Value) -> Result<(), String> {
    const WITH_QUANTITIES: [&str; 16] = [
        "Pod",
        "Node",
        "Deployment",
        "ReplicaSet",
        "StatefulSet",
        "DaemonSet",
        "Job",
        "CronJob",
        "ReplicationController",
        "PodTemplate",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "ResourceQuota",
        "LimitRange",
        "CSIStorageCapacity",
        "RuntimeClass",
    ];
    write_empty_texts(object);
    nothing::read_times(kind.kind, object);
    if WITH_QUANTITIES.contains(&kind.kind) { normalize_value(object) } else { Ok(()) }
}

/// Labels and annotations that are null are empty.
pub(crate) fn write_empty_texts(object: &mut Value) {
    for key in ["labels", "annotations"] {
        let texts =
            object.get_mut("metadata").and_then(|metadata| metadata.get_mut(key)).and_then(Value::as_object_mut);
        for text in texts.into_iter().flat_map(serde_json::Map::values_mut).filter(|text| text.is_null()) {
            *text = Value::from("");
        }
    }
}

fn normalize_value(value: &mut Value) -> Result<(), String> {
    match value {
        Value::Object(members) => members.iter_mut().try_for_each(|(key, member)| match member {
            Value::Object(amounts) if QUANTITY_MAPS.contains(&key.as_str()) => {
                amounts.values_mut().try_for_each(normalize_quantity)
            }
            Value::Object(_) | Value::Array(_) => normalize_value(member),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        }),
        Value::Array(elements) => elements.iter_mut().try_for_each(normalize_value),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

fn normalize_quantity(value: &mut Value) -> Result<(), String> {
    let canonical = match &*value {
        Value::String(text) => Quantity::parse(text).map(Quantity::canonical),
        Value::Number(number) => Quantity::parse(&number.to_string()).map(Quantity::canonical),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return Ok(()),
    };
    *value = canonical.ok_or_else(|| format!("`{value}` is no quantity: {}", quantity::EXPECTED))?.into();
    Ok(())
}

/// Adds what is written even where it is nothing to an object that was read as its kind.
pub(crate) fn write_nothing(kind: &BuiltinKind, object: &mut Value, given: &Value) {
    nothing::write(kind.kind, object, given);
}

/// Fills in the defaults of a kind.
pub(crate) fn fill_in(kind: &BuiltinKind, object: &mut Value) {
    kind_defaults::fill_in(kind.kind, object);
}

/// Checks the rules of a kind; `old` is the object before, for updates.
pub(crate) fn validate(kind: &BuiltinKind, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    match (kind.kind, old) {
        ("CustomResourceDefinition", _) => custom::validate_definition(object),
        ("Pod", None) => pod_rules::validate_create(object),
        // An update that leaves the spec alone has nothing to answer for.
        ("Pod", Some(old)) if object.get("spec") == old.get("spec") => Vec::new(),
        ("Pod", Some(old)) => pod_rules::validate_update(object, old),
        (kind, Some(old))
            if object.get("spec") == old.get("spec") && object.get("spec").is_some() && kind != "Namespace" =>
        {
            Vec::new()
        }
        (kind, old) => kind_rules::validate(kind, object, old),
    }
}

/// What of an object has no effect, or another one, for its user; `old` is the object before, for updates.
pub(crate) fn warnings(kind: &BuiltinKind, object: &Value, old: Option<&Value>) -> Vec<String> {
    kind_rules::warnings(kind.kind, object, old)
}

/// Checks the rules of a kind's status.
pub(crate) fn validate_status(kind: &BuiltinKind, object: &Value) -> Vec<FieldError> {
    status_rules::validate(kind.kind, object)
}

/// What is wrong with the containers that were added to a pod for debugging.
pub(crate) fn validate_ephemeral_containers(pod: &Value) -> Vec<FieldError> {
    pod_rules::validate_ephemeral(pod)
}

/// What new objects get beyond their defaults, because of who they are and what else there is.
///
/// # Errors
/// 403 where admission refuses them.
pub(crate) fn prepare_create(resource: &ResourceType, object: &mut Value, state: &State) -> Result<(), ApiError> {
    let Some(kind) = resource.builtin() else { return Ok(()) };
    if kind.kind != "Pod" {
        kind_defaults::prepare_create(kind.kind, object, state);
        return Ok(());
    }
    if let Some(missing) = pod_defaults::missing_priority_class(object, state) {
        let name = at(object, &["metadata", "name"]).and_then(Value::as_str).unwrap_or_default();
        let why = format!("no PriorityClass with name {missing} was found");
        return Err(ApiError::forbidden(&resource.group_resource(), name, &why));
    }
    pod_defaults::prepare_create(object, state);
    Ok(())
}

/// Keeps what the server gave an object when an update leaves it out: a service's address, a daemon set's count.
pub(crate) fn prepare_update(resource: &ResourceType, new: &mut Value, old: &Value) {
    match resource.builtin().map_or("", |kind| kind.kind) {
        "Pod" => tolerate_for_a_while(members_mut(new, &["spec"])),
        "Service" if value::text(new, &["spec", "type"]) == Some("ExternalName") => {
            kind_defaults::take_address(new, old)
        }
        "Service" => {
            for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if at(new, &["spec", key]).is_none() {
                    carry_over(new, old, &["spec"], key);
                }
            }
        }
        "DaemonSet" => {
            let path = ["metadata", "annotations", kind_defaults::TEMPLATE_GENERATION];
            let before: u64 = value::text_or_empty(old, &path).parse().unwrap_or_default();
            let changed = at(new, &["spec", "template"]) != at(old, &["spec", "template"]);
            let count = before + u64::from(changed);
            set(new, &path[..2], kind_defaults::TEMPLATE_GENERATION, count.to_string());
        }
        _ => {}
    }
}

/// A pod with the resources of another, for containers of the same name.
pub(crate) fn resized(old: &Value, given: &Value) -> Value {
    let mut new = old.clone();
    let wanted = value::items(given, &["spec", "containers"]).to_vec();
    let containers = members_mut(&mut new, &["spec"]).get_mut("containers").and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten() {
        let same = wanted.iter().find(|one| one.get("name") == container.get("name"));
        if let Some(resources) = same.and_then(|one| one.get("resources")) {
            set(container, &[], "resources", resources.clone());
        }
    }
    new
}

/// Whether a part's own rules replace the kind's: what may change was decided by what was merged.
pub(crate) fn is_checked_by_part(part: Part) -> bool {
    match part {
        Part::Main => false,
        Part::Status | Part::EphemeralContainers | Part::Resize | Part::Finalize => true,
    }
}

/// The objects that every cluster has: namespaces, the API's own service and the system's priority classes.
pub(crate) fn bootstrap(state: &mut State, now: Timestamp) {
    for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
        });
        put(state, &namespaces(), namespace, now, Generation::None);
    }
    put(state, &GroupResource::new("", "services"), own_service(), now, Generation::None);
    let classes = [
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ];
    for (name, value, description) in classes {
        let class = json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value,
            "description": description, "preemptionPolicy": "PreemptLowerPriority",
        });
        put(state, &GroupResource::new("scheduling.k8s.io", "priorityclasses"), class, now, Generation::Spec);
    }
}

/// The service by which pods find the API; nothing listens at its address.
fn own_service() -> Value {
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let ports = json!([{"name": "https", "protocol": "TCP", "port": 443, "targetPort": 6443}]);
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
        "spec": {
            "ports": ports, "clusterIP": OWN_ADDRESS, "clusterIPs": [OWN_ADDRESS], "type": "ClusterIP",
            "sessionAffinity": "None", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
        },
        "status": {"loadBalancer": {}},
    })
}

fn put(state: &mut State, resource: &GroupResource, mut object: Value, now: Timestamp, generation: Generation) {
    let field = |name: &str| value::text_or_empty(&object, &["metadata", name]).to_owned();
    let uid = state.new_uid(resource, &ObjectName::new(&field("namespace"), &field("name")));
    lifecycle::prepare_create(&mut object, &uid, now, generation);
    state.put(resource, object, now);
}
