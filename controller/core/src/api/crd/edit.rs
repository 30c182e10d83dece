//! Editing generated schemas: what a derive cannot say is said by path.

use serde_json::{Map, Value, json};

/// A schema under construction, addressed by paths such as `spec.budgets[].nodes` (`[]` is a list's item, `{}` a map's value).
pub(super) struct Schema(pub(super) Value);

impl Schema {
    /// Merges `keywords` into the schema at `path`; an empty path is the root.
    pub(super) fn set(&mut self, path: &str, keywords: Value) -> &mut Self {
        let Value::Object(keywords) = keywords else { unreachable!("keywords are written as an object") };
        self.at(path).extend(keywords);
        self
    }

    /// Replaces the schema at `path`, keeping its description.
    pub(super) fn replace(&mut self, path: &str, schema: Value) -> &mut Self {
        let description = self.at(path).get("description").cloned();
        self.at(path).clear();
        self.set(path, schema);
        if let Some(description) = description {
            self.at(path).insert("description".to_owned(), description);
        }
        self
    }

    /// Adds a CEL rule at `path`.
    pub(super) fn rule(&mut self, path: &str, rule: &str, message: &str) -> &mut Self {
        let rules = self.at(path).entry("x-kubernetes-validations").or_insert_with(|| json!([]));
        rules.as_array_mut().expect("rules are a list").push(json!({ "rule": rule, "message": message }));
        self
    }

    /// Makes properties of the object at `path` required.
    pub(super) fn required(&mut self, path: &str, names: &[&str]) -> &mut Self {
        self.set(path, json!({ "required": names }))
    }

    fn at(&mut self, path: &str) -> &mut Map<String, Value> {
        let mut schema = &mut self.0;
        for step in path.split('.').filter(|step| !step.is_empty()) {
            let name = step.trim_end_matches(['[', ']', '{', '}']);
            schema = &mut schema["properties"][name];
            for suffix in step.as_bytes()[name.len()..].chunks(2) {
                schema = &mut schema[if suffix == b"[]" { "items" } else { "additionalProperties" }];
            }
        }
        schema.as_object_mut().unwrap_or_else(|| unreachable!("`{path}` is not in the generated schema"))
    }
}

/// Takes out what the derive adds and the API server refuses, ignores, or would do wrongly: `nullable` (absent fields are
/// left out, never null), unknown formats, `minimum` of unsigned types, titles, and defaults and required lists, which are
/// said by path instead. Quantities get the form that every CRD gives them.
pub(super) fn clean(schema: &mut Value) {
    match schema {
        Value::Object(fields) => clean_object(fields),
        Value::Array(items) => items.iter_mut().for_each(clean),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn clean_object(fields: &mut Map<String, Value>) {
    if fields.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        *fields = quantity();
        return;
    }
    for keyword in ["nullable", "title", "required", "default", "minimum"] {
        fields.remove(keyword);
    }
    let known_format = fields
        .get("format")
        .and_then(Value::as_str)
        .is_none_or(|format| ["int32", "int64", "date-time"].contains(&format));
    if !known_format {
        fields.remove("format");
    }
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.values_mut().for_each(clean);
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(schema) = fields.get_mut(keyword) {
            clean(schema);
        }
    }
}

fn quantity() -> Map<String, Value> {
    let number = r"(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))";
    let pattern = format!(r"^(\+|-)?{number}(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?{number}))?$");
    Map::from_iter([
        ("anyOf".to_owned(), json!([{ "type": "integer" }, { "type": "string" }])),
        ("pattern".to_owned(), json!(pattern)),
        ("x-kubernetes-int-or-string".to_owned(), json!(true)),
    ])
}
