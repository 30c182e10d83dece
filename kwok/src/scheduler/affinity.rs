//! Label selectors, node selector terms, tolerations.

use k8s_openapi::{
    api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, Taint, Toleration},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use std::collections::{BTreeMap, BTreeSet};

pub(super) type Labels = BTreeMap<String, String>;

/// One requirement on a label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
    Above(i64),
    Below(i64),
    /// An operator that there is not: nothing matches.
    Never,
}

impl Requirement {
    pub(super) fn new(key: &str, operator: &str, values: &[String]) -> Self {
        let number = || values.first().and_then(|value| value.parse().ok());
        let operator = match operator {
            "In" => Operator::In(values.to_vec()),
            "NotIn" => Operator::NotIn(values.to_vec()),
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            "Gt" => number().map_or(Operator::Never, Operator::Above),
            "Lt" => number().map_or(Operator::Never, Operator::Below),
            _ => Operator::Never,
        };
        Self { key: key.to_owned(), operator }
    }

    pub(super) fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => !value.is_some_and(|value| values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Above(bound) => number().is_some_and(|number| number > *bound),
            Operator::Below(bound) => number().is_some_and(|number| number < *bound),
            Operator::Never => false,
        }
    }
}

/// A label selector; everything in it must hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Selector(Option<Vec<Requirement>>);

impl Selector {
    /// No selector selects nothing; an empty one everything.
    pub(super) fn of(selector: Option<&LabelSelector>) -> Self {
        Self(selector.map(|selector| {
            let labels = selector.match_labels.iter().flatten();
            let mut all: Vec<Requirement> =
                labels.map(|(key, value)| Requirement::new(key, "In", std::slice::from_ref(value))).collect();
            all.extend(selector.match_expressions.iter().flatten().map(|expression| {
                Requirement::new(
                    &expression.key,
                    &expression.operator,
                    expression.values.as_deref().unwrap_or_default(),
                )
            }));
            all
        }))
    }

    /// The same with further labels required, as `matchLabelKeys` asks for.
    pub(super) fn and_in(mut self, key: &str, value: &str, within: bool) -> Self {
        if let Some(all) = &mut self.0 {
            all.push(Requirement::new(key, if within { "In" } else { "NotIn" }, &[value.to_owned()]));
        }
        self
    }

    /// Whether it selects everything because nothing is asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.0.as_ref().is_some_and(Vec::is_empty)
    }

    pub(super) fn matches(&self, labels: &Labels) -> bool {
        self.0.as_ref().is_some_and(|all| all.iter().all(|requirement| requirement.matches(labels)))
    }
}

/// One term of a node selector.
#[derive(Clone, Debug)]
pub(super) struct NodeTerm {
    labels: Vec<Requirement>,
    /// On `metadata.name`, the only field there is.
    fields: Vec<Requirement>,
}

impl NodeTerm {
    pub(super) fn of(term: &NodeSelectorTerm) -> Self {
        let requirement = |given: &NodeSelectorRequirement| {
            Requirement::new(&given.key, &given.operator, given.values.as_deref().unwrap_or_default())
        };
        Self {
            labels: term.match_expressions.iter().flatten().map(requirement).collect(),
            fields: term.match_fields.iter().flatten().map(requirement).collect(),
        }
    }

    /// The only nodes that the term's fields may allow; none if they name no nodes.
    pub(super) fn named(&self) -> Option<BTreeSet<&str>> {
        let mut all: Option<BTreeSet<&str>> = None;
        for field in &self.fields {
            if let Operator::In(values) = &field.operator {
                let named: BTreeSet<&str> = values.iter().map(String::as_str).collect();
                all = Some(all.map_or_else(|| named.clone(), |all| all.intersection(&named).copied().collect()));
            }
        }
        all
    }

    /// A term without requirements matches nothing.
    pub(super) fn matches(&self, name: &str, labels: &Labels) -> bool {
        let fields = Labels::from([("metadata.name".to_owned(), name.to_owned())]);
        !(self.labels.is_empty() && self.fields.is_empty())
            && self.labels.iter().all(|requirement| requirement.matches(labels))
            && (self.fields.is_empty() || self.fields.iter().all(|requirement| requirement.matches(&fields)))
    }
}

/// Whether one of the tolerations tolerates the taint.
pub(super) fn is_tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    tolerations.iter().any(|toleration| tolerates(toleration, taint))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let key = toleration.key.as_deref().unwrap_or_default();
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let value = |text: Option<&String>| text.cloned().unwrap_or_default();
    let number = |text: &str| text.parse::<i64>().ok();
    let (own, other) = (value(toleration.value.as_ref()), value(taint.value.as_ref()));
    (effect.is_empty() || effect == taint.effect)
        && (key.is_empty() || key == taint.key)
        && match toleration.operator.as_deref().unwrap_or("Equal") {
            "Exists" => true,
            "Equal" | "" => !key.is_empty() && own == other,
            "Lt" => number(&other).zip(number(&own)).is_some_and(|(taint, bound)| taint < bound),
            "Gt" => number(&other).zip(number(&own)).is_some_and(|(taint, bound)| taint > bound),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::{Labels, Requirement, is_tolerated};
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case("a", "In", &["1", "2"], true)]
    #[case("a", "NotIn", &["1"], false)]
    #[case("b", "NotIn", &["1"], true)]
    #[case("a", "Exists", &[], true)]
    #[case("b", "DoesNotExist", &[], true)]
    #[case("a", "Gt", &["0"], true)]
    #[case("a", "Lt", &["1"], false)]
    #[case("b", "Lt", &["1"], false)]
    #[case("a", "Near", &["1"], false)]
    fn requirements(#[case] key: &str, #[case] operator: &str, #[case] values: &[&str], #[case] expected: bool) {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        let labels = Labels::from([("a".to_owned(), "1".to_owned())]);
        assert_eq!(Requirement::new(key, operator, &values).matches(&labels), expected);
    }

    #[rstest]
    #[case(json!([]), false)]
    #[case(json!([{"operator": "Exists"}]), true)]
    #[case(json!([{"key": "k", "operator": "Exists", "effect": "NoSchedule"}]), true)]
    #[case(json!([{"key": "k", "operator": "Exists", "effect": "NoExecute"}]), false)]
    #[case(json!([{"key": "k", "value": "v"}]), true)]
    #[case(json!([{"key": "k", "value": "w"}]), false)]
    #[case(json!([{"key": "other", "operator": "Exists"}]), false)]
    fn tolerations_tolerate(#[case] tolerations: Value, #[case] expected: bool) {
        let taint = serde_json::from_value(json!({"key": "k", "value": "v", "effect": "NoSchedule"})).unwrap();
        let tolerations: Vec<_> = serde_json::from_value(tolerations).unwrap();
        assert_eq!(is_tolerated(&taint, &tolerations), expected);
    }
}
