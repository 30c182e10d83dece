//! Schemas of custom resources: defaults, pruning, validation.
//!
//! - [`node`] — a schema, read once
//! - [`prune`], [`defaults`], [`validate`], [`format`] — what it does to objects
//! - [`rules`] — its rules in CEL; [`cel_value`], [`functions`] — what they see and can call

mod cel_value;
mod defaults;
mod format;
mod functions;
mod node;
mod prune;
mod rules;
mod validate;

use super::field_error::{FieldError, Problem};
use node::Node;
use serde_json::Value;

/// A CustomResourceDefinition version's `openAPIV3Schema`, made ready for use once.
#[derive(Debug)]
pub(crate) struct Schema {
    source: Value,
    root: Node,
}

impl Schema {
    /// Makes a schema ready. Fields of errors are relative to the schema, e.g. `.properties[spec].type`.
    ///
    /// # Errors
    /// What is wrong with the schema.
    pub(crate) fn compile(source: &Value) -> Result<Self, Vec<FieldError>> {
        if source.get("type").and_then(Value::as_str) != Some("object") {
            let found = source.get("type").cloned().unwrap_or_default();
            return Err(vec![FieldError::invalid(".type", found, "must be object at the root")]);
        }
        let mut errors = Vec::new();
        let root = Node::read(source, "", 0, &mut errors);
        if errors.is_empty() { Ok(Self { source: source.clone(), root }) } else { Err(errors) }
    }

    /// The schema as written, for OpenAPI documents.
    pub(crate) fn source(&self) -> &Value {
        &self.source
    }

    /// Removes the fields that the schema does not know, and returns their paths, e.g. `spec.foo`.
    pub(crate) fn prune(&self, object: &mut Value) -> Vec<String> {
        let mut unknown = Vec::new();
        prune::prune_object(&self.root, object, "", &mut unknown);
        unknown
    }

    /// Fills in the schema's defaults.
    pub(crate) fn default(&self, object: &mut Value) {
        defaults::fill_in(&self.root, object);
    }

    /// The first value of the wrong type.
    pub(crate) fn wrong_type(&self, object: &Value) -> Option<FieldError> {
        let mut errors = Vec::new();
        validate::check(&self.root, object, None, "", &mut errors);
        // What may be a number or a text is not typed at all where it is applied.
        let is_loose = |error: &FieldError| error.detail.contains("must be of type integer,string:");
        let is_type = |error: &FieldError| error.detail.contains("in body must be of type") && !is_format(error);
        errors.into_iter().find(|error| is_type(error) && !is_loose(error))
    }

    /// What is wrong with an object; `old` is the object before, for updates (transition rules, ratcheting).
    ///
    /// Rules in CEL may assume that values have the right type and size, so they are not asked where that is not so.
    /// Nor where that is so of what was found wrong before (`found`).
    pub(crate) fn validate(&self, object: &Value, old: Option<&Value>, found: &[FieldError]) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate::check(&self.root, object, old, "", &mut errors);
        if found.iter().chain(&errors).any(is_blocking) {
            if self.root.has_rules {
                let detail = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
                errors.push(FieldError::invalid("<nil>", Value::Null, detail));
            }
            return errors;
        }
        rules::check(&self.root, object, old, &mut errors);
        errors
    }
}

/// A text of the wrong format still is a text.
fn is_format(error: &FieldError) -> bool {
    let types = ["object", "array", "string", "integer", "number", "boolean", "integer,string"];
    !types.iter().any(|kind| error.detail.contains(&format!("must be of type {kind}:")))
}

fn is_blocking(error: &FieldError) -> bool {
    match error.problem {
        Problem::Required
        | Problem::NotSupported(..)
        | Problem::TooLong(_)
        | Problem::TooMany(..)
        | Problem::TypeInvalid(_) => true,
        Problem::Invalid(_)
        | Problem::InvalidUnshown
        | Problem::Forbidden
        | Problem::Duplicate(_)
        | Problem::NotFound(_) => false,
    }
}
