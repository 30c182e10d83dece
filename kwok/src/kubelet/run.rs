//! The kubelets' loop: machines, watches and the agenda in, requests out.

use super::{
    addresses::AddressOptions,
    delays::Spread,
    events::OnMachineEvent,
    lease::{COLLECTION, Held, LeaseOptions, Renewal},
    node_lifecycle::{self, NodeControllers, NodeLifecycleOptions},
    object::{RawObject, text},
    selection::NodeSelection,
    send::{Failure, JSON, Sender, is_conflict, object_url},
    tally::Tally,
    world::{Job, Key, NODE, ObjectKey, POD, World, after},
};
use crate::{
    machine::{ClusterIdentity, MachineSource, NodeOptions, node},
    stage::{CompiledStage, Effect, Lifecycle, ResourceKind, Stage, StageError},
};
use futures::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{BoxStream, FuturesUnordered},
};
use http::Method;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client,
    core::{ApiResource, GroupVersionKind, TypeMeta},
    discovery::pinned_kind,
    runtime::{WatchStreamExt, utils::Backoff, watcher},
};
use sawhorse_ambient::{Clock, Seed};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    sync::Arc,
    task::Poll,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// What the kubelets of a cluster are made of.
#[derive(Clone)]
pub struct KubeletConfig {
    /// The way to the API server.
    pub client: Client,
    /// The machines that run.
    pub machines: Arc<dyn MachineSource>,
    /// Nodes that kubelets are played for though they are no machine's.
    pub selection: NodeSelection,
    /// In whose name the leases of such nodes are held; unique among those that share nodes.
    pub identity: String,
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
    /// Where addresses come from.
    pub addresses: AddressOptions,
    /// How many requests are under way at a time. With one, requests are in a total order, as a run in virtual time needs it.
    pub at_a_time: NonZeroUsize,
    /// Is counted in.
    pub tally: Arc<Tally>,
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
            selection: NodeSelection::none(),
            identity: "sawhorse".to_owned(),
            clock,
            seed,
            cluster,
            stages: crate::stage::library::general(),
            boot: Spread::seconds(20, 30, 60),
            ready: Spread::seconds(3, 6, 15),
            leases: Some(LeaseOptions::default()),
            node: NodeOptions::default(),
            addresses: AddressOptions::default(),
            at_a_time: NonZeroUsize::MIN,
            tally: Arc::default(),
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
    if config.leases.is_some() && !config.selection.is_none() {
        kubelets.find_leases().await;
    }
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

/// Something that was asked of the API server, and what came of it.
enum Done {
    /// A machine's Node: whether it is registered, or the name is another's.
    Registered { id: String, node: String, outcome: Result<bool, Failure> },
    /// A lease, of which `began` is the renewal's time.
    Renewed { node: String, renewal: Renewal, began: Timestamp },
    /// Effects of a stage: the object afterwards where it is to be looked at again at once, and what is to be tried again.
    Sent { key: ObjectKey, latest: Option<Value>, rest: Option<(Vec<Effect>, u32)> },
}

/// Requests with what they are about: no other request is sent about that meanwhile.
type UnderWay = BoxFuture<'static, (Option<Key>, Done)>;

struct Kubelets<'a> {
    config: &'a KubeletConfig,
    sender: Sender,
    resources: Vec<ApiResource>,
    world: World,
    /// The objects seen so far by a list that is under way, by kind.
    listing: Vec<BTreeSet<ObjectKey>>,
    under_way: FuturesUnordered<UnderWay>,
    /// What requests under way are about, and what became due of that meanwhile.
    busy: BTreeMap<Key, Option<Job>>,
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
        let sender = Sender { client: config.client.clone() };
        let (under_way, busy) = (FuturesUnordered::new(), BTreeMap::new());
        Self { config, sender, resources, world, listing, under_way, busy }
    }

    async fn run(&mut self, shutdown: &CancellationToken) {
        let fields = |kind: usize| if kind == POD { "spec.nodeName!=" } else { "" };
        let watches = self.resources.iter().enumerate();
        let mut watches: Vec<Watch> =
            watches.map(|(kind, resource)| watch(&self.config.client, resource, fields(kind))).collect();
        let clock = self.config.clock;
        let mut seen = 0;
        loop {
            let may_send = self.under_way.len() < self.config.at_a_time.get();
            let due = self.next_due().filter(|_| may_send);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return self.finish().await,
                version = self.config.machines.changed(seen) => {
                    seen = version;
                    self.world.machines(self.config.machines.machines(), clock.now());
                }
                Some(done) = self.under_way.next() => self.done(done),
                (kind, event) = next_event(&mut watches) => self.event(kind, event),
                () = async { match due { Some(at) => clock.sleep_until(at).await, None => std::future::pending().await } } => {
                    self.work().await;
                }
            }
            for event in std::mem::take(&mut self.world.events) {
                (self.config.on_event)(event);
            }
            self.config.tally.looks_after(self.world.looked_after());
        }
    }

    /// Learns which leases there are, so that each need not be asked for. Without that answer each is.
    async fn find_leases(&mut self) {
        match self.sender.request(Method::GET, COLLECTION, JSON, None, &Value::Null).await {
            Ok(list) => {
                for lease in list["items"].as_array().into_iter().flatten() {
                    self.world.found_lease(text(lease, &["metadata", "name"]), Held::of(lease));
                }
            }
            Err(Failure::Drop(error) | Failure::Retry(error)) => tracing::warn!(%error, "leases cannot be listed"),
        }
    }

    /// What has been sent is waited for.
    async fn finish(&mut self) {
        while let Some(done) = self.under_way.next().await {
            self.done(done);
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        [self.world.agenda.next(), self.world.renewals.next()].into_iter().flatten().min()
    }

    /// Sends what is due first. Where several requests are under way at a time, there may be more due than can be sent: then
    /// leases go first, since nodes without are soon taken for dead.
    async fn work(&mut self) {
        let now = self.config.clock.now();
        let (other, lease) = (self.world.agenda.next(), self.world.renewals.next());
        let in_order = self.config.at_a_time == NonZeroUsize::MIN;
        let lease_first = lease.is_some_and(|lease| lease <= now)
            && !(in_order && other.is_some_and(|other| lease.is_some_and(|lease| other <= lease)));
        let request = if lease_first { self.renewal(now) } else { self.next_job(now) };
        let Some(request) = request else { return };
        if in_order {
            let done = request.await;
            self.done(done);
        } else {
            self.under_way.push(request);
        }
    }

    fn renewal(&mut self, now: Timestamp) -> Option<UnderWay> {
        let due = self.world.renewals.next()?;
        let (node, ()) = self.world.renewals.pop(now)?;
        let claim = self.world.claim(&node, now)?;
        self.config.tally.renews(after_millis(due, now));
        let sender = self.sender.clone();
        Some(
            async move { (None, Done::Renewed { renewal: claim.renew(&sender, now).await, node, began: now }) }.boxed(),
        )
    }

    fn next_job(&mut self, now: Timestamp) -> Option<UnderWay> {
        let (key, job) = self.world.agenda.pop(now)?;
        if let Some(postponed) = self.busy.get_mut(&key) {
            *postponed = Some(job);
            return None;
        }
        let request = match (&key, job) {
            (Key::Machine(id), Job::Register) => self.register(id),
            (Key::Machine(id), _) => {
                self.world.begun(id, now);
                None
            }
            (Key::Object(object), Job::Stage { stage, .. }) => self.stage(object, &stage),
            (Key::Object(object), Job::Resume { effects, attempt }) => {
                let value = self.world.object(object)?;
                Some(self.send(object, value, effects, attempt, false))
            }
            (Key::Object(_), Job::Register | Job::Begin) => None,
        }?;
        self.busy.insert(key.clone(), None);
        Some(request.map(|done| (Some(key), done)).boxed())
    }

    fn done(&mut self, (key, done): (Option<Key>, Done)) {
        let now = self.config.clock.now();
        let postponed = key.and_then(|key| self.busy.remove(&key).flatten().map(|job| (key, job)));
        if let Some((key, job)) = postponed.filter(|(key, _)| self.world.agenda.get(key).is_none()) {
            self.world.agenda.schedule(key, now, job);
        }
        match done {
            Done::Registered { id, node, outcome } => self.registered(&id, &node, outcome),
            Done::Renewed { node, renewal, began } => {
                if !matches!(renewal, Renewal::Ours(_)) {
                    self.config.tally.not_renewed();
                }
                self.world.renewed(&node, renewal, began, now);
            }
            Done::Sent { key, latest, rest } => {
                if let Some(object) = latest {
                    self.world.applied(key.kind, &object, now);
                }
                if let Some((effects, attempt)) = rest {
                    let wait = Duration::from_secs(1 << attempt.min(11)).min(MAX_BACKOFF);
                    let rest = Job::Resume { effects, attempt: attempt + 1 };
                    self.world.agenda.schedule(Key::Object(key), after(now, wait), rest);
                }
            }
        }
    }

    fn event(&mut self, kind: usize, event: watcher::Result<watcher::Event<RawObject>>) {
        let now = self.config.clock.now();
        let value = |object: RawObject| {
            let mut value = object.into_value(&self.resources[kind]);
            // Half of an object, and nobody's business here.
            value["metadata"].as_object_mut().map(|metadata| metadata.shift_remove("managedFields"));
            value
        };
        match event {
            Ok(watcher::Event::Apply(object)) => self.world.applied(kind, &value(object), now),
            Ok(watcher::Event::Delete(object)) => self.world.deleted(&ObjectKey::of(kind, &object.value)),
            Ok(watcher::Event::Init) => self.listing[kind].clear(),
            Ok(watcher::Event::InitApply(object)) => {
                self.listing[kind].insert(ObjectKey::of(kind, &object.value));
                self.world.applied(kind, &value(object), now);
            }
            Ok(watcher::Event::InitDone) => {
                let keys = self.world.keys_of(kind);
                keys.iter().filter(|key| !self.listing[kind].contains(*key)).for_each(|key| self.world.deleted(key));
                self.listing[kind].clear();
            }
            Err(error) => tracing::warn!(%error, "a watch of the kubelets broke; it is begun again"),
        }
    }

    /// Registers the machine's Node; one that exists already is this machine's if it has its provider id.
    fn register(&mut self, id: &str) -> Option<BoxFuture<'static, Done>> {
        let now = self.config.clock.now();
        let (machine, plan) = self.world.booted(id, now)?;
        let object = json_of(&node(&machine, &plan, &self.config.node, now));
        let url = object_url(&self.resources[NODE], &object);
        let (sender, id, node) = (self.sender.clone(), id.to_owned(), machine.private_dns_name);
        let request = async move {
            let created = sender.request(Method::POST, "/api/v1/nodes", JSON, None, &object).await;
            let outcome = match created {
                Err(Failure::Drop(error)) if is_conflict(&error) => {
                    let existing = sender.request(Method::GET, &url, JSON, None, &Value::Null).await;
                    existing.map(|existing| text(&existing, &["spec", "providerID"]) == machine.provider_id)
                }
                created => created.map(|_| true),
            };
            Done::Registered { id, node, outcome }
        };
        Some(request.boxed())
    }

    fn registered(&mut self, id: &str, node: &str, outcome: Result<bool, Failure>) {
        let now = self.config.clock.now();
        let wait = match outcome {
            Ok(true) => return self.world.registered(id, node, now),
            Err(Failure::Drop(error)) => {
                let reason = format!("the API server does not take its Node: {error}");
                return self.world.refused(id, reason, now);
            }
            Ok(false) => NAME_TAKEN,
            Err(Failure::Retry(_)) => WATCH_BACKOFF,
        };
        self.world.agenda.schedule(Key::Machine(id.to_owned()), after(now, wait), Job::Register);
    }

    fn stage(&mut self, key: &ObjectKey, stage: &CompiledStage) -> Option<BoxFuture<'static, Done>> {
        let object = self.world.object(key)?;
        match self.world.effects(key, &object, stage, self.config.clock.now()) {
            Ok(effects) => Some(self.send(key, object, effects, 0, stage.immediate_next_stage())),
            Err(error) => {
                tracing::warn!(object = %key.name, %error, "a stage cannot be carried out");
                None
            }
        }
    }

    /// Sends effects in order; what is left after a failure worth another try is given back. The object afterwards is told if
    /// `look_again`.
    fn send(
        &mut self,
        key: &ObjectKey,
        object: Value,
        effects: Vec<Effect>,
        attempt: u32,
        look_again: bool,
    ) -> BoxFuture<'static, Done> {
        let (sender, clock) = (self.sender.clone(), self.config.clock);
        let (key, resource) = (key.clone(), self.resources[key.kind].clone());
        let names: Vec<String> = effects.iter().map(|_| self.world.event_name(&key)).collect();
        async move {
            let mut latest = None;
            for (index, (effect, name)) in effects.iter().zip(names).enumerate() {
                match sender.send(&resource, &object, effect, &name, clock.now()).await {
                    Ok(after) => latest = after.or(latest),
                    Err(Failure::Drop(error)) => {
                        tracing::debug!(object = %key.name, %error, "a stage's request was refused");
                        break;
                    }
                    Err(Failure::Retry(error)) => {
                        tracing::debug!(object = %key.name, %error, "a stage's request failed and is tried again");
                        let rest = Some((effects[index..].to_vec(), attempt));
                        return Done::Sent { key, latest: latest.filter(|_| look_again), rest };
                    }
                }
            }
            Done::Sent { key, latest: latest.filter(|_| look_again), rest: None }
        }
        .boxed()
    }
}

fn after_millis(due: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.duration_since(due).as_millis()).unwrap_or(0)
}

pub(super) fn json_of(object: &impl serde::Serialize) -> Value {
    serde_json::to_value(object).expect("API objects have text keys, so they are JSON")
}
