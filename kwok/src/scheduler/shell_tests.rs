//! The scheduler over the embedded API server, in virtual time.

use super::{SchedulerConfig, run};
use crate::apiserver::{ApiServer, Config};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use sawhorse_ambient::{Clock, Seed};
use serde_json::{Value, json};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

struct Cluster {
    server: ApiServer,
    shutdown: CancellationToken,
}

impl Cluster {
    fn start() -> Self {
        let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
        let server = ApiServer::new(Config::new(clock, Seed(1)));
        let shutdown = CancellationToken::new();
        tokio::spawn(run(SchedulerConfig::new(server.client(), clock, Seed(1)), shutdown.clone()));
        Self { server, shutdown }
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.server.client(), "default")
    }

    async fn node(&self, name: &str, cpu: &str) {
        let nodes = Api::<Node>::all(self.server.client());
        let status = json!({"allocatable": {"cpu": cpu, "memory": "64Gi", "pods": "110"}});
        let node = json!({"metadata": {"name": name}, "status": status});
        nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
        let patch = json!({"spec": {"taints": []}, "status": status});
        nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    async fn pod(&self, name: &str, cpu: &str, spec: Value) {
        let mut whole = json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]});
        json_patch::merge(&mut whole, &spec);
        let pod = json!({"metadata": {"name": name}, "spec": whole});
        self.pods().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    }

    async fn node_of(&self, name: &str) -> Option<String> {
        self.pods().get(name).await.unwrap().spec.unwrap().node_name
    }

    /// Reason and message of the pod's `PodScheduled` condition.
    async fn scheduled(&self, name: &str) -> (String, String) {
        let conditions = self.pods().get(name).await.unwrap().status.unwrap().conditions.unwrap_or_default();
        let condition = conditions.into_iter().find(|condition| condition.type_ == "PodScheduled").unwrap_or_default();
        (condition.reason.unwrap_or_default(), condition.message.unwrap_or_default())
    }

    async fn events(&self, reason: &str) -> usize {
        let events =
            Api::<Event>::namespaced(self.server.client(), "default").list(&ListParams::default()).await.unwrap();
        events.items.iter().filter(|event| event.reason.as_deref() == Some(reason)).count()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Everything that happens at once has happened, and waits of up to a few seconds are over.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(15)).await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_waits_for_a_node_and_is_told_why() {
    let cluster = Cluster::start();
    cluster.node("small", "1").await;
    cluster.pod("web", "2", json!({})).await;
    settle().await;
    let told = cluster.scheduled("web").await;
    assert_eq!(told, ("Unschedulable".to_owned(), "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: \
         1 Preemption is not helpful for scheduling."
            .to_owned()));
    assert_eq!((cluster.node_of("web").await, cluster.events("FailedScheduling").await), (None, 1));
    cluster.node("big", "4").await;
    settle().await;
    assert_eq!((cluster.node_of("web").await.as_deref(), cluster.events("Scheduled").await), (Some("big"), 1));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_goes_makes_room() {
    let cluster = Cluster::start();
    cluster.node("a", "2").await;
    cluster.pod("first", "2", json!({})).await;
    settle().await;
    cluster.pod("second", "2", json!({})).await;
    settle().await;
    assert_eq!((cluster.node_of("first").await.as_deref(), cluster.node_of("second").await), (Some("a"), None));
    cluster.pods().delete("first", &DeleteParams::default().grace_period(0)).await.unwrap();
    settle().await;
    assert_eq!(cluster.node_of("second").await.as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn gates_and_other_schedulers_are_respected() {
    let cluster = Cluster::start();
    cluster.node("a", "4").await;
    cluster.pod("gated", "1", json!({"schedulingGates": [{"name": "wait"}]})).await;
    cluster.pod("foreign", "1", json!({"schedulerName": "other"})).await;
    settle().await;
    assert_eq!((cluster.node_of("gated").await, cluster.node_of("foreign").await), (None, None));
    assert_eq!(cluster.scheduled("gated").await.0, "SchedulingGated");
    let open = json!([{"op": "replace", "path": "/spec/schedulingGates", "value": []}]);
    let open: json_patch::Patch = serde_json::from_value(open).unwrap();
    cluster.pods().patch("gated", &PatchParams::default(), &Patch::Json::<()>(open)).await.unwrap();
    settle().await;
    assert_eq!(cluster.node_of("gated").await.as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn three_hundred_pods_fill_a_hundred_nodes_and_the_rest_wait() {
    let cluster = Cluster::start();
    for index in 0..100 {
        cluster.node(&format!("node-{index:03}"), "3").await;
    }
    for index in 0..310 {
        cluster.pod(&format!("web-{index:03}"), "1", json!({})).await;
    }
    settle().await;
    let pods = cluster.pods().list(&ListParams::default()).await.unwrap().items;
    let mut per_node = std::collections::BTreeMap::<String, usize>::new();
    pods.into_iter()
        .filter_map(|pod| pod.spec.unwrap().node_name)
        .for_each(|node| *per_node.entry(node).or_default() += 1);
    assert_eq!((per_node.len(), per_node.values().sum::<usize>(), *per_node.values().max().unwrap()), (100, 300, 3));
    assert_eq!(cluster.events("FailedScheduling").await, 10);
}
