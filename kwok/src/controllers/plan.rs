//! What a controller wants done.

use super::known::{Key, PodFacts};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::ReplicaSet,
        core::v1::{PersistentVolumeClaim, Pod},
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference},
};
use kube::{Resource, core::Selector};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Pods that one look at an object may create or delete; the rest waits for the next look (`BurstReplicas`).
pub(super) const BURST: usize = 500;

/// Resources that actions are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Pod,
    Deployment,
    ReplicaSet,
    StatefulSet,
    DaemonSet,
    Job,
    Budget,
    Revision,
}

/// An object and the uid that it must still have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Aim {
    pub(super) target: Target,
    pub(super) key: Key,
    pub(super) uid: String,
}

/// An event about the object whose plan it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) warning: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Told {
    pub(super) fn normal(reason: &'static str, message: String) -> Self {
        Self { warning: false, reason, message }
    }

    pub(super) fn warning(reason: &'static str, message: String) -> Self {
        Self { warning: true, reason, message }
    }
}

/// One request, and the event that follows its success.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Creates a pod; `told` is the message of `SuccessfulCreate`, or none for `Created pod: …`.
    CreatePod {
        pod: Box<Pod>,
        told: Option<String>,
    },
    /// Creates a claim unless there is one of its name.
    CreateClaim {
        claim: Box<PersistentVolumeClaim>,
        told: String,
    },
    /// Creates an object that a namespace is to have, if it has not.
    CreateUnlessThere {
        url: String,
        object: Value,
    },
    CreateReplicaSet {
        set: Box<ReplicaSet>,
        told: Option<Told>,
    },
    /// Deletes an object; a pod in its own grace period.
    Delete {
        aim: Aim,
        foreground: bool,
        told: Option<Told>,
    },
    /// A merge patch, of the status or of everything else.
    Patch {
        aim: Aim,
        status: bool,
        body: Value,
        told: Option<Told>,
    },
    Tell(Told),
}

/// Actions in order, and when to look again if nothing changes before.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    pub(super) again: Option<Timestamp>,
}

impl Plan {
    pub(super) fn push(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Looks again at `at`, or earlier if that was wanted already.
    pub(super) fn look_again(&mut self, at: Option<Timestamp>) {
        self.again = self.again.into_iter().chain(at).min();
    }

    /// Changes the status to `new` if it differs from `old`.
    pub(super) fn status<S: Serialize>(&mut self, aim: Aim, old: Option<&S>, new: &S) {
        if let Some(status) = difference(old, new) {
            self.push(Action::Patch { aim, status: true, body: json!({"status": status}), told: None });
        }
    }

    /// Deletes a pod with the usual event.
    pub(super) fn delete_pod(&mut self, pod: &PodFacts) {
        let told = Told::normal("SuccessfulDelete", format!("Deleted pod: {}", pod.key.name));
        self.push(Action::Delete { aim: pod_aim(pod), foreground: false, told: Some(told) });
    }

    /// Takes the pod on or lets it go, as the selector says.
    pub(super) fn own(&mut self, pod: &PodFacts, owners: &[OwnerReference]) {
        let body = json!({"metadata": {"uid": pod.uid, "ownerReferences": owners}});
        self.push(Action::Patch { aim: pod_aim(pod), status: false, body, told: None });
    }
}

pub(super) fn pod_aim(pod: &PodFacts) -> Aim {
    Aim { target: Target::Pod, key: pod.key.clone(), uid: pod.uid.clone() }
}

/// The merge patch from `old` to `new`: all of `new`, and null for what only `old` has. None if they are the same.
fn difference<S: Serialize>(old: Option<&S>, new: &S) -> Option<Value> {
    let members = |status: Option<&S>| match status.and_then(|status| serde_json::to_value(status).ok()) {
        Some(Value::Object(members)) => members,
        Some(_) | None => Map::new(),
    };
    let (old, mut new) = (members(old), members(Some(new)));
    if old == new {
        return None;
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)).cloned().collect::<Vec<_>>() {
        new.insert(key, Value::Null);
    }
    Some(new.into())
}

/// The reference by which an object controls what it makes.
pub(super) fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The selector, ready to match; one that cannot be read matches nothing.
pub(super) fn selector(selector: &LabelSelector) -> Option<Selector> {
    Selector::try_from(selector.clone()).ok()
}

/// A count as the API has it.
pub(super) fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A count that is left out when it is zero, as Go's `omitempty` does.
pub(super) fn some_count(number: usize) -> Option<i32> {
    Some(count(number)).filter(|number| *number > 0)
}
