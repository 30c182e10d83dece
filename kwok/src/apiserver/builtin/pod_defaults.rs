//! What a pod, or a pod template, is filled in with (`pkg/apis/core/v1/defaults.go` and the admission plugins that are on by
//! default).

use super::quantity::Quantity;
use crate::apiserver::{
    state::State,
    store::{GroupResource, ObjectName},
    value::{at, integer, items, members_mut, set, set_default, text, text_or_empty},
};
use serde_json::{Map, Value, json};

/// How long a pod stays on a node that is not ready or cannot be reached (`DefaultTolerationSeconds`).
const TOLERATION_SECONDS: i64 = 300;

/// The file mode of projected files, 0644.
const DEFAULT_MODE: i64 = 420;

const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Fills in the pod spec at `path`, of a pod or a template.
pub(super) fn fill_in_spec(object: &mut Value, path: &[&str]) {
    for (key, value) in
        [("restartPolicy", "Always"), ("dnsPolicy", "ClusterFirst"), ("schedulerName", "default-scheduler")]
    {
        set_default(object, path, key, value);
    }
    set_default(object, path, "terminationGracePeriodSeconds", 30);
    set_default(object, path, "securityContext", json!({}));
    let spec = members_mut(object, path);
    // The older name of the same field is kept in step.
    if let Some(account) = spec.get("serviceAccountName").or_else(|| spec.get("serviceAccount")).cloned() {
        spec.insert("serviceAccountName".into(), account.clone());
        spec.insert("serviceAccount".into(), account);
    }
    for list in CONTAINER_LISTS {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        containers.into_iter().flatten().for_each(fill_in_container);
    }
    spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten().for_each(fill_in_volume);
}

fn fill_in_container(container: &mut Value) {
    let image = text_or_empty(container, &["image"]).to_owned();
    set_default(container, &[], "imagePullPolicy", if is_latest(&image) { "Always" } else { "IfNotPresent" });
    set_default(container, &[], "terminationMessagePath", "/dev/termination-log");
    set_default(container, &[], "terminationMessagePolicy", "File");
    set_default(container, &[], "resources", json!({}));
    for port in list_mut(container, "ports") {
        set_default(port, &[], "protocol", "TCP");
    }
    for variable in list_mut(container, "env") {
        if at(variable, &["valueFrom", "fieldRef"]).is_some() {
            set_default(variable, &["valueFrom", "fieldRef"], "apiVersion", "v1");
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container.get(probe).is_some() {
            fill_in_probe(container, probe);
        }
    }
}

fn list_mut<'a>(value: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> + use<'a> {
    value.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Images without a tag, or with `latest`, are pulled always.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

/// Of pods, not of templates: what is limited and not requested is requested as much as it is limited.
pub(super) fn request_limits(pod: &mut Value) {
    for list in CONTAINER_LISTS {
        let containers = members_mut(pod, &["spec"]).get_mut(list).and_then(Value::as_array_mut);
        containers.into_iter().flatten().for_each(requests_from_limits);
    }
}

fn requests_from_limits(container: &mut Value) {
    let limits = at(container, &["resources", "limits"]).and_then(Value::as_object).cloned().unwrap_or_default();
    for (name, limit) in limits {
        set_default(container, &["resources", "requests"], &name, limit);
    }
}

fn fill_in_probe(container: &mut Value, probe: &str) {
    for (key, value) in [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        set_default(container, &[probe], key, value);
    }
    if at(container, &[probe, "httpGet"]).is_some() {
        set_default(container, &[probe, "httpGet"], "path", "/");
        set_default(container, &[probe, "httpGet"], "scheme", "HTTP");
    }
}

fn fill_in_volume(volume: &mut Value) {
    let sources = ["secret", "configMap", "downwardAPI", "projected"];
    if let Some(source) = sources.into_iter().find(|source| volume.get(source).is_some()) {
        set_default(volume, &[source], "defaultMode", DEFAULT_MODE);
    }
    if volume.get("hostPath").is_some() {
        set_default(volume, &["hostPath"], "type", "");
    }
    let has_source = volume.as_object().is_some_and(|members| members.keys().any(|key| key != "name"));
    if !has_source {
        set(volume, &[], "emptyDir", json!({}));
    }
}

/// What a new pod gets beyond its spec's defaults: account, priority, tolerations, phase, quality of service.
pub(super) fn prepare_create(pod: &mut Value, state: &State) {
    if integer(pod, &["spec", "terminationGracePeriodSeconds"]).is_some_and(|seconds| seconds < 0) {
        set(pod, &["spec"], "terminationGracePeriodSeconds", 1);
    }
    set_default(pod, &["spec"], "serviceAccountName", "default");
    let account = text_or_empty(pod, &["spec", "serviceAccountName"]).to_owned();
    set_default(pod, &["spec"], "serviceAccount", account);
    set_priority(pod, state);
    tolerate_for_a_while(members_mut(pod, &["spec"]));
    let class = qos_class(pod);
    set(pod, &[], "status", json!({"phase": "Pending", "qosClass": class}));
    if !items(pod, &["spec", "schedulingGates"]).is_empty() {
        let condition = json!({
            "type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "lastProbeTime": null, "lastTransitionTime": null,
            "message": "Scheduling is blocked due to non-empty scheduling gates",
        });
        set(pod, &["status"], "conditions", json!([condition]));
    }
}

fn priority_classes() -> GroupResource {
    GroupResource::new("scheduling.k8s.io", "priorityclasses")
}

/// The `Priority` admission plugin.
fn set_priority(pod: &mut Value, state: &State) {
    let name = text_or_empty(pod, &["spec", "priorityClassName"]).to_owned();
    let class = if name.is_empty() {
        let is_default = |class: &&std::sync::Arc<crate::apiserver::store::Object>| {
            at(class.value(), &["globalDefault"]).and_then(Value::as_bool).unwrap_or(false)
        };
        state.store.objects(&priority_classes()).find(is_default)
    } else {
        state.store.get(&priority_classes(), &ObjectName::new("", &name))
    };
    let value = class.and_then(|class| at(class.value(), &["value"]).cloned()).unwrap_or_else(|| json!(0));
    let policy = class.and_then(|class| text(class.value(), &["preemptionPolicy"])).unwrap_or("PreemptLowerPriority");
    if let Some(class) = class {
        set(pod, &["spec"], "priorityClassName", class.name());
    }
    set(pod, &["spec"], "priority", value);
    set_default(pod, &["spec"], "preemptionPolicy", policy);
}

/// The priority class that a pod names and that does not exist.
pub(super) fn missing_priority_class(pod: &Value, state: &State) -> Option<String> {
    let name = text(pod, &["spec", "priorityClassName"]).filter(|name| !name.is_empty())?;
    let exists = state.store.get(&priority_classes(), &ObjectName::new("", name)).is_some();
    (!exists).then(|| name.to_owned())
}

/// Adds the tolerations that pods get of nodes that are not ready or silent to a pod's `spec`, where it says nothing of those
/// (the `DefaultTolerationSeconds` admission plugin, which sees updates too).
pub fn tolerate_for_a_while(spec: &mut Map<String, Value>) {
    let mut tolerations = spec.get("tolerations").and_then(Value::as_array).cloned().unwrap_or_default();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerates = |toleration: &Value| {
            let keys = [key, ""].contains(&text_or_empty(toleration, &["key"]));
            keys && ["NoExecute", ""].contains(&text_or_empty(toleration, &["effect"]))
        };
        if !tolerations.iter().any(tolerates) {
            tolerations.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_SECONDS}));
        }
    }
    spec.insert("tolerations".into(), tolerations.into());
}

/// The quality of service: guaranteed if every container's cpu and memory are limited to what they request, best effort if
/// nothing is requested or limited.
pub(super) fn qos_class(pod: &Value) -> &'static str {
    let containers = || ["initContainers", "containers"].into_iter().flat_map(|list| items(pod, &["spec", list]));
    let amount = |container: &Value, kind: &str, name: &str| {
        text(container, &["resources", kind, name]).and_then(Quantity::parse).filter(|quantity| !quantity.is_zero())
    };
    let counted = ["cpu", "memory"];
    let any = |container: &Value| {
        counted.iter().any(|name| ["requests", "limits"].iter().any(|kind| amount(container, kind, name).is_some()))
    };
    let full = |container: &Value| {
        counted.iter().all(|name| {
            let (request, limit) = (amount(container, "requests", name), amount(container, "limits", name));
            matches!((request, limit), (Some(request), Some(limit)) if !request.exceeds(limit) && !limit.exceeds(request))
        })
    };
    if !containers().any(any) {
        "BestEffort"
    } else if containers().all(full) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}
