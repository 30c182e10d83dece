//! What a tester can do to the world: capacity, prices, delays, quotas, faults; and how a door asks what goes wrong.

use super::{
    ActiveFault, CallPlan, CallRecord, CallShape, CapacityRule, CloudError, ConfigError, Consistency, Delays,
    EventConfig, FaultRule, Market, PriceRule, QuotaRule, ResourceKind, Treatment, TypeIndex, World,
    capacity::PoolKey,
    config_check::{Known, consistency_problems, delay_problems, event_problems, fault_problems},
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

    /// What the fault rules, the callers' credentials and the limits on requests make of a call. Ask once per call: all
    /// of them count.
    pub fn begin_call(&mut self, call: &CallShape<'_>) -> CallPlan {
        let mut plan = self.faults.plan(self.seed, call.operation);
        let throttled = self.is_throttled(call).then_some(CloudError::Throttled);
        if let Some(refusal) = self.refused_caller().or(throttled)
            && plan.treatment == Treatment::Serve
        {
            plan.treatment = Treatment::Refuse(refusal);
        }
        plan
    }

    /// Says where events go from now on, and what becomes of them on the way.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn set_events(&mut self, events: EventConfig) -> Result<(), ConfigError> {
        ConfigError::check(event_problems(&events))?;
        let before = std::mem::replace(&mut self.events, events);
        if self.events.queue.is_none() {
            self.events.queue = before.queue;
        }
        self.changed();
        Ok(())
    }

    /// Says how late what is made from now on is seen.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn set_consistency(&mut self, consistency: Consistency) -> Result<(), ConfigError> {
        ConfigError::check(consistency_problems(&consistency))?;
        self.consistency = consistency;
        self.changed();
        Ok(())
    }

    /// New images replace those that public parameters name, as a release does: the parameters name the new ones, and the
    /// old ones are deprecated. How many parameters (`pattern` may have wildcards) that are.
    ///
    /// # Errors
    /// There is no such parameter.
    pub fn release_images(&mut self, pattern: &str) -> Result<usize, CloudError> {
        let names: Vec<String> =
            self.images.parameters.keys().filter(|name| matches_pattern(pattern, name)).cloned().collect();
        if names.is_empty() {
            return Err(CloudError::NotFound { kind: ResourceKind::Parameter, id: pattern.to_owned() });
        }
        let now = self.now;
        for name in &names {
            let Some(old) = self.images.parameters.get(name).cloned() else { continue };
            let Some(mut image) = self.images.images.get(&old).cloned() else { continue };
            // Parameters of one image get one new image.
            let id = format!("ami-0{}", self.seed.stream(&["release", &old, &now.to_string()]).hex(16));
            self.images.images.entry(old).and_modify(|old| old.deprecated = Some(now));
            image.id.clone_from(&id);
            image.name = format!("{}-{}", image.name, now.strftime("%Y%m%d%H%M%S"));
            image.created = now;
            self.images.images.insert(id.clone(), image);
            self.images.parameters.insert(name.clone(), id);
        }
        self.changed();
        Ok(names.len())
    }

    /// Writes a call into the audit trail; `lost` if its answer does not reach the caller.
    pub fn record_call(&mut self, call: CallRecord, lost: bool) {
        self.audit.record(self.now, call, lost);
    }
}
