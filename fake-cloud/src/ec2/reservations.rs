//! Capacity reservations and capacity blocks.

use super::{
    Answer, Call, error::Refusal, filter, launch_settings, page::Page, query::Params, tags::returned_true, xml::Xml,
};
use crate::world::{
    AllocationRequest, BlockOffer, CloudError, Filterable, Reservation, ReservationRequest, ReservationState, Tags,
    passes,
};
use jiff::Timestamp;
use std::borrow::Cow;

const COUNTS: std::ops::RangeInclusive<u32> = 1..=1_000;

/// `CreateCapacityReservation`.
pub(crate) fn create(call: &mut Call<'_>, mut params: Params) -> Answer {
    let limited = params.one_of("EndDateType", &[("unlimited", false), ("limited", true)])?;
    let end = params.timestamp("EndDate")?;
    if limited == Some(true) && end.is_none() {
        return Err(Refusal::missing_parameter("EndDate"));
    }
    let zone = match (params.text("AvailabilityZone"), params.text("AvailabilityZoneId")) {
        (Some(name), _) => name,
        (None, Some(id)) => zone_of_id(call, &id)?,
        (None, None) => return Err(Refusal::missing_parameter("AvailabilityZone")),
    };
    for ignored in ["EbsOptimized", "EphemeralStorage"] {
        params.boolean(ignored)?;
    }
    let later = later(&mut params)?;
    let criteria = [("open", false), ("targeted", true)];
    let request = ReservationRequest {
        token: params.text("ClientToken"),
        dry_run: params.dry_run()?,
        machine_type: params.required("InstanceType")?,
        zone,
        count: params.integer("InstanceCount", &COUNTS)?.ok_or_else(|| Refusal::missing_parameter("InstanceCount"))?,
        targeted: params.one_of("InstanceMatchCriteria", &criteria)?.unwrap_or(false),
        end: end.filter(|_| limited != Some(false)),
        later,
        platform: params.required("InstancePlatform")?,
        tenancy: params.text("Tenancy").unwrap_or_else(|| "default".to_owned()),
        tags: plural_tags(&mut params)?,
    };
    params.no_more()?;
    let id = call.world.create_reservation(&request)?;
    call.touched.push(id.clone());
    answer_with(call, &id)
}

/// From when on, and for how many seconds at least, of a reservation that begins later.
fn later(params: &mut Params) -> Result<Option<(Timestamp, i64)>, Refusal> {
    params.one_of("DeliveryPreference", &[("incremental", ()), ("fixed", ())])?;
    match (params.timestamp("StartDate")?, params.number::<i64>("CommitmentDuration")?) {
        (None, None) => Ok(None),
        (Some(start), Some(seconds)) => Ok(Some((start, seconds))),
        (None, Some(_)) => Err(Refusal::missing_parameter("StartDate")),
        (Some(_), None) => Err(Refusal::missing_parameter("CommitmentDuration")),
    }
}

/// Tags of operations whose parameter is called `TagSpecifications`, in the plural.
fn plural_tags(params: &mut Params) -> Result<Vec<crate::world::TagSpecification>, Refusal> {
    let mut specifications = launch_settings::tag_specifications(params)?;
    specifications.extend(launch_settings::tag_specifications_named(params, "TagSpecifications")?);
    Ok(specifications)
}

fn zone_of_id(call: &Call<'_>, id: &str) -> Result<String, Refusal> {
    let zone = call.world.zones().iter().find(|zone| zone.id == id);
    let unknown = || CloudError::NotFound { kind: crate::world::ResourceKind::Zone, id: id.to_owned() };
    Ok(zone.ok_or_else(unknown)?.name.to_owned())
}

fn answer_with(call: &Call<'_>, id: &str) -> Answer {
    let reservation = call.world.reservation(id)?;
    let mut xml = Xml::new();
    xml.node("capacityReservation", |xml| write(xml, call, reservation));
    Ok(xml)
}

/// `DescribeCapacityReservations`.
pub(crate) fn describe(call: &Call<'_>, mut params: Params) -> Answer {
    let ids = params.texts("CapacityReservationId")?;
    let filters = filter::take::<Shown<'_>>(&mut params, true)?;
    let page = Page::take(&mut params, call.action, &(1..=1000))?;
    params.finish()?;
    for id in &ids {
        call.world.reservation(id)?;
    }
    let chosen = call.world.reservations().map(|reservation| Shown(reservation, call.account()));
    let chosen = chosen.filter(|shown| (ids.is_empty() || ids.contains(&shown.0.id)) && passes(shown, &filters));
    let (shown, next) = page.cut(chosen, |shown| shown.0.id.clone())?;
    let mut xml = Xml::new();
    xml.items("capacityReservationSet", shown, |xml, shown| write(xml, call, shown.0));
    xml.optional("nextToken", next);
    Ok(xml)
}

/// `CancelCapacityReservation`.
pub(crate) fn cancel(call: &mut Call<'_>, mut params: Params) -> Answer {
    let id = params.required("CapacityReservationId")?;
    call.world.reservation(&id)?;
    params.finish()?;
    call.world.cancel_reservation(&id)?;
    call.touched.push(id);
    Ok(returned_true())
}

/// `ModifyCapacityReservation`.
pub(crate) fn modify(call: &mut Call<'_>, mut params: Params) -> Answer {
    let id = params.required("CapacityReservationId")?;
    let count = params.integer("InstanceCount", &COUNTS)?;
    let limited = params.one_of("EndDateType", &[("unlimited", false), ("limited", true)])?;
    let end = match (limited, params.timestamp("EndDate")?) {
        (Some(false), _) => Some(None),
        (Some(true) | None, Some(end)) => Some(Some(end)),
        (Some(true), None) => return Err(Refusal::missing_parameter("EndDate")),
        (None, None) => None,
    };
    call.world.reservation(&id)?;
    params.finish()?;
    call.world.modify_reservation(&id, count, end)?;
    call.touched.push(id);
    Ok(returned_true())
}

const ZERO_SIZE: &[(&str, bool)] = &[("default", false), ("retain", true)];

/// `CreateInterruptibleCapacityReservationAllocation`.
pub(crate) fn lend(call: &mut Call<'_>, mut params: Params) -> Answer {
    let source = params.required("CapacityReservationId")?;
    let count = params.integer("InstanceCount", &COUNTS)?;
    let request = AllocationRequest {
        token: params.text("ClientToken"),
        count: count.ok_or_else(|| Refusal::missing_parameter("InstanceCount"))?,
        kept_empty: params.one_of("ZeroSizePreference", ZERO_SIZE)?.unwrap_or(false),
        tags: plural_tags(&mut params)?,
        source,
    };
    call.world.reservation(&request.source)?;
    params.finish()?;
    let id = call.world.lend(&request)?;
    call.touched.push(id);
    let mut xml = Xml::new();
    xml.text("sourceCapacityReservationId", &request.source);
    xml.text("targetInstanceCount", request.count);
    xml.text("status", "active");
    xml.text("interruptionType", "adhoc");
    Ok(xml)
}

/// `UpdateInterruptibleCapacityReservationAllocation`.
pub(crate) fn change_lent(call: &mut Call<'_>, mut params: Params) -> Answer {
    let source = params.required("CapacityReservationId")?;
    let target = params.integer("TargetInstanceCount", &(0..=*COUNTS.end()))?;
    let target = target.ok_or_else(|| Refusal::missing_parameter("TargetInstanceCount"))?;
    let kept_empty = params.one_of("ZeroSizePreference", ZERO_SIZE)?;
    call.world.reservation(&source)?;
    params.finish()?;
    let id = call.world.change_lent(&source, target, kept_empty)?;
    call.touched.push(id.clone());
    let lent = call.world.reservation(&id)?;
    let mut xml = Xml::new();
    xml.text("interruptibleCapacityReservationId", &id);
    xml.text("sourceCapacityReservationId", &source);
    write_allocated(&mut xml, lent);
    Ok(xml)
}

/// How many machines are lent, and whether some of them are being taken back.
fn write_allocated(xml: &mut Xml, lent: &Reservation) {
    let target = lent.interruptible.as_ref().map_or(lent.total, |own| own.target);
    xml.text("instanceCount", lent.total);
    xml.text("targetInstanceCount", target);
    let status = match lent.state {
        ReservationState::Cancelled => "canceled",
        _ if lent.total == target => "active",
        _ => "updating",
    };
    xml.text("status", status);
    xml.text("interruptionType", "adhoc");
}

/// `DescribeCapacityBlockOfferings`.
pub(crate) fn describe_offers(call: &mut Call<'_>, mut params: Params) -> Answer {
    let machine_type = params.required("InstanceType")?;
    let count = params.integer("InstanceCount", &COUNTS)?.unwrap_or(1);
    let hours = params.number("CapacityDurationHours")?;
    let hours = hours.ok_or_else(|| Refusal::missing_parameter("CapacityDurationHours"))?;
    let range = (params.timestamp("StartDateRange")?, params.timestamp("EndDateRange")?);
    let page = Page::take(&mut params, call.action, &(1..=1000))?;
    params.finish()?;
    let offers = call.world.block_offers(&machine_type, count, hours, range)?;
    let (offers, next) = page.cut(offers, |offer| offer.zone.name.to_owned())?;
    let mut xml = Xml::new();
    xml.items("capacityBlockOfferingSet", offers, |xml, offer| write_offer(xml, &offer));
    xml.optional("nextToken", next);
    Ok(xml)
}

fn write_offer(xml: &mut Xml, offer: &BlockOffer) {
    xml.text("capacityBlockOfferingId", &offer.id);
    xml.text("instanceType", offer.machine_type);
    xml.text("availabilityZone", offer.zone.name);
    xml.text("instanceCount", offer.count);
    xml.time("startDate", offer.start);
    xml.time("endDate", offer.end);
    xml.text("capacityBlockDurationHours", offer.hours);
    xml.text("capacityBlockDurationMinutes", offer.hours * 60);
    xml.text("upfrontFee", offer.upfront);
    xml.text("currencyCode", "USD");
    xml.text("tenancy", "default");
}

/// `PurchaseCapacityBlock`.
pub(crate) fn purchase(call: &mut Call<'_>, mut params: Params) -> Answer {
    let offer = params.required("CapacityBlockOfferingId")?;
    let platform = params.required("InstancePlatform")?;
    let tags = launch_settings::tag_specifications(&mut params)?;
    params.finish()?;
    let id = call.world.purchase_block(&offer, &platform, &tags)?;
    call.touched.push(id.clone());
    answer_with(call, &id)
}

fn write(xml: &mut Xml, call: &Call<'_>, reservation: &Reservation) {
    xml.text("capacityReservationId", &reservation.id);
    xml.text("ownerId", call.account());
    xml.text("capacityReservationArn", call.arn("capacity-reservation", &reservation.id));
    xml.text("availabilityZone", reservation.zone.name);
    xml.text("availabilityZoneId", reservation.zone.id);
    xml.text("instanceType", reservation.machine_type);
    xml.text("instancePlatform", &reservation.platform);
    xml.text("tenancy", &reservation.tenancy);
    xml.text("totalInstanceCount", reservation.total);
    xml.text("availableInstanceCount", reservation.available());
    xml.text("ebsOptimized", false);
    xml.text("ephemeralStorage", false);
    xml.text("state", reservation.state.as_str());
    xml.time("startDate", reservation.start);
    if let Some(end) = reservation.end {
        xml.time("endDate", end);
    }
    xml.text("endDateType", if reservation.end.is_some() { "limited" } else { "unlimited" });
    xml.text("instanceMatchCriteria", if reservation.open { "open" } else { "targeted" });
    xml.time("createDate", reservation.created);
    xml.text("reservationType", if reservation.block { "capacity-block" } else { "default" });
    write_lending(xml, call, reservation);
    if let Some(commitment) = reservation.commitment {
        xml.text("deliveryPreference", "incremental");
        xml.node("commitmentInfo", |xml| {
            xml.text("committedInstanceCount", reservation.total);
            xml.text("commitmentDuration", commitment.seconds);
            if let Some(end) = commitment.end {
                xml.time("commitmentEndDate", end);
            }
        });
    }
    xml.tags("tagSet", &reservation.tags);
}

fn write_lending(xml: &mut Xml, call: &Call<'_>, reservation: &Reservation) {
    xml.text("interruptible", reservation.interruptible.is_some());
    if let Some(own) = &reservation.interruptible {
        xml.text("zeroSizePreference", if own.kept_empty { "retain" } else { "default" });
        xml.node("interruptionInfo", |xml| {
            xml.text("sourceCapacityReservationId", &own.source);
            xml.text("interruptionType", "adhoc");
        });
    }
    if let Some(allocation) = &reservation.allocation
        && let Ok(lent) = call.world.reservation(&allocation.to)
    {
        xml.node("interruptibleCapacityAllocation", |xml| {
            xml.text("interruptibleCapacityReservationId", &allocation.to);
            write_allocated(xml, lent);
        });
    }
}

/// A reservation as filters look at it.
struct Shown<'r>(&'r Reservation, &'r str);

impl Filterable for Shown<'_> {
    const NAMES: &'static [&'static str] = &[
        "availability-zone",
        "availability-zone-id",
        "end-date",
        "end-date-type",
        "instance-match-criteria",
        "instance-platform",
        "instance-type",
        "outpost-arn",
        "owner-id",
        "placement-group-arn",
        "reservation-type",
        "start-date",
        "state",
        "tenancy",
    ];

    fn values(&self, name: &str) -> Vec<Cow<'_, str>> {
        let Self(reservation, owner) = self;
        let time = |time: Timestamp| super::xml::iso_8601(time).into();
        let value: Cow<'_, str> = match name {
            "availability-zone" => reservation.zone.name.into(),
            "availability-zone-id" => reservation.zone.id.into(),
            "end-date" => return reservation.end.into_iter().map(time).collect(),
            "end-date-type" => if reservation.end.is_some() { "limited" } else { "unlimited" }.into(),
            "instance-match-criteria" => if reservation.open { "open" } else { "targeted" }.into(),
            "instance-platform" => reservation.platform.as_str().into(),
            "instance-type" => reservation.machine_type.into(),
            "owner-id" => (*owner).into(),
            "reservation-type" => if reservation.block { "capacity-block" } else { "default" }.into(),
            "start-date" => time(reservation.start),
            "state" => reservation.state.as_str().into(),
            "tenancy" => reservation.tenancy.as_str().into(),
            _ => return Vec::new(),
        };
        vec![value]
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.0.tags)
    }
}
