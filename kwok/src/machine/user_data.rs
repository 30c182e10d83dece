//! User data → what the kubelet on the machine is told (spec aws 5.3).

use super::{bootstrap_script, bottlerocket, mime, nodeadm, quantity::Quantity};
use k8s_openapi::api::core::v1::Taint;
use std::collections::BTreeMap;

/// The cluster that machines are to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterIdentity {
    /// The cluster's name.
    pub name: String,
    /// The URL of its API server, as user data must give it.
    pub endpoint: String,
}

/// What the kubelet on a machine is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BootPlan {
    /// How the user data says it.
    pub format: UserDataFormat,
    /// `--node-labels`.
    pub node_labels: BTreeMap<String, String>,
    /// `--register-with-taints`.
    pub taints: Vec<Taint>,
    /// How many pods at most; none leaves it to the machine.
    pub max_pods: Option<u32>,
    /// How many pods per core at most.
    pub pods_per_core: Option<u32>,
    /// What is kept for the kubelet, by resource; wins over the defaults resource by resource.
    pub kube_reserved: BTreeMap<String, Quantity>,
    /// What is kept for the system, by resource.
    pub system_reserved: BTreeMap<String, Quantity>,
    /// Eviction thresholds by signal, as amounts or percentages; win over the defaults signal by signal.
    pub eviction_hard: BTreeMap<String, String>,
}

/// Which operating system's user data it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserDataFormat {
    /// Amazon Linux 2023: a nodeadm `NodeConfig`.
    #[default]
    Nodeadm,
    /// Bottlerocket: TOML settings.
    Bottlerocket,
    /// Amazon Linux 2: a script that calls `/etc/eks/bootstrap.sh`.
    BootstrapScript,
}

/// Why a machine never joins.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotJoin {
    /// There is no user data.
    #[error("the user data is empty: nothing tells the machine which cluster to join")]
    NoUserData,
    /// No known format.
    #[error(
        "the user data is neither a nodeadm `NodeConfig`, nor Bottlerocket settings, nor a script that calls \
         `/etc/eks/bootstrap.sh`, alone or in a MIME multipart document"
    )]
    UnknownFormat,
    /// A known format that does not parse.
    #[error("the {format} in the user data cannot be read: {problem}")]
    Unreadable {
        /// The format's name.
        format: &'static str,
        /// What the reader found.
        problem: String,
    },
    /// A required value is missing.
    #[error("the user data gives no `{0}`")]
    Missing(&'static str),
    /// Another cluster is named.
    #[error("the user data names cluster `{found}`, but this is `{expected}`")]
    WrongCluster {
        /// The name in the user data.
        found: String,
        /// The name of this cluster.
        expected: String,
    },
    /// Another API server is named.
    #[error("the user data names API server `{found}`, which does not answer; this cluster's is `{expected}`")]
    WrongEndpoint {
        /// The URL in the user data.
        found: String,
        /// The URL of this cluster.
        expected: String,
    },
    /// A setting with which the kubelet does not start.
    #[error("the kubelet does not start: `{setting}`: {problem}")]
    KubeletRefuses {
        /// The setting's name.
        setting: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl CannotJoin {
    /// A stable code for event logs and labels.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoUserData => "NoUserData",
            Self::UnknownFormat => "UnknownUserDataFormat",
            Self::Unreadable { .. } => "UnreadableUserData",
            Self::Missing(_) => "IncompleteUserData",
            Self::WrongCluster { .. } => "WrongCluster",
            Self::WrongEndpoint { .. } => "WrongEndpoint",
            Self::KubeletRefuses { .. } => "KubeletRefusesSettings",
        }
    }

    pub(super) fn refuses(setting: &str, problem: String) -> Self {
        Self::KubeletRefuses { setting: setting.to_owned(), problem }
    }
}

/// A plan together with the cluster that the user data names.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Named {
    pub(super) cluster: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) plan: BootPlan,
}

/// The most user data that EC2 takes: 16 KiB, before encoding.
const MAX_BYTES: usize = 16 * 1024;

/// Reads `user_data` (decoded) on a machine that is to join `cluster`.
///
/// # Errors
/// [`CannotJoin`] says why a machine with this user data never joins.
pub fn boot_plan(user_data: &str, cluster: &ClusterIdentity) -> Result<BootPlan, CannotJoin> {
    let named = read(user_data)?;
    let name = named.cluster.filter(|name| !name.is_empty()).ok_or(CannotJoin::Missing("cluster name"))?;
    let endpoint = named.endpoint.filter(|url| !url.is_empty()).ok_or(CannotJoin::Missing("API server endpoint"))?;
    if name != cluster.name {
        return Err(CannotJoin::WrongCluster { found: name, expected: cluster.name.clone() });
    }
    if endpoint.trim_end_matches('/') != cluster.endpoint.trim_end_matches('/') {
        return Err(CannotJoin::WrongEndpoint { found: endpoint, expected: cluster.endpoint.clone() });
    }
    check_labels(&named.plan.node_labels)?;
    Ok(named.plan)
}

fn read(user_data: &str) -> Result<Named, CannotJoin> {
    if user_data.len() > MAX_BYTES {
        let problem = format!("{} bytes are more than the {MAX_BYTES} that EC2 takes", user_data.len());
        return Err(CannotJoin::Unreadable { format: "document", problem });
    }
    let text = user_data.trim_start();
    if text.is_empty() {
        Err(CannotJoin::NoUserData)
    } else if mime::is_multipart(text) {
        parts(text)
    } else if text.starts_with("#!") {
        bootstrap_script::read(text).unwrap_or(Err(CannotJoin::UnknownFormat))
    } else if nodeadm::is_node_config(text) {
        nodeadm::read(&[text])
    } else if bottlerocket::is_settings(text) {
        bottlerocket::read(text)
    } else {
        Err(CannotJoin::UnknownFormat)
    }
}

/// The parts that matter: every `NodeConfig`, merged, else the first script that calls `bootstrap.sh`.
fn parts(text: &str) -> Result<Named, CannotJoin> {
    let parts = mime::parts(text).map_err(|problem| CannotJoin::Unreadable { format: "MIME document", problem })?;
    let configs: Vec<&str> =
        parts.iter().filter(|part| part.content_type == "application/node.eks.aws").map(|part| part.body).collect();
    if !configs.is_empty() {
        return nodeadm::read(&configs);
    }
    let scripts = parts.iter().filter(|part| part.content_type == "text/x-shellscript");
    scripts.filter_map(|part| bootstrap_script::read(part.body)).next().unwrap_or(Err(CannotJoin::UnknownFormat))
}

/// Names under `kubernetes.io` and `k8s.io` that a kubelet may give itself.
const OWN_LABELS: [&str; 14] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.kubernetes.io/region",
    "failure-domain.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/instance-type",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

/// A kubelet refuses other names under `kubernetes.io` and `k8s.io`.
fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), CannotJoin> {
    let is_under = |domain: &str, parent: &str| domain == parent || domain.ends_with(&format!(".{parent}"));
    let refused = labels.keys().find(|key| {
        let domain = key.split_once('/').map_or("", |(domain, _)| domain);
        let reserved = is_under(domain, "kubernetes.io") || is_under(domain, "k8s.io");
        let allowed = is_under(domain, "kubelet.kubernetes.io") || is_under(domain, "node.kubernetes.io");
        reserved && !allowed && !OWN_LABELS.contains(&key.as_str())
    });
    let problem = |key: &String| format!("`{key}` is in a namespace that a kubelet may not label itself with");
    refused.map_or(Ok(()), |key| Err(CannotJoin::refuses("node-labels", problem(key))))
}
