//! The embedded catalogue: all machine types, their list prices, and where they are offered.

use super::{MachineType, Price, catalogue_rows};
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

const MACHINE_TYPES: &str = include_str!("../../catalog/machine_types.csv");
const PRICES: &str = include_str!("../../catalog/prices.csv");
const OFFERINGS: &str = include_str!("../../catalog/offerings.csv");
const ZONES: &str = include_str!("../../catalog/zones.csv");

/// All machine types, sorted by name, with prices, zones and offerings of every region known.
#[derive(Clone, Debug)]
pub struct Catalogue {
    types: Vec<MachineType>,
    by_name: BTreeMap<&'static str, TypeIndex>,
    zones: Vec<Zone>,
    prices: BTreeMap<(&'static str, TypeIndex), ListPrice>,
    spot_ratios: BTreeMap<TypeIndex, u64>,
    offered: BTreeMap<(&'static str, TypeIndex), &'static str>,
}

/// The place of a machine type in the catalogue: cheap to copy and to compare, ordered as the names are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeIndex(pub(crate) u16);

/// A zone of a region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zone {
    /// E.g. `us-west-2a`.
    pub name: &'static str,
    /// The id that is the same in every account, e.g. `usw2-az2`.
    pub id: &'static str,
    /// E.g. `us-west-2`.
    pub region: &'static str,
    /// `availability-zone`, `local-zone`.
    pub kind: &'static str,
    /// `opt-in-not-required`, `opted-in`.
    pub opt_in: &'static str,
}

/// An on-demand list price and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListPrice {
    /// Dollars per hour.
    pub price: Price,
    /// The letter of `catalog/prices.csv`: `l` list, `s` set equal to another region, `e`, `r`, `c` estimates.
    pub source: &'static str,
}

impl Catalogue {
    /// The catalogue of the program, read on first use and then shared.
    ///
    /// ```
    /// # use sawhorse_fake_cloud::world::Catalogue;
    /// let catalogue = Catalogue::embedded();
    /// assert_eq!(catalogue.machine_types().len(), 1404);
    /// assert_eq!(catalogue.machine_type("p5.48xlarge").unwrap().gpus[0].count, 8);
    /// ```
    pub fn embedded() -> Arc<Self> {
        static EMBEDDED: OnceLock<Arc<Catalogue>> = OnceLock::new();
        Arc::clone(EMBEDDED.get_or_init(|| Arc::new(Self::read_afresh())))
    }

    /// Reads the embedded files again: what [`Catalogue::embedded`] does once. For measuring.
    pub fn read_afresh() -> Self {
        let types = catalogue_rows::machine_types(MACHINE_TYPES);
        let by_name: BTreeMap<_, _> = types
            .iter()
            .enumerate()
            .map(|(index, machine_type)| (machine_type.name, TypeIndex(index as u16)))
            .collect();
        let (prices, spot_ratios) = catalogue_rows::prices(PRICES, &by_name);
        let offered = catalogue_rows::offerings(OFFERINGS, &by_name);
        Self { types, by_name, zones: catalogue_rows::zones(ZONES), prices, spot_ratios, offered }
    }

    /// All types, sorted by name.
    pub fn machine_types(&self) -> &[MachineType] {
        &self.types
    }

    /// The type of that name.
    pub fn machine_type(&self, name: &str) -> Option<&MachineType> {
        self.index_of(name).map(|index| self.at(index))
    }

    /// The place of the type of that name.
    pub fn index_of(&self, name: &str) -> Option<TypeIndex> {
        self.by_name.get(name).copied()
    }

    /// The type at a place.
    pub fn at(&self, index: TypeIndex) -> &MachineType {
        &self.types[usize::from(index.0)]
    }

    /// The names of the regions with zones, sorted.
    pub fn regions(&self) -> Vec<&'static str> {
        let mut regions: Vec<_> = self.zones.iter().map(|zone| zone.region).collect();
        regions.sort_unstable();
        regions.dedup();
        regions
    }

    /// The zones of a region, in the catalogue's order.
    pub fn zones_of(&self, region: &str) -> impl Iterator<Item = &Zone> {
        self.zones.iter().filter(move |zone| zone.region == region)
    }

    /// The on-demand list price in a region, if the type is for sale there.
    pub fn list_price(&self, region: &'static str, index: TypeIndex) -> Option<ListPrice> {
        self.prices.get(&(region, index)).copied()
    }

    /// The zones' last letters in which the type is offered in a region; empty if in none.
    pub(crate) fn offered_letters(&self, region: &'static str, index: TypeIndex) -> &'static str {
        self.offered.get(&(region, index)).copied().unwrap_or("")
    }

    /// Thousandths of the on-demand price that spot costs on average (synthetic).
    pub(crate) fn spot_ratio_per_mille(&self, index: TypeIndex) -> Option<u64> {
        self.spot_ratios.get(&index).copied()
    }

    /// The name nearest to `name` among the types, for messages.
    pub(crate) fn nearest(&self, name: &str) -> Option<&'static str> {
        super::nearest::nearest(name, self.types.iter().map(|machine_type| machine_type.name))
    }
}
