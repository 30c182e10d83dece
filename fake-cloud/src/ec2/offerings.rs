//! What is for sale where, and at which spot price: `DescribeInstanceTypeOfferings`, `DescribeSpotPriceHistory`.

use super::{Answer, Call, filter, page::Page, query::Params, xml::Xml};
use crate::world::{Filter, Filterable, Offering, SpotPrice, passes};
use jiff::{SignedDuration, Timestamp};
use std::{borrow::Cow, collections::BTreeSet};

/// Without `StartTime` the history goes back so far (EC2: "the past 90 days").
const HISTORY: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Spot prices are printed with so many decimals.
const DECIMALS: usize = 6;
const LINUX: &str = "Linux/UNIX";

#[derive(Clone, Copy)]
enum LocationType {
    Region,
    Zone,
    ZoneId,
}

const LOCATION_TYPES: &[(&str, LocationType)] = &[
    ("region", LocationType::Region),
    ("availability-zone", LocationType::Zone),
    ("availability-zone-id", LocationType::ZoneId),
];

/// `DescribeInstanceTypeOfferings`: types in the region, or in its zones.
pub(crate) fn describe_instance_type_offerings(call: &Call<'_>, mut params: Params) -> Answer {
    let location_type = params.one_of("LocationType", LOCATION_TYPES)?.unwrap_or(LocationType::Region);
    let filters = filter::take::<Row>(&mut params, false)?;
    let page = Page::take(&mut params, call.action, &(5..=1000))?;
    params.finish()?;
    let rows: BTreeSet<Row> = call.world.offerings().map(|offering| row(call, offering, location_type)).collect();
    let chosen = rows.into_iter().filter(|row| passes(row, &filters));
    let (rows, next) = page.cut(chosen, |row| pool_key(row.machine_type, row.location))?;
    let word = LOCATION_TYPES[location_type as usize].0;
    let mut xml = Xml::new();
    xml.items("instanceTypeOfferingSet", rows, |xml, row| {
        xml.text("instanceType", row.machine_type);
        xml.text("locationType", word);
        xml.text("location", row.location);
    });
    xml.optional("nextToken", next);
    Ok(xml)
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    machine_type: &'static str,
    location: &'static str,
}

fn row(call: &Call<'_>, offering: Offering<'_>, location_type: LocationType) -> Row {
    let location = match location_type {
        LocationType::Region => call.world.region(),
        LocationType::Zone => offering.zone.name,
        LocationType::ZoneId => offering.zone.id,
    };
    Row { machine_type: offering.machine_type.name, location }
}

/// A key that sorts by type and then place: the space is below every character of their names.
fn pool_key(machine_type: &str, place: &str) -> String {
    format!("{machine_type} {place}")
}

/// `DescribeSpotPriceHistory`: the prices that held between two times, so `StartTime=now` gives the current ones.
pub(crate) fn describe_spot_price_history(call: &Call<'_>, mut params: Params) -> Answer {
    let now = call.world.now();
    let query = Query {
        types: params.texts("InstanceType")?,
        zone: params.text("AvailabilityZone"),
        zone_id: params.text("AvailabilityZoneId"),
        products: params.texts("ProductDescription")?,
        from: params.timestamp("StartTime")?.unwrap_or(now - HISTORY),
        to: params.timestamp("EndTime")?.unwrap_or(now),
        filters: filter::take::<SpotPrice>(&mut params, false)?,
    };
    // The documented limit is 1000, but EC2 serves 2000, which clients ask for.
    let page = Page::take(&mut params, call.action, &(1..=2000))?;
    params.finish()?;
    let after = page.after()?;
    let (rows, next) = page.cut(query.rows(call, page.size(), after.as_deref()), price_key)?;
    let mut xml = Xml::new();
    xml.items("spotPriceHistorySet", rows, |xml, row| {
        xml.text("instanceType", row.machine_type);
        xml.text("productDescription", LINUX);
        xml.text("spotPrice", row.price.with_decimals(DECIMALS));
        xml.time("timestamp", row.since);
        xml.text("availabilityZone", row.zone);
        let zone = call.world.zones().iter().find(|zone| zone.name == row.zone);
        xml.optional("availabilityZoneId", zone.map(|zone| zone.id));
    });
    xml.optional("nextToken", next);
    Ok(xml)
}

struct Query {
    types: Vec<String>,
    zone: Option<String>,
    zone_id: Option<String>,
    products: Vec<String>,
    from: Timestamp,
    to: Timestamp,
    filters: Vec<Filter>,
}

impl Query {
    /// The rows by pool, the newest of each first. Computed as they are asked for, some pools at a time: three months of
    /// all pools are millions of rows, a page is a few.
    fn rows<'q>(
        &'q self,
        call: &'q Call<'_>,
        size: usize,
        after: Option<&str>,
    ) -> impl Iterator<Item = SpotPrice> + 'q {
        let linux = self.products.is_empty() || self.products.iter().any(|product| product.starts_with(LINUX));
        let shown = |offering: &Offering<'_>| {
            let key = pool_key(offering.machine_type.name, offering.zone.name);
            linux && self.wants(offering) && after.is_none_or(|after| key.as_str() >= after || after.starts_with(&key))
        };
        let pools: Vec<Offering<'q>> = call.world.offerings().filter(shown).collect();
        let hours = usize::try_from((self.to.duration_since(self.from)).as_hours()).unwrap_or(0);
        let together = size / (hours + 1) + 1;
        let chunks: Vec<Vec<Offering<'q>>> = pools.chunks(together).map(<[_]>::to_vec).collect();
        chunks.into_iter().flat_map(move |pools| self.rows_of(call, &pools)).filter(|row| passes(row, &self.filters))
    }

    fn wants(&self, offering: &Offering<'_>) -> bool {
        (self.types.is_empty() || self.types.iter().any(|name| name == offering.machine_type.name))
            && self.zone.as_ref().is_none_or(|zone| zone == offering.zone.name)
            && self.zone_id.as_ref().is_none_or(|id| id == offering.zone.id)
    }

    fn rows_of(&self, call: &Call<'_>, pools: &[Offering<'_>]) -> Vec<SpotPrice> {
        let wanted: BTreeSet<_> = pools.iter().map(|pool| (pool.machine_type.name, pool.zone.name)).collect();
        call.world.spot_price_history(self.from, self.to, |machine_type, zone| wanted.contains(&(machine_type, zone)))
    }
}

/// Grows along the answer: by pool, and within one from now to then.
fn price_key(row: &SpotPrice) -> String {
    let age = i64::MAX - row.since.as_millisecond();
    format!("{} {age:020}", pool_key(row.machine_type, row.zone))
}

impl Filterable for Row {
    const NAMES: &'static [&'static str] = &["instance-type", "location"];

    fn values(&self, name: &str) -> Vec<Cow<'_, str>> {
        match name {
            "instance-type" => vec![self.machine_type.into()],
            "location" => vec![self.location.into()],
            _ => Vec::new(),
        }
    }
}
