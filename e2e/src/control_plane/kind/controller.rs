//! The controller in the cluster: put there by its Helm chart, killed as a crash would, asked what it did.

use super::{Kind, commands};
use crate::{
    control_plane::access::{LEASE, NAMESPACE},
    event_log::{EventLog, Source},
};
use anyhow::{Context, bail};
use jiff::Timestamp;
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{ContainerStatus, Pod},
};
use kube::{
    Api,
    api::{ListParams, LogParams},
};
use sawhorse_core::model::Settings;
use serde::Deserialize;
use serde_json::json;
use std::{fs, path::Path, time::Duration};

/// As what the chart is installed.
const RELEASE: &str = "sawhorse";
/// How long all replicas may take to be ready, and how often they are looked at meanwhile, in real time.
const READY_LIMIT: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The chart's number of replicas.
const REPLICAS: usize = 2;

/// What a run's controller is told, beside the chart's defaults.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// The cluster's name in the cloud.
    pub cluster_name: String,
    /// The API server's URL as machines are told it.
    pub cluster_endpoint: String,
    /// The cloud's region.
    pub region: String,
    /// The cloud's URL as pods reach it.
    pub cloud: String,
    /// The queue that says what happens to machines, if the controller is to listen to one.
    pub interruption_queue: Option<String>,
    /// How the controller decides, as far as scenarios can say.
    pub settings: Settings,
}

impl Kind {
    /// Installs the chart and waits until every replica is ready.
    ///
    /// # Errors
    /// Helm fails; the replicas are not ready in time (what they logged last is told).
    pub async fn deploy(&self, deployment: &Deployment) -> anyhow::Result<()> {
        let values = self.cluster.folder.path().join("values.yaml");
        fs::write(&values, self.values(deployment).to_string())?;
        let (values, kubeconfig) = (values.to_string_lossy(), self.cluster.kubeconfig());
        let (chart, kubeconfig) = (self.cluster.settings.chart.to_string_lossy(), kubeconfig.to_string_lossy());
        let arguments =
            ["install", RELEASE, &chart, "--namespace", NAMESPACE, "--create-namespace", "--values", &values];
        let arguments = [&arguments[..], &["--kubeconfig", &kubeconfig]].concat();
        commands::run(&self.cluster.settings.program("helm"), &arguments, self.real(commands::LIMIT)).await?;
        for _ in 0..READY_LIMIT.as_millis() / LOOK_EVERY.as_millis() {
            let pods = self.pods().await?;
            if pods.iter().filter(|pod| is_ready(pod)).count() == REPLICAS {
                return Ok(());
            }
            tokio::time::sleep(self.real(LOOK_EVERY)).await;
        }
        let logs = self.logs(false).await.unwrap_or_default().join("\n");
        let lines: Vec<&str> = logs.lines().collect();
        let last = lines[lines.len().saturating_sub(8)..].join("\n");
        bail!("the controller's replicas are not ready within {READY_LIMIT:?}; the last of their logs:\n{last}")
    }

    /// The chart's values, as YAML that is JSON.
    fn values(&self, deployment: &Deployment) -> serde_json::Value {
        let Deployment { cluster_name, cluster_endpoint, region, cloud, interruption_queue, settings } = deployment;
        let gates = &settings.feature_gates;
        let image = &self.cluster.settings.controller_image;
        let (repository, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
        json!({
            "controller": {
                "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
                "env": [
                    {"name": "SAWHORSE_SPEED", "value": self.times.speed.to_string()},
                    {"name": "SAWHORSE_BEGAN", "value": self.times.began.to_string()},
                    {"name": "AWS_ACCESS_KEY_ID", "value": "AKIDSAWHORSE"},
                    {"name": "AWS_SECRET_ACCESS_KEY", "value": "not-a-secret"},
                ],
            },
            // kind's nodes are in no zone.
            "topologySpreadConstraints": [],
            "settings": {
                "clusterName": cluster_name,
                "clusterEndpoint": cluster_endpoint,
                "region": region,
                "endpointURL": cloud,
                "interruptionQueue": interruption_queue,
                "forcefulExpiration": settings.forceful_expiration,
                "forcefulRepair": settings.forceful_repair,
                "featureGates": {
                    "nodeRepair": gates.node_repair,
                    "staticCapacity": gates.static_capacity,
                    "capacityBuffer": gates.capacity_buffer,
                    "nodeOverlay": gates.node_overlay,
                    "spotToSpotConsolidation": gates.spot_to_spot_consolidation,
                },
            },
        })
    }

    /// Kills the container of the replica that leads, as `kill -9` does; its pod's name. Its kubelet starts another.
    ///
    /// # Errors
    /// Nobody leads, or the container cannot be killed.
    pub async fn kill_leader(&self) -> anyhow::Result<String> {
        let leases: Api<Lease> = Api::namespaced(self.client(), NAMESPACE);
        let lease = leases.get(LEASE).await.context("the controller's lease")?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
        // The pod's name, `_`, something drawn.
        let name = holder.split_once('_').map_or(holder.as_str(), |(name, _)| name).to_owned();
        let pod = Api::<Pod>::namespaced(self.client(), NAMESPACE).get(&name).await;
        let pod = pod.with_context(|| format!("the pod of `{holder}`, which leads"))?;
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
        let id = container(&pod).and_then(|status| status.container_id.as_deref()).unwrap_or_default();
        let id = id.rsplit_once('/').map_or(id, |(_, id)| id);
        let kill = ["exec", node, "ctr", "--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", id];
        commands::run(Path::new("docker"), &kill, self.real(commands::LIMIT)).await?;
        Ok(name)
    }

    /// Writes what the replicas say that they decided and did into the log, at the run's time.
    ///
    /// # Errors
    /// Their logs cannot be read.
    pub async fn hear_controller(&self, log: &EventLog) -> anyhow::Result<()> {
        let logs = [self.logs(true).await?, self.logs(false).await?].concat();
        for line in logs.iter().flat_map(|log| log.lines()) {
            let Ok(Line { timestamp, fields }) = serde_json::from_str(line) else { continue };
            let what = format!("{} {}", fields.message, fields.detail);
            let at = self.times.moment_of_run(timestamp);
            if let Some(controller) = fields.controller {
                log.add(at, Source::Controller, controller, what.trim_end());
            }
        }
        Ok(())
    }

    /// The controller's pods.
    pub(super) async fn pods(&self) -> anyhow::Result<Vec<Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.client(), NAMESPACE);
        Ok(pods.list(&ListParams::default()).await?.items)
    }

    /// The log of each replica, or of the container that ran before it in the same pod.
    async fn logs(&self, previous: bool) -> anyhow::Result<Vec<String>> {
        let pods: Api<Pod> = Api::namespaced(self.client(), NAMESPACE);
        let mut logs = Vec::new();
        for pod in self.pods().await? {
            let restarted = container(&pod).is_some_and(|status| status.restart_count > 0);
            if !previous || restarted {
                let params = LogParams { previous, ..LogParams::default() };
                let name = pod.metadata.name.unwrap_or_default();
                logs.push(pods.logs(&name, &params).await.with_context(|| format!("the log of `{name}`"))?);
            }
        }
        Ok(logs)
    }

    /// Takes the chart away, and waits until its pods are gone.
    pub(super) async fn withdraw(&self) -> anyhow::Result<()> {
        let kubeconfig = self.cluster.kubeconfig();
        let kubeconfig = kubeconfig.to_string_lossy();
        let arguments =
            ["uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found", "--kubeconfig", &kubeconfig];
        commands::run(&self.cluster.settings.program("helm"), &arguments, self.real(commands::LIMIT)).await?;
        for _ in 0..READY_LIMIT.as_millis() / LOOK_EVERY.as_millis() {
            if self.pods().await?.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(self.real(LOOK_EVERY)).await;
        }
        bail!("the controller's pods are still there after {READY_LIMIT:?}")
    }
}

/// A line of the controller's log.
#[derive(Deserialize)]
struct Line {
    timestamp: Timestamp,
    fields: Fields,
}

#[derive(Deserialize)]
struct Fields {
    #[serde(default)]
    message: String,
    /// Lines about decisions have it.
    controller: Option<String>,
    #[serde(default)]
    detail: String,
}

fn container(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

fn is_ready(pod: &Pod) -> bool {
    container(pod).is_some_and(|status| status.ready)
}
