//! User data in every format → plan or refusal → Node.

use super::{BootPlan, ClusterIdentity, Machine, NodeOptions, UserDataFormat, boot_plan, node, quantity::Quantity};
use k8s_openapi::api::core::v1::{Node, Taint};
use rstest::rstest;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const NODEADM: &str = r#"apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
metadata: {}
spec:
  cluster:
    apiServerEndpoint: https://api.example.com
    certificateAuthority: Y2E=
    cidr: 10.100.0.0/16
    name: demo
  containerd: {}
  instance:
    localStorage: {}
  kubelet:
    config:
      clusterDNS:
      - 10.100.0.10
      maxPods: 58
      kubeReserved: {memory: 1Gi}
      registerWithTaints:
      - effect: NoExecute
        key: karpenter.sh/unregistered
      - {effect: NoSchedule, key: nvidia.com/gpu, value: "yes"}
    flags:
    - --node-labels="karpenter.sh/capacity-type=spot,karpenter.sh/nodepool=default"
"#;

const BOTTLEROCKET: &str = r#"
[settings.kubernetes]
cluster-name = "demo"
api-server = "https://api.example.com"
max-pods = 58
[settings.kubernetes.node-labels]
"karpenter.sh/capacity-type" = "spot"
"karpenter.sh/nodepool" = "default"
[settings.kubernetes.node-taints]
"karpenter.sh/unregistered" = [":NoExecute"]
"nvidia.com/gpu" = ["yes:NoSchedule"]
[settings.kubernetes.kube-reserved]
memory = "1Gi"
"#;

const SCRIPT: &str = r#"#!/bin/bash -xe
exec > >(tee /var/log/user-data.log|logger -t user-data -s 2>/dev/console) 2>&1
/etc/eks/bootstrap.sh 'demo' --apiserver-endpoint 'https://api.example.com' --b64-cluster-ca 'Y2E=' \
--dns-cluster-ip '10.100.0.10' \
--use-max-pods false \
--kubelet-extra-args '--node-labels="karpenter.sh/capacity-type=spot,karpenter.sh/nodepool=default" --register-with-taints="karpenter.sh/unregistered:NoExecute,nvidia.com/gpu=yes:NoSchedule" --max-pods=58 --kube-reserved="memory=1Gi"'
"#;

fn cluster() -> ClusterIdentity {
    ClusterIdentity { name: "demo".to_owned(), endpoint: "https://api.example.com".to_owned() }
}

fn mime(parts: &[(&str, &str)]) -> String {
    let parts: String = parts.iter().map(|(kind, body)| format!("--//\nContent-Type: {kind}\n\n{body}\n")).collect();
    format!("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"//\"\n\n{parts}--//--\n")
}

fn taint(key: &str, value: Option<&str>, effect: &str) -> Taint {
    Taint { key: key.to_owned(), value: value.map(str::to_owned), effect: effect.to_owned(), time_added: None }
}

fn plan(format: UserDataFormat) -> BootPlan {
    let labels = [("karpenter.sh/capacity-type", "spot"), ("karpenter.sh/nodepool", "default")];
    BootPlan {
        format,
        node_labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        taints: vec![
            taint("karpenter.sh/unregistered", None, "NoExecute"),
            taint("nvidia.com/gpu", Some("yes"), "NoSchedule"),
        ],
        max_pods: Some(58),
        kube_reserved: BTreeMap::from([("memory".to_owned(), "1Gi".parse::<Quantity>().unwrap())]),
        ..BootPlan::default()
    }
}

#[rstest]
#[case::nodeadm(NODEADM, UserDataFormat::Nodeadm)]
#[case::nodeadm_in_mime(&mime(&[("text/x-shellscript; charset=\"us-ascii\"", "#!/bin/sh\necho"), ("application/node.eks.aws", NODEADM)]), UserDataFormat::Nodeadm)]
#[case::bottlerocket(BOTTLEROCKET, UserDataFormat::Bottlerocket)]
#[case::script(SCRIPT, UserDataFormat::BootstrapScript)]
#[case::script_in_mime(&mime(&[("text/x-shellscript", "#!/bin/sh\necho"), ("text/x-shellscript; charset=\"us-ascii\"", SCRIPT)]), UserDataFormat::BootstrapScript)]
fn every_format_says_the_same(#[case] user_data: &str, #[case] format: UserDataFormat) {
    assert_eq!(boot_plan(user_data, &cluster()), Ok(plan(format)));
}

#[test]
fn node_configs_merge_and_flags_add_up() {
    let users = "apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec: {kubelet: {config: {maxPods: 20, evictionHard: {memory.available: 5%}}, flags: [\"--node-labels=team=a\"]}}";
    let user_data = mime(&[("application/node.eks.aws", users), ("application/node.eks.aws", NODEADM)]);
    let merged = boot_plan(&user_data, &cluster()).unwrap();
    assert_eq!((merged.max_pods, merged.node_labels.len()), (Some(58), 3));
    assert_eq!(merged.eviction_hard["memory.available"], "5%");
}

#[rstest]
#[case::nothing("  \n", "NoUserData", "is empty")]
#[case::unknown("hello", "UnknownUserDataFormat", "neither a nodeadm")]
#[case::windows("<powershell>\n</powershell>", "UnknownUserDataFormat", "neither a nodeadm")]
#[case::script_without_call("#!/bin/sh\n# /etc/eks/bootstrap.sh demo\n", "UnknownUserDataFormat", "neither")]
#[case::mime_without_end(&mime(&[("application/node.eks.aws", NODEADM)]).trim_end_matches("--//--\n").to_owned(), "UnreadableUserData", "does not end with `--//--`")]
#[case::broken_yaml(&mime(&[("application/node.eks.aws", "kind: [")]), "UnreadableUserData", "nodeadm `NodeConfig`")]
#[case::broken_toml("[settings.kubernetes]\ncluster-name = ", "UnreadableUserData", "Bottlerocket settings")]
#[case::open_quote("#!/bin/sh\n/etc/eks/bootstrap.sh 'demo", "UnreadableUserData", "a quote is not closed")]
#[case::wrong_type(&NODEADM.replace("maxPods: 58", "maxPods: many"), "UnreadableUserData", "many")]
#[case::no_name(&NODEADM.replace("    name: demo\n", ""), "IncompleteUserData", "gives no `cluster name`")]
#[case::no_endpoint(&SCRIPT.replace("--apiserver-endpoint 'https://api.example.com'", ""), "IncompleteUserData", "gives no `API server endpoint`")]
#[case::other_cluster(&BOTTLEROCKET.replace("\"demo\"", "\"dmeo\""), "WrongCluster", "names cluster `dmeo`, but this is `demo`")]
#[case::other_endpoint(&NODEADM.replace("api.example", "old.example"), "WrongEndpoint", "`https://old.example.com`")]
#[case::reserved_label(&NODEADM.replace("karpenter.sh/nodepool=", "node-role.kubernetes.io/x="), "KubeletRefusesSettings", "`node-role.kubernetes.io/x`")]
#[case::bad_effect(&NODEADM.replace("effect: NoExecute", "effect: Never"), "KubeletRefusesSettings", "`Never` is not an effect")]
#[case::bad_quantity(&BOTTLEROCKET.replace("\"1Gi\"", "\"1GB\""), "KubeletRefusesSettings", "`1GB` is not a quantity")]
#[case::bad_threshold(&SCRIPT.replace("--max-pods=58", "--eviction-hard=\"memory.available<lots\""), "KubeletRefusesSettings", "`lots` is neither")]
#[case::too_long(&"x".repeat(20_000), "UnreadableUserData", "20000 bytes")]
fn wrong_user_data_never_joins(#[case] user_data: &str, #[case] code: &str, #[case] message: &str) {
    let refused = boot_plan(user_data, &cluster()).unwrap_err();
    assert_eq!(refused.code(), code, "{refused}");
    assert!(refused.to_string().contains(message), "{refused}");
}

fn machine() -> Machine {
    let hardware =
        [("cpu", "4"), ("memory", "16Gi"), ("ephemeral-storage", "20Gi"), ("pods", "58"), ("nvidia.com/gpu", "1")];
    Machine {
        instance_id: "i-1".to_owned(),
        provider_id: "aws:///us-east-1a/i-1".to_owned(),
        instance_type: "g5.xlarge".to_owned(),
        region: "us-east-1".to_owned(),
        zone: "us-east-1a".to_owned(),
        zone_id: "use1-az6".to_owned(),
        architecture: "amd64".to_owned(),
        private_dns_name: "ip-10-0-0-7.ec2.internal".to_owned(),
        private_ip: "10.0.0.7".to_owned(),
        user_data: NODEADM.to_owned(),
        hardware: hardware.map(|(name, text)| (name.to_owned(), text.to_owned())).into(),
        running_since: "2026-01-01T00:00:00Z".parse().unwrap(),
    }
}

fn registered(plan: &BootPlan) -> Node {
    node(&machine(), plan, &NodeOptions::default(), "2026-01-01T00:00:30Z".parse().unwrap())
}

#[test]
fn a_node_is_registered_not_ready_with_its_labels_and_taints() {
    let node = serde_json::to_value(registered(&plan(UserDataFormat::Nodeadm))).unwrap();
    assert_eq!(node["metadata"]["name"], "ip-10-0-0-7.ec2.internal");
    assert_eq!(node["spec"]["providerID"], "aws:///us-east-1a/i-1");
    let labels = &node["metadata"]["labels"];
    for (key, value) in [
        ("karpenter.sh/nodepool", "default"),
        ("kubernetes.io/hostname", "ip-10-0-0-7.ec2.internal"),
        ("kubernetes.io/arch", "amd64"),
        ("kubernetes.io/os", "linux"),
        ("node.kubernetes.io/instance-type", "g5.xlarge"),
        ("topology.kubernetes.io/region", "us-east-1"),
        ("topology.kubernetes.io/zone", "us-east-1a"),
    ] {
        assert_eq!(labels[key], value, "{key}");
    }
    let taints: Vec<String> = node["spec"]["taints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|taint| format!("{}:{}", taint["key"], taint["effect"]))
        .collect();
    assert_eq!(
        taints.join(" ").replace('"', ""),
        "karpenter.sh/unregistered:NoExecute nvidia.com/gpu:NoSchedule \
         node.cloudprovider.kubernetes.io/uninitialized:NoSchedule node.kubernetes.io/not-ready:NoSchedule"
    );
    let ready = node["status"]["conditions"].as_array().unwrap().iter().find(|condition| condition["type"] == "Ready");
    assert_eq!((&ready.unwrap()["status"], &ready.unwrap()["reason"]), (&json!("False"), &json!("KubeletNotReady")));
}

#[rstest]
// 11 Mi × 58 + 255 Mi reserved, 100 Mi eviction; 1 Gi and a tenth of the disk.
#[case::defaults(BootPlan::default(), json!({"cpu": "3920m", "memory": "15391Mi", "ephemeral-storage": "17Gi", "pods": "58", "nvidia.com/gpu": "1"}))]
#[case::own_reservations(plan(UserDataFormat::Nodeadm), json!({"cpu": "3920m", "memory": "15260Mi", "ephemeral-storage": "17Gi", "pods": "58", "nvidia.com/gpu": "1"}))]
#[case::bottlerocket_reckons_with_max_pods(BootPlan { format: UserDataFormat::Bottlerocket, max_pods: Some(10), ..BootPlan::default() },
    json!({"cpu": "3920m", "memory": "15919Mi", "ephemeral-storage": "17Gi", "pods": "10", "nvidia.com/gpu": "1"}))]
#[case::pods_per_core(BootPlan { pods_per_core: Some(5), ..BootPlan::default() }, json!({"cpu": "3920m", "memory": "15391Mi", "ephemeral-storage": "17Gi", "pods": "20", "nvidia.com/gpu": "1"}))]
fn allocatable_is_capacity_less_reservations(#[case] plan: BootPlan, #[case] expected: Value) {
    let status = registered(&plan).status.unwrap();
    assert_eq!(serde_json::to_value(status.allocatable).unwrap(), expected);
    assert_eq!(status.capacity.unwrap()["memory"].0, "16Gi");
}

#[test]
fn eviction_thresholds_are_amounts_or_shares() {
    let with = |memory: &str| {
        let plan = BootPlan {
            eviction_hard: BTreeMap::from([("memory.available".to_owned(), memory.to_owned())]),
            ..BootPlan::default()
        };
        registered(&plan).status.unwrap().allocatable.unwrap()["memory"].0.clone()
    };
    // 16384 Mi − 893 Mi reserved, less the threshold.
    assert_eq!([with("1Gi"), with("25%"), with("100%")], ["14467Mi", "11395Mi", "15491Mi"]);
}
