//! A Kubernetes control plane of real programs on loopback ports, thrown away when it is stopped.

use super::{
    access,
    certificates::{Authority, Identity},
    fast_motion::client,
    mirror::Mirror,
    processes::{Processes, free_ports},
    times::Times,
};
use anyhow::{Context, bail};
use k8s_openapi::{
    api::core::v1::ServiceAccount, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config,
    config::Kubeconfig,
    runtime::{conditions::is_crd_established, wait::await_condition},
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;

/// How long the whole may take to answer, in real time.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How often it is asked meanwhile, in real time.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// How long programs may take to end, in real time.
const STOP_GRACE: Duration = Duration::from_secs(3);
/// The least grace for silent nodes in real time: renewals of leases must get through on a busy machine.
const LEAST_NODE_GRACE: u64 = 8;
/// Seconds after which a node is called silent, and pods leave unready nodes, as Kubernetes has them.
const NODE_GRACE: u64 = 40;
/// Seconds between two looks at all nodes.
const NODE_MONITOR_PERIOD: u64 = 5;
pub(super) const TOLERATION: u64 = 300;

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs(PathBuf);

impl Programs {
    /// Programs in the folder that `KUBEBUILDER_ASSETS` names, for tests: they have no command line.
    ///
    /// # Errors
    /// It names none, or not all are there.
    #[expect(clippy::disallowed_methods, reason = "a test has no command line")]
    pub fn from_environment() -> anyhow::Result<Self> {
        let folder = std::env::var("KUBEBUILDER_ASSETS")
            .context("the Makefile's targets name the programs' folder in KUBEBUILDER_ASSETS")?;
        Self::in_folder(Path::new(&folder))
    }

    /// Where a further program of the folder is, e.g. `helm`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Programs in a folder, as `KUBEBUILDER_ASSETS` names it.
    ///
    /// # Errors
    /// One of etcd, kube-apiserver, kube-controller-manager and kube-scheduler is not there.
    pub fn in_folder(folder: &Path) -> anyhow::Result<Self> {
        for name in ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
            if !folder.join(name).is_file() {
                bail!(
                    "there is no `{name}` in `{}`: `make kubernetes` builds the programs, KUBEBUILDER_ASSETS names their folder",
                    folder.display()
                );
            }
        }
        Ok(Self(folder.canonicalize()?))
    }
}

/// A running control plane.
pub struct Kubernetes {
    folder: TempDir,
    url: String,
    processes: Processes,
    times: Times,
    admin: Client,
    requests: Arc<AtomicU64>,
    mirror: Mirror,
}

impl Kubernetes {
    /// Starts a control plane and waits until it takes pods. Call inside a runtime of that speed ([`super::in_fast_motion`]).
    ///
    /// # Errors
    /// A program ends, or does not answer in time; what it logged last is told.
    pub async fn start(programs: &Programs, times: Times) -> anyhow::Result<Self> {
        let mut cluster = Self::start_apiserver(programs, times, &[]).await?;
        let program = |name: &str| programs.0.join(name);
        let [manager] = free_ports()?;
        let arguments = manager_arguments(manager, times);
        cluster.processes.start("kube-controller-manager", &program("kube-controller-manager"), &arguments)?;
        cluster.start_scheduler(programs, "")?;
        cluster.has_default_account().await?;
        Ok(cluster)
    }

    /// Starts kube-scheduler beside the API server; `further` is YAML that its configuration gets on top.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_scheduler(&mut self, programs: &Programs, further: &str) -> anyhow::Result<()> {
        let [port] = free_ports()?;
        let configuration = self.folder.path().join("scheduler.yaml");
        fs::write(&configuration, scheduler_configuration("scheduler.kubeconfig") + further)?;
        self.processes.start("kube-scheduler", &programs.0.join("kube-scheduler"), &scheduler_arguments(port))
    }

    /// Starts etcd and kube-apiserver only, with further arguments: nothing changes objects behind their users' backs.
    ///
    /// # Errors
    /// As of [`Kubernetes::start`].
    pub async fn start_apiserver(programs: &Programs, times: Times, further: &[&str]) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("sawhorse-control-plane-").tempdir()?;
        let processes = Processes::new(folder.path());
        let [etcd, peers, api] = free_ports()?;
        let url = format!("https://127.0.0.1:{api}");
        write_credentials(folder.path(), &url)?;
        let requests = Arc::new(AtomicU64::new(0));
        let admin = client(config(&folder.path().join("admin.kubeconfig")).await?, times, Arc::clone(&requests))?;
        let mut cluster = Self { folder, url, processes, times, admin, requests, mirror: Mirror::default() };
        let program = |name: &str| programs.0.join(name);
        fs::write(cluster.folder.path().join("audit.yaml"), access::AUDIT_POLICY)?;
        cluster.processes.start("etcd", &program("etcd"), &etcd_arguments(etcd, peers))?;
        let mut arguments = apiserver_arguments(etcd, api, times);
        arguments.extend(further.iter().map(|argument| (*argument).to_owned()));
        cluster.processes.start("kube-apiserver", &program("kube-apiserver"), &arguments)?;
        cluster.answers("/readyz").await?;
        Ok(cluster)
    }

    /// A client that may do what the controller's manifests allow, and nothing else.
    ///
    /// # Errors
    /// The manifests are refused.
    pub async fn controller(&self) -> anyhow::Result<Client> {
        let token = access::token(&self.admin).await?;
        let mut kubeconfig = Kubeconfig::read_from(self.kubeconfig())?;
        for user in &mut kubeconfig.auth_infos {
            let with_token = serde_json::from_value(serde_json::json!({ "token": token }))?;
            user.auth_info = Some(with_token);
        }
        let config = Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?;
        Ok(client(config, self.times, Arc::clone(&self.requests))?)
    }

    /// What the API server says of the objects that it would not take, if they were applied in this order. Namespaces are made,
    /// so that what is in them can be asked about; nothing else is.
    ///
    /// # Errors
    /// A namespace cannot be made.
    pub async fn refused(&self, objects: &[Value]) -> anyhow::Result<Vec<String>> {
        let mut refused = Vec::new();
        for object in objects {
            let is_namespace = object["kind"] == "Namespace";
            match access::apply(&self.admin, object, !is_namespace).await {
                Err(error) if is_namespace => return Err(error),
                Err(error) => refused.push(format!("{error:#}")),
                Ok(()) => {}
            }
        }
        Ok(refused)
    }

    /// Follows the cluster's objects; run it as long as they are asked for.
    pub fn follow(&self) -> impl Future<Output = ()> + Send + 'static {
        self.mirror.clone().follow(self.admin.clone())
    }

    /// How times are told.
    pub(super) fn times(&self) -> Times {
        self.times
    }

    /// The URL of the API server.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("admin.kubeconfig")
    }

    /// Its programs, by name, with their process ids.
    pub fn processes(&self) -> Vec<(&'static str, u32)> {
        self.processes.ids()
    }

    /// Fails if one of its programs has ended.
    ///
    /// # Errors
    /// Which, and what it logged last.
    pub fn all_run(&mut self) -> anyhow::Result<()> {
        self.processes.all_run()
    }

    pub(super) fn accesses(&self) -> anyhow::Result<BTreeSet<access::Access>> {
        access::audited(self.folder.path())
    }

    /// A client that may do everything.
    pub fn client(&self) -> Client {
        self.admin.clone()
    }

    pub(super) fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(super) async fn stop(self) {
        self.processes.stop(STOP_GRACE * self.times.speed).await;
    }

    async fn answers(&mut self, path: &str) -> anyhow::Result<()> {
        let mut last = String::new();
        for _ in 0..START_LIMIT.as_millis() / ASK_EVERY.as_millis() {
            match self.admin.request_text(http::Request::get(path).body(Vec::new())?).await {
                Ok(_) => return Ok(()),
                Err(error) => last = error.to_string(),
            }
            self.processes.all_run()?;
            tokio::time::sleep(ASK_EVERY * self.times.speed).await;
        }
        bail!("the API server does not answer {path} within {START_LIMIT:?}: {last}")
    }

    /// Pods are refused before it is there.
    async fn has_default_account(&mut self) -> anyhow::Result<()> {
        let accounts: Api<ServiceAccount> = Api::default_namespaced(self.admin.clone());
        for _ in 0..START_LIMIT.as_millis() / ASK_EVERY.as_millis() {
            if accounts.get_opt("default").await?.is_some() {
                return Ok(());
            }
            self.processes.all_run()?;
            tokio::time::sleep(ASK_EVERY * self.times.speed).await;
        }
        bail!("kube-controller-manager has made no default ServiceAccount within {START_LIMIT:?}")
    }
}

/// Waits until an API server serves `names`, which have just been applied; `speed` seconds of the runtime pass in each real one.
pub(super) async fn serves(client: Client, speed: u32, names: &[String]) -> anyhow::Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client);
    for name in names {
        let established = await_condition(api.clone(), name, is_crd_established());
        let limit = START_LIMIT * speed;
        tokio::time::timeout(limit, established).await.with_context(|| format!("`{name}` is not established"))??;
    }
    Ok(())
}

/// The way to a cluster that a kubeconfig says.
pub(super) async fn config(kubeconfig: &Path) -> anyhow::Result<Config> {
    Ok(Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &Default::default()).await?)
}

fn write_credentials(folder: &Path, url: &str) -> anyhow::Result<()> {
    let authority = Authority::new()?;
    let names = ["127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
    let server = authority.server("kube-apiserver", &names)?;
    let accounts = authority.client("service-accounts", None)?;
    fs::write(folder.join("ca.crt"), &authority.certificate)?;
    fs::write(folder.join("apiserver.crt"), server.certificate)?;
    fs::write(folder.join("apiserver.key"), server.key)?;
    fs::write(folder.join("accounts.crt"), accounts.certificate)?;
    fs::write(folder.join("accounts.key"), accounts.key)?;
    let users = [
        ("admin", "sawhorse-admin", Some("system:masters")),
        ("manager", "system:kube-controller-manager", None),
        ("scheduler", "system:kube-scheduler", None),
    ];
    for (file, user, group) in users {
        let kubeconfig = kubeconfig(url, &authority.certificate, &authority.client(user, group)?);
        fs::write(folder.join(format!("{file}.kubeconfig")), kubeconfig)?;
    }
    Ok(())
}

fn kubeconfig(url: &str, authority: &str, identity: &Identity) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let [authority, certificate, key] =
        [authority, &identity.certificate, &identity.key].map(|pem| BASE64_STANDARD.encode(pem));
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: sawhorse\n\
         clusters:\n- name: sawhorse\n  cluster: {{server: \"{url}\", certificate-authority-data: {authority}}}\n\
         contexts:\n- name: sawhorse\n  context: {{cluster: sawhorse, user: sawhorse, namespace: default}}\n\
         users:\n- name: sawhorse\n  user: {{client-certificate-data: {certificate}, client-key-data: {key}}}\n"
    )
}

fn arguments<const N: usize>(all: [&str; N]) -> Vec<String> {
    all.map(str::to_owned).into()
}

fn etcd_arguments(clients: u16, peers: u16) -> Vec<String> {
    let [clients, peers] = [clients, peers].map(|port| format!("http://127.0.0.1:{port}"));
    arguments([
        "--name=sawhorse",
        "--data-dir=etcd",
        "--log-level=warn",
        // Nothing of it outlives the run.
        "--unsafe-no-fsync",
        &format!("--listen-client-urls={clients}"),
        &format!("--advertise-client-urls={clients}"),
        &format!("--listen-peer-urls={peers}"),
        &format!("--initial-advertise-peer-urls={peers}"),
        &format!("--initial-cluster=sawhorse={peers}"),
    ])
}

fn apiserver_arguments(etcd: u16, port: u16, times: Times) -> Vec<String> {
    let toleration = TOLERATION.div_ceil(times.speed.into());
    arguments([
        &format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        &format!("--secure-port={port}"),
        "--endpoint-reconciler-type=none",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--tls-cert-file=apiserver.crt",
        "--tls-private-key-file=apiserver.key",
        "--client-ca-file=ca.crt",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-account-key-file=accounts.crt",
        "--service-account-signing-key-file=accounts.key",
        &format!("--default-not-ready-toleration-seconds={toleration}"),
        &format!("--default-unreachable-toleration-seconds={toleration}"),
        "--audit-policy-file=audit.yaml",
        &format!("--audit-log-path={}", access::AUDIT_LOG),
        "--profiling=false",
    ])
}

/// Seconds after which a silent node is unknown, in real time.
pub(super) fn node_grace(speed: u32) -> u64 {
    NODE_GRACE.div_ceil(speed.into()).max(LEAST_NODE_GRACE)
}

fn manager_arguments(port: u16, times: Times) -> Vec<String> {
    let grace = node_grace(times.speed);
    arguments([
        "--kubeconfig=manager.kubeconfig",
        "--authentication-kubeconfig=manager.kubeconfig",
        "--authorization-kubeconfig=manager.kubeconfig",
        "--bind-address=127.0.0.1",
        &format!("--secure-port={port}"),
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        "--service-account-private-key-file=accounts.key",
        "--root-ca-file=ca.crt",
        "--allocate-node-cidrs=false",
        &format!("--node-monitor-grace-period={grace}s"),
        &format!("--node-monitor-period={}s", NODE_MONITOR_PERIOD.div_ceil(times.speed.into())),
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    ])
}

fn scheduler_arguments(port: u16) -> Vec<String> {
    arguments([
        "--config=scheduler.yaml",
        "--authentication-kubeconfig=scheduler.kubeconfig",
        "--authorization-kubeconfig=scheduler.kubeconfig",
        "--bind-address=127.0.0.1",
        &format!("--secure-port={port}"),
    ])
}

/// As kube-scheduler has it by itself, but for a client that is not held back and the shortest backoff.
pub(super) fn scheduler_configuration(kubeconfig: &str) -> String {
    format!(
        "\
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection: {{leaderElect: false}}
clientConnection: {{kubeconfig: {kubeconfig}, qps: 500, burst: 1000}}
podInitialBackoffSeconds: 1
podMaxBackoffSeconds: 1
"
    )
}
