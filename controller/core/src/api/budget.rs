//! Budgets: how many nodes of a pool may be disrupted at once (spec core 1.8, 4.5).

use super::{DisruptionReason, GoDuration, NodePool};
use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Timestamp, tz::TimeZone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What no budget limits: the largest 32-bit integer, as dashboards know it.
pub const UNLIMITED: u32 = 2_147_483_647;

/// One limit on how many nodes may be disrupted at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Budget {
    /// A number of nodes, or a percentage of the pool's.
    pub nodes: String,
    /// The reasons it limits. Unset means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasons: Option<Vec<DisruptionReason>>,
    /// When its window opens, as a cron expression in UTC. Unset means that it always holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// How long the window stays open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<GoDuration>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { nodes: "10%".to_owned(), reasons: None, schedule: None, duration: None }
    }
}

/// Why a budget cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// `nodes` is neither a number nor a percentage.
    #[error("budget `nodes` is `{0}`: write a number of nodes such as `3`, or a percentage such as `10%`")]
    Nodes(String),
    /// `schedule` is not a cron expression.
    #[error("budget `schedule` is `{schedule}`: {problem}; write five cron fields such as `0 9 * * 1-5`, or `@daily`")]
    Schedule {
        /// As written.
        schedule: String,
        /// What the parser said.
        problem: String,
    },
    /// Only one of `schedule` and `duration` is there.
    #[error("budget has `{present}` without `{absent}`: set both or neither")]
    Half {
        /// The field that is there.
        present: &'static str,
        /// The field that is not.
        absent: &'static str,
    },
}

/// How many nodes of a pool may be disrupted for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedDisruptions {
    /// At most this many at once, those that already are being disrupted included.
    pub allowed: u32,
    /// When that may change by time alone: the next opening or closing of a window. None where no budget has a window.
    pub changes_at: Option<Timestamp>,
    /// Why nothing is allowed, where a budget cannot be read.
    pub errors: Vec<BudgetError>,
}

/// How many of the pool's `total` nodes may be disrupted for `reason` at `now`. A budget that cannot be read allows nothing,
/// for any reason.
pub fn allowed_disruptions(
    pool: &NodePool,
    reason: DisruptionReason,
    total: u32,
    now: Timestamp,
) -> AllowedDisruptions {
    let mut result = AllowedDisruptions { allowed: UNLIMITED, changes_at: None, errors: Vec::new() };
    for budget in &pool.spec.disruption.budgets {
        match budget.allows(total, now) {
            Ok((allowed, changes_at)) => {
                if budget.limits(reason) {
                    result.allowed = result.allowed.min(allowed);
                    result.changes_at = [result.changes_at, changes_at].into_iter().flatten().min();
                }
            }
            Err(error) => result.errors.push(error),
        }
    }
    if !result.errors.is_empty() {
        result.allowed = 0;
    }
    result
}

impl Budget {
    /// Whether the budget limits disruption for `reason`.
    pub fn limits(&self, reason: DisruptionReason) -> bool {
        self.reasons.as_ref().is_none_or(|reasons| reasons.contains(&reason))
    }

    /// How many of `total` nodes it allows at `now`, and when that changes.
    ///
    /// # Errors
    /// A field that cannot be read.
    pub fn allows(&self, total: u32, now: Timestamp) -> Result<(u32, Option<Timestamp>), BudgetError> {
        let nodes = self.node_count(total)?;
        let Some((active, changes_at)) = self.window(now)? else { return Ok((nodes, None)) };
        Ok((if active { nodes } else { UNLIMITED }, changes_at))
    }

    /// Percentages round up, so that a small pool is not frozen by a small percentage.
    fn node_count(&self, total: u32) -> Result<u32, BudgetError> {
        let invalid = || BudgetError::Nodes(self.nodes.clone());
        let Some(percent) = self.nodes.strip_suffix('%') else { return self.nodes.parse().map_err(|_| invalid()) };
        let percent: u64 = percent.parse().map_err(|_| invalid())?;
        if percent > 100 {
            return Err(invalid());
        }
        let nodes = (u64::from(total) * percent).div_ceil(100);
        Ok(u32::try_from(nodes).expect("at most 100 % of a 32-bit number"))
    }

    /// Whether the window is open at `now` and when it next opens or closes; none without a window. It is open iff the first
    /// hit of the schedule strictly after `now − duration` is not after `now`: at the exact instant at which the duration
    /// ends it is closed already.
    fn window(&self, now: Timestamp) -> Result<Option<(bool, Option<Timestamp>)>, BudgetError> {
        let (schedule, duration) = match (&self.schedule, &self.duration) {
            (None, None) => return Ok(None),
            (Some(schedule), Some(duration)) => (schedule, duration.value()),
            (Some(_), None) => return Err(BudgetError::Half { present: "schedule", absent: "duration" }),
            (None, Some(_)) => return Err(BudgetError::Half { present: "duration", absent: "schedule" }),
        };
        let cron = self.parse_schedule(schedule)?;
        let start = now.checked_sub(duration).unwrap_or(Timestamp::MIN);
        let Some(hit) = next_hit(&cron, start) else { return Ok(Some((false, None))) };
        if hit > now {
            return Ok(Some((false, Some(hit))));
        }
        let changes_at = last_hit_of_window(&cron, hit, now).checked_add(duration).ok();
        Ok(Some((true, changes_at)))
    }

    fn parse_schedule(&self, schedule: &str) -> Result<Cron, BudgetError> {
        // The one descriptor that the parser does not know.
        let pattern = if schedule.trim() == "@midnight" { "@daily" } else { schedule };
        CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build()
            .parse(pattern)
            .map_err(|error| BudgetError::Schedule { schedule: schedule.to_owned(), problem: error.to_string() })
    }
}

/// The latest hit not after `now`, starting from `hit`. Bounded: a schedule hits at most once a minute, and what is asked
/// for is only when to look again, so that stopping early merely looks again too early.
fn last_hit_of_window(cron: &Cron, hit: Timestamp, now: Timestamp) -> Timestamp {
    const MAX_HITS: usize = 64;
    std::iter::successors(Some(hit), |hit| next_hit(cron, *hit))
        .take(MAX_HITS)
        .take_while(|hit| *hit <= now)
        .last()
        .unwrap_or(hit)
}

/// The first hit strictly after `after`, in UTC.
fn next_hit(cron: &Cron, after: Timestamp) -> Option<Timestamp> {
    cron.find_next_occurrence(&after.to_zoned(TimeZone::UTC), false).ok().map(|hit| hit.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn pool(budgets: Vec<Budget>) -> NodePool {
        let mut pool = NodePool::default();
        pool.spec.disruption.budgets = budgets;
        pool
    }

    fn budget(nodes: &str, window: Option<(&str, &str)>) -> Budget {
        Budget {
            nodes: nodes.to_owned(),
            reasons: None,
            schedule: window.map(|(schedule, _)| schedule.to_owned()),
            duration: window.map(|(_, duration)| duration.parse().unwrap()),
        }
    }

    fn now() -> Timestamp {
        "2026-08-20T10:30:00Z".parse().unwrap()
    }

    // Golden values of spec core A.3.
    #[rstest]
    #[case("10%", None, [0, 1, 1, 2, 11])]
    #[case("1%", None, [0, 1, 1, 1, 2])]
    #[case("100%", None, [0, 1, 10, 11, 101])]
    #[case("0", None, [0; 5])]
    #[case("0%", None, [0; 5])]
    #[case("3", None, [3; 5])]
    #[case("2", Some(("0 9 * * *", "1h30m")), [UNLIMITED; 5])]
    #[case("2", Some(("0 9 * * *", "1h31m")), [2; 5])]
    #[case("2", Some(("30 10 * * *", "1m")), [2; 5])]
    #[case("2", Some(("@hourly", "30m")), [UNLIMITED; 5])]
    #[case("2", Some(("@midnight", "11h")), [2; 5])]
    #[case("2", Some(("@bogus", "30m")), [0; 5])]
    fn golden(#[case] nodes: &str, #[case] window: Option<(&str, &str)>, #[case] allowed: [u32; 5]) {
        let pool = pool(vec![budget(nodes, window)]);
        let totals = [0, 1, 10, 11, 101];
        let actual = totals.map(|total| allowed_disruptions(&pool, DisruptionReason::Empty, total, now()).allowed);
        assert_eq!(actual, allowed);
    }

    #[test]
    fn the_tightest_budget_for_the_reason_applies() {
        let mut empty_only = budget("1", None);
        empty_only.reasons = Some(vec![DisruptionReason::Empty]);
        let pool = pool(vec![budget("50%", None), empty_only]);
        let allowed = |reason| allowed_disruptions(&pool, reason, 10, now()).allowed;
        assert_eq!([allowed(DisruptionReason::Empty), allowed(DisruptionReason::Drifted)], [1, 5]);
    }

    #[test]
    fn without_budgets_nothing_is_limited_but_by_default_ten_percent_is() {
        assert_eq!(allowed_disruptions(&pool(vec![]), DisruptionReason::Empty, 10, now()).allowed, UNLIMITED);
        assert_eq!(allowed_disruptions(&NodePool::default(), DisruptionReason::Empty, 20, now()).allowed, 2);
    }

    #[test]
    fn an_unreadable_budget_blocks_every_reason() {
        let mut bogus = budget("2", Some(("@bogus", "30m")));
        bogus.reasons = Some(vec![DisruptionReason::Drifted]);
        let result = allowed_disruptions(&pool(vec![budget("5", None), bogus]), DisruptionReason::Empty, 10, now());
        assert_eq!(result.allowed, 0);
        assert!(result.errors[0].to_string().contains("`@bogus`"), "{:?}", result.errors);
    }

    #[rstest]
    #[case("0 9 * * *", "1h31m", "2026-08-20T10:31:00Z")]
    #[case("0 9 * * *", "1h30m", "2026-08-21T09:00:00Z")]
    #[case("0 11 * * 1-5", "8h", "2026-08-20T11:00:00Z")]
    #[case("@hourly", "45m", "2026-08-20T10:45:00Z")]
    fn says_when_it_changes_by_time_alone(#[case] schedule: &str, #[case] duration: &str, #[case] at: &str) {
        let pool = pool(vec![budget("2", Some((schedule, duration)))]);
        let changes_at = allowed_disruptions(&pool, DisruptionReason::Empty, 10, now()).changes_at;
        assert_eq!(changes_at, Some(at.parse().unwrap()));
    }
}
