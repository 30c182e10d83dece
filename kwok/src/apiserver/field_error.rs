//! What is wrong with one field, in the API's words (`k8s.io/apimachinery/pkg/util/validation/field`).

use super::status::Cause;
use serde_json::Value;
use std::fmt;

/// The kinds of field errors, and what each carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// Nothing is there, and something must be.
    Required,
    /// The value breaks a rule.
    Invalid(Value),
    /// The value breaks a rule, and is too much to be shown.
    InvalidUnshown,
    /// Not one of the values that are known.
    NotSupported(Value, Vec<String>),
    /// May not be set or changed here.
    Forbidden,
    /// The value may occur only once.
    Duplicate(Value),
    /// Longer than so many bytes.
    TooLong(usize),
    /// More than so many items: found, allowed.
    TooMany(usize, usize),
    /// The value has the wrong type.
    TypeInvalid(Value),
    /// The value names something that does not exist.
    NotFound(Value),
}

/// A rule that a field breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldError {
    pub(crate) field: String,
    pub(crate) problem: Problem,
    pub(crate) detail: String,
}

impl FieldError {
    fn new(field: impl Into<String>, problem: Problem, detail: impl Into<String>) -> Self {
        Self { field: field.into(), problem, detail: detail.into() }
    }

    /// Nothing is there, and something must be.
    pub(crate) fn required(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(field, Problem::Required, detail)
    }

    /// The value breaks the rule told in `detail`.
    pub(crate) fn invalid(field: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(field, Problem::Invalid(value.into()), detail)
    }

    /// Not one of the `supported` values.
    pub(crate) fn not_supported(field: impl Into<String>, value: impl Into<Value>, supported: &[&str]) -> Self {
        let supported = supported.iter().map(ToString::to_string).collect();
        Self::new(field, Problem::NotSupported(value.into(), supported), "")
    }

    /// May not be set or changed here.
    pub(crate) fn forbidden(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(field, Problem::Forbidden, detail)
    }

    /// The value may occur only once.
    pub(crate) fn duplicate(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::new(field, Problem::Duplicate(value.into()), "")
    }

    /// The value names something that does not exist.
    pub(crate) fn not_found(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::new(field, Problem::NotFound(value.into()), "")
    }

    /// Longer than `limit` bytes.
    pub(crate) fn too_long(field: impl Into<String>, limit: usize) -> Self {
        Self::new(field, Problem::TooLong(limit), "")
    }

    /// The message without the field.
    pub(crate) fn body(&self) -> String {
        let head = self.head();
        if self.detail.is_empty() { head } else { format!("{head}: {}", self.detail) }
    }

    fn head(&self) -> String {
        match &self.problem {
            Problem::Required => "Required value".into(),
            Problem::Invalid(value) | Problem::TypeInvalid(value) => format!("Invalid value: {}", shown(value)),
            Problem::InvalidUnshown => "Invalid value".into(),
            Problem::NotSupported(value, supported) => {
                let quoted: Vec<String> = supported.iter().map(|value| format!("\"{value}\"")).collect();
                format!("Unsupported value: {}: supported values: {}", shown(value), quoted.join(", "))
            }
            Problem::Forbidden => "Forbidden".into(),
            Problem::Duplicate(value) => format!("Duplicate value: {}", shown(value)),
            Problem::TooLong(limit) => format!("Too long: may not be more than {limit} bytes"),
            Problem::TooMany(found, limit) => format!("Too many: {found}: must have at most {limit} items"),
            Problem::NotFound(value) => format!("Not found: {}", shown(value)),
        }
    }

    /// The error as one of a `Status`'s causes.
    pub(crate) fn cause(&self) -> Cause {
        Cause { reason: self.reason().into(), message: self.body(), field: self.field.clone() }
    }

    fn reason(&self) -> &'static str {
        match self.problem {
            Problem::Required => "FieldValueRequired",
            Problem::Invalid(_) | Problem::InvalidUnshown => "FieldValueInvalid",
            Problem::NotSupported(..) => "FieldValueNotSupported",
            Problem::Forbidden => "FieldValueForbidden",
            Problem::Duplicate(_) => "FieldValueDuplicate",
            Problem::TooLong(_) => "FieldValueTooLong",
            Problem::TooMany(..) => "FieldValueTooMany",
            Problem::TypeInvalid(_) => "FieldValueTypeInvalid",
            Problem::NotFound(_) => "FieldValueNotFound",
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            return formatter.write_str(&self.body());
        }
        write!(formatter, "{}: {}", self.field, self.body())
    }
}

/// Texts quoted, everything else as JSON.
fn shown(value: &Value) -> String {
    value.to_string()
}
