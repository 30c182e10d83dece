//! Writes what a launch is made of, as `launchTemplateData`.

use super::{launch_settings::connection_tracking, xml::Xml};
use crate::world::{BlockDevice, InterfaceSettings, LaunchSettings, Market, ReservedMarket, VolumeSettings};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::collections::BTreeMap;

/// Writes the content of the element.
pub(crate) fn write(xml: &mut Xml, settings: &LaunchSettings) {
    if !settings.block_devices.is_empty() {
        xml.items("blockDeviceMappingSet", &settings.block_devices, block_device);
    }
    if !settings.network_interfaces.is_empty() {
        xml.items("networkInterfaceSet", settings.network_interfaces.iter().enumerate(), |xml, (index, interface)| {
            network_interface(xml, interface, &connection_tracking(settings, index));
        });
    }
    if !settings.tags.is_empty() {
        xml.items("tagSpecificationSet", &settings.tags, |xml, specification| {
            xml.text("resourceType", &specification.resource);
            xml.tags("tagSet", &specification.tags);
        });
    }
    if !settings.security_group_ids.is_empty() {
        xml.texts("securityGroupIdSet", &settings.security_group_ids);
    }
    branches(settings).write(xml);
}

/// The settings that are no lists, by their dotted request names. What the world keeps without acting on it (see
/// [`LaunchSettings::other`]) shares structures with what it acts on, so both go through one tree.
fn branches(settings: &LaunchSettings) -> Branch {
    let mut root = Branch::default();
    let user_data = settings.user_data.as_ref().map(|data| STANDARD.encode(data));
    let texts: [(&str, Option<&str>); 10] = [
        ("ImageId", settings.image_id.as_deref()),
        ("InstanceType", settings.machine_type.as_deref()),
        ("UserData", user_data.as_deref()),
        ("IamInstanceProfile.Name", settings.instance_profile.as_deref()),
        ("KeyName", settings.key_name.as_deref()),
        ("Placement.AvailabilityZone", settings.zone.as_deref()),
        ("Placement.Tenancy", settings.tenancy.as_deref()),
        ("InstanceMarketOptions.MarketType", market_type(settings)),
        ("CapacityReservationSpecification.CapacityReservationPreference", settings.reservation_preference.as_deref()),
        (
            "CapacityReservationSpecification.CapacityReservationTarget.CapacityReservationId",
            settings.reservation_id.as_deref(),
        ),
    ];
    texts.into_iter().for_each(|(path, value)| root.insert(path, value));
    let booleans = [
        ("EbsOptimized", settings.ebs_optimized),
        ("Monitoring.Enabled", settings.monitoring),
        ("EnclaveOptions.Enabled", settings.enclave),
    ];
    booleans.into_iter().for_each(|(path, value)| root.insert(path, value));
    root.insert("InstanceMarketOptions.SpotOptions.MaxPrice", settings.max_spot_price);
    if let Some(metadata) = &settings.metadata {
        root.insert("MetadataOptions.HttpEndpoint", metadata.http_endpoint.as_deref());
        root.insert("MetadataOptions.HttpTokens", metadata.http_tokens.as_deref());
        root.insert("MetadataOptions.HttpPutResponseHopLimit", metadata.http_put_response_hop_limit);
        root.insert("MetadataOptions.HttpProtocolIpv6", metadata.http_protocol_ipv6.as_deref());
        root.insert("MetadataOptions.InstanceMetadataTags", metadata.instance_metadata_tags.as_deref());
    }
    let listed = |path: &str| path.starts_with("NetworkInterface.");
    settings.other.iter().filter(|(path, _)| !listed(path)).for_each(|(path, value)| root.insert(path, Some(value)));
    root
}

fn market_type(settings: &LaunchSettings) -> Option<&'static str> {
    settings.reserved_market.map(ReservedMarket::as_str).or_else(|| settings.market.map(Market::as_str))
}

/// A tree of elements.
#[derive(Default)]
struct Branch {
    value: Option<String>,
    parts: BTreeMap<String, Self>,
}

impl Branch {
    fn insert(&mut self, path: &str, value: Option<impl ToString>) {
        let Some(value) = value else { return };
        let leaf = path.split('.').fold(self, |branch, part| branch.parts.entry(lower_first(part)).or_default());
        leaf.value = Some(value.to_string());
    }

    fn write(&self, xml: &mut Xml) {
        for (name, part) in &self.parts {
            match &part.value {
                Some(value) => xml.text(name, value),
                None => xml.node(name, |xml| part.write(xml)),
            }
        }
    }
}

/// EC2 answers with the request's names, the first letter made small.
fn lower_first(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_lowercase().to_string() + letters.as_str())
}

fn block_device(xml: &mut Xml, device: &BlockDevice) {
    xml.text("deviceName", &device.device_name);
    xml.optional("virtualName", device.virtual_name.as_deref());
    if let Some(volume) = &device.volume {
        xml.node("ebs", |xml| ebs(xml, volume));
    }
}

fn ebs(xml: &mut Xml, volume: &VolumeSettings) {
    xml.optional("encrypted", volume.encrypted);
    xml.optional("deleteOnTermination", volume.delete_on_termination);
    xml.optional("iops", volume.iops);
    xml.optional("kmsKeyId", volume.kms_key_id.as_deref());
    xml.optional("snapshotId", volume.snapshot_id.as_deref());
    xml.optional("volumeSize", volume.size_gib);
    xml.optional("volumeType", volume.volume_type.as_deref());
    xml.optional("throughput", volume.throughput);
    xml.optional("volumeInitializationRate", volume.initialization_rate);
}

fn network_interface(xml: &mut Xml, interface: &InterfaceSettings, connection_tracking: &[(&'static str, &str)]) {
    xml.optional("associatePublicIpAddress", interface.associate_public_ip);
    xml.optional("deleteOnTermination", interface.delete_on_termination);
    xml.optional("description", interface.description.as_deref());
    xml.text("deviceIndex", interface.device_index);
    if !interface.security_group_ids.is_empty() {
        xml.node("groupSet", |xml| interface.security_group_ids.iter().for_each(|id| xml.text("groupId", id)));
    }
    xml.optional("interfaceType", interface.interface_type.as_deref());
    xml.optional("ipv6AddressCount", interface.ipv6_address_count);
    xml.optional("subnetId", interface.subnet_id.as_deref());
    xml.optional("networkCardIndex", (interface.network_card_index > 0).then_some(interface.network_card_index));
    xml.optional("ipv4PrefixCount", interface.ipv4_prefix_count);
    xml.optional("ipv6PrefixCount", interface.ipv6_prefix_count);
    xml.optional("primaryIpv6", interface.primary_ipv6);
    if !connection_tracking.is_empty() {
        xml.node("connectionTrackingSpecification", |xml| {
            connection_tracking.iter().for_each(|(name, seconds)| xml.text(&lower_first(name), seconds));
        });
    }
}
