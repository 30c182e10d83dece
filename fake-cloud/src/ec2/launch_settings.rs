//! Reads what a launch is made of: `LaunchTemplateData.…`, and the same parameters at the top level of `RunInstances`.

use super::{error::Refusal, query::Params};
use crate::world::{
    BlockDevice, InterfaceSettings, LaunchSettings, Market, MetadataSettings, Price, ReservedMarket, TagSpecification,
    VolumeSettings,
};
use base64::{Engine, engine::general_purpose::STANDARD};

/// The most elements of each list of a launch; above what any machine type can attach.
const ELEMENTS_MAX: usize = 256;

/// The parameters that the world keeps but does not act on, so that they can be described again.
const KEPT: &[&str] = &[
    "CpuOptions.AmdSevSnp",
    "CpuOptions.CoreCount",
    "CpuOptions.NestedVirtualization",
    "CpuOptions.ThreadsPerCore",
    "CreditSpecification.CpuCredits",
    "DisableApiStop",
    "DisableApiTermination",
    "HibernationOptions.Configured",
    "InstanceInitiatedShutdownBehavior",
    "InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior",
    "InstanceMarketOptions.SpotOptions.SpotInstanceType",
    "KernelId",
    "MaintenanceOptions.AutoRecovery",
    "NetworkPerformanceOptions.BandwidthWeighting",
    "Placement.Affinity",
    "Placement.AvailabilityZoneId",
    "Placement.GroupId",
    "Placement.GroupName",
    "Placement.HostId",
    "Placement.HostResourceGroupArn",
    "Placement.PartitionNumber",
    "Placement.SpreadDomain",
    "PrivateDnsNameOptions.EnableResourceNameDnsAAAARecord",
    "PrivateDnsNameOptions.EnableResourceNameDnsARecord",
    "PrivateDnsNameOptions.HostnameType",
    "RamDiskId",
];

/// The parts of `ConnectionTrackingSpecification`, kept for each interface.
const CONNECTION_TRACKING: [&str; 3] = ["TcpEstablishedTimeout", "UdpStreamTimeout", "UdpTimeout"];

/// The market, and that of the reservation if it has one of its own.
const MARKETS: &[(&str, (Market, Option<ReservedMarket>))] = &[
    ("spot", (Market::Spot, None)),
    ("on-demand", (Market::OnDemand, None)),
    ("capacity-block", (Market::OnDemand, Some(ReservedMarket::CapacityBlock))),
    ("interruptible-capacity-reservation", (Market::OnDemand, Some(ReservedMarket::Interruptible))),
];

/// Takes the settings of a launch from `params`, except for its tags, which templates and requests spell differently.
pub(crate) fn take(params: &mut Params) -> Result<LaunchSettings, Refusal> {
    let mut settings = LaunchSettings {
        image_id: params.text("ImageId"),
        machine_type: params.text("InstanceType"),
        user_data: user_data(params)?,
        instance_profile: instance_profile(params)?,
        key_name: params.text("KeyName"),
        security_group_ids: params.texts("SecurityGroupId")?,
        subnet_id: params.text("SubnetId"),
        ebs_optimized: params.boolean("EbsOptimized")?,
        tags: tag_specifications(params)?,
        ..LaunchSettings::default()
    };
    keep(params, &mut settings);
    for (index, mut part) in elements(params, "NetworkInterface")?.into_iter().enumerate() {
        keep_connection_tracking(&mut part, index, &mut settings)?;
        settings.network_interfaces.push(interface(part)?);
    }
    for part in elements(params, "BlockDeviceMapping")? {
        settings.block_devices.push(block_device(part)?);
    }
    take_structures(params, &mut settings)?;
    Ok(settings)
}

fn take_structures(params: &mut Params, settings: &mut LaunchSettings) -> Result<(), Refusal> {
    let mut placement = params.part("Placement");
    settings.zone = placement.text("AvailabilityZone");
    settings.tenancy =
        placement.one_of("Tenancy", &[("default", "default"), ("dedicated", "dedicated")])?.map(str::to_owned);
    placement.no_more()?;

    let mut market = params.part("InstanceMarketOptions");
    let kind = market.one_of("MarketType", MARKETS)?;
    settings.market = kind.map(|(market, _)| market);
    settings.reserved_market = kind.and_then(|(_, reserved)| reserved);
    let mut spot = market.part("SpotOptions");
    settings.max_spot_price = price(&mut spot, "MaxPrice")?;
    spot.no_more()?;
    market.no_more()?;

    let mut monitoring = params.part("Monitoring");
    settings.monitoring = monitoring.boolean("Enabled")?;
    monitoring.no_more()?;

    let mut enclave = params.part("EnclaveOptions");
    settings.enclave = enclave.boolean("Enabled")?;
    enclave.no_more()?;

    settings.metadata = metadata(params.part("MetadataOptions"))?;
    take_reservation(params.part("CapacityReservationSpecification"), settings)
}

fn take_reservation(mut part: Params, settings: &mut LaunchSettings) -> Result<(), Refusal> {
    let words = [("open", "open"), ("none", "none"), ("capacity-reservations-only", "capacity-reservations-only")];
    settings.reservation_preference = part.one_of("CapacityReservationPreference", &words)?.map(str::to_owned);
    let mut target = part.part("CapacityReservationTarget");
    settings.reservation_id = target.text("CapacityReservationId");
    target.no_more()?;
    part.no_more()
}

fn elements(params: &mut Params, name: &str) -> Result<Vec<Params>, Refusal> {
    let path = params.name_of(name);
    let elements = params.list(name)?;
    if elements.len() <= ELEMENTS_MAX {
        return Ok(elements);
    }
    let count = elements.len().to_string();
    Err(Refusal::invalid_value(&count, &path, &format!("Expecting at most {ELEMENTS_MAX} elements.")))
}

fn user_data(params: &mut Params) -> Result<Option<Vec<u8>>, Refusal> {
    let Some(text) = params.text("UserData") else { return Ok(None) };
    let decoded = STANDARD.decode(text.trim());
    decoded.map(Some).map_err(|_| Refusal::bad("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data."))
}

/// The profile's name; an ARN's last part is the name.
fn instance_profile(params: &mut Params) -> Result<Option<String>, Refusal> {
    let mut part = params.part("IamInstanceProfile");
    let (name, arn) = (part.text("Name"), part.text("Arn"));
    part.no_more()?;
    match (name, arn) {
        (Some(_), Some(_)) => Err(Refusal::combination("iamInstanceProfile.name", "iamInstanceProfile.arn")),
        (Some(name), None) => Ok(Some(name)),
        (None, Some(arn)) => Ok(arn.rsplit('/').next().map(str::to_owned)),
        (None, None) => Ok(None),
    }
}

fn keep(params: &mut Params, settings: &mut LaunchSettings) {
    for path in KEPT {
        if let Some(value) = params.text_at(path) {
            settings.other.insert((*path).to_owned(), value);
        }
    }
}

fn keep_connection_tracking(part: &mut Params, index: usize, settings: &mut LaunchSettings) -> Result<(), Refusal> {
    let mut tracking = part.part("ConnectionTrackingSpecification");
    for name in CONNECTION_TRACKING {
        if let Some(seconds) = tracking.number::<u32>(name)? {
            settings.other.insert(connection_tracking_key(index, name), seconds.to_string());
        }
    }
    tracking.no_more()
}

fn connection_tracking_key(index: usize, name: &str) -> String {
    format!("NetworkInterface.{}.ConnectionTrackingSpecification.{name}", index + 1)
}

/// The kept connection tracking of the interface at `index`: names and seconds.
pub(crate) fn connection_tracking(settings: &LaunchSettings, index: usize) -> Vec<(&'static str, &str)> {
    let find = |name: &'static str| Some((name, settings.other.get(&connection_tracking_key(index, name))?.as_str()));
    CONNECTION_TRACKING.into_iter().filter_map(find).collect()
}

fn interface(mut part: Params) -> Result<InterfaceSettings, Refusal> {
    let kinds = [("interface", "interface"), ("efa", "efa"), ("efa-only", "efa-only")];
    let interface = InterfaceSettings {
        device_index: part.number("DeviceIndex")?.unwrap_or(0),
        network_card_index: part.number("NetworkCardIndex")?.unwrap_or(0),
        interface_type: part.one_of("InterfaceType", &kinds)?.map(str::to_owned),
        subnet_id: part.text("SubnetId"),
        security_group_ids: part.texts("SecurityGroupId")?,
        associate_public_ip: part.boolean("AssociatePublicIpAddress")?,
        ipv4_prefix_count: part.number("Ipv4PrefixCount")?,
        ipv6_prefix_count: part.number("Ipv6PrefixCount")?,
        ipv6_address_count: part.number("Ipv6AddressCount")?,
        primary_ipv6: part.boolean("PrimaryIpv6")?,
        delete_on_termination: part.boolean("DeleteOnTermination")?,
        description: part.text("Description"),
    };
    part.no_more()?;
    Ok(interface)
}

fn block_device(mut part: Params) -> Result<BlockDevice, Refusal> {
    let ebs = part.part("Ebs");
    let device = BlockDevice {
        device_name: part.required("DeviceName")?,
        volume: if ebs.is_empty() { None } else { Some(volume(ebs)?) },
        virtual_name: part.text("VirtualName"),
    };
    part.no_more()?;
    Ok(device)
}

fn volume(mut part: Params) -> Result<VolumeSettings, Refusal> {
    let kinds = ["standard", "io1", "io2", "gp2", "sc1", "st1", "gp3"].map(|kind| (kind, kind));
    let volume = VolumeSettings {
        size_gib: part.number("VolumeSize")?,
        volume_type: part.one_of("VolumeType", &kinds)?.map(str::to_owned),
        iops: part.number("Iops")?,
        throughput: part.number("Throughput")?,
        initialization_rate: part.number("VolumeInitializationRate")?,
        encrypted: part.boolean("Encrypted")?,
        kms_key_id: part.text("KmsKeyId"),
        snapshot_id: part.text("SnapshotId"),
        delete_on_termination: part.boolean("DeleteOnTermination")?,
    };
    part.no_more()?;
    Ok(volume)
}

fn metadata(mut part: Params) -> Result<Option<MetadataSettings>, Refusal> {
    if part.is_empty() {
        return Ok(None);
    }
    let switch = [("enabled", "enabled"), ("disabled", "disabled")];
    let settings = MetadataSettings {
        http_endpoint: part.one_of("HttpEndpoint", &switch)?.map(str::to_owned),
        http_tokens: part
            .one_of("HttpTokens", &[("optional", "optional"), ("required", "required")])?
            .map(str::to_owned),
        http_put_response_hop_limit: part.integer("HttpPutResponseHopLimit", &(1..=64))?,
        http_protocol_ipv6: part.one_of("HttpProtocolIpv6", &switch)?.map(str::to_owned),
        instance_metadata_tags: part.one_of("InstanceMetadataTags", &switch)?.map(str::to_owned),
    };
    part.no_more()?;
    Ok(Some(settings))
}

/// Takes `TagSpecification.N` below `params`.
pub(crate) fn tag_specifications(params: &mut Params) -> Result<Vec<TagSpecification>, Refusal> {
    tag_specifications_named(params, "TagSpecification")
}

/// Takes tag specifications where an operation has another name for them.
pub(crate) fn tag_specifications_named(params: &mut Params, name: &str) -> Result<Vec<TagSpecification>, Refusal> {
    let mut specifications = Vec::new();
    for mut part in elements(params, name)? {
        let resource = part.required("ResourceType")?;
        let tags = part.tags("Tag")?.into_iter().collect();
        part.no_more()?;
        specifications.push(TagSpecification { resource, tags });
    }
    Ok(specifications)
}

/// The parameter `name` as dollars per hour.
pub(crate) fn price(params: &mut Params, name: &str) -> Result<Option<Price>, Refusal> {
    let Some(text) = params.text(name) else { return Ok(None) };
    let hint = "Expecting dollars per hour, such as 0.0345.";
    text.parse().map(Some).map_err(|_| Refusal::invalid_value(&text, &params.name_of(name), hint))
}
