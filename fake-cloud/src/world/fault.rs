//! Fault rules: which call, how often, and what goes wrong.

use super::{CallPlan, CloudError, LostResponse, Treatment, matches_pattern};
use jiff::SignedDuration;
use sawhorse_ambient::Seed;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// More rules than this is a mistake of a script, not a scenario.
pub(crate) const MAX_RULES: usize = 1_000;
/// Longer than any client waits (the reference's HTTP timeout is 4 minutes); a scripted delay may not exceed it.
pub(crate) const MAX_DELAY: SignedDuration = SignedDuration::from_mins(10);

/// A rule as a script writes it.
///
/// ```json
/// {"operation": "CreateFleet", "effect": {"loseResponse": "serverError"}, "skip": 1, "times": 2}
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FaultRule {
    /// The operation's name, with wildcards: `CreateFleet`, `Describe*`, `*`.
    pub operation: String,
    /// What happens.
    pub effect: FaultEffect,
    /// Matching calls that pass first.
    #[serde(default)]
    pub skip: u64,
    /// Calls that it then hits; for ever if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// Percent of the calls that it hits, drawn from the seed; all if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
}

/// What a rule does to a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum FaultEffect {
    /// Refused as too frequent (EC2: `RequestLimitExceeded`).
    Throttle,
    /// Refused with this code.
    Error(ScriptedError),
    /// Served, but so much later.
    #[serde(with = "super::duration")]
    Delay(SignedDuration),
    /// Takes effect, but the answer is lost.
    LoseResponse(LostResponse),
    /// Takes effect twice.
    Duplicate,
}

/// An error in the vendor's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScriptedError {
    /// The vendor's code, e.g. `UnauthorizedOperation`.
    pub code: String,
    /// The message.
    #[serde(default = "scripted_message")]
    pub message: String,
    /// The HTTP status, 400 to 599.
    #[serde(default = "scripted_status")]
    pub status: u16,
}

fn scripted_message() -> String {
    "A fault rule of the fake cloud refused this call.".to_owned()
}

const fn scripted_status() -> u16 {
    400
}

/// A rule in force and how often it has been looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActiveFault {
    /// Its id, e.g. `fault-1`.
    pub id: String,
    /// The rule.
    #[serde(flatten)]
    pub rule: FaultRule,
    /// Calls that matched it.
    pub matched: u64,
    /// Calls that it hit.
    pub hit: u64,
}

/// The rules in force.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) active: Vec<ActiveFault>,
    made: u64,
}

impl Faults {
    pub(crate) fn add(&mut self, rule: FaultRule) -> &ActiveFault {
        self.made += 1;
        self.active.push(ActiveFault { id: format!("fault-{}", self.made), rule, matched: 0, hit: 0 });
        self.active.last().expect("one was just pushed")
    }

    pub(crate) fn remove(&mut self, id: &str) -> Option<ActiveFault> {
        let place = self.active.iter().position(|fault| fault.id == id)?;
        Some(self.active.remove(place))
    }

    /// What the rules make of a call: delays add up, the first other effect wins. Every rule that matches is counted, so
    /// that no rule's count depends on another rule.
    pub(crate) fn plan(&mut self, seed: Seed, operation: &str) -> CallPlan {
        let mut plan = CallPlan { delay: Duration::ZERO, treatment: Treatment::Serve };
        for fault in &mut self.active {
            if matches_pattern(&fault.rule.operation, operation) && fault.hits(seed) {
                apply(&fault.rule.effect, &mut plan);
            }
        }
        plan
    }
}

impl ActiveFault {
    fn hits(&mut self, seed: Seed) -> bool {
        self.matched += 1;
        let in_range = self.matched > self.rule.skip && self.rule.times.is_none_or(|times| self.hit < times);
        let drawn = || {
            let number = self.matched.to_string();
            let draw = seed.stream(&["fault", &self.id, &number]).below(100);
            self.rule.percent.is_none_or(|percent| draw < u64::from(percent))
        };
        let hits = in_range && drawn();
        self.hit += u64::from(hits);
        hits
    }
}

fn apply(effect: &FaultEffect, plan: &mut CallPlan) {
    let treatment = match effect {
        FaultEffect::Delay(delay) => {
            plan.delay += Duration::try_from(*delay).unwrap_or_default();
            return;
        }
        FaultEffect::Throttle => Treatment::Refuse(CloudError::Throttled),
        FaultEffect::Error(ScriptedError { code, message, status }) => {
            Treatment::Refuse(CloudError::Scripted { code: code.clone(), message: message.clone(), status: *status })
        }
        FaultEffect::LoseResponse(lost) => Treatment::Lose(*lost),
        FaultEffect::Duplicate => Treatment::Twice,
    };
    if plan.treatment == Treatment::Serve {
        plan.treatment = treatment;
    }
}

#[cfg(test)]
mod tests {
    use super::{FaultEffect, FaultRule, Faults};
    use crate::world::Treatment;
    use sawhorse_ambient::Seed;

    fn rule(operation: &str, effect: FaultEffect) -> FaultRule {
        FaultRule { operation: operation.to_owned(), effect, skip: 0, times: None, percent: None }
    }

    fn refused(faults: &mut Faults, operation: &str, calls: usize) -> Vec<bool> {
        (0..calls).map(|_| faults.plan(Seed(1), operation).treatment != Treatment::Serve).collect()
    }

    #[test]
    fn a_rule_skips_then_hits_then_is_over() {
        let mut faults = Faults::default();
        faults.add(FaultRule { skip: 1, times: Some(2), ..rule("Create*", FaultEffect::Throttle) });
        assert_eq!(refused(&mut faults, "DescribeInstances", 1), [false]);
        assert_eq!(refused(&mut faults, "CreateFleet", 5), [false, true, true, false, false]);
    }

    #[test]
    fn a_percentage_is_drawn_from_the_seed() {
        let mut faults = Faults::default();
        faults.add(FaultRule { percent: Some(30), ..rule("*", FaultEffect::Throttle) });
        let hits = refused(&mut faults.clone(), "X", 1000);
        assert_eq!(hits, refused(&mut faults, "X", 1000));
        assert!((250..350).contains(&hits.iter().filter(|hit| **hit).count()));
    }
}
