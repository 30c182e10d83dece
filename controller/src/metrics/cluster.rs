//! What can be read off the cluster: gauges made at each scrape.

use crate::state::{Mirror, pods};
use k8s_openapi::api::core::v1::Pod;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};
use sawhorse_ambient::Clock;
use sawhorse_core::{
    api::{ResourceList, labels},
    model::{ClusterSnapshot, Resources, StateNode},
};
use std::{collections::BTreeMap, fmt, sync::Arc};

type Labels = Vec<(&'static str, String)>;
type Samples = Vec<(Labels, f64)>;

/// Gauges made of the mirror.
pub(crate) struct ClusterMetrics {
    pub(crate) mirror: Arc<Mirror>,
    pub(crate) clock: Clock,
}

impl fmt::Debug for ClusterMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterMetrics")
    }
}

impl Collector for ClusterMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let snapshot = self.mirror.snapshot(self.clock.now());
        let synced = if self.mirror.synced() { 1.0 } else { 0.0 };
        let mut write = |name: &str, help: &str, samples: Samples| write(&mut encoder, name, help, samples);
        write("karpenter_cluster_state_node_count", "Machines that are known", one(snapshot.nodes.len() as f64))?;
        write("karpenter_cluster_state_synced", "Whether every kind has been listed", one(synced))?;
        write("karpenter_nodepools_limit", "Limits of NodePools", limits(&snapshot))?;
        write("karpenter_nodepools_usage", "What NodePools hold", usage(&snapshot))?;
        write("karpenter_nodes_allocatable", "What of nodes pods can use", nodes(&snapshot, StateNode::allocatable))?;
        write(
            "karpenter_nodes_total_pod_requests",
            "Requests of pods by node",
            nodes(&snapshot, StateNode::requested),
        )?;
        write("karpenter_nodes_current_lifetime_seconds", "How old nodes are", lifetimes(&snapshot))?;
        write("karpenter_pods_state", "Pods, 1 each", pod_states(&snapshot))
    }
}

fn write(encoder: &mut DescriptorEncoder, name: &str, help: &str, samples: Samples) -> Result<(), fmt::Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in samples {
        ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn one(value: f64) -> Samples {
    vec![(Vec::new(), value)]
}

fn limits(snapshot: &ClusterSnapshot) -> Samples {
    let pools = snapshot.node_pools.iter();
    pools.flat_map(|(name, pool)| in_pool(name.as_str(), &listed(&pool.spec.limits))).collect()
}

fn usage(snapshot: &ClusterSnapshot) -> Samples {
    let of = |pool: &sawhorse_core::api::NodePool| {
        pool.status.as_ref().map_or_else(Resources::new, |it| listed(&it.resources))
    };
    snapshot.node_pools.iter().flat_map(|(name, pool)| in_pool(name.as_str(), &of(pool))).collect()
}

fn in_pool(pool: &str, resources: &Resources) -> Samples {
    let sample = |(name, amount): (&str, i64)| {
        (vec![("resource_type", name.to_owned()), ("nodepool", pool.to_owned())], in_units(name, amount))
    };
    resources.iter().map(sample).collect()
}

fn nodes(snapshot: &ClusterSnapshot, of: fn(&StateNode) -> Resources) -> Samples {
    let sample = |machine: &StateNode| -> Samples {
        let labels = node_labels(machine);
        let with = |name: &str| labels.iter().cloned().chain([("resource_type", name.to_owned())]).collect();
        of(machine).iter().map(|(name, amount)| (with(name), in_units(name, amount))).collect()
    };
    snapshot.nodes.iter().filter(|machine| machine.node.is_some()).flat_map(sample).collect()
}

fn lifetimes(snapshot: &ClusterSnapshot) -> Samples {
    let sample = |machine: &StateNode| {
        let created = machine.node.as_ref()?.metadata.creation_timestamp.as_ref()?;
        Some((node_labels(machine), snapshot.now.duration_since(created.0).as_secs_f64()))
    };
    snapshot.nodes.iter().filter_map(sample).collect()
}

/// The usual labels of the node gauges. The reference adds one per well-known label of the provider; these are the ones
/// that dashboards use.
fn node_labels(machine: &StateNode) -> Labels {
    let of_machine = machine.labels();
    let label = |key: &str| of_machine.get(key).cloned().unwrap_or_default();
    let phase = if machine.is_going_away() { "Terminating" } else { "" };
    vec![
        ("node_name", machine.name().to_owned()),
        ("nodepool", label(labels::NODE_POOL)),
        ("capacity_type", label(labels::CAPACITY_TYPE)),
        ("instance_type", label(labels::INSTANCE_TYPE)),
        ("zone", label(labels::ZONE)),
        ("arch", label(labels::ARCH)),
        ("os", label(labels::OS)),
        ("phase", phase.to_owned()),
        ("managed", machine.node_claim.is_some().to_string()),
    ]
}

fn pod_states(snapshot: &ClusterSnapshot) -> Samples {
    let bound = snapshot.nodes.iter().flat_map(|machine| machine.pods.iter().map(move |pod| (pod, Some(machine))));
    let pending = snapshot.pending.iter().map(|pod| (pod, None));
    bound.chain(pending).map(|(pod, machine)| (pod_labels(pod, machine), 1.0)).collect()
}

fn pod_labels(pod: &Pod, machine: Option<&StateNode>) -> Labels {
    let of_node: BTreeMap<&str, String> = machine.map(node_labels).unwrap_or_default().into_iter().collect();
    let node = |key: &str| of_node.get(key).cloned().unwrap_or_default();
    let owner = pod.metadata.owner_references.iter().flatten().next();
    let phase = pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
    vec![
        ("name", pod.metadata.name.clone().unwrap_or_default()),
        ("namespace", pod.metadata.namespace.clone().unwrap_or_default()),
        ("owner", owner.map(|owner| format!("{}/{}", owner.kind, owner.name)).unwrap_or_default()),
        ("node", pods::node_of(pod).map(|name| name.to_string()).unwrap_or_default()),
        ("scheduled", pods::node_of(pod).is_some().to_string()),
        ("nodepool", node("nodepool")),
        ("zone", node("zone")),
        ("arch", node("arch")),
        ("capacity_type", node("capacity_type")),
        ("instance_type", node("instance_type")),
        ("phase", phase),
        ("managed", machine.is_some_and(|machine| machine.node_claim.is_some()).to_string()),
    ]
}

fn listed(list: &ResourceList) -> Resources {
    Resources::of_capacity(list)
}

/// CPU in cores, everything else as it is.
fn in_units(name: &str, amount: i64) -> f64 {
    if name == "cpu" { amount as f64 / 1000.0 } else { amount as f64 }
}
