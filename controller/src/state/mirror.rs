//! The shared handle to the state: one lock, never held across an await; listeners; a revision to wait for.

use super::{Change, Mirrored, State};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sawhorse_core::model::{ClusterSnapshot, Settings};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Called for every change, in order, outside the lock.
pub(crate) type Listener = Box<dyn Fn(&Mirror, &Change) + Send + Sync>;

/// The mirror of the cluster as loops and watches share it.
pub(crate) struct Mirror {
    state: Mutex<State>,
    revision: watch::Sender<u64>,
    listeners: Vec<Listener>,
}

impl Mirror {
    pub(crate) fn new(settings: Settings, listeners: Vec<Listener>) -> Self {
        Self { state: Mutex::new(State::new(settings)), revision: watch::Sender::new(0), listeners }
    }

    /// The watch showed this object.
    pub(crate) fn apply<K: Mirrored>(&self, object: K) {
        let change = self.state().apply(object);
        self.publish(change);
    }

    /// One of our writes was answered with this object.
    pub(crate) fn wrote<K: Mirrored>(&self, object: K) {
        let change = self.state().wrote(object);
        self.publish(change);
    }

    /// The object is gone: the watch says so, or the answer to one of our writes.
    pub(crate) fn delete<K: Mirrored>(&self, meta: &ObjectMeta) {
        let change = self.state().delete::<K>(meta);
        self.publish(change);
    }

    /// The watch listed all objects of a kind.
    pub(crate) fn reset<K: Mirrored>(&self, objects: Vec<K>) {
        let changes = self.state().reset(objects);
        self.publish(changes);
    }

    fn publish(&self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            self.listeners.iter().for_each(|listener| listener(self, &change));
        }
        self.tell();
    }

    /// Changes that are not an object's: marks and nominations.
    pub(crate) fn update<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.state());
        self.tell();
        result
    }

    fn tell(&self) {
        let now = self.state().revision();
        self.revision.send_if_modified(|revision| std::mem::replace(revision, now) != now);
    }

    /// Reads what is known.
    pub(crate) fn read<R>(&self, question: impl FnOnce(&State) -> R) -> R {
        question(&self.state())
    }

    pub(crate) fn snapshot(&self, now: Timestamp) -> ClusterSnapshot {
        self.state().snapshot(now)
    }

    pub(crate) fn synced(&self) -> bool {
        self.state().synced()
    }

    /// Follows the revision.
    pub(crate) fn revisions(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere ends the process anyway; the state itself is never left half-changed by one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
