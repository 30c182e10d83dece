//! What stands in the cells of the kinds that are looked at less often.

use super::json_path::shown;
use crate::apiserver::value::{items, text, text_or_empty, texts};
use serde_json::Value;

/// Entries of a list that are shown one by one.
const MOST: usize = 3;

/// The truth value, or false.
pub(super) fn truth(object: &Value, pointer: &str) -> Value {
    object.pointer(pointer).and_then(Value::as_bool).unwrap_or_default().into()
}

/// A flag as Go's printers write some.
pub(super) fn truth_in_words(object: &Value, pointer: &str) -> Value {
    match object.pointer(pointer).and_then(Value::as_bool) {
        Some(true) => "True".into(),
        Some(false) => "False".into(),
        None => "<unset>".into(),
    }
}

/// How many elements a list has.
pub(super) fn length(object: &Value, pointer: &str) -> Value {
    object.pointer(pointer).and_then(Value::as_array).map_or(0, Vec::len).into()
}

/// A reference as `Kind/name`.
pub(super) fn named(object: &Value, pointer: &str) -> Value {
    let field = |name: &str| object.pointer(pointer).map(|found| text_or_empty(found, &[name])).unwrap_or_default();
    format!("{}/{}", field("kind"), field("name")).into()
}

fn joined(values: &[Value], field: &str) -> Value {
    values.iter().map(|one| text_or_empty(one, &[field])).collect::<Vec<_>>().join(",").into()
}

/// One field of every container of a cron job's template.
pub(super) fn cron_job_containers(object: &Value, field: &str) -> Value {
    joined(items(object, &["spec", "jobTemplate", "spec", "template", "spec", "containers"]), field)
}

/// One field of every container of a pod template.
pub(super) fn template_containers(object: &Value, field: &str) -> Value {
    joined(items(object, &["template", "spec", "containers"]), field)
}

/// The claim of a volume as `namespace/name`.
pub(super) fn claim(volume: &Value) -> Value {
    let field = |name: &str| text_or_empty(volume, &["spec", "claimRef", name]);
    if field("name").is_empty() { "".into() } else { format!("{}/{}", field("namespace"), field("name")).into() }
}

/// Who controls an object, as `kind.group/name`.
pub(super) fn controller(object: &Value) -> Value {
    let owners = items(object, &["metadata", "ownerReferences"]);
    let Some(owner) = owners.iter().find(|owner| owner.get("controller") == Some(&Value::Bool(true))) else {
        return "<none>".into();
    };
    let kind = text_or_empty(owner, &["kind"]).to_lowercase();
    let name = text_or_empty(owner, &["name"]);
    match text_or_empty(owner, &["apiVersion"]).split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{name}").into(),
        None => format!("{kind}/{name}").into(),
    }
}

/// The first few, and how many more there are.
fn few(all: &[String]) -> String {
    let first = all[..all.len().min(MOST)].join(",");
    if all.len() > MOST { format!("{first} + {} more...", all.len() - MOST) } else { first }
}

/// The addresses and ports behind a service.
pub(super) fn endpoints(object: &Value) -> Value {
    let subsets = items(object, &["subsets"]);
    if subsets.is_empty() {
        return "<none>".into();
    }
    let mut all = Vec::new();
    for subset in subsets {
        let addresses = items(subset, &["addresses"]).iter().map(|address| text_or_empty(address, &["ip"]));
        let ports = items(subset, &["ports"]);
        if ports.is_empty() {
            all.extend(addresses.clone().map(str::to_owned));
        }
        for port in ports {
            let port = port.get("port").map(shown).unwrap_or_default();
            all.extend(addresses.clone().map(|address| format!("{address}:{port}")));
        }
    }
    few(&all).into()
}

fn few_or_unset(all: &[String]) -> Value {
    if all.is_empty() { "<unset>".into() } else { few(all).into() }
}

/// The ports of an endpoint slice.
pub(super) fn slice_ports(object: &Value) -> Value {
    let port = |port: &Value| port.get("port").or_else(|| port.get("name")).map_or_else(|| "*".to_owned(), shown);
    few_or_unset(&items(object, &["ports"]).iter().map(port).collect::<Vec<_>>())
}

/// The addresses of an endpoint slice.
pub(super) fn slice_endpoints(object: &Value) -> Value {
    let all = items(object, &["endpoints"]).iter().flat_map(|endpoint| texts(endpoint, &["addresses"]));
    few_or_unset(&all.map(str::to_owned).collect::<Vec<_>>())
}

/// What is used of a quota: of limits, or of everything else.
pub(super) fn quota(object: &Value, limits: bool) -> Value {
    let hard = object.pointer("/status/hard").and_then(Value::as_object);
    let mut hard: Vec<(&String, &Value)> = hard.into_iter().flatten().collect();
    hard.sort_by_key(|(name, _)| name.as_str());
    let used = |name: &str| object["status"]["used"].get(name).map_or_else(|| "0".to_owned(), shown);
    let wanted = hard.into_iter().filter(|(name, _)| name.starts_with("limits.") == limits);
    wanted.map(|(name, most)| format!("{name}: {}/{}", used(name), shown(most))).collect::<Vec<_>>().join(", ").into()
}

/// What an autoscaler aims at; nothing here measures how far it is.
pub(super) fn targets(object: &Value) -> Value {
    let metrics = items(object, &["spec", "metrics"]);
    if metrics.is_empty() {
        return "<none>".into();
    }
    let target = |metric: &Value| {
        let kind = text_or_empty(metric, &["type"]);
        let source = metric.get(format!("{}{}", kind[..1].to_lowercase(), &kind[1..])).cloned().unwrap_or_default();
        let name = text(&source, &["name"]).map(|name| format!("{name}: ")).unwrap_or_default();
        let aim = source.get("target").cloned().unwrap_or_default();
        let percent = aim.get("averageUtilization").map(|percent| format!("{}%", shown(percent)));
        let value = aim.get("averageValue").or_else(|| aim.get("value")).map(shown);
        format!("{name}<unknown>/{}", percent.or(value).unwrap_or_else(|| "<auto>".to_owned()))
    };
    let shown: Vec<String> = metrics.iter().take(2).map(target).collect();
    let more = metrics.len() - shown.len();
    if more > 0 { format!("{} + {more} more...", shown.join(", ")).into() } else { shown.join(", ").into() }
}

/// The hosts of an ingress.
pub(super) fn hosts(ingress: &Value) -> Value {
    let rules = items(ingress, &["spec", "rules"]);
    let hosts: Vec<&str> = rules.iter().filter_map(|rule| text(rule, &["host"])).take(MOST).collect();
    match hosts.len() {
        0 => "*".into(),
        MOST if rules.len() > MOST => format!("{} + {} more...", hosts.join(","), rules.len() - MOST).into(),
        _ => hosts.join(",").into(),
    }
}

/// Where an ingress is reached.
pub(super) fn ingress_address(ingress: &Value) -> Value {
    let all = items(ingress, &["status", "loadBalancer", "ingress"]).iter();
    let mut addresses: Vec<&str> =
        all.filter_map(|one| text(one, &["ip"]).or_else(|| text(one, &["hostname"]))).collect();
    addresses.sort_unstable();
    addresses.join(",").into()
}

/// The parameters of an ingress class.
pub(super) fn parameters(class: &Value) -> Value {
    let Some(found) = class.pointer("/spec/parameters") else { return "<none>".into() };
    let group = text(found, &["apiGroup"]).map(|group| format!(".{group}")).unwrap_or_default();
    format!("{}{group}/{}", text_or_empty(found, &["kind"]), text_or_empty(found, &["name"])).into()
}

/// Who is bound to a role, of one kind.
pub(super) fn subjects(binding: &Value, kind: &str) -> Value {
    let subjects = items(binding, &["subjects"]).iter().filter(|one| text(one, &["kind"]) == Some(kind));
    let name = |subject: &Value| match text(subject, &["namespace"]) {
        Some(namespace) if kind == "ServiceAccount" => format!("{namespace}/{}", text_or_empty(subject, &["name"])),
        Some(_) | None => text_or_empty(subject, &["name"]).to_owned(),
    };
    subjects.map(name).collect::<Vec<_>>().join(", ").into()
}

/// For whom a driver wants tokens.
pub(super) fn audiences(driver: &Value) -> Value {
    match driver.pointer("/spec/tokenRequests").and_then(Value::as_array) {
        Some(requests) => joined(requests, "audience"),
        None => "<unset>".into(),
    }
}

/// The kinds of volumes that a driver serves.
pub(super) fn volume_modes(driver: &Value) -> Value {
    let modes = texts(driver, &["spec", "volumeLifecycleModes"]).collect::<Vec<_>>().join(",");
    if modes.is_empty() { "<none>".into() } else { modes.into() }
}

#[cfg(test)]
mod tests {
    use super::{endpoints, hosts, quota, subjects, targets};
    use serde_json::json;

    #[test]
    fn lists_are_cut_after_three() {
        let addresses = json!([{"ip": "a"}, {"ip": "b"}, {"ip": "c"}, {"ip": "d"}]);
        let object = json!({"subsets": [{"addresses": addresses, "ports": [{"port": 80}]}]});
        assert_eq!(endpoints(&object), "a:80,b:80,c:80 + 1 more...");
        assert_eq!(hosts(&json!({"spec": {"rules": [{"host": "a"}, {}]}})), "a");
    }

    #[test]
    fn a_quota_is_told_in_two_columns() {
        let status = json!({"hard": {"pods": "10", "limits.cpu": "4"}, "used": {"pods": "1"}});
        let object = json!({ "status": status });
        assert_eq!([quota(&object, false), quota(&object, true)], ["pods: 1/10", "limits.cpu: 0/4"]);
    }

    #[test]
    fn subjects_and_targets() {
        let binding = json!({"subjects": [
            {"kind": "ServiceAccount", "namespace": "a", "name": "b"}, {"kind": "User", "name": "c"},
        ]});
        assert_eq!([subjects(&binding, "ServiceAccount"), subjects(&binding, "User")], ["a/b", "c"]);
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}});
        assert_eq!(targets(&json!({"spec": {"metrics": [metric]}})), "cpu: <unknown>/80%");
    }
}
