//! Which objects are to be looked at, and when: each once, the earliest first, ties in the order of kind and name.

use super::known::Key;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Kinds that have a controller here, those first that others depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Deployment,
    ReplicaSet,
    StatefulSet,
    DaemonSet,
    Job,
    Budget,
    Namespace,
}

/// An object to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Work {
    pub(super) kind: Kind,
    pub(super) key: Key,
}

/// What is to be looked at.
#[derive(Debug, Default)]
pub(super) struct Queue {
    due: BTreeSet<(Timestamp, Work)>,
    at: BTreeMap<Work, Timestamp>,
}

impl Queue {
    /// Looks at `work` at `at`, or earlier if that was planned already.
    pub(super) fn put(&mut self, work: Work, at: Timestamp) {
        if let Some(planned) = self.at.get(&work).copied() {
            if planned <= at {
                return;
            }
            self.due.remove(&(planned, work.clone()));
        }
        self.at.insert(work.clone(), at);
        self.due.insert((at, work));
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The first that is due.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<Work> {
        if self.next_due()? > now {
            return None;
        }
        let (_, work) = self.due.pop_first()?;
        self.at.remove(&work);
        Some(work)
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, Kind, Queue, Work};
    use jiff::{SignedDuration, Timestamp};

    #[test]
    fn each_is_looked_at_once_and_at_its_earliest() {
        let work = |name| Work { kind: Kind::ReplicaSet, key: Key::new("default", name) };
        let at = |seconds| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
        let mut queue = Queue::default();
        queue.put(work("b"), at(5));
        queue.put(work("b"), at(1));
        queue.put(work("b"), at(9));
        queue.put(work("a"), at(1));
        assert_eq!(queue.pop(at(0)), None);
        assert_eq!([queue.pop(at(1)), queue.pop(at(1)), queue.pop(at(100))], [Some(work("a")), Some(work("b")), None]);
    }
}
