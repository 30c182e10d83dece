//! OpenAPI documents (`/openapi/v2`, `/openapi/v3`). For now they are valid and empty.

use super::registry::Registry;
use serde_json::{Value, json};

/// The document under this path, if there is one.
pub(crate) fn document(_registry: &Registry, path: &str) -> Option<Value> {
    let info = json!({"title": "Kubernetes", "version": "v1.35.0"});
    match path {
        "/openapi/v2" => Some(json!({"swagger": "2.0", "info": info, "paths": {}, "definitions": {}})),
        "/openapi/v3" => Some(json!({"paths": {}})),
        _ => None,
    }
}
