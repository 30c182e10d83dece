//! Workloads: pods that differ in their names only.

use crate::draw::Draw;
use sawhorse_ambient::{Seed, Stream};
use serde_json::{Map, Value, json};

/// CPU requests in thousandths: most pods are small.
const CPU: [u64; 16] = [50, 100, 100, 200, 250, 250, 500, 500, 750, 1000, 1000, 1500, 2000, 3000, 4000, 8000];
/// MiB of memory per CPU.
const MEMORY: [u64; 10] = [256, 512, 1024, 2048, 2048, 4096, 4096, 6144, 8192, 16384];
/// Workloads of one problem.
const FEWEST: u64 = 2;
const MOST: u64 = 24;

/// Pods that differ in their names only.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) app: String,
    pub(crate) replicas: u64,
    pub(crate) cpu: u64,
    pub(crate) memory: u64,
    /// Further requests.
    pub(crate) extended: Vec<(&'static str, u64)>,
    /// Fields of the pods' spec besides its container.
    pub(crate) spec: Map<String, Value>,
    /// Ports of the container.
    pub(crate) ports: Vec<Value>,
}

impl Workload {
    /// What selects its pods.
    pub(crate) fn selector(&self) -> Value {
        json!({"matchLabels": {"app": self.app}})
    }

    pub(crate) fn pod(&self, index: u64) -> Value {
        let mut requests = json!({"cpu": format!("{}m", self.cpu), "memory": format!("{}Mi", self.memory)});
        for (name, amount) in &self.extended {
            requests[*name] = json!(amount.to_string());
        }
        let mut container = json!({"name": "c", "resources": {"requests": requests}});
        if !self.extended.is_empty() {
            let limits: Map<String, Value> =
                self.extended.iter().map(|(name, amount)| ((*name).to_owned(), json!(amount.to_string()))).collect();
            container["resources"]["limits"] = Value::Object(limits);
        }
        if !self.ports.is_empty() {
            container["ports"] = json!(self.ports);
        }
        let mut spec = self.spec.clone();
        spec.insert("containers".to_owned(), json!([container]));
        json!({"metadata": {"name": format!("{}-{index}", self.app), "labels": {"app": self.app}}, "spec": spec})
    }

    pub(crate) fn pods(&self) -> impl Iterator<Item = Value> {
        (0..self.replicas).map(|index| self.pod(index))
    }
}

/// Workloads of together `total` pods that ask for CPU and memory only.
pub(crate) fn workloads(seed: Seed, family: &str, total: u64) -> Vec<Workload> {
    let mut stream = seed.stream(&[family, "workloads"]);
    let count = stream.between(FEWEST, MOST).min(total);
    let shares: Vec<u64> = (0..count).map(|_| stream.scale(1, 20)).collect();
    let all: u64 = shares.iter().sum();
    let mut left = total;
    let mut list = Vec::new();
    for (index, share) in shares.iter().enumerate() {
        let rest = count - index as u64 - 1;
        let replicas = if rest == 0 { left } else { (total * share / all).clamp(1, left.saturating_sub(rest).max(1)) };
        left -= replicas;
        let app = format!("app-{index:02}");
        list.push(workload(&mut seed.stream(&[family, "workload", &app]), app, replicas));
    }
    list
}

fn workload(stream: &mut Stream, app: String, replicas: u64) -> Workload {
    let cpu = stream.one(&CPU);
    // Mostly in some proportion to CPU, sometimes not at all.
    let memory = if stream.chance(80) { cpu * stream.one(&MEMORY) / 1000 } else { stream.scale(64, 32_768) };
    let memory = memory.max(32);
    Workload { app, replicas, cpu, memory, extended: Vec::new(), spec: Map::new(), ports: Vec::new() }
}

/// DaemonSets of half of the problems.
pub(crate) fn daemons(seed: Seed, family: &str) -> Vec<Value> {
    let mut stream = seed.stream(&[family, "daemons"]);
    let count = if stream.chance(50) { stream.between(1, 3) } else { 0 };
    (0..count)
        .map(|index| {
            let (cpu, memory) = (stream.one(&[10, 50, 100, 250]), stream.one(&[32, 64, 128, 512]));
            let requests = json!({"cpu": format!("{cpu}m"), "memory": format!("{memory}Mi")});
            let name = format!("daemon-{index}");
            let labels = json!({"daemon": name});
            json!({"metadata": {"name": name}, "spec": {"selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels},
                "spec": {"tolerations": [{"operator": "Exists"}],
                    "containers": [{"name": "c", "resources": {"requests": requests}}]}}}})
        })
        .collect()
}
