//! The doors for operators: `/metrics`, `/healthz` and `/readyz`.

use crate::{metrics::Metrics, state::Mirror};
use anyhow::Context as _;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use std::{net::IpAddr, sync::Arc};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Where to listen. Nothing listens unless it is asked to, so that nothing does in virtual time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Servers {
    /// The address for both.
    pub address: IpAddr,
    /// `/metrics`; 0 for any free port.
    pub metrics_port: u16,
    /// `/healthz` and `/readyz`; 0 for any free port.
    pub health_probe_port: u16,
}

/// The metrics page.
pub(crate) fn metrics_router(metrics: Metrics) -> Router {
    Router::new().route("/metrics", get(metrics_page)).with_state(metrics)
}

async fn metrics_page(State(metrics): State<Metrics>) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    match metrics.render() {
        Ok(text) => (kind, text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// The probes: alive while it answers, ready once the cluster has been read.
pub(crate) fn health_router(mirror: Arc<Mirror>) -> Router {
    Router::new().route("/healthz", get(|| async { "ok" })).route("/readyz", get(ready)).with_state(mirror)
}

async fn ready(State(mirror): State<Arc<Mirror>>) -> (StatusCode, &'static str) {
    if mirror.synced() {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the cluster has not been read completely yet\n")
    }
}

/// Listens before anything else starts, so that a taken port is said at once.
pub(crate) async fn listen(address: IpAddr, port: u16, what: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind((address, port)).await;
    let listener =
        listener.with_context(|| format!("cannot listen on `{address}:{port}` for {what}: choose another port"))?;
    tracing::info!(address = %listener.local_addr()?, "serving {what}");
    Ok(listener)
}

/// Serves until `shutdown`.
pub(crate) async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> anyhow::Result<()> {
    let until = async move { shutdown.cancelled().await };
    axum::serve(listener, router).with_graceful_shutdown(until).await.context("the server failed")
}

#[cfg(test)]
mod tests {
    use super::{health_router, metrics_router};
    use crate::{metrics::Metrics, state::Mirror};
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt;
    use k8s_openapi::api::{
        apps::v1::DaemonSet,
        core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod},
        policy::v1::PodDisruptionBudget,
        storage::v1::{CSINode, StorageClass},
    };
    use sawhorse_core::{
        api::{Ec2NodeClass, NodeClaim, NodePool},
        model::Settings,
    };
    use std::sync::Arc;
    use tower::ServiceExt;

    async fn get(router: axum::Router, path: &str) -> (u16, String) {
        let answer = router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn ready_once_every_kind_has_been_listed() {
        let mirror = Arc::new(Mirror::new(Settings::default(), Vec::new()));
        assert_eq!(get(health_router(Arc::clone(&mirror)), "/healthz").await.0, 200);
        assert_eq!(get(health_router(Arc::clone(&mirror)), "/readyz").await.0, 503);
        mirror.reset::<NodePool>(vec![]);
        mirror.reset::<NodeClaim>(vec![]);
        mirror.reset::<Ec2NodeClass>(vec![]);
        mirror.reset::<Node>(vec![]);
        mirror.reset::<Pod>(vec![]);
        mirror.reset::<DaemonSet>(vec![]);
        mirror.reset::<PodDisruptionBudget>(vec![]);
        mirror.reset::<PersistentVolumeClaim>(vec![]);
        mirror.reset::<PersistentVolume>(vec![]);
        mirror.reset::<StorageClass>(vec![]);
        mirror.reset::<CSINode>(vec![]);
        assert_eq!(get(health_router(Arc::clone(&mirror)), "/readyz").await.0, 503);
        mirror.reset::<Namespace>(vec![]);
        assert_eq!(get(health_router(mirror), "/readyz").await, (200, "ok".to_owned()));
    }

    #[tokio::test]
    async fn metrics_are_text() {
        let (status, text) = get(metrics_router(Metrics::new()), "/metrics").await;
        assert_eq!(status, 200);
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
