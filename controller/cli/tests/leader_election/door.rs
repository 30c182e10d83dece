//! The door through which one replica reaches the API server or the cloud: what it says passes, until a request is held.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt;
use kube::Client;
use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};
use tokio::{net::TcpListener, sync::Notify, task::JoinSet};
use tower::ServiceExt;

/// A request that a leader is killed at.
#[derive(Clone, Copy)]
pub(crate) struct Gate {
    /// Method, how the path begins, how it ends.
    pub(crate) request: (&'static str, &'static str, &'static str),
    /// What the body says.
    pub(crate) says: &'static str,
    /// Whether it is carried out and only its answer is held, or not even that.
    pub(crate) carried_out: bool,
}

impl Gate {
    fn is_at(&self, method: &str, path: &str, body: &[u8]) -> bool {
        let (wanted, begin, end) = self.request;
        let says = self.says.as_bytes();
        method == wanted
            && path.starts_with(begin)
            && path.ends_with(end)
            && (says.is_empty() || body.windows(says.len()).any(|part| part == says))
    }
}

/// What is behind a door.
#[derive(Clone)]
enum Behind {
    Api(Client),
    Cloud(Router),
}

/// A door on a port of its own.
#[derive(Clone)]
pub(crate) struct Door {
    behind: Behind,
    gate: Arc<Mutex<Option<Gate>>>,
    reached: Arc<Notify>,
    /// The last body that was written to a Lease.
    lease: Arc<Mutex<String>>,
}

impl Door {
    pub(crate) fn to_api(client: Client) -> Self {
        Self::to(Behind::Api(client))
    }

    pub(crate) fn to_cloud(cloud: Router) -> Self {
        Self::to(Behind::Cloud(cloud))
    }

    fn to(behind: Behind) -> Self {
        Self { behind, gate: Arc::default(), reached: Arc::default(), lease: Arc::default() }
    }

    /// Serves it; its URL.
    pub(crate) async fn open(&self, tasks: &mut JoinSet<()>) -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(pass).with_state(self.clone());
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        url
    }

    /// The next such request is held for ever.
    pub(crate) fn hold(&self, gate: Gate) {
        *self.gate.lock().unwrap() = Some(gate);
    }

    /// Returns once a request is held.
    pub(crate) async fn reached(&self) {
        self.reached.notified().await;
    }

    /// Whether a Lease was last written in this name.
    pub(crate) fn leads_as(&self, holder: &str) -> bool {
        self.lease.lock().unwrap().contains(&format!("\"holderIdentity\":\"{holder}\""))
    }

    fn holds(&self, method: &str, path: &str, body: &[u8]) -> Option<Gate> {
        let mut gate = self.gate.lock().unwrap();
        gate.take_if(|gate| gate.is_at(method, path, body))
    }
}

async fn pass(State(door): State<Door>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let body: Bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let (method, path) = (parts.method.as_str().to_owned(), parts.uri.path().to_owned());
    if path.contains("/leases") && method != "GET" {
        *door.lease.lock().unwrap() = String::from_utf8_lossy(&body).into_owned();
    }
    let held = door.holds(&method, &path, &body);
    if held.is_some_and(|gate| !gate.carried_out) {
        door.reached.notify_one();
        std::future::pending::<()>().await;
    }
    let answer = match &door.behind {
        Behind::Api(client) => {
            parts.headers.remove(header::HOST);
            let request = Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
            match client.send(request).await {
                Ok(answer) => answer.map(Body::new),
                Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
            }
        }
        Behind::Cloud(cloud) => {
            let answer = cloud.clone().oneshot(Request::from_parts(parts, Body::from(body))).await;
            answer.unwrap_or_else(|never| match never {})
        }
    };
    if held.is_some() {
        door.reached.notify_one();
        std::future::pending::<()>().await;
    }
    answer
}
