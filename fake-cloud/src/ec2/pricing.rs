//! The price list: `GetProducts` of AmazonEC2, on-demand only.

use super::{Call, JsonAnswer, error::Refusal, page::Page, ssm::read};
use crate::world::{MachineType, Price};
use sawhorse_ambient::Seed;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The API's largest page, which is also the size when none is asked for.
const PAGE_MAX: u32 = 100;
/// More filters than the list has attributes are a mistake.
const FILTERS_MAX: usize = 50;
/// The SKU suffix and the rate code of on-demand terms in the real list.
const ON_DEMAND_TERM: &str = "JRTCKXETXF";
const HOURLY_RATE: &str = "6YS6EN2CT7";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Request {
    service_code: String,
    #[serde(default)]
    filters: Vec<Filter>,
    format_version: Option<String>,
    next_token: Option<String>,
    max_results: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Filter {
    r#type: FilterType,
    field: String,
    value: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum FilterType {
    TermMatch,
    Equals,
    Contains,
    AnyOf,
    NoneOf,
}

impl Filter {
    fn passes(&self, value: &str) -> bool {
        let mut listed = self.value.split(',').map(str::trim);
        match self.r#type {
            FilterType::TermMatch | FilterType::Equals => self.value == value,
            FilterType::Contains => value.contains(&self.value),
            FilterType::AnyOf => listed.any(|one| one == value),
            FilterType::NoneOf => listed.all(|one| one != value),
        }
    }
}

/// `GetProducts`: each product is a JSON document in a string.
pub(crate) fn get_products(call: &Call<'_>, body: Value) -> JsonAnswer {
    let request: Request = read(body)?;
    if request.service_code != "AmazonEC2" {
        return Err(invalid(format!("Service code `{}` is not served: use AmazonEC2", request.service_code)));
    }
    if request.format_version.as_deref().is_some_and(|version| version != "aws_v1") {
        return Err(invalid("FormatVersion can only be aws_v1".to_owned()));
    }
    let size = request.max_results.unwrap_or(PAGE_MAX);
    if !(1..=PAGE_MAX).contains(&size) {
        return Err(invalid(format!("MaxResults can be 1 to {PAGE_MAX}, not {size}")));
    }
    if request.filters.len() > FILTERS_MAX {
        return Err(invalid(format!("At most {FILTERS_MAX} filters are allowed")));
    }
    let scope = request.filters.iter().fold(call.action.to_owned(), |scope, filter| {
        format!("{scope}\n{} {}={}", filter.r#type as u8, filter.field, filter.value)
    });
    let page = Page::new(&scope, size, request.next_token);
    let products = products(call).into_iter().filter(|product| product.passes(&request.filters));
    let (products, next) = page.cut(products, |product| product.key.clone())?;
    let list: Vec<String> = products.iter().map(|product| product.document(call).to_string()).collect();
    Ok(json!({"FormatVersion": "aws_v1", "PriceList": list, "NextToken": next}))
}

fn invalid(message: String) -> Refusal {
    Refusal::bad("InvalidParameterException", message)
}

/// A machine type for sale in a region.
struct Product {
    /// Region and type: the order of the list.
    key: String,
    region: &'static str,
    attributes: BTreeMap<&'static str, String>,
    family: &'static str,
    price: Price,
}

fn products(call: &Call<'_>) -> Vec<Product> {
    let catalogue = call.world.catalogue();
    let mut products = Vec::new();
    for region in catalogue.regions() {
        for machine_type in catalogue.machine_types() {
            products.extend(price(call, region, machine_type).map(|price| product(region, machine_type, price)));
        }
    }
    products
}

/// The price in a region: the world's own, where a script may have changed it, or the list's.
fn price(call: &Call<'_>, region: &'static str, machine_type: &MachineType) -> Option<Price> {
    if region == call.world.region() {
        return call.world.on_demand_price(machine_type.name);
    }
    let catalogue = call.world.catalogue();
    catalogue.list_price(region, catalogue.index_of(machine_type.name)?).map(|list| list.price)
}

fn product(region: &'static str, t: &MachineType, price: Price) -> Product {
    // The list has bare metal as a product of its own family, sold to one tenant.
    let (family, tenancy, usage) = if t.bare_metal {
        ("Compute Instance (bare metal)", "Dedicated", "DedicatedUsage")
    } else {
        ("Compute Instance", "Shared", "BoxUsage")
    };
    let storage =
        t.instance_store.as_ref().map_or_else(|| "EBS only".to_owned(), |store| format!("{} GB", store.total_gb));
    let attributes = [
        ("availabilityzone", "NA".to_owned()),
        ("capacitystatus", "Used".to_owned()),
        ("currentGeneration", if t.current_generation { "Yes" } else { "No" }.to_owned()),
        ("instanceFamily", t.family().to_owned()),
        ("instanceType", t.name.to_owned()),
        ("licenseModel", "No License required".to_owned()),
        ("locationType", "AWS Region".to_owned()),
        ("marketoption", "OnDemand".to_owned()),
        ("memory", format!("{} GiB", t.memory_mib / 1024)),
        ("networkPerformance", t.network.performance.to_owned()),
        ("operatingSystem", "Linux".to_owned()),
        ("operation", "RunInstances".to_owned()),
        ("physicalProcessor", t.cpu.manufacturer.to_owned()),
        ("preInstalledSw", "NA".to_owned()),
        ("processorArchitecture", "64-bit".to_owned()),
        ("regionCode", region.to_owned()),
        ("servicecode", "AmazonEC2".to_owned()),
        ("servicename", "Amazon Elastic Compute Cloud".to_owned()),
        ("storage", storage),
        ("tenancy", tenancy.to_owned()),
        ("usagetype", format!("{usage}:{}", t.name)),
        ("vcpu", t.cpu.vcpus.to_string()),
    ];
    Product { key: format!("{region} {}", t.name), region, attributes: attributes.into(), family, price }
}

impl Product {
    /// Field names are compared without case (clients write `serviceCode` for `servicecode`); a field that the product does
    /// not have matches nothing.
    fn passes(&self, filters: &[Filter]) -> bool {
        filters.iter().all(|filter| {
            if filter.field.eq_ignore_ascii_case("productFamily") {
                return filter.passes(self.family);
            }
            let mut attributes = self.attributes.iter();
            attributes.any(|(name, value)| name.eq_ignore_ascii_case(&filter.field) && filter.passes(value))
        })
    }

    fn document(&self, call: &Call<'_>) -> Value {
        let alphabet = b"ABCDEFGHJKMNPQRSTUVWXYZ23456789";
        let sku = Seed(0).stream(&["sku", &self.key]).text(alphabet, 16);
        let term = format!("{sku}.{ON_DEMAND_TERM}");
        let rate = format!("{term}.{HOURLY_RATE}");
        let name = &self.attributes["instanceType"];
        let dimension = json!({
            "appliesTo": [],
            "beginRange": "0",
            "description": format!("${} per On Demand Linux {name} Instance Hour", self.price),
            "endRange": "Inf",
            "pricePerUnit": {"USD": self.price.with_decimals(PRICE_DECIMALS)},
            "rateCode": rate,
            "unit": "Hrs",
        });
        let offer = json!({
            "effectiveDate": super::xml::iso_8601(call.world.now()),
            "offerTermCode": ON_DEMAND_TERM,
            "priceDimensions": {rate: dimension},
            "sku": sku,
            "termAttributes": {},
        });
        json!({
            "product": {"attributes": self.attributes, "productFamily": self.family, "sku": sku},
            "serviceCode": "AmazonEC2",
            "terms": {"OnDemand": {term: offer}},
            "version": format!("{}-prices", self.region),
        })
    }
}

/// The list prints prices with ten decimals; ours have nine.
const PRICE_DECIMALS: usize = 9;
