//! Something cheaper for what would be given back (spec core 4.7, steps 5–7 and the rules for spot).

use super::{
    Candidate, WhyKept,
    command::{cheapest_of_all, price_of_all},
};
use crate::{
    api::labels,
    model::{CapacityType, InstanceType, Offering, Operator, Price, Requirement, Requirements, Resources},
    scheduling::{Launch, PlannedNodeClaim},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Replacing one spot machine by another needs a choice of so many cheaper types, lest it be taken back at once.
const MIN_SPOT_TO_SPOT_TYPES: usize = 15;

/// How replacements are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// Whether several machines are replaced at once.
    pub(super) multi: bool,
    /// Whether spot may be replaced by spot.
    pub(super) spot_to_spot: bool,
    /// Whether that needs a choice of types.
    pub(super) choice_of_spot: bool,
}

/// `planned` with only the types that are cheaper, all of them together, than `candidates` together.
pub(super) fn all_cheaper(
    planned: Vec<PlannedNodeClaim>,
    candidates: &[&Candidate],
    rules: Rules,
) -> Result<Vec<PlannedNodeClaim>, WhyKept> {
    let (price, cheapest) = (price_of_all(candidates.iter().copied()), cheapest_of_all(&planned));
    let several = planned.len() > 1;
    let narrow = |own: PlannedNodeClaim| {
        // Each may cost its part of what there is to spend, so that together they cost less whatever is launched.
        let part = if several { part_of(price, own.cheapest_price, cheapest) } else { price };
        let own = cheaper(own, part, candidates, rules)?;
        // What several become need not differ from them: they are fewer, or cost less together.
        if rules.multi && !several { not_the_same_again(own, candidates) } else { Ok(own) }
    };
    planned.into_iter().map(narrow).collect()
}

fn part_of(price: Price, own: Price, all: Price) -> Price {
    if all <= Price::ZERO {
        return Price::ZERO;
    }
    let nanos = i128::from(price.nanos()) * i128::from(own.nanos()) / i128::from(all.nanos());
    Price::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}

/// `planned` with only the types that cost less than `price`.
fn cheaper(
    planned: PlannedNodeClaim,
    price: Price,
    candidates: &[&Candidate],
    rules: Rules,
) -> Result<PlannedNodeClaim, WhyKept> {
    let all_spot = candidates.iter().all(|candidate| candidate.capacity_type == Some(CapacityType::Spot));
    if all_spot && allows(&planned.requirements, CapacityType::Spot) {
        return spot_for_spot(planned, price, rules);
    }
    let types = types_below(&planned, &planned.requirements, price)?;
    let both = offered(&types, &planned.requirements, CapacityType::Spot)
        && offered(&types, &planned.requirements, CapacityType::OnDemand);
    if both {
        // Pinned to spot, so that a failed spot launch is not followed by a dearer on-demand one.
        let requirements = pinned_to_spot(&planned.requirements);
        let types = types.into_iter().filter(|own| own.cheapest(&requirements).is_some()).collect();
        return Ok(narrowed(planned, types, &requirements));
    }
    let requirements = planned.requirements.clone();
    Ok(narrowed(planned, types, &requirements))
}

fn spot_for_spot(planned: PlannedNodeClaim, price: Price, rules: Rules) -> Result<PlannedNodeClaim, WhyKept> {
    if !rules.spot_to_spot {
        return Err(WhyKept::SpotToSpotDisabled);
    }
    let requirements = pinned_to_spot(&planned.requirements);
    let mut types = types_below(&planned, &requirements, price)?;
    if rules.choice_of_spot {
        if types.len() < MIN_SPOT_TO_SPOT_TYPES {
            return Err(WhyKept::SpotToSpotTooFew(types.len()));
        }
        let needed = types_for_min_values(&types, &requirements).unwrap_or(types.len());
        types.truncate(needed.max(MIN_SPOT_TO_SPOT_TYPES));
    }
    Ok(narrowed(planned, types, &requirements))
}

/// For several machines: if the replacement could be of a candidate's type, only types cheaper than the cheapest such
/// candidate are kept, so that never three machines become one of the same kind where deleting two would do.
fn not_the_same_again(planned: PlannedNodeClaim, candidates: &[&Candidate]) -> Result<PlannedNodeClaim, WhyKept> {
    let names: BTreeSet<&str> = planned.instance_types.iter().map(|own| own.name.as_str()).collect();
    let same = candidates
        .iter()
        .filter(|candidate| candidate.instance_type.as_deref().is_some_and(|name| names.contains(name)));
    let Some(cheapest) = same.map(|candidate| candidate.price).min() else { return Ok(planned) };
    let types = types_below(&planned, &planned.requirements, cheapest)?;
    let requirements = planned.requirements.clone();
    Ok(narrowed(planned, types, &requirements))
}

/// The types whose worst launch costs less than `price`, cheapest first.
fn types_below(
    planned: &PlannedNodeClaim,
    requirements: &Requirements,
    price: Price,
) -> Result<Vec<Arc<InstanceType>>, WhyKept> {
    let mut types: Vec<(Price, Arc<InstanceType>)> = planned
        .instance_types
        .iter()
        .filter(|own| costs_less(own, requirements, price))
        .map(|own| (own.cheapest(requirements).map_or(Price::MAX, |offering| offering.price), Arc::clone(own)))
        .collect();
    if types.is_empty() {
        return Err(WhyKept::NotCheaper { cheapest: least_at_worst(&planned.instance_types, requirements), price });
    }
    types.sort_by(|a, b| (a.0, &a.1.name).cmp(&(b.0, &b.1.name)));
    let types: Vec<Arc<InstanceType>> = types.into_iter().map(|(_, own)| own).collect();
    match unmet_min_values(&types, requirements) {
        Some(label) => Err(WhyKept::MinValues(label)),
        None => Ok(types),
    }
}

/// The ways to pay in the order in which they are tried.
const WAYS_TO_PAY: [CapacityType; 3] = [CapacityType::Reserved, CapacityType::Spot, CapacityType::OnDemand];

/// Whether [`worst_launch_price`] is less than `price`.
fn costs_less(own: &InstanceType, requirements: &Requirements, price: Price) -> bool {
    // Prices are looked at first: whether an offering is allowed takes longer to tell.
    if !own.offerings.iter().any(|offering| offering.available && offering.price < price) {
        return false;
    }
    let offered = |kind: CapacityType, is_less: bool| {
        let mut such = own.offerings.iter().filter(move |offering| (offering.price < price) == is_less);
        such.any(|offering| is_open(offering, kind, requirements))
    };
    let way = WAYS_TO_PAY
        .into_iter()
        .find_map(|kind| if offered(kind, false) { Some(false) } else { offered(kind, true).then_some(true) });
    way == Some(true)
}

/// The type of which the worst launch costs least, the first by name of those that are equal.
fn least_at_worst(types: &[Arc<InstanceType>], requirements: &Requirements) -> Option<(String, Price)> {
    let mut best: Option<(Price, &str)> = None;
    for own in types {
        let least = own.offerings.iter().filter(|offering| offering.available).map(|offering| offering.price).min();
        if best.is_some_and(|best| least.is_none_or(|least| least > best.0)) {
            continue;
        }
        let found = worst_launch_price(own, requirements).map(|worst| (worst, own.name.as_str()));
        best = [best, found].into_iter().flatten().min();
    }
    best.map(|(worst, name)| (name.to_owned(), worst))
}

/// The most that a machine of this type may turn out to cost: the dearest offering of the first way to pay that it would be
/// launched with.
fn worst_launch_price(own: &InstanceType, requirements: &Requirements) -> Option<Price> {
    let allowed = |kind: CapacityType| {
        own.offerings
            .iter()
            .filter(move |offering| is_open(offering, kind, requirements))
            .map(|offering| offering.price)
            .max()
    };
    WAYS_TO_PAY.into_iter().find_map(allowed)
}

fn is_open(offering: &Offering, kind: CapacityType, requirements: &Requirements) -> bool {
    offering.available && offering.capacity_type == kind && requirements.intersects(&offering.requirements)
}

fn offered(types: &[Arc<InstanceType>], requirements: &Requirements, kind: CapacityType) -> bool {
    types.iter().flat_map(|own| &own.offerings).any(|offering| is_open(offering, kind, requirements))
}

fn allows(requirements: &Requirements, kind: CapacityType) -> bool {
    requirements.get(labels::CAPACITY_TYPE).is_none_or(|requirement| requirement.has(kind.as_str()))
}

fn pinned_to_spot(requirements: &Requirements) -> Requirements {
    let mut pinned = requirements.clone();
    pinned.add(Requirement::new(labels::CAPACITY_TYPE, Operator::In, [CapacityType::Spot.as_str()]));
    pinned
}

/// The first label of which too few values remain over `types`.
fn unmet_min_values(types: &[Arc<InstanceType>], requirements: &Requirements) -> Option<String> {
    let demanding = requirements.iter().filter_map(|requirement| Some((requirement.key(), requirement.min_values()?)));
    let short = |(key, min): &(&str, u32)| values_of(types, key).len() < usize::try_from(*min).unwrap_or(usize::MAX);
    demanding.into_iter().find(short).map(|(key, _)| key.to_owned())
}

fn values_of<'a>(types: &'a [Arc<InstanceType>], key: &str) -> BTreeSet<&'a str> {
    let mut values = BTreeSet::new();
    for own in types {
        match own.requirements.get(key) {
            Some(requirement) => values.extend(requirement.values()),
            None if key == labels::INSTANCE_TYPE => {
                values.insert(own.name.as_str());
            }
            None => {}
        }
    }
    values
}

/// How many of the first `types` meet every `minValues`.
fn types_for_min_values(types: &[Arc<InstanceType>], requirements: &Requirements) -> Option<usize> {
    (1..=types.len()).find(|count| unmet_min_values(&types[..*count], requirements).is_none())
}

/// `planned` with `types` (not empty) and `requirements`, and what follows from them.
fn narrowed(
    mut planned: PlannedNodeClaim,
    mut types: Vec<Arc<InstanceType>>,
    requirements: &Requirements,
) -> PlannedNodeClaim {
    let cheapest = |own: &InstanceType| own.cheapest(requirements).map_or(Price::MAX, |offering| offering.price);
    types.sort_by(|a, b| (cheapest(a), &a.name).cmp(&(cheapest(b), &b.name)));
    let min_values = requirements.get(labels::INSTANCE_TYPE).and_then(Requirement::min_values);
    let mut narrowed = requirements.clone();
    narrowed.remove(labels::INSTANCE_TYPE);
    let names = types.iter().map(|own| own.name.as_str());
    narrowed.add(Requirement::new(labels::INSTANCE_TYPE, Operator::In, names).with_min_values(min_values));
    if let Some((price, launch)) = first_launch(&types, requirements) {
        planned.cheapest_price = price;
        planned.launch = launch;
    }
    planned.largest_capacity = types.iter().fold(Resources::new(), |largest, own| largest.max(&own.capacity));
    planned.instance_types = types.into();
    planned.requirements = narrowed;
    planned
}

fn first_launch(types: &[Arc<InstanceType>], requirements: &Requirements) -> Option<(Price, Launch)> {
    let first = types.first()?;
    let offering = first.launch_offering(requirements)?;
    let launch = Launch {
        instance_type: first.name.clone(),
        zone: offering.zone.clone(),
        capacity_type: offering.capacity_type,
        price: offering.price,
        reservation_id: offering.reservation_id.clone(),
    };
    Some((first.cheapest(requirements)?.price, launch))
}

/// Whether every type that `old` may become is one that `new` may become, claim by claim in some order.
pub(super) fn is_covered(old: &[PlannedNodeClaim], new: &[PlannedNodeClaim]) -> bool {
    let names = |planned: &PlannedNodeClaim| -> BTreeSet<String> {
        planned.instance_types.iter().map(|own| own.name.clone()).collect()
    };
    let mut offered: BTreeMap<usize, BTreeSet<String>> = new.iter().map(names).enumerate().collect();
    old.iter().map(names).all(|wanted| {
        let found = offered.iter().find(|(_, offered)| wanted.is_subset(offered)).map(|(index, _)| *index);
        found.is_some_and(|index| offered.remove(&index).is_some())
    })
}
