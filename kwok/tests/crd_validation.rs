//! Custom resources through the API: defaults, pruning, schemas and rules, with the project's own definitions.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy takes only the test functions themselves for tests, not their helpers"
)]

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, Error,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
    core::{GroupVersionKind, Status},
};
use rstest::rstest;
use sawhorse_ambient::{Clock, Seed};
use sawhorse_kwok::apiserver::{ApiServer, Config};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeSet, path::Path};

fn definitions() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../controller/crds");
    let files = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()).collect()
}

async fn server() -> ApiServer {
    let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
    let server = ApiServer::new(Config::new(clock, Seed(1)));
    for definition in definitions() {
        define(&server.client(), definition).await.unwrap();
    }
    server
}

async fn define(client: &Client, definition: Value) -> Result<CustomResourceDefinition, Error> {
    let definition = serde_json::from_value(definition).unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &definition).await
}

fn group_and_version(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "EC2NodeClass" => ("karpenter.k8s.aws", "v1"),
        "CapacityBuffer" => ("autoscaling.x-k8s.io", "v1beta1"),
        "NodeOverlay" => ("karpenter.sh", "v1alpha1"),
        _ => ("karpenter.sh", "v1"),
    }
}

fn api(client: &Client, kind: &str) -> Api<DynamicObject> {
    let (group, version) = group_and_version(kind);
    let mut resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    resource.plural = format!("{}s", kind.to_lowercase()).replace("classs", "classes");
    if kind == "CapacityBuffer" {
        return Api::namespaced_with(client.clone(), "default", &resource);
    }
    Api::all_with(client.clone(), &resource)
}

/// An object that keeps every rule.
fn good(kind: &str) -> Value {
    let class = json!({"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"});
    let spec = match kind {
        "NodePool" => json!({"template": {"spec": {"nodeClassRef": class, "requirements": []}}}),
        "NodeClaim" => json!({"nodeClassRef": class, "requirements": []}),
        "CapacityBuffer" => json!({"podTemplateRef": {"name": "web"}, "replicas": 1}),
        "NodeOverlay" => json!({"requirements": []}),
        _ => json!({
            "role": "node", "amiFamily": "AL2023", "amiSelectorTerms": [{"id": "ami-1"}],
            "subnetSelectorTerms": [{"id": "subnet-1"}], "securityGroupSelectorTerms": [{"id": "sg-1"}],
        }),
    };
    let (group, version) = group_and_version(kind);
    json!({"apiVersion": format!("{group}/{version}"), "kind": kind, "metadata": {"name": "a"}, "spec": spec})
}

fn changed(mut object: Value, change: &Value) -> DynamicObject {
    json_patch::merge(&mut object, change);
    serde_json::from_value(object).unwrap()
}

fn status(error: Error) -> Status {
    match error {
        Error::Api(status) => *status,
        other => panic!("expected an API error, got {other:?}"),
    }
}

/// The object after the change, made the way its case asks for.
async fn attempt(case: &Case, change: &Value) -> Result<DynamicObject, Error> {
    let server = server().await;
    let objects = api(&server.client(), &case.kind);
    if let Some(before) = &case.before {
        objects.create(&PostParams::default(), &changed(good(&case.kind), before)).await.unwrap();
        return objects.patch("a", &PatchParams::default(), &Patch::Merge(change)).await;
    }
    if change.get("status").is_some() {
        objects.create(&PostParams::default(), &changed(good(&case.kind), &json!({}))).await.unwrap();
        return objects.patch_status("a", &PatchParams::default(), &Patch::Merge(change)).await;
    }
    // An image term with an alias says the family itself.
    let mut object = good(&case.kind);
    if change.pointer("/spec/amiSelectorTerms/0/alias").is_some() {
        object["spec"].as_object_mut().unwrap().remove("amiFamily");
    }
    if change.pointer("/spec/amiFamily").is_some_and(|family| family != "AL2023")
        && change["spec"].as_object().unwrap().len() == 1
    {
        object["spec"]["amiSelectorTerms"] = json!([{"alias": "al2023@latest"}]);
    }
    objects.create(&PostParams::default(), &changed(object, change)).await
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    kind: String,
    at: String,
    says: String,
    before: Option<Value>,
    refused: Value,
    accepted: Value,
}

fn cases() -> Vec<Case> {
    serde_saphyr::from_str(include_str!("crd_rules.yaml")).unwrap()
}

/// A place in a schema as a pattern for the fields of errors.
fn field_pattern(place: &str) -> regex::Regex {
    let place = regex::escape(place.trim_start_matches('.'));
    let pattern = place.replace(r"\[\]", r"\[\d+\]").replace(r"\.\*", r"(\.|\[).+");
    regex::Regex::new(&format!("^{pattern}$")).unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_rule_and_pattern_accepts_and_refuses() {
    for case in cases() {
        let accepted = attempt(&case, &case.accepted).await;
        assert!(accepted.is_ok(), "{case:?} should be accepted: {}", status(accepted.unwrap_err()).message);
        let refused = status(attempt(&case, &case.refused).await.expect_err(&format!("{case:?} should be refused")));
        assert_eq!((refused.code, refused.reason.as_str()), (422, "Invalid"), "{case:?}: {}", refused.message);
        let says = if case.says == "pattern" { "in body should match '" } else { case.says.as_str() };
        let field = field_pattern(&case.at);
        let causes = refused.details.unwrap().causes;
        let told = causes.iter().any(|cause| field.is_match(&cause.field) && cause.message.contains(says));
        assert!(told, "{case:?} is refused for other reasons: {causes:#?}");
    }
}

#[test]
fn every_rule_and_pattern_has_a_case() {
    let tested: BTreeSet<(String, String, String)> =
        cases().into_iter().map(|case| (case.kind, case.at, case.says)).collect();
    let mut written = BTreeSet::new();
    for definition in definitions() {
        let kind = definition["spec"]["names"]["kind"].as_str().unwrap().to_owned();
        collect(&kind, &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "", &mut written);
    }
    let missing: Vec<_> = written.difference(&tested).collect();
    assert!(missing.is_empty(), "no case in `crd_rules.yaml` for {missing:#?}");
    assert_eq!(tested.difference(&written).next(), None, "a case for a rule that does not exist");
}

fn collect(kind: &str, schema: &Value, place: &str, found: &mut BTreeSet<(String, String, String)>) {
    let mut add = |says: &str| found.insert((kind.to_owned(), place.to_owned(), says.to_owned()));
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        add(rule["message"].as_str().unwrap());
    }
    if schema.get("pattern").is_some() {
        add("pattern");
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        collect(kind, property, &format!("{place}.{name}"), found);
    }
    for (key, suffix) in [("additionalProperties", ".*"), ("items", "[]")] {
        if let Some(below) = schema.get(key) {
            collect(kind, below, &format!("{place}{suffix}"), found);
        }
    }
}

#[rstest]
#[case::operator(
    json!({"spec": {"template": {"spec": {"requirements": [{"key": "a", "operator": "x"}]}}}}),
    r#"spec.template.spec.requirements[0].operator: Unsupported value: "x": supported values: "In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt", "Gte", "Lte""#)]
#[case::required(json!({"spec": {"template": {"spec": {"nodeClassRef": {"name": null}}}}}), "spec.template.spec.nodeClassRef.name: Required value")]
#[case::wrong_type(
    json!({"spec": {"weight": "heavy"}}), r#"spec.weight: Invalid value: "string": spec.weight in body must be of type integer: "string""#)]
#[case::maximum(json!({"spec": {"weight": 101}}), "spec.weight: Invalid value: 101: spec.weight in body should be less than or equal to 100")]
#[case::minimum(json!({"spec": {"weight": 0}}), "spec.weight: Invalid value: 0: spec.weight in body should be greater than or equal to 1")]
#[case::items(
    json!({"spec": {"disruption": {"budgets": vec![json!({"nodes": "1"}); 60]}}}), "spec.disruption.budgets: Too many: 60: must have at most 50 items")]
#[case::length(
    json!({"spec": {"template": {"spec": {"requirements": [{"key": "a".repeat(317), "operator": "Exists"}]}}}}),
    "spec.template.spec.requirements[0].key: Too long: may not be more than 316 bytes")]
#[case::short(
    json!({"spec": {"template": {"spec": {"taints": [{"key": "", "effect": "NoSchedule"}]}}}}),
    "spec.template.spec.taints[0].key in body should be at least 1 chars long")]
#[case::set(
    json!({"spec": {"disruption": {"budgets": [{"nodes": "1", "reasons": ["Empty", "Empty"]}]}}}),
    r#"spec.disruption.budgets[0].reasons[1]: Duplicate value: "Empty""#)]
#[case::rules_wait_for_types(
    json!({"spec": {"weight": "heavy"}}),
    r#"<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"#)]
#[case::null(json!({"spec": {"template": {"spec": {"nodeClassRef": [null]}}}}), "must be of type object: \"array\"")]
#[tokio::test(start_paused = true)]
async fn messages_are_those_of_kubernetes(#[case] change: Value, #[case] expected: &str) {
    let server = server().await;
    let refused =
        api(&server.client(), "NodePool").create(&PostParams::default(), &changed(good("NodePool"), &change)).await;
    let refused = status(refused.unwrap_err());
    assert!(refused.message.starts_with("NodePool.karpenter.sh \"a\" is invalid: "), "{}", refused.message);
    assert!(refused.message.contains(expected), "{}", refused.message);
}

#[tokio::test(start_paused = true)]
async fn defaults_are_filled_in_and_unknown_fields_pruned() {
    let server = server().await;
    let pools = api(&server.client(), "NodePool");
    let pool = changed(good("NodePool"), &json!({"spec": {"typo": 1, "disruption": {"budgets": [{}]}}}));
    let created = pools.create(&PostParams::default(), &pool).await.unwrap();
    assert_eq!(
        created.data["spec"]["disruption"],
        json!({"consolidateAfter": "0s", "consolidationPolicy": "WhenEmptyOrUnderutilized", "budgets": [{"nodes": "10%"}]})
    );
    assert_eq!(created.data["spec"]["template"]["spec"]["expireAfter"], "720h");
    assert_eq!(created.data["spec"].get("typo"), None);
    let request = http::Request::post("/apis/karpenter.sh/v1/nodepools?fieldValidation=Strict");
    let pool = changed(good("NodePool"), &json!({"metadata": {"name": "b", "colour": 1}, "spec": {"typo": 1}}));
    let body = json!({"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "b", "colour": 1}, "spec": pool.data["spec"]});
    let request = request.header("content-type", "application/json").body(serde_json::to_vec(&body).unwrap()).unwrap();
    let strict = status(server.client().request::<Value>(request).await.unwrap_err());
    assert_eq!(
        (strict.code, strict.message.as_str()),
        (
            400,
            "NodePool in version \"v1\" cannot be handled as a NodePool: strict decoding error: unknown field \"metadata.colour\", unknown field \"spec.typo\""
        )
    );
    let class = changed(good("EC2NodeClass"), &json!({"spec": {"kubelet": {"anything": {"goes": [1]}}}}));
    let class = api(&server.client(), "EC2NodeClass").create(&PostParams::default(), &class).await.unwrap();
    assert_eq!(class.data["spec"]["kubelet"], json!({"anything": {"goes": [1]}}));
    assert_eq!(class.data["spec"]["metadataOptions"]["httpTokens"], "required");
}

fn definition(schema: &Value) -> Value {
    json!({"metadata": {"name": "things.example.com"}, "spec": {
        "group": "example.com", "scope": "Cluster", "names": {"plural": "things", "kind": "Thing"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
    }})
}

fn thing(spec: &Value) -> DynamicObject {
    changed(
        json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": null}),
        &json!({"spec": spec}),
    )
}

#[rstest]
#[case(json!({"type": "object", "properties": {"a": {}}}), "spec.validation.openAPIV3Schema.properties[a].type: Required value")]
#[case(json!({"type": "object", "properties": {"a": {"type": "array"}}}), "properties[a].items: Required value: must be specified")]
#[case(json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}), "properties[a].pattern: Invalid value")]
#[case(
    json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.a ==="}]}),
    "openAPIV3Schema.x-kubernetes-validations[0].rule: Invalid value: \"self.a ===\": compilation failed")]
#[tokio::test(start_paused = true)]
async fn bad_schemas_are_refused(#[case] schema: Value, #[case] expected: &str) {
    let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
    let server = ApiServer::new(Config::new(clock, Seed(1)));
    let refused = status(define(&server.client(), definition(&schema)).await.unwrap_err());
    assert_eq!(refused.code, 422);
    assert!(refused.message.contains(expected), "{}", refused.message);
}

/// Rules with the functions that Kubernetes adds to CEL; each with a text that keeps it and one that breaks it.
#[rstest]
#[case("self.split('-').size() == 2", "a-b", "a")]
#[case("self.find('[0-9]+') == '12'", "a12b", "ab")]
#[case("self.findAll('[0-9]').isSorted()", "123", "321")]
#[case("self.lowerAscii() == self && self.trim() == self && self.replace('a', 'b') == 'bb'", "ab", "AB")]
#[case("isQuantity(self) && quantity(self).isLessThan(quantity('1Gi'))", "900Mi", "2Gi")]
#[case("quantity(self).compareTo(quantity('1')) == 0", "1000m", "1001m")]
#[case("[1, 2].sum() == 3 && [1, 2].max() == int(self)", "2", "1")]
#[case("self.contains('b') && self.startsWith('a') && self.endsWith('c') && self.matches('^a.c$')", "abc", "abbc")]
#[tokio::test(start_paused = true)]
async fn kubernetes_functions_work_in_rules(#[case] rule: &str, #[case] kept: &str, #[case] broken: &str) {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"text": {
        "type": "string", "x-kubernetes-validations": [{"rule": rule, "messageExpression": "'not ' + self"}]}}}}});
    let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
    let server = ApiServer::new(Config::new(clock, Seed(1)));
    define(&server.client(), definition(&schema)).await.unwrap();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Thing"));
    let things = Api::<DynamicObject>::all_with(server.client(), &resource);
    let refused = status(things.create(&PostParams::default(), &thing(&json!({"text": broken}))).await.unwrap_err());
    assert_eq!(
        refused.message,
        format!("Thing.example.com \"a\" is invalid: spec.text: Invalid value: \"{broken}\": not {broken}")
    );
    things.create(&PostParams::default(), &thing(&json!({"text": kept}))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn old_values_are_not_judged_again() {
    let schema = |pattern: &str| {
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "kept": {"type": "string", "pattern": pattern}, "other": {"type": "string"}}}}})
    };
    let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
    let server = ApiServer::new(Config::new(clock, Seed(1)));
    define(&server.client(), definition(&schema("a"))).await.unwrap();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Thing"));
    let things = Api::<DynamicObject>::all_with(server.client(), &resource);
    things.create(&PostParams::default(), &thing(&json!({"kept": "a"}))).await.unwrap();
    let definitions = Api::<CustomResourceDefinition>::all(server.client());
    let stricter = Patch::Merge(definition(&schema("b")));
    definitions.patch("things.example.com", &PatchParams::default(), &stricter).await.unwrap();
    let params = PatchParams::default();
    things.patch("a", &params, &Patch::Merge(json!({"spec": {"other": "x"}}))).await.unwrap();
    let refused = things.patch("a", &params, &Patch::Merge(json!({"spec": {"kept": "c"}}))).await;
    assert_eq!(status(refused.unwrap_err()).code, 422);
}
