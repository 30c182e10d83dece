//! The one source of "now".

use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use tokio::time::Instant;

/// The wall time at an epoch plus what the tokio runtime says has elapsed since.
///
/// Cheap to copy; hand it down instead of asking the operating system. On a runtime started paused, `now` is virtual time.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
/// let clock = sawhorse_ambient::Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
/// tokio::time::sleep(std::time::Duration::from_secs(60)).await;
/// assert_eq!(clock.now().to_string(), "2026-01-01T00:01:00Z");
/// # });
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Timestamp,
    started: Instant,
}

impl Clock {
    /// A clock that shows `epoch` now. Call inside a tokio runtime.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the runtime's instant")]
    pub fn starting_at(epoch: Timestamp) -> Self {
        Self { epoch, started: Instant::now() }
    }

    /// A clock that shows the operating system's time: for real-time runs only.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the operating system's time")]
    pub fn from_system() -> Self {
        Self::starting_at(Timestamp::now())
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.epoch + SignedDuration::try_from(self.started.elapsed()).unwrap_or(SignedDuration::MAX)
    }

    /// What has passed since the clock was started.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits until the clock shows `at`; returns at once if it already has.
    pub async fn sleep_until(&self, at: Timestamp) {
        let since_epoch = at.duration_since(self.epoch);
        if let Ok(offset) = Duration::try_from(since_epoch) {
            tokio::time::sleep_until(self.started + offset).await;
        }
    }
}
