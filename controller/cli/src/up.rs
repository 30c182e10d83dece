//! `sawhorse up`: everything in real time on loopback ports.

use crate::{args::UpArgs, run::read, serve};
use anyhow::Context;
use sawhorse_ambient::{Clock, Seed};
use sawhorse_e2e::{
    control_plane::{ControlPlane, Kubernetes, Programs, Times},
    environment::{Environment, Options},
    event_log::Entry,
    run::apply_all,
    scenario::{Scenario, load},
};
use sawhorse_kwok::apiserver::{ApiServer, Config};
use std::{io::Write, net::SocketAddr, path::Path, process::ExitCode, time::Duration};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The world of `up` where no scenario is given: defaults, with machines that boot in seconds.
const DEFAULT_WORLD: &str = include_str!("up.yaml");
/// How often new events are printed.
const PRINT_EVERY: Duration = Duration::from_millis(500);

/// Runs until Ctrl-C or SIGTERM.
pub(crate) fn up(args: &UpArgs) -> anyhow::Result<ExitCode> {
    let scenario = match &args.scenario {
        Some(file) => read(file)?,
        None => load(DEFAULT_WORLD).context("the default world")?,
    };
    let programs = args.plane.programs()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve_until_interrupted(args, &scenario, programs.as_ref()))
}

async fn serve_until_interrupted(
    args: &UpArgs,
    scenario: &Scenario,
    programs: Option<&Programs>,
) -> anyhow::Result<ExitCode> {
    let interrupted = serve::interrupted()?;
    let (cloud, cloud_at) = serve::listen(args.bind_address, args.cloud_port, "the cloud").await?;
    let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
    let (clock, seed) = (Clock::from_system(), Seed(args.seed));
    let (control_plane, endpoint) = match programs {
        None => {
            let (api, api_at) = serve::listen(args.bind_address, args.api_port, "the Kubernetes API").await?;
            let server = ApiServer::new(Config::new(clock, seed));
            serve::serve(&mut tasks, api, server.router(), &stop);
            write_kubeconfig(&args.kubeconfig, api_at)?;
            (ControlPlane::Embedded(server), format!("http://{api_at}"))
        }
        Some(programs) => {
            say("the control plane starts\n");
            let cluster = Kubernetes::start(programs, Times { began: clock.now(), speed: 1 }).await?;
            let copied = std::fs::copy(cluster.kubeconfig(), &args.kubeconfig);
            copied.with_context(|| format!("the kubeconfig `{}` cannot be written", args.kubeconfig.display()))?;
            let endpoint = cluster.url().to_owned();
            (ControlPlane::Kubernetes(Box::new(cluster)), endpoint)
        }
    };
    let autoscaler = args.autoscaler == "sawhorse";
    let options = Options { seed, clock, endpoint, servers: None, autoscaler, scheduler_events: true };
    let environment = Environment::start(scenario, &options, control_plane).await?;
    apply_all(&environment.client(), &scenario.objects).await?;
    serve::serve(&mut tasks, cloud, environment.cloud.clone(), &stop);
    say(&format!(
        "Kubernetes  export KUBECONFIG={}\ncloud       http://{cloud_at}   (region {}, cluster {})\n\
         control     http://{cloud_at}/control/v1/\nCtrl-C stops everything.\n",
        args.kubeconfig.display(),
        scenario.cloud.region,
        scenario.cloud.cluster,
    ));
    tokio::select! {
        biased;
        () = interrupted => {}
        () = print_events(&environment) => {}
    }
    say("stopping\n");
    stop.cancel();
    environment.stop().await;
    tasks.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

async fn print_events(environment: &Environment) {
    let mut printed = 0;
    loop {
        tokio::time::sleep(PRINT_EVERY).await;
        let entries: Vec<Entry> = environment.log.entries();
        for entry in &entries[printed.min(entries.len())..] {
            say(&format!("{entry}\n"));
        }
        printed = entries.len();
    }
}

fn write_kubeconfig(path: &Path, api: SocketAddr) -> anyhow::Result<()> {
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: sawhorse\nclusters:\n- name: sawhorse\n  cluster: {{server: \"http://{api}\"}}\n\
         contexts:\n- name: sawhorse\n  context: {{cluster: sawhorse, user: sawhorse, namespace: default}}\nusers:\n- name: sawhorse\n  user: {{}}\n"
    );
    std::fs::write(path, text).with_context(|| format!("the kubeconfig `{}` cannot be written", path.display()))
}

fn say(text: &str) {
    // A reader that has gone away is no reason to stop.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
