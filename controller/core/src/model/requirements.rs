//! What a node's labels may be.

use super::{Operator, Requirement};
use crate::api::{NodeSelectorRequirementWithMinValues, labels};
use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};
use thiserror::Error;

/// Keys that are shorter than this are not looked for inside others.
const MIN_TYPO_KEY: usize = 3;
/// Keys that are longer than this are not compared letter by letter for typing errors.
const MAX_TYPO_KEY: usize = 128;

/// Labels that a cloud or the controller sets on every node, so that a NodePool need not state them (spec core 1.7).
///
/// ```
/// use sawhorse_core::model::WellKnownLabels;
/// assert!(WellKnownLabels::default().contains("kubernetes.io/arch"));
/// assert!(!WellKnownLabels::none().contains("kubernetes.io/arch"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WellKnownLabels(BTreeSet<String>);

impl WellKnownLabels {
    /// No label: what is asked for must be there, as on existing nodes.
    pub fn none() -> Self {
        Self(BTreeSet::new())
    }

    /// These and `further` keys.
    #[must_use]
    pub fn with<S: Into<String>>(mut self, further: impl IntoIterator<Item = S>) -> Self {
        self.0.extend(further.into_iter().map(Into::into));
        self
    }

    /// Whether `key` is one of them.
    pub fn contains(&self, key: &str) -> bool {
        self.0.contains(key)
    }

    /// The keys in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl Default for WellKnownLabels {
    /// Those of [`labels::WELL_KNOWN`].
    fn default() -> Self {
        Self(labels::WELL_KNOWN.iter().map(|key| (*key).to_owned()).collect())
    }
}

/// One [`Requirement`] per key, all of which must hold.
///
/// ```
/// use sawhorse_core::model::{Operator, Requirement, Requirements, WellKnownLabels};
/// let pool = Requirements::from_iter([Requirement::new("zone", Operator::In, ["a", "b"])]);
/// let pod = Requirements::from_iter([Requirement::new("zone", Operator::In, ["c"])]);
/// let refused = pool.compatible(&pod, &WellKnownLabels::none()).unwrap_err();
/// assert_eq!(refused.to_string(), "key zone, zone In [c] not in zone In [a b]");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirements(BTreeMap<Arc<str>, Requirement>);

/// Why two sets of requirements cannot hold together; the text is the reference's (spec core 2.7).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Incompatible {
    /// A label is asked for that nothing provides.
    #[error("label {key:?} does not have known values{}", hint.as_ref().map(|hint| format!(" (typo of {hint:?}?)")).unwrap_or_default())]
    UnknownLabel {
        /// The label's key.
        key: String,
        /// A known key that may have been meant.
        hint: Option<String>,
    },
    /// No value satisfies both.
    #[error("key {key}, {incoming} not in {existing}")]
    Disjoint {
        /// The label's key.
        key: String,
        /// What was asked for, as text.
        incoming: String,
        /// What is there, as text.
        existing: String,
    },
    /// What is asked for contradicts itself, so that no node has it.
    #[error("key {key}, its requirements contradict each other: no value satisfies all of them")]
    Contradiction {
        /// The label's key.
        key: String,
    },
}

impl Incompatible {
    /// The label that it is about.
    pub fn key(&self) -> &str {
        match self {
            Self::UnknownLabel { key, .. } | Self::Disjoint { key, .. } | Self::Contradiction { key } => key,
        }
    }
}

impl Requirements {
    /// No requirement.
    pub fn new() -> Self {
        Self::default()
    }

    /// That each label has exactly its value.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        labels.into_iter().map(|(key, value)| Requirement::new(key, Operator::In, [value])).collect()
    }

    /// The match expressions of a node selector term; `matchFields` are not looked at.
    pub fn from_term(term: &NodeSelectorTerm) -> Self {
        term.match_expressions.iter().flatten().map(Requirement::from_selector).collect()
    }

    /// The requirements of a NodePool or NodeClaim.
    pub fn from_specs(specs: &[NodeSelectorRequirementWithMinValues]) -> Self {
        specs.iter().map(Requirement::from_spec).collect()
    }

    /// A list of selector requirements of an object.
    pub fn from_selectors(selectors: &[NodeSelectorRequirement]) -> Self {
        selectors.iter().map(Requirement::from_selector).collect()
    }

    /// Adds a requirement; with one of the same key already there, both must hold.
    pub fn add(&mut self, requirement: Requirement) {
        match self.0.get_mut(requirement.key()) {
            Some(own) => *own = own.intersection(&requirement),
            None => {
                self.0.insert(Arc::from(requirement.key()), requirement);
            }
        }
    }

    /// Adds every requirement of `other`.
    pub fn extend(&mut self, other: &Self) {
        other.iter().for_each(|requirement| self.add(requirement.clone()));
    }

    /// What must hold for this and `other`.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.extend(other);
        both
    }

    /// Forgets what is asked of `key`.
    pub fn remove(&mut self, key: &str) -> Option<Requirement> {
        self.0.remove(labels::normalize(key))
    }

    /// What is asked of `key`.
    pub fn get(&self, key: &str) -> Option<&Requirement> {
        self.0.get(labels::normalize(key))
    }

    /// Whether something is asked of `key`.
    pub fn contains(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The requirements, by key.
    pub fn iter(&self) -> impl Iterator<Item = &Requirement> {
        self.0.values()
    }

    /// The keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(AsRef::as_ref)
    }

    /// How many keys something is asked of.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a node with these `labels` satisfies every requirement.
    pub fn hold_for(&self, labels: &BTreeMap<String, String>) -> bool {
        self.iter().all(|requirement| match labels.get(requirement.key()) {
            Some(value) => requirement.has(value),
            None => requirement.allows_absent(),
        })
    }

    /// The first requirement that contradicts itself, if one does.
    pub fn contradiction(&self) -> Option<&Requirement> {
        self.iter().find(|requirement| requirement.is_contradiction())
    }

    /// Whether `incoming` can hold together with this. A key of `incoming` that is not known here must be one of
    /// `allowed_undefined`, or be satisfied by absence.
    ///
    /// # Errors
    /// [`Incompatible`] for the first key, in order, that cannot hold.
    pub fn compatible(&self, incoming: &Self, allowed_undefined: &WellKnownLabels) -> Result<(), Incompatible> {
        incoming.iter().try_for_each(|asked| self.compatible_with(asked, allowed_undefined))
    }

    fn compatible_with(&self, asked: &Requirement, allowed_undefined: &WellKnownLabels) -> Result<(), Incompatible> {
        let key = || asked.key().to_owned();
        if asked.is_contradiction() {
            return Err(Incompatible::Contradiction { key: key() });
        }
        match self.get(asked.key()) {
            Some(own) if own.compatible(asked) => Ok(()),
            Some(own) => {
                Err(Incompatible::Disjoint { key: key(), incoming: asked.to_string(), existing: own.to_string() })
            }
            None if asked.allows_absent() || allowed_undefined.contains(asked.key()) => Ok(()),
            None => Err(self.unknown_label(asked.key(), allowed_undefined)),
        }
    }

    /// That nothing provides `key`, with a hint at one of the keys known here or in `known` that may have been meant.
    pub fn unknown_label(&self, key: &str, known: &WellKnownLabels) -> Incompatible {
        Incompatible::UnknownLabel { key: key.to_owned(), hint: self.hint(key, known) }
    }

    /// Whether every key that both ask something of can hold for both.
    pub fn intersects(&self, other: &Self) -> bool {
        let (fewer, more) = if self.len() <= other.len() { (self, other) } else { (other, self) };
        fewer.iter().all(|requirement| more.0.get(requirement.key()).is_none_or(|own| own.compatible(requirement)))
    }

    /// The entries that say this in an object's list, by key.
    pub fn to_selectors(&self) -> Vec<NodeSelectorRequirement> {
        self.iter().flat_map(Requirement::to_selectors).collect()
    }

    /// The entries that say this in a NodeClaim, by key, with their `minValues`.
    pub fn to_specs(&self) -> Vec<NodeSelectorRequirementWithMinValues> {
        self.iter().flat_map(Requirement::to_specs).collect()
    }

    /// The labels whose value is settled.
    pub fn single_values(&self) -> BTreeMap<String, String> {
        let settled = |requirement: &Requirement| {
            requirement.single_value().map(|value| (requirement.key().to_owned(), value.to_owned()))
        };
        self.iter().filter_map(settled).collect()
    }

    /// A known key that may have been meant by `key`.
    fn hint(&self, key: &str, allowed_undefined: &WellKnownLabels) -> Option<String> {
        let known = || allowed_undefined.iter().chain(self.keys());
        known().find(|known| looks_like(key, known)).map(str::to_owned)
    }
}

impl FromIterator<Requirement> for Requirements {
    /// Several requirements of one key must all hold.
    fn from_iter<I: IntoIterator<Item = Requirement>>(requirements: I) -> Self {
        let mut all = Self::new();
        requirements.into_iter().for_each(|requirement| all.add(requirement));
        all
    }
}

impl fmt::Display for Requirements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join(", "))
    }
}

/// Whether someone who wrote `key` may have meant `known`.
fn looks_like(key: &str, known: &str) -> bool {
    let name = |key: &'_ str| key.rsplit('/').next().unwrap_or_default().to_owned();
    // A letter or two occur in many keys without anyone having meant those.
    (key.len() >= MIN_TYPO_KEY && known.contains(key))
        || name(known) == name(key)
        || edit_distance(key, known) <= known.len() / 10
}

/// How many letters must be changed, added or left out; large where a key is too long to look at.
fn edit_distance(a: &str, b: &str) -> usize {
    if a.len().max(b.len()) > MAX_TYPO_KEY {
        return usize::MAX;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, own) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let change = diagonal + usize::from(own != *other);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{Operator, Requirement, Requirements, WellKnownLabels};
    use rstest::rstest;

    fn one(key: &str, operator: Operator, values: &[&str]) -> Requirements {
        Requirements::from_iter([Requirement::new(key, operator, values)])
    }

    /// The measured values of spec core A.2.
    #[rstest]
    #[case("zone", Operator::In, &["b"], "key zone, zone In [b] not in zone In [a]", "same")]
    #[case("zone", Operator::NotIn, &["a"], "key zone, zone NotIn [a] not in zone In [a]", "same")]
    #[case("x", Operator::In, &["1"], "label \"x\" does not have known values", "same")]
    #[case("x", Operator::Exists, &[], "label \"x\" does not have known values", "same")]
    #[case("x", Operator::NotIn, &["1"], "ok", "ok")]
    #[case("x", Operator::DoesNotExist, &[], "ok", "ok")]
    #[case("topology.kubernetes.io/zone", Operator::In, &["b"],
        "label \"topology.kubernetes.io/zone\" does not have known values (typo of \"zone\"?)", "ok")]
    #[case("kubernetes.io/zone", Operator::In, &["b"],
        "label \"kubernetes.io/zone\" does not have known values (typo of \"zone\"?)",
        "label \"kubernetes.io/zone\" does not have known values (typo of \"topology.kubernetes.io/zone\"?)")]
    #[case("topology.kubernetes.io/zoen", Operator::Exists, &[],
        "label \"topology.kubernetes.io/zoen\" does not have known values",
        "label \"topology.kubernetes.io/zoen\" does not have known values (typo of \"topology.kubernetes.io/zone\"?)")]
    fn is_compatible_as_measured(
        #[case] key: &str,
        #[case] operator: Operator,
        #[case] values: &[&str],
        #[case] strict: &str,
        #[case] lenient: &str,
    ) {
        let existing = one("zone", Operator::In, &["a"]);
        let text = |allowed| match existing.compatible(&one(key, operator, values), &allowed) {
            Ok(()) => "ok".to_owned(),
            Err(refused) => refused.to_string(),
        };
        assert_eq!(text(WellKnownLabels::none()), strict);
        assert_eq!(text(WellKnownLabels::default()), if lenient == "same" { strict } else { lenient });
    }

    #[test]
    fn a_contradiction_matches_nothing_even_where_the_label_may_be_undefined() {
        let mut pod = one("kubernetes.io/arch", Operator::In, &["amd64"]);
        pod.extend(&one("kubernetes.io/arch", Operator::In, &["arm64"]));
        let refused = Requirements::new().compatible(&pod, &WellKnownLabels::default()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "key kubernetes.io/arch, its requirements contradict each other: no value satisfies all of them"
        );
        assert!(pod.contradiction().is_some());
    }

    #[test]
    fn absence_satisfies_both_sides() {
        let absent = one("x", Operator::DoesNotExist, &[]);
        assert!(absent.compatible(&one("x", Operator::NotIn, &["a"]), &WellKnownLabels::none()).is_ok());
        assert!(absent.intersects(&one("x", Operator::NotIn, &["a"])));
        assert!(!absent.intersects(&one("x", Operator::Exists, &[])));
        assert!(absent.intersects(&one("y", Operator::Exists, &[])));
    }

    #[test]
    fn labels_settle_values() {
        let labels = [("a".to_owned(), "1".to_owned())].into_iter().collect();
        let requirements = Requirements::from_labels(&labels);
        assert!(requirements.hold_for(&labels));
        assert_eq!(requirements.single_values(), labels);
        assert!(!requirements.hold_for(&std::collections::BTreeMap::new()));
    }
}
