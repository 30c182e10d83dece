//! Custom resources: a definition of the test's own that uses what schemas can say, and objects of Karpenter's kinds.

use super::{chance, one};
use sawhorse_ambient::Stream;
use serde_json::{Value, json};

/// The test's own definition.
pub(crate) fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.differential.test"},
        "spec": {
            "group": "differential.test", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList", "shortNames": ["wd"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": {"spec": spec(), "status": status()}}},
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector",
                }},
                "selectableFields": [{"jsonPath": ".spec.mode"}, {"jsonPath": ".spec.size"}],
                "additionalPrinterColumns": [
                    {"name": "Mode", "type": "string", "jsonPath": ".spec.mode", "description": "The mode"},
                    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                    {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status", "priority": 1},
                ],
            }],
        },
    })
}

fn spec() -> Value {
    let item = json!({"type": "object", "required": ["key"], "properties": {
        "key": {"type": "string"},
        "value": {"type": "integer", "default": 1, "minimum": 0},
        "more": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
    }});
    json!({
        "type": "object", "required": ["title"],
        "properties": {
            "title": {"type": "string", "pattern": "^[a-z]+$", "minLength": 1, "maxLength": 8},
            "size": {"type": "integer", "minimum": 1, "maximum": 10, "default": 3},
            "mode": {"type": "string", "enum": ["fast", "slow"], "default": "fast"},
            "replicas": {"type": "integer", "format": "int32", "minimum": 0},
            "items": {"type": "array", "maxItems": 4, "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["key"]},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 10}, "x-kubernetes-list-type": "set", "maxItems": 4},
            "steps": {"type": "array", "items": {"type": "string"}, "minItems": 1},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "when": {"type": "string", "format": "date-time"},
            "limits": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 10}, "maxProperties": 3},
            "fixed": {"type": "string", "maxLength": 10, "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "fixed may not change"}]},
            "empty": {"type": "string", "nullable": true},
            "ratio": {"type": "number", "minimum": 0, "maximum": 1, "exclusiveMaximum": true},
            "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
            "low": {"type": "integer"}, "high": {"type": "integer"},
            "settings": {"type": "object", "default": {}, "properties": {"level": {"type": "integer", "default": 5}, "name": {"type": "string"}}},
        },
        "x-kubernetes-validations": [
            {"rule": "!has(self.low) || !has(self.high) || self.low <= self.high", "messageExpression": "'low is above high of ' + self.title"},
            {"rule": "!has(self.replicas) || !has(oldSelf.replicas) || self.replicas >= oldSelf.replicas - 2", "message": "at most two fewer", "reason": "FieldValueForbidden", "fieldPath": ".replicas"},
            {"rule": "self.mode != 'slow' || self.size < 9", "message": "slow widgets are small"},
            {"rule": "!has(self.tags) || !('forbidden' in self.tags)", "reason": "FieldValueInvalid"},
        ],
    })
}

fn status() -> Value {
    let condition = json!({"type": "object", "required": ["type", "status"], "properties": {
        "type": {"type": "string"}, "status": {"type": "string", "enum": ["True", "False", "Unknown"]}, "reason": {"type": "string"},
    }});
    json!({"type": "object", "properties": {
        "replicas": {"type": "integer"}, "selector": {"type": "string"}, "phase": {"type": "string", "default": "New"},
        "conditions": {"type": "array", "items": condition, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    }})
}

/// Definitions of which some are wrong; they are only asked about (`dryRun`).
pub(super) fn asked_definition(stream: &mut Stream) -> Value {
    let mut definition = definition();
    definition["metadata"]["name"] = json!("gadgets.differential.test");
    definition["spec"]["names"] = json!({"plural": "gadgets", "kind": "Gadget"});
    let wrong: [(&str, Value); 12] = [
        ("/metadata/name", json!("other.differential.test")),
        ("/spec/scope", json!("Everywhere")),
        ("/spec/names/kind", json!("")),
        ("/spec/versions/0/storage", json!(false)),
        ("/spec/versions/0/schema", json!({})),
        ("/spec/versions/0/schema/openAPIV3Schema/type", json!("array")),
        ("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/title/type", json!("text")),
        ("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/size", json!({"minimum": 1})),
        ("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/steps", json!({"type": "array"})),
        ("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/title/pattern", json!("(")),
        (
            "/spec/versions/0/schema/openAPIV3Schema/properties/spec/x-kubernetes-validations/0/rule",
            json!("self.nothing > 1"),
        ),
        (
            "/spec/versions/0/schema/openAPIV3Schema/properties/spec/x-kubernetes-validations/0/rule",
            json!("self.low +"),
        ),
    ];
    let chosen = stream.below(wrong.len() as u64 + 4) as usize;
    if let Some((place, value)) = wrong.get(chosen) {
        *definition.pointer_mut(place).unwrap() = value.clone();
    }
    definition
}

/// A widget.
pub(super) fn widget(stream: &mut Stream) -> Value {
    let mut spec = json!({"title": one(stream, &["one", "two"])});
    for text in WIDGET_PARTS {
        if chance(stream, 25) {
            let part: Value = serde_json::from_str(text).unwrap();
            let (name, value) = part.as_object().unwrap().iter().next().unwrap();
            spec[name] = value.clone();
        }
    }
    json!({ "spec": spec })
}

const WIDGET_PARTS: [&str; 18] = [
    r#"{"size": 5}"#,
    r#"{"mode": "slow"}"#,
    r#"{"replicas": 3}"#,
    r#"{"items": [{"key": "a"}, {"key": "b", "value": 2, "more": {"a": "x"}}]}"#,
    r#"{"items": []}"#,
    r#"{"tags": ["x", "y"]}"#,
    r#"{"steps": ["first", "second"]}"#,
    r#"{"free": {"a": {"b": [1, "2", null]}}}"#,
    r#"{"port": 80}"#,
    r#"{"port": "http"}"#,
    r#"{"when": "2026-01-01T00:00:00Z"}"#,
    r#"{"limits": {"cpu": "1", "memory": "2"}}"#,
    r#"{"fixed": "so"}"#,
    r#"{"empty": null}"#,
    r#"{"ratio": 0.5}"#,
    r#"{"low": 1}"#,
    r#"{"high": 5}"#,
    r#"{"settings": {"name": "n"}}"#,
];

/// Changes of widgets, good and bad.
pub(super) const WIDGET_CHANGES: &[&str] = &[
    r#"{"spec": {"size": 7}}"#,
    r#"{"spec": {"size": 11}}"#,
    r#"{"spec": {"size": "7"}}"#,
    r#"{"spec": {"size": null}}"#,
    r#"{"spec": {"mode": "slow", "size": 9}}"#,
    r#"{"spec": {"mode": "other"}}"#,
    r#"{"spec": {"replicas": 0}}"#,
    r#"{"spec": {"replicas": 4}}"#,
    r#"{"spec": {"items": [{"key": "a", "value": 3}, {"key": "c"}]}}"#,
    r#"{"spec": {"items": [{"key": "a"}, {"key": "a"}]}}"#,
    r#"{"spec": {"items": [{"value": -1}]}}"#,
    r#"{"spec": {"tags": ["x", "x"]}}"#,
    r#"{"spec": {"tags": ["forbidden"]}}"#,
    r#"{"spec": {"steps": []}}"#,
    r#"{"spec": {"free": {"a": 1, "c": {"d": true}}}}"#,
    r#"{"spec": {"when": "yesterday"}}"#,
    r#"{"spec": {"limits": {"a": "1", "b": "2", "c": "3", "d": "4"}}}"#,
    r#"{"spec": {"fixed": "other"}}"#,
    r#"{"spec": {"low": 9, "high": 2}}"#,
    r#"{"spec": {"ratio": 1}}"#,
    r#"{"spec": {"title": "UPPER"}}"#,
    r#"{"spec": {"title": "muchtoolong"}}"#,
    r#"{"spec": {"title": null}}"#,
    r#"{"spec": {"unknown": {"deep": 1}, "settings": {"unknown": 1}}}"#,
    r#"{"spec": {"settings": null}}"#,
    r#"{"spec": {"port": true}}"#,
    r#"{"spec": {"whole": {"a": "1"}}}"#,
    r#"{"status": {"phase": "Old"}}"#,
    r#"{"spec": null}"#,
];

fn class_ref() -> Value {
    json!({"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"})
}

fn requirements(stream: &mut Stream) -> Value {
    let mut all = vec![json!({"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"]})];
    let further = [
        json!({"key": "kubernetes.io/arch", "operator": "In", "values": []}),
        json!({"key": "karpenter.k8s.aws/instance-cpu", "operator": "Gt", "values": ["4"]}),
        json!({"key": "karpenter.k8s.aws/instance-cpu", "operator": "Gt", "values": ["many"]}),
        json!({"key": "kubernetes.io/hostname", "operator": "Exists"}),
        json!({"key": "karpenter.sh/other", "operator": "Exists"}),
        json!({"key": "example.com/a", "operator": "In", "values": ["x", "y"], "minValues": 2}),
        json!({"key": "example.com/a", "operator": "Near", "values": ["x"]}),
    ];
    if chance(stream, 50) {
        all.push(further[stream.below(further.len() as u64) as usize].clone());
    }
    Value::Array(all)
}

/// A NodePool.
pub(super) fn node_pool(stream: &mut Stream) -> Value {
    let mut spec = json!({"template": {"spec": {"nodeClassRef": class_ref(), "requirements": requirements(stream)}}});
    if chance(stream, 30) {
        spec["limits"] = json!({"cpu": 100, "memory": "1Ti"});
    }
    if chance(stream, 30) {
        spec["disruption"] = json!({"consolidateAfter": one(stream, &["30s", "Never", "soon"])});
    }
    if chance(stream, 20) {
        spec["disruption"]["budgets"] =
            json!([{"nodes": one(stream, &["10%", "5", "-1"])}, {"nodes": "0", "schedule": "@daily"}]);
    }
    if chance(stream, 20) {
        spec["replicas"] = json!(2);
    }
    if chance(stream, 20) {
        spec["weight"] = json!(one(stream, &[0, 10, 101]));
    }
    if chance(stream, 20) {
        spec["template"]["spec"]["taints"] = json!([{"key": "a", "effect": one(stream, &["NoSchedule", "Never"])}]);
    }
    json!({ "spec": spec })
}

/// Changes of NodePools.
pub(super) const NODE_POOL_CHANGES: &[&str] = &[
    r#"{"spec": {"weight": 5}}"#,
    r#"{"spec": {"replicas": 3}}"#,
    r#"{"spec": {"limits": {"cpu": "10"}}}"#,
    r#"{"spec": {"template": {"spec": {"nodeClassRef": {"kind": "Other"}}}}}"#,
    r#"{"spec": {"template": {"spec": {"nodeClassRef": {"name": "other"}}}}}"#,
    r#"{"spec": {"template": {"metadata": {"labels": {"karpenter.sh/nodepool": "x"}}}}}"#,
    r#"{"spec": {"template": {"spec": {"expireAfter": "2 days"}}}}"#,
    r#"{"spec": {"disruption": {"budgets": [{"nodes": "0", "schedule": "@daily", "duration": "1h"}]}}}"#,
    r#"{"spec": {"template": null}}"#,
    r#"{"status": {"nodes": 4}}"#,
];

/// A NodeClaim.
pub(super) fn node_claim(stream: &mut Stream) -> Value {
    let mut spec = json!({"nodeClassRef": class_ref(), "requirements": requirements(stream)});
    if chance(stream, 40) {
        spec["resources"] = json!({"requests": {"cpu": one(stream, &["1", "500m"]), "memory": "1Gi"}});
    }
    if chance(stream, 30) {
        spec["expireAfter"] = json!(one(stream, &["720h", "Never", "x"]));
    }
    if chance(stream, 30) {
        spec["startupTaints"] = json!([{"key": "b", "value": "c", "effect": "NoExecute"}]);
    }
    json!({ "spec": spec })
}

/// Changes of NodeClaims, whose spec may not change.
pub(super) const NODE_CLAIM_CHANGES: &[&str] = &[
    r#"{"spec": {"expireAfter": "1h"}}"#,
    r#"{"spec": {"terminationGracePeriod": "5m"}}"#,
    r#"{"spec": {"requirements": null}}"#,
    r#"{"status": {"nodeName": "n"}}"#,
];

/// An EC2NodeClass.
pub(super) fn node_class(stream: &mut Stream) -> Value {
    let terms = json!([{"tags": {"karpenter.sh/discovery": one(stream, &["a", ""])}}]);
    let mut spec = json!({
        "amiSelectorTerms": [{"alias": one(stream, &["al2023@latest", "al2023@latest", "gentoo@1"])}],
        "subnetSelectorTerms": terms.clone(), "securityGroupSelectorTerms": terms, "role": one(stream, &["r", "r", ""]),
    });
    if chance(stream, 20) {
        spec["amiSelectorTerms"] = json!([{"id": "ami-1", "name": "x"}]);
    }
    if chance(stream, 20) {
        spec["blockDeviceMappings"] =
            json!([{"deviceName": "/dev/xvda", "ebs": {"volumeSize": "20Gi"}, "rootVolume": true}]);
    }
    if chance(stream, 20) {
        spec["metadataOptions"] = json!({"httpTokens": one(stream, &["required", "maybe"])});
    }
    if chance(stream, 20) {
        spec["kubelet"] = json!({"maxPods": one(stream, &[10, -1]), "kubeReserved": {"cpu": "100m"}});
    }
    json!({ "spec": spec })
}

/// Changes of EC2NodeClasses.
pub(super) const NODE_CLASS_CHANGES: &[&str] = &[
    r#"{"spec": {"role": "other"}}"#,
    r#"{"spec": {"role": null, "instanceProfile": "p"}}"#,
    r#"{"spec": {"tags": {"": "x"}}}"#,
    r#"{"spec": {"subnetSelectorTerms": []}}"#,
    r#"{"spec": {"userData": "x", "unknown": true}}"#,
];
