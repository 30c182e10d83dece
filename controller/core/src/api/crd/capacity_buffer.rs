//! What the derive cannot say of CapacityBuffers (spec core 1.6).

use super::{edit::Schema, shared};
use serde_json::json;

pub(super) fn constrain(schema: &mut Schema) {
    schema
        .required("", &["spec"])
        .set("spec.provisioningStrategy", json!({ "default": "buffer.x-k8s.io/active-capacity" }))
        .required("spec.podTemplateRef", &["name"])
        .set("spec.podTemplateRef.name", json!({ "minLength": 1 }))
        .required("spec.scalableRef", &["kind", "name"])
        .set("spec.scalableRef.kind", json!({ "minLength": 1 }))
        .set("spec.scalableRef.name", json!({ "minLength": 1 }))
        .set("spec.replicas", json!({ "minimum": 0 }))
        .set("spec.percentage", json!({ "minimum": 0 }))
        .rule(
            "spec",
            "!has(self.podTemplateRef) || has(self.replicas) || has(self.limits)",
            "If podTemplateRef is set, replicas or limits must also be set",
        )
        .rule(
            "spec",
            "!(has(self.podTemplateRef) && has(self.scalableRef))",
            "You must define either PodTemplateRef or ScalableRef, but not both",
        )
        .required("status.podTemplateRef", &["name"])
        .replace("status.conditions", shared::conditions());
}
