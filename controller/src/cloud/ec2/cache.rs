//! Answers that are kept for a while, read once however many ask at the same time.

use crate::cloud::CloudError;
use jiff::Timestamp;
use sawhorse_ambient::Clock;
use std::{collections::BTreeMap, time::Duration};
use tokio::sync::Mutex;

/// Answers by key, each kept for one time to live. Whoever comes while an answer is being read waits for it.
#[derive(Debug)]
pub(super) struct Cache<V> {
    clock: Clock,
    ttl: Duration,
    entries: Mutex<BTreeMap<String, (Timestamp, V)>>,
}

impl<V: Clone> Cache<V> {
    pub(super) fn new(clock: Clock, ttl: Duration) -> Self {
        Self { clock, ttl, entries: Mutex::default() }
    }

    /// Keeps an answer that was read anyway.
    pub(super) async fn put(&self, key: &str, value: V) {
        self.entries.lock().await.insert(key.to_owned(), (self.clock.now() + self.ttl, value));
    }

    /// Forgets everything.
    pub(super) async fn clear(&self) {
        self.entries.lock().await.clear();
    }

    /// The answer for `key`: the one that is kept, else what `read` gives. An error is not kept.
    pub(super) async fn get_or(
        &self,
        key: &str,
        read: impl Future<Output = Result<V, CloudError>>,
    ) -> Result<V, CloudError> {
        let mut entries = self.entries.lock().await;
        let now = self.clock.now();
        entries.retain(|_, (until, _)| *until > now);
        if let Some((_, value)) = entries.get(key) {
            return Ok(value.clone());
        }
        let value = Box::pin(read).await?;
        entries.insert(key.to_owned(), (self.clock.now() + self.ttl, value.clone()));
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_read_once_until_it_expires() {
        let cache = Cache::new(Clock::starting_at(Timestamp::UNIX_EPOCH), Duration::from_secs(60));
        let reads = Cell::new(0);
        let read = || async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            reads.set(reads.get() + 1);
            Ok(reads.get())
        };
        let (first, second) = tokio::join!(cache.get_or("a", read()), cache.get_or("a", read()));
        assert_eq!((first.unwrap(), second.unwrap()), (1, 1), "both wait for one answer");
        tokio::time::sleep(Duration::from_secs(59)).await;
        assert_eq!(cache.get_or("a", read()).await.unwrap(), 1);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(cache.get_or("a", read()).await.unwrap(), 2);
    }
}
