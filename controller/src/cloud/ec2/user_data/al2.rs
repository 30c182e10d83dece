//! Amazon Linux 2: a call of the image's bootstrap script.

use super::{
    Bootstrap, UserDataError,
    mime::{self, Part, SHELL},
    pairs, taint_text,
};
use std::collections::BTreeMap;

pub(super) fn user_data(bootstrap: &Bootstrap<'_>) -> Result<String, UserDataError> {
    let own = bootstrap.custom.filter(|text| !text.trim().is_empty());
    let mut parts = match own {
        None => Vec::new(),
        Some(text) if mime::is_mime(text) => mime::split(text)?,
        Some(text) => vec![Part::new(SHELL, text)],
    };
    parts.push(Part::new(SHELL, script(bootstrap)));
    Ok(mime::write(&parts))
}

fn script(bootstrap: &Bootstrap<'_>) -> String {
    let cluster = bootstrap.cluster;
    let mut lines = vec![format!(
        "/etc/eks/bootstrap.sh '{}' --apiserver-endpoint '{}' --b64-cluster-ca '{}'",
        cluster.name, cluster.endpoint, cluster.ca_bundle
    )];
    lines.extend(cluster.service_cidr.contains(':').then(|| "--ip-family ipv6".to_owned()));
    lines.extend(bootstrap.cluster_dns().first().map(|address| format!("--dns-cluster-ip '{address}'")));
    lines.push("--use-max-pods false".to_owned());
    lines.push(format!("--kubelet-extra-args '{}'", kubelet_flags(bootstrap).join(" ")));
    lines.extend(bootstrap.raid0.then(|| "--local-disks raid0".to_owned()));
    let call = lines.join(" \\\n");
    format!(
        "#!/bin/bash -xe\nexec > >(tee /var/log/user-data.log|logger -t user-data -s 2>/dev/console) 2>&1\n{call}\n"
    )
}

fn kubelet_flags(bootstrap: &Bootstrap<'_>) -> Vec<String> {
    let kubelet = &bootstrap.kubelet;
    let quoted = |name: &str, map: &BTreeMap<String, String>, relation| {
        (!map.is_empty()).then(|| format!("--{name}=\"{}\"", pairs(map, relation)))
    };
    let plain = |name: &str, value: Option<String>| value.map(|value| format!("--{name}={value}"));
    let taints: Vec<_> = bootstrap.node_taints().iter().map(taint_text).collect();
    let flags = [
        quoted("node-labels", &bootstrap.node_labels(), '='),
        Some(format!("--register-with-taints=\"{}\"", taints.join(","))),
        plain("max-pods", bootstrap.max_pods.map(|pods| pods.to_string())),
        plain("pods-per-core", kubelet.pods_per_core.map(|count| count.to_string())),
        quoted("system-reserved", &kubelet.system_reserved, '='),
        quoted("kube-reserved", &kubelet.kube_reserved, '='),
        quoted("eviction-hard", &kubelet.eviction_hard, '<'),
        quoted("eviction-soft", &kubelet.eviction_soft, '<'),
        quoted("eviction-soft-grace-period", &kubelet.eviction_soft_grace_period, '='),
        plain(
            "eviction-max-pod-grace-period",
            kubelet.eviction_max_pod_grace_period.map(|seconds| seconds.to_string()),
        ),
        plain("image-gc-high-threshold", kubelet.image_gc_high_threshold_percent.map(|percent| percent.to_string())),
        plain("image-gc-low-threshold", kubelet.image_gc_low_threshold_percent.map(|percent| percent.to_string())),
        plain("cpu-cfs-quota", kubelet.cpu_cfs_quota.map(|on| on.to_string())),
    ];
    flags.into_iter().flatten().collect()
}
