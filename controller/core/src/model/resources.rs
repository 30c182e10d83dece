//! Amounts of resources.

use super::quantity::{InvalidQuantity, Rounding, format_quantity, parse_quantity};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::{cmp::Ordering, collections::BTreeMap, fmt, sync::Arc};
use thiserror::Error;

/// The resource `cpu`, held in thousandths.
pub const CPU: &str = "cpu";
/// The resource `memory`, in bytes.
pub const MEMORY: &str = "memory";
/// The resource `ephemeral-storage`, in bytes.
pub const EPHEMERAL_STORAGE: &str = "ephemeral-storage";
/// The resource `pods`: how many pods.
pub const PODS: &str = "pods";
/// The pseudo-resource `nodes` of a NodePool's limits: how many machines (spec core 1.7).
pub const NODES: &str = "nodes";
/// What the names of huge-page resources begin with.
pub const HUGE_PAGES_PREFIX: &str = "hugepages-";

const USUAL: [&str; 5] = [CPU, MEMORY, EPHEMERAL_STORAGE, PODS, NODES];

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Name {
    Usual(u8),
    Other(Arc<str>),
}

impl Name {
    fn of(text: &str) -> Self {
        match USUAL.iter().position(|usual| *usual == text) {
            Some(index) => Self::Usual(index as u8),
            None => Self::Other(Arc::from(text)),
        }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Usual(index) => USUAL[usize::from(*index)],
            Self::Other(text) => text,
        }
    }

    fn compare(&self, text: &str) -> Ordering {
        let rank = USUAL.iter().position(|usual| *usual == text);
        match (self, rank) {
            (Self::Usual(index), Some(rank)) => usize::from(*index).cmp(&rank),
            (Self::Usual(_), None) => Ordering::Less,
            (Self::Other(_), Some(_)) => Ordering::Greater,
            (Self::Other(own), None) => (**own).cmp(text),
        }
    }
}

/// Amounts by resource name: `cpu` in thousandths, everything else in units or bytes.
///
/// The order is fixed: cpu, memory, ephemeral-storage, pods, nodes, then the others by name. A resource that is absent counts
/// as zero in arithmetic, but [`Resources::contains`] tells it from one that is stated as zero.
///
/// ```
/// use sawhorse_core::model::Resources;
/// let free = Resources::from_iter([("cpu", 4000), ("memory", 8 << 30)]);
/// let pod = Resources::from_iter([("cpu", 1500), ("memory", 2 << 30)]);
/// assert!(pod.fits(&free));
/// assert_eq!(free.minus(&pod).to_string(), "cpu: 2500m, memory: 6Gi");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Resources(Vec<(Name, i64)>);

/// A resource whose amount is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the amount of `{resource}` is invalid: {source}")]
pub struct InvalidResource {
    /// The resource's name.
    pub resource: String,
    /// What was wrong with its amount.
    pub source: InvalidQuantity,
}

impl Resources {
    /// No resources.
    pub fn new() -> Self {
        Self::default()
    }

    /// The amount of `name`; zero where it is absent.
    pub fn get(&self, name: &str) -> i64 {
        self.find(name).map_or(0, |index| self.0[index].1)
    }

    /// Whether `name` is stated, be it as zero.
    pub fn contains(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// States the amount of `name`.
    pub fn set(&mut self, name: &str, amount: i64) {
        match self.find(name) {
            Ok(index) => self.0[index].1 = amount,
            Err(index) => self.0.insert(index, (Name::of(name), amount)),
        }
    }

    /// The same with `name` stated as `amount`.
    #[must_use]
    pub fn with(mut self, name: &str, amount: i64) -> Self {
        self.set(name, amount);
        self
    }

    /// Forgets `name`.
    pub fn remove(&mut self, name: &str) {
        if let Ok(index) = self.find(name) {
            self.0.remove(index);
        }
    }

    /// Names and amounts in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    /// Whether nothing is stated.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether some amount is below zero.
    pub fn is_negative(&self) -> bool {
        self.0.iter().any(|(_, amount)| *amount < 0)
    }

    /// Adds `other` to this; saturates.
    pub fn add(&mut self, other: &Self) {
        self.merge(other, i64::saturating_add);
    }

    /// Takes `other` from this; what is missing here goes below zero.
    pub fn subtract(&mut self, other: &Self) {
        self.merge(other, i64::saturating_sub);
    }

    /// The sum.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        sum.add(other);
        sum
    }

    /// The difference.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut difference = self.clone();
        difference.subtract(other);
        difference
    }

    /// The larger amount of each resource.
    #[must_use]
    pub fn max(&self, other: &Self) -> Self {
        let mut larger = self.clone();
        larger.merge(other, i64::max);
        larger
    }

    /// The smaller amount of each resource, over those that both state.
    #[must_use]
    pub fn min(&self, other: &Self) -> Self {
        self.iter()
            .filter(|(name, _)| other.contains(name))
            .map(|(name, own)| (name, own.min(other.get(name))))
            .collect()
    }

    /// `count` times each amount; saturates.
    #[must_use]
    pub fn times(&self, count: i64) -> Self {
        Self(self.0.iter().map(|(name, amount)| (name.clone(), amount.saturating_mul(count))).collect())
    }

    /// Whether these requests fit into `available`: each amount is there, and nothing there is below zero (spec core 2.8).
    pub fn fits(&self, available: &Self) -> bool {
        !available.is_negative() && self.first_missing(available).is_none()
    }

    /// The first resource of which more is asked for than `available` has.
    pub fn first_missing(&self, available: &Self) -> Option<&str> {
        self.iter().find(|(name, amount)| *amount > available.get(name)).map(|(name, _)| name)
    }

    /// Requests from an object's map; a fraction counts as a whole unit.
    ///
    /// # Errors
    /// [`InvalidResource`] names the first entry that is not a quantity.
    pub fn from_requests(map: &BTreeMap<String, Quantity>) -> Result<Self, InvalidResource> {
        Self::parse(map, Rounding::Up)
    }

    /// Capacity from an object's map; a fraction of a unit does not count.
    ///
    /// # Errors
    /// [`InvalidResource`] names the first entry that is not a quantity.
    pub fn from_capacity(map: &BTreeMap<String, Quantity>) -> Result<Self, InvalidResource> {
        Self::parse(map, Rounding::Down)
    }

    /// Capacity from an object that the API server has admitted: an entry that is not a quantity, which it would have
    /// refused, counts as absent.
    pub fn of_capacity(map: &BTreeMap<String, Quantity>) -> Self {
        let parsed = map.iter().filter_map(|(name, text)| {
            Some((name.as_str(), parse_quantity(&text.0, name == CPU, Rounding::Down).ok()?))
        });
        parsed.collect()
    }

    /// The amounts as an object's map.
    pub fn to_quantities(&self) -> BTreeMap<String, Quantity> {
        self.iter().map(|(name, amount)| (name.to_owned(), Quantity(quantity_text(name, amount)))).collect()
    }

    fn parse(map: &BTreeMap<String, Quantity>, rounding: Rounding) -> Result<Self, InvalidResource> {
        map.iter()
            .map(|(name, text)| match parse_quantity(&text.0, name == CPU, rounding) {
                Ok(amount) => Ok((name.as_str(), amount)),
                Err(source) => Err(InvalidResource { resource: name.clone(), source }),
            })
            .collect()
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(own, _)| own.compare(name))
    }

    fn merge(&mut self, other: &Self, combine: impl Fn(i64, i64) -> i64) {
        for (name, amount) in &other.0 {
            match self.0.binary_search_by(|(own, _)| own.cmp(name)) {
                Ok(index) => self.0[index].1 = combine(self.0[index].1, *amount),
                Err(index) => self.0.insert(index, (name.clone(), combine(0, *amount))),
            }
        }
    }
}

/// The amount of `name` as Kubernetes writes it, e.g. `1500m` of cpu or `2Gi` of memory.
pub fn quantity_text(name: &str, amount: i64) -> String {
    let bytes = name == MEMORY || name == EPHEMERAL_STORAGE || name.starts_with(HUGE_PAGES_PREFIX);
    format_quantity(amount, name == CPU, bytes)
}

impl<'a> FromIterator<(&'a str, i64)> for Resources {
    /// Later amounts of one name replace earlier ones.
    fn from_iter<I: IntoIterator<Item = (&'a str, i64)>>(amounts: I) -> Self {
        let mut resources = Self::new();
        for (name, amount) in amounts {
            resources.set(name, amount);
        }
        resources
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, amount)) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name}: {}", quantity_text(name, amount))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Quantity, Resources};
    use std::collections::BTreeMap;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, Quantity> {
        entries.iter().map(|(name, text)| ((*name).to_owned(), Quantity((*text).to_owned()))).collect()
    }

    #[test]
    fn the_order_is_fixed() {
        let resources: Resources =
            [("nvidia.com/gpu", 1), ("pods", 3), ("memory", 1), ("a.b/c", 2), ("cpu", 1)].into_iter().collect();
        let names: Vec<&str> = resources.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["cpu", "memory", "pods", "a.b/c", "nvidia.com/gpu"]);
    }

    #[test]
    fn requests_round_up_and_capacity_down() {
        let text = map(&[("cpu", "0.0001"), ("memory", "1.5")]);
        assert_eq!(Resources::from_requests(&text).unwrap().to_string(), "cpu: 1m, memory: 2");
        assert_eq!(Resources::from_capacity(&text).unwrap().to_string(), "cpu: 0, memory: 1");
    }

    #[test]
    fn a_bad_quantity_names_its_resource() {
        let refused = Resources::from_requests(&map(&[("memory", "2GB")])).unwrap_err();
        assert!(refused.to_string().starts_with("the amount of `memory` is invalid: `2GB` is not a quantity"));
    }

    #[test]
    fn what_is_asked_must_be_there() {
        let free = Resources::from_iter([("cpu", 1000)]);
        assert!(Resources::from_iter([("cpu", 1000), ("nvidia.com/gpu", 0)]).fits(&free));
        assert_eq!(Resources::from_iter([("nvidia.com/gpu", 1)]).first_missing(&free), Some("nvidia.com/gpu"));
        assert!(!Resources::new().fits(&free.minus(&Resources::from_iter([("memory", 1)]))));
    }

    #[test]
    fn amounts_go_back_as_they_came() {
        let text = map(&[("cpu", "1500m"), ("memory", "2Gi"), ("nvidia.com/gpu", "8"), ("hugepages-2Mi", "4Mi")]);
        assert_eq!(Resources::from_requests(&text).unwrap().to_quantities(), text);
    }

    #[test]
    fn the_smaller_of_each_needs_both() {
        let (a, b) =
            (Resources::from_iter([("cpu", 3), ("memory", 1)]), Resources::from_iter([("cpu", 2), ("pods", 1)]));
        assert_eq!(a.min(&b), Resources::from_iter([("cpu", 2)]));
        assert_eq!(a.max(&b), Resources::from_iter([("cpu", 3), ("memory", 1), ("pods", 1)]));
    }
}
