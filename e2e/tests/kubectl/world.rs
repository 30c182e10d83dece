//! A control plane with what `sawhorse up` has around it, and commands run against it.

use super::{
    flow::{Flow, Part, Step},
    mask::Masks,
};
use anyhow::Context;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace, ServiceAccount},
};
use kube::{
    Api, Client,
    api::PostParams,
    core::ObjectMeta,
    runtime::{conditions::is_deployment_completed, wait::await_condition},
};
use sawhorse_ambient::{Clock, Seed};
#[cfg(feature = "real-kubernetes")]
use sawhorse_e2e::control_plane::{Kubernetes, Programs, Times};
use sawhorse_e2e::{
    control_plane::ControlPlane,
    environment::{Environment, Options},
    run::apply_all,
    scenario::load,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tempfile::TempDir;
use tokio::{net::TcpListener, process::Command, task::JoinSet};

const WORLD: &str = include_str!("world.yaml");
/// How long the world may take to have its first node, on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(180);
/// How long one command may take.
const COMMAND_SECONDS: &str = "150";

/// A running world.
pub(crate) struct World {
    environment: Environment,
    /// Holds the kubeconfigs, kubectl's cache and the flows' files.
    home: TempDir,
    kubectl: PathBuf,
    servers: JoinSet<()>,
}

impl World {
    /// On the embedded control plane, with its API on a loopback port.
    pub(crate) async fn embedded(kubectl: &Path) -> anyhow::Result<Self> {
        let (clock, seed) = (Clock::from_system(), Seed(1));
        let home = tempfile::tempdir()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let control_plane = ControlPlane::embedded(clock, seed);
        let ControlPlane::Embedded(server) = &control_plane else { unreachable!("it has just been made so") };
        let mut servers = JoinSet::new();
        let router = server.router();
        servers.spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("the API server ended: {error}");
            }
        });
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: sawhorse\nclusters:\n- name: sawhorse\n  cluster: {{server: \"{url}\"}}\n\
             contexts:\n- name: sawhorse\n  context: {{cluster: sawhorse, user: sawhorse, namespace: default}}\nusers:\n- name: sawhorse\n  user: {{}}\n"
        );
        fs::write(home.path().join("kubeconfig"), kubeconfig)?;
        Self::start(control_plane, home, kubectl, (clock, seed, url), servers).await
    }

    /// On real programs of its own.
    #[cfg(feature = "real-kubernetes")]
    pub(crate) async fn real(kubectl: &Path, programs: &Programs) -> anyhow::Result<Self> {
        let (clock, seed) = (Clock::from_system(), Seed(1));
        let home = tempfile::tempdir()?;
        let cluster = Kubernetes::start(programs, Times { began: clock.now(), speed: 1 }).await?;
        fs::copy(cluster.kubeconfig(), home.path().join("kubeconfig"))?;
        let url = cluster.url().to_owned();
        let control_plane = ControlPlane::Kubernetes(Box::new(cluster));
        Self::start(control_plane, home, kubectl, (clock, seed, url), JoinSet::new()).await
    }

    async fn start(
        control_plane: ControlPlane,
        home: TempDir,
        kubectl: &Path,
        (clock, seed, endpoint): (Clock, Seed, String),
        servers: JoinSet<()>,
    ) -> anyhow::Result<Self> {
        let scenario = load(WORLD)?;
        let options =
            Options { seed, clock, endpoint, servers: None, autoscaler: true, scheduler_events: true, kwok: None };
        let environment = Environment::start(&scenario, &options, control_plane).await?;
        let client = environment.client();
        apply_all(&client, &scenario.objects).await?;
        let holder =
            await_condition(Api::<Deployment>::default_namespaced(client), "holder", is_deployment_completed());
        tokio::time::timeout(START_LIMIT, holder).await.context("the world has no node")??;
        Ok(Self { environment, home, kubectl: kubectl.to_owned(), servers })
    }

    /// Runs a flow; the same flow with what its commands printed here.
    pub(crate) async fn run(&self, flow: &Flow, masks: &Masks) -> anyhow::Result<Flow> {
        let folder = self.home.path().join(&flow.name);
        fs::create_dir(&folder)?;
        let kubeconfig = fs::read_to_string(self.home.path().join("kubeconfig"))?;
        let own = kubeconfig.replace("namespace: default", &format!("namespace: {}", flow.name));
        fs::write(folder.join(".kubeconfig"), own)?;
        make_namespace(&self.environment.client(), &flow.name).await?;
        let clock = Clock::from_system();
        let mut told = flow.clone();
        for part in &mut told.parts {
            match part {
                Part::Text(_) => {}
                Part::File { name, content } => fs::write(folder.join(name), content)?,
                Part::Console(steps) => {
                    for step in steps {
                        step.told = self.command(&folder, step, masks).await?;
                    }
                }
            }
        }
        let seconds = clock.elapsed().as_secs_f64();
        eprintln!("{}: {} commands in {seconds:.1} s", flow.name, flow.steps().count());
        Ok(told)
    }

    async fn command(&self, folder: &Path, step: &Step, masks: &Masks) -> anyhow::Result<Vec<String>> {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", COMMAND_SECONDS, "bash", "-c", &step.command]).current_dir(folder);
        let programs = self.kubectl.parent().context("kubectl is in no folder")?;
        command.env_clear().env("PATH", format!("{}:/usr/bin:/bin", programs.display()));
        command.env("HOME", self.home.path()).env("KUBECONFIG", folder.join(".kubeconfig"));
        command.env("TZ", "UTC").env("LC_ALL", "C");
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
        let mut told = Vec::new();
        if !output.status.success() {
            told.push(format!("? {}", output.status.code().unwrap_or(-1)));
        }
        told.extend(masks.lines(&String::from_utf8_lossy(&output.stdout)));
        let errors = masks.lines(&String::from_utf8_lossy(&output.stderr));
        told.extend(errors.iter().map(|line| format!("! {line}").trim_end().to_owned()));
        Ok(told)
    }

    /// Ends everything.
    pub(crate) async fn stop(mut self) {
        self.environment.stop().await.unwrap();
        self.servers.shutdown().await;
    }
}

/// A namespace with what Kubernetes puts into each, so that what flows list does not depend on when that comes.
async fn make_namespace(client: &Client, name: &str) -> anyhow::Result<()> {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let namespace = Namespace { metadata, ..Namespace::default() };
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await?;
    let account =
        await_condition(Api::<ServiceAccount>::namespaced(client.clone(), name), "default", |found: Option<&_>| {
            found.is_some()
        });
    let authority =
        await_condition(Api::<ConfigMap>::namespaced(client.clone(), name), "kube-root-ca.crt", |found: Option<&_>| {
            found.is_some()
        });
    let both = async { tokio::try_join!(account, authority) };
    tokio::time::timeout(START_LIMIT, both).await.with_context(|| format!("namespace `{name}` stays empty"))??;
    Ok(())
}
