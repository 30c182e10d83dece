//! Bottlerocket: TOML settings.

use super::{
    kubelet_arguments::{checked_taint, count, quantities, thresholds},
    user_data::{BootPlan, CannotJoin, Named, UserDataFormat},
};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Whether `text` looks like settings, be they broken: a table or a dotted key under `settings`.
pub(super) fn is_settings(text: &str) -> bool {
    let opens =
        |line: &str| line.starts_with("[settings") || line.starts_with("settings.") || line.starts_with("[ settings");
    text.lines().map(str::trim_start).any(opens)
}

#[derive(Debug, Default, Deserialize)]
struct Document {
    #[serde(default)]
    settings: Settings,
}

#[derive(Debug, Default, Deserialize)]
struct Settings {
    #[serde(default)]
    kubernetes: Kubernetes,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Kubernetes {
    cluster_name: Option<String>,
    api_server: Option<String>,
    node_labels: BTreeMap<String, String>,
    node_taints: BTreeMap<String, TaintValues>,
    max_pods: Option<toml::Value>,
    kube_reserved: BTreeMap<String, String>,
    system_reserved: BTreeMap<String, String>,
    eviction_hard: BTreeMap<String, String>,
}

/// `"value:Effect"`, or several of them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum TaintValues {
    One(String),
    Several(Vec<String>),
}

/// Reads the settings.
pub(super) fn read(text: &str) -> Result<Named, CannotJoin> {
    let unreadable = |error: toml::de::Error| CannotJoin::Unreadable {
        format: "Bottlerocket settings",
        problem: error.to_string().trim().replace('\n', " "),
    };
    let kubernetes = toml::from_str::<Document>(text).map_err(unreadable)?.settings.kubernetes;
    let max_pods = kubernetes.max_pods.map(|value| count("max-pods", value.to_string().trim_matches('"')));
    let plan = BootPlan {
        format: UserDataFormat::Bottlerocket,
        node_labels: kubernetes.node_labels,
        taints: taints(&kubernetes.node_taints)?,
        max_pods: max_pods.transpose()?,
        pods_per_core: None,
        kube_reserved: quantities("kube-reserved", kubernetes.kube_reserved)?,
        system_reserved: quantities("system-reserved", kubernetes.system_reserved)?,
        eviction_hard: thresholds("eviction-hard", kubernetes.eviction_hard)?,
    };
    Ok(Named { cluster: kubernetes.cluster_name, endpoint: kubernetes.api_server, plan })
}

fn taints(given: &BTreeMap<String, TaintValues>) -> Result<Vec<k8s_openapi::api::core::v1::Taint>, CannotJoin> {
    let mut taints = Vec::new();
    for (key, values) in given {
        let values = match values {
            TaintValues::One(value) => std::slice::from_ref(value),
            TaintValues::Several(values) => values.as_slice(),
        };
        for text in values {
            let (value, effect) = text.rsplit_once(':').unwrap_or(("", text));
            taints.push(checked_taint(key, Some(value).filter(|value| !value.is_empty()), effect)?);
        }
    }
    Ok(taints)
}
