//! The server: state behind a lock, signals for watchers, and the ways in (router, client, direct reads).

use super::{
    app, builtin, gc,
    registry::Registry,
    state::State,
    store::{GroupResource, Object, ObjectName, Store},
};
use axum::Router;
use sawhorse_ambient::{Clock, Seed};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// Events kept per resource by default, and for some minutes at most. A watcher that falls further behind gets 410 and lists again, as with etcd's
/// compaction.
pub const DEFAULT_HISTORY: usize = 8192;

/// What an API server is made of.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Where creation and deletion times come from.
    pub clock: Clock,
    /// Where uids and generated names come from.
    pub seed: Seed,
    /// How many events are kept per resource for watches and for continued lists.
    pub history: usize,
    /// Whether the server collects garbage itself. Without, it is as an API server whose controller manager stands still.
    pub collects_garbage: bool,
}

impl Config {
    /// The usual configuration with this clock and seed.
    pub fn new(clock: Clock, seed: Seed) -> Self {
        Self { clock, seed, history: DEFAULT_HISTORY, collects_garbage: true }
    }
}

/// An in-process Kubernetes API. Cheap to clone; all clones are the same server.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
/// use k8s_openapi::api::core::v1::Namespace;
/// use sawhorse_kwok::apiserver::{ApiServer, Config};
///
/// let clock = sawhorse_ambient::Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
/// let server = ApiServer::new(Config::new(clock, sawhorse_ambient::Seed(1)));
/// let namespaces = kube::Api::<Namespace>::all(server.client());
/// assert_eq!(namespaces.get("default").await.unwrap().metadata.name.as_deref(), Some("default"));
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct ApiServer {
    inner: Arc<Inner>,
}

/// What all clones share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) clock: Clock,
    state: Mutex<State>,
    signals: Mutex<BTreeMap<GroupResource, watch::Sender<u64>>>,
    pub(crate) collect: Arc<Notify>,
    pub(crate) shutdown: CancellationToken,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Inner {
    /// The state, for reading and for short writes that are followed by [`Inner::announce`].
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in one request must not take the whole server down: the store changes in single steps.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, then wakes the watchers of what was written.
    pub(crate) fn write<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        state.forget_old(self.clock.now());
        let result = change(&mut state);
        let touched = state.store.take_touched();
        let revision = state.store.revision();
        drop(state);
        if !touched.is_empty() {
            self.announce(touched, revision);
        }
        result
    }

    fn announce(&self, touched: impl IntoIterator<Item = GroupResource>, revision: u64) {
        let signals = self.signals.lock().unwrap_or_else(PoisonError::into_inner);
        for resource in touched {
            if let Some(signal) = signals.get(&resource) {
                signal.send_replace(revision);
            }
        }
        self.collect.notify_one();
    }

    /// A receiver that is told of every write to a resource.
    pub(crate) fn subscribe(&self, resource: &GroupResource) -> watch::Receiver<u64> {
        let mut signals = self.signals.lock().unwrap_or_else(PoisonError::into_inner);
        signals.entry(resource.clone()).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }
}

impl ApiServer {
    /// A server with the namespaces that every cluster has. Call inside a tokio runtime: garbage collection runs as a task
    /// on it until the last clone is dropped or [`ApiServer::shutdown`] is called.
    pub fn new(config: Config) -> Self {
        let Config { clock, seed, history, collects_garbage } = config;
        let mut state = State {
            store: Store::new(history),
            registry: Registry::new(),
            seed,
            requests: BTreeMap::new(),
            compacted: (clock.now(), 0),
        };
        builtin::bootstrap(&mut state, clock.now());
        state.store.take_touched();
        let inner = Arc::new(Inner {
            clock,
            state: Mutex::new(state),
            signals: Mutex::default(),
            collect: Arc::new(Notify::new()),
            shutdown: CancellationToken::new(),
        });
        if collects_garbage {
            tokio::spawn(gc::run(Arc::downgrade(&inner), Arc::clone(&inner.collect), inner.shutdown.clone()));
        }
        Self { inner }
    }

    /// The API as an axum router: served over TCP, or called directly. Layers (delays, lost answers, throttling) may be put
    /// around it.
    pub fn router(&self) -> Router {
        app::router(Arc::clone(&self.inner))
    }

    /// A client that calls the router in process: no socket is opened.
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.router(), "default")
    }

    /// The object as stored now, without a request.
    pub fn get(&self, resource: &GroupResource, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.inner.lock().store.get(resource, &ObjectName::new(namespace, name)).cloned()
    }

    /// All objects of a resource as stored now, in order of namespace and name, without a request.
    pub fn list(&self, resource: &GroupResource) -> Vec<Arc<Object>> {
        self.inner.lock().store.objects(resource).cloned().collect()
    }

    /// The version of the last write.
    pub fn revision(&self) -> u64 {
        self.inner.lock().store.revision()
    }

    /// How many requests were answered, by verb and resource, e.g. `("patch", "pods/status")`.
    pub fn request_counts(&self) -> BTreeMap<(String, String), u64> {
        self.inner.lock().requests.clone()
    }

    /// Forgets the watch history, as etcd's compaction does: watches from older versions and continued lists get 410.
    pub fn compact(&self) {
        self.inner.write(|state| state.store.compact());
    }

    /// Ends all watches and the server's own tasks. Requests are still answered.
    pub fn shutdown(&self) {
        self.inner.shutdown.cancel();
    }
}
