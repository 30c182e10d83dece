//! What is wrong with a NodeOverlay that its schema cannot say or an older schema let pass (spec core 1.6). Whether its price can
//! be read, [`crate::model::Overlays`] finds.

use super::{
    NodeOverlay, Problem, RequirementOperator,
    validate::{Problems, requirement_problems},
};

/// What clouds know of their machines themselves.
const RESTRICTED: [&str; 4] = ["cpu", "memory", "ephemeral-storage", "pods"];

/// Everything that is wrong with `overlay`; empty where it can be used.
pub fn validate_node_overlay(overlay: &NodeOverlay) -> Vec<Problem> {
    let mut problems = Problems::default();
    let spec = &overlay.spec;
    for (index, requirement) in spec.requirements.iter().enumerate() {
        let field = format!("spec.requirements[{index}]");
        requirement_problems(&requirement.to_spec(), &field, &mut problems);
        let not_in_nothing = requirement.operator == RequirementOperator::NotIn && requirement.values.is_empty();
        let message = "requirements with operator 'NotIn' must have a value defined";
        problems.require(!not_in_nothing, format!("{field}.values"), message);
    }
    let both = spec.price.is_some() && spec.price_adjustment.is_some();
    problems.require(!both, "spec", "cannot set both 'price' and 'priceAdjustment'");
    for name in spec.capacity.keys().filter(|name| RESTRICTED.contains(&name.as_str())) {
        problems.add(
            format!("spec.capacity[{name}]"),
            "invalid resource restricted: clouds know it; use extended resources, such as `example.com/fuse`",
        );
    }
    problems.0
}

#[cfg(test)]
mod tests {
    use super::validate_node_overlay;
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case::right(json!({ "priceAdjustment": "-10%", "capacity": { "example.com/fuse": "1" } }), &[])]
    #[case::of_a_pool(json!({ "requirements": [{ "key": "karpenter.sh/nodepool", "operator": "In", "values": ["a"] }] }), &[])]
    #[case::restricted(json!({ "capacity": { "cpu": "1" } }), &["spec.capacity[cpu]"])]
    #[case::two_prices(json!({ "price": "1", "priceAdjustment": "+1" }), &["spec"])]
    #[case::nothing(
        json!({ "requirements": [{ "key": "a", "operator": "NotIn" }, { "key": "b", "operator": "In" }] }),
        &["spec.requirements[0].values", "spec.requirements[1].values"]
    )]
    #[case::not_a_label(
        json!({ "requirements": [{ "key": "karpenter.sh/x", "operator": "Exists" }] }), &["spec.requirements[0].key"]
    )]
    fn problems_are_found(#[case] spec: Value, #[case] fields: &[&str]) {
        let object =
            json!({ "apiVersion": "karpenter.sh/v1alpha1", "kind": "NodeOverlay", "metadata": {}, "spec": spec });
        let found = validate_node_overlay(&serde_json::from_value(object).unwrap());
        assert_eq!(found.iter().map(|problem| problem.field.as_str()).collect::<Vec<_>>(), fields, "{found:?}");
    }
}
