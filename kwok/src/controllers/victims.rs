//! Which pods go first when there are too many (`ActivePodsWithRanks` in `pkg/controller/controller_utils.go`).

use super::known::PodFacts;
use jiff::Timestamp;
use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

/// The `many` pods that go first. `related` are all pods of the same family of replica sets: of pods on a node with many of
/// them, some go before pods that are alone.
pub(super) fn choose(
    mut pods: Vec<Arc<PodFacts>>,
    related: &[Arc<PodFacts>],
    many: usize,
    now: Timestamp,
) -> Vec<Arc<PodFacts>> {
    let mut on_node = BTreeMap::<&str, usize>::new();
    let active = related.iter().filter(|pod| pod.is_active());
    active.filter_map(|pod| pod.node.as_deref()).for_each(|node| *on_node.entry(node).or_default() += 1);
    let rank = |pod: &PodFacts| pod.node.as_deref().and_then(|node| on_node.get(node)).copied().unwrap_or_default();
    pods.sort_by(|a, b| order(a, b, rank(a), rank(b), now));
    pods.truncate(many);
    pods
}

fn order(a: &PodFacts, b: &PodFacts, rank_a: usize, rank_b: usize, now: Timestamp) -> Ordering {
    let assigned = a.node.is_some().cmp(&b.node.is_some());
    let ready_times = || match (a.ready, b.ready) {
        (true, true) => newer_first(a.ready_since, b.ready_since, a, b, now),
        (true, false) | (false, true) | (false, false) => Ordering::Equal,
    };
    assigned
        .then(a.phase.cmp(&b.phase))
        .then(a.ready.cmp(&b.ready))
        .then(a.deletion_cost.cmp(&b.deletion_cost))
        .then(rank_b.cmp(&rank_a))
        .then_with(ready_times)
        .then(b.restarts.cmp(&a.restarts))
        .then_with(|| newer_first(Some(a.created), Some(b.created), a, b, now))
        .then_with(|| a.key.cmp(&b.key))
}

/// Younger ones first, where ages with the same binary magnitude count as equal and the uid decides
/// (`LogarithmicScaleDown`); a time that is not known counts as young. Equal times are left to the uid too: passing them on
/// to the next criterion, as upstream does, is no total order (a < b by uid, b < c by uid, but c < a by restarts).
fn newer_first(
    time_a: Option<Timestamp>,
    time_b: Option<Timestamp>,
    a: &PodFacts,
    b: &PodFacts,
    now: Timestamp,
) -> Ordering {
    match (time_a, time_b) {
        (Some(time_a), Some(time_b)) => {
            magnitude(time_a, now).cmp(&magnitude(time_b, now)).then_with(|| a.uid.cmp(&b.uid))
        }
        (None, None) => Ordering::Equal,
        (time_a, time_b) => time_a.is_some().cmp(&time_b.is_some()),
    }
}

/// The binary logarithm of an age in nanoseconds; ages of nothing are youngest.
fn magnitude(since: Timestamp, now: Timestamp) -> Option<u32> {
    u128::try_from(now.duration_since(since).as_nanos()).ok()?.checked_ilog2()
}

#[cfg(test)]
mod tests {
    use super::choose;
    use crate::controllers::known::PodFacts;
    use jiff::Timestamp;
    use rstest::rstest;
    use serde_json::{Value, json};
    use std::sync::Arc;

    const NOW: &str = "2026-01-01T12:00:00Z";

    /// A Ready pod on node `n`, an hour old, with changes.
    fn pod(name: &str, changes: &Value) -> Arc<PodFacts> {
        let since = "2026-01-01T11:00:00Z";
        let mut pod = json!({
            "metadata": {"name": name, "namespace": "default", "uid": name, "creationTimestamp": since},
            "spec": {"nodeName": "n", "containers": []},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}],
                "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0}],
            },
        });
        json_patch::merge(&mut pod, changes);
        Arc::new(PodFacts::of(&serde_json::from_value(pod).unwrap()))
    }

    fn ready(status: &str, since: &str) -> Value {
        json!({"status": {"conditions": [{"type": "Ready", "status": status, "lastTransitionTime": since}]}})
    }

    fn restarted(times: i32) -> Value {
        let status = json!({"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": times});
        json!({"status": {"containerStatuses": [status]}})
    }

    /// Pods that are not Ready have no times by which they could be told apart first.
    fn not_ready() -> Value {
        ready("False", "2026-01-01T11:00:00Z")
    }

    fn with(mut changes: Value, more: &Value) -> Value {
        json_patch::merge(&mut changes, more);
        changes
    }

    #[rstest]
    #[case::unassigned(json!({"spec": {"nodeName": null}}), json!({"status": {"phase": "Pending"}}))]
    #[case::pending(json!({"status": {"phase": "Pending"}}), json!({"status": {"phase": "Unknown"}}))]
    #[case::unknown(json!({"status": {"phase": "Unknown"}}), ready("False", "2026-01-01T11:00:00Z"))]
    #[case::not_ready(ready("False", "2026-01-01T11:00:00Z"), json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-5"}}}))]
    #[case::cheap(json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-5"}}}), ready("True", "2026-01-01T11:59:00Z"))]
    #[case::ready_lately(ready("True", "2026-01-01T11:59:00Z"), restarted(3))]
    #[case::restarted(with(restarted(3), &not_ready()), not_ready())]
    #[case::new(with(json!({"metadata": {"creationTimestamp": "2026-01-01T11:59:59Z"}}), &not_ready()), not_ready())]
    fn goes_before(#[case] first: Value, #[case] second: Value) {
        let now: Timestamp = NOW.parse().unwrap();
        // Names and uids speak for the second, so that only the rule decides.
        let pods = vec![pod("a", &second), pod("b", &first)];
        let chosen = choose(pods.clone(), &pods, 1, now);
        assert_eq!(chosen[0].key.name, "b");
    }

    #[test]
    fn crowded_nodes_are_thinned_out() {
        let now: Timestamp = NOW.parse().unwrap();
        let elsewhere = json!({"spec": {"nodeName": "m"}});
        let pods = vec![pod("a", &json!({})), pod("b", &elsewhere), pod("c", &elsewhere)];
        let chosen = choose(pods.clone(), &pods, 1, now);
        assert_eq!(chosen[0].key.name, "b");
    }

    #[test]
    fn ages_of_the_same_magnitude_are_told_apart_by_uid_alone() {
        let now: Timestamp = NOW.parse().unwrap();
        let pods =
            vec![pod("b", &ready("True", "2026-01-01T11:00:10Z")), pod("a", &ready("True", "2026-01-01T11:00:00Z"))];
        assert_eq!(choose(pods.clone(), &pods, 1, now)[0].key.name, "a");
    }
}
