//! Reservations that begin later: looked at first, then scheduled, and delivered when their time has come and there is room.

use super::{CloudError, Reservation, ReservationRequest, ReservationState, TypeIndex, World, reservation::invalid};
use jiff::{SignedDuration, Timestamp};

/// How long EC2 looks at a request before it says whether it can be met. (EC2 takes up to five days.)
pub(crate) const ASSESSMENT: SignedDuration = SignedDuration::from_hours(1);
/// When such a reservation can begin, counted from its request.
const EARLIEST: SignedDuration = SignedDuration::from_hours(5 * 24);
const LATEST: SignedDuration = SignedDuration::from_hours(120 * 24);
/// For how long it has to be kept at least, and for how many vCPUs it is.
const MIN_COMMITMENT_SECONDS: i64 = 14 * 86_400;
const MAX_COMMITMENT_SECONDS: i64 = 3 * 365 * 86_400;
const MIN_VCPUS: u32 = 32;
/// How long after a failure to deliver it is tried again.
const RETRY: SignedDuration = SignedDuration::from_mins(15);

/// What was promised of a reservation that begins later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commitment {
    /// From when on.
    pub start: Timestamp,
    /// For how long at least.
    pub seconds: i64,
    /// Until when; known once the machines are there.
    pub end: Option<Timestamp>,
}

impl World {
    /// What a request for later promises.
    pub(crate) fn commitment(
        &self,
        request: &ReservationRequest,
        type_index: TypeIndex,
        (start, seconds): (Timestamp, i64),
    ) -> Result<Commitment, CloudError> {
        let ahead = start.duration_since(self.now);
        if !(EARLIEST..=LATEST).contains(&ahead) {
            return Err(invalid("StartDate", Some(start.to_string()), "a time 5 to 120 days from now"));
        }
        if !(MIN_COMMITMENT_SECONDS..=MAX_COMMITMENT_SECONDS).contains(&seconds) {
            return Err(invalid("CommitmentDuration", Some(seconds.to_string()), "seconds of 14 days at least"));
        }
        let vcpus = self.catalogue.at(type_index).cpu.vcpus.saturating_mul(request.count);
        if vcpus < MIN_VCPUS {
            return Err(invalid("InstanceCount", Some(request.count.to_string()), "machines of 32 vCPUs at least"));
        }
        if request.end.is_some_and(|end| end < start + SignedDuration::from_secs(seconds)) {
            return Err(invalid("EndDate", request.end.map(|end| end.to_string()), "a time after the commitment"));
        }
        Ok(Commitment { start, seconds, end: None })
    }

    /// Says whether a request for later can be met: not if its pool is smaller than that.
    pub(crate) fn assess(&mut self, id: &str) {
        let Some(Reservation { total, start, .. }) = self.reservations.by_id.get(id) else { return };
        let (total, start) = (*total, *start);
        let size = self.pool_limit(self.reservation_pool(id));
        let possible = size.is_none_or(|size| size >= total);
        let state = if possible { ReservationState::Scheduled } else { ReservationState::Unsupported };
        self.change_reservation(id, |reservation| reservation.state = state);
        if possible {
            self.due.insert((start, id.to_owned()));
        }
    }

    /// Delivers the machines if their time has come and there is room; otherwise tries again later.
    pub(crate) fn deliver(&mut self, id: &str) {
        let Some(Reservation { total, start, end, .. }) = self.reservations.by_id.get(id) else { return };
        let (total, start, end, now) = (*total, *start, *end, self.now);
        if start > now {
            return;
        }
        if end.is_some_and(|end| end <= now) {
            self.change_reservation(id, |reservation| reservation.state = ReservationState::Expired);
            return;
        }
        let key = self.reservation_pool(id);
        if self.room_for(key, total).is_err() {
            self.change_reservation(id, |reservation| reservation.state = ReservationState::Delayed);
            self.due.insert((now + RETRY, id.to_owned()));
            return;
        }
        (0..total).for_each(|_| self.take_room(key));
        self.change_reservation(id, |reservation| {
            // EC2 waives the commitment of a delivery that was late.
            let late = reservation.state == ReservationState::Delayed;
            reservation.state = ReservationState::Active;
            reservation.commitment = reservation.commitment.filter(|_| !late).map(|commitment| Commitment {
                end: Some(now + SignedDuration::from_secs(commitment.seconds)),
                ..commitment
            });
        });
    }

    /// Whether the time for which it has to be kept is not over.
    pub(crate) fn is_committed(&self, reservation: &Reservation) -> bool {
        reservation.commitment.and_then(|commitment| commitment.end).is_some_and(|end| end > self.now)
    }
}
