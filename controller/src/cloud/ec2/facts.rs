//! Facts of instance types that the EC2 API does not give: label bandwidth, branch interfaces, and prices to begin with.

use sawhorse_core::model::Price;
use std::{collections::BTreeMap, sync::LazyLock};

/// The table; its head says where each column comes from, its date, and which values are estimates.
const TABLE: &str = include_str!("data/instance_types.csv");
const NANOS_PER_MICRO: i64 = 1_000;

/// What is known of one instance type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Baseline network bandwidth.
    pub(super) bandwidth_mbps: Option<i64>,
    /// Branch interfaces for pods, where the type supports trunking.
    pub(super) branch_interfaces: Option<i64>,
    /// On-demand price in us-east-1: used until the price list has been read.
    pub(super) price: Option<Price>,
}

static FACTS: LazyLock<BTreeMap<&'static str, Facts>> = LazyLock::new(|| {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#')).skip(1);
    lines.map(read_line).collect()
});

fn read_line(line: &'static str) -> (&'static str, Facts) {
    let mut fields = line.split(',');
    let name = fields.next().unwrap_or_default();
    let mut number = || fields.next().and_then(|field| field.parse::<i64>().ok());
    let (bandwidth_mbps, branch_interfaces) = (number(), number());
    let price = number().map(|micros| Price::from_nanos(micros * NANOS_PER_MICRO));
    (name, Facts { bandwidth_mbps, branch_interfaces, price })
}

/// What is known of the instance type `name`; nothing of one that is newer than the table.
pub(super) fn facts(name: &str) -> Facts {
    FACTS.get(name).copied().unwrap_or_default()
}

/// The prices to begin with, by instance type.
pub(super) fn fallback_prices() -> BTreeMap<String, Price> {
    FACTS.iter().filter_map(|(name, facts)| Some(((*name).to_owned(), facts.price?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_complete_and_sorted() {
        let names: Vec<_> =
            TABLE.lines().filter(|line| !line.starts_with('#')).skip(1).map(|line| read_line(line).0).collect();
        assert!(names.is_sorted());
        assert_eq!(names.len(), FACTS.len());
        assert!(TABLE.lines().skip(5).all(|line| line.split(',').count() == 5));
    }

    #[rstest::rstest]
    #[case("m5.large", Some(750), Some(9), Some("0.096"))]
    #[case("p5.48xlarge", Some(3_200_000), Some(120), Some("55.04"))]
    #[case("x99.nano", None, None, None)]
    fn facts_by_name(
        #[case] name: &str,
        #[case] bandwidth: Option<i64>,
        #[case] branch: Option<i64>,
        #[case] price: Option<&str>,
    ) {
        let facts = facts(name);
        assert_eq!(facts.price, price.map(|price| price.parse().unwrap()));
        assert_eq!((facts.bandwidth_mbps, facts.branch_interfaces), (bandwidth, branch));
    }
}
