//! What a machine has, and what of it pods cannot use (spec aws 2.2, 2.3).

use super::{facts::facts, machine::Machine};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use sawhorse_core::{
    api::{AmiFamily, BlockDeviceMapping, Ec2NodeClassSpec, KubeletConfiguration},
    model::{Overhead, Resources},
};
use std::collections::BTreeMap;

/// The resource of EFA interfaces.
pub(super) const EFA: &str = "vpc.amazonaws.com/efa";
const MIB: i64 = 1 << 20;
const GIB: i64 = 1 << 30;
/// What the kernel of arm64 machines keeps of the memory that EC2 states.
const ARM64_MEMORY_LOSS_MIB: i64 = 64;
/// Pods of a machine whose family is not limited by addresses.
const DEFAULT_MAX_PODS: i64 = 110;
/// The kubelet's hard eviction threshold of memory where nothing is configured.
const MEMORY_EVICTION: i64 = 100 * MIB;
/// The kubelet's hard eviction threshold of storage where nothing is configured.
const STORAGE_EVICTION_PERCENT: i64 = 10;

/// What, besides the machine itself, decides how much of it there is.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) family: AmiFamily,
    pub(super) kubelet: KubeletConfiguration,
    pub(super) block_devices: Vec<BlockDeviceMapping>,
    pub(super) raid0: bool,
    /// EFA-only interfaces on network card 0 and on all cards; none where the interfaces are not declared.
    pub(super) efa_only: Option<(i64, i64)>,
    /// The share of memory that the hypervisor keeps, e.g. 0.075.
    pub(super) vm_memory_overhead_percent: f64,
    pub(super) reserved_enis: i64,
}

impl Shape {
    /// The shape of machines of a NodeClass. Kubelet fields of the wrong type count as unset; validation reports them.
    pub(super) fn of(spec: &Ec2NodeClassSpec, vm_memory_overhead_percent: f64, reserved_enis: i64) -> Self {
        let efa_only = |card: Option<i32>| {
            let interfaces = spec.network_interfaces.iter().filter(|one| one.interface_type == "efa-only");
            interfaces.filter(|one| card.is_none_or(|card| card == one.network_card_index)).count() as i64
        };
        Self {
            family: spec.resolved_ami_family().unwrap_or(AmiFamily::Custom),
            kubelet: spec.kubelet_configuration().unwrap_or_default(),
            block_devices: spec.block_device_mappings.clone(),
            raid0: spec.instance_store_policy.as_deref() == Some("RAID0"),
            efa_only: (!spec.network_interfaces.is_empty()).then(|| (efa_only(Some(0)), efa_only(None))),
            vm_memory_overhead_percent,
            reserved_enis,
        }
    }
}

impl Shape {
    /// Whether machines reckon by themselves how many pods their interfaces have addresses for, with our result. Then their
    /// user data need not say it, and machines of different sizes share a launch template.
    pub(super) fn machines_know_their_pods(&self) -> bool {
        self.family == AmiFamily::AL2023
            && self.kubelet.max_pods_number().is_none()
            && self.kubelet.pods_per_core.is_none()
            && self.reserved_enis == 0
            && self.efa_only.is_none()
    }
}

/// What `machine` has.
pub(super) fn capacity(machine: &Machine, shape: &Shape) -> Resources {
    let mut capacity = Resources::new()
        .with("cpu", machine.vcpus * 1_000)
        .with("memory", memory(machine, shape.vm_memory_overhead_percent))
        .with("ephemeral-storage", ephemeral_storage(machine, shape))
        .with("pods", pods(machine, shape));
    for (name, amount) in devices(machine, shape) {
        if amount > 0 {
            capacity.set(name, amount);
        }
    }
    capacity
}

fn memory(machine: &Machine, overhead: f64) -> i64 {
    let arm = machine.architectures.first().is_some_and(|first| first == "arm64");
    let stated = machine.memory_mib - if arm { ARM64_MEMORY_LOSS_MIB } else { 0 };
    let kept = (stated as f64 * overhead).ceil() as i64;
    (stated - kept) * MIB
}

/// How many pods a machine can take.
pub(super) fn pods(machine: &Machine, shape: &Shape) -> i64 {
    let by_addresses = || match shape.family.is_windows() {
        true => DEFAULT_MAX_PODS,
        false => eni_limited_pods(machine, shape.reserved_enis, shape.efa_only.map_or(0, |(first_card, _)| first_card)),
    };
    let pods = shape.kubelet.max_pods_number().unwrap_or_else(by_addresses);
    match shape.kubelet.pods_per_core {
        Some(per_core) if per_core > 0 && shape.family != AmiFamily::Bottlerocket => {
            pods.min(i64::from(per_core) * machine.vcpus)
        }
        _ => pods,
    }
}

/// Pods that can get an address: each interface gives all but one of its addresses, and two pods use the host's network.
fn eni_limited_pods(machine: &Machine, reserved_enis: i64, efa_only: i64) -> i64 {
    let default_card = machine.network_cards.iter().find(|card| card.index == machine.default_network_card);
    let usable = (default_card.map_or(0, |card| card.interfaces) - reserved_enis - efa_only).max(0);
    match usable {
        0 => 0,
        usable => usable * (machine.ipv4_per_interface - 1) + 2,
    }
}

fn ephemeral_storage(machine: &Machine, shape: &Shape) -> i64 {
    if let (true, Some(gigabytes)) = (shape.raid0, machine.local_storage_gb.filter(|size| *size > 0)) {
        return gigabytes * 1_000_000_000;
    }
    let devices = &shape.block_devices;
    let root = devices.iter().find(|device| device.root_volume == Some(true));
    let device = root.or_else(|| match ephemeral_device(shape.family) {
        None => devices.last(),
        Some(name) => devices.iter().find(|device| device.device_name.as_deref() == Some(name)),
    });
    device.and_then(volume_bytes).unwrap_or(if shape.family.is_windows() { 50 * GIB } else { 20 * GIB })
}

/// The device on which a family keeps the kubelet's data; none where the image decides.
fn ephemeral_device(family: AmiFamily) -> Option<&'static str> {
    match family {
        AmiFamily::AL2 | AmiFamily::AL2023 => Some("/dev/xvda"),
        AmiFamily::Bottlerocket => Some("/dev/xvdb"),
        AmiFamily::Windows2019 | AmiFamily::Windows2022 | AmiFamily::Windows2025 => Some("/dev/sda1"),
        AmiFamily::Custom => None,
    }
}

fn volume_bytes(device: &BlockDeviceMapping) -> Option<i64> {
    let size = device.ebs.as_ref()?.volume_size.clone()?;
    let sizes = BTreeMap::from([("ephemeral-storage".to_owned(), size)]);
    Some(Resources::of_capacity(&sizes).get("ephemeral-storage")).filter(|bytes| *bytes > 0)
}

fn devices(machine: &Machine, shape: &Shape) -> [(&'static str, i64); 7] {
    let gpus = |manufacturer: &str| {
        let of_maker = machine.gpus.iter().filter(|gpu| gpu.manufacturer == manufacturer);
        of_maker.map(|gpu| gpu.count).sum()
    };
    let neuron_cores = machine.neurons.first().map_or(0, |device| device.count * device.cores);
    [
        ("nvidia.com/gpu", gpus("NVIDIA")),
        ("amd.com/gpu", gpus("AMD")),
        ("habana.ai/gaudi", gpus("Habana")),
        ("aws.amazon.com/neuron", machine.neurons.iter().map(|device| device.count).sum()),
        ("aws.amazon.com/neuroncore", neuron_cores),
        (EFA, shape.efa_only.map_or(machine.efa_interfaces, |(_, all_cards)| all_cards)),
        ("vpc.amazonaws.com/pod-eni", facts(&machine.name).branch_interfaces.unwrap_or_default()),
    ]
}

/// What pods cannot use of `capacity`, which is that of `machine`.
pub(super) fn overhead(machine: &Machine, shape: &Shape, capacity: &Resources) -> Overhead {
    Overhead {
        kube_reserved: kube_reserved(machine, shape, capacity),
        system_reserved: quantities(&shape.kubelet.system_reserved),
        eviction_threshold: eviction_threshold(shape, capacity),
    }
}

fn kube_reserved(machine: &Machine, shape: &Shape, capacity: &Resources) -> Resources {
    let pods = match shape.family {
        AmiFamily::AL2 | AmiFamily::AL2023 | AmiFamily::Custom => eni_limited_pods(machine, 0, 0),
        AmiFamily::Bottlerocket | AmiFamily::Windows2019 | AmiFamily::Windows2022 | AmiFamily::Windows2025 => {
            capacity.get("pods")
        }
    };
    let mut reserved = Resources::new()
        .with("cpu", reserved_cpu(machine.vcpus * 1_000))
        .with("memory", (11 * pods + 255) * MIB)
        .with("ephemeral-storage", GIB);
    for (name, amount) in quantities(&shape.kubelet.kube_reserved).iter() {
        reserved.set(name, amount);
    }
    reserved
}

/// 6 % of the first core, 1 % of the second, 0.5 % of the next two, 0.25 % of the rest; whole thousandths of each slice.
fn reserved_cpu(milli: i64) -> i64 {
    const SLICES: [(i64, i64, i64); 4] =
        [(0, 1_000, 600), (1_000, 2_000, 100), (2_000, 4_000, 50), (4_000, i64::MAX, 25)];
    let of_slice = |(from, to, per_10_000): (i64, i64, i64)| (milli.min(to) - from).max(0) * per_10_000 / 10_000;
    SLICES.into_iter().map(of_slice).sum()
}

fn eviction_threshold(shape: &Shape, capacity: &Resources) -> Resources {
    let storage = capacity.get("ephemeral-storage");
    let threshold = |signal: &str, resource: &str, default: i64| {
        let configured = shape.kubelet.eviction_hard.get(signal);
        configured.and_then(|text| threshold_of(text, resource, capacity.get(resource))).unwrap_or(default)
    };
    Resources::new().with("memory", threshold("memory.available", "memory", MEMORY_EVICTION)).with(
        "ephemeral-storage",
        threshold("nodefs.available", "ephemeral-storage", percent_of(STORAGE_EVICTION_PERCENT as f64, storage)),
    )
}

/// A signal's threshold: a quantity, or a percentage of the capacity, where all of it means that the signal is off.
fn threshold_of(text: &str, resource: &str, capacity: i64) -> Option<i64> {
    match text.strip_suffix('%') {
        Some("100") => Some(0),
        Some(percent) => percent.parse().ok().map(|percent| percent_of(percent, capacity)),
        None => {
            let amounts = quantities(&BTreeMap::from([(resource.to_owned(), text.to_owned())]));
            amounts.contains(resource).then(|| amounts.get(resource))
        }
    }
}

fn percent_of(percent: f64, amount: i64) -> i64 {
    (amount as f64 * percent / 100.0).ceil() as i64
}

/// Amounts that a user wrote; what is not a quantity counts as absent, validation reports it.
fn quantities(texts: &BTreeMap<String, String>) -> Resources {
    let map = texts.iter().map(|(name, text)| (name.clone(), Quantity(text.clone()))).collect();
    Resources::of_capacity(&map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::ec2::fixtures::{machine, spec};
    use rstest::rstest;

    fn shape(yaml: &str) -> Shape {
        Shape::of(&spec(yaml), 0.075, 0)
    }

    fn allocatable(name: &str, yaml: &str) -> Resources {
        let (machine, shape) = (machine(name), shape(yaml));
        let capacity = capacity(&machine, &shape);
        let overhead = overhead(&machine, &shape, &capacity);
        capacity.minus(&overhead.kube_reserved).minus(&overhead.system_reserved).minus(&overhead.eviction_threshold)
    }

    // The figures are those of the reference's published table of instance types.
    #[rstest]
    #[case("m5.large", "cpu: 2, memory: 7577Mi, ephemeral-storage: 20Gi, pods: 29, vpc.amazonaws.com/pod-eni: 9")]
    #[case("t3.medium", "cpu: 2, memory: 3788Mi, ephemeral-storage: 20Gi, pods: 17")]
    #[case("m6g.large", "cpu: 2, memory: 7518Mi, ephemeral-storage: 20Gi, pods: 29, vpc.amazonaws.com/pod-eni: 9")]
    #[case(
        "g4dn.12xlarge",
        "cpu: 48, memory: 181862Mi, ephemeral-storage: 20Gi, pods: 234, nvidia.com/gpu: 4, vpc.amazonaws.com/efa: 1, vpc.amazonaws.com/pod-eni: 54"
    )]
    #[case(
        "p5.48xlarge",
        "cpu: 192, memory: 1939865Mi, ephemeral-storage: 20Gi, pods: 100, nvidia.com/gpu: 8, vpc.amazonaws.com/efa: 32, vpc.amazonaws.com/pod-eni: 120"
    )]
    #[case(
        "inf2.xlarge",
        "cpu: 4, memory: 15155Mi, ephemeral-storage: 20Gi, pods: 58, aws.amazon.com/neuron: 1, aws.amazon.com/neuroncore: 2, vpc.amazonaws.com/pod-eni: 18"
    )]
    fn what_a_machine_has(#[case] name: &str, #[case] expected: &str) {
        assert_eq!(capacity(&machine(name), &shape("{amiFamily: AL2023}")).to_string(), expected);
    }

    #[rstest]
    #[case("m5.large", 1_930, 6_903)]
    #[case("t3.medium", 1_930, 3_246)]
    #[case("m6g.large", 1_930, 6_844)]
    #[case("g4dn.12xlarge", 47_810, 178_933)]
    fn what_pods_can_use(#[case] name: &str, #[case] cpu: i64, #[case] memory_mib: i64) {
        let allocatable = allocatable(name, "{amiFamily: AL2023}");
        assert_eq!((allocatable.get("cpu"), allocatable.get("memory") / MIB), (cpu, memory_mib));
        assert_eq!(allocatable.get("ephemeral-storage"), 17 * GIB);
    }

    #[rstest]
    #[case::all("{amiFamily: AL2023}", 29)]
    #[case::stated("{amiFamily: AL2023, kubelet: {maxPods: 110}}", 110)]
    #[case::per_core("{amiFamily: AL2023, kubelet: {podsPerCore: 10}}", 20)]
    #[case::bottlerocket_ignores_per_core("{amiFamily: Bottlerocket, kubelet: {podsPerCore: 10}}", 29)]
    #[case::windows("{amiFamily: Windows2022}", 110)]
    fn pods_of_an_m5_large(#[case] yaml: &str, #[case] expected: i64) {
        assert_eq!(pods(&machine("m5.large"), &shape(yaml)), expected);
    }

    #[test]
    fn reserved_interfaces_give_no_addresses() {
        let mut shape = shape("{amiFamily: AL2023}");
        shape.reserved_enis = 1;
        assert_eq!(pods(&machine("m5.large"), &shape), 20);
        shape.reserved_enis = 9;
        assert_eq!(pods(&machine("m5.large"), &shape), 0);
    }

    #[rstest]
    #[case(2, 70)]
    #[case(4, 80)]
    #[case(8, 90)]
    #[case(96, 310)]
    fn cpu_kept_for_the_kubelet(#[case] vcpus: i64, #[case] milli: i64) {
        assert_eq!(reserved_cpu(vcpus * 1_000), milli);
    }

    #[rstest]
    #[case::default("{amiFamily: AL2023}", 20 * GIB)]
    #[case::family_device("{amiFamily: AL2023, blockDeviceMappings: [{deviceName: /dev/xvda, ebs: {volumeSize: 100Gi}}]}", 100 * GIB)]
    #[case::other_device("{amiFamily: AL2023, blockDeviceMappings: [{deviceName: /dev/xvdz, ebs: {volumeSize: 100Gi}}]}", 20 * GIB)]
    #[case::root("{amiFamily: AL2023, blockDeviceMappings: [{deviceName: /dev/xvdz, rootVolume: true, ebs: {volumeSize: 50Gi}}]}", 50 * GIB)]
    #[case::custom_last("{amiFamily: Custom, blockDeviceMappings: [{deviceName: /dev/a, ebs: {volumeSize: 5Gi}}, {deviceName: /dev/b, ebs: {volumeSize: 9Gi}}]}", 9 * GIB)]
    #[case::local_disks("{amiFamily: AL2023, instanceStorePolicy: RAID0}", 75_000_000_000)]
    fn storage_of_an_m5d_large(#[case] yaml: &str, #[case] bytes: i64) {
        assert_eq!(capacity(&machine("m5d.large"), &shape(yaml)).get("ephemeral-storage"), bytes);
    }

    #[rstest]
    #[case("{kubelet: {kubeReserved: {cpu: 200m}}}", 1_800, 6_903)]
    #[case("{kubelet: {systemReserved: {memory: 103Mi}}}", 1_930, 6_800)]
    #[case("{kubelet: {evictionHard: {memory.available: 3Mi}}}", 1_930, 7_000)]
    #[case("{kubelet: {evictionHard: {memory.available: 100%}}}", 1_930, 7_003)]
    fn the_kubelet_configuration_counts(#[case] yaml: &str, #[case] cpu: i64, #[case] memory_mib: i64) {
        let allocatable = allocatable("m5.large", yaml);
        assert_eq!((allocatable.get("cpu"), allocatable.get("memory") / MIB), (cpu, memory_mib));
    }

    #[test]
    fn bottlerocket_reserves_for_the_pods_that_it_takes() {
        let reserved = |yaml| {
            let (machine, shape) = (machine("m5.large"), shape(yaml));
            let capacity = capacity(&machine, &shape);
            overhead(&machine, &shape, &capacity).kube_reserved.get("memory") / MIB
        };
        assert_eq!(reserved("{amiFamily: Bottlerocket, kubelet: {maxPods: 10}}"), 365);
        assert_eq!(reserved("{amiFamily: AL2023, kubelet: {maxPods: 10}}"), 574);
    }
}
