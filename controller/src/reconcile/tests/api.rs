//! A tiny API server: lists, watches, merge patches, deletion with finalizers, evictions. The embedded control plane of the
//! project is in another crate, and tests the whole loop there.

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use sawhorse_ambient::Clock;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
};
use tokio::sync::broadcast;

/// Kind and plural of what is served.
const KINDS: [(&str, &str); 15] = [
    ("NodePool", "nodepools"),
    ("NodeClaim", "nodeclaims"),
    ("EC2NodeClass", "ec2nodeclasses"),
    ("Node", "nodes"),
    ("Pod", "pods"),
    ("DaemonSet", "daemonsets"),
    ("PodDisruptionBudget", "poddisruptionbudgets"),
    ("Namespace", "namespaces"),
    ("PersistentVolumeClaim", "persistentvolumeclaims"),
    ("PersistentVolume", "persistentvolumes"),
    ("StorageClass", "storageclasses"),
    ("CSINode", "csinodes"),
    ("Event", "events"),
    ("VolumeAttachment", "volumeattachments"),
    ("Lease", "leases"),
];

#[derive(Clone)]
pub(super) struct TinyApi {
    clock: Clock,
    state: Arc<Mutex<Objects>>,
    changes: broadcast::Sender<(String, String)>,
}

#[derive(Default)]
struct Objects {
    version: u64,
    by_kind: BTreeMap<(String, String), Value>,
    requests: BTreeMap<String, usize>,
    block_evictions: bool,
}

impl TinyApi {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, state: Arc::default(), changes: broadcast::channel(10_000).0 }
    }

    pub(super) fn client(&self) -> kube::Client {
        kube::Client::new(Router::new().fallback(answer).with_state(self.clone()), "default")
    }

    /// Creates an object.
    pub(super) fn put(&self, api_version: &str, kind: &str, mut object: Value) -> Value {
        let mut state = self.lock();
        state.version += 1;
        let uid = format!("uid-{}", state.version);
        object["apiVersion"] = json!(api_version);
        object["kind"] = json!(kind);
        object["metadata"]["uid"] = json!(uid);
        object["metadata"]["generation"] = json!(1);
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        object["metadata"]["creationTimestamp"] = json!(format!("{:.0}", self.clock.now()));
        state.by_kind.insert(key(kind, &object), object.clone());
        drop(state);
        self.tell(kind, "ADDED", &object);
        object
    }

    /// Changes an object as a merge patch does; one that is being deleted and has no finalizer goes.
    pub(super) fn merge(&self, kind: &str, name: &str, patch: &Value) -> Value {
        let mut state = self.lock();
        state.version += 1;
        let version = state.version.to_string();
        let object = state.by_kind.get_mut(&(kind.to_owned(), name.to_owned())).expect("it exists");
        merge(object, patch);
        object["metadata"]["resourceVersion"] = json!(version);
        let object = object.clone();
        drop(state);
        let finalizers = object["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
        if object["metadata"]["deletionTimestamp"].is_string() && !finalizers && kind != "Pod" {
            self.remove(kind, name);
        } else {
            self.tell(kind, "MODIFIED", &object);
        }
        object
    }

    pub(super) fn remove(&self, kind: &str, name: &str) {
        let gone = self.lock().by_kind.remove(&(kind.to_owned(), name.to_owned()));
        if let Some(object) = gone {
            self.tell(kind, "DELETED", &object);
        }
    }

    pub(super) fn all(&self, kind: &str) -> Vec<Value> {
        let state = self.lock();
        state.by_kind.iter().filter(|((of, _), _)| of == kind).map(|(_, object)| object.clone()).collect()
    }

    pub(super) fn only(&self, kind: &str) -> Value {
        let all = self.all(kind);
        assert_eq!(all.len(), 1, "{kind}");
        all[0].clone()
    }

    pub(super) fn count(&self, kind: &str) -> usize {
        self.all(kind).len()
    }

    /// How often a resource was asked for.
    pub(super) fn asked(&self, resource: &str) -> usize {
        self.lock().requests.get(resource).copied().unwrap_or_default()
    }

    /// How many requests changed something other than events.
    pub(super) fn writes(&self) -> usize {
        let is_write = |what: &str| what.starts_with("write ") && what != "write Event";
        self.lock().requests.iter().filter(|(what, _)| is_write(what)).map(|(_, count)| count).sum()
    }

    pub(super) fn block_evictions(&self, block: bool) {
        self.lock().block_evictions = block;
    }

    fn tell(&self, kind: &str, change: &str, object: &Value) {
        let line = format!("{}\n", json!({"type": change, "object": object}));
        // Nobody may be watching.
        let _ = self.changes.send((kind.to_owned(), line));
    }

    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.state.lock().unwrap()
    }
}

/// A request's path: kind, name and subresource.
fn route(path: &str) -> Option<(&'static str, Option<String>, Option<String>)> {
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    parts.drain(..if parts[0] == "api" { 2 } else { 3 });
    if parts[0] == "namespaces" && parts.len() > 2 {
        parts.drain(..2);
    }
    let (kind, _) = KINDS.into_iter().find(|(_, plural)| *plural == parts[0])?;
    Some((kind, parts.get(1).map(ToString::to_string), parts.get(2).map(ToString::to_string)))
}

async fn answer(State(api): State<TinyApi>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body: Value = serde_json::from_slice(&to_bytes(body, usize::MAX).await.unwrap()).unwrap_or_default();
    let Some((kind, name, subresource)) = route(parts.uri.path()) else { return refused(404, "no such resource") };
    if parts.method != Method::GET {
        let mut state = api.lock();
        *state.requests.entry(format!("write {kind}")).or_default() += 1;
        if subresource.as_deref() == Some("eviction") {
            *state.requests.entry("pods/eviction".to_owned()).or_default() += 1;
        }
    }
    let watches = parts.uri.query().is_some_and(|query| query.contains("watch=true"));
    match (parts.method.as_str(), name, subresource.as_deref()) {
        ("GET", None, _) if watches => watch(&api, kind),
        ("GET", None, _) => list(&api, kind),
        ("POST", None, _) => {
            let version = body["apiVersion"].as_str().unwrap_or("v1").to_owned();
            axum::Json(api.put(&version, kind, body)).into_response()
        }
        ("POST", Some(name), Some("eviction")) => evict(&api, &name),
        ("PATCH", Some(name), _) => patch(&api, kind, &name, &body),
        ("DELETE", Some(name), _) => delete(&api, kind, &name),
        _ => refused(405, "not served"),
    }
}

fn list(api: &TinyApi, kind: &str) -> Response {
    let version = api.lock().version.to_string();
    let items = api.all(kind);
    axum::Json(json!({"metadata": {"resourceVersion": version}, "items": items})).into_response()
}

fn watch(api: &TinyApi, kind: &str) -> Response {
    let kind = kind.to_owned();
    let changes = futures::stream::unfold((api.changes.subscribe(), kind), |(mut changes, kind)| async move {
        loop {
            let (of, line) = changes.recv().await.ok()?;
            if of == kind {
                return Some((Ok::<_, Infallible>(line), (changes, kind)));
            }
        }
    });
    Response::new(Body::from_stream(changes))
}

fn evict(api: &TinyApi, name: &str) -> Response {
    if api.lock().block_evictions {
        return refused(429, "Cannot evict pod as it would violate the pod's disruption budget.");
    }
    // The kubelet of this world is quick.
    api.remove("Pod", name);
    axum::Json(json!({"kind": "Status", "apiVersion": "v1", "status": "Success"})).into_response()
}

fn patch(api: &TinyApi, kind: &str, name: &str, body: &Value) -> Response {
    let Some(known) = api.lock().by_kind.get(&(kind.to_owned(), name.to_owned())).cloned() else {
        return refused(404, "not found");
    };
    let asked = &body["metadata"]["resourceVersion"];
    if asked.is_string() && *asked != known["metadata"]["resourceVersion"] {
        return refused(409, "the object has been modified");
    }
    axum::Json(api.merge(kind, name, body)).into_response()
}

fn delete(api: &TinyApi, kind: &str, name: &str) -> Response {
    if !api.lock().by_kind.contains_key(&(kind.to_owned(), name.to_owned())) {
        return refused(404, "not found");
    }
    let now = format!("{:.0}", api.clock.now());
    axum::Json(api.merge(kind, name, &json!({"metadata": {"deletionTimestamp": now}}))).into_response()
}

fn refused(code: u16, message: &str) -> Response {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message, "reason": "X"});
    (StatusCode::from_u16(code).unwrap(), axum::Json(status)).into_response()
}

fn key(kind: &str, object: &Value) -> (String, String) {
    (kind.to_owned(), object["metadata"]["name"].as_str().expect("objects have names here").to_owned())
}

fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (field, value) in fields {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(field);
        } else {
            merge(&mut into[field], value);
        }
    }
}
