//! Figures of a run, and the table that closes a series of runs.

use jiff::SignedDuration;
use std::{fmt::Write, time::Duration};

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The scenario's name.
    pub scenario: String,
    /// Why it failed; none if it passed.
    pub failure: Option<String>,
    /// How much virtual time passed.
    pub virtual_time: Duration,
    /// How much real time passed.
    pub wall_time: Duration,
    /// Pods that were created.
    pub pods: u64,
    /// Machines that were launched.
    pub machines: u64,
    /// Pods that were evicted.
    pub evictions: u64,
    /// Millionths of a dollar.
    pub micro_dollars: i64,
    /// Requests to the cloud.
    pub cloud_calls: u64,
    /// Of these, refused as too frequent.
    pub throttled_calls: u64,
    /// Requests to the API server.
    pub kubernetes_calls: u64,
    /// The median and the 99th percentile of the time from creation to binding; none if nothing was bound.
    pub time_to_bind: Option<(SignedDuration, SignedDuration)>,
    /// Cloud calls by operation.
    pub calls_by_operation: Vec<(String, u64)>,
}

/// The median and the 99th percentile (nearest rank).
pub fn percentiles(times: &[SignedDuration]) -> Option<(SignedDuration, SignedDuration)> {
    let mut sorted = times.to_vec();
    sorted.sort();
    let rank = |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied();
    Some((rank(50)?, rank(99)?))
}

/// A duration to the second: `1h02m03s`, `2m03s`, `3s`.
pub fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds:02}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes:02}m{seconds:02}s"),
    }
}

/// Millionths of a dollar as dollars.
pub fn dollars(micro: i64) -> String {
    format!("{}.{:04}", micro / 1_000_000, micro % 1_000_000 / 100)
}

/// The table of several runs, one line each.
pub fn table(summaries: &[Summary]) -> String {
    let width = summaries.iter().map(|summary| summary.scenario.len()).max().unwrap_or(0).max("scenario".len());
    let mut text = format!(
        "{:<width$}  result  virtual     wall      pods  machines  evictions  $           bind p50/p99   API calls\n",
        "scenario"
    );
    for summary in summaries {
        let result = if summary.failure.is_none() { "ok" } else { "FAILED" };
        let wall = format!("{:.1}s", summary.wall_time.as_secs_f64());
        let bind =
            summary.time_to_bind.map_or("-".to_owned(), |(p50, p99)| format!("{}s/{}s", p50.as_secs(), p99.as_secs()));
        let throttled = match summary.throttled_calls {
            0 => String::new(),
            count => format!(" ({count} throttled)"),
        };
        let calls = format!("{} k8s {} cloud{throttled}", summary.kubernetes_calls, summary.cloud_calls);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<width$}  {result:<6}  {:<10}  {wall:<8}  {:<4}  {:<8}  {:<9}  {:<10}  {bind:<13}  {calls}",
            summary.scenario,
            short(summary.virtual_time),
            summary.pods,
            summary.machines,
            summary.evictions,
            dollars(summary.micro_dollars),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{dollars, percentiles, short};
    use jiff::SignedDuration;
    use std::time::Duration;

    #[test]
    fn figures_are_short_and_exact() {
        assert_eq!(short(Duration::from_secs(3723)), "1h02m03s");
        assert_eq!(dollars(1_234_567), "1.2345");
        let times: Vec<SignedDuration> = (1..=200).map(SignedDuration::from_secs).collect();
        assert_eq!(percentiles(&times), Some((SignedDuration::from_secs(100), SignedDuration::from_secs(198))));
        assert_eq!(percentiles(&[]), None);
    }
}
