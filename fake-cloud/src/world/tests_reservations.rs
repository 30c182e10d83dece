//! Reservations: what they cost, how they begin, and how they are taken back.

use super::{
    AllocationRequest, Amount, Body, Capacity, CloudError, EventKind, InstanceState, LaunchSettings, Market, PriceRule,
    ReservationRequest, ReservedMarket, RunRequest, StateReason, World,
    tests::{after, capacity, run, start, world},
};
use jiff::SignedDuration;

const HOUR: u128 = 3_600_000_000_000;
/// An m5.large by the hour.
const LARGE: u128 = 96_000_000;

fn wanted(count: u32) -> ReservationRequest {
    ReservationRequest {
        machine_type: "m5.large".to_owned(),
        zone: "us-west-2a".to_owned(),
        count,
        targeted: true,
        platform: "Linux/UNIX".to_owned(),
        tenancy: "default".to_owned(),
        ..ReservationRequest::default()
    }
}

fn launch_in(id: &str) -> RunRequest {
    let settings = LaunchSettings {
        machine_type: Some("m5.large".to_owned()),
        zone: Some("us-west-2a".to_owned()),
        reservation_id: Some(id.to_owned()),
        ..LaunchSettings::default()
    };
    RunRequest { settings, ..run("m5.large", 1) }
}

fn idle(world: &World) -> u128 {
    world.ledger().reservations.idle.nano_dollars()
}

#[test]
fn what_nobody_uses_of_a_reservation_costs_as_if_it_ran() {
    let mut world = world(|_| {});
    let id = world.create_reservation(&wanted(3)).unwrap();
    assert_eq!(world.ledger().nano_dollars_per_hour, 3 * LARGE);
    after(&mut world, 3600);
    assert_eq!(idle(&world), 3 * LARGE);
    let machine = world.run_instances(&launch_in(&id)).unwrap();
    after(&mut world, 7200);
    let ran = world.costs().next().unwrap().ran_nanoseconds;
    assert_eq!(idle(&world), 5 * LARGE, "the machine pays for itself");
    assert_eq!(world.ledger().by_market[&Market::OnDemand].nano_dollars(), LARGE * ran / HOUR);
    world.terminate(&machine).unwrap();
    let over = world.next_due().unwrap();
    world.advance(over);
    let while_ending = over.duration_since(start()).as_nanos().unsigned_abs() - 2 * HOUR;
    after(&mut world, 10_800);
    let expected = (8 * LARGE * HOUR - LARGE * while_ending) / HOUR;
    assert_eq!(idle(&world), expected, "it is idle again once the machine has left the state shutting-down");
    world.modify_reservation(&id, Some(1), None).unwrap();
    after(&mut world, 14_400);
    assert_eq!(idle(&world), expected + LARGE);
    world.cancel_reservation(&id).unwrap();
    after(&mut world, 20_000);
    assert_eq!((idle(&world), world.ledger().nano_dollars_per_hour), (expected + LARGE, 0));
    let summed: Amount = world.costs().map(|cost| cost.cost).chain([world.ledger().reservations.idle]).sum();
    assert_eq!(world.ledger().total, summed);
}

#[test]
fn a_new_price_counts_for_idle_machines_from_its_moment_on() {
    let mut world = world(|_| {});
    world.create_reservation(&wanted(2)).unwrap();
    after(&mut world, 3600);
    let price = PriceRule {
        instance_type: "m5.large".to_owned(),
        zone: "*".to_owned(),
        capacity_type: Market::OnDemand,
        price: "1".parse().unwrap(),
    };
    world.set_prices(&[price]).unwrap();
    after(&mut world, 7200);
    assert_eq!(idle(&world), 2 * LARGE + 2_000_000_000);
}

const DAY: i64 = 86_400;

fn launch_interruptible(id: &str) -> RunRequest {
    let mut request = launch_in(id);
    request.settings.reserved_market = Some(ReservedMarket::Interruptible);
    request
}

/// A reservation of five, and one of three that is lent from it.
fn lending(world: &mut World) -> (String, String) {
    let source = world.create_reservation(&wanted(5)).unwrap();
    let request = AllocationRequest { source: source.clone(), count: 3, ..AllocationRequest::default() };
    let lent = world.lend(&request).unwrap();
    (source, lent)
}

fn available(world: &World, id: &str) -> (u32, u32) {
    let reservation = world.reservation(id).unwrap();
    (reservation.total, reservation.available())
}

#[test]
fn lent_machines_are_taken_back_with_a_warning() {
    let mut world = world(|_| {});
    let (source, lent) = lending(&mut world);
    assert_eq!((available(&world, &source), available(&world, &lent)), ((5, 2), (3, 3)));
    assert!(matches!(world.run_instances(&launch_in(&lent)), Err(CloudError::InvalidCombination { .. })));
    let first = world.run_instances(&launch_interruptible(&lent)).unwrap().remove(0);
    after(&mut world, 600);
    let second = world.run_instances(&launch_interruptible(&lent)).unwrap().remove(0);
    after(&mut world, 1_200);
    assert_eq!(world.instance(&first).unwrap().lifecycle(), Some("interruptible-capacity-reservation"));
    world.change_lent(&source, 1, None).unwrap();
    assert_eq!((available(&world, &source), available(&world, &lent)), ((5, 3), (2, 0)), "the unused one came back");
    let warned = world.instance(&second).unwrap().interruption.expect("the youngest is warned");
    assert_eq!(warned, start() + SignedDuration::from_secs(1_200 + 120));
    assert_eq!(world.instance(&first).unwrap().interruption, None);
    let queue = world.cluster().to_owned();
    let told = world.receive_messages(&queue, 10, None).unwrap();
    let told = told.iter().filter(
        |message| matches!(&message.body, Body::Event(event) if event.kind == EventKind::ReservationInterruption),
    );
    assert_eq!(told.count(), 1);
    after(&mut world, 1_319);
    assert_eq!(world.instance(&second).unwrap().state, InstanceState::Running);
    after(&mut world, 1_320);
    let gone = world.instance(&second).unwrap();
    assert_eq!((gone.state, gone.state_reason), (InstanceState::ShuttingDown, Some(StateReason::ReservationReclaimed)));
    after(&mut world, 2_400);
    assert_eq!((available(&world, &source), available(&world, &lent)), ((5, 4), (1, 0)));
}

#[test]
fn a_reservation_that_lends_is_changed_through_its_allocation() {
    let mut world = world(|_| {});
    let (source, lent) = lending(&mut world);
    assert!(world.cancel_reservation(&source).is_err() && world.cancel_reservation(&lent).is_err());
    assert!(world.modify_reservation(&lent, Some(1), None).is_err());
    assert!(world.modify_reservation(&source, Some(2), None).is_err(), "three are lent");
    let again = AllocationRequest { source: source.clone(), count: 1, ..AllocationRequest::default() };
    assert!(world.lend(&again).is_err(), "there is one allocation");
    assert!(world.change_lent(&source, 6, None).is_err(), "there are five");
    world.change_lent(&source, 5, None).unwrap();
    assert_eq!((available(&world, &source), available(&world, &lent)), ((5, 0), (5, 5)));
    world.change_lent(&source, 0, Some(true)).unwrap();
    assert_eq!((available(&world, &source), world.reservation(&lent).unwrap().state.as_str()), ((5, 5), "active"));
    world.change_lent(&source, 2, Some(false)).unwrap();
    world.reclaim_lent(&lent, None).unwrap();
    assert_eq!((available(&world, &source), world.reservation(&lent).unwrap().state.as_str()), ((5, 5), "cancelled"));
    world.cancel_reservation(&source).unwrap();
    assert!(world.used_pools().is_empty());
}

#[test]
fn lent_machines_cost_once() {
    let mut world = world(|_| {});
    lending(&mut world);
    after(&mut world, 3_600);
    assert_eq!(idle(&world), 5 * LARGE);
}

fn for_later(days: i64) -> ReservationRequest {
    let begin = start() + SignedDuration::from_secs(days * DAY);
    ReservationRequest { later: Some((begin, 14 * DAY)), ..wanted(16) }
}

#[test]
fn a_reservation_for_later_is_assessed_scheduled_and_delivered() {
    let mut world = world(|_| {});
    let id = world.create_reservation(&for_later(6)).unwrap();
    let state = |world: &World| world.reservation(&id).unwrap().state.as_str();
    assert_eq!((state(&world), available(&world, &id), idle(&world)), ("assessing", (16, 0), 0));
    after(&mut world, DAY);
    assert_eq!(state(&world), "scheduled");
    assert!(world.cancel_reservation(&id).is_err(), "that needs a quote");
    assert!(world.used_pools().is_empty());
    after(&mut world, 6 * DAY - 1);
    assert_eq!(state(&world), "scheduled");
    after(&mut world, 6 * DAY);
    assert_eq!((state(&world), available(&world, &id)), ("active", (16, 16)));
    assert!(world.cancel_reservation(&id).is_err() && world.modify_reservation(&id, Some(1), None).is_err());
    after(&mut world, 6 * DAY + 3_600);
    assert_eq!(idle(&world), 16 * LARGE);
    after(&mut world, 20 * DAY);
    world.cancel_reservation(&id).unwrap();
    assert!(world.used_pools().is_empty());
}

#[test]
fn a_delivery_without_room_is_delayed_and_then_binds_nobody() {
    let mut world = world(|_| {});
    let id = world.create_reservation(&for_later(6)).unwrap();
    let state = |world: &World| world.reservation(&id).unwrap().state.as_str();
    let set = |world: &mut World, count| {
        world.set_capacity(&[capacity("m5.large", "*", None, Capacity::Count(count))]).unwrap();
    };
    after(&mut world, DAY);
    set(&mut world, 3);
    after(&mut world, 7 * DAY);
    assert_eq!((state(&world), available(&world, &id)), ("delayed", (16, 0)));
    set(&mut world, 16);
    after(&mut world, 7 * DAY + 900);
    assert_eq!(state(&world), "active");
    world.cancel_reservation(&id).unwrap();
    set(&mut world, 3);
    let later =
        ReservationRequest { later: Some((world.now() + SignedDuration::from_hours(200), 14 * DAY)), ..wanted(16) };
    let other = world.create_reservation(&later).unwrap();
    after(&mut world, 8 * DAY);
    assert_eq!(world.reservation(&other).unwrap().state.as_str(), "unsupported");
}

#[test]
fn what_is_wrong_with_a_request_for_later_is_told() {
    let mut world = world(|_| {});
    let wrong = [
        for_later(4),
        for_later(121),
        ReservationRequest { count: 15, ..for_later(6) },
        ReservationRequest { later: Some((start() + SignedDuration::from_hours(200), DAY)), ..wanted(16) },
        ReservationRequest { end: Some(start() + SignedDuration::from_hours(300)), ..for_later(6) },
    ];
    let parameter = |request: &ReservationRequest, world: &mut World| match world.create_reservation(request) {
        Err(CloudError::InvalidParameter { name, .. }) => name,
        other => panic!("{other:?}"),
    };
    let told: Vec<String> = wrong.iter().map(|request| parameter(request, &mut world)).collect();
    assert_eq!(told, ["StartDate", "StartDate", "InstanceCount", "CommitmentDuration", "EndDate"]);
}
