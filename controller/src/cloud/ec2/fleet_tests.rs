use super::*;
use crate::cloud::ec2::{
    launch_template::{InReservation, Template},
    placement::InGroup,
};
use aws_sdk_ec2::types::LaunchTemplateAndOverridesResponse;
use rstest::rstest;
use sawhorse_core::api::MetadataOptions;

fn plan(capacity_type: CapacityType) -> Plan {
    let template = Template {
        cluster: "c1".into(),
        image_id: "ami-1".into(),
        user_data: String::new(),
        instance_profile: "profile".into(),
        security_groups: vec!["sg-1".into()],
        block_devices: Vec::new(),
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
        capacity_type,
        tenancy: "default",
        reservation: None,
        placement: None,
        tags: tags::Tags::new(),
    };
    let pool = |zone: &str, subnet: &str| Override {
        instance_type: "m5.large".into(),
        zone: zone.into(),
        subnet: subnet.into(),
        image: "ami-1".into(),
        price: "0.096".parse().unwrap(),
    };
    Plan {
        capacity_type,
        groups: vec![Group {
            template,
            overrides: vec![pool("us-east-1a", "subnet-a"), pool("us-east-1b", "subnet-b")],
        }],
        tags: tags::Tags::from([(tags::NODE_CLAIM.into(), "claim-1".into())]),
        context: None,
        addresses: 29,
        by_price: false,
    }
}

fn overrides(name: &str, zone: &str) -> LaunchTemplateAndOverridesResponse {
    let pool = FleetLaunchTemplateOverrides::builder()
        .instance_type(name.into())
        .availability_zone(zone)
        .subnet_id("subnet-a")
        .image_id("ami-2");
    LaunchTemplateAndOverridesResponse::builder().overrides(pool.build()).build()
}

fn refused(code: &str, zone: &str) -> CreateFleetError {
    CreateFleetError::builder()
        .error_code(code)
        .error_message("no.")
        .launch_template_and_overrides(overrides("m5.large", zone))
        .build()
}

fn bought(zone: &str) -> CreateFleetInstance {
    CreateFleetInstance::builder()
        .instance_ids("i-1")
        .instance_type("m5.large".into())
        .launch_template_and_overrides(overrides("m5.large", zone))
        .build()
}

fn read_answer(answer: &CreateFleetOutput, refusals: &mut Refusals) -> Result<CloudInstance, CloudError> {
    read(answer, &plan(CapacityType::Spot), refusals, Timestamp::UNIX_EPOCH)
}

#[rstest]
#[case(CapacityType::Spot)]
#[case(CapacityType::OnDemand)]
fn a_request_as_the_api_takes_it(#[case] capacity_type: CapacityType) {
    let input = request(&plan(capacity_type), "token-1").build().unwrap();
    insta::assert_debug_snapshot!(format!("create_fleet_{capacity_type}"), input);
}

#[test]
fn pools_are_tried_by_price_where_overlays_say_it() {
    let asked = |capacity_type| request(&Plan { by_price: true, ..plan(capacity_type) }, "token-1").build().unwrap();
    let spot = asked(CapacityType::Spot).spot_options.unwrap().allocation_strategy;
    assert_eq!(spot, Some(SpotAllocationStrategy::CapacityOptimizedPrioritized));
    let on_demand = asked(CapacityType::OnDemand).on_demand_options.unwrap().allocation_strategy;
    assert_eq!(on_demand, Some(FleetOnDemandAllocationStrategy::Prioritized));
}

#[test]
fn a_machine_is_read_with_what_its_pool_echoes() {
    let answer = CreateFleetOutput::builder().instances(bought("us-east-1b")).build();
    let machine = read_answer(&answer, &mut Refusals::default()).unwrap();
    assert_eq!(machine.provider_id.as_str(), "aws:///us-east-1b/i-1");
    assert_eq!((machine.zone.as_str(), machine.image_id.as_str()), ("us-east-1b", "ami-2"));
    assert_eq!((machine.capacity_type, machine.node_claim.as_deref()), (CapacityType::Spot, Some("claim-1")));
}

#[test]
fn refusals_are_remembered_even_when_a_machine_was_bought() {
    let answer = CreateFleetOutput::builder()
        .instances(bought("us-east-1b"))
        .errors(refused("InsufficientInstanceCapacity", "us-east-1a"))
        .build();
    let mut refusals = Refusals::default();
    assert!(read_answer(&answer, &mut refusals).is_ok());
    let allows = |zone| refusals.allows_pool(CapacityType::Spot, "m5.large", zone, Timestamp::UNIX_EPOCH);
    assert!(!allows("us-east-1a") && allows("us-east-1b"));
}

#[test]
fn a_full_subnet_is_remembered() {
    let answer =
        CreateFleetOutput::builder().errors(refused("InsufficientFreeAddressesInSubnet", "us-east-1a")).build();
    let mut refusals = Refusals::default();
    assert!(matches!(read_answer(&answer, &mut refusals), Err(CloudError::InsufficientCapacity { .. })));
    assert!(refusals.full_subnets(Timestamp::UNIX_EPOCH).contains("subnet-a"));
}

#[test]
fn a_refusal_without_a_pool_is_one_of_all_pools() {
    let error = CreateFleetError::builder().error_code("UnfulfillableCapacity").error_message("no").build();
    let mut refusals = Refusals::default();
    let failed = read_answer(&CreateFleetOutput::builder().errors(error).build(), &mut refusals);
    assert!(matches!(failed, Err(CloudError::InsufficientCapacity { .. })));
    assert!(!refusals.allows_pool(CapacityType::Spot, "m5.large", "us-east-1b", Timestamp::UNIX_EPOCH));
}

#[test]
fn why_nothing_was_bought_fits_one_line() {
    let codes = [
        ("InsufficientInstanceCapacity", "us-east-1a"),
        ("InsufficientInstanceCapacity", "us-east-1b"),
        ("Unsupported", "us-east-1b"),
    ];
    let answer =
        CreateFleetOutput::builder().set_errors(Some(codes.map(|(code, zone)| refused(code, zone)).to_vec())).build();
    let error = read_answer(&answer, &mut Refusals::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "insufficient capacity: InsufficientInstanceCapacity for m5.large/us-east-1a, m5.large/us-east-1b (no.); Unsupported for m5.large/us-east-1b (no.)"
    );
}

#[test]
fn other_refusals_are_no_lack_of_capacity() {
    let fail = |codes: &[&str]| {
        let errors = codes.iter().map(|code| refused(code, "us-east-1a")).collect();
        read_answer(&CreateFleetOutput::builder().set_errors(Some(errors)).build(), &mut Refusals::default())
            .unwrap_err()
    };
    assert!(matches!(
        fail(&["Unsupported", "RequestLimitExceeded"]),
        CloudError::Throttled { operation: "CreateFleet" }
    ));
    assert!(fail(&["InsufficientInstanceCapacity", "UnauthorizedOperation"]).has_code("UnauthorizedOperation"));
}

#[test]
fn without_its_role_spot_is_not_tried_for_a_while() {
    let mut refusals = Refusals::default();
    let answer = CreateFleetOutput::builder().errors(refused(NO_SPOT_ROLE, "us-east-1a")).build();
    assert!(read_answer(&answer, &mut refusals).unwrap_err().has_code(NO_SPOT_ROLE));
    assert!(!refusals.allows_pool(CapacityType::Spot, "c5.large", "us-east-1b", Timestamp::UNIX_EPOCH));
}

#[rstest]
#[case(ReservationKind::Ordinary, "on-demand", true, false)]
#[case(ReservationKind::Block, "capacity-block", false, false)]
#[case(ReservationKind::Interruptible, "reserved-capacity", false, true)]
fn reservations_are_asked_for_as_ec2_wants_it(
    #[case] kind: ReservationKind,
    #[case] target: &str,
    #[case] on_demand: bool,
    #[case] interruptible: bool,
) {
    let mut plan = plan(CapacityType::Reserved);
    plan.groups[0].template.reservation = Some(InReservation { id: "cr-1".into(), kind });
    let request = request(&plan, "token").build().unwrap();
    let asked = request.target_capacity_specification().and_then(|one| one.default_target_capacity_type()).unwrap();
    assert_eq!((asked.as_str(), request.on_demand_options().is_some()), (target, on_demand));
    assert_eq!(request.reserved_capacity_options().is_some(), interruptible);
}

#[test]
fn a_full_spread_group_is_not_a_pool_without_machines() {
    let mut plan = plan(CapacityType::OnDemand);
    plan.groups[0].template.placement = Some(InGroup { id: "pg-1".into(), partition: None });
    let error = CreateFleetError::builder()
        .error_code("InsufficientInstanceCapacity")
        .error_message("You've reached the limit of instances in this spread placement group. …")
        .launch_template_and_overrides(overrides("m5.large", "us-east-1a"))
        .build();
    let answer = CreateFleetOutput::builder().errors(error).build();
    let (mut refusals, now) = (Refusals::default(), Timestamp::UNIX_EPOCH);
    assert!(matches!(read(&answer, &plan, &mut refusals, now), Err(CloudError::InsufficientCapacity { .. })));
    assert!(refusals.allows_pool(CapacityType::OnDemand, "m5.large", "us-east-1a", now), "other classes can buy it");
    assert!(!refusals.allows_group("pg-1", "us-east-1a", now) && refusals.allows_group("pg-1", "us-east-1b", now));
    let later = now + jiff::SignedDuration::from_mins(3);
    refusals.expire(later);
    assert!(refusals.allows_group("pg-1", "us-east-1a", later));
}
