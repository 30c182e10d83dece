//! Interruptible reservations: machines that nobody uses of one reservation, lent to another, from which they can be taken back
//! with two minutes' warning.

use super::{
    CloudError, EventKind, InstanceState, Reservation, ReservationState, TagSpecification, World,
    idle::IdleMeter,
    reservation::{check_count, invalid},
    tags,
    token::{Outcome, fingerprint},
};

/// What an interruptible reservation is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interruptible {
    /// The reservation whose machines these are.
    pub source: String,
    /// How many machines it is to have; those beyond are being taken back.
    pub target: u32,
    /// Whether it stays when it has none.
    pub kept_empty: bool,
}

/// What is lent from a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// The interruptible reservation.
    pub to: String,
    /// How many machines that has.
    pub count: u32,
}

/// A request to lend machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AllocationRequest {
    /// Idempotency token.
    pub token: Option<String>,
    /// The reservation to lend from.
    pub source: String,
    /// How many machines.
    pub count: u32,
    /// Whether the interruptible reservation stays when it has none.
    pub kept_empty: bool,
    /// Tags of the interruptible reservation.
    pub tags: Vec<TagSpecification>,
}

const OPERATION: &str = "CreateInterruptibleCapacityReservationAllocation";

impl World {
    /// Lends machines that nobody uses; the id of the interruptible reservation.
    ///
    /// # Errors
    /// The source does not exist, is not active, has an end, lends already, or has fewer machines that nobody uses.
    pub fn lend(&mut self, request: &AllocationRequest) -> Result<String, CloudError> {
        let (print, token) = (fingerprint(request), request.token.as_deref());
        if let Some(Outcome::Reservation(id)) = self.tokens.recall(self.now, OPERATION, token, print)? {
            return Ok(id);
        }
        check_count(request.count)?;
        tags::check_specifications(&request.tags)?;
        let source = self.reservation(&request.source)?;
        if source.state != ReservationState::Active {
            let (id, state) = (request.source.clone(), source.state.as_str());
            return Err(CloudError::WrongReservationState { id, state });
        }
        if source.market().is_some() || source.end.is_some() || source.allocation.is_some() {
            return Err(lends(&request.source));
        }
        if source.available() < request.count {
            return Err(invalid("InstanceCount", Some(request.count.to_string()), "as many as nobody uses"));
        }
        let lent = Reservation {
            id: self.next_reservation_id()?,
            total: request.count,
            used: 0,
            open: false,
            interruptible: Some(Interruptible {
                source: request.source.clone(),
                target: request.count,
                kept_empty: request.kept_empty,
            }),
            commitment: None,
            start: self.now,
            created: self.now,
            tags: tags::tags_for(&request.tags, "capacity-reservation"),
            meter: IdleMeter::new(self.now),
            ..self.reservation(&request.source)?.clone()
        };
        let id = lent.id.clone();
        let allocation = Allocation { to: id.clone(), count: request.count };
        self.change_reservation(&request.source, |source| source.allocation = Some(allocation));
        self.add_reservation(lent);
        self.tokens.remember(self.now, OPERATION, token, print, Outcome::Reservation(id.clone()));
        Ok(id)
    }

    /// Changes how many machines a reservation lends. Fewer: those that nobody uses come back at once, the others after their
    /// machines' two minutes. The id of the interruptible reservation.
    ///
    /// # Errors
    /// It does not exist, lends nothing, or has fewer machines that nobody uses.
    pub fn change_lent(&mut self, source: &str, target: u32, kept_empty: Option<bool>) -> Result<String, CloudError> {
        let from = self.reservation(source)?;
        let Some(Allocation { to, count }) = from.allocation.clone() else { return Err(lends(source)) };
        if target > 0 {
            check_count(target)?;
        }
        let more = target.saturating_sub(count);
        if more > from.available() {
            return Err(invalid("TargetInstanceCount", Some(target.to_string()), "as many as nobody uses more"));
        }
        self.set_lent(source, &to, count + more);
        self.change_reservation(&to, |lent| {
            if let Some(own) = &mut lent.interruptible {
                own.target = target;
                own.kept_empty = kept_empty.unwrap_or(own.kept_empty);
            }
        });
        self.warn_reclaimed(&to);
        self.return_lent(&to);
        self.changed();
        Ok(to)
    }

    /// Takes back `count` machines of an interruptible reservation, or all; those that nobody uses first.
    ///
    /// # Errors
    /// It does not exist, or is not interruptible.
    pub fn reclaim_lent(&mut self, id: &str, count: Option<u32>) -> Result<(), CloudError> {
        let Some(own) = self.reservation(id)?.interruptible.clone() else { return Err(lends(id)) };
        let target = count.map_or(0, |count| own.target.saturating_sub(count));
        self.change_lent(&own.source, target, None).map(|_| ())
    }

    fn set_lent(&mut self, source: &str, to: &str, count: u32) {
        self.change_reservation(source, |source| source.allocation = Some(Allocation { to: to.to_owned(), count }));
        self.change_reservation(to, |lent| lent.total = count);
    }

    /// Warns as many machines, the youngest first, as run beyond the target.
    fn warn_reclaimed(&mut self, id: &str) {
        let Ok(lent) = self.reservation(id) else { return };
        let target = lent.interruptible.as_ref().map_or(lent.total, |own| own.target);
        let mut inside = self.instances_in(id);
        inside.retain(|machine| self.instances[machine].has_room);
        let staying = |world: &Self, machine: &String| {
            let instance = &world.instances[machine];
            instance.interruption.is_none() && matches!(instance.state, InstanceState::Pending | InstanceState::Running)
        };
        let leaving = inside.iter().filter(|machine| !staying(self, machine)).count();
        let beyond = inside.len().saturating_sub(leaving).saturating_sub(target as usize);
        let mut left: Vec<String> = inside.into_iter().filter(|machine| staying(self, machine)).collect();
        left.sort_by_key(|machine| std::cmp::Reverse((self.instances[machine].launched, machine.clone())));
        let at = self.now + self.delays.interruption_notice;
        for machine in left.into_iter().take(beyond) {
            self.instances.entry(machine.clone()).and_modify(|instance| instance.interruption = Some(at));
            self.due.insert((at, machine.clone()));
            self.tell_of_instance(&machine, EventKind::ReservationInterruption);
        }
    }

    /// Gives what an interruptible reservation has beyond its target, and nobody uses, back to its source; ends it if nothing is
    /// left of it.
    pub(crate) fn return_lent(&mut self, id: &str) {
        let Some(lent) = self.reservations.by_id.get(id) else { return };
        let Some(Interruptible { source, target, kept_empty }) = lent.interruptible.clone() else { return };
        let count = lent.total.min(target.max(lent.used));
        if count < lent.total {
            self.set_lent(&source, id, count);
        }
        if count == 0 && target == 0 && !kept_empty {
            self.change_reservation(id, |lent| lent.state = ReservationState::Cancelled);
            self.change_reservation(&source, |source| source.allocation = None);
        }
    }
}

/// Why a reservation cannot be changed so.
pub(crate) fn lends(id: &str) -> CloudError {
    let reason = format!(
        "The capacity reservation '{id}' does not allow this: machines are lent from an active reservation without an end date, by \
         one allocation, and changed through that."
    );
    CloudError::InvalidCombination { reason }
}
