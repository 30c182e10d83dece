//! A queue of objects to reconcile: each key at most once, with due times, bounded concurrency and backoff per key.

use jiff::{SignedDuration, Timestamp};
use sawhorse_ambient::Clock;
use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// When to look at a key again after a reconcile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// When something changes.
    OnChange,
    /// At this time, or earlier when something changes.
    At(Timestamp),
    /// After the backoff, as after an error: what was tried failed in a way that has been dealt with.
    Backoff,
}

impl Next {
    /// The earlier of the two; a backoff is earlier than any time, as it is bounded.
    pub(crate) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Backoff, _) | (_, Self::Backoff) => Self::Backoff,
            (Self::At(a), Self::At(b)) => Self::At(a.min(b)),
            (Self::At(at), Self::OnChange) | (Self::OnChange, Self::At(at)) => Self::At(at),
            (Self::OnChange, Self::OnChange) => Self::OnChange,
        }
    }
}

/// How a queue is worked off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// How many keys at a time.
    pub(crate) concurrency: usize,
    /// After the first failure of a key; doubled after each further one.
    pub(crate) backoff: Duration,
    /// At most this long.
    pub(crate) backoff_max: Duration,
}

/// A queue of keys. It holds at most one entry per key, so it is bounded by the number of objects in the cluster.
#[derive(Debug)]
pub(crate) struct WorkQueue<K> {
    clock: Clock,
    pending: Arc<Mutex<Pending<K>>>,
    changed: Arc<Notify>,
}

impl<K> Clone for WorkQueue<K> {
    fn clone(&self) -> Self {
        Self { clock: self.clock, pending: Arc::clone(&self.pending), changed: Arc::clone(&self.changed) }
    }
}

impl<K: Ord + Clone> WorkQueue<K> {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, pending: Arc::default(), changed: Arc::default() }
    }

    /// To be reconciled as soon as possible; once more if it is being reconciled now.
    pub(crate) fn add(&self, key: K) {
        self.add_at(key, self.clock.now());
    }

    /// To be reconciled at `at`, unless it is due earlier already.
    pub(crate) fn add_at(&self, key: K, at: Timestamp) {
        self.lock().add(key, at);
        self.changed.notify_one();
    }

    /// Returns once a key is due.
    async fn due(&self) {
        loop {
            let next = self.lock().next_due();
            let Some(at) = next else {
                self.changed.notified().await;
                continue;
            };
            if at <= self.clock.now() {
                return;
            }
            tokio::select! {
                biased;
                () = self.changed.notified() => {}
                () = self.clock.sleep_until(at) => {}
            }
        }
    }

    fn take(&self) -> Option<K> {
        self.lock().take(self.clock.now())
    }

    fn finish(&self, key: &K, next: Result<Next, ()>, pace: &Pace) {
        self.lock().finish(key, next, self.clock.now(), pace);
    }

    fn lock(&self) -> MutexGuard<'_, Pending<K>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Works `queue` off until `shutdown`, then finishes what is running.
pub(crate) async fn work_off<K, F, R, E>(queue: WorkQueue<K>, pace: Pace, shutdown: CancellationToken, reconcile: F)
where
    K: Ord + Clone + Send + 'static,
    F: Fn(K) -> R,
    R: Future<Output = Result<Next, E>> + Send + 'static,
    E: Error + Send + 'static,
{
    let mut running = JoinSet::new();
    loop {
        while running.len() < pace.concurrency {
            let Some(key) = queue.take() else { break };
            let work = reconcile(key.clone());
            running.spawn(async move { (key, work.await) });
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(finished) = running.join_next() => settle(&queue, &pace, finished),
            () = queue.due(), if running.len() < pace.concurrency => {}
        }
    }
    while let Some(finished) = running.join_next().await {
        settle(&queue, &pace, finished);
    }
}

fn settle<K, E>(queue: &WorkQueue<K>, pace: &Pace, finished: Result<(K, Result<Next, E>), tokio::task::JoinError>)
where
    K: Ord + Clone,
    E: Error + 'static,
{
    match finished {
        Ok((key, Ok(next))) => queue.finish(&key, Ok(next), pace),
        Ok((key, Err(error))) => {
            tracing::warn!(error = &error as &dyn Error, "reconcile failed, will be tried again");
            queue.finish(&key, Err(()), pace);
        }
        // A broken invariant ends the process; it is not papered over by trying again.
        Err(error) => {
            if let Ok(panic) = error.try_into_panic() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// The state of a queue, without waiting.
#[derive(Debug)]
struct Pending<K> {
    due: BTreeMap<K, Timestamp>,
    order: BTreeSet<(Timestamp, K)>,
    /// Keys being reconciled, and for when they were added meanwhile.
    running: BTreeMap<K, Option<Timestamp>>,
    failures: BTreeMap<K, u32>,
}

impl<K> Default for Pending<K> {
    fn default() -> Self {
        Self { due: BTreeMap::new(), order: BTreeSet::new(), running: BTreeMap::new(), failures: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Pending<K> {
    fn add(&mut self, key: K, at: Timestamp) {
        if let Some(again) = self.running.get_mut(&key) {
            *again = Some(again.map_or(at, |earlier| earlier.min(at)));
            return;
        }
        match self.due.get(&key) {
            Some(earlier) if *earlier <= at => return,
            Some(later) => {
                self.order.remove(&(*later, key.clone()));
            }
            None => {}
        }
        self.due.insert(key.clone(), at);
        self.order.insert((at, key));
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.order.first().map(|(at, _)| *at)
    }

    fn take(&mut self, now: Timestamp) -> Option<K> {
        self.next_due().filter(|at| *at <= now)?;
        let (_, key) = self.order.pop_first()?;
        self.due.remove(&key);
        self.running.insert(key.clone(), None);
        Some(key)
    }

    fn finish(&mut self, key: &K, next: Result<Next, ()>, now: Timestamp, pace: &Pace) {
        let added = self.running.remove(key).flatten();
        let again = match next {
            // The backoff holds even if the object changed meanwhile: our own failing writes change it too.
            Err(()) | Ok(Next::Backoff) => Some(now + self.backoff_of(key, pace)),
            Ok(Next::OnChange) => added,
            Ok(Next::At(at)) => Some(added.map_or(at, |added| added.min(at))),
        };
        if !matches!(next, Err(()) | Ok(Next::Backoff)) {
            self.failures.remove(key);
        }
        if let Some(at) = again {
            self.add(key.clone(), at);
        }
    }

    fn backoff_of(&mut self, key: &K, pace: &Pace) -> SignedDuration {
        let failures = self.failures.entry(key.clone()).or_insert(0);
        let factor = 1_u32.checked_shl(*failures).unwrap_or(u32::MAX);
        *failures = failures.saturating_add(1);
        let backoff = pace.backoff.saturating_mul(factor).min(pace.backoff_max);
        SignedDuration::try_from(backoff).unwrap_or(SignedDuration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::{Next, Pace, WorkQueue, work_off};
    use jiff::{SignedDuration, Timestamp};
    use sawhorse_ambient::Clock;
    use std::{
        sync::{Arc, Mutex},
        time::Duration,
    };
    use tokio_util::sync::CancellationToken;

    const PACE: Pace = Pace { concurrency: 2, backoff: Duration::from_secs(1), backoff_max: Duration::from_secs(4) };

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<String>>>);

    impl Log {
        fn add(&self, clock: Clock, text: &str) {
            self.0.lock().unwrap().push(format!("{}s {text}", clock.elapsed().as_secs()));
        }

        fn lines(&self) -> Vec<String> {
            self.0.lock().unwrap().clone()
        }
    }

    fn clock() -> Clock {
        Clock::starting_at(Timestamp::UNIX_EPOCH)
    }

    /// Works `queue` off for `seconds`, each reconcile taking `takes` and ending as `next` says.
    async fn work(
        queue: &WorkQueue<&'static str>,
        clock: Clock,
        seconds: u64,
        takes: u64,
        next: fn(Timestamp) -> Result<Next, std::fmt::Error>,
    ) -> Vec<String> {
        let log = Log::default();
        let shutdown = CancellationToken::new();
        let seen = log.clone();
        let reconcile = move |key: &'static str| {
            let seen = seen.clone();
            async move {
                seen.add(clock, key);
                tokio::time::sleep(Duration::from_secs(takes)).await;
                next(clock.now())
            }
        };
        let worker = tokio::spawn(work_off(queue.clone(), PACE, shutdown.clone(), reconcile));
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        shutdown.cancel();
        worker.await.unwrap();
        log.lines()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_queued_once_and_its_earliest_due_time_holds() {
        let clock = clock();
        let queue = WorkQueue::new(clock);
        queue.add_at("a", clock.now() + SignedDuration::from_secs(9));
        queue.add_at("a", clock.now() + SignedDuration::from_secs(5));
        queue.add_at("a", clock.now() + SignedDuration::from_secs(7));
        assert_eq!(work(&queue, clock, 60, 0, |_| Ok(Next::OnChange)).await, ["5s a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_the_concurrency_run_and_the_rest_follow_in_order() {
        let clock = clock();
        let queue = WorkQueue::new(clock);
        ["c", "b", "a"].into_iter().for_each(|key| queue.add(key));
        assert_eq!(work(&queue, clock, 60, 10, |_| Ok(Next::OnChange)).await, ["0s a", "0s b", "10s c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_added_while_it_runs_runs_again_afterwards() {
        let clock = clock();
        let queue = WorkQueue::new(clock);
        queue.add("a");
        let later = queue.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            later.add("a");
            later.add("a");
        });
        assert_eq!(work(&queue, clock, 60, 10, |_| Ok(Next::OnChange)).await, ["0s a", "10s a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_back_off_up_to_the_maximum() {
        let clock = clock();
        let queue = WorkQueue::new(clock);
        queue.add("a");
        let lines = work(&queue, clock, 12, 0, |_| Err(std::fmt::Error)).await;
        assert_eq!(lines, ["0s a", "1s a", "3s a", "7s a", "11s a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reconcile_can_ask_to_be_called_again() {
        let clock = clock();
        let queue = WorkQueue::new(clock);
        queue.add("a");
        let lines = work(&queue, clock, 25, 0, |now| Ok(Next::At(now + SignedDuration::from_secs(10)))).await;
        assert_eq!(lines, ["0s a", "10s a", "20s a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_runs_at_shutdown_is_finished() {
        let clock = clock();
        let queue = WorkQueue::new(clock);
        queue.add("a");
        assert_eq!(work(&queue, clock, 1, 10, |_| Ok(Next::OnChange)).await, ["0s a"]);
        assert_eq!(clock.elapsed().as_secs(), 10);
    }
}
