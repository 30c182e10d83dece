//! Durations in settings: texts such as `30s`, with a refusal that says what would be right.

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// No script means more, and a time that far from any now is one that can still be written.
const LONGEST: SignedDuration = SignedDuration::from_hours(100 * 365 * 24);

/// Writes `1m 30s`.
pub(crate) fn serialize<S: Serializer>(duration: &SignedDuration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{duration:#}"))
}

/// Reads `1m 30s`, `90s`, `PT90S`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SignedDuration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let duration: SignedDuration = text
        .parse()
        .map_err(|_| D::Error::custom(format!("`{text}` is no duration: write e.g. `30s`, `2m` or `1h 30m`")))?;
    if duration.unsigned_abs() > LONGEST.unsigned_abs() {
        return Err(D::Error::custom(format!("`{text}` is longer than a hundred years")));
    }
    Ok(duration)
}
