//! Two answers to one request.

use super::generate::Request;
use serde_json::{Value, json};
use std::fmt;

/// What a server answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
    /// The `Warning` headers.
    pub(crate) warnings: Vec<String>,
}

impl fmt::Display for Answer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {} {:?}", self.code, masked(&self.body), self.warnings)
    }
}

/// All that differs between the answers, in words that are the same for the same kind of difference.
pub(crate) fn differences(request: &Request, theirs: &Answer, ours: &Answer) -> Vec<String> {
    let about = format!("{} {}", request.verb, request.kind);
    let [their_reason, our_reason] = [theirs, ours].map(|answer| text(&answer.body, "/reason"));
    if theirs.code != ours.code || their_reason != our_reason {
        return vec![format!("{about}: {} {their_reason} but {} {our_reason}", theirs.code, ours.code)];
    }
    let [their_causes, our_causes] = [theirs, ours].map(|answer| causes(&answer.body));
    if their_causes != our_causes {
        return vec![format!("{about}: causes {their_causes:?} but {our_causes:?}")];
    }
    let mut found = Vec::new();
    // A refused object is not warned of.
    if theirs.warnings != ours.warnings && theirs.code < 400 {
        found.push(format!(" warnings are {:?} but {:?}", theirs.warnings, ours.warnings));
    }
    find(&masked(&theirs.body), &masked(&ours.body), "", &mut found);
    found.into_iter().map(|at| format!("{about}: {at}")).collect()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Reason and field of each cause; the real server says some several times.
fn causes(body: &Value) -> Vec<String> {
    let causes = body.pointer("/details/causes").and_then(Value::as_array).into_iter().flatten();
    let mut causes: Vec<String> =
        causes.map(|cause| format!("{} {}", text(cause, "/reason"), text(cause, "/field"))).collect();
    causes.sort();
    causes.dedup();
    causes
}

/// Without what each server gives of its own: identities, versions, times, addresses, drawn names, the words of failures.
fn masked(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let is_status = fields.get("kind").is_some_and(|kind| kind == "Status");
            let own = ["uid", "resourceVersion", "creationTimestamp", "token"];
            let kept = fields.iter().filter(|(name, field)| {
                let told = is_status && ["message", "causes"].contains(&name.as_str());
                // Nothing is written in several ways.
                let is_nothing = field.is_null()
                    || *name == "items" && field.as_array().is_some_and(Vec::is_empty)
                    || is_status && field.as_object().is_some_and(|all| all.is_empty());
                !own.contains(&name.as_str()) && !is_nothing && !told
            });
            let masked = |(name, field): (&String, &Value)| {
                let masked = match (name.as_str(), field) {
                    ("managedFields", Value::Array(entries)) => managers(entries),
                    ("continue", _) => Value::from("a token"),
                    ("details", _) if is_status => {
                        let mut details = masked(field);
                        details.as_object_mut().map(|details| details.remove("causes"));
                        details
                    }
                    _ => masked(field),
                };
                (name.clone(), masked)
            };
            kept.map(masked).collect()
        }
        Value::Array(items) => items.iter().map(masked).collect(),
        Value::String(text) => masked_text(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn is_uid(text: &str) -> bool {
    text.len() == 36 && text.matches('-').count() == 4
}

fn masked_text(text: &str) -> Value {
    let is_age = text.strip_suffix('s').is_some_and(|digits| digits.parse::<u8>().is_ok());
    if text.parse::<jiff::Timestamp>().is_ok() {
        Value::from("a time")
    } else if is_uid(text) {
        Value::from("a uid")
    } else if let Some((key, uid)) = text.split_once('=')
        && is_uid(uid)
    {
        Value::from(format!("{key}=a uid"))
    } else if text.starts_with("drawn-") && text.len() == "drawn-0000-".len() + 5 {
        Value::from("a drawn name")
    } else if text.starts_with("10.") && text.parse::<std::net::Ipv4Addr>().is_ok() {
        Value::from("an address")
    } else if is_age {
        Value::from("an age")
    } else {
        Value::from(text)
    }
}

/// Who manages which fields, whenever they took them: the order follows the time.
fn managers(entries: &[Value]) -> Value {
    let mut entries = entries.to_vec();
    for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
        entry.remove("time");
    }
    let order = |entry: &Value| {
        ["manager", "operation", "subresource", "apiVersion"]
            .map(|key| entry[key].as_str().unwrap_or_default().to_owned())
    };
    entries.sort_by_key(order);
    let named = entries.iter().map(|entry| (order(entry)[..3].join(" "), entry["fieldsV1"].clone()));
    Value::Object(named.collect())
}

/// The places at which the values differ; places in lists are not numbered.
fn find(theirs: &Value, ours: &Value, at: &str, found: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            let mut names: Vec<&String> = theirs.keys().chain(ours.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                match (theirs.get(name), ours.get(name)) {
                    (Some(theirs), Some(ours)) => find(theirs, ours, &format!("{at}.{name}"), found),
                    (Some(theirs), None) => found.push(format!("{at}.{name} is {theirs} but not there")),
                    (None, Some(ours)) => found.push(format!("{at}.{name} is not there but {ours}")),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(theirs), Value::Array(ours)) if theirs.len() == ours.len() => {
            for (theirs, ours) in theirs.iter().zip(ours) {
                find(theirs, ours, &format!("{at}[]"), found);
            }
        }
        (Value::Array(theirs), Value::Array(ours)) if theirs.iter().chain(ours).any(Value::is_object) => {
            found.push(format!("{at} has {} items but {}", theirs.len(), ours.len()));
        }
        (theirs, ours) if theirs != ours => found.push(format!("{at} is {theirs} but {ours}")),
        _ => {}
    }
}

/// The lines of a watch as one value. Bookmarks only say that time passes, but for the one that ends the initial events.
pub(crate) fn events(lines: &[u8]) -> Value {
    let events = lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let counts = |event: &Value| {
        event["type"] != "BOOKMARK"
            || event.pointer("/object/metadata/annotations/k8s.io~1initial-events-end").is_some()
    };
    json!({ "events": events.filter(counts).collect::<Vec<_>>() })
}
