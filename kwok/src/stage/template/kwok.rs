//! The functions that KWOK adds: time, addresses, node conditions, quoting and YAML.

use super::{
    Current, Facts,
    yaml::{to_json, to_yaml},
};
use gotmpl::{FuncMap, Result, TemplateError, ToSerdeValue, Value};
use serde_json::{Value as Json, json};
use std::sync::Arc;

/// What `Version` gives: the KWOK release whose behaviour this follows.
const VERSION: &str = "v0.8.0";

/// The functions by name, bound to the facts of the rendering under way.
pub(super) fn all(current: &Current) -> FuncMap {
    let mut map = FuncMap::new();
    let mut pure = |name: &str, function: fn(&[Value]) -> Result<Value>| {
        map.insert(name.to_owned(), Arc::new(function));
    };
    pure("Quote", |args| Ok(text(quote(&to_json(argument("Quote", args, 0)?)))));
    pure("YAML", yaml);
    pure("Version", |_| Ok(text(VERSION)));
    pure("NodeConditions", |_| node_conditions().to_serde_value());
    let mut from_facts = |name: &'static str, function: fn(&mut Facts, &[Value]) -> Result<Value>| {
        let current = current.clone();
        map.insert(name.to_owned(), Arc::new(move |args: &[Value]| current.with(|facts| function(facts, args))?));
    };
    from_facts("Now", |facts, _| Ok(text(facts.now.to_string())));
    from_facts("StartTime", |facts, _| Ok(text(facts.started.to_string())));
    from_facts("NodeName", |facts, _| Ok(text(facts.node_name.as_str())));
    from_facts("NodePort", |facts, _| Ok(facts.node_port.map_or(Value::Nil, |port| Value::Int(i64::from(port)))));
    from_facts("NodeIP", |facts, _| Ok(text(facts.addresses.node_ip(&facts.node_name))));
    from_facts("NodeIPWith", |facts, args| Ok(text(facts.addresses.node_ip(&string("NodeIPWith", args, 0)?))));
    from_facts("NodeIPsWith", |facts, args| Ok(single(facts.addresses.node_ip(&string("NodeIPsWith", args, 0)?))));
    from_facts("PodIP", |facts, _| Ok(text(facts.addresses.pod_ip(&facts.node_name, false, "", "", ""))));
    from_facts("PodIPWith", |facts, args| Ok(text(pod_ip("PodIPWith", facts, args)?)));
    from_facts("PodIPsWith", |facts, args| Ok(single(pod_ip("PodIPsWith", facts, args)?)));
    from_facts("randInt", |facts, args| {
        let (low, high) = (integer("randInt", args, 0)?, integer("randInt", args, 1)?);
        let range = u64::try_from(high.saturating_sub(low)).unwrap_or(0);
        Ok(Value::Int(low.saturating_add(facts.draws.below(range) as i64)))
    });
    from_facts("now", |facts, _| Ok(text(facts.now.to_string())));
    from_facts("uuidv4", |facts, _| Ok(text(facts.draws.uuid())));
    map
}

fn pod_ip(name: &str, facts: &mut Facts, args: &[Value]) -> Result<String> {
    let host_network = argument(name, args, 1)?.is_truthy();
    let (node, uid) = (string(name, args, 0)?, string(name, args, 2)?);
    let (pod, namespace) = (string(name, args, 3)?, string(name, args, 4)?);
    Ok(facts.addresses.pod_ip(&node, host_network, &uid, &pod, &namespace))
}

fn single(address: String) -> Value {
    Value::List(Arc::from([text(address)]))
}

/// JSON text; anything but a text is quoted once more, so that it stays a text.
fn quote(value: &Json) -> String {
    let json = value.to_string();
    if value.is_string() { json } else { Json::from(json).to_string() }
}

/// YAML text; with an indent, on lines of its own that are indented twice that many spaces.
fn yaml(args: &[Value]) -> Result<Value> {
    let text_ = to_yaml(&to_json(argument("YAML", args, 0)?));
    let indent = if args.len() > 1 { integer("YAML", args, 1)? } else { 0 };
    if indent <= 0 {
        return Ok(text(text_));
    }
    let pad = " ".repeat(usize::try_from(indent).unwrap_or(0).min(MAX_INDENT) * 2);
    Ok(text(format!("\n{text_}").replace('\n', &format!("\n{pad}"))))
}

/// Deeper nesting than any object has.
const MAX_INDENT: usize = 64;

fn node_conditions() -> Json {
    let condition = |kind: &str, status: &str, reason: &str, message: &str| json!({"type": kind, "status": status, "reason": reason, "message": message});
    json!([
        condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        condition("NetworkUnavailable", "False", "RouteCreated", "RouteController created a route"),
    ])
}

pub(super) fn text(text: impl Into<Arc<str>>) -> Value {
    Value::String(text.into())
}

/// The argument at `index`.
pub(super) fn argument<'a>(name: &str, args: &'a [Value], index: usize) -> Result<&'a Value> {
    let missing =
        || TemplateError::Exec(format!("`{name}` needs at least {} arguments, found {}", index + 1, args.len()));
    args.get(index).ok_or_else(missing)
}

/// The argument at `index` as text; absence is empty, as Go converts a missing map key's value for KWOK.
pub(super) fn string(name: &str, args: &[Value], index: usize) -> Result<String> {
    match argument(name, args, index)? {
        Value::Nil => Ok(String::new()),
        value => Ok(value.to_string()),
    }
}

/// The argument at `index` as a whole number.
pub(super) fn integer(name: &str, args: &[Value], index: usize) -> Result<i64> {
    let value = argument(name, args, index)?;
    let number = match value {
        Value::Int(number) => Some(*number),
        Value::Uint(number) => i64::try_from(*number).ok(),
        Value::Float(number) => Some(*number as i64),
        Value::Bool(truth) => Some(i64::from(*truth)),
        Value::String(text) => Some(text.parse().unwrap_or(0)),
        Value::Nil => Some(0),
        Value::List(_) | Value::Map(_) | Value::Function(_) => None,
    };
    number.ok_or_else(|| TemplateError::Exec(format!("`{name}` needs a number, found {}", value.type_name())))
}
