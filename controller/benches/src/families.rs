//! Eight kinds of small problems, by which cost is judged.

use crate::{Problem, catalog, draw::Draw, nodes, pods, pods::Workload, pools, rules};
use sawhorse_ambient::{Seed, Stream};
use serde_json::json;

/// How many problems of each family are looked at where nothing else is said.
pub const SEEDS: u64 = 50;
const FEWEST_PODS: u64 = 20;
const MOST_PODS: u64 = 400;
/// Of a hundred workloads, so many ask for what their family is about.
const ASKING: u64 = 75;

/// A kind of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// CPU and memory only.
    Plain,
    /// Node selectors and node affinity.
    Selectors,
    /// Topology spread.
    Spread,
    /// Affinity and anti-affinity between pods.
    Affinity,
    /// Several pools with taints, weights, limits and GPUs.
    Pools,
    /// Host ports.
    Ports,
    /// Nodes that exist, with pods on them.
    Nodes,
    /// All of it.
    Mixture,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 8] = [
        Self::Plain,
        Self::Selectors,
        Self::Spread,
        Self::Affinity,
        Self::Pools,
        Self::Ports,
        Self::Nodes,
        Self::Mixture,
    ];

    /// What problems of the family are named after.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Selectors => "selectors",
            Self::Spread => "spread",
            Self::Affinity => "affinity",
            Self::Pools => "pools",
            Self::Ports => "ports",
            Self::Nodes => "nodes",
            Self::Mixture => "mixture",
        }
    }

    /// Whether the lower bound knows all that problems of the family ask, so that a gap is the solver's.
    pub fn has_tight_bound(self) -> bool {
        matches!(self, Self::Plain | Self::Selectors | Self::Pools | Self::Ports | Self::Nodes)
    }

    /// The family's problem of that seed.
    pub fn problem(self, seed: u64) -> Problem {
        let name = self.name();
        let drawn = Seed(seed);
        let mut stream = drawn.stream(&[name]);
        let total = stream.scale(FEWEST_PODS, MOST_PODS);
        let several = self == Self::Pools || (self == Self::Mixture && stream.chance(60));
        let node_pools = if several {
            pools::several(drawn, name)
        } else {
            vec![pools::only(drawn, name, !matches!(self, Self::Selectors | Self::Spread | Self::Mixture))]
        };
        let mut list = pods::workloads(drawn, name, total);
        for position in 0..list.len() {
            let mut stream = drawn.stream(&[name, "rules", &list[position].app]);
            if stream.chance(ASKING) {
                let other = (position > 0).then(|| list[stream.below(position as u64) as usize].clone());
                self.ask(&mut list[position], other.as_ref(), &node_pools, &mut stream);
            }
        }
        let with_nodes = self == Self::Nodes || (self == Self::Mixture && stream.chance(50));
        let count = if with_nodes { stream.scale(2, 24) } else { 0 };
        let input = json!({
            "nodePools": node_pools,
            "instanceTypes": catalog::ec2(),
            "daemonSets": pods::daemons(drawn, name),
            "nodes": nodes::existing(drawn, name, count, &list),
            "pods": list.iter().flat_map(Workload::pods).collect::<Vec<_>>(),
        });
        Problem { name: format!("{name}-{seed}"), input }
    }

    fn ask(self, workload: &mut Workload, other: Option<&Workload>, all: &[serde_json::Value], stream: &mut Stream) {
        match self {
            Self::Plain => {}
            Self::Selectors => rules::node(workload, stream),
            Self::Spread => rules::spread(workload, stream),
            Self::Affinity => rules::pods(workload, other, stream),
            Self::Pools => rules::pool(workload, all, stream),
            Self::Ports => rules::ports(workload, stream),
            Self::Nodes if stream.chance(30) => rules::node(workload, stream),
            Self::Nodes => {}
            Self::Mixture => {
                let parts = [Self::Selectors, Self::Spread, Self::Affinity, Self::Pools, Self::Ports];
                for _ in 0..stream.between(1, 2) {
                    stream.one(&parts).ask(workload, other, all, stream);
                }
            }
        }
    }
}
