//! One place in a schema, read once: what may be there.

use super::rules::{Rule, Scope};
use crate::apiserver::{
    field_error::FieldError,
    value::{integer, items, text, text_or_empty},
};
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeMap;

/// The most levels a schema may have; deeper ones would only serve to exhaust the stack.
const MAX_DEPTH: usize = 64;

/// The types that a schema can ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Anything (only with `x-kubernetes-preserve-unknown-fields`, or inside `anyOf` and the like).
    #[default]
    Any,
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    /// `x-kubernetes-int-or-string`.
    IntOrString,
}

impl Kind {
    /// The type's name as messages have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Any | Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::IntOrString => "integer,string",
        }
    }

    /// Whether a value is of the type. Whole numbers written as `1.0` count as integers.
    pub(crate) fn accepts(self, value: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::Object => value.is_object(),
            Self::Array => value.is_array(),
            Self::String => value.is_string(),
            Self::Integer => is_integer(value),
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
            Self::IntOrString => value.is_string() || is_integer(value),
        }
    }
}

fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

/// How a list's elements are told apart (`x-kubernetes-list-type`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ListType {
    #[default]
    Atomic,
    /// Every value once.
    Set,
    /// One element per value of these fields.
    Map(Vec<String>),
}

/// Bounds of numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Range {
    pub(crate) minimum: Option<f64>,
    pub(crate) maximum: Option<f64>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) exclusive_maximum: bool,
    pub(crate) multiple_of: Option<f64>,
}

/// Bounds of lengths: of texts (characters), lists (elements) or objects (members).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Length {
    pub(crate) minimum: Option<usize>,
    pub(crate) maximum: Option<usize>,
}

/// One place in a schema.
#[derive(Debug, Default)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) nullable: bool,
    pub(crate) properties: BTreeMap<String, Self>,
    pub(crate) additional: Option<Box<Self>>,
    /// `additionalProperties: true`.
    pub(crate) additional_any: bool,
    pub(crate) items: Option<Box<Self>>,
    pub(crate) required: Vec<String>,
    pub(crate) default: Option<Value>,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub(crate) preserve: bool,
    /// `x-kubernetes-embedded-resource`.
    pub(crate) embedded: bool,
    pub(crate) allowed: Vec<Value>,
    pub(crate) range: Range,
    pub(crate) characters: Length,
    pub(crate) elements: Length,
    pub(crate) members: Length,
    pub(crate) pattern: Option<Regex>,
    pub(crate) format: String,
    pub(crate) list_type: ListType,
    pub(crate) all_of: Vec<Self>,
    pub(crate) any_of: Vec<Self>,
    pub(crate) one_of: Vec<Self>,
    pub(crate) not: Option<Box<Self>>,
    pub(crate) rules: Vec<Rule>,
    /// Whether a rule stands here or below.
    pub(crate) has_rules: bool,
    /// Whether a rule that compares with the object before stands here or below.
    pub(crate) has_transitions: bool,
}

impl Node {
    /// Reads a schema; what is wrong with it is added to `errors` under `path`.
    pub(crate) fn read(source: &Value, path: &str, depth: usize, errors: &mut Vec<FieldError>) -> Self {
        let mut node = Self::read_combination(source, path, depth, errors);
        check_structural(&node, source, path, errors);
        if node.kind == Kind::Any && source.get("type").is_none() && node.embedded {
            node.kind = Kind::Object;
        }
        node
    }

    /// Reads a schema below `anyOf` and the like, which needs no type.
    fn read_combination(source: &Value, path: &str, depth: usize, errors: &mut Vec<FieldError>) -> Self {
        if depth > MAX_DEPTH {
            errors.push(FieldError::forbidden(path, format!("schemas may have at most {MAX_DEPTH} levels")));
            return Self::default();
        }
        let mut node = Self {
            kind: read_kind(source, path, errors),
            nullable: flag(source, "nullable"),
            required: strings(source, "required"),
            default: source.get("default").cloned(),
            preserve: flag(source, "x-kubernetes-preserve-unknown-fields"),
            embedded: flag(source, "x-kubernetes-embedded-resource"),
            allowed: items(source, &["enum"]).to_vec(),
            range: read_range(source),
            characters: read_length(source, "minLength", "maxLength"),
            elements: read_length(source, "minItems", "maxItems"),
            members: read_length(source, "minProperties", "maxProperties"),
            pattern: read_pattern(source, path, errors),
            format: text_or_empty(source, &["format"]).to_owned(),
            list_type: read_list_type(source, path, errors),
            ..Self::default()
        };
        node.read_children(source, path, depth, errors);
        node.rules = read_rules(source, path, &Scope { node: &node, is_root: depth == 0 }, errors);
        node.summarise();
        node
    }

    fn read_children(&mut self, source: &Value, path: &str, depth: usize, errors: &mut Vec<FieldError>) {
        for (name, property) in source.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let below = format!("{path}.properties[{name}]");
            // Combinations restate properties without their types.
            let read = if self.kind == Kind::Any { Self::read_combination } else { Self::read };
            self.properties.insert(name.clone(), read(property, &below, depth + 1, errors));
        }
        match source.get("additionalProperties") {
            Some(Value::Bool(any)) => self.additional_any = *any,
            Some(schema @ Value::Object(_)) => {
                let below = format!("{path}.additionalProperties");
                self.additional = Some(Box::new(Self::read(schema, &below, depth + 1, errors)));
            }
            _ => {}
        }
        if let Some(schema) = source.get("items") {
            self.items = Some(Box::new(Self::read(schema, &format!("{path}.items"), depth + 1, errors)));
        }
        self.all_of = combination(source, "allOf", path, depth, errors);
        self.any_of = combination(source, "anyOf", path, depth, errors);
        self.one_of = combination(source, "oneOf", path, depth, errors);
        if let Some(schema) = source.get("not") {
            self.not = Some(Box::new(Self::read_combination(schema, &format!("{path}.not"), depth + 1, errors)));
        }
    }

    fn summarise(&mut self) {
        let has_transitions = self.rules.iter().any(|rule| rule.is_transition);
        let (has_rules, has_transitions) =
            self.children().fold((!self.rules.is_empty(), has_transitions), |(rules, transitions), child| {
                (rules || child.has_rules, transitions || child.has_transitions)
            });
        self.has_rules = has_rules;
        self.has_transitions = has_transitions;
    }

    fn children(&self) -> impl Iterator<Item = &Self> {
        self.properties.values().chain(self.additional.as_deref()).chain(self.items.as_deref())
    }

    /// The schema of a member.
    pub(crate) fn member(&self, name: &str) -> Option<&Self> {
        self.properties.get(name).or(self.additional.as_deref())
    }
}

fn combination(source: &Value, key: &str, path: &str, depth: usize, errors: &mut Vec<FieldError>) -> Vec<Node> {
    let each = items(source, &[key]).iter().enumerate();
    each.map(|(index, schema)| Node::read_combination(schema, &format!("{path}.{key}[{index}]"), depth + 1, errors))
        .collect()
}

fn flag(source: &Value, key: &str) -> bool {
    source.get(key).and_then(Value::as_bool).unwrap_or(false)
}

fn strings(source: &Value, key: &str) -> Vec<String> {
    crate::apiserver::value::texts(source, &[key]).map(str::to_owned).collect()
}

fn read_kind(source: &Value, path: &str, errors: &mut Vec<FieldError>) -> Kind {
    if flag(source, "x-kubernetes-int-or-string") {
        return Kind::IntOrString;
    }
    match text(source, &["type"]) {
        None | Some("") => Kind::Any,
        Some("object") => Kind::Object,
        Some("array") => Kind::Array,
        Some("string") => Kind::String,
        Some("integer") => Kind::Integer,
        Some("number") => Kind::Number,
        Some("boolean") => Kind::Boolean,
        Some(other) => {
            let known = ["array", "boolean", "integer", "number", "object", "string"];
            errors.push(FieldError::not_supported(format!("{path}.type"), other, &known));
            Kind::Any
        }
    }
}

fn read_range(source: &Value) -> Range {
    let number = |key: &str| source.get(key).and_then(Value::as_f64);
    Range {
        minimum: number("minimum"),
        maximum: number("maximum"),
        exclusive_minimum: flag(source, "exclusiveMinimum"),
        exclusive_maximum: flag(source, "exclusiveMaximum"),
        multiple_of: number("multipleOf"),
    }
}

fn read_length(source: &Value, minimum: &str, maximum: &str) -> Length {
    let bound = |key: &str| integer(source, &[key]).and_then(|bound| usize::try_from(bound).ok());
    Length { minimum: bound(minimum), maximum: bound(maximum) }
}

fn read_pattern(source: &Value, path: &str, errors: &mut Vec<FieldError>) -> Option<Regex> {
    let pattern = text(source, &["pattern"])?;
    match Regex::new(pattern) {
        Ok(regex) => Some(regex),
        Err(error) => {
            let detail = format!("must be a valid regular expression, but isn't: {error}");
            errors.push(FieldError::invalid(format!("{path}.pattern"), pattern, detail));
            None
        }
    }
}

fn read_list_type(source: &Value, path: &str, errors: &mut Vec<FieldError>) -> ListType {
    let keys = strings(source, "x-kubernetes-list-map-keys");
    match text(source, &["x-kubernetes-list-type"]) {
        None | Some("atomic") => ListType::Atomic,
        Some("set") => ListType::Set,
        Some("map") if !keys.is_empty() => ListType::Map(keys),
        Some("map") => {
            let detail = "must not be empty if x-kubernetes-list-type is map";
            errors.push(FieldError::required(format!("{path}.x-kubernetes-list-map-keys"), detail));
            ListType::Atomic
        }
        Some(other) => {
            let field = format!("{path}.x-kubernetes-list-type");
            errors.push(FieldError::not_supported(field, other, &["atomic", "map", "set"]));
            ListType::Atomic
        }
    }
}

fn read_rules(source: &Value, path: &str, scope: &Scope<'_>, errors: &mut Vec<FieldError>) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (index, rule) in items(source, &["x-kubernetes-validations"]).iter().enumerate() {
        match Rule::compile(rule, scope) {
            Ok(rule) => rules.push(rule),
            Err(error) => {
                let field = format!("{path}.x-kubernetes-validations[{index}]{}", error.field);
                errors.push(FieldError { field, ..error });
            }
        }
    }
    rules
}

/// The rules that make a schema structural: a type everywhere, lists with items, no mixing of properties and maps.
fn check_structural(node: &Node, source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if node.kind == Kind::Any && !node.preserve && source.get("type").is_none() {
        errors.push(FieldError::required(format!("{path}.type"), "must not be empty for specified object fields"));
    }
    if node.kind == Kind::Array && node.items.is_none() {
        errors.push(FieldError::required(format!("{path}.items"), "must be specified"));
    }
    if !node.properties.is_empty() && (node.additional.is_some() || node.additional_any) {
        let detail = "additionalProperties and properties are mutual exclusive";
        errors.push(FieldError::forbidden(format!("{path}.additionalProperties"), detail));
    }
    for forbidden in ["$ref", "definitions", "dependencies", "patternProperties", "additionalItems", "uniqueItems"] {
        // `uniqueItems: false` is what it is by default.
        if source.get(forbidden).is_some_and(|found| found != false) {
            errors.push(FieldError::forbidden(format!("{path}.{forbidden}"), "must not be set"));
        }
    }
}
