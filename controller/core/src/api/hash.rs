//! When has a template changed? Stable hashes of NodePools and EC2NodeClasses (spec core 1.8, aws 1.7).
//!
//! The numbers differ from the reference implementation's, and so do the version strings: a cluster that migrates sees a
//! version change, which rewrites the hashes, and not a drift of every node.

use super::{Ec2NodeClass, NodePool};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// How [`node_pool`] is computed; written beside it.
pub const NODE_POOL_VERSION: &str = "sawhorse-v1";
/// How [`ec2_node_class`] is computed; written beside it.
pub const EC2_NODE_CLASS_VERSION: &str = "sawhorse-v1";

/// The hash of what a NodePool's machines are made from: labels, annotations, taints, startup taints, class, grace period,
/// expiry. Not requirements, and not how durations are written.
pub fn node_pool(pool: &NodePool) -> String {
    let template = &pool.spec.template;
    let nanos = |duration: std::time::Duration| format!("{}ns", duration.as_nanos());
    hash(json!({
        "labels": template.metadata.labels,
        "annotations": template.metadata.annotations,
        "taints": template.spec.taints,
        "startupTaints": template.spec.startup_taints,
        "nodeClassRef": template.spec.node_class_ref,
        // As text with a unit, so that an explicit zero (delete at once) differs from none (wait for ever).
        "terminationGracePeriod": template.spec.termination_grace_period.as_ref().map(|duration| nanos(duration.value())),
        "expireAfter": template.spec.expire_after.value().map_or_else(|| "Never".to_owned(), nanos),
    }))
}

/// The hash of what of an EC2NodeClass cannot be seen on the machine itself. Selector terms are not in it, as what they
/// resolve to is compared with the machine; nor is `ipPrefixCount`.
pub fn ec2_node_class(class: &Ec2NodeClass, ca_bundle: Option<&str>) -> String {
    let mut fields = match serde_json::to_value(&class.spec).expect("a spec of strings, numbers and maps is JSON") {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    };
    for resolved_elsewhere in [
        "subnetSelectorTerms",
        "securityGroupSelectorTerms",
        "amiSelectorTerms",
        "capacityReservationSelectorTerms",
        "ipPrefixCount",
    ] {
        fields.remove(resolved_elsewhere);
    }
    let family = class.spec.resolved_ami_family().map(|family| family.as_str().to_owned());
    fields.insert("amiFamily".to_owned(), json!(family));
    fields.insert("caBundle".to_owned(), json!(ca_bundle));
    // As text, so that zeros in it count: the kubelet distinguishes them from absence.
    let kubelet = class.spec.kubelet.as_ref().map(|fields| Value::Object(fields.clone()).to_string());
    fields.insert("kubelet".to_owned(), json!(kubelet));
    hash(Value::Object(fields))
}

/// The first 64 bits of the SHA-256 of the canonical form, as a decimal.
fn hash(value: Value) -> String {
    let canonical = canonical(value).unwrap_or_default().to_string();
    let digest = Sha256::digest(canonical.as_bytes());
    let (head, _) = digest.split_first_chunk::<8>().expect("a SHA-256 digest has 32 bytes");
    u64::from_be_bytes(*head).to_string()
}

/// Zero values dropped, lists as sorted sets, keys sorted; none where nothing is left.
fn canonical(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Bool(flag) => flag.then_some(Value::Bool(true)),
        Value::Number(number) => (number.as_f64() != Some(0.0)).then_some(Value::Number(number)),
        Value::String(text) => (!text.is_empty()).then_some(Value::String(text)),
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().filter_map(canonical).collect();
            items.sort_by_cached_key(Value::to_string);
            items.dedup();
            (!items.is_empty()).then_some(Value::Array(items))
        }
        Value::Object(fields) => {
            let mut fields: Vec<(String, Value)> =
                fields.into_iter().filter_map(|(key, value)| Some((key, canonical(value)?))).collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            (!fields.is_empty()).then(|| Value::Object(fields.into_iter().collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn pool(template: &Value) -> NodePool {
        let mut base = json!({
            "metadata": { "labels": { "team": "a" } },
            "spec": {
                "requirements": [],
                "taints": [{ "key": "a", "effect": "NoSchedule" }, { "key": "b", "value": "x", "effect": "NoExecute" }],
                "nodeClassRef": { "group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default" },
            },
        });
        merge(&mut base, template);
        serde_json::from_value(json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": { "name": "default" },
            "spec": { "template": base },
        }))
        .unwrap()
    }

    fn merge(base: &mut Value, patch: &Value) {
        match (base, patch) {
            (Value::Object(base), Value::Object(patch)) => {
                patch.iter().for_each(|(key, value)| merge(base.entry(key.clone()).or_insert(Value::Null), value));
            }
            (base, patch) => *base = patch.clone(),
        }
    }

    // Spec core A.7; an explicit empty map is the same as none (the reference's difference is a defect that spec 12 lists).
    #[rstest]
    #[case::label(json!({ "metadata": { "labels": { "team": "b" } } }), true)]
    #[case::annotation(json!({ "metadata": { "annotations": { "a": "b" } } }), true)]
    #[case::taint(json!({ "spec": { "taints": [{ "key": "a", "effect": "NoSchedule" }] } }), true)]
    #[case::startup_taint(json!({ "spec": { "startupTaints": [{ "key": "a", "effect": "NoSchedule" }] } }), true)]
    #[case::class_name(json!({ "spec": { "nodeClassRef": { "name": "other" } } }), true)]
    #[case::expire_after(json!({ "spec": { "expireAfter": "719h" } }), true)]
    #[case::never(json!({ "spec": { "expireAfter": "Never" } }), true)]
    #[case::grace_period(json!({ "spec": { "terminationGracePeriod": "1h" } }), true)]
    #[case::grace_period_zero(json!({ "spec": { "terminationGracePeriod": "0s" } }), true)]
    #[case::requirements(json!({ "spec": { "requirements": [{ "key": "a", "operator": "Exists" }] } }), false)]
    #[case::order_of_taints(
        json!({ "spec": { "taints": [{ "key": "b", "value": "x", "effect": "NoExecute" }, { "key": "a", "effect": "NoSchedule" }] } }),
        false
    )]
    #[case::same_duration(json!({ "spec": { "expireAfter": "43200m" } }), false)]
    #[case::empty_map(json!({ "metadata": { "annotations": {} } }), false)]
    fn what_changes_the_node_pool_hash(#[case] template: Value, #[case] changes: bool) {
        let before = node_pool(&pool(&json!({})));
        assert_eq!(node_pool(&pool(&template)) != before, changes);
    }

    #[test]
    fn weight_limits_replicas_and_disruption_do_not_change_it() {
        let before = pool(&json!({}));
        let mut after = before.clone();
        after.spec.weight = Some(10);
        after.spec.replicas = Some(3);
        after.spec.disruption.budgets.clear();
        after
            .spec
            .limits
            .insert("cpu".to_owned(), k8s_openapi::apimachinery::pkg::api::resource::Quantity("4".to_owned()));
        assert_eq!(node_pool(&before), node_pool(&after));
    }

    #[test]
    fn the_hash_is_stable_across_releases() {
        // A change here rewrites nothing by itself: bump the version string with it.
        assert_eq!(node_pool(&pool(&json!({}))), "13560453790536877981");
    }

    fn class(spec: &Value) -> Ec2NodeClass {
        serde_json::from_value(json!({
            "apiVersion": "karpenter.k8s.aws/v1", "kind": "EC2NodeClass", "metadata": { "name": "default" }, "spec": spec,
        }))
        .unwrap()
    }

    #[rstest]
    #[case::role(json!({ "role": "other" }), true)]
    #[case::user_data(json!({ "userData": "echo" }), true)]
    #[case::tags(json!({ "tags": { "a": "b" } }), true)]
    #[case::kubelet(json!({ "kubelet": { "maxPods": 0 } }), true)]
    #[case::metadata(json!({ "metadataOptions": { "httpTokens": "optional" } }), true)]
    #[case::other_family(json!({ "amiSelectorTerms": [{ "alias": "bottlerocket@latest" }] }), true)]
    #[case::same_family_said_twice(json!({ "amiFamily": "AL2023" }), false)]
    #[case::other_version(json!({ "amiSelectorTerms": [{ "alias": "al2023@v20240807" }] }), false)]
    #[case::subnets(json!({ "subnetSelectorTerms": [{ "id": "subnet-1" }] }), false)]
    #[case::security_groups(json!({ "securityGroupSelectorTerms": [{ "id": "sg-1" }] }), false)]
    #[case::ip_prefixes(json!({ "ipPrefixCount": 3 }), false)]
    #[case::zero_values(json!({ "detailedMonitoring": false, "userData": "" }), false)]
    fn what_changes_the_class_hash(#[case] change: Value, #[case] changes: bool) {
        let base = json!({ "role": "node", "amiSelectorTerms": [{ "alias": "al2023@latest" }] });
        let mut changed = base.clone();
        merge(&mut changed, &change);
        let (before, after) = (class(&base), class(&changed));
        assert_eq!(ec2_node_class(&before, None) != ec2_node_class(&after, None), changes);
        assert_ne!(ec2_node_class(&before, None), ec2_node_class(&before, Some("ca")));
    }
}
