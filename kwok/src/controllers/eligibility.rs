//! On which nodes a daemon belongs: node affinity and tolerations.

use super::known::NodeFacts;
use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration};

/// Whether a daemon should be started on a node, and whether one that is there may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Eligibility {
    pub(super) run: bool,
    pub(super) stay: bool,
}

/// The daemon's eligibility for the node (`NodeShouldRunDaemonPod`); `spec` has the daemon's tolerations.
pub(super) fn eligibility(spec: &PodSpec, node: &NodeFacts) -> Eligibility {
    let named = spec.node_name.as_deref().is_none_or(|name| name.is_empty() || name == node.name);
    if !named || !is_selected(spec, node) {
        return Eligibility { run: false, stay: false };
    }
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let clear = |effects: &[&str]| {
        let mut taints = node.taints.iter().filter(|taint| effects.contains(&taint.effect.as_str()));
        taints.all(|taint| tolerations.iter().any(|toleration| tolerates(toleration, taint)))
    };
    Eligibility { run: clear(&["NoSchedule", "NoExecute"]), stay: clear(&["NoExecute"]) }
}

fn is_selected(spec: &PodSpec, node: &NodeFacts) -> bool {
    let mut labels = spec.node_selector.iter().flatten();
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    labels.all(|(name, value)| node.labels.get(name) == Some(value))
        && required.is_none_or(|required| matches(required, node))
}

/// Whether one of the terms matches; a term without requirements matches nothing.
fn matches(selector: &NodeSelector, node: &NodeFacts) -> bool {
    selector.node_selector_terms.iter().any(|term| term_matches(term, node))
}

fn term_matches(term: &NodeSelectorTerm, node: &NodeFacts) -> bool {
    let labels = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let field = |name: &str| (name == "metadata.name").then_some(node.name.as_str());
    !(labels.is_empty() && fields.is_empty())
        && labels.iter().all(|one| requirement_holds(one, node.labels.get(&one.key).map(String::as_str)))
        && fields.iter().all(|one| requirement_holds(one, field(&one.key)))
}

fn requirement_holds(requirement: &NodeSelectorRequirement, found: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let among = || found.is_some_and(|found| values.iter().any(|value| value == found));
    let compared = |holds: fn(i64, i64) -> bool| {
        let bound = values.first().and_then(|value| value.parse().ok());
        found.and_then(|found| found.parse().ok()).zip(bound).is_some_and(|(found, bound)| holds(found, bound))
    };
    match requirement.operator.as_str() {
        "In" => among(),
        "NotIn" => !among(),
        "Exists" => found.is_some(),
        "DoesNotExist" => found.is_none(),
        "Gt" => compared(|found, bound| found > bound),
        "Lt" => compared(|found, bound| found < bound),
        _ => false,
    }
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().is_none_or(|effect| effect.is_empty() || effect == taint.effect);
    let key = toleration.key.as_deref().unwrap_or_default();
    let value = || toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default();
    let exists = toleration.operator.as_deref() == Some("Exists");
    effect && (key == taint.key || (key.is_empty() && exists)) && (exists || value())
}

/// The tolerations that every daemon has (`AddOrUpdateDaemonPodTolerations`).
pub(super) fn add_tolerations(spec: &mut PodSpec) {
    let host_network = spec.host_network == Some(true);
    let tolerations = spec.tolerations.get_or_insert_default();
    let mut add = |name: &str, effect: &str| {
        let new = Toleration {
            key: Some(format!("node.kubernetes.io/{name}")),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        if !tolerations.contains(&new) {
            tolerations.push(new);
        }
    };
    add("not-ready", "NoExecute");
    add("unreachable", "NoExecute");
    for name in ["disk-pressure", "memory-pressure", "pid-pressure", "unschedulable"] {
        add(name, "NoSchedule");
    }
    if host_network {
        add("network-unavailable", "NoSchedule");
    }
}

/// Makes the scheduler bind the pod to this node: required affinity for its name, in place of what was required before.
pub(super) fn pin(spec: &mut PodSpec, node: &str) {
    let name = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_fields: Some(vec![name]), ..NodeSelectorTerm::default() };
    let affinity = spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
    affinity.required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![term] });
}

#[cfg(test)]
mod tests {
    use super::{add_tolerations, eligibility};
    use crate::controllers::known::NodeFacts;
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case::plain(json!({}), json!([]), (true, true))]
    #[case::selected(json!({"nodeSelector": {"zone": "a"}}), json!([]), (true, true))]
    #[case::not_selected(json!({"nodeSelector": {"zone": "b"}}), json!([]), (false, false))]
    #[case::tainted(json!({}), json!([{"key": "gpu", "effect": "NoSchedule"}]), (false, true))]
    #[case::evicted(json!({}), json!([{"key": "gpu", "effect": "NoExecute"}]), (false, false))]
    #[case::tolerated(json!({"tolerations": [{"key": "gpu", "operator": "Exists"}]}), json!([{"key": "gpu", "effect": "NoExecute"}]), (true, true))]
    #[case::preference_only(json!({}), json!([{"key": "gpu", "effect": "PreferNoSchedule"}]), (true, true))]
    #[case::not_ready(json!({}), json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]), (true, true))]
    #[case::pressed(json!({}), json!([{"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"}]), (true, true))]
    #[case::no_network(json!({}), json!([{"key": "node.kubernetes.io/network-unavailable", "effect": "NoSchedule"}]), (false, true))]
    #[case::host_network(json!({"hostNetwork": true}), json!([{"key": "node.kubernetes.io/network-unavailable", "effect": "NoSchedule"}]), (true, true))]
    #[case::affinity(json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]},
        {"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["3"]}]},
    ]}}}}), json!([]), (true, true))]
    #[case::affinity_against(json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["other"]}]}, {},
    ]}}}}), json!([]), (false, false))]
    fn daemons(#[case] spec: Value, #[case] taints: Value, #[case] expected: (bool, bool)) {
        let mut whole = json!({"containers": []});
        json_patch::merge(&mut whole, &spec);
        let mut spec = serde_json::from_value(whole).unwrap();
        add_tolerations(&mut spec);
        let node =
            json!({"metadata": {"name": "n", "labels": {"zone": "a", "cores": "4"}}, "spec": {"taints": taints}});
        let found = eligibility(&spec, &NodeFacts::of(&serde_json::from_value(node).unwrap()));
        assert_eq!((found.run, found.stay), expected);
    }

    #[test]
    fn a_cordon_does_not_keep_daemons_off() {
        let mut spec = serde_json::from_value(json!({"containers": []})).unwrap();
        add_tolerations(&mut spec);
        let node = json!({"metadata": {"name": "n"}, "spec": {"unschedulable": true}});
        assert!(eligibility(&spec, &NodeFacts::of(&serde_json::from_value(node).unwrap())).run);
    }
}
