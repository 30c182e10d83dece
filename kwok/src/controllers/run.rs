//! The controllers' loop: watches in, requests out.

use super::{budget, daemon_set, deployment, job, namespace, replica_set, stateful_set, world};
use super::{
    known::{Key, Known, NodeFacts, PodFacts},
    plan::{Action, Aim, Plan, Target, Told},
    queue::{Kind, Queue, Work},
    world::World,
};
use futures::{StreamExt, stream::BoxStream};
use http::{Method, Request, header::CONTENT_TYPE};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet},
    batch::v1::Job,
    core::v1::{ConfigMap, Namespace, Pod, ServiceAccount},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client, Resource,
    runtime::{WatchStreamExt, utils::Backoff, watcher},
};
use sawhorse_ambient::{Clock, Seed};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Debug, sync::Arc, task::Poll, time::Duration};
use tokio_util::sync::CancellationToken;

/// What the controllers are made of.
#[derive(Clone)]
pub struct ControllersConfig {
    /// The way to the API server.
    pub client: Client,
    /// The time.
    pub clock: Clock,
    /// What names of events are drawn from. Names of pods are drawn by the API server.
    pub seed: Seed,
    /// Whether events are recorded (`SuccessfulCreate`, `ScalingReplicaSet`, …): one more request for each.
    pub events: bool,
}

impl ControllersConfig {
    /// All controllers, with events.
    pub fn new(client: Client, clock: Clock, seed: Seed) -> Self {
        Self { client, clock, seed, events: true }
    }
}

/// How long a burst of changes is let settle before objects are looked at: long for virtual time, in which everything that
/// can happen at once does, and nothing for people.
const SETTLE: SignedDuration = SignedDuration::from_millis(1);
/// Wait before a broken watch is begun again.
const WATCH_BACKOFF: Duration = Duration::from_secs(1);
/// Wait after a first failed request; each further failure doubles it.
const RETRY: SignedDuration = SignedDuration::from_millis(500);
/// Doublings of [`RETRY`] at most: about two minutes.
const MAX_DOUBLINGS: u32 = 8;

/// Runs every controller until `shutdown`.
pub async fn run(config: ControllersConfig, shutdown: CancellationToken) {
    let clock = config.clock;
    let mut watches = watches(&config.client);
    let mut controllers =
        Controllers { config, world: World::default(), queue: Queue::default(), failures: BTreeMap::new() };
    loop {
        let due = if controllers.world.is_synced() { controllers.queue.next_due() } else { None };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            change = next_change(&mut watches) => controllers.change(change),
            () = async { match due { Some(at) => clock.sleep_until(at).await, None => std::future::pending().await } } => {
                controllers.work().await;
            }
        }
    }
}

/// One event of one of the watches.
enum Change {
    Pod(watcher::Event<PodFacts>),
    Node(watcher::Event<NodeFacts>),
    Deployment(watcher::Event<Deployment>),
    ReplicaSet(watcher::Event<ReplicaSet>),
    StatefulSet(watcher::Event<StatefulSet>),
    DaemonSet(watcher::Event<DaemonSet>),
    Job(watcher::Event<Job>),
    Budget(watcher::Event<PodDisruptionBudget>),
    Revision(watcher::Event<ControllerRevision>),
    Namespace(watcher::Event<Namespace>),
    Account(watcher::Event<ServiceAccount>),
    Authority(watcher::Event<ConfigMap>),
    Broken(watcher::Error),
}

type Watch = BoxStream<'static, Change>;

fn watches(client: &Client) -> Vec<Watch> {
    vec![
        watch(client, |event| Change::Node(facts(event, |node| NodeFacts::of(&node)))),
        watch(client, Change::Deployment),
        watch(client, Change::ReplicaSet),
        watch(client, Change::StatefulSet),
        watch(client, Change::DaemonSet),
        watch(client, Change::Job),
        watch(client, Change::Budget),
        watch(client, Change::Revision),
        watch_named(client, namespace::ACCOUNT, Change::Account),
        watch_named(client, namespace::AUTHORITY, Change::Authority),
        watch(client, Change::Namespace),
        watch(client, |event| Change::Pod(facts(event, |pod| PodFacts::of(&pod)))),
    ]
}

fn watch<K>(client: &Client, change: fn(watcher::Event<K>) -> Change) -> Watch
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watch_with(client, watcher::Config::default(), change)
}

/// The objects of one name, in all namespaces.
fn watch_named<K>(client: &Client, name: &str, change: fn(watcher::Event<K>) -> Change) -> Watch
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watch_with(client, watcher::Config::default().fields(&format!("metadata.name={name}")), change)
}

fn watch_with<K>(client: &Client, config: watcher::Config, change: fn(watcher::Event<K>) -> Change) -> Watch
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let events = watcher(Api::<K>::all(client.clone()), config).backoff(Pause);
    events.map(move |event| event.map_or_else(Change::Broken, change)).boxed()
}

fn facts<K, F>(event: watcher::Event<K>, of: fn(K) -> F) -> watcher::Event<F> {
    match event {
        watcher::Event::Apply(object) => watcher::Event::Apply(of(object)),
        watcher::Event::Delete(object) => watcher::Event::Delete(of(object)),
        watcher::Event::Init => watcher::Event::Init,
        watcher::Event::InitApply(object) => watcher::Event::InitApply(of(object)),
        watcher::Event::InitDone => watcher::Event::InitDone,
    }
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

/// The next change of the first watch that has one.
async fn next_change(watches: &mut [Watch]) -> Change {
    std::future::poll_fn(|context| {
        for watch in watches.iter_mut() {
            if let Poll::Ready(Some(change)) = watch.poll_next_unpin(context) {
                return Poll::Ready(change);
            }
        }
        Poll::Pending
    })
    .await
}

/// The object whose plan is being carried out, for its events.
struct Subject {
    api_version: &'static str,
    kind: &'static str,
    component: &'static str,
    key: Key,
    uid: String,
}

struct Controllers {
    config: ControllersConfig,
    world: World,
    queue: Queue,
    /// How often in a row looking at an object has failed.
    failures: BTreeMap<Work, u32>,
}

impl Controllers {
    fn change(&mut self, change: Change) {
        self.world.now = self.config.clock.now();
        match change {
            Change::Pod(event) => self.world.event(event),
            Change::Node(event) => self.world.event(event),
            Change::Deployment(event) => self.world.event(event),
            Change::ReplicaSet(event) => self.world.event(event),
            Change::StatefulSet(event) => self.world.event(event),
            Change::DaemonSet(event) => self.world.event(event),
            Change::Job(event) => self.world.event(event),
            Change::Budget(event) => self.world.event(event),
            Change::Revision(event) => self.world.event(event),
            Change::Namespace(event) => self.world.event(event),
            Change::Account(event) => self.world.event(event),
            Change::Authority(event) => self.world.event(event),
            Change::Broken(error) => tracing::warn!(%error, "a watch of the controllers broke; it is begun again"),
        }
        self.enqueue_touched();
    }

    fn enqueue_touched(&mut self) {
        let at = self.config.clock.now() + SETTLE;
        std::mem::take(&mut self.world.touched).into_iter().for_each(|work| self.queue.put(work, at));
    }

    /// Looks at the first object that is due.
    async fn work(&mut self) {
        let now = self.config.clock.now();
        let Some(work) = self.queue.pop(now) else { return };
        let Some((subject, plan)) = decide(&self.world, &work, now) else {
            self.failures.remove(&work);
            return;
        };
        if let Some(at) = plan.again {
            self.queue.put(work.clone(), at.max(now + SETTLE));
        }
        let failed = self.carry_out(&subject, plan).await;
        self.enqueue_touched();
        if failed {
            let times = self.failures.entry(work.clone()).or_default();
            let wait = RETRY * 2_i32.pow((*times).min(MAX_DOUBLINGS));
            *times += 1;
            self.queue.put(work, self.config.clock.now() + wait);
        } else {
            self.failures.remove(&work);
        }
    }

    /// Sends the plan's requests; answers whether one has failed that another try may help. After a pod or set that could
    /// not be created no other is tried.
    async fn carry_out(&mut self, subject: &Subject, plan: Plan) -> bool {
        let mut failed = false;
        for action in plan.actions {
            let creates = matches!(
                action,
                Action::CreatePod { .. } | Action::CreateClaim { .. } | Action::CreateReplicaSet { .. }
            );
            if failed && creates {
                continue;
            }
            self.world.now = self.config.clock.now();
            if let Err(error) = self.act(subject, action).await {
                tracing::debug!(%error, kind = subject.kind, name = subject.key.name, "a request of a controller failed");
                let gone = matches!(&error, kube::Error::Api(status) if status.code == 404);
                if creates {
                    let told = Told::warning("FailedCreate", format!("Error creating: {}", reason(&error)));
                    self.tell(subject, told).await;
                }
                failed |= !gone;
            }
        }
        failed
    }

    async fn act(&mut self, subject: &Subject, action: Action) -> kube::Result<()> {
        match action {
            Action::CreatePod { pod, told } => {
                let created: Pod = self.create(&*pod, &subject.key.namespace).await?;
                let facts = PodFacts::of(&created);
                let message = told.unwrap_or_else(|| format!("Created pod: {}", facts.key.name));
                self.world.put(facts);
                self.tell(subject, Told::normal("SuccessfulCreate", message)).await;
            }
            Action::CreateClaim { claim, told } => match self.create(&*claim, &subject.key.namespace).await {
                Ok(_) => self.tell(subject, Told::normal("SuccessfulCreate", told)).await,
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(error),
            },
            Action::CreateUnlessThere { url, object } => {
                let created: kube::Result<Value> =
                    self.request(Method::POST, &url, JSON, object.to_string().into_bytes()).await;
                match created {
                    Err(kube::Error::Api(status)) if status.code == 409 => {}
                    created => drop(created?),
                }
            }
            Action::CreateReplicaSet { set, told } => {
                let created: ReplicaSet = self.create(&*set, &subject.key.namespace).await?;
                self.world.put(created);
                self.tell_if(subject, told).await;
            }
            Action::Delete { aim, foreground, told } => {
                self.delete(&aim, foreground).await?;
                self.tell_if(subject, told).await;
            }
            Action::Patch { aim, status, body, told } => {
                self.patch(&aim, status, &body).await?;
                self.tell_if(subject, told).await;
            }
            Action::Tell(told) => self.tell(subject, told).await,
        }
        Ok(())
    }

    async fn create<K>(&self, object: &K, namespace: &str) -> kube::Result<K>
    where
        K: Resource<DynamicType = ()> + Serialize + DeserializeOwned,
    {
        let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
        self.request(Method::POST, &K::url_path(&(), Some(namespace)), JSON, body).await
    }

    async fn delete(&mut self, aim: &Aim, foreground: bool) -> kube::Result<()> {
        let policy = if foreground { "Foreground" } else { "Background" };
        let options = json!({"preconditions": {"uid": aim.uid}, "propagationPolicy": policy});
        let url = url(aim.target, &aim.key);
        let done: kube::Result<Value> =
            self.request(Method::DELETE, &url, JSON, options.to_string().into_bytes()).await;
        match done {
            Ok(_) if aim.target == Target::Pod => self.world.pod_deleted(&aim.key, &aim.uid),
            // Gone already: the watch will say so.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            done => drop(done?),
        }
        Ok(())
    }

    /// Patches, and takes note of the object as it is afterwards.
    async fn patch(&mut self, aim: &Aim, status: bool, body: &Value) -> kube::Result<()> {
        let url = url(aim.target, &aim.key) + if status { "/status" } else { "" };
        let body = body.to_string().into_bytes();
        match aim.target {
            Target::Pod => {
                let pod: Pod = self.request(Method::PATCH, &url, MERGE, body).await?;
                self.world.put(PodFacts::of(&pod));
            }
            Target::Deployment => self.patched::<Deployment>(&url, body).await?,
            Target::ReplicaSet => self.patched::<ReplicaSet>(&url, body).await?,
            Target::StatefulSet => self.patched::<StatefulSet>(&url, body).await?,
            Target::DaemonSet => self.patched::<DaemonSet>(&url, body).await?,
            Target::Job => self.patched::<Job>(&url, body).await?,
            Target::Budget => self.patched::<PodDisruptionBudget>(&url, body).await?,
            Target::Revision => self.patched::<ControllerRevision>(&url, body).await?,
        }
        Ok(())
    }

    async fn patched<K>(&mut self, url: &str, body: Vec<u8>) -> kube::Result<()>
    where
        K: DeserializeOwned + Known,
        World: world::Keeps<K>,
    {
        let object: K = self.request(Method::PATCH, url, MERGE, body).await?;
        self.world.put(object);
        Ok(())
    }

    async fn tell_if(&self, subject: &Subject, told: Option<Told>) {
        if let Some(told) = told {
            self.tell(subject, told).await;
        }
    }

    async fn tell(&self, subject: &Subject, told: Told) {
        if !self.config.events {
            return;
        }
        let event = event(subject, &told, self.config.seed, self.config.clock.now());
        let url = format!("/api/v1/namespaces/{}/events", subject.key.namespace);
        let sent: kube::Result<Value> = self.request(Method::POST, &url, JSON, event.to_string().into_bytes()).await;
        if let Err(error) = sent {
            tracing::debug!(%error, kind = subject.kind, name = subject.key.name, "an event could not be recorded");
        }
    }

    async fn request<T: DeserializeOwned>(
        &self,
        method: Method,
        url: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> kube::Result<T> {
        let request = Request::builder().method(method).uri(url).header(CONTENT_TYPE, content_type);
        self.config.client.request(request.body(body).map_err(kube::Error::HttpError)?).await
    }
}

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";

/// The plan for an object, if it still exists.
fn decide(world: &World, work: &Work, now: Timestamp) -> Option<(Subject, Plan)> {
    let key = &work.key;
    Some(match work.kind {
        Kind::Deployment => {
            let object = world.deployments.get(key)?;
            let owned = world.sets_of(object.uid(), &key.namespace);
            let pods = owned.iter().flat_map(|set| world.pods_of(set.uid())).collect();
            let orphans = world.sets_of("", &key.namespace);
            let input = deployment::Input { deployment: object, owned, orphans, pods, now };
            (subject(&**object, "deployment-controller"), deployment::decide(&input))
        }
        Kind::ReplicaSet => {
            let object = world.replica_sets.get(key)?;
            (subject(&**object, "replicaset-controller"), replica_set::decide(&replica_set_input(world, object, now)))
        }
        Kind::StatefulSet => {
            let object = world.stateful_sets.get(key)?;
            let revisions = world.revisions_of(object.uid(), &key.namespace);
            let input = stateful_set::Input { set: object, owned: world.pods_of(object.uid()), revisions, now };
            (subject(&**object, "statefulset-controller"), stateful_set::decide(&input))
        }
        Kind::DaemonSet => {
            let object = world.daemon_sets.get(key)?;
            let nodes = world.nodes.iter().map(|(_, node)| Arc::clone(node)).collect();
            let revisions = world.revisions_of(object.uid(), &key.namespace);
            let input = daemon_set::Input { set: object, owned: world.pods_of(object.uid()), revisions, nodes, now };
            (subject(&**object, "daemonset-controller"), daemon_set::decide(&input))
        }
        Kind::Job => {
            let object = world.jobs.get(key)?;
            let (owned, ended) = (world.pods_of(object.uid()), world.finished(object.uid()));
            (subject(&**object, "job-controller"), job::decide(&job::Input { job: object, owned, ended, now }))
        }
        Kind::Budget => {
            let object = world.budgets.get(key)?;
            let pods: Vec<Arc<PodFacts>> =
                world.pods.within(&key.namespace).filter(|pod| world::selects(object, pod)).cloned().collect();
            let scales = world.scales(&pods);
            let input = budget::Input { budget: object, pods, scales, now };
            (subject(&**object, "controllermanager"), budget::decide(&input))
        }
        Kind::Namespace => {
            let object = world.namespaces.get(key)?;
            let input = namespace::Input {
                name: &key.name,
                terminating: object.metadata.deletion_timestamp.is_some(),
                has_account: world.accounts.get(&Key::new(&key.name, namespace::ACCOUNT)).is_some(),
                has_authority: world.authorities.get(&Key::new(&key.name, namespace::AUTHORITY)).is_some(),
            };
            (subject(&**object, "serviceaccount-controller"), namespace::decide(&input))
        }
    })
}

fn replica_set_input<'a>(world: &World, set: &'a ReplicaSet, now: Timestamp) -> replica_set::Input<'a> {
    let key = set.key();
    let owned = world.pods_of(set.uid());
    let active = owned.iter().filter(|pod| pod.is_active()).count();
    // Only where some must go does it matter what is related.
    let related = match super::known::controller_of(&set.metadata) {
        Some(owner) if active > usize::try_from(replica_set::wanted(set)).unwrap_or_default() => {
            let family = world.sets_of(&owner.uid, &key.namespace);
            family.iter().flat_map(|set| world.pods_of(set.uid())).collect()
        }
        Some(_) | None => owned.clone(),
    };
    replica_set::Input { set, owned, orphans: world.orphans(&key.namespace), related, now }
}

fn subject<K: k8s_openapi::Resource + Known>(object: &K, component: &'static str) -> Subject {
    Subject { api_version: K::API_VERSION, kind: K::KIND, component, key: object.key(), uid: object.uid().to_owned() }
}

fn url(target: Target, key: &Key) -> String {
    let namespace = Some(key.namespace.as_str());
    let collection = match target {
        Target::Pod => Pod::url_path(&(), namespace),
        Target::Deployment => Deployment::url_path(&(), namespace),
        Target::ReplicaSet => ReplicaSet::url_path(&(), namespace),
        Target::StatefulSet => StatefulSet::url_path(&(), namespace),
        Target::DaemonSet => DaemonSet::url_path(&(), namespace),
        Target::Job => Job::url_path(&(), namespace),
        Target::Budget => PodDisruptionBudget::url_path(&(), namespace),
        Target::Revision => ControllerRevision::url_path(&(), namespace),
    };
    format!("{collection}/{}", key.name)
}

/// What the API server said, without the wrapping.
fn reason(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

fn event(subject: &Subject, told: &Told, seed: Seed, now: Timestamp) -> Value {
    let Subject { api_version, kind, component, key: Key { namespace, name }, uid } = subject;
    let mut draws = seed.stream(&["controllers", "event", uid, told.reason, &told.message, &now.to_string()]);
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": format!("{name}.{}", draws.hex(16)), "namespace": namespace},
        "involvedObject": {"apiVersion": api_version, "kind": kind, "name": name, "namespace": namespace, "uid": uid},
        "type": if told.warning { "Warning" } else { "Normal" }, "reason": told.reason, "message": told.message,
        "count": 1, "source": {"component": component}, "reportingComponent": component,
        "firstTimestamp": format!("{now:.0}"), "lastTimestamp": format!("{now:.0}"),
    })
}
