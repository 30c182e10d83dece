//! Two answers to one request.

use super::generate::Request;
use serde::Deserialize;
use serde_json::Value;
use std::fmt;

/// What a server answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
}

impl fmt::Display for Answer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.code, masked(&self.body))
    }
}

/// Differences that are meant.
#[derive(Deserialize)]
pub(crate) struct Explained(Vec<Explanation>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Explanation {
    /// Part of the difference as it is told.
    difference: String,
    /// Part of the request's method and path; all if not given.
    #[serde(default)]
    request: String,
    /// Why the embedded server is meant to answer otherwise.
    because: Option<String>,
    /// Or what it does wrong, and has yet to be put right.
    wrong: Option<String>,
}

/// What is known of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Known {
    /// It is meant.
    Meant,
    /// It is a fault that is listed.
    Wrong,
    /// It is new.
    Nothing,
}

impl Explained {
    pub(crate) fn read(text: &str) -> Self {
        let all: Self = serde_saphyr::from_str(text).unwrap();
        assert!(all.0.iter().all(|it| it.because.is_some() != it.wrong.is_some()), "each has one reason");
        all
    }

    /// What is known of a difference.
    pub(crate) fn of(&self, request: &Request, found: &str) -> Known {
        let line = format!("{} {}", request.method, request.path);
        let known = self.0.iter().find(|it| found.contains(&it.difference) && line.contains(&it.request));
        match known {
            None => Known::Nothing,
            Some(it) if it.because.is_some() => Known::Meant,
            Some(_) => Known::Wrong,
        }
    }
}

/// All that differs between the answers, in words that are the same for the same kind of difference.
pub(crate) fn differences(request: &Request, theirs: &Answer, ours: &Answer) -> Vec<String> {
    let kind = request.path.split("{ns}/").nth(1).unwrap_or("namespaces").split(['/', '?']).next().unwrap_or_default();
    let about = format!("{} {} {kind}", request.method, request.content_type.trim_start_matches("application/"));
    let [their_reason, our_reason] = [theirs, ours].map(|answer| text(&answer.body, "/reason"));
    if theirs.code != ours.code || their_reason != our_reason {
        return vec![format!("{about}: {} {their_reason} but {} {our_reason}", theirs.code, ours.code)];
    }
    let [their_causes, our_causes] = [theirs, ours].map(|answer| causes(&answer.body));
    if their_causes != our_causes {
        return vec![format!("{about}: causes {their_causes:?} but {our_causes:?}")];
    }
    if theirs.code >= 400 {
        return Vec::new();
    }
    let mut found = Vec::new();
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

/// Without what each server gives of its own: identities, versions, times, and who manages which field.
fn masked(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let own =
                ["uid", "resourceVersion", "managedFields", "creationTimestamp", "continue", "remainingItemCount"];
            let kept = fields.iter().filter(|(name, field)| !own.contains(&name.as_str()) && !field.is_null());
            kept.map(|(name, field)| (name.clone(), masked(field))).collect()
        }
        Value::Array(items) => items.iter().map(masked).collect(),
        Value::String(text) if text.parse::<jiff::Timestamp>().is_ok() => Value::from("a time"),
        Value::String(text) if text.len() == 36 && text.matches('-').count() == 4 => Value::from("a uid"),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
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
        (theirs, ours) if theirs != ours => found.push(format!("{at} is {theirs} but {ours}")),
        _ => {}
    }
}
