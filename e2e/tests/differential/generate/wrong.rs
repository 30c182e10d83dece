//! What makes objects wrong.

use super::kinds::Kind;
use sawhorse_ambient::Stream;
use serde_json::Value;

/// A kind (all if empty), a place, and what is put there (nothing: the field is taken away).
const WRONG: [(&str, &str, Option<&str>); 69] = [
    ("", "/metadata/name", Some(r#""UPPER""#)),
    ("", "/metadata/name", Some(r#""a b""#)),
    ("", "/metadata/name", None),
    ("", "/metadata/labels", Some(r#"{"bad key!": "x"}"#)),
    ("", "/metadata/labels", Some(r#"{"a": "bad value!"}"#)),
    ("", "/metadata/labels", Some(r#"{"a": 1}"#)),
    ("", "/metadata/annotations", Some(r#"{"bad key!": "x"}"#)),
    ("", "/metadata/finalizers", Some(r#"["nothing"]"#)),
    ("", "/metadata/finalizers", Some(r#"["bad finalizer!"]"#)),
    ("", "/metadata/ownerReferences", Some(r#"[{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": ""}]"#)),
    (
        "",
        "/metadata/ownerReferences",
        Some(
            r#"[{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "1", "controller": true}, {"apiVersion": "v1", "kind": "Pod", "name": "y", "uid": "2", "controller": true}]"#,
        ),
    ),
    ("", "/metadata/namespace", Some(r#""elsewhere""#)),
    ("", "/metadata/resourceVersion", Some(r#""5""#)),
    ("", "/kind", Some(r#""Other""#)),
    ("", "/kind", None),
    ("", "/apiVersion", Some(r#""other/v1""#)),
    ("", "/metadata", Some("5")),
    ("ConfigMap", "/data", Some(r#"{"bad key": "x"}"#)),
    ("ConfigMap", "/data", Some(r#"{"a": 1}"#)),
    ("ConfigMap", "/binaryData", Some(r#"{"a": "AAE="}"#)),
    ("Secret", "/data", Some(r#"{"a": "not base64!"}"#)),
    ("Secret", "/type", Some(r#""kubernetes.io/tls""#)),
    ("Secret", "/type", Some(r#""kubernetes.io/dockerconfigjson""#)),
    ("Pod", "/spec/containers", Some("[]")),
    ("Pod", "/spec/containers/0/image", None),
    ("Pod", "/spec/containers/0/name", Some(r#""Bad_Name""#)),
    ("Pod", "/spec/containers/0/imagePullPolicy", Some(r#""Sometimes""#)),
    ("Pod", "/spec/containers/0/resources", Some(r#"{"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}"#)),
    ("Pod", "/spec/containers/0/resources", Some(r#"{"requests": {"cpu": "lots"}}"#)),
    ("Pod", "/spec/containers/0/resources", Some(r#"{"requests": {"cpu": "-1"}}"#)),
    ("Pod", "/spec/containers/0/ports", Some(r#"[{"containerPort": 0}]"#)),
    ("Pod", "/spec/containers/0/volumeMounts", Some(r#"[{"name": "none", "mountPath": "/x"}]"#)),
    ("Pod", "/spec/restartPolicy", Some(r#""Sometimes""#)),
    ("Pod", "/spec/dnsPolicy", Some(r#""Sometimes""#)),
    ("Pod", "/spec/tolerations", Some(r#"[{"key": "a", "operator": "Near"}]"#)),
    ("Pod", "/spec/tolerations", Some(r#"[{"effect": "NoSchedule", "tolerationSeconds": 5, "operator": "Exists"}]"#)),
    ("Pod", "/spec/terminationGracePeriodSeconds", Some("-2")),
    ("Pod", "/spec/priorityClassName", Some(r#""nothing""#)),
    (
        "Pod",
        "/spec/topologySpreadConstraints",
        Some(r#"[{"maxSkew": 0, "topologyKey": "", "whenUnsatisfiable": "Never"}]"#),
    ),
    ("Pod", "/spec/nodeSelector", Some(r#"{"bad key!": "x"}"#)),
    ("Deployment", "/spec/replicas", Some("-1")),
    ("Deployment", "/spec/replicas", Some(r#""two""#)),
    ("Deployment", "/spec/selector", None),
    ("Deployment", "/spec/template/metadata/labels/app", Some(r#""other""#)),
    ("Deployment", "/spec/strategy", Some(r#"{"type": "Sometimes"}"#)),
    ("ReplicaSet", "/spec/selector", Some("{}")),
    ("ReplicaSet", "/spec/template/spec/restartPolicy", Some(r#""Never""#)),
    ("StatefulSet", "/spec/podManagementPolicy", Some(r#""Sometimes""#)),
    ("StatefulSet", "/spec/selector", None),
    ("DaemonSet", "/spec/updateStrategy", Some(r#"{"type": "Sometimes"}"#)),
    ("DaemonSet", "/spec/template/spec/containers/0/image", None),
    ("Job", "/spec/template/spec/restartPolicy", Some(r#""Always""#)),
    ("Job", "/spec/parallelism", Some("-1")),
    ("CronJob", "/spec/schedule", Some(r#""now and then""#)),
    ("CronJob", "/spec/concurrencyPolicy", Some(r#""Sometimes""#)),
    ("PodDisruptionBudget", "/spec/minAvailable", Some(r#""many""#)),
    ("PodDisruptionBudget", "/spec/maxUnavailable", Some("-1")),
    ("Lease", "/spec/leaseDurationSeconds", Some("-1")),
    ("Service", "/spec/ports", Some("[]")),
    ("Service", "/spec/ports/0/port", Some("70000")),
    ("Service", "/spec/type", Some(r#""Sometimes""#)),
    ("PersistentVolumeClaim", "/spec/accessModes", Some("[]")),
    ("PersistentVolumeClaim", "/spec/resources", Some("{}")),
    ("PersistentVolume", "/spec/capacity", Some("{}")),
    ("PersistentVolume", "/spec/csi", None),
    ("PriorityClass", "/preemptionPolicy", Some(r#""Sometimes""#)),
    ("StorageClass", "/provisioner", None),
    ("StorageClass", "/volumeBindingMode", Some(r#""Sometimes""#)),
    ("Node", "/spec/taints", Some(r#"[{"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoSchedule"}]"#)),
];

/// Makes an object wrong: by the table, or by one of its kind's changes.
pub(super) fn spoil(stream: &mut Stream, kind: &Kind, object: &mut Value) {
    let fitting: Vec<_> = WRONG.iter().filter(|(of, ..)| of.is_empty() || *of == kind.kind).collect();
    let drawn = stream.below((fitting.len() + kind.changes.len()) as u64) as usize;
    let Some((_, pointer, what)) = fitting.get(drawn) else {
        let change: Value = serde_json::from_str(kind.changes[drawn - fitting.len()]).unwrap();
        return super::super::merge(object, &change);
    };
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let Some(Value::Object(parent)) = object.pointer_mut(parent) else { return };
    match what {
        Some(value) => parent.insert(field.to_owned(), serde_json::from_str(value).unwrap()),
        None => parent.remove(field),
    };
}
