//! Which pods are to be placed (spec core 2.3).

use super::selector::selects;
use crate::{
    api::{labels, parse_go_duration},
    model::{ClusterSnapshot, is_provisionable, is_reschedulable, pod_spec, tolerates},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::Pod, policy::v1::PodDisruptionBudget},
    apimachinery::pkg::util::intstr::IntOrString,
};
use std::sync::Arc;

/// The pods that provisioning must place: those that wait for a node, those on machines that go away, and
/// those that stand for room to be kept.
pub fn pods_to_provision(snapshot: &ClusterSnapshot) -> Vec<Arc<Pod>> {
    let waiting = snapshot.pending.iter().filter(|pod| is_provisionable(pod)).cloned();
    waiting.chain(pods_of_leaving_nodes(snapshot)).chain(snapshot.virtual_pods.iter().cloned()).collect()
}

/// The pods on machines that go away which will need another place, as far as they can be moved now: those that nothing
/// protects from eviction, and that are evicted at all.
pub fn pods_of_leaving_nodes(snapshot: &ClusterSnapshot) -> Vec<Arc<Pod>> {
    let leaving = snapshot.nodes.iter().filter(|node| node.is_going_away()).flat_map(|node| &node.pods);
    let moves = |pod: &&Arc<Pod>| {
        is_reschedulable(pod)
            && !stays(pod)
            && !is_protected(pod, snapshot.now)
            && !is_blocked(pod, &snapshot.pod_disruption_budgets)
    };
    leaving.filter(moves).cloned().collect()
}

/// Whether the pod is left on its node to the end.
fn stays(pod: &Pod) -> bool {
    tolerates(pod_spec(pod).tolerations.as_deref().unwrap_or_default(), &labels::disrupted_taint())
}

/// Whether the pod asks, at `now`, not to be disrupted.
fn is_protected(pod: &Pod, now: Timestamp) -> bool {
    let asked = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(labels::DO_NOT_DISRUPT));
    match asked.map(String::as_str) {
        None => false,
        Some("true") => true,
        Some(text) => {
            let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
            let until = parse_go_duration(text).ok().and_then(|duration| {
                let duration = jiff::SignedDuration::try_from(duration).ok()?;
                started?.0.checked_add(duration).ok()
            });
            until.is_some_and(|until| now < until)
        }
    }
}

/// Whether no eviction of the pod can ever be allowed: a budget allows none, or more than one budget speaks of it.
fn is_blocked(pod: &Pod, budgets: &[Arc<PodDisruptionBudget>]) -> bool {
    let own = budgets.iter().filter(|budget| {
        budget.metadata.namespace.as_deref().unwrap_or("default") == super::topology::namespace(pod)
            && budget.spec.as_ref().is_some_and(|spec| selects(spec.selector.as_ref(), pod.metadata.labels.as_ref()))
    });
    let own: Vec<_> = own.filter_map(|budget| budget.spec.as_ref()).collect();
    let unhealthy_may_go = own.iter().all(|spec| spec.unhealthy_pod_eviction_policy.as_deref() == Some("AlwaysAllow"));
    if unhealthy_may_go && is_unready(pod) {
        return false;
    }
    let never = |bound: Option<&IntOrString>, number: Option<i32>, percent: &str| match bound {
        Some(IntOrString::Int(own)) => Some(*own) == number,
        Some(IntOrString::String(text)) => text == percent,
        None => false,
    };
    own.len() > 1
        || own.iter().any(|spec| {
            never(spec.max_unavailable.as_ref(), Some(0), "0%") || never(spec.min_available.as_ref(), None, "100%")
        })
}

fn is_unready(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "False")
}
