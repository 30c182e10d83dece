//! Fleets: one request, many pools, the best of them first.

use super::{CloudError, Market, Price, ReservedMarket, TagSpecification, TemplateRef};

/// A `CreateFleet` request of type `instant`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FleetRequest {
    /// Idempotency token.
    pub token: Option<String>,
    /// Check everything, launch nothing.
    pub dry_run: bool,
    /// How many machines.
    pub target: u32,
    /// Launch none if fewer than this can be had.
    pub min_target: Option<u32>,
    /// The market of all machines.
    pub market: Market,
    /// Whether they are bought in capacity blocks, which the templates name.
    pub reserved_market: Option<ReservedMarket>,
    /// Which pools first.
    pub strategy: AllocationStrategy,
    /// The most to pay per machine and hour.
    pub max_price: Option<Price>,
    /// Templates with overrides.
    pub configs: Vec<FleetConfig>,
    /// Tags for `fleet`, `instance`, `volume`, …
    pub tags: Vec<TagSpecification>,
}

/// A template and what to vary of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FleetConfig {
    /// The template.
    pub template: TemplateRef,
    /// A version's number, `$Latest`, `$Default`.
    pub version: Option<String>,
    /// The variations; none means the template as it is.
    pub overrides: Vec<FleetOverride>,
}

/// A variation of a template. Everything not given is the template's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FleetOverride {
    /// The type's name.
    pub machine_type: Option<String>,
    /// The subnet's id.
    pub subnet_id: Option<String>,
    /// The zone's name.
    pub zone: Option<String>,
    /// The image's id.
    pub image_id: Option<String>,
    /// Lower is better.
    pub priority: Option<Priority>,
    /// The most to pay for this one.
    pub max_price: Option<Price>,
}

/// A priority as the wire has it (a finite number, also `1.92e-08`), with a total order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Priority(u64);

impl Priority {
    /// `None` if the number is negative or not finite.
    pub fn new(number: f64) -> Option<Self> {
        // Bits of floats from 0 up are ordered as the floats are; adding 0 turns -0 into 0.
        (number >= 0.0 && number.is_finite()).then_some(Self((number + 0.0).to_bits()))
    }

    /// The number.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl Ord for Priority {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Priority {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Which pools a fleet tries first. Ties are broken by the order in the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AllocationStrategy {
    /// The cheapest first.
    #[default]
    LowestPrice,
    /// The lowest priority number first.
    Prioritized,
    /// Price and depth together: see `fleet_order`.
    PriceCapacityOptimized,
    /// The deepest first.
    CapacityOptimized,
    /// The deepest first, equals by priority.
    CapacityOptimizedPrioritized,
    /// One machine from each pool in turn, the cheapest first.
    Diversified,
}

/// What a fleet request brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleet {
    /// E.g. `fleet-01234567-89ab-4cde-8f01-23456789abcd`.
    pub id: String,
    /// The market of all machines.
    pub market: Market,
    /// That of the reservation that they are bought in, if it has one of its own.
    pub reserved_market: Option<ReservedMarket>,
    /// What was launched, one item per override, in the order tried.
    pub launched: Vec<FleetLaunch>,
    /// Why pools that were tried gave less than asked, in the order tried.
    pub errors: Vec<FleetError>,
}

/// Machines of one pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetLaunch {
    /// From where.
    pub pool: FleetPool,
    /// The machines' ids.
    pub instance_ids: Vec<String>,
}

/// A pool that refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetError {
    /// Which.
    pub pool: FleetPool,
    /// Why.
    pub error: CloudError,
}

/// A pool that a fleet tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetPool {
    /// Index into [`FleetRequest::configs`].
    pub config: usize,
    /// Index into the config's overrides; `None` if it has none.
    pub override_index: Option<usize>,
    /// The template's id.
    pub template_id: String,
    /// The template's name.
    pub template_name: String,
    /// The version used.
    pub template_version: u64,
    /// The override as given: what the answer echoes.
    pub override_given: FleetOverride,
    /// The type's name.
    pub machine_type: String,
    /// The subnet's id.
    pub subnet_id: String,
    /// The zone's name.
    pub zone: String,
}
