//! The kubelets' loop: machines, watches and the agenda in, requests out.

use super::{
    delays::Spread,
    events::OnMachineEvent,
    lease::{LeaseOptions, NAMESPACE},
    node_lifecycle::{self, NodeControllers, NodeLifecycleOptions},
    object::{RawObject, text},
    send::{Failure, JSON, Sender, is_conflict, is_not_found, object_url},
    world::{Job, Key, NODE, ObjectKey, POD, World, after},
};
use crate::{
    machine::{ClusterIdentity, MachineSource, NodeOptions, node},
    stage::{CompiledStage, Effect, Lifecycle, ResourceKind, Stage, StageError},
};
use futures::{StreamExt, stream::BoxStream};
use http::Method;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client,
    core::{ApiResource, GroupVersionKind, TypeMeta},
    discovery::pinned_kind,
    runtime::{WatchStreamExt, utils::Backoff, watcher},
};
use sawhorse_ambient::{Clock, Seed};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc, task::Poll, time::Duration};
use tokio_util::sync::CancellationToken;

/// What the kubelets of a cluster are made of.
#[derive(Clone)]
pub struct KubeletConfig {
    /// The way to the API server.
    pub client: Client,
    /// The machines that run.
    pub machines: Arc<dyn MachineSource>,
    /// The time.
    pub clock: Clock,
    /// What delays, weights and addresses are drawn from.
    pub seed: Seed,
    /// The cluster that machines join; user data that names another never does.
    pub cluster: ClusterIdentity,
    /// How nodes and pods live, e.g. [`crate::stage::library::general`].
    pub stages: Vec<Stage>,
    /// From running to registered.
    pub boot: Spread,
    /// From registered to Ready.
    pub ready: Spread,
    /// How leases are kept; none keeps none.
    pub leases: Option<LeaseOptions>,
    /// What all nodes have in common.
    pub node: NodeOptions,
    /// Which controllers around nodes run here.
    pub node_controllers: NodeControllers,
    /// Is told what becomes of machines.
    pub on_event: OnMachineEvent,
}

impl KubeletConfig {
    /// The usual configuration: shipped stages with delays, boots of 20 to 60 s, Ready 3 to 15 s later, leases, controllers.
    pub fn new(
        client: Client,
        machines: Arc<dyn MachineSource>,
        clock: Clock,
        seed: Seed,
        cluster: ClusterIdentity,
    ) -> Self {
        Self {
            client,
            machines,
            clock,
            seed,
            cluster,
            stages: crate::stage::library::general(),
            boot: Spread::seconds(20, 30, 60),
            ready: Spread::seconds(3, 6, 15),
            leases: Some(LeaseOptions::default()),
            node: NodeOptions::default(),
            node_controllers: NodeControllers::All(NodeLifecycleOptions::default()),
            on_event: Arc::new(|_| {}),
        }
    }
}

/// Why kubelets could not be started.
#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    /// A stage cannot be used.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// A stage is about a kind that the API server does not have.
    #[error("a stage is about `{kind}` of `{api_version}`, which the API server does not serve")]
    UnknownKind {
        /// The kind.
        kind: String,
        /// Its group and version.
        api_version: String,
        /// What the API server said.
        #[source]
        source: Box<kube::Error>,
    },
}

/// Longest wait between two tries of a request (spec kwok 2).
const MAX_BACKOFF: Duration = Duration::from_secs(32 * 60);
/// Wait before a name is tried again that another machine's Node still has.
const NAME_TAKEN: Duration = Duration::from_secs(5);
/// Wait before a broken watch is begun again.
const WATCH_BACKOFF: Duration = Duration::from_secs(1);

/// Runs every kubelet of a cluster until `shutdown`, and with it the controllers around nodes if asked to.
///
/// # Errors
/// [`KubeletError`] if a stage cannot be used; nothing has been done then.
pub async fn run(config: KubeletConfig, shutdown: CancellationToken) -> Result<(), KubeletError> {
    let lifecycle = Lifecycle::compile(&config.stages)?;
    let (kinds, resources) = resources(&config.client, &lifecycle).await?;
    let mut kubelets = Kubelets::new(&config, lifecycle, kinds, resources);
    tokio::join!(kubelets.run(&shutdown), node_lifecycle::run(&config, &shutdown));
    Ok(())
}

/// The kinds to watch: Node and Pod first, then what else there are stages for.
async fn resources(
    client: &Client,
    lifecycle: &Lifecycle,
) -> Result<(Vec<ResourceKind>, Vec<ApiResource>), KubeletError> {
    let mut kinds = vec![ResourceKind::core("Node"), ResourceKind::core("Pod")];
    let mut resources = vec![ApiResource::erase::<Node>(&()), ApiResource::erase::<Pod>(&())];
    for kind in lifecycle.kinds().filter(|kind| !["Node", "Pod"].contains(&kind.kind.as_str())) {
        let types = TypeMeta { api_version: kind.api_version.clone(), kind: kind.kind.clone() };
        let unknown = |source| KubeletError::UnknownKind {
            kind: kind.kind.clone(),
            api_version: kind.api_version.clone(),
            source: Box::new(source),
        };
        let version = GroupVersionKind::try_from(types).map_err(|error| StageError::Unreadable {
            origin: kind.kind.clone(),
            problem: format!("`spec.resourceRef.apiGroup`: {error}"),
        })?;
        let (resource, _) = pinned_kind(client, &version).await.map_err(unknown)?;
        kinds.push(kind.clone());
        resources.push(resource);
    }
    Ok((kinds, resources))
}

pub(super) type Watch = BoxStream<'static, watcher::Result<watcher::Event<RawObject>>>;

/// A watch of every object of `resource` that `fields` selects, begun again after a pause when it breaks.
pub(super) fn watch(client: &Client, resource: &ApiResource, fields: &str) -> Watch {
    let api = Api::<RawObject>::all_with(client.clone(), resource);
    let config = watcher::Config::default();
    let config = if fields.is_empty() { config } else { config.fields(fields) };
    watcher(api, config).backoff(Pause).boxed()
}

/// Always the same pause: the random ones of the usual policy would differ from run to run.
struct Pause;

impl Iterator for Pause {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(WATCH_BACKOFF)
    }
}

impl Backoff for Pause {
    fn reset(&mut self) {}
}

/// The next event of the first watch that has one, so that their order does not depend on who was woken first.
pub(super) async fn next_event(watches: &mut [Watch]) -> (usize, watcher::Result<watcher::Event<RawObject>>) {
    std::future::poll_fn(|context| {
        for (index, watch) in watches.iter_mut().enumerate() {
            if let Poll::Ready(Some(event)) = watch.poll_next_unpin(context) {
                return Poll::Ready((index, event));
            }
        }
        Poll::Pending
    })
    .await
}

struct Kubelets<'a> {
    config: &'a KubeletConfig,
    sender: Sender,
    resources: Vec<ApiResource>,
    world: World,
    /// The objects seen so far by a list that is under way, by kind.
    listing: Vec<BTreeSet<ObjectKey>>,
}

impl<'a> Kubelets<'a> {
    fn new(
        config: &'a KubeletConfig,
        lifecycle: Lifecycle,
        kinds: Vec<ResourceKind>,
        resources: Vec<ApiResource>,
    ) -> Self {
        let listing = vec![BTreeSet::new(); resources.len()];
        let world = World::new(config, lifecycle, kinds, config.clock.now());
        Self { config, sender: Sender { client: config.client.clone() }, resources, world, listing }
    }

    async fn run(&mut self, shutdown: &CancellationToken) {
        let fields = |kind: usize| if kind == POD { "spec.nodeName!=" } else { "" };
        let watches = self.resources.iter().enumerate();
        let mut watches: Vec<Watch> =
            watches.map(|(kind, resource)| watch(&self.config.client, resource, fields(kind))).collect();
        let clock = self.config.clock;
        let mut seen = 0;
        loop {
            let due = self.world.agenda.next();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                version = self.config.machines.changed(seen) => {
                    seen = version;
                    self.world.machines(self.config.machines.machines(), clock.now());
                }
                (kind, event) = next_event(&mut watches) => self.event(kind, event),
                () = async { match due { Some(at) => clock.sleep_until(at).await, None => std::future::pending().await } } => {
                    if let Some((key, job)) = self.world.agenda.pop(clock.now()) {
                        self.work(key, job).await;
                    }
                }
            }
            for event in std::mem::take(&mut self.world.events) {
                (self.config.on_event)(event);
            }
        }
    }

    fn event(&mut self, kind: usize, event: watcher::Result<watcher::Event<RawObject>>) {
        let now = self.config.clock.now();
        let value = |object: RawObject| object.into_value(&self.resources[kind]);
        match event {
            Ok(watcher::Event::Apply(object)) => self.world.applied(kind, value(object), now),
            Ok(watcher::Event::Delete(object)) => self.world.deleted(&ObjectKey::of(kind, &object.value)),
            Ok(watcher::Event::Init) => self.listing[kind].clear(),
            Ok(watcher::Event::InitApply(object)) => {
                self.listing[kind].insert(ObjectKey::of(kind, &object.value));
                self.world.applied(kind, value(object), now);
            }
            Ok(watcher::Event::InitDone) => {
                let keys = self.world.keys_of(kind);
                keys.iter().filter(|key| !self.listing[kind].contains(*key)).for_each(|key| self.world.deleted(key));
                self.listing[kind].clear();
            }
            Err(error) => tracing::warn!(%error, "a watch of the kubelets broke; it is begun again"),
        }
    }

    async fn work(&mut self, key: Key, job: Job) {
        let now = self.config.clock.now();
        match (key, job) {
            (Key::Machine(id), Job::Register) => self.register(&id).await,
            (Key::Machine(id), _) => self.world.begun(&id, now),
            (Key::Lease(node), _) => self.renew(&node).await,
            (Key::Object(key), Job::Stage { stage, .. }) => self.stage(&key, &stage).await,
            (Key::Object(key), Job::Resume { effects, attempt }) => drop(self.send(&key, effects, attempt).await),
            (Key::Object(_), Job::Register | Job::Begin | Job::Renew) => {}
        }
    }

    /// Registers the machine's Node; one that exists already is this machine's if it has its provider id.
    async fn register(&mut self, id: &str) {
        let now = self.config.clock.now();
        let Some((machine, plan)) = self.world.booted(id, now) else { return };
        let object = json_of(&node(&machine, &plan, &self.config.node, now));
        let url = object_url(&self.resources[NODE], &object);
        let created = self.sender.request(Method::POST, "/api/v1/nodes", JSON, None, &object).await;
        let outcome = match created {
            Err(Failure::Drop(error)) if is_conflict(&error) => {
                let existing = self.sender.request(Method::GET, &url, JSON, None, &Value::Null).await;
                existing.map(|existing| text(&existing, &["spec", "providerID"]) == machine.provider_id)
            }
            created => created.map(|_| true),
        };
        let now = self.config.clock.now();
        let again = |wait| (Key::Machine(id.to_owned()), after(now, wait), Job::Register);
        match outcome {
            Ok(true) => self.world.registered(id, &machine.private_dns_name, now),
            Ok(false) => {
                let (key, at, job) = again(NAME_TAKEN);
                self.world.agenda.schedule(key, at, job);
            }
            Err(Failure::Retry(_)) => {
                let (key, at, job) = again(WATCH_BACKOFF);
                self.world.agenda.schedule(key, at, job);
            }
            Err(Failure::Drop(error)) => {
                self.world.refused(id, format!("the API server does not take its Node: {error}"), now);
            }
        }
    }

    /// Renews a lease, creating it if there is none.
    async fn renew(&mut self, node: &str) {
        let now = self.config.clock.now();
        let key = ObjectKey { kind: NODE, namespace: String::new(), name: node.to_owned() };
        let Some(options) = self.config.leases else { return };
        let url = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases");
        let spec = json!({"holderIdentity": node, "renewTime": format!("{now:.6}")});
        let patch = "application/merge-patch+json";
        let body = json!({"spec": spec});
        let mut renewed = self.sender.request(Method::PATCH, &format!("{url}/{node}"), patch, None, &body).await;
        if matches!(&renewed, Err(Failure::Drop(error)) if is_not_found(error)) {
            // Until the Node has been seen there is no uid that the lease could go with; then it is tried again.
            let uid = self.world.object(&key).map_or("", |object| text(object, &["metadata", "uid"]));
            if !uid.is_empty() {
                let lease = json_of(&options.lease(node, uid, now));
                renewed = self.sender.request(Method::POST, &url, JSON, None, &lease).await;
            }
        }
        let next = match renewed {
            Ok(_) => self.world.next_renewal(node, now),
            Err(_) => self.world.next_renewal(node, now).map(|_| after(self.config.clock.now(), WATCH_BACKOFF)),
        };
        if let Some(at) = next {
            self.world.agenda.schedule(Key::Lease(node.to_owned()), at, Job::Renew);
        }
    }

    async fn stage(&mut self, key: &ObjectKey, stage: &CompiledStage) {
        match self.world.effects(key, stage, self.config.clock.now()) {
            Ok(effects) => {
                let after = self.send(key, effects, 0).await;
                if let Some(object) = after.filter(|_| stage.immediate_next_stage()) {
                    self.world.applied(key.kind, object, self.config.clock.now());
                }
            }
            Err(error) => tracing::warn!(object = %key.name, %error, "a stage cannot be carried out"),
        }
    }

    /// Sends effects in order; what is left after a failure worth another try is put back on the agenda.
    async fn send(&mut self, key: &ObjectKey, effects: Vec<Effect>, attempt: u32) -> Option<Value> {
        let object = self.world.object(key)?.clone();
        let mut latest = None;
        for (index, effect) in effects.iter().enumerate() {
            let event_name = self.world.event_name(key);
            let now = self.config.clock.now();
            match self.sender.send(&self.resources[key.kind], &object, effect, &event_name, now).await {
                Ok(after) => latest = after.or(latest),
                Err(Failure::Drop(error)) => {
                    tracing::debug!(object = %key.name, %error, "a stage's request was refused");
                    return latest;
                }
                Err(Failure::Retry(error)) => {
                    tracing::debug!(object = %key.name, %error, "a stage's request failed and is tried again");
                    let wait = Duration::from_secs(1 << attempt.min(11)).min(MAX_BACKOFF);
                    let rest = Job::Resume { effects: effects[index..].to_vec(), attempt: attempt + 1 };
                    self.world.agenda.schedule(Key::Object(key.clone()), after(self.config.clock.now(), wait), rest);
                    return latest;
                }
            }
        }
        latest
    }
}

pub(super) fn json_of(object: &impl serde::Serialize) -> Value {
    serde_json::to_value(object).expect("API objects have text keys, so they are JSON")
}
