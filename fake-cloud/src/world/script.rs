//! What a tester can do to the world: capacity, prices, delays, quotas, faults; and how a door asks what goes wrong.

use super::{
    ActiveFault, CallPlan, CallRecord, CapacityRule, ConfigError, Delays, FaultRule, Market, PriceRule, QuotaRule,
    TypeIndex, World,
    capacity::PoolKey,
    config_check::{Known, delay_problems, fault_problems},
    fault::MAX_RULES,
    matches_pattern,
    price::Change,
};

impl World {
    /// Sets the capacity of the pools that the rules name; how many pools that are. All rules or none.
    ///
    /// # Errors
    /// Everything that is wrong with the rules.
    pub fn set_capacity(&mut self, rules: &[CapacityRule]) -> Result<usize, ConfigError> {
        let known = self.known();
        ConfigError::check(rules.iter().flat_map(|rule| known.capacity_problems(rule)).collect())?;
        let pools = rules.iter().map(|rule| self.capacity_pools(rule).len()).sum();
        rules.iter().for_each(|rule| self.apply_capacity(rule));
        self.changed();
        Ok(pools)
    }

    pub(crate) fn apply_capacity(&mut self, rule: &CapacityRule) {
        for key in self.capacity_pools(rule) {
            self.pools.set(key, rule.capacity);
        }
    }

    fn capacity_pools(&self, rule: &CapacityRule) -> Vec<PoolKey> {
        let markets =
            || Market::ALL.into_iter().filter(|market| rule.capacity_type.is_none_or(|wanted| wanted == *market));
        let places = self.places(&rule.instance_type, &rule.zone);
        places
            .iter()
            .flat_map(|(type_index, zone)| {
                markets().map(|market| PoolKey { type_index: *type_index, zone: *zone, market })
            })
            .collect()
    }

    /// Sets prices; how many pools have a new one. All rules or none. Machines that run pay the new price from now on.
    ///
    /// # Errors
    /// Everything that is wrong with the rules.
    pub fn set_prices(&mut self, rules: &[PriceRule]) -> Result<usize, ConfigError> {
        let known = self.known();
        ConfigError::check(rules.iter().flat_map(|rule| known.price_problems(rule)).collect())?;
        self.settle_all();
        let pools = rules.iter().map(|rule| self.apply_price(rule)).sum();
        self.changed();
        Ok(pools)
    }

    pub(crate) fn apply_price(&mut self, rule: &PriceRule) -> usize {
        let change = Change { price: rule.price, since: self.now };
        let places = self.places(&rule.instance_type, &rule.zone);
        for (type_index, zone) in &places {
            self.price_overrides.set(rule.capacity_type, *type_index, *zone, change);
        }
        places.len()
    }

    /// The (type, zone) pairs that patterns name, where offered.
    fn places(&self, instance_type: &str, zone: &str) -> Vec<(TypeIndex, usize)> {
        let types = self.catalogue.machine_types().iter().zip(0..);
        let types = types.filter(|(machine_type, _)| matches_pattern(instance_type, machine_type.name));
        let zones: Vec<usize> =
            (0..self.zones.len()).filter(|place| matches_pattern(zone, self.zones[*place].name)).collect();
        let pairs = types.flat_map(|(_, index)| zones.iter().map(move |zone| (TypeIndex(index), *zone)));
        pairs.filter(|(index, zone)| self.is_offered(*index, &self.zones[*zone])).collect()
    }

    fn known(&self) -> Known<'_> {
        Known { catalogue: &self.catalogue, zones: self.zones.iter().map(|zone| zone.name).collect() }
    }

    /// How long machines stay in states that pass by themselves.
    pub fn delays(&self) -> Delays {
        self.delays
    }

    /// Sets the delays of states entered from now on.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn set_delays(&mut self, delays: Delays) -> Result<(), ConfigError> {
        ConfigError::check(delay_problems(&delays))?;
        self.delays = delays;
        self.changed();
        Ok(())
    }

    /// Sets vCPU quotas; machines beyond a lowered quota stay.
    pub fn set_quotas(&mut self, quotas: &[QuotaRule]) {
        quotas.iter().for_each(|quota| self.quotas.set(*quota));
        self.changed();
    }

    /// The fault rules in force, in the order they were made.
    pub fn faults(&self) -> &[ActiveFault] {
        &self.faults.active
    }

    /// Adds a fault rule.
    ///
    /// # Errors
    /// Everything that is wrong with it; or there are too many.
    pub fn add_fault(&mut self, rule: FaultRule) -> Result<ActiveFault, ConfigError> {
        let mut problems = fault_problems(std::slice::from_ref(&rule));
        if self.faults.active.len() >= MAX_RULES {
            problems.push(format!("there are {MAX_RULES} fault rules already: remove some first"));
        }
        ConfigError::check(problems)?;
        Ok(self.faults.add(rule).clone())
    }

    /// Removes the fault rule of that id.
    pub fn remove_fault(&mut self, id: &str) -> Option<ActiveFault> {
        self.faults.remove(id)
    }

    /// Removes all fault rules; how many there were.
    pub fn clear_faults(&mut self) -> usize {
        std::mem::take(&mut self.faults.active).len()
    }

    /// What the fault rules make of a call to `operation`. Ask once per call: rules count.
    pub fn begin_call(&mut self, operation: &str) -> CallPlan {
        self.faults.plan(self.seed, operation)
    }

    /// Writes a call into the audit trail; `lost` if its answer does not reach the caller.
    pub fn record_call(&mut self, call: CallRecord, lost: bool) {
        self.audit.record(self.now, call, lost);
    }
}
