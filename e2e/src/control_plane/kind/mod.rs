//! Kubernetes in docker: a cluster that the `kind` command makes, and a run in it.
//!
//! - [`KindCluster`] — the cluster, taken down when it is dropped; runs follow one another in it
//! - [`Kind`] — one run's view of it; `controller` deploys the controller by its Helm chart and kills its leader

mod commands;
mod config;
mod controller;

pub use self::controller::Deployment;

use super::{
    access, clearing,
    fast_motion::client,
    kubernetes::{Pace, config as config_of},
    mirror::Mirror,
    times::Times,
};
use anyhow::{Context, bail};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Namespace, Node},
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;

/// How long kind waits for the node to be Ready.
const READY_WITHIN: &str = "240s";
/// The docker network that kind puts its nodes in.
const NETWORK: &str = "kind";
/// Namespaces of the cluster itself: runs do not see what is in them.
const NAMESPACES: [&str; 5] = ["kube-system", "kube-public", "kube-node-lease", STORAGE, access::NAMESPACE];
/// Where kind's own images put a provisioner that tolerates none of our nodes, and so would be worth a machine to the controller.
const STORAGE: &str = "local-path-storage";

/// What kind clusters are made of.
#[derive(Clone, Debug)]
pub struct KindSettings {
    /// Folder of the programs kind, helm and kwok; those that are not in it are looked for where commands are.
    pub programs: PathBuf,
    /// The nodes' image; kind's own if not given.
    pub node_image: Option<String>,
    /// The controller's image, which the docker daemon has.
    pub controller_image: String,
    /// The controller's Helm chart.
    pub chart: PathBuf,
}

impl KindSettings {
    fn program(&self, name: &str) -> PathBuf {
        let built = self.programs.join(name);
        if built.is_file() { built } else { PathBuf::from(name) }
    }
}

/// A kind cluster with the controller's image in it.
pub struct KindCluster {
    name: String,
    settings: KindSettings,
    pace: Pace,
    folder: TempDir,
    /// The address of the machine as pods reach it.
    gateway: IpAddr,
    /// Its own nodes.
    nodes: BTreeSet<String>,
}

impl KindCluster {
    /// Makes a cluster called `name` for runs of that pace. Call it in real time. Dropping it blocks until it is gone.
    ///
    /// # Errors
    /// There is no docker daemon, kind fails. What was begun is taken down.
    pub async fn create(
        settings: &KindSettings,
        name: &str,
        pace: Pace,
        say: &(dyn Fn(&str) + Sync),
    ) -> anyhow::Result<Self> {
        let docker = commands::run(Path::new("docker"), &["info"], commands::LIMIT).await;
        docker
            .context("kind needs a docker daemon: `e2e/control-plane/kind/with-docker COMMAND` finds or starts one")?;
        let folder = tempfile::Builder::new().prefix("sawhorse-kind-").tempdir()?;
        let gateway = IpAddr::from([0; 4]);
        // From here on, dropping it takes down what there is.
        let mut cluster =
            Self { name: name.to_owned(), settings: settings.clone(), pace, folder, gateway, nodes: BTreeSet::new() };
        say(&format!("{name}: kind makes a cluster of two nodes"));
        cluster.make().await?;
        cluster.gateway = gateway_of(NETWORK).await?;
        say(&format!("{name}: the controller's image is loaded"));
        let image = ["load", "docker-image", &settings.controller_image, "--name", name];
        commands::run(&settings.program("kind"), &image, commands::LIMIT).await?;
        let client = Client::try_from(config_of(&cluster.kubeconfig()).await?)?;
        keep_to_own_nodes(&client)
            .await
            .context("what kind has put into the cluster cannot be kept to its own nodes")?;
        let nodes = Api::<Node>::all(client).list(&ListParams::default()).await?;
        cluster.nodes = nodes.into_iter().filter_map(|node| node.metadata.name).collect();
        Ok(cluster)
    }

    async fn make(&self) -> anyhow::Result<()> {
        let folder = self.folder.path();
        fs::write(folder.join("scheduler.yaml"), config::scheduler())?;
        let file = folder.join("kind.yaml");
        let image = self.settings.node_image.as_deref();
        fs::write(&file, config::cluster(image, &folder.to_string_lossy(), self.pace))?;
        let (file, kubeconfig) = (file.to_string_lossy(), self.kubeconfig());
        let arguments = ["create", "cluster", "--name", &self.name, "--config", &file, "--wait", READY_WITHIN];
        let kubeconfig = kubeconfig.to_string_lossy();
        let arguments = [&arguments[..], &["--kubeconfig", &kubeconfig]].concat();
        commands::run(&self.settings.program("kind"), &arguments, commands::LIMIT).await?;
        Ok(())
    }

    /// The kubeconfig of an administrator, for programs on this machine.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// The address of this machine at which pods reach it.
    pub fn gateway(&self) -> IpAddr {
        self.gateway
    }

    /// The pace of the runs that it was made for.
    pub fn pace(&self) -> Pace {
        self.pace
    }
}

impl Drop for KindCluster {
    fn drop(&mut self) {
        let mut delete = std::process::Command::new(self.settings.program("kind"));
        delete.args(["delete", "cluster", "--name", &self.name]).arg("--kubeconfig").arg(self.kubeconfig());
        // There is nobody left to tell; `with-docker` removes what its own daemon still has.
        let _ = delete.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// The address of this machine in a docker network.
async fn gateway_of(network: &str) -> anyhow::Result<IpAddr> {
    let format = "{{range .IPAM.Config}}{{.Gateway}} {{end}}";
    let arguments = ["network", "inspect", "-f", format, network];
    let gateways = commands::run(Path::new("docker"), &arguments, commands::LIMIT).await?;
    // A network may have an IPv6 one too; kind's clusters are IPv4 by default.
    let gateway = gateways.split_whitespace().filter_map(|text| text.parse().ok()).find(IpAddr::is_ipv4);
    gateway.with_context(|| format!("the docker network `{network}` has no IPv4 gateway"))
}

/// What kind has put into the cluster stays off fake nodes, and is no work for the controller.
async fn keep_to_own_nodes(client: &Client) -> anyhow::Result<()> {
    let daemons: Api<DaemonSet> = Api::namespaced(client.clone(), "kube-system");
    let own = json!({"key": "karpenter.sh/nodepool", "operator": "DoesNotExist"});
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        {"nodeSelectorTerms": [{"matchExpressions": [own]}]}}});
    let patch = Patch::Merge(json!({"spec": {"template": {"spec": {"affinity": affinity}}}}));
    for daemon in daemons.list(&ListParams::default()).await? {
        let name = daemon.metadata.name.unwrap_or_default();
        daemons.patch(&name, &PatchParams::default(), &patch).await?;
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    if namespaces.get_opt(STORAGE).await?.is_some() {
        namespaces.delete(STORAGE, &DeleteParams::background()).await?;
    }
    Ok(())
}

/// A run in a kind cluster. Cheap to clone.
#[derive(Clone)]
pub struct Kind {
    cluster: Arc<KindCluster>,
    times: Times,
    admin: Client,
    requests: Arc<AtomicU64>,
    mirror: Mirror,
}

impl Kind {
    /// The cluster as a run sees it whose time is `times`, without what is the cluster's own.
    ///
    /// # Errors
    /// The run has another pace than the cluster was made for; the kubeconfig cannot be used.
    pub async fn begin(cluster: &Arc<KindCluster>, times: Times) -> anyhow::Result<Self> {
        let pace = Pace::of(times.speed);
        if pace != cluster.pace {
            bail!("the cluster was made for runs of {:?}, not of {pace:?}", cluster.pace);
        }
        let requests = Arc::new(AtomicU64::new(0));
        let config = config_of(&cluster.kubeconfig()).await?;
        let admin = client(config, times, Arc::clone(&requests))?;
        let mirror = Mirror::without(&cluster.nodes, &NAMESPACES);
        Ok(Self { cluster: Arc::clone(cluster), times, admin, requests, mirror })
    }

    /// How times are told.
    pub(super) fn times(&self) -> Times {
        self.times
    }

    /// The cluster.
    pub fn cluster(&self) -> &KindCluster {
        &self.cluster
    }

    /// A client that may do everything.
    pub fn client(&self) -> Client {
        self.admin.clone()
    }

    /// Follows the cluster's objects; run it as long as they are asked for.
    pub fn follow(&self) -> impl Future<Output = ()> + Send + 'static {
        self.mirror.clone().follow(self.admin.clone())
    }

    pub(super) fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Takes away the controller, and then everything that is not the cluster's own.
    ///
    /// # Errors
    /// Something stays; what.
    pub async fn clear(&self) -> anyhow::Result<()> {
        self.withdraw().await?;
        clearing::clear(&self.admin, self.mirror.own(), self.times.speed).await
    }

    /// So much real time in the run's.
    fn real(&self, duration: Duration) -> Duration {
        duration * self.times.speed
    }
}
