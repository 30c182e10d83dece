//! Kubernetes' rules about labels and taints, written out once more.

use k8s_openapi::{
    api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Taint, Toleration},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use std::collections::BTreeMap;

pub(super) type Labels = BTreeMap<String, String>;

/// Keys that were renamed; both names mean the same.
const RENAMED: [(&str, &str); 6] = [
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("topology.ebs.csi.aws.com/zone", "topology.kubernetes.io/zone"),
];

pub(super) fn value<'a>(labels: &'a Labels, key: &str) -> Option<&'a String> {
    let renamed = RENAMED.iter().find(|(old, _)| *old == key).map(|(_, new)| *new);
    labels.get(key).or_else(|| labels.get(renamed?))
}

/// Whether a node with `labels` satisfies the pod's node selector and required node affinity.
pub(super) fn node_will_do(spec: &PodSpec, labels: &Labels) -> bool {
    let selected = spec.node_selector.iter().flatten().all(|(key, wanted)| value(labels, key) == Some(wanted));
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
    selected && required.is_none_or(|required| required.node_selector_terms.iter().any(|term| term_holds(term, labels)))
}

fn term_holds(term: &NodeSelectorTerm, labels: &Labels) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let by_field = term.match_fields.as_ref().is_some_and(|fields| !fields.is_empty());
    !by_field && !expressions.is_empty() && expressions.iter().all(|expression| expression_holds(expression, labels))
}

pub(super) fn expression_holds(expression: &NodeSelectorRequirement, labels: &Labels) -> bool {
    let own = value(labels, &expression.key);
    let values = expression.values.as_deref().unwrap_or_default();
    let compare = |holds: fn(i64, i64) -> bool| {
        let bound = values.first().filter(|_| values.len() == 1).and_then(|value| value.parse::<i64>().ok());
        let own = own.and_then(|own| own.parse::<i64>().ok());
        matches!((own, bound), (Some(own), Some(bound)) if holds(own, bound))
    };
    match expression.operator.as_str() {
        "In" => own.is_some_and(|own| values.contains(own)),
        "NotIn" => own.is_none_or(|own| !values.contains(own)),
        "Exists" => own.is_some(),
        "DoesNotExist" => own.is_none(),
        "Gt" => compare(|own, bound| own > bound),
        "Lt" => compare(|own, bound| own < bound),
        "Gte" => compare(|own, bound| own >= bound),
        "Lte" => compare(|own, bound| own <= bound),
        _ => false,
    }
}

/// Whether the pod's tolerations let it onto a node with `taint`; a taint that only prefers never keeps a pod away.
pub(super) fn tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    taint.effect == "PreferNoSchedule" || tolerations.iter().any(|toleration| tolerates(toleration, taint))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |own: &Option<String>| own.clone().unwrap_or_default();
    let (key, effect, value) = (text(&toleration.key), text(&toleration.effect), text(&toleration.value));
    let theirs = text(&taint.value);
    let numbers = || Some((theirs.parse::<i64>().ok()?, value.parse::<i64>().ok()?));
    (effect.is_empty() || effect == taint.effect)
        && (key.is_empty() || key == taint.key)
        && match text(&toleration.operator).as_str() {
            "Exists" => true,
            "" | "Equal" => value == theirs,
            "Gt" => numbers().is_some_and(|(theirs, own)| theirs > own),
            "Lt" => numbers().is_some_and(|(theirs, own)| theirs < own),
            _ => false,
        }
}

/// Whether the selector selects the pod. None selects nothing.
pub(super) fn selected(selector: Option<&LabelSelector>, pod: &Pod) -> bool {
    let empty = Labels::new();
    let labels = pod.metadata.labels.as_ref().unwrap_or(&empty);
    selector.is_some_and(|selector| {
        let expressions = selector.match_expressions.iter().flatten().map(|own| NodeSelectorRequirement {
            key: own.key.clone(),
            operator: own.operator.clone(),
            values: own.values.clone(),
        });
        let mut expressions = expressions;
        selector.match_labels.iter().flatten().all(|(key, wanted)| labels.get(key) == Some(wanted))
            && expressions.all(|expression| expression_holds(&expression, labels))
    })
}
