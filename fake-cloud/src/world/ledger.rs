//! The ledger: money, calls, machines by state, and what would be left behind.

use super::{Amount, CallCount, Instance, InstanceCost, Market, ReservationFees};
use std::collections::{BTreeMap, VecDeque};

/// Machines whose cost is kept one by one after they are forgotten; older ones are kept as a sum.
pub(crate) const MAX_RETIRED: usize = 100_000;

/// The ledger at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// All machines, ever, and what reservations cost beside them.
    pub total: Amount,
    /// Machines by market.
    pub by_market: BTreeMap<Market, Amount>,
    /// What reservations cost beside their machines.
    pub reservations: ReservationFees,
    /// Nano-dollars per hour being paid now.
    pub nano_dollars_per_hour: u128,
    /// By operation.
    pub calls: BTreeMap<String, CallCount>,
    /// Visible machines by state.
    pub instances_by_state: BTreeMap<&'static str, usize>,
    /// Machines launched, ever.
    pub launched: u64,
    /// What would be left behind if the run ended now.
    pub remaining: Remaining,
}

/// Ids of what exists and costs or clutters.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Remaining {
    /// Machines not terminated.
    pub instances: Vec<String>,
    /// Volumes of machines that are gone.
    pub volumes: Vec<String>,
    /// Interfaces of machines that are gone.
    pub network_interfaces: Vec<String>,
    /// Launch templates.
    pub launch_templates: Vec<String>,
    /// Instance profiles that a request made.
    pub instance_profiles: Vec<String>,
}

impl Remaining {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Costs of machines that are no longer visible.
#[derive(Clone, Debug, Default)]
pub(crate) struct Retired {
    costs: VecDeque<InstanceCost>,
    folded: BTreeMap<Market, Amount>,
    /// Volumes left behind by them.
    pub(crate) volumes: Vec<String>,
    /// Interfaces left behind by them.
    pub(crate) interfaces: Vec<String>,
}

impl Retired {
    pub(crate) fn retire(&mut self, instance: Instance, cost: InstanceCost) {
        self.volumes.extend(instance.volumes.into_iter().map(|volume| volume.id));
        self.interfaces.extend(instance.interfaces.into_iter().map(|interface| interface.id));
        if self.costs.len() == MAX_RETIRED
            && let Some(oldest) = self.costs.pop_front()
        {
            *self.folded.entry(oldest.market).or_default() += oldest.cost;
        }
        self.costs.push_back(cost);
    }

    pub(crate) fn costs(&self) -> impl Iterator<Item = &InstanceCost> {
        self.costs.iter()
    }

    pub(crate) fn cost_of(&self, market: Market) -> Amount {
        let mut sum: Amount = self.costs().filter(|cost| cost.market == market).map(|cost| cost.cost).sum();
        sum += self.folded.get(&market).copied().unwrap_or_default();
        sum
    }
}
