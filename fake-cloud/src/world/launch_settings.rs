//! What a launch is made of: a template's content, a request's own parameters, and the one merged over the other.

use super::{CloudError, Market, Price, ReservedMarket, TagSpecification};
use std::collections::BTreeMap;

/// EC2's limit on user data before base64.
const MAX_USER_DATA: usize = 16_384;

/// The parameters of a machine that is to be launched: the content of a launch template, or of a `RunInstances` request.
/// `None` and empty mean "not given".
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LaunchSettings {
    /// The image's id.
    pub image_id: Option<String>,
    /// The type's name.
    pub machine_type: Option<String>,
    /// Decoded.
    pub user_data: Option<Vec<u8>>,
    /// The instance profile's name (the last part of an ARN).
    pub instance_profile: Option<String>,
    /// A key pair's name.
    pub key_name: Option<String>,
    /// Groups of the primary interface, when no interfaces are given.
    pub security_group_ids: Vec<String>,
    /// The primary interface's subnet, when no interfaces are given.
    pub subnet_id: Option<String>,
    /// A zone's name (EC2 `Placement.AvailabilityZone`).
    pub zone: Option<String>,
    /// `default`, `dedicated`, `host`.
    pub tenancy: Option<String>,
    /// The interfaces; the one with device index 0 on card 0 is the primary.
    pub network_interfaces: Vec<InterfaceSettings>,
    /// The volumes.
    pub block_devices: Vec<BlockDevice>,
    /// The metadata service.
    pub metadata: Option<MetadataSettings>,
    /// Detailed monitoring.
    pub monitoring: Option<bool>,
    /// Optimised for block storage.
    pub ebs_optimized: Option<bool>,
    /// Nitro enclave.
    pub enclave: Option<bool>,
    /// The market (EC2 `InstanceMarketOptions`); a fleet has its own.
    pub market: Option<Market>,
    /// Bought in a reservation of a market of its own.
    pub reserved_market: Option<ReservedMarket>,
    /// The most to pay on the spot market.
    pub max_spot_price: Option<Price>,
    /// `open`, `none`, `capacity-reservations-only`.
    pub reservation_preference: Option<String>,
    /// A reservation's id.
    pub reservation_id: Option<String>,
    /// Tags of what is launched.
    pub tags: Vec<TagSpecification>,
    /// Parameters without effect in the world, by the vendor's name, kept so that they can be described again.
    pub other: BTreeMap<String, String>,
}

/// A network interface to be made with a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct InterfaceSettings {
    /// Position on its card.
    pub device_index: u32,
    /// The card.
    pub network_card_index: u32,
    /// `interface`, `efa`, `efa-only`; `None` is `interface`.
    pub interface_type: Option<String>,
    /// Its subnet.
    pub subnet_id: Option<String>,
    /// Its groups.
    pub security_group_ids: Vec<String>,
    /// A public address.
    pub associate_public_ip: Option<bool>,
    /// Delegated /28 prefixes.
    pub ipv4_prefix_count: Option<u32>,
    /// Delegated /80 prefixes.
    pub ipv6_prefix_count: Option<u32>,
    /// IPv6 addresses.
    pub ipv6_address_count: Option<u32>,
    /// Whether the first IPv6 address is the primary one.
    pub primary_ipv6: Option<bool>,
    /// Goes with the machine; `None` is yes.
    pub delete_on_termination: Option<bool>,
    /// In words.
    pub description: Option<String>,
}

/// A device and the volume behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct BlockDevice {
    /// E.g. `/dev/xvda`.
    pub device_name: String,
    /// The volume, if it is one.
    pub volume: Option<VolumeSettings>,
    /// An instance-store disk, e.g. `ephemeral0`.
    pub virtual_name: Option<String>,
}

/// A volume to be made with a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct VolumeSettings {
    /// Size; `None` takes the snapshot's.
    pub size_gib: Option<u64>,
    /// `gp3`, …
    pub volume_type: Option<String>,
    /// Operations per second.
    pub iops: Option<u32>,
    /// MiB per second.
    pub throughput: Option<u32>,
    /// MiB per second while filled from the snapshot.
    pub initialization_rate: Option<u32>,
    /// Encrypted.
    pub encrypted: Option<bool>,
    /// The key.
    pub kms_key_id: Option<String>,
    /// The snapshot.
    pub snapshot_id: Option<String>,
    /// Goes with the machine; `None` is yes.
    pub delete_on_termination: Option<bool>,
}

/// How the metadata service answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MetadataSettings {
    /// `enabled`, `disabled`.
    pub http_endpoint: Option<String>,
    /// `optional`, `required`.
    pub http_tokens: Option<String>,
    /// Hops a token may travel.
    pub http_put_response_hop_limit: Option<u32>,
    /// `enabled`, `disabled`.
    pub http_protocol_ipv6: Option<String>,
    /// `enabled`, `disabled`.
    pub instance_metadata_tags: Option<String>,
}

impl LaunchSettings {
    /// These settings with those of `over` where it gives any (EC2: a request's parameters override its template's).
    pub fn overridden_by(&self, over: &Self) -> Self {
        fn list<T: Clone>(under: &[T], over: &[T]) -> Vec<T> {
            if over.is_empty() { under.to_vec() } else { over.to_vec() }
        }
        Self {
            image_id: over.image_id.clone().or_else(|| self.image_id.clone()),
            machine_type: over.machine_type.clone().or_else(|| self.machine_type.clone()),
            user_data: over.user_data.clone().or_else(|| self.user_data.clone()),
            instance_profile: over.instance_profile.clone().or_else(|| self.instance_profile.clone()),
            key_name: over.key_name.clone().or_else(|| self.key_name.clone()),
            security_group_ids: list(&self.security_group_ids, &over.security_group_ids),
            subnet_id: over.subnet_id.clone().or_else(|| self.subnet_id.clone()),
            zone: over.zone.clone().or_else(|| self.zone.clone()),
            tenancy: over.tenancy.clone().or_else(|| self.tenancy.clone()),
            network_interfaces: merged_interfaces(&self.network_interfaces, &over.network_interfaces),
            block_devices: list(&self.block_devices, &over.block_devices),
            metadata: over.metadata.clone().or_else(|| self.metadata.clone()),
            monitoring: over.monitoring.or(self.monitoring),
            ebs_optimized: over.ebs_optimized.or(self.ebs_optimized),
            enclave: over.enclave.or(self.enclave),
            market: over.market.or(self.market),
            reserved_market: over.reserved_market.or(self.reserved_market),
            max_spot_price: over.max_spot_price.or(self.max_spot_price),
            reservation_preference: over.reservation_preference.clone().or_else(|| self.reservation_preference.clone()),
            reservation_id: over.reservation_id.clone().or_else(|| self.reservation_id.clone()),
            tags: self.tags.iter().chain(&over.tags).cloned().collect(),
            other: self.other.iter().chain(&over.other).map(|(key, value)| (key.clone(), value.clone())).collect(),
        }
    }

    /// The subnet that the primary interface names.
    pub(crate) fn primary_subnet(&self) -> Option<&str> {
        let primary = self.network_interfaces.iter().find_map(|interface| interface.subnet_id.as_deref());
        primary.or(self.subnet_id.as_deref())
    }

    /// The groups of the primary interface.
    pub(crate) fn primary_groups(&self) -> &[String] {
        let primary = self.network_interfaces.iter().find(|interface| !interface.security_group_ids.is_empty());
        primary.map_or(&self.security_group_ids, |interface| &interface.security_group_ids)
    }

    /// Checks what can be checked without knowing the world.
    pub(crate) fn check(&self) -> Result<(), CloudError> {
        let bytes = self.user_data.as_ref().map_or(0, Vec::len);
        if bytes > MAX_USER_DATA {
            return Err(CloudError::UserDataTooLarge { bytes, limit: MAX_USER_DATA });
        }
        super::tags::check_specifications(&self.tags)
    }
}

/// Interfaces of a request are merged into the template's by card and device index, field by field where both name one.
fn merged_interfaces(under: &[InterfaceSettings], over: &[InterfaceSettings]) -> Vec<InterfaceSettings> {
    let place = |interface: &InterfaceSettings| (interface.network_card_index, interface.device_index);
    let mut merged = under.to_vec();
    for interface in over {
        match merged.iter_mut().find(|known| place(known) == place(interface)) {
            Some(known) => *known = merged_interface(known, interface),
            None => merged.push(interface.clone()),
        }
    }
    merged
}

fn merged_interface(under: &InterfaceSettings, over: &InterfaceSettings) -> InterfaceSettings {
    let groups = if over.security_group_ids.is_empty() { &under.security_group_ids } else { &over.security_group_ids };
    InterfaceSettings {
        device_index: over.device_index,
        network_card_index: over.network_card_index,
        interface_type: over.interface_type.clone().or_else(|| under.interface_type.clone()),
        subnet_id: over.subnet_id.clone().or_else(|| under.subnet_id.clone()),
        security_group_ids: groups.clone(),
        associate_public_ip: over.associate_public_ip.or(under.associate_public_ip),
        ipv4_prefix_count: over.ipv4_prefix_count.or(under.ipv4_prefix_count),
        ipv6_prefix_count: over.ipv6_prefix_count.or(under.ipv6_prefix_count),
        ipv6_address_count: over.ipv6_address_count.or(under.ipv6_address_count),
        primary_ipv6: over.primary_ipv6.or(under.primary_ipv6),
        delete_on_termination: over.delete_on_termination.or(under.delete_on_termination),
        description: over.description.clone().or_else(|| under.description.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::{InterfaceSettings, LaunchSettings};

    #[test]
    fn a_request_overrides_its_template_and_keeps_the_rest() {
        let interface = |subnet: Option<&str>, groups: &[&str]| InterfaceSettings {
            subnet_id: subnet.map(str::to_owned),
            security_group_ids: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..InterfaceSettings::default()
        };
        let template = LaunchSettings {
            image_id: Some("ami-1".to_owned()),
            user_data: Some(b"join".to_vec()),
            network_interfaces: vec![interface(None, &["sg-1"])],
            ..LaunchSettings::default()
        };
        let request = LaunchSettings {
            image_id: Some("ami-2".to_owned()),
            network_interfaces: vec![interface(Some("subnet-1"), &[])],
            ..LaunchSettings::default()
        };
        let merged = template.overridden_by(&request);
        assert_eq!((merged.image_id.as_deref(), merged.user_data.as_deref()), (Some("ami-2"), Some(&b"join"[..])));
        assert_eq!(merged.primary_subnet(), Some("subnet-1"));
        assert_eq!(merged.primary_groups(), ["sg-1"]);
    }
}
