//! SSM's parameter store, as far as it is public: the ids of the vendor's machine images.

use super::{
    Call, JsonAnswer,
    error::Refusal,
    page::{Page, with_next},
};
use crate::world::CloudError;
use serde::Deserialize;
use serde_json::{Value, json};

/// SSM's limits: names of one request, parameters of one page.
const NAMES_MAX: usize = 10;
const PAGE_MAX: u32 = 10;

/// `GetParameter`.
pub(crate) fn get_parameter(call: &Call<'_>, body: Value) -> JsonAnswer {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase", deny_unknown_fields)]
    struct Request {
        name: String,
        #[serde(default, rename = "WithDecryption")]
        _with_decryption: Option<bool>,
    }
    let request: Request = read(body)?;
    let found = parameter(call, &request.name).ok_or_else(|| not_found(&request.name))?;
    Ok(json!({"Parameter": found}))
}

/// `GetParameters`: those that exist, and the names of those that do not.
pub(crate) fn get_parameters(call: &Call<'_>, body: Value) -> JsonAnswer {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase", deny_unknown_fields)]
    struct Request {
        names: Vec<String>,
        #[serde(default, rename = "WithDecryption")]
        _with_decryption: Option<bool>,
    }
    let Request { names, .. } = read(body)?;
    if names.is_empty() || names.len() > NAMES_MAX {
        return Err(invalid("names", &format!("Member must have length from 1 to {NAMES_MAX}")));
    }
    let found: Vec<Value> = names.iter().filter_map(|name| parameter(call, name)).collect();
    let unknown: Vec<&String> = names.iter().filter(|name| parameter(call, name).is_none()).collect();
    Ok(json!({"Parameters": found, "InvalidParameters": unknown}))
}

/// `GetParametersByPath`: what is below a path, directly or at any depth.
pub(crate) fn get_parameters_by_path(call: &Call<'_>, body: Value) -> JsonAnswer {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase", deny_unknown_fields)]
    struct Request {
        path: String,
        #[serde(default)]
        recursive: bool,
        max_results: Option<u32>,
        next_token: Option<String>,
        #[serde(default, rename = "WithDecryption")]
        _with_decryption: Option<bool>,
    }
    let request: Request = read(body)?;
    let size = request.max_results.unwrap_or(PAGE_MAX);
    if !(1..=PAGE_MAX).contains(&size) {
        return Err(invalid("maxResults", &format!("Member must have a value from 1 to {PAGE_MAX}")));
    }
    let path = format!("{}/", request.path.trim_end_matches('/'));
    let below = |name: &str| name.strip_prefix(&path).is_some_and(|rest| request.recursive || !rest.contains('/'));
    let scope = format!("{} {path} {}", call.action, request.recursive);
    let page = Page::new(&scope, size, request.next_token);
    let names = call.world.parameters().map(|(name, _)| name).filter(|name| below(name));
    let (names, next) = page.cut(names, |name| (*name).to_owned())?;
    let found: Vec<Value> = names.into_iter().filter_map(|name| parameter(call, name)).collect();
    Ok(with_next(json!({"Parameters": found}), next))
}

/// A parameter as SSM shows it. A name may carry the version that it wants; each has one.
fn parameter(call: &Call<'_>, wanted: &str) -> Option<Value> {
    let name = wanted.strip_suffix(":1").unwrap_or(wanted);
    let value = call.world.parameter(name)?;
    let modified = call.world.image(value).map_or(0, |image| image.created.as_second());
    Some(json!({
        "ARN": format!("arn:aws:ssm:{}::parameter{name}", call.world.region()),
        "DataType": "text",
        "LastModifiedDate": modified,
        "Name": name,
        "Type": "String",
        "Value": value,
        "Version": 1,
    }))
}

/// Reads the body of a JSON request.
pub(crate) fn read<T: serde::de::DeserializeOwned>(body: Value) -> Result<T, Refusal> {
    serde_json::from_value(body).map_err(|error| Refusal::bad("ValidationException", error.to_string()))
}

fn not_found(name: &str) -> Refusal {
    CloudError::NotFound { kind: crate::world::ResourceKind::Parameter, id: name.to_owned() }.into()
}

fn invalid(member: &str, constraint: &str) -> Refusal {
    let text = format!("1 validation error detected: Value at '{member}' failed to satisfy constraint: {constraint}");
    Refusal::bad("ValidationException", text)
}
