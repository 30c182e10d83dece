//! Defaults: what a schema puts where nothing stands.

use super::node::Node;
use serde_json::Value;

/// Fills in the defaults at and below `value`. A `null` that may not be there is replaced like an absent value.
pub(super) fn fill_in(node: &Node, value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (key, property) in &node.properties {
                let is_empty = members.get(key).is_none_or(|found| found.is_null() && !property.nullable);
                if let (true, Some(default)) = (is_empty, &property.default) {
                    members.insert(key.clone(), default.clone());
                }
            }
            for (key, member) in members.iter_mut() {
                if let Some(below) = node.member(key) {
                    fill_in(below, member);
                }
            }
        }
        Value::Array(elements) => {
            if let Some(items) = &node.items {
                elements.iter_mut().for_each(|element| fill_in(items, element));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
