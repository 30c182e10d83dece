//! What objects other than pods are filled in with (`pkg/apis/*/v1/defaults.go`).

use super::pod_defaults::{fill_in_spec, request_limits};
use crate::apiserver::{
    state::State,
    value::{at, items, members_mut, set, set_default, text, text_or_empty},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// Fills in an object of a built-in kind.
pub(super) fn fill_in(kind: &str, object: &mut Value) {
    match kind {
        "Pod" => {
            fill_in_spec(object, &["spec"]);
            request_limits(object);
            set_default(object, &["spec"], "enableServiceLinks", true);
        }
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" | "ReplicationController" => {
            fill_in_spec(object, &["spec", "template", "spec"]);
            fill_in_workload(kind, object);
        }
        "CronJob" => fill_in_cron_job(object),
        "Service" => fill_in_service(object),
        "Secret" => fill_in_secret(object),
        "Namespace" => label_with_name(object),
        "Node" => fill_in_node(object),
        "PersistentVolumeClaim" => set_default(object, &["spec"], "volumeMode", "Filesystem"),
        "PersistentVolume" => {
            set_default(object, &["spec"], "volumeMode", "Filesystem");
            set_default(object, &["spec"], "persistentVolumeReclaimPolicy", "Retain");
        }
        "StorageClass" => {
            set_default(object, &[], "reclaimPolicy", "Delete");
            set_default(object, &[], "volumeBindingMode", "Immediate");
        }
        "PriorityClass" => set_default(object, &[], "preemptionPolicy", "PreemptLowerPriority"),
        _ => {}
    }
}

/// Namespaces can be selected by name, once they have one.
fn label_with_name(namespace: &mut Value) {
    let name = text_or_empty(namespace, &["metadata", "name"]).to_owned();
    if !name.is_empty() {
        set(namespace, &["metadata", "labels"], "kubernetes.io/metadata.name", name);
    }
}

fn fill_in_workload(kind: &str, object: &mut Value) {
    let spec = &["spec"];
    if !["DaemonSet", "Job"].contains(&kind) {
        set_default(object, spec, "replicas", 1);
    }
    match kind {
        "Deployment" => {
            set_default(object, spec, "revisionHistoryLimit", 10);
            set_default(object, spec, "progressDeadlineSeconds", 600);
            set_default(object, &["spec", "strategy"], "type", "RollingUpdate");
            if text(object, &["spec", "strategy", "type"]) == Some("RollingUpdate") {
                set_default(object, &["spec", "strategy", "rollingUpdate"], "maxUnavailable", "25%");
                set_default(object, &["spec", "strategy", "rollingUpdate"], "maxSurge", "25%");
            }
        }
        "StatefulSet" => fill_in_stateful_set(object),
        "DaemonSet" => {
            set_default(object, &["metadata", "annotations"], TEMPLATE_GENERATION, "0");
            set_default(object, spec, "revisionHistoryLimit", 10);
            set_default(object, &["spec", "updateStrategy"], "type", "RollingUpdate");
            if text(object, &["spec", "updateStrategy", "type"]) == Some("RollingUpdate") {
                set_default(object, &["spec", "updateStrategy", "rollingUpdate"], "maxUnavailable", 1);
                set_default(object, &["spec", "updateStrategy", "rollingUpdate"], "maxSurge", 0);
            }
        }
        "Job" => {
            fill_in_job(object);
            take_labels_of_template(object);
        }
        "ReplicationController" => {
            let labels = at(object, &["spec", "template", "metadata", "labels"]).cloned().unwrap_or_default();
            set_default(object, spec, "selector", labels);
        }
        _ => {}
    }
}

fn fill_in_stateful_set(object: &mut Value) {
    set_default(object, &["spec"], "revisionHistoryLimit", 10);
    set_default(object, &["spec"], "podManagementPolicy", "OrderedReady");
    set_default(object, &["spec", "updateStrategy"], "type", "RollingUpdate");
    if text(object, &["spec", "updateStrategy", "type"]) == Some("RollingUpdate") {
        set_default(object, &["spec", "updateStrategy", "rollingUpdate"], "partition", 0);
    }
    let claims = members_mut(object, &["spec"]).get_mut("volumeClaimTemplates").and_then(Value::as_array_mut);
    for claim in claims.into_iter().flatten() {
        set_default(claim, &["spec"], "volumeMode", "Filesystem");
        set(claim, &["status"], "phase", "Pending");
    }
    for key in ["whenDeleted", "whenScaled"] {
        set_default(object, &["spec", "persistentVolumeClaimRetentionPolicy"], key, "Retain");
    }
}

fn fill_in_job(object: &mut Value) {
    let spec = &["spec"];
    if at(object, &["spec", "completions"]).is_none() && at(object, &["spec", "parallelism"]).is_none() {
        set(object, spec, "completions", 1);
    }
    set_default(object, spec, "parallelism", 1);
    set_default(object, spec, "backoffLimit", 6);
    set_default(object, spec, "completionMode", "NonIndexed");
    set_default(object, spec, "suspend", false);
    set_default(object, spec, "manualSelector", false);
    let replaced = if at(object, &["spec", "podFailurePolicy"]).is_some() { "Failed" } else { "TerminatingOrFailed" };
    set_default(object, spec, "podReplacementPolicy", replaced);
}

/// How often the template of a daemon set has changed, which is no field any more.
pub(crate) const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// A node says of itself what the API has a place for, if only nothing.
fn fill_in_node(node: &mut Value) {
    if text(node, &["spec", "providerID"]) == Some("") {
        members_mut(node, &["spec"]).remove("providerID");
    }
    if let Some(capacity) = at(node, &["status", "capacity"]).cloned() {
        set_default(node, &["status"], "allocatable", capacity);
    }
    set_default(node, &["status", "daemonEndpoints", "kubeletEndpoint"], "Port", 0);
    for key in [
        "machineID",
        "systemUUID",
        "bootID",
        "kernelVersion",
        "osImage",
        "containerRuntimeVersion",
        "kubeletVersion",
        "kubeProxyVersion",
        "operatingSystem",
        "architecture",
    ] {
        set_default(node, &["status", "nodeInfo"], key, "");
    }
}

/// A job without labels has those of its pods.
fn take_labels_of_template(job: &mut Value) {
    let labels = at(job, &["spec", "template", "metadata", "labels"]).cloned();
    if let Some(labels) = labels.filter(|labels| labels.as_object().is_some_and(|labels| !labels.is_empty())) {
        set_default(job, &["metadata"], "labels", labels);
    }
}

fn fill_in_cron_job(object: &mut Value) {
    set_default(object, &["spec", "jobTemplate"], "metadata", json!({}));
    set_default(object, &["spec", "jobTemplate", "spec", "template"], "metadata", json!({}));
    fill_in_spec(object, &["spec", "jobTemplate", "spec", "template", "spec"]);
    set_default(object, &["spec"], "concurrencyPolicy", "Allow");
    set_default(object, &["spec"], "suspend", false);
    set_default(object, &["spec"], "successfulJobsHistoryLimit", 3);
    set_default(object, &["spec"], "failedJobsHistoryLimit", 1);
}

/// How long a client of a service stays with a pod.
const AFFINITY_SECONDS: i64 = 10_800;

fn fill_in_service(object: &mut Value) {
    set_default(object, &["spec"], "type", "ClusterIP");
    set_default(object, &["spec"], "sessionAffinity", "None");
    match text_or_empty(object, &["spec", "sessionAffinity"]) {
        "None" => drop(members_mut(object, &["spec"]).remove("sessionAffinityConfig")),
        "ClientIP" => {
            set_default(object, &["spec", "sessionAffinityConfig", "clientIP"], "timeoutSeconds", AFFINITY_SECONDS);
        }
        _ => {}
    }
    if text(object, &["spec", "type"]) == Some("ExternalName") {
        return;
    }
    set_default(object, &["spec"], "internalTrafficPolicy", "Cluster");
    let ports = members_mut(object, &["spec"]).get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten() {
        set_default(port, &[], "protocol", "TCP");
        let number = port.get("port").cloned().unwrap_or_default();
        set_default(port, &[], "targetPort", number);
    }
}

/// `stringData` is written as `data`.
fn fill_in_secret(object: &mut Value) {
    set_default(object, &[], "type", "Opaque");
    if let Some(Value::Object(texts)) = members_mut(object, &[]).remove("stringData") {
        for (key, text) in texts {
            let encoded = STANDARD.encode(text.as_str().unwrap_or_default());
            set(object, &["data"], &key, encoded);
        }
    }
}

/// What new objects get that depends on who they are: a job's selector, a service's address, phases.
pub(super) fn prepare_create(kind: &str, object: &mut Value, state: &State) {
    if let Some(status) = first_status(kind) {
        set(object, &[], "status", status);
    }
    match kind {
        "Namespace" => {
            label_with_name(object);
            let mut finalizers = items(object, &["spec", "finalizers"]).to_vec();
            if !finalizers.iter().any(|finalizer| finalizer == "kubernetes") {
                finalizers.push("kubernetes".into());
            }
            set(object, &["spec"], "finalizers", finalizers);
            set(object, &["status"], "phase", "Active");
        }
        "DaemonSet" => set(object, &["metadata", "annotations"], TEMPLATE_GENERATION, "1"),
        "Job" if at(object, &["spec", "manualSelector"]) != Some(&Value::Bool(true)) => {
            select_by_uid(object);
            take_labels_of_template(object);
        }
        "PersistentVolumeClaim" => set(object, &["status"], "phase", "Pending"),
        "PersistentVolume" => {
            let created = text_or_empty(object, &["metadata", "creationTimestamp"]).to_owned();
            set(object, &["status"], "phase", "Pending");
            set(object, &["status"], "lastPhaseTransitionTime", created);
        }
        "Service" => give_address(object, state),
        _ => {}
    }
}

/// The status of an object that no controller has seen, of kinds that get one at once: what the API writes even where it is nothing.
pub(super) fn first_status(kind: &str) -> Option<Value> {
    Some(match kind {
        "StatefulSet" => json!({"replicas": 0, "availableReplicas": 0}),
        "DaemonSet" => {
            json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0})
        }
        "ReplicaSet" | "ReplicationController" => json!({"replicas": 0}),
        "PodDisruptionBudget" => {
            json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0})
        }
        "Deployment" | "Job" | "CronJob" => json!({}),
        _ => return None,
    })
}

/// A job's pods are told from all others by its uid.
fn select_by_uid(job: &mut Value) {
    let uid = text_or_empty(job, &["metadata", "uid"]).to_owned();
    let name = text_or_empty(job, &["metadata", "name"]).to_owned();
    let labels = members_mut(job, &["spec", "template", "metadata", "labels"]);
    for (key, value) in [
        ("controller-uid", &uid),
        ("batch.kubernetes.io/controller-uid", &uid),
        ("job-name", &name),
        ("batch.kubernetes.io/job-name", &name),
    ] {
        labels.insert(key.into(), value.as_str().into());
    }
    set(job, &["spec"], "selector", json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}));
}

/// What becomes a name elsewhere has no address any more, unless the update asks for another one.
pub(super) fn take_address(service: &mut Value, old: &Value) {
    for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        let place = ["spec", key];
        if at(service, &place) == at(old, &place) {
            members_mut(service, &["spec"]).remove(key);
        }
    }
    members_mut(service, &["spec"]).remove("internalTrafficPolicy");
}

/// Addresses come from 10.96.0.0/12, the usual range for services; drawn per service.
fn give_address(service: &mut Value, state: &State) {
    let has_address = !text_or_empty(service, &["spec", "clusterIP"]).is_empty();
    if !has_address && text(service, &["spec", "type"]) != Some("ExternalName") {
        let mut stream = state.seed.stream(&["clusterIP", text_or_empty(service, &["metadata", "uid"])]);
        let address = format!("10.{}.{}.{}", 96 + stream.below(16), stream.below(256), 1 + stream.below(254));
        set(service, &["spec"], "clusterIP", address);
    }
    let address = text_or_empty(service, &["spec", "clusterIP"]).to_owned();
    if items(service, &["spec", "clusterIPs"]).is_empty() && !address.is_empty() {
        set(service, &["spec"], "clusterIPs", json!([address]));
    }
    if text(service, &["spec", "type"]) != Some("ExternalName") {
        set_default(service, &["spec"], "ipFamilyPolicy", "SingleStack");
        set_default(service, &["spec"], "ipFamilies", json!(["IPv4"]));
    }
    set(service, &["status"], "loadBalancer", json!({}));
}
