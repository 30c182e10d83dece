//! The world: one account in one region of a cloud, with everything in it. Pure: no wire format, no waiting, no clock.
//!
//! A [`World`] stands at a time. [`World::advance`] lets time pass up to a moment; every other method acts at the time the
//! world stands at. [`World::next_due`] says when something will happen by itself. The same settings and the same calls at
//! the same times give the same world.
//!
//! Reading order: [`Catalogue`] and [`MachineType`] (what can be bought) · `capacity`, `price`, `quota` (whether, and for
//! how much) · `network`, `image`, `template`, `profile`, `placement_group` (what a launch needs) · `launch`, `fleet_launch`,
//! `reservation` (buying) · `life`, `health` (what happens then) · `event`, `queue` (who is told) · `ledger`, `audit` (what it
//! came to) · `fault`, `throttle`, `consistency`, `credentials`, `script` (what a tester can do) · `config` (how it begins).

mod audit;
mod capacity;
mod capacity_block;
mod catalogue;
mod catalogue_rows;
mod config;
mod config_check;
mod consistency;
mod cost;
mod credentials;
pub(crate) mod duration;
mod error;
mod event;
mod fault;
mod filter;
mod filter_fields;
mod fleet;
mod fleet_launch;
mod fleet_order;
mod fleet_record;
mod future_reservation;
mod health;
mod idle;
mod image;
mod instance;
mod interruptible;
mod launch;
mod launch_settings;
mod ledger;
mod life;
mod machine_type;
mod market;
mod money;
mod nearest;
mod network;
mod placement_group;
mod price;
mod profile;
mod query;
mod queue;
mod quota;
mod reservation;
mod resources;
mod running;
mod script;
mod tags;
mod template;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_reservations;
mod throttle;
mod token;

pub use audit::{AuditEntry, CallCount, CallRecord, MAX_AUDIT_ENTRIES};
pub use capacity::Capacity;
pub use capacity_block::BlockOffer;
pub use catalogue::{Catalogue, ListPrice, TypeIndex, Zone};
pub use config::{CapacityConfig, CapacityRule, CloudConfig, DelayRange, Delays, MinorRange, PriceConfig, PriceRule};
pub use config_check::ConfigError;
pub use consistency::Consistency;
pub use credentials::Credentials;
pub use error::{CallPlan, CloudError, LostResponse, ResourceKind, Treatment};
pub use event::{Event, EventConfig, EventKind, ScheduledCode};
pub use fault::{ActiveFault, FaultEffect, FaultRule, ScriptedError};
pub use filter::{Filter, Filterable, check_filters, matches_pattern, passes};
pub use fleet::{
    AllocationStrategy, Fleet, FleetConfig, FleetError, FleetLaunch, FleetOverride, FleetPool, FleetRequest, Priority,
};
pub use fleet_record::FleetRecord;
pub use future_reservation::Commitment;
pub use health::{Check, Impairment, Scheduled, Selection};
pub use idle::ReservationFees;
pub use image::Image;
pub use instance::{
    Instance, InstanceCost, InstanceState, Interface, RunningMachine, StateChange, StateReason, TemplateVersion, Volume,
};
pub use interruptible::{Allocation, AllocationRequest, Interruptible};
pub use launch::RunRequest;
pub use launch_settings::{BlockDevice, InterfaceSettings, LaunchSettings, MetadataSettings, VolumeSettings};
pub use ledger::{Ledger, Remaining};
pub use machine_type::{
    Cpu, Device, DiskGroup, Ebs, EbsCard, EbsLimits, Features, Gpu, InstanceStore, MachineType, Network, NetworkCard,
    NeuronDevice,
};
pub use market::{Market, ReservedMarket};
pub use money::{Amount, Price, PriceError};
pub use network::{SecurityGroup, Subnet, Vpc};
pub use placement_group::{Placed, Placement, PlacementGroup};
pub use price::SpotPrice;
pub use profile::{InstanceProfile, Role};
pub use query::{Offering, PoolState};
pub use queue::{Body, Message, Queue, QueueCounts, QueueSettings};
pub use quota::{QuotaClass, QuotaRule};
pub use reservation::{Reservation, ReservationRequest, ReservationState};
pub use tags::{TagSpecification, Tags};
pub use template::{LaunchTemplate, LaunchTemplateVersion, TemplateRef, TemplateRequest};
pub use throttle::{CallShape, Throttling};

use jiff::Timestamp;
use price::{PriceOverrides, SpotCurve};
use sawhorse_ambient::Seed;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};

/// One account in one region.
#[derive(Clone, Debug)]
pub struct World {
    seed: Seed,
    account_id: String,
    cluster: String,
    region: &'static str,
    catalogue: Arc<Catalogue>,
    zones: Vec<Zone>,
    now: Timestamp,
    version: u64,
    delays: Delays,
    network: network::Network,
    images: image::Images,
    templates: template::Templates,
    identities: profile::Identities,
    reservations: reservation::Reservations,
    groups: placement_group::PlacementGroups,
    fleets: fleet_record::Fleets,
    queues: queue::Queues,
    events: EventConfig,
    /// Events so far: their numbers name what is drawn for them.
    told: u64,
    consistency: Consistency,
    buckets: throttle::Buckets,
    credentials: Credentials,
    pools: capacity::Pools,
    price_overrides: PriceOverrides,
    spot_swing_percent: u8,
    /// Drawn on first use: most runs look at prices, a run of the control door alone does not.
    spot_curves: OnceLock<BTreeMap<(TypeIndex, usize), SpotCurve>>,
    quotas: quota::Quotas,
    instances: BTreeMap<String, Instance>,
    /// When which machine changes by itself; an entry may be stale, then nothing happens.
    due: BTreeSet<(Timestamp, String)>,
    /// Launch requests so far: the origin of ids of launches without a token.
    launches: u64,
    launched: u64,
    tokens: token::Tokens,
    faults: fault::Faults,
    audit: audit::Audit,
    retired: ledger::Retired,
}

impl World {
    /// A world that begins at `now`.
    ///
    /// # Errors
    /// Everything that is wrong with the settings.
    pub fn new(config: &CloudConfig, now: Timestamp) -> Result<Self, ConfigError> {
        config.check()?;
        let catalogue = Catalogue::embedded();
        let zones = zones_of(config, &catalogue);
        let region = zones.first().map_or("", |zone| zone.region);
        let seed = Seed(config.seed);
        let mut world = Self {
            seed,
            account_id: config.account_id.clone(),
            cluster: config.cluster.clone(),
            region,
            now,
            version: 1,
            delays: config.delays,
            network: network::Network::new(seed, &zones, &config.cluster, config.addresses_per_subnet),
            images: image::Images::published(region, config.kubernetes_minors.first..=config.kubernetes_minors.last),
            templates: template::Templates::default(),
            identities: profile::Identities::default(),
            reservations: reservation::Reservations::default(),
            groups: placement_group::PlacementGroups::default(),
            fleets: fleet_record::Fleets::default(),
            queues: queue::Queues::default(),
            events: config.events.clone(),
            told: 0,
            consistency: config.consistency,
            buckets: throttle::Buckets::default(),
            credentials: Credentials::default(),
            pools: capacity::Pools::new(config.capacity.default),
            price_overrides: PriceOverrides::default(),
            spot_swing_percent: config.prices.spot_swing_percent,
            spot_curves: OnceLock::new(),
            quotas: quota::Quotas::default(),
            instances: BTreeMap::new(),
            due: BTreeSet::new(),
            launches: 0,
            launched: 0,
            tokens: token::Tokens::default(),
            faults: fault::Faults::default(),
            audit: audit::Audit::default(),
            retired: ledger::Retired::default(),
            catalogue,
            zones,
        };
        world.apply_rules(config);
        world.begin_identities(config.instance_profiles.as_deref(), config.roles.as_deref());
        world.listen_to_events();
        world.buckets.settings = config.throttling;
        Ok(world)
    }

    fn apply_rules(&mut self, config: &CloudConfig) {
        config.capacity.overrides.iter().for_each(|rule| self.apply_capacity(rule));
        for rule in &config.prices.overrides {
            self.apply_price(rule);
        }
        config.quotas.iter().for_each(|quota| self.quotas.set(*quota));
        for rule in &config.faults {
            self.faults.add(rule.clone());
        }
    }

    /// The time the world stands at.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// A number that grows whenever something in the world has changed (reading, and being read, changes nothing).
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The seed.
    pub fn seed(&self) -> Seed {
        self.seed
    }

    /// The account's number.
    pub fn account_id(&self) -> &str {
        &self.account_id
    }

    /// The cluster whose discovery tag subnets and groups carry.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The region's name.
    pub fn region(&self) -> &'static str {
        self.region
    }

    /// Zones with a subnet, by name.
    pub fn zones(&self) -> &[Zone] {
        &self.zones
    }

    /// All that can be bought anywhere.
    pub fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    fn changed(&mut self) {
        self.version += 1;
    }
}

/// The zones of a checked configuration, by name.
fn zones_of(config: &CloudConfig, catalogue: &Catalogue) -> Vec<Zone> {
    let wanted = |zone: &&Zone| {
        if config.zones.is_empty() {
            zone.kind == "availability-zone"
        } else {
            config.zones.iter().any(|name| name == zone.name)
        }
    };
    let mut zones: Vec<Zone> = catalogue.zones_of(&config.region).filter(wanted).cloned().collect();
    zones.sort_by_key(|zone| zone.name);
    zones
}
