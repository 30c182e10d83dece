//! Schemas of custom resources: defaults, pruning, validation.

use super::field_error::FieldError;
use serde_json::Value;

/// A CustomResourceDefinition version's `openAPIV3Schema`, made ready for use once.
#[derive(Debug)]
pub(crate) struct Schema {
    source: Value,
}

impl Schema {
    /// Makes a schema ready. Fields of errors are relative to the schema, e.g. `.properties[spec].type`.
    ///
    /// # Errors
    /// What is wrong with the schema.
    pub(crate) fn compile(source: &Value) -> Result<Self, Vec<FieldError>> {
        if source.get("type").and_then(Value::as_str) == Some("object") {
            return Ok(Self { source: source.clone() });
        }
        let found = source.get("type").cloned().unwrap_or_default();
        Err(vec![FieldError::invalid(".type", found, "must be object at the root")])
    }

    /// The schema as written, for OpenAPI documents.
    #[expect(dead_code, reason = "the OpenAPI documents of custom resources, the next step of `openapi`, read it")]
    pub(crate) fn source(&self) -> &Value {
        &self.source
    }

    /// Removes the fields that the schema does not know, and returns their paths, e.g. `spec.foo`.
    pub(crate) fn prune(&self, _object: &mut Value) -> Vec<String> {
        Vec::new()
    }

    /// Fills in the schema's defaults.
    pub(crate) fn default(&self, object: &mut Value) {
        fill_in(&self.source, object);
    }

    /// What is wrong with an object; `old` is the object before, for updates (transition rules, ratcheting).
    pub(crate) fn validate(&self, _object: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        Vec::new()
    }
}

fn fill_in(schema: &Value, value: &mut Value) {
    let properties = schema.get("properties").and_then(Value::as_object);
    if let (Some(properties), Some(members)) = (properties, value.as_object_mut()) {
        for (key, property) in properties {
            if let (None, Some(default)) = (members.get(key), property.get("default")) {
                members.insert(key.clone(), default.clone());
            }
            if let Some(member) = members.get_mut(key) {
                fill_in(property, member);
            }
        }
    }
    if let (Some(items), Some(elements)) = (schema.get("items"), value.as_array_mut()) {
        elements.iter_mut().for_each(|element| fill_in(items, element));
    }
}
