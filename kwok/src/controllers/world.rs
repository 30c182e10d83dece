//! What the controllers know of the cluster, and what a change makes worth looking at.

use super::{
    known::{Key, Known, NodeFacts, Objects, Phase, PodFacts, controller_of},
    plan::selector,
    queue::{Kind, Work},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet},
        batch::v1::Job,
        core::v1::{ConfigMap, Namespace, ServiceAccount},
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference},
};
use kube::{core::SelectorExt, runtime::watcher};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// How a pod of a job ended. Jobs remember it after the pod is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Finished {
    pub(super) succeeded: bool,
    pub(super) at: Timestamp,
    pub(super) index: Option<i32>,
}

/// Everything that is known.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) pods: Objects<PodFacts>,
    pub(super) nodes: Objects<NodeFacts>,
    pub(super) deployments: Objects<Deployment>,
    pub(super) replica_sets: Objects<ReplicaSet>,
    pub(super) stateful_sets: Objects<StatefulSet>,
    pub(super) daemon_sets: Objects<DaemonSet>,
    pub(super) jobs: Objects<Job>,
    pub(super) budgets: Objects<PodDisruptionBudget>,
    pub(super) revisions: Objects<ControllerRevision>,
    pub(super) namespaces: Objects<Namespace>,
    /// Of service accounts and configmaps only those that every namespace has.
    pub(super) accounts: Objects<ServiceAccount>,
    pub(super) authorities: Objects<ConfigMap>,
    /// Pods by the uid of their controller; the empty one has those without.
    pods_of: BTreeMap<String, BTreeSet<Key>>,
    /// Replica sets likewise.
    sets_of: BTreeMap<String, BTreeSet<Key>>,
    /// Uids of pods that were deleted here and are not gone: they are going, even if what is seen of them is older.
    deleted: BTreeSet<String>,
    /// How pods ended, by uid of the job and uid of the pod.
    finished: BTreeMap<String, BTreeMap<String, Finished>>,
    /// What changes made worth looking at.
    pub(super) touched: BTreeSet<Work>,
    /// The time of the change being noted.
    pub(super) now: Timestamp,
}

/// A kind of which the world keeps objects.
pub(super) trait Keeps<T: Known> {
    fn objects(&mut self) -> &mut Objects<T>;
    /// Corrects what is seen by what is known better.
    fn correct(&self, _object: &mut T) {}
    /// Keeps indexes, and touches what depends on the object.
    fn changed(&mut self, old: Option<&T>, new: Option<&T>);
}

impl World {
    /// Notes one event of a watch.
    pub(super) fn event<T: Known>(&mut self, event: watcher::Event<T>)
    where
        Self: Keeps<T>,
    {
        match event {
            watcher::Event::Apply(object) => self.put(object),
            watcher::Event::Delete(object) => self.remove(&object.key(), object.uid()),
            watcher::Event::Init => self.objects().begin_list(),
            watcher::Event::InitApply(object) => {
                self.objects().listed(&object.key());
                self.put(object);
            }
            watcher::Event::InitDone => {
                let gone = self.objects().end_list();
                gone.iter().for_each(|object| self.changed(Some(object), None));
            }
        }
    }

    /// Notes an object as it was seen or written.
    pub(super) fn put<T: Known>(&mut self, mut object: T)
    where
        Self: Keeps<T>,
    {
        self.correct(&mut object);
        if let Some((old, new)) = self.objects().apply(object) {
            self.changed(old.as_deref(), Some(&new));
        }
    }

    pub(super) fn remove<T: Known>(&mut self, key: &Key, uid: &str)
    where
        Self: Keeps<T>,
    {
        if let Some(old) = Keeps::<T>::objects(self).remove(key, uid) {
            self.changed(Some(&old), None);
        }
    }

    /// Notes that a pod has been deleted by a request.
    pub(super) fn pod_deleted(&mut self, key: &Key, uid: &str) {
        let Some(known) = self.pods.get(key).filter(|known| known.uid == uid).cloned() else { return };
        self.deleted.insert(uid.to_owned());
        let mut going = (*known).clone();
        going.terminating = true;
        self.pods.replace(going.clone());
        self.changed(Some(&*known), Some(&going));
    }

    pub(super) fn is_synced(&self) -> bool {
        self.pods.synced
            && self.nodes.synced
            && self.deployments.synced
            && self.replica_sets.synced
            && self.stateful_sets.synced
            && self.daemon_sets.synced
            && self.jobs.synced
            && self.budgets.synced
            && self.revisions.synced
            && self.namespaces.synced
            && self.accounts.synced
            && self.authorities.synced
    }

    /// The pods that the object with this uid controls, by name.
    pub(super) fn pods_of(&self, uid: &str) -> Vec<Arc<PodFacts>> {
        self.pods_of.get(uid).into_iter().flatten().filter_map(|key| self.pods.get(key)).cloned().collect()
    }

    /// The pods of a namespace that nothing controls, by name.
    pub(super) fn orphans(&self, namespace: &str) -> Vec<Arc<PodFacts>> {
        let all = self.pods_of.get("").into_iter().flat_map(|keys| keys.range(Key::new(namespace, "")..));
        all.take_while(|key| key.namespace == namespace).filter_map(|key| self.pods.get(key)).cloned().collect()
    }

    /// The replica sets that the object with this uid controls, by name; in the namespace, if that is given.
    pub(super) fn sets_of(&self, uid: &str, namespace: &str) -> Vec<Arc<ReplicaSet>> {
        let all = self.sets_of.get(uid).into_iter().flat_map(|keys| keys.range(Key::new(namespace, "")..));
        all.take_while(|key| key.namespace == namespace).filter_map(|key| self.replica_sets.get(key)).cloned().collect()
    }

    /// The revisions of the object with this uid, by name.
    pub(super) fn revisions_of(&self, uid: &str, namespace: &str) -> Vec<Arc<ControllerRevision>> {
        let owned = |one: &&Arc<ControllerRevision>| controller_of(&one.metadata).is_some_and(|owner| owner.uid == uid);
        self.revisions.within(namespace).filter(owned).cloned().collect()
    }

    /// How the pods of a job ended, by their uids.
    pub(super) fn finished(&self, job: &str) -> BTreeMap<String, Finished> {
        self.finished.get(job).cloned().unwrap_or_default()
    }

    /// How many pods the controllers of `pods` want, by uid.
    pub(super) fn scales(&self, pods: &[Arc<PodFacts>]) -> Result<BTreeMap<String, i32>, String> {
        let mut seen = BTreeSet::new();
        let mut scales = BTreeMap::new();
        for pod in pods {
            let name = &pod.key.name;
            let controller =
                pod.controller.as_ref().ok_or_else(|| format!("found no controller ref for pod \"{name}\""))?;
            if seen.insert(controller.uid.clone()) {
                let found = self.scale(controller, &pod.key.namespace);
                let (uid, wanted) = found.ok_or_else(|| format!("found no controllers for pod \"{name}\""))?;
                scales.insert(uid, wanted);
            }
        }
        Ok(scales)
    }

    fn scale(&self, controller: &OwnerReference, namespace: &str) -> Option<(String, i32)> {
        let key = Key::new(namespace, &controller.name);
        let (uid, replicas) = match controller.kind.as_str() {
            "ReplicaSet" => {
                let set = self.replica_sets.get(&key).filter(|set| set.uid() == controller.uid)?;
                let owner = controller_of(&set.metadata).filter(|owner| owner.kind == "Deployment");
                if let Some(found) = owner.and_then(|owner| self.scale(owner, namespace)) {
                    return Some(found);
                }
                (set.uid(), set.spec.as_ref()?.replicas)
            }
            "Deployment" => {
                let deployment = self.deployments.get(&key)?;
                (deployment.uid(), deployment.spec.as_ref()?.replicas)
            }
            "StatefulSet" => {
                let set = self.stateful_sets.get(&key)?;
                (set.uid(), set.spec.as_ref()?.replicas)
            }
            _ => return None,
        };
        (uid == controller.uid).then(|| (uid.to_owned(), replicas.unwrap_or(1)))
    }

    fn touch(&mut self, kind: Kind, key: Key) {
        self.touched.insert(Work { kind, key });
    }

    fn touch_owner(&mut self, owner: &OwnerReference, namespace: &str) {
        let kind = match owner.kind.as_str() {
            "Deployment" => Kind::Deployment,
            "ReplicaSet" => Kind::ReplicaSet,
            "StatefulSet" => Kind::StatefulSet,
            "DaemonSet" => Kind::DaemonSet,
            "Job" => Kind::Job,
            _ => return,
        };
        self.touch(kind, Key::new(namespace, &owner.name));
    }

    fn touch_budgets_of(&mut self, pod: &PodFacts) {
        let namespace = &pod.key.namespace;
        let selects = |budget: &&Arc<PodDisruptionBudget>| selects(budget, pod);
        let keys: Vec<Key> = self.budgets.within(namespace).filter(selects).map(|budget| budget.key()).collect();
        keys.into_iter().for_each(|key| self.touch(Kind::Budget, key));
    }

    fn touch_all_budgets(&mut self, namespace: &str) {
        let keys: Vec<Key> = self.budgets.within(namespace).map(|budget| budget.key()).collect();
        keys.into_iter().for_each(|key| self.touch(Kind::Budget, key));
    }

    /// Whoever may take on a pod that nothing controls.
    fn touch_adopters(&mut self, pod: &PodFacts) {
        let namespace = &pod.key.namespace;
        let mut keys = Vec::new();
        let matches = |labels: Option<&LabelSelector>| {
            labels.and_then(selector).is_some_and(|selector| selector.matches(&pod.labels))
        };
        for set in self.replica_sets.within(namespace) {
            if matches(set.spec.as_ref().map(|spec| &spec.selector)) {
                keys.push((Kind::ReplicaSet, set.key()));
            }
        }
        keys.into_iter().for_each(|(kind, key)| self.touch(kind, key));
    }

    /// A deployment that recreates waits for the last pod of its old replica sets.
    fn touch_waiting_deployment(&mut self, pod: &PodFacts) {
        let Some(owner) = pod.controller.as_ref().filter(|owner| owner.kind == "ReplicaSet") else { return };
        let namespace = &pod.key.namespace;
        let set = self.replica_sets.get(&Key::new(namespace, &owner.name));
        let Some(owner) = set.and_then(|set| controller_of(&set.metadata).cloned()) else { return };
        let deployment = self.deployments.get(&Key::new(namespace, &owner.name));
        let strategy = deployment.and_then(|deployment| deployment.spec.as_ref()?.strategy.as_ref()?.type_.as_deref());
        if strategy == Some("Recreate") {
            self.touch_owner(&owner, namespace);
        }
    }

    /// Remembers how a job's pod ended. A pod that is going counts as failed, unless it is seen to have succeeded
    /// (`isPodFailed` in `job_controller.go`).
    fn note_end(&mut self, pod: &PodFacts) {
        let Some(job) = pod.controller.as_ref().filter(|owner| owner.kind == "Job") else { return };
        let succeeded = pod.phase == Phase::Succeeded;
        if !pod.is_finished() && !pod.terminating {
            return;
        }
        let end = Finished { succeeded, at: self.now, index: pod.completion_index };
        self.finished.entry(job.uid.clone()).or_default().entry(pod.uid.clone()).or_insert(end);
    }
}

/// Whether the budget is about this pod.
pub(super) fn selects(budget: &PodDisruptionBudget, pod: &PodFacts) -> bool {
    let labels = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    labels.and_then(selector).is_some_and(|selector| selector.matches(&pod.labels))
}

impl Keeps<ControllerRevision> for World {
    fn objects(&mut self) -> &mut Objects<ControllerRevision> {
        &mut self.revisions
    }

    fn changed(&mut self, old: Option<&ControllerRevision>, new: Option<&ControllerRevision>) {
        let Some(revision) = new.or(old) else { return };
        if let Some(owner) = controller_of(&revision.metadata) {
            self.touch_owner(owner, &revision.key().namespace);
        }
    }
}

impl Keeps<Namespace> for World {
    fn objects(&mut self) -> &mut Objects<Namespace> {
        &mut self.namespaces
    }

    fn changed(&mut self, _old: Option<&Namespace>, new: Option<&Namespace>) {
        let key = new.map(Known::key);
        key.into_iter().for_each(|key| self.touch(Kind::Namespace, key));
    }
}

impl Keeps<ServiceAccount> for World {
    fn objects(&mut self) -> &mut Objects<ServiceAccount> {
        &mut self.accounts
    }

    fn changed(&mut self, old: Option<&ServiceAccount>, new: Option<&ServiceAccount>) {
        let gone = old.filter(|_| new.is_none()).map(Known::key);
        gone.into_iter().for_each(|key| self.touch(Kind::Namespace, Key::new("", &key.namespace)));
    }
}

impl Keeps<ConfigMap> for World {
    fn objects(&mut self) -> &mut Objects<ConfigMap> {
        &mut self.authorities
    }

    fn changed(&mut self, old: Option<&ConfigMap>, new: Option<&ConfigMap>) {
        let gone = old.filter(|_| new.is_none()).map(Known::key);
        gone.into_iter().for_each(|key| self.touch(Kind::Namespace, Key::new("", &key.namespace)));
    }
}

impl Keeps<PodFacts> for World {
    fn objects(&mut self) -> &mut Objects<PodFacts> {
        &mut self.pods
    }

    fn correct(&self, pod: &mut PodFacts) {
        pod.terminating |= self.deleted.contains(&pod.uid);
    }

    fn changed(&mut self, old: Option<&PodFacts>, new: Option<&PodFacts>) {
        let owner = |pod: &PodFacts| pod.controller.as_ref().map(|owner| owner.uid.clone()).unwrap_or_default();
        for pod in old.into_iter() {
            if let Some(keys) = self.pods_of.get_mut(&owner(pod)) {
                keys.remove(&pod.key);
            }
            if new.is_none_or(|new| new.uid != pod.uid) {
                self.deleted.remove(&pod.uid);
                self.touch_waiting_deployment(pod);
            }
        }
        for pod in new.into_iter() {
            self.pods_of.entry(owner(pod)).or_default().insert(pod.key.clone());
            self.note_end(pod);
            if pod.controller.is_none() {
                self.touch_adopters(pod);
            }
        }
        if old.is_none_or(|old| new.is_none_or(|new| old.labels != new.labels)) {
            old.into_iter().for_each(|pod| self.touch_budgets_of(pod));
        }
        new.into_iter().for_each(|pod| self.touch_budgets_of(pod));
        for pod in old.into_iter().chain(new) {
            if let Some(owner) = &pod.controller {
                self.touch_owner(owner, &pod.key.namespace);
            }
        }
    }
}

impl Keeps<NodeFacts> for World {
    fn objects(&mut self) -> &mut Objects<NodeFacts> {
        &mut self.nodes
    }

    fn changed(&mut self, old: Option<&NodeFacts>, new: Option<&NodeFacts>) {
        if old.zip(new).is_some_and(|(old, new)| old.is_same(new)) {
            return;
        }
        let all: Vec<Key> = self.daemon_sets.iter().map(|(key, _)| key.clone()).collect();
        all.into_iter().for_each(|key| self.touch(Kind::DaemonSet, key));
    }
}

impl Keeps<Deployment> for World {
    fn objects(&mut self) -> &mut Objects<Deployment> {
        &mut self.deployments
    }

    fn changed(&mut self, old: Option<&Deployment>, new: Option<&Deployment>) {
        let Some(deployment) = new.or(old) else { return };
        let key = deployment.key();
        let replicas = |deployment: Option<&Deployment>| deployment.and_then(|one| one.spec.as_ref()?.replicas);
        if replicas(old) != replicas(new) {
            self.touch_all_budgets(&key.namespace);
        }
        self.touch(Kind::Deployment, key);
    }
}

impl Keeps<ReplicaSet> for World {
    fn objects(&mut self) -> &mut Objects<ReplicaSet> {
        &mut self.replica_sets
    }

    fn changed(&mut self, old: Option<&ReplicaSet>, new: Option<&ReplicaSet>) {
        let Some(set) = new.or(old) else { return };
        let key = set.key();
        let owner = |set: &ReplicaSet| controller_of(&set.metadata).cloned();
        let uid = |set: &ReplicaSet| owner(set).map(|owner| owner.uid).unwrap_or_default();
        if let Some(old) = old
            && let Some(keys) = self.sets_of.get_mut(&uid(old))
        {
            keys.remove(&key);
        }
        if let Some(new) = new {
            self.sets_of.entry(uid(new)).or_default().insert(key.clone());
        }
        let replicas = |set: Option<&ReplicaSet>| set.and_then(|one| one.spec.as_ref()?.replicas);
        if replicas(old) != replicas(new) {
            self.touch_all_budgets(&key.namespace);
        }
        for owner in old.into_iter().chain(new).filter_map(owner).collect::<Vec<_>>() {
            self.touch_owner(&owner, &key.namespace);
        }
        if new.is_some_and(|new| owner(new).is_none()) {
            let all: Vec<Key> = self.deployments.within(&key.namespace).map(|one| one.key()).collect();
            all.into_iter().for_each(|key| self.touch(Kind::Deployment, key));
        }
        self.touch(Kind::ReplicaSet, key);
    }
}

impl Keeps<StatefulSet> for World {
    fn objects(&mut self) -> &mut Objects<StatefulSet> {
        &mut self.stateful_sets
    }

    fn changed(&mut self, old: Option<&StatefulSet>, new: Option<&StatefulSet>) {
        let Some(set) = new.or(old) else { return };
        let key = set.key();
        let replicas = |set: Option<&StatefulSet>| set.and_then(|one| one.spec.as_ref()?.replicas);
        if replicas(old) != replicas(new) {
            self.touch_all_budgets(&key.namespace);
        }
        self.touch(Kind::StatefulSet, key);
    }
}

impl Keeps<DaemonSet> for World {
    fn objects(&mut self) -> &mut Objects<DaemonSet> {
        &mut self.daemon_sets
    }

    fn changed(&mut self, old: Option<&DaemonSet>, new: Option<&DaemonSet>) {
        let key = new.or(old).map(Known::key);
        key.into_iter().for_each(|key| self.touch(Kind::DaemonSet, key));
    }
}

impl Keeps<Job> for World {
    fn objects(&mut self) -> &mut Objects<Job> {
        &mut self.jobs
    }

    fn changed(&mut self, old: Option<&Job>, new: Option<&Job>) {
        if let (Some(old), None) = (old, new) {
            self.finished.remove(old.uid());
        }
        let key = new.or(old).map(Known::key);
        key.into_iter().for_each(|key| self.touch(Kind::Job, key));
    }
}

impl Keeps<PodDisruptionBudget> for World {
    fn objects(&mut self) -> &mut Objects<PodDisruptionBudget> {
        &mut self.budgets
    }

    fn changed(&mut self, old: Option<&PodDisruptionBudget>, new: Option<&PodDisruptionBudget>) {
        let key = new.or(old).map(Known::key);
        key.into_iter().for_each(|key| self.touch(Kind::Budget, key));
    }
}
