//! Tokens of service accounts (`serviceaccounts/token`): enough to be carried around, not to be trusted.

use crate::apiserver::{
    field_error::FieldError,
    state::{Call, State},
    status::ApiError,
    store::lifecycle::time_text,
    value::{integer, items, set},
    verbs::{Answer, update::existing},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use jiff::SignedDuration;
use serde_json::{Value, json};

/// Who makes tokens, and whom they are for unless the request says so.
const ISSUER: &str = "https://kubernetes.default.svc";

/// How long a token is said to last unless the request says so.
const DEFAULT_SECONDS: i64 = 3600;

/// The shortest that a token may last.
const LEAST_SECONDS: i64 = 600;

/// What of the spec belongs to who asks: how long it lasts, which is said always, and whom it is for.
fn owned(request: &Value) -> Value {
    let mut fields = json!({"f:expirationSeconds": {}});
    if !items(request, &["spec", "audiences"]).is_empty() {
        fields["f:audiences"] = json!({});
    }
    fields
}

/// Answers a token request.
pub(crate) fn request(state: &mut State, call: &Call, mut request: Value) -> Result<Answer, ApiError> {
    let account = existing(state, call)?;
    let seconds = integer(&request, &["spec", "expirationSeconds"]).unwrap_or(DEFAULT_SECONDS);
    if seconds < LEAST_SECONDS {
        let error =
            FieldError::invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes");
        return Err(ApiError::invalid("authentication.k8s.io", "TokenRequest", "", &[error]));
    }
    let owned = owned(&request);
    let nth = state.store.nth("token", account.uid().to_owned()).to_string();
    let signature = state.seed.stream(&["token", account.uid(), &nth]).hex(64);
    let subject = format!("system:serviceaccount:{}:{}", account.namespace(), account.name());
    let issued = call.now.as_second();
    let claims = json!({
        "iss": ISSUER, "sub": subject, "aud": [ISSUER],
        "iat": issued, "exp": issued + seconds,
    });
    // In the form of a signed one, for those who look into it.
    let parts = [json!({"alg": "none", "typ": "JWT"}), claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let token = format!("{}.{}.{}", parts[0], parts[1], URL_SAFE_NO_PAD.encode(signature));
    set(&mut request, &["metadata"], "name", account.name());
    set(&mut request, &["metadata"], "namespace", account.namespace());
    let owner = json!([{
        "manager": call.manager(), "operation": "Update", "apiVersion": "authentication.k8s.io/v1", "subresource": "token",
        "time": time_text(call.now), "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": owned},
    }]);
    set(&mut request, &["metadata"], "managedFields", owner);
    if items(&request, &["spec", "audiences"]).is_empty() {
        set(&mut request, &["spec"], "audiences", json!([ISSUER]));
    }
    set(&mut request, &["spec"], "expirationSeconds", seconds);
    let expires = time_text(call.now + SignedDuration::from_secs(seconds));
    set(&mut request, &[], "status", json!({"token": token, "expirationTimestamp": expires}));
    Ok(Answer::value(StatusCode::CREATED, request))
}
