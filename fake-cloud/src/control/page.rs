//! The page that shows the world live, and the events that it lives by.

use super::read::{described, ledger_json};
use crate::{
    app::SharedWorld,
    world::{AuditEntry, World},
};
use axum::{
    body::{Body, Bytes},
    extract::State,
    response::{Html, IntoResponse, Response},
};
use http::header;
use serde_json::{Value, json};
use std::{convert::Infallible, time::Duration};

/// The whole page: no build step, nothing fetched from elsewhere.
const PAGE: &str = include_str!("page.html");
/// Changes that come closer together are shown together.
const PACE: Duration = Duration::from_millis(250);
/// Something is sent so often even when nothing changes: prices move, money is spent, and connections stay open.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Machines and calls that the page shows at most.
const MACHINES_MAX: usize = 500;
const CALLS_MAX: usize = 40;

pub(super) async fn page() -> Html<&'static str> {
    Html(PAGE)
}

/// The state, again after each change.
pub(super) async fn changes(State(world): State<SharedWorld>) -> Response {
    // One state waits to be sent; whoever does not read does not make this one wait in memory.
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, Infallible>>(1);
    tokio::spawn(async move {
        let mut seen = 0;
        loop {
            let (version, state) = world.with(|world| (world.version(), state(world)));
            if sender.send(Ok(Bytes::from(format!("data: {state}\n\n")))).await.is_err() {
                return;
            }
            seen = seen.max(version);
            tokio::time::sleep(PACE).await;
            // Whether it changed or only time passed makes no difference to what is sent.
            let _ = tokio::time::timeout(HEARTBEAT, world.changed(seen)).await;
        }
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(Received(receiver))).into_response()
}

/// What a channel receives, as a stream.
struct Received(tokio::sync::mpsc::Receiver<Result<Bytes, Infallible>>);

impl futures_core::Stream for Received {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

fn state(world: &World) -> Value {
    let machines: Vec<Value> =
        world.instances().take(MACHINES_MAX).map(|instance| described(world, instance)).collect();
    json!({
        "now": world.now(),
        "region": world.region(),
        "cluster": world.cluster(),
        "machines": machines,
        "pools": world.used_pools(),
        "ledger": ledger_json(&world.ledger()),
        "faults": world.faults(),
        "throttling": world.throttling(),
        "calls": last_calls(world),
    })
}

fn last_calls(world: &World) -> Vec<&AuditEntry> {
    let mut calls: Vec<&AuditEntry> = world.audit_last(CALLS_MAX).collect();
    calls.reverse();
    calls
}
