//! Server-side apply, tables and OpenAPI documents through the API.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy takes only the test functions themselves for tests, not their helpers"
)]

use k8s_openapi::{
    api::apps::v1::Deployment, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Error,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
    core::{GroupVersionKind, Status},
};
use sawhorse_ambient::{Clock, Seed};
use sawhorse_kwok::apiserver::{ApiServer, Config};
use serde_json::{Value, json};
use std::time::Duration;

fn server() -> ApiServer {
    let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
    ApiServer::new(Config::new(clock, Seed(1)))
}

fn deployment(spec: &Value, containers: &Value) -> Value {
    let mut value = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers}},
    }});
    json_patch::merge(&mut value["spec"], spec);
    value
}

fn status(error: Error) -> Status {
    match error {
        Error::Api(status) => *status,
        other => panic!("expected an API error, got {other:?}"),
    }
}

fn value(object: &impl serde::Serialize) -> Value {
    serde_json::to_value(object).unwrap()
}

#[tokio::test(start_paused = true)]
async fn appliers_own_what_they_apply() {
    let deployments = Api::<Deployment>::default_namespaced(server().client());
    let web = json!([{"name": "web", "image": "web:1", "env": [{"name": "A", "value": "1"}]}]);
    let one = PatchParams::apply("one");
    let first = deployment(&json!({"replicas": 2}), &web);
    let created = deployments.patch("web", &one, &Patch::Apply(&first)).await.unwrap();
    let owners = value(&created.metadata.managed_fields.unwrap());
    assert_eq!((&owners[0]["manager"], &owners[0]["operation"]), (&json!("one"), &json!("Apply")));
    let container = "/0/fieldsV1/f:spec/f:template/f:spec/f:containers/k:{\"name\":\"web\"}/f:image";
    assert_eq!(owners.pointer(container), Some(&json!({})));

    let sidecar = deployment(&json!({}), &json!([{"name": "log", "image": "log:1"}]));
    let both = deployments.patch("web", &PatchParams::apply("two"), &Patch::Apply(&sidecar)).await.unwrap();
    let names: Vec<String> =
        both.spec.unwrap().template.spec.unwrap().containers.into_iter().map(|container| container.name).collect();
    assert_eq!(names, ["web", "log"], "containers are merged by name, those that were there first");

    let without = deployment(&json!({}), &json!([{"name": "web", "image": "web:2"}]));
    let after = value(&deployments.patch("web", &one, &Patch::Apply(&without)).await.unwrap());
    assert_eq!(after["spec"]["replicas"], 1, "what is no longer applied falls back to its default");
    let containers = &after["spec"]["template"]["spec"]["containers"];
    assert_eq!((&containers[0]["image"], containers[0].get("env")), (&json!("web:2"), None));
    assert_eq!(containers[1]["image"], "log:1", "what others own stays");
}

#[tokio::test(start_paused = true)]
async fn conflicts_name_the_owner_and_can_be_forced() {
    let deployments = Api::<Deployment>::default_namespaced(server().client());
    let web = json!([{"name": "web", "image": "web:1"}]);
    let params = PostParams { field_manager: Some("kubectl".into()), ..PostParams::default() };
    let plain = serde_json::from_value(deployment(&json!({"replicas": 1}), &web)).unwrap();
    deployments.create(&params, &plain).await.unwrap();
    let applied = deployment(&json!({"replicas": 3}), &web);
    let refused = deployments.patch("web", &PatchParams::apply("other"), &Patch::Apply(&applied)).await;
    let refused = status(refused.unwrap_err());
    assert_eq!((refused.code, refused.reason.as_str()), (409, "Conflict"));
    assert_eq!(
        refused.message,
        "Apply failed with 1 conflict: conflict with \"kubectl\" using apps/v1 at 2026-01-01T00:00:00Z: .spec.replicas"
    );
    let cause = &refused.details.unwrap().causes[0];
    assert_eq!((cause.reason.as_str(), cause.field.as_str()), ("FieldManagerConflict", ".spec.replicas"));
    let forced = deployments.patch("web", &PatchParams::apply("other").force(), &Patch::Apply(&applied)).await.unwrap();
    assert_eq!(forced.spec.unwrap().replicas, Some(3));
    let again = deployments.patch("web", &PatchParams::apply("other"), &Patch::Apply(&applied)).await.unwrap();
    assert_eq!(again.metadata.resource_version, forced.metadata.resource_version, "the same apply changes nothing");
    // A plain write takes the field over without asking, and the next apply meets its owner.
    let edit = PatchParams { field_manager: Some("editor".into()), ..PatchParams::default() };
    deployments.patch("web", &edit, &Patch::Merge(json!({"spec": {"replicas": 5}}))).await.unwrap();
    let refused = deployments.patch("web", &PatchParams::apply("other"), &Patch::Apply(&applied)).await;
    let message = status(refused.unwrap_err()).message;
    assert!(
        message.contains("conflict with \"editor\" using apps/v1 at 2026-01-01T00:00:00Z: .spec.replicas"),
        "{message}"
    );
}

async fn define_pools(client: &Client) -> Api<DynamicObject> {
    let text = include_str!("../../controller/crds/karpenter.sh_nodepools.yaml");
    let definition: CustomResourceDefinition = serde_saphyr::from_str(text).unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &definition).await.unwrap();
    Api::all_with(client.clone(), &ApiResource::from_gvk(&GroupVersionKind::gvk("karpenter.sh", "v1", "NodePool")))
}

fn pool() -> Value {
    json!({"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "a"}, "spec": {"weight": 7, "template": {"spec": {
        "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"}, "requirements": []}}}})
}

#[tokio::test(start_paused = true)]
async fn lists_of_custom_resources_merge_by_their_map_keys() {
    let api = server();
    let pools = define_pools(&api.client()).await;
    pools.patch("a", &PatchParams::apply("user"), &Patch::Apply(pool())).await.unwrap();
    let condition = |kind: &str| {
        json!({"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "status": {"conditions": [
            {"type": kind, "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
    };
    for (manager, kind) in [("x", "Ready"), ("y", "Valid")] {
        let mut given = condition(kind);
        given["metadata"] = json!({"name": "a"});
        pools.patch_status("a", &PatchParams::apply(manager), &Patch::Apply(given)).await.unwrap();
    }
    let found = pools.get("a").await.unwrap();
    let kinds: Vec<&Value> =
        found.data["status"]["conditions"].as_array().unwrap().iter().map(|one| &one["type"]).collect();
    assert_eq!(kinds, ["Ready", "Valid"]);
    assert_eq!(found.metadata.managed_fields.unwrap().len(), 3);
}

async fn table(client: &Client, path: &str) -> Value {
    let request = http::Request::get(path).header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    client.request(request.body(Vec::new()).unwrap()).await.unwrap()
}

fn printed(table: &Value) -> String {
    let columns = table["columnDefinitions"].as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap());
    let mut lines = vec![columns.collect::<Vec<_>>().join(" | ")];
    for row in table["rows"].as_array().unwrap() {
        let cells = row["cells"].as_array().unwrap().iter();
        lines.push(
            cells
                .map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned))
                .collect::<Vec<_>>()
                .join(" | "),
        );
    }
    lines.join("\n")
}

#[tokio::test(start_paused = true)]
async fn tables_show_what_kubectl_prints() {
    let api = server();
    let client = api.client();
    let pools = define_pools(&client).await;
    pools.create(&PostParams::default(), &serde_json::from_value(pool()).unwrap()).await.unwrap();
    let pods = Api::<k8s_openapi::api::core::v1::Pod>::default_namespaced(client.clone());
    let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}});
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let running = json!({"status": {"phase": "Running", "podIP": "10.0.0.1", "containerStatuses": [
        {"name": "web", "ready": true, "restartCount": 0, "image": "web:1", "imageID": "", "state": {"running": {}}}]}});
    pods.patch_status("web", &PatchParams::default(), &Patch::Merge(running)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(150)).await;
    insta::assert_snapshot!(printed(&table(&client, "/apis/karpenter.sh/v1/nodepools").await), @r"
    Name | NodeClass | Nodes | Ready | Age | Weight | CPU | Memory
    a | default | null | null | 2m30s | 7 | null | null
    ");
    insta::assert_snapshot!(printed(&table(&client, "/api/v1/namespaces/default/pods?includeObject=None").await), @r"
    Name | Ready | Status | Restarts | Age | IP | Node | Nominated Node | Readiness Gates
    web | 1/1 | Running | 0 | 2m30s | 10.0.0.1 | <none> | <none> | <none>
    ");
    let with_object = table(&client, "/api/v1/namespaces?includeObject=Object").await;
    assert_eq!(with_object["rows"][0]["object"]["status"]["phase"], "Active");
    let with_metadata = table(&client, "/api/v1/namespaces").await;
    assert_eq!(with_metadata["rows"][0]["object"]["kind"], "PartialObjectMetadata");
}

#[tokio::test(start_paused = true)]
async fn documents_describe_every_kind() {
    let api = server();
    let client = api.client();
    let get =
        async |path: &str| client.request::<Value>(http::Request::get(path).body(Vec::new()).unwrap()).await.unwrap();
    let before = get("/openapi/v3").await;
    define_pools(&client).await;
    let after = get("/openapi/v3").await;
    assert_eq!(before["paths"]["api/v1"], after["paths"]["api/v1"], "what has not changed keeps its hash");
    let address = after["paths"]["apis/karpenter.sh/v1"]["serverRelativeURL"].as_str().unwrap();
    let document = get(address).await;
    let pool = &document["components"]["schemas"]["sh.karpenter.v1.NodePool"];
    assert_eq!(pool["x-kubernetes-group-version-kind"][0]["kind"], "NodePool");
    assert_eq!(pool["properties"]["spec"]["properties"]["weight"]["maximum"], 100.0);
    let patch = &document["paths"]["/apis/karpenter.sh/v1/nodepools/{name}"]["patch"];
    let takes = patch["parameters"].as_array().unwrap().iter().any(|parameter| parameter["name"] == "fieldValidation");
    assert!(takes, "kubectl looks here for whether the server validates fields");
    let core = get("/openapi/v3/api/v1").await;
    let schemas = &core["components"]["schemas"];
    let reference = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]["items"]["$ref"];
    assert_eq!(reference, "#/components/schemas/io.k8s.api.core.v1.Container");
    let text = core.to_string();
    for reference in text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(schemas.get(reference).is_some(), "`{reference}` is referred to and missing");
    }
}
