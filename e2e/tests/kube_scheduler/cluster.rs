//! A real API server and kube-scheduler, and a scheduler extender that sees which nodes passed kube-scheduler's filters.

use axum::{Json, Router, extract::State, routing::post};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use sawhorse_ambient::Clock;
use sawhorse_e2e::control_plane::{ControlPlane, Kubernetes, Programs, Times};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// Requests under way at once where their order does not matter.
const AT_ONCE: usize = 16;
/// How long the scheduler may take to say something of each pod it has been given, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// What the extender says of nodes that it does not allow.
pub(crate) const REFUSED: &str = "refused by the test";

/// What the extender allows.
#[derive(Clone, Debug)]
pub(crate) enum Allow {
    /// Every node that passed.
    All,
    /// No node: nothing is bound, and the pod is told so.
    None,
    /// To each pod, by namespace and name, one node; to the others none.
    Planned(BTreeMap<String, String>),
}

/// What is known of a pod by its uid.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) node: Option<String>,
    /// Reason and message of `PodScheduled`, while it is false.
    pub(crate) why_not: Option<(String, String)>,
    /// The nodes that passed kube-scheduler's filters when it last asked the extender.
    pub(crate) passed: Option<Vec<String>>,
}

struct Shared {
    allow: Mutex<Allow>,
    told: watch::Sender<BTreeMap<String, Told>>,
}

pub(crate) struct Cluster {
    kubernetes: Kubernetes,
    pub(crate) client: Client,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let programs = Programs::from_environment().unwrap();
        let times = Times { began: Clock::from_system().now(), speed: 1 };
        // No controller is there that would make accounts, take taints of new nodes away or let go of claims.
        let without = "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition,StorageObjectInUseProtection";
        let mut kubernetes = Kubernetes::start_apiserver(&programs, times, &[without]).await.unwrap();
        let shared = Arc::new(Shared { allow: Mutex::new(Allow::None), told: watch::channel(BTreeMap::new()).0 });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let app = Router::new().route("/filter", post(filter)).with_state(Arc::clone(&shared));
        let client = kubernetes.client();
        let tasks = vec![
            tokio::spawn(async move { axum::serve(listener, app).await.unwrap() }),
            tokio::spawn(follow(client.clone(), Arc::clone(&shared))),
        ];
        let extender = format!(
            "percentageOfNodesToScore: 100\nextenders:\n- urlPrefix: http://127.0.0.1:{port}\n  filterVerb: filter\n  \
             nodeCacheCapable: true\n  enableHTTPS: false\n  httpTimeout: 30s\n"
        );
        kubernetes.start_scheduler(&programs, &extender).unwrap();
        Self { kubernetes, client, shared, tasks }
    }

    pub(crate) async fn stop(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        ControlPlane::Kubernetes(Box::new(self.kubernetes)).stop().await;
    }

    pub(crate) fn allow(&self, allow: Allow) {
        *self.shared.allow.lock().unwrap() = allow;
    }

    async fn request(&self, method: &str, path: &str, body: &Value) -> kube::Result<Value> {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = http::Request::builder().method(method).uri(path).header("content-type", kind);
        self.client.request(request.body(body.to_string().into_bytes()).unwrap()).await
    }

    /// Creates objects, at once where `ordered` is not asked for, and returns what the server made of them. A status that the
    /// server does not take with the object is written after it.
    pub(crate) async fn create(&self, objects: &[Value]) -> Vec<Value> {
        let all = stream::iter(objects).map(|object| self.create_one(object));
        all.buffered(AT_ONCE).collect().await
    }

    pub(crate) async fn create_one(&self, object: &Value) -> Value {
        let path = collection(object);
        let created = self.request("POST", &path, object).await;
        let created = created.unwrap_or_else(|error| panic!("{error}: {object:#}"));
        let status = &object["status"];
        if status.is_null() || object["kind"] == "Node" {
            return created;
        }
        let name = object["metadata"]["name"].as_str().unwrap();
        self.request("PATCH", &format!("{path}/{name}/status"), &json!({"status": status})).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.client.request(http::Request::get(path).body(Vec::new()).unwrap()).await.unwrap()
    }

    /// Deletes objects at once, whatever grace they have, and forgets what was told of pods.
    pub(crate) async fn delete(&self, objects: &[Value]) {
        let now = json!({"gracePeriodSeconds": 0, "propagationPolicy": "Background"});
        let paths = objects.iter().map(|object| {
            let name = object["metadata"]["name"].as_str().unwrap();
            format!("{}/{name}", collection(object))
        });
        let paths: Vec<String> = paths.collect();
        let all = stream::iter(&paths).map(|path| self.request("DELETE", path, &now));
        let deleted: Vec<kube::Result<Value>> = all.buffered(AT_ONCE).collect().await;
        deleted.into_iter().for_each(|deleted| drop(deleted.unwrap()));
    }

    /// Asks for the pod's deletion, which nothing here completes.
    pub(crate) async fn begin_deletion(&self, pod: &Value) -> Value {
        let path = format!("{}/{}", collection(pod), pod["metadata"]["name"].as_str().unwrap());
        self.request("DELETE", &path, &json!({"gracePeriodSeconds": 600})).await.unwrap()
    }

    /// Deletes every object of the collections at these paths.
    pub(crate) async fn clear(&self, paths: &[String]) {
        let now = json!({"gracePeriodSeconds": 0, "propagationPolicy": "Background"});
        let all = stream::iter(paths).map(|path| self.request("DELETE", path, &now));
        all.buffered(AT_ONCE).try_collect::<Vec<Value>>().await.unwrap();
        self.shared.told.send_modify(BTreeMap::clear);
    }

    /// Waits until each of the pods has a node, or has been told why not, and says which it is.
    pub(crate) async fn outcomes(&self, uids: &[String]) -> Vec<Told> {
        let mut told = self.shared.told.subscribe();
        let is_known = |told: &BTreeMap<String, Told>, uid: &String| {
            told.get(uid).is_some_and(|told| told.node.is_some() || told.why_not.is_some())
        };
        let all_known = told.wait_for(|told| uids.iter().all(|uid| is_known(told, uid)));
        let known = match tokio::time::timeout(PATIENCE, all_known).await {
            Ok(known) => known.unwrap().clone(),
            Err(_) => panic!("the scheduler says nothing of some pods within {PATIENCE:?}"),
        };
        uids.iter().map(|uid| known.get(uid).cloned().unwrap_or_default()).collect()
    }
}

/// The path of the collection that an object is in.
pub(crate) fn collection(object: &Value) -> String {
    let (version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
    let prefix = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    let plural = match kind {
        "StorageClass" | "PriorityClass" | "RuntimeClass" => format!("{}es", kind.to_lowercase()),
        _ => format!("{}s", kind.to_lowercase()),
    };
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{prefix}/namespaces/{namespace}/{plural}"),
        None => format!("{prefix}/{plural}"),
    }
}

pub(crate) fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap().to_owned()
}

/// Namespace and name.
pub(crate) fn key(pod: &Value) -> String {
    let [namespace, name] = ["namespace", "name"].map(|field| pod["metadata"][field].as_str().unwrap());
    format!("{namespace}/{name}")
}

async fn filter(State(shared): State<Arc<Shared>>, Json(asked): Json<Value>) -> Json<Value> {
    let uid = uid(&asked["Pod"]);
    let passed: Vec<String> = serde_json::from_value(asked["NodeNames"].clone()).unwrap_or_default();
    let allowed: Vec<String> = match &*shared.allow.lock().unwrap() {
        Allow::All => passed.clone(),
        Allow::None => Vec::new(),
        Allow::Planned(nodes) => {
            let planned = nodes.get(&key(&asked["Pod"]));
            passed.iter().filter(|node| planned == Some(node)).cloned().collect()
        }
    };
    let refused = passed.iter().filter(|node| !allowed.contains(node));
    let refused: Map<String, Value> = refused.map(|node| (node.clone(), Value::from(REFUSED))).collect();
    shared.told.send_modify(|told| told.entry(uid).or_default().passed = Some(passed));
    Json(json!({"NodeNames": allowed, "FailedNodes": refused}))
}

/// Notes what becomes of pods, as long as it runs.
async fn follow(client: Client, shared: Arc<Shared>) {
    let events = watcher(Api::<Pod>::all(client), watcher::Config::default()).default_backoff();
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        if let Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) = event {
            note(&shared, &pod);
        }
    }
}

fn note(shared: &Shared, pod: &Pod) {
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let failed = conditions.into_iter().flatten().find(|own| own.type_ == "PodScheduled" && own.status == "False");
    let why_not = failed.map(|own| (own.reason.clone().unwrap_or_default(), own.message.clone().unwrap_or_default()));
    shared.told.send_if_modified(|told| {
        let told = told.entry(uid).or_default();
        let changed = told.node != node || told.why_not != why_not;
        (told.node, told.why_not) = (node, why_not);
        changed
    });
}
