//! CEL expressions over one object (variable `self`), with KWOK's functions `Now`, `Rand`, `SinceSecond`, `UnixSecond`, `Quantity`.

use crate::machine::quantity::Quantity;
use cel::{Context, Env, ExecutionError, Program, Value as CelValue};
use jiff::{SignedDuration, Timestamp};
use sawhorse_ambient::Stream;
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};

/// A compiled expression.
#[derive(Debug)]
pub(crate) struct Condition(Program);

impl Condition {
    /// Compiles `text`; the error says what CEL did not understand.
    pub(crate) fn compile(text: &str) -> Result<Self, String> {
        let program = Env::stdlib().compile(text).map_err(|error| error.to_string().trim().to_owned())?;
        Ok(Self(program))
    }

    /// Whether the expression holds for `object`.
    pub(crate) fn holds(&self, object: &Value, now: Timestamp, draws: &Stream) -> Result<bool, String> {
        match self.evaluate(object, now, draws)? {
            CelValue::Bool(truth) => Ok(truth),
            other => Err(format!("a condition must give true or false, not {other:?}")),
        }
    }

    /// The duration that the expression gives.
    pub(crate) fn duration(&self, object: &Value, now: Timestamp, draws: &Stream) -> Option<SignedDuration> {
        match self.evaluate(object, now, draws) {
            Ok(CelValue::Duration(duration)) => duration.num_nanoseconds().map(SignedDuration::from_nanos),
            Ok(CelValue::String(text)) => super::duration::parse_go_duration(&text),
            _ => None,
        }
    }

    /// The whole number that the expression gives.
    pub(crate) fn integer(&self, object: &Value, now: Timestamp, draws: &Stream) -> Option<i64> {
        match self.evaluate(object, now, draws) {
            Ok(CelValue::Int(number)) => Some(number),
            Ok(CelValue::UInt(number)) => i64::try_from(number).ok(),
            Ok(CelValue::Float(number)) => Some(number as i64),
            _ => None,
        }
    }

    fn evaluate(&self, object: &Value, now: Timestamp, draws: &Stream) -> Result<CelValue, String> {
        let context = context(object, now, draws.clone())?;
        self.0.execute(&context).map_err(|error| error.to_string())
    }
}

fn context<'v>(object: &Value, now: Timestamp, draws: Stream) -> Result<Context<'v, 'v>, String> {
    let mut context = Context::default();
    let object = cel::to_value(Signed(object)).map_err(|error| error.to_string())?;
    context.add_variable_from_value("self", object);
    let draws = Mutex::new(draws);
    let rand = move || draws.lock().unwrap_or_else(PoisonError::into_inner).below(1 << 53) as f64 / (1u64 << 53) as f64;
    let declare = || {
        context.add_function("Now", move || timestamp(now))?;
        context.add_function("Rand", rand)?;
        context.add_function("UnixSecond", |at: CelValue| unix_seconds(&at))?;
        context.add_function("SinceSecond", move |of: CelValue| since_seconds(&of, now))?;
        context.add_function("Quantity", |text: Arc<String>| quantity(&text))
    };
    declare().map_err(|error: cel::DeclarationError| error.to_string())?;
    Ok(context)
}

fn timestamp(at: Timestamp) -> Result<CelValue, ExecutionError> {
    let parsed = at.to_string().parse().map(CelValue::Timestamp);
    parsed.map_err(|error| ExecutionError::function_error("Now", error))
}

fn unix_seconds(at: &CelValue) -> Result<CelValue, ExecutionError> {
    match at {
        CelValue::Timestamp(at) => Ok(CelValue::Float(at.timestamp_micros() as f64 / 1e6)),
        other => Err(ExecutionError::function_error("UnixSecond", format!("expected a timestamp, found {other:?}"))),
    }
}

/// Seconds since a timestamp, or since an object's start (`status.startTime`, else `metadata.creationTimestamp`).
fn since_seconds(of: &CelValue, now: Timestamp) -> Result<CelValue, ExecutionError> {
    let began = match of {
        CelValue::Timestamp(at) => Timestamp::from_microsecond(at.timestamp_micros()).ok(),
        CelValue::String(text) => text.parse().ok(),
        other => other.json().ok().and_then(|object| {
            let started = object.pointer("/status/startTime").or_else(|| object.pointer("/metadata/creationTimestamp"));
            started?.as_str()?.parse().ok()
        }),
    };
    let began = began.ok_or_else(|| ExecutionError::function_error("SinceSecond", "the argument has no start time"))?;
    Ok(CelValue::Float(now.duration_since(began).as_secs_f64()))
}

fn quantity(text: &str) -> Result<CelValue, ExecutionError> {
    let parsed = text.parse::<Quantity>().map_err(|error| ExecutionError::function_error("Quantity", error))?;
    Ok(CelValue::Float(parsed.as_f64()))
}

/// JSON whose whole numbers are CEL's `int`; serde_json would announce positive ones as `uint`.
struct Signed<'a>(&'a Value);

impl Serialize for Signed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Number(number) => match number.as_i64() {
                Some(number) => serializer.serialize_i64(number),
                None => serializer.serialize_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::Array(items) => serializer.collect_seq(items.iter().map(Signed)),
            Value::Object(fields) => serializer.collect_map(fields.iter().map(|(name, value)| (name, Signed(value)))),
            Value::Null | Value::Bool(_) | Value::String(_) => self.0.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Condition;
    use rstest::rstest;
    use sawhorse_ambient::Seed;
    use serde_json::json;

    #[rstest]
    #[case("self.spec.storageClassName == 'kwok-volume'", Ok(true))]
    #[case("!has(self.metadata.deletionTimestamp)", Ok(true))]
    #[case("self.status.phase in ['Bound', 'Released']", Ok(false))]
    #[case("self.spec.replicas == 3 && self.spec.replicas > 2", Ok(true))]
    #[case("SinceSecond(self) == 60.0", Ok(true))]
    #[case("UnixSecond(Now()) > 0.0", Ok(true))]
    #[case("Now() - timestamp(self.metadata.creationTimestamp) == duration('60s')", Ok(true))]
    #[case("Quantity('1.5Gi') == 1610612736.0", Ok(true))]
    #[case("Rand() < 1.0", Ok(true))]
    #[case("self.metadata.labels.exists(name, name == 'app')", Ok(true))]
    #[case("self.spec.none == 1", Err(()))]
    #[case("self.spec.replicas", Err(()))]
    fn conditions_hold(#[case] expression: &str, #[case] expected: Result<bool, ()>) {
        let object = json!({
            "metadata": {"labels": {"app": "web"}, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"storageClassName": "kwok-volume", "replicas": 3},
            "status": {"phase": "Pending"},
        });
        let condition = Condition::compile(expression).unwrap();
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        assert_eq!(condition.holds(&object, now, &Seed(1).stream(&["cel"])).map_err(|_| ()), expected);
    }

    #[test]
    fn text_that_is_not_cel_is_refused() {
        assert!(Condition::compile("self.spec ==").is_err());
    }
}
