//! Kubelets over the embedded API server, in virtual time.

use super::{KubeletConfig, LeaseOptions, MachineEvent, NoMachines, NodeControllers, NodeSelection, Spread, run};
use crate::{
    apiserver::{ApiServer, Config},
    machine::{ClusterIdentity, Machine, MachineSource},
    stage::library::{fast, without_heartbeats},
};
use jiff::Timestamp;
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, Pod},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
};
use rstest::rstest;
use sawhorse_ambient::{Clock, Seed};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Machines that a test turns on and off.
struct Machines(watch::Sender<(u64, Vec<Machine>)>);

impl Machines {
    fn set(&self, machines: Vec<Machine>) {
        self.0.send_modify(|(version, list)| {
            *version += 1;
            *list = machines;
        });
    }
}

#[async_trait::async_trait]
impl MachineSource for Machines {
    fn machines(&self) -> Vec<Machine> {
        self.0.borrow().1.clone()
    }

    async fn changed(&self, seen: u64) -> u64 {
        let mut receiver = self.0.subscribe();
        let found = receiver.wait_for(|(version, _)| *version > seen).await.map(|current| current.0).ok();
        match found {
            Some(version) => version,
            None => std::future::pending().await,
        }
    }
}

fn user_data(cluster: &str) -> String {
    format!(
        "apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec:\n  cluster: {{name: {cluster}, apiServerEndpoint: https://api}}\n  kubelet: {{config: {{maxPods: 20}}, flags: [--node-labels=team=a]}}\n"
    )
}

fn machine(index: u32, clock: Clock, user_data: String) -> Machine {
    let hardware = [("cpu", "4"), ("memory", "16Gi"), ("ephemeral-storage", "20Gi")];
    Machine {
        instance_id: format!("i-{index}"),
        provider_id: format!("aws:///us-east-1a/i-{index}"),
        instance_type: "m5.xlarge".to_owned(),
        region: "us-east-1".to_owned(),
        zone: "us-east-1a".to_owned(),
        zone_id: "use1-az1".to_owned(),
        architecture: "amd64".to_owned(),
        private_dns_name: format!("node-{index}"),
        private_ip: format!("10.0.0.{index}"),
        user_data,
        hardware: hardware.map(|(name, text)| (name.to_owned(), text.to_owned())).into(),
        running_since: clock.now(),
    }
}

/// A cluster with kubelets and nothing else.
struct Cluster {
    clock: Clock,
    server: ApiServer,
    machines: Arc<Machines>,
    events: Arc<Mutex<Vec<MachineEvent>>>,
    shutdown: CancellationToken,
}

fn epoch() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

impl Cluster {
    fn start(seed: u64, adjust: impl FnOnce(&mut KubeletConfig)) -> Self {
        let clock = Clock::starting_at(epoch());
        let server = ApiServer::new(Config::new(clock, Seed(seed)));
        let machines = Arc::new(Machines(watch::Sender::new((0, Vec::new()))));
        let identity = ClusterIdentity { name: "demo".to_owned(), endpoint: "https://api".to_owned() };
        let source = Arc::clone(&machines) as Arc<dyn MachineSource>;
        let mut config = KubeletConfig::new(server.client(), source, clock, Seed(seed), identity);
        let events = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&events);
        config.on_event = Arc::new(move |event| told.lock().unwrap().push(event));
        config.boot = Spread::fixed(Duration::from_secs(30));
        config.ready = Spread::fixed(Duration::from_secs(5));
        adjust(&mut config);
        let shutdown = CancellationToken::new();
        tokio::spawn(run(config, shutdown.clone()));
        Self { clock, server, machines, events, shutdown }
    }

    /// One line per event: seconds since the start, machine, what.
    fn told(&self) -> Vec<String> {
        let line = |event: &MachineEvent| {
            format!("+{} {} {}", event.at.duration_since(epoch()).as_secs(), event.instance_id, event.kind)
        };
        self.events.lock().unwrap().iter().map(line).collect()
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.server.client())
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.server.client(), "default")
    }

    async fn bind(&self, name: &str, node: &str, extra: Value) {
        let mut pod = json!({"metadata": {"name": name}, "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}});
        json_patch::merge(&mut pod, &extra);
        self.pods().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    }

    /// Virtual seconds since the start at which `holds` first did; looked at every tenth of a second for `most` seconds.
    async fn when<F: Future<Output = bool>>(&self, most: u64, holds: impl Fn() -> F) -> f64 {
        for _ in 0..most * 10 {
            if holds().await {
                return self.clock.elapsed().as_secs_f64();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("did not come true within {most} s; told so far: {:#?}", self.told());
    }

    async fn pod_phase(&self, name: &str) -> Option<String> {
        self.pods().get_opt(name).await.unwrap()?.status?.phase
    }

    async fn is_running(&self, name: &str) -> bool {
        self.pod_phase(name).await.as_deref() == Some("Running")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn ready(node: &Node) -> String {
    let conditions = node.status.as_ref().unwrap().conditions.as_ref().unwrap();
    conditions.iter().find(|condition| condition.type_ == "Ready").unwrap().status.clone()
}

#[tokio::test(start_paused = true)]
async fn a_machine_boots_joins_and_runs_a_pod() {
    let cluster = Cluster::start(1, |_| {});
    cluster.machines.set(vec![machine(1, cluster.clock, user_data("demo"))]);
    cluster.when(60, async || cluster.told().len() == 2).await;
    let node = cluster.nodes().get("node-1").await.unwrap();
    assert_eq!((ready(&node).as_str(), node.metadata.labels.unwrap()["team"].as_str()), ("False", "a"));
    cluster.bind("web", "node-1", json!({})).await;
    cluster.when(60, async || cluster.is_running("web").await).await;
    assert_eq!(cluster.told(), ["+0 i-1 boots", "+30 i-1 joined as `node-1`", "+35 i-1 is Ready as `node-1`"]);
    let node = cluster.nodes().get("node-1").await.unwrap();
    assert_eq!((ready(&node).as_str(), node.spec.unwrap().taints.unwrap_or_default()), ("True", Vec::new()));
    let status = cluster.pods().get("web").await.unwrap().status.unwrap();
    assert_eq!((status.pod_ip.as_deref(), status.host_ip.as_deref()), (Some("10.128.0.1"), Some("10.0.0.1")));
    let conditions = status.conditions.unwrap();
    assert!(conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"));
    let lease = Api::<Lease>::namespaced(cluster.server.client(), "kube-node-lease").get("node-1").await.unwrap();
    assert_eq!(lease.metadata.owner_references.unwrap()[0].kind, "Node");
}

#[tokio::test(start_paused = true)]
async fn a_machine_with_wrong_user_data_never_joins() {
    let cluster = Cluster::start(1, |_| {});
    cluster.machines.set(vec![machine(1, cluster.clock, user_data("dmeo"))]);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(cluster.told()[1..], ["+30 i-1 cannot join: the user data names cluster `dmeo`, but this is `demo`"]);
    assert!(cluster.nodes().list(&ListParams::default()).await.unwrap().items.is_empty());
}

#[tokio::test(start_paused = true)]
async fn when_a_machine_is_gone_its_node_falls_silent_is_deleted_and_its_pods_are_collected() {
    let cluster = Cluster::start(1, |_| {});
    cluster.machines.set(vec![machine(1, cluster.clock, user_data("demo"))]);
    cluster.bind("web", "node-1", json!({})).await;
    cluster.when(60, async || cluster.is_running("web").await).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(ready(&cluster.nodes().get("node-1").await.unwrap()), "True", "leases keep it alive");
    let gone = cluster.clock.elapsed().as_secs_f64();
    cluster.machines.set(Vec::new());
    let deleted = cluster.when(120, async || cluster.nodes().get_opt("node-1").await.unwrap().is_none()).await - gone;
    // The last renewal was at most a quarter of the lease ago.
    assert!((28.0..42.0).contains(&deleted), "deleted after {deleted} s");
    let collected = cluster.when(120, async || cluster.pod_phase("web").await.is_none()).await - gone - deleted;
    assert!((39.0..42.0).contains(&collected), "collected after {collected} s");
    assert_eq!(
        cluster.told().last().unwrap().split(' ').skip(1).collect::<Vec<_>>().join(" "),
        "i-1 is gone; it was `node-1`"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_stops_within_its_grace() {
    let cluster = Cluster::start(1, |_| {});
    cluster.machines.set(vec![machine(1, cluster.clock, user_data("demo"))]);
    let grace = json!({"spec": {"terminationGracePeriodSeconds": 60}});
    for name in ["slow", "forced", "prompt"] {
        cluster.bind(name, "node-1", grace.clone()).await;
    }
    cluster.when(60, async || cluster.is_running("slow").await && cluster.is_running("forced").await).await;
    let began = cluster.clock.elapsed().as_secs_f64();
    cluster.pods().delete("slow", &DeleteParams::default()).await.unwrap();
    cluster.pods().delete("forced", &DeleteParams::default().grace_period(0)).await.unwrap();
    assert_eq!(cluster.pod_phase("forced").await, None);
    let stopped = cluster.when(120, async || cluster.pod_phase("slow").await.is_none()).await - began;
    assert!((1.0..=60.2).contains(&stopped), "stopped after {stopped} s");
}

#[tokio::test(start_paused = true)]
async fn a_job_works_as_long_as_it_is_annotated() {
    let cluster = Cluster::start(1, |_| {});
    cluster.machines.set(vec![machine(1, cluster.clock, user_data("demo"))]);
    let annotations = json!({"pod-complete.stage.kwok.x-k8s.io/delay": "10m", "pod-complete.stage.kwok.x-k8s.io/jitter-delay": "10m"});
    cluster
        .bind("sum", "node-1", json!({"metadata": {"annotations": annotations}, "spec": {"restartPolicy": "Never"}}))
        .await;
    let began = cluster.when(60, async || cluster.is_running("sum").await).await;
    let ended = cluster.when(900, async || cluster.pod_phase("sum").await.as_deref() == Some("Succeeded")).await;
    assert!((599.0..602.0).contains(&(ended - began)), "worked for {} s", ended - began);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_another_node_still_has_is_waited_for() {
    let cluster = Cluster::start(1, |config| config.node_controllers = NodeControllers::None);
    let other: Node =
        serde_json::from_value(json!({"metadata": {"name": "node-1"}, "spec": {"providerID": "aws:///z/i-9"}}))
            .unwrap();
    cluster.nodes().create(&PostParams::default(), &other).await.unwrap();
    cluster.machines.set(vec![machine(1, cluster.clock, user_data("demo"))]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(cluster.told(), ["+0 i-1 boots"]);
    cluster.nodes().delete("node-1", &DeleteParams::default()).await.unwrap();
    cluster.when(10, async || cluster.told().len() == 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_no_cloud_has_is_left_alone() {
    let cluster = Cluster::start(1, |_| {});
    for (name, provider_id) in [("gone", "aws:///z/i-9"), ("of-kind", "kind://docker/demo/of-kind")] {
        let node = json!({"metadata": {"name": name}, "spec": {"providerID": provider_id}});
        cluster.nodes().create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    }
    cluster.when(120, async || cluster.nodes().get_opt("gone").await.unwrap().is_none()).await;
    assert!(cluster.nodes().get_opt("of-kind").await.unwrap().is_some());
}

/// The events of machines and every object at the end, as text.
async fn history(seed: u64) -> String {
    let cluster = Cluster::start(seed, |config| {
        config.boot = Spread::seconds(20, 30, 60);
        config.ready = Spread::seconds(3, 6, 15);
    });
    cluster.machines.set((1..=8).map(|index| machine(index, cluster.clock, user_data("demo"))).collect());
    for index in 0..24 {
        cluster.bind(&format!("web-{index}"), &format!("node-{}", index % 8 + 1), json!({})).await;
    }
    tokio::time::sleep(Duration::from_secs(200)).await;
    cluster.machines.set((3..=8).map(|index| machine(index, cluster.clock, user_data("demo"))).collect());
    tokio::time::sleep(Duration::from_secs(200)).await;
    let pods = cluster.pods().list(&ListParams::default()).await.unwrap().items;
    let nodes = cluster.nodes().list(&ListParams::default()).await.unwrap().items;
    format!("{:#?}\n{}", cluster.told(), json!([nodes, pods]))
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_history() {
    let (first, again, other) = (history(7).await, history(7).await, history(8).await);
    assert!(first == again, "two runs with one seed differ");
    assert_ne!(first, other, "another seed differs");
}

#[tokio::test(start_paused = true)]
async fn a_day_of_a_hundred_nodes_is_cheap_with_long_leases() {
    let cluster = Cluster::start(1, |config| {
        config.leases = Some(LeaseOptions { duration: Duration::from_secs(3_600) });
        config.stages = without_heartbeats(fast());
    });
    cluster.machines.set((1..=100).map(|index| machine(index, cluster.clock, user_data("demo"))).collect());
    for index in 0..1_000 {
        cluster.bind(&format!("web-{index}"), &format!("node-{}", index % 100 + 1), json!({})).await;
    }
    tokio::time::sleep(Duration::from_secs(24 * 3_600)).await;
    let nodes = cluster.nodes().list(&ListParams::default()).await.unwrap().items;
    assert_eq!(nodes.iter().filter(|node| ready(node) == "True").count(), 100);
    let pods = cluster.pods().list(&ListParams::default()).await.unwrap().items;
    let running = pods.iter().filter(|pod| pod.status.as_ref().unwrap().phase.as_deref() == Some("Running")).count();
    assert_eq!(running, 1_000);
}

/// Two Nodes that nobody's machine is behind, one of them to be looked after, with a pod on each.
async fn with_a_fake_and_a_real_node(adjust: impl FnOnce(&mut KubeletConfig)) -> Cluster {
    let cluster = Cluster::start(1, |config| {
        config.selection = NodeSelection::by_annotations("kwok.x-k8s.io/node=fake").unwrap();
        config.stages = fast();
        config.node_controllers = NodeControllers::None;
        adjust(config);
    });
    for name in ["fake", "real"] {
        let node = json!({"metadata": {"name": name, "annotations": {"kwok.x-k8s.io/node": name}}});
        cluster.nodes().create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
        cluster.bind(&format!("on-{name}"), name, json!({})).await;
    }
    cluster
}

impl Cluster {
    async fn lease(&self, node: &str) -> Option<Lease> {
        Api::<Lease>::namespaced(self.server.client(), "kube-node-lease").get_opt(node).await.unwrap()
    }

    async fn holder(&self, node: &str) -> String {
        self.lease(node).await.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default()
    }
}

#[rstest]
#[case::one_request_at_a_time(1)]
#[case::several(16)]
#[tokio::test(start_paused = true)]
async fn selected_nodes_are_looked_after_and_others_are_not(#[case] at_a_time: usize) {
    let at_a_time = at_a_time.try_into().unwrap();
    let cluster = with_a_fake_and_a_real_node(|config| config.at_a_time = at_a_time).await;
    cluster.when(5, async || cluster.is_running("on-fake").await).await;
    let status = cluster.pods().get("on-fake").await.unwrap().status.unwrap();
    assert_eq!(status.host_ip.as_deref(), Some("10.0.0.1"));
    assert_eq!(cluster.holder("fake").await, "sawhorse");
    tokio::time::sleep(Duration::from_secs(600)).await;
    let renewed = cluster.lease("fake").await.unwrap().spec.unwrap().renew_time.unwrap().0;
    assert!(cluster.clock.now().duration_since(renewed).as_secs() <= 11, "renewed at {renewed}");
    assert_eq!((cluster.pod_phase("on-real").await.as_deref(), cluster.lease("real").await), (Some("Pending"), None));
    cluster.nodes().delete("fake", &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let last = cluster.lease("fake").await.and_then(|lease| lease.spec?.renew_time);
    assert!(last.is_none_or(|last| cluster.clock.now().duration_since(last.0).as_secs() > 40), "it is renewed no more");
}

#[tokio::test(start_paused = true)]
async fn a_node_goes_to_another_instance_when_its_lease_has_run_out() {
    let cluster = with_a_fake_and_a_real_node(|config| config.identity = "first".to_owned()).await;
    cluster.when(5, async || cluster.is_running("on-fake").await).await;
    let identity = ClusterIdentity { name: "demo".to_owned(), endpoint: "https://api".to_owned() };
    let second = KubeletConfig {
        selection: NodeSelection::all(),
        identity: "second".to_owned(),
        stages: fast(),
        node_controllers: NodeControllers::None,
        ..KubeletConfig::new(cluster.server.client(), Arc::new(NoMachines), cluster.clock, Seed(2), identity)
    };
    let stop = CancellationToken::new();
    tokio::spawn(run(second, stop.clone()));
    cluster.when(5, async || cluster.is_running("on-real").await).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!([cluster.holder("fake").await, cluster.holder("real").await], ["first", "second"]);
    cluster.shutdown.cancel();
    let stopped = cluster.clock.elapsed().as_secs_f64();
    let taken = cluster.when(60, async || cluster.holder("fake").await == "second").await - stopped;
    assert!((28.0..=42.0).contains(&taken), "taken after {taken} s");
    let transitions = cluster.lease("fake").await.unwrap().spec.unwrap().lease_transitions;
    assert_eq!(transitions, Some(1));
    cluster.bind("later", "fake", json!({})).await;
    cluster.when(5, async || cluster.is_running("later").await).await;
    stop.cancel();
}
