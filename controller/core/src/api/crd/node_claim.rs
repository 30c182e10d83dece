//! What the derive cannot say of NodeClaims (spec core 1.5).

use super::{
    edit::Schema,
    shared::{self, DURATION, NILLABLE_DURATION},
};
use serde_json::{Value, json};

pub(super) fn constrain(schema: &mut Schema) {
    schema
        .required("", &["spec"])
        .required("spec", &["nodeClassRef", "requirements"])
        .rule("spec", "self == oldSelf", "spec is immutable")
        .replace("spec.taints", shared::taints())
        .replace("spec.startupTaints", shared::taints())
        .set("spec.terminationGracePeriod", json!({ "pattern": DURATION }))
        .set("spec.expireAfter", json!({ "default": "720h", "pattern": NILLABLE_DURATION }))
        .replace("status.conditions", conditions());
    shared::requirements_with_min_values(schema, "spec.requirements", true);
    shared::node_class_ref(schema, "spec.nodeClassRef");
}

/// Relaxed for objects of older releases: a condition may lack reason and message.
fn conditions() -> Value {
    let mut conditions = shared::conditions();
    conditions["items"]["required"] = json!(["lastTransitionTime", "status", "type"]);
    let reason = &mut conditions["items"]["properties"]["reason"];
    reason["pattern"] = json!("^([A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?|)$");
    if let Value::Object(reason) = reason {
        reason.remove("minLength");
    }
    conditions
}
