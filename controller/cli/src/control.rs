//! `sawhorse controller`: the production controller.

use crate::{args::ControlArgs, serve};
use anyhow::{Context, bail};
use kube::{Client, Config, config::Kubeconfig};
use sawhorse_ambient::{Clock, Seed};
use sawhorse_controller::{args::LogArgs, cloud::ec2::Cluster, runtime};
use sawhorse_e2e::control_plane::{client_in_fast_motion, in_fast_motion};
use std::{path::Path, process::ExitCode, sync::Arc};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Runs until SIGTERM or Ctrl-C.
pub(crate) fn controller(args: ControlArgs) -> anyhow::Result<ExitCode> {
    log_to_stderr(&args.controller.logs)?;
    match args.motion.times() {
        None => tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(args)),
        Some(times) => in_fast_motion(times.speed, run(args))?,
    }
}

/// Logs one JSON object a line.
pub(crate) fn log_to_stderr(logs: &LogArgs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&logs.log_level)?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).json().init();
    Ok(())
}

async fn run(args: ControlArgs) -> anyhow::Result<ExitCode> {
    let ControlArgs {
        kubeconfig,
        cluster_name,
        cluster_endpoint,
        cluster_ca_bundle,
        cluster_service_cidr,
        interruption_queue,
        aws,
        controller,
        motion,
    } = args;
    let times = motion.times();
    let speed = times.map_or(1, |times| times.speed);
    if let Some(problem) = controller.leader_election("").and_then(|election| election.times.problem()) {
        bail!("leader election: {problem}");
    }
    let clock = Clock::from_system();
    let clock = times.map_or(clock, |times| Clock::starting_at(times.moment_of_run(clock.now())));
    let config = cluster_config(kubeconfig.as_deref()).await?;
    let endpoint = cluster_endpoint.unwrap_or_else(|| config.cluster_url.to_string().trim_end_matches('/').to_owned());
    let client = match times {
        None => Client::try_from(config),
        Some(times) => client_in_fast_motion(config, times),
    };
    let client = client.context("the cluster cannot be reached")?;
    let version = client.apiserver_version().await.context("the API server does not answer")?;
    let seed = Seed(u64::from(std::process::id()) ^ clock.now().as_nanosecond() as u64);
    let cluster = Cluster {
        name: cluster_name,
        endpoint,
        ca_bundle: cluster_ca_bundle,
        service_cidr: cluster_service_cidr,
        dns_address: None,
        kubernetes_version: format!("{}.{}", version.major, version.minor.trim_end_matches('+')),
    };
    let provider = aws.provider(cluster, interruption_queue, clock, seed, speed).await?;
    // In a cluster the host's name is the pod's.
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let identity = format!("{host}_{}", seed.stream(&["identity"]).hex(12));
    let mut config = controller.into_config(client, Arc::new(provider), clock, seed, identity);
    if let Some(election) = &mut config.leader_election {
        election.times = election.times.times(speed);
    }
    let stop = CancellationToken::new();
    let (interrupted, stopper) = (serve::interrupted()?, stop.clone());
    tokio::spawn(async move {
        interrupted.await;
        stopper.cancel();
    });
    runtime::run(config, stop).await?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn cluster_config(file: Option<&Path>) -> anyhow::Result<Config> {
    match file {
        Some(file) => {
            let kubeconfig =
                Kubeconfig::read_from(file).with_context(|| format!("the kubeconfig `{}`", file.display()))?;
            Ok(Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?)
        }
        None => Config::infer().await.context("no cluster: give `--kubeconfig` or KUBECONFIG, or run inside one"),
    }
}
