//! `sawhorse up`: everything in real time on loopback ports.

use crate::{args::UpArgs, run::read, serve};
use anyhow::Context;
use sawhorse_ambient::{Clock, Seed};
use sawhorse_e2e::{
    environment::{Environment, Options},
    event_log::Entry,
    run::prepare,
    scenario::{Scenario, load},
};
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve_until_interrupted(args, &scenario))
}

async fn serve_until_interrupted(args: &UpArgs, scenario: &Scenario) -> anyhow::Result<ExitCode> {
    let (api, api_at) = serve::listen(args.bind_address, args.api_port, "the Kubernetes API").await?;
    let (cloud, cloud_at) = serve::listen(args.bind_address, args.cloud_port, "the cloud").await?;
    let options = Options {
        seed: Seed(args.seed),
        clock: Clock::from_system(),
        endpoint: format!("http://{api_at}"),
        servers: None,
        autoscaler: args.autoscaler == "sawhorse",
    };
    let environment = Environment::start(scenario, &options)?;
    prepare(&environment.client(), &scenario.objects).await?;
    write_kubeconfig(&args.kubeconfig, api_at)?;
    let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
    serve::serve(&mut tasks, api, environment.server.router(), &stop);
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
        () = serve::interrupted()? => {}
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
