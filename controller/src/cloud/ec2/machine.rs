//! An instance type as EC2 describes it, without the SDK's optionality: what capacity, labels and offerings are computed from.

use aws_sdk_ec2::types::{
    ArchitectureType, EbsOptimizedSupport, EnaSupport, EphemeralNvmeSupport, InstanceTypeInfo, NetworkInfo,
    NitroEnclavesSupport, UsageClassType,
};

/// One entry of DescribeInstanceTypes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Machine {
    /// E.g. `m5.large`.
    pub(super) name: String,
    pub(super) bare_metal: bool,
    /// `nitro`, `xen`, or empty for bare metal.
    pub(super) hypervisor: String,
    pub(super) on_demand: bool,
    pub(super) spot: bool,
    /// In EC2's words, in EC2's order: `x86_64`, `arm64` …
    pub(super) architectures: Vec<String>,
    pub(super) cpu_manufacturer: Option<String>,
    pub(super) clock_ghz: Option<f64>,
    pub(super) cpu_features: Vec<String>,
    pub(super) vcpus: i64,
    pub(super) memory_mib: i64,
    pub(super) local_storage_gb: Option<i64>,
    /// Whether the local storage is NVMe.
    pub(super) local_nvme: bool,
    /// Set only where EBS optimisation is always on.
    pub(super) ebs_bandwidth_mbps: Option<i64>,
    /// In order of their index.
    pub(super) network_cards: Vec<NetworkCard>,
    pub(super) default_network_card: i64,
    pub(super) ipv4_per_interface: i64,
    pub(super) efa_interfaces: i64,
    pub(super) ena: bool,
    pub(super) encryption_in_transit: bool,
    pub(super) nitro_enclaves: bool,
    /// Of placement groups, in EC2's words: `cluster`, `partition`, `spread`.
    pub(super) placement_strategies: Vec<String>,
    pub(super) gpus: Vec<Device>,
    /// Neuron devices.
    pub(super) neurons: Vec<Device>,
    /// Inference accelerators that are not Neuron devices.
    pub(super) accelerators: Vec<Device>,
}

/// One network card.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NetworkCard {
    pub(super) index: i64,
    pub(super) interfaces: i64,
}

/// A kind of GPU or accelerator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) name: String,
    pub(super) manufacturer: String,
    pub(super) count: i64,
    /// Of each.
    pub(super) memory_mib: i64,
    /// Of each; Neuron only.
    pub(super) cores: i64,
}

impl Machine {
    /// What EC2 said, if it said the least that is needed: name, processors, memory.
    pub(super) fn read(info: &InstanceTypeInfo) -> Option<Self> {
        let network = info.network_info();
        let processor = info.processor_info();
        Some(Self {
            name: info.instance_type()?.as_str().to_owned(),
            bare_metal: info.bare_metal().unwrap_or_default(),
            hypervisor: info.hypervisor().map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
            on_demand: info.supported_usage_classes().contains(&UsageClassType::OnDemand),
            spot: info.supported_usage_classes().contains(&UsageClassType::Spot),
            architectures: processor
                .map(|cpu| texts(cpu.supported_architectures(), ArchitectureType::as_str))
                .unwrap_or_default(),
            cpu_manufacturer: processor.and_then(|cpu| cpu.manufacturer()).map(str::to_owned),
            clock_ghz: processor.and_then(|cpu| cpu.sustained_clock_speed_in_ghz()),
            cpu_features: processor
                .map(|cpu| texts(cpu.supported_features(), |feature| feature.as_str()))
                .unwrap_or_default(),
            vcpus: info.v_cpu_info()?.default_v_cpus()?.into(),
            memory_mib: info.memory_info()?.size_in_mib()?,
            local_storage_gb: info.instance_storage_info().and_then(|storage| storage.total_size_in_gb()),
            local_nvme: has_nvme(info),
            ebs_bandwidth_mbps: ebs_bandwidth(info),
            network_cards: network.map(network_cards).unwrap_or_default(),
            default_network_card: network
                .and_then(|network| network.default_network_card_index())
                .unwrap_or_default()
                .into(),
            ipv4_per_interface: network
                .and_then(|network| network.ipv4_addresses_per_interface())
                .unwrap_or_default()
                .into(),
            efa_interfaces: efa_interfaces(network),
            ena: network.and_then(|network| network.ena_support()).is_some_and(|ena| *ena != EnaSupport::Unsupported),
            encryption_in_transit: network
                .and_then(|network| network.encryption_in_transit_supported())
                .unwrap_or_default(),
            nitro_enclaves: info.nitro_enclaves_support() == Some(&NitroEnclavesSupport::Supported),
            placement_strategies: info
                .placement_group_info()
                .map(|groups| texts(groups.supported_strategies(), |strategy| strategy.as_str()))
                .unwrap_or_default(),
            gpus: gpus(info),
            neurons: neurons(info),
            accelerators: accelerators(info),
        })
    }

    /// What is after the dot.
    pub(super) fn size(&self) -> &str {
        self.name.split_once('.').map_or("", |(_, size)| size)
    }

    /// What is before the dot.
    pub(super) fn family(&self) -> &str {
        self.name.split_once('.').map_or(self.name.as_str(), |(family, _)| family)
    }
}

fn texts<T>(values: &[T], text: impl Fn(&T) -> &str) -> Vec<String> {
    values.iter().map(|value| text(value).to_owned()).collect()
}

fn has_nvme(info: &InstanceTypeInfo) -> bool {
    let support = info.instance_storage_info().and_then(|storage| storage.nvme_support());
    support.is_some_and(|support| *support != EphemeralNvmeSupport::Unsupported)
}

fn ebs_bandwidth(info: &InstanceTypeInfo) -> Option<i64> {
    let ebs = info.ebs_info().filter(|ebs| ebs.ebs_optimized_support() == Some(&EbsOptimizedSupport::Default))?;
    ebs.ebs_optimized_info()?.maximum_bandwidth_in_mbps().map(i64::from)
}

fn efa_interfaces(network: Option<&NetworkInfo>) -> i64 {
    let efa = network.and_then(|network| network.efa_info());
    efa.and_then(|efa| efa.maximum_efa_interfaces()).unwrap_or_default().into()
}

fn network_cards(network: &NetworkInfo) -> Vec<NetworkCard> {
    let card = |card: &aws_sdk_ec2::types::NetworkCardInfo| NetworkCard {
        index: card.network_card_index().unwrap_or_default().into(),
        interfaces: card.maximum_network_interfaces().unwrap_or_default().into(),
    };
    let mut cards: Vec<_> = network.network_cards().iter().map(card).collect();
    cards.sort_by_key(|card| card.index);
    cards
}

fn gpus(info: &InstanceTypeInfo) -> Vec<Device> {
    let gpus = info.gpu_info().map(|gpus| gpus.gpus()).unwrap_or_default();
    let device = |gpu: &aws_sdk_ec2::types::GpuDeviceInfo| Device {
        name: gpu.name().unwrap_or_default().to_owned(),
        manufacturer: gpu.manufacturer().unwrap_or_default().to_owned(),
        count: gpu.count().unwrap_or_default().into(),
        memory_mib: gpu.memory_info().and_then(|memory| memory.size_in_mib()).unwrap_or_default().into(),
        cores: 0,
    };
    gpus.iter().map(device).collect()
}

fn neurons(info: &InstanceTypeInfo) -> Vec<Device> {
    let devices = info.neuron_info().map(|neuron| neuron.neuron_devices()).unwrap_or_default();
    let device = |neuron: &aws_sdk_ec2::types::NeuronDeviceInfo| Device {
        name: neuron.name().unwrap_or_default().to_owned(),
        manufacturer: "aws".to_owned(),
        count: neuron.count().unwrap_or_default().into(),
        memory_mib: neuron.memory_info().and_then(|memory| memory.size_in_mib()).unwrap_or_default().into(),
        cores: neuron.core_info().and_then(|cores| cores.count()).unwrap_or_default().into(),
    };
    devices.iter().map(device).collect()
}

fn accelerators(info: &InstanceTypeInfo) -> Vec<Device> {
    let accelerators = info.inference_accelerator_info().map(|info| info.accelerators()).unwrap_or_default();
    let device = |device: &aws_sdk_ec2::types::InferenceDeviceInfo| Device {
        name: device.name().unwrap_or_default().to_owned(),
        manufacturer: device.manufacturer().unwrap_or_default().to_owned(),
        count: device.count().unwrap_or_default().into(),
        memory_mib: device.memory_info().and_then(|memory| memory.size_in_mib()).unwrap_or_default().into(),
        cores: 0,
    };
    accelerators.iter().map(device).collect()
}
