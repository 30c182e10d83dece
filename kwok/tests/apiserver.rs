//! Every verb of the embedded API through the real `kube` client, in virtual time.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy takes only the test functions themselves for tests, not their helpers"
)]

use base64::{Engine, prelude::BASE64_STANDARD};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Event, Namespace, Node, Pod, ServiceAccount},
        policy::v1::PodDisruptionBudget,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Error, ResourceExt,
    api::{
        ApiResource, DeleteParams, DynamicObject, EvictParams, GroupVersionKind, ListParams, Patch, PatchParams,
        PostParams, PropagationPolicy, WatchEvent, WatchParams,
    },
    runtime::{WatchStreamExt, wait, watcher},
};
use sawhorse_ambient::{Clock, Seed};
use sawhorse_kwok::apiserver::{ApiServer, Config, GroupResource};
use serde_json::{Value, json};
use std::time::Duration;
use tower::ServiceExt;

fn server() -> ApiServer {
    let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
    ApiServer::new(Config::new(clock, Seed(1)))
}

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn pod(name: &str) -> Pod {
    from(
        json!({"metadata": {"name": name, "labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}}),
    )
}

fn config_map(name: &str) -> ConfigMap {
    from(json!({"metadata": {"name": name}, "data": {"a": "1"}}))
}

fn failure(error: Error) -> (u16, String, String) {
    match error {
        Error::Api(status) => (status.code, status.reason.clone(), status.message.clone()),
        other => panic!("expected an API error, got {other:?}"),
    }
}

async fn bound(client: &Client, name: &str) -> Pod {
    let pods = Api::<Pod>::default_namespaced(client.clone());
    pods.create(&PostParams::default(), &pod(name)).await.unwrap();
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": {"kind": "Node", "name": "n"}});
    pods.create_subresource::<Value, Value>("binding", name, &PostParams::default(), &binding).await.unwrap();
    let running = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    pods.patch_status(name, &PatchParams::default(), &Patch::Strategic(running)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn creating_gives_identity_and_refuses_what_is_taken_or_wrong() {
    let api = server();
    let maps = Api::<ConfigMap>::default_namespaced(api.client());
    let created = maps.create(&PostParams::default(), &config_map("a")).await.unwrap();
    assert_eq!(created.metadata.uid.as_deref().map(str::len), Some(36));
    assert_eq!(created.metadata.creation_timestamp.as_ref().unwrap().0.to_string(), "2026-01-01T00:00:00Z");
    let taken = failure(maps.create(&PostParams::default(), &config_map("a")).await.unwrap_err());
    assert_eq!(taken, (409, "AlreadyExists".into(), "configmaps \"a\" already exists".into()));
    let wrong = failure(maps.create(&PostParams::default(), &config_map("No_Name")).await.unwrap_err());
    assert_eq!((wrong.0, wrong.1.as_str()), (422, "Invalid"));
    assert!(
        wrong.2.starts_with(
            "ConfigMap \"No_Name\" is invalid: metadata.name: Invalid value: \"No_Name\": a lowercase RFC 1123"
        ),
        "{}",
        wrong.2
    );
    let nowhere = Api::<ConfigMap>::namespaced(api.client(), "nowhere");
    let missing = failure(nowhere.create(&PostParams::default(), &config_map("a")).await.unwrap_err());
    assert_eq!(missing, (404, "NotFound".into(), "namespaces \"nowhere\" not found".into()));
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_identities() {
    let identities = async || {
        let maps = Api::<ConfigMap>::default_namespaced(server().client());
        let one: ConfigMap = from(json!({"metadata": {"generateName": "a-"}}));
        let created = maps.create(&PostParams::default(), &one).await.unwrap();
        (created.name_any(), created.uid().unwrap())
    };
    assert_eq!(identities().await, identities().await);
}

#[tokio::test(start_paused = true)]
async fn dry_runs_leave_nothing_behind() {
    let maps = Api::<ConfigMap>::default_namespaced(server().client());
    let params = PostParams { dry_run: true, ..PostParams::default() };
    assert_eq!(maps.create(&params, &config_map("a")).await.unwrap().name_any(), "a");
    assert_eq!(maps.get_opt("a").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn replacing_needs_the_latest_version() {
    let maps = Api::<ConfigMap>::default_namespaced(server().client());
    let old = maps.create(&PostParams::default(), &config_map("a")).await.unwrap();
    let mut new = old.clone();
    new.data.as_mut().unwrap().insert("b".into(), "2".into());
    let written = maps.replace("a", &PostParams::default(), &new).await.unwrap();
    assert_ne!(written.resource_version(), old.resource_version());
    let conflict = failure(maps.replace("a", &PostParams::default(), &old).await.unwrap_err());
    assert_eq!((conflict.0, conflict.1.as_str()), (409, "Conflict"));
    let same = maps.replace("a", &PostParams::default(), &written).await.unwrap();
    assert_eq!(same.resource_version(), written.resource_version(), "a write that changes nothing makes no version");
}

#[tokio::test(start_paused = true)]
async fn all_kinds_of_patches() {
    let maps = Api::<ConfigMap>::default_namespaced(server().client());
    maps.create(&PostParams::default(), &config_map("a")).await.unwrap();
    let params = PatchParams::default();
    maps.patch("a", &params, &Patch::Merge(json!({"data": {"merge": "1"}}))).await.unwrap();
    maps.patch("a", &params, &Patch::Strategic(json!({"data": {"strategic": "1"}}))).await.unwrap();
    let operations =
        from(json!([{"op": "test", "path": "/data/a", "value": "1"}, {"op": "remove", "path": "/data/a"}]));
    maps.patch("a", &params, &Patch::Json::<()>(operations)).await.unwrap();
    let applied = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"apply": "1"}});
    let map = maps.patch("a", &PatchParams::apply("test"), &Patch::Apply(applied)).await.unwrap();
    let keys: Vec<String> = map.data.unwrap().into_keys().collect();
    assert_eq!(keys, ["apply", "merge", "strategic"]);
    let failed = from(json!([{"op": "test", "path": "/data/merge", "value": "2"}]));
    let refused = failure(maps.patch("a", &params, &Patch::Json::<()>(failed)).await.unwrap_err());
    assert_eq!(refused.0, 422);
    let created = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new"}});
    maps.patch("new", &PatchParams::apply("test"), &Patch::Apply(created)).await.unwrap();
    let missing = failure(maps.patch("nothing", &params, &Patch::Merge(json!({}))).await.unwrap_err());
    assert_eq!(missing.0, 404);
}

#[tokio::test(start_paused = true)]
async fn lists_are_selected_and_paged() {
    let api = server();
    let maps = Api::<ConfigMap>::default_namespaced(api.client());
    for name in ["a", "b", "c", "d", "e"] {
        let labels = json!({"even": (["b", "d"].contains(&name)).to_string()});
        maps.create(&PostParams::default(), &from(json!({"metadata": {"name": name, "labels": labels}})))
            .await
            .unwrap();
    }
    let names = |list: &kube::api::ObjectList<ConfigMap>| list.iter().map(ResourceExt::name_any).collect::<Vec<_>>();
    assert_eq!(names(&maps.list(&ListParams::default().labels("even=true")).await.unwrap()), ["b", "d"]);
    assert_eq!(
        names(&maps.list(&ListParams::default().fields("metadata.name!=a")).await.unwrap()),
        ["b", "c", "d", "e"]
    );
    let first = maps.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!((names(&first), first.metadata.remaining_item_count), (vec!["a".into(), "b".into()], Some(3)));
    maps.delete("c", &DeleteParams::default()).await.unwrap();
    let token = first.metadata.continue_.clone().unwrap();
    let second = maps.list(&ListParams::default().limit(2).continue_token(&token)).await.unwrap();
    assert_eq!(names(&second), ["c", "d"], "the pages show one moment");
    api.compact();
    let gone = failure(maps.list(&ListParams::default().limit(2).continue_token(&token)).await.unwrap_err());
    assert_eq!((gone.0, gone.1.as_str()), (410, "Expired"));
    let bad = failure(maps.list(&ListParams::default().fields("data.a=1")).await.unwrap_err());
    assert_eq!((bad.0, bad.2.as_str()), (400, "field label not supported: data.a"));
}

#[tokio::test(start_paused = true)]
async fn watches_follow_from_a_version_and_end_with_it() {
    let api = server();
    let maps = Api::<ConfigMap>::default_namespaced(api.client());
    let version = maps.create(&PostParams::default(), &config_map("a")).await.unwrap().resource_version().unwrap();
    let mut events = maps.watch(&WatchParams::default().labels("watched"), &version).await.unwrap().boxed();
    let label = |value: Value| Patch::Merge(json!({"metadata": {"labels": {"watched": value}}}));
    for value in [json!("1"), json!("2"), Value::Null] {
        maps.patch("a", &PatchParams::default(), &label(value)).await.unwrap();
    }
    let mut kinds = Vec::new();
    while kinds.len() < 3 {
        kinds.push(match events.try_next().await.unwrap().unwrap() {
            WatchEvent::Added(_) => "added",
            WatchEvent::Modified(_) => "modified",
            WatchEvent::Deleted(_) => "deleted",
            WatchEvent::Bookmark(_) => "bookmark",
            WatchEvent::Error(_) => "error",
        });
    }
    assert_eq!(kinds, ["added", "modified", "deleted"]);
    let bookmark = events.try_next().await.unwrap().unwrap();
    assert!(
        matches!(&bookmark, WatchEvent::Bookmark(mark) if mark.metadata.resource_version == api.revision().to_string()),
        "{bookmark:?}"
    );
    api.compact();
    let mut late = maps.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    assert!(matches!(late.try_next().await.unwrap().unwrap(), WatchEvent::Error(status) if status.code == 410));
    api.shutdown();
    assert!(late.try_next().await.unwrap().is_none());
    assert!(events.try_next().await.unwrap().is_none(), "a watch ends with the server");
}

#[tokio::test(start_paused = true)]
async fn watchers_of_both_kinds_start_and_go_on_for_hours() {
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let api = server();
        let maps = Api::<ConfigMap>::default_namespaced(api.client());
        maps.create(&PostParams::default(), &config_map("a")).await.unwrap();
        let mut seen = watcher(maps.clone(), config).applied_objects().boxed();
        assert_eq!(seen.try_next().await.unwrap().unwrap().name_any(), "a");
        let later = maps.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(6 * 3600)).await;
            later.create(&PostParams::default(), &config_map("b")).await.unwrap();
        });
        assert_eq!(seen.try_next().await.unwrap().unwrap().name_any(), "b");
    }
}

#[tokio::test(start_paused = true)]
async fn pods_are_deleted_gracefully_once_they_have_a_node() {
    let api = server();
    let pods = Api::<Pod>::default_namespaced(api.client());
    pods.create(&PostParams::default(), &pod("pending")).await.unwrap();
    pods.delete("pending", &DeleteParams::default()).await.unwrap();
    assert_eq!(pods.get_opt("pending").await.unwrap(), None);
    assert_eq!(bound(&api.client(), "running").await.status.unwrap().phase.as_deref(), Some("Running"));
    pods.delete("running", &DeleteParams::default()).await.unwrap();
    let going = pods.get("running").await.unwrap();
    assert_eq!(going.metadata.deletion_grace_period_seconds, Some(30));
    assert_eq!(going.metadata.deletion_timestamp.unwrap().0.to_string(), "2026-01-01T00:00:30Z");
    pods.delete("running", &DeleteParams::default().grace_period(0)).await.unwrap();
    assert_eq!(pods.get_opt("running").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn preconditions_and_finalizers_hold_deletions_back() {
    let maps = Api::<ConfigMap>::default_namespaced(server().client());
    let held: ConfigMap = from(json!({"metadata": {"name": "a", "finalizers": ["example.com/hold"]}}));
    maps.create(&PostParams::default(), &held).await.unwrap();
    let wrong = kube::api::Preconditions { uid: Some("other".into()), ..kube::api::Preconditions::default() };
    let params = DeleteParams { preconditions: Some(wrong), ..DeleteParams::default() };
    assert_eq!(failure(maps.delete("a", &params).await.unwrap_err()).0, 409);
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(maps.get("a").await.unwrap().metadata.deletion_timestamp.is_some());
    let more = Patch::Merge(json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}));
    assert_eq!(failure(maps.patch("a", &PatchParams::default(), &more).await.unwrap_err()).0, 422);
    maps.patch("a", &PatchParams::default(), &Patch::Merge(json!({"metadata": {"finalizers": null}}))).await.unwrap();
    assert_eq!(maps.get_opt("a").await.unwrap(), None);
}

fn owned(name: &str, owner: &ConfigMap) -> ConfigMap {
    from(json!({"metadata": {"name": name, "ownerReferences": [{
        "apiVersion": "v1", "kind": "ConfigMap", "name": owner.name_any(), "uid": owner.uid().unwrap(), "blockOwnerDeletion": true,
    }]}}))
}

#[tokio::test(start_paused = true)]
async fn dependents_follow_their_owner_unless_orphaned() {
    let maps = Api::<ConfigMap>::default_namespaced(server().client());
    for (policy, survives) in [
        (PropagationPolicy::Background, false),
        (PropagationPolicy::Foreground, false),
        (PropagationPolicy::Orphan, true),
    ] {
        let owner = maps.create(&PostParams::default(), &config_map("owner")).await.unwrap();
        maps.create(&PostParams::default(), &owned("child", &owner)).await.unwrap();
        let params = DeleteParams { propagation_policy: Some(policy.clone()), ..DeleteParams::default() };
        maps.delete("owner", &params).await.unwrap();
        let uid = owner.uid().unwrap();
        tokio::time::timeout(
            Duration::from_secs(60),
            wait::await_condition(maps.clone(), "owner", wait::conditions::is_deleted(&uid)),
        )
        .await
        .unwrap()
        .unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let child = maps.get_opt("child").await.unwrap();
        assert_eq!(child.is_some(), survives, "{policy:?}");
        assert_eq!(child.and_then(|child| child.metadata.owner_references), None);
    }
}

#[tokio::test(start_paused = true)]
async fn namespaces_go_with_what_they_hold() {
    let api = server();
    let namespaces = Api::<Namespace>::all(api.client());
    let created =
        namespaces.create(&PostParams::default(), &from(json!({"metadata": {"name": "team"}}))).await.unwrap();
    let maps = Api::<ConfigMap>::namespaced(api.client(), "team");
    let held: ConfigMap = from(json!({"metadata": {"name": "a", "finalizers": ["example.com/hold"]}}));
    maps.create(&PostParams::default(), &held).await.unwrap();
    namespaces.delete("team", &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(namespaces.get("team").await.unwrap().status.unwrap().phase.as_deref(), Some("Terminating"));
    assert_eq!(failure(maps.create(&PostParams::default(), &config_map("b")).await.unwrap_err()).0, 403);
    maps.patch("a", &PatchParams::default(), &Patch::Merge(json!({"metadata": {"finalizers": null}}))).await.unwrap();
    let uid = created.uid().unwrap();
    let gone = wait::await_condition(namespaces.clone(), "team", wait::conditions::is_deleted(&uid));
    tokio::time::timeout(Duration::from_secs(60), gone).await.unwrap().unwrap();
    assert_eq!(failure(namespaces.delete("default", &DeleteParams::default()).await.unwrap_err()).0, 403);
}

#[tokio::test(start_paused = true)]
async fn deleting_a_collection_deletes_what_is_selected() {
    let maps = Api::<ConfigMap>::default_namespaced(server().client());
    for name in ["a", "b", "c"] {
        maps.create(&PostParams::default(), &config_map(name)).await.unwrap();
    }
    maps.delete_collection(&DeleteParams::default(), &ListParams::default().fields("metadata.name!=b")).await.unwrap();
    let left: Vec<String> =
        maps.list(&ListParams::default()).await.unwrap().iter().map(ResourceExt::name_any).collect();
    assert_eq!(left, ["b"]);
}

fn widget_definition() -> CustomResourceDefinition {
    from(json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Cluster",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"replicas": {"type": "integer", "default": 3}, "size": {"type": "integer"}}},
                    "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                }}},
            }],
        },
    }))
}

#[tokio::test(start_paused = true)]
async fn custom_resources_are_served_while_their_definition_exists() {
    let api = server();
    let definitions = Api::<CustomResourceDefinition>::all(api.client());
    let definition = definitions.create(&PostParams::default(), &widget_definition()).await.unwrap();
    wait::await_condition(definitions.clone(), "widgets.example.com", wait::conditions::is_crd_established())
        .await
        .unwrap();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Widget"));
    let widgets = Api::<DynamicObject>::all_with(api.client(), &resource);
    let widget: DynamicObject = from(
        json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 1}, "status": {"x": 1}}),
    );
    let created = widgets.create(&PostParams::default(), &widget).await.unwrap();
    assert_eq!(
        created.data,
        json!({"spec": {"size": 1, "replicas": 3}}),
        "defaults are filled in, status is not the creator's"
    );
    let status = Patch::Merge(json!({"status": {"replicas": 2}, "spec": {"size": 9}}));
    let changed = widgets.patch_status("w", &PatchParams::default(), &status).await.unwrap();
    assert_eq!(changed.data["spec"]["size"], 1);
    assert_eq!(changed.metadata.generation, Some(1));
    let grown = widgets.patch("w", &PatchParams::default(), &Patch::Merge(json!({"spec": {"size": 2}}))).await.unwrap();
    assert_eq!(grown.metadata.generation, Some(2));
    let scale = widgets
        .patch_scale("w", &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": 5}})))
        .await
        .unwrap();
    assert_eq!((scale.spec.unwrap().replicas, scale.status.unwrap().replicas), (Some(5), 2));
    let strategic = widgets.patch("w", &PatchParams::default(), &Patch::Strategic(json!({"spec": {"size": 3}}))).await;
    assert_eq!(failure(strategic.unwrap_err()).0, 415);
    definitions.delete("widgets.example.com", &DeleteParams::default()).await.unwrap();
    let uid = definition.uid().unwrap();
    wait::await_condition(definitions, "widgets.example.com", wait::conditions::is_deleted(&uid)).await.unwrap();
    assert_eq!(failure(widgets.get("w").await.unwrap_err()).0, 404);
    assert!(api.list(&GroupResource::new("example.com", "widgets")).is_empty());
}

#[tokio::test(start_paused = true)]
async fn deployments_scale_and_count_generations() {
    let deployments = Api::<Deployment>::default_namespaced(server().client());
    let deployment: Deployment = from(json!({"metadata": {"name": "web"}, "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}},
    }}));
    let created = deployments.create(&PostParams::default(), &deployment).await.unwrap();
    assert_eq!(created.spec.as_ref().unwrap().replicas, Some(1));
    let scale = deployments
        .patch_scale("web", &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": 4}})))
        .await
        .unwrap();
    assert_eq!(scale.status.unwrap().selector.as_deref(), Some("app=web"));
    let status = json!({"status": {"replicas": 4, "observedGeneration": 2}});
    let changed = deployments.patch_status("web", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    assert_eq!((changed.spec.unwrap().replicas, changed.metadata.generation), (Some(4), Some(2)));
    let moved = json!({"spec": {"selector": {"matchLabels": {"app": "other"}}, "template": {"metadata": {"labels": {"app": "other"}}}}});
    let (code, _, message) =
        failure(deployments.patch("web", &PatchParams::default(), &Patch::Merge(moved)).await.unwrap_err());
    assert_eq!(code, 422);
    assert!(message.contains("field is immutable"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_bound_once() {
    let api = server();
    let pod = bound(&api.client(), "a").await;
    assert_eq!(pod.spec.unwrap().node_name.as_deref(), Some("n"));
    let pods = Api::<Pod>::default_namespaced(api.client());
    let again = json!({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "m"}});
    let refused = failure(
        pods.create_subresource::<Value, Value>("binding", "a", &PostParams::default(), &again).await.unwrap_err(),
    );
    assert_eq!(
        refused.2,
        "Operation cannot be fulfilled on pods/binding \"a\": pod a is already assigned to node \"n\""
    );
    assert_eq!(refused.0, 409);
    let on_node = pods.list(&ListParams::default().fields("spec.nodeName=n")).await.unwrap();
    assert_eq!(on_node.items.len(), 1);
}

async fn budget(client: &Client, name: &str, allowed: i64) {
    let budgets = Api::<PodDisruptionBudget>::default_namespaced(client.clone());
    let budget: PodDisruptionBudget = from(
        json!({"metadata": {"name": name}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}}),
    );
    budgets.create(&PostParams::default(), &budget).await.unwrap();
    let status = json!({"status": {"disruptionsAllowed": allowed, "currentHealthy": 1 + allowed, "desiredHealthy": 1, "expectedPods": 2, "observedGeneration": 1}});
    budgets.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn evictions_respect_budgets() {
    let api = server();
    let pods = Api::<Pod>::default_namespaced(api.client());
    for name in ["a", "b"] {
        bound(&api.client(), name).await;
    }
    budget(&api.client(), "one", 1).await;
    pods.evict("a", &EvictParams::default()).await.unwrap();
    assert!(pods.get("a").await.unwrap().metadata.deletion_timestamp.is_some());
    let refused = pods.evict("b", &EvictParams::default()).await.unwrap_err();
    let Error::Api(status) = refused else { panic!("expected an API error, got {refused:?}") };
    assert_eq!((status.code, status.reason.as_str()), (429, "TooManyRequests"));
    assert_eq!(status.message, "Cannot evict pod as it would violate the pod's disruption budget.");
    let cause = &status.details.unwrap().causes[0];
    assert_eq!(
        (cause.reason.as_str(), cause.message.as_str()),
        ("DisruptionBudget", "The disruption budget one needs 1 healthy pods and has 2 currently")
    );
    budget(&api.client(), "two", 1).await;
    let several = failure(pods.evict("b", &EvictParams::default()).await.unwrap_err());
    assert_eq!(several.0, 500);
    assert_eq!(
        several.2,
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
    );
}

#[tokio::test(start_paused = true)]
async fn evictions_check_the_uid_and_wait_for_the_controller() {
    let api = server();
    let pods = Api::<Pod>::default_namespaced(api.client());
    bound(&api.client(), "a").await;
    // `Api::evict` of kube 5.0 sends its options as `delete_options`, which no API server reads, so the body is our own.
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}, "deleteOptions": {"preconditions": {"uid": "other"}}});
    let refused =
        pods.create_subresource::<Value, Value>("eviction", "a", &PostParams::default(), &eviction).await.unwrap_err();
    assert_eq!(failure(refused).0, 409);
    let budgets = Api::<PodDisruptionBudget>::default_namespaced(api.client());
    let fresh: PodDisruptionBudget =
        from(json!({"metadata": {"name": "fresh"}, "spec": {"maxUnavailable": 1, "selector": {}}}));
    budgets.create(&PostParams::default(), &fresh).await.unwrap();
    let Error::Api(status) = pods.evict("a", &EvictParams::default()).await.unwrap_err() else {
        panic!("expected an API error")
    };
    assert_eq!((status.code, status.details.unwrap().retry_after_seconds), (429, 10));
}

#[tokio::test(start_paused = true)]
async fn unknown_fields_are_named() {
    let api = server();
    let resource = ApiResource::erase::<Pod>(&());
    let pods = Api::<DynamicObject>::default_namespaced_with(api.client(), &resource);
    let typo: DynamicObject = from(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
        "spec": {"foo": 1, "containers": [{"name": "web", "image": "web:1", "imagePolicy": "x"}]}}));
    let strict = http::Request::post("/api/v1/namespaces/default/pods?fieldValidation=Strict")
        .header("content-type", "application/json");
    let strict = strict.body(serde_json::to_vec(&typo).unwrap()).unwrap();
    let (code, reason, message) = failure(api.client().request::<Value>(strict).await.unwrap_err());
    assert_eq!((code, reason.as_str()), (400, "BadRequest"));
    assert_eq!(
        message,
        "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: unknown field \"spec.foo\", unknown field \"spec.containers[0].imagePolicy\""
    );
    let lenient = pods.create(&PostParams::default(), &typo).await.unwrap();
    assert_eq!(lenient.data["spec"].get("foo"), None);
    let wrong: DynamicObject =
        from(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b"}, "spec": {"containers": "web"}}));
    let (code, _, message) = failure(pods.create(&PostParams::default(), &wrong).await.unwrap_err());
    assert_eq!(code, 400);
    assert!(message.contains("PodSpec.spec.containers of type []v1.Container"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn events_have_two_forms() {
    let api = server();
    let new = Api::<k8s_openapi::api::events::v1::Event>::default_namespaced(api.client());
    let event = json!({"metadata": {"name": "e"}, "eventTime": "2026-01-01T00:00:00.000000Z", "action": "Binding", "reason": "Scheduled",
        "reportingController": "test", "reportingInstance": "test-1", "type": "Normal", "note": "done", "regarding": {"kind": "Pod", "name": "a"}});
    new.create(&PostParams::default(), &from(event)).await.unwrap();
    let core = Api::<Event>::default_namespaced(api.client());
    let found = core.list(&ListParams::default().fields("involvedObject.name=a")).await.unwrap();
    assert_eq!((found.items.len(), found.items[0].message.as_deref()), (1, Some("done")));
    assert_eq!(new.get("e").await.unwrap().note.as_deref(), Some("done"));
}

#[tokio::test(start_paused = true)]
async fn kubelets_register_nodes_with_status_and_change_them_by_status() {
    let api = server();
    let nodes = Api::<Node>::all(api.client());
    let node: Node = from(
        json!({"metadata": {"name": "n"}, "status": {"capacity": {"cpu": "4"}, "conditions": [{"type": "Ready", "status": "False"}]}}),
    );
    assert!(nodes.create(&PostParams::default(), &node).await.unwrap().status.unwrap().capacity.is_some());
    let ready = json!({"metadata": {"labels": {"a": "b"}}, "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "False"}]}});
    let node = nodes.patch_status("n", &PatchParams::default(), &Patch::Strategic(ready)).await.unwrap();
    assert_eq!(node.labels()["a"], "b");
    let conditions: Vec<(String, String)> =
        node.status.unwrap().conditions.unwrap().into_iter().map(|one| (one.type_, one.status)).collect();
    assert_eq!(conditions, [("Ready".into(), "True".into()), ("DiskPressure".into(), "False".into())]);
}

#[tokio::test(start_paused = true)]
async fn discovery_knows_everything_that_is_served() {
    let api = server();
    let client = api.client();
    assert_eq!(client.apiserver_version().await.unwrap().minor, "35");
    Api::<CustomResourceDefinition>::all(client.clone())
        .create(&PostParams::default(), &widget_definition())
        .await
        .unwrap();
    for discovery in [
        kube::Discovery::new(client.clone()).run().await.unwrap(),
        kube::Discovery::new(client).run_aggregated().await.unwrap(),
    ] {
        let (_, capabilities) = discovery.resolve_gvk(&GroupVersionKind::gvk("example.com", "v1", "Widget")).unwrap();
        assert_eq!(capabilities.subresources.len(), 2);
        let (resource, _) = discovery.resolve_gvk(&GroupVersionKind::gvk("apps", "v1", "Deployment")).unwrap();
        assert_eq!(resource.plural, "deployments");
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_and_requests_are_counted() {
    let api = server();
    let accounts = Api::<ServiceAccount>::default_namespaced(api.client());
    accounts.create(&PostParams::default(), &from(json!({"metadata": {"name": "robot"}}))).await.unwrap();
    let request = from(json!({"metadata": {}, "spec": {"audiences": ["x"]}}));
    let token = accounts.create_token_request("robot", &PostParams::default(), &request).await.unwrap();
    assert_eq!(token.status.unwrap().token.split('.').count(), 3, "it has the form of a signed one");
    let counts = api.request_counts();
    assert_eq!(counts[&("create".to_owned(), "serviceaccounts".to_owned())], 1);
    assert_eq!(counts[&("create".to_owned(), "serviceaccounts/token".to_owned())], 1);
}

/// As Go clients create and delete built-in kinds.
#[tokio::test(start_paused = true)]
async fn bodies_may_be_protobuf() {
    let samples: Vec<Value> = serde_json::from_str(include_str!("../src/apiserver/testdata/protobuf.json")).unwrap();
    let body = |index: usize| BASE64_STANDARD.decode(samples[index]["protobuf"].as_str().unwrap()).unwrap();
    let send = |path: &str, body: Vec<u8>| {
        let request = http::Request::post(path).header("content-type", "application/vnd.kubernetes.protobuf");
        let request = request.header("accept", "application/vnd.kubernetes.protobuf,application/json");
        server().router().oneshot(request.body(axum::body::Body::from(body)).unwrap())
    };
    let created = send("/apis/apps/v1/namespaces/default/deployments", body(0)).await.unwrap();
    assert_eq!(created.status(), 201);
    assert_eq!(created.headers()["content-type"], "application/json");
    let answer = axum::body::to_bytes(created.into_body(), usize::MAX).await.unwrap();
    let created: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(created["spec"]["strategy"], samples[0]["object"]["spec"]["strategy"]);
    assert_eq!(created["spec"]["replicas"], 0);
    let cut = send("/apis/apps/v1/namespaces/default/deployments", body(0)[..50].to_vec()).await.unwrap();
    assert_eq!(cut.status(), 400);
    let custom = b"k8s\0\x0a\x0d\x0a\x01a\x12\x08NodePool".to_vec();
    let custom = send("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", custom).await.unwrap();
    assert_eq!(custom.status(), 415);
}
