//! Who owns whom, and what garbage collection has to look at because of a write.

use super::{GroupResource, Object, ObjectRef};
use crate::apiserver::value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Something that garbage collection must look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// An owner was removed: its dependents may have none left.
    OwnerGone(String),
    /// A dependent appeared: its owners may not exist.
    CheckOwners(ObjectRef),
    /// An object is being deleted and a finalizer is the server's own to remove.
    Finalize(ObjectRef),
}

/// Owner references, both ways, and the queue of work.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    /// Where the object with a uid is.
    by_uid: BTreeMap<String, ObjectRef>,
    /// The dependents of the owner with a uid.
    dependents: BTreeMap<String, BTreeSet<ObjectRef>>,
    /// What has not been looked at yet, oldest first.
    queue: VecDeque<Work>,
}

impl Owners {
    pub(crate) fn written(&mut self, resource: &GroupResource, previous: Option<&Object>, object: &Object) {
        let place = ObjectRef { resource: resource.clone(), name: object.key() };
        if previous.is_none() {
            self.by_uid.insert(object.uid().to_owned(), place.clone());
        }
        let before = previous.map(owner_uids).unwrap_or_default();
        let now = owner_uids(object);
        if before != now {
            self.unlink(&before, &place);
            self.link(&now, &place);
            self.queue.push_back(Work::CheckOwners(place.clone()));
        }
        if object.is_terminating() {
            self.queue.push_back(Work::Finalize(place));
            // A terminating dependent that no longer blocks may free its foreground-deleted owners.
            self.look_at_owners(&now);
        }
    }

    pub(crate) fn removed(&mut self, resource: &GroupResource, object: &Object) {
        let place = ObjectRef { resource: resource.clone(), name: object.key() };
        self.by_uid.remove(object.uid());
        let owners = owner_uids(object);
        self.unlink(&owners, &place);
        self.look_at_owners(&owners);
        if self.dependents.contains_key(object.uid()) {
            self.queue.push_back(Work::OwnerGone(object.uid().to_owned()));
        }
    }

    fn link(&mut self, owners: &BTreeSet<String>, place: &ObjectRef) {
        for owner in owners {
            self.dependents.entry(owner.clone()).or_default().insert(place.clone());
        }
    }

    fn unlink(&mut self, owners: &BTreeSet<String>, place: &ObjectRef) {
        for owner in owners {
            if let Some(places) = self.dependents.get_mut(owner) {
                places.remove(place);
                if places.is_empty() {
                    self.dependents.remove(owner);
                }
            }
        }
    }

    fn look_at_owners(&mut self, owners: &BTreeSet<String>) {
        let places = owners.iter().filter_map(|owner| self.by_uid.get(owner));
        self.queue.extend(places.map(|place| Work::Finalize(place.clone())));
    }

    pub(crate) fn look_at(&mut self, place: ObjectRef) {
        self.queue.push_back(Work::Finalize(place));
    }

    pub(crate) fn next_work(&mut self) -> Option<Work> {
        self.queue.pop_front()
    }

    /// Whether an object with this uid exists.
    pub(crate) fn exists(&self, uid: &str) -> bool {
        self.by_uid.contains_key(uid)
    }

    /// The objects that name this uid as an owner, in order.
    pub(crate) fn dependents(&self, uid: &str) -> Vec<ObjectRef> {
        self.dependents.get(uid).into_iter().flatten().cloned().collect()
    }
}

fn owner_uids(object: &Object) -> BTreeSet<String> {
    let references = value::items(object.value(), &["metadata", "ownerReferences"]);
    references.iter().filter_map(|reference| value::text(reference, &["uid"])).map(str::to_owned).collect()
}
