//! The embedded API through its router: writes, and writes that ten watchers see.

use axum::body::Body;
use futures::StreamExt;
use http::Request;
use sawhorse_ambient::{Clock, Seed};
use sawhorse_kwok::apiserver::{ApiServer, Config};
use serde_json::json;
use tower::ServiceExt;

/// Writes per measurement.
const WRITES: u32 = 1000;

fn main() {
    divan::main();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O can be built")
}

fn server() -> ApiServer {
    ApiServer::new(Config::new(Clock::starting_at(jiff::Timestamp::UNIX_EPOCH), Seed(1)))
}

fn pod() -> Vec<u8> {
    let container =
        json!({"name": "web", "image": "web:1", "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "web-", "labels": {"app": "web"}}, "spec": {"containers": [container]}});
    pod.to_string().into_bytes()
}

async fn create(router: &axum::Router, body: &[u8]) {
    let request = Request::post("/api/v1/namespaces/default/pods").header("content-type", "application/json");
    let request = request.body(Body::from(body.to_vec())).expect("the request is well formed");
    let response = router.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
    assert!(response.status().is_success(), "{}", response.status());
}

/// Pods created, per second.
#[divan::bench(sample_count = 10)]
fn writes(bencher: divan::Bencher<'_, '_>) {
    let runtime = runtime();
    let body = pod();
    bencher.counter(divan::counter::ItemsCount::new(WRITES)).bench_local(|| {
        runtime.block_on(async {
            let router = server().router();
            for _ in 0..WRITES {
                create(&router, &body).await;
            }
        });
    });
}

/// Pods created and seen by ten watchers: events delivered, per second.
#[divan::bench(sample_count = 10)]
fn watch_fan_out_to_ten(bencher: divan::Bencher<'_, '_>) {
    const WATCHERS: u32 = 10;
    let runtime = runtime();
    let body = pod();
    bencher.counter(divan::counter::ItemsCount::new(WRITES * WATCHERS)).bench_local(|| {
        runtime.block_on(async {
            let server = server();
            let router = server.router();
            let watchers: Vec<_> = (0..WATCHERS).map(|_| tokio::spawn(count_events(router.clone()))).collect();
            tokio::task::yield_now().await;
            for _ in 0..WRITES {
                create(&router, &body).await;
            }
            for watcher in watchers {
                watcher.await.expect("a watcher ends when it has seen all events");
            }
        });
    });
}

async fn count_events(router: axum::Router) {
    let request = Request::get("/api/v1/pods?watch=true").body(Body::empty()).expect("the request is well formed");
    let response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
    let mut lines = response.into_body().into_data_stream();
    for _ in 0..WRITES {
        lines.next().await.expect("the stream lasts").expect("the stream does not fail");
    }
}
