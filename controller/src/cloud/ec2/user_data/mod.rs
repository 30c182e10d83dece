//! What a machine is told at its first boot, so that it joins the cluster as the node that was planned (spec aws 5.2, 5.3).

mod al2;
mod al2023;
mod bottlerocket;
mod mime;

use k8s_openapi::api::core::v1::Taint;
use sawhorse_core::api::{AmiFamily, KubeletConfiguration, labels};
use std::collections::BTreeMap;
use thiserror::Error;

/// The most that EC2 takes, before base64.
const MAX_BYTES: usize = 16_384;

/// The cluster that machines join.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Its name, as in tags.
    pub name: String,
    /// The URL of its API server.
    pub endpoint: String,
    /// The certificate that signed the API server's, PEM in base64.
    pub ca_bundle: String,
    /// The range of service addresses, e.g. `10.100.0.0/16`.
    pub service_cidr: String,
    /// The address of its DNS; nodes find it themselves where it is not known.
    pub dns_address: Option<String>,
    /// `major.minor`, e.g. `1.35`: selects the images of an alias.
    pub kubernetes_version: String,
}

/// Why no user data could be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum UserDataError {
    /// The user's part is not what its form promises.
    #[error("`spec.userData` is not {expected}: {problem}")]
    Malformed {
        /// What it should be.
        expected: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// It is longer than EC2 allows.
    #[error("User data is limited to {MAX_BYTES} bytes, this has {bytes}; shorten `spec.userData`")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Nodes of this family cannot be booted yet.
    #[error("machines of the family `{family}` are not supported yet; use AL2023, AL2, Bottlerocket or Custom")]
    Unsupported {
        /// The family.
        family: AmiFamily,
    },
}

/// What goes into user data.
#[derive(Clone, Debug)]
pub(super) struct Bootstrap<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) family: AmiFamily,
    /// The NodeClass's kubelet section.
    pub(super) kubelet: KubeletConfiguration,
    pub(super) raid0: bool,
    /// The user's own part.
    pub(super) custom: Option<&'a str>,
    /// Of the NodeClaim, capacity type included.
    pub(super) labels: BTreeMap<String, String>,
    /// Of the NodeClaim, startup taints included.
    pub(super) taints: Vec<Taint>,
    pub(super) max_pods: Option<i64>,
}

/// The user data, before base64.
///
/// # Errors
/// Where the user's part cannot be merged, or the whole is too long.
pub(super) fn user_data(bootstrap: &Bootstrap<'_>) -> Result<String, UserDataError> {
    let text = match bootstrap.family {
        AmiFamily::AL2023 => al2023::user_data(bootstrap)?,
        AmiFamily::AL2 => al2::user_data(bootstrap)?,
        AmiFamily::Bottlerocket => bottlerocket::user_data(bootstrap)?,
        AmiFamily::Custom => bootstrap.custom.unwrap_or_default().to_owned(),
        family @ (AmiFamily::Windows2019 | AmiFamily::Windows2022 | AmiFamily::Windows2025) => {
            return Err(UserDataError::Unsupported { family });
        }
    };
    if text.len() > MAX_BYTES { Err(UserDataError::TooLong { bytes: text.len() }) } else { Ok(text) }
}

impl Bootstrap<'_> {
    /// The labels that the kubelet may set on its own node, and that its taints are its own business.
    fn node_labels(&self) -> BTreeMap<String, String> {
        let own = self.labels.iter().filter(|(key, _)| kubelet_may_set(key));
        let mut labels: BTreeMap<_, _> = own.map(|(key, value)| (key.clone(), value.clone())).collect();
        labels.insert(labels::DO_NOT_SYNC_TAINTS.to_owned(), "true".to_owned());
        labels
    }

    /// The taints, and the one that keeps pods away until registration; each once, in order of key and effect.
    fn node_taints(&self) -> Vec<Taint> {
        let mut taints = self.taints.clone();
        taints.push(labels::unregistered_taint());
        taints.sort_by(|a, b| (&a.key, &a.effect, &a.value).cmp(&(&b.key, &b.effect, &b.value)));
        taints.dedup();
        taints
    }

    fn cluster_dns(&self) -> Vec<String> {
        match self.kubelet.cluster_dns.is_empty() {
            true => self.cluster.dns_address.iter().cloned().collect(),
            false => self.kubelet.cluster_dns.clone(),
        }
    }
}

/// Node admission refuses labels of Kubernetes' own domains from kubelets, but for a few.
fn kubelet_may_set(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    !["kubernetes.io", "k8s.io"]
        .iter()
        .any(|own| domain.strip_suffix(own).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

/// `key=value` or `key=value:Effect`, as in the kubelet's flags.
fn taint_text(taint: &Taint) -> String {
    format!("{}={}:{}", taint.key, taint.value.as_deref().unwrap_or_default(), taint.effect)
}

fn pairs(map: &BTreeMap<String, String>, relation: char) -> String {
    map.iter().map(|(key, value)| format!("{key}{relation}{value}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
pub(super) fn test_cluster() -> Cluster {
    Cluster {
        name: "c1".to_owned(),
        endpoint: "https://api.c1.example".to_owned(),
        ca_bundle: "Q0E=".to_owned(),
        service_cidr: "10.100.0.0/16".to_owned(),
        dns_address: Some("10.100.0.10".to_owned()),
        kubernetes_version: "1.35".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn generate(family: AmiFamily, kubelet: &str, raid0: bool, custom: Option<&str>) -> Result<String, UserDataError> {
        let cluster = test_cluster();
        let labels = [
            ("karpenter.sh/nodepool", "default"),
            ("karpenter.sh/capacity-type", "spot"),
            ("example.com/team", "a"),
            ("kubernetes.io/arch", "amd64"),
            ("node.kubernetes.io/instance-type", "m5.large"),
            ("topology.k8s.aws/zone-id", "use1-az1"),
        ];
        let taint = Taint {
            key: "example.com/special".into(),
            value: Some("yes".into()),
            effect: "NoSchedule".into(),
            time_added: None,
        };
        user_data(&Bootstrap {
            cluster: &cluster,
            family,
            kubelet: serde_saphyr::from_str(kubelet).unwrap(),
            raid0,
            custom,
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            taints: vec![taint],
            max_pods: Some(29),
        })
    }

    const KUBELET: &str = "{podsPerCore: 4, systemReserved: {cpu: 100m, memory: 100Mi}, kubeReserved: {cpu: 200m}, \
        evictionHard: {memory.available: 5%}, evictionSoft: {nodefs.available: 10%}, evictionSoftGracePeriod: {nodefs.available: 1m}, \
        evictionMaxPodGracePeriod: 60, imageGCHighThresholdPercent: 85, imageGCLowThresholdPercent: 80, cpuCFSQuota: false}";

    #[rstest]
    #[case::al2023(AmiFamily::AL2023)]
    #[case::al2(AmiFamily::AL2)]
    #[case::bottlerocket(AmiFamily::Bottlerocket)]
    fn plain(#[case] family: AmiFamily) {
        insta::assert_snapshot!(format!("{family}_plain"), generate(family, "{}", false, None).unwrap());
    }

    #[rstest]
    #[case::al2023(AmiFamily::AL2023)]
    #[case::al2(AmiFamily::AL2)]
    #[case::bottlerocket(AmiFamily::Bottlerocket)]
    fn with_kubelet_and_local_disks(#[case] family: AmiFamily) {
        insta::assert_snapshot!(format!("{family}_kubelet"), generate(family, KUBELET, true, None).unwrap());
    }

    #[rstest]
    #[case::script("script", "#!/bin/bash\necho hello: world\n")]
    #[case::node_config(
        "node_config",
        "apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec: {kubelet: {config: {maxPods: 42}}}\n"
    )]
    #[case::mime(
        "mime",
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"BOUNDARY\"\n\n--BOUNDARY\nContent-Type: text/x-shellscript; charset=\"us-ascii\"\n\necho 1\n--BOUNDARY\nContent-Type: application/node.eks.aws\n\nkind: NodeConfig\n--BOUNDARY--\n"
    )]
    fn the_users_part_comes_first(#[case] name: &str, #[case] custom: &str) {
        insta::assert_snapshot!(
            format!("AL2023_{name}"),
            generate(AmiFamily::AL2023, "{}", false, Some(custom)).unwrap()
        );
    }

    #[test]
    fn bottlerocket_settings_are_merged() {
        let custom = "[settings.kubernetes]\nmax-pods = 5\nlog-level = 3\n[settings.kubernetes.node-labels]\nmine = \"1\"\n[settings.ntp]\nmode = \"burst\"\n";
        insta::assert_snapshot!(
            "Bottlerocket_custom",
            generate(AmiFamily::Bottlerocket, "{}", false, Some(custom)).unwrap()
        );
    }

    #[test]
    fn custom_is_passed_as_it_is() {
        assert_eq!(generate(AmiFamily::Custom, "{}", false, Some("anything\n")).unwrap(), "anything\n");
        assert_eq!(generate(AmiFamily::Custom, "{}", false, None).unwrap(), "");
    }

    #[rstest]
    #[case(AmiFamily::Bottlerocket, "not = toml = at all", "`spec.userData` is not TOML")]
    #[case(
        AmiFamily::AL2,
        "MIME-Version: 1.0\nContent-Type: text/plain\n\nx",
        "`spec.userData` is not a MIME multipart"
    )]
    #[case(AmiFamily::Windows2022, "", "machines of the family `Windows2022` are not supported yet")]
    fn what_cannot_be_used_is_said(#[case] family: AmiFamily, #[case] custom: &str, #[case] expected: &str) {
        let error = generate(family, "{}", false, Some(custom)).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn too_much_is_refused() {
        let error = generate(AmiFamily::Custom, "{}", false, Some(&"x".repeat(MAX_BYTES + 1))).unwrap_err();
        assert_eq!(error, UserDataError::TooLong { bytes: MAX_BYTES + 1 });
    }

    #[rstest]
    #[case("kubernetes.io/arch", false)]
    #[case("topology.kubernetes.io/zone", false)]
    #[case("node.k8s.io/x", false)]
    #[case("karpenter.k8s.aws/instance-cpu", true)]
    #[case("mykubernetes.io/x", true)]
    #[case("plain", true)]
    fn labels_of_the_kubelet(#[case] key: &str, #[case] expected: bool) {
        assert_eq!(kubelet_may_set(key), expected);
    }
}
