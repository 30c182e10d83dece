//! What the derive cannot say of NodeOverlays (spec core 1.6).

use super::{edit::Schema, shared};
use serde_json::json;

pub(super) fn constrain(schema: &mut Schema) {
    schema
        .required("", &["spec"])
        .required("spec", &["requirements"])
        .set("spec.price", json!({ "pattern": r"^\d+(\.\d+)?$" }))
        .set(
            "spec.priceAdjustment",
            json!({ "pattern": r"^(([+-]{1}(\d*\.?\d+))|(\+{1}\d*\.?\d+%)|(^(-\d{1,2}(\.\d+)?%)$)|(-100%))$" }),
        )
        .set("spec.weight", json!({ "minimum": 1, "maximum": 10000 }))
        .rule("spec", "!has(self.price) || !has(self.priceAdjustment)", "cannot set both 'price' and 'priceAdjustment'")
        .rule(
            "spec.capacity",
            "self.all(x, !(x in ['cpu', 'memory', 'ephemeral-storage', 'pods']))",
            "invalid resource restricted",
        );
    let path = "spec.requirements";
    shared::requirements(schema, path, true);
    schema
        .rule(
            path,
            "self.all(r, r.operator != 'NotIn' || (has(r.values) && size(r.values) > 0))",
            "requirements with operator 'NotIn' must have a value defined",
        )
        .replace("status.conditions", shared::conditions());
}
