//! How to decide: what the command line says, as plain values.

use std::{collections::BTreeSet, time::Duration};

/// Options of the deciders (spec core 7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How to treat preferred terms and `ScheduleAnyway` spreads.
    pub preference_policy: PreferencePolicy,
    /// What to do when `minValues` cannot be met.
    pub min_values_policy: MinValuesPolicy,
    /// Label keys that a provider defines on its instance types besides [`crate::api::labels::WELL_KNOWN`].
    pub well_known_labels: BTreeSet<String>,
    /// How many instance types a NodeClaim may name at most.
    pub max_instance_types: usize,
    /// Among decisions whose price is within so many thousandths of the best that was found, one with fewer nodes is taken.
    pub fewer_nodes_within_permille: u32,
    /// Batching closes after this long without a new pod.
    pub batch_idle_duration: Duration,
    /// Batching closes at the latest after this long.
    pub batch_max_duration: Duration,
    /// Whether machines that have reached their age go at once, as in the reference, without asking budgets or pods and with
    /// no replacement first.
    pub forceful_expiration: bool,
    /// The same of machines that say that they are broken.
    pub forceful_repair: bool,
    /// What says that a machine is broken; looked at if [`FeatureGates::node_repair`] is on.
    pub repair_policies: Vec<RepairPolicy>,
    /// What is switched on.
    pub feature_gates: FeatureGates,
}

/// A Node's condition that says that its machine is broken once it has been so for a while (spec core 3.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairPolicy {
    /// The condition's type, e.g. `Ready`.
    pub condition: &'static str,
    /// The status that says so, e.g. `False`.
    pub status: &'static str,
    /// How long that is borne.
    pub toleration: Duration,
}

impl RepairPolicy {
    /// What every cloud's Nodes say: that they are not Ready, or are not heard of, for half an hour.
    pub const OF_KUBELETS: [Self; 2] = [
        Self { condition: "Ready", status: "False", toleration: Duration::from_mins(30) },
        Self { condition: "Ready", status: "Unknown", toleration: Duration::from_mins(30) },
    ];
}

impl Settings {
    /// How long a node stays nominated for the pods planned onto it: twice the longest batch, at least 10 s.
    pub fn nomination_window(&self) -> Duration {
        (self.batch_max_duration * 2).max(Duration::from_secs(10))
    }
}

impl Default for Settings {
    /// The reference's defaults, but that expiration and repair are not forceful.
    fn default() -> Self {
        Self {
            preference_policy: PreferencePolicy::Respect,
            min_values_policy: MinValuesPolicy::Strict,
            well_known_labels: BTreeSet::new(),
            max_instance_types: 600,
            fewer_nodes_within_permille: 20,
            batch_idle_duration: Duration::from_secs(1),
            batch_max_duration: Duration::from_secs(10),
            forceful_expiration: false,
            forceful_repair: false,
            repair_policies: RepairPolicy::OF_KUBELETS.to_vec(),
            feature_gates: FeatureGates::default(),
        }
    }
}

/// Whether preferences are tried before they are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum PreferencePolicy {
    /// Preferences are treated as required and relaxed one by one.
    Respect,
    /// Preferences are not looked at.
    Ignore,
}

/// What to do when `minValues` cannot be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum MinValuesPolicy {
    /// The claim is not made.
    Strict,
    /// The value is lowered to what is possible, and the claim says so.
    BestEffort,
}

/// Features that can be switched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureGates {
    /// Use capacity reservations.
    pub reserved_capacity: bool,
    /// Let consolidation replace a spot node by a cheaper spot node.
    pub spot_to_spot_consolidation: bool,
    /// Replace nodes whose conditions say that they are broken.
    pub node_repair: bool,
    /// Keep pools with `replicas` at that number of machines.
    pub static_capacity: bool,
    /// Keep the room that CapacityBuffers ask for.
    pub capacity_buffer: bool,
    /// Look at NodeOverlays.
    pub node_overlay: bool,
}

impl Default for FeatureGates {
    fn default() -> Self {
        Self {
            reserved_capacity: true,
            spot_to_spot_consolidation: false,
            node_repair: false,
            static_capacity: false,
            capacity_buffer: false,
            node_overlay: false,
        }
    }
}
