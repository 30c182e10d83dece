//! The columns of built-in kinds (`k8s.io/kubernetes/pkg/printers/internalversion`).

use super::{age, cells, more_cells, pod};
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

const fn flag(name: &'static str, cell: fn(&Value, Timestamp) -> Value) -> Column {
    Column { name, kind: "boolean", priority: 0, cell }
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
        ("batch", "CronJob") => CRON_JOBS,
        ("apps", "ControllerRevision") => REVISIONS,
        ("", "PodTemplate") => POD_TEMPLATES,
        ("", "Endpoints") => ENDPOINTS,
        ("", "ResourceQuota") => QUOTAS,
        ("autoscaling", "HorizontalPodAutoscaler") => POD_AUTOSCALERS,
        ("discovery.k8s.io", "EndpointSlice") => ENDPOINT_SLICES,
        ("networking.k8s.io", "Ingress") => INGRESSES,
        ("networking.k8s.io", "IngressClass") => INGRESS_CLASSES,
        ("networking.k8s.io", "NetworkPolicy") => NETWORK_POLICIES,
        ("node.k8s.io", "RuntimeClass") => RUNTIME_CLASSES,
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => ROLE_BINDINGS,
        ("storage.k8s.io", "CSINode") => CSI_NODES,
        ("storage.k8s.io", "CSIDriver") => CSI_DRIVERS,
        ("storage.k8s.io", "VolumeAttachment") => ATTACHMENTS,
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration") => WEBHOOKS,
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
    text("Status", |object, _| cells::volume_phase(object)),
    text("Volume", |object, _| cells::at(object, "/spec/volumeName")),
    text("Capacity", |object, _| {
        cells::of_bound_claim(object, |claim| cells::or_zero(claim, "/status/capacity/storage"))
    }),
    text("Access Modes", |object, _| cells::of_bound_claim(object, |claim| cells::access_modes(claim, "status"))),
    text("StorageClass", |object, _| cells::at(object, "/spec/storageClassName")),
    text("VolumeAttributesClass", |object, _| cells::or_unset(object, "/spec/volumeAttributesClassName")),
    AGE,
    wide("VolumeMode", |object, _| cells::or_unset(object, "/spec/volumeMode")),
];

const VOLUMES: &[Column] = &[
    NAME,
    text("Capacity", |object, _| cells::or_zero(object, "/spec/capacity/storage")),
    text("Access Modes", |object, _| cells::access_modes(object, "spec")),
    text("Reclaim Policy", |object, _| cells::at(object, "/spec/persistentVolumeReclaimPolicy")),
    text("Status", |object, _| cells::volume_phase(object)),
    text("Claim", |object, _| more_cells::claim(object)),
    text("StorageClass", |object, _| cells::at(object, "/spec/storageClassName")),
    text("VolumeAttributesClass", |object, _| cells::or_unset(object, "/spec/volumeAttributesClassName")),
    text("Reason", |object, _| cells::at(object, "/status/reason")),
    AGE,
    wide("VolumeMode", |object, _| cells::or_unset(object, "/spec/volumeMode")),
];

const DEPLOYMENTS: &[Column] = &[
    NAME,
    text("Ready", |object, _| cells::fraction(object, "/status/readyReplicas", "/spec/replicas")),
    // Numbers, but in columns of text.
    text("Up-to-date", |object, _| cells::integer(object, "/status/updatedReplicas")),
    text("Available", |object, _| cells::integer(object, "/status/availableReplicas")),
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

const CRON_JOBS: &[Column] = &[
    NAME,
    text("Schedule", |object, _| cells::at(object, "/spec/schedule")),
    text("Timezone", |object, _| cells::or_none(object, "/spec/timeZone")),
    flag("Suspend", |object, _| more_cells::truth_in_words(object, "/spec/suspend")),
    number("Active", |object, _| more_cells::length(object, "/status/active")),
    text("Last Schedule", |object, now| match object.pointer("/status/lastScheduleTime") {
        Some(time) => age::since(Some(time), now),
        None => "<none>".into(),
    }),
    AGE,
    wide("Containers", |object, _| more_cells::cron_job_containers(object, "name")),
    wide("Images", |object, _| more_cells::cron_job_containers(object, "image")),
    wide("Selector", |object, _| cells::selector(object.pointer("/spec/jobTemplate/spec/selector"))),
];

const REVISIONS: &[Column] = &[
    NAME,
    text("Controller", |object, _| more_cells::controller(object)),
    number("Revision", |object, _| cells::integer(object, "/revision")),
    AGE,
];

const POD_TEMPLATES: &[Column] = &[
    NAME,
    text("Containers", |object, _| more_cells::template_containers(object, "name")),
    text("Images", |object, _| more_cells::template_containers(object, "image")),
    text("Pod Labels", |object, _| cells::labels(object.pointer("/template/metadata/labels"))),
];

const ENDPOINTS: &[Column] = &[NAME, text("Endpoints", |object, _| more_cells::endpoints(object)), AGE];

const QUOTAS: &[Column] = &[
    NAME,
    text("Request", |object, _| more_cells::quota(object, false)),
    text("Limit", |object, _| more_cells::quota(object, true)),
    AGE,
];

const POD_AUTOSCALERS: &[Column] = &[
    NAME,
    text("Reference", |object, _| more_cells::named(object, "/spec/scaleTargetRef")),
    text("Targets", |object, _| more_cells::targets(object)),
    text("MinPods", |object, _| cells::or_unset(object, "/spec/minReplicas")),
    number("MaxPods", |object, _| cells::integer(object, "/spec/maxReplicas")),
    number("Replicas", |object, _| cells::integer(object, "/status/currentReplicas")),
    AGE,
];

const ENDPOINT_SLICES: &[Column] = &[
    NAME,
    text("AddressType", |object, _| cells::at(object, "/addressType")),
    text("Ports", |object, _| more_cells::slice_ports(object)),
    text("Endpoints", |object, _| more_cells::slice_endpoints(object)),
    AGE,
];

const INGRESSES: &[Column] = &[
    NAME,
    text("Class", |object, _| cells::or_none(object, "/spec/ingressClassName")),
    text("Hosts", |object, _| more_cells::hosts(object)),
    text("Address", |object, _| more_cells::ingress_address(object)),
    text("Ports", |object, _| match more_cells::length(object, "/spec/tls").as_i64() {
        Some(0) => "80".into(),
        _ => "80, 443".into(),
    }),
    AGE,
];

const INGRESS_CLASSES: &[Column] = &[
    NAME,
    text("Controller", |object, _| cells::at(object, "/spec/controller")),
    text("Parameters", |object, _| more_cells::parameters(object)),
    AGE,
];

const NETWORK_POLICIES: &[Column] =
    &[NAME, text("Pod-Selector", |object, _| cells::selector(object.pointer("/spec/podSelector"))), AGE];

const RUNTIME_CLASSES: &[Column] = &[NAME, text("Handler", |object, _| cells::at(object, "/handler")), AGE];

const ROLE_BINDINGS: &[Column] = &[
    NAME,
    text("Role", |object, _| more_cells::named(object, "/roleRef")),
    AGE,
    wide("Users", |object, _| more_cells::subjects(object, "User")),
    wide("Groups", |object, _| more_cells::subjects(object, "Group")),
    wide("ServiceAccounts", |object, _| more_cells::subjects(object, "ServiceAccount")),
];

const CSI_NODES: &[Column] = &[NAME, number("Drivers", |object, _| more_cells::length(object, "/spec/drivers")), AGE];

const CSI_DRIVERS: &[Column] = &[
    NAME,
    flag("AttachRequired", |object, _| object.pointer("/spec/attachRequired").cloned().unwrap_or(Value::Bool(true))),
    flag("PodInfoOnMount", |object, _| more_cells::truth(object, "/spec/podInfoOnMount")),
    flag("StorageCapacity", |object, _| more_cells::truth(object, "/spec/storageCapacity")),
    text("TokenRequests", |object, _| more_cells::audiences(object)),
    flag("RequiresRepublish", |object, _| more_cells::truth(object, "/spec/requiresRepublish")),
    text("Modes", |object, _| more_cells::volume_modes(object)),
    AGE,
];

const ATTACHMENTS: &[Column] = &[
    NAME,
    text("Attacher", |object, _| cells::at(object, "/spec/attacher")),
    text("PV", |object, _| cells::at(object, "/spec/source/persistentVolumeName")),
    text("Node", |object, _| cells::at(object, "/spec/nodeName")),
    flag("Attached", |object, _| more_cells::truth(object, "/status/attached")),
    AGE,
];

const WEBHOOKS: &[Column] = &[NAME, number("Webhooks", |object, _| more_cells::length(object, "/webhooks")), AGE];
