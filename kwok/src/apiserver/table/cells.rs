//! What stands in the cells of built-in kinds.

use super::{age, json_path::shown};
use crate::apiserver::value::{items, text, text_or_empty, texts};
use jiff::Timestamp;
use serde_json::Value;

/// The text at a JSON pointer, or nothing.
pub(super) fn at(object: &Value, pointer: &str) -> Value {
    object.pointer(pointer).map(shown).unwrap_or_default().into()
}

fn or(object: &Value, pointer: &str, otherwise: &str) -> Value {
    let found = object.pointer(pointer).map(shown).filter(|text| !text.is_empty());
    found.unwrap_or_else(|| otherwise.to_owned()).into()
}

/// The text, or `<none>`.
pub(super) fn or_none(object: &Value, pointer: &str) -> Value {
    or(object, pointer, "<none>")
}

/// The text, or `<unknown>`.
pub(super) fn or_unknown(object: &Value, pointer: &str) -> Value {
    or(object, pointer, "<unknown>")
}

/// The text, or `<unset>`.
pub(super) fn or_unset(object: &Value, pointer: &str) -> Value {
    or(object, pointer, "<unset>")
}

/// The text, or `N/A`.
pub(super) fn or_not_applicable(object: &Value, pointer: &str) -> Value {
    or(object, pointer, "N/A")
}

/// The whole number, or 0.
pub(super) fn integer(object: &Value, pointer: &str) -> Value {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or_default().into()
}

/// Two numbers as `1/3`.
pub(super) fn fraction(object: &Value, part: &str, whole: &str) -> Value {
    format!("{}/{}", integer(object, part), integer(object, whole)).into()
}

/// How many members the maps have together.
pub(super) fn count(object: &Value, pointers: &[&str]) -> Value {
    let sizes = pointers.iter().filter_map(|pointer| object.pointer(pointer)?.as_object());
    sizes.map(serde_json::Map::len).sum::<usize>().into()
}

/// One field of every container of the template.
pub(super) fn each_container(object: &Value, field: &str) -> Value {
    let containers = items(object, &["spec", "template", "spec", "containers"]);
    containers.iter().map(|container| text_or_empty(container, &[field])).collect::<Vec<_>>().join(",").into()
}

/// Labels as `a=b,c=d`, or `<none>`.
pub(super) fn labels(labels: Option<&Value>) -> Value {
    let pairs = labels.and_then(Value::as_object).into_iter().flatten();
    let mut pairs: Vec<String> = pairs.map(|(key, value)| format!("{key}={}", shown(value))).collect();
    pairs.sort();
    if pairs.is_empty() { "<none>".into() } else { pairs.join(",").into() }
}

/// A label selector as text.
pub(super) fn selector(selector: Option<&Value>) -> Value {
    let Some(selector) = selector else { return "<none>".into() };
    if selector.get("matchLabels").is_none() && selector.get("matchExpressions").is_none() {
        return labels(Some(selector));
    }
    let equal = labels(selector.get("matchLabels"));
    let equal = equal.as_str().filter(|text| *text != "<none>").map(str::to_owned);
    let expressions = items(selector, &["matchExpressions"]).iter().map(|expression| {
        let key = text_or_empty(expression, &["key"]);
        let values = texts(expression, &["values"]).collect::<Vec<_>>().join(",");
        match text_or_empty(expression, &["operator"]) {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        }
    });
    let parts: Vec<String> = equal.into_iter().chain(expressions).collect();
    if parts.is_empty() { "<none>".into() } else { parts.join(",").into() }
}

/// `Ready` or `NotReady`, and whether pods may be scheduled.
pub(super) fn node_status(node: &Value) -> Value {
    let ready = items(node, &["status", "conditions"]).iter().find(|one| text(one, &["type"]) == Some("Ready"));
    let status = match ready.map(|ready| text_or_empty(ready, &["status"])) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let is_cordoned = node.pointer("/spec/unschedulable") == Some(&Value::Bool(true));
    if is_cordoned { format!("{status},SchedulingDisabled").into() } else { status.into() }
}

/// The roles that a node's labels name.
pub(super) fn node_roles(node: &Value) -> Value {
    let labels = node.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
    let mut roles: Vec<String> = labels
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) if !role.is_empty() => Some(role.to_owned()),
            None if key == "kubernetes.io/role" => value.as_str().map(str::to_owned),
            _ => None,
        })
        .collect();
    roles.sort();
    if roles.is_empty() { "<none>".into() } else { roles.join(",").into() }
}

/// A node's first address of a type.
pub(super) fn node_address(node: &Value, kind: &str) -> Value {
    let found = items(node, &["status", "addresses"]).iter().find(|address| text(address, &["type"]) == Some(kind));
    found.map_or("<none>", |address| text_or_empty(address, &["address"])).into()
}

/// Where a service is reached from outside.
pub(super) fn external_address(service: &Value) -> Value {
    let ingress = items(service, &["status", "loadBalancer", "ingress"]);
    let mut addresses: Vec<&str> =
        ingress.iter().filter_map(|one| text(one, &["ip"]).or_else(|| text(one, &["hostname"]))).collect();
    addresses.extend(texts(service, &["spec", "externalIPs"]));
    match text_or_empty(service, &["spec", "type"]) {
        "ExternalName" => at(service, "/spec/externalName"),
        "LoadBalancer" if addresses.is_empty() => "<pending>".into(),
        _ if addresses.is_empty() => "<none>".into(),
        _ => addresses.join(",").into(),
    }
}

/// A service's ports, e.g. `80:30000/TCP`.
pub(super) fn ports(service: &Value) -> Value {
    let shown = items(service, &["spec", "ports"]).iter().map(|port| {
        let protocol = text(port, &["protocol"]).unwrap_or("TCP");
        match port.get("nodePort").and_then(Value::as_i64).filter(|port| *port != 0) {
            Some(node_port) => format!("{}:{node_port}/{protocol}", integer(port, "/port")),
            None => format!("{}/{protocol}", integer(port, "/port")),
        }
    });
    let all: Vec<String> = shown.collect();
    if all.is_empty() { "<none>".into() } else { all.join(",").into() }
}

/// The phase of a volume or claim, unless it is being deleted.
pub(super) fn volume_phase(object: &Value) -> Value {
    let is_deleted = object.pointer("/metadata/deletionTimestamp").is_some();
    if is_deleted { "Terminating".into() } else { at(object, "/status/phase") }
}

/// What of a claim is only known once it has a volume.
pub(super) fn of_bound_claim(claim: &Value, cell: impl Fn(&Value) -> Value) -> Value {
    if text_or_empty(claim, &["spec", "volumeName"]).is_empty() { "".into() } else { cell(claim) }
}

/// A quantity, or 0.
pub(super) fn or_zero(object: &Value, pointer: &str) -> Value {
    or(object, pointer, "0")
}

/// The short forms of access modes.
pub(super) fn access_modes(object: &Value, of: &str) -> Value {
    let path = [of, "accessModes"];
    let short = texts(object, &path).map(|mode| match mode {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        other => other,
    });
    short.collect::<Vec<_>>().join(",").into()
}

/// How long ago an event was seen; events of the newer form have only `eventTime`.
pub(super) fn event_time(event: &Value, field: &str, now: Timestamp) -> Value {
    let given = |field: &str| event.get(field).filter(|time| !time.is_null());
    let first = given("firstTimestamp").or_else(|| given("eventTime"));
    let last = event.pointer("/series/lastObservedTime").or_else(|| given("lastTimestamp"));
    age::since(if field == "lastTimestamp" { last.or(first) } else { first }, now)
}

/// What an event is about, e.g. `pod/web`.
pub(super) fn involved(event: &Value) -> Value {
    let kind = text_or_empty(event, &["involvedObject", "kind"]).to_lowercase();
    match text_or_empty(event, &["involvedObject", "name"]) {
        "" => kind.into(),
        name => format!("{kind}/{name}").into(),
    }
}

/// Who reported an event.
pub(super) fn event_source(event: &Value) -> Value {
    let component = text(event, &["source", "component"]).filter(|component| !component.is_empty());
    let component = component.unwrap_or_else(|| text_or_empty(event, &["reportingComponent"]));
    let host = text(event, &["source", "host"]).filter(|host| !host.is_empty());
    let host = host.unwrap_or_else(|| text_or_empty(event, &["reportingInstance"]));
    if host.is_empty() { component.into() } else { format!("{component}, {host}").into() }
}

/// An event's message in one line.
pub(super) fn event_message(event: &Value) -> Value {
    text_or_empty(event, &["message"]).trim().into()
}

/// How often an event was seen.
pub(super) fn event_count(event: &Value) -> Value {
    let counted = event.pointer("/series/count").or_else(|| event.get("count")).and_then(Value::as_i64);
    counted.filter(|count| *count > 0).unwrap_or(1).into()
}

fn job_condition(job: &Value, kind: &str) -> bool {
    let conditions = items(job, &["status", "conditions"]);
    conditions.iter().any(|one| text(one, &["type"]) == Some(kind) && text(one, &["status"]) == Some("True"))
}

/// A job's state.
pub(super) fn job_status(job: &Value) -> Value {
    let is_deleted = job.pointer("/metadata/deletionTimestamp").is_some();
    let found = ["Complete", "Failed"].into_iter().find(|condition| job_condition(job, condition));
    let found = found.or(is_deleted.then_some("Terminating")).or_else(|| {
        ["Suspended", "FailureTarget", "SuccessCriteriaMet"].into_iter().find(|condition| job_condition(job, condition))
    });
    found.unwrap_or("Running").into()
}

/// How many of a job's pods have succeeded.
pub(super) fn job_completions(job: &Value) -> Value {
    let succeeded = integer(job, "/status/succeeded");
    let parallelism = job.pointer("/spec/parallelism").and_then(Value::as_i64).unwrap_or_default();
    match job.pointer("/spec/completions") {
        Some(wanted) => format!("{succeeded}/{wanted}").into(),
        None if parallelism > 1 => format!("{succeeded}/1 of {parallelism}").into(),
        None => format!("{succeeded}/1").into(),
    }
}

/// How long a job has run, or ran.
pub(super) fn job_duration(job: &Value, now: Timestamp) -> Value {
    let time =
        |pointer: &str| job.pointer(pointer).and_then(Value::as_str).and_then(|text| text.parse::<Timestamp>().ok());
    match (time("/status/startTime"), time("/status/completionTime")) {
        (Some(start), Some(end)) => age::human(end.duration_since(start).as_secs()).into(),
        (Some(start), None) => age::human(now.duration_since(start).as_secs()).into(),
        (None, _) => "".into(),
    }
}
