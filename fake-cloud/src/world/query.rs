//! Reading the world: what can be bought, for how much, and what exists.

use super::{
    AuditEntry, Capacity, CloudError, Image, Instance, LaunchTemplate, LaunchTemplateVersion, MachineType, Market,
    Price, ResourceKind, SecurityGroup, SpotPrice, Subnet, Tags, TemplateRef, TypeIndex, Vpc, World, Zone,
    capacity::PoolKey,
    price::{SPOT_STEP, SpotCurve, step_start},
};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// A price history never goes further back than EC2's: 90 days.
const MAX_HISTORY_STEPS: i64 = 90 * 24;

/// A type in a zone that offers it.
#[derive(Clone, Copy, Debug)]
pub struct Offering<'w> {
    /// The type.
    pub machine_type: &'w MachineType,
    /// The zone.
    pub zone: &'w Zone,
}

/// How full a pool is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolState {
    /// The type's name.
    pub instance_type: &'static str,
    /// The zone's name.
    pub zone: &'static str,
    /// The market.
    pub capacity_type: Market,
    /// How many it can hold; absent for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u32>,
    /// How many of them are taken.
    pub in_use: u32,
    /// Dollars per hour, if it has a price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
}

impl World {
    /// The types offered in at least one zone of this world, by name.
    pub fn machine_types(&self) -> impl Iterator<Item = &MachineType> {
        let offered = |index: u16| self.zones.iter().any(|zone| self.is_offered(TypeIndex(index), zone));
        let types = self.catalogue.machine_types().iter().zip(0..);
        types.filter(move |(_, index)| offered(*index)).map(|(machine_type, _)| machine_type)
    }

    /// Every type in every zone that offers it, by type and zone.
    pub fn offerings(&self) -> impl Iterator<Item = Offering<'_>> {
        self.catalogue.machine_types().iter().zip(0..).flat_map(move |(machine_type, index)| {
            let zones = self.zones.iter().filter(move |zone| self.is_offered(TypeIndex(index), zone));
            zones.map(move |zone| Offering { machine_type, zone })
        })
    }

    /// Whether a zone has a type.
    pub(crate) fn is_offered(&self, index: TypeIndex, zone: &Zone) -> bool {
        let letters = self.catalogue.offered_letters(self.region, index);
        let letter = zone.name.strip_prefix(self.region).unwrap_or_default();
        letter.len() == 1 && letters.contains(letter)
    }

    /// The on-demand price of a type, if it is for sale in this region.
    pub fn on_demand_price(&self, machine_type: &str) -> Option<Price> {
        self.on_demand_price_of(self.catalogue.index_of(machine_type)?)
    }

    pub(crate) fn on_demand_price_of(&self, index: TypeIndex) -> Option<Price> {
        let set = self.price_overrides.on_demand(index).map(|change| change.price);
        set.or_else(|| self.catalogue.list_price(self.region, index).map(|list| list.price))
    }

    /// The spot price of a type in a zone now, if it is sold there as spot.
    pub fn spot_price(&self, machine_type: &str, zone: &str) -> Option<Price> {
        self.spot_price_of(self.catalogue.index_of(machine_type)?, self.zone_index(zone)?, self.now)
    }

    /// The spot price of a pool at a time not after a price that a script sets later.
    pub(crate) fn spot_price_of(&self, index: TypeIndex, zone: usize, at: Timestamp) -> Option<Price> {
        if let Some(change) = self.price_overrides.spot(index, zone).filter(|change| change.since <= at) {
            return Some(change.price);
        }
        Some(self.spot_curves().get(&(index, zone))?.at(at))
    }

    /// The price of a pool now.
    pub(crate) fn price_of(&self, key: PoolKey) -> Option<Price> {
        match key.market {
            Market::OnDemand => self.on_demand_price_of(key.type_index),
            Market::Spot => self.spot_price_of(key.type_index, key.zone, self.now),
        }
    }

    fn spot_curves(&self) -> &BTreeMap<(TypeIndex, usize), SpotCurve> {
        self.spot_curves.get_or_init(|| {
            let types = self.catalogue.machine_types().iter().zip(0..);
            types.flat_map(|(machine_type, index)| self.curves_of(machine_type, TypeIndex(index))).collect()
        })
    }

    fn curves_of(
        &self,
        machine_type: &MachineType,
        index: TypeIndex,
    ) -> impl Iterator<Item = ((TypeIndex, usize), SpotCurve)> {
        let list = self.catalogue.list_price(self.region, index).filter(|_| machine_type.sold_as(Market::Spot));
        let mean =
            list.zip(self.catalogue.spot_ratio_per_mille(index)).map(|(list, ratio)| list.price.scaled(ratio, 1000));
        let zones = self.zones.iter().enumerate().filter(move |(_, zone)| self.is_offered(index, zone));
        let name = machine_type.name;
        zones.filter_map(move |(place, zone)| {
            Some(((index, place), SpotCurve::new(self.seed, name, zone.name, mean?, self.spot_swing_percent)))
        })
    }

    /// Spot prices that held at some time in `from..=to`, for the pools that `wanted` accepts: by type and zone, the newest
    /// first. The row that holds at `from` is included, with the time since when it holds.
    pub fn spot_price_history(
        &self,
        from: Timestamp,
        to: Timestamp,
        wanted: impl Fn(&'static str, &'static str) -> bool,
    ) -> Vec<SpotPrice> {
        let to = to.min(self.now);
        let from = from.min(to).max(to - SPOT_STEP * MAX_HISTORY_STEPS as i32);
        let pools = self.spot_curves().iter();
        let names = pools.map(|(key, curve)| (*key, curve, self.catalogue.at(key.0).name, self.zones[key.1].name));
        names
            .filter(|(_, _, machine_type, zone)| wanted(machine_type, zone))
            .flat_map(|(key, curve, machine_type, zone)| {
                let points = self.price_points(key, curve, from, to);
                points.into_iter().map(move |(since, price)| SpotPrice { machine_type, zone, price, since })
            })
            .collect()
    }

    fn price_points(
        &self,
        (index, zone): (TypeIndex, usize),
        curve: &SpotCurve,
        from: Timestamp,
        to: Timestamp,
    ) -> Vec<(Timestamp, Price)> {
        let set = self.price_overrides.spot(index, zone).filter(|change| change.since <= to);
        let mut points: Vec<_> = set.iter().map(|change| (change.since, change.price)).collect();
        let mut step = step_start(to);
        loop {
            // After a script set the price, the curve no longer holds.
            if set.is_none_or(|change| step < change.since) {
                points.push((step, curve.at(step)));
            }
            if step <= from || points.last().is_some_and(|(since, _)| *since <= from) {
                return points;
            }
            step -= SPOT_STEP;
        }
    }

    pub(crate) fn zone_index(&self, name: &str) -> Option<usize> {
        self.zones.iter().position(|zone| zone.name == name)
    }

    /// How many machines a pool can hold; `None` is no limit.
    pub(crate) fn pool_limit(&self, key: PoolKey) -> Option<u32> {
        let names = [self.catalogue.at(key.type_index).name, self.zones[key.zone].name];
        self.pools.limit(key, self.seed, names)
    }

    /// How many machines a pool can give now; `None` is no limit.
    pub(crate) fn pool_free(&self, key: PoolKey) -> Option<u32> {
        self.pool_limit(key).map(|limit| limit.saturating_sub(self.pools.in_use(key)))
    }

    pub(crate) fn pool_state(&self, key: PoolKey) -> PoolState {
        PoolState {
            instance_type: self.catalogue.at(key.type_index).name,
            zone: self.zones[key.zone].name,
            capacity_type: key.market,
            capacity: self.pool_limit(key),
            in_use: self.pools.in_use(key),
            price: self.price_of(key),
        }
    }

    /// Every pool that `wanted` (type, zone, market) accepts, by type, zone and market.
    pub fn pool_states(&self, wanted: impl Fn(&str, &str, Market) -> bool) -> Vec<PoolState> {
        let mut states = Vec::new();
        for (machine_type, index) in self.catalogue.machine_types().iter().zip(0..) {
            for (zone, place) in self.zones.iter().zip(0..).filter(|(zone, _)| self.is_offered(TypeIndex(index), zone))
            {
                for market in Market::ALL.into_iter().filter(|market| machine_type.sold_as(*market)) {
                    if wanted(machine_type.name, zone.name, market) {
                        states.push(self.pool_state(PoolKey { type_index: TypeIndex(index), zone: place, market }));
                    }
                }
            }
        }
        states
    }

    /// The pools with machines in them.
    pub fn used_pools(&self) -> Vec<PoolState> {
        self.pools.used().map(|(key, _)| self.pool_state(key)).collect()
    }

    /// The capacity of every pool that no rule names.
    pub fn default_capacity(&self) -> Capacity {
        self.pools.default_capacity()
    }

    /// The VPC.
    pub fn vpc(&self) -> &Vpc {
        &self.network.vpc
    }

    /// The subnets, by zone.
    pub fn subnets(&self) -> &[Subnet] {
        &self.network.subnets
    }

    /// The security groups.
    pub fn security_groups(&self) -> &[SecurityGroup] {
        &self.network.security_groups
    }

    /// The group of that id.
    pub fn security_group(&self, id: &str) -> Option<&SecurityGroup> {
        self.network.security_group(id)
    }

    /// The images, by id.
    pub fn images(&self) -> impl Iterator<Item = &Image> {
        self.images.images.values()
    }

    /// The image of that id.
    pub fn image(&self, id: &str) -> Option<&Image> {
        self.images.images.get(id)
    }

    /// The value of a public parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.images.parameters.get(name).map(String::as_str)
    }

    /// The public parameters, by name.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.images.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The launch templates, by id.
    pub fn launch_templates(&self) -> impl Iterator<Item = &LaunchTemplate> {
        self.templates.by_id.values()
    }

    /// The launch template of that id or name.
    ///
    /// # Errors
    /// It does not exist.
    pub fn launch_template(&self, template: &TemplateRef) -> Result<&LaunchTemplate, CloudError> {
        self.templates.find(template)
    }

    /// A version of a template: a number, `$Latest` or `$Default`.
    ///
    /// # Errors
    /// The template or the version does not exist.
    pub fn launch_template_version(
        &self,
        template: &TemplateRef,
        version: Option<&str>,
    ) -> Result<(&LaunchTemplate, u64, &LaunchTemplateVersion), CloudError> {
        self.templates.version(template, version)
    }

    /// The machines that can be described, by id.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.instances.values()
    }

    /// The machine of that id.
    ///
    /// # Errors
    /// It does not exist, or not any more.
    pub fn instance(&self, id: &str) -> Result<&Instance, CloudError> {
        self.instances.get(id).ok_or_else(|| unknown_instance(id))
    }

    /// The type of a machine.
    pub fn machine_type_of(&self, instance: &Instance) -> &MachineType {
        self.catalogue.at(instance.type_index)
    }

    /// Everything that has tags: kind (EC2's word), id, tags; by kind and id.
    pub fn tagged(&self) -> Vec<(&'static str, &str, &Tags)> {
        let mut all: Vec<(&'static str, &str, &Tags)> = Vec::new();
        all.extend(self.images().map(|image| ("image", image.id.as_str(), &image.tags)));
        for instance in self.instances() {
            all.push(("instance", &instance.id, &instance.tags));
            all.extend(instance.volumes.iter().map(|volume| ("volume", volume.id.as_str(), &volume.tags)));
            let interfaces = instance.interfaces.iter();
            all.extend(interfaces.map(|interface| ("network-interface", interface.id.as_str(), &interface.tags)));
        }
        all.extend(self.launch_templates().map(|template| ("launch-template", template.id.as_str(), &template.tags)));
        all.extend(self.security_groups().iter().map(|group| ("security-group", group.id.as_str(), &group.tags)));
        all.extend(self.subnets().iter().map(|subnet| ("subnet", subnet.id.as_str(), &subnet.tags)));
        all.extend(self.reservations().map(|each| ("capacity-reservation", each.id.as_str(), &each.tags)));
        all.extend(self.placement_groups().map(|group| ("placement-group", group.id.as_str(), &group.tags)));
        all.extend(self.fleets().map(|record| ("fleet", record.fleet.id.as_str(), &record.tags)));
        all.push(("vpc", &self.network.vpc.id, &self.network.vpc.tags));
        all.sort_by_key(|(kind, id, _)| (*kind, *id));
        all
    }

    /// The last entries of the audit trail, up to `limit`, oldest first.
    pub fn audit_last(&self, limit: usize) -> impl Iterator<Item = &AuditEntry> {
        self.audit.last(limit)
    }

    /// A page of the audit trail: up to `limit` entries numbered above `after`, oldest first.
    pub fn audit_page(&self, after: u64, limit: usize) -> impl Iterator<Item = &AuditEntry> {
        self.audit.page(after, limit)
    }
}

pub(crate) fn unknown_instance(id: &str) -> CloudError {
    CloudError::NotFound { kind: ResourceKind::Instance, id: id.to_owned() }
}
