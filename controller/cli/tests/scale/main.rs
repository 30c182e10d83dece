//! Figures at scale, on real programs and in real time: `make scale`.
//!
//! 1. A thousand pods get more than a hundred machines, and go again: control plane, fake cloud, fake nodes and controller are
//!    processes of their own.
//! 2. Thousands of nodes with leases and twice as many pods are held for minutes by `sawhorse nodes`, then by upstream KWOK, in the
//!    same cluster and with the controller beside them.
//!
//! Only limits that are promised are asserted; the rest is printed.

#![expect(clippy::print_stdout, reason = "figures are what this is for")]

mod figures;
mod held;
mod out_and_back;
mod program;
mod watched;

use anyhow::Context;
use clap::Parser;
use kube::Client;
use program::Program;
use sawhorse_ambient::Clock;
use sawhorse_core::api::crds;
use sawhorse_e2e::{
    control_plane::{ControlPlane, Kubernetes, Programs, Times},
    run::apply_all,
};
use serde_json::Value;
use std::{path::PathBuf, time::Duration};
use tempfile::TempDir;
use tokio::task::JoinSet;
use watched::Watched;

/// Between two looks at what is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How much.
#[derive(Parser, Debug)]
struct Args {
    /// The folder of the control plane's programs
    #[arg(long, env = "KUBEBUILDER_ASSETS", value_name = "FOLDER")]
    programs: PathBuf,
    /// The folder of KWOK and its Stages; without it, only `sawhorse nodes` holds nodes
    #[arg(long, value_name = "FOLDER")]
    kwok: Option<PathBuf>,
    /// `out-and-back`, `held` or `all`
    #[arg(long, default_value = "all")]
    part: String,
    /// Pods of the first part
    #[arg(long, default_value_t = 1_000)]
    out: usize,
    /// Within so many seconds they must run
    #[arg(long, default_value_t = 60)]
    within: u64,
    /// Nodes of the second part
    #[arg(long, default_value_t = 5_000)]
    nodes: usize,
    /// Pods of the second part
    #[arg(long, default_value_t = 10_000)]
    pods: usize,
    /// How long they are held by each
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Given by `cargo test`; means nothing here
    #[arg(long, hide = true)]
    nocapture: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if ["out-and-back", "all"].contains(&args.part.as_str()) {
        let mut bench = Bench::start(&args).await?;
        let outcome = out_and_back::run(&mut bench, &args).await;
        bench.stop().await;
        outcome?;
    }
    if ["held", "all"].contains(&args.part.as_str()) {
        let mut bench = Bench::start(&args).await?;
        let outcome = held::run(&mut bench, &args).await;
        bench.stop().await;
        outcome?;
    }
    Ok(())
}

/// A control plane and what runs beside it.
struct Bench {
    clock: Clock,
    plane: Box<Kubernetes>,
    client: Client,
    watched: Watched,
    folder: TempDir,
    programs: Vec<Program>,
    tasks: JoinSet<()>,
}

impl Bench {
    async fn start(args: &Args) -> anyhow::Result<Self> {
        let clock = Clock::from_system();
        let programs = Programs::in_folder(&args.programs)?;
        let plane = Box::new(Kubernetes::start(&programs, Times { began: clock.now(), speed: 1 }).await?);
        let (client, watched, mut tasks) = (plane.client(), Watched::default(), JoinSet::new());
        tasks.spawn(watched.clone().follow(client.clone()));
        let crds = crds();
        let objects: Vec<Value> = crds.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
        apply_all(&client, &objects).await?;
        let names: Vec<String> = crds.into_iter().filter_map(|crd| crd.metadata.name).collect();
        plane.serves(&names).await?;
        let (folder, programs) = (TempDir::new()?, Vec::new());
        Ok(Self { clock, plane, client, watched, folder, programs, tasks })
    }

    /// Starts a part of ours as a program.
    fn sawhorse(&mut self, name: &'static str, arguments: Vec<String>) -> anyhow::Result<()> {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_sawhorse"));
        self.programs.push(Program::start(name, &program, arguments, self.folder.path())?);
        Ok(())
    }

    /// The production controller, which buys at the fake cloud there.
    fn controller(&mut self, cloud: &str) -> anyhow::Result<()> {
        let arguments = [
            "controller",
            "--cluster-name=sawhorse",
            "--region=us-west-2",
            "--metrics-port=0",
            "--health-probe-port=0",
            "--leader-election-namespace=kube-system",
            &format!("--kubeconfig={}", self.plane.kubeconfig().display()),
            &format!("--endpoint-url={cloud}"),
        ];
        self.sawhorse("controller", arguments.map(str::to_owned).into())
    }

    /// The fake cloud; its URL.
    async fn cloud(&mut self, configuration: &Value) -> anyhow::Result<String> {
        let file = self.folder.path().join("cloud.json");
        std::fs::write(&file, configuration.to_string())?;
        let arguments = ["cloud", "--port=0", &format!("--config={}", file.display())].map(str::to_owned);
        self.sawhorse("cloud", arguments.into())?;
        let url = |said: &str| said.split_whitespace().find(|word| word.starts_with("http://")).map(str::to_owned);
        self.until("the cloud listens", 60, |bench| bench.said("cloud").is_some_and(|said| url(&said).is_some()))
            .await?;
        self.said("cloud").and_then(|said| url(&said)).context("the cloud's URL")
    }

    fn said(&self, name: &str) -> Option<String> {
        self.programs.iter().find(|program| program.name == name).map(Program::said)
    }

    /// Takes a program out to stop it, if it runs.
    async fn end(&mut self, name: &str) -> anyhow::Result<()> {
        match self.programs.iter().position(|program| program.name == name) {
            Some(index) => self.programs.remove(index).stop().await,
            None => Ok(()),
        }
    }

    /// Waits until `holds`; how long that took.
    async fn until(&mut self, what: &str, seconds: u64, holds: impl Fn(&Self) -> bool) -> anyhow::Result<Duration> {
        let began = self.clock.elapsed();
        while !holds(self) {
            self.plane.all_run()?;
            self.programs.iter_mut().try_for_each(Program::runs)?;
            let waited = self.clock.elapsed() - began;
            if waited > Duration::from_secs(seconds) {
                let seen = self.watched.seen();
                anyhow::bail!(
                    "not within {seconds} s: {what}; {} of {} nodes are Ready, {} of {} pods run",
                    seen.ready(),
                    seen.nodes.len(),
                    seen.running(),
                    seen.pods.len()
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(self.clock.elapsed() - began)
    }

    async fn stop(mut self) {
        for program in std::mem::take(&mut self.programs).into_iter().rev() {
            if let Err(error) = program.stop().await {
                eprintln!("{error:#}");
            }
        }
        self.tasks.shutdown().await;
        ControlPlane::Kubernetes(self.plane).stop().await;
    }
}
