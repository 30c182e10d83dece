//! Launch templates: one for each distinct content, named by it (spec aws 3.2).

use super::{
    call::{Calls, all_pages},
    error::{LAUNCH_TEMPLATE_EXISTS, unusable},
    placement::InGroup,
    reservation::ReservationKind,
    sdk::Clients,
    tags::{self, Tags, filter},
};
use crate::cloud::CloudError;
use aws_sdk_ec2::types::{
    CapacityReservationPreference, CapacityReservationTarget, ConnectionTrackingSpecificationRequest,
    LaunchTemplateBlockDeviceMappingRequest, LaunchTemplateCapacityReservationSpecificationRequest,
    LaunchTemplateCpuOptionsRequest, LaunchTemplateEbsBlockDeviceRequest, LaunchTemplateEnclaveOptionsRequest,
    LaunchTemplateIamInstanceProfileSpecificationRequest, LaunchTemplateInstanceMarketOptionsRequest,
    LaunchTemplateInstanceMetadataOptionsRequest, LaunchTemplateInstanceMetadataTagsState,
    LaunchTemplateInstanceNetworkInterfaceSpecificationRequest, LaunchTemplatePlacementRequest,
    LaunchTemplateTagSpecificationRequest, LaunchTemplatesMonitoringRequest, MarketType, RequestLaunchTemplateData,
    ResourceType,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use sawhorse_core::{
    api::{AmiFamily, BlockDevice, BlockDeviceMapping, ConnectionTracking, MetadataOptions, NetworkInterface, labels},
    model::{CapacityType, Resources},
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Launch templates per page, the most that EC2 gives.
const PER_PAGE: i32 = 200;
const GIB: i64 = 1 << 30;

/// Everything that is in a launch template: machines with equal content share one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Template {
    pub(super) cluster: String,
    pub(super) image_id: String,
    pub(super) user_data: String,
    pub(super) instance_profile: String,
    pub(super) security_groups: Vec<String>,
    pub(super) block_devices: Vec<BlockDeviceMapping>,
    pub(super) metadata: MetadataOptions,
    pub(super) monitoring: bool,
    pub(super) interfaces: Vec<NetworkInterface>,
    /// How many EFA interfaces to attach because pods ask for them.
    pub(super) efa: i64,
    pub(super) public_address: Option<bool>,
    pub(super) prefixes: Option<i32>,
    pub(super) ipv6: bool,
    pub(super) connection_tracking: Option<ConnectionTracking>,
    pub(super) nested_virtualization: Option<String>,
    pub(super) enclave: bool,
    pub(super) capacity_type: CapacityType,
    pub(super) tenancy: &'static str,
    /// What the machines are started in; templates without have the names that they had before there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reservation: Option<InReservation>,
    /// The placement group, as with reservations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) placement: Option<InGroup>,
    /// Of the NodeClass; those of a single NodeClaim are given at the launch.
    pub(super) tags: Tags,
}

/// The reservation that machines are started in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct InReservation {
    pub(super) id: String,
    /// How its machines are bought.
    pub(super) kind: ReservationKind,
}

impl Template {
    /// The name that follows from the content, so that equal content is found again, also after a restart.
    pub(super) fn name(&self) -> String {
        let content = serde_json::to_vec(self).expect("strings, numbers and lists are JSON");
        let digest = Sha256::digest(content);
        let (head, _) = digest.split_first_chunk::<8>().expect("a SHA-256 digest has 32 bytes");
        format!("{}/{}", labels::EC2_GROUP, u64::from_be_bytes(*head))
    }

    /// The content as the SDK takes it.
    fn data(&self) -> RequestLaunchTemplateData {
        let profile =
            LaunchTemplateIamInstanceProfileSpecificationRequest::builder().name(&self.instance_profile).build();
        let cpu = self.nested_virtualization.as_deref();
        RequestLaunchTemplateData::builder()
            .image_id(&self.image_id)
            .user_data(BASE64_STANDARD.encode(&self.user_data))
            .iam_instance_profile(profile)
            .monitoring(LaunchTemplatesMonitoringRequest::builder().enabled(self.monitoring).build())
            .metadata_options(metadata_options(&self.metadata))
            .set_block_device_mappings(
                Some(self.block_devices.iter().map(block_device).collect()).filter(|all: &Vec<_>| !all.is_empty()),
            )
            .set_network_interfaces(Some(self.network_interfaces()))
            .set_cpu_options(
                cpu.map(|on| LaunchTemplateCpuOptionsRequest::builder().nested_virtualization(on.into()).build()),
            )
            .enclave_options(LaunchTemplateEnclaveOptionsRequest::builder().enabled(self.enclave).build())
            .placement(self.place())
            .capacity_reservation_specification(reservation(self.reservation.as_ref()))
            .set_instance_market_options(self.reservation.as_ref().and_then(|one| market(one.kind)))
            .set_tag_specifications(Some(self.tag_specifications()))
            .build()
    }

    fn place(&self) -> LaunchTemplatePlacementRequest {
        let group = self.placement.as_ref();
        LaunchTemplatePlacementRequest::builder()
            .tenancy(self.tenancy.into())
            .set_group_id(group.map(|group| group.id.clone()))
            .set_partition_number(group.and_then(|group| group.partition))
            .build()
    }

    fn tag_specifications(&self) -> Vec<LaunchTemplateTagSpecificationRequest> {
        let spot = (self.capacity_type == CapacityType::Spot).then_some(ResourceType::SpotInstancesRequest);
        let specification = |kind| {
            LaunchTemplateTagSpecificationRequest::builder()
                .resource_type(kind)
                .set_tags(Some(tags::sdk(&self.tags)))
                .build()
        };
        [ResourceType::NetworkInterface].into_iter().chain(spot).map(specification).collect()
    }

    /// The interfaces that the user declared, else one EFA for each that pods ask for, else a single plain one.
    fn network_interfaces(&self) -> Vec<LaunchTemplateInstanceNetworkInterfaceSpecificationRequest> {
        if !self.interfaces.is_empty() {
            let declared = self.interfaces.iter();
            return declared
                .map(|one| {
                    self.network_interface((one.network_card_index, one.device_index, Some(&one.interface_type)))
                })
                .collect();
        }
        let efa = i32::try_from(self.efa).unwrap_or_default();
        match efa {
            0 => vec![self.network_interface((0, 0, None))],
            efa => (0..efa).map(|card| self.network_interface((card, i32::from(card > 0), Some("efa")))).collect(),
        }
    }

    fn network_interface(
        &self,
        place: (i32, i32, Option<&str>),
    ) -> LaunchTemplateInstanceNetworkInterfaceSpecificationRequest {
        let (card, device, kind) = place;
        let plain = LaunchTemplateInstanceNetworkInterfaceSpecificationRequest::builder()
            .device_index(device)
            .set_network_card_index((card > 0 || kind.is_some()).then_some(card))
            .set_interface_type(kind.map(str::to_owned))
            .set_groups(Some(self.security_groups.clone()));
        if kind == Some("efa-only") {
            return plain.build();
        }
        plain
            .set_associate_public_ip_address(self.public_address)
            .set_ipv4_prefix_count(self.prefixes.filter(|_| !self.ipv6))
            .set_ipv6_prefix_count(self.prefixes.filter(|_| self.ipv6))
            .set_primary_ipv6(self.ipv6.then_some(true))
            .set_ipv6_address_count(self.ipv6.then_some(1))
            .set_connection_tracking_specification(self.connection_tracking.as_ref().map(connection_tracking))
            .build()
    }
}

/// In this reservation or not at all. Without one, in none: matching open ones would be used up unasked.
fn reservation(given: Option<&InReservation>) -> LaunchTemplateCapacityReservationSpecificationRequest {
    let specification = LaunchTemplateCapacityReservationSpecificationRequest::builder();
    match given {
        None => specification.capacity_reservation_preference(CapacityReservationPreference::None).build(),
        Some(InReservation { id, .. }) => specification
            .capacity_reservation_preference(CapacityReservationPreference::CapacityReservationsOnly)
            .capacity_reservation_target(CapacityReservationTarget::builder().capacity_reservation_id(id).build())
            .build(),
    }
}

/// The market of machines that are started in such a reservation, if it has one of its own.
fn market(kind: ReservationKind) -> Option<LaunchTemplateInstanceMarketOptionsRequest> {
    let market = match kind {
        ReservationKind::Ordinary => return None,
        ReservationKind::Block => MarketType::CapacityBlock,
        ReservationKind::Interruptible => MarketType::InterruptibleCapacityReservation,
    };
    Some(LaunchTemplateInstanceMarketOptionsRequest::builder().market_type(market).build())
}

fn connection_tracking(timeouts: &ConnectionTracking) -> ConnectionTrackingSpecificationRequest {
    ConnectionTrackingSpecificationRequest::builder()
        .set_tcp_established_timeout(timeouts.tcp_established_timeout)
        .set_udp_stream_timeout(timeouts.udp_stream_timeout)
        .set_udp_timeout(timeouts.udp_timeout)
        .build()
}

fn metadata_options(options: &MetadataOptions) -> LaunchTemplateInstanceMetadataOptionsRequest {
    LaunchTemplateInstanceMetadataOptionsRequest::builder()
        .http_endpoint(options.http_endpoint.as_str().into())
        .http_protocol_ipv6(options.http_protocol_ipv6.as_str().into())
        .set_http_put_response_hop_limit(i32::try_from(options.http_put_response_hop_limit).ok())
        .http_tokens(options.http_tokens.as_str().into())
        .instance_metadata_tags(LaunchTemplateInstanceMetadataTagsState::Disabled)
        .build()
}

fn block_device(device: &BlockDeviceMapping) -> LaunchTemplateBlockDeviceMappingRequest {
    LaunchTemplateBlockDeviceMappingRequest::builder()
        .set_device_name(device.device_name.clone())
        .set_ebs(device.ebs.as_ref().map(volume))
        .build()
}

fn volume(ebs: &BlockDevice) -> LaunchTemplateEbsBlockDeviceRequest {
    let narrow = |value: Option<i64>| value.and_then(|value| i32::try_from(value).ok());
    LaunchTemplateEbsBlockDeviceRequest::builder()
        .set_delete_on_termination(ebs.delete_on_termination)
        .set_encrypted(ebs.encrypted)
        .set_iops(narrow(ebs.iops))
        .set_throughput(narrow(ebs.throughput))
        .set_kms_key_id(ebs.kms_key_id.clone())
        .set_snapshot_id(ebs.snapshot_id.clone())
        .set_volume_initialization_rate(ebs.volume_initialization_rate)
        .set_volume_size(narrow(ebs.volume_size.as_ref().map(gibibytes)))
        .set_volume_type(ebs.volume_type.as_deref().map(Into::into))
        .build()
}

/// Whole GiB, rounded up, as EC2 counts volumes.
fn gibibytes(size: &Quantity) -> i64 {
    let sizes = BTreeMap::from([("ephemeral-storage".to_owned(), size.clone())]);
    (Resources::of_capacity(&sizes).get("ephemeral-storage") + GIB - 1) / GIB
}

/// The disks of a family where the user named none: encrypted gp3.
pub(super) fn default_block_devices(family: AmiFamily) -> Vec<BlockDeviceMapping> {
    let disk = |device: &str, size: &str| BlockDeviceMapping {
        device_name: Some(device.to_owned()),
        ebs: Some(BlockDevice {
            encrypted: Some(true),
            volume_type: Some("gp3".to_owned()),
            volume_size: Some(Quantity(size.to_owned())),
            ..BlockDevice::default()
        }),
        root_volume: None,
    };
    match family {
        AmiFamily::AL2 | AmiFamily::AL2023 => vec![disk("/dev/xvda", "20Gi")],
        AmiFamily::Bottlerocket => vec![disk("/dev/xvda", "4Gi"), disk("/dev/xvdb", "20Gi")],
        AmiFamily::Windows2019 | AmiFamily::Windows2022 | AmiFamily::Windows2025 => vec![disk("/dev/sda1", "50Gi")],
        AmiFamily::Custom => Vec::new(),
    }
}

/// Makes the template, unless one of its name, and so of its content, is there.
pub(super) async fn ensure(calls: &Calls, clients: &Clients, template: &Template) -> Result<(), CloudError> {
    let name = template.name();
    let request = || {
        let request =
            clients.ec2.create_launch_template().launch_template_name(&name).client_token(client_token(&name));
        let of_template = tags::specifications(&template.tags, &[ResourceType::LaunchTemplate]);
        request.launch_template_data(template.data()).set_tag_specifications(Some(of_template)).send()
    };
    match calls.send("CreateLaunchTemplate", request).await {
        Ok(answer) if answer.launch_template.is_none() => {
            Err(unusable("CreateLaunchTemplate", "it names no template".to_owned()))
        }
        Ok(_) => Ok(()),
        Err(error) if error.has_code(LAUNCH_TEMPLATE_EXISTS) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The name is unique per content already; the token may not contain its slash.
fn client_token(name: &str) -> String {
    name.replace(['/', '.'], "-")
}

/// Deletes every template of a NodeClass.
pub(super) async fn delete_of_class(
    calls: &Calls,
    clients: &Clients,
    cluster: &str,
    node_class: &str,
) -> Result<(), CloudError> {
    let filters = vec![
        filter(&format!("tag:{}", tags::CLUSTER_NAME), [cluster]),
        filter(&format!("tag:{}", labels::EC2_NODE_CLASS), [node_class]),
    ];
    let filters = &filters;
    let names: Vec<String> = all_pages("DescribeLaunchTemplates", |token| async move {
        let request = || {
            let request = clients.ec2.describe_launch_templates().set_filters(Some(filters.clone()));
            request.max_results(PER_PAGE).set_next_token(token.clone()).send()
        };
        let page = calls.send("DescribeLaunchTemplates", request).await?;
        let names = page.launch_templates().iter().filter_map(|one| one.launch_template_name().map(str::to_owned));
        Ok((names.collect(), page.next_token.clone()))
    })
    .await?;
    for name in names {
        let request = || clients.ec2.delete_launch_template().launch_template_name(&name).send();
        match calls.send("DeleteLaunchTemplate", request).await {
            Err(error) if !error.is_not_found() => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> Template {
        Template {
            cluster: "c1".into(),
            image_id: "ami-1".into(),
            user_data: "hello".into(),
            instance_profile: "profile".into(),
            security_groups: vec!["sg-1".into()],
            block_devices: default_block_devices(AmiFamily::Bottlerocket),
            metadata: MetadataOptions::default(),
            monitoring: false,
            interfaces: Vec::new(),
            efa: 0,
            public_address: None,
            prefixes: None,
            ipv6: false,
            connection_tracking: None,
            nested_virtualization: None,
            enclave: false,
            capacity_type: CapacityType::OnDemand,
            tenancy: "default",
            reservation: None,
            placement: None,
            tags: Tags::from([("team".into(), "a".into())]),
        }
    }

    #[test]
    fn the_name_follows_from_the_content() {
        assert_eq!(template().name(), template().name());
        let other = Template { user_data: "hello!".into(), ..template() };
        assert_ne!(template().name(), other.name());
        assert!(template().name().starts_with("karpenter.k8s.aws/"));
        assert!(!client_token(&template().name()).contains('/'));
    }

    #[test]
    fn content_as_the_api_takes_it() {
        insta::assert_debug_snapshot!(template().data());
    }

    #[test]
    fn pods_that_ask_for_efa_get_an_interface_on_each_card() {
        let template = Template { efa: 3, ..template() };
        let places: Vec<_> = template
            .network_interfaces()
            .iter()
            .map(|one| (one.network_card_index(), one.device_index(), one.interface_type().map(str::to_owned)))
            .collect();
        let efa = || Some("efa".to_owned());
        assert_eq!(places, [(Some(0), Some(0), efa()), (Some(1), Some(1), efa()), (Some(2), Some(1), efa())]);
    }

    #[rstest::rstest]
    #[case("20Gi", 20)]
    #[case("21G", 20)]
    #[case("22G", 21)]
    #[case("1Ti", 1024)]
    fn volumes_are_counted_in_whole_gibibytes(#[case] size: &str, #[case] expected: i64) {
        assert_eq!(gibibytes(&Quantity(size.to_owned())), expected);
    }

    #[test]
    fn requests_of_spot_machines_are_tagged_too() {
        let kinds = |capacity_type| {
            let template = Template { capacity_type, ..template() };
            template
                .tag_specifications()
                .iter()
                .map(|one| one.resource_type().unwrap().as_str().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(kinds(CapacityType::OnDemand), ["network-interface"]);
        assert_eq!(kinds(CapacityType::Spot), ["network-interface", "spot-instances-request"]);
    }
}
