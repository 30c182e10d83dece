//! Tokens of service accounts (`serviceaccounts/token`): enough to be carried around, not to be trusted.

use crate::apiserver::{
    state::{Call, State},
    status::ApiError,
    store::lifecycle::time_text,
    value::{integer, set},
    verbs::{Answer, update::existing},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use jiff::SignedDuration;
use serde_json::{Value, json};

/// How long a token is said to last unless the request says so.
const DEFAULT_SECONDS: i64 = 3600;

/// Answers a token request.
pub(crate) fn request(state: &mut State, call: &Call, mut request: Value) -> Result<Answer, ApiError> {
    let account = existing(state, call)?;
    let seconds = integer(&request, &["spec", "expirationSeconds"]).unwrap_or(DEFAULT_SECONDS);
    let nth = state.store.nth("token", account.uid().to_owned()).to_string();
    let signature = state.seed.stream(&["token", account.uid(), &nth]).hex(64);
    let subject = format!("system:serviceaccount:{}:{}", account.namespace(), account.name());
    let issued = call.now.as_second();
    let claims = json!({
        "iss": "https://kubernetes.default.svc", "sub": subject, "aud": ["https://kubernetes.default.svc"],
        "iat": issued, "exp": issued + seconds,
    });
    // In the form of a signed one, for those who look into it.
    let parts = [json!({"alg": "none", "typ": "JWT"}), claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let token = format!("{}.{}.{}", parts[0], parts[1], URL_SAFE_NO_PAD.encode(signature));
    set(&mut request, &["metadata"], "name", account.name());
    set(&mut request, &["metadata"], "namespace", account.namespace());
    set(&mut request, &["spec"], "expirationSeconds", seconds);
    let expires = time_text(call.now + SignedDuration::from_secs(seconds));
    set(&mut request, &[], "status", json!({"token": token, "expirationTimestamp": expires}));
    Ok(Answer::value(StatusCode::CREATED, request))
}
