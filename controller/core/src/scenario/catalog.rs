//! Named instance catalogs.

use super::{
    ScenarioError,
    schema::{CatalogForm, TypeForm, UnavailableForm},
};
use crate::{
    api::{labels, parse_go_duration},
    model::{
        CapacityType, InstanceType, Offering, Operator, Overhead, Price, Requirement, Requirements, Resources,
        UnavailableOfferings,
    },
};
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;

/// How long an offering is out of stock where a scenario does not say (spec aws 2.6).
const OUT_OF_STOCK: &str = "+3m";

/// The types of the catalog `text` by name; offerings that are out of stock at `now` are unavailable.
pub(super) fn types(
    text: &str,
    unavailable: &UnavailableOfferings,
    now: Timestamp,
) -> Result<Arc<[Arc<InstanceType>]>, ScenarioError> {
    let form = read(text)?;
    let stocked = |capacity_type, name: &str, zone: &str| unavailable.until(capacity_type, name, zone, now).is_none();
    let mut types: Vec<Arc<InstanceType>> =
        form.instance_types.iter().map(|own| Arc::new(instance_type(own, &form.zones, &stocked))).collect();
    types.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(types.into())
}

/// What a scenario says to be out of stock.
pub(super) fn refused(
    forms: &[UnavailableForm],
    catalog: &str,
    now: Timestamp,
) -> Result<UnavailableOfferings, ScenarioError> {
    let catalog = read(catalog)?;
    let mut refused = UnavailableOfferings::default();
    for form in forms {
        let until = form.until.as_deref().unwrap_or(OUT_OF_STOCK);
        let wrong = |problem: String| ScenarioError::anywhere(format!("`unavailable`, `until: {until}`: {problem}"));
        let wait = parse_go_duration(until).map_err(|error| wrong(error.to_string()))?;
        let wait = SignedDuration::try_from(wait).map_err(|error| wrong(error.to_string()))?;
        let until = now.checked_add(wait).map_err(|error| wrong(error.to_string()))?;
        if !catalog.instance_types.iter().any(|own| own.name == form.instance_type) {
            return Err(unknown_type(&form.instance_type));
        }
        let zones = form.zone.as_ref().map_or(catalog.zones.as_slice(), std::slice::from_ref);
        let kinds = [CapacityType::Spot, CapacityType::OnDemand];
        for kind in kinds.into_iter().filter(|kind| form.capacity_type.is_none_or(|wanted| wanted == *kind)) {
            zones.iter().for_each(|zone| refused.mark(kind, &form.instance_type, zone, until));
        }
    }
    Ok(refused)
}

pub(super) fn unknown_type(name: &str) -> ScenarioError {
    ScenarioError::anywhere(format!("instance type `{name}` is not in the catalog: use one that is"))
}

fn read(text: &str) -> Result<CatalogForm, ScenarioError> {
    serde_saphyr::from_str(text).map_err(|error| ScenarioError::anywhere(format!("catalog: {error}")))
}

fn instance_type(
    form: &TypeForm,
    zones: &[String],
    stocked: &dyn Fn(CapacityType, &str, &str) -> bool,
) -> InstanceType {
    let zones = form.zones.as_deref().unwrap_or(zones);
    let mut offerings: Vec<Offering> = Vec::new();
    for zone in zones {
        let prices = [(CapacityType::Spot, form.spot), (CapacityType::OnDemand, Some(form.on_demand))];
        let priced = prices.into_iter().filter_map(|(kind, price)| Some((kind, price?)));
        offerings
            .extend(priced.map(|(kind, price)| offering(zone, kind, price, stocked(kind, &form.name, zone), None)));
    }
    for own in &form.reservations {
        let price = form.on_demand.reserved();
        offerings.push(offering(&own.zone, CapacityType::Reserved, price, own.count > 0, Some((&own.id, own.count))));
    }
    offerings.sort_by(|a, b| {
        (&a.zone, a.capacity_type, &a.reservation_id).cmp(&(&b.zone, b.capacity_type, &b.reservation_id))
    });
    InstanceType {
        name: form.name.clone(),
        requirements: requirements(form, zones, &offerings),
        offerings,
        capacity: Resources::of_capacity(&form.capacity),
        overhead: Overhead { kube_reserved: Resources::of_capacity(&form.overhead), ..Overhead::default() },
        listed: None,
    }
}

/// What its nodes' labels can be. The family, size, category and generation are parts of the name.
fn requirements(form: &TypeForm, zones: &[String], offerings: &[Offering]) -> Requirements {
    let is = |key: &str, value: &str| Requirement::new(key, Operator::In, [value]);
    let (family, size) = form.name.split_once('.').unwrap_or((&form.name, ""));
    let digit = family.find(|c: char| c.is_ascii_digit()).unwrap_or(family.len());
    let generation: String = family[digit..].chars().take_while(char::is_ascii_digit).collect();
    let cpus = Resources::of_capacity(&form.capacity).get(crate::model::CPU) / 1000;
    let kinds = offerings.iter().map(|offering| offering.capacity_type.as_str());
    let mut all = vec![
        is(labels::INSTANCE_TYPE, &form.name),
        is(labels::ARCH, &form.arch),
        is(labels::OS, "linux"),
        is(labels::INSTANCE_FAMILY, family),
        is(labels::INSTANCE_SIZE, size),
        is(labels::INSTANCE_CATEGORY, &family[..digit]),
        is(labels::INSTANCE_GENERATION, &generation),
        is(labels::INSTANCE_CPU, &cpus.to_string()),
        Requirement::new(labels::ZONE, Operator::In, zones),
        Requirement::new(labels::CAPACITY_TYPE, Operator::In, kinds),
    ];
    all.extend(form.labels.iter().map(|(key, value)| is(key, value)));
    let reservations: Vec<&str> = form.reservations.iter().map(|own| own.id.as_str()).collect();
    all.push(match reservations.as_slice() {
        [] => Requirement::new(labels::CAPACITY_RESERVATION_ID, Operator::DoesNotExist, [""; 0]),
        ids => Requirement::new(labels::CAPACITY_RESERVATION_ID, Operator::In, ids),
    });
    Requirements::from_iter(all)
}

fn offering(
    zone: &str,
    capacity_type: CapacityType,
    price: Price,
    available: bool,
    reservation: Option<(&String, u32)>,
) -> Offering {
    let mut offering = Offering::new(zone, capacity_type, price);
    offering.requirements.add(match reservation {
        Some((id, _)) => Requirement::new(labels::CAPACITY_RESERVATION_ID, Operator::In, [id]),
        None => Requirement::new(labels::CAPACITY_RESERVATION_ID, Operator::DoesNotExist, [""; 0]),
    });
    Offering {
        available,
        reservation_id: reservation.map(|(id, _)| id.clone()),
        reservation_capacity: reservation.map_or(0, |(_, count)| count),
        ..offering
    }
}
