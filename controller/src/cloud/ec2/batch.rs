//! Calls about single machines that come close together are sent as one (spec aws 3.5).

use crate::cloud::{BatchObserver, CloudError};
use sawhorse_ambient::Clock;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};
use tokio::sync::oneshot;

/// A batch is sent once none has joined it for so long …
const IDLE: Duration = Duration::from_millis(100);
/// … and at the latest after so many times that.
const LONGEST: u32 = 10;
/// Machines of one call.
const MOST: usize = 500;

/// What one call says of each machine that it was about; those it says nothing of have to ask alone.
pub(super) type Answers<V> = BTreeMap<String, Result<V, Arc<CloudError>>>;

type Waiting<V> = BTreeMap<String, Vec<oneshot::Sender<Result<V, Arc<CloudError>>>>>;

/// Machines that wait to be asked about together. The first to come leads: it waits for others, asks, and tells them.
#[derive(Debug)]
pub(super) struct Batcher<V> {
    /// The reference's name of it.
    name: &'static str,
    clock: Clock,
    waiting: Mutex<Waiting<V>>,
    observer: OnceLock<Arc<dyn BatchObserver>>,
}

impl<V: Clone> Batcher<V> {
    pub(super) fn new(name: &'static str, clock: Clock) -> Self {
        Self { name, clock, waiting: Mutex::default(), observer: OnceLock::new() }
    }

    /// Has `observer` told of batches; the first that is given stays.
    pub(super) fn observe(&self, observer: Arc<dyn BatchObserver>) {
        self.observer.get_or_init(|| observer);
    }

    /// What `ask` says of machine `id`, asked together with those that come meanwhile.
    pub(super) async fn ask<F>(&self, id: &str, ask: impl Fn(Vec<String>) -> F) -> Result<V, CloudError>
    where
        F: Future<Output = Answers<V>>,
    {
        loop {
            let (sender, receiver) = oneshot::channel();
            if self.join(id, sender) {
                self.lead(&ask).await;
            }
            // Without an answer the leader was stopped: one of those who waited leads then.
            if let Ok(answer) = receiver.await {
                return answer.map_err(|error| error.repeated());
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<V>> {
        // Each change is a single insertion or takes everything, so what is there is whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is the first.
    fn join(&self, id: &str, sender: oneshot::Sender<Result<V, Arc<CloudError>>>) -> bool {
        let mut waiting = self.waiting();
        let first = waiting.is_empty();
        waiting.entry(id.to_owned()).or_default().push(sender);
        first
    }

    async fn lead<F>(&self, ask: &impl Fn(Vec<String>) -> F)
    where
        F: Future<Output = Answers<V>>,
    {
        let given_up = GivenUp(self);
        let began = self.clock.elapsed();
        let mut joined = 0;
        for _ in 0..LONGEST {
            let now = self.waiting().len();
            if now == joined || now >= MOST {
                break;
            }
            joined = now;
            tokio::time::sleep(IDLE).await;
        }
        let mut waiting = std::mem::take(&mut *self.waiting());
        drop(given_up);
        while !waiting.is_empty() {
            let rest = waiting.keys().nth(MOST).cloned().map(|first| waiting.split_off(&first)).unwrap_or_default();
            if let Some(observer) = self.observer.get() {
                observer.batched(self.name, waiting.values().map(Vec::len).sum(), self.clock.elapsed() - began);
            }
            let mut answers = Box::pin(ask(waiting.keys().cloned().collect())).await;
            for (id, senders) in waiting {
                if let Some(answer) = answers.remove(&id) {
                    // Who no longer waits does not need it.
                    senders.into_iter().for_each(|sender| drop(sender.send(answer.clone())));
                }
            }
            waiting = rest;
        }
    }
}

/// A leader that is stopped before it has asked lets those who wait go, so that another leads. Who joins between the taking of a
/// batch and the end of this asks again.
struct GivenUp<'a, V: Clone>(&'a Batcher<V>);

impl<V: Clone> Drop for GivenUp<'_, V> {
    fn drop(&mut self) {
        self.0.waiting().clear();
    }
}

/// The same failure for all machines of a call.
pub(super) fn failed<V>(ids: Vec<String>, error: CloudError) -> Answers<V> {
    let error = Arc::new(error);
    ids.into_iter().map(|id| (id, Err(Arc::clone(&error)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::join_all;

    type Asked = Mutex<Vec<Vec<String>>>;

    fn batcher() -> Batcher<usize> {
        Batcher::new("describe_instances", Clock::starting_at(jiff::Timestamp::UNIX_EPOCH))
    }

    #[derive(Debug, Default)]
    struct Seen(Mutex<Vec<(&'static str, usize, u128)>>);

    impl BatchObserver for Seen {
        fn batched(&self, batcher: &'static str, requests: usize, waited: Duration) {
            self.0.lock().unwrap().push((batcher, requests, waited.as_millis()));
        }
    }

    async fn answer(asked: &Asked, ids: Vec<String>) -> Answers<usize> {
        let size = ids.len();
        asked.lock().unwrap().push(ids.clone());
        if ids.contains(&"bad".to_owned()) {
            return failed(ids, CloudError::Throttled { operation: "DescribeInstances" });
        }
        ids.into_iter().map(|id| (id, Ok(size))).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_come_close_together_are_asked_about_at_once() {
        let (batcher, asked, seen) = (batcher(), Asked::default(), Arc::<Seen>::default());
        batcher.observe(seen.clone());
        let ask = |ids| answer(&asked, ids);
        let late = async {
            tokio::time::sleep(IDLE * 3).await;
            batcher.ask("late", ask).await
        };
        let (a, b, again, late) =
            tokio::join!(batcher.ask("a", ask), batcher.ask("b", ask), batcher.ask("a", ask), late);
        assert_eq!((a.unwrap(), b.unwrap(), again.unwrap(), late.unwrap()), (2, 2, 2, 1));
        assert_eq!(*asked.lock().unwrap(), [vec!["a", "b"], vec!["late"]]);
        let batches = [("describe_instances", 3, 200), ("describe_instances", 1, 100)];
        assert_eq!(*seen.0.lock().unwrap(), batches);
    }

    #[tokio::test(start_paused = true)]
    async fn many_are_several_calls_and_a_failure_is_everybodys() {
        let (batcher, asked) = (batcher(), Asked::default());
        let ask = |ids| answer(&asked, ids);
        let ids: Vec<String> = (0..700).map(|nth| format!("i-{nth:03}")).collect();
        join_all(ids.iter().map(|id| batcher.ask(id, ask))).await;
        assert_eq!(asked.lock().unwrap().iter().map(Vec::len).collect::<Vec<_>>(), [500, 200]);
        let (good, bad) = tokio::join!(batcher.ask("good", ask), batcher.ask("bad", ask));
        assert!(matches!((good, bad), (Err(CloudError::Throttled { .. }), Err(CloudError::Throttled { .. }))));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_leader_that_is_stopped_is_answered() {
        let (batcher, asked) = (batcher(), Asked::default());
        let ask = |ids| answer(&asked, ids);
        let leader = tokio::time::timeout(IDLE / 2, batcher.ask("a", ask));
        let (leader, follower) = tokio::join!(leader, batcher.ask("b", ask));
        assert!(leader.is_err());
        assert_eq!(follower.unwrap(), 1);
    }
}
