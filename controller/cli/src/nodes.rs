//! `sawhorse nodes`: fake nodes alone, in any cluster.

use crate::{
    args::{MachinesArgs, NodesArgs, WhichNodesArgs},
    control::{cluster_config, log_to_stderr},
    machines::MachinesOfACloud,
    serve,
};
use anyhow::{Context, anyhow, bail};
use axum::{Router, extract::State, routing::get};
use kube::Client;
use sawhorse_ambient::{Clock, Seed};
use sawhorse_kwok::{
    kubelet::{self, AddressOptions, KubeletConfig, LeaseOptions, NoMachines, NodeControllers, NodeSelection, Tally},
    machine::{ClusterIdentity, MachineSource},
    stage::{Stage, library, parse_stages},
};
use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Runs until SIGTERM or Ctrl-C; what has been sent by then is waited for.
pub(crate) fn nodes(args: NodesArgs) -> anyhow::Result<ExitCode> {
    log_to_stderr(&args.logs)?;
    // One thread: kubelets wait nearly all the time, and handing requests from thread to thread costs more than sending them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(args))
}

async fn run(args: NodesArgs) -> anyhow::Result<ExitCode> {
    let interrupted = serve::interrupted()?;
    let selection = selection(&args.which)?;
    let stages = stages(&args.stages)?;
    if selection == NodeSelection::none() && args.machines.cloud_url.is_none() {
        bail!("no node is looked after: give a `--manage-…` option, e.g. `--manage-all-nodes`, or `--cloud-url`");
    }
    let cluster = cluster_config(args.kubeconfig.as_deref()).await?;
    let url = cluster.cluster_url.to_string().trim_end_matches('/').to_owned();
    let client = Client::try_from(cluster).context("the cluster cannot be reached")?;
    client.apiserver_version().await.context("the API server does not answer")?;
    let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
    let MachinesArgs { cloud_url, cluster_name, cluster_endpoint, boot, ready } = args.machines;
    let (machines, node_controllers): (Arc<dyn MachineSource>, _) = match &cloud_url {
        Some(cloud) => (Arc::new(MachinesOfACloud::follow(cloud, &mut tasks).await?), NodeControllers::OfTheCloud),
        None => (Arc::new(NoMachines), NodeControllers::None),
    };
    let clock = Clock::from_system();
    let cluster = ClusterIdentity { name: cluster_name, endpoint: cluster_endpoint.unwrap_or(url) };
    let lease = Duration::from_secs(args.node_lease_duration_seconds.into());
    let drawn = Seed(u64::from(std::process::id()) ^ clock.now().as_nanosecond() as u64);
    let tally = Arc::new(Tally::default());
    let config = KubeletConfig {
        selection,
        identity: args.id.unwrap_or_else(|| format!("sawhorse-{}", drawn.stream(&["identity"]).hex(12))),
        stages,
        boot,
        ready,
        leases: (!lease.is_zero()).then_some(LeaseOptions { duration: lease }),
        addresses: AddressOptions { first_pod: args.cidr, node: args.node_ip },
        at_a_time: args.requests,
        tally: Arc::clone(&tally),
        node_controllers,
        ..KubeletConfig::new(client, machines, clock, Seed(args.seed), cluster)
    };
    if let Some(address) = args.server_address {
        let (listener, at) = serve::listen(address.ip(), address.port(), "probes and metrics").await?;
        eprintln!("probes and metrics  http://{at}/metrics");
        serve::serve(&mut tasks, listener, doors(tally), &stop);
    }
    let ended = kubelet::run(config, stop.clone());
    tokio::pin!(ended);
    tokio::select! {
        biased;
        () = interrupted => {}
        outcome = &mut ended => return outcome.map_err(Into::into).and(Err(anyhow!("the kubelets ended"))),
    }
    stop.cancel();
    ended.await?;
    tasks.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

fn selection(which: &WhichNodesArgs) -> anyhow::Result<NodeSelection> {
    let unreadable = |option: &str, problem: String| anyhow!("`--manage-nodes-with-{option}-selector`: {problem}");
    match which {
        WhichNodesArgs { manage_all_nodes: true, .. } => Ok(NodeSelection::all()),
        WhichNodesArgs { manage_single_node: Some(name), .. } => Ok(NodeSelection::named(name)),
        WhichNodesArgs { manage_nodes_with_annotation_selector: Some(selector), .. } => {
            NodeSelection::by_annotations(selector).map_err(|problem| unreadable("annotation", problem))
        }
        WhichNodesArgs { manage_nodes_with_label_selector: Some(selector), .. } => {
            NodeSelection::by_labels(selector).map_err(|problem| unreadable("label", problem))
        }
        WhichNodesArgs { .. } => Ok(NodeSelection::none()),
    }
}

fn stages(files: &[PathBuf]) -> anyhow::Result<Vec<Stage>> {
    if files.is_empty() {
        return Ok(library::fast());
    }
    let mut stages = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).with_context(|| format!("`{}` cannot be read", file.display()))?;
        stages.extend(parse_stages(&file.display().to_string(), &text)?);
    }
    Ok(stages)
}

fn doors(tally: Arc<Tally>) -> Router {
    let alive = || get(async || "ok");
    Router::new()
        .route("/healthz", alive())
        .route("/livez", alive())
        .route("/readyz", alive())
        .route("/metrics", get(metrics))
        .with_state(tally)
}

async fn metrics(State(tally): State<Arc<Tally>>) -> String {
    let number = |name: &str, kind: &str, help: &str, value: String| {
        format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n")
    };
    [
        number("sawhorse_nodes", "gauge", "Nodes that are looked after.", tally.nodes().to_string()),
        number(
            "sawhorse_node_lease_renewals_total",
            "counter",
            "Renewals of node leases that were sent.",
            tally.renewals().to_string(),
        ),
        number(
            "sawhorse_node_lease_renewals_failed_total",
            "counter",
            "Renewals of node leases that did not succeed.",
            tally.failed_renewals().to_string(),
        ),
        number(
            "sawhorse_node_lease_renewal_lateness_max_seconds",
            "gauge",
            "How much later than due a renewal was sent at most.",
            (Duration::from_millis(tally.latest_renewal_millis()).as_secs_f64()).to_string(),
        ),
    ]
    .concat()
}
