//! Capacity blocks: reservations for a time, offered, and paid in advance.

use super::{
    CloudError, Price, Reservation, ReservationState, ResourceKind, Tags, TypeIndex, World, Zone,
    idle::IdleMeter,
    reservation::{check_count, invalid},
    tags,
};
use jiff::{SignedDuration, Timestamp};

/// Capacity blocks are sold by days, at most so many machines each, and for so long.
const BLOCK_MAX_COUNT: u32 = 64;
const BLOCK_DAY: u32 = 24;
const BLOCK_MAX_HOURS: u32 = 182 * BLOCK_DAY;
/// They begin at most so far ahead.
const BLOCK_AHEAD: SignedDuration = SignedDuration::from_hours(8 * 7 * 24);
/// An offer holds so long after it was made.
const OFFER_HOLDS: SignedDuration = SignedDuration::from_mins(10);

/// A capacity block that can be bought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockOffer {
    /// E.g. `cbr-0123456789abcdef0`.
    pub id: String,
    /// What.
    pub machine_type: &'static str,
    /// Where.
    pub zone: Zone,
    /// How many machines.
    pub count: u32,
    /// For how long.
    pub hours: u32,
    /// From when on.
    pub start: Timestamp,
    /// Until when.
    pub end: Timestamp,
    /// What it costs, in advance.
    pub upfront: Price,
    pub(crate) type_index: TypeIndex,
    pub(crate) made: Timestamp,
}

impl World {
    /// Capacity blocks that can be bought: of a type, so many machines for so many hours, beginning in a range of time. One
    /// for each zone that offers the type, as soon as possible, from half past eleven to half past eleven.
    ///
    /// # Errors
    /// The type has no capacity blocks, or the duration or number is none that is sold.
    pub fn block_offers(
        &mut self,
        machine_type: &str,
        count: u32,
        hours: u32,
        range: (Option<Timestamp>, Option<Timestamp>),
    ) -> Result<Vec<BlockOffer>, CloudError> {
        let type_index = self.catalogue.index_of(machine_type).ok_or_else(|| self.unknown_type(machine_type))?;
        if !self.catalogue.at(type_index).usage_classes.contains(&"capacity-block") {
            return Err(invalid("InstanceType", Some(machine_type.to_owned()), "a type with capacity blocks"));
        }
        let days = hours / BLOCK_DAY;
        let sold = hours.is_multiple_of(BLOCK_DAY)
            && (1..=BLOCK_MAX_HOURS).contains(&hours)
            && (days <= 14 || days.is_multiple_of(7));
        if !sold {
            return Err(invalid("CapacityDurationHours", Some(hours.to_string()), "24 to 336 by days, then by weeks"));
        }
        if count == 0 || count > BLOCK_MAX_COUNT {
            return Err(invalid("InstanceCount", Some(count.to_string()), "1 to 64"));
        }
        let start = next_half_past_eleven(range.0.unwrap_or(self.now).max(self.now));
        if range.1.is_some_and(|latest| start > latest) || start > self.now + BLOCK_AHEAD {
            return Ok(Vec::new());
        }
        let price = self.on_demand_price_of(type_index).unwrap_or_default();
        let name = self.catalogue.at(type_index).name;
        let zones: Vec<Zone> = self.zones.iter().filter(|zone| self.is_offered(type_index, zone)).cloned().collect();
        let offer = |zone: Zone| {
            let path = ["block", name, zone.name, &count.to_string(), &hours.to_string(), &start.to_string()];
            BlockOffer {
                id: format!("cbr-0{}", self.seed.stream(&path).hex(16)),
                machine_type: name,
                zone,
                count,
                hours,
                start,
                end: start + SignedDuration::from_hours(hours.into()),
                upfront: price.scaled(u64::from(count) * u64::from(hours), 1),
                type_index,
                made: self.now,
            }
        };
        let offers: Vec<BlockOffer> = zones.into_iter().map(offer).collect();
        let now = self.now;
        self.reservations.offers.retain(|_, offer| offer.made + OFFER_HOLDS >= now);
        self.reservations.offers.extend(offers.iter().map(|offer| (offer.id.clone(), offer.clone())));
        Ok(offers)
    }

    /// Buys a capacity block that was offered.
    ///
    /// # Errors
    /// There is no such offer any more.
    pub fn purchase_block(
        &mut self,
        offer: &str,
        platform: &str,
        tags: &[super::TagSpecification],
    ) -> Result<String, CloudError> {
        tags::check_specifications(tags)?;
        let unknown = || CloudError::NotFound { kind: ResourceKind::BlockOffer, id: offer.to_owned() };
        let offer = self.reservations.offers.remove(offer).ok_or_else(unknown)?;
        let BlockOffer { machine_type, zone, count, start, end, upfront, type_index, .. } = offer;
        let block = NewBlock { type_index, zone, count, start, end, upfront, platform: platform.to_owned() };
        let tags = tags::tags_for(tags, "capacity-reservation");
        self.add_block(machine_type, block, tags)
    }

    fn add_block(&mut self, machine_type: &'static str, block: NewBlock, tags: Tags) -> Result<String, CloudError> {
        let id = self.next_reservation_id()?;
        let NewBlock { type_index, zone, count, start, end, upfront, platform } = block;
        let active = start <= self.now;
        self.add_reservation(Reservation {
            id: id.clone(),
            machine_type,
            type_index,
            zone,
            total: count,
            used: 0,
            state: if active { ReservationState::Active } else { ReservationState::Scheduled },
            block: true,
            interruptible: None,
            allocation: None,
            commitment: None,
            open: false,
            start,
            end: Some(end),
            created: self.now,
            platform,
            tenancy: "default".to_owned(),
            upfront: Some(upfront),
            tags,
            meter: IdleMeter::new(self.now),
        });
        Ok(id)
    }

    /// A capacity block that a script gives the account: from now or later, for as long as wanted.
    ///
    /// # Errors
    /// The type or zone is unknown, or the number or times are wrong.
    pub fn grant_block(
        &mut self,
        machine_type: &str,
        zone: &str,
        count: u32,
        (start, end): (Timestamp, Timestamp),
        tags: Tags,
    ) -> Result<String, CloudError> {
        let (type_index, zone) = self.reserved_place(machine_type, zone)?;
        check_count(count)?;
        tags::check_tags(&tags)?;
        if end <= start.max(self.now) {
            return Err(invalid("end", Some(end.to_string()), "a time after now and after the start"));
        }
        let zone = self.zones[zone].clone();
        let (upfront, platform) = (Price::default(), "Linux/UNIX".to_owned());
        let name = self.catalogue.at(type_index).name;
        self.add_block(name, NewBlock { type_index, zone, count, start, end, upfront, platform }, tags)
    }
}

/// A capacity block to be made.
struct NewBlock {
    type_index: TypeIndex,
    zone: Zone,
    count: u32,
    start: Timestamp,
    end: Timestamp,
    upfront: Price,
    platform: String,
}

/// Capacity blocks begin and end at 11:30 UTC.
fn next_half_past_eleven(after: Timestamp) -> Timestamp {
    const DAY: i64 = 86_400;
    const HALF_PAST_ELEVEN: i64 = 41_400;
    let second = after.as_second() - HALF_PAST_ELEVEN;
    let next = (second.div_euclid(DAY) + 1) * DAY + HALF_PAST_ELEVEN;
    Timestamp::from_second(next).unwrap_or(after)
}
