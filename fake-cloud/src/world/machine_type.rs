//! What a machine type is: everything the vendor publishes about it, typed.

/// A machine type (EC2: instance type), as `DescribeInstanceTypes` shapes it. All texts are slices of the embedded catalogue.
#[derive(Clone, Debug, PartialEq)]
pub struct MachineType {
    /// E.g. `m5.large`.
    pub name: &'static str,
    /// Whether the vendor counts it among the current generation.
    pub current_generation: bool,
    /// Whether there is no hypervisor below the operating system.
    pub bare_metal: bool,
    /// `nitro`, `xen`; `None` for bare metal.
    pub hypervisor: Option<&'static str>,
    /// `x86_64`, `arm64`, `i386`, `x86_64_mac`, `arm64_mac`.
    pub architectures: Vec<&'static str>,
    /// The processor.
    pub cpu: Cpu,
    /// Nominal memory.
    pub memory_mib: u64,
    /// `on-demand`, `spot`, `capacity-block`.
    pub usage_classes: Vec<&'static str>,
    /// `hvm`, `paravirtual`.
    pub virtualization_types: Vec<&'static str>,
    /// `uefi`, `legacy-bios`.
    pub boot_modes: Vec<&'static str>,
    /// `ebs`, `instance-store`.
    pub root_device_types: Vec<&'static str>,
    /// Yes-or-no features.
    pub features: Features,
    /// `cluster`, `partition`, `spread`.
    pub placement_strategies: Vec<&'static str>,
    /// Attached block storage.
    pub ebs: Ebs,
    /// Disks inside the machine, if it has any.
    pub instance_store: Option<InstanceStore>,
    /// Networking.
    pub network: Network,
    /// Graphics processors (EC2 `GpuInfo`).
    pub gpus: Vec<Gpu>,
    /// Inference accelerators (EC2 `InferenceAcceleratorInfo`).
    pub accelerators: Vec<Device>,
    /// Neuron devices (EC2 `NeuronInfo`).
    pub neuron_devices: Vec<NeuronDevice>,
    /// Programmable gate arrays (EC2 `FpgaInfo`).
    pub fpgas: Vec<Device>,
    /// Media accelerators (EC2 `MediaAcceleratorInfo`).
    pub media_accelerators: Vec<Device>,
}

/// A type's processor.
#[derive(Clone, Debug, PartialEq)]
pub struct Cpu {
    /// `Intel`, `AMD`, `AWS`, `Apple`.
    pub manufacturer: &'static str,
    /// Sustained clock speed in GHz, as the vendor writes it (`3.1`).
    pub clock_ghz: Option<&'static str>,
    /// Supported features, e.g. `amd-sev-snp`, `nested-virtualization`.
    pub features: Vec<&'static str>,
    /// Default number of vCPUs.
    pub vcpus: u32,
    /// Default number of cores.
    pub cores: u32,
    /// Default threads per core.
    pub threads_per_core: u32,
    /// Core counts that may be asked for.
    pub valid_cores: Vec<u32>,
    /// Threads per core that may be asked for.
    pub valid_threads_per_core: Vec<u32>,
}

/// A type's yes-or-no features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// CPU credits (EC2 `BurstablePerformanceSupported`).
    pub burstable: bool,
    /// Hibernation.
    pub hibernation: bool,
    /// Automatic recovery.
    pub auto_recovery: bool,
    /// Dedicated hosts.
    pub dedicated_hosts: bool,
    /// Free tier.
    pub free_tier: bool,
    /// Nitro enclaves.
    pub enclaves: bool,
    /// Nitro TPM (version 2.0).
    pub nitro_tpm: bool,
    /// EC2 `PhcSupport`.
    pub phc: bool,
    /// EC2 `RebootMigrationSupport`.
    pub reboot_migration: bool,
}

/// A type's attached block storage.
#[derive(Clone, Debug, PartialEq)]
pub struct Ebs {
    /// `default`, `supported`, `unsupported`.
    pub optimized: &'static str,
    /// `required`, `supported`, `unsupported`.
    pub nvme: &'static str,
    /// Sustained limits, if optimised.
    pub baseline: Option<EbsLimits>,
    /// Burst limits, if optimised.
    pub maximum: Option<EbsLimits>,
    /// Most volumes attached at once.
    pub max_attachments: u32,
    /// `shared` with network interfaces, or `dedicated`.
    pub attachment_limit_type: &'static str,
    /// Cards, on types that have several.
    pub cards: Vec<EbsCard>,
}

/// What block storage can carry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EbsLimits {
    /// Megabit per second.
    pub bandwidth_mbps: u32,
    /// Megabyte per second, as the vendor writes it (`593.75`).
    pub throughput_mbs: &'static str,
    /// Operations per second.
    pub iops: u32,
}

/// One block storage card.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EbsCard {
    /// Its index.
    pub index: u32,
    /// Sustained limits.
    pub baseline: EbsLimits,
    /// Burst limits.
    pub maximum: EbsLimits,
}

/// Disks inside the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceStore {
    /// Equal disks together.
    pub disks: Vec<DiskGroup>,
    /// All disks together, decimal gigabytes.
    pub total_gb: u64,
    /// `required`, `unsupported`.
    pub encryption: &'static str,
    /// `required`, `supported`, `unsupported`.
    pub nvme: &'static str,
}

/// Equal disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskGroup {
    /// How many.
    pub count: u32,
    /// Decimal gigabytes each.
    pub size_gb: u64,
    /// `ssd`, `hdd`.
    pub kind: &'static str,
}

/// A type's networking.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// In the vendor's words, e.g. `Up to 10 Gigabit`.
    pub performance: &'static str,
    /// Over all cards.
    pub max_interfaces: u32,
    /// The cards, numbered in order.
    pub cards: Vec<NetworkCard>,
    /// Index of the card that the primary interface uses.
    pub default_card: u32,
    /// IPv4 addresses per interface.
    pub ipv4_per_interface: u32,
    /// IPv4 addresses per interface on secondary cards, where the vendor says.
    pub ipv4_per_secondary_interface: Option<u32>,
    /// IPv6 addresses per interface.
    pub ipv6_per_interface: u32,
    /// Whether IPv6 is supported.
    pub ipv6: bool,
    /// `required`, `supported`, `unsupported`.
    pub ena: &'static str,
    /// ENA Express.
    pub ena_srd: bool,
    /// Flexible ENA queues.
    pub flexible_ena_queues: bool,
    /// Most EFA interfaces; `None` when EFA is not supported.
    pub efa_max_interfaces: Option<u32>,
    /// Traffic between machines is encrypted.
    pub encryption_in_transit: bool,
    /// Default timeout of established TCP connections, seconds.
    pub tcp_established_timeout_s: u32,
    /// `default`, `vpc-1`, `ebs-1`.
    pub bandwidth_weightings: Vec<&'static str>,
    /// Baseline Mbit/s as the label `instance-network-bandwidth` has it.
    pub label_bandwidth_mbps: Option<u32>,
    /// Branch interfaces of a trunk (pods with their own interface).
    pub trunk_branch_interfaces: Option<u32>,
}

/// One network card.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkCard {
    /// Its index.
    pub index: u32,
    /// In the vendor's words.
    pub performance: &'static str,
    /// Most interfaces.
    pub max_interfaces: u32,
    /// Gbit/s as the vendor writes it.
    pub baseline_gbps: Option<&'static str>,
    /// Gbit/s as the vendor writes it.
    pub peak_gbps: Option<&'static str>,
    /// Whether it takes EFA interfaces.
    pub efa: bool,
    /// ENA queues of an interface by default.
    pub default_ena_queues: Option<u32>,
    /// ENA queues of the card.
    pub max_ena_queues: Option<u32>,
    /// ENA queues of an interface at most.
    pub max_ena_queues_per_interface: Option<u32>,
    /// Interfaces with flexible queues.
    pub flexible_interfaces: Option<u32>,
}

/// Equal graphics processors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// E.g. `H100`.
    pub name: &'static str,
    /// `NVIDIA`, `AMD`, `Habana`.
    pub manufacturer: &'static str,
    /// How many; 0 for a part of one.
    pub count: u32,
    /// Memory of each.
    pub memory_mib: u64,
    /// The part of one, e.g. `0.125`.
    pub partition_size: Option<&'static str>,
    /// Parts.
    pub logical_count: Option<u32>,
    /// `ml-ai`, `graphics`.
    pub workloads: Vec<&'static str>,
}

/// Equal devices of another kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// E.g. `Inferentia2`.
    pub name: &'static str,
    /// Who makes it.
    pub manufacturer: &'static str,
    /// How many.
    pub count: u32,
    /// Memory of each.
    pub memory_mib: u64,
}

/// Equal Neuron devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeuronDevice {
    /// E.g. `Trainium2`.
    pub name: &'static str,
    /// How many.
    pub count: u32,
    /// Cores of each.
    pub cores: u32,
    /// Version of the cores.
    pub core_version: u32,
    /// Memory of each.
    pub memory_mib: u64,
}

/// arm64 types lose this much before the operating system sees memory (spec of the reference's estimate: 64 MiB).
const ARM_FIRMWARE_MIB: u64 = 64;

/// What firmware and hypervisor keep of the rest, in thousandths. The reference provider estimates 75; real nodes report
/// between 20 and 70. 70 keeps a node's real capacity above the estimate for every type.
const VM_OVERHEAD_PER_MILLE: u64 = 70;

impl MachineType {
    /// `m5` of `m5.large`.
    pub fn family(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(family, _)| family)
    }

    /// The architecture images are made for: `x86_64`, `arm64` or a Mac's.
    pub fn image_architecture(&self) -> &'static str {
        self.architectures.iter().copied().find(|arch| *arch != "i386").unwrap_or("x86_64")
    }

    /// The architecture in Kubernetes' word: `amd64` or `arm64`.
    pub fn kubernetes_architecture(&self) -> &'static str {
        if self.image_architecture().starts_with("arm64") { "arm64" } else { "amd64" }
    }

    /// The memory that the operating system of a machine of this type reports, in KiB: 93 % of the nominal memory, after
    /// 64 MiB less on arm64.
    pub fn visible_memory_kib(&self) -> u64 {
        let firmware = if self.architectures.first() == Some(&"arm64") { ARM_FIRMWARE_MIB } else { 0 };
        self.memory_mib.saturating_sub(firmware) * 1024 * (1000 - VM_OVERHEAD_PER_MILLE) / 1000
    }

    /// How many pods' addresses the default network card can hold, without prefixes (the vendor's `eni-max-pods` formula).
    pub fn address_limited_pods(&self) -> u32 {
        let default_card = self.network.cards.iter().find(|card| card.index == self.network.default_card);
        let interfaces = default_card.map_or(self.network.max_interfaces, |card| card.max_interfaces);
        interfaces * self.network.ipv4_per_interface.saturating_sub(1) + 2
    }

    /// Whether `market` sells it at all.
    pub fn sold_as(&self, market: super::Market) -> bool {
        self.usage_classes.contains(&market.as_str())
    }
}
