//! A cluster with a fake cloud and two replicas of the controller as processes.

use crate::door::{Door, Gate};
use k8s_openapi::api::{apps::v1::Deployment, coordination::v1::Lease};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams},
};
use sawhorse_ambient::{Clock, Seed};
use sawhorse_core::api::{Ec2NodeClass, NodePool};
use sawhorse_e2e::{
    control_plane::{ControlPlane, Kubernetes, Programs, Times},
    environment::{Environment, Options},
    facts::{Counts, Facts, Wanted},
    run::apply_all,
    scenario::load,
};
use serde_json::json;
use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    task::JoinSet,
};

/// Between two looks at the world.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// For everything that is waited for, on a machine that may be busy.
const LIMIT: Duration = Duration::from_secs(120);
/// The lease of a leader that was killed has to run out for those who wait: 15 s after they last saw it renewed, which they look
/// for every 2.4 s at most. The rest is for a busy machine.
const TAKEOVER_LIMIT: Duration = Duration::from_secs(30);
const NAMESPACE: &str = "sawhorse";
const LEASE: &str = "karpenter-leader-election";

/// One replica.
struct Replica {
    process: Child,
    api: Door,
    cloud: Door,
    log: PathBuf,
}

/// Where the leader is killed.
#[derive(Clone, Copy)]
pub(crate) enum At {
    Api(Gate),
    Cloud(Gate),
}

pub(crate) struct Cluster {
    pub(crate) environment: Environment,
    client: Client,
    controllers: Client,
    clock: Clock,
    replicas: Vec<Replica>,
    started: usize,
    folder: TempDir,
    doors: JoinSet<()>,
    endpoint: String,
    /// How few pods ran at a time since that is looked at.
    least_running: Option<i64>,
}

impl Cluster {
    /// Starts the control plane, the cloud and two replicas.
    pub(crate) async fn start(programs: &Programs) -> Self {
        let scenario = load(include_str!("world.yaml")).unwrap();
        let clock = Clock::from_system();
        let kubernetes = Kubernetes::start(programs, Times { began: clock.now(), speed: 1 }).await.unwrap();
        let endpoint = kubernetes.url().to_owned();
        let options = Options {
            seed: Seed(1),
            clock,
            endpoint: endpoint.clone(),
            servers: None,
            autoscaler: false,
            kwok: None,
            scheduler_events: false,
        };
        let plane = ControlPlane::Kubernetes(Box::new(kubernetes));
        let environment = Environment::start(&scenario, &options, plane).await.unwrap();
        let ControlPlane::Kubernetes(kubernetes) = &environment.control_plane else { unreachable!() };
        let (client, controllers) = (environment.client(), kubernetes.controller().await.unwrap());
        apply_all(&client, &scenario.objects).await.unwrap();
        let folder = TempDir::new().unwrap();
        let (replicas, doors) = (Vec::new(), JoinSet::new());
        let mut cluster = Self {
            environment,
            client,
            controllers,
            clock,
            replicas,
            started: 0,
            folder,
            doors,
            endpoint,
            least_running: None,
        };
        cluster.start_replica().await;
        cluster.start_replica().await;
        cluster
    }

    async fn start_replica(&mut self) {
        self.started += 1;
        let file = |name: &str| self.folder.path().join(format!("{name}-{}", self.started));
        let (api, cloud) = (Door::to_api(self.controllers.clone()), Door::to_cloud(self.environment.cloud.clone()));
        let (api_url, cloud_url) = (api.open(&mut self.doors).await, cloud.open(&mut self.doors).await);
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "door",
            "clusters": [{"name": "door", "cluster": {"server": api_url}}],
            "contexts": [{"name": "door", "context": {"cluster": "door", "user": "door", "namespace": NAMESPACE}}],
            "users": [{"name": "door", "user": {}}],
        });
        std::fs::write(file("kubeconfig"), kubeconfig.to_string()).unwrap();
        let mut command = command(Path::new(env!("CARGO_BIN_EXE_sawhorse")));
        command.args(["controller", "--cluster-name=sawhorse", "--region=us-west-2"]);
        command.args(["--metrics-port=0", "--health-probe-port=0"]);
        command.arg(format!("--kubeconfig={}", file("kubeconfig").display()));
        command.arg(format!("--cluster-endpoint={}", self.endpoint)).arg(format!("--endpoint-url={cloud_url}"));
        command.envs([("AWS_ACCESS_KEY_ID", "AKIDSAWHORSE"), ("AWS_SECRET_ACCESS_KEY", "not-a-secret")]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(file("log")).unwrap());
        let process = command.kill_on_drop(true).spawn().unwrap();
        let log = file("log");
        self.replicas.push(Replica { process, api, cloud, log });
    }

    async fn holder(&self) -> String {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), NAMESPACE);
        let lease = leases.get_opt(LEASE).await.unwrap();
        lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default()
    }

    /// The replica that leads.
    async fn leader(&self) -> Option<usize> {
        let holder = self.holder().await;
        self.replicas.iter().position(|replica| replica.api.leads_as(&holder))
    }

    /// Kills the leader once it comes to `at`, which `act` brings about; waits until the other leads; starts another. Returns
    /// how long nobody led, and what there was when the leader was killed.
    pub(crate) async fn kill_leader(&mut self, at: At, act: impl AsyncFnOnce(&Self)) -> (Duration, Counts) {
        self.until("somebody leads", LIMIT, async |cluster| cluster.leader().await.is_some()).await;
        let leader = self.leader().await.unwrap();
        let door = match at {
            At::Api(gate) => {
                self.replicas[leader].api.hold(gate);
                self.replicas[leader].api.clone()
            }
            At::Cloud(gate) => {
                self.replicas[leader].cloud.hold(gate);
                self.replicas[leader].cloud.clone()
            }
        };
        act(self).await;
        let reached = tokio::time::timeout(LIMIT, door.reached()).await;
        assert!(reached.is_ok(), "the leader does not come to where it is to be killed\n{}", self.told().await);
        // SIGKILL.
        self.replicas[leader].process.kill().await.unwrap();
        self.replicas.remove(leader);
        let killed = self.clock.elapsed();
        // While nobody leads nothing changes, but what is followed may lag behind a little.
        let mut found = self.look();
        let limit = self.clock.elapsed() + TAKEOVER_LIMIT;
        while self.leader().await.is_none() {
            found = self.look();
            assert!(self.clock.elapsed() < limit, "nobody leads after {TAKEOVER_LIMIT:?}\n{}", self.told().await);
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let took = self.clock.elapsed() - killed;
        self.start_replica().await;
        (took, found)
    }

    /// From now on it is noted how few pods run at a time.
    pub(crate) fn note_running(&mut self) {
        self.least_running = Some(i64::MAX);
    }

    /// How few pods ran at a time since then.
    pub(crate) fn least_running(&self) -> Option<i64> {
        self.least_running
    }

    fn look(&mut self) -> Counts {
        let found = self.facts().count;
        self.least_running = self.least_running.map(|least| least.min(found.running));
        found
    }

    /// Sets how many pods a Deployment has.
    pub(crate) async fn scale(&self, name: &str, replicas: usize) {
        let deployments: Api<Deployment> = Api::default_namespaced(self.client.clone());
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        deployments.patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Makes every machine drift from its pool.
    pub(crate) async fn drift(&self, generation: usize) {
        let pools: Api<NodePool> = Api::all(self.client.clone());
        let labels = json!({"spec": {"template": {"metadata": {"labels": {"generation": generation.to_string()}}}}});
        pools.patch("default", &PatchParams::default(), &Patch::Merge(labels)).await.unwrap();
    }

    pub(crate) fn facts(&self) -> Facts {
        let plane = &self.environment.control_plane;
        self.environment.world.with(|world| Facts::gather(plane, world, Wanted { pods: true, events: false }))
    }

    /// Waits until `holds`, which must be within two minutes.
    pub(crate) async fn settles(&mut self, what: &str, holds: impl Fn(&Facts) -> bool) {
        self.until(what, LIMIT, async |cluster| holds(&cluster.facts())).await;
    }

    async fn until(&mut self, what: &str, limit: Duration, holds: impl AsyncFn(&Self) -> bool) {
        let deadline = self.clock.elapsed() + limit;
        while !holds(self).await {
            self.look();
            let broken = self.environment.broken_part();
            assert!(broken.is_none(), "{broken:?}");
            self.restart_those_that_lost_the_lease().await;
            if self.clock.elapsed() > deadline {
                let facts = format!("{:#?}\n{:#?}", self.facts().count, self.facts().node_claims);
                panic!("not within {limit:?}: {what}\n{facts}\n{}", self.told().await);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// A leader that could not renew in time ends, as on a busy machine, and a Deployment starts it again.
    async fn restart_those_that_lost_the_lease(&mut self) {
        for index in (0..self.replicas.len()).rev() {
            let Some(status) = self.replicas[index].process.try_wait().unwrap() else { continue };
            let said = std::fs::read_to_string(&self.replicas[index].log).unwrap_or_default();
            let last = said.lines().last().unwrap_or_default();
            assert!(last.contains("the lease was lost"), "a replica ended ({status}): {last}\n{}", self.told().await);
            eprintln!("a replica could not renew the lease in time and is started again");
            self.replicas.remove(index);
            self.start_replica().await;
        }
    }

    /// The end of what replicas logged.
    async fn told(&self) -> String {
        let mut told = String::new();
        for number in (1..=self.started).rev().take(3) {
            let log = std::fs::read_to_string(self.folder.path().join(format!("log-{number}"))).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            told += &format!("replica {number}:\n{}\n", lines[lines.len().saturating_sub(25)..].join("\n"));
        }
        told
    }

    /// Takes everything down by the API, expects that nothing is left of it anywhere, and stops.
    pub(crate) async fn give_back_and_stop(mut self) {
        self.scale("lone", 0).await;
        self.scale("pair", 0).await;
        Api::<NodePool>::all(self.client.clone()).delete("default", &DeleteParams::default()).await.unwrap();
        self.settles("no machine is left", |facts| {
            (facts.count.node_claims, facts.count.nodes, facts.count.instances) == (0, 0, 0)
        })
        .await;
        let classes: Api<Ec2NodeClass> = Api::all(self.client.clone());
        classes.delete("default", &DeleteParams::default()).await.unwrap();
        self.until("the EC2NodeClass has gone", LIMIT, async |_| classes.get_opt("default").await.unwrap().is_none())
            .await;
        let left = self.environment.world.with(|world| world.ledger().remaining);
        assert!(left.is_empty(), "left behind: {left:?}");
        for mut replica in std::mem::take(&mut self.replicas) {
            replica.process.kill().await.unwrap();
        }
        self.doors.shutdown().await;
        self.environment.stop().await.unwrap();
    }
}

/// On Linux the kernel ends the program with the thread that started it, however that ends.
fn command(program: &Path) -> Command {
    let guard = Path::new("/usr/bin/setpriv");
    if cfg!(target_os = "linux") && guard.exists() {
        let mut command = Command::new(guard);
        command.args(["--pdeathsig", "KILL"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}
