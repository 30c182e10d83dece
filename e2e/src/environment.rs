//! Control plane, cloud, kubelets, scheduler and controller wired together. With the embedded control plane all of it is in
//! process and no socket is opened.

use crate::{
    control_plane::{
        ControlPlane, Deployment, Kind, KubernetesCluster, Kwok, KwokPrograms, MANAGED, Pace, Times, access,
    },
    event_log::{EventLog, Source},
    observer::{self, SharedTally},
    run::apply_all,
    scenario::{ControllerSpec, Scenario},
};
use anyhow::Context as _;
use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http_body_util::BodyExt;
use jiff::Timestamp;
use kube::Client;
use sawhorse_ambient::{Clock, Seed};
use sawhorse_controller::{
    cloud::ec2::{
        Cluster, Ec2Provider, Ec2ProviderConfig,
        sdk::{Clients, InProcess, sdk_config_over},
    },
    runtime::{self, ControllerConfig, Decision, DecisionLog, LeaderElection, LeaseTimes, Servers},
};
use sawhorse_core::model::{FeatureGates, Settings};
use sawhorse_fake_cloud::{
    app::{SharedWorld, app, doors, drive},
    world::{RunningMachine, World},
};
use sawhorse_kwok::{
    controllers::{self, ControllersConfig},
    kubelet::{self, KubeletConfig, LeaseOptions, NodeControllers, NodeLifecycleOptions, Spread},
    machine::{ClusterIdentity, Machine, MachineSource},
    scheduler::{self, SchedulerConfig},
    stage::library::without_heartbeats,
};
use serde_json::Value;
use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::Notify,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

/// The address that nodes are told in virtual time; nothing listens there.
pub const IN_PROCESS_ENDPOINT: &str = "https://cluster.sawhorse.internal";
/// How many requests of the kubelets are under way at a time on a real API server.
const REQUESTS_ON_REAL_SERVERS: NonZeroUsize = NonZeroUsize::new(16).expect("it is not 0");
/// The largest request to the cloud that is looked at on its way.
const MAX_CLOUD_REQUEST: usize = 8 << 20;
/// The share of memory that the hypervisor keeps, as the provider assumes it (spec aws 8: the default).
const VM_MEMORY_OVERHEAD: f64 = 0.075;

/// What an environment is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// The seed of everything drawn.
    pub seed: Seed,
    /// The time.
    pub clock: Clock,
    /// The URL of the API server as nodes and kubeconfigs name it.
    pub endpoint: String,
    /// Where the controller serves metrics and probes; none in virtual time.
    pub servers: Option<Servers>,
    /// Whether our own controller runs; otherwise another autoscaler may be started against the same endpoints.
    pub autoscaler: bool,
    /// Upstream KWOK in the place of our kubelets, on a real control plane.
    pub kwok: Option<KwokPrograms>,
    /// Whether the embedded scheduler records events, for people who look: one more request for each binding.
    pub scheduler_events: bool,
}

/// A running world.
pub struct Environment {
    /// The time.
    pub clock: Clock,
    /// What the objects live in.
    pub control_plane: ControlPlane,
    /// The cloud's world.
    pub world: SharedWorld,
    /// The cloud's doors.
    pub cloud: Router,
    /// What happened.
    pub log: EventLog,
    /// What was counted.
    pub tally: SharedTally,
    controller: ControllerSlot,
    kwok: Option<Kwok>,
    tasks: JoinSet<()>,
    shutdown: CancellationToken,
}

/// The controller that runs, if any, and how to make another.
struct ControllerSlot {
    /// None where the controller runs in the cluster.
    config: Option<ControllerConfig>,
    running: Option<(JoinHandle<anyhow::Result<()>>, CancellationToken)>,
    kill: Arc<KillSwitch>,
    instances: u32,
    failure: Arc<Mutex<Option<String>>>,
}

impl Environment {
    /// Installs the custom resources and starts everything that `scenario` needs; its objects are not applied yet. Call inside
    /// a current-thread runtime.
    ///
    /// # Errors
    /// A cloud configuration that cannot be; a control plane that refuses the custom resources or the controller's manifests.
    pub async fn start(scenario: &Scenario, options: &Options, control_plane: ControlPlane) -> anyhow::Result<Self> {
        let Options { seed, clock, endpoint, servers, autoscaler, kwok, scheduler_events } = options.clone();
        let log = EventLog::new(clock.now());
        let tally = SharedTally::default();
        let mut cloud_config = scenario.cloud.clone();
        cloud_config.seed = seed.0;
        let world = World::new(&cloud_config, clock.now()).context("the cloud cannot begin so")?;
        let world = SharedWorld::new(world, clock);
        let cloud = app(world.clone());
        let crds = install(&control_plane.client()).await?;
        control_plane.serves(&crds).await?;
        let shutdown = CancellationToken::new();
        let kill = Arc::new(KillSwitch::default());
        let identity = ClusterIdentity { name: cloud_config.cluster.clone(), endpoint };
        let watched = |doors: Router| doors.layer(axum::middleware::from_fn_with_state(Arc::clone(&kill), pass));
        let settings = settings(scenario);
        let config = match controller_client(&control_plane).await? {
            None => None,
            Some(client) => Some(ControllerConfig {
                client,
                provider: Arc::new(provider(
                    watched(cloud.clone()),
                    &cloud_config.region,
                    &identity,
                    clock,
                    seed,
                    scenario.controller.interruption_queue.then(|| identity.name.clone()),
                )),
                clock,
                seed,
                settings: settings.clone(),
                identity: "sawhorse".to_owned(),
                leader_election: scenario.controller.leader_election.then(lease),
                servers,
                decision_log: Some(Arc::new(Decisions(log.clone()))),
            }),
        };
        let kwok = kwok.as_ref().map(|programs| start_kwok(programs, &control_plane)).transpose()?;
        let mut environment = Self {
            clock,
            control_plane,
            world,
            cloud,
            log,
            tally,
            controller: ControllerSlot { config, running: None, kill, instances: 0, failure: Arc::default() },
            kwok,
            tasks: JoinSet::new(),
            shutdown,
        };
        let deployment = Deployment {
            cluster_name: identity.name.clone(),
            cluster_endpoint: identity.endpoint.clone(),
            region: cloud_config.region,
            cloud: String::new(),
            interruption_queue: scenario.controller.interruption_queue.then(|| identity.name.clone()),
            settings,
        };
        environment.start_parts(scenario, identity, seed, scheduler_events);
        if autoscaler {
            environment.start_controller();
            environment.deploy_controller(deployment).await?;
        }
        Ok(environment)
    }

    /// Where the controller runs in the cluster: gives it the cloud's doors, without the tester's, at an address that only docker's
    /// containers and this machine reach; has it deployed; and kills its leader when the switch says so.
    async fn deploy_controller(&mut self, deployment: Deployment) -> anyhow::Result<()> {
        let ControlPlane::Kind(run) = &self.control_plane else { return Ok(()) };
        let gateway = run.cluster().gateway();
        let listener = TcpListener::bind((gateway, 0)).await;
        let listener =
            listener.with_context(|| format!("the cloud cannot be served at {gateway}, where pods reach it"))?;
        let cloud = format!("http://{}", listener.local_addr()?);
        let kill = Arc::clone(&self.controller.kill);
        let doors = doors(self.world.clone()).layer(axum::middleware::from_fn_with_state(Arc::clone(&kill), pass));
        self.tasks.spawn(async move {
            if let Err(error) = axum::serve(listener, doors).await {
                tracing::warn!(%error, "the cloud is not served any more");
            }
        });
        run.deploy(&Deployment { cloud, ..deployment }).await?;
        self.log.add(self.clock.now(), Source::Controller, "controller", "deployed");
        let (run, log, clock) = (Kind::clone(run), self.log.clone(), self.clock);
        let failure = Arc::clone(&self.controller.failure);
        self.tasks.spawn(async move {
            loop {
                kill.pulled.notified().await;
                match run.kill_leader().await {
                    Ok(pod) => log.add(clock.now(), Source::Step, "controller", format!("killed in {pod}")),
                    Err(error) => {
                        let error = format!("its leader cannot be killed: {error:#}");
                        *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    }
                }
                kill.done();
            }
        });
        Ok(())
    }

    /// Adds to the log what a controller in the cluster says that it has done; one in this process has told that itself.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn hear_controller(&self) -> anyhow::Result<()> {
        match &self.control_plane {
            ControlPlane::Embedded(_) | ControlPlane::Kubernetes(_) => Ok(()),
            ControlPlane::Kind(run) => run.hear_controller(&self.log).await,
        }
    }

    fn start_parts(&mut self, scenario: &Scenario, cluster: ClusterIdentity, seed: Seed, scheduler_events: bool) {
        let (client, clock, shutdown) = (self.client(), self.clock, self.shutdown.clone());
        self.tasks.spawn(drive(self.world.clone()));
        let (own, log, tally) = (self.control_plane.own(), self.log.clone(), Arc::clone(&self.tally));
        self.tasks.spawn(observer::observe(client.clone(), clock, log, tally, own));
        let mut node_controllers = self.start_what_kubernetes_has(seed, scheduler_events);
        let log = self.log.clone();
        let machines = Arc::new(CloudMachines(self.world.clone()));
        let mut kubelets = KubeletConfig::new(client, machines, clock, seed, cluster);
        let boot = scenario.nodes.boot;
        kubelets.boot = Spread::seconds(boot.registered.least, boot.registered.typical, boot.registered.most);
        kubelets.ready = Spread::seconds(boot.ready.least, boot.ready.typical, boot.ready.most);
        if !scenario.nodes.heartbeats {
            kubelets.stages = without_heartbeats(kubelets.stages);
        }
        if let Some((_, times)) = self.control_plane.real() {
            // A node is silent by the cluster's clock, whatever the scenario says; more requests than that needs only cost time.
            kubelets.leases = Some(LeaseOptions { duration: times.longest_lease() });
        } else if let Some(duration) = scenario.nodes.lease_duration {
            kubelets.leases = Some(LeaseOptions { duration: duration.0 });
            if let NodeControllers::All(options) = &mut node_controllers {
                options.grace = options.grace.max(duration.0);
            }
        }
        if self.kwok.is_some() {
            // Machines boot and register; the rest is KWOK's.
            kubelets.stages = Vec::new();
            kubelets.leases = None;
            kubelets.node.annotations = [MANAGED].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        }
        kubelets.node_controllers = node_controllers;
        if !matches!(self.control_plane, ControlPlane::Embedded(_)) {
            // Nothing is in order there anyway, and each answer takes its time.
            kubelets.at_a_time = REQUESTS_ON_REAL_SERVERS;
        }
        kubelets.on_event = Arc::new(move |event| {
            log.add(event.at, Source::Machine, event.instance_id, event.kind.to_string());
        });
        let log = self.log.clone();
        self.tasks.spawn(async move {
            if let Err(error) = kubelet::run(kubelets, shutdown).await {
                log.add(clock.now(), Source::Machine, "kubelets", format!("cannot run: {error}"));
            }
        });
    }

    /// Beside the embedded API server, what Kubernetes has around it; a real one brings that, but for the cloud's controller of nodes.
    fn start_what_kubernetes_has(&mut self, seed: Seed, scheduler_events: bool) -> NodeControllers {
        let cluster = match &self.control_plane {
            ControlPlane::Kubernetes(cluster) => {
                self.tasks.spawn(cluster.follow());
                return NodeControllers::OfTheCloud;
            }
            ControlPlane::Kind(run) => {
                self.tasks.spawn(run.follow());
                return NodeControllers::OfTheCloud;
            }
            ControlPlane::Embedded(server) => server.client(),
        };
        let (clock, shutdown) = (self.clock, self.shutdown.clone());
        let scheduler =
            SchedulerConfig { events: scheduler_events, ..SchedulerConfig::new(cluster.clone(), clock, seed) };
        self.tasks.spawn(scheduler::run(scheduler, shutdown.clone()));
        let controllers = ControllersConfig::new(cluster, clock, seed);
        self.tasks.spawn(async move {
            controllers::run(controllers, shutdown).await;
        });
        NodeControllers::All(NodeLifecycleOptions::default())
    }

    /// A client of the cluster that may do everything.
    pub fn client(&self) -> Client {
        self.control_plane.client()
    }

    /// Starts a controller; nothing happens while one runs. In the cluster the replicas start again by themselves.
    pub fn start_controller(&mut self) {
        let slot = &mut self.controller;
        let Some(config) = &slot.config else { return };
        if slot.running.as_ref().is_some_and(|(task, _)| !task.is_finished()) {
            return;
        }
        slot.instances += 1;
        let stop = CancellationToken::new();
        let config = ControllerConfig { identity: format!("sawhorse-{}", slot.instances), ..config.clone() };
        slot.kill.done();
        let (kill, log, clock, token) = (Arc::clone(&slot.kill), self.log.clone(), self.clock, stop.clone());
        let failure = Arc::clone(&slot.failure);
        let task = tokio::spawn(async move {
            let outcome = tokio::select! {
                biased;
                () = kill.pulled.notified() => {
                    log.add(clock.now(), Source::Step, "controller", "killed");
                    return Ok(());
                }
                outcome = runtime::run(config, token) => outcome,
            };
            if let Err(error) = &outcome {
                log.add(clock.now(), Source::Controller, "controller", format!("ended: {error:#}"));
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{error:#}"));
            }
            outcome
        });
        slot.running = Some((task, stop));
    }

    /// Ends the controller as a kill would: now, or once the cloud has answered `operation` with success.
    pub fn kill_controller(&self, once_succeeded: Option<&str>) {
        match once_succeeded {
            Some(operation) => self.controller.kill.arm(operation),
            None => self.controller.kill.pulled.notify_one(),
        }
    }

    /// What has ended that should run: a part of the world (it panicked), or the controller (with an error).
    pub fn broken_part(&mut self) -> Option<String> {
        if let Some(ended) = self.tasks.try_join_next() {
            return Some(match ended {
                Ok(()) => "a part of the world ended".to_owned(),
                Err(error) => format!("a part of the world broke down: {error}"),
            });
        }
        if let ControlPlane::Kubernetes(cluster) = &mut self.control_plane
            && let Err(error) = cluster.all_run()
        {
            return Some(format!("{error:#}"));
        }
        if let Some(Err(error)) = self.kwok.as_mut().map(Kwok::runs) {
            return Some(format!("{error:#}"));
        }
        let failed = self.controller.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        failed.map(|error| format!("the controller ended: {error}"))
    }

    /// Stops everything in order: the controller finishes what it is writing, then the rest ends.
    ///
    /// # Errors
    /// A cluster that outlives the run is not left as it was.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.leave(false).await.map(drop)
    }

    /// As [`Environment::stop`], but that real programs stay for another run if `keep` says so.
    ///
    /// # Errors
    /// A cluster that outlives the run is not left as it was.
    pub async fn leave(mut self, keep: bool) -> anyhow::Result<Option<KubernetesCluster>> {
        if let Some((task, stop)) = self.controller.running.take() {
            stop.cancel();
            // A controller that broke down has said so in the log.
            let _ = task.await;
        }
        self.shutdown.cancel();
        self.tasks.shutdown().await;
        if let (Some(kwok), Some((_, times))) = (self.kwok.take(), self.control_plane.real()) {
            kwok.stop(times.speed).await;
        }
        self.control_plane.leave(keep).await
    }
}

/// Applies the custom resource definitions; their names.
async fn install(client: &Client) -> anyhow::Result<Vec<String>> {
    let crds = sawhorse_core::api::crds();
    let objects: Vec<Value> = crds.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
    apply_all(client, &objects).await?;
    Ok(crds.into_iter().filter_map(|crd| crd.metadata.name).collect())
}

/// The client of a controller in this process, if that is where it runs: in a real cluster it may do what its manifests say.
async fn controller_client(control_plane: &ControlPlane) -> anyhow::Result<Option<Client>> {
    match control_plane {
        ControlPlane::Embedded(server) => Ok(Some(server.client())),
        ControlPlane::Kubernetes(cluster) => cluster.controller().await.map(Some),
        ControlPlane::Kind(_) => Ok(None),
    }
}

/// How the controller decides.
pub(crate) fn settings(scenario: &Scenario) -> Settings {
    let ControllerSpec { spot_to_spot_consolidation, node_repair, static_capacity, .. } = scenario.controller;
    let ControllerSpec { capacity_buffer, node_overlay, .. } = scenario.controller;
    let ControllerSpec { forceful_expiration, forceful_repair, .. } = scenario.controller;
    let feature_gates = FeatureGates {
        spot_to_spot_consolidation,
        node_repair,
        static_capacity,
        capacity_buffer,
        node_overlay,
        ..FeatureGates::default()
    };
    Settings { forceful_expiration, forceful_repair, feature_gates, ..Settings::default() }
}

/// Upstream KWOK for a real control plane.
fn start_kwok(programs: &KwokPrograms, control_plane: &ControlPlane) -> anyhow::Result<Kwok> {
    let (kubeconfig, Times { speed, .. }) =
        control_plane.real().context("KWOK needs a real control plane: `--control-plane binaries` or `kind`")?;
    Kwok::start(programs, &kubeconfig, Pace::of(speed))
}

/// The lease of the controller's manifests.
fn lease() -> LeaderElection {
    LeaderElection {
        name: access::LEASE.to_owned(),
        namespace: access::NAMESPACE.to_owned(),
        times: LeaseTimes::default(),
    }
}

/// The EC2 provider over the cloud's router.
fn provider(
    cloud: Router,
    region: &str,
    cluster: &ClusterIdentity,
    clock: Clock,
    seed: Seed,
    interruption_queue: Option<String>,
) -> Ec2Provider {
    let cluster = Cluster {
        name: cluster.name.clone(),
        endpoint: cluster.endpoint.clone(),
        ca_bundle: String::new(),
        service_cidr: "10.100.0.0/16".to_owned(),
        dns_address: None,
        kubernetes_version: "1.35".to_owned(),
    };
    let credentials = aws_sdk_ec2::config::Credentials::new("AKIDSAWHORSE", "not-a-secret", None, None, "sawhorse");
    let sdk = sdk_config_over(InProcess(cloud), region, credentials, clock);
    Ec2Provider::new(Ec2ProviderConfig {
        clients: Clients::new(&sdk, region),
        clock,
        seed,
        observer: None,
        region: region.to_owned(),
        cluster,
        vm_memory_overhead_percent: VM_MEMORY_OVERHEAD,
        reserved_enis: 0,
        interruption_queue,
    })
}

/// Ends the controller at a chosen answer of the cloud.
#[derive(Debug, Default)]
struct KillSwitch {
    state: Mutex<Armed>,
    pulled: Notify,
}

/// What the switch waits for.
#[derive(Debug, Default)]
enum Armed {
    /// Nothing.
    #[default]
    No,
    /// The success of this operation.
    For(String),
    /// The end of the controller: until then it gets no answer.
    Fired,
}

impl KillSwitch {
    fn arm(&self, operation: &str) {
        self.set(Armed::For(operation.to_owned()));
    }

    /// The controller has ended.
    fn done(&self) {
        let fired = matches!(*self.state.lock().unwrap_or_else(PoisonError::into_inner), Armed::Fired);
        if fired {
            self.set(Armed::No);
        }
    }

    fn set(&self, state: Armed) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Whether the call that has just succeeded is to be answered; the controller's end begins with the one that was waited for.
    fn lets_through(&self, request: &Bytes) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &*state {
            Armed::No => true,
            Armed::Fired => false,
            Armed::For(operation) => {
                let wanted = format!("Action={operation}&");
                let is_it = request.windows(wanted.len()).any(|window| window == wanted.as_bytes());
                if is_it {
                    *state = Armed::Fired;
                    self.pulled.notify_one();
                }
                !is_it
            }
        }
    }

    fn is_armed(&self) -> bool {
        !matches!(*self.state.lock().unwrap_or_else(PoisonError::into_inner), Armed::No)
    }
}

/// Passes a call on to the cloud; an answer that the switch waits for never arrives, because its reader is killed.
async fn pass(State(switch): State<Arc<KillSwitch>>, request: Request, next: Next) -> Response {
    if !switch.is_armed() {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let body = http_body_util::Limited::new(body, MAX_CLOUD_REQUEST).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let response = next.run(Request::from_parts(parts, Body::from(body.clone()))).await;
    if response.status().is_success() && !switch.lets_through(&body) {
        std::future::pending::<()>().await;
    }
    response
}

/// The cloud's running machines as the kubelets see them.
struct CloudMachines(SharedWorld);

#[async_trait]
impl MachineSource for CloudMachines {
    fn machines(&self) -> Vec<Machine> {
        self.0.with(|world| world.running_machines()).into_iter().map(machine).collect()
    }

    async fn changed(&self, seen: u64) -> u64 {
        self.0.changed(seen).await
    }
}

fn machine(running: RunningMachine) -> Machine {
    Machine {
        instance_id: running.instance_id,
        provider_id: running.provider_id,
        instance_type: running.machine_type.to_owned(),
        region: running.region.to_owned(),
        zone: running.zone.to_owned(),
        zone_id: running.zone_id.to_owned(),
        architecture: running.architecture.to_owned(),
        private_dns_name: running.private_dns_name,
        private_ip: running.private_ip,
        user_data: running.user_data,
        hardware: running.hardware,
        running_since: running.running_since,
    }
}

/// The controller's decisions, written into the log.
struct Decisions(EventLog);

impl DecisionLog for Decisions {
    fn record(&self, decision: &Decision) {
        let fields: Vec<String> = decision.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let what = format!("{} {}", decision.message, fields.join(" "));
        self.0.add(decision.at, Source::Controller, decision.controller, what.trim_end());
    }
}

/// A clock for a run that starts at `start`, in the time of the current runtime.
pub fn clock_from(start: Timestamp) -> Clock {
    Clock::starting_at(start)
}

/// How long a real second is looked at in pieces while something is waited for.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
