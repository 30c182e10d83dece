//! Machine and plan → the Node that its kubelet registers.

use super::{
    Machine,
    quantity::Quantity,
    user_data::{BootPlan, UserDataFormat},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec, NodeStatus, NodeSystemInfo,
        Taint,
    },
    apimachinery::pkg::{
        api::resource::Quantity as ApiQuantity,
        apis::meta::v1::{ObjectMeta, Time},
    },
};
use std::collections::BTreeMap;

/// What a kubelet assumes where nothing says how many pods fit.
const DEFAULT_MAX_PODS: u32 = 110;
/// The port that kubelets serve on.
const KUBELET_PORT: i32 = 10_250;

/// What is the same for all nodes of a cluster.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The kubelet's version, e.g. `v1.35.0`.
    pub kubelet_version: String,
    /// Whether nodes carry `node.cloudprovider.kubernetes.io/uninitialized` until a cloud controller has seen them.
    pub external_cloud_provider: bool,
    /// Annotations beside a kubelet's own, e.g. those by which another program knows the nodes that it is to manage.
    pub annotations: BTreeMap<String, String>,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self { kubelet_version: "v1.35.0".to_owned(), external_cloud_provider: true, annotations: BTreeMap::new() }
    }
}

/// The Node as first registered: not ready yet, tainted accordingly.
pub fn node(machine: &Machine, plan: &BootPlan, options: &NodeOptions, now: Timestamp) -> Node {
    let capacity = capacity(machine, plan);
    let allocatable = allocatable(machine, plan, &capacity);
    let mut annotations = options.annotations.clone();
    annotations.insert("volumes.kubernetes.io/controller-managed-attach-detach".to_owned(), "true".to_owned());
    Node {
        metadata: ObjectMeta {
            name: Some(machine.private_dns_name.clone()),
            labels: Some(labels(machine, plan)),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            provider_id: Some(machine.provider_id.clone()),
            taints: Some(taints(plan, options)),
            ..NodeSpec::default()
        }),
        status: Some(NodeStatus {
            addresses: Some(addresses(machine)),
            capacity: Some(api(&capacity)),
            allocatable: Some(api(&allocatable)),
            conditions: Some(conditions(now)),
            daemon_endpoints: Some(NodeDaemonEndpoints {
                kubelet_endpoint: Some(DaemonEndpoint { port: KUBELET_PORT }),
            }),
            node_info: Some(system_info(machine, plan, options)),
            ..NodeStatus::default()
        }),
    }
}

fn labels(machine: &Machine, plan: &BootPlan) -> BTreeMap<String, String> {
    let own = [
        ("beta.kubernetes.io/arch", &machine.architecture),
        ("beta.kubernetes.io/instance-type", &machine.instance_type),
        ("failure-domain.beta.kubernetes.io/region", &machine.region),
        ("failure-domain.beta.kubernetes.io/zone", &machine.zone),
        ("kubernetes.io/arch", &machine.architecture),
        ("kubernetes.io/hostname", &machine.private_dns_name),
        ("node.kubernetes.io/instance-type", &machine.instance_type),
        ("topology.k8s.aws/zone-id", &machine.zone_id),
        ("topology.kubernetes.io/region", &machine.region),
        ("topology.kubernetes.io/zone", &machine.zone),
    ];
    let mut labels = plan.node_labels.clone();
    let known = own.iter().filter(|(_, value)| !value.is_empty());
    labels.extend(known.map(|(key, value)| ((*key).to_owned(), (*value).clone())));
    labels.extend(["beta.kubernetes.io/os", "kubernetes.io/os"].map(|key| (key.to_owned(), "linux".to_owned())));
    labels
}

fn taints(plan: &BootPlan, options: &NodeOptions) -> Vec<Taint> {
    let taint = |key: &str, value: Option<&str>| Taint {
        key: key.to_owned(),
        value: value.map(str::to_owned),
        effect: "NoSchedule".to_owned(),
        time_added: None,
    };
    let mut taints = plan.taints.clone();
    taints.extend(
        options.external_cloud_provider.then(|| taint("node.cloudprovider.kubernetes.io/uninitialized", Some("true"))),
    );
    taints.push(taint("node.kubernetes.io/not-ready", None));
    taints
}

fn capacity(machine: &Machine, plan: &BootPlan) -> BTreeMap<String, Quantity> {
    let mut capacity: BTreeMap<String, Quantity> =
        machine.hardware.iter().filter_map(|(name, text)| Some((name.clone(), text.parse().ok()?))).collect();
    let from_interfaces = capacity.get("pods").and_then(|pods| u32::try_from(pods.units()).ok());
    let max_pods = plan.max_pods.or(from_interfaces).unwrap_or(DEFAULT_MAX_PODS);
    let cores = capacity.get("cpu").map_or(0, |cpu| cpu.units());
    let per_core = plan.pods_per_core.and_then(|count| u32::try_from(i64::from(count) * cores).ok());
    let pods = per_core.map_or(max_pods, |per_core| per_core.min(max_pods));
    capacity.insert("pods".to_owned(), Quantity::from_units(i64::from(pods)));
    capacity
}

/// Capacity less what is reserved and, for memory and disk, the eviction threshold.
fn allocatable(
    machine: &Machine,
    plan: &BootPlan,
    capacity: &BTreeMap<String, Quantity>,
) -> BTreeMap<String, Quantity> {
    let reserved = kube_reserved(machine, plan, capacity);
    let less = |(name, have): (&String, &Quantity)| {
        let kube = reserved.get(name).copied().unwrap_or_default();
        let system = plan.system_reserved.get(name).copied().unwrap_or_default();
        let left = have.minus(kube).minus(system).minus(eviction_threshold(name, *have, plan));
        let left = if name == "memory" || name == "ephemeral-storage" {
            Quantity::from_units(left.units()).binary()
        } else {
            left
        };
        (name.clone(), left)
    };
    capacity.iter().map(less).collect()
}

/// What the image keeps for the kubelet unless told otherwise (spec aws 2.3).
fn kube_reserved(
    machine: &Machine,
    plan: &BootPlan,
    capacity: &BTreeMap<String, Quantity>,
) -> BTreeMap<String, Quantity> {
    const MIB: i64 = 1 << 20;
    let own_pods = capacity.get("pods").map_or(0, |pods| pods.units());
    let from_interfaces = machine.hardware.get("pods").and_then(|text| text.parse::<Quantity>().ok());
    let pods = match plan.format {
        UserDataFormat::Bottlerocket => own_pods,
        UserDataFormat::Nodeadm | UserDataFormat::BootstrapScript => from_interfaces.map_or(own_pods, Quantity::units),
    };
    let cores = capacity.get("cpu").map_or(0, |cpu| cpu.millis());
    let mut reserved = BTreeMap::from([
        ("cpu".to_owned(), Quantity::from_millis(reserved_cpu(cores))),
        ("memory".to_owned(), Quantity::from_units((11 * pods + 255) * MIB)),
        ("ephemeral-storage".to_owned(), Quantity::from_units(1 << 30)),
    ]);
    reserved.extend(plan.kube_reserved.iter().map(|(name, amount)| (name.clone(), *amount)));
    reserved
}

/// 6 % of the first core, 1 % of the second, 0.5 % of the next two and 0.25 % of the others, each to whole thousandths.
fn reserved_cpu(millis: i64) -> i64 {
    let slices = [(0, 1_000, 600), (1_000, 2_000, 100), (2_000, 4_000, 50), (4_000, i64::MAX, 25)];
    slices.iter().map(|(from, to, per_ten_thousand)| (millis.min(*to) - from).max(0) * per_ten_thousand / 10_000).sum()
}

fn eviction_threshold(resource: &str, capacity: Quantity, plan: &BootPlan) -> Quantity {
    let (signal, default) = match resource {
        "memory" => ("memory.available", "100Mi"),
        "ephemeral-storage" => ("nodefs.available", "10%"),
        _ => return Quantity::default(),
    };
    let threshold = plan.eviction_hard.get(signal).map_or(default, String::as_str);
    match threshold.strip_suffix('%') {
        None => threshold.parse().unwrap_or_default(),
        Some(percent) => {
            let percent: f64 = percent.parse().unwrap_or(0.0);
            // All of it means that the signal is off.
            let share = if percent >= 100.0 { 0.0 } else { capacity.as_f64() * percent / 100.0 };
            Quantity::from_units(share.ceil() as i64)
        }
    }
}

fn api(amounts: &BTreeMap<String, Quantity>) -> BTreeMap<String, ApiQuantity> {
    amounts.iter().map(|(name, amount)| (name.clone(), ApiQuantity(amount.to_string()))).collect()
}

fn addresses(machine: &Machine) -> Vec<NodeAddress> {
    let address = |kind: &str, address: &str| NodeAddress { type_: kind.to_owned(), address: address.to_owned() };
    vec![
        address("InternalIP", &machine.private_ip),
        address("InternalDNS", &machine.private_dns_name),
        address("Hostname", &machine.private_dns_name),
    ]
}

fn conditions(now: Timestamp) -> Vec<NodeCondition> {
    let condition = |kind: &str, reason: &str, message: &str| NodeCondition {
        type_: kind.to_owned(),
        status: "False".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_heartbeat_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    };
    vec![
        condition("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        condition("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        condition("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        condition("Ready", "KubeletNotReady", "the network plugin is not ready"),
    ]
}

fn system_info(machine: &Machine, plan: &BootPlan, options: &NodeOptions) -> NodeSystemInfo {
    let (image, kernel) = match plan.format {
        UserDataFormat::Nodeadm => ("Amazon Linux 2023", "6.12.40-64.114.amzn2023"),
        UserDataFormat::Bottlerocket => ("Bottlerocket OS", "6.12.40"),
        UserDataFormat::BootstrapScript => ("Amazon Linux 2", "5.10.240-238.955.amzn2"),
    };
    NodeSystemInfo {
        architecture: machine.architecture.clone(),
        boot_id: format!("boot-{}", machine.instance_id),
        container_runtime_version: "containerd://2.1.4".to_owned(),
        kernel_version: kernel.to_owned(),
        kubelet_version: options.kubelet_version.clone(),
        kube_proxy_version: options.kubelet_version.clone(),
        machine_id: machine.instance_id.clone(),
        operating_system: "linux".to_owned(),
        os_image: image.to_owned(),
        system_uuid: machine.instance_id.clone(),
        ..NodeSystemInfo::default()
    }
}

#[cfg(test)]
mod tests {
    use super::reserved_cpu;
    use rstest::rstest;

    #[rstest]
    #[case(1, 60)]
    #[case(2, 70)]
    #[case(4, 80)]
    #[case(8, 90)]
    #[case(96, 310)]
    fn reserved_cpu_is_as_the_images_reckon(#[case] cores: i64, #[case] millis: i64) {
        assert_eq!(reserved_cpu(cores * 1_000), millis);
    }
}
