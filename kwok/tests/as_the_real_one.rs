//! What `e2e/tests/differential` found the real API server to do, held without one.

#![expect(clippy::unwrap_used, reason = "clippy takes only the test functions themselves for tests, not their helpers")]

use axum::{
    Router,
    body::{Body, to_bytes},
};
use http::Request;
use rstest::rstest;
use sawhorse_ambient::{Clock, Seed};
use sawhorse_kwok::apiserver::{ApiServer, Config};
use serde_json::{Value, json};
use tower::ServiceExt;

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// A server, and a client that calls itself `test`.
struct Server {
    router: Router,
}

impl Server {
    fn new() -> Self {
        let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
        Self { router: ApiServer::new(Config::new(clock, Seed(1))).router() }
    }

    async fn send(&self, method: &str, path: &str, content_type: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .header("user-agent", "test/1.0 (linux)")
            .body(Body::from(body))
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let code = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (code, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn create(&self, path: &str, body: Value) -> Value {
        let (code, created) = self.send("POST", path, JSON, &body).await;
        assert_eq!(code, 201, "{created:#}");
        created
    }
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const CRON_JOBS: &str = "/apis/batch/v1/namespaces/default/cronjobs";
const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";

fn config_map(data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}})
}

fn deployment() -> Value {
    let spec = json!({"selector": {"matchLabels": {"app": "web"}}, "template": template()});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": spec})
}

/// Manager, operation, subresource and fields of each owner.
fn owners(object: &Value) -> Vec<Value> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    entries
        .map(|entry| json!([entry["manager"], entry["operation"], entry["subresource"], entry["fieldsV1"]]))
        .collect()
}

fn causes(status: &Value) -> Vec<(String, String)> {
    let causes = status.pointer("/details/causes").and_then(Value::as_array).into_iter().flatten();
    let text = |cause: &Value, key: &str| cause[key].as_str().unwrap_or_default().to_owned();
    causes.map(|cause| (text(cause, "reason"), text(cause, "field"))).collect()
}

#[tokio::test(start_paused = true)]
async fn plain_writes_are_owned_by_the_program_they_come_from() {
    let server = Server::new();
    let created = server.create(MAPS, config_map(&json!({"x": "1"}))).await;
    let fields = json!({"f:data": {".": {}, "f:x": {}}});
    assert_eq!(owners(&created), [json!(["test", "Update", null, fields])]);
    let path = format!("{MAPS}/a?fieldManager=other");
    let (_, patched) = server.send("PATCH", &path, MERGE, &json!({"data": {"x": "2", "y": "3"}})).await;
    let taken = json!({"f:data": {"f:x": {}, "f:y": {}}});
    assert_eq!(
        owners(&patched),
        [json!(["other", "Update", null, taken]), json!(["test", "Update", null, {"f:data": {}}])]
    );
    let cleared = json!({"metadata": {"managedFields": [{}]}});
    let (_, forgotten) = server.send("PATCH", &format!("{MAPS}/a"), MERGE, &cleared).await;
    assert!(owners(&forgotten).is_empty(), "{forgotten:#}");
}

#[tokio::test(start_paused = true)]
async fn what_admission_adds_is_nobodys_and_a_status_belongs_to_its_subresource() {
    let server = Server::new();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": template()["spec"]});
    let created = server.create(PODS, pod).await;
    let spec = owners(&created)[0][3]["f:spec"].clone();
    assert!(spec.get("f:dnsPolicy").is_some() && spec.get("f:priority").is_none(), "{spec:#}");
    assert!(spec.get(".").is_none() && spec["f:containers"].get(".").is_none(), "{spec:#}");
    assert!(spec["f:containers"][r#"k:{"name":"web"}"#].get(".").is_some(), "{spec:#}");
    let status = json!({"status": {"phase": "Running"}});
    let (_, patched) = server.send("PATCH", &format!("{PODS}/a/status"), MERGE, &status).await;
    let own = json!(["test", "Update", "status", {"f:status": {"f:phase": {}}}]);
    assert!(owners(&patched).contains(&own), "{:#?}", owners(&patched));
}

#[tokio::test(start_paused = true)]
async fn appliers_meet_plain_writers_and_each_other() {
    let server = Server::new();
    server.create(MAPS, config_map(&json!({"x": "1", "z": "1"}))).await;
    let path = format!("{MAPS}/a?fieldManager=one");
    let applied = config_map(&json!({"x": "2", "y": "2"}));
    let (code, refused) = server.send("PATCH", &path, APPLY, &applied).await;
    assert_eq!((code, causes(&refused)), (409, vec![("FieldManagerConflict".into(), ".data.x".into())]));
    let (code, forced) = server.send("PATCH", &format!("{path}&force=true"), APPLY, &applied).await;
    assert_eq!((code, &forced["data"]), (200, &json!({"x": "2", "y": "2", "z": "1"})));
    // What is no longer applied goes, unless somebody else owns it.
    let (_, given_up) = server.send("PATCH", &path, APPLY, &config_map(&json!({"x": "2"}))).await;
    assert_eq!(given_up["data"], json!({"x": "2", "z": "1"}));
    let shared = format!("{MAPS}/a?fieldManager=two");
    let (code, _) = server.send("PATCH", &shared, APPLY, &config_map(&json!({"x": "2"}))).await;
    assert_eq!(code, 200, "the same value is no conflict");
    let (_, kept) = server.send("PATCH", &path, APPLY, &config_map(&json!({}))).await;
    assert_eq!(kept["data"], json!({"x": "2", "z": "1"}), "two still owns it");
}

#[tokio::test(start_paused = true)]
async fn an_applier_meets_what_nobody_is_recorded_for() {
    let server = Server::new();
    let job = |schedule: &str| {
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "a"},
            "spec": {"schedule": schedule, "jobTemplate": {"spec": {"template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "main", "image": "a"}]}}}}}})
    };
    server.create(CRON_JOBS, job("@daily")).await;
    let path = format!("{CRON_JOBS}/a");
    server.send("PATCH", &path, MERGE, &json!({"metadata": {"managedFields": []}})).await;
    // A conflict is found before what is wrong with the object.
    let (code, refused) = server.send("PATCH", &format!("{path}?fieldManager=one"), APPLY, &job("sometimes")).await;
    assert_eq!((code, causes(&refused)), (409, vec![("FieldManagerConflict".into(), ".spec.schedule".into())]));
    let message = "Apply failed with 1 conflict: conflict with \"before-first-apply\" using batch/v1: .spec.schedule";
    assert_eq!(refused["message"], message);
}

#[tokio::test(start_paused = true)]
async fn applied_data_that_is_no_base64_is_no_secret() {
    let server = Server::new();
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": {"b": "not base64!"}});
    let path = "/api/v1/namespaces/default/secrets/a?fieldManager=one";
    let (code, refused) = server.send("PATCH", path, APPLY, &secret).await;
    let message = refused["message"].as_str().unwrap_or_default();
    assert_eq!((code, refused.get("reason")), (500, None), "{message}");
    assert!(
        message.starts_with("failed to convert new object (/a; /v1, Kind=Secret) to proper version: "),
        "{message}"
    );
}

#[rstest]
#[case("POST", MAPS, "dryRun=Some", "dryRun")]
#[case("POST", MAPS, "fieldValidation=Some", "fieldValidation")]
#[case("PATCH", "/api/v1/namespaces/default/configmaps/a", "force=true", "force")]
#[case("GET", MAPS, "resourceVersionMatch=Exact", "resourceVersionMatch")]
#[case("GET", MAPS, "sendInitialEvents=true", "sendInitialEvents")]
#[case("GET", MAPS, "watch=1&sendInitialEvents=true", "resourceVersionMatch")]
#[tokio::test(start_paused = true)]
async fn options_are_checked(#[case] method: &str, #[case] path: &str, #[case] query: &str, #[case] field: &str) {
    let content_type = if method == "PATCH" { MERGE } else { JSON };
    let body = if method == "GET" { Value::Null } else { config_map(&json!({})) };
    let (code, status) = Server::new().send(method, &format!("{path}?{query}"), content_type, &body).await;
    assert_eq!((code, causes(&status)[0].1.as_str()), (422, field), "{status:#}");
}

#[tokio::test(start_paused = true)]
async fn an_update_creates_leases_but_not_config_maps() {
    let server = Server::new();
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "a"}, "spec": {}});
    assert_eq!(server.send("PUT", &format!("{LEASES}/a"), JSON, &lease).await.0, 201);
    assert_eq!(server.send("PUT", &format!("{MAPS}/a"), JSON, &config_map(&json!({}))).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn annotations_of_deployments_count() {
    let server = Server::new();
    server.create(DEPLOYMENTS, deployment()).await;
    let note = json!({"metadata": {"annotations": {"note": "x"}}});
    let (_, noted) = server.send("PATCH", &format!("{DEPLOYMENTS}/a"), MERGE, &note).await;
    assert_eq!(noted["metadata"]["generation"], 2);
}

#[tokio::test(start_paused = true)]
async fn jobs_orphan_their_pods_unless_told_otherwise() {
    let server = Server::new();
    let mut template = template();
    template["spec"]["restartPolicy"] = json!("Never");
    let job =
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": {"template": template}});
    server.create(JOBS, job.clone()).await;
    let (code, left) = server.send("DELETE", &format!("{JOBS}/a"), JSON, &Value::Null).await;
    assert_eq!((code, &left["metadata"]["finalizers"]), (200, &json!(["orphan"])));
}

#[tokio::test(start_paused = true)]
async fn tolerations_of_pods_stay() {
    let server = Server::new();
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": template()["spec"]});
    pod["spec"]["tolerations"] = json!([{"key": "a", "operator": "Exists"}]);
    server.create(PODS, pod).await;
    let fewer = json!({"spec": {"tolerations": []}});
    let (code, status) = server.send("PATCH", &format!("{PODS}/a"), MERGE, &fewer).await;
    assert_eq!((code, causes(&status)), (422, vec![("FieldValueForbidden".into(), "spec.tolerations".into())]));
}

#[tokio::test(start_paused = true)]
async fn an_eviction_makes_the_budgets_status_the_servers_and_notes_why_the_pod_goes() {
    let server = Server::new();
    let metadata = json!({"name": "a", "labels": {"app": "web"}});
    server
        .create(PODS, json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template()["spec"]}))
        .await;
    let binding = json!({"target": {"kind": "Node", "name": "n"}, "metadata": {"name": "a"}});
    server.create(&format!("{PODS}/a/binding"), binding).await;
    let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    server.send("PATCH", &format!("{PODS}/a/status"), MERGE, &ready).await;
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}});
    let budget =
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}, "spec": spec});
    server.create(budgets, budget).await;
    let status = json!({"status": {"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2}});
    server.send("PATCH", &format!("{budgets}/b/status"), MERGE, &status).await;
    let negative = json!({"status": {"disruptionsAllowed": -1}});
    let (code, refused) = server.send("PATCH", &format!("{budgets}/b/status"), MERGE, &negative).await;
    assert_eq!((code, causes(&refused)[0].1.as_str()), (422, "status.disruptionsAllowed"));
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}});
    server.create(&format!("{PODS}/a/eviction"), eviction).await;
    let (_, budget) = server.send("GET", &format!("{budgets}/b"), JSON, &Value::Null).await;
    let own = owners(&budget).into_iter().find(|owner| owner[0] == "kube-apiserver").unwrap();
    assert_eq!(own[2], "status");
    assert!(own[3]["f:status"].get("f:disruptionsAllowed").is_some(), "{own:#}");
    let (_, pod) = server.send("GET", &format!("{PODS}/a"), JSON, &Value::Null).await;
    let conditions = pod["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|condition| condition["type"] == "DisruptionTarget"), "{pod:#}");
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_set_to_nothing_has_what_is_always_there() {
    let server = Server::new();
    server.create(DEPLOYMENTS, deployment()).await;
    let conditions = json!([{"type": "Available", "status": "True", "message": "", "reason": "R"}]);
    let status = json!({"status": {"replicas": 0, "readyReplicas": 0, "conditions": conditions}});
    let (_, written) = server.send("PATCH", &format!("{DEPLOYMENTS}/a/status"), MERGE, &status).await;
    assert_eq!(written["status"].as_object().unwrap().len(), 1, "{written:#}");
    assert!(written["status"]["conditions"][0].get("message").is_none(), "{written:#}");
    let (_, emptied) = server.send("PATCH", &format!("{DEPLOYMENTS}/a/status"), MERGE, &json!({"status": null})).await;
    assert_eq!(emptied["status"], json!({}));
}

#[tokio::test(start_paused = true)]
async fn nobody_owns_replicas_that_a_scale_leaves_out() {
    let server = Server::new();
    server.create(DEPLOYMENTS, deployment()).await;
    let path = format!("{DEPLOYMENTS}/a/scale");
    let owns_replicas = |object: &Value| owners(object).iter().any(|owner| owner.to_string().contains("f:replicas"));
    for (replicas, is_owned) in [(3, true), (0, false), (3, false)] {
        let wanted = json!({"spec": {"replicas": replicas}});
        assert_eq!(server.send("PATCH", &path, MERGE, &wanted).await.0, 200);
        let (_, now) = server.send("GET", &format!("{DEPLOYMENTS}/a"), JSON, &Value::Null).await;
        assert_eq!((&now["spec"]["replicas"], owns_replicas(&now)), (&json!(replicas), is_owned), "{now:#}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_collection_has_the_version_before() {
    let server = Server::new();
    let map = server.create(MAPS, config_map(&json!({}))).await;
    let (code, deleted) = server.send("DELETE", MAPS, JSON, &Value::Null).await;
    assert_eq!((code, &deleted["metadata"]["resourceVersion"]), (200, &map["metadata"]["resourceVersion"]));
}

#[tokio::test(start_paused = true)]
async fn pods_that_end_in_less_than_no_time_end_in_a_second() {
    let server = Server::new();
    let mut pod = template();
    pod["metadata"]["name"] = "a".into();
    pod["spec"]["terminationGracePeriodSeconds"] = json!(-2);
    assert_eq!(server.create(PODS, pod).await["spec"]["terminationGracePeriodSeconds"], 1);
    let mut deployment = deployment();
    deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(-2);
    let kept = server.create(DEPLOYMENTS, deployment).await;
    assert_eq!(kept["spec"]["template"]["spec"]["terminationGracePeriodSeconds"], -2);
}

const CLASSES: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";
const DAEMONS: &str = "/apis/apps/v1/namespaces/default/daemonsets";
const SETS: &str = "/apis/apps/v1/namespaces/default/statefulsets";

#[rstest]
#[case::policy(CLASSES, json!({"value": 1, "preemptionPolicy": "Sometimes"}), "FieldValueNotSupported", "preemptionPolicy")]
#[case::strategy(DEPLOYMENTS, json!({"spec": {"strategy": {"type": "Sometimes"}}}), "FieldValueNotSupported", "spec.strategy")]
#[case::of_daemons(DAEMONS, json!({"spec": {"updateStrategy": {"type": "Sometimes"}}}), "FieldValueNotSupported", "spec.updateStrategy")]
#[case::of_sets(SETS, json!({"spec": {"updateStrategy": {"type": "Sometimes"}}}), "FieldValueInvalid", "spec.updateStrategy")]
#[case::partition(SETS, json!({"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 1}}}}), "FieldValueInvalid", "spec.updateStrategy.rollingUpdate")]
#[case::label(DEPLOYMENTS, json!({"spec": {"template": {"metadata": {"labels": {"app": "web", "b": "c d"}}}}}), "FieldValueInvalid", "spec.template.labels")]
#[case::job(JOBS, json!({"metadata": {"name": "a b"}, "spec": {"template": {"spec": {"restartPolicy": "Never"}}}}), "FieldValueInvalid", "spec.template.labels")]
#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_told_of_its_field(
    #[case] path: &str,
    #[case] change: Value,
    #[case] reason: &str,
    #[case] field: &str,
) {
    let mut object = match path {
        CLASSES => json!({"metadata": {"name": "a"}}),
        JOBS => json!({"spec": {"template": template()}}),
        _ => deployment(),
    };
    for key in ["apiVersion", "kind"] {
        object.as_object_mut().unwrap().remove(key);
    }
    merge(&mut object, &change);
    let (code, status) = Server::new().send("POST", path, JSON, &object).await;
    assert!(code == 422 && causes(&status).contains(&(reason.into(), field.into())), "{status:#}");
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, from) => into.clone_from(from),
    }
}

#[rstest]
#[case::unheard_of("self.nothing > 1", Some("undefined field 'nothing'"))]
#[case::in_a_macro("self.list.all(e, has(self.nothing))", Some("undefined field 'nothing'"))]
#[case::below("self.spec.nothing == ''", Some("undefined field 'nothing'"))]
#[case::known("self.spec.name == '' && self.metadata.name != self.spec.free.anything", None)]
#[tokio::test(start_paused = true)]
async fn rules_name_only_fields_that_there_are(#[case] rule: &str, #[case] told: Option<&str>) {
    let free = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let spec = json!({"type": "object", "properties": {"name": {"type": "string"}, "free": free}});
    let list = json!({"type": "array", "items": {"type": "string"}});
    let schema = json!({"type": "object", "properties": {"spec": spec, "list": list}, "x-kubernetes-validations": [{"rule": rule}]});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "scope": "Cluster", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}});
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let (code, answer) = Server::new().send("POST", path, JSON, &definition).await;
    let message = answer["message"].as_str().unwrap_or_default();
    match told {
        Some(told) => assert!(code == 422 && message.contains(told), "{answer:#}"),
        None => assert_eq!(code, 201, "{answer:#}"),
    }
}
