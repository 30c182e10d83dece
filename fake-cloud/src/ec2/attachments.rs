//! What hangs on instances: `DescribeVolumes`, `DescribeNetworkInterfaces`.

use super::{
    Answer, Call,
    error::Refusal,
    filter,
    instance_xml::{write_addresses, write_groups},
    page::Page,
    query::Params,
    xml::Xml,
};
use crate::world::{CloudError, Filterable, Instance, Interface, ResourceKind, Tags, Volume, passes};
use std::borrow::Cow;

/// A thing and the instance that it hangs on.
struct On<'i, T>(&'i T, &'i Instance);

/// `DescribeVolumes`.
pub(crate) fn describe_volumes(call: &Call<'_>, mut params: Params) -> Answer {
    let ids = params.texts("VolumeId")?;
    params.boolean("IncludeManagedResources")?;
    let filters = filter::take::<On<'_, Volume>>(&mut params, true)?;
    let page = Page::take(&mut params, call.action, &(5..=1000))?;
    params.finish()?;
    let instances = call.world.instances();
    let mut all: Vec<On<'_, Volume>> =
        instances.flat_map(|instance| instance.volumes.iter().map(move |volume| On(volume, instance))).collect();
    all.sort_by(|one, other| one.0.id.cmp(&other.0.id));
    let known = |id: &str| all.binary_search_by(|on| on.0.id.as_str().cmp(id)).is_ok();
    refuse_unknown(&ids, ResourceKind::Volume, known)?;
    let chosen = all.iter().filter(|on| (ids.is_empty() || ids.contains(&on.0.id)) && passes(*on, &filters));
    let (volumes, next) = page.cut(chosen, |on| on.0.id.clone())?;
    let mut xml = Xml::new();
    xml.items("volumeSet", volumes, |xml, on| write_volume(xml, on.0, on.1));
    xml.optional("nextToken", next);
    Ok(xml)
}

fn write_volume(xml: &mut Xml, volume: &Volume, instance: &Instance) {
    xml.text("volumeId", &volume.id);
    xml.text("size", volume.size_gib);
    xml.text("volumeType", &volume.volume_type);
    xml.text("snapshotId", "");
    xml.text("availabilityZone", instance.zone.name);
    xml.text("availabilityZoneId", instance.zone.id);
    xml.text("status", "in-use");
    xml.time("createTime", volume.attached);
    xml.text("encrypted", volume.encrypted);
    xml.text("multiAttachEnabled", false);
    xml.items("attachmentSet", [volume], |xml, volume| {
        xml.text("volumeId", &volume.id);
        xml.text("instanceId", &instance.id);
        xml.text("device", &volume.device_name);
        xml.text("status", "attached");
        xml.time("attachTime", volume.attached);
        xml.text("deleteOnTermination", volume.delete_on_termination);
    });
    xml.tags("tagSet", &volume.tags);
}

/// `DescribeNetworkInterfaces`.
pub(crate) fn describe_network_interfaces(call: &Call<'_>, mut params: Params) -> Answer {
    let ids = params.texts("NetworkInterfaceId")?;
    params.boolean("IncludeManagedResources")?;
    let filters = filter::take::<On<'_, Interface>>(&mut params, true)?;
    let page = Page::take(&mut params, call.action, &(5..=1000))?;
    params.finish()?;
    let instances = call.world.instances();
    let mut all: Vec<On<'_, Interface>> =
        instances.flat_map(|instance| instance.interfaces.iter().map(move |each| On(each, instance))).collect();
    all.sort_by(|one, other| one.0.id.cmp(&other.0.id));
    let known = |id: &str| all.binary_search_by(|on| on.0.id.as_str().cmp(id)).is_ok();
    refuse_unknown(&ids, ResourceKind::NetworkInterface, known)?;
    let chosen = all.iter().filter(|on| (ids.is_empty() || ids.contains(&on.0.id)) && passes(*on, &filters));
    let (interfaces, next) = page.cut(chosen, |on| on.0.id.clone())?;
    let mut xml = Xml::new();
    xml.items("networkInterfaceSet", interfaces, |xml, on| write_interface(xml, call, on.0, on.1));
    xml.optional("nextToken", next);
    Ok(xml)
}

fn write_interface(xml: &mut Xml, call: &Call<'_>, interface: &Interface, instance: &Instance) {
    xml.text("networkInterfaceId", &interface.id);
    xml.text("interfaceType", &interface.interface_type);
    xml.text("subnetId", &instance.subnet_id);
    xml.text("vpcId", &instance.vpc_id);
    xml.text("availabilityZone", instance.zone.name);
    xml.text("availabilityZoneId", instance.zone.id);
    xml.text("description", "");
    xml.text("ownerId", call.account());
    xml.text("requesterManaged", false);
    xml.text("status", "in-use");
    xml.text("macAddress", &interface.mac_address);
    xml.text("sourceDestCheck", true);
    write_groups(xml, call, &interface.security_group_ids);
    xml.node("attachment", |xml| {
        xml.text("attachmentId", &interface.attachment_id);
        xml.text("instanceId", &instance.id);
        xml.text("instanceOwnerId", call.account());
        xml.text("deviceIndex", interface.device_index);
        xml.text("networkCardIndex", interface.network_card_index);
        xml.text("status", "attached");
        xml.time("attachTime", instance.launched);
        xml.text("deleteOnTermination", interface.delete_on_termination);
    });
    write_addresses(xml, interface);
    xml.tags("tagSet", &interface.tags);
}

fn refuse_unknown(ids: &[String], kind: ResourceKind, known: impl Fn(&str) -> bool) -> Result<(), Refusal> {
    match ids.iter().find(|id| !known(id)) {
        Some(id) => Err(CloudError::NotFound { kind, id: id.clone() }.into()),
        None => Ok(()),
    }
}

impl Filterable for On<'_, Volume> {
    const NAMES: &'static [&'static str] = &[
        "attachment.delete-on-termination",
        "attachment.device",
        "attachment.instance-id",
        "attachment.status",
        "availability-zone",
        "encrypted",
        "size",
        "status",
        "volume-id",
        "volume-type",
    ];

    fn values(&self, name: &str) -> Vec<Cow<'_, str>> {
        let Self(volume, instance) = self;
        let value = match name {
            "attachment.delete-on-termination" => volume.delete_on_termination.to_string().into(),
            "attachment.device" => volume.device_name.as_str().into(),
            "attachment.instance-id" => instance.id.as_str().into(),
            "attachment.status" => "attached".into(),
            "availability-zone" => instance.zone.name.into(),
            "encrypted" => volume.encrypted.to_string().into(),
            "size" => volume.size_gib.to_string().into(),
            "status" => "in-use".into(),
            "volume-id" => volume.id.as_str().into(),
            "volume-type" => volume.volume_type.as_str().into(),
            _ => return Vec::new(),
        };
        vec![value]
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.0.tags)
    }
}

impl Filterable for On<'_, Interface> {
    const NAMES: &'static [&'static str] = &[
        "addresses.private-ip-address",
        "attachment.attachment-id",
        "attachment.device-index",
        "attachment.instance-id",
        "attachment.status",
        "availability-zone",
        "group-id",
        "interface-type",
        "mac-address",
        "network-interface-id",
        "private-ip-address",
        "status",
        "subnet-id",
        "vpc-id",
    ];

    fn values(&self, name: &str) -> Vec<Cow<'_, str>> {
        let Self(interface, instance) = self;
        let value = match name {
            "addresses.private-ip-address" | "private-ip-address" => {
                return interface.private_ip.iter().map(|address| address.to_string().into()).collect();
            }
            "group-id" => return interface.security_group_ids.iter().map(|id| id.as_str().into()).collect(),
            "attachment.attachment-id" => interface.attachment_id.as_str().into(),
            "attachment.device-index" => interface.device_index.to_string().into(),
            "attachment.instance-id" => instance.id.as_str().into(),
            "attachment.status" => "attached".into(),
            "availability-zone" => instance.zone.name.into(),
            "interface-type" => interface.interface_type.as_str().into(),
            "mac-address" => interface.mac_address.as_str().into(),
            "network-interface-id" => interface.id.as_str().into(),
            "status" => "in-use".into(),
            "subnet-id" => instance.subnet_id.as_str().into(),
            "vpc-id" => instance.vpc_id.as_str().into(),
            _ => return Vec::new(),
        };
        vec![value]
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.0.tags)
    }
}
