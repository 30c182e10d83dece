//! The price list: `GetProducts` of AmazonEC2, on-demand only.

use super::{
    Call, JsonAnswer,
    error::Refusal,
    page::{Page, with_next},
    ssm::read,
};
use crate::world::{MachineType, Price};
use sawhorse_ambient::Seed;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{borrow::Cow, collections::BTreeMap};

/// The API's largest page, which is also the size when none is asked for.
const PAGE_MAX: u32 = 100;
/// More filters than the list has attributes are a mistake.
const FILTERS_MAX: usize = 50;
/// The SKU suffix and the rate code of on-demand terms in the real list.
const ON_DEMAND_TERM: &str = "JRTCKXETXF";
const HOURLY_RATE: &str = "6YS6EN2CT7";
/// The list prints prices with ten decimals; ours have nine.
const PRICE_DECIMALS: usize = 9;

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
    let chosen = products(call).filter(|product| product.passes(&request.filters));
    let priced = chosen.filter_map(|product| Some((product.price(call)?, product)));
    let (products, next) = page.cut(priced, |(_, product)| product.key())?;
    let list: Vec<String> =
        products.iter().map(|(price, product)| product.document(call, *price).to_string()).collect();
    Ok(with_next(json!({"FormatVersion": "aws_v1", "PriceList": list}), next))
}

fn invalid(message: String) -> Refusal {
    Refusal::bad("InvalidParameterException", message)
}

/// The attributes of a product, as the list names them.
const ATTRIBUTES: [&str; 22] = [
    "availabilityzone",
    "capacitystatus",
    "currentGeneration",
    "instanceFamily",
    "instanceType",
    "licenseModel",
    "locationType",
    "marketoption",
    "memory",
    "networkPerformance",
    "operatingSystem",
    "operation",
    "physicalProcessor",
    "preInstalledSw",
    "processorArchitecture",
    "regionCode",
    "servicecode",
    "servicename",
    "storage",
    "tenancy",
    "usagetype",
    "vcpu",
];

/// A machine type in a region. Attributes are written when they are asked for: most products pass no filter.
struct Product<'c> {
    region: &'static str,
    machine_type: &'c MachineType,
}

/// All products, by region and type.
fn products<'c>(call: &'c Call<'_>) -> impl Iterator<Item = Product<'c>> {
    let catalogue = call.world.catalogue();
    let types = catalogue.machine_types();
    catalogue
        .regions()
        .into_iter()
        .flat_map(move |region| types.iter().map(move |machine_type| Product { region, machine_type }))
}

impl Product<'_> {
    /// The order of the list; the space is below every character of the names.
    fn key(&self) -> String {
        format!("{} {}", self.region, self.machine_type.name)
    }

    /// The price in the region: the world's own, where a script may have changed it, or the list's.
    fn price(&self, call: &Call<'_>) -> Option<Price> {
        if self.region == call.world.region() {
            return call.world.on_demand_price(self.machine_type.name);
        }
        let catalogue = call.world.catalogue();
        catalogue.list_price(self.region, catalogue.index_of(self.machine_type.name)?).map(|list| list.price)
    }

    /// The list has bare metal as products of their own family, sold to one tenant.
    fn family(&self) -> &'static str {
        if self.machine_type.bare_metal { "Compute Instance (bare metal)" } else { "Compute Instance" }
    }

    fn attribute(&self, name: &str) -> Cow<'static, str> {
        let t = self.machine_type;
        match name {
            "availabilityzone" | "preInstalledSw" => "NA".into(),
            "capacitystatus" => "Used".into(),
            "currentGeneration" => if t.current_generation { "Yes" } else { "No" }.into(),
            "instanceFamily" => t.family().into(),
            "instanceType" => t.name.into(),
            "licenseModel" => "No License required".into(),
            "locationType" => "AWS Region".into(),
            "marketoption" => "OnDemand".into(),
            "memory" => format!("{} GiB", t.memory_mib / 1024).into(),
            "networkPerformance" => t.network.performance.into(),
            "operatingSystem" => "Linux".into(),
            "operation" => "RunInstances".into(),
            "physicalProcessor" => t.cpu.manufacturer.into(),
            "processorArchitecture" => "64-bit".into(),
            "regionCode" => self.region.into(),
            "servicecode" => "AmazonEC2".into(),
            "servicename" => "Amazon Elastic Compute Cloud".into(),
            "storage" => match &t.instance_store {
                Some(store) => format!("{} GB", store.total_gb).into(),
                None => "EBS only".into(),
            },
            "tenancy" => if t.bare_metal { "Dedicated" } else { "Shared" }.into(),
            "usagetype" => format!("{}:{}", if t.bare_metal { "DedicatedUsage" } else { "BoxUsage" }, t.name).into(),
            "vcpu" => t.cpu.vcpus.to_string().into(),
            _ => "".into(),
        }
    }

    /// Field names are compared without case (clients write `serviceCode` for `servicecode`); a field that the product does
    /// not have matches nothing.
    fn passes(&self, filters: &[Filter]) -> bool {
        filters.iter().all(|filter| {
            if filter.field.eq_ignore_ascii_case("productFamily") {
                return filter.passes(self.family());
            }
            let name = ATTRIBUTES.into_iter().find(|name| name.eq_ignore_ascii_case(&filter.field));
            name.is_some_and(|name| filter.passes(&self.attribute(name)))
        })
    }

    fn document(&self, call: &Call<'_>, price: Price) -> Value {
        let alphabet = b"ABCDEFGHJKMNPQRSTUVWXYZ23456789";
        let sku = Seed(0).stream(&["sku", &self.key()]).text(alphabet, 16);
        let term = format!("{sku}.{ON_DEMAND_TERM}");
        let rate = format!("{term}.{HOURLY_RATE}");
        let attributes: BTreeMap<_, _> = ATTRIBUTES.into_iter().map(|name| (name, self.attribute(name))).collect();
        let dimension = json!({
            "appliesTo": [],
            "beginRange": "0",
            "description": format!("${price} per On Demand Linux {} Instance Hour", self.machine_type.name),
            "endRange": "Inf",
            "pricePerUnit": {"USD": price.with_decimals(PRICE_DECIMALS)},
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
            "product": {"attributes": attributes, "productFamily": self.family(), "sku": sku},
            "serviceCode": "AmazonEC2",
            "terms": {"OnDemand": {term: offer}},
            "version": format!("{}-prices", self.region),
        })
    }
}
