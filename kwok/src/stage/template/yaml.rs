//! Between template values, JSON and YAML.

use gotmpl::Value;
use serde_json::Value as Json;

/// A template's value as JSON; functions have none and become null.
pub(super) fn to_json(value: &Value) -> Json {
    match value {
        Value::Nil | Value::Function(_) => Json::Null,
        Value::Bool(truth) => Json::from(*truth),
        Value::Int(number) => Json::from(*number),
        Value::Uint(number) => Json::from(*number),
        Value::Float(number) => Json::from(*number),
        Value::String(text) => Json::from(&**text),
        Value::List(items) => items.iter().map(to_json).collect(),
        Value::Map(fields) => fields.iter().map(|(name, value)| (name.to_string(), to_json(value))).collect(),
    }
}

/// Block YAML with sorted keys and lists level with their key; scalars are written as JSON, which is YAML.
pub(super) fn to_yaml(value: &Json) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text
}

fn block(value: &Json, indent: usize, text: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Json::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                text.push_str(&format!("{pad}{}:", Json::from(name.as_str())));
                nested(value, indent, text);
            }
        }
        Json::Array(items) if !items.is_empty() => {
            for item in items {
                let mut inner = String::new();
                block(item, indent + 2, &mut inner);
                text.push_str(&format!("{pad}- {}", inner.trim_start()));
            }
        }
        Json::Object(_) | Json::Array(_) | Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {
            text.push_str(&format!("{pad}{value}\n"));
        }
    }
}

fn nested(value: &Json, indent: usize, text: &mut String) {
    match value {
        Json::Object(fields) if !fields.is_empty() => {
            text.push('\n');
            block(value, indent + 2, text);
        }
        Json::Array(items) if !items.is_empty() => {
            text.push('\n');
            block(value, indent, text);
        }
        Json::Object(_) | Json::Array(_) | Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {
            text.push_str(&format!(" {value}\n"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::to_yaml;
    use serde_json::{Value, json};

    #[test]
    fn what_is_written_reads_back() {
        let value = json!({
            "empty": {}, "none": [], "text": "a: \"b\"\n#c", "number": 1.5, "null": null,
            "list": [1, {"a": [true, {"b": "c"}], "d": {"e": "f"}}, [2, 3], "x"],
        });
        let text = to_yaml(&value);
        assert_eq!(serde_saphyr::from_str::<Value>(&text).unwrap(), value, "{text}");
    }
}
