//! OpenAPI documents: version 3 per group and version (`/openapi/v3/…`), version 2 with everything (`/openapi/v2`).
//!
//! Clients read three things from them: schemas by kind (`kubectl explain`), which paths there are, and which query
//! parameters these take (`kubectl apply` asks whether the server checks fields itself).

use super::registry::{Origin, Registry, ResourceType, api_version};
use schemars::generate::SchemaSettings;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

const VERSION: &str = "v1.35.0";
const COMPONENTS: &str = "#/components/schemas/";
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const GROUP_VERSION_KIND: &str = "x-kubernetes-group-version-kind";

/// Fields that take one of a few values, by schema and name; made by `e2e/control-plane/cmd/openapi-enums` from the Go types of
/// Kubernetes.
static ENUMS: LazyLock<BTreeMap<String, BTreeMap<String, Enum>>> =
    LazyLock::new(|| serde_json::from_str(include_str!("openapi-enums.json")).expect("the file is well-formed"));

#[derive(Deserialize)]
struct Enum {
    values: Vec<Value>,
    /// What the description says of the values.
    text: String,
}

/// The document under this path, if there is one.
pub(crate) fn document(registry: &Registry, path: &str) -> Option<Value> {
    match path {
        "/openapi/v2" => Some(version_2(registry)),
        "/openapi/v3" => Some(index(registry)),
        _ => {
            let wanted = path.strip_prefix("/openapi/v3/")?;
            let (group, version) =
                group_versions(registry).into_iter().find(|(group, version)| root(group, version) == wanted)?;
            Some(group_version(registry, &group, &version))
        }
    }
}

/// How the second version is asked for in protobuf.
pub(crate) const ASKED_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// And what it is then called, which is a media type that can be read.
pub(crate) const PROTOBUF_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The second version in protobuf, without its definitions: `kubectl` looks there for kinds that it found nowhere else, and is to find
/// that they are not there either.
pub(crate) fn version_2_in_protobuf() -> Vec<u8> {
    // Field numbers of gnostic's `Document` (swagger, info) and `Info` (title, version).
    let field = |number: u8, bytes: &[u8]| [&[(number << 3) | 2, bytes.len() as u8], bytes].concat();
    let info = [field(1, b"Kubernetes"), field(2, VERSION.as_bytes())].concat();
    [field(1, b"2.0"), field(2, &info)].concat()
}

fn group_versions(registry: &Registry) -> BTreeSet<(String, String)> {
    registry.all().map(|resource| (resource.group.clone(), resource.version.clone())).collect()
}

/// `api/v1`, `apis/apps/v1`.
fn root(group: &str, version: &str) -> String {
    format!("{}/{}", if group.is_empty() { "api" } else { "apis" }, api_version(group, version))
}

/// Where each document is. The hash in the address changes with the document, so that clients may keep what they have.
fn index(registry: &Registry) -> Value {
    let paths = group_versions(registry).into_iter().map(|(group, version)| {
        let root = root(&group, &version);
        let hash = hash(registry, &group, &version);
        (root.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{root}?hash={hash}")}))
    });
    json!({"paths": paths.collect::<Map<String, Value>>()})
}

/// Built-in documents never change while a server runs; those of definitions change with their schemas.
fn hash(registry: &Registry, group: &str, version: &str) -> String {
    let mut hasher = Sha256::new();
    hasher.update(env!("CARGO_PKG_VERSION"));
    for resource in registry.resources(group, version) {
        hasher.update(format!("{} {} {}", resource.plural, resource.kind, resource.namespaced));
        if let Some(custom) = resource.custom() {
            hasher.update(custom.schema.source().to_string());
        }
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02X}")).collect()
}

fn information() -> Value {
    json!({"title": "Kubernetes", "version": VERSION})
}

fn group_version(registry: &Registry, group: &str, version: &str) -> Value {
    let resources = registry.resources(group, version);
    let resources: Vec<&ResourceType> = resources.iter().map(AsRef::as_ref).collect();
    let paths: Map<String, Value> = resources.iter().flat_map(|resource| paths(resource)).collect();
    json!({
        "openapi": "3.0.0", "info": information(), "paths": paths,
        "components": {"schemas": schemas(&resources)},
    })
}

fn version_2(registry: &Registry) -> Value {
    let resources: Vec<&ResourceType> = registry.all().map(AsRef::as_ref).collect();
    let mut definitions = Value::Object(schemas(&resources));
    point_to_definitions(&mut definitions);
    json!({"swagger": "2.0", "info": information(), "paths": {}, "definitions": definitions})
}

fn point_to_definitions(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get_mut("$ref") {
                *reference = reference.replace(COMPONENTS, "#/definitions/");
            }
            members.values_mut().for_each(point_to_definitions);
        }
        Value::Array(elements) => elements.iter_mut().for_each(point_to_definitions),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The schemas of the resources' kinds and of all that they refer to.
fn schemas(resources: &[&ResourceType]) -> Map<String, Value> {
    let mut settings = SchemaSettings::openapi3();
    settings.meta_schema = None;
    let mut generator = settings.into_generator();
    let mut own = Map::new();
    let mut kinds = Vec::new();
    for resource in resources {
        match &resource.origin {
            Origin::BuiltIn(kind) => {
                let schema = (kind.schema)(&mut generator);
                let reference = schema.get("$ref").and_then(Value::as_str).unwrap_or_default();
                kinds.push((reference.trim_start_matches(COMPONENTS).to_owned(), *resource));
            }
            Origin::Custom(version) => {
                generator.subschema_for::<k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta>();
                let name = custom_name(resource);
                own.insert(name.clone(), custom_schema(version.schema.source()));
                kinds.push((name, *resource));
            }
        }
    }
    let mut all = generator.take_definitions(true);
    all.iter_mut().for_each(|(name, schema)| tell_values(name, schema));
    all.extend(own);
    for (name, resource) in kinds {
        if let Some(schema) = all.get_mut(&name) {
            schema[GROUP_VERSION_KIND] = json!([group_version_kind(resource)]);
            // The types require it, Kubernetes does not.
            if let Some(Value::Array(required)) = schema.get_mut("required") {
                required.retain(|field| field != "metadata");
            }
        }
    }
    all
}

/// Adds what values the fields of a built-in schema take.
fn tell_values(name: &str, schema: &mut Value) {
    for (field, Enum { values, text }) in ENUMS.get(name).into_iter().flatten() {
        let Some(property) = schema.get_mut("properties").and_then(|properties| properties.get_mut(field)) else {
            continue;
        };
        if let Some(Value::String(description)) = property.get_mut("description") {
            description.push_str(text);
        }
        let elements = property.get("items").is_some();
        let place = if elements { &mut property["items"] } else { property };
        place["enum"] = values.clone().into();
    }
}

fn group_version_kind(resource: &ResourceType) -> Value {
    json!({"group": resource.group, "version": resource.version, "kind": resource.kind})
}

/// `sh.karpenter.v1.NodePool`: the group's parts backwards.
fn custom_name(resource: &ResourceType) -> String {
    let reversed: Vec<&str> = resource.group.split('.').rev().collect();
    format!("{}.{}.{}", reversed.join("."), resource.version, resource.kind)
}

/// A definition's schema with the fields that every object has.
fn custom_schema(source: &Value) -> Value {
    let mut schema = source.clone();
    let text = |description: &str| json!({"type": "string", "description": description});
    schema["properties"]["apiVersion"] = text(
        "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas \
         to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/\
         devel/sig-architecture/api-conventions.md#resources",
    );
    schema["properties"]["kind"] = text(
        "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint \
         the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/\
         devel/sig-architecture/api-conventions.md#types-kinds",
    );
    schema["properties"]["metadata"] = json!({
        "description": "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/\
                        api-conventions.md#metadata",
        "allOf": [{"$ref": format!("{COMPONENTS}{OBJECT_META}")}],
    });
    schema
}

/// The paths of a resource: the collection's and the object's.
fn paths(resource: &ResourceType) -> Vec<(String, Value)> {
    let root = root(&resource.group, &resource.version);
    let namespace = if resource.namespaced { "namespaces/{namespace}/" } else { "" };
    let collection = format!("/{root}/{namespace}{}", resource.plural);
    if resource.is_virtual() {
        return vec![(collection, json!({"post": operation(resource, "post", &[])}))];
    }
    let writing = ["dryRun", "fieldManager", "fieldValidation"];
    let applying = ["dryRun", "fieldManager", "fieldValidation", "force"];
    let object = format!("{collection}/{{name}}");
    let mut patch = operation(resource, "patch", &applying);
    // Strategic merge patches are served too but not told of: clients would then take the lists' merge keys from these
    // schemas, which do not have them. Without, `kubectl` uses the keys that it was built with.
    patch["requestBody"] = json!({"content": {"application/merge-patch+json": {}, "application/apply-patch+yaml": {}}});
    vec![
        (
            collection,
            json!({
                "get": operation(resource, "list", &["labelSelector", "fieldSelector", "limit", "continue", "watch"]),
                "post": operation(resource, "post", &writing),
            }),
        ),
        (
            object,
            json!({
                "get": operation(resource, "get", &[]), "put": operation(resource, "put", &writing), "patch": patch,
                "delete": operation(resource, "delete", &["dryRun", "gracePeriodSeconds", "propagationPolicy"]),
            }),
        ),
    ]
}

fn operation(resource: &ResourceType, action: &str, parameters: &[&str]) -> Value {
    let parameters: Vec<Value> = parameters
        .iter()
        .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}}))
        .collect();
    json!({
        "x-kubernetes-action": action, GROUP_VERSION_KIND: group_version_kind(resource),
        "parameters": parameters, "responses": {"200": {"description": "OK"}},
    })
}

#[cfg(test)]
mod tests {
    use super::{Registry, document};

    #[test]
    fn documents_tell_which_values_fields_take() {
        let document = document(&Registry::new(), "/openapi/v3/api/v1").unwrap();
        let schemas = &document["components"]["schemas"];
        let policy = &schemas["io.k8s.api.core.v1.Container"]["properties"]["imagePullPolicy"];
        assert_eq!(policy["enum"], serde_json::json!(["Always", "IfNotPresent", "Never"]));
        assert!(policy["description"].as_str().unwrap().contains("Possible enum values"));
        let modes = &schemas["io.k8s.api.core.v1.PersistentVolumeSpec"]["properties"]["accessModes"];
        assert_eq!(modes["items"]["enum"][0], "ReadOnlyMany");
    }
}
