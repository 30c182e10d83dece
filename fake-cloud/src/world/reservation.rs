//! Capacity reservations: machines that are kept ready, and paid for, whether they run or not.

use super::{
    CloudError, EventKind, InstanceState, LaunchSettings, Market, Price, ReservedMarket, ResourceKind, StateReason,
    Tags, TypeIndex, World, Zone,
    capacity::PoolKey,
    capacity_block::BlockOffer,
    future_reservation::{ASSESSMENT, Commitment},
    idle::IdleMeter,
    interruptible::{Allocation, Interruptible, lends},
    tags,
    token::{Outcome, fingerprint},
};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// Machines of one reservation, and reservations of an account, in EC2's limits.
const MAX_COUNT: u32 = 1_000;
const MAX_RESERVATIONS: usize = 10_000;
/// Machines of a capacity block begin to end so long before it does, and a warning comes before that.
const BLOCK_RECLAIM: SignedDuration = SignedDuration::from_mins(30);
const BLOCK_WARNING: SignedDuration = SignedDuration::from_mins(40);
/// A reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// E.g. `cr-0123456789abcdef0`.
    pub id: String,
    /// What is reserved.
    pub machine_type: &'static str,
    pub(crate) type_index: TypeIndex,
    /// Where.
    pub zone: Zone,
    /// How many machines.
    pub total: u32,
    /// How many of them run, or are being started or ended.
    pub used: u32,
    /// Whether it is good.
    pub state: ReservationState,
    /// Whether it is a capacity block.
    pub block: bool,
    /// What an interruptible one is about; other reservations are not.
    pub interruptible: Option<Interruptible>,
    /// What is lent from it to an interruptible one.
    pub allocation: Option<Allocation>,
    /// What was promised for one that begins later.
    pub commitment: Option<Commitment>,
    /// Whether launches use it without naming it.
    pub open: bool,
    /// Since when it is, or from when on.
    pub start: Timestamp,
    /// Until when; for ever if not given.
    pub end: Option<Timestamp>,
    /// When it was made.
    pub created: Timestamp,
    /// `Linux/UNIX`, `Windows`, …
    pub platform: String,
    /// `default` or `dedicated`.
    pub tenancy: String,
    /// What a block cost in advance.
    pub upfront: Option<Price>,
    /// Its tags.
    pub tags: Tags,
    pub(crate) meter: IdleMeter,
}

impl Reservation {
    /// How many machines can be started in it.
    pub fn available(&self) -> u32 {
        if self.state != ReservationState::Active {
            return 0;
        }
        // Machines that are being taken back are not started again.
        let kept = self.interruptible.as_ref().map_or(self.total, |own| own.target.min(self.total));
        kept.saturating_sub(self.used + self.lent())
    }

    /// How many of its machines are lent to an interruptible reservation.
    pub(crate) fn lent(&self) -> u32 {
        self.allocation.as_ref().map_or(0, |allocation| allocation.count)
    }

    /// The market of its machines, if it has one of its own.
    pub(crate) fn market(&self) -> Option<ReservedMarket> {
        let interruptible = || self.interruptible.as_ref().map(|_| ReservedMarket::Interruptible);
        if self.block { Some(ReservedMarket::CapacityBlock) } else { interruptible() }
    }
}

/// Whether a reservation is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReservationState {
    /// Whether it can be had at a later time is being looked at.
    Assessing,
    /// It cannot.
    Unsupported,
    /// From a later time on.
    Scheduled,
    /// That time has come, and there is no room yet.
    Delayed,
    /// Now.
    Active,
    /// Not any more: its time is over.
    Expired,
    /// Not any more: somebody gave it back.
    Cancelled,
}

impl ReservationState {
    /// EC2's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Assessing => "assessing",
            Self::Unsupported => "unsupported",
            Self::Scheduled => "scheduled",
            Self::Delayed => "delayed",
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A request for a reservation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReservationRequest {
    /// Idempotency token.
    pub token: Option<String>,
    /// Check everything, reserve nothing.
    pub dry_run: bool,
    /// The type's name.
    pub machine_type: String,
    /// The zone's name.
    pub zone: String,
    /// How many machines.
    pub count: u32,
    /// Whether launches have to name it.
    pub targeted: bool,
    /// Until when; for ever if not given.
    pub end: Option<Timestamp>,
    /// From when on, if not from now on, and for how many seconds at least.
    pub later: Option<(Timestamp, i64)>,
    /// `Linux/UNIX`, `Windows`, …
    pub platform: String,
    /// `default` or `dedicated`.
    pub tenancy: String,
    /// Tags: specifications for `capacity-reservation`.
    pub tags: Vec<super::TagSpecification>,
}

/// Reservations of the account.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reservations {
    pub(crate) by_id: BTreeMap<String, Reservation>,
    pub(crate) offers: BTreeMap<String, BlockOffer>,
    made: u64,
}

/// What a launch draws from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The pool, as everybody.
    Pool,
    /// This reservation.
    Reservation(String),
}

impl World {
    /// Reserves machines.
    ///
    /// # Errors
    /// There is no room for them, or the request is wrong.
    pub fn create_reservation(&mut self, request: &ReservationRequest) -> Result<String, CloudError> {
        let print = fingerprint(request);
        let token = request.token.as_deref();
        let known = self.tokens.recall(self.now, "CreateCapacityReservation", token, print)?;
        if let Some(Outcome::Reservation(id)) = known {
            return Ok(id);
        }
        let (type_index, zone) = self.reserved_place(&request.machine_type, &request.zone)?;
        check_count(request.count)?;
        tags::check_specifications(&request.tags)?;
        if request.end.is_some_and(|end| end <= self.now) {
            return Err(invalid("EndDate", request.end.map(|end| end.to_string()), "a time to come"));
        }
        let key = PoolKey { type_index, zone, market: Market::OnDemand };
        let commitment = request.later.map(|later| self.commitment(request, type_index, later)).transpose()?;
        if commitment.is_none() {
            self.room_for(key, request.count)?;
        }
        if request.dry_run {
            return Err(CloudError::DryRun);
        }
        let id = self.next_reservation_id()?;
        if commitment.is_none() {
            (0..request.count).for_each(|_| self.take_room(key));
        }
        let reservation = Reservation {
            id: id.clone(),
            machine_type: self.catalogue.at(type_index).name,
            type_index,
            zone: self.zones[zone].clone(),
            total: request.count,
            used: 0,
            state: if commitment.is_some() { ReservationState::Assessing } else { ReservationState::Active },
            block: false,
            interruptible: None,
            allocation: None,
            start: commitment.map_or(self.now, |commitment| commitment.start),
            commitment,
            open: !request.targeted,
            end: request.end,
            created: self.now,
            platform: request.platform.clone(),
            tenancy: request.tenancy.clone(),
            upfront: None,
            tags: tags::tags_for(&request.tags, "capacity-reservation"),
            meter: IdleMeter::new(self.now),
        };
        self.add_reservation(reservation);
        self.tokens.remember(self.now, "CreateCapacityReservation", token, print, Outcome::Reservation(id.clone()));
        Ok(id)
    }

    pub(crate) fn reserved_place(&self, machine_type: &str, zone: &str) -> Result<(TypeIndex, usize), CloudError> {
        let type_index = self.catalogue.index_of(machine_type).ok_or_else(|| self.unknown_type(machine_type))?;
        let zone = self.zone_index(zone).ok_or_else(|| self.unknown_zone(zone))?;
        Ok((type_index, zone))
    }

    /// Whether the pool and the quota have room for `count` machines more.
    pub(crate) fn room_for(&self, key: PoolKey, count: u32) -> Result<(), CloudError> {
        self.room(key, None)?;
        if self.pool_free(key).is_some_and(|free| free < count) {
            return Err(self.insufficient(key));
        }
        let machine_type = self.catalogue.at(key.type_index);
        match self.quotas.exceeded_by_many(machine_type, key.market, count) {
            Some(limit) => {
                let class = super::QuotaClass::of(machine_type);
                Err(CloudError::QuotaExceeded { market: key.market, class, limit })
            }
            None => Ok(()),
        }
    }

    pub(crate) fn next_reservation_id(&mut self) -> Result<String, CloudError> {
        if self.reservations.by_id.len() >= MAX_RESERVATIONS {
            return Err(CloudError::LimitExceeded { what: "capacity reservations", limit: MAX_RESERVATIONS });
        }
        self.reservations.made += 1;
        let number = self.reservations.made.to_string();
        Ok(format!("cr-0{}", self.seed.stream(&["capacity-reservation", &number]).hex(16)))
    }

    pub(crate) fn add_reservation(&mut self, reservation: Reservation) {
        let id = reservation.id.clone();
        let begins = (reservation.state == ReservationState::Scheduled).then_some(reservation.start);
        let assessed = (reservation.state == ReservationState::Assessing).then_some(self.now + ASSESSMENT);
        let ends = reservation.end.into_iter().flat_map(|end| {
            let early = [BLOCK_WARNING, BLOCK_RECLAIM].map(|before| end - before);
            early.into_iter().filter(|_| reservation.block).chain([end])
        });
        self.due.extend(begins.into_iter().chain(assessed).chain(ends).map(|at| (at, id.clone())));
        self.reservations.by_id.insert(id, reservation);
        self.changed();
    }

    /// What is due for a reservation now.
    pub(crate) fn pass_reservation(&mut self, id: &str) {
        let Some(reservation) = self.reservations.by_id.get(id) else { return };
        let (now, zone) = (self.now, reservation.zone.name.to_owned());
        match reservation.state {
            ReservationState::Assessing => self.assess(id),
            ReservationState::Scheduled | ReservationState::Delayed if !reservation.block => self.deliver(id),
            ReservationState::Scheduled if reservation.start <= now => {
                self.change_reservation(id, |reservation| reservation.state = ReservationState::Active);
                self.tell(id.to_owned(), zone, EventKind::BlockDelivered);
            }
            ReservationState::Active => {
                let Some(end) = reservation.end else { return };
                if end <= now {
                    self.end_reservation(id, ReservationState::Expired);
                } else if reservation.block && end - BLOCK_RECLAIM <= now {
                    self.reclaim(id);
                } else if reservation.block && end - BLOCK_WARNING <= now {
                    self.tell(id.to_owned(), zone, EventKind::BlockExpiring { end });
                }
            }
            ReservationState::Scheduled
            | ReservationState::Delayed
            | ReservationState::Unsupported
            | ReservationState::Expired
            | ReservationState::Cancelled => {}
        }
        self.changed();
    }

    /// Ends the machines of a capacity block.
    fn reclaim(&mut self, id: &str) {
        for instance in self.instances_in(id) {
            if matches!(self.instances[&instance].state, InstanceState::Pending | InstanceState::Running) {
                self.enter(&instance, InstanceState::ShuttingDown, Some(StateReason::BlockEnded));
            }
        }
    }

    pub(crate) fn instances_in(&self, id: &str) -> Vec<String> {
        let inside = self.instances.values().filter(|instance| instance.reservation.as_deref() == Some(id));
        inside.map(|instance| instance.id.clone()).collect()
    }

    /// The reservation is over: its machines run on as bought on demand, and what was kept ready goes back to the pool.
    fn end_reservation(&mut self, id: &str, state: ReservationState) {
        self.reclaim_if_block(id);
        let inside = self.instances_in(id);
        let had_room = self.reservations.by_id.get(id).is_some_and(|one| one.state == ReservationState::Active);
        self.change_reservation(id, |reservation| reservation.state = state);
        let Some(reservation) = self.reservations.by_id.get(id) else { return };
        let (unused, block) = (reservation.total - reservation.used.min(reservation.total), reservation.block);
        let key = self.reservation_pool(id);
        if !block && had_room {
            (0..unused).for_each(|_| self.give_room_back(key));
            for instance in inside {
                // The machine keeps the room that the reservation had for it.
                self.instances.entry(instance).and_modify(|instance| instance.reservation = None);
            }
            self.change_reservation(id, |reservation| reservation.used = 0);
        }
        self.changed();
    }

    fn reclaim_if_block(&mut self, id: &str) {
        if self.reservations.by_id.get(id).is_some_and(|reservation| reservation.block) {
            self.reclaim(id);
        }
    }

    pub(crate) fn reservation_pool(&self, id: &str) -> PoolKey {
        let reservation = &self.reservations.by_id[id];
        let zone = self.zone_index(reservation.zone.name).unwrap_or_default();
        PoolKey { type_index: reservation.type_index, zone, market: Market::OnDemand }
    }

    /// Gives a reservation back.
    ///
    /// # Errors
    /// It does not exist or is over; it is a capacity block, has to do with lent machines, or was promised for longer.
    pub fn cancel_reservation(&mut self, id: &str) -> Result<(), CloudError> {
        let reservation = self.reservation(id)?;
        let given_back = match reservation.state {
            ReservationState::Assessing | ReservationState::Delayed => true,
            ReservationState::Active => !self.is_committed(reservation),
            // Before it begins EC2 wants a quote of what that costs.
            ReservationState::Scheduled
            | ReservationState::Unsupported
            | ReservationState::Expired
            | ReservationState::Cancelled => false,
        };
        if reservation.block || reservation.interruptible.is_some() || reservation.lent() > 0 || !given_back {
            return Err(CloudError::WrongReservationState { id: id.to_owned(), state: reservation.state.as_str() });
        }
        self.end_reservation(id, ReservationState::Cancelled);
        Ok(())
    }

    /// Changes how many machines a reservation holds, and until when (`Some(None)`: for ever).
    ///
    /// # Errors
    /// It does not exist, is over or is a capacity block; there is no room; or more machines of it run.
    pub fn modify_reservation(
        &mut self,
        id: &str,
        count: Option<u32>,
        end: Option<Option<Timestamp>>,
    ) -> Result<(), CloudError> {
        let reservation = self.reservation(id)?;
        if reservation.block || reservation.state != ReservationState::Active {
            return Err(CloudError::WrongReservationState { id: id.to_owned(), state: reservation.state.as_str() });
        }
        if reservation.interruptible.is_some() || (reservation.lent() > 0 && end.flatten().is_some()) {
            return Err(lends(id));
        }
        let (total, used, key) = (reservation.total, reservation.used + reservation.lent(), self.reservation_pool(id));
        let committed = self.is_committed(reservation);
        if let Some(count) = count {
            check_count(count)?;
            if count < used {
                return Err(invalid("InstanceCount", Some(count.to_string()), "at least as many as run in it"));
            }
            if committed && count < total {
                return Err(invalid("InstanceCount", Some(count.to_string()), "at least as many as were committed to"));
            }
            if count > total {
                self.room_for(key, count - total)?;
            }
            (total..count).for_each(|_| self.take_room(key));
            (count..total).for_each(|_| self.give_room_back(key));
        }
        if let Some(Some(end)) = end {
            self.due.insert((end, id.to_owned()));
        }
        self.change_reservation(id, |reservation| {
            reservation.total = count.unwrap_or(total);
            reservation.end = end.unwrap_or(reservation.end);
        });
        self.changed();
        Ok(())
    }

    /// The reservations, by id.
    pub fn reservations(&self) -> impl Iterator<Item = &Reservation> {
        self.reservations.by_id.values()
    }

    /// The reservation of that id.
    ///
    /// # Errors
    /// It does not exist.
    pub fn reservation(&self, id: &str) -> Result<&Reservation, CloudError> {
        let unknown = || CloudError::NotFound { kind: ResourceKind::Reservation, id: id.to_owned() };
        self.reservations.by_id.get(id).ok_or_else(unknown)
    }

    /// What a launch draws from: the reservation that it names, or an open one that fits, or the pool.
    pub(crate) fn launch_source(&self, settings: &LaunchSettings, key: PoolKey) -> Result<Source, CloudError> {
        let fits = |reservation: &&Reservation| {
            reservation.type_index == key.type_index && reservation.zone.name == self.zones[key.zone].name
        };
        if let Some(id) = &settings.reservation_id {
            let reservation = self.reservation(id)?;
            if reservation.market() != settings.reserved_market {
                let reason = format!("The market type of the request does not fit the capacity reservation '{id}'.");
                return Err(CloudError::InvalidCombination { reason });
            }
            if !fits(&reservation) || reservation.available() == 0 {
                return Err(CloudError::ReservationFull { id: id.clone() });
            }
            return Ok(Source::Reservation(id.clone()));
        }
        if let Some(market) = settings.reserved_market {
            let reason = format!(
                "Machines of market type {} name their reservation in CapacityReservationTarget.",
                market.as_str()
            );
            return Err(CloudError::InvalidCombination { reason });
        }
        let open = key.market == Market::OnDemand
            && matches!(settings.reservation_preference.as_deref(), None | Some("open" | "capacity-reservations-only"));
        let matching =
            self.reservations().filter(fits).find(|reservation| reservation.open && reservation.available() > 0);
        match matching.filter(|_| open) {
            Some(reservation) => Ok(Source::Reservation(reservation.id.clone())),
            None if settings.reservation_preference.as_deref() == Some("capacity-reservations-only") => {
                Err(CloudError::ReservationFull { id: "open".to_owned() })
            }
            None => Ok(Source::Pool),
        }
    }

    pub(crate) fn take_reserved(&mut self, id: &str) {
        self.change_reservation(id, |reservation| reservation.used += 1);
    }

    pub(crate) fn give_reserved_back(&mut self, id: &str) {
        self.change_reservation(id, |reservation| {
            reservation.used = reservation.used.saturating_sub(1);
        });
        self.return_lent(id);
    }

    pub(crate) fn take_room(&mut self, key: PoolKey) {
        self.pools.take(key);
        self.quotas.take(self.catalogue.at(key.type_index), key.market);
    }

    fn give_room_back(&mut self, key: PoolKey) {
        self.pools.give_back(key);
        self.quotas.give_back(self.catalogue.at(key.type_index), key.market);
    }
}

pub(crate) fn check_count(count: u32) -> Result<(), CloudError> {
    if (1..=MAX_COUNT).contains(&count) {
        return Ok(());
    }
    Err(invalid("InstanceCount", Some(count.to_string()), "1 to 1000"))
}

pub(crate) fn invalid(name: &str, value: Option<String>, expected: &str) -> CloudError {
    let value = value.unwrap_or_default();
    CloudError::InvalidParameter { name: name.to_owned(), value, expected: expected.to_owned() }
}
