//! Replica sets: as many pods as asked for (`pkg/controller/replicaset/replica_set.go`).

use super::{
    known::{Known, PodFacts},
    plan::{Action, Aim, BURST, Plan, Target, controller_reference, count, selector, some_count},
    template::pod_of,
    victims,
};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use kube::core::SelectorExt;
use std::sync::Arc;

/// A replica set and the pods around it.
pub(super) struct Input<'a> {
    pub(super) set: &'a ReplicaSet,
    /// The pods that it controls.
    pub(super) owned: Vec<Arc<PodFacts>>,
    /// The pods of its namespace that nothing controls.
    pub(super) orphans: Vec<Arc<PodFacts>>,
    /// The pods of all replica sets with the same controller.
    pub(super) related: Vec<Arc<PodFacts>>,
    pub(super) now: Timestamp,
}

/// What the replica set needs next.
pub(super) fn decide(input: &Input<'_>) -> Plan {
    let mut plan = Plan::default();
    let Some(claimed) = claim(input, &mut plan) else { return plan };
    let terminating = claimed.iter().filter(|pod| pod.terminating && !pod.is_finished()).count();
    let active: Vec<Arc<PodFacts>> = claimed.into_iter().filter(|pod| pod.is_active()).collect();
    let min_ready_seconds = spec_of(input.set).min_ready_seconds.unwrap_or_default();
    if input.set.metadata.deletion_timestamp.is_none() {
        balance(input, &active, &mut plan);
    }
    let soon = active.iter().filter_map(|pod| pod.available_at(min_ready_seconds)).filter(|at| *at > input.now);
    plan.look_again(soon.min());
    let status = ReplicaSetStatus {
        terminating_replicas: Some(count(terminating)),
        ..status(input, &active, min_ready_seconds)
    };
    plan.status(aim(input.set), input.set.status.as_ref(), &status);
    plan
}

fn spec_of(set: &ReplicaSet) -> k8s_openapi::api::apps::v1::ReplicaSetSpec {
    set.spec.clone().unwrap_or_default()
}

/// How many pods are asked for.
pub(super) fn wanted(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

pub(super) fn aim(set: &ReplicaSet) -> Aim {
    Aim { target: Target::ReplicaSet, key: set.key(), uid: set.uid().to_owned() }
}

/// The pods that are the set's own: those it controls and selects, and orphans that it selects. Others it lets go.
fn claim(input: &Input<'_>, plan: &mut Plan) -> Option<Vec<Arc<PodFacts>>> {
    let selector = selector(&input.set.spec.as_ref()?.selector)?;
    let (mut mine, others): (Vec<_>, Vec<_>) =
        input.owned.iter().cloned().partition(|pod| selector.matches(&pod.labels));
    if input.set.metadata.deletion_timestamp.is_some() {
        return Some(mine);
    }
    others.iter().for_each(|pod| plan.own(pod, &[]));
    let adopted = input.orphans.iter().filter(|pod| pod.is_active() && selector.matches(&pod.labels));
    for pod in adopted {
        plan.own(pod, &[controller_reference(input.set)]);
        mine.push(Arc::clone(pod));
    }
    Some(mine)
}

fn balance(input: &Input<'_>, active: &[Arc<PodFacts>], plan: &mut Plan) {
    let wanted = usize::try_from(wanted(input.set)).unwrap_or_default();
    if active.len() < wanted {
        let template = spec_of(input.set).template.unwrap_or_default();
        let key = input.set.key();
        for _ in 0..(wanted - active.len()).min(BURST) {
            let pod = pod_of(&template, &key.namespace, &key.name, controller_reference(input.set));
            plan.push(Action::CreatePod { pod: Box::new(pod), told: None });
        }
    } else if active.len() > wanted {
        let many = (active.len() - wanted).min(BURST);
        let chosen = victims::choose(active.to_vec(), &input.related, many, input.now);
        chosen.iter().for_each(|pod| plan.delete_pod(pod));
    }
}

fn status(input: &Input<'_>, active: &[Arc<PodFacts>], min_ready_seconds: i32) -> ReplicaSetStatus {
    let labels = spec_of(input.set).template.and_then(|template| template.metadata?.labels).unwrap_or_default();
    let labelled = |pod: &&Arc<PodFacts>| labels.iter().all(|(name, value)| pod.labels.get(name) == Some(value));
    let ready = active.iter().filter(|pod| pod.ready);
    let available = active.iter().filter(|pod| pod.is_available(min_ready_seconds, input.now));
    ReplicaSetStatus {
        replicas: count(active.len()),
        fully_labeled_replicas: some_count(active.iter().filter(labelled).count()),
        ready_replicas: some_count(ready.count()),
        available_replicas: some_count(available.count()),
        observed_generation: input.set.metadata.generation,
        conditions: input.set.status.as_ref().and_then(|status| status.conditions.clone()),
        terminating_replicas: None,
    }
}
