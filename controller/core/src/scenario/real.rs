//! Kubernetes' own objects inside of a scenario. Their types ignore keys that they do not know, so that a typing error would
//! go unseen; here what was read is written again, and what is missing then was not read.

use super::ScenarioError;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use serde_saphyr::Spanned;

/// Maps whose values are quantities, which people write as plain numbers.
const QUANTITIES: [&str; 3] = ["capacity", "limits", "requests"];

/// Reads `block`, a part of `text`.
///
/// # Errors
/// The first key that nobody reads, or what the type's own reader said.
pub(super) fn read<T: DeserializeOwned + Serialize>(text: &str, block: &Spanned<Value>) -> Result<T, ScenarioError> {
    let mut value = block.value.clone();
    quote_quantities(&mut value);
    let wrong = |error: &serde_json::Error| ScenarioError::at(block.referenced, error.to_string());
    let object: T = serde_json::from_value(value.clone()).map_err(|error| wrong(&error))?;
    let again = serde_json::to_value(&object).map_err(|error| wrong(&error))?;
    match first_unread(&value, &again) {
        None => Ok(object),
        Some(key) => {
            let (line, column) = place_of(text, key, block.referenced.line(), block.referenced.column());
            Err(ScenarioError::at_line(line, column, format!("unknown field `{key}`: nobody would read it")))
        }
    }
}

fn quote_quantities(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields.iter_mut() {
                match field {
                    Value::Object(amounts) if QUANTITIES.contains(&key.as_str()) => {
                        amounts.values_mut().for_each(quote)
                    }
                    other => quote_quantities(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(quote_quantities),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn quote(amount: &mut Value) {
    if let Value::Number(number) = amount {
        *amount = Value::String(number.to_string());
    }
}

/// The first key of `written` that is not in `again`. Empty values may be left out when an object is written.
fn first_unread<'a>(written: &'a Value, again: &Value) -> Option<&'a str> {
    match (written, again) {
        (Value::Object(written), Value::Object(again)) => {
            written.iter().find_map(|(key, value)| match again.get(key) {
                Some(other) => first_unread(value, other),
                None => (!is_empty(value)).then_some(key.as_str()),
            })
        }
        (Value::Array(written), Value::Array(again)) => {
            written.iter().zip(again).find_map(|(value, other)| first_unread(value, other))
        }
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Where `key` stands first in `text` at or after `line`; `line` and `column` where it is written in some other way.
fn place_of(text: &str, key: &str, line: u64, column: u64) -> (u64, u64) {
    let found = (1u64..).zip(text.lines()).skip_while(|(number, _)| *number < line).find_map(|(number, content)| {
        let at = content.find(&format!("{key}:"))?;
        Some((number, content[..at].chars().count() as u64 + 1))
    });
    found.unwrap_or((line, column))
}
