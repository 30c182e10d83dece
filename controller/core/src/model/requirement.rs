//! What one label may be.

use crate::api::{NodeSelectorRequirementWithMinValues, labels};
use k8s_openapi::api::core::v1::NodeSelectorRequirement;
use std::{collections::BTreeSet, fmt, sync::Arc};

pub use crate::api::RequirementOperator as Operator;

/// How many values are printed before the rest is only counted.
const PRINTED_VALUES: usize = 5;

const OPERATORS: [Operator; 8] = [
    Operator::In,
    Operator::NotIn,
    Operator::Exists,
    Operator::DoesNotExist,
    Operator::Gt,
    Operator::Lt,
    Operator::Gte,
    Operator::Lte,
];

/// The operator that an object's text names.
pub fn parse_operator(text: &str) -> Option<Operator> {
    OPERATORS.into_iter().find(|operator| operator.as_str() == text)
}

/// The set of states that a label may be in: absent, or one of a set of values (spec core 2.7).
///
/// The set of values is either listed or everything but what is listed, within optional integer bounds. Whether the label may
/// be absent is kept apart, so that a contradiction (`In [a]` and `In [b]`: no state is left) is never mistaken for "absent";
/// here we differ from the reference, whose contradictions collapse to `DoesNotExist` and then match nodes without the label.
///
/// ```
/// use sawhorse_core::model::{Operator, Requirement};
/// let odd = Requirement::new("k", Operator::In, ["1", "5", "9"]);
/// let large = Requirement::new("k", Operator::Gt, ["4"]);
/// assert_eq!(odd.intersection(&large).to_string(), "k In [5 9]");
/// assert_eq!(large.to_string(), "k Exists >=5");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    key: Arc<str>,
    /// Whether `values` are those excluded rather than those allowed.
    complement: bool,
    values: Arc<BTreeSet<Arc<str>>>,
    /// Bounds apply only where `complement` is set; a value that is no integer is outside of them.
    gte: Option<i64>,
    lte: Option<i64>,
    absent_allowed: bool,
    min_values: Option<u32>,
}

impl Requirement {
    /// The requirement that `key` compares by `operator` with `values`. Deprecated keys are rewritten to today's. A comparison
    /// (`Gt` …) whose value is not one integer admits nothing, as in Kubernetes.
    pub fn new<S: AsRef<str>>(key: &str, operator: Operator, values: impl IntoIterator<Item = S>) -> Self {
        let values: BTreeSet<Arc<str>> = values.into_iter().map(|value| Arc::from(value.as_ref())).collect();
        let values = Arc::new(values);
        let none = Self::nothing(key);
        let anything = Self { complement: true, ..none.clone() };
        match operator {
            Operator::In => Self { values, ..none },
            Operator::NotIn => Self { values, absent_allowed: true, ..anything },
            Operator::Exists => anything,
            Operator::DoesNotExist => Self { absent_allowed: true, ..none },
            Operator::Gt | Operator::Gte | Operator::Lt | Operator::Lte => {
                let bounds = single_integer(&values).and_then(|bound| bounds(operator, bound));
                bounds.map_or(none, |(gte, lte)| Self { gte, lte, ..anything })
            }
        }
    }

    /// A requirement from an object. An operator that Kubernetes does not know admits nothing.
    pub fn from_selector(requirement: &NodeSelectorRequirement) -> Self {
        let values = requirement.values.as_deref().unwrap_or_default();
        match parse_operator(&requirement.operator) {
            Some(operator) => Self::new(&requirement.key, operator, values),
            None => Self::nothing(&requirement.key),
        }
    }

    /// A requirement of a NodePool or NodeClaim.
    pub fn from_spec(spec: &NodeSelectorRequirementWithMinValues) -> Self {
        let min_values = spec.min_values.and_then(|count| u32::try_from(count).ok());
        Self::new(&spec.key, spec.operator, &spec.values).with_min_values(min_values)
    }

    /// The same asking for at least `min_values` distinct values among the instance types that remain.
    #[must_use]
    pub fn with_min_values(mut self, min_values: Option<u32>) -> Self {
        self.min_values = min_values;
        self
    }

    fn nothing(key: &str) -> Self {
        Self {
            key: Arc::from(labels::normalize(key)),
            complement: false,
            values: Arc::default(),
            gte: None,
            lte: None,
            absent_allowed: false,
            min_values: None,
        }
    }

    /// The label's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How many distinct values are asked for at least.
    pub fn min_values(&self) -> Option<u32> {
        self.min_values
    }

    /// The operator as it is printed: bounds show as `Exists`, and nothing at all as `DoesNotExist`.
    pub fn operator(&self) -> Operator {
        match (self.complement, self.values.is_empty()) {
            (true, true) => Operator::Exists,
            (true, false) => Operator::NotIn,
            (false, true) => Operator::DoesNotExist,
            (false, false) => Operator::In,
        }
    }

    /// The values allowed where the set is listed (`In`); empty otherwise.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.values.iter().filter(|_| !self.complement).map(AsRef::as_ref)
    }

    /// The values excluded; empty where the set is listed.
    pub fn excluded(&self) -> impl Iterator<Item = &str> {
        self.values.iter().filter(|_| self.complement).map(AsRef::as_ref)
    }

    /// The least integer allowed, where there is such a bound.
    pub fn gte(&self) -> Option<i64> {
        self.gte
    }

    /// The greatest integer allowed, where there is such a bound.
    pub fn lte(&self) -> Option<i64> {
        self.lte
    }

    /// Whether the allowed values are listed.
    pub fn is_listed(&self) -> bool {
        !self.complement
    }

    /// The only value allowed, if there is exactly one.
    pub fn single_value(&self) -> Option<&str> {
        let mut values = self.values();
        values.next().filter(|_| !self.complement && self.values.len() == 1)
    }

    /// Whether a label with `value` satisfies this.
    pub fn has(&self, value: &str) -> bool {
        self.values.contains(value) != self.complement && self.within_bounds(value)
    }

    /// Whether a node without the label satisfies this.
    pub fn allows_absent(&self) -> bool {
        self.absent_allowed
    }

    /// Whether nothing satisfies this, not even absence.
    pub fn is_contradiction(&self) -> bool {
        !self.absent_allowed && !self.allows_some_value()
    }

    /// What satisfies both. The larger `minValues` of the two is kept.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let min_values = self.min_values.max(other.min_values);
        let absent_allowed = self.absent_allowed && other.absent_allowed;
        let nothing = || Self { absent_allowed, min_values, ..Self::nothing(&self.key) };
        let (gte, lte) = (self.gte.max(other.gte), tighter_upper(self.lte, other.lte));
        if crossed(gte, lte) {
            return nothing();
        }
        let complement = self.complement && other.complement;
        let values: BTreeSet<Arc<str>> = match (self.complement, other.complement) {
            (false, false) => self.values.intersection(&other.values).cloned().collect(),
            (false, true) => self.values.difference(&other.values).cloned().collect(),
            (true, false) => other.values.difference(&self.values).cloned().collect(),
            (true, true) => self.values.union(&other.values).cloned().collect(),
        };
        let values = Arc::new(values.into_iter().filter(|value| within(gte, lte, value)).collect());
        let (gte, lte) = if complement { (gte, lte) } else { (None, None) };
        let both = Self { key: self.key.clone(), complement, values, gte, lte, absent_allowed, min_values };
        if both.allows_some_value() { both } else { nothing() }
    }

    /// Whether some value satisfies both; absence does not count.
    pub fn intersects(&self, other: &Self) -> bool {
        match (self.complement, other.complement) {
            (false, _) => self.values.iter().any(|value| other.has(value)),
            (true, false) => other.values.iter().any(|value| self.has(value)),
            (true, true) => self.intersection(other).allows_some_value(),
        }
    }

    /// Whether a node may satisfy both: by a value, or by not having the label.
    pub fn compatible(&self, other: &Self) -> bool {
        (self.absent_allowed && other.absent_allowed) || self.intersects(other)
    }

    /// A value that satisfies this: the least listed one, or the least integer from 0 (or the lower bound) on. The reference
    /// draws at random; we do not, so that equal inputs give equal claims.
    pub fn any_value(&self) -> Option<String> {
        if !self.complement {
            return self.values.iter().next().map(ToString::to_string);
        }
        let most = self.values.len() + 1;
        let up = (self.gte.unwrap_or(0)..=self.lte.unwrap_or(i64::MAX)).take(most);
        let highest_negative = self.lte.unwrap_or(-1).min(-1);
        let down = (self.gte.unwrap_or(i64::MIN)..=highest_negative).rev().take(most);
        let candidates = up.chain(down);
        candidates.map(|integer| integer.to_string()).find(|text| !self.values.contains(text.as_str()))
    }

    /// The entries that say this in an object's list. A range needs two; exclusions inside a range are kept, which the
    /// reference loses.
    pub fn to_selectors(&self) -> Vec<NodeSelectorRequirement> {
        let entry = |operator: Operator, values: Vec<String>| NodeSelectorRequirement {
            key: self.key.to_string(),
            operator: operator.as_str().to_owned(),
            values: (!values.is_empty()).then_some(values),
        };
        let listed = || self.values.iter().map(ToString::to_string).collect::<Vec<_>>();
        if !self.complement {
            return vec![entry(self.operator(), listed())];
        }
        let mut entries = Vec::new();
        entries.extend(self.gte.map(|bound| entry(Operator::Gte, vec![bound.to_string()])));
        entries.extend(self.lte.map(|bound| entry(Operator::Lte, vec![bound.to_string()])));
        if !self.values.is_empty() {
            entries.push(entry(Operator::NotIn, listed()));
        }
        let says_present = self.gte.is_some() || self.lte.is_some();
        if !self.absent_allowed && !says_present {
            entries.push(entry(Operator::Exists, Vec::new()));
        }
        entries
    }

    /// The entries that say this in a NodePool or NodeClaim. A range has two; each carries the `minValues`.
    pub fn to_specs(&self) -> Vec<NodeSelectorRequirementWithMinValues> {
        let spec = |selector: NodeSelectorRequirement| NodeSelectorRequirementWithMinValues {
            key: selector.key,
            operator: parse_operator(&selector.operator).expect("`to_selectors` writes known operators"),
            values: selector.values.unwrap_or_default(),
            min_values: self.min_values.map(i64::from),
        };
        self.to_selectors().into_iter().map(spec).collect()
    }

    /// Whether whatever satisfies `narrower` satisfies this.
    pub fn covers(&self, narrower: &Self) -> bool {
        if narrower.absent_allowed && !self.absent_allowed {
            return false;
        }
        if !narrower.complement {
            return narrower.values.iter().all(|value| self.has(value));
        }
        self.complement
            && self.gte.is_none_or(|gte| narrower.gte.is_some_and(|own| own >= gte))
            && self.lte.is_none_or(|lte| narrower.lte.is_some_and(|own| own <= lte))
            && self.values.iter().all(|value| !narrower.has(value))
    }

    fn allows_some_value(&self) -> bool {
        if !self.complement {
            return !self.values.is_empty();
        }
        let (Some(gte), Some(lte)) = (self.gte, self.lte) else { return !crossed(self.gte, self.lte) };
        let width = i128::from(lte) - i128::from(gte) + 1;
        // Only a range that is no wider than the list of exclusions can be excluded altogether.
        width > self.values.len() as i128
            || (gte..=lte).any(|integer| !self.values.contains(integer.to_string().as_str()))
    }

    fn within_bounds(&self, value: &str) -> bool {
        within(self.gte, self.lte, value)
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.operator())?;
        if !self.values.is_empty() {
            let shown: Vec<&str> = self.values.iter().take(PRINTED_VALUES).map(AsRef::as_ref).collect();
            write!(f, " [{}", shown.join(" "))?;
            if self.values.len() > PRINTED_VALUES {
                write!(f, " and {} others", self.values.len() - PRINTED_VALUES)?;
            }
            f.write_str("]")?;
        }
        if let Some(gte) = self.gte {
            write!(f, " >={gte}")?;
        }
        if let Some(lte) = self.lte {
            write!(f, " <={lte}")?;
        }
        self.min_values.map_or(Ok(()), |min_values| write!(f, " minValues {min_values}"))
    }
}

fn single_integer(values: &BTreeSet<Arc<str>>) -> Option<i64> {
    values.first().filter(|_| values.len() == 1).and_then(|value| value.parse().ok())
}

/// Lower and upper bound of a comparison; none where no integer satisfies it.
fn bounds(operator: Operator, bound: i64) -> Option<(Option<i64>, Option<i64>)> {
    match operator {
        Operator::Gt => bound.checked_add(1).map(|gte| (Some(gte), None)),
        Operator::Lt => bound.checked_sub(1).map(|lte| (None, Some(lte))),
        Operator::Gte => Some((Some(bound), None)),
        Operator::Lte => Some((None, Some(bound))),
        Operator::In | Operator::NotIn | Operator::Exists | Operator::DoesNotExist => None,
    }
}

fn tighter_upper(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (only, None) | (None, only) => only,
    }
}

fn crossed(gte: Option<i64>, lte: Option<i64>) -> bool {
    matches!((gte, lte), (Some(gte), Some(lte)) if gte > lte)
}

fn within(gte: Option<i64>, lte: Option<i64>, value: &str) -> bool {
    if gte.is_none() && lte.is_none() {
        return true;
    }
    value
        .parse::<i64>()
        .is_ok_and(|integer| gte.is_none_or(|gte| integer >= gte) && lte.is_none_or(|lte| integer <= lte))
}

#[cfg(test)]
#[path = "requirement_tests.rs"]
mod tests;
