//! Kubernetes control planes of real programs on loopback ports, thrown away when they are stopped.
//!
//! - [`KubernetesCluster`] — the programs; runs follow one another on it
//! - [`Kubernetes`] — one run's view of it

mod arguments;

pub use self::arguments::Pace;
pub(super) use self::arguments::scheduler_configuration;

use super::{
    access, clearing,
    fast_motion::client,
    mirror::{Mirror, Own},
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
/// Namespaces of the cluster itself, and of what the controller's manifests put there.
const NAMESPACES: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", access::NAMESPACE];
/// How long programs may take to end, in real time.
const STOP_GRACE: Duration = Duration::from_secs(3);

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

/// The programs of a running control plane, for runs of one pace.
pub struct KubernetesCluster {
    folder: TempDir,
    url: String,
    processes: Processes,
    pace: Pace,
}

impl KubernetesCluster {
    /// The pace of the runs that it was made for.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// Ends the programs; `speed` seconds of the runtime pass in each real one.
    pub async fn stop(self, speed: u32) {
        self.processes.stop(STOP_GRACE, speed).await;
    }

    fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("admin.kubeconfig")
    }
}

/// A running control plane as a run sees it.
pub struct Kubernetes {
    cluster: KubernetesCluster,
    times: Times,
    admin: Client,
    requests: Arc<AtomicU64>,
    mirror: Mirror,
    /// How long the audit log was when the run began.
    audited: u64,
}

impl Kubernetes {
    /// Starts a control plane and waits until it takes pods. Call inside a runtime of that speed ([`super::in_fast_motion`]).
    ///
    /// # Errors
    /// A program ends, or does not answer in time; what it logged last is told.
    pub async fn start(programs: &Programs, times: Times) -> anyhow::Result<Self> {
        let mut run = Self::start_apiserver(programs, times, &[]).await?;
        let program = |name: &str| programs.0.join(name);
        let arguments = arguments::manager(run.cluster.pace);
        run.cluster.processes.start("kube-controller-manager", &program("kube-controller-manager"), &arguments)?;
        run.start_scheduler(programs, "")?;
        run.has_default_account().await?;
        Ok(run)
    }

    /// Another run on a control plane that the run before has left as it was ([`Kubernetes::leave`]).
    ///
    /// # Errors
    /// The run has another pace than the cluster was made for; one of the programs has ended.
    pub async fn again(mut cluster: KubernetesCluster, times: Times) -> anyhow::Result<Self> {
        let pace = Pace::of(times.speed);
        if pace != cluster.pace {
            bail!("the control plane was made for runs of {:?}, not of {pace:?}", cluster.pace);
        }
        cluster.processes.all_run()?;
        let audited = access::logged(cluster.folder.path());
        Self::of(cluster, times, audited).await
    }

    async fn of(cluster: KubernetesCluster, times: Times, audited: u64) -> anyhow::Result<Self> {
        let requests = Arc::new(AtomicU64::new(0));
        let admin = client(config(&cluster.kubeconfig()).await?, times, Arc::clone(&requests))?;
        Ok(Self { cluster, times, admin, requests, mirror: Mirror::default(), audited })
    }

    /// Takes away what the run has made, so that another can follow.
    ///
    /// # Errors
    /// Something stays; what.
    pub async fn leave(self) -> anyhow::Result<KubernetesCluster> {
        clearing::clear(&self.admin, &Own::new(&BTreeSet::new(), &NAMESPACES), self.times.speed).await?;
        Ok(self.cluster)
    }

    /// Starts kube-scheduler beside the API server; `further` is YAML that its configuration gets on top.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_scheduler(&mut self, programs: &Programs, further: &str) -> anyhow::Result<()> {
        let configuration = self.cluster.folder.path().join("scheduler.yaml");
        fs::write(&configuration, scheduler_configuration("scheduler.kubeconfig") + further)?;
        let program = programs.0.join("kube-scheduler");
        self.cluster.processes.start("kube-scheduler", &program, &arguments::scheduler())
    }

    /// Starts etcd and kube-apiserver only, with further arguments: nothing changes objects behind their users' backs.
    ///
    /// # Errors
    /// As of [`Kubernetes::start`].
    pub async fn start_apiserver(programs: &Programs, times: Times, further: &[&str]) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("sawhorse-control-plane-").tempdir()?;
        let mut processes = Processes::new(folder.path());
        let [etcd, peers, api] = free_ports()?;
        let url = format!("https://127.0.0.1:{api}");
        arguments::write_credentials(folder.path(), &url)?;
        let program = |name: &str| programs.0.join(name);
        fs::write(folder.path().join("audit.yaml"), access::AUDIT_POLICY)?;
        processes.start("etcd", &program("etcd"), &arguments::etcd(etcd, peers))?;
        let mut arguments = arguments::apiserver(etcd, api);
        arguments.extend(further.iter().map(|argument| (*argument).to_owned()));
        processes.start("kube-apiserver", &program("kube-apiserver"), &arguments)?;
        let cluster = KubernetesCluster { folder, url, processes, pace: Pace::of(times.speed) };
        let mut run = Self::of(cluster, times, 0).await?;
        run.answers("/readyz").await?;
        Ok(run)
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
        &self.cluster.url
    }

    /// The kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.cluster.kubeconfig()
    }

    /// Its programs, by name, with their process ids.
    pub fn processes(&self) -> Vec<(&'static str, u32)> {
        self.cluster.processes.ids()
    }

    /// Fails if one of its programs has ended.
    ///
    /// # Errors
    /// Which, and what it logged last.
    pub fn all_run(&mut self) -> anyhow::Result<()> {
        self.cluster.processes.all_run()
    }

    pub(super) fn accesses(&self) -> anyhow::Result<BTreeSet<access::Access>> {
        access::audited(self.cluster.folder.path(), self.audited)
    }

    /// A client that may do everything.
    pub fn client(&self) -> Client {
        self.admin.clone()
    }

    /// Waits until it serves the custom resources `names`, which have just been applied.
    ///
    /// # Errors
    /// It does not within two minutes.
    pub async fn serves(&self, names: &[String]) -> anyhow::Result<()> {
        serves(self.client(), self.times.speed, names).await
    }

    pub(super) fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(super) async fn stop(self) {
        self.cluster.stop(self.times.speed).await;
    }

    async fn answers(&mut self, path: &str) -> anyhow::Result<()> {
        let mut last = String::new();
        for _ in 0..START_LIMIT.as_millis() / ASK_EVERY.as_millis() {
            match self.admin.request_text(http::Request::get(path).body(Vec::new())?).await {
                Ok(_) => return Ok(()),
                Err(error) => last = error.to_string(),
            }
            self.cluster.processes.all_run()?;
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
            self.cluster.processes.all_run()?;
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
