//! What machines cost: the price list for on-demand, the price history for spot (spec aws 2.7).

use super::{
    call::{Calls, all_pages},
    error::unusable,
    facts::fallback_prices,
    sdk::Clients,
};
use crate::cloud::CloudError;
use aws_sdk_ec2::types::SpotPrice;
use aws_sdk_pricing::types::{Filter, FilterType};
use jiff::Timestamp;
use sawhorse_core::model::Price;
use serde_json::Value;
use std::collections::BTreeMap;

/// Products per page: the most that GetProducts gives.
const PRODUCTS_PER_PAGE: i32 = 100;
/// Rows per page of the spot price history, as the reference asks for.
const SPOT_PRICES_PER_PAGE: i32 = 2_000;

/// Prices as they are known now.
#[derive(Clone, Debug)]
pub(super) struct Prices {
    /// By type.
    on_demand: BTreeMap<String, Price>,
    /// By type and zone; none until the history has been read for the first time.
    spot: Option<BTreeMap<String, BTreeMap<String, Price>>>,
}

impl Default for Prices {
    /// What is known before the cloud has been asked: the built-in table.
    fn default() -> Self {
        Self { on_demand: fallback_prices(), spot: None }
    }
}

impl Prices {
    /// The on-demand price of `instance_type`.
    pub(super) fn on_demand(&self, instance_type: &str) -> Option<Price> {
        self.on_demand.get(instance_type).copied()
    }

    /// The spot price of `instance_type` in `zone`. Until the history has been read it is taken to be the on-demand price;
    /// afterwards a pool without a row has no price and so cannot be bought.
    pub(super) fn spot(&self, instance_type: &str, zone: &str) -> Option<Price> {
        match &self.spot {
            None => self.on_demand(instance_type),
            Some(spot) => spot.get(instance_type)?.get(zone).copied(),
        }
    }

    /// Takes over newer on-demand prices; types that they do not name keep theirs.
    pub(super) fn merge_on_demand(&mut self, newer: BTreeMap<String, Price>) {
        self.on_demand.extend(newer);
    }

    /// Replaces the spot prices.
    pub(super) fn replace_spot(&mut self, rows: impl IntoIterator<Item = SpotRow>) {
        let mut latest: BTreeMap<String, BTreeMap<String, SpotRow>> = BTreeMap::new();
        for row in rows {
            let of_type = latest.entry(row.instance_type.clone()).or_default();
            let newer = of_type.get(&row.zone).is_none_or(|known| known.at < row.at);
            if newer {
                of_type.insert(row.zone.clone(), row);
            }
        }
        let by_zone = |rows: BTreeMap<String, SpotRow>| rows.into_iter().map(|(zone, row)| (zone, row.price)).collect();
        self.spot = Some(latest.into_iter().map(|(name, rows)| (name, by_zone(rows))).collect());
    }
}

/// One row of the spot price history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SpotRow {
    pub(super) instance_type: String,
    pub(super) zone: String,
    pub(super) price: Price,
    /// Since when, in seconds of the epoch.
    pub(super) at: i64,
}

impl SpotRow {
    fn read(row: &SpotPrice) -> Option<Self> {
        Some(Self {
            instance_type: row.instance_type()?.as_str().to_owned(),
            zone: row.availability_zone()?.to_owned(),
            price: row.spot_price()?.parse().ok()?,
            at: row.timestamp().map_or(0, |at| at.secs()),
        })
    }
}

/// Reads the price list of `region`: machines shared with others, and bare metal, which is listed as dedicated.
pub(super) async fn read_on_demand(
    calls: &Calls,
    clients: &Clients,
    region: &str,
) -> Result<BTreeMap<String, Price>, CloudError> {
    let mut prices = BTreeMap::new();
    for (tenancy, family) in [("Shared", "Compute Instance"), ("Dedicated", "Compute Instance (bare metal)")] {
        let products = read_products(calls, clients, &product_filters(region, tenancy, family)).await?;
        let read: BTreeMap<_, _> = products.iter().filter_map(|product| product_price(product)).collect();
        if read.is_empty() {
            return Err(unusable("GetProducts", format!("no on-demand prices of `{family}` in `{region}`")));
        }
        prices.extend(read);
    }
    Ok(prices)
}

async fn read_products(calls: &Calls, clients: &Clients, filters: &[Filter]) -> Result<Vec<String>, CloudError> {
    all_pages("GetProducts", |token| async move {
        let request = || {
            let request = clients.pricing.get_products().service_code("AmazonEC2").max_results(PRODUCTS_PER_PAGE);
            request.set_filters(Some(filters.to_vec())).set_next_token(token.clone()).send()
        };
        let page = calls.send("GetProducts", request).await?;
        Ok((page.price_list.unwrap_or_default(), page.next_token))
    })
    .await
}

fn product_filters(region: &str, tenancy: &str, family: &str) -> Vec<Filter> {
    let terms = [
        ("regionCode", region),
        ("serviceCode", "AmazonEC2"),
        ("preInstalledSw", "NA"),
        ("operatingSystem", "Linux"),
        ("capacitystatus", "Used"),
        ("marketoption", "OnDemand"),
        ("tenancy", tenancy),
        ("productFamily", family),
    ];
    let filter = |(field, value): (&str, &str)| {
        let filter = Filter::builder().field(field).value(value).r#type(FilterType::TermMatch).build();
        filter.expect("all three fields are given")
    };
    terms.into_iter().map(filter).collect()
}

/// Type and price of one product of the price list, which is JSON in a string; none without a price above zero.
fn product_price(product: &str) -> Option<(String, Price)> {
    let product: Value = serde_json::from_str(product).ok()?;
    let name = product.pointer("/product/attributes/instanceType")?.as_str()?;
    let terms = product.pointer("/terms/OnDemand")?.as_object()?;
    let dimensions = terms.values().filter_map(|term| term.get("priceDimensions")?.as_object());
    let prices = dimensions.flat_map(|dimensions| dimensions.values()).filter_map(dimension_price);
    Some((name.to_owned(), prices.filter(|price| *price > Price::ZERO).min()?))
}

fn dimension_price(dimension: &Value) -> Option<Price> {
    let per_unit = dimension.get("pricePerUnit")?;
    per_unit.get("USD").or_else(|| per_unit.get("CNY"))?.as_str()?.parse().ok()
}

/// Reads the current spot price of every pool.
pub(super) async fn read_spot(calls: &Calls, clients: &Clients, now: Timestamp) -> Result<Vec<SpotRow>, CloudError> {
    let start = aws_smithy_types::DateTime::from_secs(now.as_second());
    let rows = all_pages("DescribeSpotPriceHistory", |token| async move {
        let request = || {
            let request = clients.ec2.describe_spot_price_history().start_time(start).max_results(SPOT_PRICES_PER_PAGE);
            let products = ["Linux/UNIX", "Linux/UNIX (Amazon VPC)"].map(Into::into).to_vec();
            request.set_product_descriptions(Some(products)).set_next_token(token.clone()).send()
        };
        let page = calls.send("DescribeSpotPriceHistory", request).await?;
        Ok((page.spot_price_history().iter().filter_map(SpotRow::read).collect(), page.next_token))
    })
    .await?;
    match rows.is_empty() {
        true => Err(unusable("DescribeSpotPriceHistory", "no spot prices were found".to_owned())),
        false => Ok(rows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(text: &str) -> Price {
        text.parse().unwrap()
    }

    #[rstest::rstest]
    #[case::dollars(r#"{"product":{"attributes":{"instanceType":"m5.large"}},"terms":{"OnDemand":{"x":{"priceDimensions":{"y":{"pricePerUnit":{"USD":"0.0960000000"}}}}}}}"#, Some(("m5.large", "0.096")))]
    #[case::yuan(r#"{"product":{"attributes":{"instanceType":"m5.large"}},"terms":{"OnDemand":{"x":{"priceDimensions":{"y":{"pricePerUnit":{"CNY":"0.7"}}}}}}}"#, Some(("m5.large", "0.7")))]
    #[case::nothing_is_free(r#"{"product":{"attributes":{"instanceType":"m5.large"}},"terms":{"OnDemand":{"x":{"priceDimensions":{"y":{"pricePerUnit":{"USD":"0.0000000000"}}}}}}}"#, None)]
    #[case::not_json("{", None)]
    fn a_product_of_the_price_list(#[case] product: &str, #[case] expected: Option<(&str, &str)>) {
        assert_eq!(product_price(product), expected.map(|(name, text)| (name.to_owned(), price(text))));
    }

    #[test]
    fn spot_costs_as_much_as_on_demand_until_the_history_is_read() {
        let mut prices = Prices::default();
        assert_eq!(prices.spot("m5.large", "us-east-1a"), Some(price("0.096")));
        let row = |zone: &str, text: &str, at| SpotRow {
            instance_type: "m5.large".into(),
            zone: zone.into(),
            price: price(text),
            at,
        };
        prices.replace_spot([row("us-east-1a", "0.04", 2), row("us-east-1a", "0.05", 1)]);
        assert_eq!(prices.spot("m5.large", "us-east-1a"), Some(price("0.04")), "the latest row counts");
        assert_eq!(prices.spot("m5.large", "us-east-1b"), None, "a pool without a row cannot be bought");
    }

    #[test]
    fn newer_on_demand_prices_are_merged() {
        let mut prices = Prices::default();
        prices.merge_on_demand(BTreeMap::from([("m5.large".into(), price("0.1"))]));
        assert_eq!(prices.on_demand("m5.large"), Some(price("0.1")));
        assert_eq!(prices.on_demand("m5.xlarge"), Some(price("0.192")));
    }
}
