//! Instance types as a NodeClass offers them: labels, and where and for how much they can be bought (spec aws 2.4, 2.5).

use super::{
    capacity::{Shape, capacity, overhead},
    facts::facts,
    machine::{Device, Machine},
    placement::{self, GroupFacts},
    pricing::Prices,
    refusals::Refusals,
};
use jiff::Timestamp;
use sawhorse_core::{
    api::{AmiFamily, Ec2NodeClass, Ec2NodeClassSpec, NetworkInterface, Subnet, labels},
    model::{CapacityType, InstanceType, Offering, Operator, Price, Requirement, Requirements},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What decides, besides the machine, what a NodeClass offers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Market<'a> {
    pub(super) region: &'a str,
    /// The zones in which each type is offered.
    pub(super) zones: &'a BTreeMap<String, BTreeSet<String>>,
    pub(super) prices: &'a Prices,
    /// The placement group that machines are launched into.
    pub(super) group: Option<&'a GroupFacts>,
}

/// `machine` as `class` offers it while nothing is refused; none where it cannot be had in any zone of the class's subnets,
/// or runs no such system.
pub(super) fn instance_type(
    machine: &Machine,
    class: &Ec2NodeClass,
    shape: &Shape,
    market: &Market<'_>,
) -> Option<InstanceType> {
    let offered = market.zones.get(&machine.name)?;
    let mut zones: BTreeMap<&str, Vec<&Subnet>> = BTreeMap::new();
    for subnet in subnets(class).iter().filter(|subnet| offered.contains(&subnet.zone)) {
        zones.entry(&subnet.zone).or_default().push(subnet);
    }
    let capacity_types = capacity_types(machine);
    if zones.is_empty() || capacity_types.is_empty() {
        return None;
    }
    let mut requirements = machine_requirements(machine, shape.family)?;
    add_place(&mut requirements, market.region, &zones, &capacity_types);
    for requirement in market.group.map(placement::requirements).unwrap_or_default() {
        requirements.remove(requirement.key());
        requirements.add(requirement);
    }
    let placed = market.group.is_none_or(|group| machine.placement_strategies.contains(&group.strategy));
    let usable = placed && suits(machine, &class.spec, shape.family);
    let mut offerings = Vec::new();
    for (zone, subnets) in &zones {
        let zone_id = subnets.iter().find_map(|subnet| subnet.zone_id.as_deref());
        offerings.extend(capacity_types.iter().map(|kind| offering(machine, zone, zone_id, *kind, usable, market)));
    }
    let capacity = capacity(machine, shape);
    let overhead = overhead(machine, shape, &capacity);
    Some(InstanceType { name: machine.name.clone(), requirements, offerings, capacity, overhead, listed: None })
}

fn subnets(class: &Ec2NodeClass) -> &[Subnet] {
    class.status.as_ref().map(|status| status.subnets.as_slice()).unwrap_or_default()
}

/// `types` with the offerings unavailable that were refused. Types of which none was are shared, not copied: refusals come
/// and go with every shortage, and there are more than a thousand types.
pub(super) fn in_stock(
    types: &[Arc<InstanceType>],
    class: &Ec2NodeClass,
    group: Option<&GroupFacts>,
    refusals: &Refusals,
    now: Timestamp,
) -> Vec<Arc<InstanceType>> {
    let refused = refusals.refused_types(now);
    let full = refusals.full_subnets(now);
    let zones_with_room: BTreeSet<_> =
        subnets(class).iter().filter(|subnet| !full.contains(&subnet.id)).map(|subnet| &subnet.zone).collect();
    let update = |instance_type: &Arc<InstanceType>| {
        if refused.as_ref().is_some_and(|refused| !refused.contains(&*instance_type.name)) {
            return instance_type.clone();
        }
        let mut current = InstanceType::clone(instance_type);
        for offering in &mut current.offerings {
            let allowed = refusals.allows_pool(offering.capacity_type, &current.name, &offering.zone, now)
                && group.is_none_or(|group| refusals.allows_group(&group.id, &offering.zone, now));
            offering.available &= allowed && zones_with_room.contains(&offering.zone);
        }
        Arc::new(current)
    };
    types.iter().map(update).collect()
}

/// In the order of offerings.
fn capacity_types(machine: &Machine) -> Vec<CapacityType> {
    let kinds = [(machine.spot, CapacityType::Spot), (machine.on_demand, CapacityType::OnDemand)];
    kinds.into_iter().filter(|(sold, _)| *sold).map(|(_, kind)| kind).collect()
}

fn offering(
    machine: &Machine,
    zone: &str,
    zone_id: Option<&str>,
    capacity_type: CapacityType,
    usable: bool,
    market: &Market<'_>,
) -> Offering {
    let price = match capacity_type {
        CapacityType::Spot => market.prices.spot(&machine.name, zone),
        CapacityType::OnDemand | CapacityType::Reserved => market.prices.on_demand(&machine.name),
    };
    // A pool of unknown price cannot be bought; a machine that already runs there is taken to cost the list price.
    let cost = price.or_else(|| market.prices.on_demand(&machine.name)).unwrap_or(Price::ZERO);
    let mut offering = Offering { available: usable && price.is_some(), ..Offering::new(zone, capacity_type, cost) };
    if let Some(zone_id) = zone_id {
        offering.requirements.add(one(labels::ZONE_ID, zone_id));
    }
    offering
}

fn add_place(
    requirements: &mut Requirements,
    region: &str,
    zones: &BTreeMap<&str, Vec<&Subnet>>,
    kinds: &[CapacityType],
) {
    let ids: BTreeSet<_> = zones.values().flatten().filter_map(|subnet| subnet.zone_id.as_deref()).collect();
    requirements.add(one(labels::REGION, region));
    requirements.add(Requirement::new(labels::ZONE, Operator::In, zones.keys()));
    requirements.add(if ids.is_empty() {
        absent(labels::ZONE_ID)
    } else {
        Requirement::new(labels::ZONE_ID, Operator::In, ids)
    });
    requirements.add(Requirement::new(labels::CAPACITY_TYPE, Operator::In, kinds.iter().map(|kind| kind.as_str())));
}

fn one(key: &str, value: &str) -> Requirement {
    Requirement::new(key, Operator::In, [value])
}

fn absent(key: &str) -> Requirement {
    Requirement::new(key, Operator::DoesNotExist, [] as [&str; 0])
}

/// What follows from the machine alone; none where its architecture does not run the family's system.
fn machine_requirements(machine: &Machine, family: AmiFamily) -> Option<Requirements> {
    let arch = machine.architectures.iter().find_map(|arch| match arch.as_str() {
        "x86_64" => Some("amd64"),
        "arm64" => Some("arm64"),
        _ => None,
    })?;
    let (os, build) = system(arch, family)?;
    let mut values: BTreeMap<&str, Option<String>> = BTreeMap::from([
        (labels::INSTANCE_TYPE, Some(machine.name.clone())),
        (labels::ARCH, Some(arch.to_owned())),
        (labels::OS, Some(os.to_owned())),
        (labels::WINDOWS_BUILD, build.map(str::to_owned)),
        (labels::CAPACITY_RESERVATION_ID, None),
        (labels::CAPACITY_RESERVATION_TYPE, None),
        (labels::CAPACITY_RESERVATION_INTERRUPTIBLE, None),
        (labels::PLACEMENT_GROUP_ID, None),
        (labels::PLACEMENT_GROUP_PARTITION, None),
    ]);
    values.extend(size_labels(machine));
    values.extend(equipment_labels(machine));
    values.extend(device_labels(machine));
    let requirement =
        |(key, value): (&str, Option<String>)| value.map_or_else(|| absent(key), |value| one(key, &value));
    let mut requirements: Requirements = values.into_iter().map(requirement).collect();
    requirements.add(Requirement::new(labels::INSTANCE_TENANCY, Operator::In, ["default", "dedicated"]));
    Some(requirements)
}

fn system(arch: &str, family: AmiFamily) -> Option<(&'static str, Option<&'static str>)> {
    let build = match family {
        AmiFamily::Windows2019 => Some("10.0.17763"),
        AmiFamily::Windows2022 => Some("10.0.20348"),
        AmiFamily::Windows2025 => Some("10.0.26100"),
        AmiFamily::AL2 | AmiFamily::AL2023 | AmiFamily::Bottlerocket | AmiFamily::Custom => None,
    };
    match (build, arch) {
        (None, _) => Some(("linux", None)),
        (Some(build), "amd64") => Some(("windows", Some(build))),
        (Some(_), _) => None,
    }
}

type Label = (&'static str, Option<String>);

fn size_labels(machine: &Machine) -> Vec<Label> {
    let family = machine.family();
    let name = family_parts(&machine.name);
    vec![
        (labels::INSTANCE_CATEGORY, name.map(|(category, _)| category.to_owned())),
        (labels::INSTANCE_GENERATION, name.map(|(_, generation)| generation.to_owned())),
        (labels::INSTANCE_FAMILY, Some(family.to_owned())),
        (labels::INSTANCE_SIZE, Some(machine.size().to_owned())),
        (labels::INSTANCE_CAPABILITY_FLEX, Some(family.contains("-flex").to_string())),
        (labels::INSTANCE_CPU, Some(machine.vcpus.to_string())),
        (labels::INSTANCE_MEMORY, Some(machine.memory_mib.to_string())),
    ]
}

/// Category and generation of an instance type's name: letters, in high-memory families a size such as `-6tb`, digits.
fn family_parts(name: &str) -> Option<(&str, &str)> {
    let (family, _) = name.split_once('.')?;
    let (category, rest) = family.split_at(family.find(|c: char| !c.is_ascii_lowercase())?);
    let rest = match rest.strip_prefix('-').and_then(|sized| sized.split_once("tb")) {
        Some((size, rest)) if !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_digit()) => rest,
        _ => rest,
    };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    (!category.is_empty() && digits > 0).then(|| (category, &rest[..digits]))
}

fn equipment_labels(machine: &Machine) -> Vec<Label> {
    let maker = machine.cpu_manufacturer.as_deref().map(kebab);
    let clock = machine.clock_ghz.map(|ghz| ((ghz * 1_000.0).round() as i64).to_string());
    let local_nvme = machine.local_storage_gb.filter(|_| machine.local_nvme);
    vec![
        (labels::INSTANCE_CPU_MANUFACTURER, maker),
        (labels::INSTANCE_CPU_CLOCK_SPEED, clock),
        (labels::INSTANCE_EBS_BANDWIDTH, machine.ebs_bandwidth_mbps.map(|mbps| mbps.to_string())),
        (labels::INSTANCE_NETWORK_BANDWIDTH, facts(&machine.name).bandwidth_mbps.map(|mbps| mbps.to_string())),
        (labels::INSTANCE_LOCAL_NVME, local_nvme.map(|gigabytes| gigabytes.to_string())),
        (labels::INSTANCE_HYPERVISOR, Some(machine.hypervisor.clone())),
        (labels::INSTANCE_ENCRYPTION_IN_TRANSIT, Some(machine.encryption_in_transit.to_string())),
        (labels::NITRO_SANDBOX, Some(machine.nitro_enclaves.to_string())),
    ]
}

/// GPU and accelerator labels, where there is exactly one kind.
fn device_labels(machine: &Machine) -> Vec<Label> {
    let gpu = only(&machine.gpus);
    let accelerator = only(if machine.neurons.is_empty() { &machine.accelerators } else { &machine.neurons });
    vec![
        (labels::INSTANCE_GPU_NAME, gpu.map(|gpu| kebab(&gpu.name))),
        (labels::INSTANCE_GPU_MANUFACTURER, gpu.map(|gpu| kebab(&gpu.manufacturer))),
        (labels::INSTANCE_GPU_COUNT, gpu.map(|gpu| gpu.count.to_string())),
        (labels::INSTANCE_GPU_MEMORY, gpu.map(|gpu| gpu.memory_mib.to_string())),
        (labels::INSTANCE_ACCELERATOR_NAME, accelerator.map(|device| kebab(&device.name))),
        (labels::INSTANCE_ACCELERATOR_MANUFACTURER, accelerator.map(|device| kebab(&device.manufacturer))),
        (labels::INSTANCE_ACCELERATOR_COUNT, accelerator.map(|device| device.count.to_string())),
    ]
}

fn only(devices: &[Device]) -> Option<&Device> {
    match devices {
        [device] => Some(device),
        _ => None,
    }
}

/// Lower case with dashes, as label values are written.
fn kebab(text: &str) -> String {
    text.to_lowercase().replace(' ', "-")
}

/// Whether machines of this type can be configured as the NodeClass asks (spec aws 2.5, "compatible(NodeClass)").
fn suits(machine: &Machine, spec: &Ec2NodeClassSpec, family: AmiFamily) -> bool {
    let nested =
        spec.cpu_options.as_ref().and_then(|options| options.nested_virtualization.as_deref()) == Some("enabled");
    let lacks_nesting = nested && !machine.cpu_features.iter().any(|feature| feature == "nested-virtualization");
    // The processor of these machines lacks instructions that Amazon Linux 2023 is built with.
    let too_old = machine.family() == "a1" && family == AmiFamily::AL2023;
    let untracked = spec.connection_tracking.is_some() && machine.hypervisor != "nitro";
    !lacks_nesting && !too_old && !untracked && takes_interfaces(machine, &spec.network_interfaces)
}

fn takes_interfaces(machine: &Machine, interfaces: &[NetworkInterface]) -> bool {
    let fits = |interface: &NetworkInterface| {
        let card = machine.network_cards.iter().find(|card| card.index == i64::from(interface.network_card_index));
        machine.ena && card.is_some_and(|card| card.interfaces > i64::from(interface.device_index))
    };
    let efa = interfaces.iter().filter(|interface| interface.interface_type == "efa-only").count() as i64;
    efa <= machine.efa_interfaces && interfaces.iter().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::ec2::{
        fixtures::{machine, node_class},
        pricing::SpotRow,
    };
    use jiff::SignedDuration;
    use rstest::rstest;

    fn offer(name: &str, class: &Ec2NodeClass, refusals: &Refusals, now: Timestamp) -> Option<Arc<InstanceType>> {
        let zones = ["us-east-1a", "us-east-1b", "us-east-1c"].map(str::to_owned);
        let zones = BTreeMap::from([(name.to_owned(), BTreeSet::from(zones))]);
        let mut prices = Prices::default();
        let row = |zone: &str| SpotRow {
            instance_type: name.into(),
            zone: zone.into(),
            price: "0.04".parse().unwrap(),
            at: 0,
        };
        prices.replace_spot([row("us-east-1a"), row("us-east-1c")]);
        let market = Market { region: "us-east-1", zones: &zones, prices: &prices, group: None };
        let offered = instance_type(&machine(name), class, &Shape::of(&class.spec, 0.075, 0), &market)?;
        in_stock(&[Arc::new(offered)], class, None, refusals, now).pop()
    }

    fn requirements(name: &str) -> String {
        let offered = offer(name, &node_class(), &Refusals::default(), Timestamp::UNIX_EPOCH).unwrap();
        offered.requirements.iter().map(|requirement| format!("{requirement}\n")).collect()
    }

    #[test]
    fn labels_of_a_plain_machine() {
        insta::assert_snapshot!(requirements("m5.large"));
    }

    #[test]
    fn labels_of_a_machine_with_gpus() {
        insta::assert_snapshot!(requirements("g4dn.12xlarge"));
    }

    #[test]
    fn labels_of_a_machine_with_accelerators() {
        insta::assert_snapshot!(requirements("inf2.xlarge"));
    }

    #[rstest]
    #[case("m5.large", Some(("m", "5")))]
    #[case("m7i-flex.large", Some(("m", "7")))]
    #[case("u-6tb1.112xlarge", Some(("u", "1")))]
    #[case("u7i-12tb.224xlarge", Some(("u", "7")))]
    #[case("inf2.xlarge", Some(("inf", "2")))]
    #[case("p5en.48xlarge", Some(("p", "5")))]
    #[case("mac2-m2pro.metal", Some(("mac", "2")))]
    #[case("nonsense", None)]
    fn a_name_tells_category_and_generation(#[case] name: &str, #[case] expected: Option<(&str, &str)>) {
        assert_eq!(family_parts(name), expected);
    }

    fn offerings(offered: &InstanceType) -> Vec<String> {
        let text = |one: &Offering| format!("{} {} {} {}", one.zone, one.capacity_type, one.price, one.available);
        offered.offerings.iter().map(text).collect()
    }

    #[test]
    fn offerings_are_where_there_are_subnets_and_prices() {
        let offered = offer("m5.large", &node_class(), &Refusals::default(), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(
            offerings(&offered),
            [
                "us-east-1a spot $0.0400 true",
                "us-east-1a on-demand $0.0960 true",
                "us-east-1b spot $0.0960 false",
                "us-east-1b on-demand $0.0960 true",
            ]
        );
    }

    #[test]
    fn a_refused_pool_is_unavailable_for_a_while() {
        let now = Timestamp::UNIX_EPOCH;
        let mut refusals = Refusals::default();
        refusals.mark_pool(CapacityType::OnDemand, "m5.large", "us-east-1a", now);
        let available = |refusals: &Refusals, after| {
            let offered = offer("m5.large", &node_class(), refusals, now + SignedDuration::from_secs(after)).unwrap();
            offered.offerings.iter().map(|one| one.available).collect::<Vec<_>>()
        };
        assert_eq!(available(&refusals, 10), [true, false, false, true]);
        assert_eq!(available(&refusals, 180), [true, true, false, true]);
        refusals.mark_subnet("subnet-a", now);
        assert_eq!(available(&refusals, 10), [false, false, false, true]);
    }

    #[test]
    fn types_without_refusals_are_shared() {
        let class = node_class();
        let stocked: Vec<_> =
            crate::cloud::ec2::fixtures::offer(&["m5.large", "c5.large"], &class).into_iter().map(Arc::new).collect();
        let mut refusals = Refusals::default();
        refusals.mark_pool(CapacityType::Spot, "m5.large", "us-east-1a", Timestamp::UNIX_EPOCH);
        let shared = |refusals: &Refusals| {
            let current = in_stock(&stocked, &class, None, refusals, Timestamp::UNIX_EPOCH);
            current.iter().zip(&stocked).map(|(now, before)| Arc::ptr_eq(now, before)).collect::<Vec<_>>()
        };
        assert_eq!(shared(&refusals), [false, true]);
        refusals.mark_spot(Timestamp::UNIX_EPOCH);
        assert_eq!(shared(&refusals), [false, false], "spot is refused of every type");
    }

    #[rstest]
    #[case::plain("m5.large", "{}", true)]
    #[case::old_arm("a1.large", "{amiFamily: AL2023}", false)]
    #[case::old_arm_custom("a1.large", "{amiFamily: Custom}", true)]
    #[case::nested("m5.large", "{cpuOptions: {nestedVirtualization: enabled}}", false)]
    #[case::metal_tracks_nothing("m5.metal", "{connectionTracking: {udpTimeout: 30}}", false)]
    #[case::nitro_tracks("m5.large", "{connectionTracking: {udpTimeout: 30}}", true)]
    #[case::second_card(
        "m5.large",
        "{networkInterfaces: [{networkCardIndex: 1, deviceIndex: 0, interfaceType: interface}]}",
        false
    )]
    #[case::many_cards(
        "p5.48xlarge",
        "{networkInterfaces: [{networkCardIndex: 31, deviceIndex: 1, interfaceType: efa-only}]}",
        true
    )]
    fn whether_a_machine_suits(#[case] name: &str, #[case] yaml: &str, #[case] expected: bool) {
        let spec = crate::cloud::ec2::fixtures::spec(yaml);
        assert_eq!(suits(&machine(name), &spec, spec.ami_family.unwrap_or(AmiFamily::Custom)), expected);
    }

    #[test]
    fn a_type_that_is_not_offered_in_the_zones_is_left_out() {
        let mut class = node_class();
        class.status.as_mut().unwrap().subnets.retain(|subnet| subnet.zone == "us-east-1z");
        assert!(offer("m5.large", &class, &Refusals::default(), Timestamp::UNIX_EPOCH).is_none());
    }
}
