//! What the world does, as tables and stories.

use super::{
    AllocationStrategy, Amount, Capacity, CapacityRule, CloudConfig, CloudError, DelayRange, FaultEffect, FaultRule,
    Fleet, FleetConfig, FleetOverride, FleetRequest, InstanceState, InterfaceSettings, LaunchSettings, LostResponse,
    Market, PriceRule, QuotaClass, QuotaRule, RunRequest, StateReason, TagSpecification, Tags, TemplateRef,
    TemplateRequest, Treatment, World,
};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use rstest::rstest;

const START: &str = "2026-01-01T00:00:00Z";
const CALL: super::CallShape<'_> = super::CallShape { operation: "CreateFleet", of_ec2: true, everything: false };
const IMAGE: &str = "/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/x86_64/standard/recommended/image_id";

pub(super) fn start() -> Timestamp {
    START.parse().unwrap()
}

fn config(change: impl FnOnce(&mut CloudConfig)) -> CloudConfig {
    let mut config = CloudConfig::default();
    change(&mut config);
    config
}

/// A world with a template `t`.
pub(super) fn world(change: impl FnOnce(&mut CloudConfig)) -> World {
    let mut world = World::new(&config(change), start()).unwrap();
    let settings = LaunchSettings {
        image_id: world.parameter(IMAGE).map(str::to_owned),
        user_data: Some(b"join".to_vec()),
        ..LaunchSettings::default()
    };
    let request = TemplateRequest { name: "template".to_owned(), settings, ..TemplateRequest::default() };
    world.create_launch_template(request).unwrap();
    world
}

pub(super) fn capacity(instance_type: &str, zone: &str, market: Option<Market>, capacity: Capacity) -> CapacityRule {
    CapacityRule { instance_type: instance_type.to_owned(), zone: zone.to_owned(), capacity_type: market, capacity }
}

fn pool(machine_type: &str, zone: &str) -> FleetOverride {
    FleetOverride {
        machine_type: Some(machine_type.to_owned()),
        zone: Some(format!("us-west-2{zone}")),
        ..FleetOverride::default()
    }
}

pub(super) fn fleet(market: Market, target: u32, pools: &[(&str, &str)]) -> FleetRequest {
    let overrides = pools.iter().map(|(machine_type, zone)| pool(machine_type, zone)).collect();
    let template = TemplateRef::Name("template".to_owned());
    let config = FleetConfig { template, version: Some("$Latest".to_owned()), overrides };
    FleetRequest { market, target, configs: vec![config], ..FleetRequest::default() }
}

pub(super) fn run(machine_type: &str, count: u32) -> RunRequest {
    RunRequest {
        template: Some((TemplateRef::Name("template".to_owned()), None)),
        settings: LaunchSettings { machine_type: Some(machine_type.to_owned()), ..LaunchSettings::default() },
        min: count,
        max: count,
        ..RunRequest::default()
    }
}

/// What a fleet got, as `type/zone × count`, and what refused.
fn told(fleet: &Fleet) -> (Vec<String>, Vec<String>) {
    let launched = fleet.launched.iter();
    let errors = fleet.errors.iter();
    (
        launched
            .map(|each| format!("{}/{}×{}", each.pool.machine_type, each.pool.zone, each.instance_ids.len()))
            .collect(),
        errors.map(|each| format!("{}/{}", each.pool.machine_type, each.pool.zone)).collect(),
    )
}

pub(super) fn after(world: &mut World, seconds: i64) {
    world.advance(start() + SignedDuration::from_secs(seconds));
}

#[test]
fn a_machine_lives_and_is_forgotten() {
    let mut world = world(|_| {});
    let id = world.run_instances(&run("m5.large", 1)).unwrap().remove(0);
    let mut states = vec![world.instance(&id).unwrap().state];
    let running = world.next_due().unwrap();
    world.advance(running);
    states.push(world.instance(&id).unwrap().state);
    assert_eq!(world.next_due(), None, "a running machine changes by nothing but a request");
    let changes = world.terminate(std::slice::from_ref(&id)).unwrap();
    assert_eq!((changes[0].previous, changes[0].current), (InstanceState::Running, InstanceState::ShuttingDown));
    states.push(world.instance(&id).unwrap().state);
    while let Some(due) = world.next_due() {
        world.advance(due);
        states.extend(world.instance(&id).ok().map(|instance| instance.state));
    }
    use InstanceState::{Pending, Running, ShuttingDown, Terminated};
    assert_eq!(states, [Pending, Running, ShuttingDown, Terminated]);
    assert!(matches!(world.instance(&id), Err(CloudError::NotFound { .. })));
    assert!(world.used_pools().is_empty());
    assert!(world.subnets().iter().all(|subnet| subnet.free_addresses() == 8187));
    let gone = world.costs().next().unwrap();
    assert_eq!((gone.instance_id, gone.price), (id, None));
}

#[test]
fn the_lowest_price_comes_first_and_only_tried_pools_are_errors() {
    let mut world = world(|config| {
        config.capacity.overrides = vec![
            capacity("m5.large", "us-west-2a", None, Capacity::Count(2)),
            capacity("m5.large", "us-west-2b", None, Capacity::Count(0)),
        ];
    });
    let pools = [("m5.xlarge", "a"), ("m5.large", "a"), ("m5.large", "b"), ("m5.2xlarge", "c")];
    let fleet = world.create_fleet(&fleet(Market::OnDemand, 3, &pools)).unwrap();
    let (launched, refused) = told(&fleet);
    assert_eq!(launched, ["m5.large/us-west-2a×2", "m5.xlarge/us-west-2a×1"]);
    assert_eq!(refused, ["m5.large/us-west-2a", "m5.large/us-west-2b"]);
    let CloudError::InsufficientCapacity { elsewhere, .. } = &fleet.errors[1].error else { panic!("{fleet:?}") };
    assert_eq!(elsewhere, &["us-west-2c", "us-west-2d"]);
}

#[test]
fn a_fleet_without_room_is_an_answer_with_errors() {
    let mut world = world(|config| config.capacity.default = Capacity::Count(0));
    let fleet = world.create_fleet(&fleet(Market::Spot, 1, &[("m5.large", "a"), ("m5.large", "b")])).unwrap();
    assert_eq!((fleet.launched.len(), fleet.errors.len()), (0, 2));
    assert_eq!(world.instances().count(), 0);
}

#[test]
fn a_partial_fleet_below_its_minimum_launches_nothing() {
    let mut world = world(|config| config.capacity.default = Capacity::Count(2));
    let request = FleetRequest { min_target: Some(3), ..fleet(Market::OnDemand, 4, &[("m5.large", "a")]) };
    let fleet = world.create_fleet(&request).unwrap();
    assert!(fleet.launched.is_empty());
    assert_eq!((world.instances().count(), world.ledger().launched, world.next_due()), (0, 0, None));
    assert!(world.used_pools().is_empty());
}

#[test]
fn a_diversified_fleet_takes_turns() {
    let mut world = world(|_| {});
    let pools = [("m5.large", "a"), ("m5.large", "b"), ("m5.large", "c")];
    let request = FleetRequest { strategy: AllocationStrategy::Diversified, ..fleet(Market::OnDemand, 4, &pools) };
    let (launched, _) = told(&world.create_fleet(&request).unwrap());
    assert_eq!(launched, ["m5.large/us-west-2a×2", "m5.large/us-west-2b×1", "m5.large/us-west-2c×1"]);
}

#[rstest]
#[case::unknown_type(
    "m5.larg",
    "a",
    "`m5.larg` is no valid value of `InstanceType`: the name of an instance type, such as `m5.large`"
)]
#[case::unknown_zone("m5.large", "x", "one of us-west-2a, us-west-2b, us-west-2c, us-west-2d")]
fn a_wrong_fleet_is_refused_as_a_whole(#[case] machine_type: &str, #[case] zone: &str, #[case] expected: &str) {
    let mut world = world(|_| {});
    let request = fleet(Market::OnDemand, 1, &[("m5.large", "a"), (machine_type, zone)]);
    let error = world.create_fleet(&request).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
    assert_eq!(world.instances().count(), 0);
}

#[test]
fn a_pool_named_twice_is_refused() {
    let mut world = world(|_| {});
    let request = fleet(Market::OnDemand, 1, &[("m5.large", "a"), ("m5.large", "a")]);
    assert!(matches!(world.create_fleet(&request), Err(CloudError::InvalidFleet { .. })));
}

#[test]
fn a_type_that_a_zone_does_not_have_is_not_offered() {
    let mut world = world(|_| {});
    let (launched, refused) = told(
        &world.create_fleet(&fleet(Market::OnDemand, 1, &[("p5e.48xlarge", "a"), ("p5e.48xlarge", "c")])).unwrap(),
    );
    assert_eq!(
        (launched, refused),
        (vec!["p5e.48xlarge/us-west-2c×1".to_owned()], vec!["p5e.48xlarge/us-west-2a".to_owned()])
    );
}

#[test]
fn the_same_token_gives_the_same_fleet_and_other_parameters_are_refused() {
    let mut world = world(|_| {});
    let request = FleetRequest { token: Some("t-1".to_owned()), ..fleet(Market::Spot, 2, &[("m5.large", "a")]) };
    let first = world.create_fleet(&request).unwrap();
    after(&mut world, 60);
    assert_eq!(world.create_fleet(&request).unwrap(), first);
    assert_eq!(world.instances().count(), 2);
    let other = FleetRequest { target: 3, ..request.clone() };
    assert_eq!(world.create_fleet(&other).unwrap_err(), CloudError::TokenReused { token: "t-1".to_owned() });
    // A day later the token is forgotten.
    after(&mut world, 25 * 3600);
    assert_ne!(world.create_fleet(&request).unwrap(), first);
    assert_eq!(world.instances().count(), 4);
}

#[test]
fn a_refused_request_does_not_use_its_token_up() {
    let mut world = world(|_| {});
    let wrong = FleetRequest { token: Some("t".to_owned()), ..fleet(Market::Spot, 0, &[("m5.large", "a")]) };
    assert!(world.create_fleet(&wrong).is_err());
    let right = FleetRequest { target: 1, ..wrong };
    assert_eq!(world.create_fleet(&right).unwrap().instance_ids().count(), 1);
}

#[test]
fn after_a_lost_response_the_machine_is_found_by_its_tag() {
    let mut world = world(|config| {
        config.faults = vec![FaultRule {
            operation: "CreateFleet".to_owned(),
            effect: FaultEffect::LoseResponse(LostResponse::ServerError),
            skip: 0,
            times: Some(1),
            percent: None,
        }];
    });
    assert_eq!(world.begin_call(&CALL).treatment, Treatment::Lose(LostResponse::ServerError));
    let tags = Tags::from([("karpenter.sh/nodepool".to_owned(), "default".to_owned())]);
    let request = FleetRequest {
        token: Some("uid-1".to_owned()),
        tags: vec![TagSpecification { resource: "instance".to_owned(), tags }],
        ..fleet(Market::OnDemand, 1, &[("m5.large", "a")])
    };
    let lost = world.create_fleet(&request).unwrap();
    let filter = super::Filter { name: "tag:karpenter.sh/nodepool".to_owned(), values: vec!["def*".to_owned()] };
    let found: Vec<_> = world.instances().filter(|each| super::passes(*each, std::slice::from_ref(&filter))).collect();
    assert_eq!(found.iter().map(|each| each.id.as_str()).collect::<Vec<_>>(), lost.instance_ids().collect::<Vec<_>>());
    // The retry with the same token is not hit again and launches nothing more.
    assert_eq!(world.begin_call(&CALL).treatment, Treatment::Serve);
    assert_eq!(world.create_fleet(&request).unwrap(), lost);
    assert_eq!(world.instances().count(), 1);
}

#[test]
fn a_dry_run_checks_and_launches_nothing() {
    let mut world = world(|_| {});
    let request = FleetRequest { dry_run: true, ..fleet(Market::Spot, 1, &[("m5.large", "a")]) };
    assert_eq!(world.create_fleet(&request), Err(CloudError::DryRun));
    assert_eq!(world.run_instances(&RunRequest { dry_run: true, ..run("m5.large", 1) }), Err(CloudError::DryRun));
    let wrong = RunRequest { dry_run: true, ..run("m6g.large", 1) };
    let error = world.run_instances(&wrong).unwrap_err().to_string();
    assert!(error.contains("the architecture 'arm64' of the specified instance type"), "{error}");
    assert_eq!(world.instances().count(), 0);
}

#[test]
fn quotas_hold_and_are_given_back() {
    let quota = |vcpus| QuotaRule { class: QuotaClass::Standard, capacity_type: Market::OnDemand, vcpus: Some(vcpus) };
    let mut world = world(|config| config.quotas = vec![quota(5)]);
    let fleet = world.create_fleet(&fleet(Market::OnDemand, 3, &[("m5.large", "a")])).unwrap();
    assert_eq!(fleet.instance_ids().count(), 2);
    let expected = CloudError::QuotaExceeded { market: Market::OnDemand, class: QuotaClass::Standard, limit: 5 };
    assert_eq!(fleet.errors[0].error, expected);
    let first = fleet.instance_ids().next().unwrap().to_owned();
    world.terminate(&[first]).unwrap();
    after(&mut world, 120);
    assert!(world.run_instances(&run("m5.large", 1)).is_ok());
    assert!(world.run_instances(&run("m5.large", 1)).is_err());
}

#[test]
fn run_instances_launches_all_it_must_or_none() {
    let mut world = world(|config| config.capacity.default = Capacity::Count(3));
    assert!(world.run_instances(&run("m5.large", 4)).is_err());
    assert_eq!((world.instances().count(), world.next_due()), (0, None));
    let request = RunRequest { min: 1, max: 4, ..run("m5.large", 1) };
    assert_eq!(world.run_instances(&request).unwrap().len(), 3);
}

#[test]
fn a_subnet_runs_out_of_addresses() {
    let mut world = world(|config| config.addresses_per_subnet = Some(2));
    let fleet = world.create_fleet(&fleet(Market::OnDemand, 3, &[("m5.large", "a")])).unwrap();
    assert_eq!(fleet.instance_ids().count(), 2);
    assert!(matches!(fleet.errors[0].error, CloudError::NoFreeAddresses { .. }));
}

#[test]
fn every_interface_takes_an_address_but_efa_only() {
    let mut world = world(|_| {});
    let interface = |card: u32, kind: &str| InterfaceSettings {
        network_card_index: card,
        device_index: u32::from(card > 0),
        interface_type: Some(kind.to_owned()),
        ..InterfaceSettings::default()
    };
    let mut request = run("p5.48xlarge", 1);
    request.settings.network_interfaces = vec![interface(0, "efa"), interface(1, "efa"), interface(2, "efa-only")];
    let id = world.run_instances(&request).unwrap().remove(0);
    after(&mut world, 30);
    assert_eq!(world.subnets()[0].free_addresses(), 8185);
    let hardware = &world.running_machines()[0].hardware;
    assert_eq!((&*hardware["nvidia.com/gpu"], &*hardware["vpc.amazonaws.com/efa"]), ("8", "3"));
    world.kill(&id).unwrap();
    assert_eq!(world.subnets()[0].free_addresses(), 8187);
}

#[test]
fn an_interruption_is_announced_and_then_happens() {
    let mut world = world(|_| {});
    let fleet = world.create_fleet(&fleet(Market::Spot, 1, &[("m5.large", "a")])).unwrap();
    let id = fleet.instance_ids().next().unwrap().to_owned();
    after(&mut world, 100);
    let at = world.interrupt(&id).unwrap();
    assert_eq!(at, start() + SignedDuration::from_secs(220));
    assert_eq!(world.interrupt(&id).unwrap(), at, "a second announcement changes nothing");
    after(&mut world, 219);
    assert_eq!(world.instance(&id).unwrap().state, InstanceState::Running);
    after(&mut world, 220);
    let instance = world.instance(&id).unwrap();
    assert_eq!(
        (instance.state, instance.state_reason),
        (InstanceState::ShuttingDown, Some(StateReason::SpotReclaimed))
    );
    let on_demand = world.run_instances(&run("m5.large", 1)).unwrap().remove(0);
    assert!(world.interrupt(&on_demand).unwrap_err().to_string().contains("only spot instances are interrupted"));
}

#[test]
fn stopping_gives_the_room_back_and_starting_needs_it_again() {
    let mut world = world(|config| config.capacity.default = Capacity::Count(1));
    let id = world.run_instances(&run("m5.large", 1)).unwrap();
    after(&mut world, 30);
    world.stop(&id).unwrap();
    after(&mut world, 100);
    assert_eq!(world.instance(&id[0]).unwrap().state, InstanceState::Stopped);
    let rule = capacity("m5.large", "*", None, Capacity::Count(0));
    world.set_capacity(&[rule]).unwrap();
    assert!(matches!(world.start(&id), Err(CloudError::InsufficientCapacity { .. })));
    assert_eq!(world.instance(&id[0]).unwrap().state, InstanceState::Stopped);
    world.set_capacity(&[capacity("m5.large", "*", None, Capacity::Unlimited)]).unwrap();
    world.start(&id).unwrap();
    after(&mut world, 200);
    assert_eq!(world.instance(&id[0]).unwrap().state, InstanceState::Running);
}

#[test]
fn terminate_knows_all_or_ends_none() {
    let mut world = world(|_| {});
    let id = world.run_instances(&run("m5.large", 1)).unwrap().remove(0);
    let unknown = "i-00000000000000000".to_owned();
    assert!(world.terminate(&[id.clone(), unknown]).is_err());
    assert_eq!(world.instance(&id).unwrap().state, InstanceState::Pending);
    world.terminate(std::slice::from_ref(&id)).unwrap();
    let again = world.terminate(&[id]).unwrap();
    assert_eq!((again[0].previous, again[0].current), (InstanceState::ShuttingDown, InstanceState::ShuttingDown));
}

#[test]
fn the_meter_is_price_times_time_over_price_changes() {
    let immediately = DelayRange { min: SignedDuration::ZERO, max: SignedDuration::ZERO };
    let mut world = world(|config| config.delays.pending = immediately);
    let id = world.run_instances(&run("m5.large", 1)).unwrap().remove(0);
    after(&mut world, 600);
    let price = |dollars: &str| PriceRule {
        instance_type: "m5.large".to_owned(),
        zone: "*".to_owned(),
        capacity_type: Market::OnDemand,
        price: dollars.parse().unwrap(),
    };
    world.set_prices(&[price("0.2")]).unwrap();
    after(&mut world, 1800);
    world.terminate(std::slice::from_ref(&id)).unwrap();
    after(&mut world, 100_000);
    // 600 s at $0.096/h and 1,200 s at $0.2/h: 16,000,000 + 66,666,666 nano-dollars.
    assert_eq!(world.ledger().total.nano_dollars(), 82_666_666);
    assert_eq!(world.ledger().nano_dollars_per_hour, 0);
}

#[test]
fn a_spot_machine_pays_each_hours_price() {
    let immediately = DelayRange { min: SignedDuration::ZERO, max: SignedDuration::ZERO };
    let mut world = world(|config| {
        config.delays.pending = immediately;
        config.prices.spot_swing_percent = 50;
    });
    world.create_fleet(&fleet(Market::Spot, 1, &[("m5.large", "a")])).unwrap();
    let mut expected = Amount::default();
    for half_hour in 0..200 {
        after(&mut world, half_hour * 1800);
        expected += Amount::of(world.spot_price("m5.large", "us-west-2a").unwrap(), 1_800_000_000_000);
    }
    after(&mut world, 200 * 1800);
    assert_eq!(world.ledger().by_market[&Market::Spot], expected);
    let flat = Amount::of(world.spot_price("m5.large", "us-west-2a").unwrap(), 200 * 1_800_000_000_000);
    assert_ne!(expected, flat, "the price moved");
}

#[test]
fn the_history_tells_what_the_price_was() {
    let mut world = world(|_| {});
    let then = world.spot_price("m5.large", "us-west-2a").unwrap();
    after(&mut world, 5 * 3600 + 60);
    let price = PriceRule {
        instance_type: "m5.large".to_owned(),
        zone: "us-west-2a".to_owned(),
        capacity_type: Market::Spot,
        price: "0.5".parse().unwrap(),
    };
    world.set_prices(&[price]).unwrap();
    after(&mut world, 6 * 3600);
    let only = |machine_type: &str, zone: &str| machine_type == "m5.large" && zone == "us-west-2a";
    let rows = world.spot_price_history(start(), world.now(), only);
    assert_eq!(rows.len(), 7);
    assert_eq!((rows[0].price, rows[0].since), ("0.5".parse().unwrap(), start() + SignedDuration::from_secs(18_060)));
    assert_eq!((rows[6].price, rows[6].since), (then, start()));
    let newest = world.spot_price_history(world.now(), world.now(), only);
    assert_eq!(newest, rows[..1]);
}

#[test]
fn tags_are_set_together_or_not_at_all() {
    let mut world = world(|_| {});
    let id = world.run_instances(&run("m5.large", 1)).unwrap().remove(0);
    let volume = world.instance(&id).unwrap().volumes[0].id.clone();
    let tags = Tags::from([("Name".to_owned(), "n".to_owned())]);
    assert!(world.create_tags(&[id.clone(), "i-none".to_owned()], &tags).is_err());
    assert!(!world.instance(&id).unwrap().tags.contains_key("Name"));
    world.create_tags(&[id.clone(), volume], &tags).unwrap();
    let instance = world.instance(&id).unwrap();
    assert_eq!((&instance.tags["Name"], &instance.volumes[0].tags["Name"]), (&"n".to_owned(), &"n".to_owned()));
    let reserved = Tags::from([("aws:x".to_owned(), String::new())]);
    assert!(world.create_tags(std::slice::from_ref(&id), &reserved).is_err());
    let many: Tags = (0..50).map(|number| (format!("k{number}"), String::new())).collect();
    assert!(matches!(world.create_tags(&[id], &many), Err(CloudError::LimitExceeded { .. })));
}

#[test]
fn templates_are_found_by_name_and_versions_by_number() {
    let mut world = world(|_| {});
    let by_name = TemplateRef::Name("template".to_owned());
    let version = world.launch_template_version(&by_name, None).unwrap().2.clone();
    let (template, number) = world.create_launch_template_version(&by_name, version).unwrap();
    assert_eq!((number, template.latest_version(), template.default_version), (2, 2, 1));
    assert_eq!(world.launch_template_version(&by_name, Some("$Latest")).unwrap().1, 2);
    assert!(world.launch_template_version(&by_name, Some("3")).is_err());
    let taken = TemplateRequest { name: "template".to_owned(), ..TemplateRequest::default() };
    assert!(matches!(world.create_launch_template(taken), Err(CloudError::AlreadyExists { .. })));
    world.delete_launch_template(&TemplateRef::Id(template.id.clone())).unwrap();
    assert!(world.launch_template(&by_name).is_err());
    let again = TemplateRequest { name: "template".to_owned(), ..TemplateRequest::default() };
    assert_ne!(world.create_launch_template(again).unwrap().id, template.id);
}

#[test]
fn unknown_profiles_are_refused_when_profiles_are_listed() {
    let mut world = world(|config| config.instance_profiles = Some(vec!["nodes".to_owned()]));
    let with = |name: &str| {
        let mut request = run("m5.large", 1);
        request.settings.instance_profile = Some(name.to_owned());
        request
    };
    assert!(world.run_instances(&with("nodes")).is_ok());
    assert!(matches!(world.run_instances(&with("other")), Err(CloudError::NotFound { .. })));
}

#[test]
fn a_real_node_never_has_less_memory_than_the_reference_estimates() {
    for machine_type in super::Catalogue::embedded().machine_types() {
        let arm = if machine_type.architectures[0] == "arm64" { 64 } else { 0 };
        let bytes = (machine_type.memory_mib - arm) * 1024 * 1024;
        let overhead_mib = (bytes * 75).div_ceil(1000 * 1024 * 1024);
        let estimate_kib = (machine_type.memory_mib - arm - overhead_mib) * 1024;
        assert!(machine_type.visible_memory_kib() >= estimate_kib, "{}", machine_type.name);
    }
}

/// Everything that can be seen of a world.
fn seen(world: &World) -> String {
    let instances: Vec<_> = world.instances().collect();
    format!("{instances:?} {:?} {:?} {:?}", world.ledger(), world.used_pools(), world.running_machines())
}

fn story(seed: u64) -> String {
    let mut world = world(|config| {
        config.seed = seed;
        config.capacity.default = Capacity::Drawn { min: 0, max: 3 };
    });
    let pools = [("m5.large", "a"), ("c5.large", "b"), ("r5.large", "c")];
    for step in 0..10 {
        let request = FleetRequest {
            token: Some(format!("token-{step}")),
            strategy: AllocationStrategy::PriceCapacityOptimized,
            ..fleet(Market::Spot, 2, &pools)
        };
        let fleet = world.create_fleet(&request).unwrap();
        if let Some(id) = fleet.instance_ids().next() {
            world.terminate(&[id.to_owned()]).unwrap();
        }
        after(&mut world, step * 40);
    }
    seen(&world)
}

#[test]
fn the_same_seed_gives_the_same_world_and_another_another() {
    assert_eq!(story(1), story(1));
    assert_ne!(story(1), story(2));
}

#[test]
fn a_launch_with_a_token_draws_the_same_whatever_was_launched_before() {
    let request = FleetRequest { token: Some("t".to_owned()), ..fleet(Market::OnDemand, 1, &[("m5.large", "a")]) };
    let mut alone = world(|_| {});
    let mut after_others = world(|_| {});
    after_others.run_instances(&run("m5.large", 7)).unwrap();
    assert_eq!(alone.create_fleet(&request).unwrap(), after_others.create_fleet(&request).unwrap());
}

#[derive(Clone, Debug)]
enum Act {
    Fleet { market: Market, target: u32 },
    Terminate(usize),
    Kill(usize),
    Stop(usize),
    Start(usize),
    Interrupt(usize),
    Capacity(u32),
    Wait(i64),
}

fn act() -> impl Strategy<Value = Act> {
    let market = prop_oneof![Just(Market::OnDemand), Just(Market::Spot)];
    prop_oneof![
        (market, 1..6_u32).prop_map(|(market, target)| Act::Fleet { market, target }),
        (0..20_usize).prop_map(Act::Terminate),
        (0..20_usize).prop_map(Act::Kill),
        (0..20_usize).prop_map(Act::Stop),
        (0..20_usize).prop_map(Act::Start),
        (0..20_usize).prop_map(Act::Interrupt),
        (0..5_u32).prop_map(Act::Capacity),
        (0..4000_i64).prop_map(Act::Wait),
    ]
}

fn perform(world: &mut World, act: &Act) {
    let ids: Vec<String> = world.instances().map(|instance| instance.id.clone()).collect();
    let named = |place: usize| ids.get(place).cloned().into_iter().collect::<Vec<_>>();
    // Refusals are part of the story: what must hold holds after them too.
    match act {
        Act::Fleet { market, target } => {
            let pools = [("m5.large", "a"), ("m5.xlarge", "b")];
            world.create_fleet(&fleet(*market, *target, &pools)).unwrap();
        }
        Act::Terminate(place) => drop(world.terminate(&named(*place))),
        Act::Kill(place) => named(*place).iter().for_each(|id| drop(world.kill(id))),
        Act::Stop(place) => drop(world.stop(&named(*place))),
        Act::Start(place) => drop(world.start(&named(*place))),
        Act::Interrupt(place) => named(*place).iter().for_each(|id| drop(world.interrupt(id))),
        Act::Capacity(count) => {
            world.set_capacity(&[capacity("m5.*", "*", None, Capacity::Count(*count))]).unwrap();
        }
        Act::Wait(seconds) => world.advance(world.now() + SignedDuration::from_secs(*seconds)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// However it is used: pools count exactly the machines in them, addresses and quotas come back, and when every machine
    /// has ended nothing is left.
    #[test]
    fn what_is_taken_is_given_back(acts in prop::collection::vec(act(), 1..60)) {
        let mut world = world(|config| config.capacity.default = Capacity::Count(3));
        for act in &acts {
            let before: std::collections::BTreeMap<_, _> = world.used_pools().into_iter()
                .map(|pool| ((pool.instance_type, pool.zone, pool.capacity_type), pool.in_use)).collect();
            perform(&mut world, act);
            for pool in world.used_pools() {
                let key = (pool.instance_type, pool.zone, pool.capacity_type);
                let held = world.instances().filter(|each| {
                    (each.machine_type, each.zone.name, each.market) == key && each.has_room
                });
                prop_assert_eq!(pool.in_use as usize, held.count());
                let grew = pool.in_use > before.get(&key).copied().unwrap_or(0);
                prop_assert!(!grew || pool.capacity.is_none_or(|capacity| pool.in_use <= capacity));
            }
        }
        let ids: Vec<String> = world.instances().map(|instance| instance.id.clone()).collect();
        world.terminate(&ids).unwrap();
        world.advance(world.now() + SignedDuration::from_hours(3));
        prop_assert_eq!(world.instances().count(), 0);
        prop_assert!(world.used_pools().is_empty());
        prop_assert!(world.remaining().instances.is_empty());
        prop_assert!(world.subnets().iter().all(|subnet| subnet.free_addresses() == 8187));
        prop_assert_eq!(world.next_due(), None);
        let summed: Amount = world.costs().map(|cost| cost.cost).sum();
        prop_assert_eq!(world.ledger().total, summed);
    }
}
