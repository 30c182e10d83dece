//! Sequences run on both servers.

use super::{
    compare::differences,
    explained::Explained,
    generate::{kinds::Kind, sequence},
    report::Report,
    send::{Both, Session},
};
use futures::{StreamExt, stream};
use sawhorse_ambient::Seed;
use serde_json::{Value, json};
use std::sync::Mutex;

/// Steps in each sequence before its watches.
const LENGTH: usize = 14;
/// Sequences at a time: they wait for their watches most of the time.
const AT_ONCE: usize = 40;

/// Runs so many sequences of each seed.
pub(crate) async fn sequences(
    both: &Both,
    explained: &Explained,
    seeds: impl Iterator<Item = u64>,
    count: usize,
) -> Report {
    let report = Mutex::new(Report::default());
    let all = seeds.flat_map(|seed| (0..count).map(move |index| (seed, index)));
    stream::iter(all).for_each_concurrent(AT_ONCE, |(seed, index)| run(both, seed, index, explained, &report)).await;
    report.into_inner().unwrap()
}

/// Runs one sequence, and tells the report.
async fn run(both: &Both, seed: u64, index: usize, explained: &Explained, report: &Mutex<Report>) {
    let namespace = format!("d{seed}-{index}");
    let mut session = both.session(&namespace);
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    session.prepare("POST", "/api/v1/namespaces", &body).await;
    let mut drawn = Seed(seed).stream(&["sequence", &namespace]);
    let (kinds, steps) = sequence(&mut drawn, LENGTH);
    let mut history = String::new();
    'steps: for step in &steps {
        for (request, [theirs, ours]) in session.answers(step).await {
            report.lock().unwrap().count_code(theirs.code);
            history.push_str(&format!("  {request}: {}\n", theirs.code));
            let found = differences(&request, &theirs, &ours);
            let told = || format!("{namespace}:\n{history}  theirs {theirs}\n  ours   {ours}");
            let go_on = report.lock().unwrap().add(explained, &request, &found, told) && theirs.code == ours.code;
            // After a different outcome what follows would differ for the same reason.
            if !go_on {
                break 'steps;
            }
        }
    }
    tidy(&mut session, &kinds).await;
    report.lock().unwrap().sequence_ends();
}

/// Objects of the cluster are not left to other sequences.
async fn tidy(session: &mut Session<'_>, kinds: &[&'static Kind]) {
    for kind in kinds.iter().filter(|kind| !kind.namespaced) {
        for name in ["a", "b", "c", "d", "e"] {
            session.prepare("PATCH", &kind.path(name), &json!({"metadata": {"finalizers": null}})).await;
            session.prepare("DELETE", &kind.path(name), &json!({"gracePeriodSeconds": 0})).await;
        }
    }
}

/// Merges as a merge patch does.
pub(crate) fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                if value.is_null() {
                    into.remove(key);
                } else {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (into, from) => into.clone_from(from),
    }
}
