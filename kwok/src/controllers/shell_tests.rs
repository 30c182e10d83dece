//! The controllers over the embedded API server, in virtual time. A helper plays scheduler and kubelet.

use super::{ControllersConfig, run};
use crate::apiserver::{ApiServer, Config};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use sawhorse_ambient::{Clock, Seed};
use serde_json::{Value, json};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

struct Cluster {
    server: ApiServer,
    shutdown: CancellationToken,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

const APPS: &str = "/apis/apps/v1/namespaces/default";

impl Cluster {
    fn start() -> Self {
        let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
        let server = ApiServer::new(Config::new(clock, Seed(1)));
        let shutdown = CancellationToken::new();
        tokio::spawn(run(ControllersConfig::new(server.client(), clock, Seed(1)), shutdown.clone()));
        Self { server, shutdown }
    }

    async fn send(&self, method: &str, url: &str, body: Value) -> Value {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = http::Request::builder().method(method).uri(url).header("content-type", kind);
        self.server.client().request(request.body(body.to_string().into_bytes()).unwrap()).await.unwrap()
    }

    async fn get(&self, url: &str) -> Value {
        self.send("GET", url, json!(null)).await
    }

    async fn workload(&self, url: &str, kind: &str, name: &str, spec: Value) {
        let (group, _) = url.trim_start_matches("/apis/").split_once("/namespaces").unwrap();
        let mut whole = json!({"selector": {"matchLabels": {"app": name}}, "template": template(name, "a")});
        if kind == "Job" {
            whole["template"]["spec"]["restartPolicy"] = "Never".into();
            whole.as_object_mut().unwrap().remove("selector");
        }
        json_patch::merge(&mut whole, &spec);
        let object = json!({"apiVersion": group, "kind": kind, "metadata": {"name": name}, "spec": whole});
        self.send("POST", url, object).await;
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.server.client(), "default")
    }

    async fn all(&self) -> Vec<Pod> {
        self.pods().list(&ListParams::default()).await.unwrap().items
    }

    /// Gives every pod this status.
    async fn every(&self, phase: &str, ready: &str) {
        for pod in self.all().await {
            let time = "2026-01-01T00:00:00Z";
            let conditions = json!([{"type": "Ready", "status": ready, "lastTransitionTime": time}]);
            let status = json!({"status": {"phase": phase, "conditions": conditions}});
            let name = pod.metadata.name.unwrap();
            self.pods().patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
        }
    }

    async fn names(&self) -> Vec<String> {
        self.all().await.into_iter().filter_map(|pod| pod.metadata.name).collect()
    }

    async fn events(&self, reason: &str) -> usize {
        let events =
            Api::<Event>::namespaced(self.server.client(), "default").list(&ListParams::default()).await.unwrap();
        events.items.iter().filter(|event| event.reason.as_deref() == Some(reason)).count()
    }
}

fn template(name: &str, image: &str) -> Value {
    json!({"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

/// Everything that happens at once has happened.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn a_deployment_is_rolled_out_scaled_and_updated() {
    let cluster = Cluster::start();
    let url = format!("{APPS}/deployments");
    cluster.workload(&url, "Deployment", "web", json!({"replicas": 4})).await;
    settle().await;
    assert_eq!((cluster.all().await.len(), cluster.events("SuccessfulCreate").await), (4, 4));
    cluster.every("Running", "True").await;
    settle().await;
    let web = cluster.get(&format!("{url}/web")).await;
    assert_eq!(web["status"]["availableReplicas"], 4);
    assert_eq!(web["status"]["observedGeneration"], web["metadata"]["generation"]);
    assert_eq!(web["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "1");
    let reasons: Vec<&Value> =
        web["status"]["conditions"].as_array().unwrap().iter().map(|condition| &condition["reason"]).collect();
    assert_eq!(reasons, ["MinimumReplicasAvailable", "NewReplicaSetAvailable"]);
    cluster.send("PATCH", &format!("{url}/web"), json!({"spec": {"replicas": 2}})).await;
    settle().await;
    assert_eq!(cluster.all().await.len(), 2);
    cluster.send("PATCH", &format!("{url}/web"), json!({"spec": {"template": template("web", "b")}})).await;
    for _ in 0..6 {
        settle().await;
        assert!((2..=3).contains(&cluster.all().await.len()));
        cluster.every("Running", "True").await;
    }
    let images: Vec<String> =
        cluster.all().await.into_iter().filter_map(|pod| pod.spec.unwrap().containers.remove(0).image).collect();
    assert_eq!(images, ["b", "b"]);
    let web = cluster.get(&format!("{url}/web")).await;
    assert_eq!(web["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "2");
    assert_eq!((&web["status"]["updatedReplicas"], &web["status"]["replicas"]), (&json!(2), &json!(2)));
}

#[tokio::test(start_paused = true)]
async fn failed_pods_are_replaced_and_deleted_ones_too() {
    let cluster = Cluster::start();
    cluster.workload(&format!("{APPS}/replicasets"), "ReplicaSet", "web", json!({"replicas": 2})).await;
    settle().await;
    cluster.every("Failed", "False").await;
    settle().await;
    assert_eq!(cluster.all().await.len(), 4);
    let name = cluster.names().await.remove(0);
    cluster.pods().delete(&name, &Default::default()).await.unwrap();
    settle().await;
    let living =
        cluster.all().await.into_iter().filter(|pod| pod.status.as_ref().unwrap().phase.as_deref() == Some("Pending"));
    assert_eq!(living.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn stateful_sets_go_in_order() {
    let cluster = Cluster::start();
    let url = format!("{APPS}/statefulsets");
    cluster.workload(&url, "StatefulSet", "db", json!({"replicas": 2, "serviceName": "db"})).await;
    settle().await;
    assert_eq!(cluster.names().await, ["db-0"]);
    cluster.every("Running", "True").await;
    settle().await;
    assert_eq!(cluster.names().await, ["db-0", "db-1"]);
    cluster.every("Running", "True").await;
    settle().await;
    cluster.send("PATCH", &format!("{url}/db"), json!({"spec": {"replicas": 1}})).await;
    settle().await;
    assert_eq!(cluster.names().await, ["db-0"]);
    let db = cluster.get(&format!("{url}/db")).await;
    assert_eq!((&db["status"]["readyReplicas"], &db["status"]["updatedReplicas"]), (&json!(1), &json!(1)));
}

#[tokio::test(start_paused = true)]
async fn jobs_complete_or_fail() {
    let cluster = Cluster::start();
    let url = "/apis/batch/v1/namespaces/default/jobs";
    cluster.workload(url, "Job", "sum", json!({"parallelism": 2, "completions": 3})).await;
    settle().await;
    assert_eq!(cluster.all().await.len(), 2);
    cluster.every("Succeeded", "False").await;
    settle().await;
    assert_eq!(cluster.all().await.len(), 3);
    cluster.every("Succeeded", "False").await;
    settle().await;
    let sum = cluster.get(&format!("{url}/sum")).await;
    let types: Vec<&Value> = sum["status"]["conditions"].as_array().unwrap().iter().map(|one| &one["type"]).collect();
    assert_eq!(
        (types, &sum["status"]["succeeded"]),
        (vec![&json!("SuccessCriteriaMet"), &json!("Complete")], &json!(3))
    );
    cluster.workload(url, "Job", "bad", json!({"backoffLimit": 0, "ttlSecondsAfterFinished": 60})).await;
    settle().await;
    cluster.every("Failed", "False").await;
    settle().await;
    let bad = cluster.get(&format!("{url}/bad")).await;
    assert_eq!(bad["status"]["conditions"][1]["reason"], "BackoffLimitExceeded");
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(cluster.get(url).await["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn daemons_are_pinned_to_every_node() {
    let cluster = Cluster::start();
    for name in ["a", "b"] {
        cluster
            .send("POST", "/api/v1/nodes", json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}))
            .await;
        // Whatever the server taints new nodes with.
        cluster.send("PATCH", &format!("/api/v1/nodes/{name}"), json!({"spec": {"taints": null}})).await;
    }
    cluster.workload(&format!("{APPS}/daemonsets"), "DaemonSet", "log", json!({})).await;
    settle().await;
    let pinned = |pod: Pod| super::known::PodFacts::of(&pod).meant_for.unwrap();
    let mut nodes: Vec<String> = cluster.all().await.into_iter().map(pinned).collect();
    nodes.sort();
    assert_eq!(nodes, ["a", "b"]);
    let log = cluster.get(&format!("{APPS}/daemonsets/log")).await;
    assert_eq!(
        (&log["status"]["desiredNumberScheduled"], &log["status"]["currentNumberScheduled"]),
        (&json!(2), &json!(2))
    );
}

#[tokio::test(start_paused = true)]
async fn budgets_follow_their_pods() {
    let cluster = Cluster::start();
    cluster.workload(&format!("{APPS}/deployments"), "Deployment", "web", json!({"replicas": 5})).await;
    let url = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let spec = json!({"selector": {"matchLabels": {"app": "web"}}, "maxUnavailable": "30%"});
    let budget =
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"}, "spec": spec});
    cluster.send("POST", url, budget).await;
    settle().await;
    let numbers = |budget: &Value| {
        ["expectedPods", "desiredHealthy", "currentHealthy", "disruptionsAllowed", "observedGeneration"]
            .map(|name| budget["status"][name].as_i64().unwrap())
    };
    assert_eq!(numbers(&cluster.get(&format!("{url}/web")).await), [5, 3, 0, 0, 1]);
    cluster.every("Running", "True").await;
    settle().await;
    assert_eq!(numbers(&cluster.get(&format!("{url}/web")).await), [5, 3, 5, 2, 1]);
}

/// A day of three hundred pods that come and go every hour stays a matter of seconds and of few requests.
#[tokio::test(start_paused = true)]
async fn a_day_of_scaling_needs_few_requests() {
    let cluster = Cluster::start();
    let url = format!("{APPS}/deployments");
    cluster.workload(&url, "Deployment", "web", json!({"replicas": 0})).await;
    for hour in 0..24 {
        let replicas = if hour % 2 == 0 { 300 } else { 0 };
        cluster.send("PATCH", &format!("{url}/web"), json!({"spec": {"replicas": replicas}})).await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(cluster.all().await.len(), replicas);
    }
}
