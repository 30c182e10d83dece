//! What the deciders see of a pod.

use super::{
    InvalidResource, Resources, resources::CPU, resources::HUGE_PAGES_PREFIX, resources::MEMORY, resources::PODS,
};
use k8s_openapi::{
    api::core::v1::{Container, ContainerStatus, Pod, PodSpec, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};
use std::{collections::BTreeMap, collections::BTreeSet, sync::LazyLock};

static NO_SPEC: LazyLock<PodSpec> = LazyLock::new(PodSpec::default);

/// A pod's spec; an empty one where the object has none.
pub fn pod_spec(pod: &Pod) -> &PodSpec {
    pod.spec.as_ref().unwrap_or(&NO_SPEC)
}

/// What a pod needs of a node: its containers together, or its largest initialization step if that is more; sidecars (init
/// containers that restart always) run beside both; what the pod states as a whole replaces the sums; runtime overhead is
/// added; and one of `pods` (spec core 2.14). A limit stands in for a missing request, as the API server would have set it.
/// While a container is being resized the larger of what it has and what it asks for counts.
///
/// # Errors
/// [`InvalidResource`] names the first amount that is not a quantity.
pub fn pod_requests(pod: &Pod) -> Result<Resources, InvalidResource> {
    let spec = pod_spec(pod);
    let status = pod.status.as_ref();
    let statuses = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    let init_statuses = status.and_then(|status| status.init_container_statuses.as_deref()).unwrap_or_default();
    let mut running = Resources::new();
    for container in &spec.containers {
        running.add(&container_requests(container, statuses)?);
    }
    let mut sidecars = Resources::new();
    let mut largest_step = Resources::new();
    for container in spec.init_containers.iter().flatten() {
        let own = container_requests(container, init_statuses)?;
        if container.restart_policy.as_deref() == Some("Always") {
            running.add(&own);
            sidecars.add(&own);
            largest_step = largest_step.max(&sidecars);
        } else {
            largest_step = largest_step.max(&own.plus(&sidecars));
        }
    }
    let mut total = running.max(&largest_step);
    if let Some(whole) = &spec.resources {
        let stated = requests_of(whole)?;
        stated
            .iter()
            .filter(|(name, _)| may_be_stated_for_pod(name))
            .for_each(|(name, amount)| total.set(name, amount));
    }
    if let Some(overhead) = &spec.overhead {
        total.add(&Resources::from_requests(overhead)?);
    }
    total.set(PODS, 1);
    Ok(total)
}

fn may_be_stated_for_pod(resource: &str) -> bool {
    resource == CPU || resource == MEMORY || resource.starts_with(HUGE_PAGES_PREFIX)
}

fn container_requests(container: &Container, statuses: &[ContainerStatus]) -> Result<Resources, InvalidResource> {
    let asked = container.resources.as_ref().map(requests_of).transpose()?.unwrap_or_default();
    let Some(status) = statuses.iter().find(|status| status.name == container.name) else { return Ok(asked) };
    let held = status.allocated_resources.as_ref().map(Resources::from_requests).transpose()?.unwrap_or_default();
    let used = status.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let used = used.map(Resources::from_requests).transpose()?.unwrap_or_default();
    Ok(asked.max(&held).max(&used))
}

fn requests_of(resources: &ResourceRequirements) -> Result<Resources, InvalidResource> {
    let empty = BTreeMap::<String, Quantity>::new();
    let mut requests = Resources::from_requests(resources.requests.as_ref().unwrap_or(&empty))?;
    let limits = Resources::from_requests(resources.limits.as_ref().unwrap_or(&empty))?;
    for (name, amount) in
        limits.iter().filter(|(name, _)| !resources.requests.as_ref().is_some_and(|r| r.contains_key(*name)))
    {
        requests.set(name, amount);
    }
    Ok(requests)
}

/// Whether the pod has come to its end.
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether the pod is being deleted.
pub fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether the pod is neither at its end nor being deleted.
pub fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && !is_terminating(pod)
}

/// Whether an `apps` DaemonSet owns the pod.
pub fn is_daemon_pod(pod: &Pod) -> bool {
    has_owner(pod, "apps/", "DaemonSet")
}

/// Whether a Node owns the pod: a static pod, which lives and dies with its node.
pub fn is_static_pod(pod: &Pod) -> bool {
    has_owner(pod, "v1", "Node")
}

/// Whether scheduling gates still hold the pod back.
pub fn is_gated(pod: &Pod) -> bool {
    pod_spec(pod).scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty())
}

/// Whether kube-scheduler has looked for a node for the pod and found none, so that a new machine may help (spec core 2.3).
/// Gated and suspended pods, DaemonSet pods and static pods are left alone.
pub fn is_provisionable(pod: &Pod) -> bool {
    let failed = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == "PodScheduled" && condition.reason.as_deref() == Some("Unschedulable"));
    let nominated = pod.status.as_ref().and_then(|status| status.nominated_node_name.as_deref());
    let bound = pod_spec(pod).node_name.as_deref();
    let set = |text: Option<&str>| text.is_some_and(|text| !text.is_empty());
    failed
        && !set(bound)
        && !set(nominated)
        && is_active(pod)
        && !is_gated(pod)
        && !is_daemon_pod(pod)
        && !is_static_pod(pod)
}

/// Whether a pod on a node that goes away will need another place: it is active (or a StatefulSet will make it anew) and
/// belongs neither to a DaemonSet nor to its node (spec core 2.3; PDBs and do-not-disrupt are looked at elsewhere).
pub fn is_reschedulable(pod: &Pod) -> bool {
    let returns =
        is_active(pod) || (is_terminating(pod) && !is_terminal(pod) && has_owner(pod, "apps/", "StatefulSet"));
    returns && !is_daemon_pod(pod) && !is_static_pod(pod)
}

/// A port of the node that a pod takes for itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// The port's number.
    pub port: i32,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The address it listens on; `0.0.0.0` where none is given.
    pub ip: String,
}

impl HostPort {
    /// Whether both cannot be on one node: same port and protocol, and the addresses are equal or one of them means all.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        let unspecified = |ip: &str| matches!(ip, "0.0.0.0" | "::");
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || unspecified(&self.ip) || unspecified(&other.ip))
    }
}

/// The host ports of a pod's containers and sidecars.
pub fn host_ports(pod: &Pod) -> BTreeSet<HostPort> {
    let spec = pod_spec(pod);
    let sidecars =
        spec.init_containers.iter().flatten().filter(|init| init.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let or = |text: &Option<String>, default: &str| {
        text.clone().filter(|text| !text.is_empty()).unwrap_or_else(|| default.to_owned())
    };
    ports
        .filter_map(|port| {
            let number = port.host_port.filter(|number| *number > 0)?;
            Some(HostPort { port: number, protocol: or(&port.protocol, "TCP"), ip: or(&port.host_ip, "0.0.0.0") })
        })
        .collect()
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn has_owner(pod: &Pod, api_prefix: &str, kind: &str) -> bool {
    let owners = pod.metadata.owner_references.iter().flatten();
    owners.into_iter().any(|owner| owner.kind == kind && owner.api_version.starts_with(api_prefix))
}

#[cfg(test)]
mod tests {
    use super::{Pod, host_ports, is_provisionable, is_reschedulable, pod_requests};
    use rstest::rstest;
    use serde_json::{Value, json};

    fn pod(spec: Value) -> Pod {
        let mut pod = json!({"metadata": {"name": "p"}});
        pod["spec"] = spec;
        serde_json::from_value(pod).unwrap()
    }

    fn container(name: &str, cpu: &str) -> Value {
        json!({"name": name, "resources": {"requests": {"cpu": cpu}}})
    }

    #[rstest]
    #[case::containers_add_up(json!({"containers": [container("a", "1"), container("b", "500m")]}), "cpu: 1500m, pods: 1")]
    #[case::the_largest_step_counts(
        json!({"containers": [container("a", "1")], "initContainers": [container("i", "2"), container("j", "3")]}),
        "cpu: 3, pods: 1")]
    #[case::limits_stand_in(
        json!({"containers": [{"name": "a", "resources": {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1"}}}]}),
        "cpu: 1, memory: 1Gi, pods: 1")]
    #[case::overhead_is_added(json!({"containers": [container("a", "1")], "overhead": {"cpu": "250m"}}), "cpu: 1250m, pods: 1")]
    #[case::the_pod_as_a_whole(
        json!({"containers": [container("a", "1")], "resources": {"requests": {"cpu": "4", "nvidia.com/gpu": "1"}}}),
        "cpu: 4, pods: 1")]
    fn requests_are_counted(#[case] spec: Value, #[case] expected: &str) {
        assert_eq!(pod_requests(&pod(spec)).unwrap().to_string(), expected);
    }

    #[test]
    fn sidecars_run_beside_steps_and_containers() {
        let mut sidecar = container("s", "200m");
        sidecar["restartPolicy"] = json!("Always");
        let spec = json!({"containers": [container("a", "1")], "initContainers": [container("i", "2"), sidecar, container("j", "1900m")]});
        assert_eq!(pod_requests(&pod(spec)).unwrap().to_string(), "cpu: 2100m, pods: 1");
    }

    #[test]
    fn a_resize_counts_what_is_held_and_what_is_asked() {
        let mut resized = pod(json!({"containers": [container("a", "1")]}));
        let status = json!({"containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 0,
            "allocatedResources": {"cpu": "3"}}]});
        resized.status = Some(serde_json::from_value(status).unwrap());
        assert_eq!(pod_requests(&resized).unwrap().to_string(), "cpu: 3, pods: 1");
    }

    #[test]
    fn a_bad_amount_is_an_error() {
        let refused = pod_requests(&pod(json!({"containers": [container("a", "1 cpu")]}))).unwrap_err();
        assert!(refused.to_string().contains("`1 cpu`"));
    }

    #[rstest]
    #[case::pending(json!({}), true)]
    #[case::bound(json!({"spec": {"nodeName": "n"}}), false)]
    #[case::nominated(json!({"status": {"nominatedNodeName": "n"}}), false)]
    #[case::gated(json!({"spec": {"schedulingGates": [{"name": "g"}]}}), false)]
    #[case::other_reason(json!({"status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}}), false)]
    #[case::daemon(json!({"metadata": {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u"}]}}), false)]
    #[case::static_pod(json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}]}}), false)]
    #[case::replicated(json!({"metadata": {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u"}]}}), true)]
    #[case::deleted(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}), false)]
    fn only_pods_that_a_machine_can_help_are_provisionable(#[case] patch: Value, #[case] expected: bool) {
        let mut object = json!({"metadata": {"name": "p"}, "spec": {"containers": []}, "status":
            {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}});
        for (section, fields) in patch.as_object().unwrap() {
            for (field, value) in fields.as_object().unwrap() {
                object[section][field] = value.clone();
            }
        }
        assert_eq!(is_provisionable(&serde_json::from_value(object).unwrap()), expected);
    }

    #[test]
    fn a_terminating_pod_returns_only_with_its_stateful_set() {
        let mut leaving = pod(json!({"containers": []}));
        leaving.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
        assert!(!is_reschedulable(&leaving));
        leaving.metadata.owner_references = Some(vec![
            serde_json::from_value(json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "s", "uid": "u"}))
                .unwrap(),
        ]);
        assert!(is_reschedulable(&leaving));
    }

    #[test]
    fn host_ports_conflict_by_port_protocol_and_address() {
        let ports = |ip: Value| {
            let port = json!({"containerPort": 80, "hostPort": 80, "hostIP": ip});
            host_ports(&pod(json!({"containers": [{"name": "a", "ports": [port, {"containerPort": 81}]}]})))
        };
        let (all, one, other) = (ports(json!("")), ports(json!("10.0.0.1")), ports(json!("10.0.0.2")));
        assert_eq!(all.len(), 1);
        let conflict = |a: &std::collections::BTreeSet<super::HostPort>,
                        b: &std::collections::BTreeSet<super::HostPort>| {
            a.first().unwrap().conflicts_with(b.first().unwrap())
        };
        assert!(conflict(&all, &one) && conflict(&one, &one) && !conflict(&one, &other));
    }
}
