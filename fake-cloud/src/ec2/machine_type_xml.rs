//! A machine type as an item of `DescribeInstanceTypes`.

use super::xml::Xml;
use crate::world::{Device, EbsLimits, Gpu, InstanceStore, MachineType, Network, NetworkCard, NeuronDevice};

/// Default timeouts of UDP connections in seconds, the same on every type.
const UDP_TIMEOUT_S: u32 = 30;
const UDP_STREAM_TIMEOUT_S: u32 = 180;

/// Writes the content of the item.
pub(crate) fn write(xml: &mut Xml, t: &MachineType) {
    xml.text("instanceType", t.name);
    xml.text("currentGeneration", t.current_generation);
    xml.text("freeTierEligible", t.features.free_tier);
    xml.texts("supportedUsageClasses", &t.usage_classes);
    xml.texts("supportedRootDeviceTypes", &t.root_device_types);
    xml.texts("supportedVirtualizationTypes", &t.virtualization_types);
    xml.text("bareMetal", t.bare_metal);
    xml.optional("hypervisor", t.hypervisor);
    processor(xml, t);
    xml.node("memoryInfo", |xml| xml.text("sizeInMiB", t.memory_mib));
    storage(xml, t.instance_store.as_ref());
    xml.node("ebsInfo", |xml| ebs(xml, t));
    xml.node("networkInfo", |xml| network(xml, &t.network));
    devices(xml, t);
    xml.node("placementGroupInfo", |xml| xml.texts("supportedStrategies", &t.placement_strategies));
    features(xml, t);
}

fn processor(xml: &mut Xml, t: &MachineType) {
    xml.node("processorInfo", |xml| {
        xml.texts("supportedArchitectures", &t.architectures);
        xml.optional("sustainedClockSpeedInGhz", t.cpu.clock_ghz);
        if !t.cpu.features.is_empty() {
            xml.texts("supportedFeatures", &t.cpu.features);
        }
        xml.text("manufacturer", t.cpu.manufacturer);
    });
    xml.node("vCpuInfo", |xml| {
        xml.text("defaultVCpus", t.cpu.vcpus);
        xml.text("defaultCores", t.cpu.cores);
        xml.text("defaultThreadsPerCore", t.cpu.threads_per_core);
        xml.texts("validCores", &t.cpu.valid_cores);
        xml.texts("validThreadsPerCore", &t.cpu.valid_threads_per_core);
    });
}

fn storage(xml: &mut Xml, store: Option<&InstanceStore>) {
    xml.text("instanceStorageSupported", store.is_some());
    let Some(store) = store else { return };
    xml.node("instanceStorageInfo", |xml| {
        xml.text("totalSizeInGB", store.total_gb);
        xml.items("disks", &store.disks, |xml, disk| {
            xml.text("sizeInGB", disk.size_gb);
            xml.text("count", disk.count);
            xml.text("type", disk.kind);
        });
        xml.text("nvmeSupport", store.nvme);
        xml.text("encryptionSupport", store.encryption);
    });
}

fn ebs(xml: &mut Xml, t: &MachineType) {
    xml.text("ebsOptimizedSupport", t.ebs.optimized);
    xml.text("encryptionSupport", "supported");
    if let (Some(baseline), Some(maximum)) = (&t.ebs.baseline, &t.ebs.maximum) {
        xml.node("ebsOptimizedInfo", |xml| ebs_limits(xml, baseline, maximum));
    }
    xml.text("nvmeSupport", t.ebs.nvme);
    xml.text("maximumEbsAttachments", t.ebs.max_attachments);
    xml.text("attachmentLimitType", t.ebs.attachment_limit_type);
    if t.ebs.cards.is_empty() {
        return;
    }
    xml.text("maximumEbsCards", t.ebs.cards.len());
    xml.items("ebsCardSet", &t.ebs.cards, |xml, card| {
        xml.text("ebsCardIndex", card.index);
        ebs_limits(xml, &card.baseline, &card.maximum);
    });
}

fn ebs_limits(xml: &mut Xml, baseline: &EbsLimits, maximum: &EbsLimits) {
    xml.text("baselineBandwidthInMbps", baseline.bandwidth_mbps);
    xml.text("baselineThroughputInMBps", baseline.throughput_mbs);
    xml.text("baselineIops", baseline.iops);
    xml.text("maximumBandwidthInMbps", maximum.bandwidth_mbps);
    xml.text("maximumThroughputInMBps", maximum.throughput_mbs);
    xml.text("maximumIops", maximum.iops);
}

fn network(xml: &mut Xml, network: &Network) {
    xml.text("networkPerformance", network.performance);
    xml.text("maximumNetworkInterfaces", network.max_interfaces);
    xml.text("maximumNetworkCards", network.cards.len());
    xml.text("defaultNetworkCardIndex", network.default_card);
    xml.items("networkCards", &network.cards, network_card);
    xml.text("ipv4AddressesPerInterface", network.ipv4_per_interface);
    xml.text("ipv6AddressesPerInterface", network.ipv6_per_interface);
    xml.text("ipv6Supported", network.ipv6);
    xml.text("enaSupport", network.ena);
    xml.text("efaSupported", network.efa_max_interfaces.is_some());
    if let Some(most) = network.efa_max_interfaces {
        xml.node("efaInfo", |xml| xml.text("maximumEfaInterfaces", most));
    }
    xml.text("encryptionInTransitSupported", network.encryption_in_transit);
    xml.text("enaSrdSupported", network.ena_srd);
    xml.texts("bandwidthWeightings", &network.bandwidth_weightings);
    xml.text("flexibleEnaQueuesSupport", supported(network.flexible_ena_queues));
    xml.node("connectionTrackingConfiguration", |xml| {
        xml.text("defaultTcpEstablishedTimeout", network.tcp_established_timeout_s);
        xml.text("defaultUdpTimeout", UDP_TIMEOUT_S);
        xml.text("defaultUdpStreamTimeout", UDP_STREAM_TIMEOUT_S);
    });
    xml.optional("ipv4AddressesPerSecondaryInterface", network.ipv4_per_secondary_interface);
}

fn network_card(xml: &mut Xml, card: &NetworkCard) {
    xml.text("networkCardIndex", card.index);
    xml.text("networkPerformance", card.performance);
    xml.text("maximumNetworkInterfaces", card.max_interfaces);
    xml.optional("additionalFlexibleNetworkInterfaces", card.flexible_interfaces);
    xml.optional("baselineBandwidthInGbps", card.baseline_gbps);
    xml.optional("peakBandwidthInGbps", card.peak_gbps);
    xml.optional("defaultEnaQueueCountPerInterface", card.default_ena_queues);
    xml.optional("maximumEnaQueueCount", card.max_ena_queues);
    xml.optional("maximumEnaQueueCountPerInterface", card.max_ena_queues_per_interface);
}

fn devices(xml: &mut Xml, t: &MachineType) {
    if !t.gpus.is_empty() {
        xml.node("gpuInfo", |xml| {
            xml.items("gpus", &t.gpus, gpu);
            xml.text("totalGpuMemoryInMiB", t.gpus.iter().map(gpu_memory_mib).sum::<u64>());
        });
    }
    device_group(xml, "fpgaInfo", "fpgas", "totalFpgaMemoryInMiB", &t.fpgas);
    if !t.accelerators.is_empty() {
        // The one list of this API whose elements are not called `item`.
        xml.node("inferenceAcceleratorInfo", |xml| {
            xml.node("accelerators", |xml| {
                t.accelerators.iter().for_each(|accelerator| xml.node("member", |xml| device(xml, accelerator)));
            });
            xml.text("totalInferenceMemoryInMiB", memory_mib(&t.accelerators));
        });
    }
    device_group(xml, "mediaAcceleratorInfo", "accelerators", "totalMediaMemoryInMiB", &t.media_accelerators);
    if !t.neuron_devices.is_empty() {
        xml.node("neuronInfo", |xml| {
            xml.items("neuronDevices", &t.neuron_devices, neuron_device);
            let total: u64 = t.neuron_devices.iter().map(|d| u64::from(d.count) * d.memory_mib).sum();
            xml.text("totalNeuronDeviceMemoryInMiB", total);
        });
    }
}

/// All memory of equal GPUs. A type with a part of one has a count of 0, and the memory is that of the part.
fn gpu_memory_mib(gpu: &Gpu) -> u64 {
    let count = if gpu.count == 0 { gpu.logical_count.unwrap_or(1) } else { gpu.count };
    u64::from(count) * gpu.memory_mib
}

fn gpu(xml: &mut Xml, gpu: &Gpu) {
    xml.text("name", gpu.name);
    xml.text("manufacturer", gpu.manufacturer);
    xml.text("count", gpu.count);
    xml.optional("logicalGpuCount", gpu.logical_count);
    xml.optional("gpuPartitionSize", gpu.partition_size);
    if !gpu.workloads.is_empty() {
        xml.texts("workloadSet", &gpu.workloads);
    }
    xml.node("memoryInfo", |xml| xml.text("sizeInMiB", gpu.memory_mib));
}

fn device_group(xml: &mut Xml, info: &str, list: &str, total: &str, devices: &[Device]) {
    if devices.is_empty() {
        return;
    }
    xml.node(info, |xml| {
        xml.items(list, devices, device);
        xml.text(total, memory_mib(devices));
    });
}

fn memory_mib(devices: &[Device]) -> u64 {
    devices.iter().map(|device| u64::from(device.count) * device.memory_mib).sum()
}

fn device(xml: &mut Xml, device: &Device) {
    xml.text("count", device.count);
    xml.text("name", device.name);
    xml.text("manufacturer", device.manufacturer);
    xml.node("memoryInfo", |xml| xml.text("sizeInMiB", device.memory_mib));
}

fn neuron_device(xml: &mut Xml, device: &NeuronDevice) {
    xml.text("count", device.count);
    xml.text("name", device.name);
    xml.node("coreInfo", |xml| {
        xml.text("count", device.cores);
        xml.text("version", device.core_version);
    });
    xml.node("memoryInfo", |xml| xml.text("sizeInMiB", device.memory_mib));
}

fn features(xml: &mut Xml, t: &MachineType) {
    xml.text("hibernationSupported", t.features.hibernation);
    xml.text("burstablePerformanceSupported", t.features.burstable);
    xml.text("dedicatedHostsSupported", t.features.dedicated_hosts);
    xml.text("autoRecoverySupported", t.features.auto_recovery);
    xml.texts("supportedBootModes", &t.boot_modes);
    xml.text("nitroEnclavesSupport", supported(t.features.enclaves));
    xml.text("nitroTpmSupport", supported(t.features.nitro_tpm));
    if t.features.nitro_tpm {
        xml.node("nitroTpmInfo", |xml| xml.texts("supportedVersions", ["2.0"]));
    }
    xml.text("phcSupport", supported(t.features.phc));
    xml.text("rebootMigrationSupport", supported(t.features.reboot_migration));
}

fn supported(yes: bool) -> &'static str {
    if yes { "supported" } else { "unsupported" }
}
