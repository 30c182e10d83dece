//! The forms in which bodies are read and answers are written (API concepts: "Alternate representations").

use super::{
    protobuf::{self, Unreadable},
    request::FieldValidation,
    status::ApiError,
    value::Members,
};
use bytes::Bytes;
use http::{HeaderMap, header};
use serde_json::Value;

/// The form that an answer is wanted in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    /// The objects themselves.
    #[default]
    Plain,
    /// A table for printing.
    Table,
    /// Only `metadata`.
    PartialMetadata,
    /// Aggregated discovery.
    AggregatedDiscovery,
}

/// What the `Accept` header asks for: the first form in it that is served. YAML is chosen where it is asked for first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accept {
    pub(crate) form: Form,
    pub(crate) yaml: bool,
}

impl Accept {
    /// Reads the headers.
    ///
    /// # Errors
    /// 406 when nothing in the list is served (only Protobuf, for example).
    pub(crate) fn parse(headers: &HeaderMap) -> Result<Self, ApiError> {
        let Some(text) = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()) else {
            return Ok(Self::default());
        };
        text.split(',').find_map(accepted).ok_or_else(ApiError::not_acceptable)
    }
}

fn accepted(range: &str) -> Option<Accept> {
    let mut parts = range.split(';').map(str::trim);
    let yaml = match parts.next()? {
        "application/json" | "*/*" | "application/*" | "text/plain" | "" => false,
        "application/yaml" => true,
        _ => return None,
    };
    let form = match parts.find_map(|part| part.strip_prefix("as=")) {
        None => Form::Plain,
        Some("Table") if range.split(';').any(|part| part.trim() == "v=v1") => Form::Table,
        Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Form::PartialMetadata,
        Some("APIGroupDiscoveryList") if range.contains("v=v2") && !range.contains("v=v2beta1") => {
            Form::AggregatedDiscovery
        }
        Some(_) => return None,
    };
    Some(Accept { form, yaml })
}

/// The media type of a body, without parameters; JSON where none is given.
pub(crate) fn media_type(headers: &HeaderMap) -> &str {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("application/json");
    text.split(';').next().unwrap_or_default().trim()
}

/// Reads a body that holds an object.
///
/// # Errors
/// 415 for other media types, 400 for what cannot be read.
pub(crate) fn read_object(headers: &HeaderMap, body: &Bytes) -> Result<Value, ApiError> {
    let value = match media_type(headers) {
        "application/json" | "" => read_json(body)?,
        "application/yaml" | "application/x-yaml" | "text/yaml" => read_yaml(body)?,
        protobuf::MEDIA_TYPE => protobuf::read(body).map_err(|error| match error {
            Unreadable::Kind(_) => ApiError::unsupported_media_type("application/json, application/yaml"),
            Unreadable::Malformed(_) => ApiError::bad_request(error.to_string()),
        })?,
        _ => {
            let accepted = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
            return Err(ApiError::unsupported_media_type(accepted));
        }
    };
    if value.is_object() { Ok(value) } else { Err(ApiError::bad_request("the body of the request must be an object")) }
}

/// Reads JSON.
pub(crate) fn read_json(body: &Bytes) -> Result<Value, ApiError> {
    let unreadable =
        "the object provided is unrecognized (must be of type Object): couldn't get version/kind; json parse error";
    serde_json::from_slice(body).map_err(|error| ApiError::bad_request(format!("{unreadable}: {}", told(&error))))
}

/// Reads a patch in JSON.
pub(crate) fn read_json_patch(body: &Bytes) -> Result<Value, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::bad_request(told(&error)))
}

/// What Go says where the text ends too early.
fn told(error: &serde_json::Error) -> String {
    if error.is_eof() { "unexpected end of JSON input".to_owned() } else { error.to_string() }
}

/// Reads YAML.
pub(crate) fn read_yaml(body: &Bytes) -> Result<Value, ApiError> {
    let text = std::str::from_utf8(body)
        .map_err(|error| ApiError::bad_request(format!("the body is no UTF-8 text: {error}")))?;
    serde_saphyr::from_str(text)
        .map_err(|error| ApiError::bad_request(format!("error converting YAML to JSON: {error}")))
}

/// The fields of `given` that `known` has lost, as paths: what typed decoding did not recognise.
pub(crate) fn unknown_fields(given: &Value, known: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    compare(given, known, "", &mut paths);
    paths
}

fn compare(given: &Value, known: &Value, path: &str, paths: &mut Vec<String>) {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => compare_members(given, known, path, paths),
        (Value::Array(given), Value::Array(known)) => {
            for (index, (given, known)) in given.iter().zip(known).enumerate() {
                compare(given, known, &format!("{path}[{index}]"), paths);
            }
        }
        _ => {}
    }
}

fn compare_members(given: &Members, known: &Members, path: &str, paths: &mut Vec<String>) {
    for (key, value) in given {
        let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match known.get(key) {
            Some(known) => compare(value, known, &below, paths),
            None if value.is_null() => {}
            None => paths.push(below),
        }
    }
}

/// What to do about unknown fields.
///
/// # Errors
/// 400 in strict mode. Otherwise the warnings to send.
pub(crate) fn judge_unknown(
    unknown: &[String],
    mode: FieldValidation,
    kind: &str,
    version: &str,
) -> Result<Vec<String>, ApiError> {
    let texts: Vec<String> = unknown.iter().map(|path| format!("unknown field \"{path}\"")).collect();
    match mode {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(texts),
        FieldValidation::Strict if texts.is_empty() => Ok(Vec::new()),
        FieldValidation::Strict => Err(ApiError::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: strict decoding error: {}",
            texts.join(", ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::{Accept, Form, unknown_fields};
    use http::{HeaderMap, HeaderValue, header};
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case("application/json", Some((Form::Plain, false)))]
    #[case("application/vnd.kubernetes.protobuf, application/json", Some((Form::Plain, false)))]
    #[case("application/vnd.kubernetes.protobuf", None)]
    #[case("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Some((Form::Table, false)))]
    #[case("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", Some((Form::Plain, false)))]
    #[case("application/yaml", Some((Form::Plain, true)))]
    #[case("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", Some((Form::AggregatedDiscovery, false)))]
    fn accept_headers(#[case] text: &str, #[case] expected: Option<(Form, bool)>) {
        let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_str(text).unwrap())]);
        assert_eq!(Accept::parse(&headers).ok().map(|accept| (accept.form, accept.yaml)), expected);
    }

    #[test]
    fn unknown_fields_are_named_by_path() {
        let given = json!({"spec": {"a": 1, "foo": 2, "gone": null, "list": [{"b": 1}, {"c": 1}]}});
        let known = json!({"spec": {"a": 1, "list": [{"b": 1}, {}]}});
        assert_eq!(unknown_fields(&given, &known), ["spec.foo", "spec.list[1].c"]);
    }
}
