//! Letting a batch of pods gather before deciding: pods of one deployment come one by one.

use super::super::{Context, later};
use crate::state::Mirror;
use jiff::Timestamp;
use sawhorse_ambient::Clock;
use std::time::Duration;

/// Returns once nothing new has come for the idle duration, at the latest after the longest duration (spec core 2.2).
pub(super) async fn gather(ctx: &Context) {
    let (idle, longest) =
        ctx.mirror.read(|state| (state.settings().batch_idle_duration, state.settings().batch_max_duration));
    gather_for(&ctx.mirror, ctx.clock, idle, longest).await;
}

async fn gather_for(mirror: &Mirror, clock: Clock, idle: Duration, longest: Duration) {
    let mut revisions = mirror.revisions();
    let end = later(clock.now(), longest);
    let mut close = later(clock.now(), idle).min(end);
    let mut arrivals = mirror.read(|state| state.arrivals());
    while clock.now() < close {
        tokio::select! {
            biased;
            changed = revisions.changed() => if changed.is_err() { return },
            () = clock.sleep_until(close) => {}
        }
        let now: Timestamp = clock.now();
        let seen = mirror.read(|state| state.arrivals());
        if seen != arrivals {
            arrivals = seen;
            close = later(now, idle).min(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::gather_for;
    use crate::state::Mirror;
    use jiff::Timestamp;
    use k8s_openapi::api::core::v1::Pod;
    use rstest::rstest;
    use sawhorse_ambient::Clock;
    use sawhorse_core::model::Settings;
    use serde_json::json;
    use std::{sync::Arc, time::Duration};

    fn pod(name: &str) -> Pod {
        let value = json!({
            "metadata": {"name": name, "uid": name}, "spec": {"containers": []},
            "status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]},
        });
        serde_json::from_value(value).unwrap()
    }

    #[rstest]
    #[case::nothing_more_comes(&[], 1000)]
    #[case::one_more_comes(&[700], 1700)]
    #[case::they_keep_coming(&[900, 1800, 2700, 3600, 4500, 5400, 6300, 7200, 8100, 9000, 9900], 10_000)]
    #[tokio::test(start_paused = true)]
    async fn a_batch_closes(#[case] arrivals_ms: &'static [u64], #[case] closes_ms: u128) {
        let clock = Clock::starting_at(Timestamp::UNIX_EPOCH);
        let mirror = Arc::new(Mirror::new(Settings::default(), Vec::new()));
        let feed = Arc::clone(&mirror);
        tokio::spawn(async move {
            for at in arrivals_ms {
                clock.sleep_until(Timestamp::from_millisecond(*at as i64).unwrap()).await;
                feed.apply(pod(&format!("pod-{at}")));
            }
        });
        gather_for(&mirror, clock, Duration::from_secs(1), Duration::from_secs(10)).await;
        assert_eq!(clock.elapsed().as_millis(), closes_ms);
    }
}
