//! The loops against a tiny API server and a fake cloud, in process and in virtual time. Decisions are tested in the core;
//! here it is the order in which things are written and done.

mod api;
mod cloud;

use crate::runtime::{ControllerConfig, Decision, DecisionLog, run};
use api::TinyApi;
use cloud::FakeCloud;
use jiff::SignedDuration;
use sawhorse_ambient::{Clock, Seed};
use sawhorse_core::model::Settings;
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl DecisionLog for Log {
    fn record(&self, decision: &Decision) {
        self.0.lock().unwrap().push(decision.message.to_owned());
    }
}

/// A cluster with one pool and one class, a cloud, and what a controller is started with.
struct World {
    clock: Clock,
    api: TinyApi,
    cloud: Arc<FakeCloud>,
    log: Arc<Log>,
}

impl World {
    fn new() -> Self {
        let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
        let api = TinyApi::new(clock);
        let class = json!({"metadata": {"name": "default"}, "spec": {
            "role": "r", "amiSelectorTerms": [{"alias": "al2023@latest"}],
            "subnetSelectorTerms": [{"id": "subnet-1"}], "securityGroupSelectorTerms": [{"id": "sg-1"}],
        }});
        let template = json!({"spec": {
            "requirements": [],
            "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"},
        }});
        api.put("karpenter.k8s.aws/v1", "EC2NodeClass", class);
        api.put(
            "karpenter.sh/v1",
            "NodePool",
            json!({"metadata": {"name": "default"}, "spec": {"template": template}}),
        );
        Self { clock, cloud: Arc::new(FakeCloud::new(clock, api.clone())), api, log: Arc::default() }
    }

    fn start(&self) -> Running {
        let config = ControllerConfig {
            client: self.api.client(),
            provider: Arc::clone(&self.cloud) as _,
            clock: self.clock,
            seed: Seed(1),
            settings: Settings::default(),
            identity: "test".to_owned(),
            leader_election: None,
            servers: None,
            decision_log: Some(Arc::clone(&self.log) as _),
        };
        let shutdown = CancellationToken::new();
        Running { task: tokio::spawn(run(config, shutdown.clone())), shutdown }
    }

    /// The controller is gone right after its first purchase, before it could write that down.
    async fn dies_having_bought(&self, controller: Running) {
        self.until(30, "bought", |_| self.cloud.bought() == 1).await;
        controller.task.abort();
        assert!(controller.task.await.unwrap_err().is_cancelled());
        self.cloud.hang_after_purchase(false);
    }

    fn pending_pod(&self, name: &str) {
        let unschedulable = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable"});
        self.api.put(
            "v1",
            "Pod",
            json!({
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
                "status": {"phase": "Pending", "conditions": [unschedulable]},
            }),
        );
    }

    /// The machine of the only NodeClaim joins, ready.
    fn node_joins(&self, name: &str) {
        let claim = self.api.only("NodeClaim");
        let resources = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
        self.api.put(
            "v1",
            "Node",
            json!({
                "metadata": {"name": name, "labels": claim["metadata"]["labels"]},
                "spec": {
                    "providerID": claim["status"]["providerID"],
                    "taints": [{"key": "karpenter.sh/unregistered", "effect": "NoExecute"}],
                },
                "status": {
                    "capacity": resources, "allocatable": resources,
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            }),
        );
    }

    /// Waits until the machine of the only NodeClaim has been bought.
    async fn launched(&self, seconds: u64) {
        let launched = |api: &TinyApi| api.count("NodeClaim") == 1 && is_true(&api.only("NodeClaim"), "Launched");
        self.until(seconds, "launched", launched).await;
    }

    /// The machine joins as `node`, and the controller has seen it.
    async fn joined(&self, node: &str) {
        self.node_joins(node);
        self.until(30, "initialized", |api| is_true(&api.only("NodeClaim"), "Initialized")).await;
    }

    /// A pod comes, gets its machine, and is bound to it.
    async fn runs(&self, pod: &str, node: &str) {
        self.pending_pod(pod);
        self.launched(30).await;
        self.joined(node).await;
        self.bind(pod, node).await;
    }

    async fn bind(&self, pod: &str, node: &str) {
        let patch = json!({"spec": {"nodeName": node}, "status": {"phase": "Running", "conditions": []}});
        self.api.merge("Pod", pod, &patch);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// Waits for a condition on the cluster, at most so many virtual seconds.
    async fn until(&self, seconds: u64, what: &str, holds: impl Fn(&TinyApi) -> bool) {
        let end = self.clock.now() + SignedDuration::from_secs(seconds as i64);
        while !holds(&self.api) {
            assert!(self.clock.now() < end, "not within {seconds} s: {what}\n{:#?}", self.log.0.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// A controller that has been started.
struct Running {
    task: JoinHandle<anyhow::Result<()>>,
    shutdown: CancellationToken,
}

impl Running {
    /// Stops it; it must end well.
    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn is_true(object: &Value, condition: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|it| it["type"] == condition && it["status"] == "True")
}

#[tokio::test(start_paused = true)]
async fn a_pod_gets_a_machine_and_the_intent_is_written_before_it_is_bought() {
    let world = World::new();
    let controller = world.start();
    world.pending_pod("web");
    world.launched(30).await;
    // What the cloud saw in the API server at the moment it was asked.
    let seen = world.cloud.claim_when_asked();
    assert_eq!(seen["metadata"]["annotations"]["sawhorse.dev/launch-attempt"], "1");
    assert_eq!(seen["metadata"]["finalizers"], json!(["karpenter.sh/termination"]));
    assert!(seen["status"].get("providerID").is_none());
    world.joined("node-1").await;
    let node = world.api.only("Node");
    assert_eq!(node["metadata"]["labels"]["karpenter.sh/initialized"], "true");
    assert!(node["spec"]["taints"].as_array().is_none_or(Vec::is_empty), "{node}");
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_dies_after_the_purchase_is_succeeded_by_one_that_adopts() {
    let world = World::new();
    world.cloud.hang_after_purchase(true);
    let controller = world.start();
    world.pending_pod("web");
    world.dies_having_bought(controller).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let claim = world.api.only("NodeClaim");
    assert!(claim["status"].get("providerID").is_none(), "nothing acts any more: {claim}");
    let controller = world.start();
    world.until(30, "launched", |api| is_true(&api.only("NodeClaim"), "Launched")).await;
    assert_eq!(world.cloud.bought(), 1);
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_for_which_there_is_no_capacity_goes_and_another_is_tried() {
    let world = World::new();
    world.cloud.refuse_next();
    let controller = world.start();
    world.pending_pod("web");
    world.launched(60).await;
    let log = world.log.0.lock().unwrap().clone();
    assert_eq!(log.iter().filter(|line| *line == "created nodeclaim").count(), 2, "{log:#?}");
    assert_eq!(log.iter().filter(|line| *line == "deleted nodeclaim").count(), 1, "{log:#?}");
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_deleted_while_its_purchase_is_unconfirmed_leaves_no_machine() {
    let world = World::new();
    world.cloud.hang_after_purchase(true);
    let controller = world.start();
    world.pending_pod("web");
    world.dies_having_bought(controller).await;
    let name = world.api.only("NodeClaim")["metadata"]["name"].as_str().unwrap().to_owned();
    world.api.merge("NodeClaim", &name, &json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:30Z"}}));
    world.api.remove("Pod", "web");
    let controller = world.start();
    world.until(60, "claim gone", |api| api.count("NodeClaim") == 0).await;
    assert_eq!(world.cloud.machines(), 0);
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_node_is_drained_before_its_machine_is_ended() {
    let world = World::new();
    let controller = world.start();
    world.runs("web", "node-1").await;
    world.api.block_evictions(true);
    world.api.merge("Node", "node-1", &json!({"metadata": {"deletionTimestamp": world.clock.now().to_string()}}));
    tokio::time::sleep(Duration::from_secs(30)).await;
    let node = world.api.only("Node");
    assert_eq!(node["spec"]["taints"], json!([{"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}]));
    assert_eq!(world.cloud.machines(), 2, "a budget holds the pod: its machine stays, and its next place is bought");
    let asked = world.api.asked("pods/eviction");
    assert!((5..=12).contains(&asked), "refused evictions are repeated with a growing pause: {asked}");
    world.api.block_evictions(false);
    world.until(60, "node gone", |api| api.count("Node") == 0 && api.count("Pod") == 0).await;
    world.until(60, "claim gone", |api| api.count("NodeClaim") == 1).await;
    assert_eq!(world.cloud.machines(), 1, "the new place has yet to join");
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_while_nothing_happens() {
    let world = World::new();
    let controller = world.start();
    world.runs("web", "node-1").await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    let writes = world.api.writes();
    tokio::time::sleep(Duration::from_secs(6 * 3600)).await;
    // Why a node is kept is told again every quarter of an hour, so that it is not forgotten; nothing else is written.
    assert_eq!(world.api.writes(), writes, "six quiet hours");
    assert_eq!(world.api.count("NodeClaim"), 1);
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn two_runs_with_one_seed_are_alike() {
    let mut names = Vec::new();
    for _ in 0..2 {
        let world = World::new();
        let controller = world.start();
        (0..5).for_each(|index| world.pending_pod(&format!("web-{index}")));
        world.until(30, "launched", |api| api.all("NodeClaim").iter().any(|claim| is_true(claim, "Launched"))).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let claims = world.api.all("NodeClaim");
        names.push(claims.iter().map(|claim| claim["metadata"]["name"].clone()).collect::<Vec<_>>());
        controller.stop().await;
    }
    assert_eq!(names[0], names[1]);
    assert!(!names[0].is_empty());
}
