//! How a world begins: the one schema for scenario files, the command line and the control door.

use super::{Capacity, Consistency, EventConfig, FaultRule, Market, Price, QuotaRule, Throttling};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// A world's settings. Everything has a default; unknown fields are refused.
///
/// ```
/// let text = r#"{
///     "seed": 7,
///     "cluster": "demo",
///     "capacity": {"overrides": [{"instanceType": "p5*", "capacityType": "spot", "capacity": 0}]},
///     "delays": {"pending": {"min": "5s", "max": "20s"}}
/// }"#;
/// let config: sawhorse_fake_cloud::world::CloudConfig = serde_json::from_str(text).unwrap();
/// assert_eq!(config.region, "us-west-2");
/// config.check().unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CloudConfig {
    /// The seed of everything drawn.
    pub seed: u64,
    /// The region; a world is one account in one region.
    pub region: String,
    /// Names of the zones with a subnet; all availability zones of the region if empty.
    pub zones: Vec<String>,
    /// The cluster whose discovery tag subnets and groups carry.
    pub cluster: String,
    /// The account's number, 12 digits.
    pub account_id: String,
    /// How many machines the pools hold.
    pub capacity: CapacityConfig,
    /// What they cost.
    pub prices: PriceConfig,
    /// How long things take.
    pub delays: Delays,
    /// vCPU quotas; none if empty.
    pub quotas: Vec<QuotaRule>,
    /// What goes wrong.
    pub faults: Vec<FaultRule>,
    /// Limits on requests; none by default.
    pub throttling: Throttling,
    /// How late reads and launches see what was made; at once by default.
    pub consistency: Consistency,
    /// Who is told what happens.
    pub events: EventConfig,
    /// Instance profiles that exist; every name is accepted if not given.
    pub instance_profiles: Option<Vec<String>>,
    /// Roles that exist; every name is accepted if not given.
    pub roles: Option<Vec<String>>,
    /// Addresses of each subnet that machines can have; all of a /19 if not given.
    pub addresses_per_subnet: Option<u32>,
    /// Kubernetes minor versions (of 1.x) that images are published for.
    pub kubernetes_minors: MinorRange,
}

impl Default for CloudConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            region: "us-west-2".to_owned(),
            zones: Vec::new(),
            cluster: "sawhorse".to_owned(),
            account_id: "123456789012".to_owned(),
            capacity: CapacityConfig::default(),
            prices: PriceConfig::default(),
            delays: Delays::default(),
            quotas: Vec::new(),
            faults: Vec::new(),
            throttling: Throttling::default(),
            consistency: Consistency::default(),
            events: EventConfig::default(),
            instance_profiles: None,
            roles: None,
            addresses_per_subnet: None,
            kubernetes_minors: MinorRange::default(),
        }
    }
}

/// How many machines the pools hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CapacityConfig {
    /// Of every pool that no rule names.
    pub default: Capacity,
    /// Rules in order; a later one wins.
    pub overrides: Vec<CapacityRule>,
}

/// The capacity of some pools.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CapacityRule {
    /// A type's name, with wildcards.
    pub instance_type: String,
    /// A zone's name, with wildcards; all zones if not given.
    #[serde(default = "any")]
    pub zone: String,
    /// The market; both if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_type: Option<Market>,
    /// How many machines of this account each of the pools holds, those running included.
    pub capacity: Capacity,
}

/// What machines cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PriceConfig {
    /// How far spot prices swing around their mean, in percent (0 to 90); 0 keeps them still.
    pub spot_swing_percent: u8,
    /// Rules in order; a later one wins.
    pub overrides: Vec<PriceRule>,
}

impl Default for PriceConfig {
    fn default() -> Self {
        Self { spot_swing_percent: 10, overrides: Vec::new() }
    }
}

/// The price of some pools.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PriceRule {
    /// A type's name, with wildcards.
    pub instance_type: String,
    /// A zone's name, with wildcards; all zones if not given. On-demand prices are the same in all zones.
    #[serde(default = "any")]
    pub zone: String,
    /// The market.
    pub capacity_type: Market,
    /// Dollars per hour.
    pub price: Price,
}

fn any() -> String {
    "*".to_owned()
}

/// How long machines stay in states that pass by themselves. Durations are texts such as `30s` or `1h 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Delays {
    /// From launch to running.
    pub pending: DelayRange,
    /// From the end's beginning to terminated.
    pub shutting_down: DelayRange,
    /// From the stop's beginning to stopped.
    pub stopping: DelayRange,
    /// How long a terminated machine can still be described.
    #[serde(with = "super::duration")]
    pub terminated_visible: SignedDuration,
    /// From the announcement of an interruption to the machine's end.
    #[serde(with = "super::duration")]
    pub interruption_notice: SignedDuration,
}

impl Default for Delays {
    fn default() -> Self {
        let seconds =
            |min, max| DelayRange { min: SignedDuration::from_secs(min), max: SignedDuration::from_secs(max) };
        Self {
            pending: seconds(4, 20),
            shutting_down: seconds(10, 60),
            stopping: seconds(10, 60),
            terminated_visible: SignedDuration::from_hours(1),
            interruption_notice: SignedDuration::from_mins(2),
        }
    }
}

/// A delay drawn per machine, to the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DelayRange {
    /// At least.
    #[serde(with = "super::duration")]
    pub min: SignedDuration,
    /// At most.
    #[serde(with = "super::duration")]
    pub max: SignedDuration,
}

/// Kubernetes minor versions, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MinorRange {
    /// The first.
    pub first: u32,
    /// The last.
    pub last: u32,
}

impl Default for MinorRange {
    /// What the reference supports in the version we follow.
    fn default() -> Self {
        Self { first: 26, last: 36 }
    }
}
