//! Durations as users write them: Go's notation, kept byte for byte.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr, time::Duration};

/// What is wrong with a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a duration: write whole or decimal numbers with units, such as `30s`, `5m` or `1h30m`")]
pub struct InvalidDuration {
    text: String,
}

/// Parses Go's notation: one or more `<decimal><unit>` with units `ns`, `us`, `ms`, `s`, `m`, `h`, or `0`. A leading `+` is
/// allowed; negative values are not, as no field takes one.
///
/// ```
/// use sawhorse_core::api::parse_go_duration;
/// use std::time::Duration;
///
/// assert_eq!(parse_go_duration("1h30m"), Ok(Duration::from_secs(5400)));
/// assert_eq!(parse_go_duration("1.5s"), Ok(Duration::from_millis(1500)));
/// assert!(parse_go_duration("30").is_err());
/// ```
pub fn parse_go_duration(text: &str) -> Result<Duration, InvalidDuration> {
    let invalid = || InvalidDuration { text: text.to_owned() };
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (nanos, tail) = leading_part(rest).ok_or_else(invalid)?;
        total = total.checked_add(nanos).ok_or_else(invalid)?;
        rest = tail;
    }
    // Go keeps durations in a signed 64-bit count of nanoseconds.
    let nanos = i64::try_from(total).ok().and_then(|nanos| u64::try_from(nanos).ok()).ok_or_else(invalid)?;
    Ok(Duration::from_nanos(nanos))
}

/// The nanoseconds of the first `<decimal><unit>` of `text`, and what follows it.
fn leading_part(text: &str) -> Option<(u128, &str)> {
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, tail) = text.split_at(number_end);
    let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
    let (unit, tail) = tail.split_at(unit_end);
    Some((nanos_of(number, unit_nanos(unit)?)?, tail))
}

fn unit_nanos(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

fn nanos_of(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // More than 15 decimals cannot change a whole nanosecond of the largest unit.
    let fraction = &fraction[..fraction.len().min(15)];
    let numerator: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let denominator = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    whole.checked_mul(unit)?.checked_add(numerator * unit / denominator)
}

/// A duration as the user wrote it, with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoDuration {
    text: String,
    value: Duration,
}

impl GoDuration {
    /// The value.
    pub fn value(&self) -> Duration {
        self.value
    }

    /// The text as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for GoDuration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        Ok(Self { text: text.to_owned(), value: parse_go_duration(text)? })
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `Never`, or a duration as the user wrote it (spec core 1.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NillableDuration {
    /// No limit.
    Never,
    /// After this long.
    After(GoDuration),
}

impl NillableDuration {
    /// The duration; none for `Never`.
    pub fn value(&self) -> Option<Duration> {
        match self {
            Self::Never => None,
            Self::After(duration) => Some(duration.value()),
        }
    }

    /// The text as written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Never => "Never",
            Self::After(duration) => duration.as_str(),
        }
    }

    /// `seconds` as a user would write it.
    pub fn from_secs(seconds: u64) -> Self {
        Self::After(GoDuration { text: format!("{seconds}s"), value: Duration::from_secs(seconds) })
    }
}

impl FromStr for NillableDuration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        if text == "Never" { Ok(Self::Never) } else { text.parse().map(Self::After) }
    }
}

impl fmt::Display for NillableDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! as_text {
    ($type:ident) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string" })
            }
        }
    };
}

as_text!(GoDuration);
as_text!(NillableDuration);

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("0s", Some(0))]
    #[case("0", Some(0))]
    #[case("30s", Some(30_000))]
    #[case("720h", Some(2_592_000_000))]
    #[case("1h30m10s", Some(5_410_000))]
    #[case("1.5h", Some(5_400_000))]
    #[case(".5s", Some(500))]
    #[case("250ms", Some(250))]
    #[case("", None)]
    #[case("5", None)]
    #[case("5d", None)]
    #[case("-5s", None)]
    #[case("h", None)]
    #[case(".s", None)]
    #[case("1.2.3s", None)]
    #[case("9999999999h", None)]
    fn go_durations(#[case] text: &str, #[case] millis: Option<u64>) {
        assert_eq!(parse_go_duration(text).ok(), millis.map(Duration::from_millis), "{text}");
    }

    #[rstest]
    #[case("\"Never\"", None)]
    #[case("\"60m\"", Some(3600))]
    #[case("\"1h0m0s\"", Some(3600))]
    fn the_text_is_kept_byte_for_byte(#[case] json: &str, #[case] seconds: Option<u64>) {
        let duration: NillableDuration = serde_json::from_str(json).unwrap();
        assert_eq!(duration.value(), seconds.map(Duration::from_secs));
        assert_eq!(serde_json::to_string(&duration).unwrap(), json);
    }

    #[test]
    fn a_bad_duration_says_what_would_be_right() {
        let error = serde_json::from_str::<NillableDuration>("\"soon\"").unwrap_err().to_string();
        assert!(error.starts_with("`soon` is not a duration: write whole or decimal numbers with units"), "{error}");
    }
}
