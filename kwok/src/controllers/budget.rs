//! The status of PodDisruptionBudgets (`pkg/controller/disruption/disruption.go`).

use super::{
    deployment::whole,
    known::{Known, PodFacts},
    plan::{Action, Aim, Plan, Target, Told, count},
    rollout::{Rounding, scaled},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus},
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use std::{collections::BTreeMap, sync::Arc};

/// How long an eviction is believed in before the pod is seen going (`DeletionTimeout`).
const EVICTION_TIMEOUT: SignedDuration = SignedDuration::from_mins(2);

/// A budget and its pods.
pub(super) struct Input<'a> {
    pub(super) budget: &'a PodDisruptionBudget,
    /// The pods of its namespace that it selects.
    pub(super) pods: Vec<Arc<PodFacts>>,
    /// How many pods the controllers of these pods want, by the uid of whoever has the number (a deployment rather than its
    /// replica set); the error names a pod whose controller has none.
    pub(super) scales: Result<BTreeMap<String, i32>, String>,
    pub(super) now: Timestamp,
}

/// How many pods there should be, and how many of them healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Need {
    expected: i32,
    healthy: i32,
}

/// What the budget's status should say.
pub(super) fn decide(input: &Input<'_>) -> Plan {
    let mut plan = Plan::default();
    let budget = input.budget;
    let Some(spec) = &budget.spec else { return plan };
    let before = budget.status.clone().unwrap_or_default();
    if input.pods.is_empty() && before.observed_generation != budget.metadata.generation {
        plan.push(Action::Tell(Told::normal("NoPods", "No matching pods found".to_owned())));
    }
    let mut status = match need(spec, count(input.pods.len()), &input.scales) {
        Ok(need) => counted(input, &before, need, &mut plan),
        Err(why) => {
            if before.conditions.iter().flatten().all(|condition| condition.reason != "SyncFailed") {
                let message = format!("Failed to calculate the number of expected pods: {why}");
                plan.push(Action::Tell(Told::warning("CalculateExpectedPodCountFailed", message)));
            }
            let mut status = PodDisruptionBudgetStatus { disruptions_allowed: 0, ..before.clone() };
            condition(input, &mut status, ("False", "SyncFailed", &why));
            status
        }
    };
    status.observed_generation = budget.metadata.generation;
    let aim = Aim { target: Target::Budget, key: budget.key(), uid: budget.uid().to_owned() };
    plan.status(aim, budget.status.as_ref(), &status);
    plan
}

/// Percentages and `maxUnavailable` are of what the controllers want; a plain `minAvailable` is of what there is.
fn need(
    spec: &PodDisruptionBudgetSpec,
    pods: i32,
    scales: &Result<BTreeMap<String, i32>, String>,
) -> Result<Need, String> {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    let wanted = || scales.as_ref().map(|scales| scales.values().sum::<i32>()).map_err(Clone::clone);
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => {
            let expected = wanted()?;
            Ok(Need { expected, healthy: (expected - scaled(most, expected, Rounding::Up)).max(0) })
        }
        (None, Some(IntOrString::Int(least))) => Ok(Need { expected: pods, healthy: *least }),
        (None, Some(least @ IntOrString::String(_))) => {
            let expected = wanted()?;
            Ok(Need { expected, healthy: scaled(least, expected, Rounding::Up) })
        }
        (None, None) => Ok(Need { expected: pods, healthy: 0 }),
    }
}

/// How many pods may be disrupted now.
fn allowed(need: Need, healthy: i32) -> i32 {
    if need.expected <= 0 { 0 } else { (healthy - need.healthy).max(0) }
}

fn counted(
    input: &Input<'_>,
    before: &PodDisruptionBudgetStatus,
    need: Need,
    plan: &mut Plan,
) -> PodDisruptionBudgetStatus {
    let disrupted = still_disrupted(input, before.disrupted_pods.clone().unwrap_or_default());
    plan.look_again(disrupted.values().map(|time| time.0 + EVICTION_TIMEOUT).min());
    let is_healthy = |pod: &&Arc<PodFacts>| pod.ready && !pod.terminating && !disrupted.contains_key(&pod.key.name);
    let healthy = count(input.pods.iter().filter(is_healthy).count());
    let allowed = allowed(need, healthy);
    let mut status = PodDisruptionBudgetStatus {
        current_healthy: healthy,
        desired_healthy: need.healthy,
        expected_pods: need.expected,
        disruptions_allowed: allowed,
        disrupted_pods: Some(disrupted).filter(|pods| !pods.is_empty()),
        ..before.clone()
    };
    let sufficient = if allowed > 0 { ("True", "SufficientPods", "") } else { ("False", "InsufficientPods", "") };
    condition(input, &mut status, sufficient);
    status
}

/// Evicted pods that have not been seen going; after a while they are taken to stay.
fn still_disrupted(input: &Input<'_>, mut evicted: BTreeMap<String, Time>) -> BTreeMap<String, Time> {
    let stays = |name: &String| input.pods.iter().any(|pod| pod.key.name == *name && !pod.terminating);
    evicted.retain(|name, time| stays(name) && time.0 + EVICTION_TIMEOUT > input.now);
    evicted
}

fn condition(input: &Input<'_>, status: &mut PodDisruptionBudgetStatus, (value, reason, message): (&str, &str, &str)) {
    let generation = input.budget.metadata.generation;
    let conditions = status.conditions.get_or_insert_default();
    let known = conditions.iter().find(|condition| condition.type_ == "DisruptionAllowed");
    let since = known.filter(|known| known.status == value).map(|known| known.last_transition_time.clone());
    let new = Condition {
        type_: "DisruptionAllowed".to_owned(),
        status: value.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: generation,
        last_transition_time: since.unwrap_or_else(|| whole(input.now)),
    };
    conditions.retain(|condition| condition.type_ != "DisruptionAllowed");
    conditions.push(new);
}

#[cfg(test)]
mod tests {
    use super::{Need, allowed, need};
    use rstest::rstest;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    #[rstest]
    #[case::least(json!({"minAvailable": 2}), 5, 7, (5, 2))]
    #[case::least_part_is_of_the_scale_and_rounded_up(json!({"minAvailable": "50%"}), 5, 7, (7, 4))]
    #[case::most(json!({"maxUnavailable": 1}), 5, 7, (7, 6))]
    #[case::most_part_is_rounded_up(json!({"maxUnavailable": "30%"}), 5, 7, (7, 4))]
    #[case::all(json!({"maxUnavailable": "100%"}), 5, 7, (7, 0))]
    #[case::more_than_all(json!({"maxUnavailable": 9}), 5, 7, (7, 0))]
    #[case::none(json!({"maxUnavailable": "0%"}), 5, 7, (7, 7))]
    #[case::neither(json!({}), 5, 7, (5, 0))]
    fn what_is_needed(#[case] spec: Value, #[case] pods: i32, #[case] scale: i32, #[case] expected: (i32, i32)) {
        let scales = Ok(BTreeMap::from([("a".to_owned(), scale - 2), ("b".to_owned(), 2)]));
        let need = need(&serde_json::from_value(spec).unwrap(), pods, &scales).unwrap();
        assert_eq!((need.expected, need.healthy), expected);
    }

    #[rstest]
    #[case(3, 2, 5, 3)]
    #[case(5, 5, 5, 0)]
    #[case(5, 6, 5, 0)]
    #[case(0, 0, 3, 0)]
    fn what_is_allowed(#[case] expected: i32, #[case] least: i32, #[case] healthy: i32, #[case] disruptions: i32) {
        assert_eq!(allowed(Need { expected, healthy: least }, healthy), disruptions);
    }

    #[test]
    fn pods_without_a_scale_are_refused_where_one_is_needed() {
        let scales = Err("found no controller ref for pod \"a\"".to_owned());
        let spec = |value: Value| serde_json::from_value(value).unwrap();
        assert!(need(&spec(json!({"maxUnavailable": 1})), 1, &scales).is_err());
        assert!(need(&spec(json!({"minAvailable": "10%"})), 1, &scales).is_err());
        assert!(need(&spec(json!({"minAvailable": 1})), 1, &scales).is_ok());
    }
}
