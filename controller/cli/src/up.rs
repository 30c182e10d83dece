//! `sawhorse up`: everything in real time on loopback ports.

use crate::{
    args::{ChosenPlane, Kubelets, UpArgs},
    run::read,
    serve,
};
use anyhow::{Context, bail};
use sawhorse_ambient::{Clock, Seed};
use sawhorse_e2e::{
    control_plane::{ControlPlane, Kind, KindCluster, Kubernetes, KwokPrograms, Pace, Times},
    environment::{Environment, IN_PROCESS_ENDPOINT, Options},
    event_log::Entry,
    run::apply_all,
    scenario::{Scenario, load},
};
use sawhorse_fake_cloud::app::guarded_app;
use sawhorse_kwok::apiserver::{ApiServer, Config};
use std::{io::Write, net::SocketAddr, path::Path, process::ExitCode, sync::Arc, time::Duration};
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
    let chosen = args.plane.chosen()?;
    let Kubelets { own, kwok } = args.plane.kubelets()?;
    if own && kwok.is_some() {
        bail!("`--kubelet both` is for `run`: here it is `sawhorse` or `kwok`");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cluster = match &chosen {
        ChosenPlane::Kind(settings) => runtime.block_on(async {
            let interrupted = serve::interrupted()?;
            let name = format!("sawhorse-{}", std::process::id());
            tokio::select! {
                biased;
                () = interrupted => bail!("it was interrupted"),
                made = KindCluster::create(settings, &name, Pace::of(1), &|what: &str| say(&format!("{what}\n"))) => made.map(Some),
            }
        })?,
        ChosenPlane::Embedded | ChosenPlane::Binaries(_) => None,
    };
    runtime.block_on(serve_until_interrupted(args, &scenario, (&chosen, kwok), cluster.map(Arc::new)))
}

async fn serve_until_interrupted(
    args: &UpArgs,
    scenario: &Scenario,
    (chosen, kwok): (&ChosenPlane, Option<KwokPrograms>),
    cluster: Option<Arc<KindCluster>>,
) -> anyhow::Result<ExitCode> {
    let interrupted = serve::interrupted()?;
    let (cloud, cloud_at) = serve::listen(args.bind_address, args.cloud_port, "the cloud").await?;
    let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
    let (clock, seed) = (Clock::from_system(), Seed(args.seed));
    let times = Times { began: clock.now(), speed: 1 };
    let control_plane = match (chosen, &cluster) {
        (ChosenPlane::Binaries(programs), _) => {
            say("the control plane starts\n");
            ControlPlane::Kubernetes(Box::new(Kubernetes::start(programs, times).await?))
        }
        (_, Some(cluster)) => {
            say("the controller is deployed\n");
            ControlPlane::Kind(Box::new(Kind::begin(cluster, times).await?))
        }
        (_, None) => ControlPlane::Embedded(ApiServer::new(Config::new(clock, seed))),
    };
    let endpoint = match &control_plane {
        ControlPlane::Embedded(server) => {
            let (api, api_at) = serve::listen(args.bind_address, args.api_port, "the Kubernetes API").await?;
            serve::serve(&mut tasks, api, server.router(), &stop);
            write_kubeconfig(&args.kubeconfig, api_at)?;
            format!("http://{api_at}")
        }
        ControlPlane::Kubernetes(cluster) => {
            copy_kubeconfig(&cluster.kubeconfig(), &args.kubeconfig)?;
            cluster.url().to_owned()
        }
        ControlPlane::Kind(run) => {
            copy_kubeconfig(&run.cluster().kubeconfig(), &args.kubeconfig)?;
            IN_PROCESS_ENDPOINT.to_owned()
        }
    };
    let autoscaler = args.autoscaler == "sawhorse";
    let options = Options { seed, clock, endpoint, servers: None, autoscaler, kwok, scheduler_events: true };
    let environment = Environment::start(scenario, &options, control_plane).await?;
    apply_all(&environment.client(), &scenario.objects).await?;
    let token = serve::control_token(None, args.bind_address)?;
    let router = match &token {
        None => environment.cloud.clone(),
        Some(token) => guarded_app(environment.world.clone(), token),
    };
    serve::serve(&mut tasks, cloud, router, &stop);
    say(&format!(
        "Kubernetes  export KUBECONFIG={}\ncloud       http://{cloud_at}   (region {}, cluster {})\n\
         control     http://{cloud_at}/control/v1/\npage        http://{cloud_at}/ui{}\nCtrl-C stops everything.\n",
        args.kubeconfig.display(),
        scenario.cloud.region,
        scenario.cloud.cluster,
        token.map_or_else(String::new, |token| format!("?token={token}")),
    ));
    tokio::select! {
        biased;
        () = interrupted => {}
        () = print_events(&environment) => {}
    }
    say("stopping\n");
    stop.cancel();
    let stopped = match &cluster {
        None => environment.stop().await,
        // It goes as a whole.
        Some(_) => {
            drop(environment);
            Ok(())
        }
    };
    tasks.shutdown().await;
    stopped?;
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

fn copy_kubeconfig(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::copy(from, to).with_context(|| format!("the kubeconfig `{}` cannot be written", to.display()))?;
    Ok(())
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
