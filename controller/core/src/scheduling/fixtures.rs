//! Small worlds for tests.

use super::{Prepared, Results, SchedulingInput, solve};
use crate::{
    api::{NodePool, labels},
    check,
    lifecycle::fixtures::{at, merge},
    model::{
        CapacityType, Catalog, ClusterSnapshot, InstanceType, NodePoolName, Offering, Operator, Overhead, PodKey,
        Price, Requirement, Requirements, Resources, StateNode,
    },
};
use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Pod};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

pub(crate) const ZONES: [&str; 3] = ["zone-a", "zone-b", "zone-c"];

/// A cluster, a cloud, and pods to place.
pub(crate) struct World {
    pub(crate) snapshot: ClusterSnapshot,
    pub(crate) catalog: Catalog,
    pub(crate) pods: Vec<Arc<Pod>>,
}

impl World {
    /// No pods or nodes, and these pools with the usual small catalog.
    pub(crate) fn new(pools: &[Value]) -> Self {
        let pools: BTreeMap<NodePoolName, Arc<NodePool>> = pools
            .iter()
            .map(|pool| serde_json::from_value::<NodePool>(pool.clone()).expect("the fixture is a NodePool"))
            .map(|pool| (NodePoolName::from(pool.metadata.name.clone().unwrap()), Arc::new(pool)))
            .collect();
        let snapshot = ClusterSnapshot { node_pools: pools, ..ClusterSnapshot::empty(at(0)) };
        let mut world = Self { snapshot, catalog: Catalog::default(), pods: Vec::new() };
        world.sell(&small_catalog());
        world
    }

    /// Offers these types to every pool.
    pub(crate) fn sell(&mut self, types: &[InstanceType]) {
        let types: Arc<[Arc<InstanceType>]> = types.iter().cloned().map(Arc::new).collect();
        self.catalog.by_pool = self.snapshot.node_pools.keys().map(|name| (name.clone(), types.clone())).collect();
    }

    pub(crate) fn add_pod(&mut self, pod: Value) -> &mut Self {
        self.pods.push(Arc::new(serde_json::from_value(pod).expect("the fixture is a pod")));
        self
    }

    pub(crate) fn add_daemon_set(&mut self, name: &str, spec: Value) -> &mut Self {
        let mut set = json!({"metadata": {"name": name}, "spec": {"selector": {}}});
        set["spec"]["template"]["spec"] = spec;
        let set: DaemonSet = serde_json::from_value(set).unwrap();
        self.snapshot.daemon_sets.push(Arc::new(set));
        self
    }

    /// A node that no pool manages.
    pub(crate) fn add_node(&mut self, name: &str, node_labels: Value, allocatable: Value, pods: &[Value]) -> &mut Self {
        let mut node_labels = node_labels;
        node_labels[labels::HOSTNAME] = json!(name);
        let mut node = json!({"metadata": {"name": name, "labels": node_labels}, "status": {"capacity": allocatable}});
        node["status"]["allocatable"] = allocatable;
        self.snapshot.nodes.push(StateNode {
            node: Some(Arc::new(serde_json::from_value(node).unwrap())),
            pods: pods.iter().map(|pod| Arc::new(serde_json::from_value(pod.clone()).unwrap())).collect(),
            ..StateNode::default()
        });
        self
    }

    /// Solves, and has the answer checked.
    pub(crate) fn solve(&self) -> Results {
        let prepared = Prepared::new(&self.snapshot, &self.catalog);
        let input = SchedulingInput::new(&prepared, &self.pods);
        let results = solve(&input);
        let violations: Vec<String> = check::violations(&input, &results).iter().map(ToString::to_string).collect();
        assert!(violations.is_empty(), "{}\n{}", violations.join("\n"), text(&results));
        results
    }

    pub(crate) fn text(&self) -> String {
        text(&self.solve())
    }
}

/// What was decided, one line each.
pub(crate) fn text(results: &Results) -> String {
    let names =
        |pods: &[Arc<Pod>]| pods.iter().map(|pod| PodKey::of(pod).name.to_string()).collect::<Vec<_>>().join(" ");
    let placed = results.placements.iter().map(|own| format!("{} <- {}", own.node, names(&own.pods)));
    let planned = results.planned.iter().map(|own| {
        let launch = &own.launch;
        format!(
            "{} {} {} {} {} <- {}",
            own.node_pool,
            launch.instance_type,
            launch.zone,
            launch.capacity_type,
            launch.price,
            names(&own.pods)
        )
    });
    let refused = results.unschedulable.iter().map(|own| format!("{}: {}", own.key.name, own.why));
    placed.chain(planned).chain(refused).collect::<Vec<_>>().join("\n")
}

/// A pool that takes everything; `spec` is merged over it.
pub(crate) fn pool(name: &str, spec: &Value) -> Value {
    let mut pool = json!({"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": name, "uid": format!("uid-{name}")},
        "spec": {"template": {"spec": {"requirements": [],
            "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"}}}}});
    merge(&mut pool["spec"], spec);
    pool
}

/// A pod with one container; `spec` is merged over it.
pub(crate) fn pod(name: &str, cpu: &str, memory: &str, spec: &Value) -> Value {
    let mut pod = json!({"metadata": {"name": name, "labels": {"app": name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-')}},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]}});
    merge(&mut pod["spec"], spec);
    pod
}

/// A type that costs `cents` per hour on demand and two fifths of that on spot, in every zone.
pub(crate) fn instance_type(name: &str, cpu: i64, gib: i64, cents: i64) -> InstanceType {
    let nanos = cents * 10_000_000;
    let kinds = [(CapacityType::OnDemand, nanos), (CapacityType::Spot, nanos / 5 * 2)];
    let offerings =
        ZONES.iter().flat_map(|zone| kinds.map(|(kind, nanos)| Offering::new(zone, kind, Price::from_nanos(nanos))));
    let arch = if name.contains('g') { "arm64" } else { "amd64" };
    let own = [
        Requirement::new(labels::INSTANCE_TYPE, Operator::In, [name]),
        Requirement::new(labels::ARCH, Operator::In, [arch]),
        Requirement::new(labels::OS, Operator::In, ["linux"]),
        Requirement::new(labels::INSTANCE_CPU, Operator::In, [cpu.to_string()]),
        Requirement::new(labels::INSTANCE_GPU_NAME, Operator::DoesNotExist, [""; 0]),
    ];
    InstanceType {
        name: name.to_owned(),
        requirements: Requirements::from_iter(own),
        offerings: offerings.collect(),
        capacity: Resources::from_iter([("cpu", cpu * 1000), ("memory", gib << 30), ("pods", 4 + cpu * 8)]),
        overhead: Overhead {
            kube_reserved: Resources::from_iter([("cpu", 100), ("memory", 1 << 28)]),
            ..Overhead::default()
        },
        listed: None,
    }
}

/// Types whose sums are easy: small, medium and large with 2 or 4 GiB per CPU, and an arm64 one.
pub(crate) fn small_catalog() -> Vec<InstanceType> {
    vec![
        instance_type("c2", 2, 4, 10),
        instance_type("c4", 4, 8, 20),
        instance_type("c16", 16, 32, 80),
        instance_type("m2", 2, 8, 12),
        instance_type("m8", 8, 32, 48),
        instance_type("mg4", 4, 16, 20),
    ]
}
