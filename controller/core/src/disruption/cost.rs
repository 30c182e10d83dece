//! What disrupting a machine costs its pods (spec core 4.4).

use crate::{
    api::labels::POD_DELETION_COST,
    model::{is_reschedulable, pod_spec},
};
use k8s_openapi::api::core::v1::Pod;
use std::{fmt, iter::Sum};

/// One undisturbed pod of priority zero counts as 1, which is held as 2²⁷ so that all costs are exact.
pub(super) const ONE: i64 = 1 << 27;
/// The most and least that one pod counts for.
const BOUND: i64 = 10 * ONE;
/// Priorities count for 2⁻²⁵ each, deletion costs for 2⁻²⁷.
const PER_PRIORITY: i64 = 4;

/// A cost of disruption; exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DisruptionCost(i64);

impl DisruptionCost {
    /// What evicting `pod` costs: its deletion cost and its priority raise it. A deletion cost that cannot be read is ignored.
    pub fn of_pod(pod: &Pod) -> Self {
        let annotation = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(POD_DELETION_COST));
        let deletion = annotation.and_then(|text| text.parse::<i32>().ok()).map_or(0, i64::from);
        let priority = pod_spec(pod).priority.map_or(0, i64::from);
        Self((ONE + deletion + priority * PER_PRIORITY).clamp(-BOUND, BOUND))
    }

    /// What moving the pods of a machine costs: 1, and what each pod that needs another place costs, but never less than
    /// nothing.
    pub fn of_moving<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> Self {
        let costs = pods.into_iter().filter(|pod| is_reschedulable(pod)).map(|pod| Self::of_pod(pod).0.max(0));
        Self(costs.fold(ONE, i64::saturating_add))
    }

    /// Whether no pod would mind: the machine counts as empty.
    pub fn is_empty(self) -> bool {
        self.0 <= ONE
    }

    /// The cost as exact units of 2⁻²⁷.
    pub fn units(self) -> i64 {
        self.0
    }

    /// The cost as a number, for people.
    pub fn value(self) -> f64 {
        self.0 as f64 / ONE as f64
    }
}

impl Sum for DisruptionCost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        Self(costs.fold(0, |sum, cost| sum.saturating_add(cost.0)))
    }
}

impl fmt::Display for DisruptionCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}", self.value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::fixtures::pod;
    use rstest::rstest;
    use serde_json::json;

    // Golden values of spec core A.4.
    #[rstest]
    #[case(None, None, 1.0)]
    #[case(Some("2147483647"), None, 10.0)]
    #[case(Some("-2147483647"), None, -10.0)]
    #[case(Some("100"), None, 1.000_000_745_058_059_7)]
    #[case(Some("-134217728"), None, 0.0)]
    #[case(Some("abc"), None, 1.0)]
    #[case(None, Some(1_000_000_000), 10.0)]
    #[case(None, Some(2_000_001_000), 10.0)]
    #[case(None, Some(-33_554_432), 0.0)]
    #[case(None, Some(-10), 0.999_999_701_976_776_1)]
    fn golden(#[case] deletion_cost: Option<&str>, #[case] priority: Option<i32>, #[case] expected: f64) {
        let annotations = deletion_cost.map(|cost| json!({ POD_DELETION_COST: cost }));
        let pod = pod("a", &json!({ "metadata": { "annotations": annotations }, "spec": { "priority": priority } }));
        assert_eq!(DisruptionCost::of_pod(&pod).value(), expected);
    }

    #[test]
    fn pods_that_mind_nothing_leave_a_machine_empty() {
        let careless = pod("a", &json!({ "spec": { "priority": -40_000_000 } }));
        let ordinary = pod("b", &json!({}));
        assert!(DisruptionCost::of_moving([&careless]).is_empty());
        assert_eq!(DisruptionCost::of_moving([&careless, &ordinary]).value(), 2.0);
    }
}
