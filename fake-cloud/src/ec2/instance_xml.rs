//! An instance as EC2 describes it, and the reservations that group instances.

use super::{Call, xml::Xml};
use crate::world::{Instance, InstanceState, Interface, Volume};
use sawhorse_ambient::Seed;

/// Writes `reservationSet`: the instances that one launch made, together, in the order given.
pub(crate) fn write_reservations(xml: &mut Xml, call: &Call<'_>, instances: &[&Instance]) {
    let reservations = instances.chunk_by(|one, next| one.reservation_id == next.reservation_id);
    xml.items("reservationSet", reservations, |xml, instances| write_reservation(xml, call, instances));
}

/// Writes the content of a reservation: what `RunInstances` answers.
pub(crate) fn write_reservation(xml: &mut Xml, call: &Call<'_>, instances: &[&Instance]) {
    xml.optional("reservationId", instances.first().map(|instance| &instance.reservation_id));
    xml.text("ownerId", call.account());
    xml.node("groupSet", |_| {});
    xml.items("instancesSet", instances, |xml, instance| write(xml, call, instance));
}

/// Writes a state as EC2 does, under `name`.
pub(crate) fn write_state(xml: &mut Xml, name: &str, state: InstanceState) {
    xml.node(name, |xml| {
        xml.text("code", state.code());
        xml.text("name", state.as_str());
    });
}

fn write(xml: &mut Xml, call: &Call<'_>, instance: &Instance) {
    identity(xml, call, instance);
    life(xml, instance);
    machine(xml, call, instance);
    network(xml, call, instance);
    xml.items("blockDeviceMapping", &instance.volumes, volume);
    purchase(xml, instance);
    options(xml, instance);
    xml.tags("tagSet", &instance.tags);
}

fn identity(xml: &mut Xml, call: &Call<'_>, instance: &Instance) {
    xml.text("instanceId", &instance.id);
    xml.optional("imageId", instance.settings.image_id.as_deref());
    xml.optional("keyName", instance.settings.key_name.as_deref());
    xml.text("amiLaunchIndex", instance.launch_index);
    xml.text("clientToken", instance.client_token.as_deref().unwrap_or_default());
    if let Some(name) = &instance.settings.instance_profile {
        xml.node("iamInstanceProfile", |xml| {
            xml.text("arn", format!("arn:aws:iam::{}:instance-profile/{name}", call.account()));
            xml.text("id", profile_id(name));
        });
    }
}

/// The id of an instance profile: IAM draws it at random; here it follows from the name.
fn profile_id(name: &str) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    format!("AIPA{}", Seed(0).stream(&["instance-profile", name]).text(alphabet, 17))
}

fn life(xml: &mut Xml, instance: &Instance) {
    write_state(xml, "instanceState", instance.state);
    xml.time("launchTime", instance.launched);
    match instance.state_reason {
        Some(reason) => {
            xml.text("reason", format!("{} ({})", reason.code(), super::xml::iso_8601(instance.state_since)));
            xml.node("stateReason", |xml| {
                xml.text("code", reason.code());
                xml.text("message", reason.message());
            });
        }
        None => xml.text("reason", ""),
    }
}

fn machine(xml: &mut Xml, call: &Call<'_>, instance: &Instance) {
    let machine_type = call.world.machine_type_of(instance);
    xml.text("instanceType", instance.machine_type);
    xml.text("architecture", instance.architecture);
    xml.optional("platform", instance.platform);
    let windows = instance.platform.is_some();
    xml.text("platformDetails", if windows { "Windows" } else { "Linux/UNIX" });
    xml.text("usageOperation", if windows { "RunInstances:0002" } else { "RunInstances" });
    // What EC2 answers for every type, Nitro or not.
    xml.text("hypervisor", "xen");
    xml.text("virtualizationType", "hvm");
    xml.text("enaSupport", machine_type.network.ena != "unsupported");
    xml.text("ebsOptimized", instance.settings.ebs_optimized.unwrap_or(machine_type.ebs.optimized == "default"));
    xml.text("rootDeviceName", instance.root_device);
    xml.text("rootDeviceType", "ebs");
    xml.node("cpuOptions", |xml| {
        xml.text("coreCount", machine_type.cpu.cores);
        xml.text("threadsPerCore", machine_type.cpu.threads_per_core);
    });
    xml.node("placement", |xml| {
        xml.text("availabilityZone", instance.zone.name);
        xml.text("availabilityZoneId", instance.zone.id);
        let placed = instance.placed.as_ref();
        xml.text("groupName", placed.map_or("", |placed| &placed.group_name));
        xml.optional("groupId", placed.map(|placed| &placed.group_id));
        xml.optional("partitionNumber", placed.and_then(|placed| placed.partition));
        xml.text("tenancy", instance.settings.tenancy.as_deref().unwrap_or("default"));
    });
}

/// What an instance has until it is terminated.
fn network(xml: &mut Xml, call: &Call<'_>, instance: &Instance) {
    xml.text("dnsName", "");
    if instance.is_terminated() {
        xml.text("privateDnsName", "");
        xml.node("networkInterfaceSet", |_| {});
        xml.node("groupSet", |_| {});
        return;
    }
    xml.text("privateDnsName", &instance.private_dns_name);
    xml.text("privateIpAddress", instance.private_ip);
    xml.text("subnetId", &instance.subnet_id);
    xml.text("vpcId", &instance.vpc_id);
    xml.text("sourceDestCheck", true);
    write_groups(xml, call, instance.security_group_ids());
    xml.items("networkInterfaceSet", &instance.interfaces, |xml, i| interface(xml, call, instance, i));
}

/// Writes `groupSet`.
pub(crate) fn write_groups(xml: &mut Xml, call: &Call<'_>, ids: &[String]) {
    xml.items("groupSet", ids, |xml, id| {
        xml.text("groupId", id);
        xml.optional("groupName", call.group_name(id));
    });
}

fn interface(xml: &mut Xml, call: &Call<'_>, instance: &Instance, interface: &Interface) {
    xml.text("networkInterfaceId", &interface.id);
    xml.text("interfaceType", &interface.interface_type);
    xml.text("macAddress", &interface.mac_address);
    xml.text("ownerId", call.account());
    xml.text("status", "in-use");
    xml.text("subnetId", &instance.subnet_id);
    xml.text("vpcId", &instance.vpc_id);
    xml.text("sourceDestCheck", true);
    xml.text("description", "");
    write_groups(xml, call, &interface.security_group_ids);
    xml.node("attachment", |xml| {
        xml.text("attachmentId", &interface.attachment_id);
        xml.text("deviceIndex", interface.device_index);
        xml.text("networkCardIndex", interface.network_card_index);
        xml.text("status", "attached");
        xml.time("attachTime", instance.launched);
        xml.text("deleteOnTermination", interface.delete_on_termination);
    });
    write_addresses(xml, interface);
}

/// Writes the addresses of an interface, which an `efa-only` one does not have.
pub(crate) fn write_addresses(xml: &mut Xml, interface: &Interface) {
    xml.optional("privateIpAddress", interface.private_ip);
    xml.items("privateIpAddressesSet", interface.private_ip, |xml, address| {
        xml.text("primary", true);
        xml.text("privateIpAddress", address);
    });
}

fn volume(xml: &mut Xml, volume: &Volume) {
    xml.text("deviceName", &volume.device_name);
    xml.node("ebs", |xml| {
        xml.text("volumeId", &volume.id);
        xml.text("status", "attached");
        xml.time("attachTime", volume.attached);
        xml.text("deleteOnTermination", volume.delete_on_termination);
    });
}

/// How it was bought. Callers tell the market by these members alone, and some read the reservation's preference without
/// looking whether it is there, so it always is.
fn purchase(xml: &mut Xml, instance: &Instance) {
    xml.optional("instanceLifecycle", instance.lifecycle());
    xml.optional("spotInstanceRequestId", instance.spot_request_id.as_deref());
    xml.optional("capacityReservationId", instance.reservation.as_deref());
    xml.node("capacityReservationSpecification", |xml| {
        let preference = instance.settings.reservation_preference.as_deref().unwrap_or("open");
        xml.text("capacityReservationPreference", preference);
        if let Some(id) = &instance.settings.reservation_id {
            xml.node("capacityReservationTarget", |xml| xml.text("capacityReservationId", id));
        }
    });
}

fn options(xml: &mut Xml, instance: &Instance) {
    let monitoring = instance.settings.monitoring.unwrap_or(false);
    xml.node("monitoring", |xml| xml.text("state", if monitoring { "enabled" } else { "disabled" }));
    xml.node("enclaveOptions", |xml| xml.text("enabled", instance.settings.enclave.unwrap_or(false)));
    xml.node("hibernationOptions", |xml| xml.text("configured", false));
    let metadata = instance.settings.metadata.clone().unwrap_or_default();
    xml.node("metadataOptions", |xml| {
        xml.text("state", if instance.state == InstanceState::Pending { "pending" } else { "applied" });
        xml.text("httpTokens", metadata.http_tokens.as_deref().unwrap_or("optional"));
        xml.text("httpPutResponseHopLimit", metadata.http_put_response_hop_limit.unwrap_or(1));
        xml.text("httpEndpoint", metadata.http_endpoint.as_deref().unwrap_or("enabled"));
        xml.text("httpProtocolIpv6", metadata.http_protocol_ipv6.as_deref().unwrap_or("disabled"));
        xml.text("instanceMetadataTags", metadata.instance_metadata_tags.as_deref().unwrap_or("disabled"));
    });
}
