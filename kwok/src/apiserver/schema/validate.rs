//! Values against a schema, in the words of the API server (`kube-openapi/pkg/validation`).
//!
//! An update answers only for what it changes: a value that already stood there is not checked again (validation
//! ratcheting, Kubernetes 1.33).

use super::{
    format,
    node::{Kind, ListType, Node},
};
use crate::apiserver::{
    field_error::{FieldError, Problem},
    value::Members,
};
use serde_json::{Number, Value};

/// Checks a value; what is wrong is added to `errors`. `old` is the value that stood there before.
pub(super) fn check(node: &Node, value: &Value, old: Option<&Value>, path: &str, errors: &mut Vec<FieldError>) {
    if old == Some(value) || (value.is_null() && node.nullable) {
        return;
    }
    if !node.kind.accepts(value) {
        errors.push(wrong_type(node.kind.name(), path, value));
        return;
    }
    check_allowed(node, value, path, errors);
    check_combinations(node, value, path, errors);
    match value {
        Value::Object(members) => check_object(node, members, old.and_then(Value::as_object), path, errors),
        Value::Array(elements) => check_array(node, elements, old.and_then(Value::as_array), path, errors),
        Value::String(text) => check_text(node, text, path, errors),
        Value::Number(number) => check_number(node, number, path, errors),
        Value::Null | Value::Bool(_) => {}
    }
}

fn wrong_type(expected: &str, path: &str, value: &Value) -> FieldError {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let detail = format!("{path} in body must be of type {expected}: \"{found}\"");
    FieldError { field: path.to_owned(), problem: Problem::TypeInvalid(found.into()), detail }
}

fn invalid(path: &str, value: impl Into<Value>, rule: &str) -> FieldError {
    FieldError::invalid(path, value, format!("{path} in body {rule}"))
}

fn check_allowed(node: &Node, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if node.allowed.is_empty() || node.allowed.contains(value) {
        return;
    }
    let texts: Vec<String> =
        node.allowed.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned)).collect();
    let supported: Vec<&str> = texts.iter().map(String::as_str).collect();
    errors.push(FieldError::not_supported(path, value.clone(), &supported));
}

fn check_object(node: &Node, members: &Members, old: Option<&Members>, path: &str, errors: &mut Vec<FieldError>) {
    for name in node.required.iter().filter(|name| !members.contains_key(*name)) {
        errors.push(FieldError::required(join(path, name), ""));
    }
    if node.members.minimum.is_some_and(|minimum| members.len() < minimum) {
        let rule = format!("should have at least {} properties", node.members.minimum.unwrap_or_default());
        errors.push(invalid(path, members.len(), &rule));
    }
    if let Some(maximum) = node.members.maximum.filter(|maximum| members.len() > *maximum) {
        errors.push(too_many(path, members.len(), maximum));
    }
    for (name, member) in members {
        if let Some(below) = node.member(name) {
            check(below, member, old.and_then(|old| old.get(name)), &join(path, name), errors);
        }
    }
}

fn too_many(path: &str, found: usize, maximum: usize) -> FieldError {
    FieldError { field: path.to_owned(), problem: Problem::TooMany(found, maximum), detail: String::new() }
}

fn check_array(node: &Node, elements: &[Value], old: Option<&Vec<Value>>, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(minimum) = node.elements.minimum.filter(|minimum| elements.len() < *minimum) {
        errors.push(invalid(path, elements.len(), &format!("should have at least {minimum} items")));
    }
    if let Some(maximum) = node.elements.maximum.filter(|maximum| elements.len() > *maximum) {
        errors.push(too_many(path, elements.len(), maximum));
    }
    check_unique(node, elements, path, errors);
    let Some(items) = &node.items else { return };
    for (index, element) in elements.iter().enumerate() {
        let before = same_element(&node.list_type, element, old);
        check(items, element, before, &format!("{path}[{index}]"), errors);
    }
}

/// The element of the list before that is the same one: by its keys. Elements of other lists have no identity.
pub(super) fn same_element<'a>(
    list_type: &ListType,
    element: &Value,
    old: Option<&'a Vec<Value>>,
) -> Option<&'a Value> {
    let ListType::Map(keys) = list_type else { return None };
    old?.iter().find(|found| keys.iter().all(|key| found.get(key) == element.get(key)))
}

fn check_unique(node: &Node, elements: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    let ids: Vec<Value> = match &node.list_type {
        ListType::Atomic => return,
        ListType::Set => elements.to_vec(),
        ListType::Map(keys) => elements.iter().map(|element| identity(element, keys)).collect(),
    };
    for (index, id) in ids.iter().enumerate() {
        if ids[..index].contains(id) {
            errors.push(FieldError::duplicate(format!("{path}[{index}]"), id.clone()));
        }
    }
}

fn identity(element: &Value, keys: &[String]) -> Value {
    let present = keys.iter().filter_map(|key| Some((key.clone(), element.get(key)?.clone())));
    Value::Object(present.collect())
}

fn check_text(node: &Node, text: &str, path: &str, errors: &mut Vec<FieldError>) {
    let length = text.chars().count();
    if let Some(minimum) = node.characters.minimum.filter(|minimum| length < *minimum) {
        errors.push(invalid(path, text, &format!("should be at least {minimum} chars long")));
    }
    if let Some(maximum) = node.characters.maximum.filter(|maximum| length > *maximum) {
        errors.push(FieldError::too_long(path, maximum));
    }
    if let Some(pattern) = node.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
        errors.push(invalid(path, text, &format!("should match '{pattern}'")));
    }
    check_format(node, &Value::from(text), path, errors);
}

fn check_format(node: &Node, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if format::accepts(&node.format, value) {
        return;
    }
    let detail = format!("{path} in body must be of type {}: {value}", node.format);
    errors.push(FieldError { field: path.to_owned(), problem: Problem::TypeInvalid(value.clone()), detail });
}

fn check_number(node: &Node, number: &Number, path: &str, errors: &mut Vec<FieldError>) {
    check_format(node, &Value::Number(number.clone()), path, errors);
    let Some(found) = number.as_f64() else { return };
    let range = &node.range;
    let mut broken = |is_broken: bool, rule: &str, bound: f64| {
        if is_broken {
            errors.push(invalid(path, number.clone(), &format!("should be {rule} {bound}")));
        }
    };
    match (range.minimum, range.exclusive_minimum) {
        (Some(minimum), true) => broken(found <= minimum, "greater than", minimum),
        (Some(minimum), false) => broken(found < minimum, "greater than or equal to", minimum),
        (None, _) => {}
    }
    match (range.maximum, range.exclusive_maximum) {
        (Some(maximum), true) => broken(found >= maximum, "less than", maximum),
        (Some(maximum), false) => broken(found > maximum, "less than or equal to", maximum),
        (None, _) => {}
    }
    if let Some(factor) = range.multiple_of.filter(|factor| *factor != 0.0) {
        broken((found / factor).fract() != 0.0, "a multiple of", factor);
    }
}

/// Combinations say only that they fail, not why: the API server does so too.
fn check_combinations(node: &Node, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut broken = |rule: &str| errors.push(FieldError::invalid("<nil>", "", format!("\"{path}\" must {rule}")));
    let valid = |schemas: &[Node]| schemas.iter().filter(|schema| is_valid(schema, value)).count();
    // The branches `integer` and `string` of an int-or-string are implied by it.
    if node.kind != Kind::IntOrString && !node.any_of.is_empty() && valid(&node.any_of) == 0 {
        broken("validate at least one schema (anyOf)");
    }
    if !node.one_of.is_empty() {
        match valid(&node.one_of) {
            0 => broken("validate one and only one schema (oneOf). Found none valid"),
            1 => {}
            several => broken(&format!("validate one and only one schema (oneOf). Found {several} valid alternatives")),
        }
    }
    if valid(&node.all_of) < node.all_of.len() {
        broken("validate all the schemas (allOf)");
    }
    if node.not.as_ref().is_some_and(|schema| is_valid(schema, value)) {
        broken("not validate the schema (not)");
    }
}

fn is_valid(node: &Node, value: &Value) -> bool {
    let mut errors = Vec::new();
    check(node, value, None, "", &mut errors);
    errors.is_empty()
}

/// A member's path.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
