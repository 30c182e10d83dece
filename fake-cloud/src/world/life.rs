//! What happens to machines after their launch: time, ends, stops, interruptions.

use super::{
    CloudError, EventKind, Instance, InstanceState, Market, StateChange, StateReason, World, capacity::PoolKey,
    launch::give_all_back, query::unknown_instance,
};
use jiff::{SignedDuration, Timestamp};
use std::net::Ipv4Addr;

impl World {
    /// Lets time pass up to `now`; everything that was due happens at its own time, in order. Earlier times do nothing.
    pub fn advance(&mut self, now: Timestamp) {
        while let Some((due, id)) = self.due.first().filter(|(due, _)| *due <= now).cloned() {
            self.due.remove(&(due, id.clone()));
            self.now = self.now.max(due);
            self.pass(&id);
        }
        self.now = self.now.max(now);
    }

    /// When something will happen by itself next.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(due, _)| *due)
    }

    /// What is due for a machine now; nothing if the entry was stale.
    fn pass(&mut self, id: &str) {
        let Some(instance) = self.instances.get(id) else { return self.pass_reservation(id) };
        let interrupted = instance.interruption.is_some_and(|at| at <= self.now);
        if interrupted && matches!(instance.state, InstanceState::Pending | InstanceState::Running) {
            let reason = match instance.market {
                Market::Spot => StateReason::SpotReclaimed,
                Market::OnDemand => StateReason::ReservationReclaimed,
            };
            self.enter(id, InstanceState::ShuttingDown, Some(reason));
        } else if instance.due.is_some_and(|due| due <= self.now) {
            match instance.state {
                InstanceState::Pending => self.enter(id, InstanceState::Running, None),
                InstanceState::ShuttingDown => self.enter(id, InstanceState::Terminated, instance.state_reason),
                InstanceState::Stopping => self.enter(id, InstanceState::Stopped, instance.state_reason),
                InstanceState::Terminated => self.forget(id),
                InstanceState::Running | InstanceState::Stopped => {}
            }
        }
    }

    /// Puts a machine into a state, with all that follows from it: money, capacity, addresses, what is due next.
    pub(crate) fn enter(&mut self, id: &str, state: InstanceState, reason: Option<StateReason>) {
        self.settle(id);
        let now = self.now;
        let instance = self.instances.get_mut(id).expect("callers look the machine up first");
        instance.state = state;
        instance.state_reason = reason;
        instance.state_since = now;
        instance.meter.since = (state == InstanceState::Running).then_some(now);
        if !state.keeps_room() {
            self.release(id);
        }
        if state == InstanceState::Terminated {
            self.detach(id);
        }
        self.schedule_state(id);
        self.tell_of_instance(id, EventKind::StateChange(state));
        self.changed();
    }

    /// Gives back what the machine took from its pool and quota, if it still has it.
    fn release(&mut self, id: &str) {
        let instance = self.instances.get_mut(id).expect("callers look the machine up first");
        if !std::mem::take(&mut instance.has_room) {
            return;
        }
        let instance = &self.instances[id];
        if let Some(reservation) = instance.reservation.clone() {
            self.give_reserved_back(&reservation);
            return;
        }
        let zone = self.zone_index(instance.zone.name).unwrap_or_default();
        let key = PoolKey { type_index: instance.type_index, zone, market: instance.market };
        self.pools.give_back(key);
        self.quotas.give_back(self.catalogue.at(instance.type_index), instance.market);
    }

    /// What a terminated machine no longer has: addresses, interfaces and volumes that go with it.
    fn detach(&mut self, id: &str) {
        let instance = self.instances.get_mut(id).expect("callers look the machine up first");
        let addresses: Vec<Ipv4Addr> =
            instance.interfaces.iter().filter_map(|interface| interface.private_ip).collect();
        let delegated = instance.delegated_addresses;
        instance.interfaces.retain(|interface| !interface.delete_on_termination);
        instance.volumes.retain(|volume| !volume.delete_on_termination);
        instance.interruption = None;
        let subnet = instance.subnet_id.clone();
        if let Ok(subnet) = self.network.subnet_mut(&subnet) {
            give_all_back(subnet, &addresses, delegated);
        }
    }

    /// Enters into the queue when the machine's state passes by itself.
    pub(crate) fn schedule_state(&mut self, id: &str) {
        let due = self.state_ends(&self.instances[id]);
        let instance = self.instances.get_mut(id).expect("it was just looked up");
        let before = std::mem::replace(&mut instance.due, due);
        if let Some(before) = before {
            self.due.remove(&(before, id.to_owned()));
        }
        // An interruption that was announced stays in the queue.
        let interruption = self.instances[id].interruption;
        self.due.extend([due, interruption].into_iter().flatten().map(|at| (at, id.to_owned())));
    }

    fn state_ends(&self, instance: &Instance) -> Option<Timestamp> {
        let (name, range) = match instance.state {
            InstanceState::Pending => ("pending", self.delays.pending),
            InstanceState::ShuttingDown => ("shutting-down", self.delays.shutting_down),
            InstanceState::Stopping => ("stopping", self.delays.stopping),
            InstanceState::Terminated => return Some(self.now + self.delays.terminated_visible),
            InstanceState::Running | InstanceState::Stopped => return None,
        };
        let (low, high) = (range.min.as_millis() as u64, range.max.as_millis() as u64);
        let drawn = self.seed.stream(&["delay", name, &instance.id]).between(low, high);
        Some(self.now + SignedDuration::from_millis(drawn as i64))
    }

    fn forget(&mut self, id: &str) {
        let cost = self.cost_of(&self.instances[id]);
        if let Some(instance) = self.instances.remove(id) {
            self.retired.retire(instance, cost);
        }
        self.changed();
    }

    /// Takes back a launch of this same request, as if it had not been.
    pub(crate) fn unlaunch(&mut self, id: &str) {
        self.release(id);
        self.detach(id);
        if let Some(Instance { due: Some(due), .. }) = self.instances.remove(id) {
            self.due.remove(&(due, id.to_owned()));
        }
        self.launched -= 1;
    }

    /// Ends machines. One that is ending or has ended stays as it is.
    ///
    /// # Errors
    /// One of them does not exist; then none is ended.
    pub fn terminate(&mut self, ids: &[String]) -> Result<Vec<StateChange>, CloudError> {
        self.check_instances(ids)?;
        self.take_resources("TerminateInstances", ids.len())?;
        let over = |state| matches!(state, InstanceState::ShuttingDown | InstanceState::Terminated);
        Ok(ids
            .iter()
            .map(|id| self.change(id, over, InstanceState::ShuttingDown, StateReason::UserTerminated))
            .collect())
    }

    /// Stops machines.
    ///
    /// # Errors
    /// One of them does not exist, is a spot machine, or is in no state to be stopped; then none is stopped.
    pub fn stop(&mut self, ids: &[String]) -> Result<Vec<StateChange>, CloudError> {
        self.check_instances(ids)?;
        for instance in ids.iter().map(|id| &self.instances[id]) {
            match (instance.market, instance.state) {
                (Market::OnDemand, InstanceState::Running | InstanceState::Stopping | InstanceState::Stopped) => {}
                (Market::Spot, InstanceState::Running) => {
                    let reason = format!("You can't stop the Spot Instance '{}' because it is one-time.", instance.id);
                    return Err(CloudError::InvalidCombination { reason });
                }
                _ => return Err(wrong_state(instance)),
            }
        }
        let over = |state| matches!(state, InstanceState::Stopping | InstanceState::Stopped);
        Ok(ids.iter().map(|id| self.change(id, over, InstanceState::Stopping, StateReason::UserStopped)).collect())
    }

    /// Starts stopped machines.
    ///
    /// # Errors
    /// One of them does not exist or is not stopped, or its pool has no room; those before it in the list are started.
    pub fn start(&mut self, ids: &[String]) -> Result<Vec<StateChange>, CloudError> {
        self.check_instances(ids)?;
        let unfit = |state| !matches!(state, InstanceState::Stopped | InstanceState::Pending | InstanceState::Running);
        if let Some(instance) = ids.iter().map(|id| &self.instances[id]).find(|instance| unfit(instance.state)) {
            return Err(wrong_state(instance));
        }
        ids.iter().map(|id| self.start_one(id)).collect()
    }

    fn start_one(&mut self, id: &str) -> Result<StateChange, CloudError> {
        let instance = &self.instances[id];
        let previous = instance.state;
        if previous == InstanceState::Stopped {
            let zone = self.zone_index(instance.zone.name).unwrap_or_default();
            let key = PoolKey { type_index: instance.type_index, zone, market: instance.market };
            self.room(key, None)?;
            self.pools.take(key);
            self.quotas.take(self.catalogue.at(key.type_index), key.market);
            self.enter(id, InstanceState::Pending, None);
            self.instances.entry(id.to_owned()).and_modify(|instance| {
                instance.has_room = true;
                instance.launched = instance.state_since;
            });
        }
        Ok(StateChange { instance_id: id.to_owned(), previous, current: self.instances[id].state })
    }

    fn change(
        &mut self,
        id: &str,
        over: impl Fn(InstanceState) -> bool,
        state: InstanceState,
        reason: StateReason,
    ) -> StateChange {
        let previous = self.instances[id].state;
        if !over(previous) {
            self.enter(id, state, Some(reason));
        }
        StateChange { instance_id: id.to_owned(), previous, current: self.instances[id].state }
    }

    /// Checks that all machines exist.
    ///
    /// # Errors
    /// Names the first that does not.
    pub fn check_instances(&self, ids: &[String]) -> Result<(), CloudError> {
        ids.iter().try_for_each(|id| self.instance(id).map(|_| ()))
    }

    /// Announces that the spot market takes a machine back after the notice; returns when.
    ///
    /// # Errors
    /// It does not exist, is no spot machine, or is not alive.
    pub fn interrupt(&mut self, id: &str) -> Result<Timestamp, CloudError> {
        let at = self.now + self.delays.interruption_notice;
        let instance = self.instances.get_mut(id).ok_or_else(|| unknown_instance(id))?;
        if instance.market != Market::Spot {
            let reason = format!("instance `{id}` is on-demand: only spot instances are interrupted (`kill` ends any)");
            return Err(CloudError::InvalidCombination { reason });
        }
        if !matches!(instance.state, InstanceState::Pending | InstanceState::Running) {
            return Err(wrong_state(instance));
        }
        if instance.interruption.is_some_and(|announced| announced <= at) {
            return Ok(instance.interruption.unwrap_or(at));
        }
        instance.interruption = Some(at);
        self.due.insert((at, id.to_owned()));
        self.tell_of_instance(id, EventKind::SpotInterruption);
        self.changed();
        Ok(at)
    }

    /// Ends a machine at once and without warning, as a failure of its hardware.
    ///
    /// # Errors
    /// It does not exist or has ended.
    pub fn kill(&mut self, id: &str) -> Result<(), CloudError> {
        let instance = self.instance(id)?;
        if instance.is_terminated() {
            return Err(wrong_state(instance));
        }
        self.enter(id, InstanceState::Terminated, Some(StateReason::HardwareFailed));
        Ok(())
    }
}

fn wrong_state(instance: &Instance) -> CloudError {
    CloudError::WrongState { instance: instance.id.clone(), state: instance.state.as_str() }
}
