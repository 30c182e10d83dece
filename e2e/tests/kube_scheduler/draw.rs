//! Parts of pods, drawn from a stream.

use sawhorse_ambient::Stream;
use serde_json::{Map, Value, json};

pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";
pub(crate) const HOST: &str = "kubernetes.io/hostname";
pub(crate) const APPS: [&str; 4] = ["web", "db", "cache", "batch"];

pub(crate) fn one<T: Copy>(stream: &mut Stream, of: &[T]) -> T {
    of[usize::try_from(stream.below(of.len() as u64)).unwrap()]
}

pub(crate) fn chance(stream: &mut Stream, percent: u64) -> bool {
    stream.below(100) < percent
}

/// Some of `of`: each with the same chance, and at least one.
pub(crate) fn some<T: Copy>(stream: &mut Stream, of: &[T]) -> Vec<T> {
    let chosen: Vec<T> = of.iter().copied().filter(|_| chance(stream, 40)).collect();
    if chosen.is_empty() { vec![one(stream, of)] } else { chosen }
}

/// A selector over the labels `app` and `version` that pods have.
pub(crate) fn pod_selector(stream: &mut Stream) -> Value {
    match stream.below(10) {
        0 => json!({}),
        1 => json!({"matchExpressions": [{"key": "app", "operator": "In", "values": some(stream, &APPS)}]}),
        2 => json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": some(stream, &APPS)}]}),
        3 => json!({"matchExpressions": [{"key": "version", "operator": one(stream, &["Exists", "DoesNotExist"])}]}),
        4 => json!({"matchLabels": {"app": one(stream, &APPS), "version": one(stream, &["1", "2"])}}),
        _ => json!({"matchLabels": {"app": one(stream, &APPS)}}),
    }
}

/// A requirement on a label of nodes; `number` is a label whose values are numbers, now and then.
pub(crate) fn node_requirement(stream: &mut Stream, labels: &[(&str, &[&str])], number: &str) -> Value {
    let (key, values) = one(stream, labels);
    match stream.below(8) {
        0 => json!({"key": key, "operator": "Exists"}),
        1 => json!({"key": key, "operator": "DoesNotExist"}),
        2 => json!({"key": number, "operator": one(stream, &["Gt", "Lt"]), "values": [stream.below(9).to_string()]}),
        3 | 4 => json!({"key": key, "operator": "NotIn", "values": some(stream, values)}),
        _ => json!({"key": key, "operator": "In", "values": some(stream, values)}),
    }
}

/// A term of required pod affinity or anti-affinity over one of the keys.
pub(crate) fn affinity_term(stream: &mut Stream, keys: &[&str]) -> Value {
    let mut term = json!({"topologyKey": one(stream, keys), "labelSelector": pod_selector(stream)});
    match stream.below(8) {
        0 => term["namespaces"] = json!(some(stream, &["default", "blue", "green"])),
        1 => term["namespaceSelector"] = json!({}),
        2 => term["namespaceSelector"] = json!({"matchLabels": {"team": one(stream, &["blue", "green"])}}),
        3 => {
            let values = some(stream, &["blue", "green"]);
            term["namespaceSelector"] =
                json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": values}]});
        }
        _ => {}
    }
    term
}

/// A spread constraint over one of the keys; `when` is what happens where it cannot be kept.
pub(crate) fn spread(stream: &mut Stream, key: &str, when: &str, selector: &Value) -> Value {
    let mut spread = json!({
        "maxSkew": 1 + stream.below(2), "topologyKey": key, "whenUnsatisfiable": when, "labelSelector": selector,
    });
    if when == "DoNotSchedule" && chance(stream, 25) {
        spread["minDomains"] = json!(1 + stream.below(4));
    }
    if chance(stream, 20) {
        spread["nodeAffinityPolicy"] = json!(one(stream, &["Honor", "Ignore"]));
    }
    if chance(stream, 20) {
        spread["nodeTaintsPolicy"] = json!(one(stream, &["Honor", "Ignore"]));
    }
    let names_version = spread["labelSelector"].to_string().contains("version");
    if !names_version && chance(stream, 20) {
        spread["matchLabelKeys"] = json!(["version"]);
    }
    spread
}

/// Puts `value` under `key` unless there is nothing in it.
pub(crate) fn put(spec: &mut Map<String, Value>, key: &str, value: Value) {
    let is_empty = value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty);
    if !is_empty {
        spec.insert(key.to_owned(), value);
    }
}
