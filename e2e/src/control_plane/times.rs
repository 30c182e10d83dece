//! Time on two clocks: a run in fast motion lives `speed` times as fast as the cluster that it uses.

use jiff::{SignedDuration, Timestamp};
use sawhorse_kwok::apiserver::tolerate_for_a_while;
use serde_json::Value;

/// How long a pod may take to end, and what the API server takes for it.
const GRACE: &str = "terminationGracePeriodSeconds";
const DEFAULT_GRACE: i64 = 30;

/// How times and spans of a cluster and of a run in fast motion are told in one another.
///
/// A moment `t` of the cluster is `began + (t - began) × speed` of the run; a span of `n` seconds of the cluster is
/// `n × speed` of the run. Built-in kinds keep whole seconds, so that a time that was sent comes back up to `speed` seconds earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The moment at which both clocks showed the same.
    pub began: Timestamp,
    /// How many seconds of the run pass in one of the cluster; at least 1.
    pub speed: u32,
}

impl Times {
    /// An object of the cluster as the run sees it.
    ///
    /// ```
    /// # use sawhorse_e2e::control_plane::Times;
    /// let times = Times { began: "2026-01-01T00:00:00Z".parse().unwrap(), speed: 10 };
    /// let mut pod = serde_json::json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:03Z"}, "spec": {"terminationGracePeriodSeconds": 3}});
    /// times.of_run(&mut pod);
    /// assert_eq!(pod["metadata"]["creationTimestamp"], "2026-01-01T00:00:30.000000Z");
    /// assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 30);
    /// ```
    pub fn of_run(&self, value: &mut Value) {
        let speed = i64::from(self.speed);
        translate(value, &|at| self.moment_of_run(at), &|seconds| seconds.saturating_mul(speed));
    }

    /// A moment of the cluster as the run tells it.
    #[must_use]
    pub fn moment_of_run(&self, at: Timestamp) -> Timestamp {
        let speed = i64::from(self.speed);
        self.moved(at, |since| since * speed)
    }

    /// An object of the run as the cluster is told it. Spans are rounded up, so that none becomes nothing; those that the API server
    /// would fill in by its own clock, how long a pod may take to end and how long it bears a lost node, are written out.
    pub fn of_cluster(&self, value: &mut Value) {
        write_out_grace(value);
        // A change may leave out what is there already.
        if value.get("kind").is_some() {
            write_out_tolerations(value);
        }
        let speed = i64::from(self.speed);
        let moment = |at: Timestamp| self.moved(at, |since| since / speed);
        translate(value, &moment, &|seconds| seconds.div_euclid(speed) + i64::from(seconds.rem_euclid(speed) > 0));
    }

    fn moved(&self, at: Timestamp, change: impl Fn(i64) -> i64) -> Timestamp {
        let since = at.duration_since(self.began).as_micros();
        let moved = SignedDuration::from_micros(change(i64::try_from(since).unwrap_or(i64::MAX / i64::from(u32::MAX))));
        self.began.checked_add(moved).unwrap_or(at)
    }
}

/// Specs of pods get the grace period that the API server would give them.
fn write_out_grace(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.get("containers").is_some_and(Value::is_array) && !fields.contains_key(GRACE) {
                fields.insert(GRACE.to_owned(), DEFAULT_GRACE.into());
            }
            fields.values_mut().for_each(write_out_grace);
        }
        Value::Array(items) => items.iter_mut().for_each(write_out_grace),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Specs of pods get the tolerations that the API server would give the pods.
fn write_out_tolerations(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.get("containers").is_some_and(Value::is_array) {
                tolerate_for_a_while(fields);
            }
            fields.values_mut().for_each(write_out_tolerations);
        }
        Value::Array(items) => items.iter_mut().for_each(write_out_tolerations),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Moments are strings that are nothing else; spans are numbers whose field says that they are seconds.
fn translate(value: &mut Value, moment: &dyn Fn(Timestamp) -> Timestamp, span: &dyn Fn(i64) -> i64) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field.as_i64().filter(|_| name.ends_with("Seconds")) {
                    Some(seconds) => *field = span(seconds).into(),
                    None => translate(field, moment, span),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| translate(item, moment, span)),
        Value::String(text) => {
            if let Some(at) = read(text) {
                *text = format!("{:.6}", moment(at));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn read(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let like = (20..=35).contains(&bytes.len()) && bytes[10] == b'T' && bytes[4] == b'-' && bytes[13] == b':';
    if like { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::Times;
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn times(speed: u32) -> Times {
        Times { began: "2026-01-01T00:00:00Z".parse().unwrap(), speed }
    }

    #[rstest]
    #[case::grace(json!({"gracePeriodSeconds": 30}), json!({"gracePeriodSeconds": 2}))]
    #[case::never_nothing(json!({"gracePeriodSeconds": 1}), json!({"gracePeriodSeconds": 1}))]
    #[case::at_once(json!({"gracePeriodSeconds": 0}), json!({"gracePeriodSeconds": 0}))]
    #[case::grace_by_default(json!({"spec": {"containers": []}}), json!({"spec": {"containers": [], "terminationGracePeriodSeconds": 2}}))]
    #[case::tolerations_by_default(json!({"kind": "Pod", "spec": {"containers": [], "terminationGracePeriodSeconds": 1, "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 60}]}}), json!({"kind": "Pod", "spec": {"containers": [], "terminationGracePeriodSeconds": 1, "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 3}, {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 15}]}}))]
    #[case::moment(json!(["2026-01-01T00:01:00Z"]), json!(["2026-01-01T00:00:03.000000Z"]))]
    #[case::before(json!(["2025-12-31T23:59:00Z"]), json!(["2025-12-31T23:59:57.000000Z"]))]
    #[case::other_text(json!({"a": "2026-01-01", "b": "at 2026-01-01T00:01:00Z", "seconds": 30}), json!({"a": "2026-01-01", "b": "at 2026-01-01T00:01:00Z", "seconds": 30}))]
    #[case::a_schema(json!({"xSeconds": {"type": "integer"}}), json!({"xSeconds": {"type": "integer"}}))]
    fn the_cluster_is_told(#[case] mut run: Value, #[case] cluster: Value) {
        times(20).of_cluster(&mut run);
        assert_eq!(run, cluster);
    }

    proptest! {
        #[test]
        fn there_and_back_is_the_same_to_the_microsecond(speed in 1_u32..100, seconds in 0_i64..10_000_000) {
            let at = times(1).began + jiff::SignedDuration::from_secs(seconds * i64::from(speed));
            let sent = json!({"at": at.to_string(), "forSeconds": seconds * i64::from(speed)});
            let mut value = sent.clone();
            times(speed).of_cluster(&mut value);
            times(speed).of_run(&mut value);
            prop_assert_eq!(value["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap(), at);
            prop_assert_eq!(&value["forSeconds"], &sent["forSeconds"]);
        }
    }
}
