//! Stateful sets: pods with names, made and given up in order (`pkg/controller/statefulset/stateful_set_control.go`).

use super::{
    known::{Key, Known, Phase, PodFacts},
    plan::{Action, Aim, Plan, Target, Told, controller_reference, count, pod_aim, some_count},
    revisions::{self, Present},
    template::{REVISION_HASH, label, pod_of, template_hash},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, StatefulSet, StatefulSetSpec, StatefulSetStatus},
        core::v1::{PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, Volume},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use std::{collections::BTreeMap, sync::Arc};

const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// A stateful set and the pods that it controls.
pub(super) struct Input<'a> {
    pub(super) set: &'a StatefulSet,
    pub(super) owned: Vec<Arc<PodFacts>>,
    pub(super) revisions: Vec<Arc<ControllerRevision>>,
    pub(super) now: Timestamp,
}

struct Ordered<'a> {
    input: &'a Input<'a>,
    spec: StatefulSetSpec,
    pods: BTreeMap<i32, Arc<PodFacts>>,
    /// The revision of today's template.
    revision: String,
    plan: Plan,
}

/// What the stateful set needs next.
pub(super) fn decide(input: &Input<'_>) -> Plan {
    let Some(spec) = input.set.spec.clone() else { return Plan::default() };
    let name = input.set.key().name;
    let pods = input.owned.iter().filter_map(|pod| Some((ordinal(&name, &pod.key.name)?, Arc::clone(pod))));
    let revision = format!("{name}-{}", template_hash(&spec.template));
    let mut ordered = Ordered { input, pods: pods.collect(), revision, plan: Plan::default(), spec };
    if input.set.metadata.deletion_timestamp.is_none() {
        ordered.keep_history();
        ordered.act();
    }
    let soon = input.owned.iter().filter_map(|pod| pod.available_at(ordered.min_ready_seconds()));
    let soon = soon.filter(|at| *at > input.now).min();
    ordered.plan.look_again(soon);
    ordered.report();
    ordered.plan
}

/// The number in the name of one of the set's pods.
fn ordinal(set: &str, pod: &str) -> Option<i32> {
    pod.strip_prefix(set)?.strip_prefix('-')?.parse().ok()
}

impl Ordered<'_> {
    fn keep_history(&mut self) {
        let set = self.input.set;
        let Key { namespace, name } = set.key();
        let hash = self.revision.strip_prefix(&format!("{name}-")).unwrap_or_default().to_owned();
        let in_use = self.input.owned.iter().filter_map(|pod| pod.labels.get(REVISION_HASH)).cloned();
        let present = Present {
            owner: controller_reference(set),
            namespace: &namespace,
            name: self.revision.clone(),
            template: &self.spec.template,
            hash: ("controller.kubernetes.io/hash", hash),
            annotations: set.metadata.annotations.clone(),
            limit: self.spec.revision_history_limit,
            in_use: in_use.collect(),
        };
        revisions::keep(&present, &self.input.revisions, &mut self.plan);
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.min_ready_seconds.unwrap_or_default()
    }

    /// The first ordinal, and the first that is no longer wanted.
    fn range(&self) -> std::ops::Range<i32> {
        let start = self.spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or_default();
        start..start + self.spec.replicas.unwrap_or(1)
    }

    fn is_parallel(&self) -> bool {
        self.spec.pod_management_policy.as_deref() == Some("Parallel")
    }

    fn is_well(&self, pod: &PodFacts) -> bool {
        pod.phase == Phase::Running && !pod.terminating && pod.is_available(self.min_ready_seconds(), self.input.now)
    }

    /// Makes missing pods, then gives up those above the range, then replaces those of older templates. In order, each
    /// step waits for the one before.
    fn act(&mut self) {
        let settled = self.fill() && self.shrink();
        if settled {
            self.update();
        }
    }

    /// Answers whether all pods are there, and may be built upon.
    fn fill(&mut self) -> bool {
        for ordinal in self.range() {
            let settled = match self.pods.get(&ordinal).cloned() {
                Some(pod) if pod.is_finished() && !pod.terminating => {
                    self.delete(&pod);
                    false
                }
                Some(pod) => self.is_well(&pod),
                None => {
                    self.create(ordinal);
                    false
                }
            };
            if !settled && !self.is_parallel() {
                return false;
            }
        }
        true
    }

    /// Answers whether no pod above the range is left to wait for.
    fn shrink(&mut self) -> bool {
        let range = self.range();
        let condemned: Vec<Arc<PodFacts>> = self
            .pods
            .iter()
            .rev()
            .filter(|(ordinal, _)| !range.contains(ordinal))
            .map(|(_, pod)| pod.clone())
            .collect();
        for pod in &condemned {
            if !pod.terminating {
                self.delete(pod);
            }
            if !self.is_parallel() {
                return false;
            }
        }
        condemned.is_empty() || self.is_parallel()
    }

    /// Deletes the last pod of an older template, once all behind it are well.
    fn update(&mut self) {
        let strategy = self.spec.update_strategy.clone().unwrap_or_default();
        if strategy.type_.as_deref() == Some("OnDelete") {
            return;
        }
        let partition = strategy.rolling_update.and_then(|update| update.partition).unwrap_or_default();
        let range = self.range();
        for ordinal in range.rev().filter(|ordinal| *ordinal >= partition) {
            let Some(pod) = self.pods.get(&ordinal).cloned() else { return };
            if !self.is_of(&pod, &self.revision) && !pod.terminating {
                return self.delete(&pod);
            }
            if !self.is_well(&pod) {
                return;
            }
        }
    }

    fn is_of(&self, pod: &PodFacts, revision: &str) -> bool {
        pod.labels.get(REVISION_HASH).is_some_and(|hash| hash == revision)
    }

    fn delete(&mut self, pod: &PodFacts) {
        let message = format!("delete Pod {} in StatefulSet {} successful", pod.key.name, self.input.set.key().name);
        let told = Told::normal("SuccessfulDelete", message);
        self.plan.push(Action::Delete { aim: pod_aim(pod), foreground: false, told: Some(told) });
    }

    fn create(&mut self, ordinal: i32) {
        let set = self.input.set.key();
        let name = format!("{}-{ordinal}", set.name);
        let mut pod = pod_of(&self.spec.template, &set.namespace, &set.name, controller_reference(self.input.set));
        pod.metadata.generate_name = Some(format!("{}-", set.name));
        pod.metadata.name = Some(name.clone());
        label(&mut pod, POD_NAME, &name);
        label(&mut pod, POD_INDEX, &ordinal.to_string());
        label(&mut pod, REVISION_HASH, &self.revision);
        self.claims(&mut pod, &name);
        if let Some(spec) = &mut pod.spec {
            spec.hostname = Some(name.clone());
            spec.subdomain = self.spec.service_name.clone().filter(|service| !service.is_empty());
        }
        let told = format!("create Pod {name} in StatefulSet {} successful", set.name);
        self.plan.push(Action::CreatePod { pod: Box::new(pod), told: Some(told) });
    }

    /// Makes the pod's claims and mounts them in place of volumes of the same name.
    fn claims(&mut self, pod: &mut Pod, pod_name: &str) {
        let set = self.input.set.key();
        for template in self.spec.volume_claim_templates.iter().flatten() {
            let volume = template.metadata.name.clone().unwrap_or_default();
            let name = format!("{volume}-{pod_name}");
            let mut claim: PersistentVolumeClaim = template.clone();
            claim.metadata.name = Some(name.clone());
            claim.metadata.namespace = Some(set.namespace.clone());
            let labels = self.spec.selector.match_labels.clone().unwrap_or_default();
            claim.metadata.labels.get_or_insert_default().extend(labels);
            claim.metadata.owner_references = self.claim_owners();
            claim.status = None;
            let told = format!("create Claim {name} Pod {pod_name} in StatefulSet {} success", set.name);
            self.plan.push(Action::CreateClaim { claim: Box::new(claim), told });
            let volumes = pod.spec.get_or_insert_default().volumes.get_or_insert_default();
            volumes.retain(|known| known.name != volume);
            let source = PersistentVolumeClaimVolumeSource { claim_name: name, read_only: None };
            volumes.push(Volume { name: volume, persistent_volume_claim: Some(source), ..Volume::default() });
        }
    }

    /// Claims that go with their set are owned by it.
    fn claim_owners(&self) -> Option<Vec<OwnerReference>> {
        let policy = self.spec.persistent_volume_claim_retention_policy.as_ref()?;
        (policy.when_deleted.as_deref() == Some("Delete")).then(|| vec![controller_reference(self.input.set)])
    }

    fn report(&mut self) {
        let set = self.input.set;
        let before = set.status.clone().unwrap_or_default();
        let living = || self.pods.values().filter(|pod| !pod.is_finished());
        let of = |revision: &str| living().filter(|pod| !pod.terminating && self.is_of(pod, revision)).count();
        let ready = living().filter(|pod| pod.phase == Phase::Running && pod.ready).count();
        let updated = of(&self.revision);
        // The update is over when all pods wanted are of today's template and well.
        let wanted = self.range().len();
        let well = living().filter(|pod| self.is_well(pod) && self.is_of(pod, &self.revision)).count();
        let is_over = before.current_revision.is_none() || (well == wanted && living().count() == wanted);
        let current = if is_over { Some(self.revision.clone()) } else { before.current_revision.clone() };
        let status = StatefulSetStatus {
            replicas: count(living().count()),
            ready_replicas: some_count(ready),
            available_replicas: Some(count(living().filter(|pod| self.is_well(pod)).count())),
            current_replicas: some_count(current.as_deref().map(of).unwrap_or_default()),
            updated_replicas: some_count(updated),
            current_revision: current,
            update_revision: Some(self.revision.clone()),
            observed_generation: set.metadata.generation,
            collision_count: Some(before.collision_count.unwrap_or_default()),
            conditions: before.conditions,
        };
        let aim = Aim { target: Target::StatefulSet, key: set.key(), uid: set.uid().to_owned() };
        self.plan.status(aim, set.status.as_ref(), &status);
    }
}
