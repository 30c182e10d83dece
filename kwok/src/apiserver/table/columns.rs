//! The columns of built-in kinds (`k8s.io/kubernetes/pkg/printers/internalversion`).

use super::{age, cells, pod};
use jiff::Timestamp;
use serde_json::Value;

/// A column: its name, type, priority (1 is shown with `-o wide` only) and cell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) priority: i64,
    pub(super) cell: fn(&Value, Timestamp) -> Value,
}

const fn text(name: &'static str, cell: fn(&Value, Timestamp) -> Value) -> Column {
    Column { name, kind: "string", priority: 0, cell }
}

const fn number(name: &'static str, cell: fn(&Value, Timestamp) -> Value) -> Column {
    Column { name, kind: "integer", priority: 0, cell }
}

const fn wide(name: &'static str, cell: fn(&Value, Timestamp) -> Value) -> Column {
    Column { name, kind: "string", priority: 1, cell }
}

const NAME: Column = text("Name", |object, _| cells::at(object, "/metadata/name"));
const AGE: Column = text("Age", |object, now| age::since(object.pointer("/metadata/creationTimestamp"), now));
const CREATED: Column = Column {
    name: "Created At",
    kind: "date",
    priority: 0,
    cell: |object, _| cells::at(object, "/metadata/creationTimestamp"),
};
const CONTAINERS: Column = wide("Containers", |object, _| cells::each_container(object, "name"));
const IMAGES: Column = wide("Images", |object, _| cells::each_container(object, "image"));
const SELECTOR: Column = wide("Selector", |object, _| cells::selector(object.pointer("/spec/selector")));

/// The columns of kinds that have none of their own.
pub(super) const PLAIN: &[Column] = &[NAME, CREATED];

/// A kind's columns.
pub(super) fn of(group: &str, kind: &str) -> &'static [Column] {
    match (group, kind) {
        ("", "Pod") => PODS,
        ("", "Node") => NODES,
        ("", "Namespace") => NAMESPACES,
        ("", "Service") => SERVICES,
        ("" | "events.k8s.io", "Event") => EVENTS,
        ("", "ConfigMap") => CONFIG_MAPS,
        ("", "Secret") => SECRETS,
        ("", "ServiceAccount") => &[NAME, AGE],
        ("", "PersistentVolumeClaim") => CLAIMS,
        ("", "PersistentVolume") => VOLUMES,
        ("apps", "Deployment") => DEPLOYMENTS,
        ("apps", "ReplicaSet") | ("", "ReplicationController") => REPLICA_SETS,
        ("apps", "StatefulSet") => STATEFUL_SETS,
        ("apps", "DaemonSet") => DAEMON_SETS,
        ("batch", "Job") => JOBS,
        ("policy", "PodDisruptionBudget") => BUDGETS,
        ("coordination.k8s.io", "Lease") => LEASES,
        ("scheduling.k8s.io", "PriorityClass") => PRIORITY_CLASSES,
        ("storage.k8s.io", "StorageClass") => STORAGE_CLASSES,
        _ => PLAIN,
    }
}

const CONFIG_MAPS: &[Column] = &[NAME, text("Data", |object, _| cells::count(object, &["/data", "/binaryData"])), AGE];

const SECRETS: &[Column] = &[
    NAME,
    text("Type", |object, _| cells::at(object, "/type")),
    text("Data", |object, _| cells::count(object, &["/data"])),
    AGE,
];

const LEASES: &[Column] = &[NAME, text("Holder", |object, _| cells::at(object, "/spec/holderIdentity")), AGE];

const PODS: &[Column] = &[
    NAME,
    text("Ready", pod::ready),
    text("Status", pod::status),
    text("Restarts", pod::restarts),
    AGE,
    wide("IP", |object, _| cells::or_none(object, "/status/podIP")),
    wide("Node", |object, _| cells::or_none(object, "/spec/nodeName")),
    wide("Nominated Node", |object, _| cells::or_none(object, "/status/nominatedNodeName")),
    wide("Readiness Gates", pod::readiness_gates),
];

const NODES: &[Column] = &[
    NAME,
    text("Status", |object, _| cells::node_status(object)),
    text("Roles", |object, _| cells::node_roles(object)),
    AGE,
    text("Version", |object, _| cells::at(object, "/status/nodeInfo/kubeletVersion")),
    wide("Internal-IP", |object, _| cells::node_address(object, "InternalIP")),
    wide("External-IP", |object, _| cells::node_address(object, "ExternalIP")),
    wide("OS-Image", |object, _| cells::or_unknown(object, "/status/nodeInfo/osImage")),
    wide("Kernel-Version", |object, _| cells::or_unknown(object, "/status/nodeInfo/kernelVersion")),
    wide("Container-Runtime", |object, _| cells::or_unknown(object, "/status/nodeInfo/containerRuntimeVersion")),
];

const NAMESPACES: &[Column] = &[NAME, text("Status", |object, _| cells::at(object, "/status/phase")), AGE];

const SERVICES: &[Column] = &[
    NAME,
    text("Type", |object, _| cells::at(object, "/spec/type")),
    text("Cluster-IP", |object, _| cells::or_none(object, "/spec/clusterIP")),
    text("External-IP", |object, _| cells::external_address(object)),
    text("Port(s)", |object, _| cells::ports(object)),
    AGE,
    wide("Selector", |object, _| cells::labels(object.pointer("/spec/selector"))),
];

const EVENTS: &[Column] = &[
    text("Last Seen", |object, now| cells::event_time(object, "lastTimestamp", now)),
    text("Type", |object, _| cells::at(object, "/type")),
    text("Reason", |object, _| cells::at(object, "/reason")),
    text("Object", |object, _| cells::involved(object)),
    wide("Subobject", |object, _| cells::at(object, "/involvedObject/fieldPath")),
    wide("Source", |object, _| cells::event_source(object)),
    text("Message", |object, _| cells::event_message(object)),
    wide("First Seen", |object, now| cells::event_time(object, "firstTimestamp", now)),
    wide("Count", |object, _| cells::event_count(object)),
    Column { priority: 1, ..NAME },
];

const CLAIMS: &[Column] = &[
    NAME,
    text("Status", |object, _| cells::at(object, "/status/phase")),
    text("Volume", |object, _| cells::at(object, "/spec/volumeName")),
    text("Capacity", |object, _| cells::at(object, "/status/capacity/storage")),
    text("Access Modes", |object, _| cells::access_modes(object)),
    text("StorageClass", |object, _| cells::at(object, "/spec/storageClassName")),
    AGE,
];

const VOLUMES: &[Column] = &[
    NAME,
    text("Capacity", |object, _| cells::at(object, "/spec/capacity/storage")),
    text("Access Modes", |object, _| cells::access_modes(object)),
    text("Reclaim Policy", |object, _| cells::at(object, "/spec/persistentVolumeReclaimPolicy")),
    text("Status", |object, _| cells::at(object, "/status/phase")),
    text("StorageClass", |object, _| cells::at(object, "/spec/storageClassName")),
    AGE,
];

const DEPLOYMENTS: &[Column] = &[
    NAME,
    text("Ready", |object, _| cells::fraction(object, "/status/readyReplicas", "/spec/replicas")),
    number("Up-to-date", |object, _| cells::integer(object, "/status/updatedReplicas")),
    number("Available", |object, _| cells::integer(object, "/status/availableReplicas")),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

const REPLICA_SETS: &[Column] = &[
    NAME,
    number("Desired", |object, _| cells::integer(object, "/spec/replicas")),
    number("Current", |object, _| cells::integer(object, "/status/replicas")),
    number("Ready", |object, _| cells::integer(object, "/status/readyReplicas")),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

const STATEFUL_SETS: &[Column] = &[
    NAME,
    text("Ready", |object, _| cells::fraction(object, "/status/readyReplicas", "/spec/replicas")),
    AGE,
    CONTAINERS,
    IMAGES,
];

const DAEMON_SETS: &[Column] = &[
    NAME,
    number("Desired", |object, _| cells::integer(object, "/status/desiredNumberScheduled")),
    number("Current", |object, _| cells::integer(object, "/status/currentNumberScheduled")),
    number("Ready", |object, _| cells::integer(object, "/status/numberReady")),
    number("Up-to-date", |object, _| cells::integer(object, "/status/updatedNumberScheduled")),
    number("Available", |object, _| cells::integer(object, "/status/numberAvailable")),
    text("Node Selector", |object, _| cells::labels(object.pointer("/spec/template/spec/nodeSelector"))),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

const JOBS: &[Column] = &[
    NAME,
    text("Status", |object, _| cells::job_status(object)),
    text("Completions", |object, _| cells::job_completions(object)),
    text("Duration", cells::job_duration),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

const BUDGETS: &[Column] = &[
    NAME,
    text("Min Available", |object, _| cells::or_not_applicable(object, "/spec/minAvailable")),
    text("Max Unavailable", |object, _| cells::or_not_applicable(object, "/spec/maxUnavailable")),
    number("Allowed Disruptions", |object, _| cells::integer(object, "/status/disruptionsAllowed")),
    AGE,
];

const PRIORITY_CLASSES: &[Column] = &[
    NAME,
    number("Value", |object, _| cells::integer(object, "/value")),
    Column {
        kind: "boolean",
        ..text("Global-Default", |object, _| object.get("globalDefault").cloned().unwrap_or(Value::Bool(false)))
    },
    AGE,
    text("PreemptionPolicy", |object, _| cells::at(object, "/preemptionPolicy")),
];

const STORAGE_CLASSES: &[Column] = &[
    NAME,
    text("Provisioner", |object, _| cells::at(object, "/provisioner")),
    text("ReclaimPolicy", |object, _| cells::at(object, "/reclaimPolicy")),
    text("VolumeBindingMode", |object, _| cells::at(object, "/volumeBindingMode")),
    text("AllowVolumeExpansion", |object, _| object.get("allowVolumeExpansion").cloned().unwrap_or(Value::Bool(false))),
    AGE,
];
