//! Machines that can be bought.

use super::{Price, Requirements, Resources};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a machine is paid for. The order is the precedence at launch: reserved, then spot, then on-demand (spec core 2.15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CapacityType {
    /// Paid for beforehand by a reservation.
    Reserved,
    /// Cheap, may be taken back.
    Spot,
    /// By the second at list price.
    OnDemand,
}

impl CapacityType {
    /// The value of the label `karpenter.sh/capacity-type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Spot => "spot",
            Self::OnDemand => "on-demand",
        }
    }

    /// The type whose label value is `text`.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Reserved, Self::Spot, Self::OnDemand].into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for CapacityType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A machine type with where and how it can be bought.
#[derive(Clone, Debug)]
pub struct InstanceType {
    /// The cloud's name of the type, e.g. `m5.large`.
    pub name: String,
    /// What its nodes' labels can be; a key that does not apply is `DoesNotExist`.
    pub requirements: Requirements,
    /// Sorted by zone, then capacity type, then reservation id.
    pub offerings: Vec<Offering>,
    /// What the machine has.
    pub capacity: Resources,
    /// What of it pods cannot use.
    pub overhead: Overhead,
}

/// What of a machine's capacity pods cannot use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overhead {
    /// Kept for the kubelet and the container runtime.
    pub kube_reserved: Resources,
    /// Kept for the operating system.
    pub system_reserved: Resources,
    /// Where the kubelet begins to evict.
    pub eviction_threshold: Resources,
}

/// One way to buy an instance type.
#[derive(Clone, Debug)]
pub struct Offering {
    /// The zone's name.
    pub zone: String,
    /// How it is paid for.
    pub capacity_type: CapacityType,
    /// Per hour.
    pub price: Price,
    /// Whether it can be bought now.
    pub available: bool,
    /// What holds of nodes bought so, zone and capacity type included.
    pub requirements: Requirements,
    /// The reservation that it draws on; present exactly where `capacity_type` is `Reserved`.
    pub reservation_id: Option<String>,
    /// How many more machines the reservation holds.
    pub reservation_capacity: u32,
}
