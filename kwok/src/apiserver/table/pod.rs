//! What `kubectl get pods` says of a pod (`k8s.io/kubernetes/pkg/printers/internalversion.printPod`).

use super::age;
use crate::apiserver::value::{at, integer, items, text, text_or_empty};
use jiff::Timestamp;
use serde_json::Value;

/// The `Ready` column: how many containers are ready, of how many.
pub(super) fn ready(pod: &Value, _now: Timestamp) -> Value {
    let statuses = items(pod, &["status", "containerStatuses"]);
    let ready =
        statuses.iter().filter(|status| is_ready(status) && at(status, &["state", "running"]).is_some()).count();
    format!("{ready}/{}", items(pod, &["spec", "containers"]).len()).into()
}

fn is_ready(status: &Value) -> bool {
    at(status, &["ready"]).and_then(Value::as_bool).unwrap_or(false)
}

/// The `Status` column: the phase, or what is more telling.
pub(super) fn status(pod: &Value, _now: Timestamp) -> Value {
    if text(pod, &["metadata", "deletionTimestamp"]).is_some() {
        if text(pod, &["status", "reason"]) == Some("NodeLost") {
            return "Unknown".into();
        }
        if !["Succeeded", "Failed"].contains(&text_or_empty(pod, &["status", "phase"])) {
            return "Terminating".into();
        }
    }
    initializing(pod).unwrap_or_else(|| running(pod)).into()
}

/// The state of the first init container that is not done.
fn initializing(pod: &Value) -> Option<String> {
    let total = items(pod, &["spec", "initContainers"]).len();
    let statuses = items(pod, &["status", "initContainerStatuses"]);
    for (index, status) in statuses.iter().enumerate() {
        let ended = at(status, &["state", "terminated"]);
        if ended.is_some_and(|ended| integer(ended, &["exitCode"]) == Some(0))
            || at(status, &["started"]) == Some(&Value::Bool(true))
        {
            continue;
        }
        if let Some(ended) = ended {
            return Some(format!("Init:{}", ending(ended)));
        }
        let waiting = text(status, &["state", "waiting", "reason"]).filter(|reason| *reason != "PodInitializing");
        return Some(waiting.map_or_else(|| format!("Init:{index}/{total}"), |reason| format!("Init:{reason}")));
    }
    None
}

fn ending(terminated: &Value) -> String {
    let number = |key: &str| integer(terminated, &[key]).unwrap_or_default();
    match text(terminated, &["reason"]).filter(|reason| !reason.is_empty()) {
        Some(reason) => reason.to_owned(),
        None if number("signal") != 0 => format!("Signal:{}", number("signal")),
        None => format!("ExitCode:{}", number("exitCode")),
    }
}

fn running(pod: &Value) -> String {
    let phase = text_or_empty(pod, &["status", "phase"]);
    let mut reason = text(pod, &["status", "reason"]).filter(|reason| !reason.is_empty()).unwrap_or(phase).to_owned();
    let gated = items(pod, &["status", "conditions"]).iter().any(|condition| {
        text(condition, &["type"]) == Some("PodScheduled") && text(condition, &["reason"]) == Some("SchedulingGated")
    });
    if gated {
        reason = "SchedulingGated".into();
    }
    let mut has_running = false;
    for status in items(pod, &["status", "containerStatuses"]).iter().rev() {
        let waiting = text(status, &["state", "waiting", "reason"]).filter(|reason| !reason.is_empty());
        let ended = at(status, &["state", "terminated"]);
        match (waiting, ended) {
            (Some(waiting), _) => reason = waiting.to_owned(),
            (None, Some(ended)) => reason = ending(ended),
            (None, None) => has_running |= is_ready(status) && at(status, &["state", "running"]).is_some(),
        }
    }
    if reason != "Completed" || !has_running {
        return reason;
    }
    // Some containers are done and others still run.
    let is_ready = items(pod, &["status", "conditions"])
        .iter()
        .any(|condition| text(condition, &["type"]) == Some("Ready") && text(condition, &["status"]) == Some("True"));
    if is_ready { "Running".into() } else { "NotReady".into() }
}

/// The `Restarts` column, with the time of the last.
pub(super) fn restarts(pod: &Value, now: Timestamp) -> Value {
    let statuses = items(pod, &["status", "containerStatuses"]);
    let count: i64 = statuses.iter().filter_map(|status| integer(status, &["restartCount"])).sum();
    let last = statuses.iter().filter_map(|status| text(status, &["lastState", "terminated", "finishedAt"])).max();
    match last {
        Some(last) if count > 0 => {
            let ago = age::since(Some(&last.into()), now);
            format!("{count} ({} ago)", ago.as_str().unwrap_or_default()).into()
        }
        _ => count.to_string().into(),
    }
}

/// The `Readiness Gates` column.
pub(super) fn readiness_gates(pod: &Value, _now: Timestamp) -> Value {
    let gates = items(pod, &["spec", "readinessGates"]);
    if gates.is_empty() {
        return "<none>".into();
    }
    let holds = |gate: &&Value| {
        items(pod, &["status", "conditions"]).iter().any(|condition| {
            condition.get("type") == gate.get("conditionType") && text(condition, &["status"]) == Some("True")
        })
    };
    format!("{}/{}", gates.iter().filter(holds).count(), gates.len()).into()
}
