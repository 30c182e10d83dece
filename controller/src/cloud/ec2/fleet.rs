//! CreateFleet: a plan as the API takes it, and what its answer says (spec aws 3.3, 3.4, 3.6).

use super::{
    error::{NO_ADDRESSES, NO_SPOT_ROLE, is_insufficient_capacity, is_throttled},
    instances::provider_id,
    launch_plan::{Group, Override, Plan},
    refusals::Refusals,
    reservation::ReservationKind,
    tags,
};
use crate::cloud::{CloudError, CloudInstance};
use aws_sdk_ec2::{
    operation::create_fleet::{CreateFleetOutput, builders::CreateFleetInputBuilder},
    types::{
        CreateFleetError, CreateFleetInstance, DefaultTargetCapacityType, FleetLaunchTemplateConfigRequest,
        FleetLaunchTemplateOverrides, FleetLaunchTemplateOverridesRequest, FleetLaunchTemplateSpecificationRequest,
        FleetOnDemandAllocationStrategy, FleetReservationType, FleetType, OnDemandOptionsRequest,
        ReservedCapacityOptionsRequest, ResourceType, SpotAllocationStrategy, SpotOptionsRequest,
        TargetCapacitySpecificationRequest,
    },
};
use jiff::Timestamp;
use sawhorse_core::model::CapacityType;
use std::collections::BTreeMap;

/// How many refusals are told one by one in a message.
const TOLD_REFUSALS: usize = 3;

/// The request for one machine. The token makes a repetition find the machine that was bought before.
pub(super) fn request(plan: &Plan, token: &str) -> CreateFleetInputBuilder {
    let spot = plan.capacity_type == CapacityType::Spot;
    let reserved = plan.reservation_kind().filter(|_| !spot);
    let kind = match reserved {
        _ if spot => DefaultTargetCapacityType::Spot,
        Some(ReservationKind::Block) => DefaultTargetCapacityType::CapacityBlock,
        Some(ReservationKind::Interruptible) => DefaultTargetCapacityType::ReservedCapacity,
        Some(ReservationKind::Ordinary) | None => DefaultTargetCapacityType::OnDemand,
    };
    let on_demand = kind == DefaultTargetCapacityType::OnDemand;
    let target = TargetCapacitySpecificationRequest::builder()
        .total_target_capacity(1)
        .default_target_capacity_type(kind)
        .build();
    let (spot_strategy, on_demand_strategy) = if plan.by_price {
        (SpotAllocationStrategy::CapacityOptimizedPrioritized, FleetOnDemandAllocationStrategy::Prioritized)
    } else {
        (SpotAllocationStrategy::PriceCapacityOptimized, FleetOnDemandAllocationStrategy::LowestPrice)
    };
    let of_spot = SpotOptionsRequest::builder().allocation_strategy(spot_strategy).build();
    let of_on_demand = OnDemandOptionsRequest::builder().allocation_strategy(on_demand_strategy).build();
    let tagged = [ResourceType::Instance, ResourceType::Volume, ResourceType::Fleet];
    CreateFleetInputBuilder::default()
        .r#type(FleetType::Instant)
        .client_token(token)
        .set_context(plan.context.clone())
        .target_capacity_specification(target)
        .set_spot_options(spot.then_some(of_spot))
        .set_on_demand_options(on_demand.then_some(of_on_demand))
        .set_reserved_capacity_options((reserved == Some(ReservationKind::Interruptible)).then(interruptible))
        .set_launch_template_configs(Some(plan.groups.iter().map(config).collect()))
        .set_tag_specifications(Some(tags::specifications(&plan.tags, &tagged)))
}

fn interruptible() -> ReservedCapacityOptionsRequest {
    let kind = FleetReservationType::InterruptibleCapacityReservation;
    ReservedCapacityOptionsRequest::builder().reservation_types(kind).build()
}

fn config(group: &Group) -> FleetLaunchTemplateConfigRequest {
    let template = FleetLaunchTemplateSpecificationRequest::builder()
        .launch_template_name(group.template.name())
        .version("$Latest");
    FleetLaunchTemplateConfigRequest::builder()
        .launch_template_specification(template.build())
        .set_overrides(Some(group.overrides.iter().map(pool).collect()))
        .build()
}

fn pool(pool: &Override) -> FleetLaunchTemplateOverridesRequest {
    FleetLaunchTemplateOverridesRequest::builder()
        .instance_type(pool.instance_type.as_str().into())
        .subnet_id(&pool.subnet)
        .image_id(&pool.image)
        .availability_zone(&pool.zone)
        .priority(pool.price.dollars())
        .build()
}

/// A pool that was tried in vain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Refusal {
    code: String,
    message: String,
    instance_type: Option<String>,
    zone: Option<String>,
    subnet: Option<String>,
}

impl Refusal {
    fn read(error: &CreateFleetError) -> Self {
        let pool = error.launch_template_and_overrides().and_then(|both| both.overrides());
        let of_pool =
            |field: fn(&FleetLaunchTemplateOverrides) -> Option<&str>| pool.and_then(field).map(str::to_owned);
        Self {
            code: error.error_code().unwrap_or_default().to_owned(),
            message: error.error_message().unwrap_or_default().to_owned(),
            instance_type: of_pool(|pool| pool.instance_type().map(|kind| kind.as_str())),
            zone: of_pool(|pool| pool.availability_zone()),
            subnet: of_pool(|pool| pool.subnet_id()),
        }
    }

    fn place(&self) -> String {
        let unknown = || "any".to_owned();
        format!("{}/{}", self.instance_type.clone().unwrap_or_else(unknown), self.zone.clone().unwrap_or_else(unknown))
    }
}

/// What EC2 says of a spread placement group that has all its machines in a zone, under the code of an empty pool.
const SPREAD_FULL: &str = "limit of instances in this spread placement group";

/// Remembers what the answer says of pools, also when a machine was bought; then the machine, or why there is none.
///
/// # Errors
/// `InsufficientCapacity` where every pool was empty, `Throttled` where the machines' own quota of requests was used up,
/// else `Rejected`.
pub(super) fn read(
    answer: &CreateFleetOutput,
    plan: &Plan,
    refusals: &mut Refusals,
    now: Timestamp,
) -> Result<CloudInstance, CloudError> {
    let refused: Vec<_> = answer.errors().iter().map(Refusal::read).collect();
    for refusal in &refused {
        remember(refusal, plan, refusals, now);
    }
    let bought = answer.instances().iter().find_map(|one| machine(one, plan, now));
    bought.ok_or_else(|| failure(&refused))
}

fn remember(refusal: &Refusal, plan: &Plan, refusals: &mut Refusals, now: Timestamp) {
    if refusal.code == NO_SPOT_ROLE {
        refusals.mark_spot(now);
    }
    // What a reservation lacks, the pool may have.
    if !is_insufficient_capacity(&refusal.code) || plan.capacity_type == CapacityType::Reserved {
        return;
    }
    if let Some(subnet) = refusal.subnet.as_deref().filter(|_| refusal.code == NO_ADDRESSES) {
        refusals.mark_subnet(subnet, now);
    }
    if let (true, Some(group), Some(zone)) = (refusal.message.contains(SPREAD_FULL), plan.group(), &refusal.zone) {
        // The type can be had there: it is the group that is full.
        refusals.mark_group(group, zone, now);
        return;
    }
    match (&refusal.instance_type, &refusal.zone) {
        (Some(name), Some(zone)) => refusals.mark_pool(plan.capacity_type, name, zone, now),
        // A refusal of the fleet as a whole is one of each of its pools.
        _ => plan
            .overrides()
            .for_each(|pool| refusals.mark_pool(plan.capacity_type, &pool.instance_type, &pool.zone, now)),
    }
}

/// The reservations that had no machine left.
pub(super) fn exhausted(answer: &CreateFleetOutput, plan: &Plan) -> Vec<String> {
    let refused = answer.errors().iter().map(Refusal::read).filter(|refusal| is_insufficient_capacity(&refusal.code));
    let places = refused.filter_map(|refusal| Some((refusal.instance_type?, refusal.zone?)));
    places.filter_map(|(kind, zone)| plan.reservation_of(&kind, &zone).map(str::to_owned)).collect()
}

fn machine(bought: &CreateFleetInstance, plan: &Plan, now: Timestamp) -> Option<CloudInstance> {
    let id = bought.instance_ids().first()?;
    let pool = bought.launch_template_and_overrides().and_then(|both| both.overrides());
    let zone = pool.and_then(|pool| pool.availability_zone()).or(bought.availability_zone())?;
    let instance_type = bought.instance_type().or(pool.and_then(|pool| pool.instance_type()))?.as_str();
    let planned = plan.overrides().find(|pool| pool.instance_type == instance_type && pool.zone == zone);
    let image = pool.and_then(|pool| pool.image_id()).or(planned.map(|pool| pool.image.as_str()));
    Some(CloudInstance {
        provider_id: provider_id(zone, id),
        instance_type: instance_type.to_owned(),
        zone: zone.to_owned(),
        capacity_type: plan.capacity_type,
        reservation_id: plan.reservation_of(instance_type, zone).map(str::to_owned),
        image_id: image.unwrap_or_default().to_owned(),
        launched_at: now,
        terminating: false,
        node_claim: plan.tags.get(tags::NODE_CLAIM).cloned(),
        tags: plan.tags.clone(),
    })
}

/// Why nothing was bought, in one line.
fn failure(refused: &[Refusal]) -> CloudError {
    let message = message(refused);
    let other = refused.iter().find(|refusal| !is_insufficient_capacity(&refusal.code));
    match other {
        None => CloudError::InsufficientCapacity { message },
        Some(refusal) if is_throttled(&refusal.code) => CloudError::Throttled { operation: "CreateFleet" },
        Some(refusal) => CloudError::Rejected { operation: "CreateFleet", code: refusal.code.clone(), message },
    }
}

/// The refusals by code, each with its message and the first pools.
fn message(refused: &[Refusal]) -> String {
    if refused.is_empty() {
        return "the fleet has neither machines nor errors".to_owned();
    }
    let mut by_code: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for refusal in refused {
        by_code.entry((&refusal.code, &refusal.message)).or_default().push(refusal.place());
    }
    let part = |((code, message), places): (&(&str, &str), &Vec<String>)| {
        let more = places.len().saturating_sub(TOLD_REFUSALS);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!(
            "{code} for {}{more} ({})",
            places[..places.len().min(TOLD_REFUSALS)].join(", "),
            message.replace('\n', " ")
        )
    };
    let told = by_code.len().saturating_sub(TOLD_REFUSALS);
    let further = if told > 0 { format!("; and {told} further refusals") } else { String::new() };
    by_code.iter().take(TOLD_REFUSALS).map(part).collect::<Vec<_>>().join("; ") + &further
}

#[cfg(test)]
#[path = "fleet_tests.rs"]
mod tests;
