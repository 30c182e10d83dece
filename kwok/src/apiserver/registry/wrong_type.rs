//! What Go's decoder says of a field of the wrong type (`encoding/json.UnmarshalTypeError`): it names Go's types, which are
//! found by the kind's schema.

use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use schemars::{Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value};

const COMPONENTS: &str = "#/components/schemas/";

/// What is said of an object that cannot be read, with why in serde's words. The schema is walked for the field, so that reading
/// an object needs no second form of every type that keeps count of where it is.
pub(super) fn explained(schema: fn(&mut SchemaGenerator) -> Schema, object: &Value, why: &str) -> String {
    let mut generator = SchemaSettings::openapi3().into_generator();
    let root = schema(&mut generator).to_value();
    let schemas = generator.take_definitions(true);
    let start = Place { owner: "", fields: Vec::new(), schema: &root, value: object };
    match first_wrong(&schemas, start) {
        Some(place) => sentence(&schemas, &place)
            .unwrap_or_else(|| format!("json: cannot unmarshal `{}`: {why}", place.fields.join("."))),
        None => why.to_owned(),
    }
}

/// A value somewhere in an object, and what it is to be.
struct Place<'a> {
    /// The type whose field it is in.
    owner: &'a str,
    fields: Vec<&'a str>,
    schema: &'a Value,
    value: &'a Value,
}

/// The first value, in the object's order, that is not of its type.
fn first_wrong<'a>(schemas: &'a Map<String, Value>, place: Place<'a>) -> Option<Place<'a>> {
    let (name, resolved) = resolve(schemas, place.schema);
    let below = |field: Option<&'a str>, schema, value| {
        let owner = field.map_or(place.owner, |_| name.rsplit('.').next().unwrap_or_default());
        let fields = place.fields.iter().copied().chain(field).collect();
        first_wrong(schemas, Place { owner, fields, schema, value })
    };
    match (text(resolved, "type"), place.value) {
        ("object", Value::Object(members)) => members.iter().find_map(|(key, member)| {
            match resolved.get("properties").and_then(|properties| properties.get(key)) {
                Some(property) => below(Some(key), property, member),
                None => below(None, resolved.get("additionalProperties")?, member),
            }
        }),
        ("array", Value::Array(elements)) => {
            let items = resolved.get("items")?;
            elements.iter().find_map(|element| below(None, items, element))
        }
        _ if fits(resolved, place.value) => None,
        _ => Some(place),
    }
}

fn fits(schema: &Value, value: &Value) -> bool {
    match (text(schema, "type"), text(schema, "format"), value) {
        (_, _, Value::Null) | ("", ..) | (_, "int-or-string", Value::Number(_) | Value::String(_)) => true,
        ("string", "date-time", Value::String(text)) => text.parse::<Timestamp>().is_ok(),
        ("string", "byte", Value::String(text)) => BASE64_STANDARD.decode(text).is_ok(),
        ("integer", "int32", Value::Number(number)) => number.as_i64().is_some_and(|one| i32::try_from(one).is_ok()),
        ("integer", _, Value::Number(number)) => number.is_i64() || number.is_u64(),
        ("string", _, Value::String(_)) | ("number", _, Value::Number(_)) | ("boolean", _, Value::Bool(_)) => true,
        _ => false,
    }
}

fn sentence(schemas: &Map<String, Value>, place: &Place<'_>) -> Option<String> {
    let Place { owner, fields, schema, value } = place;
    let (told, wanted) = (told(value, schema)?, go_type(schemas, schema)?);
    Some(format!("json: cannot unmarshal {told} into Go struct field {owner}.{} of type {wanted}", fields.join(".")))
}

/// The schema's name, if it has one, and the schema itself.
fn resolve<'a>(schemas: &'a Map<String, Value>, schema: &'a Value) -> (&'a str, &'a Value) {
    let wrapped = schema.pointer("/allOf/0").unwrap_or(schema);
    let name = wrapped.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix(COMPONENTS));
    match name.and_then(|name| schemas.get_key_value(name)) {
        Some((name, found)) => (name, found),
        None => ("", wrapped),
    }
}

fn told(value: &Value, schema: &Value) -> Option<String> {
    Some(match value {
        Value::String(_) => "string".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
        Value::Number(number) if text(schema, "type") == "integer" => format!("number {number}"),
        Value::Number(_) => "number".to_owned(),
        Value::Null => return None,
    })
}

fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// What Go calls the type; none for those that read themselves.
fn go_type(schemas: &Map<String, Value>, schema: &Value) -> Option<String> {
    let (name, resolved) = resolve(schemas, schema);
    let elements = || resolved.get("items").and_then(|items| go_type(schemas, items));
    Some(match (text(resolved, "type"), text(resolved, "format")) {
        ("string", "") if name.is_empty() => "string".to_owned(),
        ("integer", format @ ("int32" | "int64")) => format.to_owned(),
        ("number", _) => "float64".to_owned(),
        ("boolean", _) => "bool".to_owned(),
        ("array", _) => format!("[]{}", elements()?),
        ("object", _) if !name.is_empty() => {
            let parts: Vec<&str> = name.rsplit('.').take(2).collect();
            format!("{}.{}", parts.get(1)?, parts.first()?)
        }
        ("object", _) => format!("map[string]{}", go_type(schemas, resolved.get("additionalProperties")?)?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::builtin::BUILTIN;
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case(json!({"spec": {"replicas": "two"}}), "string into Go struct field DeploymentSpec.spec.replicas of type int32")]
    #[case(json!({"spec": {"paused": 1}}), "number into Go struct field DeploymentSpec.spec.paused of type bool")]
    #[case(
        json!({"spec": {"template": {"spec": {"containers": {}}}}}),
        "object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container"
    )]
    #[case(
        json!({"spec": {"template": {"spec": {"containers": [{"image": 5}]}}}}),
        "number into Go struct field Container.spec.template.spec.containers.image of type string"
    )]
    #[case(
        json!({"metadata": {"labels": {"a": true}}}),
        "bool into Go struct field ObjectMeta.metadata.labels of type string"
    )]
    fn wrong_types_are_told_as_go_tells_them(#[case] object: Value, #[case] expected: &str) {
        let kind = BUILTIN.iter().find(|kind| kind.kind == "Deployment").unwrap();
        let error = kind.read(&object).unwrap_err();
        assert_eq!(error.message, format!("json: cannot unmarshal {expected}"));
    }
}
