//! What Go's decoder says of a field of the wrong type (`encoding/json.UnmarshalTypeError`): it names Go's types, which are
//! found by the kind's schema.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};

const COMPONENTS: &str = "#/components/schemas/";

/// The sentence, if the schema leads to the field.
pub(super) fn sentence<T: JsonSchema>(object: &Value, path: &Path) -> Option<String> {
    let mut generator = SchemaSettings::openapi3().into_generator();
    let root = generator.subschema_for::<T>().to_value();
    let schemas = generator.take_definitions(true);
    let (mut schema, mut value) = (&root, object);
    let (mut owner, mut fields) = ("", Vec::new());
    for segment in path.iter() {
        let (name, resolved) = resolve(&schemas, schema);
        match segment {
            Segment::Map { key } => {
                if let Some(property) = resolved.get("properties").and_then(|properties| properties.get(key)) {
                    owner = name.rsplit('.').next().unwrap_or_default();
                    fields.push(key.as_str());
                    schema = property;
                } else {
                    schema = resolved.get("additionalProperties")?;
                }
                value = value.get(key)?;
            }
            Segment::Seq { index } => {
                schema = resolved.get("items")?;
                value = value.get(index)?;
            }
            Segment::Enum { .. } | Segment::Unknown => return None,
        }
    }
    let (told, wanted) = (told(value, schema)?, go_type(&schemas, schema)?);
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
        let error = (kind.decode)(&object).unwrap_err();
        assert_eq!(error.message, format!("json: cannot unmarshal {expected}"));
    }
}
