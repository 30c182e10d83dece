//! `CreateFleet` of type `instant`: the request, and the answer that lists launches and errors side by side.

use super::{
    Answer, Call, error::Refusal, launch_settings, launch_templates::template_reference, query::Params, xml::Xml,
};
use crate::world::{
    AllocationStrategy, Fleet, FleetConfig, FleetOverride, FleetPool, FleetRequest, Market, Priority, ReservedMarket,
};
use std::ops::RangeInclusive;

/// EC2's documented most machines of one fleet, and most templates and overrides of one request.
const TARGET: RangeInclusive<u32> = 0..=10_000;
const CONFIGS_MAX: usize = 50;
const OVERRIDES_MAX: usize = 300;

const SPOT_STRATEGIES: &[(&str, AllocationStrategy)] = &[
    ("lowest-price", AllocationStrategy::LowestPrice),
    ("diversified", AllocationStrategy::Diversified),
    ("capacity-optimized", AllocationStrategy::CapacityOptimized),
    ("capacity-optimized-prioritized", AllocationStrategy::CapacityOptimizedPrioritized),
    ("price-capacity-optimized", AllocationStrategy::PriceCapacityOptimized),
];

const ON_DEMAND_STRATEGIES: &[(&str, AllocationStrategy)] =
    &[("lowest-price", AllocationStrategy::LowestPrice), ("prioritized", AllocationStrategy::Prioritized)];

/// The market, and that of the reservation if it has one of its own.
const MARKETS: &[(&str, (Market, Option<ReservedMarket>))] = &[
    ("spot", (Market::Spot, None)),
    ("on-demand", (Market::OnDemand, None)),
    ("capacity-block", (Market::OnDemand, Some(ReservedMarket::CapacityBlock))),
    ("reserved-capacity", (Market::OnDemand, Some(ReservedMarket::Interruptible))),
];

/// `CreateFleet`.
pub(crate) fn create_fleet(call: &mut Call<'_>, mut params: Params) -> Answer {
    refuse_other_types(&mut params)?;
    let (target, market, reserved_market) = target(params.part("TargetCapacitySpecification"))?;
    let spot = options(params.part("SpotOptions"), SPOT_STRATEGIES)?;
    let on_demand = options(params.part("OnDemandOptions"), ON_DEMAND_STRATEGIES)?;
    take_reserved_options(params.part("ReservedCapacityOptions"), reserved_market)?;
    let chosen = if market == Market::Spot { spot } else { on_demand };
    let request = FleetRequest {
        token: params.text("ClientToken"),
        dry_run: params.dry_run()?,
        target,
        min_target: chosen.min_target,
        market,
        reserved_market,
        strategy: chosen.strategy,
        max_price: None,
        configs: configs(&mut params)?,
        tags: launch_settings::tag_specifications(&mut params)?,
    };
    params.no_more()?;
    let fleet = call.world.create_fleet(&request)?;
    call.touched.push(fleet.id.clone());
    call.touched.extend(fleet.instance_ids().map(str::to_owned));
    let mut xml = Xml::new();
    write(&mut xml, &fleet);
    Ok(xml)
}

/// An `instant` fleet is asked for once and then forgotten; the parameters that steer how the other types live on are
/// accepted with it, as EC2 does, and mean nothing.
fn refuse_other_types(params: &mut Params) -> Result<(), Refusal> {
    let kind = params.text("Type").unwrap_or_else(|| "maintain".to_owned());
    if kind != "instant" {
        return Err(Refusal::invalid_value(&kind, "Type", "Expecting instant: other fleets are not served."));
    }
    params.one_of("ExcessCapacityTerminationPolicy", &[("no-termination", ()), ("termination", ())])?;
    params.boolean("TerminateInstancesWithExpiration")?;
    params.boolean("ReplaceUnhealthyInstances")?;
    params.text("Context");
    Ok(())
}

/// The number of machines and their market. A split by market is accepted if one market gets everything.
fn target(mut part: Params) -> Result<(u32, Market, Option<ReservedMarket>), Refusal> {
    let path = part.name_of("TotalTargetCapacity");
    let total = part.integer("TotalTargetCapacity", &TARGET)?.ok_or_else(|| Refusal::missing_parameter(&path))?;
    let (default, reserved) = part.one_of("DefaultTargetCapacityType", MARKETS)?.unwrap_or_default();
    let spot = part.integer("SpotTargetCapacity", &TARGET)?;
    let on_demand = part.integer("OnDemandTargetCapacity", &TARGET)?;
    part.one_of("TargetCapacityUnitType", &[("units", ())])?;
    part.no_more()?;
    let market = match (spot.unwrap_or(0), on_demand.unwrap_or(0)) {
        (0, 0) => default,
        (spot, 0) if spot == total => Market::Spot,
        (0, on_demand) if on_demand == total => Market::OnDemand,
        (0, _) if default == Market::OnDemand => Market::OnDemand,
        (_, 0) if default == Market::Spot => Market::Spot,
        _ => {
            let text = "A fleet of both markets is not served: ask for SpotTargetCapacity or OnDemandTargetCapacity.";
            return Err(Refusal::bad("InvalidFleetConfig", text));
        }
    };
    Ok((total, market, reserved))
}

#[derive(Default)]
struct Options {
    strategy: AllocationStrategy,
    min_target: Option<u32>,
}

fn options(mut part: Params, strategies: &[(&str, AllocationStrategy)]) -> Result<Options, Refusal> {
    let options = Options {
        strategy: part.one_of("AllocationStrategy", strategies)?.unwrap_or_default(),
        min_target: part.integer("MinTargetCapacity", &TARGET)?,
    };
    part.one_of("InstanceInterruptionBehavior", &[("terminate", ())])?;
    for name in ["SingleInstanceType", "SingleAvailabilityZone"] {
        part.one_of(name, &[("false", ())])?;
    }
    part.no_more()?;
    Ok(options)
}

/// What kinds of reservations a fleet of reserved machines may use: there is one.
fn take_reserved_options(mut part: Params, market: Option<ReservedMarket>) -> Result<(), Refusal> {
    let path = part.name_of("ReservationType");
    let kinds = part.texts("ReservationType")?;
    part.no_more()?;
    if let Some(other) = kinds.iter().find(|kind| *kind != ReservedMarket::Interruptible.as_str()) {
        return Err(Refusal::invalid_value(other, &path, "Expecting interruptible-capacity-reservation."));
    }
    if !kinds.is_empty() && market != Some(ReservedMarket::Interruptible) {
        return Err(Refusal::combination("ReservedCapacityOptions", "DefaultTargetCapacityType"));
    }
    Ok(())
}

fn configs(params: &mut Params) -> Result<Vec<FleetConfig>, Refusal> {
    let parts = params.list("LaunchTemplateConfigs")?;
    if parts.is_empty() {
        return Err(Refusal::missing_parameter("LaunchTemplateConfigs"));
    }
    limit("LaunchTemplateConfigs", parts.len(), CONFIGS_MAX)?;
    let configs = parts.into_iter().map(config).collect::<Result<Vec<_>, _>>()?;
    limit("Overrides", configs.iter().map(|config| config.overrides.len()).sum(), OVERRIDES_MAX)?;
    Ok(configs)
}

fn limit(name: &str, count: usize, limit: usize) -> Result<(), Refusal> {
    if count <= limit {
        return Ok(());
    }
    let text = format!("The request has {count} {name}; the limit is {limit}.");
    Err(Refusal::bad("InvalidFleetConfig", text))
}

fn config(mut part: Params) -> Result<FleetConfig, Refusal> {
    let mut specification = part.part("LaunchTemplateSpecification");
    let template = template_reference(&mut specification)?;
    let version = specification.text("Version");
    specification.no_more()?;
    let overrides = part.list("Overrides")?.into_iter().map(fleet_override).collect::<Result<Vec<_>, _>>()?;
    part.no_more()?;
    Ok(FleetConfig { template, version, overrides })
}

fn fleet_override(mut part: Params) -> Result<FleetOverride, Refusal> {
    let fleet_override = FleetOverride {
        machine_type: part.text("InstanceType"),
        subnet_id: part.text("SubnetId"),
        zone: part.text("AvailabilityZone"),
        image_id: part.text("ImageId"),
        priority: priority(&mut part)?,
        max_price: launch_settings::price(&mut part, "MaxPrice")?,
    };
    part.no_more()?;
    Ok(fleet_override)
}

fn priority(part: &mut Params) -> Result<Option<Priority>, Refusal> {
    let Some(number) = part.number::<f64>("Priority")? else { return Ok(None) };
    let refusal = || Refusal::invalid_value(&number.to_string(), &part.name_of("Priority"), "Expecting 0 or more.");
    Priority::new(number).map(Some).ok_or_else(refusal)
}

fn write(xml: &mut Xml, fleet: &Fleet) {
    xml.text("fleetId", &fleet.id);
    write_outcome(xml, fleet, true);
}

/// Writes what a fleet brought; where the machines are is in the answer to `CreateFleet` only.
pub(crate) fn write_outcome(xml: &mut Xml, fleet: &Fleet, with_places: bool) {
    let lifecycle = fleet.reserved_market.map_or(fleet.market.as_str(), ReservedMarket::as_str);
    xml.items("errorSet", &fleet.errors, |xml, error| {
        write_pool(xml, &error.pool);
        xml.text("lifecycle", lifecycle);
        let refusal = Refusal::from(error.error.clone());
        xml.text("errorCode", &refusal.code);
        xml.text("errorMessage", &refusal.message);
    });
    xml.items("fleetInstanceSet", &fleet.launched, |xml, launch| {
        write_pool(xml, &launch.pool);
        xml.text("lifecycle", lifecycle);
        xml.texts("instanceIds", &launch.instance_ids);
        xml.text("instanceType", &launch.pool.machine_type);
        if with_places {
            xml.text("availabilityZone", &launch.pool.zone);
            xml.text("subnetId", &launch.pool.subnet_id);
        }
    });
}

/// The override is echoed as it was given: callers read zone and image of the new machine from there.
fn write_pool(xml: &mut Xml, pool: &FleetPool) {
    xml.node("launchTemplateAndOverrides", |xml| {
        xml.node("launchTemplateSpecification", |xml| {
            xml.text("launchTemplateId", &pool.template_id);
            xml.text("version", pool.template_version);
        });
        xml.node("overrides", |xml| {
            let given = &pool.override_given;
            xml.optional("instanceType", given.machine_type.as_deref());
            xml.optional("maxPrice", given.max_price);
            xml.optional("subnetId", given.subnet_id.as_deref());
            xml.optional("availabilityZone", given.zone.as_deref());
            xml.optional("priority", given.priority.map(Priority::get));
            xml.optional("imageId", given.image_id.as_deref());
        });
    });
}
