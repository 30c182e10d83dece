//! What can be wrong with settings, in words that say what would be right.

use super::{
    Capacity, CapacityRule, Catalogue, CloudConfig, Consistency, DelayRange, Delays, EventConfig, FaultEffect,
    FaultRule, MinorRange, PriceRule, Throttling,
    fault::{MAX_DELAY, MAX_RULES},
    matches_pattern,
    nearest::hint,
};
use jiff::SignedDuration;

/// A pool of the account holds at most so many machines by rule; more is `unlimited`.
const MAX_CAPACITY: u32 = 1_000_000;
/// No state lasts longer than a scenario.
const MAX_STATE: SignedDuration = SignedDuration::from_hours(24 * 7);
/// A hundred times EC2's limits are none.
const MAX_THROTTLING_PERCENT: u32 = 10_000;
/// Spot prices may not reach 0.
const MAX_SWING_PERCENT: u8 = 90;
/// More versions than Kubernetes has in a decade are a mistake; each costs some 20 images.
const MAX_MINORS: u32 = 40;
/// Cluster names become part of tags and group names (EKS' limit).
const MAX_CLUSTER: usize = 100;

/// Everything that is wrong with settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.join("; "))]
pub struct ConfigError {
    /// One sentence each, never empty.
    pub problems: Vec<String>,
}

impl ConfigError {
    pub(crate) fn check(problems: Vec<String>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self { problems }) }
    }
}

/// What rules are checked against.
pub(crate) struct Known<'a> {
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) zones: Vec<&'a str>,
}

impl CloudConfig {
    /// Checks the settings against the catalogue.
    ///
    /// # Errors
    /// All problems at once.
    pub fn check(&self) -> Result<(), ConfigError> {
        let catalogue = Catalogue::embedded();
        let known = Known { catalogue: &catalogue, zones: self.zone_names(&catalogue) };
        let mut problems = self.place_problems(&catalogue);
        problems.extend(self.capacity.overrides.iter().flat_map(|rule| known.capacity_problems(rule)));
        problems.extend(capacity_value_problems("capacity.default", self.capacity.default));
        problems.extend(self.prices.overrides.iter().flat_map(|rule| known.price_problems(rule)));
        if self.prices.spot_swing_percent > MAX_SWING_PERCENT {
            let swing = self.prices.spot_swing_percent;
            problems.push(format!("prices.spotSwingPercent is {swing}: it can be 0 to {MAX_SWING_PERCENT}"));
        }
        problems.extend(delay_problems(&self.delays));
        problems.extend(event_problems(&self.events));
        problems.extend(consistency_problems(&self.consistency));
        problems.extend(throttling_problems(self.throttling));
        problems.extend(fault_problems(&self.faults));
        problems.extend(minor_problems(self.kubernetes_minors));
        ConfigError::check(problems)
    }

    fn zone_names<'a>(&'a self, catalogue: &'a Catalogue) -> Vec<&'a str> {
        if self.zones.is_empty() {
            let zones = catalogue.zones_of(&self.region);
            return zones.filter(|zone| zone.kind == "availability-zone").map(|zone| zone.name).collect();
        }
        self.zones.iter().map(String::as_str).collect()
    }

    fn place_problems(&self, catalogue: &Catalogue) -> Vec<String> {
        let mut problems = Vec::new();
        let regions = catalogue.regions();
        if !regions.contains(&self.region.as_str()) {
            let hint = hint(&self.region, regions.iter().copied());
            problems.push(format!("unknown region `{}` (known: {}){hint}", self.region, regions.join(", ")));
        }
        for zone in &self.zones {
            if !catalogue.zones_of(&self.region).any(|known| known.name == zone) {
                let hint = hint(zone, catalogue.zones_of(&self.region).map(|known| known.name));
                problems.push(format!("unknown zone `{zone}` in region `{}`{hint}", self.region));
            }
        }
        if self.cluster.is_empty() || self.cluster.len() > MAX_CLUSTER {
            problems.push(format!("cluster `{}`: a name has 1 to {MAX_CLUSTER} characters", self.cluster));
        }
        if self.account_id.len() != 12 || !self.account_id.bytes().all(|byte| byte.is_ascii_digit()) {
            problems.push(format!("accountId `{}`: an account has 12 digits", self.account_id));
        }
        problems
    }
}

impl Known<'_> {
    pub(crate) fn capacity_problems(&self, rule: &CapacityRule) -> Vec<String> {
        let mut problems = self.place_problems(&rule.instance_type, &rule.zone);
        problems.extend(capacity_value_problems(&format!("capacity of `{}`", rule.instance_type), rule.capacity));
        problems
    }

    pub(crate) fn price_problems(&self, rule: &PriceRule) -> Vec<String> {
        let mut problems = self.place_problems(&rule.instance_type, &rule.zone);
        if rule.price.nanos() == 0 {
            problems.push(format!("price of `{}` is 0: a price is above 0", rule.instance_type));
        }
        if rule.capacity_type == super::Market::OnDemand && rule.zone != "*" {
            problems.push(format!(
                "the on-demand price of `{}` is the same in all zones: leave `zone` (`{}`) out",
                rule.instance_type, rule.zone
            ));
        }
        problems
    }

    fn place_problems(&self, instance_type: &str, zone: &str) -> Vec<String> {
        let mut problems = Vec::new();
        let names = || self.catalogue.machine_types().iter().map(|machine_type| machine_type.name);
        if !names().any(|name| matches_pattern(instance_type, name)) {
            let hint = hint(instance_type, names());
            problems.push(format!("no instance type matches `{instance_type}`{hint}"));
        }
        if !self.zones.iter().any(|name| matches_pattern(zone, name)) {
            let hint = hint(zone, self.zones.iter().copied());
            problems.push(format!("no zone of this world matches `{zone}`{hint}"));
        }
        problems
    }
}

fn capacity_value_problems(what: &str, capacity: Capacity) -> Vec<String> {
    match capacity {
        Capacity::Drawn { min, max } if min > max => {
            vec![format!("{what}: min {min} is above max {max}")]
        }
        Capacity::Drawn { max: count, .. } | Capacity::Count(count) if count > MAX_CAPACITY => {
            vec![format!("{what} is {count}: at most {MAX_CAPACITY}, or `unlimited`")]
        }
        Capacity::Unlimited | Capacity::Count(_) | Capacity::Drawn { .. } => Vec::new(),
    }
}

pub(crate) fn throttling_problems(throttling: Throttling) -> Vec<String> {
    let percent = throttling.percent;
    let in_range = (1..=MAX_THROTTLING_PERCENT).contains(&percent);
    let problem = || format!("throttling.percent is {percent}: it can be 1 to {MAX_THROTTLING_PERCENT}");
    (!in_range).then(problem).into_iter().collect()
}

pub(crate) fn event_problems(events: &EventConfig) -> Vec<String> {
    let percents = [("lostPercent", events.lost_percent), ("duplicatedPercent", events.duplicated_percent)];
    let beyond = percents.iter().filter(|(_, percent)| *percent > 100);
    let problems = beyond.map(|(name, percent)| format!("events.{name} is {percent}: it can be 0 to 100"));
    problems.chain(range_problem("events.delay", events.delay)).collect()
}

pub(crate) fn consistency_problems(consistency: &Consistency) -> Vec<String> {
    let ranges = [
        ("consistency.instances", consistency.instances),
        ("consistency.launchTemplates", consistency.launch_templates),
        ("consistency.instanceProfiles", consistency.instance_profiles),
    ];
    ranges.into_iter().filter_map(|(name, range)| range_problem(name, range)).collect()
}

fn range_problem(name: &str, range: DelayRange) -> Option<String> {
    let in_range = !range.min.is_negative() && range.min <= range.max && range.max <= MAX_STATE;
    let problem = || format!("{name}: {:#} to {:#} is no range between 0s and 7 days", range.min, range.max);
    (!in_range).then(problem)
}

pub(crate) fn delay_problems(delays: &Delays) -> Vec<String> {
    let range = |name: &str, range: DelayRange| range_problem(&format!("delays.{name}"), range);
    let single = |name: &str, duration: SignedDuration| {
        let in_range = !duration.is_negative() && duration <= MAX_STATE;
        (!in_range).then(|| format!("delays.{name}: {duration:#} is not between 0s and 7 days"))
    };
    [
        range("pending", delays.pending),
        range("shuttingDown", delays.shutting_down),
        range("stopping", delays.stopping),
        single("terminatedVisible", delays.terminated_visible),
        single("interruptionNotice", delays.interruption_notice),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(crate) fn fault_problems(rules: &[FaultRule]) -> Vec<String> {
    let mut problems: Vec<String> = rules.iter().flat_map(one_fault_problems).collect();
    if rules.len() > MAX_RULES {
        problems.push(format!("{} fault rules: at most {MAX_RULES}", rules.len()));
    }
    problems
}

fn one_fault_problems(rule: &FaultRule) -> Vec<String> {
    let mut problems = Vec::new();
    let operation = &rule.operation;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'*' || byte == b'?';
    if operation.is_empty() || !operation.bytes().all(allowed) {
        problems
            .push(format!("fault operation `{operation}`: a name such as `CreateFleet`, with `*` and `?` if wanted"));
    }
    if rule.percent.is_some_and(|percent| percent == 0 || percent > 100) {
        problems.push(format!("fault for `{operation}`: percent is 1 to 100"));
    }
    match &rule.effect {
        FaultEffect::Error(error) if !(400..600).contains(&error.status) => {
            problems.push(format!("fault for `{operation}`: status {} is no error (400 to 599)", error.status));
        }
        FaultEffect::Delay(delay) if delay.is_negative() || *delay > MAX_DELAY => {
            problems.push(format!("fault for `{operation}`: the delay {delay:#} is not between 0s and 10m"));
        }
        FaultEffect::Error(_)
        | FaultEffect::Delay(_)
        | FaultEffect::Throttle
        | FaultEffect::LoseResponse(_)
        | FaultEffect::Duplicate => {}
    }
    problems
}

fn minor_problems(minors: MinorRange) -> Vec<String> {
    if minors.first <= minors.last && minors.last - minors.first < MAX_MINORS {
        return Vec::new();
    }
    vec![format!("kubernetesMinors {} to {} is no range of 1 to {MAX_MINORS} versions", minors.first, minors.last)]
}

#[cfg(test)]
mod tests {
    use crate::world::CloudConfig;
    use rstest::rstest;

    fn problems(text: &str) -> String {
        match serde_json::from_str::<CloudConfig>(text) {
            Ok(config) => config.check().expect_err("the settings are wrong").to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[rstest]
    #[case(
        r#"{"region": "us-west-3"}"#,
        "unknown region `us-west-3` (known: eu-west-1, us-east-1, us-west-2); did you mean `us-west-2`?"
    )]
    #[case(
        r#"{"zones": ["us-west-2e"]}"#,
        "unknown zone `us-west-2e` in region `us-west-2`; did you mean `us-west-2a`?"
    )]
    #[case(
        r#"{"capacity": {"overrides": [{"instanceType": "m5.larg", "capacity": 1}]}}"#,
        "no instance type matches `m5.larg`; did you mean `m5.large`?"
    )]
    #[case(
        r#"{"capacity": {"overrides": [{"instanceType": "m5.*", "capacityType": "spott", "capacity": 1}]}}"#,
        "unknown variant `spott`, expected `on-demand` or `spot`"
    )]
    #[case(r#"{"capacity": {"default": "lots"}}"#, "`unlimited`, a number, or {min: …, max: …}")]
    #[case(r#"{"capacity": {"default": {"min": 3, "max": 1}}}"#, "min 3 is above max 1")]
    #[case(r#"{"sed": 1}"#, "unknown field `sed`, expected one of `seed`")]
    #[case(r#"{"delays": {"pending": {"min": "20s", "max": "5s"}}}"#, "delays.pending: 20s to 5s is no range")]
    #[case(r#"{"delays": {"pending": {"min": "soon", "max": "5s"}}}"#, "`soon` is no duration: write e.g. `30s`")]
    #[case(
        r#"{"prices": {"overrides": [{"instanceType": "m5.large", "zone": "us-west-2a", "capacityType": "on-demand", "price": "1"}]}}"#,
        "leave `zone` (`us-west-2a`) out"
    )]
    #[case(
        r#"{"prices": {"overrides": [{"instanceType": "m5.large", "capacityType": "spot", "price": "free"}]}}"#,
        "`free` is no price"
    )]
    #[case(r#"{"faults": [{"operation": "Create Fleet", "effect": "throttle"}]}"#, "fault operation `Create Fleet`")]
    #[case(r#"{"faults": [{"operation": "CreateFleet", "effect": "explode"}]}"#, "unknown variant `explode`")]
    #[case(r#"{"faults": [{"operation": "*", "effect": {"delay": "11m"}}]}"#, "the delay 11m is not between")]
    #[case(r#"{"accountId": "12"}"#, "accountId `12`: an account has 12 digits")]
    #[case(r#"{"kubernetesMinors": {"first": 30, "last": 20}}"#, "kubernetesMinors 30 to 20")]
    #[case(r#"{"prices": {"spotSwingPercent": 95}}"#, "spotSwingPercent is 95")]
    fn wrong_settings_are_named_with_what_would_be_right(#[case] text: &str, #[case] expected: &str) {
        let problems = problems(text);
        assert!(problems.contains(expected), "{problems}");
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let text =
            r#"{"accountId": "1", "capacity": {"overrides": [{"instanceType": "x", "zone": "y", "capacity": 1}]}}"#;
        let config: CloudConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.check().unwrap_err().problems.len(), 3);
    }
}
