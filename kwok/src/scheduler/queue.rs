//! Which pod is next, and when one that did not fit is tried again. Pure.

use super::pod::{PodInfo, PodName};
use jiff::{SignedDuration, Timestamp};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The wait after the first failure; it doubles with each further one.
const FIRST_BACKOFF: SignedDuration = SignedDuration::from_secs(1);
/// The longest wait after failures.
const MAX_BACKOFF: SignedDuration = SignedDuration::from_secs(10);
/// How long a pod is left alone at most if nothing happens in the cluster.
const MAX_REST: SignedDuration = SignedDuration::from_mins(5);

/// Higher priority first, then the older, then by name.
type Rank = (Reverse<i32>, Timestamp, PodName);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// To be tried as soon as its turn comes.
    Active,
    /// To be tried again at this time.
    Waiting(Timestamp),
    /// To be tried again when something in the cluster changes.
    Parked,
}

#[derive(Debug)]
struct Pending {
    pod: Arc<PodInfo>,
    place: Place,
    failures: u32,
    tried: Timestamp,
    /// The reasons last written to the pod.
    reported: Option<Vec<String>>,
}

/// The pods that have no node.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pods: BTreeMap<PodName, Pending>,
    active: BTreeSet<Rank>,
    waiting: BTreeSet<(Timestamp, PodName)>,
    /// By when they were tried last.
    parked: BTreeSet<(Timestamp, PodName)>,
}

fn rank(pod: &PodInfo) -> Rank {
    (Reverse(pod.priority), pod.created, pod.name.clone())
}

impl Queue {
    /// A pod has come or has changed. A change of nothing that scheduling looks at leaves it where it is.
    pub(super) fn put(&mut self, pod: PodInfo) {
        let name = pod.name.clone();
        match self.pods.get_mut(&name) {
            Some(known)
                if known.pod.uid == pod.uid
                    && known.pod.signature == pod.signature
                    && known.pod.priority == pod.priority =>
            {
                known.pod = Arc::new(pod);
            }
            _ => {
                self.remove(&name);
                let (pod, place) = (Arc::new(pod), Place::Active);
                let tried = Timestamp::UNIX_EPOCH;
                self.put_at(Pending { pod, place, failures: 0, tried, reported: None }, place);
            }
        }
    }

    /// A pod is gone, or has a node.
    pub(super) fn remove(&mut self, name: &PodName) {
        self.take(name);
    }

    fn take_out(&mut self, pending: &Pending) {
        let name = &pending.pod.name;
        match pending.place {
            Place::Active => self.active.remove(&rank(&pending.pod)),
            Place::Waiting(until) => self.waiting.remove(&(until, name.clone())),
            Place::Parked => self.parked.remove(&(pending.tried, name.clone())),
        };
    }

    fn put_at(&mut self, mut pending: Pending, place: Place) {
        let name = pending.pod.name.clone();
        pending.place = place;
        match place {
            Place::Active => self.active.insert(rank(&pending.pod)),
            Place::Waiting(until) => self.waiting.insert((until, name.clone())),
            Place::Parked => self.parked.insert((pending.tried, name.clone())),
        };
        self.pods.insert(name, pending);
    }

    /// Takes a pod out to be put back elsewhere.
    fn take(&mut self, name: &PodName) -> Option<Pending> {
        let pending = self.pods.remove(name)?;
        self.take_out(&pending);
        Some(pending)
    }

    /// The pod whose turn it is; it stays in the queue until it is removed or has failed.
    pub(super) fn next(&self) -> Option<Arc<PodInfo>> {
        let (.., name) = self.active.first()?;
        self.pods.get(name).map(|pending| Arc::clone(&pending.pod))
    }

    /// The pod did not fit: it is parked. Says whether the reasons differ from those last reported.
    pub(super) fn failed(&mut self, name: &PodName, reasons: Vec<String>, now: Timestamp) -> bool {
        let Some(mut pending) = self.take(name) else { return false };
        let news = pending.reported.as_ref() != Some(&reasons);
        pending.reported = Some(reasons);
        pending.failures += 1;
        pending.tried = now;
        self.put_at(pending, Place::Parked);
        news
    }

    /// A request for the pod failed: it is tried again after its wait, whatever happens.
    pub(super) fn retry(&mut self, name: &PodName, now: Timestamp) {
        if let Some(mut pending) = self.take(name) {
            pending.failures += 1;
            pending.tried = now;
            self.put_back(pending, now);
        }
    }

    /// Something has changed that may let the pods in `which` fit: parked ones are tried again, after their wait.
    pub(super) fn wake(&mut self, which: impl Fn(&PodInfo) -> bool, now: Timestamp) {
        let chosen =
            self.parked.iter().filter(|(_, name)| self.pods.get(name).is_some_and(|pending| which(&pending.pod)));
        let names: Vec<PodName> = chosen.map(|(_, name)| name.clone()).collect();
        self.wake_all(&names, now);
    }

    fn wake_all(&mut self, names: &[PodName], now: Timestamp) {
        for name in names {
            if let Some(pending) = self.take(name) {
                self.put_back(pending, now);
            }
        }
    }

    fn put_back(&mut self, pending: Pending, now: Timestamp) {
        let until = pending.tried + backoff(pending.failures);
        let place = if until <= now { Place::Active } else { Place::Waiting(until) };
        self.put_at(pending, place);
    }

    /// Brings back the pods whose wait is over, and those that have rested too long.
    pub(super) fn advance(&mut self, now: Timestamp) {
        let over = self.waiting.iter().take_while(|(until, _)| *until <= now);
        let rested = self.parked.iter().take_while(|(tried, _)| *tried + MAX_REST <= now);
        let names: Vec<PodName> = over.chain(rested).map(|(_, name)| name.clone()).collect();
        self.wake_all(&names, now);
    }

    /// When [`Queue::advance`] has something to do next.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let waiting = self.waiting.first().map(|(until, _)| *until);
        let rested = self.parked.first().map(|(tried, _)| *tried + MAX_REST);
        waiting.into_iter().chain(rested).min()
    }

    /// The names of all pods in the queue.
    pub(super) fn names(&self) -> impl Iterator<Item = &PodName> {
        self.pods.keys()
    }
}

fn backoff(failures: u32) -> SignedDuration {
    let doubled = 1_i32 << failures.saturating_sub(1).min(10);
    (FIRST_BACKOFF * doubled).min(MAX_BACKOFF)
}

#[cfg(test)]
mod tests {
    use super::Queue;
    use crate::scheduler::PodInfo;
    use jiff::{SignedDuration, Timestamp};
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    fn pod(name: &str, priority: i32, created: &str) -> PodInfo {
        let metadata = json!({"name": name, "namespace": "d", "uid": name, "creationTimestamp": created});
        let pod: Pod =
            serde_json::from_value(json!({"metadata": metadata, "spec": {"priority": priority, "containers": []}}))
                .unwrap();
        PodInfo::of(&pod)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_000_000 + seconds)
    }

    fn drain(queue: &mut Queue) -> Vec<String> {
        std::iter::from_fn(|| {
            let pod = queue.next()?;
            queue.remove(&pod.name);
            Some(pod.name.name.clone())
        })
        .collect()
    }

    #[test]
    fn priority_then_age_then_name() {
        let mut queue = Queue::default();
        for (name, priority, created) in [
            ("d", 0, "2026-01-02T00:00:00Z"),
            ("c", 0, "2026-01-01T00:00:00Z"),
            ("b", 0, "2026-01-01T00:00:00Z"),
            ("a", 5, "2026-01-09T00:00:00Z"),
        ] {
            queue.put(pod(name, priority, created));
        }
        assert_eq!(drain(&mut queue), ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_pod_that_failed_waits_for_a_change_and_its_time() {
        let mut queue = Queue::default();
        let web = pod("web", 0, "2026-01-01T00:00:00Z");
        queue.put(web.clone());
        assert!(queue.failed(&web.name, vec!["x".to_owned()], at(0)), "the reasons are new");
        assert!(queue.next().is_none());
        queue.wake(|_| true, at(0));
        assert_eq!((queue.next().is_none(), queue.next_due()), (true, Some(at(1))));
        queue.advance(at(1));
        assert!(queue.next().is_some());
        assert!(!queue.failed(&web.name, vec!["x".to_owned()], at(1)), "the reasons are the same");
        queue.wake(|_| true, at(9));
        assert!(queue.next().is_some(), "the wait of two seconds is over");
    }

    #[test]
    fn a_parked_pod_is_tried_after_five_minutes_at_the_latest() {
        let mut queue = Queue::default();
        let web = pod("web", 0, "2026-01-01T00:00:00Z");
        queue.put(web.clone());
        queue.failed(&web.name, Vec::new(), at(0));
        queue.put(web.clone());
        assert!(queue.next().is_none(), "a change of its status does not bring it back");
        assert_eq!(queue.next_due(), Some(at(300)));
        queue.advance(at(300));
        assert!(queue.next().is_some());
    }
}
