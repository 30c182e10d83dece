//! Machines and NodeClasses for tests.

use super::{
    capacity::Shape,
    catalog::{Market, instance_type},
    machine::{Device, Machine, NetworkCard},
    pricing::Prices,
};
use sawhorse_core::{
    api::{Ec2NodeClass, Ec2NodeClassSpec, NodeClaim, NodePool},
    model::InstanceType,
};
use std::collections::{BTreeMap, BTreeSet};

/// name, vCPUs, MiB, architecture, maker, GHz, network cards, interfaces per card, addresses per interface, EBS Mbps, local GB,
/// EFA interfaces, enclaves, encryption in transit: as the catalogue of 2026 states them.
type Row = (&'static str, i64, i64, &'static str, &'static str, f64, i64, i64, i64, i64, i64, i64, bool, bool);

const ROWS: [Row; 11] = [
    ("m5.large", 2, 8_192, "x86_64", "Intel", 3.1, 1, 3, 10, 4_750, 0, 0, false, false),
    ("m5.xlarge", 4, 16_384, "x86_64", "Intel", 3.1, 1, 4, 15, 4_750, 0, 0, true, false),
    ("m5.metal", 96, 393_216, "x86_64", "Intel", 3.1, 1, 15, 50, 19_000, 0, 0, false, false),
    ("m5d.large", 2, 8_192, "x86_64", "Intel", 3.1, 1, 3, 10, 4_750, 75, 0, false, false),
    ("c5.large", 2, 4_096, "x86_64", "Intel", 3.4, 1, 3, 10, 4_750, 0, 0, false, false),
    ("t3.medium", 2, 4_096, "x86_64", "Intel", 2.5, 1, 3, 6, 2_085, 0, 0, false, false),
    ("m6g.large", 2, 8_192, "arm64", "AWS", 2.5, 1, 3, 10, 4_750, 0, 0, true, false),
    ("a1.large", 2, 4_096, "arm64", "AWS", 2.3, 1, 3, 10, 3_500, 0, 0, false, false),
    ("g4dn.12xlarge", 48, 196_608, "x86_64", "Intel", 2.5, 1, 8, 30, 9_500, 900, 1, true, true),
    ("p5.48xlarge", 192, 2_097_152, "x86_64", "AMD", 3.6, 32, 2, 50, 80_000, 30_400, 32, true, true),
    ("inf2.xlarge", 4, 16_384, "x86_64", "AMD", 3.6, 1, 4, 15, 10_000, 0, 0, true, true),
];

/// The machine named `name`.
pub(super) fn machine(name: &str) -> Machine {
    let row = ROWS.into_iter().find(|row| row.0 == name).unwrap();
    let (_, vcpus, memory_mib, arch, maker, ghz, cards, interfaces, addresses, ebs, local, efa, enclaves, encrypted) =
        row;
    Machine {
        name: name.to_owned(),
        bare_metal: name.ends_with("metal"),
        hypervisor: if name.ends_with("metal") { String::new() } else { "nitro".to_owned() },
        on_demand: true,
        spot: true,
        architectures: vec![arch.to_owned()],
        cpu_manufacturer: Some(maker.to_owned()),
        clock_ghz: Some(ghz),
        cpu_features: Vec::new(),
        vcpus,
        memory_mib,
        local_storage_gb: (local > 0).then_some(local),
        local_nvme: local > 0,
        ebs_bandwidth_mbps: Some(ebs),
        network_cards: (0..cards).map(|index| NetworkCard { index, interfaces }).collect(),
        default_network_card: 0,
        ipv4_per_interface: addresses,
        efa_interfaces: efa,
        ena: true,
        encryption_in_transit: encrypted,
        nitro_enclaves: enclaves,
        placement_strategies: placement_strategies(name),
        gpus: gpus(name),
        neurons: neurons(name),
        accelerators: Vec::new(),
    }
}

/// Machines with burstable processors cannot be close together.
fn placement_strategies(name: &str) -> Vec<String> {
    let all = ["cluster", "partition", "spread"].into_iter().filter(|one| *one != "cluster" || !name.starts_with('t'));
    all.map(str::to_owned).collect()
}

fn gpus(name: &str) -> Vec<Device> {
    let gpu = |name: &str, count, memory_mib| Device {
        name: name.into(),
        manufacturer: "NVIDIA".into(),
        count,
        memory_mib,
        cores: 0,
    };
    match name {
        "g4dn.12xlarge" => vec![gpu("T4", 4, 16_384)],
        "p5.48xlarge" => vec![gpu("H100", 8, 81_920)],
        _ => Vec::new(),
    }
}

fn neurons(name: &str) -> Vec<Device> {
    let inferentia =
        || Device { name: "Inferentia2".into(), manufacturer: "aws".into(), count: 1, memory_mib: 32_768, cores: 2 };
    if name == "inf2.xlarge" { vec![inferentia()] } else { Vec::new() }
}

/// The spec of an EC2NodeClass, from YAML.
pub(super) fn spec(yaml: &str) -> Ec2NodeClassSpec {
    serde_saphyr::from_str(yaml).unwrap()
}

/// An EC2NodeClass, resolved to two subnets in two zones, one group and an image per architecture.
pub(super) fn node_class() -> Ec2NodeClass {
    serde_saphyr::from_str(
        r"
apiVersion: karpenter.k8s.aws/v1
kind: EC2NodeClass
metadata: {name: default, uid: 6f1d, generation: 1}
spec:
  role: node-role
  amiSelectorTerms: [{alias: al2023@latest}]
  subnetSelectorTerms: [{tags: {karpenter.sh/discovery: c1}}]
  securityGroupSelectorTerms: [{tags: {karpenter.sh/discovery: c1}}]
  tags: {team: a}
status:
  subnets:
    - {id: subnet-a, zone: us-east-1a, zoneID: use1-az6}
    - {id: subnet-b, zone: us-east-1b, zoneID: use1-az1}
  securityGroups: [{id: sg-1, name: nodes}]
  instanceProfile: c1_profile
  amis:
    - id: ami-x86
      name: al2023-x86
      requirements:
        - {key: kubernetes.io/arch, operator: In, values: [amd64]}
        - {key: karpenter.k8s.aws/instance-gpu-count, operator: DoesNotExist}
        - {key: karpenter.k8s.aws/instance-accelerator-count, operator: DoesNotExist}
    - id: ami-arm
      name: al2023-arm
      requirements:
        - {key: kubernetes.io/arch, operator: In, values: [arm64]}
        - {key: karpenter.k8s.aws/instance-gpu-count, operator: DoesNotExist}
        - {key: karpenter.k8s.aws/instance-accelerator-count, operator: DoesNotExist}
    - id: ami-nvidia
      name: al2023-nvidia
      requirements:
        - {key: kubernetes.io/arch, operator: In, values: [amd64]}
        - {key: karpenter.k8s.aws/instance-gpu-count, operator: Exists}
  conditions:
    - {type: Ready, status: 'True', observedGeneration: 1, reason: Ready, message: '', lastTransitionTime: '2026-01-01T00:00:00Z'}
",
    )
    .unwrap()
}

/// A NodePool that uses `node_class()`.
pub(super) fn node_pool() -> NodePool {
    serde_saphyr::from_str(
        r"
apiVersion: karpenter.sh/v1
kind: NodePool
metadata: {name: default}
spec:
  template:
    spec:
      nodeClassRef: {group: karpenter.k8s.aws, kind: EC2NodeClass, name: default}
      requirements: []
",
    )
    .unwrap()
}

/// A NodeClaim of `node_pool()`.
pub(super) fn node_claim() -> NodeClaim {
    serde_saphyr::from_str(
        r"
apiVersion: karpenter.sh/v1
kind: NodeClaim
metadata:
  name: default-abcde
  uid: 11111111-2222-4333-8444-555555555555
  labels: {karpenter.sh/nodepool: default, example.com/team: a}
spec:
  nodeClassRef: {group: karpenter.k8s.aws, kind: EC2NodeClass, name: default}
  requirements: []
  taints: [{key: example.com/special, value: 'yes', effect: NoSchedule}]
  resources: {requests: {cpu: '1', memory: 1Gi, pods: '3'}}
",
    )
    .unwrap()
}

/// The machines named `names` as `class` offers them in two zones, at the built-in prices.
pub(super) fn offer(names: &[&str], class: &Ec2NodeClass) -> Vec<InstanceType> {
    let zones = || BTreeSet::from(["us-east-1a", "us-east-1b"].map(str::to_owned));
    let zones: BTreeMap<_, _> = names.iter().map(|name| ((*name).to_owned(), zones())).collect();
    let prices = Prices::default();
    let market = Market { region: "us-east-1", zones: &zones, prices: &prices, group: None };
    let shape = Shape::of(&class.spec, 0.075, 0);
    names.iter().map(|name| instance_type(&machine(name), class, &shape, &market).unwrap()).collect()
}
