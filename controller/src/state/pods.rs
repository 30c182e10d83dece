//! Where a pod is, and which changes of a pod count.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use sawhorse_core::model::{NodeName, PodKey, is_active, is_daemon_pod};

/// The node that the pod is bound to, with the pod's key.
pub(crate) fn place(pod: &Pod) -> Option<(NodeName, PodKey)> {
    node_of(pod).map(|node| (node, PodKey::of(pod)))
}

/// The node that the pod is bound to.
pub(crate) fn node_of(pod: &Pod) -> Option<NodeName> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty()).map(NodeName::from)
}

/// The node on which a change of a pod counts as a pod event (spec core 3.2, `nodeclaim.podevents`): a pod that is not a
/// DaemonSet's is newly bound, newly terminal or newly terminating.
pub(crate) fn event_on(before: Option<&Pod>, after: Option<&Pod>) -> Option<NodeName> {
    let pod = after.or(before)?;
    let node = node_of(pod)?;
    let newly_bound = after.is_some() && before.is_none_or(|before| node_of(before).is_none());
    let newly_ended = !after.is_some_and(is_active) && before.is_some_and(is_active);
    (!is_daemon_pod(pod) && (newly_bound || newly_ended)).then_some(node)
}

/// Keeps of container statuses what requests are counted by (a resize in progress); restarts and timestamps are nobody's
/// business here.
pub(super) fn strip_statuses(statuses: &mut Option<Vec<ContainerStatus>>) {
    for status in statuses.iter_mut().flatten() {
        *status = ContainerStatus {
            name: std::mem::take(&mut status.name),
            allocated_resources: status.allocated_resources.take(),
            resources: status.resources.take(),
            ..ContainerStatus::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::{Pod, event_on};
    use rstest::rstest;
    use serde_json::{Value, json};

    fn pod(value: Value) -> Option<Pod> {
        (!value.is_null()).then(|| serde_json::from_value(value).unwrap())
    }

    fn bound() -> Value {
        json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n", "containers": []}})
    }

    fn with(mut value: Value, section: &str, field: &str, to: Value) -> Value {
        value[section][field] = to;
        value
    }

    #[rstest]
    #[case::bound_from_the_start(Value::Null, bound(), true)]
    #[case::newly_bound(with(bound(), "spec", "nodeName", Value::Null), bound(), true)]
    #[case::relabelled(bound(), with(bound(), "metadata", "labels", json!({"a": "b"})), false)]
    #[case::ended(bound(), with(bound(), "status", "phase", json!("Succeeded")), true)]
    #[case::told_to_go(bound(), with(bound(), "metadata", "deletionTimestamp", json!("2026-01-01T00:00:00Z")), true)]
    #[case::gone(bound(), Value::Null, true)]
    #[case::gone_after_it_ended(with(bound(), "status", "phase", json!("Failed")), Value::Null, false)]
    #[case::of_a_daemon_set(
        Value::Null,
        with(bound(), "metadata", "ownerReferences", json!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u"}])),
        false
    )]
    #[case::not_bound(Value::Null, with(bound(), "spec", "nodeName", Value::Null), false)]
    fn pod_events(#[case] before: Value, #[case] after: Value, #[case] counts: bool) {
        assert_eq!(event_on(pod(before).as_ref(), pod(after).as_ref()).is_some(), counts);
    }
}
