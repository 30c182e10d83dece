//! CustomResourceDefinitions become resources: names accepted, established, served.

use super::{CustomVersion, Origin, PrinterColumn, ResourceType, ScalePaths, api_version};
use crate::apiserver::{
    field_error::FieldError,
    patch::shapes::Shapes,
    schema::Schema,
    store::{
        GroupResource,
        lifecycle::{Generation, time_text},
    },
    value::{at, integer, items, segments, set, text, text_or_empty, texts},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// The finalizer that keeps a definition until its objects are gone.
pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Fills in what a definition may leave out: names, and the finalizer that its objects need.
pub(crate) fn default_definition(definition: &mut Value) {
    let kind = text_or_empty(definition, &["spec", "names", "kind"]).to_owned();
    let names = ["spec", "names"];
    if !kind.is_empty() {
        super::super::value::set_default(definition, &names, "singular", kind.to_lowercase());
        super::super::value::set_default(definition, &names, "listKind", format!("{kind}List"));
    }
    super::super::value::set_default(definition, &["spec"], "conversion", json!({"strategy": "None"}));
}

/// The status of a definition that was just made, before its names are accepted.
pub(crate) fn first_status(definition: &Value) -> Value {
    let stored = items(definition, &["spec", "versions"]).iter().find(|version| is_true(version, &["storage"]));
    let stored = stored.map(|version| text_or_empty(version, &["name"])).unwrap_or_default();
    json!({"acceptedNames": {"plural": "", "kind": ""}, "storedVersions": [stored]})
}

/// Bounds are read as numbers of any kind; whole ones are written as such.
pub(crate) fn write_whole_numbers(value: &mut Value) {
    /// Above this not every whole number is one of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => {
            let whole = number.as_f64().filter(|whole| number.is_f64() && whole.fract() == 0.0 && whole.abs() < EXACT);
            if let Some(whole) = whole {
                *value = Value::from(whole as i64);
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(write_whole_numbers),
        Value::Object(members) => members.values_mut().for_each(write_whole_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// What is wrong with a definition.
pub(crate) fn validate_definition(definition: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let plural = text_or_empty(definition, &["spec", "names", "plural"]);
    let group = text_or_empty(definition, &["spec", "group"]);
    let name = text_or_empty(definition, &["metadata", "name"]);
    if name != format!("{plural}.{group}") {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid("metadata.name", name, detail));
    }
    for (field, path) in [
        ("spec.group", vec!["spec", "group"]),
        ("spec.names.plural", vec!["spec", "names", "plural"]),
        ("spec.names.singular", vec!["spec", "names", "singular"]),
        ("spec.names.kind", vec!["spec", "names", "kind"]),
        ("spec.names.listKind", vec!["spec", "names", "listKind"]),
    ] {
        if text_or_empty(definition, &path).is_empty() {
            errors.push(FieldError::required(field, ""));
        }
    }
    let scope = text_or_empty(definition, &["spec", "scope"]);
    if !["Namespaced", "Cluster"].contains(&scope) {
        errors.push(FieldError::not_supported("spec.scope", scope, &["Cluster", "Namespaced"]));
    }
    let stored =
        items(definition, &["spec", "versions"]).iter().filter(|version| is_true(version, &["storage"])).count();
    if stored != 1 {
        let versions = at(definition, &["spec", "versions"]).cloned().unwrap_or_default();
        errors.push(FieldError::invalid(
            "spec.versions",
            versions,
            "must have exactly one version marked as storage version",
        ));
    }
    if stored == 0 {
        let versions = at(definition, &["status", "storedVersions"]).cloned().unwrap_or_default();
        errors.push(FieldError::invalid("status.storedVersions", versions, "must have at least one stored version"));
    }
    let is_only = items(definition, &["spec", "versions"]).len() == 1;
    errors.extend(items(definition, &["spec", "versions"]).iter().enumerate().flat_map(|(index, version)| {
        [schema_errors(index, version, is_only), selectable_errors(index, version, is_only)].concat()
    }));
    errors
}

fn schema_errors(index: usize, version: &Value, is_only: bool) -> Vec<FieldError> {
    // A schema that all versions have is told of as the definition's.
    let field = match at(version, &["schema", "openAPIV3Schema"]) {
        Some(_) if is_only => "spec.validation.openAPIV3Schema".to_owned(),
        _ => format!("spec.versions[{index}].schema.openAPIV3Schema"),
    };
    match at(version, &["schema", "openAPIV3Schema"]) {
        Some(schema) => Schema::compile(schema)
            .err()
            .into_iter()
            .flatten()
            .map(|error| FieldError { field: format!("{field}{}", error.field), ..error })
            .collect(),
        None => vec![FieldError::required(field, "schemas are required")],
    }
}

/// Fields to select by are texts, whole numbers or truths of the schema.
fn selectable_errors(index: usize, version: &Value, is_only: bool) -> Vec<FieldError> {
    const DETAIL: &str = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
    let versions = if is_only { "spec".to_owned() } else { format!("spec.versions[{index}]") };
    let mut errors = Vec::new();
    for (number, field) in items(version, &["selectableFields"]).iter().enumerate() {
        let path = text_or_empty(field, &["jsonPath"]);
        let schema = at(version, &["schema", "openAPIV3Schema"]);
        let selected = segments(path).into_iter().try_fold(schema, |schema, key| {
            schema.map(|schema| at(schema, &["properties", key])).filter(Option::is_some)
        });
        let kind = selected.flatten().map(|schema| text_or_empty(schema, &["type"]));
        let place = format!("{versions}.selectableFields[{number}].jsonPath");
        match kind {
            _ if path.is_empty() => errors.push(FieldError::required(place, "")),
            None => {
                errors.push(FieldError::invalid(place, path, "is an invalid path: does not refer to a valid field"))
            }
            Some("string" | "boolean" | "integer") => {}
            Some(_) => errors.push(FieldError::invalid(place, path, DETAIL)),
        }
    }
    errors
}

fn is_true(value: &Value, path: &[&str]) -> bool {
    at(value, path).and_then(Value::as_bool).unwrap_or(false)
}

/// Marks a definition as accepted and established. The real server does so within milliseconds of its creation.
pub(crate) fn establish(definition: &mut Value, now: Timestamp) {
    let names = at(definition, &["spec", "names"]).cloned().unwrap_or_default();
    let stored = items(definition, &["spec", "versions"]).iter().find(|version| is_true(version, &["storage"]));
    let stored = stored.map(|version| text_or_empty(version, &["name"]).to_owned()).unwrap_or_default();
    set(definition, &["status"], "acceptedNames", names);
    let mut versions: Vec<Value> = items(definition, &["status", "storedVersions"]).to_vec();
    if !versions.iter().any(|version| version == &stored) {
        versions.push(stored.into());
    }
    set(definition, &["status"], "storedVersions", versions);
    let is_established = items(definition, &["status", "conditions"])
        .iter()
        .any(|condition| text(condition, &["type"]) == Some("Established"));
    if !is_established {
        let at = time_text(now);
        let conditions = json!([
            {"type": "NamesAccepted", "status": "True", "lastTransitionTime": at, "reason": "NoConflicts", "message": "no conflicts found"},
            {"type": "Established", "status": "True", "lastTransitionTime": at, "reason": "InitialNamesAccepted", "message": "the initial names have been accepted"},
        ]);
        set(definition, &["status"], "conditions", conditions);
    }
}

/// What the objects of a definition are stored under.
pub(crate) fn storage(definition: &Value) -> GroupResource {
    GroupResource::new(
        text_or_empty(definition, &["spec", "group"]),
        text_or_empty(definition, &["spec", "names", "plural"]),
    )
}

/// The resources that a definition's served versions make.
pub(crate) fn resource_types(definition: &Value) -> Vec<ResourceType> {
    let versions = items(definition, &["spec", "versions"]);
    let stored = versions.iter().find(|version| is_true(version, &["storage"]));
    let stored = stored.map(|version| text_or_empty(version, &["name"])).unwrap_or_default();
    versions
        .iter()
        .filter(|version| is_true(version, &["served"]))
        .map(|version| resource_type(definition, version, stored))
        .collect()
}

fn resource_type(definition: &Value, version: &Value, stored: &str) -> ResourceType {
    let group = text_or_empty(definition, &["spec", "group"]);
    let name = |key: &str| text_or_empty(definition, &["spec", "names", key]).to_owned();
    let list = |key: &str| texts(definition, &["spec", "names", key]).map(str::to_owned).collect();
    let has_status = at(version, &["subresources", "status"]).is_some();
    ResourceType {
        group: group.into(),
        version: text_or_empty(version, &["name"]).into(),
        kind: name("kind"),
        list_kind: name("listKind"),
        plural: name("plural"),
        singular: name("singular"),
        short_names: list("shortNames"),
        categories: list("categories"),
        namespaced: text(definition, &["spec", "scope"]) == Some("Namespaced"),
        status: has_status,
        scale: at(version, &["subresources", "scale"]).map(scale_paths),
        storage: storage(definition),
        storage_api_version: api_version(group, stored),
        generation: if has_status { Generation::AllButStatus } else { Generation::All },
        origin: Origin::Custom(Arc::new(custom_version(version))),
    }
}

fn scale_paths(scale: &Value) -> ScalePaths {
    ScalePaths {
        spec_replicas: text_or_empty(scale, &["specReplicasPath"]).into(),
        status_replicas: text_or_empty(scale, &["statusReplicasPath"]).into(),
        label_selector: text(scale, &["labelSelectorPath"]).map(str::to_owned),
    }
}

fn custom_version(version: &Value) -> CustomVersion {
    let schema = at(version, &["schema", "openAPIV3Schema"]).cloned().unwrap_or_default();
    CustomVersion {
        shapes: Shapes::of_schema(&schema),
        schema: Schema::compile(&schema).expect("a definition with a schema that does not compile is not stored"),
        columns: items(version, &["additionalPrinterColumns"]).iter().map(printer_column).collect(),
        selectable_fields: items(version, &["selectableFields"])
            .iter()
            .map(|field| text_or_empty(field, &["jsonPath"]).trim_start_matches('.').to_owned())
            .collect(),
    }
}

fn printer_column(column: &Value) -> PrinterColumn {
    let field = |key: &str| text_or_empty(column, &[key]).to_owned();
    PrinterColumn {
        name: field("name"),
        kind: field("type"),
        format: field("format"),
        description: field("description"),
        priority: integer(column, &["priority"]).unwrap_or_default(),
        json_path: field("jsonPath"),
    }
}
