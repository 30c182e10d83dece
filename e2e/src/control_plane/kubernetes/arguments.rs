//! What the programs are told: credentials, arguments, configuration.

use crate::control_plane::{
    access,
    certificates::{Authority, Identity},
    times::Times,
};
use std::{fs, path::Path, time::Duration};

/// The least grace for silent nodes in real time: renewals of leases must get through on a busy machine.
const LEAST_NODE_GRACE: u64 = 8;
/// Seconds after which a node is called silent, and pods leave unready nodes, as Kubernetes has them.
const NODE_GRACE: u64 = 40;
/// Nobody asks the controller manager or the scheduler for anything.
const NO_PORT: &str = "--secure-port=0";
/// Seconds between two looks at all nodes.
const NODE_MONITOR_PERIOD: u64 = 5;

pub(super) fn write_credentials(folder: &Path, url: &str) -> anyhow::Result<()> {
    let authority = Authority::new()?;
    let names = ["127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
    let server = authority.server("kube-apiserver", &names)?;
    let accounts = authority.client("service-accounts", None)?;
    fs::write(folder.join("ca.crt"), &authority.certificate)?;
    fs::write(folder.join("apiserver.crt"), server.certificate)?;
    fs::write(folder.join("apiserver.key"), server.key)?;
    fs::write(folder.join("accounts.crt"), accounts.certificate)?;
    fs::write(folder.join("accounts.key"), accounts.key)?;
    let users = [
        ("admin", "sawhorse-admin", Some("system:masters")),
        ("manager", "system:kube-controller-manager", None),
        ("scheduler", "system:kube-scheduler", None),
    ];
    for (file, user, group) in users {
        let kubeconfig = kubeconfig(url, &authority.certificate, &authority.client(user, group)?);
        fs::write(folder.join(format!("{file}.kubeconfig")), kubeconfig)?;
    }
    Ok(())
}

fn kubeconfig(url: &str, authority: &str, identity: &Identity) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let [authority, certificate, key] =
        [authority, &identity.certificate, &identity.key].map(|pem| BASE64_STANDARD.encode(pem));
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: sawhorse\n\
         clusters:\n- name: sawhorse\n  cluster: {{server: \"{url}\", certificate-authority-data: {authority}}}\n\
         contexts:\n- name: sawhorse\n  context: {{cluster: sawhorse, user: sawhorse, namespace: default}}\n\
         users:\n- name: sawhorse\n  user: {{client-certificate-data: {certificate}, client-key-data: {key}}}\n"
    )
}

fn arguments<const N: usize>(all: [&str; N]) -> Vec<String> {
    all.map(str::to_owned).into()
}

pub(super) fn etcd(clients: u16, peers: u16) -> Vec<String> {
    let [clients, peers] = [clients, peers].map(|port| format!("http://127.0.0.1:{port}"));
    arguments([
        "--name=sawhorse",
        "--data-dir=etcd",
        "--log-level=warn",
        // Nothing of it outlives the run.
        "--unsafe-no-fsync",
        &format!("--listen-client-urls={clients}"),
        &format!("--advertise-client-urls={clients}"),
        &format!("--listen-peer-urls={peers}"),
        &format!("--initial-advertise-peer-urls={peers}"),
        &format!("--initial-cluster=sawhorse={peers}"),
    ])
}

pub(super) fn apiserver(etcd: u16, port: u16) -> Vec<String> {
    arguments([
        &format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        &format!("--secure-port={port}"),
        "--endpoint-reconciler-type=none",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--tls-cert-file=apiserver.crt",
        "--tls-private-key-file=apiserver.key",
        "--client-ca-file=ca.crt",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-account-key-file=accounts.crt",
        "--service-account-signing-key-file=accounts.key",
        "--audit-policy-file=audit.yaml",
        &format!("--audit-log-path={}", access::AUDIT_LOG),
        "--profiling=false",
    ])
}

/// A cluster's own times, in real seconds: runs of several speeds may be of the same pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// After which a silent node is unknown.
    pub(in super::super) node_grace: u64,
    /// Between two looks at all nodes.
    pub(in super::super) node_monitor_period: u64,
}

impl Pace {
    /// For runs of which `speed` seconds pass in each real one.
    pub fn of(speed: u32) -> Self {
        let real = |seconds: u64| seconds.div_ceil(speed.into());
        Self { node_grace: real(NODE_GRACE).max(LEAST_NODE_GRACE), node_monitor_period: real(NODE_MONITOR_PERIOD) }
    }
}

impl Times {
    /// The longest that a node's lease may be good for, in the run's time, so that the cluster does not call the node silent.
    pub fn longest_lease(&self) -> Duration {
        Duration::from_secs(Pace::of(self.speed).node_grace) * self.speed
    }
}

pub(super) fn manager(pace: Pace) -> Vec<String> {
    let Pace { node_grace, node_monitor_period } = pace;
    arguments([
        "--kubeconfig=manager.kubeconfig",
        "--authentication-kubeconfig=manager.kubeconfig",
        "--authorization-kubeconfig=manager.kubeconfig",
        NO_PORT,
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        "--service-account-private-key-file=accounts.key",
        "--root-ca-file=ca.crt",
        "--allocate-node-cidrs=false",
        &format!("--node-monitor-grace-period={node_grace}s"),
        &format!("--node-monitor-period={node_monitor_period}s"),
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    ])
}

pub(super) fn scheduler() -> Vec<String> {
    arguments([
        "--config=scheduler.yaml",
        "--authentication-kubeconfig=scheduler.kubeconfig",
        "--authorization-kubeconfig=scheduler.kubeconfig",
        NO_PORT,
    ])
}

/// As kube-scheduler has it by itself, but for a client that is not held back and the shortest backoff.
pub(in super::super) fn scheduler_configuration(kubeconfig: &str) -> String {
    format!(
        "\
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection: {{leaderElect: false}}
clientConnection: {{kubeconfig: {kubeconfig}, qps: 500, burst: 1000}}
podInitialBackoffSeconds: 1
podMaxBackoffSeconds: 1
"
    )
}
