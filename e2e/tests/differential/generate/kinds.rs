//! Kinds, and how objects of them are made.

use super::{chance, one};
use sawhorse_ambient::Stream;
use serde_json::{Value, json};

/// A kind of the API.
pub(crate) struct Kind {
    pub(crate) prefix: &'static str,
    pub(crate) api_version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) namespaced: bool,
    pub(super) spec: fn(&mut Stream) -> Value,
    pub(super) subresources: &'static [&'static str],
    /// Changes that mean something to this kind, as merge patches.
    pub(super) changes: &'static [&'static str],
}

impl Kind {
    const fn new(
        group: (&'static str, &'static str),
        kind: (&'static str, &'static str),
        spec: fn(&mut Stream) -> Value,
    ) -> Self {
        let (prefix, api_version) = group;
        let (kind, plural) = kind;
        Self { prefix, api_version, kind, plural, namespaced: true, spec, subresources: &[], changes: &[] }
    }

    const fn cluster(self) -> Self {
        Self { namespaced: false, ..self }
    }

    const fn with(self, subresources: &'static [&'static str]) -> Self {
        Self { subresources, ..self }
    }

    const fn changed_by(self, changes: &'static [&'static str]) -> Self {
        Self { changes, ..self }
    }

    /// The path of all its objects in the sequence's namespace (or in the cluster).
    pub(crate) fn collection(&self) -> String {
        let Self { prefix, plural, .. } = self;
        if self.namespaced { format!("{prefix}/namespaces/{{ns}}/{plural}") } else { format!("{prefix}/{plural}") }
    }

    /// The path of one object.
    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}/{}", self.collection(), self.name(name))
    }

    /// Names of the cluster's objects tell the sequence.
    pub(crate) fn name(&self, name: &str) -> String {
        if self.namespaced { name.to_owned() } else { format!("{{ns}}-{name}") }
    }
}

const CORE: (&str, &str) = ("/api/v1", "v1");
const APPS: (&str, &str) = ("/apis/apps/v1", "apps/v1");
const BATCH: (&str, &str) = ("/apis/batch/v1", "batch/v1");
const KARPENTER: (&str, &str) = ("/apis/karpenter.sh/v1", "karpenter.sh/v1");
/// The group of the test's own definition.
pub(crate) const OWN: (&str, &str) = ("/apis/differential.test/v1", "differential.test/v1");

const WORKLOAD: &[&str] = &[
    r#"{"spec": {"replicas": 2}}"#,
    r#"{"spec": {"template": {"metadata": {"annotations": {"restarted": "now"}}}}}"#,
    r#"{"spec": {"minReadySeconds": 5}}"#,
    r#"{"spec": {"selector": {"matchLabels": {"app": "other"}}}}"#,
    r#"{"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "other:2"}]}}}}"#,
    r#"{"spec": {"template": {"spec": {"terminationGracePeriodSeconds": null, "nodeSelector": {"a": "b"}}}}}"#,
];

/// All kinds.
pub(crate) static KINDS: [Kind; 23] = [
    Kind::new(CORE, ("ConfigMap", "configmaps"), config_map).changed_by(&[
        r#"{"data": {"a": null}}"#,
        r#"{"immutable": true}"#,
        r#"{"binaryData": {"bin": "AAE="}}"#,
    ]),
    Kind::new(CORE, ("Secret", "secrets"), secret).changed_by(&[
        r#"{"type": "other"}"#,
        r#"{"stringData": {"new": "x"}}"#,
        r#"{"data": {"b": "not base64!"}}"#,
    ]),
    Kind::new(CORE, ("Pod", "pods"), pod).with(&["status", "eviction", "binding"]).changed_by(&[
        r#"{"spec": {"containers": [{"name": "main", "image": "other:2"}]}}"#,
        r#"{"spec": {"activeDeadlineSeconds": 100}}"#,
        r#"{"spec": {"nodeSelector": {"a": "b"}}}"#,
        r#"{"spec": {"tolerations": [{"key": "added", "operator": "Exists"}]}}"#,
        r#"{"spec": {"terminationGracePeriodSeconds": 3}}"#,
    ]),
    Kind::new(CORE, ("ServiceAccount", "serviceaccounts"), service_account)
        .with(&["token"])
        .changed_by(&[r#"{"imagePullSecrets": [{"name": "x"}]}"#, r#"{"secrets": [{"name": "x"}, {"name": "y"}]}"#]),
    Kind::new(CORE, ("Service", "services"), service).with(&["status"]).changed_by(&[
        r#"{"spec": {"ports": [{"port": 81, "name": "other"}]}}"#,
        r#"{"spec": {"sessionAffinity": "ClientIP"}}"#,
        r#"{"spec": {"selector": {"app": "other"}}}"#,
        r#"{"spec": {"clusterIP": "10.0.0.1"}}"#,
    ]),
    Kind::new(CORE, ("PersistentVolumeClaim", "persistentvolumeclaims"), claim).with(&["status"]).changed_by(&[
        r#"{"spec": {"resources": {"requests": {"storage": "2Gi"}}}}"#,
        r#"{"spec": {"accessModes": ["ReadWriteMany"]}}"#,
    ]),
    Kind::new(APPS, ("Deployment", "deployments"), deployment).with(&["status", "scale"]).changed_by(WORKLOAD),
    Kind::new(APPS, ("ReplicaSet", "replicasets"), replica_set).with(&["status", "scale"]).changed_by(WORKLOAD),
    Kind::new(APPS, ("StatefulSet", "statefulsets"), stateful_set).with(&["status", "scale"]).changed_by(WORKLOAD),
    Kind::new(APPS, ("DaemonSet", "daemonsets"), daemon_set).with(&["status"]).changed_by(WORKLOAD),
    Kind::new(BATCH, ("Job", "jobs"), job).with(&["status"]).changed_by(&[
        r#"{"spec": {"parallelism": 2}}"#,
        r#"{"spec": {"suspend": false}}"#,
        r#"{"spec": {"completions": 3}}"#,
        r#"{"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}}"#,
        r#"{"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "other:2"}]}}}}"#,
    ]),
    Kind::new(BATCH, ("CronJob", "cronjobs"), cron_job).with(&["status"]).changed_by(&[
        r#"{"spec": {"schedule": "0 0 * * *"}}"#,
        r#"{"spec": {"schedule": "sometimes"}}"#,
        r#"{"spec": {"suspend": true}}"#,
    ]),
    Kind::new(("/apis/policy/v1", "policy/v1"), ("PodDisruptionBudget", "poddisruptionbudgets"), budget)
        .with(&["status"])
        .changed_by(&[
            r#"{"spec": {"minAvailable": 2, "maxUnavailable": null}}"#,
            r#"{"spec": {"selector": {"matchLabels": {"b": "c"}}}}"#,
        ]),
    Kind::new(("/apis/coordination.k8s.io/v1", "coordination.k8s.io/v1"), ("Lease", "leases"), lease).changed_by(&[
        r#"{"spec": {"holderIdentity": "z"}}"#,
        r#"{"spec": {"leaseDurationSeconds": 0}}"#,
        r#"{"spec": {"leaseTransitions": -1}}"#,
    ]),
    Kind::new(CORE, ("Node", "nodes"), node).cluster().with(&["status"]).changed_by(&[
        r#"{"spec": {"unschedulable": true}}"#,
        r#"{"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}"#,
        r#"{"spec": {"taints": [{"key": "a", "effect": "Never"}]}}"#,
        r#"{"spec": {"providerID": "other:///1"}}"#,
    ]),
    Kind::new(CORE, ("Namespace", "namespaces"), |_| json!({}))
        .cluster()
        .with(&["status"])
        .changed_by(&[r#"{"spec": {"finalizers": ["example.com/more"]}}"#]),
    Kind::new(CORE, ("PersistentVolume", "persistentvolumes"), volume).cluster().with(&["status"]).changed_by(&[
        r#"{"spec": {"capacity": {"storage": "5Gi"}}}"#,
        r#"{"spec": {"persistentVolumeReclaimPolicy": "Delete"}}"#,
    ]),
    Kind::new(
        ("/apis/scheduling.k8s.io/v1", "scheduling.k8s.io/v1"),
        ("PriorityClass", "priorityclasses"),
        priority_class,
    )
    .cluster()
    .changed_by(&[r#"{"value": 7}"#, r#"{"description": "other"}"#, r#"{"preemptionPolicy": "Never"}"#]),
    Kind::new(("/apis/storage.k8s.io/v1", "storage.k8s.io/v1"), ("StorageClass", "storageclasses"), storage_class)
        .cluster()
        .changed_by(&[
            r#"{"provisioner": "other"}"#,
            r#"{"allowVolumeExpansion": true}"#,
            r#"{"mountOptions": ["ro"]}"#,
        ]),
    Kind::new(OWN, ("Widget", "widgets"), super::custom::widget)
        .with(&["status", "scale"])
        .changed_by(super::custom::WIDGET_CHANGES),
    Kind::new(KARPENTER, ("NodePool", "nodepools"), super::custom::node_pool)
        .cluster()
        .with(&["status", "scale"])
        .changed_by(super::custom::NODE_POOL_CHANGES),
    Kind::new(KARPENTER, ("NodeClaim", "nodeclaims"), super::custom::node_claim)
        .cluster()
        .with(&["status"])
        .changed_by(super::custom::NODE_CLAIM_CHANGES),
    Kind::new(
        ("/apis/karpenter.k8s.aws/v1", "karpenter.k8s.aws/v1"),
        ("EC2NodeClass", "ec2nodeclasses"),
        super::custom::node_class,
    )
    .cluster()
    .with(&["status"])
    .changed_by(super::custom::NODE_CLASS_CHANGES),
];

/// The kind of this name.
pub(crate) fn kind(name: &str) -> &'static Kind {
    KINDS.iter().find(|kind| kind.kind == name).unwrap()
}

fn config_map(stream: &mut Stream) -> Value {
    json!({"data": {"a": one(stream, &["1", "2", ""]), one(stream, &["b", "c.d", "e_f"]): "x"}})
}

fn secret(stream: &mut Stream) -> Value {
    json!({"type": one(stream, &["Opaque", "example.com/x"]), "stringData": {"a": one(stream, &["1", "2"])}, "data": {"b": "AAE="}})
}

fn service_account(stream: &mut Stream) -> Value {
    json!({"automountServiceAccountToken": chance(stream, 50)})
}

fn pod_spec(stream: &mut Stream, restart: &[&str]) -> Value {
    let mut container = json!({"name": "main", "image": one(stream, &["nginx", "nginx:1", "a/b@sha256:0"])});
    if chance(stream, 60) {
        container["resources"] = json!({"requests": {"cpu": one(stream, &["100m", "0.5", "2", "1500m"]), "memory": one(stream, &["1Gi", "512Mi", "1e9"])}});
    }
    if chance(stream, 20) {
        container["resources"]["limits"] = json!({"cpu": "4", "memory": "8Gi"});
    }
    if chance(stream, 20) {
        container["ports"] = json!([{"containerPort": one(stream, &[80, 8080])}]);
    }
    if chance(stream, 15) {
        container["livenessProbe"] = json!({"httpGet": {"path": "/", "port": 80}});
    }
    if chance(stream, 15) {
        container["env"] = json!([{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
    }
    let mut spec = json!({"containers": [container]});
    if chance(stream, 15) {
        spec["initContainers"] = json!([{"name": "first", "image": "busybox"}]);
    }
    if chance(stream, 40) || restart.len() == 1 {
        spec["restartPolicy"] = json!(one(stream, restart));
    }
    if chance(stream, 20) {
        spec["nodeSelector"] = json!({"kubernetes.io/arch": "amd64"});
    }
    if chance(stream, 20) {
        spec["tolerations"] = json!([{"key": "a", "operator": "Exists"}]);
    }
    if chance(stream, 15) {
        spec["volumes"] = json!([one(
            stream,
            &[
                r#"{"name": "tmp", "emptyDir": {}}"#,
                r#"{"name": "tmp"}"#,
                r#"{"name": "c", "configMap": {"name": "x"}}"#
            ]
        )])
        .as_array()
        .into_iter()
        .flatten()
        .map(|text| serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap())
        .collect();
    }
    if chance(stream, 15) {
        spec["terminationGracePeriodSeconds"] = json!(one(stream, &[0, 5, 60]));
    }
    if chance(stream, 15) {
        let rule = json!({"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}});
        spec["topologySpreadConstraints"] = json!([rule]);
    }
    if chance(stream, 15) {
        let term =
            json!({"matchExpressions": [{"key": "a", "operator": one(stream, &["In", "NotIn"]), "values": ["b"]}]});
        spec["affinity"] =
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}});
    }
    spec
}

fn pod(stream: &mut Stream) -> Value {
    json!({"spec": pod_spec(stream, &["Always", "OnFailure", "Never"])})
}

fn template(stream: &mut Stream, restart: &[&str]) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": pod_spec(stream, restart)})
}

fn service(stream: &mut Stream) -> Value {
    let mut spec = json!({"selector": {"app": "web"}, "ports": [{"port": one(stream, &[80, 443])}]});
    match stream.below(6) {
        0 => spec["clusterIP"] = json!("None"),
        1 => {
            spec["ports"] =
                json!([{"name": "a", "port": 80, "targetPort": "http"}, {"name": "b", "port": 81, "protocol": "UDP"}])
        }
        2 => spec = json!({"type": "ExternalName", "externalName": "example.com"}),
        3 => spec["sessionAffinity"] = json!("ClientIP"),
        _ => {}
    }
    json!({ "spec": spec })
}

fn claim(stream: &mut Stream) -> Value {
    let mut spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": one(stream, &["1Gi", "0.5Gi", "1e9"])}}});
    if chance(stream, 50) {
        spec["storageClassName"] = json!(one(stream, &["fast", ""]));
    }
    json!({ "spec": spec })
}

fn deployment(stream: &mut Stream) -> Value {
    let mut spec = json!({"selector": {"matchLabels": {"app": "web"}}, "template": template(stream, &["Always"])});
    if chance(stream, 60) {
        spec["replicas"] = json!(stream.below(4));
    }
    if chance(stream, 30) {
        spec["strategy"] = if chance(stream, 50) {
            json!({"type": "Recreate"})
        } else {
            json!({"rollingUpdate": {"maxSurge": "50%"}})
        };
    }
    json!({ "spec": spec })
}

fn replica_set(stream: &mut Stream) -> Value {
    json!({"spec": {"replicas": stream.below(3), "selector": {"matchLabels": {"app": "web"}}, "template": template(stream, &["Always"])}})
}

fn stateful_set(stream: &mut Stream) -> Value {
    let mut spec = json!({"serviceName": "web", "selector": {"matchLabels": {"app": "web"}}, "template": template(stream, &["Always"])});
    if chance(stream, 30) {
        spec["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]);
    }
    if chance(stream, 30) {
        spec["updateStrategy"] = json!({"type": "OnDelete"});
    }
    json!({ "spec": spec })
}

fn daemon_set(stream: &mut Stream) -> Value {
    let mut spec = json!({"selector": {"matchLabels": {"app": "web"}}, "template": template(stream, &["Always"])});
    if chance(stream, 30) {
        spec["updateStrategy"] = json!({"type": "OnDelete"});
    }
    json!({ "spec": spec })
}

fn job_spec(stream: &mut Stream) -> Value {
    let mut spec = json!({"template": {"spec": pod_spec(stream, &["Never"])}, "suspend": true});
    if chance(stream, 40) {
        spec["backoffLimit"] = json!(stream.below(5));
    }
    spec
}

fn job(stream: &mut Stream) -> Value {
    json!({ "spec": job_spec(stream) })
}

fn cron_job(stream: &mut Stream) -> Value {
    json!({"spec": {"schedule": one(stream, &["*/5 * * * *", "@hourly"]), "jobTemplate": {"spec": job_spec(stream)}}})
}

fn budget(stream: &mut Stream) -> Value {
    let mut spec = json!({"selector": {"matchLabels": {"app": one(stream, &["web", "other"])}}});
    spec[one(stream, &["minAvailable", "maxUnavailable"])] = if chance(stream, 50) { json!(1) } else { json!("50%") };
    json!({ "spec": spec })
}

fn lease(stream: &mut Stream) -> Value {
    json!({"spec": {"holderIdentity": one(stream, &["a", "b"]), "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z"}})
}

fn node(stream: &mut Stream) -> Value {
    let mut spec = json!({"providerID": one(stream, &["aws:///a/i-1", ""])});
    if chance(stream, 40) {
        spec["taints"] = json!([{"key": "karpenter.sh/unregistered", "effect": "NoExecute"}]);
    }
    json!({"spec": spec, "status": {"capacity": {"cpu": "4", "memory": "8Gi", "pods": 110}, "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}})
}

fn volume(stream: &mut Stream) -> Value {
    json!({"spec": {
        "capacity": {"storage": one(stream, &["1Gi", "2000Mi"])}, "accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
        "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "vol-1"},
    }})
}

fn priority_class(stream: &mut Stream) -> Value {
    json!({"value": one(stream, &[0, 1000, -5]), "description": "d"})
}

fn storage_class(stream: &mut Stream) -> Value {
    let mut class = json!({"provisioner": "ebs.csi.aws.com", "parameters": {"type": one(stream, &["gp3", "io2"])}});
    if chance(stream, 50) {
        class["volumeBindingMode"] = json!("WaitForFirstConsumer");
    }
    class
}
