//! How the door reads what it is given and how it refuses.

use crate::world::{CloudError, ConfigError, Market};
use axum::{
    Json,
    body::Bytes,
    extract::rejection::BytesRejection,
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// What an endpoint answers.
pub(super) type Answer = Result<Json<Value>, Refusal>;

/// A refusal: `{"error": {"code", "message", "problems"}}`.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    problems: Vec<String>,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: String) -> Self {
        Self { status, code, message, problems: Vec::new() }
    }

    pub(super) fn bad_request(message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    pub(super) fn unauthorized(message: String) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", message)
    }

    pub(super) fn not_found(message: String) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    pub(super) fn wrong_method(message: String) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Self {
        let message = error.to_string();
        Self { problems: error.problems, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message) }
    }
}

impl From<CloudError> for Refusal {
    fn from(error: CloudError) -> Self {
        let message = error.to_string();
        match error {
            CloudError::NotFound { .. } => Self::not_found(message),
            CloudError::WrongState { .. } => Self::new(StatusCode::CONFLICT, "WrongState", message),
            _ => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut error = json!({"code": self.code, "message": self.message});
        if !self.problems.is_empty() {
            error["problems"] = json!(self.problems);
        }
        (self.status, Json(json!({ "error": error }))).into_response()
    }
}

/// Reads a JSON body strictly.
pub(super) fn body<T: DeserializeOwned>(bytes: Result<Bytes, BytesRejection>) -> Result<T, Refusal> {
    let bytes = bytes.map_err(|rejection| Refusal::new(rejection.status(), "BadBody", rejection.body_text()))?;
    // serde would take a list of a struct's fields for the struct: only objects have names to check.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        let given = if bytes.trim_ascii().is_empty() { "empty" } else { "something else" };
        return Err(Refusal::bad_request(format!("the body must be a JSON object, but is {given}")));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| Refusal::bad_request(format!("the body is not as expected: {error}")))
}

/// Reads the query's parameters strictly.
pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Refusal> {
    serde_urlencoded::from_str(uri.query().unwrap_or_default())
        .map_err(|error| Refusal::bad_request(format!("the query is not as expected: {error}")))
}

/// Which pools a reader wants to see; patterns with wildcards.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PoolQuery {
    pub(super) instance_type: Option<String>,
    pub(super) zone: Option<String>,
    pub(super) capacity_type: Option<Market>,
}

/// Entries of a page when the reader does not say, and at most.
const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1_000;

/// How many entries a page has.
pub(super) fn page_size(limit: Option<usize>) -> Result<usize, Refusal> {
    let limit = limit.unwrap_or(DEFAULT_PAGE);
    if (1..=MAX_PAGE).contains(&limit) {
        return Ok(limit);
    }
    Err(Refusal::bad_request(format!("`limit` is {limit}: it can be 1 to {MAX_PAGE}")))
}
