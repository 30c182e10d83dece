//! Amazon Linux 2023: a NodeConfig for nodeadm.

use super::{
    Bootstrap, UserDataError,
    mime::{self, NODE_CONFIG, Part, SHELL},
    pairs,
};
use serde_json::{Map, Value, json};

pub(super) fn user_data(bootstrap: &Bootstrap<'_>) -> Result<String, UserDataError> {
    let mut parts =
        bootstrap.custom.filter(|text| !text.trim().is_empty()).map_or_else(|| Ok(Vec::new()), own_parts)?;
    parts.push(Part::new(NODE_CONFIG, node_config(bootstrap)?));
    Ok(mime::write(&parts))
}

/// The user's part: a MIME document, a NodeConfig, or else a script.
fn own_parts(text: &str) -> Result<Vec<Part>, UserDataError> {
    if mime::is_mime(text) {
        return mime::split(text);
    }
    // Many a script is a YAML mapping too (`echo a: b`), so it must say that it is a NodeConfig.
    let value = serde_saphyr::from_str::<Value>(text).unwrap_or_default();
    let is_node_config = value.get("kind").and_then(Value::as_str) == Some("NodeConfig");
    Ok(vec![Part::new(if is_node_config { NODE_CONFIG } else { SHELL }, text)])
}

fn node_config(bootstrap: &Bootstrap<'_>) -> Result<String, UserDataError> {
    let cluster = bootstrap.cluster;
    let local_storage = if bootstrap.raid0 { json!({ "localStorage": { "strategy": "RAID0" } }) } else { json!({}) };
    let config = json!({
        "apiVersion": "node.eks.aws/v1alpha1",
        "kind": "NodeConfig",
        "metadata": {},
        "spec": {
            "cluster": {
                "apiServerEndpoint": cluster.endpoint,
                "certificateAuthority": cluster.ca_bundle,
                "cidr": cluster.service_cidr,
                "name": cluster.name,
            },
            "containerd": {},
            "instance": local_storage,
            "kubelet": {
                "config": kubelet_config(bootstrap)?,
                "flags": [format!("--node-labels=\"{}\"", pairs(&bootstrap.node_labels(), '='))],
            },
        },
    });
    let text = serde_saphyr::to_string(&config).map_err(|error| malformed(&error))?;
    Ok(format!("# Karpenter Generated NodeConfig\n{text}"))
}

/// The user's kubelet fields as they are, and ours.
fn kubelet_config(bootstrap: &Bootstrap<'_>) -> Result<Map<String, Value>, UserDataError> {
    let mut fields = match serde_json::to_value(&bootstrap.kubelet).map_err(|error| malformed(&error))? {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    };
    if let Some(pods) = bootstrap.max_pods {
        fields.insert("maxPods".to_owned(), json!(pods));
    }
    fields.insert("registerWithTaints".to_owned(), json!(bootstrap.node_taints()));
    let dns = bootstrap.cluster_dns();
    if !dns.is_empty() {
        fields.insert("clusterDNS".to_owned(), json!(dns));
    }
    let mut sorted: Vec<_> = fields.into_iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(sorted.into_iter().collect())
}

fn malformed(error: &dyn std::fmt::Display) -> UserDataError {
    UserDataError::Malformed { expected: "writable as YAML", problem: error.to_string() }
}
