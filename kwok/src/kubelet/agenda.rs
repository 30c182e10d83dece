//! What is due, and when: one queue for everything, in a total order. Pure.

use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// At most one job per key; jobs due at the same time come in the order of their keys.
#[derive(Debug)]
pub(super) struct Agenda<K, J> {
    due: BTreeSet<(Timestamp, K)>,
    jobs: BTreeMap<K, (Timestamp, J)>,
}

impl<K, J> Default for Agenda<K, J> {
    fn default() -> Self {
        Self { due: BTreeSet::new(), jobs: BTreeMap::new() }
    }
}

impl<K: Ord + Clone, J> Agenda<K, J> {
    /// Puts the job of `key` at `at`, in place of any that it had.
    pub(super) fn schedule(&mut self, key: K, at: Timestamp, job: J) {
        self.cancel(&key);
        self.due.insert((at, key.clone()));
        self.jobs.insert(key, (at, job));
    }

    /// Takes the job of `key` away.
    pub(super) fn cancel(&mut self, key: &K) {
        if let Some((at, _)) = self.jobs.remove(key) {
            self.due.remove(&(at, key.clone()));
        }
    }

    /// The job of `key`.
    pub(super) fn get(&self, key: &K) -> Option<&J> {
        self.jobs.get(key).map(|(_, job)| job)
    }

    /// When the next job is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The first job that is due at `now`.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<(K, J)> {
        if self.next()? > now {
            return None;
        }
        let (_, key) = self.due.pop_first()?;
        self.jobs.remove(&key).map(|(_, job)| (key, job))
    }
}

#[cfg(test)]
mod tests {
    use super::Agenda;
    use jiff::{SignedDuration, Timestamp};

    #[test]
    fn jobs_come_by_time_then_key_and_one_per_key() {
        let at = |seconds| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
        let mut agenda = Agenda::default();
        for (key, seconds) in [("c", 1), ("b", 2), ("a", 2), ("d", 1)] {
            agenda.schedule(key, at(seconds), seconds);
        }
        agenda.schedule("d", at(3), 30);
        agenda.cancel(&"c");
        assert_eq!((agenda.pop(at(1)), agenda.next(), agenda.get(&"d")), (None, Some(at(2)), Some(&30)));
        let order: Vec<_> = std::iter::from_fn(|| agenda.pop(at(9))).collect();
        assert_eq!(order, [("a", 2), ("b", 2), ("d", 30)]);
    }
}
