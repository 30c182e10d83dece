//! What the binary can be told.

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use sawhorse_ambient::{Clock, Seed};
use sawhorse_controller::{
    args::{ControllerArgs, LogArgs},
    cloud::ec2::{
        Cluster, Ec2Provider, Ec2ProviderConfig,
        sdk::{Clients, sdk_config},
    },
};
use sawhorse_e2e::control_plane::{KindSettings, KwokPrograms, Programs, Times};
use sawhorse_kwok::kubelet::Spread;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    path::PathBuf,
};

/// A workbench for node autoscalers: a reference controller, a fake cloud and fake nodes.
#[derive(Debug, Parser)]
#[command(name = "sawhorse", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run scenario files and print a table; exit 1 if one fails
    Run(RunArgs),
    /// Run everything in real time on loopback ports, until Ctrl-C
    Up(UpArgs),
    /// Run the production controller against a cluster and a cloud
    Controller(Box<ControlArgs>),
    /// Run the fake cloud alone
    Cloud(CloudArgs),
    /// Run fake nodes alone: kubelets for Nodes that are selected as KWOK does, and for the machines of a fake cloud
    Nodes(Box<NodesArgs>),
    /// Decide once: one JSON object in on standard input, one out
    Solve(SolveArgs),
    /// Say why a node stays or goes, or why a pod waits or cannot be evicted
    Explain(ExplainArgs),
    /// Show what the controller would do with a cluster, and what that costs, without doing it
    Plan(PlanArgs),
    /// Write a cluster to a file for `plan`, `explain` and `solve`: no secrets, environments or arguments
    Capture(CaptureArgs),
    /// Print the custom resource definitions
    Crds(CrdsArgs),
}

/// Options of `run`.
#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// Scenario files
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Seed of everything drawn; each file's own if not given
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Write everything that happened to FILE, one JSON object a line (with one scenario only)
    #[arg(long, value_name = "FILE")]
    pub(crate) events: Option<PathBuf>,
    /// Write a report with plots to FILE, as one HTML page (with one scenario only)
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Print what was asked, decided, bought and lost, one line each
    #[arg(long)]
    pub(crate) timeline: bool,
    /// How many scenarios run side by side; as many as there are processors if not given, three times as many with
    /// `binaries`, where they mostly wait; with `kind` three, as each has a cluster
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
    #[command(flatten)]
    pub(crate) plane: PlaneArgs,
    /// On a real control plane: seconds of the scenario that pass in each real one; fewer where the scenario says `fastest`
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) speed: u32,
}

/// Which API server, controllers and scheduler.
#[derive(Args, Debug)]
pub(crate) struct PlaneArgs {
    /// What the objects live in
    #[arg(long, value_enum, default_value_t = Plane::Embedded, value_name = "WHICH")]
    control_plane: Plane,
    /// Folder of etcd, kube-apiserver, kube-controller-manager and kube-scheduler (`make kubernetes` builds them); with kind also of
    /// kind and helm, where they are not commands
    #[arg(long, env = "KUBEBUILDER_ASSETS", value_name = "FOLDER")]
    kubebuilder_assets: Option<PathBuf>,
    /// With kind: the nodes' image (`e2e/control-plane/kind/node-image` makes one); kind's own if not given
    #[arg(long, value_name = "IMAGE")]
    node_image: Option<String>,
    /// With kind: the controller's image, which the docker daemon has (`controller/deploy/image` makes one)
    #[arg(long, value_name = "IMAGE", required_if_eq("control_plane", "kind"))]
    controller_image: Option<String>,
    /// With kind: the controller's Helm chart
    #[arg(long, value_name = "FOLDER", default_value = "controller/deploy/chart")]
    chart: PathBuf,
    /// Who does what kubelets do, once machines have registered their nodes
    #[arg(long, value_enum, default_value_t = Kubelet::Sawhorse, value_name = "WHICH")]
    kubelet: Kubelet,
}

/// The control planes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Plane {
    /// In process, in virtual time
    Embedded,
    /// etcd, kube-apiserver, kube-controller-manager and kube-scheduler on loopback ports
    Binaries,
    /// A cluster that kind makes in docker, with the controller in it
    Kind,
}

/// The kubelets there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kubelet {
    /// Our own
    Sawhorse,
    /// Upstream KWOK with its own stages, of the folder of programs; not on the embedded control plane
    Kwok,
    /// Our own, and once more upstream KWOK for scenarios that say `upstreamKwok`
    Both,
}

/// Who is to do what kubelets do.
#[derive(Debug)]
pub(crate) struct Kubelets {
    /// Our own, for all scenarios.
    pub(crate) own: bool,
    /// Upstream KWOK: for all scenarios, or beside our own for those that say so.
    pub(crate) kwok: Option<KwokPrograms>,
}

/// A control plane as it was asked for.
#[derive(Debug)]
pub(crate) enum ChosenPlane {
    /// In process.
    Embedded,
    /// Of these programs.
    Binaries(Programs),
    /// Clusters made so.
    Kind(KindSettings),
}

impl PlaneArgs {
    /// The control plane that is asked for.
    pub(crate) fn chosen(&self) -> anyhow::Result<ChosenPlane> {
        let folder = || {
            let folder = self.kubebuilder_assets.as_ref();
            folder.context("this needs a folder of programs: KUBEBUILDER_ASSETS or `--kubebuilder-assets`")
        };
        match self.control_plane {
            Plane::Embedded => Ok(ChosenPlane::Embedded),
            Plane::Binaries => Programs::in_folder(folder()?).map(ChosenPlane::Binaries),
            Plane::Kind => Ok(ChosenPlane::Kind(KindSettings {
                programs: self.kubebuilder_assets.clone().unwrap_or_default(),
                node_image: self.node_image.clone(),
                controller_image: self.controller_image.clone().context("kind needs `--controller-image`")?,
                chart: self.chart.clone(),
            })),
        }
    }

    /// Who is to do what kubelets do.
    pub(crate) fn kubelets(&self) -> anyhow::Result<Kubelets> {
        let which = match self.kubelet {
            Kubelet::Sawhorse => return Ok(Kubelets { own: true, kwok: None }),
            Kubelet::Kwok => "kwok",
            Kubelet::Both => "both",
        };
        if self.control_plane == Plane::Embedded {
            bail!("`--kubelet {which}` needs a real control plane: `--control-plane binaries` or `kind`")
        }
        let folder = self.kubebuilder_assets.as_ref();
        let folder = folder
            .with_context(|| format!("`--kubelet {which}` needs KUBEBUILDER_ASSETS or `--kubebuilder-assets`"))?;
        Ok(Kubelets { own: self.kubelet == Kubelet::Both, kwok: Some(KwokPrograms::in_folder(folder)?) })
    }
}

/// Options of `up`.
#[derive(Args, Debug)]
pub(crate) struct UpArgs {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    pub(crate) bind_address: IpAddr,
    /// Port of the Kubernetes API; 0 chooses a free one
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    pub(crate) api_port: u16,
    /// Port of the fake cloud; 0 chooses a free one
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    pub(crate) cloud_port: u16,
    /// Where the kubeconfig is written
    #[arg(long, default_value = "sawhorse.kubeconfig", value_name = "FILE")]
    pub(crate) kubeconfig: PathBuf,
    /// Which autoscaler acts: `sawhorse`, or `none` to start another one against the same endpoints
    #[arg(long, default_value = "sawhorse", value_parser = ["sawhorse", "none"], value_name = "WHICH")]
    pub(crate) autoscaler: String,
    /// Seed of everything drawn
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) seed: u64,
    /// A scenario file whose cloud, nodes and objects to begin with (its steps are not run)
    #[arg(long, value_name = "FILE")]
    pub(crate) scenario: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) plane: PlaneArgs,
}

/// Options of `controller`.
#[derive(Args, Debug)]
pub(crate) struct ControlArgs {
    /// Kubeconfig file; the usual places if not given
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Name of the cluster, as in its resources' tags
    #[arg(long, env = "CLUSTER_NAME", value_name = "NAME")]
    pub(crate) cluster_name: String,
    /// URL of the API server for nodes; the kubeconfig's if not given
    #[arg(long, env = "CLUSTER_ENDPOINT", value_name = "URL")]
    pub(crate) cluster_endpoint: Option<String>,
    /// Certificate of the API server for nodes, PEM in base64
    #[arg(long, env = "CLUSTER_CA_BUNDLE", value_name = "BASE64", default_value = "")]
    pub(crate) cluster_ca_bundle: String,
    /// Range of service addresses
    #[arg(long, env = "CLUSTER_SERVICE_CIDR", value_name = "CIDR", default_value = "10.100.0.0/16")]
    pub(crate) cluster_service_cidr: String,
    /// Queue that says what happens to machines; without it nothing is known of interruptions before they happen
    #[arg(long, env = "INTERRUPTION_QUEUE", value_name = "NAME")]
    pub(crate) interruption_queue: Option<String>,
    #[command(flatten)]
    pub(crate) aws: AwsArgs,
    #[command(flatten)]
    pub(crate) controller: ControllerArgs,
    #[command(flatten)]
    pub(crate) motion: MotionArgs,
}

/// The cloud.
#[derive(Args, Debug)]
#[command(next_help_heading = "AWS")]
pub(crate) struct AwsArgs {
    /// AWS region; if not given, `controller` takes the default chain's, and the others know nothing of what can be bought
    #[arg(long, env = "AWS_REGION", value_name = "REGION")]
    pub(crate) region: Option<String>,
    /// Another endpoint for all AWS services, e.g. that of `sawhorse cloud`
    #[arg(long, env = "AWS_ENDPOINT_URL", value_name = "URL")]
    pub(crate) endpoint_url: Option<String>,
    /// Share of memory that the hypervisor keeps
    #[arg(long, env = "VM_MEMORY_OVERHEAD_PERCENT", value_name = "SHARE", default_value_t = 0.075)]
    pub(crate) vm_memory_overhead_percent: f64,
    /// Network interfaces that give no addresses to pods
    #[arg(long, env = "RESERVED_ENIS", value_name = "N", default_value_t = 0)]
    pub(crate) reserved_enis: u32,
}

impl AwsArgs {
    /// EC2 and what goes with it, for machines that join `cluster`. `speed` seconds of the clock pass in one of the network.
    pub(crate) async fn provider(
        &self,
        cluster: Cluster,
        interruption_queue: Option<String>,
        clock: Clock,
        seed: Seed,
        speed: u32,
    ) -> anyhow::Result<Ec2Provider> {
        let sdk = sdk_config(self.region.clone(), self.endpoint_url.clone(), clock, speed).await;
        let region = sdk.region().map(ToString::to_string);
        let region = region.context("no AWS region: give `--region` or AWS_REGION")?;
        Ok(Ec2Provider::new(Ec2ProviderConfig {
            clients: Clients::new(&sdk, &region),
            clock,
            seed,
            observer: None,
            region,
            cluster,
            vm_memory_overhead_percent: self.vm_memory_overhead_percent,
            reserved_enis: self.reserved_enis,
            interruption_queue,
        }))
    }
}

/// How fast the controller lives.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Tests")]
pub(crate) struct MotionArgs {
    /// Live this many seconds in each real one, beside a run that does (`sawhorse run --control-plane kind`)
    #[arg(long, env = "SAWHORSE_SPEED", value_name = "N", requires = "began", value_parser = clap::value_parser!(u32).range(1..=100))]
    speed: Option<u32>,
    /// When that run and real time showed the same
    #[arg(long, env = "SAWHORSE_BEGAN", value_name = "TIME", requires = "speed")]
    began: Option<Timestamp>,
}

impl MotionArgs {
    /// How time is told in fast motion; none for real time.
    pub(crate) fn times(self) -> Option<Times> {
        self.speed.zip(self.began).map(|(speed, began)| Times { began, speed })
    }
}

/// Options of `cloud`.
#[derive(Args, Debug)]
pub(crate) struct CloudArgs {
    /// Address to listen on; where others can reach it, the control door wants a token
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    pub(crate) bind_address: IpAddr,
    /// Token of the control door; drawn and printed if the address is not loopback and none is given
    #[arg(long, env = "SAWHORSE_CONTROL_TOKEN", value_name = "TEXT", hide_env_values = true)]
    pub(crate) control_token: Option<String>,
    /// Port; 0 chooses a free one
    #[arg(long, default_value_t = 4566, value_name = "PORT")]
    pub(crate) port: u16,
    /// Seed of everything drawn; the configuration's if not given
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// The cloud's configuration as YAML or JSON (what scenario files have under `spec.cloud`)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Options of `nodes`; those that KWOK has too have its names.
#[derive(Args, Debug)]
pub(crate) struct NodesArgs {
    /// Kubeconfig file; the usual places if not given
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) which: WhichNodesArgs,
    #[command(flatten)]
    pub(crate) machines: MachinesArgs,
    /// Files of KWOK Stages (`kwok.x-k8s.io/v1alpha1`); if not given, nodes and pods are ready at once
    #[arg(long = "config", value_name = "FILE", value_delimiter = ',')]
    pub(crate) stages: Vec<PathBuf>,
    /// How long a node's lease is good for; it is renewed after a quarter of that. 0: nodes have no leases
    #[arg(long, value_name = "SECONDS", default_value_t = 40)]
    pub(crate) node_lease_duration_seconds: u32,
    /// In whose name leases of selected nodes are held; drawn if not given. Several instances share nodes by their leases
    #[arg(long, value_name = "NAME")]
    pub(crate) id: Option<String>,
    /// Range of pods' addresses
    #[arg(long, value_name = "CIDR", default_value = "10.128.0.0/9", value_parser = first_address)]
    pub(crate) cidr: Ipv4Addr,
    /// Address of nodes that have none
    #[arg(long, value_name = "IP", default_value = "10.0.0.1")]
    pub(crate) node_ip: Ipv4Addr,
    /// How many requests are under way at a time
    #[arg(long, value_name = "N", default_value = "16")]
    pub(crate) requests: NonZeroUsize,
    /// Where to serve `/healthz`, `/readyz` and `/metrics`, e.g. `127.0.0.1:10247`; nowhere if not given
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) server_address: Option<SocketAddr>,
    /// Seed of delays and weights
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) logs: LogArgs,
}

/// Which Nodes of the cluster are looked after though no machine is behind them.
#[derive(Args, Debug)]
#[group(multiple = false)]
#[command(next_help_heading = "Which nodes")]
pub(crate) struct WhichNodesArgs {
    /// Look after every Node
    #[arg(long)]
    pub(crate) manage_all_nodes: bool,
    /// Look after the Node with this name
    #[arg(long, value_name = "NAME")]
    pub(crate) manage_single_node: Option<String>,
    /// Look after Nodes with such annotations, e.g. `kwok.x-k8s.io/node=fake`
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) manage_nodes_with_annotation_selector: Option<String>,
    /// Look after Nodes with such labels
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) manage_nodes_with_label_selector: Option<String>,
}

/// Machines of a fake cloud that boot and join.
#[derive(Args, Debug)]
#[command(next_help_heading = "Machines")]
pub(crate) struct MachinesArgs {
    /// Boot the machines of the fake cloud there, e.g. that of `sawhorse cloud`, and delete Nodes whose machine is gone
    #[arg(long, value_name = "URL")]
    pub(crate) cloud_url: Option<String>,
    /// Name of the cluster; machines whose user data names another do not join
    #[arg(long, env = "CLUSTER_NAME", value_name = "NAME", default_value = "sawhorse")]
    pub(crate) cluster_name: String,
    /// URL of the API server as user data has it; the kubeconfig's if not given
    #[arg(long, env = "CLUSTER_ENDPOINT", value_name = "URL")]
    pub(crate) cluster_endpoint: Option<String>,
    /// Seconds from running to registered: least, median, most
    #[arg(long, value_name = "S,S,S", default_value = "3,5,8", value_parser = spread)]
    pub(crate) boot: Spread,
    /// Seconds from registered to Ready: least, median, most
    #[arg(long, value_name = "S,S,S", default_value = "1,2,3", value_parser = spread)]
    pub(crate) ready: Spread,
}

fn spread(text: &str) -> Result<Spread, String> {
    let seconds: Vec<u64> = text.split(',').map(str::parse).collect::<Result<_, _>>().unwrap_or_default();
    match seconds.as_slice() {
        [least, typical, most] if least <= typical && typical <= most => Ok(Spread::seconds(*least, *typical, *most)),
        _ => Err("use three numbers that do not fall, e.g. `3,5,8`".to_owned()),
    }
}

/// The first address of a range that a pod can have.
fn first_address(cidr: &str) -> Result<Ipv4Addr, String> {
    let unreadable = || format!("`{cidr}` is not a range of addresses such as `10.128.0.0/9`");
    let (address, bits) = cidr.split_once('/').ok_or_else(unreadable)?;
    let address: Ipv4Addr = address.parse().map_err(|_| unreadable())?;
    let bits: u32 = bits.parse().ok().filter(|bits| *bits <= 30).ok_or_else(unreadable)?;
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    Ok(Ipv4Addr::from((u32::from(address) & mask) + 1))
}

/// Options of `solve`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct SolveArgs {
    /// Decide also which nodes should go
    #[arg(long)]
    pub(crate) disrupt: bool,
}

/// Options of `explain`.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// What: `node` or `pod`
    #[arg(value_enum, value_name = "KIND")]
    pub(crate) kind: Explained,
    /// The node's or its NodeClaim's name; the pod's as NAMESPACE/NAME, or NAME in `default`
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) snapshot: SnapshotArgs,
}

/// What can be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Explained {
    /// Why it stays or goes
    Node,
    /// Why it waits, or whether it can be evicted
    Pod,
}

/// The cluster that is looked at.
#[derive(Args, Debug)]
#[command(next_help_heading = "Which cluster")]
pub(crate) struct SnapshotArgs {
    /// The cluster as a file: of `sawhorse capture`, what `sawhorse solve` reads, or a decision scenario (`.yaml`) of the
    /// folder `snapshots`; if not given, the cluster is captured as `sawhorse capture` does
    #[arg(long, value_name = "FILE")]
    pub(crate) snapshot: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) live: LiveArgs,
}

/// A cluster that runs.
#[derive(Args, Debug)]
pub(crate) struct LiveArgs {
    /// Kubeconfig file; the usual places if not given
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) aws: AwsArgs,
}

/// Options of `capture`.
#[derive(Args, Debug)]
pub(crate) struct CaptureArgs {
    /// Write to FILE instead of standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) live: LiveArgs,
}

/// Options of `plan`.
#[derive(Args, Debug)]
pub(crate) struct PlanArgs {
    /// NodePools and NodeOverlays that are thought to be applied, as YAML
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// A node that is thought to be gone
    #[arg(long, value_name = "NAME")]
    pub(crate) remove_node: Vec<String>,
    #[command(flatten)]
    pub(crate) snapshot: SnapshotArgs,
}

/// Options of `crds`.
#[derive(Args, Debug)]
pub(crate) struct CrdsArgs {
    /// Write one file for each into this folder instead of printing
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
}
