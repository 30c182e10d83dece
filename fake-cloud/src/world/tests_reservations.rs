//! Reservations: what they cost, how they begin, and how they are taken back.

use super::{
    Amount, LaunchSettings, Market, PriceRule, ReservationRequest, RunRequest, World,
    tests::{after, run, world},
};

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
    let while_ending = over.duration_since(super::tests::start()).as_nanos().unsigned_abs() - 2 * HOUR;
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
