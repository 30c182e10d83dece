//! What the derive cannot say of NodePools (spec core 1.2–1.4).

use super::{
    edit::Schema,
    shared::{self, DURATION, LABEL_VALUE, NILLABLE_DURATION},
};
use serde_json::json;

pub(super) fn constrain(schema: &mut Schema) {
    schema.required("", &["spec"]).required("spec", &["template"]);
    top_level(schema);
    disruption(schema);
    template(schema);
    schema.set("status.nodes", json!({ "default": 0 })).replace("status.conditions", shared::conditions());
}

fn top_level(schema: &mut Schema) {
    schema
        .set("spec.weight", json!({ "minimum": 1, "maximum": 100 }))
        .set("spec.replicas", json!({ "minimum": 0 }))
        .rule(
            "spec",
            "has(self.replicas) == has(oldSelf.replicas)",
            "Cannot transition NodePool between static (replicas set) and dynamic (replicas unset) provisioning modes",
        )
        .rule(
            "spec",
            "!has(self.replicas) || !has(self.limits) || size(self.limits) == ('nodes' in self.limits ? 1 : 0)",
            "only 'limits.nodes' is supported on static NodePools",
        )
        .rule("spec", "!has(self.replicas) || !has(self.weight)", "'weight' is not supported on static NodePools");
}

fn disruption(schema: &mut Schema) {
    let budgets = "spec.disruption.budgets";
    schema
        .set("spec.disruption", json!({ "default": { "consolidateAfter": "0s" } }))
        .set("spec.disruption.consolidateAfter", json!({ "default": "0s", "pattern": NILLABLE_DURATION }))
        .set("spec.disruption.consolidationPolicy", json!({ "type": "string", "default": "WhenEmptyOrUnderutilized" }))
        .set(budgets, json!({ "default": [{ "nodes": "10%" }], "maxItems": 50, "x-kubernetes-list-type": "atomic" }))
        .rule(
            budgets,
            "self.all(budget, has(budget.schedule) == has(budget.duration))",
            "'schedule' must be set with 'duration'",
        )
        .required("spec.disruption.budgets[]", &["nodes"])
        .set("spec.disruption.budgets[].nodes", json!({ "default": "10%", "pattern": "^((100|[0-9]{1,2})%|[0-9]+)$" }))
        .set("spec.disruption.budgets[].reasons", json!({ "maxItems": 50, "x-kubernetes-list-type": "set" }))
        .set(
            "spec.disruption.budgets[].schedule",
            json!({ "pattern": r"^(@(annually|yearly|monthly|weekly|daily|midnight|hourly))|((.+)\s(.+)\s(.+)\s(.+)\s(.+))$" }),
        )
        .set("spec.disruption.budgets[].duration", json!({ "pattern": "^((([0-9]+(h|m))|([0-9]+h[0-9]+m))(0s)?)$" }));
}

fn template(schema: &mut Schema) {
    let labels = "spec.template.metadata.labels";
    schema
        .required("spec.template", &["spec"])
        .required("spec.template.spec", &["nodeClassRef", "requirements"])
        .set(labels, json!({ "maxProperties": 100, "x-kubernetes-map-type": "atomic" }))
        .set("spec.template.metadata.labels{}", json!({ "maxLength": 63, "pattern": LABEL_VALUE }))
        .set("spec.template.metadata.annotations", json!({ "x-kubernetes-map-type": "granular" }))
        .replace("spec.template.spec.taints", shared::taints())
        .replace("spec.template.spec.startupTaints", shared::taints())
        .set("spec.template.spec.terminationGracePeriod", json!({ "pattern": DURATION }))
        .set("spec.template.spec.expireAfter", json!({ "default": "720h", "pattern": NILLABLE_DURATION }));
    shared::key_rules(schema, labels, "each", false);
    shared::requirements_with_min_values(schema, "spec.template.spec.requirements", false);
    let class = "spec.template.spec.nodeClassRef";
    shared::node_class_ref(schema, class);
    schema.rule(class, "self.group == oldSelf.group", "nodeClassRef.group is immutable").rule(
        class,
        "self.kind == oldSelf.kind",
        "nodeClassRef.kind is immutable",
    );
}
