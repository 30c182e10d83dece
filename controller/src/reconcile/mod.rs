//! The loops: each reads *snapshot → core function → apply*.
//!
//! - [`provisioner`] — pending pods → new NodeClaims
//! - [`static_capacity`] — pools with `replicas` → new NodeClaims
//! - [`node_claim`] — a NodeClaim's life: launch, registration, initialization, its end
//! - [`termination`] — a Node's end: taint, drain, volumes, machine
//! - [`disruption`] — which nodes should go, and seeing that through
//! - [`conditions`] — `Drifted` and `Consolidatable` of NodeClaims, and when a pod last came or went
//! - [`node_pool`], [`node_class`], [`capacity_buffer`], [`node_overlay`] — their status
//! - [`garbage_collection`] — NodeClaims without a machine, machines without a NodeClaim
//! - [`queue`] — what the per-object loops are worked off from
//!
//! Nothing polls: a loop sleeps until an object of its changed, the revision moved or something is due.

mod capacity_buffer;
mod catalog;
mod conditions;
mod create;
mod disruption;
mod garbage_collection;
mod instance_status;
mod interruption;
mod node_claim;
mod node_class;
mod node_overlay;
mod node_pool;
mod provisioner;
mod queue;
mod static_capacity;
mod termination;
mod triggers;

pub(crate) use capacity_buffer::BufferRooms;
pub(crate) use catalog::KnownCatalog;
pub(crate) use node_claim::Launches;
pub(crate) use node_pool::RegistrationHealth;
pub(crate) use termination::EvictionPace;
pub(crate) use triggers::Queues;

use crate::{
    apply::{Apply, ApplyError, Event},
    cloud::{CloudError, CloudProvider, NodeClass},
    metrics::Metrics,
    runtime::{Decision, DecisionLog, Tasks},
    state::Mirror,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use queue::{Next, Pace, WorkQueue, work_off};
use sawhorse_ambient::{Clock, Seed};
use sawhorse_core::{
    api::NodeClassReference,
    lifecycle::{self, About},
    model::{BufferKey, ClusterSnapshot, NodeClaimName, NodeName, NodeOverlayName, NodePoolName},
};
use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, field::Empty};

/// NodeClaims are mostly waited for, so many go on at once; the reference has 1,000 at one core.
const CLAIMS: Pace = Pace { concurrency: 1000, backoff: Duration::from_secs(1), backoff_max: Duration::from_secs(60) };
/// As the reference's termination controller at one core.
const NODES: Pace =
    Pace { concurrency: 100, backoff: Duration::from_millis(100), backoff_max: Duration::from_secs(10) };
/// Few objects, cheap work.
const POOLS: Pace = Pace { concurrency: 10, backoff: Duration::from_secs(1), backoff_max: Duration::from_secs(60) };

/// Waits for `time`; false if `stop` came first.
async fn passes(time: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        biased;
        () = stop.cancelled() => false,
        () = tokio::time::sleep(time) => true,
    }
}

/// What every loop works with.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) apply: Apply,
    pub(crate) mirror: Arc<Mirror>,
    pub(crate) provider: Arc<dyn CloudProvider>,
    pub(crate) clock: Clock,
    pub(crate) seed: Seed,
    pub(crate) metrics: Metrics,
    pub(crate) queues: Queues,
    pub(crate) memory: Memory,
    pub(crate) decision_log: Option<Arc<dyn DecisionLog>>,
}

/// What the loops remember between reconciles. Losing it costs a question or a retry, never a machine.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    pub(crate) health: RegistrationHealth,
    pub(crate) launches: Launches,
    pub(crate) eviction_pace: EvictionPace,
    pub(crate) buffer_rooms: BufferRooms,
    /// Held while NodeClaims are decided on and created, so that no two decisions share one pool's head-room.
    pub(crate) creation: Arc<tokio::sync::Mutex<()>>,
    pub(crate) numbers: Arc<AtomicU64>,
    /// What the pools may buy, as last read.
    pub(crate) catalog: Arc<Mutex<KnownCatalog>>,
}

impl Context {
    /// 1, 2, 3, …
    pub(crate) fn next_number(&self) -> u64 {
        self.memory.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn snapshot(&self) -> ClusterSnapshot {
        self.mirror.snapshot(self.now())
    }

    /// Waits until the cluster has been read completely: a loop that knows NodeClaims but not their Nodes yet would end
    /// machines without draining them. False if `stop` came first.
    async fn synced_before(&self, stop: &CancellationToken) -> bool {
        let mut revisions = self.mirror.revisions();
        loop {
            revisions.mark_unchanged();
            if self.mirror.synced() {
                return true;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return false,
                _ = revisions.changed() => {}
            }
        }
    }

    /// In so long.
    pub(crate) fn after(&self, duration: Duration) -> Next {
        Next::At(later(self.now(), duration))
    }

    /// The NodeClass that is referred to, if it exists and is of a kind that the provider knows.
    pub(crate) fn node_class(&self, reference: &NodeClassReference) -> Option<NodeClass> {
        match (reference.group.as_str(), reference.kind.as_str()) {
            (sawhorse_core::api::labels::EC2_GROUP, "EC2NodeClass") => {
                self.mirror.read(|state| state.ec2_node_class(&reference.name)).map(NodeClass::Ec2)
            }
            _ => None,
        }
    }

    /// Records an event that the core wants told; none is about an object that is gone.
    pub(crate) fn tell(&self, event: &lifecycle::Event) {
        let lifecycle::Event { about, warning, reason, message, window } = event;
        let (warning, window) = (*warning, *window);
        let event = self.mirror.read(|state| match about {
            About::NodeClaim(name) => {
                state.node_claim(name).map(|it| Event::about(&*it, warning, reason, message.clone()))
            }
            About::Node(name) => state.node(name).map(|it| Event::about(&*it, warning, reason, message.clone())),
            About::NodePool(name) => {
                state.node_pool(name).map(|it| Event::about(&*it, warning, reason, message.clone()))
            }
            About::Pod(key) => state.pod(key).map(|it| Event::about(&*it, warning, reason, message.clone())),
        });
        if let Some(event) = event {
            self.apply.events.record(event.window(window));
        }
    }

    /// Says which conditions of an object are new or changed, `message` for each.
    fn say_changes(
        &self,
        controller: &'static str,
        message: &'static str,
        (kind, name): (&'static str, &dyn std::fmt::Display),
        [before, after]: [&[Condition]; 2],
    ) {
        let said = |own: &Condition| (own.type_.clone(), own.status.clone(), own.reason.clone());
        let before: Vec<_> = before.iter().map(said).collect();
        for (type_, status, reason) in after.iter().map(said).filter(|condition| !before.contains(condition)) {
            let fields = vec![(kind, name.to_string()), ("condition", type_), ("status", status), ("reason", reason)];
            self.decided(controller, message, fields);
        }
    }

    /// Says that something was decided or done: one line of the log, and the decision log.
    pub(crate) fn decided(&self, controller: &'static str, message: &'static str, fields: Vec<(&'static str, String)>) {
        let text: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        tracing::info!(controller, detail = text.join(" "), "{message}");
        if let Some(log) = &self.decision_log {
            log.record(&Decision { at: self.now(), controller, message, fields });
        }
    }
}

/// Why a reconcile has to be tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    /// A write did not happen.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The cloud did not do it.
    #[error(transparent)]
    Cloud(#[from] CloudError),
}

/// `at` and so much later.
pub(crate) fn later(at: Timestamp, duration: Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    at.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

/// Starts every loop; each ends after `stop`, when what it is at has been finished.
pub(crate) fn spawn_all(tasks: &mut Tasks, ctx: &Context, stop: &CancellationToken) {
    let queues = ctx.queues.clone();
    per_object(tasks, "nodeclaim.lifecycle", ctx, stop, queues.node_claims, CLAIMS, node_claim::reconcile);
    per_object(tasks, "nodeclaim.disruption", ctx, stop, queues.conditions, CLAIMS, conditions::reconcile);
    per_object(tasks, "node.termination", ctx, stop, queues.nodes, NODES, termination::reconcile);
    per_object(tasks, "nodepool", ctx, stop, queues.node_pools, POOLS, node_pool::reconcile);
    per_object(tasks, "nodeclass", ctx, stop, queues.node_classes, POOLS, node_class::reconcile);
    per_object(tasks, "nodeoverlay", ctx, stop, queues.node_overlays, POOLS, node_overlay::reconcile);
    per_object(tasks, "capacitybuffer", ctx, stop, queues.capacity_buffers, POOLS, capacity_buffer::reconcile);
    singleton(tasks, "provisioner", ctx, stop, provisioner::run);
    singleton(tasks, "static.provisioning", ctx, stop, static_capacity::run);
    singleton(tasks, "disruption", ctx, stop, disruption::run);
    singleton(tasks, "interruption", ctx, stop, interruption::run);
    singleton(tasks, "interruption.instancestatus", ctx, stop, instance_status::run);
    singleton(tasks, "garbagecollection", ctx, stop, garbage_collection::run);
    singleton(tasks, "providers", ctx, stop, catalog::keep_fresh);
}

/// A loop that is worked off from a queue, one span per reconcile.
fn per_object<K, R>(
    tasks: &mut Tasks,
    name: &'static str,
    ctx: &Context,
    stop: &CancellationToken,
    queue: WorkQueue<K>,
    pace: Pace,
    reconcile: fn(Context, K) -> R,
) where
    K: Ord + Clone + Send + Sync + Named + 'static,
    R: Future<Output = Result<Next, ReconcileError>> + Send + 'static,
{
    let (ctx, stop) = (ctx.clone(), stop.clone());
    tasks.spawn(name, async move {
        if !ctx.synced_before(&stop).await {
            return;
        }
        let reconcile = move |key: K| {
            let span = tracing::info_span!(
                "reconcile",
                controller = name,
                node_pool = Empty,
                node_claim = Empty,
                node = Empty,
                node_class = Empty,
                capacity_buffer = Empty,
                node_overlay = Empty,
                provider_id = Empty
            );
            span.record(K::FIELD, tracing::field::display(&key));
            let work = reconcile(ctx.clone(), key);
            async move { work.await.or_else(unless_overtaken) }.instrument(span)
        };
        work_off(queue, pace, stop, reconcile).await;
    });
}

/// That somebody else wrote first is everyday business: look again soon. That the object is gone is the end of it.
fn unless_overtaken(error: ReconcileError) -> Result<Next, ReconcileError> {
    match error {
        ReconcileError::Apply(error @ ApplyError::Conflict { .. }) => {
            tracing::debug!(%error, "will be tried again");
            Ok(Next::Backoff)
        }
        ReconcileError::Apply(error @ ApplyError::NotFound { .. }) => {
            tracing::debug!(%error, "nothing is left to do");
            Ok(Next::OnChange)
        }
        error @ (ReconcileError::Apply(ApplyError::Failed { .. }) | ReconcileError::Cloud(_)) => Err(error),
    }
}

/// A loop that runs on its own until it is told to stop.
fn singleton<R>(
    tasks: &mut Tasks,
    name: &'static str,
    ctx: &Context,
    stop: &CancellationToken,
    run: fn(Context, CancellationToken) -> R,
) where
    R: Future<Output = ()> + Send + 'static,
{
    let span = tracing::info_span!("loop", controller = name);
    let (ctx, stop) = (ctx.clone(), stop.clone());
    let work = async move {
        if ctx.synced_before(&stop).await {
            run(ctx, stop).await;
        }
    };
    tasks.spawn(name, work.instrument(span));
}

/// The name of an object, and the field of a span that it goes into.
trait Named: std::fmt::Display {
    const FIELD: &'static str;
}

impl Named for NodeClaimName {
    const FIELD: &'static str = "node_claim";
}

impl Named for NodeName {
    const FIELD: &'static str = "node";
}

impl Named for NodePoolName {
    const FIELD: &'static str = "node_pool";
}

impl Named for NodeOverlayName {
    const FIELD: &'static str = "node_overlay";
}

impl Named for BufferKey {
    const FIELD: &'static str = "capacity_buffer";
}

impl Named for String {
    const FIELD: &'static str = "node_class";
}

fn pool_of(labels: Option<&std::collections::BTreeMap<String, String>>) -> Option<NodePoolName> {
    labels?.get(sawhorse_core::api::labels::NODE_POOL).map(NodePoolName::from)
}

fn claim_name(claim: &sawhorse_core::api::NodeClaim) -> NodeClaimName {
    NodeClaimName::from(claim.metadata.name.as_deref().unwrap_or_default())
}

fn node_name(node: &k8s_openapi::api::core::v1::Node) -> NodeName {
    NodeName::from(node.metadata.name.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests;
