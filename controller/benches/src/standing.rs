//! Large clusters that stand, by which the speed of disruption is judged.

use crate::{
    Problem, catalog,
    mixes::{LABELS, sized},
    nodes, pools,
};
use sawhorse_ambient::{Seed, Stream};
use serde_json::{Value, json};

const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";
/// What a full node has left, in thousandths of a CPU: less than the smallest pod asks for.
const LEFT: u64 = 90;

/// How full a cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Half, with pods that ask for CPU and memory only.
    Half,
    /// To the last pod, with pods of which four in five ask for more: zone spread, a zone, a node without another of their kind.
    Full,
}

impl Fill {
    /// What clusters are named after.
    pub fn name(self) -> &'static str {
        match self {
            Self::Half => "half",
            Self::Full => "full",
        }
    }
}

/// A large cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How full it is.
    pub fill: Fill,
    /// How many nodes it has.
    pub nodes: u64,
    /// How many pods are on each.
    pub pods: u64,
}

impl Standing {
    /// All that disruption is measured by, small ones first.
    pub fn all() -> Vec<Self> {
        let sizes = [(100, 30), (500, 30), (1_000, 30), (2_000, 30), (5_000, 20)];
        let both = |(nodes, pods)| [Fill::Half, Fill::Full].map(|fill| Self { fill, nodes, pods });
        sizes.into_iter().flat_map(both).collect()
    }

    /// Its name: `full-1000x30`.
    pub fn name(self) -> String {
        format!("{}-{}x{}", self.fill.name(), self.nodes, self.pods)
    }

    /// The cluster of that name.
    pub fn named(name: &str) -> Option<Self> {
        let (fill, size) = name.rsplit_once('-')?;
        let (nodes, pods) = size.split_once('x')?;
        let fill = [Fill::Half, Fill::Full].into_iter().find(|own| own.name() == fill)?;
        Some(Self { fill, nodes: nodes.parse().ok()?, pods: pods.parse().ok()? })
    }

    /// The cluster as a problem in which no pod waits.
    pub fn problem(self) -> Problem {
        let wanted = [
            pools::requirement(pools::ARCH, "In", &["amd64"]),
            pools::requirement(pools::CAPACITY_TYPE, "In", &["on-demand"]),
            pools::requirement(pools::CATEGORY, "In", &["c", "m", "r"]),
        ];
        let input = json!({
            "nodePools": [pools::consolidating(pools::pool("default", &wanted))],
            "instanceTypes": catalog::ec2(),
            "nodes": (0..self.nodes).map(|index| self.node(index)).collect::<Vec<_>>(),
        });
        Problem { name: self.name(), input }
    }

    fn node(self, index: u64) -> Value {
        let name = format!("node-{index:05}");
        let mut stream = Seed(42).stream(&["standing", self.fill.name(), &name]);
        let size = match self.fill {
            Fill::Half => "m6a.12xlarge",
            Fill::Full => "m6a.8xlarge",
        };
        let kind = catalog::ec2().iter().find(|kind| catalog::name(kind) == size).expect("it is in the file");
        let zone = nodes::ZONES[index as usize % nodes::ZONES.len()];
        let place = nodes::Place { zone, capacity_type: "on-demand", pool: "default" };
        let mut pods: Vec<Value> = (0..self.pods).map(|own| self.pod(index, own, zone, &mut stream)).collect();
        if self.fill == Fill::Full {
            fill_up(&mut pods, catalog::allocatable(kind).0);
        }
        json!({"node": nodes::launched(&name, kind, place, [("team".to_owned(), json!("default"))]), "pods": pods})
    }

    fn pod(self, node: u64, own: u64, zone: &str, stream: &mut Stream) -> Value {
        let mut pod = sized(&format!("pod-{node:05}-{own:02}"), stream);
        // The same on one node of each zone, so that pods are spread as they ask.
        let label = LABELS[(node / 3 + own) as usize % LABELS.len()];
        pod["metadata"]["labels"] = json!({"my-label": label});
        match (self.fill, own % 5) {
            (Fill::Half, _) | (Fill::Full, 0) => {}
            (Fill::Full, 1 | 2) => {
                pod["spec"]["topologySpreadConstraints"] = json!([{
                    "maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule",
                    "labelSelector": {"matchLabels": {"my-label": label}},
                }]);
            }
            (Fill::Full, 3) => pod["spec"]["nodeSelector"] = json!({ZONE: zone}),
            (Fill::Full, _) if own == 4 => {
                pod["metadata"]["labels"]["app"] = json!("alone");
                pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
                    json!([{"topologyKey": HOST, "labelSelector": {"matchLabels": {"app": "alone"}}}]);
            }
            (Fill::Full, _) => {
                let amd64 = pools::requirement(pools::ARCH, "In", &["amd64"]);
                pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
                    json!({"nodeSelectorTerms": [{"matchExpressions": [amd64]}]});
            }
        }
        pod
    }
}

/// Lets the last pod ask for the CPU that is left, and drops pods that have no room.
fn fill_up(pods: &mut Vec<Value>, cpu: u64) {
    let mut left = cpu - LEFT;
    let mut kept = 0;
    for pod in pods.iter() {
        let asked = requested(pod);
        if asked > left {
            break;
        }
        left -= asked;
        kept += 1;
    }
    pods.truncate(kept);
    if let Some(last) = pods.last_mut() {
        let asked = requested(last) + left;
        last["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!(format!("{asked}m"));
    }
}

fn requested(pod: &Value) -> u64 {
    let text = pod["spec"]["containers"][0]["resources"]["requests"]["cpu"].as_str().unwrap_or_default();
    text.trim_end_matches('m').parse().unwrap_or(0)
}
