//! How fast the core decides: `cargo bench -p sawhorse-core`.

use divan::{Bencher, counter::ItemsCount};
use k8s_openapi::{
    api::core::v1::{Container, Node, NodeStatus, Pod, PodSpec, ResourceRequirements as PodResources},
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};
use sawhorse_core::{
    api::{
        NodeClaim, NodePool,
        conditions::{CONSOLIDATABLE, Conditioned, INITIALIZED, LAUNCHED, REGISTERED},
        labels,
    },
    disruption::{DisruptionInput, decide},
    model::{
        CapacityType, Catalog, ClusterSnapshot, InstanceType, NodePoolName, Offering, Operator, Overhead, Price,
        Requirement, Requirements, Resources, StateNode,
    },
    scheduling::{IndexedCatalog, Prepared, SchedulingInput, solve},
};
use std::{collections::BTreeMap, sync::Arc};

fn main() {
    divan::main();
}

const ZONES: [&str; 3] = ["zone-a", "zone-b", "zone-c"];
const TYPES: usize = 800;

/// Numbers from a fixed seed.
struct Dice(u64);

impl Dice {
    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        &of[(self.0 >> 33) as usize % of.len()]
    }
}

/// Families of several generations with 2, 4 or 8 GiB per CPU, in ten sizes, at prices that differ a little.
fn instance_types() -> Vec<Arc<InstanceType>> {
    let sizes = [1, 2, 4, 8, 16, 32, 48, 64, 96, 128];
    (0..TYPES)
        .map(|index| Arc::new(instance_type(index, sizes[index % sizes.len()], [2, 4, 8][index / sizes.len() % 3])))
        .collect()
}

fn instance_type(index: usize, cpu: i64, gib_per_cpu: i64) -> InstanceType {
    let name = format!("f{:02}.{cpu}", index / 10);
    let on_demand = cpu * (20_000_000 + gib_per_cpu * 5_000_000) / 1000 * (900 + (index as i64 * 37) % 200);
    let offerings = ZONES.iter().enumerate().flat_map(|(zone, name)| {
        let spot = on_demand / 100 * (30 + ((index * 7 + zone * 13) % 40) as i64);
        [(CapacityType::Spot, spot), (CapacityType::OnDemand, on_demand)]
            .map(|(kind, nanos)| Offering::new(name, kind, Price::from_nanos(nanos)))
    });
    let arch = if index.is_multiple_of(4) { "arm64" } else { "amd64" };
    InstanceType {
        requirements: Requirements::from_iter([
            Requirement::new(labels::INSTANCE_TYPE, Operator::In, [&name]),
            Requirement::new(labels::ARCH, Operator::In, [arch]),
            Requirement::new(labels::OS, Operator::In, ["linux"]),
        ]),
        offerings: offerings.collect(),
        capacity: Resources::from_iter([("cpu", cpu * 1000), ("memory", (cpu * gib_per_cpu) << 30), ("pods", 110)]),
        overhead: Overhead {
            kube_reserved: Resources::from_iter([("cpu", 80), ("memory", 1 << 29)]),
            ..Overhead::default()
        },
        listed: None,
        name,
    }
}

fn pod(index: usize, dice: &mut Dice) -> Pod {
    let cpu = *dice.one(&["100m", "250m", "500m", "1", "1500m", "2", "4"]);
    let memory = *dice.one(&["128Mi", "256Mi", "512Mi", "1Gi", "2Gi", "4Gi", "8Gi"]);
    let requests =
        [("cpu", cpu), ("memory", memory)].map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned())));
    let resources = PodResources { requests: Some(requests.into_iter().collect()), ..PodResources::default() };
    let container = Container { name: "c".to_owned(), resources: Some(resources), ..Container::default() };
    let zone = [(labels::ZONE.to_owned(), (*dice.one(&ZONES)).to_owned())];
    let selector = index.is_multiple_of(5).then(|| zone.into_iter().collect());
    Pod {
        metadata: ObjectMeta {
            name: Some(format!("pod-{index:05}")),
            namespace: Some("default".to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec { containers: vec![container], node_selector: selector, ..PodSpec::default() }),
        status: None,
    }
}

fn pods(count: usize) -> Vec<Arc<Pod>> {
    let mut dice = Dice(7);
    (0..count).map(|index| Arc::new(pod(index, &mut dice))).collect()
}

fn world(nodes: Vec<StateNode>) -> (ClusterSnapshot, Catalog) {
    let name = NodePoolName::from("default");
    let pool = NodePool {
        metadata: ObjectMeta { name: Some("default".to_owned()), ..ObjectMeta::default() },
        ..NodePool::default()
    };
    let snapshot = ClusterSnapshot {
        node_pools: BTreeMap::from([(name.clone(), Arc::new(pool))]),
        nodes,
        ..ClusterSnapshot::empty("2026-01-01T00:00:00Z".parse().expect("it is a time"))
    };
    (snapshot, Catalog { by_pool: BTreeMap::from([(name, instance_types().into())]) })
}

/// Everything from objects to a decision.
#[divan::bench(args = [1_000, 10_000, 50_000], sample_count = 5, sample_size = 1)]
fn solve_pods(bencher: Bencher<'_, '_>, count: usize) {
    let (snapshot, catalog) = world(Vec::new());
    let pods = pods(count);
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        let prepared = Prepared::new(&snapshot, &catalog);
        let input = SchedulingInput::new(&prepared, &pods);
        let results = solve(&input);
        assert!(results.all_placed());
        results
    });
}

/// A machine of the pool with 30 small pods.
fn busy_node(index: usize, dice: &mut Dice) -> StateNode {
    let name = format!("node-{index:04}");
    let node_labels = [
        (labels::NODE_POOL, "default"),
        (labels::REGISTERED, "true"),
        (labels::INITIALIZED, "true"),
        (labels::ZONE, ZONES[index % 3]),
        (labels::CAPACITY_TYPE, "on-demand"),
        (labels::INSTANCE_TYPE, "f01.32"),
        (labels::ARCH, "amd64"),
        (labels::OS, "linux"),
        (labels::HOSTNAME, name.as_str()),
    ];
    let node_labels: BTreeMap<String, String> =
        node_labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let amounts = [("cpu", "31920m"), ("memory", "120Gi"), ("pods", "110")];
    let amounts: BTreeMap<String, Quantity> =
        amounts.into_iter().map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned()))).collect();
    let metadata = ObjectMeta { name: Some(name), labels: Some(node_labels), ..ObjectMeta::default() };
    let ready = serde_json::json!({"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "",
        "lastTransitionTime": "2025-12-31T00:00:00Z", "lastHeartbeatTime": "2025-12-31T00:00:00Z"});
    let status = NodeStatus {
        capacity: Some(amounts.clone()),
        allocatable: Some(amounts),
        conditions: Some(vec![serde_json::from_value(ready).expect("it is a condition")]),
        ..NodeStatus::default()
    };
    let node = Node { metadata: metadata.clone(), status: Some(status), spec: None };
    let mut claim = NodeClaim { metadata, ..NodeClaim::default() };
    let since = "2025-12-31T00:00:00Z".parse().expect("it is a time");
    for held in [LAUNCHED, REGISTERED, INITIALIZED, CONSOLIDATABLE] {
        claim.set_true(held, since);
    }
    StateNode {
        node: Some(Arc::new(node)),
        node_claim: Some(Arc::new(claim)),
        pods: (0..30).map(|own| Arc::new(pod(index * 100 + own, dice))).collect(),
        ..StateNode::default()
    }
}

/// One look at 1,000 nodes with 30 pods each, of which none is empty.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn consolidation_pass(bencher: Bencher<'_, '_>) {
    let mut dice = Dice(11);
    let (snapshot, catalog) = world((0..1_000).map(|index| busy_node(index, &mut dice)).collect());
    let catalog = IndexedCatalog::new(catalog);
    bencher
        .counter(ItemsCount::new(1_000usize))
        .bench_local(|| decide(&DisruptionInput { snapshot: &snapshot, catalog: &catalog, running: &[] }));
}

/// A scan that tries every one of the nodes and finds nothing: each has a pod that may run only there. Divided by their number this
/// is what one simulation takes.
#[divan::bench(args = [100, 1_000], sample_count = 3, sample_size = 1)]
fn single_node_scan(bencher: Bencher<'_, '_>, count: usize) {
    let mut dice = Dice(11);
    let mut nodes: Vec<StateNode> = (0..count).map(|index| busy_node(index, &mut dice)).collect();
    for node in &mut nodes {
        let hostname = (labels::HOSTNAME.to_owned(), node.name().to_owned());
        let pinned = Arc::make_mut(&mut node.pods[0]);
        pinned.spec.get_or_insert_default().node_selector = Some(BTreeMap::from([hostname]));
    }
    let (snapshot, catalog) = world(nodes);
    let catalog = IndexedCatalog::new(catalog);
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        let decision = decide(&DisruptionInput { snapshot: &snapshot, catalog: &catalog, running: &[] });
        assert!(decision.commands.is_empty());
    });
}
