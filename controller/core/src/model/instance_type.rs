//! Machines that can be bought.

use super::{HUGE_PAGES_PREFIX, MEMORY, Operator, Price, Requirement, Requirements, Resources};
use crate::api::labels;
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

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
    /// The type as its cloud lists it, where NodeOverlays say otherwise ([`super::Overlays`]).
    pub listed: Option<Arc<Self>>,
}

impl InstanceType {
    /// What pods can use: capacity less overhead; every huge page is taken from memory besides (spec core 2.14).
    pub fn allocatable(&self) -> Resources {
        let mut allocatable = self.capacity.minus(&self.overhead.total());
        let huge: i64 =
            self.capacity.iter().filter(|(name, _)| name.starts_with(HUGE_PAGES_PREFIX)).map(|(_, bytes)| bytes).sum();
        if huge > 0 {
            allocatable.set(MEMORY, (allocatable.get(MEMORY) - huge).max(0));
        }
        allocatable
    }

    /// Whether NodeOverlays say what one of the offerings costs.
    pub fn is_price_overlaid(&self) -> bool {
        let price = |own: &Offering| own.price;
        self.listed
            .as_ref()
            .is_some_and(|listed| !listed.offerings.iter().map(price).eq(self.offerings.iter().map(price)))
    }

    /// Whether NodeOverlays say what the machine has.
    pub fn is_capacity_overlaid(&self) -> bool {
        self.listed.as_ref().is_some_and(|listed| listed.capacity != self.capacity)
    }

    /// The cheapest available offering that `requirements` allow; of equally cheap ones the first by capacity type and zone.
    pub fn cheapest(&self, requirements: &Requirements) -> Option<&Offering> {
        self.offerings.iter().filter(|own| own.available).fold(None, |best: Option<&Offering>, own| {
            // What is dearer need not be asked whether it is allowed: that takes longer.
            let is_better = best.is_none_or(|best| own.by_price() < best.by_price());
            if is_better && requirements.intersects(&own.requirements) { Some(own) } else { best }
        })
    }

    /// What a machine of this type costs if launched under `requirements`: the cheapest reserved offering, without one the
    /// cheapest spot, else the cheapest on-demand one (spec core 2.15).
    pub fn launch_offering(&self, requirements: &Requirements) -> Option<&Offering> {
        let allowed = self
            .offerings
            .iter()
            .filter(|offering| offering.available && requirements.intersects(&offering.requirements));
        allowed.min_by(|a, b| (a.capacity_type, a.price, &a.zone).cmp(&(b.capacity_type, b.price, &b.zone)))
    }
}

impl Overhead {
    /// All of it together.
    pub fn total(&self) -> Resources {
        self.kube_reserved.plus(&self.system_reserved).plus(&self.eviction_threshold)
    }
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

impl Offering {
    /// An offering that can be bought now, draws on no reservation, and says of nodes only their zone and capacity type.
    pub fn new(zone: &str, capacity_type: CapacityType, price: Price) -> Self {
        Self {
            zone: zone.to_owned(),
            capacity_type,
            price,
            available: true,
            requirements: Requirements::from_iter([
                Requirement::new(labels::ZONE, Operator::In, [zone]),
                Requirement::new(labels::CAPACITY_TYPE, Operator::In, [capacity_type.as_str()]),
            ]),
            reservation_id: None,
            reservation_capacity: 0,
        }
    }

    /// What offerings of one type are sorted by, the cheapest first: price, then capacity type, then zone.
    pub fn by_price(&self) -> (Price, CapacityType, &str) {
        (self.price, self.capacity_type, &self.zone)
    }
}

#[cfg(test)]
mod tests {
    use super::{CapacityType, InstanceType, Offering, Overhead, Price, Requirements, Resources};
    use crate::model::{Operator, Requirement};

    fn offering(zone: &str, capacity_type: CapacityType, dollars: &str) -> Offering {
        Offering::new(zone, capacity_type, dollars.parse().unwrap())
    }

    fn instance_type() -> InstanceType {
        InstanceType {
            name: "m5.large".to_owned(),
            requirements: Requirements::new(),
            offerings: vec![
                offering("a", CapacityType::OnDemand, "0.096"),
                offering("a", CapacityType::Spot, "0.2"),
                offering("b", CapacityType::Spot, "0.3"),
            ],
            capacity: Resources::from_iter([("cpu", 2000), ("memory", 8 << 30), ("hugepages-2Mi", 1 << 30)]),
            overhead: Overhead {
                kube_reserved: Resources::from_iter([("cpu", 70), ("memory", 1 << 30)]),
                eviction_threshold: Resources::from_iter([("memory", 1 << 20)]),
                ..Overhead::default()
            },
            listed: None,
        }
    }

    #[test]
    fn overhead_and_huge_pages_are_not_for_pods() {
        assert_eq!(instance_type().allocatable().to_string(), "cpu: 1930m, memory: 6143Mi, hugepages-2Mi: 1Gi");
    }

    #[test]
    fn the_cheapest_is_not_what_is_launched_first() {
        let (any, kind) = (Requirements::new(), instance_type());
        assert_eq!(kind.cheapest(&any).map(|offering| offering.price), Some(Price::from_nanos(96_000_000)));
        assert_eq!(kind.launch_offering(&any).map(|offering| offering.price), Some(Price::from_nanos(200_000_000)));
        let zone_b = Requirements::from_iter([Requirement::new("topology.kubernetes.io/zone", Operator::In, ["b"])]);
        assert_eq!(kind.cheapest(&zone_b).map(|offering| offering.zone.as_str()), Some("b"));
    }
}
