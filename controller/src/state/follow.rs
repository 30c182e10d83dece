//! The watch of one kind, feeding the mirror.

use super::{Mirror, Mirrored};
use futures::StreamExt;
use kube::{
    Api,
    runtime::{
        WatchStreamExt,
        utils::Backoff,
        watcher::{self, Event},
    },
};
use std::{sync::Arc, time::Duration};

/// Follows every object of a kind for ever. Errors are retried; a lost position is answered by a new list.
pub(crate) async fn follow<K: Mirrored>(api: Api<K>, mirror: Arc<Mirror>) {
    let events = watcher::watcher(api, watcher::Config::default()).backoff(SteadyBackoff::default());
    let mut events = std::pin::pin!(events);
    let mut listed = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => listed.push(object),
            Ok(Event::InitDone) => mirror.reset(std::mem::take(&mut listed)),
            Ok(Event::Apply(object)) => mirror.apply(object),
            Ok(Event::Delete(object)) => mirror.delete::<K>(object.meta()),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(kind = %K::kind(&()), error, "watch failed, will be tried again");
            }
        }
    }
}

/// Doubles from 800 ms to 30 s. The library's own adds jitter from an unseeded generator.
#[derive(Debug)]
struct SteadyBackoff {
    next: Duration,
}

const FIRST_BACKOFF: Duration = Duration::from_millis(800);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

impl Default for SteadyBackoff {
    fn default() -> Self {
        Self { next: FIRST_BACKOFF }
    }
}

impl Iterator for SteadyBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = self.next;
        self.next = (now * 2).min(LONGEST_BACKOFF);
        Some(now)
    }
}

impl Backoff for SteadyBackoff {
    fn reset(&mut self) {
        self.next = FIRST_BACKOFF;
    }
}

#[cfg(test)]
mod tests {
    use super::{Backoff, SteadyBackoff};

    #[test]
    fn the_backoff_doubles_up_to_its_longest_and_starts_over() {
        let mut backoff = SteadyBackoff::default();
        let millis: Vec<u128> = backoff.by_ref().take(7).map(|delay| delay.as_millis()).collect();
        assert_eq!(millis, [800, 1600, 3200, 6400, 12800, 25600, 30000]);
        backoff.reset();
        assert_eq!(backoff.next().unwrap().as_millis(), 800);
    }
}
