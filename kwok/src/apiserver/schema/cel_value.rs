//! JSON as CEL sees it through a schema: whole numbers, times, and member names that are no identifiers.

use super::node::{Kind, Node};
use cel::{
    Value as CelValue,
    objects::{Key, Map},
};
use serde_json::Value;
use std::sync::Arc;

/// Words that CEL keeps for itself; members of these names are written `__word__` in rules.
const RESERVED: [&str; 19] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "void",
];

/// A value as rules see it.
pub(super) fn cel_value(node: &Node, value: &Value) -> CelValue {
    match value {
        Value::Null => CelValue::Null,
        Value::Bool(truth) => CelValue::Bool(*truth),
        Value::Number(number) => match (number.as_i64(), node.kind) {
            (Some(whole), kind) if kind != Kind::Number => CelValue::Int(whole),
            _ => CelValue::Float(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => cel_text(node, text),
        Value::Array(elements) => {
            let unknown = Node::default();
            let items = node.items.as_deref().unwrap_or(&unknown);
            CelValue::List(Arc::new(elements.iter().map(|element| cel_value(items, element)).collect()))
        }
        Value::Object(members) => {
            let unknown = Node::default();
            let entries = members.iter().map(|(name, member)| {
                let key = if node.properties.contains_key(name) { escaped(name) } else { name.clone() };
                (Key::String(Arc::new(key)), cel_value(node.member(name).unwrap_or(&unknown), member))
            });
            CelValue::Map(Map { map: Arc::new(entries.collect()) })
        }
    }
}

fn cel_text(node: &Node, text: &str) -> CelValue {
    let timestamp = (node.format == "date-time").then(|| text.parse().map(CelValue::Timestamp));
    match timestamp {
        Some(Ok(timestamp)) => timestamp,
        _ => CelValue::String(Arc::new(text.to_owned())),
    }
}

/// A member's name as an identifier (`k8s.io/apiserver/pkg/cel.Escape`).
pub(super) fn escaped(name: &str) -> String {
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    if !name.contains(['.', '-', '/']) && !name.contains("__") {
        return name.to_owned();
    }
    name.replace("__", "__underscores__").replace('.', "__dot__").replace('-', "__dash__").replace('/', "__slash__")
}
