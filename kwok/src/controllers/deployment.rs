//! Deployments: replica sets that replace each other (`pkg/controller/deployment`).

use super::{
    known::{Key, Known, Labels, PodFacts},
    plan::{Action, Aim, Plan, Target, Told, controller_reference, selector},
    proportional::{self, Share},
    replica_set::{self, wanted},
    rollout::{Bounds, Size, new_size, old_sizes},
    template::{POD_TEMPLATE_HASH, is_same_template, template_hash},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentCondition, DeploymentSpec, DeploymentStatus, ReplicaSet, ReplicaSetSpec},
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time},
};
use kube::core::SelectorExt;
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};

const REVISION: &str = "deployment.kubernetes.io/revision";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations that are the deployment's own and not handed to its replica sets.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    "deployment.kubernetes.io/revision-history",
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

/// A deployment and what is around it.
pub(super) struct Input<'a> {
    pub(super) deployment: &'a Deployment,
    /// The replica sets that it controls.
    pub(super) owned: Vec<Arc<ReplicaSet>>,
    /// The replica sets of its namespace that nothing controls.
    pub(super) orphans: Vec<Arc<ReplicaSet>>,
    /// The pods of the replica sets that it controls, those that are going too.
    pub(super) pods: Vec<Arc<PodFacts>>,
    pub(super) now: Timestamp,
}

/// A deployment being looked at: its sets from old to new, and their sizes as they will be.
struct Rollout<'a> {
    deployment: &'a Deployment,
    spec: DeploymentSpec,
    bounds: Bounds,
    rolling: bool,
    pods: &'a [Arc<PodFacts>],
    /// All sets, by age and name.
    sets: Vec<Arc<ReplicaSet>>,
    /// The set of today's template.
    new: Option<Arc<ReplicaSet>>,
    /// What is new about the progress: a reason for the condition.
    found: Option<(&'static str, String)>,
    now: Timestamp,
    plan: Plan,
}

/// What the deployment needs next.
pub(super) fn decide(input: &Input<'_>) -> Plan {
    let Some(spec) = input.deployment.spec.clone() else { return Plan::default() };
    let mut rollout = Rollout::new(input, spec);
    if input.deployment.metadata.deletion_timestamp.is_none() {
        rollout.act(input);
    }
    rollout.report();
    rollout.plan
}

impl<'a> Rollout<'a> {
    fn new(input: &'a Input<'_>, spec: DeploymentSpec) -> Self {
        let strategy = spec.strategy.clone().unwrap_or_default();
        let rolling = strategy.type_.as_deref() != Some("Recreate");
        let wanted = spec.replicas.unwrap_or(1);
        let update = strategy.rolling_update.unwrap_or_default();
        let bounds = match rolling {
            true => Bounds::of(update.max_surge.as_ref(), update.max_unavailable.as_ref(), wanted),
            false => Bounds { surge: 0, unavailable: 0 },
        };
        let mut sets = input.owned.clone();
        sets.sort_by_key(|set| (created(set), set.key()));
        let new = sets.iter().find(|set| has_template(set, &spec)).cloned();
        Self {
            deployment: input.deployment,
            bounds,
            rolling,
            pods: &input.pods,
            sets,
            new,
            found: None,
            now: input.now,
            plan: Plan::default(),
            spec,
        }
    }

    fn wanted(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    fn is_new(&self, set: &ReplicaSet) -> bool {
        self.new.as_ref().is_some_and(|new| new.uid() == set.uid())
    }

    fn old(&self) -> Vec<Arc<ReplicaSet>> {
        self.sets.iter().filter(|set| !self.is_new(set)).cloned().collect()
    }

    fn total(&self) -> i32 {
        self.sets.iter().map(|set| wanted(set)).sum()
    }

    fn act(&mut self, input: &Input<'_>) {
        self.adopt(&input.orphans);
        if self.spec.paused == Some(true) || self.is_being_scaled() {
            self.keep_revision();
            self.scale_all();
        } else if self.rolling {
            self.roll();
        } else {
            self.recreate();
        }
        self.forget_old_sets();
    }

    fn adopt(&mut self, orphans: &[Arc<ReplicaSet>]) {
        let Some(selector) = selector(&self.spec.selector) else { return };
        let matching = |set: &&Arc<ReplicaSet>| {
            set.metadata.deletion_timestamp.is_none()
                && selector.matches(&set.metadata.labels.clone().unwrap_or_default())
        };
        for set in orphans.iter().filter(matching) {
            let owners = [controller_reference(self.deployment)];
            let body = json!({"metadata": {"uid": set.uid(), "ownerReferences": owners}});
            self.plan.push(Action::Patch { aim: replica_set::aim(set), status: false, body, told: None });
        }
    }

    /// Whether the number of pods asked for is another than when the sets were last scaled.
    fn is_being_scaled(&self) -> bool {
        let active = self.sets.iter().filter(|set| wanted(set) > 0);
        active.filter_map(|set| number(set, DESIRED)).any(|desired| desired != self.wanted())
    }

    fn roll(&mut self) {
        let Some(new) = self.ensure_new(|rollout| new_size(rollout.wanted(), rollout.bounds, 0, rollout.total()))
        else {
            return;
        };
        let size = new_size(self.wanted(), self.bounds, wanted(&new), self.total());
        if size != wanted(&new) {
            return self.scale(&new, size);
        }
        let old = self.old();
        let sizes: Vec<Size> = old.iter().map(|set| size_of(set)).collect();
        let cut = old_sizes(self.wanted(), self.bounds, size_of(&new), &sizes);
        old.iter().zip(cut).for_each(|(set, size)| self.scale(set, size));
    }

    fn recreate(&mut self) {
        let old = self.old();
        if old.iter().any(|set| wanted(set) > 0) {
            return old.iter().for_each(|set| self.scale(set, 0));
        }
        let lives = |pod: &Arc<PodFacts>| !pod.is_finished() && old.iter().any(|set| pod.is_controlled_by(set.uid()));
        if self.pods.iter().any(lives) {
            return;
        }
        if let Some(new) = self.ensure_new(Self::wanted) {
            self.scale(&new, self.wanted());
        }
    }

    /// Gives every set its size when the number of pods asked for has changed.
    fn scale_all(&mut self) {
        let active: Vec<Arc<ReplicaSet>> = self.sets.iter().filter(|set| wanted(set) > 0).cloned().collect();
        let latest = || self.new.clone().or_else(|| self.sets.last().cloned());
        if active.len() <= 1 {
            let only = active.first().cloned().or_else(latest);
            return only.iter().for_each(|set| self.scale(set, self.wanted()));
        }
        if self.new.as_ref().is_some_and(|new| self.is_saturated(new)) {
            return self.old().iter().for_each(|set| self.scale(set, 0));
        }
        if self.rolling {
            let share = |set: &Arc<ReplicaSet>| Share { wanted: wanted(set), most_before: number(set, MAX) };
            let shares: Vec<Share> = active.iter().map(share).collect();
            let before = self.deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or_default();
            let sizes = proportional::sizes(&shares, self.wanted(), self.wanted() + self.bounds.surge, before);
            active.iter().zip(sizes).for_each(|(set, size)| self.scale(set, size));
        }
    }

    fn is_saturated(&self, new: &ReplicaSet) -> bool {
        let size = size_of(new);
        [Some(size.wanted), Some(size.available), number(new, DESIRED)].iter().all(|one| *one == Some(self.wanted()))
    }

    /// The annotations that say for which size of the deployment a set was scaled.
    fn size_annotations(&self) -> [(String, String); 2] {
        let most = self.wanted() + self.bounds.surge;
        [(DESIRED.to_owned(), self.wanted().to_string()), (MAX.to_owned(), most.to_string())]
    }

    fn scale(&mut self, set: &ReplicaSet, size: i32) {
        let annotations = BTreeMap::from(self.size_annotations());
        let has = |(name, value): (&String, &String)| annotation(set, name) == Some(value);
        let before = wanted(set);
        if before == size && annotations.iter().all(has) {
            return;
        }
        let mut body = json!({"metadata": {"uid": set.uid(), "annotations": annotations}});
        let mut told = None;
        if before != size {
            body["spec"] = json!({"replicas": size});
            told = Some(scaled_event(&set.key().name, before, size));
        }
        self.plan.push(Action::Patch { aim: replica_set::aim(set), status: false, body, told });
    }

    /// The set of today's template with the newest revision; made, with the size that `size` says, if there is none.
    fn ensure_new(&mut self, size: impl Fn(&Self) -> i32) -> Option<Arc<ReplicaSet>> {
        self.keep_revision();
        if let Some(new) = &self.new {
            self.found = Some(("FoundNewReplicaSet", format!("Found new replica set \"{}\"", new.key().name)));
            return self.new.clone();
        }
        let size = size(self);
        let set = self.make(size);
        let name = set.metadata.name.clone().unwrap_or_default();
        self.found = Some(("NewReplicaSetCreated", format!("Created new replica set \"{name}\"")));
        let told = (size > 0).then(|| scaled_event(&name, 0, size));
        self.plan.push(Action::CreateReplicaSet { set: Box::new(set), told });
        None
    }

    fn revision(&self) -> i64 {
        let newest = self.old().iter().filter_map(|set| annotation(set, REVISION)?.parse::<i64>().ok()).max();
        newest.unwrap_or_default() + 1
    }

    /// The new set and the deployment carry the newest revision; the set also the deployment's own annotations.
    fn keep_revision(&mut self) {
        let revision = self
            .revision()
            .max(self.new.as_ref().and_then(|new| annotation(new, REVISION)?.parse().ok()).unwrap_or_default());
        let revision = revision.to_string();
        if let Some(new) = self.new.clone() {
            let mut annotations = self.copied_annotations();
            annotations.insert(REVISION.to_owned(), revision.clone());
            annotations.retain(|name, value| annotation(&new, name) != Some(value));
            if !annotations.is_empty() {
                let body = json!({"metadata": {"uid": new.uid(), "annotations": annotations}});
                self.plan.push(Action::Patch { aim: replica_set::aim(&new), status: false, body, told: None });
            }
        }
        let shown = self.deployment.metadata.annotations.as_ref().and_then(|annotations| annotations.get(REVISION));
        if shown != Some(&revision) && (self.new.is_some() || !self.spec.paused.unwrap_or_default()) {
            let body = json!({"metadata": {"uid": self.deployment.uid(), "annotations": {REVISION: revision}}});
            // With the status, so that it does not count as a change of what is wanted.
            self.plan.push(Action::Patch { aim: aim(self.deployment), status: true, body, told: None });
        }
    }

    fn copied_annotations(&self) -> Labels {
        let mut annotations = self.deployment.metadata.annotations.clone().unwrap_or_default();
        annotations.retain(|name, _| !NOT_COPIED.contains(&name.as_str()));
        annotations
    }

    fn make(&self, size: i32) -> ReplicaSet {
        let Key { namespace, name } = self.deployment.key();
        let hash = template_hash(&self.spec.template);
        let mut template = self.spec.template.clone();
        let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
        labels.insert(POD_TEMPLATE_HASH.to_owned(), hash.clone());
        let labels = labels.clone();
        let mut annotations = self.copied_annotations();
        annotations.insert(REVISION.to_owned(), self.revision().to_string());
        annotations.extend(self.size_annotations());
        let mut selector: LabelSelector = self.spec.selector.clone();
        selector.match_labels.get_or_insert_default().insert(POD_TEMPLATE_HASH.to_owned(), hash.clone());
        let metadata = ObjectMeta {
            name: Some(format!("{name}-{hash}")),
            namespace: Some(namespace),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: Some(vec![controller_reference(self.deployment)]),
            ..ObjectMeta::default()
        };
        let min_ready_seconds = self.spec.min_ready_seconds;
        let spec = ReplicaSetSpec { replicas: Some(size), min_ready_seconds, selector, template: Some(template) };
        ReplicaSet { metadata, spec: Some(spec), status: None }
    }

    /// Deletes the oldest of the empty old sets beyond the limit, once the rollout is complete.
    fn forget_old_sets(&mut self) {
        let status = self.counts();
        if self.spec.paused == Some(true) || !self.is_complete(&status) {
            return;
        }
        let limit = usize::try_from(self.spec.revision_history_limit.unwrap_or(10)).unwrap_or_default();
        let is_idle = |set: &&Arc<ReplicaSet>| {
            set.metadata.deletion_timestamp.is_none()
                && wanted(set) == 0
                && set.status.as_ref().is_none_or(|status| status.replicas == 0)
                && set.status.as_ref().and_then(|status| status.observed_generation) >= set.metadata.generation
        };
        let mut old: Vec<Arc<ReplicaSet>> = self.old().iter().filter(is_idle).cloned().collect();
        old.sort_by_key(|set| annotation(set, REVISION).and_then(|revision| revision.parse::<i64>().ok()));
        for set in old.iter().take(old.len().saturating_sub(limit)) {
            self.plan.push(Action::Delete { aim: replica_set::aim(set), foreground: false, told: None });
        }
    }

    fn counts(&self) -> DeploymentStatus {
        let sum = |sets: &[Arc<ReplicaSet>], one: fn(&k8s_openapi::api::apps::v1::ReplicaSetStatus) -> i32| {
            sets.iter().filter_map(|set| set.status.as_ref()).map(one).sum::<i32>()
        };
        let new: Vec<Arc<ReplicaSet>> = self.new.iter().cloned().collect();
        let available = sum(&self.sets, |status| status.available_replicas.unwrap_or_default());
        let some = |number: i32| Some(number).filter(|number| *number > 0);
        let before = self.deployment.status.as_ref();
        let going = |set: &Arc<ReplicaSet>| set.status.as_ref()?.terminating_replicas;
        let terminating = self.sets.iter().filter_map(going).reduce(|one, other| one + other);
        DeploymentStatus {
            observed_generation: self.deployment.metadata.generation,
            replicas: some(sum(&self.sets, |status| status.replicas)),
            updated_replicas: some(sum(&new, |status| status.replicas)),
            ready_replicas: some(sum(&self.sets, |status| status.ready_replicas.unwrap_or_default())),
            available_replicas: some(available),
            unavailable_replicas: some(self.total() - available),
            collision_count: before.and_then(|status| status.collision_count),
            conditions: before.and_then(|status| status.conditions.clone()),
            terminating_replicas: terminating,
        }
    }

    fn is_complete(&self, status: &DeploymentStatus) -> bool {
        let all = [status.replicas, status.updated_replicas, status.available_replicas];
        all.iter().all(|number| number.unwrap_or_default() == self.wanted())
    }

    fn report(&mut self) {
        let mut status = self.counts();
        let enough = status.available_replicas.unwrap_or_default() >= self.wanted() - self.bounds.unavailable;
        let available = match enough {
            true => ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.".to_owned()),
            false => {
                ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.".to_owned())
            }
        };
        self.condition(&mut status, "Available", available);
        self.progress(&mut status);
        self.plan.status(aim(self.deployment), self.deployment.status.as_ref(), &status);
    }

    /// The `Progressing` condition (`progress.go`), and when to look whether the deadline has passed.
    fn progress(&mut self, status: &mut DeploymentStatus) {
        let known = condition(status, "Progressing").cloned();
        let reason = known.as_ref().and_then(|known| known.reason.clone()).unwrap_or_default();
        if self.spec.paused == Some(true) {
            return self.condition(
                status,
                "Progressing",
                ("Unknown", "DeploymentPaused", "Deployment is paused".to_owned()),
            );
        }
        let new = self.new.as_ref().map(|new| new.key().name);
        let name = new.clone().map_or_else(
            || format!("Deployment \"{}\"", self.deployment.key().name),
            |new| format!("ReplicaSet \"{new}\""),
        );
        let settled = reason == "NewReplicaSetAvailable" && status.replicas == status.updated_replicas && new.is_some();
        if settled {
            return;
        }
        let deadline = SignedDuration::from_secs(self.spec.progress_deadline_seconds.unwrap_or(600).into());
        let due = known.as_ref().and_then(|known| known.last_update_time.as_ref()).map(|time| time.0 + deadline);
        if new.is_some() && self.is_complete(status) {
            let message = format!("{name} has successfully progressed.");
            self.condition(status, "Progressing", ("True", "NewReplicaSetAvailable", message));
        } else if let Some((reason, message)) = self.found.clone().filter(|_| known.is_none() || new.is_none()) {
            self.condition(status, "Progressing", ("True", reason, message));
            self.plan.look_again(Some(self.now + deadline));
        } else if self.has_progressed(status) || reason == "NewReplicaSetAvailable" || reason == "DeploymentPaused" {
            self.touch(status, format!("{name} is progressing."));
            self.plan.look_again(Some(self.now + deadline));
        } else if due.is_some_and(|due| due <= self.now) {
            let message = format!("{name} has timed out progressing.");
            self.condition(status, "Progressing", ("False", "ProgressDeadlineExceeded", message));
        } else {
            self.plan.look_again(due);
        }
    }

    fn has_progressed(&self, status: &DeploymentStatus) -> bool {
        let before = self.deployment.status.clone().unwrap_or_default();
        let old = |status: &DeploymentStatus| {
            status.replicas.unwrap_or_default() - status.updated_replicas.unwrap_or_default()
        };
        status.updated_replicas > before.updated_replicas
            || old(status) < old(&before)
            || status.ready_replicas > before.ready_replicas
            || status.available_replicas > before.available_replicas
    }

    /// Progress counts from now, even if the condition says the same as before.
    fn touch(&self, status: &mut DeploymentStatus, message: String) {
        self.condition(status, "Progressing", ("True", "ReplicaSetUpdated", message));
        let conditions = status.conditions.iter_mut().flatten();
        conditions
            .filter(|one| one.type_ == "Progressing")
            .for_each(|one| one.last_update_time = Some(whole(self.now)));
    }

    fn condition(&self, status: &mut DeploymentStatus, type_: &str, (value, reason, message): (&str, &str, String)) {
        let now = whole(self.now);
        let known = condition(status, type_);
        if known.is_some_and(|known| known.status == value && known.reason.as_deref() == Some(reason)) {
            return;
        }
        let unchanged = known.filter(|known| known.status == value);
        let transition = unchanged.and_then(|known| known.last_transition_time.clone()).unwrap_or_else(|| now.clone());
        let new = DeploymentCondition {
            type_: type_.to_owned(),
            status: value.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: Some(transition),
            last_update_time: Some(now),
        };
        let conditions = status.conditions.get_or_insert_default();
        conditions.retain(|known| known.type_ != type_);
        conditions.push(new);
    }
}

fn condition<'a>(status: &'a DeploymentStatus, type_: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == type_)
}

/// Times in objects have whole seconds; written so at once, a status is not changed by being read back.
pub(super) fn whole(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

fn aim(deployment: &Deployment) -> Aim {
    Aim { target: Target::Deployment, key: deployment.key(), uid: deployment.uid().to_owned() }
}

fn scaled_event(name: &str, from: i32, to: i32) -> Told {
    let direction = if to > from { "up" } else { "down" };
    Told::normal("ScalingReplicaSet", format!("Scaled {direction} replica set {name} from {from} to {to}"))
}

fn created(set: &ReplicaSet) -> Option<Timestamp> {
    set.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

fn has_template(set: &ReplicaSet, spec: &DeploymentSpec) -> bool {
    let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
    template.is_some_and(|template| is_same_template(template, &spec.template))
}

fn annotation<'a>(set: &'a ReplicaSet, name: &str) -> Option<&'a String> {
    set.metadata.annotations.as_ref()?.get(name)
}

fn number(set: &ReplicaSet, name: &str) -> Option<i32> {
    annotation(set, name)?.parse().ok()
}

fn size_of(set: &ReplicaSet) -> Size {
    let available = set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or_default();
    Size { wanted: wanted(set), available }
}
