//! Nodes that exist, with pods on them.

use crate::{catalog, draw::Draw, pods::Workload, pools};
use sawhorse_ambient::{Seed, Stream};
use serde_json::{Map, Value, json};

pub(crate) const ZONES: [&str; 3] = ["us-east-1a", "us-east-1b", "us-east-1c"];

/// So many nodes of `pool`, each filled with pods like the `workloads`' to some part of it.
pub(crate) fn existing(seed: Seed, family: &str, count: u64, workloads: &[Workload]) -> Vec<Value> {
    let plain: Vec<Workload> = workloads.iter().filter(|own| own.extended.is_empty()).map(plain).collect();
    let usual = |kind: &&Value| ["c", "m", "r"].contains(&category(kind)) && (2000..=64_000).contains(&cpu_of(kind));
    let types: Vec<&Value> = catalog::ec2().iter().filter(usual).collect();
    (0..count)
        .map(|index| {
            let name = format!("node-{index:04}");
            let mut stream = seed.stream(&[family, "node", &name]);
            let kind = stream.one(&types);
            json!({"node": node(&name, kind, &mut stream), "pods": bound(&name, kind, &plain, &mut stream)})
        })
        .collect()
}

/// The workload without what ties its pods to one another: those that run may have been placed before.
fn plain(workload: &Workload) -> Workload {
    Workload { spec: Map::new(), ports: Vec::new(), ..workload.clone() }
}

fn cpu_of(kind: &Value) -> u64 {
    catalog::allocatable(kind).0
}

fn category(kind: &Value) -> &'static str {
    let labels = catalog::labels(kind);
    let own = labels.get(pools::CATEGORY).map(String::as_str);
    ["c", "m", "r"].into_iter().find(|known| own == Some(known)).unwrap_or_default()
}

/// A node of the pool `default` and the type `kind`.
pub(crate) fn node(name: &str, kind: &Value, stream: &mut Stream) -> Value {
    let place = Place { zone: stream.one(&ZONES), capacity_type: stream.one(&["spot", "on-demand"]), pool: "default" };
    launched(name, kind, place, [("team".to_owned(), json!("default"))])
}

/// Where a node is, how it is paid for, and whose it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) zone: &'a str,
    pub(crate) capacity_type: &'a str,
    pub(crate) pool: &'a str,
}

/// A node of the type `kind`, with these labels besides those that follow from what it is.
pub(crate) fn launched(
    name: &str,
    kind: &Value,
    place: Place<'_>,
    further: impl IntoIterator<Item = (String, Value)>,
) -> Value {
    let mut labels: Map<String, Value> =
        catalog::labels(kind).into_iter().map(|(key, value)| (key, json!(value))).collect();
    labels.extend(further);
    let own = [
        ("karpenter.sh/nodepool", place.pool),
        ("node.kubernetes.io/instance-type", catalog::name(kind)),
        ("topology.kubernetes.io/zone", place.zone),
        (pools::CAPACITY_TYPE, place.capacity_type),
        ("kubernetes.io/hostname", name),
    ];
    labels.extend(own.map(|(key, value)| (key.to_owned(), json!(value))));
    let (cpu, memory) = catalog::allocatable(kind);
    let mut allocatable = kind["capacity"].clone();
    allocatable["cpu"] = json!(format!("{cpu}m"));
    allocatable["memory"] = json!(format!("{memory}Mi"));
    json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {"providerID": format!("aws:///us-east-1a/{name}")},
        "status": {"capacity": kind["capacity"], "allocatable": allocatable},
    })
}

fn bound(node: &str, kind: &Value, workloads: &[Workload], stream: &mut Stream) -> Vec<Value> {
    let (mut cpu, mut memory) = catalog::allocatable(kind);
    let filled = stream.between(20, 90);
    let keep = (cpu * (100 - filled) / 100, memory * (100 - filled) / 100);
    let mut pods = Vec::new();
    // Some draws do not fit; after a few of those the node is full enough.
    let mut misses = 0;
    while misses < 4 && !workloads.is_empty() {
        let own = &workloads[stream.below(workloads.len() as u64) as usize];
        if own.cpu + keep.0 > cpu || own.memory + keep.1 > memory || pods.len() >= 20 {
            misses += 1;
            continue;
        }
        cpu -= own.cpu;
        memory -= own.memory;
        let mut pod = own.pod(0);
        pod["metadata"]["name"] = json!(format!("{}-on-{node}-{}", own.app, pods.len()));
        pods.push(pod);
    }
    pods
}
