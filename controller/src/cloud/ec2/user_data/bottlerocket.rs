//! Bottlerocket: settings in TOML, merged over the user's.

use super::{Bootstrap, UserDataError};
use std::collections::BTreeMap;
use toml::{Table, Value};

pub(super) fn user_data(bootstrap: &Bootstrap<'_>) -> Result<String, UserDataError> {
    let malformed = |problem: String| UserDataError::Malformed { expected: "TOML", problem };
    let mut document: Table =
        bootstrap.custom.unwrap_or_default().parse().map_err(|error: toml::de::Error| malformed(error.to_string()))?;
    let not_a_table = |name: &str| malformed(format!("`{name}` must be a table"));
    let settings = table(&mut document, "settings").ok_or_else(|| not_a_table("settings"))?;
    let kubernetes = table(settings, "kubernetes").ok_or_else(|| not_a_table("settings.kubernetes"))?;
    let labels = table(kubernetes, "node-labels").ok_or_else(|| not_a_table("settings.kubernetes.node-labels"))?;
    labels.extend(texts(&bootstrap.node_labels()));
    kubernetes.extend(ours(bootstrap));
    if bootstrap.raid0 {
        let commands =
            table(settings, "bootstrap-commands").ok_or_else(|| not_a_table("settings.bootstrap-commands"))?;
        commands.insert("000-mount-instance-storage".to_owned(), Value::Table(mount_command()));
    }
    toml::to_string(&document).map_err(|error| malformed(error.to_string()))
}

fn table<'a>(parent: &'a mut Table, name: &str) -> Option<&'a mut Table> {
    parent.entry(name).or_insert_with(|| Value::Table(Table::new())).as_table_mut()
}

fn texts(map: &BTreeMap<String, String>) -> Table {
    map.iter().map(|(key, value)| (key.clone(), Value::String(value.clone()))).collect()
}

/// What replaces the user's settings of the same name.
fn ours(bootstrap: &Bootstrap<'_>) -> Table {
    let (cluster, kubelet) = (bootstrap.cluster, &bootstrap.kubelet);
    let text = |value: &str| Some(Value::String(value.to_owned()));
    let map = |map: &BTreeMap<String, String>| (!map.is_empty()).then(|| Value::Table(texts(map)));
    // Bottlerocket takes these two as text.
    let percent = |value: Option<i32>| value.map(|value| Value::String(value.to_string()));
    let settings = [
        ("cluster-name", text(&cluster.name)),
        ("api-server", text(&cluster.endpoint)),
        ("cluster-certificate", text(&cluster.ca_bundle)),
        ("cluster-dns-ip", bootstrap.cluster_dns().into_iter().next().map(Value::String)),
        ("max-pods", bootstrap.max_pods.map(Value::Integer)),
        ("node-taints", Some(Value::Table(taints(bootstrap)))),
        ("system-reserved", map(&kubelet.system_reserved)),
        ("kube-reserved", map(&kubelet.kube_reserved)),
        ("eviction-hard", map(&kubelet.eviction_hard)),
        ("eviction-soft", map(&kubelet.eviction_soft)),
        ("eviction-soft-grace-period", map(&kubelet.eviction_soft_grace_period)),
        (
            "eviction-max-pod-grace-period",
            kubelet.eviction_max_pod_grace_period.map(|seconds| Value::Integer(seconds.into())),
        ),
        ("image-gc-high-threshold-percent", percent(kubelet.image_gc_high_threshold_percent)),
        ("image-gc-low-threshold-percent", percent(kubelet.image_gc_low_threshold_percent)),
        ("cpu-cfs-quota-enforced", kubelet.cpu_cfs_quota.map(Value::Boolean)),
    ];
    settings.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn taints(bootstrap: &Bootstrap<'_>) -> Table {
    let mut by_key: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for taint in bootstrap.node_taints() {
        let text = format!("{}:{}", taint.value.unwrap_or_default(), taint.effect);
        by_key.entry(taint.key).or_default().push(Value::String(text));
    }
    by_key.into_iter().map(|(key, effects)| (key, Value::Array(effects))).collect()
}

/// Puts the kubelet's and containerd's data on the local disks.
fn mount_command() -> Table {
    let words = |words: &[&str]| Value::Array(words.iter().map(|word| Value::String((*word).to_owned())).collect());
    let commands = vec![
        words(&["apiclient", "ephemeral-storage", "init"]),
        words(&[
            "apiclient",
            "ephemeral-storage",
            "bind",
            "--dirs",
            "/var/lib/containerd",
            "/var/lib/kubelet",
            "/var/log/pods",
        ]),
    ];
    Table::from_iter([
        ("commands".to_owned(), Value::Array(commands)),
        ("mode".to_owned(), Value::String("always".to_owned())),
        ("essential".to_owned(), Value::Boolean(true)),
    ])
}
