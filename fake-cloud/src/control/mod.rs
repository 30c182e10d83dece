//! The tester's door (JSON): script the world, read its state and its ledger.
//!
//! `GET /control/v1/` lists every endpoint. Bodies are JSON, unknown fields are refused, and a request with several rules is
//! carried out as a whole or not at all. Refusals are `{"error": {"code": …, "message": …}}`.

mod answer;
mod index;
mod machines;
mod read;
mod script;

use crate::app::SharedWorld;
use answer::Refusal;
use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{Method, Uri},
    routing::{delete, get, post},
};

/// Where the door is mounted.
const PREFIX: &str = "/control/v1";

/// A script with thousands of rules has some 100 KB.
const MAX_BODY: usize = 1024 * 1024;

/// The door as a router, below [`PREFIX`].
pub(crate) fn router(world: SharedWorld) -> Router {
    // A nested router answers its root without the slash only.
    Router::new().nest(PREFIX, endpoints(world)).route(&format!("{PREFIX}/"), get(index::index))
}

fn endpoints(world: SharedWorld) -> Router {
    Router::new()
        .route("/", get(index::index))
        .route("/capacity", get(read::capacity).put(script::set_capacity))
        .route("/prices", get(read::prices).put(script::set_prices))
        .route("/delays", get(read::delays).put(script::set_delays))
        .route("/quotas", axum::routing::put(script::set_quotas))
        .route("/faults", get(read::faults).post(script::add_fault).delete(script::clear_faults))
        .route("/faults/{id}", delete(script::remove_fault))
        .route("/audit", get(read::audit))
        .route("/instances", get(read::instances))
        .route("/machines", get(machines::machines))
        .route("/instances/{id}/interrupt", post(script::interrupt))
        .route("/instances/{id}/kill", post(script::kill))
        .route("/ledger", get(read::ledger))
        .route("/ledger/instances", get(read::costs))
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_path)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(world)
}

async fn unknown_path(method: Method, uri: Uri) -> Refusal {
    Refusal::not_found(format!(
        "there is nothing at `{method} {PREFIX}{}`; `GET {PREFIX}/` lists what there is",
        uri.path()
    ))
}

async fn wrong_method(method: Method, uri: Uri) -> Refusal {
    Refusal::wrong_method(format!(
        "`{PREFIX}{}` does not take `{method}`; `GET {PREFIX}/` lists what it takes",
        uri.path()
    ))
}

#[cfg(test)]
mod tests;
