//! Daemon sets: a pod on every node where it belongs (`pkg/controller/daemon/daemon_controller.go`).

use super::{
    eligibility::{add_tolerations, eligibility, pin},
    known::{Key, Known, NodeFacts, Phase, PodFacts},
    plan::{Action, Aim, BURST, Plan, Target, Told, controller_reference, count, some_count},
    revisions::{self, Present},
    rollout::{Rounding, scaled},
    template::{REVISION_HASH, label, pod_of, template_hash},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, DaemonSet, DaemonSetSpec, DaemonSetStatus},
        core::v1::PodSpec,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use std::{collections::BTreeMap, sync::Arc};

/// A daemon set, the pods that it controls, and all nodes by name.
pub(super) struct Input<'a> {
    pub(super) set: &'a DaemonSet,
    pub(super) owned: Vec<Arc<PodFacts>>,
    pub(super) revisions: Vec<Arc<ControllerRevision>>,
    pub(super) nodes: Vec<Arc<NodeFacts>>,
    pub(super) now: Timestamp,
}

struct Daemons<'a> {
    input: &'a Input<'a>,
    spec: DaemonSetSpec,
    /// The pod's spec with the tolerations of daemons.
    pod_spec: PodSpec,
    revision: String,
    /// The set's pods by the node that they are on or meant for.
    by_node: BTreeMap<&'a str, Vec<&'a Arc<PodFacts>>>,
    plan: Plan,
}

/// What the daemon set needs next.
pub(super) fn decide(input: &Input<'_>) -> Plan {
    let Some(spec) = input.set.spec.clone() else { return Plan::default() };
    let mut pod_spec = spec.template.spec.clone().unwrap_or_default();
    add_tolerations(&mut pod_spec);
    let mut by_node = BTreeMap::<&str, Vec<_>>::new();
    for pod in &input.owned {
        by_node.entry(pod.meant_for.as_deref().unwrap_or_default()).or_default().push(pod);
    }
    let revision = template_hash(&spec.template);
    let mut daemons = Daemons { input, pod_spec, revision, by_node, plan: Plan::default(), spec };
    if input.set.metadata.deletion_timestamp.is_none() {
        daemons.keep_history();
        if !daemons.place() {
            daemons.update();
        }
    }
    let seconds = daemons.min_ready_seconds();
    let soon = input.owned.iter().filter_map(|pod| pod.available_at(seconds)).filter(|at| *at > input.now).min();
    daemons.plan.look_again(soon);
    daemons.report();
    daemons.plan
}

impl Daemons<'_> {
    fn keep_history(&mut self) {
        let set = self.input.set;
        let Key { namespace, name } = set.key();
        let in_use = self.input.owned.iter().filter_map(|pod| pod.labels.get(REVISION_HASH));
        let present = Present {
            owner: controller_reference(set),
            namespace: &namespace,
            name: format!("{name}-{}", self.revision),
            template: &self.spec.template,
            hash: (REVISION_HASH, self.revision.clone()),
            annotations: set.metadata.annotations.clone(),
            limit: self.spec.revision_history_limit,
            in_use: in_use.map(|hash| format!("{name}-{hash}")).collect(),
        };
        revisions::keep(&present, &self.input.revisions, &mut self.plan);
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.min_ready_seconds.unwrap_or_default()
    }

    /// Starts and stops daemons so that every node has its one; answers whether there was anything to do.
    fn place(&mut self) -> bool {
        let mut missing = Vec::new();
        let mut surplus: Vec<Arc<PodFacts>> = Vec::new();
        for node in &self.input.nodes {
            let pods = self.by_node.get(node.name.as_str()).cloned().unwrap_or_default();
            let eligible = eligibility(&self.pod_spec, node);
            if !eligible.stay {
                surplus.extend(pods.into_iter().filter(|pod| !pod.terminating).cloned());
            } else if pods.is_empty() {
                missing.extend(eligible.run.then_some(&node.name));
            } else {
                self.thin_out(&pods, &node.name, &mut surplus);
            }
        }
        surplus.extend(self.without_node());
        let acts = !missing.is_empty() || !surplus.is_empty();
        missing.into_iter().take(BURST).for_each(|node| self.create(node));
        surplus.iter().take(BURST).for_each(|pod| self.plan.delete_pod(pod));
        acts
    }

    /// Failed daemons go, and all but the oldest of those that live.
    fn thin_out(&mut self, pods: &[&Arc<PodFacts>], node: &str, surplus: &mut Vec<Arc<PodFacts>>) {
        let staying = pods.iter().filter(|pod| !pod.terminating);
        let (ended, mut living): (Vec<&Arc<PodFacts>>, Vec<&Arc<PodFacts>>) =
            staying.partition(|pod| pod.is_finished());
        for pod in ended {
            let (reason, what) = match pod.phase {
                Phase::Succeeded => ("SucceededDaemonPod", "succeeded"),
                Phase::Pending | Phase::Unknown | Phase::Running | Phase::Failed => ("FailedDaemonPod", "failed"),
            };
            let message = format!(
                "Found {what} daemon pod {}/{} on node {node}, will try to {} it",
                pod.key.namespace,
                pod.key.name,
                if what == "failed" { "kill" } else { "delete" },
            );
            let told = if what == "failed" { Told::warning(reason, message) } else { Told::normal(reason, message) };
            self.plan.push(Action::Tell(told));
            surplus.push(Arc::clone(pod));
        }
        living.sort_by_key(|pod| (pod.node.is_none(), pod.created, pod.key.clone()));
        surplus.extend(living.into_iter().skip(1).cloned());
    }

    /// Daemons that wait for a node that is gone. Those bound to one are collected with it.
    fn without_node(&self) -> Vec<Arc<PodFacts>> {
        let exists = |name: &str| self.input.nodes.binary_search_by(|node| node.name.as_str().cmp(name)).is_ok();
        let waits = |pod: &&Arc<PodFacts>| pod.node.is_none() && !pod.terminating;
        let lost = |pod: &&Arc<PodFacts>| pod.meant_for.as_deref().is_some_and(|name| !exists(name));
        self.input.owned.iter().filter(waits).filter(lost).cloned().collect()
    }

    fn create(&mut self, node: &str) {
        let set = self.input.set;
        let key = set.key();
        let mut pod = pod_of(&self.spec.template, &key.namespace, &key.name, controller_reference(set));
        label(&mut pod, REVISION_HASH, &self.revision);
        label(&mut pod, "pod-template-generation", &set.metadata.generation.unwrap_or(1).to_string());
        let mut spec = self.pod_spec.clone();
        pin(&mut spec, node);
        pod.spec = Some(spec);
        self.plan.push(Action::CreatePod { pod: Box::new(pod), told: None });
    }

    fn is_new(&self, pod: &PodFacts) -> bool {
        pod.labels.get(REVISION_HASH) == Some(&self.revision)
    }

    fn is_available(&self, pod: &PodFacts) -> bool {
        !pod.terminating && pod.is_available(self.min_ready_seconds(), self.input.now)
    }

    /// Deletes daemons of older templates: those that are not available at once, others as many as may be missing.
    fn update(&mut self) {
        let strategy = self.spec.update_strategy.clone().unwrap_or_default();
        if strategy.type_.as_deref() == Some("OnDelete") {
            return;
        }
        let most = strategy.rolling_update.and_then(|update| update.max_unavailable).unwrap_or(IntOrString::Int(1));
        let nodes = self.nodes_to_run();
        let most = scaled(&most, count(nodes.len()), Rounding::Up).max(1);
        let mut missing = 0;
        let mut old: Vec<Arc<PodFacts>> = Vec::new();
        for node in nodes {
            let mut pods = self.by_node.get(node.as_str()).into_iter().flatten();
            match pods.find(|pod| !pod.terminating && !pod.is_finished()) {
                Some(pod) if !self.is_available(pod) => {
                    missing += 1;
                    if !self.is_new(pod) {
                        self.plan.delete_pod(pod);
                    }
                }
                Some(pod) if !self.is_new(pod) => old.push(Arc::clone(pod)),
                Some(_) => {}
                None => missing += 1,
            }
        }
        let many = usize::try_from(most - missing).unwrap_or_default();
        old.iter().take(many).for_each(|pod| self.plan.delete_pod(pod));
    }

    fn nodes_to_run(&self) -> Vec<String> {
        let runs = |node: &&Arc<NodeFacts>| eligibility(&self.pod_spec, node).run;
        self.input.nodes.iter().filter(runs).map(|node| node.name.clone()).collect()
    }

    fn report(&mut self) {
        let set = self.input.set;
        let mut status = DaemonSetStatus { observed_generation: set.metadata.generation, ..DaemonSetStatus::default() };
        let (mut available, mut updated) = (0, 0);
        for node in &self.input.nodes {
            let run = eligibility(&self.pod_spec, node).run;
            let pods = self.by_node.get(node.name.as_str());
            status.desired_number_scheduled += i32::from(run);
            let oldest = pods.into_iter().flatten().min_by_key(|pod| (pod.created, pod.key.clone()));
            let Some(pod) = oldest else { continue };
            if !run {
                status.number_misscheduled += 1;
                continue;
            }
            status.current_number_scheduled += 1;
            status.number_ready += i32::from(pod.ready);
            available += usize::from(pod.ready && self.is_available(pod));
            updated += usize::from(self.is_new(pod));
        }
        let missing = usize::try_from(status.desired_number_scheduled).unwrap_or_default().saturating_sub(available);
        status.number_available = some_count(available);
        status.number_unavailable = some_count(missing);
        status.updated_number_scheduled = some_count(updated);
        let before = set.status.as_ref();
        status.conditions = before.and_then(|status| status.conditions.clone());
        status.collision_count = before.and_then(|status| status.collision_count);
        let aim = Aim { target: Target::DaemonSet, key: set.key(), uid: set.uid().to_owned() };
        self.plan.status(aim, before, &status);
    }
}
