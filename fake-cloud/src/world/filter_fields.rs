//! The fields that filters can look at, by EC2's filter names, for each kind of thing.

use super::{
    Filterable, Image, Instance, LaunchTemplate, MachineType, Offering, SecurityGroup, SpotPrice, Subnet, Tags, Zone,
};
use std::borrow::Cow;

fn one(text: &str) -> Vec<Cow<'_, str>> {
    vec![Cow::Borrowed(text)]
}

fn maybe(text: Option<&str>) -> Vec<Cow<'_, str>> {
    text.into_iter().map(Cow::Borrowed).collect()
}

fn many<'t>(texts: impl IntoIterator<Item = &'t str>) -> Vec<Cow<'t, str>> {
    texts.into_iter().map(Cow::Borrowed).collect()
}

fn shown(value: &impl ToString) -> Vec<Cow<'static, str>> {
    vec![Cow::Owned(value.to_string())]
}

fn supported(flag: bool) -> Vec<Cow<'static, str>> {
    one(if flag { "supported" } else { "unsupported" })
}

impl Filterable for Instance {
    const NAMES: &'static [&'static str] = &[
        "instance-id",
        "instance-type",
        "instance-state-name",
        "instance-state-code",
        "instance-lifecycle",
        "availability-zone",
        "availability-zone-id",
        "subnet-id",
        "vpc-id",
        "image-id",
        "architecture",
        "platform",
        "private-dns-name",
        "private-ip-address",
        "reservation-id",
        "client-token",
        "spot-instance-request-id",
        "instance.group-id",
        "iam-instance-profile.name",
        "key-name",
        "tenancy",
        "launch-time",
        "root-device-name",
        "state-reason-code",
        "network-interface.network-interface-id",
        "block-device-mapping.volume-id",
    ];

    fn values(&self, name: &str) -> Vec<Cow<'_, str>> {
        match name {
            "instance-id" => one(&self.id),
            "instance-type" => one(self.machine_type),
            "instance-state-name" => one(self.state.as_str()),
            "instance-state-code" => shown(&self.state.code()),
            "instance-lifecycle" => maybe(self.lifecycle()),
            "availability-zone" => one(self.zone.name),
            "availability-zone-id" => one(self.zone.id),
            "subnet-id" => one(&self.subnet_id),
            "vpc-id" => one(&self.vpc_id),
            "image-id" => maybe(self.settings.image_id.as_deref()),
            "architecture" => one(self.architecture),
            "platform" => maybe(self.platform),
            "private-dns-name" => one(&self.private_dns_name),
            "private-ip-address" => shown(&self.private_ip),
            "reservation-id" => one(&self.reservation_id),
            "client-token" => maybe(self.client_token.as_deref()),
            "spot-instance-request-id" => maybe(self.spot_request_id.as_deref()),
            "instance.group-id" => many(self.security_group_ids().iter().map(String::as_str)),
            "iam-instance-profile.name" => maybe(self.settings.instance_profile.as_deref()),
            "key-name" => maybe(self.settings.key_name.as_deref()),
            "tenancy" => one(self.settings.tenancy.as_deref().unwrap_or("default")),
            "launch-time" => shown(&self.launched),
            "root-device-name" => one(self.root_device),
            "state-reason-code" => maybe(self.state_reason.map(super::StateReason::code)),
            "network-interface.network-interface-id" => many(self.interfaces.iter().map(|each| each.id.as_str())),
            "block-device-mapping.volume-id" => many(self.volumes.iter().map(|each| each.id.as_str())),
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

impl Filterable for MachineType {
    const NAMES: &'static [&'static str] = &[
        "instance-type",
        "bare-metal",
        "burstable-performance-supported",
        "current-generation",
        "dedicated-hosts-supported",
        "free-tier-eligible",
        "hibernation-supported",
        "auto-recovery-supported",
        "hypervisor",
        "instance-storage-supported",
        "memory-info.size-in-mib",
        "network-info.efa-supported",
        "network-info.encryption-in-transit-supported",
        "network-info.ipv6-supported",
        "network-info.maximum-network-interfaces",
        "network-info.network-performance",
        "nitro-enclaves-support",
        "nitro-tpm-support",
        "processor-info.manufacturer",
        "processor-info.supported-architecture",
        "processor-info.supported-features",
        "processor-info.sustained-clock-speed-in-ghz",
        "ebs-info.ebs-optimized-support",
        "ebs-info.nvme-support",
        "supported-boot-mode",
        "supported-root-device-type",
        "supported-usage-class",
        "supported-virtualization-type",
        "vcpu-info.default-cores",
        "vcpu-info.default-threads-per-core",
        "vcpu-info.default-vcpus",
    ];

    fn values(&self, name: &str) -> Vec<Cow<'_, str>> {
        match name {
            "instance-type" => one(self.name),
            "bare-metal" => shown(&self.bare_metal),
            "burstable-performance-supported" => shown(&self.features.burstable),
            "current-generation" => shown(&self.current_generation),
            "dedicated-hosts-supported" => shown(&self.features.dedicated_hosts),
            "free-tier-eligible" => shown(&self.features.free_tier),
            "hibernation-supported" => shown(&self.features.hibernation),
            "auto-recovery-supported" => shown(&self.features.auto_recovery),
            "hypervisor" => maybe(self.hypervisor),
            "instance-storage-supported" => shown(&self.instance_store.is_some()),
            "memory-info.size-in-mib" => shown(&self.memory_mib),
            "network-info.efa-supported" => shown(&self.network.efa_max_interfaces.is_some()),
            "network-info.encryption-in-transit-supported" => shown(&self.network.encryption_in_transit),
            "network-info.ipv6-supported" => shown(&self.network.ipv6),
            "network-info.maximum-network-interfaces" => shown(&self.network.max_interfaces),
            "network-info.network-performance" => one(self.network.performance),
            "nitro-enclaves-support" => supported(self.features.enclaves),
            "nitro-tpm-support" => supported(self.features.nitro_tpm),
            "processor-info.manufacturer" => one(self.cpu.manufacturer),
            "processor-info.supported-architecture" => many(self.architectures.iter().copied()),
            "processor-info.supported-features" => many(self.cpu.features.iter().copied()),
            "processor-info.sustained-clock-speed-in-ghz" => maybe(self.cpu.clock_ghz),
            "ebs-info.ebs-optimized-support" => one(self.ebs.optimized),
            "ebs-info.nvme-support" => one(self.ebs.nvme),
            "supported-boot-mode" => many(self.boot_modes.iter().copied()),
            "supported-root-device-type" => many(self.root_device_types.iter().copied()),
            "supported-usage-class" => many(self.usage_classes.iter().copied()),
            "supported-virtualization-type" => many(self.virtualization_types.iter().copied()),
            "vcpu-info.default-cores" => shown(&self.cpu.cores),
            "vcpu-info.default-threads-per-core" => shown(&self.cpu.threads_per_core),
            "vcpu-info.default-vcpus" => shown(&self.cpu.vcpus),
            _ => Vec::new(),
        }
    }
}

impl Filterable for Offering<'_> {
    /// `location` is the zone's name, whichever kind of location the caller asked for.
    const NAMES: &'static [&'static str] = &["instance-type", "location"];

    fn values(&self, name: &str) -> Vec<Cow<'_, str>> {
        match name {
            "instance-type" => one(self.machine_type.name),
            "location" => one(self.zone.name),
            _ => Vec::new(),
        }
    }
}

impl Filterable for SpotPrice {
    const NAMES: &'static [&'static str] =
        &["instance-type", "availability-zone", "product-description", "spot-price", "timestamp"];

    fn values(&self, name: &str) -> Vec<Cow<'_, str>> {
        match name {
            "instance-type" => one(self.machine_type),
            "availability-zone" => one(self.zone),
            "product-description" => one("Linux/UNIX"),
            "spot-price" => vec![Cow::Owned(self.price.with_decimals(6))],
            "timestamp" => shown(&self.since),
            _ => Vec::new(),
        }
    }
}

impl Filterable for Subnet {
    const NAMES: &'static [&'static str] = &[
        "subnet-id",
        "vpc-id",
        "availability-zone",
        "availabilityZone",
        "availability-zone-id",
        "cidr-block",
        "state",
        "default-for-az",
        "available-ip-address-count",
    ];

    fn values(&self, name: &str) -> Vec<Cow<'_, str>> {
        match name {
            "subnet-id" => one(&self.id),
            "vpc-id" => one(&self.vpc_id),
            "availability-zone" | "availabilityZone" => one(self.zone.name),
            "availability-zone-id" => one(self.zone.id),
            "cidr-block" => shown(&self.cidr()),
            "state" => one("available"),
            "default-for-az" => shown(&self.default_for_zone),
            "available-ip-address-count" => shown(&self.free_addresses()),
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

impl Filterable for SecurityGroup {
    const NAMES: &'static [&'static str] = &["group-id", "group-name", "description", "vpc-id"];

    fn values(&self, name: &str) -> Vec<Cow<'_, str>> {
        match name {
            "group-id" => one(&self.id),
            "group-name" => one(&self.name),
            "description" => one(&self.description),
            "vpc-id" => one(&self.vpc_id),
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

impl Filterable for Image {
    const NAMES: &'static [&'static str] = &[
        "image-id",
        "name",
        "architecture",
        "state",
        "owner-id",
        "owner-alias",
        "image-type",
        "is-public",
        "platform",
        "root-device-name",
        "root-device-type",
        "virtualization-type",
        "creation-date",
    ];

    fn values(&self, name: &str) -> Vec<Cow<'_, str>> {
        match name {
            "image-id" => one(&self.id),
            "name" => one(&self.name),
            "architecture" => one(self.architecture),
            "state" => one("available"),
            "owner-id" => one(self.owner_id),
            "owner-alias" => one(self.owner_alias),
            "image-type" => one("machine"),
            "is-public" => one("true"),
            "platform" => maybe(self.platform),
            "root-device-name" => one(self.root_device),
            "root-device-type" => one("ebs"),
            "virtualization-type" => one("hvm"),
            "creation-date" => shown(&self.created),
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

impl Filterable for LaunchTemplate {
    const NAMES: &'static [&'static str] = &["launch-template-name", "create-time"];

    fn values(&self, name: &str) -> Vec<Cow<'_, str>> {
        match name {
            "launch-template-name" => one(&self.name),
            "create-time" => shown(&self.created),
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

impl Filterable for Zone {
    const NAMES: &'static [&'static str] =
        &["zone-name", "zone-id", "zone-type", "region-name", "opt-in-status", "state", "group-name"];

    fn values(&self, name: &str) -> Vec<Cow<'_, str>> {
        match name {
            "zone-name" => one(self.name),
            "zone-id" => one(self.id),
            "zone-type" => one(self.kind),
            "region-name" | "group-name" => one(self.region),
            "opt-in-status" => one(self.opt_in),
            "state" => one("available"),
            _ => Vec::new(),
        }
    }
}
