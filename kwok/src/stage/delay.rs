//! How long a stage waits, and its weight among others: read from the object where the stage says so.

use super::{
    StageError,
    api::{Delay, ValueFrom},
    cel::Condition,
    duration::parse_go_duration,
    jq::{Output, Query},
};
use jiff::{SignedDuration, Timestamp};
use sawhorse_ambient::Stream;
use serde_json::Value;

/// One end of a [`Window`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// So long after the stage was chosen.
    After(SignedDuration),
    /// At this time.
    At(Timestamp),
}

impl Bound {
    fn from(self, now: Timestamp) -> SignedDuration {
        match self {
            Self::After(duration) => duration,
            Self::At(at) => at.duration_since(now),
        }
    }
}

/// Within which time a stage happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The duration.
    pub from: Bound,
    /// The jitter, if there is one.
    pub to: Option<Bound>,
}

impl Window {
    /// At once.
    pub const NOW: Self = Self { from: Bound::After(SignedDuration::ZERO), to: None };

    /// When the stage happens: a jitter at or below the duration replaces it; one above it is the end of the range that is
    /// drawn from, to the millisecond. Never before `now`.
    pub fn due(&self, now: Timestamp, draws: &mut Stream) -> Timestamp {
        let from = self.from.from(now);
        let wait = match self.to.map(|to| to.from(now)) {
            None => from,
            Some(to) if to <= from => to,
            Some(to) => {
                let range = u64::try_from((to - from).as_millis()).unwrap_or(0);
                from + SignedDuration::from_millis(i64::try_from(draws.below(range)).unwrap_or(0))
            }
        };
        now.checked_add(wait.max(SignedDuration::ZERO)).unwrap_or(Timestamp::MAX)
    }
}

enum Source {
    Jq(Query),
    Cel(Condition),
}

fn compile_source(stage: &str, field: &str, from: &ValueFrom) -> Result<Source, StageError> {
    let jq = |text: &str| Query::compile(text).map(Source::Jq);
    let compiled = match (&from.expression_from, &from.jq, &from.cel) {
        (Some(text), None, None) => jq(text),
        (None, Some(query), None) => jq(&query.expression),
        (None, None, Some(cel)) => Condition::compile(&cel.expression).map(Source::Cel),
        _ => Err("expected exactly one of `expressionFrom`, `jq` and `cel`".to_owned()),
    };
    compiled.map_err(|problem| StageError::invalid(stage, field, problem))
}

/// A delay, compiled.
pub(crate) struct CompiledDelay {
    duration: Option<SignedDuration>,
    duration_from: Option<Source>,
    jitter: Option<SignedDuration>,
    jitter_from: Option<Source>,
}

impl CompiledDelay {
    pub(crate) fn compile(stage: &str, delay: &Delay) -> Result<Self, StageError> {
        let source = |name: &str, from: &Option<ValueFrom>| {
            from.as_ref().map(|from| compile_source(stage, &format!("spec.delay.{name}"), from)).transpose()
        };
        Ok(Self {
            duration: Some(SignedDuration::from_millis(delay.duration_milliseconds.unwrap_or(0))),
            duration_from: source("durationFrom", &delay.duration_from)?,
            jitter: delay.jitter_duration_milliseconds.map(SignedDuration::from_millis),
            // KWOK reads a jitter only from jq; a CEL one counts as not given.
            jitter_from: source("jitterDurationFrom", &delay.jitter_duration_from)?
                .filter(|source| matches!(source, Source::Jq(_))),
        })
    }

    /// The window for `object`; what cannot be read counts as no delay.
    pub(crate) fn window(&self, object: &Value, now: Timestamp, draws: &Stream) -> Window {
        match bound(self.duration, self.duration_from.as_ref(), object, now, draws) {
            None => Window::NOW,
            Some(from) => Window { from, to: bound(self.jitter, self.jitter_from.as_ref(), object, now, draws) },
        }
    }
}

fn bound(
    default: Option<SignedDuration>,
    source: Option<&Source>,
    object: &Value,
    now: Timestamp,
    draws: &Stream,
) -> Option<Bound> {
    let default = default.map(Bound::After);
    match source {
        None => default,
        Some(Source::Cel(condition)) => condition.duration(object, now, draws).map(Bound::After).or(default),
        Some(Source::Jq(query)) => match query.run(object).into_iter().next() {
            Some(Output::Text(text)) => text_bound(&text),
            Some(Output::Bool(_) | Output::Computed(_) | Output::Number(_) | Output::Other) | None => default,
        },
    }
}

/// A time, else a Go duration.
fn text_bound(text: &str) -> Option<Bound> {
    let at = text.parse().map(Bound::At);
    at.ok().or_else(|| parse_go_duration(text).map(Bound::After))
}

/// A weight, compiled.
pub(crate) struct CompiledWeight {
    weight: i64,
    from: Option<Source>,
}

impl CompiledWeight {
    pub(crate) fn compile(stage: &str, weight: u64, from: Option<&ValueFrom>) -> Result<Self, StageError> {
        let weight =
            i64::try_from(weight).map_err(|error| StageError::invalid(stage, "spec.weight", error.to_string()))?;
        let from = from.map(|from| compile_source(stage, "spec.weightFrom", from)).transpose()?;
        Ok(Self { weight, from })
    }

    /// The weight for `object`; none if it is there but not a number.
    pub(crate) fn of(&self, object: &Value, now: Timestamp, draws: &Stream) -> Option<i64> {
        let read = match &self.from {
            None => return Some(self.weight),
            Some(Source::Cel(condition)) => condition.integer(object, now, draws),
            Some(Source::Jq(query)) => match query.run(object).into_iter().next() {
                None => return Some(self.weight),
                Some(Output::Text(text)) => text.parse().ok(),
                Some(Output::Computed(number)) => Some(number),
                Some(Output::Number(number)) => (number.fract() == 0.0).then_some(number as i64),
                Some(Output::Bool(_) | Output::Other) => None,
            },
        };
        read.filter(|weight| *weight >= 0)
    }
}

#[cfg(test)]
mod tests {
    use super::{CompiledDelay, CompiledWeight, Window};
    use crate::stage::api::{Delay, Expression, ValueFrom};
    use jiff::Timestamp;
    use rstest::rstest;
    use sawhorse_ambient::Seed;
    use serde_json::json;

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn jq(text: &str) -> Option<ValueFrom> {
        Some(ValueFrom { jq: Some(Expression { expression: text.to_owned() }), ..ValueFrom::default() })
    }

    fn cel(text: &str) -> Option<ValueFrom> {
        Some(ValueFrom { cel: Some(Expression { expression: text.to_owned() }), ..ValueFrom::default() })
    }

    /// What the delay may be, in milliseconds: least and most of many draws.
    fn range(delay: &Delay) -> (i64, i64) {
        let object = json!({"metadata": {
            "deletionTimestamp": "2026-01-01T00:00:30Z",
            "annotations": {"delay": "2s", "empty": "", "bad": "soon"},
        }});
        let compiled = CompiledDelay::compile("s", delay).unwrap();
        let waits: Vec<i64> = (0..200)
            .map(|n: u32| {
                let mut draws = Seed(7).stream(&["delay", &n.to_string()]);
                let window: Window = compiled.window(&object, now(), &draws);
                window.due(now(), &mut draws).duration_since(now()).as_millis() as i64
            })
            .collect();
        (*waits.iter().min().unwrap(), *waits.iter().max().unwrap())
    }

    #[rstest]
    #[case::nothing(Delay::default(), 0..=0, 0..=0)]
    #[case::fixed(Delay { duration_milliseconds: Some(5_000), ..Delay::default() }, 5_000..=5_000, 5_000..=5_000)]
    #[case::jitter(Delay { duration_milliseconds: Some(1_000), jitter_duration_milliseconds: Some(5_000), ..Delay::default() }, 1_000..=1_200, 4_800..=4_999)]
    #[case::small_jitter_replaces(Delay { duration_milliseconds: Some(5_000), jitter_duration_milliseconds: Some(1_000), ..Delay::default() }, 1_000..=1_000, 1_000..=1_000)]
    #[case::from_wins(Delay { duration_milliseconds: Some(5_000), duration_from: jq(".metadata.annotations.delay"), ..Delay::default() }, 2_000..=2_000, 2_000..=2_000)]
    #[case::missing_gives_default(Delay { duration_milliseconds: Some(5_000), duration_from: jq(".metadata.annotations.none"), ..Delay::default() }, 5_000..=5_000, 5_000..=5_000)]
    #[case::empty_text_is_none(Delay { duration_milliseconds: Some(5_000), duration_from: jq(".metadata.annotations.empty"), ..Delay::default() }, 0..=0, 0..=0)]
    #[case::bad_text_is_none(Delay { duration_milliseconds: Some(5_000), duration_from: jq(".metadata.annotations.bad"), ..Delay::default() }, 0..=0, 0..=0)]
    #[case::a_time(Delay { duration_milliseconds: Some(1_000), jitter_duration_from: jq(".metadata.deletionTimestamp"), ..Delay::default() }, 1_000..=2_500, 28_000..=29_999)]
    #[case::cel(Delay { duration_from: cel("duration('3s')"), ..Delay::default() }, 3_000..=3_000, 3_000..=3_000)]
    #[case::cel_jitter_is_not_read(Delay { duration_milliseconds: Some(5_000), jitter_duration_from: cel("duration('9s')"), ..Delay::default() }, 5_000..=5_000, 5_000..=5_000)]
    fn delays(
        #[case] delay: Delay,
        #[case] least: std::ops::RangeInclusive<i64>,
        #[case] most: std::ops::RangeInclusive<i64>,
    ) {
        let (low, high) = range(&delay);
        assert!(least.contains(&low) && most.contains(&high), "drawn {low}..={high}");
    }

    #[rstest]
    #[case(None, Some(4))]
    #[case(jq(".weight"), Some(9))]
    #[case(jq(".text"), Some(11))]
    #[case(jq(".none"), Some(4))]
    #[case(jq(".bad"), None)]
    #[case(cel("self.weight + 1"), Some(10))]
    fn weights(#[case] from: Option<ValueFrom>, #[case] expected: Option<i64>) {
        let weight = CompiledWeight::compile("s", 4, from.as_ref()).unwrap();
        let object = json!({"weight": 9, "text": "11", "bad": "heavy"});
        assert_eq!(weight.of(&object, now(), &Seed(1).stream(&["w"])), expected);
    }

    #[test]
    fn a_source_is_exactly_one() {
        let refused = CompiledWeight::compile("s", 1, Some(&ValueFrom::default())).err().unwrap();
        assert!(refused.to_string().contains("stage `s`: `spec.weightFrom`: expected exactly one of"), "{refused}");
    }
}
