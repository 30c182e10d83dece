//! Every CEL rule of the definitions says yes to what is right and no, with its message, to what is wrong.

use super::crds;
use rstest::rstest;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

/// CEL's integers are signed, serde_json's positive ones are not.
struct Signed<'a>(&'a Value);

impl Serialize for Signed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Number(number) => match number.as_i64() {
                Some(integer) => serializer.serialize_i64(integer),
                None => number.serialize(serializer),
            },
            Value::Array(items) => serializer.collect_seq(items.iter().map(Signed)),
            Value::Object(fields) => serializer.collect_map(fields.iter().map(|(key, value)| (key, Signed(value)))),
            Value::Null | Value::Bool(_) | Value::String(_) => self.0.serialize(serializer),
        }
    }
}

/// The messages of the rules that `object` breaks, as an API server would find them; rules about changes need `old`.
fn broken(schema: &Value, object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut messages = Vec::new();
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let text = rule["rule"].as_str().unwrap();
        let mut context = cel::Context::default();
        context.add_variable_from_value("self", cel::to_value(Signed(object)).unwrap());
        match (text.contains("oldSelf"), old) {
            (true, None) => continue,
            (true, Some(old)) => context.add_variable_from_value("oldSelf", cel::to_value(Signed(old)).unwrap()),
            (false, _) => {}
        }
        let program = cel::Program::compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let holds = program.execute(&context).unwrap_or_else(|error| panic!("{text}: {error}"));
        if holds != cel::Value::Bool(true) {
            messages.push(rule["message"].as_str().unwrap().to_owned());
        }
    }
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = object.get(name) {
            messages.extend(broken(inner, value, old.and_then(|old| old.get(name))));
        }
    }
    if let (Some(inner), Some(items)) = (schema.get("items"), object.as_array()) {
        // Items of these lists cannot be matched with their older selves.
        items.iter().for_each(|item| messages.extend(broken(inner, item, None)));
    }
    messages
}

fn check(kind: &str, object: &Value, old: Option<&Value>) -> Vec<String> {
    let crd = crds().into_iter().find(|crd| crd.spec.names.kind == kind).unwrap();
    let schema = serde_json::to_value(&crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema).unwrap();
    broken(&schema, object, old)
}

fn pool(change: &Value) -> Value {
    let mut base = json!({ "spec": { "template": { "spec": {
        "requirements": [], "nodeClassRef": { "group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default" },
    } } } });
    crate::lifecycle::fixtures::merge(&mut base, change);
    base
}

fn with_requirement(requirement: &Value) -> Value {
    pool(&json!({ "spec": { "template": { "spec": { "requirements": [requirement] } } } }))
}

#[rstest]
#[case::bare(pool(&json!({})))]
#[case::capacity_type(with_requirement(&json!({ "key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"] })))]
#[case::custom(with_requirement(&json!({ "key": "example.com/team", "operator": "Exists" })))]
#[case::bound(with_requirement(&json!({ "key": "a", "operator": "Gt", "values": ["0"] })))]
#[case::min_values(with_requirement(&json!({ "key": "a", "operator": "In", "values": ["b", "c"], "minValues": 2 })))]
#[case::labels(pool(&json!({ "spec": { "template": { "metadata": { "labels": { "karpenter.sh/capacity-type": "spot", "a": "b" } } } } })))]
#[case::static_pool(pool(&json!({ "spec": { "replicas": 2, "limits": { "nodes": "3" } } })))]
#[case::static_pool_without_limits(pool(&json!({ "spec": { "replicas": 2, "limits": {} } })))]
#[case::window(pool(&json!({ "spec": { "disruption": { "budgets": [{ "nodes": "1", "schedule": "@daily", "duration": "1h" }] } } })))]
fn node_pools_that_are_right(#[case] object: Value) {
    assert_eq!(check("NodePool", &object, None), Vec::<String>::new());
}

#[rstest]
#[case::domain(with_requirement(&json!({ "key": "karpenter.sh/custom", "operator": "Exists" })), "label domain \"karpenter.sh\" is restricted")]
#[case::wider_domain(with_requirement(&json!({ "key": "notkarpenter.sh/custom", "operator": "Exists" })), "label domain \"karpenter.sh\" is restricted")]
#[case::node_pool(with_requirement(&json!({ "key": "karpenter.sh/nodepool", "operator": "Exists" })), "label \"karpenter.sh/nodepool\" is restricted")]
#[case::hostname(with_requirement(&json!({ "key": "kubernetes.io/hostname", "operator": "Exists" })), "label \"kubernetes.io/hostname\" is restricted")]
#[case::no_values(with_requirement(&json!({ "key": "a", "operator": "In" })), "requirements with operator 'In' must have a value defined")]
#[case::not_a_number(
    with_requirement(&json!({ "key": "a", "operator": "Gte", "values": ["x"] })),
    "requirements operator 'Gt', 'Lt', 'Gte', or 'Lte' must have a single positive integer value"
)]
#[case::no_bound(
    with_requirement(&json!({ "key": "a", "operator": "Lt" })),
    "requirements operator 'Gt', 'Lt', 'Gte', or 'Lte' must have a single positive integer value"
)]
#[case::min_values(
    with_requirement(&json!({ "key": "a", "operator": "In", "values": ["b"], "minValues": 2 })),
    "requirements with 'minValues' must have at least that many values specified in the 'values' field"
)]
#[case::label(
    pool(&json!({ "spec": { "template": { "metadata": { "labels": { "x.karpenter.sh/a": "b" } } } } })),
    "label domain \"karpenter.sh\" is restricted"
)]
#[case::window(
    pool(&json!({ "spec": { "disruption": { "budgets": [{ "nodes": "1", "schedule": "@daily" }] } } })), "'schedule' must be set with 'duration'"
)]
#[case::static_limits(
    pool(&json!({ "spec": { "replicas": 2, "limits": { "nodes": 3, "cpu": 1 } } })), "only 'limits.nodes' is supported on static NodePools"
)]
#[case::static_weight(pool(&json!({ "spec": { "replicas": 2, "weight": 1 } })), "'weight' is not supported on static NodePools")]
#[case::class_group(
    pool(&json!({ "spec": { "template": { "spec": { "nodeClassRef": { "group": "" } } } } })), "group may not be empty"
)]
fn node_pools_that_are_wrong(#[case] object: Value, #[case] message: &str) {
    assert_eq!(check("NodePool", &object, None), [message]);
}

#[rstest]
#[case::mode(
    json!({ "spec": { "replicas": 1 } }),
    "Cannot transition NodePool between static (replicas set) and dynamic (replicas unset) provisioning modes"
)]
#[case::group(json!({ "spec": { "template": { "spec": { "nodeClassRef": { "group": "other" } } } } }), "nodeClassRef.group is immutable")]
#[case::kind(json!({ "spec": { "template": { "spec": { "nodeClassRef": { "kind": "Other" } } } } }), "nodeClassRef.kind is immutable")]
fn changes_of_node_pools_that_are_refused(#[case] change: Value, #[case] message: &str) {
    assert_eq!(check("NodePool", &pool(&change), Some(&pool(&json!({})))), [message]);
}

#[test]
fn other_changes_of_node_pools_are_fine() {
    let renamed =
        pool(&json!({ "spec": { "weight": 3, "template": { "spec": { "nodeClassRef": { "name": "other" } } } } }));
    assert_eq!(check("NodePool", &renamed, Some(&pool(&json!({})))), Vec::<String>::new());
}

#[test]
fn the_spec_of_a_node_claim_never_changes_and_may_name_its_pool() {
    let claim = |name: &str| {
        let requirements = json!([{ "key": "karpenter.sh/nodepool", "operator": "In", "values": ["default"] }]);
        json!({ "spec": { "requirements": requirements, "nodeClassRef": { "group": "g", "kind": "K", "name": name } } })
    };
    assert_eq!(check("NodeClaim", &claim("a"), Some(&claim("a"))), Vec::<String>::new());
    assert_eq!(check("NodeClaim", &claim("b"), Some(&claim("a"))), ["spec is immutable"]);
}

fn class(change: &Value) -> Value {
    let mut base = json!({ "spec": {
        "role": "node",
        "amiSelectorTerms": [{ "alias": "al2023@latest" }],
        "subnetSelectorTerms": [{ "tags": { "team": "*" } }],
        "securityGroupSelectorTerms": [{ "name": "nodes" }],
    } });
    crate::lifecycle::fixtures::merge(&mut base, &json!({ "spec": change }));
    base
}

#[rstest]
#[case::bare(json!({}))]
#[case::family(json!({ "amiFamily": "AL2023" }))]
#[case::custom_family(json!({ "amiFamily": "Custom", "amiSelectorTerms": [{ "id": "ami-1" }, { "name": "x*", "owner": "self" }] }))]
#[case::tags(json!({ "tags": { "team": "", "kubernetes.io/other": "x" } }))]
#[case::disks(json!({ "blockDeviceMappings": [{ "rootVolume": true, "ebs": { "volumeSize": "20Gi" } }, { "deviceName": "/dev/xvdb" }] }))]
#[case::interfaces(json!({ "networkInterfaces": [
    { "networkCardIndex": 0, "deviceIndex": 0, "interfaceType": "interface" }, { "networkCardIndex": 1, "deviceIndex": 1, "interfaceType": "efa-only" },
] }))]
#[case::placement_group(json!({ "placementGroupSelector": { "id": "pg-1" } }))]
#[case::connection_tracking(json!({ "connectionTracking": { "udpTimeout": 30 } }))]
#[case::reservations(json!({ "capacityReservationSelectorTerms": [{ "id": "cr-1" }, { "tags": { "a": "b" }, "ownerID": "123456789012" }] }))]
fn classes_that_are_right(#[case] change: Value) {
    assert_eq!(check("EC2NodeClass", &class(&change), None), Vec::<String>::new());
}

#[rstest]
#[case::no_subnets(json!({ "subnetSelectorTerms": [] }), "subnetSelectorTerms must have at least one term")]
#[case::empty_subnet(json!({ "subnetSelectorTerms": [{}] }), "expected at least one of tags, id")]
#[case::subnet_id_and_tags(json!({ "subnetSelectorTerms": [{ "id": "subnet-1", "tags": { "a": "b" } }] }), "'id' excludes every other field of a term")]
#[case::empty_tag(json!({ "subnetSelectorTerms": [{ "tags": { "a": "" } }] }), "empty tag keys or values are not supported")]
#[case::group_name_and_tags(
    json!({ "securityGroupSelectorTerms": [{ "name": "a", "tags": { "a": "b" } }] }), "'name' excludes every other field of a term"
)]
#[case::empty_reservation(
    json!({ "capacityReservationSelectorTerms": [{ "ownerID": "123456789012" }] }), "expected at least one of tags, id, instanceMatchCriteria"
)]
#[case::two_placement_groups(json!({ "placementGroupSelector": { "id": "pg-1", "name": "a" } }), "expected exactly one of name, id")]
#[case::alias_and_id(json!({ "amiSelectorTerms": [{ "alias": "al2@latest" }, { "id": "ami-1" }] }), "'alias' must be in the only term")]
#[case::empty_image(json!({ "amiFamily": "AL2", "amiSelectorTerms": [{ "owner": "self" }] }), "expected at least one of tags, id, name, alias, ssmParameter")]
#[case::image_id_and_name(
    json!({ "amiFamily": "AL2", "amiSelectorTerms": [{ "id": "ami-1", "name": "a" }] }), "'id' excludes alias, tags, name, owner"
)]
#[case::windows(json!({ "amiSelectorTerms": [{ "alias": "windows2022@v1" }] }), "Windows families have no versions; use '@latest'")]
#[case::no_family(json!({ "amiSelectorTerms": [{ "id": "ami-1" }] }), "amiFamily must be set where no term has an alias")]
#[case::other_family(json!({ "amiFamily": "Bottlerocket" }), "amiFamily must be the alias' family, or Custom")]
#[case::two_identities(json!({ "instanceProfile": "p" }), "expected exactly one of role, instanceProfile")]
#[case::cluster_tag(json!({ "tags": { "kubernetes.io/cluster/x": "owned" } }), "tag is restricted: kubernetes.io/cluster/…")]
#[case::pool_tag(json!({ "tags": { "karpenter.sh/nodepool": "x" } }), "tag is restricted: karpenter.sh/nodepool")]
#[case::two_roots(json!({ "blockDeviceMappings": [{ "rootVolume": true }, { "rootVolume": true }] }), "at most one disk can be the root volume")]
#[case::no_size(json!({ "blockDeviceMappings": [{ "ebs": { "iops": 1 } }] }), "snapshotID or volumeSize must be set")]
#[case::rate(
    json!({ "blockDeviceMappings": [{ "ebs": { "volumeSize": "1Gi", "volumeInitializationRate": 100 } }] }), "volumeInitializationRate needs snapshotID"
)]
#[case::no_primary(
    json!({ "networkInterfaces": [{ "networkCardIndex": 1, "deviceIndex": 0, "interfaceType": "interface" }] }),
    "must contain networkCardIndex 0, deviceIndex 0, interfaceType interface"
)]
#[case::no_timeouts(
    json!({ "connectionTracking": {} }), "expected at least one of tcpEstablishedTimeout, udpStreamTimeout, udpTimeout"
)]
fn classes_that_are_wrong(#[case] change: Value, #[case] message: &str) {
    assert_eq!(check("EC2NodeClass", &class(&change), None), [message]);
}

#[rstest]
#[case::of_a_template(json!({ "podTemplateRef": { "name": "web" }, "replicas": 2 }), &[])]
#[case::as_far_as_limits_go(json!({ "podTemplateRef": { "name": "web" }, "limits": { "cpu": "4" } }), &[])]
#[case::of_a_workload(json!({ "scalableRef": { "kind": "Deployment", "name": "web" }, "percentage": 20 }), &[])]
#[case::of_how_many(
    json!({ "podTemplateRef": { "name": "web" }, "percentage": 20 }),
    &["If podTemplateRef is set, replicas or limits must also be set"]
)]
#[case::of_both(
    json!({ "podTemplateRef": { "name": "web" }, "scalableRef": { "kind": "Deployment", "name": "web" }, "replicas": 2 }),
    &["You must define either PodTemplateRef or ScalableRef, but not both"]
)]
fn capacity_buffers(#[case] spec: Value, #[case] messages: &[&str]) {
    assert_eq!(check("CapacityBuffer", &json!({ "spec": spec }), None), messages);
}

#[rstest]
#[case::dearer(json!({ "requirements": [], "priceAdjustment": "+10%" }), &[])]
#[case::of_a_pool(
    json!({ "requirements": [{ "key": "karpenter.sh/nodepool", "operator": "In", "values": ["batch"] }], "capacity": { "example.com/fuse": "1" } }),
    &[]
)]
#[case::two_prices(
    json!({ "requirements": [], "price": "1", "priceAdjustment": "+1" }), &["cannot set both 'price' and 'priceAdjustment'"]
)]
#[case::what_the_cloud_knows(
    json!({ "requirements": [], "capacity": { "example.com/fuse": "1", "memory": "1Gi" } }), &["invalid resource restricted"]
)]
#[case::not_in_nothing(
    json!({ "requirements": [{ "key": "kubernetes.io/arch", "operator": "NotIn" }] }),
    &["requirements with operator 'NotIn' must have a value defined"]
)]
fn node_overlays(#[case] spec: Value, #[case] messages: &[&str]) {
    assert_eq!(check("NodeOverlay", &json!({ "spec": spec }), None), messages);
}
