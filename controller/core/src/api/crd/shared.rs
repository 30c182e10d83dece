//! Schemas and rules that several kinds share.

use super::edit::Schema;
use serde_json::{Value, json};

/// The key of a label or taint.
pub(super) const QUALIFIED_NAME: &str =
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*(\/))?([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$";
/// The value of a label.
pub(super) const LABEL_VALUE: &str = "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$";
/// A duration that may not be `Never`.
pub(super) const DURATION: &str = "^([0-9]+(s|m|h))+$";
/// A duration, or `Never`.
pub(super) const NILLABLE_DURATION: &str = "^(([0-9]+(s|m|h))+|Never)$";

/// A list of taints.
pub(super) fn taints() -> Value {
    json!({
        "type": "array",
        "x-kubernetes-list-type": "atomic",
        "items": {
            "type": "object",
            "required": ["effect", "key"],
            "properties": {
                "effect": {
                    "description": "What happens to pods that do not tolerate it.",
                    "type": "string",
                    "enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"],
                },
                "key": { "description": "Its key.", "type": "string", "minLength": 1, "pattern": QUALIFIED_NAME },
                "timeAdded": { "description": "When it was added.", "type": "string", "format": "date-time" },
                "value": { "description": "Its value.", "type": "string", "pattern": QUALIFIED_NAME },
            },
        },
    })
}

/// The list of conditions in a status.
pub(super) fn conditions() -> Value {
    json!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "lastTransitionTime": { "description": "When its status last changed.", "type": "string", "format": "date-time" },
                "message": { "description": "Details for people.", "type": "string", "maxLength": 32768 },
                "observedGeneration": {
                    "description": "The object's generation when it was set.",
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                },
                "reason": {
                    "description": "Why, as a stable identifier.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                },
                "status": { "description": "Whether it holds.", "type": "string", "enum": ["True", "False", "Unknown"] },
                "type": {
                    "description": "What it is about.",
                    "type": "string",
                    "maxLength": 316,
                    "pattern": r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
                },
            },
        },
    })
}

/// The rules of a list of requirements at `path` that may ask for `minValues`; otherwise as [`requirements`].
pub(super) fn requirements_with_min_values(schema: &mut Schema, path: &str, node_pool: bool) {
    requirements(schema, path, node_pool);
    schema.set(&format!("{path}[].minValues"), json!({ "minimum": 1, "maximum": 50 })).rule(
        path,
        "self.all(r, r.operator != 'In' || !has(r.minValues) || (has(r.values) && size(r.values) >= r.minValues))",
        "requirements with 'minValues' must have at least that many values specified in the 'values' field",
    );
}

/// The rules of a list of requirements at `path`. `node_pool` says whether `karpenter.sh/nodepool` may be asked for.
pub(super) fn requirements(schema: &mut Schema, path: &str, node_pool: bool) {
    let item = format!("{path}[]");
    let key = format!("{item}.key");
    schema
        .set(path, json!({ "maxItems": 100, "x-kubernetes-list-type": "atomic" }))
        .required(&item, &["key", "operator"])
        .set(&key, json!({ "maxLength": 316, "pattern": QUALIFIED_NAME }))
        .set(&format!("{item}.operator"), json!({ "type": "string" }))
        .set(&format!("{item}.values[]"), json!({ "maxLength": 63, "pattern": LABEL_VALUE }));
    key_rules(schema, &key, "self", node_pool);
    schema
        .rule(
            path,
            "self.all(r, r.operator != 'In' || (has(r.values) && size(r.values) > 0))",
            "requirements with operator 'In' must have a value defined",
        )
        .rule(
            path,
            "self.all(r, !(r.operator in ['Gt', 'Lt', 'Gte', 'Lte']) || (has(r.values) && size(r.values) == 1 && r.values[0].matches('^[0-9]+$')))",
            "requirements operator 'Gt', 'Lt', 'Gte', or 'Lte' must have a single positive integer value",
        );
}

/// The rules of label keys at `path`: of `self`, or of every key of the map.
pub(super) fn key_rules(schema: &mut Schema, path: &str, subject: &str, node_pool: bool) {
    let each = |condition: &str| match subject {
        "self" => condition.replace("KEY", "self"),
        _ => format!("self.all(key, {})", condition.replace("KEY", "key")),
    };
    schema.rule(
        path,
        &each("KEY in ['karpenter.sh/capacity-type', 'karpenter.sh/nodepool'] || !KEY.matches('^[^/]*karpenter[.]sh(/|$)')"),
        "label domain \"karpenter.sh\" is restricted",
    );
    if !node_pool {
        schema.rule(path, &each("KEY != 'karpenter.sh/nodepool'"), "label \"karpenter.sh/nodepool\" is restricted");
    }
    schema.rule(path, &each("KEY != 'kubernetes.io/hostname'"), "label \"kubernetes.io/hostname\" is restricted");
}

/// The rules of a reference to a NodeClass at `path`.
pub(super) fn node_class_ref(schema: &mut Schema, path: &str) {
    schema.required(path, &["group", "kind", "name"]);
    for name in ["group", "kind", "name"] {
        schema.rule(&format!("{path}.{name}"), "self != ''", &format!("{name} may not be empty"));
    }
    schema.set(&format!("{path}.group"), json!({ "pattern": "^[^/]*$" }));
}
