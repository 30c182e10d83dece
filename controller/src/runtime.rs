//! Wiring: watches, loops, leader lease, servers, shutdown.

use crate::{
    apply::{Apply, Recorder, events},
    cloud::{CloudProvider, MeteredProvider},
    leader::Candidate,
    metrics::{ClusterMetrics, Metrics},
    reconcile::{self, Context, Memory, Queues},
    serve,
    state::{Mirror, follow},
};
use anyhow::anyhow;
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
    core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, PodTemplate},
    policy::v1::PodDisruptionBudget,
    storage::v1::{CSINode, StorageClass},
};
use kube::{Api, Client};
use sawhorse_ambient::{Clock, Seed};
use sawhorse_core::{
    api::{CapacityBuffer, Ec2NodeClass, NodeClaim, NodeOverlay, NodePool},
    model::Settings,
};
use std::{fmt, future::Future, sync::Arc, time::Duration};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use crate::{
    leader::{LeaderElection, LeaseTimes},
    serve::Servers,
};

/// How long requests that are under way may take to finish at shutdown. Shorter than the lease (15 s), which is not renewed
/// any more then.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// Everything that the controller takes from its surroundings.
#[derive(Clone)]
pub struct ControllerConfig {
    /// The cluster.
    pub client: Client,
    /// The cloud.
    pub provider: Arc<dyn CloudProvider>,
    /// The time.
    pub clock: Clock,
    /// What names and tie-breaks are drawn from. In production it is drawn anew at each start.
    pub seed: Seed,
    /// How to decide.
    pub settings: Settings,
    /// This instance's name among those that ask for the lease; unique.
    pub identity: String,
    /// The lease to ask for; none to act at once.
    pub leader_election: Option<LeaderElection>,
    /// Where to listen; none (as in virtual time) not to.
    pub servers: Option<Servers>,
    /// Told of every decision, besides the log.
    pub decision_log: Option<Arc<dyn DecisionLog>>,
}

impl fmt::Debug for ControllerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControllerConfig")
            .field("provider", &self.provider.name())
            .field("settings", &self.settings)
            .field("identity", &self.identity)
            .field("leader_election", &self.leader_election)
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

/// Something that was decided or done, as a line of the log says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// When.
    pub at: Timestamp,
    /// Which loop, by the reference's name, e.g. `provisioner` or `nodeclaim.lifecycle`.
    pub controller: &'static str,
    /// What, in the reference's words where it has some, e.g. `created nodeclaim`.
    pub message: &'static str,
    /// The objects and values concerned, in order.
    pub fields: Vec<(&'static str, String)>,
}

/// Is told of every decision and every action, in order.
pub trait DecisionLog: Send + Sync + 'static {
    /// Called as soon as it is decided or done. Must not block.
    fn record(&self, decision: &Decision);
}

/// Runs the controller until `shutdown`.
///
/// Everything runs in tasks that this future owns: dropping it ends them all at their next await, as a kill would. What was
/// begun is found again by the next instance.
///
/// # Errors
/// A port that is taken, a lost lease, a loop that ended (a broken invariant).
pub async fn run(config: ControllerConfig, shutdown: CancellationToken) -> anyhow::Result<()> {
    let ControllerConfig { client, provider, clock, seed, settings, identity, leader_election, servers, decision_log } =
        config;
    let settings = Settings { repair_policies: provider.repair_policies(), ..settings };
    let metrics = Metrics::new();
    let queues = Queues::new(clock);
    let mirror = Arc::new(Mirror::new(settings, queues.listeners(metrics.clone(), clock)));
    metrics.observe_cluster(ClusterMetrics { mirror: Arc::clone(&mirror), clock });
    let (recorder, to_write) = Recorder::new(clock);
    let mut background = Tasks::default();
    if let Some(servers) = servers {
        serve_all(&mut background, servers, &metrics, &mirror, &shutdown).await?;
    }
    watch_all(&mut background, &client, &mirror);
    let gates = mirror.read(|state| state.settings().feature_gates.clone());
    if gates.capacity_buffer {
        watch_buffers(&mut background, &client, &mirror);
    }
    if gates.node_overlay {
        background.spawn("watch of NodeOverlays", follow(Api::<NodeOverlay>::all(client.clone()), Arc::clone(&mirror)));
    }
    let mut writer = Tasks::default();
    writer.spawn("events", events::write(client.clone(), to_write));

    let mut candidate = leader_election.map(|election| {
        let jitter = seed.stream(&["leader-election", &identity]);
        Candidate::new(client.clone(), election, identity, clock, jitter, metrics.clone())
    });
    tokio::select! {
        biased;
        () = shutdown.cancelled() => return Ok(()),
        () = lead(&mut candidate) => {}
        error = background.ended() => return Err(error),
    }
    let provider: Arc<dyn CloudProvider> = Arc::new(MeteredProvider::new(provider, metrics.clone(), clock));
    let apply = Apply::new(client, Arc::clone(&mirror), metrics.clone(), recorder);
    let memory = Memory::default();
    let ctx = Context { apply, mirror, provider, clock, seed, metrics, queues, decision_log, memory };
    let stop = CancellationToken::new();
    let mut loops = Tasks::default();
    reconcile::spawn_all(&mut loops, &ctx, &stop);
    drop(ctx);

    let outcome = tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(()),
        () = lose(&mut candidate) => Err(anyhow!("the lease was lost: another instance may act now, so this one ends")),
        error = loops.ended() => Err(error),
        error = background.ended() => Err(error),
    };
    if outcome.is_ok() {
        stop.cancel();
        loops.finish("the loops").await;
    }
    // After a lost lease nothing more may be written, so what is under way is dropped.
    drop(loops);
    if let Some(candidate) = &mut candidate {
        candidate.release().await;
    }
    writer.finish("the events").await;
    outcome
}

async fn lead(candidate: &mut Option<Candidate>) {
    if let Some(candidate) = candidate {
        candidate.acquire().await;
    }
}

async fn lose(candidate: &mut Option<Candidate>) {
    match candidate {
        Some(candidate) => candidate.keep().await,
        None => std::future::pending().await,
    }
}

async fn serve_all(
    tasks: &mut Tasks,
    servers: Servers,
    metrics: &Metrics,
    mirror: &Arc<Mirror>,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let Servers { address, metrics_port, health_probe_port } = servers;
    let routers = [
        (metrics_port, "metrics", serve::metrics_router(metrics.clone())),
        (health_probe_port, "probes", serve::health_router(Arc::clone(mirror))),
    ];
    for (port, what, router) in routers {
        let listener = serve::listen(address, port, what).await?;
        let shutdown = shutdown.clone();
        tasks.spawn(what, async move {
            if let Err(error) = serve::serve(listener, router, shutdown).await {
                tracing::error!(error = %format_args!("{error:#}"), "a server ended");
            }
        });
    }
    Ok(())
}

fn watch_all(tasks: &mut Tasks, client: &Client, mirror: &Arc<Mirror>) {
    tasks.spawn("watch of NodePools", follow(Api::<NodePool>::all(client.clone()), Arc::clone(mirror)));
    tasks.spawn("watch of NodeClaims", follow(Api::<NodeClaim>::all(client.clone()), Arc::clone(mirror)));
    tasks.spawn("watch of EC2NodeClasses", follow(Api::<Ec2NodeClass>::all(client.clone()), Arc::clone(mirror)));
    tasks.spawn("watch of Nodes", follow(Api::<Node>::all(client.clone()), Arc::clone(mirror)));
    tasks.spawn("watch of Pods", follow(Api::<Pod>::all(client.clone()), Arc::clone(mirror)));
    tasks.spawn("watch of DaemonSets", follow(Api::<DaemonSet>::all(client.clone()), Arc::clone(mirror)));
    tasks.spawn(
        "watch of PodDisruptionBudgets",
        follow(Api::<PodDisruptionBudget>::all(client.clone()), Arc::clone(mirror)),
    );
    tasks.spawn("watch of Namespaces", follow(Api::<Namespace>::all(client.clone()), Arc::clone(mirror)));
    tasks.spawn(
        "watch of PersistentVolumeClaims",
        follow(Api::<PersistentVolumeClaim>::all(client.clone()), Arc::clone(mirror)),
    );
    tasks.spawn("watch of PersistentVolumes", follow(Api::<PersistentVolume>::all(client.clone()), Arc::clone(mirror)));
    tasks.spawn("watch of StorageClasses", follow(Api::<StorageClass>::all(client.clone()), Arc::clone(mirror)));
    tasks.spawn("watch of CSINodes", follow(Api::<CSINode>::all(client.clone()), Arc::clone(mirror)));
}

/// CapacityBuffers, and what they may refer to: a cluster without the feature is not asked for all its workloads.
fn watch_buffers(tasks: &mut Tasks, client: &Client, mirror: &Arc<Mirror>) {
    tasks.spawn("watch of CapacityBuffers", follow(Api::<CapacityBuffer>::all(client.clone()), Arc::clone(mirror)));
    tasks.spawn("watch of PodTemplates", follow(Api::<PodTemplate>::all(client.clone()), Arc::clone(mirror)));
    tasks.spawn("watch of Deployments", follow(Api::<Deployment>::all(client.clone()), Arc::clone(mirror)));
    tasks.spawn("watch of StatefulSets", follow(Api::<StatefulSet>::all(client.clone()), Arc::clone(mirror)));
    tasks.spawn("watch of ReplicaSets", follow(Api::<ReplicaSet>::all(client.clone()), Arc::clone(mirror)));
}

/// Named tasks that end with their owner.
#[derive(Default)]
pub(crate) struct Tasks {
    set: JoinSet<&'static str>,
}

impl Tasks {
    pub(crate) fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.set.spawn(async move {
            task.await;
            name
        });
    }

    /// Returns when one of them has ended, which none of them should.
    async fn ended(&mut self) -> anyhow::Error {
        match self.set.join_next().await {
            Some(Ok(name)) => anyhow!("`{name}` ended unexpectedly"),
            Some(Err(error)) => anyhow!(error).context("a part of the controller broke down"),
            None => std::future::pending().await,
        }
    }

    /// Waits for all of them to end, for a while.
    async fn finish(&mut self, what: &str) {
        let all = async { while self.set.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_GRACE, all).await.is_err() {
            tracing::warn!("{what} did not finish within {SHUTDOWN_GRACE:?} and were dropped");
        }
    }
}
