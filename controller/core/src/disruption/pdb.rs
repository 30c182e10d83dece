//! Which PodDisruptionBudgets keep a pod where it is (spec core 4.2, 2.3).

use super::WhyKept;
use crate::model::{PodKey, StateNode, is_active, is_terminal};
use k8s_openapi::{
    api::{core::v1::Pod, policy::v1::PodDisruptionBudget},
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, LabelSelectorRequirement},
        util::intstr::IntOrString,
    },
};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// The budgets of a cluster, ready to be asked.
#[derive(Debug)]
pub(super) struct PodBudgets<'a> {
    by_namespace: BTreeMap<&'a str, Vec<PodBudget<'a>>>,
}

#[derive(Debug)]
struct PodBudget<'a> {
    name: &'a str,
    selector: &'a LabelSelector,
    arithmetic: Arithmetic,
    spares_unready: bool,
}

/// How a budget comes to allow what it allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arithmetic {
    /// What its spec says, e.g. `minAvailable 2`.
    pub rule: String,
    /// How many pods it speaks of.
    pub expected: i64,
    /// How many of them are healthy.
    pub healthy: i64,
    /// How many have to be.
    pub needed: i64,
    /// How many may go now.
    pub allowed: i64,
}

impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, expected, healthy, needed, allowed } = self;
        write!(f, "{allowed} disruptions allowed ({rule}: {healthy} of {expected} pods healthy, {needed} needed)")
    }
}

/// What a budget says of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetOfPod {
    /// The budget, as namespace/name.
    pub budget: String,
    /// How it comes to what it allows.
    pub arithmetic: Arithmetic,
    /// Whether the pod may go all the same, as it is not Ready and the budget spares such.
    pub spared: bool,
}

impl<'a> PodBudgets<'a> {
    /// Makes `budgets` ready. What a budget allows is in its status; where nobody has written that yet (as in a scenario file)
    /// it is worked out from the pods of `nodes`.
    pub(super) fn new(budgets: &'a [Arc<PodDisruptionBudget>], nodes: &'a [StateNode]) -> Self {
        let mut by_namespace: BTreeMap<&str, Vec<PodBudget<'_>>> = BTreeMap::new();
        for budget in budgets {
            let Some(spec) = &budget.spec else { continue };
            // Without a selector a budget selects nothing.
            let Some(selector) = &spec.selector else { continue };
            let namespace = budget.metadata.namespace.as_deref().unwrap_or("default");
            let arithmetic = from_status(budget).unwrap_or_else(|| from_spec(budget, namespace, selector, nodes));
            let name = budget.metadata.name.as_deref().unwrap_or_default();
            let spares_unready = spec.unhealthy_pod_eviction_policy.as_deref() == Some("AlwaysAllow");
            by_namespace.entry(namespace).or_default().push(PodBudget { name, selector, arithmetic, spares_unready });
        }
        by_namespace.values_mut().for_each(|budgets| budgets.sort_by_key(|budget| budget.name));
        Self { by_namespace }
    }

    /// Why `pod` cannot be evicted now; none if it can.
    pub(super) fn why_kept(&self, pod: &Pod) -> Option<WhyKept> {
        match self.of_pod(pod).as_slice() {
            [] => None,
            [own] => {
                let blocks = own.arithmetic.allowed <= 0 && !own.spared;
                let budget = own.budget.clone();
                blocks.then(|| WhyKept::PodDisruptionBudget { pod: PodKey::of(pod), budget })
            }
            [_, _, ..] => Some(WhyKept::SeveralPodDisruptionBudgets { pod: PodKey::of(pod) }),
        }
    }

    /// What every budget that selects `pod` says of it, by name.
    pub(super) fn of_pod(&self, pod: &Pod) -> Vec<BudgetOfPod> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let of_namespace = self.by_namespace.get(namespace).into_iter().flatten();
        let says = |own: &PodBudget<'_>| BudgetOfPod {
            budget: format!("{namespace}/{}", own.name),
            arithmetic: own.arithmetic.clone(),
            spared: own.spares_unready && !is_ready(pod),
        };
        of_namespace.filter(|own| selects(own.selector, pod)).map(says).collect()
    }
}

fn from_status(budget: &PodDisruptionBudget) -> Option<Arithmetic> {
    let status = budget.status.as_ref()?;
    Some(Arithmetic {
        rule: rule(budget),
        expected: i64::from(status.expected_pods),
        healthy: i64::from(status.current_healthy),
        needed: i64::from(status.desired_healthy),
        allowed: i64::from(status.disruptions_allowed),
    })
}

/// What the budget's spec asks for, in words.
fn rule(budget: &PodDisruptionBudget) -> String {
    let spec = budget.spec.as_ref();
    let amount = |value: &IntOrString| match value {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(text) => text.clone(),
    };
    let min = spec.and_then(|spec| spec.min_available.as_ref());
    let max = spec.and_then(|spec| spec.max_unavailable.as_ref());
    match (min, max) {
        (Some(min), _) => format!("minAvailable {}", amount(min)),
        (None, Some(max)) => format!("maxUnavailable {}", amount(max)),
        (None, None) => "asks for nothing".to_owned(),
    }
}

/// As kube-controller-manager works it out: percentages of the selected pods round up; a pod is healthy if it is Ready.
fn from_spec(
    budget: &PodDisruptionBudget,
    namespace: &str,
    selector: &LabelSelector,
    nodes: &[StateNode],
) -> Arithmetic {
    let spec = budget.spec.as_ref();
    let of_namespace = |pod: &&Arc<Pod>| pod.metadata.namespace.as_deref().unwrap_or("default") == namespace;
    let selected: Vec<&Arc<Pod>> = nodes
        .iter()
        .flat_map(|node| &node.pods)
        .filter(of_namespace)
        .filter(|pod| !is_terminal(pod) && selects(selector, pod))
        .collect();
    let expected = i64::try_from(selected.len()).unwrap_or(i64::MAX);
    let healthy = selected.iter().filter(|pod| is_active(pod) && !is_known_unready(pod)).count();
    let healthy = i64::try_from(healthy).unwrap_or(i64::MAX);
    let min = spec.and_then(|spec| spec.min_available.as_ref());
    let max = spec.and_then(|spec| spec.max_unavailable.as_ref());
    let needed = match (min, max) {
        (Some(min), _) => scaled(min, expected),
        (None, Some(max)) => (expected - scaled(max, expected)).max(0),
        (None, None) => 0,
    };
    Arithmetic { rule: rule(budget), expected, healthy, needed, allowed: (healthy - needed).max(0) }
}

fn scaled(value: &IntOrString, total: i64) -> i64 {
    match value {
        IntOrString::Int(number) => i64::from(*number),
        IntOrString::String(text) => {
            let percent: i64 = text.strip_suffix('%').and_then(|percent| percent.parse().ok()).unwrap_or(100);
            (total * percent + 99).div_euclid(100)
        }
    }
}

fn ready_status(pod: &Pod) -> Option<&str> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == "Ready").map(|condition| condition.status.as_str())
}

fn is_ready(pod: &Pod) -> bool {
    ready_status(pod) == Some("True")
}

/// Pods in scenario files rarely state their readiness; they are meant to run.
fn is_known_unready(pod: &Pod) -> bool {
    ready_status(pod).is_some_and(|status| status != "True")
}

/// Whether `selector` selects `pod`; an empty one selects everything in its namespace.
pub(super) fn selects(selector: &LabelSelector, pod: &Pod) -> bool {
    let empty = BTreeMap::new();
    let labels = pod.metadata.labels.as_ref().unwrap_or(&empty);
    let exact = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    exact && selector.match_expressions.iter().flatten().all(|expression| holds(expression, labels))
}

fn holds(expression: &LabelSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&expression.key);
    let listed = value.is_some_and(|value| expression.values.iter().flatten().any(|own| own == value));
    match expression.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        // The API server admits no other operator; a selector that cannot be understood selects nothing.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::fixtures::pod;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn budget(name: &str, spec: &Value, status: &Value) -> Arc<PodDisruptionBudget> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": { "name": name, "namespace": "default" }, "spec": spec, "status": status,
            }))
            .unwrap(),
        )
    }

    fn web(change: &Value) -> Pod {
        let mut base = json!({ "metadata": { "labels": { "app": "web" } } });
        crate::lifecycle::fixtures::merge(&mut base, change);
        pod("web", &base)
    }

    fn selector() -> Value {
        json!({ "matchLabels": { "app": "web" } })
    }

    #[rstest]
    #[case::allows(json!({ "selector": selector() }), json!({ "disruptionsAllowed": 1 }), None)]
    #[case::forbids(json!({ "selector": selector() }), json!({ "disruptionsAllowed": 0 }), Some("pdb"))]
    #[case::other_pods(json!({ "selector": { "matchLabels": { "app": "db" } } }), json!({ "disruptionsAllowed": 0 }), None)]
    #[case::everything(json!({ "selector": {} }), json!({ "disruptionsAllowed": 0 }), Some("pdb"))]
    #[case::nothing(json!({}), json!({ "disruptionsAllowed": 0 }), None)]
    #[case::expression(
        json!({ "selector": { "matchExpressions": [{ "key": "app", "operator": "In", "values": ["web", "db"] }] } }),
        json!({ "disruptionsAllowed": 0 }), Some("pdb")
    )]
    #[case::unready_pods_may_go(
        json!({ "selector": selector(), "unhealthyPodEvictionPolicy": "AlwaysAllow" }), json!({ "disruptionsAllowed": 0 }), None
    )]
    #[case::no_status_yet(json!({ "selector": selector(), "maxUnavailable": 0 }), json!(null), Some("pdb"))]
    #[case::no_status_but_room(json!({ "selector": selector(), "maxUnavailable": "50%" }), json!(null), None)]
    #[case::no_status_and_none_to_spare(json!({ "selector": selector(), "minAvailable": 1 }), json!(null), Some("pdb"))]
    fn one_budget(#[case] spec: Value, #[case] status: Value, #[case] code: Option<&str>) {
        let nodes = [StateNode { pods: vec![Arc::new(web(&json!({})))], ..StateNode::default() }];
        let budgets = [budget("b", &spec, &status)];
        let why = PodBudgets::new(&budgets, &nodes).why_kept(&nodes[0].pods[0]);
        assert_eq!(why.as_ref().map(WhyKept::code), code, "{why:?}");
    }

    #[test]
    fn two_budgets_can_never_be_asked() {
        let spec = json!({ "selector": selector() });
        let budgets = [
            budget("a", &spec, &json!({ "disruptionsAllowed": 1 })),
            budget("b", &spec, &json!({ "disruptionsAllowed": 1 })),
        ];
        let why = PodBudgets::new(&budgets, &[]).why_kept(&web(&json!({}))).unwrap();
        assert_eq!(why.to_string(), "Eviction does not support multiple PDBs (Pod=default/web)");
    }
}
