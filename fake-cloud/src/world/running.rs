//! Running machines, as whoever boots them needs to know them.

use super::{Instance, InstanceState, MachineType, RunningMachine, World, launch::BOTTLEROCKET_DATA_DEVICE};
use std::collections::BTreeMap;

impl World {
    /// The machines running now, by id, as whoever boots them needs to know them.
    pub fn running_machines(&self) -> Vec<RunningMachine> {
        let running = self.instances().filter(|instance| instance.state == InstanceState::Running);
        running.map(|instance| self.running_machine(instance)).collect()
    }

    fn running_machine(&self, instance: &Instance) -> RunningMachine {
        let machine_type = self.machine_type_of(instance);
        let user_data = instance.settings.user_data.as_deref().unwrap_or_default();
        RunningMachine {
            instance_id: instance.id.clone(),
            provider_id: format!("aws:///{}/{}", instance.zone.name, instance.id),
            machine_type: machine_type.name,
            region: self.region,
            zone: instance.zone.name,
            zone_id: instance.zone.id,
            architecture: machine_type.kubernetes_architecture(),
            private_dns_name: instance.private_dns_name.clone(),
            private_ip: instance.private_ip.to_string(),
            user_data: String::from_utf8_lossy(user_data).into_owned(),
            hardware: hardware(machine_type, instance),
            instance_store_gb: machine_type.instance_store.as_ref().map_or(0, |store| store.total_gb),
            address_limited_pods: machine_type.address_limited_pods(),
            market: instance.market,
            image_id: instance.settings.image_id.clone().unwrap_or_default(),
            running_since: instance.state_since,
        }
    }
}

/// What a kubelet on the machine detects.
fn hardware(machine_type: &MachineType, instance: &Instance) -> BTreeMap<String, String> {
    let gpus =
        |maker: &str| machine_type.gpus.iter().filter(|gpu| gpu.manufacturer == maker).map(|gpu| gpu.count).sum();
    let neuron = machine_type.neuron_devices.iter();
    let efa = instance.interfaces.iter().filter(|interface| interface.interface_type.starts_with("efa")).count();
    let devices: [(&str, u32); 6] = [
        ("nvidia.com/gpu", gpus("NVIDIA")),
        ("amd.com/gpu", gpus("AMD")),
        ("habana.ai/gaudi", gpus("Habana")),
        ("aws.amazon.com/neuron", neuron.clone().map(|device| device.count).sum()),
        ("aws.amazon.com/neuroncore", neuron.map(|device| device.count * device.cores).sum()),
        ("vpc.amazonaws.com/efa", efa as u32),
    ];
    let found = devices.into_iter().filter(|(_, count)| *count > 0);
    let mut hardware: BTreeMap<String, String> =
        found.map(|(name, count)| (name.to_owned(), count.to_string())).collect();
    hardware.insert("pods".to_owned(), machine_type.address_limited_pods().to_string());
    hardware.insert("cpu".to_owned(), machine_type.cpu.vcpus.to_string());
    hardware.insert("memory".to_owned(), format!("{}Ki", machine_type.visible_memory_kib()));
    hardware.insert("ephemeral-storage".to_owned(), format!("{}Gi", data_volume_gib(instance)));
    hardware
}

/// The volume that pods write to: the data device if the machine has one apart, else the root device.
fn data_volume_gib(instance: &Instance) -> u64 {
    let size =
        |name: &str| instance.volumes.iter().find(|volume| volume.device_name == name).map(|volume| volume.size_gib);
    let largest = || instance.volumes.iter().map(|volume| volume.size_gib).max();
    size(BOTTLEROCKET_DATA_DEVICE).or_else(|| size(instance.root_device)).or_else(largest).unwrap_or(0)
}
