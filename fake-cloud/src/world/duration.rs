//! Durations in settings: texts such as `30s`, with a refusal that says what would be right.

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// Writes `1m 30s`.
pub(crate) fn serialize<S: Serializer>(duration: &SignedDuration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{duration:#}"))
}

/// Reads `1m 30s`, `90s`, `PT90S`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SignedDuration, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| D::Error::custom(format!("`{text}` is no duration: write e.g. `30s`, `2m` or `1h 30m`")))
}
