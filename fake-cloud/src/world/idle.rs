//! What reserved machines cost while nobody uses them: the on-demand price, as if they ran. A capacity block was paid for in
//! advance, and costs nothing more.

use super::{Amount, Price, Reservation, World};
use jiff::Timestamp;

/// What reservations cost beside their machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReservationFees {
    /// For machines that were kept ready and not used.
    pub idle: Amount,
    /// For capacity blocks, in advance.
    pub upfront: Amount,
}

/// What a reservation's idle machines have cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdleMeter {
    settled: Amount,
    since: Timestamp,
}

impl IdleMeter {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { settled: Amount::default(), since: now }
    }
}

impl World {
    /// Changes a reservation, with its meter brought up to now first. Every change goes through here, so that the meter never
    /// counts a time by what came after it.
    pub(crate) fn change_reservation(&mut self, id: &str, change: impl FnOnce(&mut Reservation)) {
        let Some(settled) = self.reservations.by_id.get(id).map(|reservation| self.idle_cost_of(reservation)) else {
            return;
        };
        let since = self.now;
        self.reservations.by_id.entry(id.to_owned()).and_modify(|reservation| {
            reservation.meter = IdleMeter { settled, since };
            change(reservation);
        });
    }

    /// Brings the meters of all reservations up to now: before prices change.
    pub(crate) fn settle_reservations(&mut self) {
        let ids: Vec<String> = self.reservations.by_id.keys().cloned().collect();
        ids.iter().for_each(|id| self.change_reservation(id, |_| {}));
    }

    /// What the machines of a reservation that nobody used have cost up to now.
    pub fn idle_cost_of(&self, reservation: &Reservation) -> Amount {
        let IdleMeter { settled, since } = reservation.meter;
        let mut cost = Amount::of(self.idle_price_of(reservation), super::cost::nanoseconds(since, self.now));
        cost += settled;
        cost
    }

    /// What they cost by the hour now.
    pub(crate) fn idle_price_of(&self, reservation: &Reservation) -> Price {
        let idle = if reservation.block { 0 } else { reservation.available() };
        self.on_demand_price_of(reservation.type_index).unwrap_or_default().scaled(idle.into(), 1)
    }

    /// What reservations have cost up to now.
    pub(crate) fn reservation_fees(&self) -> ReservationFees {
        ReservationFees {
            idle: self.reservations().map(|reservation| self.idle_cost_of(reservation)).sum(),
            upfront: self.reservations().filter_map(|one| one.upfront).map(Amount::at_once).sum(),
        }
    }
}
