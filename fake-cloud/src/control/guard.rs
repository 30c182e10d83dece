//! Who may use the door where others are on the network: whoever knows the token.

use super::answer::Refusal;
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{Uri, header::AUTHORIZATION, uri::PathAndQuery};
use sha2::{Digest, Sha256};

/// The digest of the token: comparing digests tells nothing of how much of a guess was right.
#[derive(Clone)]
pub(super) struct Token([u8; 32]);

impl Token {
    pub(super) fn new(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    fn is(&self, given: &str) -> bool {
        Self::new(given).0 == self.0
    }
}

/// Lets a request through that names the token: as `Authorization: Bearer TOKEN`, or, as browsers' event sources can send no
/// header, as `?token=TOKEN`.
pub(super) async fn check(State(token): State<Token>, mut request: Request, next: Next) -> Response {
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let by_header = header.and_then(|value| value.strip_prefix("Bearer ")).is_some_and(|given| token.is(given));
    let (given, rest) = split_token(request.uri().query().unwrap_or_default());
    if !by_header && !given.is_some_and(|given| token.is(&given)) {
        let message = "the control door of a cloud that others can reach wants its token, as `Authorization: Bearer TOKEN` or \
                       `?token=TOKEN`; it was printed at the start";
        return Refusal::unauthorized(message.to_owned()).into_response();
    }
    let path = request.uri().path();
    let path = if rest.is_empty() { path.to_owned() } else { format!("{path}?{rest}") };
    // Endpoints know no such parameter.
    if let Ok(path) = path.parse::<PathAndQuery>() {
        *request.uri_mut() = Uri::from(path);
    }
    next.run(request).await
}

/// The token in a query, and the query without it.
fn split_token(query: &str) -> (Option<String>, String) {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap_or_default();
    let given = pairs.iter().find(|(name, _)| name == "token").map(|(_, value)| value.clone());
    let rest: Vec<&(String, String)> = pairs.iter().filter(|(name, _)| name != "token").collect();
    match given {
        None => (None, query.to_owned()),
        Some(given) => (Some(given), serde_urlencoded::to_string(rest).unwrap_or_default()),
    }
}
