//! Amazon Linux 2023: nodeadm's `NodeConfig`.

use super::{
    kubelet_arguments::{self, checked_taint, quantities, thresholds},
    user_data::{BootPlan, CannotJoin, Named, UserDataFormat},
};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

const FORMAT: &str = "nodeadm `NodeConfig`";

/// Whether `text` is YAML that calls itself a `NodeConfig`.
pub(super) fn is_node_config(text: &str) -> bool {
    serde_saphyr::from_str::<Value>(text).is_ok_and(|value| value["kind"] == "NodeConfig")
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    cluster: Cluster,
    kubelet: Kubelet,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Cluster {
    name: Option<String>,
    api_server_endpoint: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Kubelet {
    config: KubeletConfig,
    flags: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct KubeletConfig {
    max_pods: Option<u32>,
    pods_per_core: Option<u32>,
    register_with_taints: Vec<ConfigTaint>,
    kube_reserved: BTreeMap<String, String>,
    system_reserved: BTreeMap<String, String>,
    eviction_hard: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
struct ConfigTaint {
    key: String,
    value: Option<String>,
    #[serde(default)]
    effect: String,
}

/// Reads the configurations; later ones win field by field, and flags add up.
pub(super) fn read(texts: &[&str]) -> Result<Named, CannotJoin> {
    let unreadable = |problem: String| CannotJoin::Unreadable { format: FORMAT, problem };
    let mut merged = Value::Null;
    for text in texts {
        let config: Value = serde_saphyr::from_str(text).map_err(|error| unreadable(error.to_string()))?;
        let version = config["apiVersion"].as_str().unwrap_or_default();
        if config["kind"] != "NodeConfig" || !version.starts_with("node.eks.aws/") {
            let found = format!("`{}` of `{version}`", config["kind"].as_str().unwrap_or_default());
            return Err(unreadable(format!("expected `NodeConfig` of `node.eks.aws/v1alpha1`, found {found}")));
        }
        merge(&mut merged, config["spec"].clone());
    }
    let merged = if merged.is_null() { Value::Object(serde_json::Map::new()) } else { merged };
    let spec: Spec = serde_json::from_value(merged).map_err(|error| unreadable(error.to_string()))?;
    let plan = plan(spec.kubelet)?;
    Ok(Named { cluster: spec.cluster.name, endpoint: spec.cluster.api_server_endpoint, plan })
}

fn merge(target: &mut Value, source: Value) {
    match (target, source) {
        (Value::Object(target), Value::Object(source)) => {
            for (name, value) in source {
                match (name.as_str(), target.get_mut(&name), value) {
                    ("flags", Some(Value::Array(have)), Value::Array(more)) => have.extend(more),
                    (_, Some(have), value) => merge(have, value),
                    (_, None, value) => drop(target.insert(name, value)),
                }
            }
        }
        (target, source) => *target = source,
    }
}

fn plan(kubelet: Kubelet) -> Result<BootPlan, CannotJoin> {
    let config = kubelet.config;
    let taint = |taint: &ConfigTaint| {
        checked_taint(&taint.key, taint.value.as_deref().filter(|v| !v.is_empty()), &taint.effect)
    };
    let mut plan = BootPlan {
        format: UserDataFormat::Nodeadm,
        taints: config.register_with_taints.iter().map(taint).collect::<Result<_, _>>()?,
        max_pods: config.max_pods,
        pods_per_core: config.pods_per_core.filter(|count| *count > 0),
        kube_reserved: quantities("kubeReserved", config.kube_reserved)?,
        system_reserved: quantities("systemReserved", config.system_reserved)?,
        eviction_hard: thresholds("evictionHard", config.eviction_hard)?,
        ..BootPlan::default()
    };
    for flag in &kubelet.flags {
        // Flags go to the kubelet through a shell-like environment file, where quotes are taken off.
        let words = shlex::split(flag);
        let words = words.ok_or_else(|| CannotJoin::refuses("flags", format!("`{flag}` has an open quote")))?;
        kubelet_arguments::apply(&words, &mut plan)?;
    }
    Ok(plan)
}
