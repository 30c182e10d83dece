//! What is wrong with a NodePool that its schema cannot say (spec core 1.3, "Runtime validation").

use super::{
    DisruptionReason, NodePool, NodeSelectorRequirementWithMinValues, RequirementOperator, allowed_disruptions, labels,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Taint;
use std::{collections::BTreeSet, fmt};

/// One thing that is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, e.g. `spec.template.spec.requirements[0].key`.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.field, self.message)
    }
}

/// A list of problems under construction.
#[derive(Default)]
pub(super) struct Problems(pub(super) Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem { field: field.into(), message: message.into() });
    }

    pub(super) fn require(&mut self, ok: bool, field: impl Into<String>, message: impl Into<String>) {
        if !ok {
            self.add(field, message);
        }
    }
}

/// Everything that is wrong with `pool`; empty where it can be used.
pub fn validate(pool: &NodePool) -> Vec<Problem> {
    let mut problems = Problems::default();
    template_labels(pool, &mut problems);
    let spec = &pool.spec.template.spec;
    taints(&spec.taints, &spec.startup_taints, "spec.template.spec", &mut problems);
    for (index, requirement) in spec.requirements.iter().enumerate() {
        let field = format!("spec.template.spec.requirements[{index}]");
        problems.require(
            labels::normalize(&requirement.key) != labels::NODE_POOL,
            format!("{field}.key"),
            format!("`{}` is set by the controller; leave it out", labels::NODE_POOL),
        );
        requirement_problems(requirement, &field, &mut problems);
    }
    class_reference(pool, &mut problems);
    pool_fields(pool, &mut problems);
    problems.0
}

fn template_labels(pool: &NodePool, problems: &mut Problems) {
    for (key, value) in &pool.spec.template.metadata.labels {
        let field = format!("spec.template.metadata.labels[{key}]");
        if key == labels::NODE_POOL {
            problems.add(field, "is set by the controller; leave it out");
            continue;
        }
        problems.require(is_qualified_name(key), &*field, QUALIFIED_NAME);
        problems.require(is_label_value(value), &*field, format!("value `{value}` is no label value: {LABEL_VALUE}"));
        if labels::is_restricted(labels::normalize(key)) {
            problems.add(field, restricted_message(key));
        }
    }
}

fn class_reference(pool: &NodePool, problems: &mut Problems) {
    let class = &pool.spec.template.spec.node_class_ref;
    for (name, value) in [("group", &class.group), ("kind", &class.kind), ("name", &class.name)] {
        let field = format!("spec.template.spec.nodeClassRef.{name}");
        problems.require(!value.is_empty(), field, "may not be empty; name the NodeClass, such as group `karpenter.k8s.aws`, kind `EC2NodeClass`, name `default`");
    }
}

fn pool_fields(pool: &NodePool, problems: &mut Problems) {
    let spec = &pool.spec;
    problems.require(
        spec.weight.is_none_or(|weight| (1..=100).contains(&weight)),
        "spec.weight",
        "must be from 1 to 100",
    );
    problems.require(spec.replicas.is_none_or(|replicas| replicas >= 0), "spec.replicas", "must not be negative");
    if spec.is_static() {
        problems.require(spec.weight.is_none(), "spec.weight", "'weight' is not supported on static NodePools");
        let only_nodes = spec.limits.keys().all(|key| key == labels::NODES_RESOURCE);
        problems.require(only_nodes, "spec.limits", "only 'limits.nodes' is supported on static NodePools");
    }
    // Whether a budget can be read does not depend on reason, total or time.
    let budgets = allowed_disruptions(pool, DisruptionReason::Empty, 0, Timestamp::UNIX_EPOCH);
    for error in budgets.errors {
        problems.add("spec.disruption.budgets", error.to_string());
    }
}

fn taints(taints: &[Taint], startup: &[Taint], prefix: &str, problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    let named = |name: &'static str, list: &[Taint]| -> Vec<(String, Taint)> {
        list.iter().enumerate().map(|(index, taint)| (format!("{prefix}.{name}[{index}]"), taint.clone())).collect()
    };
    for (field, taint) in named("taints", taints).into_iter().chain(named("startupTaints", startup)) {
        problems.require(is_qualified_name(&taint.key), format!("{field}.key"), QUALIFIED_NAME);
        let value = taint.value.as_deref().unwrap_or_default();
        problems.require(value.is_empty() || is_qualified_name(value), format!("{field}.value"), QUALIFIED_NAME);
        let known = ["NoSchedule", "PreferNoSchedule", "NoExecute", ""].contains(&taint.effect.as_str());
        let message = format!("`{}` is no effect; use `NoSchedule`, `PreferNoSchedule` or `NoExecute`", taint.effect);
        problems.require(known, format!("{field}.effect"), message);
        if !seen.insert((taint.key.clone(), taint.effect.clone())) {
            problems.add(field, format!("duplicate taint Key/Effect pair {}={}", taint.key, taint.effect));
        }
    }
}

/// What is wrong with one requirement of a NodePool, NodeClaim or pod; `field` says where it stands.
pub(super) fn requirement_problems(
    requirement: &NodeSelectorRequirementWithMinValues,
    field: &str,
    problems: &mut Problems,
) {
    let key = labels::normalize(&requirement.key);
    problems.require(is_qualified_name(key), format!("{field}.key"), QUALIFIED_NAME);
    if labels::is_restricted(key) {
        problems.add(format!("{field}.key"), restricted_message(key));
    }
    for value in &requirement.values {
        let message = format!("`{value}` is no label value: {LABEL_VALUE}");
        problems.require(is_label_value(value), format!("{field}.values"), message);
    }
    operator_problems(requirement, field, problems);
    min_values_problems(requirement, field, problems);
    known_values_problems(key, requirement, field, problems);
}

fn operator_problems(requirement: &NodeSelectorRequirementWithMinValues, field: &str, problems: &mut Problems) {
    let values = &requirement.values;
    match requirement.operator {
        RequirementOperator::In => {
            problems.require(
                !values.is_empty(),
                format!("{field}.values"),
                "requirements with operator 'In' must have a value defined",
            );
        }
        RequirementOperator::Gt | RequirementOperator::Lt | RequirementOperator::Gte | RequirementOperator::Lte => {
            let integer =
                values.len() == 1 && values.iter().all(|value| value.parse::<i64>().is_ok_and(|number| number >= 0));
            let message = "requirements operator 'Gt', 'Lt', 'Gte', or 'Lte' must have a single positive integer value";
            problems.require(integer, format!("{field}.values"), message);
        }
        RequirementOperator::NotIn | RequirementOperator::Exists | RequirementOperator::DoesNotExist => {}
    }
}

fn min_values_problems(requirement: &NodeSelectorRequirementWithMinValues, field: &str, problems: &mut Problems) {
    let Some(min) = requirement.min_values else { return };
    problems.require((1..=50).contains(&min), format!("{field}.minValues"), "must be from 1 to 50");
    let too_few = requirement.operator == RequirementOperator::In
        && i64::try_from(requirement.values.len()).is_ok_and(|count| count < min);
    let message = "requirements with 'minValues' must have at least that many values specified in the 'values' field";
    problems.require(!too_few, format!("{field}.minValues"), message);
}

/// A closed set of values: all unknown is an error, and so are fewer known ones than `minValues`. A mix is allowed.
fn known_values_problems(
    key: &str,
    requirement: &NodeSelectorRequirementWithMinValues,
    field: &str,
    problems: &mut Problems,
) {
    let Some((_, known)) = labels::KNOWN_VALUES.iter().find(|(name, _)| *name == key) else { return };
    if requirement.operator != RequirementOperator::In || requirement.values.is_empty() {
        return;
    }
    let count = requirement.values.iter().filter(|value| known.contains(&value.as_str())).count();
    let listed: Vec<String> = known.iter().map(|value| format!("`{value}`")).collect();
    let listed = listed.join(", ");
    if count == 0 {
        problems.add(format!("{field}.values"), format!("no value is known for `{key}`; known are {listed}"));
    } else if requirement.min_values.is_some_and(|min| i64::try_from(count).is_ok_and(|count| count < min)) {
        problems.add(
            format!("{field}.minValues"),
            format!("only {count} of the values are known for `{key}`; known are {listed}"),
        );
    }
}

fn restricted_message(key: &str) -> String {
    format!("label `{key}` is restricted; use a well-known label, or a domain of your own such as `example.com/…`")
}

const QUALIFIED_NAME: &str = "must be a qualified name: an optional DNS name and `/`, then up to 63 letters, digits, `-`, `_` or `.`, \
     beginning and ending with a letter or digit, such as `example.com/team`";
const LABEL_VALUE: &str =
    "use at most 63 letters, digits, `-`, `_` or `.`, beginning and ending with a letter or digit";

/// Whether `text` can be the key of a label or taint.
pub(super) fn is_qualified_name(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_name_part(name),
        None => is_name_part(text),
    }
}

fn is_name_part(text: &str) -> bool {
    !text.is_empty() && is_label_value(text)
}

fn is_dns_subdomain(text: &str) -> bool {
    let label = |label: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !label.is_empty() && label.chars().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// Whether `text` can be the value of a label.
pub(super) fn is_label_value(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let edge = |c: char| c.is_ascii_alphanumeric();
    text.len() <= 63
        && text.chars().all(inner)
        && text.chars().next().is_none_or(edge)
        && text.chars().last().is_none_or(edge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn pool(spec: &Value) -> NodePool {
        let mut pool: NodePool = serde_json::from_value(json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": { "name": "default" }, "spec": spec,
        }))
        .unwrap();
        let class = &mut pool.spec.template.spec.node_class_ref;
        if class.name.is_empty() {
            *class = super::super::NodeClassReference { group: "g".into(), kind: "K".into(), name: "n".into() };
        }
        pool
    }

    fn requirements(list: &Value) -> NodePool {
        pool(&json!({ "template": { "spec": { "requirements": list } } }))
    }

    #[rstest]
    #[case::fine(json!([{ "key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot", "on-demand"] }]), "")]
    #[case::alias(json!([{ "key": "beta.kubernetes.io/arch", "operator": "In", "values": ["amd64"] }]), "")]
    #[case::custom(json!([{ "key": "example.com/team", "operator": "Exists" }]), "")]
    #[case::mix_of_known_and_unknown(json!([{ "key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot", "free"] }]), "")]
    #[case::pool(json!([{ "key": "karpenter.sh/nodepool", "operator": "Exists" }]), "requirements[0].key`: `karpenter.sh/nodepool` is set by the controller")]
    #[case::restricted(json!([{ "key": "karpenter.sh/custom", "operator": "Exists" }]), "label `karpenter.sh/custom` is restricted")]
    #[case::hostname(json!([{ "key": "kubernetes.io/hostname", "operator": "Exists" }]), "label `kubernetes.io/hostname` is restricted")]
    #[case::bad_key(json!([{ "key": "-a", "operator": "Exists" }]), "must be a qualified name")]
    #[case::bad_value(json!([{ "key": "a", "operator": "In", "values": ["b!"] }]), "`b!` is no label value")]
    #[case::no_values(json!([{ "key": "a", "operator": "In" }]), "operator 'In' must have a value")]
    #[case::not_integer(json!([{ "key": "a", "operator": "Gt", "values": ["b"] }]), "single positive integer")]
    #[case::two_bounds(json!([{ "key": "a", "operator": "Lte", "values": ["1", "2"] }]), "single positive integer")]
    #[case::min_values(json!([{ "key": "a", "operator": "In", "values": ["b"], "minValues": 2 }]), "at least that many values")]
    #[case::unknown_values(json!([{ "key": "karpenter.sh/capacity-type", "operator": "In", "values": ["free"] }]), "known are `on-demand`, `reserved`, `spot`")]
    #[case::too_few_known(
        json!([{ "key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot", "free"], "minValues": 2 }]),
        "only 1 of the values"
    )]
    fn requirement_rules(#[case] list: Value, #[case] expected: &str) {
        let problems: Vec<String> = validate(&requirements(&list)).iter().map(Problem::to_string).collect();
        if expected.is_empty() {
            assert_eq!(problems, Vec::<String>::new());
        } else {
            assert!(problems.iter().any(|problem| problem.contains(expected)), "{problems:?}");
        }
    }

    #[rstest]
    #[case::taint_key(json!({ "template": { "spec": { "taints": [{ "key": "a b", "effect": "NoSchedule" }] } } }), "taints[0].key`")]
    #[case::effect(json!({ "template": { "spec": { "taints": [{ "key": "a", "effect": "Sometimes" }] } } }), "`Sometimes` is no effect")]
    #[case::duplicate(
        json!({ "template": { "spec": {
            "taints": [{ "key": "a", "effect": "NoSchedule" }], "startupTaints": [{ "key": "a", "value": "x", "effect": "NoSchedule" }],
        } } }),
        "duplicate taint Key/Effect pair a=NoSchedule"
    )]
    #[case::label(json!({ "template": { "metadata": { "labels": { "karpenter.sh/nodepool": "x" } } } }), "is set by the controller")]
    #[case::restricted_label(json!({ "template": { "metadata": { "labels": { "x.karpenter.sh/a": "x" } } } }), "is restricted")]
    #[case::label_value(json!({ "template": { "metadata": { "labels": { "a": "-" } } } }), "value `-` is no label value")]
    #[case::weight(json!({ "weight": 101 }), "`spec.weight`: must be from 1 to 100")]
    #[case::static_limits(json!({ "replicas": 1, "limits": { "cpu": 1 } }), "only 'limits.nodes'")]
    #[case::budget(json!({ "disruption": { "budgets": [{ "nodes": "1", "schedule": "@bogus", "duration": "1h" }] } }), "`@bogus`")]
    fn other_rules(#[case] spec: Value, #[case] expected: &str) {
        let problems: Vec<String> = validate(&pool(&spec)).iter().map(Problem::to_string).collect();
        assert!(problems.len() == 1 && problems[0].contains(expected), "{problems:?}");
    }

    #[test]
    fn all_problems_are_returned() {
        let mut pool =
            requirements(&json!([{ "key": "karpenter.sh/x", "operator": "Gt", "values": ["a!"], "minValues": 99 }]));
        pool.spec.template.spec.node_class_ref = super::super::NodeClassReference::default();
        assert_eq!(validate(&pool).len(), 7, "{:?}", validate(&pool));
    }
}
