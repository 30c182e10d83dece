//! The writer against a small API server in process, which answers as it is told and keeps what it was asked.

use super::{Apply, ApplyError, Eviction, Recorder};
use crate::{metrics::Metrics, state::Mirror};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use rstest::rstest;
use sawhorse_ambient::Clock;
use sawhorse_core::{
    api::{NodeClaim, conditions::Conditioned},
    model::Settings,
};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

#[derive(Clone, Default)]
struct Server {
    answers: Arc<Mutex<VecDeque<(u16, Value)>>>,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Server {
    fn answering(answers: Vec<(u16, Value)>) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.into())), asked: Arc::default() }
    }

    fn asked(&self) -> Vec<(String, Value)> {
        self.asked.lock().unwrap().clone()
    }

    fn apply(&self) -> (Apply, Arc<Mirror>) {
        let router = Router::new().fallback(answer).with_state(self.clone());
        let mirror = Arc::new(Mirror::new(Settings::default(), Vec::new()));
        let (recorder, _) = Recorder::new(Clock::starting_at(Timestamp::UNIX_EPOCH));
        let apply = Apply::new(Client::new(router, "default"), Arc::clone(&mirror), Metrics::new(), recorder);
        (apply, mirror)
    }
}

async fn answer(State(server): State<Server>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let asked = format!("{} {}", parts.method, parts.uri.path());
    server.asked.lock().unwrap().push((asked, serde_json::from_slice(&body).unwrap_or(Value::Null)));
    let (code, value) = server.answers.lock().unwrap().pop_front().expect("no more requests were expected");
    (StatusCode::from_u16(code).unwrap(), axum::Json(value)).into_response()
}

fn failure(code: u16, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message, "reason": "X"})
}

fn pod() -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "web-0", "namespace": "shop", "uid": "u1"}})).unwrap()
}

fn claim(version: &str) -> Value {
    json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
        "metadata": {"name": "default-a", "uid": "c1", "resourceVersion": version},
        "spec": {"requirements": [], "nodeClassRef": {"group": "g", "kind": "k", "name": "n"}},
    })
}

#[rstest]
#[case::accepted(201, json!({"kind": "Status", "status": "Success"}), Eviction::Evicted)]
#[case::gone(404, failure(404, "not found"), Eviction::Gone)]
#[case::another_of_that_name(409, failure(409, "UID"), Eviction::Gone)]
#[case::budget(
    429,
    failure(429, "Cannot evict pod as it would violate the pod's disruption budget."),
    Eviction::Blocked {
        message: "Cannot evict pod as it would violate the pod's disruption budget.".into(), several_budgets: false
    }
)]
#[case::budgets(
    500,
    failure(500, "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."),
    Eviction::Blocked {
        message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.".into(),
        several_budgets: true
    }
)]
#[tokio::test]
async fn evictions(#[case] code: u16, #[case] answer: Value, #[case] expected: Eviction) {
    let server = Server::answering(vec![(code, answer)]);
    let (apply, _) = server.apply();
    assert_eq!(apply.evict(&pod()).await.unwrap(), expected);
    let (request, body) = server.asked().remove(0);
    assert_eq!(request, "POST /api/v1/namespaces/shop/pods/web-0/eviction");
    assert_eq!(body["deleteOptions"], json!({"preconditions": {"uid": "u1"}}));
}

#[tokio::test]
async fn other_failures_of_an_eviction_are_errors() {
    let server = Server::answering(vec![(500, failure(500, "etcd is away"))]);
    let (apply, _) = server.apply();
    let error = apply.evict(&pod()).await.unwrap_err();
    assert_eq!(error.to_string(), "`POST` of Pod `web-0` failed");
}

#[tokio::test]
async fn only_what_differs_is_written_and_the_answer_counts_at_once() {
    let mut written = claim("6");
    written["metadata"]["annotations"] = json!({"a": "b"});
    let mut with_status = written.clone();
    with_status["metadata"]["resourceVersion"] = json!("7");
    with_status["status"] = json!({"nodeName": "n"});
    let server = Server::answering(vec![(200, written), (200, with_status)]);
    let (apply, mirror) = server.apply();
    let before: NodeClaim = serde_json::from_value(claim("5")).unwrap();
    let mut after = before.clone();
    after.metadata.annotations = Some([("a".to_owned(), "b".to_owned())].into());
    after.status.get_or_insert_default().node_name = Some("n".to_owned());
    let current = apply.update(&apply.claims(), &before, &after).await.unwrap();
    assert_eq!(current.metadata.resource_version.as_deref(), Some("7"));
    let path = "PATCH /apis/karpenter.sh/v1/nodeclaims/default-a";
    assert_eq!(
        server.asked(),
        [
            (path.to_owned(), json!({"metadata": {"annotations": {"a": "b"}, "resourceVersion": "5"}})),
            (format!("{path}/status"), json!({"metadata": {"resourceVersion": "6"}, "status": {"nodeName": "n"}})),
        ]
    );
    let seen = mirror.read(|state| state.node_claim("default-a")).unwrap();
    assert_eq!(seen.status.as_ref().unwrap().node_name.as_deref(), Some("n"));
}

#[tokio::test]
async fn nothing_is_written_where_nothing_differs() {
    let server = Server::default();
    let (apply, _) = server.apply();
    let claim: NodeClaim = serde_json::from_value(claim("5")).unwrap();
    apply.update(&apply.claims(), &claim, &claim.clone()).await.unwrap();
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_write_to_an_object_that_is_gone_removes_it_from_the_mirror() {
    let server = Server::answering(vec![(404, failure(404, "not found"))]);
    let (apply, mirror) = server.apply();
    let before: NodeClaim = serde_json::from_value(claim("5")).unwrap();
    mirror.wrote(before.clone());
    let mut after = before.clone();
    after.set_true("Launched", Timestamp::UNIX_EPOCH);
    let error = apply.update(&apply.claims(), &before, &after).await.unwrap_err();
    assert!(matches!(error, ApplyError::NotFound { .. }));
    assert!(mirror.read(|state| state.node_claim("default-a")).is_none());
}

#[tokio::test]
async fn removing_the_last_finalizer_of_a_deleted_object_ends_it() {
    let mut deleting = claim("5");
    deleting["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let mut held = deleting.clone();
    held["metadata"]["finalizers"] = json!(["karpenter.sh/termination"]);
    deleting["metadata"]["resourceVersion"] = json!("6");
    let server = Server::answering(vec![(200, deleting)]);
    let (apply, mirror) = server.apply();
    let before: NodeClaim = serde_json::from_value(held).unwrap();
    mirror.wrote(before.clone());
    let mut after = before.clone();
    after.metadata.finalizers = None;
    apply.update(&apply.claims(), &before, &after).await.unwrap();
    assert!(mirror.read(|state| state.node_claim("default-a")).is_none());
}

#[tokio::test]
async fn a_conflict_is_told_apart() {
    let server = Server::answering(vec![(409, failure(409, "the object has been modified"))]);
    let (apply, _) = server.apply();
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "n", "resourceVersion": "1"}})).unwrap();
    let error = apply.taint_disrupted(&node).await.unwrap_err();
    assert_eq!(error.to_string(), "Node `n` was changed by somebody else: the object has been modified");
    let (_, body) = server.asked().remove(0);
    assert_eq!(body["spec"]["taints"], json!([{"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}]));
}

#[tokio::test]
async fn what_is_gone_already_can_be_deleted() {
    let server = Server::answering(vec![
        (404, failure(404, "not found")),
        (200, json!({"kind": "Status", "status": "Success"})),
    ]);
    let (apply, mirror) = server.apply();
    let claim: NodeClaim = serde_json::from_value(claim("5")).unwrap();
    mirror.wrote(claim.clone());
    apply.delete_claim(&claim).await.unwrap();
    assert!(mirror.read(|state| state.node_claim("default-a")).is_none());
    apply.delete_claim(&claim).await.unwrap();
    assert_eq!(server.asked()[0].1["preconditions"], json!({"uid": "c1"}));
}
