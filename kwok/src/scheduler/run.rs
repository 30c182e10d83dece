//! The scheduler's loop: watches in; bindings, conditions and events out.

use super::{
    pod::{PodInfo, PodName},
    queue::Queue,
    reason::Unschedulable,
    schedule::schedule,
    snapshot::{NodeName, Snapshot},
};
use futures::{StreamExt, stream::BoxStream};
use http::{Method, Request, header::CONTENT_TYPE};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::{CSINode, StorageClass},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{WatchStreamExt, utils::Backoff, watcher},
};
use sawhorse_ambient::{Clock, Seed};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::Arc,
    task::Poll,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// What a scheduler is made of.
#[derive(Clone)]
pub struct SchedulerConfig {
    /// The way to the API server.
    pub client: Client,
    /// The time.
    pub clock: Clock,
    /// What names of events are drawn from.
    pub seed: Seed,
    /// Pods that name this scheduler are its own.
    pub name: String,
    /// Whether events are recorded (`Scheduled`, `FailedScheduling`): one more request for each binding.
    pub events: bool,
}

impl SchedulerConfig {
    /// `default-scheduler`, with events.
    pub fn new(client: Client, clock: Clock, seed: Seed) -> Self {
        Self { client, clock, seed, name: "default-scheduler".to_owned(), events: true }
    }
}

/// How long a burst of changes is let settle before pods are tried: long for virtual time, in which everything that can
/// happen at once does, and nothing for people.
const SETTLE: SignedDuration = SignedDuration::from_millis(1);
/// Pods tried before changes are looked at again.
const BATCH: usize = 64;
/// Wait before a broken watch is begun again.
const WATCH_BACKOFF: Duration = Duration::from_secs(1);

/// Runs until `shutdown`.
pub async fn run(config: SchedulerConfig, shutdown: CancellationToken) {
    let clock = config.clock;
    let mut watches = watches(&config.client);
    let mut scheduler = Scheduler::new(config);
    loop {
        let at = scheduler.next_cycle();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            change = next_change(&mut watches) => scheduler.change(change).await,
            () = async { match at { Some(at) => clock.sleep_until(at).await, None => std::future::pending().await } } => {
                scheduler.cycle().await;
            }
        }
    }
}

/// One event of one of the watches.
#[expect(clippy::large_enum_variant, reason = "one at a time is under way, so its size does not matter")]
enum Change {
    Pod(watcher::Event<Pod>),
    Node(watcher::Event<Node>),
    Claim(watcher::Event<PersistentVolumeClaim>),
    Volume(watcher::Event<PersistentVolume>),
    Class(watcher::Event<StorageClass>),
    Attachable(watcher::Event<CSINode>),
    Namespace(watcher::Event<Namespace>),
    Broken(watcher::Error),
}

type Watch = BoxStream<'static, Change>;

fn watches(client: &Client) -> Vec<Watch> {
    vec![
        watch(client, Change::Namespace),
        watch(client, Change::Node),
        watch(client, Change::Attachable),
        watch(client, Change::Class),
        watch(client, Change::Volume),
        watch(client, Change::Claim),
        watch(client, Change::Pod),
    ]
}

fn watch<K>(client: &Client, change: fn(watcher::Event<K>) -> Change) -> Watch
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let events = watcher(Api::<K>::all(client.clone()), watcher::Config::default()).backoff(Pause);
    events.map(move |event| event.map_or_else(Change::Broken, change)).boxed()
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

/// A verdict that holds for all pods with the same signature while nothing changes that could turn it.
struct Verdict {
    improved: u64,
    changed: u64,
    why: Unschedulable,
}

struct Scheduler {
    config: SchedulerConfig,
    snapshot: Snapshot,
    queue: Queue,
    /// Pods bound here whose binding has not been seen yet, by uid.
    assumed: BTreeMap<PodName, String>,
    verdicts: BTreeMap<Arc<str>, Verdict>,
    /// Counts changes that may let any pod fit.
    improved: u64,
    /// Counts all changes: may let a pod fit that has rules about other pods.
    changed: u64,
    /// What both counts were when pods were last woken.
    woken: (u64, u64),
    /// What the lists under way have given so far, by kind.
    listed: BTreeMap<&'static str, BTreeSet<PodName>>,
    cycle_at: Option<Timestamp>,
}

impl Scheduler {
    fn new(config: SchedulerConfig) -> Self {
        Self {
            config,
            snapshot: Snapshot::new(),
            queue: Queue::default(),
            assumed: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            improved: 0,
            changed: 0,
            woken: (0, 0),
            listed: BTreeMap::new(),
            cycle_at: None,
        }
    }

    fn next_cycle(&self) -> Option<Timestamp> {
        self.cycle_at.into_iter().chain(self.queue.next_due()).min()
    }

    /// A cycle is worth it after this change, once it has settled.
    fn stir(&mut self) {
        let at = self.config.clock.now() + SETTLE;
        self.cycle_at = Some(self.cycle_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Something got better for any pod.
    fn improve(&mut self) {
        self.improved += 1;
        self.changed += 1;
        self.stir();
    }

    /// Something changed that only matters to pods with rules about other pods.
    fn shift(&mut self) {
        self.changed += 1;
        self.stir();
    }

    /// Wakes the parked pods that what has changed since the last time may help: once for a whole burst of changes.
    fn wake(&mut self) {
        let now = self.config.clock.now();
        let (improved, changed) = (self.improved, self.changed);
        let (seen_improved, seen_changed) = std::mem::replace(&mut self.woken, (improved, changed));
        if improved > seen_improved {
            self.queue.wake(|_| true, now);
        } else if changed > seen_changed {
            self.queue.wake(minds_others, now);
        }
    }

    async fn change(&mut self, change: Change) {
        match change {
            Change::Pod(event) => self.pods(event).await,
            Change::Node(event) => self.nodes(event),
            Change::Claim(event) => self.storage("claim", event, |snapshot, claim, applied| match applied {
                true => snapshot.volumes.apply_claim(&claim),
                false => snapshot.volumes.remove_claim(&claim.namespace().unwrap_or_default(), &claim.name_any()),
            }),
            Change::Volume(event) => self.storage("volume", event, |snapshot, volume, applied| match applied {
                true => snapshot.volumes.apply_volume(&volume),
                false => snapshot.volumes.remove_volume(&volume.name_any()),
            }),
            Change::Class(event) => self.storage("class", event, |snapshot, class, applied| match applied {
                true => snapshot.volumes.apply_class(&class),
                false => snapshot.volumes.remove_class(&class.name_any()),
            }),
            Change::Attachable(event) => self.storage("csi node", event, |snapshot, node, applied| match applied {
                true => snapshot.volumes.apply_csi_node(&node),
                false => snapshot.volumes.remove_csi_node(&node.name_any()),
            }),
            Change::Namespace(event) => self.namespaces(event),
            Change::Broken(error) => tracing::warn!(%error, "a watch of the scheduler broke; it is begun again"),
        }
    }

    fn storage<K>(&mut self, kind: &str, event: watcher::Event<K>, note: impl Fn(&mut Snapshot, K, bool)) {
        match event {
            watcher::Event::Apply(object) | watcher::Event::InitApply(object) => note(&mut self.snapshot, object, true),
            watcher::Event::Delete(object) => note(&mut self.snapshot, object, false),
            // What was deleted while the watch was broken stays known: a pod may then be bound to a claim that is gone,
            // and waits on its node.
            watcher::Event::Init => return tracing::debug!(kind, "listing"),
            watcher::Event::InitDone => {}
        }
        self.improve();
    }

    /// What was deleted while the watch was broken stays known: no pod of it is left that could be asked about.
    fn namespaces(&mut self, event: watcher::Event<Namespace>) {
        let changed = match event {
            watcher::Event::Apply(namespace) | watcher::Event::InitApply(namespace) => {
                self.snapshot.apply_namespace(&namespace)
            }
            watcher::Event::Delete(namespace) => {
                self.snapshot.remove_namespace(&namespace.name_any());
                true
            }
            watcher::Event::Init | watcher::Event::InitDone => false,
        };
        if changed {
            // Anti-affinity of pods on nodes may now be about others, so that any pod may fit.
            self.improve();
        }
    }

    fn nodes(&mut self, event: watcher::Event<Node>) {
        match event {
            watcher::Event::Apply(node) => self.node(&node),
            watcher::Event::InitApply(node) => {
                self.listed.entry("node").or_default().insert(name_of(&node));
                self.node(&node);
            }
            watcher::Event::Delete(node) => self.node_gone(&node.name_any()),
            watcher::Event::Init => drop(self.listed.insert("node", BTreeSet::new())),
            watcher::Event::InitDone => {
                let listed = self.listed.remove("node").unwrap_or_default();
                let is_listed = |name: &NodeName| listed.iter().any(|listed| listed.name == name.0);
                let gone: Vec<NodeName> = self.snapshot.node_names().filter(|name| !is_listed(name)).cloned().collect();
                gone.iter().for_each(|name| self.node_gone(&name.0));
            }
        }
    }

    fn node(&mut self, node: &Node) {
        if self.snapshot.apply_node(node) {
            self.improve();
        }
    }

    fn node_gone(&mut self, name: &str) {
        self.snapshot.remove_node(name);
        self.improve();
    }

    async fn pods(&mut self, event: watcher::Event<Pod>) {
        match event {
            watcher::Event::Apply(pod) => self.pod(&pod).await,
            watcher::Event::InitApply(pod) => {
                self.listed.entry("pod").or_default().insert(name_of(&pod));
                self.pod(&pod).await;
            }
            watcher::Event::Delete(pod) => self.pod_gone(&name_of(&pod)),
            watcher::Event::Init => drop(self.listed.insert("pod", BTreeSet::new())),
            watcher::Event::InitDone => {
                let listed = self.listed.remove("pod").unwrap_or_default();
                let known = self.snapshot.pod_names().chain(self.queue.names());
                let gone: Vec<PodName> = known.filter(|name| !listed.contains(name)).cloned().collect();
                gone.iter().for_each(|name| self.pod_gone(name));
            }
        }
    }

    fn pod_gone(&mut self, name: &PodName) {
        self.assumed.remove(name);
        self.queue.remove(name);
        if self.snapshot.remove_pod(name) {
            self.improve();
        }
    }

    async fn pod(&mut self, pod: &Pod) {
        let info = PodInfo::of(pod);
        let spec = pod.spec.clone().unwrap_or_default();
        if has_finished(pod) {
            self.pod_gone(&info.name);
        } else if let Some(node) = info.node.clone() {
            self.assumed.remove(&info.name);
            self.queue.remove(&info.name);
            if self.snapshot.assign(info, &node) {
                self.shift();
            }
        } else if self.assumed.get(&info.name) == Some(&info.uid) {
            // Older than the binding that has been sent.
        } else if info.terminating || spec.scheduler_name.as_deref().is_some_and(|name| name != self.config.name) {
            self.queue.remove(&info.name);
        } else if is_gated(pod) {
            self.queue.remove(&info.name);
            self.report_gated(pod, &info).await;
        } else {
            self.queue.put(info);
            self.stir();
        }
    }

    /// Tries a batch of pods.
    async fn cycle(&mut self) {
        self.cycle_at = None;
        self.wake();
        self.queue.advance(self.config.clock.now());
        for _ in 0..BATCH {
            match self.queue.next() {
                Some(pod) => self.try_pod(&pod).await,
                None => return,
            }
        }
        self.cycle_at = Some(self.config.clock.now());
    }

    async fn try_pod(&mut self, pod: &PodInfo) {
        if let Some(why) = self.known_verdict(pod) {
            return self.failed(pod, why).await;
        }
        self.snapshot.prepare(pod);
        match schedule(&self.snapshot, pod) {
            Ok(node) => self.bind(pod, &node).await,
            Err(why) => {
                let verdict = Verdict { improved: self.improved, changed: self.changed, why: why.clone() };
                self.verdicts.retain(|_, verdict| verdict.improved == self.improved);
                self.verdicts.insert(Arc::clone(&pod.signature), verdict);
                self.failed(pod, why).await;
            }
        }
    }

    /// What is known to become of pods like this one. A pod that names its own node or claim is like no other, and its
    /// signature says so.
    fn known_verdict(&self, pod: &PodInfo) -> Option<Unschedulable> {
        let verdict = self.verdicts.get(&pod.signature)?;
        let holds = verdict.improved == self.improved && (!minds_others(pod) || verdict.changed == self.changed);
        holds.then(|| verdict.why.clone())
    }

    async fn bind(&mut self, pod: &PodInfo, node: &NodeName) {
        let claims: Vec<String> = self.snapshot.volumes.waiting(pod).map(str::to_owned).collect();
        for claim in claims {
            let url = format!("/api/v1/namespaces/{}/persistentvolumeclaims/{claim}", pod.name.namespace);
            let body = json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": node.0}}});
            if let Err(error) = self.request(Method::PATCH, &url, MERGE, &body).await {
                tracing::debug!(%error, claim, "a claim could not be told its node");
            }
        }
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": pod.name.name, "namespace": pod.name.namespace, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node.0},
        });
        let url = format!("{}/binding", pod_url(&pod.name));
        match self.request(Method::POST, &url, JSON, &binding).await {
            Ok(_) => self.bound(pod, node).await,
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                tracing::debug!(pod = %pod.name, %status, "the binding was refused: the pod has changed");
                self.queue.remove(&pod.name);
            }
            Err(error) => {
                tracing::warn!(pod = %pod.name, %error, "the binding failed and is tried again");
                self.queue.retry(&pod.name, self.config.clock.now());
            }
        }
    }

    async fn bound(&mut self, pod: &PodInfo, node: &NodeName) {
        self.queue.remove(&pod.name);
        self.assumed.insert(pod.name.clone(), pod.uid.clone());
        if self.snapshot.assign(pod.clone(), &node.0) {
            self.shift();
        }
        let message = format!("Successfully assigned {} to {node}", pod.name);
        self.event(pod, "Normal", "Scheduled", &message).await;
    }

    /// Notes that a pod did not fit; the pod is told when the reasons are new, whatever their counts, so that a node more
    /// does not mean a request for every pending pod.
    async fn failed(&mut self, pod: &PodInfo, why: Unschedulable) {
        if self.queue.failed(&pod.name, why.kinds(), self.config.clock.now()) {
            let message = why.to_string();
            self.condition(pod, "Unschedulable", &message).await;
            self.event(pod, "Warning", "FailedScheduling", &message).await;
        }
    }

    async fn report_gated(&self, pod: &Pod, info: &PodInfo) {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        let told = conditions.into_iter().flatten().any(|condition| {
            condition.type_ == "PodScheduled" && condition.reason.as_deref() == Some("SchedulingGated")
        });
        if !told {
            self.condition(info, "SchedulingGated", GATED).await;
        }
    }

    async fn condition(&self, pod: &PodInfo, reason: &str, message: &str) {
        let time = format!("{:.0}", self.config.clock.now());
        let condition = json!({
            "type": "PodScheduled", "status": "False", "reason": reason, "message": message,
            "lastProbeTime": null, "lastTransitionTime": time, "observedGeneration": pod.generation,
        });
        let body = json!({"metadata": {"uid": pod.uid}, "status": {"conditions": [condition]}});
        let url = format!("{}/status", pod_url(&pod.name));
        if let Err(error) = self.request(Method::PATCH, &url, STRATEGIC, &body).await {
            tracing::debug!(pod = %pod.name, %error, "the pod could not be told why it has no node");
        }
    }

    async fn event(&self, pod: &PodInfo, kind: &str, reason: &str, message: &str) {
        if !self.config.events {
            return;
        }
        let now = self.config.clock.now();
        let mut draws = self.config.seed.stream(&["scheduler", "event", &pod.uid, reason, &now.to_string()]);
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": format!("{}.{}", pod.name.name, draws.hex(16)), "namespace": pod.name.namespace},
            "involvedObject": {
                "apiVersion": "v1", "kind": "Pod", "name": pod.name.name, "namespace": pod.name.namespace, "uid": pod.uid,
            },
            "type": kind, "reason": reason, "message": message,
            "action": if reason == "Scheduled" { "Binding" } else { "Scheduling" },
            // Events of the newer form say only when, and who by these two.
            "eventTime": format!("{now:.6}"),
            "reportingComponent": self.config.name, "reportingInstance": format!("{}-sawhorse", self.config.name),
        });
        let url = format!("/api/v1/namespaces/{}/events", pod.name.namespace);
        if let Err(error) = self.request(Method::POST, &url, JSON, &event).await {
            tracing::debug!(pod = %pod.name, %error, "an event could not be recorded");
        }
    }

    async fn request(&self, method: Method, url: &str, content_type: &str, body: &Value) -> kube::Result<Value> {
        let request = Request::builder().method(method).uri(url).header(CONTENT_TYPE, content_type);
        let request = request.body(body.to_string().into_bytes()).map_err(kube::Error::HttpError)?;
        self.config.client.request(request).await
    }
}

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// What a pod is told that waits for its gates.
pub const GATED: &str = "Scheduling is blocked due to non-empty scheduling gates";

/// Whether the pod has run to its end, and so takes nothing from its node.
pub fn has_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    ["Succeeded", "Failed"].contains(&phase)
}

/// Whether the pod must not be scheduled yet.
pub fn is_gated(pod: &Pod) -> bool {
    let gates = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_ref());
    gates.is_some_and(|gates| !gates.is_empty())
}

/// Whether other pods on nodes matter to this one.
fn minds_others(pod: &PodInfo) -> bool {
    !pod.affinity.is_empty() || pod.spreads.iter().any(|spread| spread.hard)
}

fn name_of<K: ResourceExt>(object: &K) -> PodName {
    PodName { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}

fn pod_url(pod: &PodName) -> String {
    format!("/api/v1/namespaces/{}/pods/{}", pod.namespace, pod.name)
}
