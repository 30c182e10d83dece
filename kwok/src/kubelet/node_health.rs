//! What the controllers around nodes decide: taints by condition, when a silent node is unknown. Pure.

use super::object::{condition_status, text};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The conditions that a silent kubelet leaves unknown.
const REPORTED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// Taints that a condition's status calls for: condition, status, key, effects.
const BY_CONDITION: [(&str, &str, &str, &[&str]); 7] = [
    ("Ready", "False", "node.kubernetes.io/not-ready", &["NoSchedule", "NoExecute"]),
    ("Ready", "Unknown", "node.kubernetes.io/unreachable", &["NoSchedule", "NoExecute"]),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure", &["NoSchedule"]),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure", &["NoSchedule"]),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure", &["NoSchedule"]),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable", &["NoSchedule"]),
    ("", "", "node.kubernetes.io/unschedulable", &["NoSchedule"]),
];

/// What a kubelet registers with until a cloud controller has seen its instance.
const UNINITIALIZED: &str = "node.cloudprovider.kubernetes.io/uninitialized";

/// The taints that the node should have; none if it has them. `has_instance` says whether the cloud runs its machine. Taints
/// by condition are put on and taken off with `by_condition`, which is the time; without they are someone else's.
pub(super) fn wanted_taints(node: &Value, has_instance: bool, by_condition: Option<Timestamp>) -> Option<Vec<Value>> {
    let have = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let mut wanted = have.clone();
    if has_instance {
        wanted.retain(|taint| taint["key"] != UNINITIALIZED);
    }
    if let Some(now) = by_condition {
        wanted.retain(|taint| !BY_CONDITION.iter().any(|(.., key, _)| taint["key"] == *key));
        wanted.extend(called_for(node, &have, now));
    }
    let mut sorted = [have, wanted.clone()];
    sorted.iter_mut().for_each(|taints| taints.sort_by_key(Value::to_string));
    (sorted[0] != sorted[1]).then_some(wanted)
}

/// The taints that the node's conditions call for; one that it has already stays as it is.
fn called_for(node: &Value, have: &[Value], now: Timestamp) -> Vec<Value> {
    let mut wanted = Vec::new();
    for (condition, status, key, effects) in BY_CONDITION {
        let called_for = match condition {
            "" => node["spec"]["unschedulable"] == true,
            _ => condition_status(node, condition) == Some(status),
        };
        for effect in effects.iter().filter(|_| called_for) {
            let existing = have.iter().find(|taint| taint["key"] == key && taint["effect"] == **effect).cloned();
            wanted.push(existing.unwrap_or_else(|| new_taint(key, effect, now)));
        }
    }
    wanted
}

fn new_taint(key: &str, effect: &str, now: Timestamp) -> Value {
    match effect {
        "NoExecute" => json!({"key": key, "effect": effect, "timeAdded": format!("{now:.0}")}),
        _ => json!({"key": key, "effect": effect}),
    }
}

/// The status of a node whose kubelet is silent.
pub(super) fn unknown_status(node: &Value, now: Timestamp) -> Value {
    let time = now.to_string();
    let heartbeat = |kind: &str| {
        let conditions = node["status"]["conditions"].as_array();
        conditions.into_iter().flatten().find(|condition| condition["type"] == kind)?.get("lastHeartbeatTime").cloned()
    };
    let conditions = REPORTED.map(|kind| {
        json!({
            "type": kind, "status": "Unknown", "reason": "NodeStatusUnknown",
            "message": "Kubelet stopped posting node status.",
            "lastTransitionTime": time, "lastHeartbeatTime": heartbeat(kind),
        })
    });
    json!({"status": {"conditions": conditions}})
}

/// Whether the node is known not to be well: its Ready condition is there and not True.
pub(super) fn is_unwell(node: &Value) -> bool {
    matches!(condition_status(node, "Ready"), Some("False" | "Unknown"))
}

/// Whether the node's silence has been noticed already.
pub(super) fn is_unknown(node: &Value) -> bool {
    condition_status(node, "Ready") == Some("Unknown")
}

/// The provider id; empty if there is none.
pub(super) fn provider_id(node: &Value) -> &str {
    text(node, &["spec", "providerID"])
}

#[cfg(test)]
mod tests {
    use super::{unknown_status, wanted_taints};
    use jiff::Timestamp;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn keys(node: &Value, has_instance: bool, by_condition: bool) -> Option<Vec<String>> {
        let taints = wanted_taints(node, has_instance, by_condition.then_some(Timestamp::UNIX_EPOCH))?;
        let short = |taint: &Value| {
            let key = taint["key"].as_str().unwrap();
            format!("{}:{}", key.rsplit('/').next().unwrap(), taint["effect"].as_str().unwrap())
        };
        Some(taints.iter().map(short).collect())
    }

    fn node(ready: &str, taints: &[(&str, &str)]) -> Value {
        let taints: Vec<Value> = taints.iter().map(|(key, effect)| json!({"key": key, "effect": effect})).collect();
        json!({"spec": {"taints": taints}, "status": {"conditions": [{"type": "Ready", "status": ready}]}})
    }

    #[rstest]
    #[case::registered(node("False", &[("karpenter.sh/unregistered", "NoExecute"), ("node.cloudprovider.kubernetes.io/uninitialized", "NoSchedule"), ("node.kubernetes.io/not-ready", "NoSchedule")]), true,
        Some(&["unregistered:NoExecute", "not-ready:NoSchedule", "not-ready:NoExecute"][..]))]
    #[case::ready(node("True", &[("node.kubernetes.io/not-ready", "NoSchedule"), ("a", "NoSchedule")]), true, Some(&["a:NoSchedule"][..]))]
    #[case::nothing_to_do(node("True", &[("a", "NoSchedule")]), true, None)]
    #[case::silent(node("Unknown", &[]), false, Some(&["unreachable:NoSchedule", "unreachable:NoExecute"][..]))]
    #[case::uninitialized_without_instance(node("True", &[("node.cloudprovider.kubernetes.io/uninitialized", "NoSchedule")]), false, None)]
    #[case::cordoned(json!({"spec": {"unschedulable": true}}), true, Some(&["unschedulable:NoSchedule"][..]))]
    fn taints_follow_conditions(#[case] node: Value, #[case] has_instance: bool, #[case] expected: Option<&[&str]>) {
        let expected = expected.map(|taints| taints.iter().map(|taint| (*taint).to_owned()).collect());
        assert_eq!(keys(&node, has_instance, true), expected);
    }

    #[test]
    fn a_cloud_controller_takes_its_own_taint_off_and_leaves_the_others() {
        let registered = node(
            "True",
            &[
                ("node.cloudprovider.kubernetes.io/uninitialized", "NoSchedule"),
                ("node.kubernetes.io/not-ready", "NoSchedule"),
            ],
        );
        assert_eq!(keys(&registered, true, false), Some(vec!["not-ready:NoSchedule".to_owned()]));
        assert_eq!(keys(&registered, false, false), None);
    }

    #[test]
    fn a_silent_kubelet_leaves_four_conditions_unknown() {
        let status = unknown_status(&node("True", &[]), Timestamp::UNIX_EPOCH);
        assert_eq!(status["status"]["conditions"].as_array().unwrap().len(), 4);
    }
}
