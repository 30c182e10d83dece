//! The cost meter: what machines cost, exactly.
//!
//! A machine is paid for while it is in the state running, at the price in force at each moment, by the nanosecond. (EC2
//! bills at least a minute per start; this meter does not, so that a cost is always price × time.) What reservations cost
//! beside their machines is in `idle`.

use super::{
    Amount, Instance, InstanceCost, InstanceState, Ledger, Market, Price, Remaining, ReservedMarket, World,
    price::{SPOT_STEP, step_start},
};
use jiff::Timestamp;
use std::collections::BTreeMap;

impl World {
    /// Brings a machine's meter up to now.
    pub(crate) fn settle(&mut self, id: &str) {
        let (cost, ran) = self.unsettled(&self.instances[id]);
        let now = self.now;
        let meter = &mut self.instances.get_mut(id).expect("it was just looked up").meter;
        meter.settled += cost;
        meter.ran_nanoseconds += ran;
        meter.since = meter.since.map(|_| now);
    }

    /// Brings all meters up to now: before prices change.
    pub(crate) fn settle_all(&mut self) {
        let ids: Vec<String> = self.instances.keys().cloned().collect();
        ids.iter().for_each(|id| self.settle(id));
        self.settle_reservations();
    }

    /// What a machine has cost and run since its meter was settled.
    fn unsettled(&self, instance: &Instance) -> (Amount, u128) {
        let Some(since) = instance.meter.since else { return (Amount::default(), 0) };
        let mut cost = Amount::default();
        let mut from = since;
        while from < self.now {
            // Spot prices hold for a step; on-demand prices change only by script, which settles first.
            let until = match instance.market {
                Market::Spot => self.now.min(step_start(from) + SPOT_STEP),
                Market::OnDemand => self.now,
            };
            cost += Amount::of(self.price_at(instance, from).unwrap_or_default(), nanoseconds(from, until));
            from = until;
        }
        (cost, nanoseconds(since, self.now))
    }

    fn price_at(&self, instance: &Instance, at: Timestamp) -> Option<Price> {
        match instance.market {
            // A capacity block was paid for in advance.
            Market::OnDemand if instance.reserved_market == Some(ReservedMarket::CapacityBlock) => {
                Some(Price::default())
            }
            Market::OnDemand => self.on_demand_price_of(instance.type_index),
            Market::Spot => self.spot_price_of(instance.type_index, self.zone_index(instance.zone.name)?, at),
        }
    }

    /// What a machine has cost up to now.
    pub fn cost_of(&self, instance: &Instance) -> InstanceCost {
        let (mut cost, ran) = self.unsettled(instance);
        cost += instance.meter.settled;
        InstanceCost {
            instance_id: instance.id.clone(),
            machine_type: instance.machine_type,
            zone: instance.zone.name,
            market: instance.market,
            ran_nanoseconds: instance.meter.ran_nanoseconds + ran,
            cost,
            price: instance.meter.since.and_then(|_| self.price_at(instance, self.now)),
        }
    }

    /// What every machine has cost, gone ones first (as many as are still known one by one), then by id.
    pub fn costs(&self) -> impl Iterator<Item = InstanceCost> {
        self.retired.costs().cloned().chain(self.instances().map(|instance| self.cost_of(instance)))
    }

    /// The ledger at this moment.
    pub fn ledger(&self) -> Ledger {
        let by_market = Market::ALL.map(|market| (market, self.cost_of_market(market)));
        let price = |instance: &Instance| self.cost_of(instance).price.map_or(0, |price| u128::from(price.nanos()));
        let reservations = self.reservation_fees();
        let idle = self.reservations().map(|reservation| u128::from(self.idle_price_of(reservation).nanos()));
        Ledger {
            total: by_market.iter().map(|(_, amount)| *amount).chain([reservations.idle, reservations.upfront]).sum(),
            by_market: BTreeMap::from(by_market),
            reservations,
            nano_dollars_per_hour: self.instances().map(price).chain(idle).sum(),
            calls: self.audit.counts().clone(),
            instances_by_state: self.instances_by_state(),
            launched: self.launched,
            remaining: self.remaining(),
        }
    }

    fn cost_of_market(&self, market: Market) -> Amount {
        let visible = self.instances().filter(|instance| instance.market == market);
        let mut sum: Amount = visible.map(|instance| self.cost_of(instance).cost).sum();
        sum += self.retired.cost_of(market);
        sum
    }

    fn instances_by_state(&self) -> BTreeMap<&'static str, usize> {
        let count = |state| self.instances().filter(|instance| instance.state == state).count();
        InstanceState::ALL.iter().map(|state| (state.as_str(), count(*state))).collect()
    }

    /// What would be left behind if the run ended now.
    pub fn remaining(&self) -> Remaining {
        let ended = || self.instances().filter(|instance| instance.is_terminated());
        let left_volumes = ended().flat_map(|instance| &instance.volumes).map(|volume| volume.id.clone());
        let left_interfaces = ended().flat_map(|instance| &instance.interfaces).map(|interface| interface.id.clone());
        Remaining {
            instances: self.instances().filter(|each| !each.is_terminated()).map(|each| each.id.clone()).collect(),
            volumes: self.retired.volumes.iter().cloned().chain(left_volumes).collect(),
            network_interfaces: self.retired.interfaces.iter().cloned().chain(left_interfaces).collect(),
            launch_templates: self.launch_templates().map(|template| template.id.clone()).collect(),
            instance_profiles: self
                .instance_profiles()
                .filter(|profile| profile.made)
                .map(|profile| profile.name.clone())
                .collect(),
        }
    }
}

pub(crate) fn nanoseconds(from: Timestamp, until: Timestamp) -> u128 {
    until.duration_since(from).as_nanos().unsigned_abs()
}
