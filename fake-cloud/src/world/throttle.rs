//! Token buckets: how many requests, and machines, an account may ask for in a while (EC2's "Request throttling").

use super::{CloudError, ConfigError, World, config_check::throttling_problems};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A token, in the unit that levels are kept in.
const TOKEN: u64 = 1_000_000;

/// Whether requests are limited, and to how much of EC2's figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Throttling {
    /// Whether there are limits at all.
    pub enabled: bool,
    /// Of EC2's figures, both of what a bucket holds and of how fast it fills.
    pub percent: u32,
}

impl Default for Throttling {
    fn default() -> Self {
        Self { enabled: false, percent: 100 }
    }
}

/// What a door knows of a call before it is carried out.
#[derive(Clone, Copy, Debug)]
pub struct CallShape<'c> {
    /// The operation's name.
    pub operation: &'c str,
    /// Whether the service is EC2: the others have no buckets here.
    pub of_ec2: bool,
    /// Whether a listing has neither filters nor a page size.
    pub everything: bool,
}

/// What a bucket holds, and thousandths of a token that come each second.
type Limit = (u32, u32);

/// EC2's limits, by operation. Every operation has a bucket of its own.
fn request_limit(call: &CallShape<'_>) -> Limit {
    let reading = ["Describe", "Get", "List", "Search"].iter().any(|verb| call.operation.starts_with(verb));
    match call.operation {
        "RunInstances" | "StartInstances" => (5, 2_000),
        "TerminateInstances" => (100, 5_000),
        "CreateTags" | "DeleteTags" => (100, 10_000),
        "CreateLaunchTemplateVersion" | "ModifyLaunchTemplate" => (100, 5_000),
        "DescribeCapacityBlockOfferings" | "PurchaseCapacityBlock" => (10, 150),
        "DescribeInstances"
        | "DescribeInstanceStatus"
        | "DescribeNetworkInterfaces"
        | "DescribeSecurityGroups"
        | "DescribeSpotInstanceRequests"
        | "DescribeVolumes"
            if call.everything =>
        {
            (50, 10_000)
        }
        _ if reading => (100, 20_000),
        _ => (50, 5_000),
    }
}

/// EC2's limits on machines, by the operation that asks for them; fleets share `RunInstances`'.
fn resource_limit(operation: &str) -> Option<Limit> {
    match operation {
        "RunInstances" | "StartInstances" => Some((1_000, 2_000)),
        "TerminateInstances" | "StopInstances" => Some((1_000, 20_000)),
        _ => None,
    }
}

/// The buckets, as full as they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buckets {
    pub(crate) settings: Throttling,
    levels: BTreeMap<(&'static str, String), Level>,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    tokens: u64,
    at: Timestamp,
}

/// More operations than EC2 has are a caller's inventions: they share a bucket.
const MAX_BUCKETS: usize = 1_000;

impl Buckets {
    fn take(&mut self, kind: &'static str, name: &str, (most, per_second): Limit, tokens: u32, now: Timestamp) -> bool {
        if !self.settings.enabled {
            return true;
        }
        let known = self.levels.len() < MAX_BUCKETS || self.levels.contains_key(&(kind, name.to_owned()));
        let name = if known { name } else { "" };
        let percent = u64::from(self.settings.percent);
        let full = (u64::from(most) * TOKEN * percent / 100).max(TOKEN);
        let level = self.levels.entry((kind, name.to_owned())).or_insert(Level { tokens: full, at: now });
        let passed = now.duration_since(level.at).as_micros().unsigned_abs();
        // Thousandths of a token a second, over microseconds, in millionths of a token.
        let came = passed * u128::from(per_second) * u128::from(percent) / 100_000;
        level.tokens = level.tokens.saturating_add(u64::try_from(came).unwrap_or(u64::MAX)).min(full);
        level.at = now;
        let wanted = u64::from(tokens) * TOKEN;
        let enough = level.tokens >= wanted;
        if enough {
            level.tokens -= wanted;
        }
        enough
    }
}

impl World {
    /// Whether requests are limited.
    pub fn throttling(&self) -> Throttling {
        self.buckets.settings
    }

    /// Limits requests from now on, with full buckets.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn set_throttling(&mut self, settings: Throttling) -> Result<(), ConfigError> {
        ConfigError::check(throttling_problems(settings))?;
        self.buckets = Buckets { settings, levels: BTreeMap::new() };
        self.changed();
        Ok(())
    }

    /// Counts a request; whether it is one too many.
    pub(crate) fn is_throttled(&mut self, call: &CallShape<'_>) -> bool {
        call.of_ec2 && !self.buckets.take("requests", call.operation, request_limit(call), 1, self.now)
    }

    /// Counts machines of a request.
    pub(crate) fn take_resources(&mut self, operation: &str, count: usize) -> Result<(), CloudError> {
        let Some(limit) = resource_limit(operation) else { return Ok(()) };
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        if self.buckets.take("machines", operation, limit, count, self.now) {
            Ok(())
        } else {
            Err(CloudError::Throttled)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Buckets, CallShape, Throttling, request_limit};
    use jiff::{SignedDuration, Timestamp};
    use rstest::rstest;

    #[rstest]
    #[case("DescribeSubnets", false, (100, 20_000))]
    #[case("DescribeInstances", true, (50, 10_000))]
    #[case("DescribeInstances", false, (100, 20_000))]
    #[case("CreateFleet", false, (50, 5_000))]
    #[case("RunInstances", false, (5, 2_000))]
    #[case("PurchaseCapacityBlock", false, (10, 150))]
    fn limits_are_those_of_ec2(#[case] operation: &str, #[case] everything: bool, #[case] limit: (u32, u32)) {
        assert_eq!(request_limit(&CallShape { operation, of_ec2: true, everything }), limit);
    }

    #[test]
    fn a_bucket_empties_and_fills() {
        let mut buckets = Buckets { settings: Throttling { enabled: true, percent: 10 }, ..Buckets::default() };
        let start = Timestamp::UNIX_EPOCH;
        // A tenth of 50, filling at half a token a second.
        let granted = |buckets: &mut Buckets, at: i64, calls: usize| {
            let now = start + SignedDuration::from_millis(at);
            (0..calls).filter(|_| buckets.take("requests", "CreateFleet", (50, 5_000), 1, now)).count()
        };
        assert_eq!(granted(&mut buckets, 0, 20), 5);
        assert_eq!(granted(&mut buckets, 1_999, 1), 0);
        assert_eq!(granted(&mut buckets, 2_000, 2), 1);
        assert_eq!(granted(&mut buckets, 3_600_000, 20), 5);
    }

    #[test]
    fn without_limits_everything_passes() {
        let mut buckets = Buckets::default();
        assert!((0..10_000).all(|_| buckets.take("requests", "X", (1, 0), 1, Timestamp::UNIX_EPOCH)));
    }
}
