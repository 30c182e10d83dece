//! The tester's door (JSON): script the world, read its state and its ledger.
//!
//! `GET /control/v1/` lists every endpoint. Bodies are JSON, unknown fields are refused, and a request with several rules is
//! carried out as a whole or not at all. Refusals are `{"error": {"code": …, "message": …}}`.

mod answer;
mod guard;
mod index;
mod machines;
mod page;
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
pub(crate) fn router(world: SharedWorld, token: Option<&str>) -> Router {
    let router = open_router(world);
    match token {
        None => router,
        Some(token) => router.layer(axum::middleware::from_fn_with_state(guard::Token::new(token), guard::check)),
    }
}

fn open_router(world: SharedWorld) -> Router {
    // A nested router answers its root without the slash only.
    Router::new()
        .nest(PREFIX, endpoints(world))
        .route(&format!("{PREFIX}/"), get(index::index))
        // Requests of the vendors come with a signature, and mostly by POST: a browser's plain GET is for the page.
        .route("/ui", get(page::page))
}

fn endpoints(world: SharedWorld) -> Router {
    Router::new()
        .route("/", get(index::index))
        .route("/capacity", get(read::capacity).put(script::set_capacity))
        .route("/prices", get(read::prices).put(script::set_prices))
        .route("/delays", get(read::delays).put(script::set_delays))
        .route("/quotas", axum::routing::put(script::set_quotas))
        .route("/throttling", get(read::throttling).put(script::set_throttling))
        .route("/consistency", get(read::consistency).put(script::set_consistency))
        .route("/events", get(read::events).put(script::set_events).post(script::send_event))
        .route("/credentials", axum::routing::put(script::set_credentials))
        .route("/interruptions", post(script::interrupt_many))
        .route("/losses", post(script::lose_many))
        .route("/capacity-blocks", post(script::grant_block))
        .route("/capacity-reservations", post(script::reserve))
        .route("/placement-groups", post(script::create_placement_group))
        .route("/reclaims", post(script::reclaim))
        .route("/images", post(script::release_images))
        .route("/instances/{id}/rebalance", post(script::rebalance))
        .route("/instances/{id}/impair", post(script::impair))
        .route("/instances/{id}/schedule", post(script::schedule))
        .route("/changes", get(page::changes))
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
#[cfg(test)]
mod tests_fuzz;
