//! Capacity reservations of a NodeClass: found by its terms, offered before anything else, and counted between two looks
//! (spec aws 2.5, 3.1, 4.3).

use super::{
    call::{Calls, all_pages},
    sdk::Clients,
    tags::{filter, filters},
};
use crate::cloud::CloudError;
use aws_sdk_ec2::types::{self as sdk, Filter};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sawhorse_core::{
    api::{CapacityReservation, CapacityReservationSelectorTerm, labels},
    model::{CapacityType, InstanceType, Offering, Operator, Requirement},
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Reservations per page, the most that EC2 gives.
const PER_PAGE: i32 = 1_000;
/// Machines of a capacity block are drained from so long before its end: ten minutes before EC2 begins to end them.
const DRAINED_BEFORE_END: SignedDuration = SignedDuration::from_mins(40);
const BLOCK: &str = "capacity-block";

/// A reservation and how many machines it still holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ReservationFacts {
    pub(super) status: CapacityReservation,
    pub(super) available: u32,
}

/// Reads the reservations that `terms` select and whose end has not come, by id.
pub(super) async fn read(
    calls: &Calls,
    clients: &Clients,
    terms: &[CapacityReservationSelectorTerm],
    now: Timestamp,
) -> Result<Vec<ReservationFacts>, CloudError> {
    let mut found = BTreeMap::new();
    for (ids, filters) in queries(terms) {
        let (ids, filters) = (&ids, &filters);
        let all: Vec<ReservationFacts> = all_pages("DescribeCapacityReservations", |token| async move {
            let request = || {
                let request = clients.ec2.describe_capacity_reservations().set_filters(Some(filters.clone()));
                let request = request.set_capacity_reservation_ids(Some(ids.clone()).filter(|ids| !ids.is_empty()));
                let paged = ids.is_empty().then_some(PER_PAGE);
                request.set_max_results(paged).set_next_token(token.clone()).send()
            };
            let page = calls.send("DescribeCapacityReservations", request).await?;
            let facts = page.capacity_reservations().iter().filter_map(|one| facts(one, now));
            Ok((facts.collect(), page.next_token.clone()))
        })
        .await?;
        found.extend(all.into_iter().map(|one| (one.status.id.clone(), one)));
    }
    Ok(found.into_values().collect())
}

/// What to ask for: ids one by one, since one that is gone would fail the others too; everything else by filters.
fn queries(terms: &[CapacityReservationSelectorTerm]) -> Vec<(Vec<String>, Vec<Filter>)> {
    let query = |term: &CapacityReservationSelectorTerm| {
        let mut all = vec![filter("state", ["active"])];
        if let Some(id) = &term.id {
            return (vec![id.clone()], all);
        }
        all.extend(filters(&term.tags));
        all.extend(term.owner_id.as_ref().map(|owner| filter("owner-id", [owner])));
        all.extend(term.instance_match_criteria.as_ref().map(|criteria| filter("instance-match-criteria", [criteria])));
        (Vec::new(), all)
    };
    terms.iter().map(query).collect()
}

fn facts(reservation: &sdk::CapacityReservation, now: Timestamp) -> Option<ReservationFacts> {
    let end = reservation.end_date().and_then(|end| Timestamp::from_second(end.secs()).ok());
    if end.is_some_and(|end| end <= now) {
        return None;
    }
    let kind = reservation.reservation_type().map_or("default", |kind| kind.as_str()).to_owned();
    let expiring = kind == BLOCK && end.is_some_and(|end| now >= end - DRAINED_BEFORE_END);
    Some(ReservationFacts {
        available: u32::try_from(reservation.available_instance_count().unwrap_or(0)).unwrap_or(0),
        status: CapacityReservation {
            id: reservation.capacity_reservation_id()?.to_owned(),
            availability_zone: reservation.availability_zone()?.to_owned(),
            instance_type: reservation.instance_type()?.to_owned(),
            owner_id: reservation.owner_id().unwrap_or_default().to_owned(),
            instance_match_criteria: reservation.instance_match_criteria()?.as_str().to_owned(),
            reservation_type: kind,
            interruptible: reservation.interruptible(),
            end_time: end.map(Time),
            state: if expiring { "expiring" } else { "active" }.to_owned(),
        },
    })
}

/// How many machines the reservations still hold: as last read, less what was launched since.
#[derive(Debug, Default)]
pub(super) struct Held(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    left: BTreeMap<String, u32>,
    /// Raised with every change, so that what was computed from this can be told to be old.
    generation: u64,
}

impl Held {
    fn with<T>(&self, act: impl FnOnce(&mut Counts) -> T) -> T {
        // Each change is a single insertion, so what is there is whole even if its last holder panicked.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was read now.
    pub(super) fn settle(&self, found: &[ReservationFacts]) {
        self.with(|counts| {
            for one in found {
                if counts.left.insert(one.status.id.clone(), one.available) != Some(one.available) {
                    counts.generation += 1;
                }
            }
        });
    }

    /// A machine was launched in it.
    pub(super) fn take(&self, id: &str) {
        self.with(|counts| {
            counts.left.entry(id.to_owned()).and_modify(|left| *left = left.saturating_sub(1));
            counts.generation += 1;
        });
    }

    /// It has none left, as a launch said.
    pub(super) fn exhaust(&self, id: &str) {
        self.with(|counts| {
            counts.left.insert(id.to_owned(), 0);
            counts.generation += 1;
        });
    }

    pub(super) fn left(&self, id: &str) -> u32 {
        self.with(|counts| counts.left.get(id).copied().unwrap_or(0))
    }

    pub(super) fn generation(&self) -> u64 {
        self.with(|counts| counts.generation)
    }
}

/// `types` with an offering for each reservation, and the labels that go with it. Types without are shared, not copied.
pub(super) fn with_reserved(types: &mut [Arc<InstanceType>], reservations: &[CapacityReservation], held: &Held) {
    for shared in types {
        let own = reservations.iter().filter(|one| one.instance_type == shared.name);
        let offerings: Vec<Offering> = own.filter_map(|one| offering(shared, one, held)).collect();
        if offerings.is_empty() {
            continue;
        }
        let kind = Arc::make_mut(shared);
        let values = |key: &str| {
            let own = offerings.iter().filter_map(|one| one.requirements.get(key));
            own.flat_map(|requirement| requirement.values().map(str::to_owned).collect::<Vec<_>>()).collect::<Vec<_>>()
        };
        for key in LABELS {
            kind.requirements.remove(key);
            kind.requirements.add(Requirement::new(key, Operator::In, values(key)));
        }
        let mut kinds = vec![CapacityType::Reserved.as_str()];
        kinds.extend([CapacityType::Spot, CapacityType::OnDemand].iter().filter_map(|other| {
            kind.offerings.iter().any(|one| one.capacity_type == *other).then_some(other.as_str())
        }));
        kind.requirements.remove(labels::CAPACITY_TYPE);
        kind.requirements.add(Requirement::new(labels::CAPACITY_TYPE, Operator::In, kinds));
        kind.offerings.extend(offerings);
        kind.offerings.sort_by(|a, b| {
            (&a.zone, a.capacity_type, &a.reservation_id).cmp(&(&b.zone, b.capacity_type, &b.reservation_id))
        });
    }
}

pub(super) const LABELS: [&str; 3] =
    [labels::CAPACITY_RESERVATION_ID, labels::CAPACITY_RESERVATION_TYPE, labels::CAPACITY_RESERVATION_INTERRUPTIBLE];

fn offering(kind: &InstanceType, reservation: &CapacityReservation, held: &Held) -> Option<Offering> {
    let zone = &reservation.availability_zone;
    let beside = kind.offerings.iter().filter(|one| one.zone == *zone);
    // What else can be bought there knows the zone's id, and the price that the reservation's is a share of.
    let beside = beside.max_by_key(|one| one.capacity_type)?;
    let left = held.left(&reservation.id);
    let mut offering = Offering::new(zone, CapacityType::Reserved, beside.price.reserved());
    if let Some(zone_id) = beside.requirements.get(labels::ZONE_ID) {
        offering.requirements.add(zone_id.clone());
    }
    let values = [
        reservation.id.clone(),
        reservation.reservation_type.clone(),
        reservation.interruptible.unwrap_or(false).to_string(),
    ];
    for (key, value) in LABELS.into_iter().zip(values) {
        offering.requirements.add(Requirement::new(key, Operator::In, [value]));
    }
    offering.available = left > 0 && reservation.state != "expiring";
    offering.reservation_id = Some(reservation.id.clone());
    offering.reservation_capacity = left;
    Some(offering)
}

/// How machines of a reservation are bought, in the order in which kinds of one price are used (spec aws 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) enum ReservationKind {
    /// On demand, as others.
    Ordinary,
    /// In a capacity block.
    Block,
    /// In one that is lent and can be taken back.
    Interruptible,
}

impl ReservationKind {
    /// Of the reservation of an offering.
    pub(super) fn of(offering: &Offering) -> Self {
        let is = |key: &str, value: &str| offering.requirements.get(key).is_some_and(|known| known.has(value));
        if is(labels::CAPACITY_RESERVATION_TYPE, BLOCK) {
            Self::Block
        } else if is(labels::CAPACITY_RESERVATION_INTERRUPTIBLE, "true") {
            Self::Interruptible
        } else {
            Self::Ordinary
        }
    }
}
