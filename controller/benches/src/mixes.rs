//! Large problems, by which speed is judged.

use crate::{Problem, catalog, draw::Draw, nodes, pools};
use sawhorse_ambient::{Seed, Stream};
use serde_json::{Value, json};

const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";
/// What the reference's benchmark draws from (karpenter `scheduling_benchmark_test.go`).
const CPU: [u64; 5] = [100, 250, 500, 1000, 1500];
const MEMORY: [u64; 6] = [100, 256, 512, 1024, 2048, 4096];
pub(crate) const LABELS: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];
/// Nodes that exist, and pods on each, where a problem has any.
const NODES: u64 = 1_000;
const PODS_PER_NODE: u64 = 30;

/// What the pods of a large problem ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// CPU and memory only.
    Plain,
    /// The reference's own mix: a fifth each of plain pods, zone spread, hostname spread, zone affinity and hostname
    /// anti-affinity.
    Mixed,
    /// A preferred zone, and preferred terms about other pods of which one cannot hold.
    Preferences,
    /// [`Mix::Mixed`] beside 1,000 nodes with 30 pods each.
    Nodes,
}

impl Mix {
    const ALL: [Self; 4] = [Self::Plain, Self::Mixed, Self::Preferences, Self::Nodes];

    /// What problems of the mix are named after.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Mixed => "mixed",
            Self::Preferences => "preferences",
            Self::Nodes => "nodes",
        }
    }
}

/// A large problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speed {
    /// What its pods ask.
    pub mix: Mix,
    /// How many are pending.
    pub pods: u64,
    /// How many instance types there are.
    pub types: usize,
}

impl Speed {
    /// All that speed is judged by, small ones first.
    pub fn all() -> Vec<Self> {
        let sizes = [1_000, 5_000, 10_000, 50_000].into_iter().flat_map(|pods| [(pods, 400), (pods, 1_400)]);
        let sized = sizes.flat_map(|(pods, types)| [Mix::Plain, Mix::Mixed].map(|mix| Self { mix, pods, types }));
        let further = [(Mix::Plain, 4_000), (Mix::Preferences, 4_000), (Mix::Nodes, 5_000)];
        let further = further.map(|(mix, pods)| Self { mix, pods, types: 400 });
        sized.chain(further).collect()
    }

    /// Its name: `mixed-5000x400`.
    pub fn name(self) -> String {
        format!("{}-{}x{}", self.mix.name(), self.pods, self.types)
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        let (mix, size) = name.rsplit_once('-')?;
        let (pods, types) = size.split_once('x')?;
        let mix = Mix::ALL.into_iter().find(|own| own.name() == mix)?;
        Some(Self { mix, pods: pods.parse().ok()?, types: types.parse().ok()? })
    }

    /// The problem.
    pub fn problem(self) -> Problem {
        let mut stream = Seed(42).stream(&["speed", self.mix.name()]);
        let pods: Vec<Value> = (0..self.pods).map(|index| pod(self.mix, index, self.pods, &mut stream)).collect();
        let count = if self.mix == Mix::Nodes { NODES } else { 0 };
        let amd64 = pools::requirement(pools::ARCH, "In", &["amd64"]);
        let input = json!({
            "nodePools": [pools::pool("default", &[amd64])],
            "instanceTypes": catalog::of_size(self.types),
            "nodes": (0..count).map(busy_node).collect::<Vec<_>>(),
            "pods": pods,
            "options": {"timeoutSeconds": 3600.0},
        });
        Problem { name: self.name(), input }
    }
}

fn pod(mix: Mix, index: u64, count: u64, stream: &mut Stream) -> Value {
    let mut pod = sized(&format!("pod-{index:05}"), stream);
    match mix {
        Mix::Plain => pod["metadata"]["labels"] = json!({"my-label": stream.one(&LABELS)}),
        Mix::Mixed | Mix::Nodes => mixed(&mut pod, index * 5 / count, stream),
        Mix::Preferences => preferring(&mut pod),
    }
    pod
}

pub(crate) fn sized(name: &str, stream: &mut Stream) -> Value {
    let requests = json!({"cpu": format!("{}m", stream.one(&CPU)), "memory": format!("{}Mi", stream.one(&MEMORY))});
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}})
}

fn mixed(pod: &mut Value, fifth: u64, stream: &mut Stream) {
    let mut labels = json!({"my-label": stream.one(&LABELS)});
    let term = |key: &str, labels: &Value| json!([{"topologyKey": key, "labelSelector": {"matchLabels": labels}}]);
    let spread = |key: &str, stream: &mut Stream| {
        json!([{"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"my-label": stream.one(&LABELS)}}}])
    };
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    match fifth {
        0 => {}
        1 => pod["spec"]["topologySpreadConstraints"] = spread(ZONE, stream),
        2 => pod["spec"]["topologySpreadConstraints"] = spread(HOST, stream),
        3 => {
            labels = json!({"my-affinity": stream.one(&LABELS)});
            pod["spec"]["affinity"]["podAffinity"][required] = term(ZONE, &labels);
        }
        _ => {
            labels = json!({"app": "nginx"});
            pod["spec"]["affinity"]["podAntiAffinity"][required] = term(HOST, &labels);
        }
    }
    pod["metadata"]["labels"] = labels;
}

fn preferring(pod: &mut Value) {
    pod["metadata"]["labels"] = json!({"app": "nginx"});
    let zone = pools::requirement(ZONE, "In", &["us-east-1a"]);
    let near = |key: &str| json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": "nginx"}}});
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    pod["spec"]["affinity"] = json!({
        "nodeAffinity": {preferred: [{"weight": 1, "preference": {"matchExpressions": [zone]}}]},
        "podAntiAffinity": {preferred: [
            {"weight": 10, "podAffinityTerm": near(ZONE)},
            {"weight": 1, "podAffinityTerm": near(HOST)},
        ]},
    });
}

/// A machine of 32 CPUs with 30 pods.
fn busy_node(index: u64) -> Value {
    let name = format!("node-{index:04}");
    let mut stream = Seed(42).stream(&["speed", "node", &name]);
    let kind = catalog::ec2().iter().find(|kind| catalog::name(kind) == "m6a.8xlarge").expect("it is in the file");
    let pods = (0..PODS_PER_NODE).map(|own| {
        let mut pod = sized(&format!("{name}-{own}"), &mut stream);
        pod["metadata"]["labels"] = json!({"my-label": stream.one(&LABELS)});
        pod
    });
    let pods: Vec<Value> = pods.collect();
    json!({"node": nodes::node(&name, kind, &mut stream), "pods": pods})
}
