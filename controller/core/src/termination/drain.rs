//! Which pods are told to go now, which are waited for, and why (spec core 3.4, Drain).

use crate::{
    api::labels::disrupted_taint,
    lifecycle::{DoNotDisrupt, later},
    model::{PodKey, is_daemon_pod, is_static_pod, is_terminal, is_terminating, pod_spec, tolerates},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use std::{fmt, sync::Arc, time::Duration};

/// A pod so long past its deletion time is stuck (its kubelet is gone, or a finalizer holds it), and is not waited for.
const STUCK_AFTER: Duration = Duration::from_mins(1);

/// What to do with the pods of a node that is being emptied.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drain {
    /// Pods to be told to go, by namespace and name.
    pub actions: Vec<DrainAction>,
    /// Pods that are waited for, and why.
    pub waiting: Vec<(PodKey, DrainWait)>,
    /// When that changes by time alone: a pod's forced deletion is due, or a pod counts as stuck.
    pub changes_at: Option<Timestamp>,
}

/// How a pod is told to go.
#[derive(Clone, Debug, PartialEq)]
pub enum DrainAction {
    /// Through the eviction subresource, which asks the pod's budgets.
    Evict(Arc<Pod>),
    /// By deletion, whatever its budgets say.
    ForceDelete {
        /// The pod.
        pod: Arc<Pod>,
        /// The grace period to give it: what is left until the deadline, at least one second.
        grace_seconds: u32,
    },
}

/// Why a pod is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrainWait {
    /// It has been told to go and has not ended yet.
    Terminating,
    /// It is being told to go; a budget may hold it.
    Eviction,
    /// It asks not to be disrupted.
    DoNotDisrupt,
    /// It goes after others that depend on it.
    LaterTier,
}

impl DrainWait {
    /// A stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Terminating => "terminating",
            Self::Eviction => "eviction",
            Self::DoNotDisrupt => "do-not-disrupt",
            Self::LaterTier => "later-tier",
        }
    }
}

impl fmt::Display for DrainWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminating => "it has been told to go and has not ended yet",
            Self::Eviction => "it is being evicted",
            Self::DoNotDisrupt => "it asks not to be disrupted",
            Self::LaterTier => "it goes after the pods that may depend on it",
        })
    }
}

impl Drain {
    /// Whether nothing is waited for any more.
    pub fn is_done(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// What to do with `pods`, the pods of a node that is being emptied, at `now`. At `deadline`, if there is one, all must be
/// gone.
pub fn drain(pods: &[Arc<Pod>], deadline: Option<Timestamp>, now: Timestamp) -> Drain {
    let mut drain = Drain::default();
    let mut waited_for: Vec<&Arc<Pod>> =
        pods.iter().filter(|pod| !is_terminal(pod) && is_drainable(pod, now)).collect();
    waited_for.sort_by_cached_key(|pod| PodKey::of(pod));
    let tier = waited_for.iter().map(|pod| tier(pod)).min();
    for pod in waited_for {
        let wait = tell(pod, tier, deadline, now, &mut drain);
        drain.waiting.push((PodKey::of(pod), wait));
    }
    drain
}

fn tell(
    pod: &Arc<Pod>,
    current_tier: Option<u8>,
    deadline: Option<Timestamp>,
    now: Timestamp,
    drain: &mut Drain,
) -> DrainWait {
    if let Some((due, deadline)) = deadline.and_then(|deadline| Some((forced_from(pod, deadline)?, deadline))) {
        if now > due {
            drain
                .actions
                .push(DrainAction::ForceDelete { pod: Arc::clone(pod), grace_seconds: seconds_left(deadline, now) });
            return DrainWait::Terminating;
        }
        // Strictly after, so a moment later.
        drain.note(later(due, Duration::from_secs(1)));
    }
    if is_terminating(pod) {
        drain.note_option(pod.metadata.deletion_timestamp.as_ref().map(|time| later(time.0, STUCK_AFTER)));
        return DrainWait::Terminating;
    }
    if Some(tier(pod)) != current_tier {
        return DrainWait::LaterTier;
    }
    let asked = DoNotDisrupt::of(pod, now);
    if asked.protects() {
        drain.note_option(asked.changes_at());
        return DrainWait::DoNotDisrupt;
    }
    drain.actions.push(DrainAction::Evict(Arc::clone(pod)));
    DrainWait::Eviction
}

impl Drain {
    fn note(&mut self, time: Timestamp) {
        self.changes_at = Some(self.changes_at.map_or(time, |known| known.min(time)));
    }

    fn note_option(&mut self, time: Option<Timestamp>) {
        if let Some(time) = time {
            self.note(time);
        }
    }
}

/// Whether the pod has to leave before its node can go.
pub(crate) fn is_drainable(pod: &Pod, now: Timestamp) -> bool {
    let tolerations = pod_spec(pod).tolerations.as_deref().unwrap_or_default();
    let stuck = pod.metadata.deletion_timestamp.as_ref().is_some_and(|time| now > later(time.0, STUCK_AFTER));
    !stuck && !is_static_pod(pod) && !tolerates(tolerations, &disrupted_taint())
}

/// Lower tiers go first: what serves others (daemons, and whatever is critical for the cluster or node) goes last.
fn tier(pod: &Pod) -> u8 {
    let class = pod_spec(pod).priority_class_name.as_deref().unwrap_or_default();
    let critical = ["system-cluster-critical", "system-node-critical"].contains(&class);
    u8::from(critical) * 2 + u8::from(is_daemon_pod(pod))
}

/// The instant after which the pod is deleted by force, so that its grace period ends by the deadline; none for pods without
/// a grace period, and for pods that are ending in time anyway.
fn forced_from(pod: &Pod, deadline: Timestamp) -> Option<Timestamp> {
    if let Some(ends) = &pod.metadata.deletion_timestamp {
        return (ends.0 > deadline).then_some(Timestamp::MIN);
    }
    let grace = u64::try_from(pod_spec(pod).termination_grace_period_seconds?).unwrap_or(0);
    Some(deadline.checked_sub(Duration::from_secs(grace)).unwrap_or(Timestamp::MIN))
}

fn seconds_left(deadline: Timestamp, now: Timestamp) -> u32 {
    u32::try_from((deadline.as_second() - now.as_second()).max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::fixtures::{at, merge, pod};
    use rstest::rstest;
    use serde_json::{Value, json};

    fn pods(list: &[(&str, Value)]) -> Vec<Arc<Pod>> {
        list.iter().map(|(name, change)| Arc::new(pod(name, change))).collect()
    }

    fn daemon() -> Value {
        json!({ "metadata": { "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "d" }] } })
    }

    fn critical() -> Value {
        json!({ "spec": { "priorityClassName": "system-cluster-critical" } })
    }

    fn both() -> Value {
        let mut change = daemon();
        merge(&mut change, &critical());
        change
    }

    fn protected() -> Value {
        json!({ "metadata": { "annotations": { "karpenter.sh/do-not-disrupt": "true" } } })
    }

    fn told(drain: &Drain) -> Vec<String> {
        let text = |action: &DrainAction| match action {
            DrainAction::Evict(pod) => format!("evict {}", PodKey::of(pod).name),
            DrainAction::ForceDelete { pod, grace_seconds } => {
                format!("force {} {grace_seconds}s", PodKey::of(pod).name)
            }
        };
        drain.actions.iter().map(text).collect()
    }

    fn waits(drain: &Drain) -> Vec<(&str, DrainWait)> {
        drain.waiting.iter().map(|(key, wait)| (&*key.name, *wait)).collect()
    }

    #[rstest]
    #[case::ordinary_first(vec![("b", json!({})), ("d", daemon()), ("a", json!({})), ("c", critical()), ("e", both())], vec!["evict a", "evict b"])]
    #[case::then_daemons(vec![("d", daemon()), ("c", critical()), ("e", both())], vec!["evict d"])]
    #[case::then_critical(vec![("c", critical()), ("e", both())], vec!["evict c"])]
    #[case::then_critical_daemons(vec![("e", both())], vec!["evict e"])]
    #[case::a_terminating_pod_holds_its_tier(
        vec![("a", json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:30Z" } })), ("d", daemon())], vec![]
    )]
    fn tiers_go_one_after_another(#[case] list: Vec<(&str, Value)>, #[case] expected: Vec<&str>) {
        assert_eq!(told(&drain(&pods(&list), None, at(10))), expected);
    }

    #[rstest]
    #[case::terminal(json!({ "status": { "phase": "Succeeded" } }))]
    #[case::tolerates_disruption(json!({ "spec": { "tolerations": [{ "key": "karpenter.sh/disrupted", "operator": "Exists" }] } }))]
    #[case::tolerates_everything(json!({ "spec": { "tolerations": [{ "operator": "Exists" }] } }))]
    #[case::static_pod(json!({ "metadata": { "ownerReferences": [{ "apiVersion": "v1", "kind": "Node", "name": "n", "uid": "n" }] } }))]
    #[case::stuck(json!({ "metadata": { "deletionTimestamp": "2025-12-31T23:58:59Z" } }))]
    fn some_pods_are_not_waited_for(#[case] change: Value) {
        assert!(drain(&pods(&[("a", change)]), None, at(0)).is_done());
    }

    #[test]
    fn each_pod_that_is_waited_for_says_why() {
        let terminating = json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:30Z" } });
        let list = pods(&[("a", json!({})), ("b", protected()), ("c", terminating), ("d", daemon())]);
        let drain = drain(&list, None, at(10));
        assert_eq!(
            waits(&drain),
            [
                ("a", DrainWait::Eviction),
                ("b", DrainWait::DoNotDisrupt),
                ("c", DrainWait::Terminating),
                ("d", DrainWait::LaterTier)
            ]
        );
        assert_eq!(drain.changes_at, Some(at(90)));
    }

    #[rstest]
    #[case::not_yet(70, vec!["evict a"], Some(71))]
    #[case::due(71, vec!["force a 29s", "force d 29s", "force p 29s"], None)]
    #[case::over(150, vec!["force a 1s", "force d 1s", "force p 1s"], None)]
    fn the_deadline_is_kept_by_force_across_all_tiers(
        #[case] now: i64,
        #[case] expected: Vec<&str>,
        #[case] changes_at: Option<i64>,
    ) {
        let list = pods(&[("a", json!({})), ("d", daemon()), ("p", protected())]);
        let drain = drain(&list, Some(at(100)), at(now));
        assert_eq!(told(&drain), expected);
        assert_eq!(drain.changes_at, changes_at.map(at));
    }

    #[rstest]
    #[case::ends_in_time(json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:01:40Z" } }), vec![])]
    #[case::ends_too_late(json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:01:41Z" } }), vec!["force a 90s"])]
    #[case::no_grace_period(json!({ "spec": { "terminationGracePeriodSeconds": null } }), vec!["evict a"])]
    fn terminating_pods_and_pods_without_grace(#[case] change: Value, #[case] expected: Vec<&str>) {
        assert_eq!(told(&drain(&pods(&[("a", change)]), Some(at(100)), at(10))), expected);
    }
}
