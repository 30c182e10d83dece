//! Clusters drawn from seeds, moved until nothing more is decided: no machine that is left could go, or be replaced by a cheaper
//! one, and the price is not far above that of building anew.

#![expect(clippy::unwrap_used, reason = "clippy takes only the test functions themselves for tests, not their helpers")]

use sawhorse_core::{
    model::{Catalog, ClusterSnapshot, Price, is_reschedulable},
    plan::{Manifests, PlanInput, plan, price},
    scenario::Scenario,
    scheduling::{IndexedCatalog, Prepared, SchedulingInput, solve},
};
use std::{collections::BTreeSet, fmt::Write as _, sync::Arc};

const CATALOG: &str = include_str!("../../../snapshots/catalogs/aws-small.yaml");
/// So many clusters are drawn.
const CLUSTERS: u64 = 200;

/// Numbers that look drawn and are the same in every run.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Up to eight machines of any type with pods that leave some of their room.
fn cluster(seed: u64) -> (ClusterSnapshot, Catalog) {
    let mut draws = Draws(seed);
    let mut text = "why: drawn
catalog: aws-small
nodePools:
  - metadata: { name: default }
    spec:
      disruption: { budgets: [{ nodes: \"100%\" }] }
      template: { spec: { requirements: [{ key: karpenter.sh/capacity-type, operator: In, values: [on-demand] }] } }
nodes:
"
    .to_owned();
    for node in 0..2 + draws.below(7) {
        let (name, cpu) =
            [("m5.large", 2), ("m5.xlarge", 4), ("m5.2xlarge", 8), ("m5.4xlarge", 16)][draws.below(4) as usize];
        write!(text, "  - {{ name: node-{node}, pool: default, instanceType: {name}, zone: zone-a, pods: [").unwrap();
        let mut left = cpu * 1000 * (1 + draws.below(3)) / 4;
        for pod in 0..4 {
            let asked = 100 + draws.below(3000);
            if asked > left {
                break;
            }
            left -= asked;
            write!(text, "{{ name: pod-{node}-{pod}, requests: {{ cpu: {asked}m, memory: 256Mi }} }}, ").unwrap();
        }
        text.push_str("] }\n");
    }
    let world = Scenario::read(&text).unwrap().world(CATALOG).unwrap();
    (world.snapshot, world.catalog)
}

/// What the pods of `without` would cost on top of the machines that stay, and how many machines would be launched for them.
fn cost_without(snapshot: &ClusterSnapshot, catalog: &IndexedCatalog, without: &BTreeSet<usize>) -> (Price, usize) {
    let gone = snapshot.nodes.iter().enumerate().filter(|(index, _)| without.contains(index));
    let pods: Vec<_> =
        gone.flat_map(|(_, own)| own.pods.iter().filter(|pod| is_reschedulable(pod)).map(Arc::clone)).collect();
    let prepared = Prepared::new(snapshot, catalog);
    let results = solve(&SchedulingInput { without, ..SchedulingInput::new(&prepared, &pods) });
    assert!(results.all_placed());
    (results.total_price(), results.planned.len())
}

#[test]
fn at_a_standstill_no_machine_could_go_or_become_cheaper() {
    let mut ratios = Vec::new();
    for seed in 0..CLUSTERS {
        let (snapshot, catalog) = cluster(seed);
        let input = PlanInput {
            snapshot: &snapshot,
            catalog: &catalog,
            applied: &Manifests::default(),
            removed: &BTreeSet::new(),
        };
        let plan = plan(&input);
        assert!(!plan.unfinished && plan.homeless.is_empty(), "seed {seed}");
        assert!(plan.price_after <= plan.price_before, "seed {seed}");
        let indexed = IndexedCatalog::new(catalog.clone());
        for index in 0..plan.after.nodes.len() {
            let own = price(
                &ClusterSnapshot { nodes: vec![plan.after.nodes[index].clone()], ..plan.after.clone() },
                &catalog,
            );
            let (without, launched) = cost_without(&plan.after, &indexed, &BTreeSet::from([index]));
            if launched > 1 {
                // Several in one's place are looked for only where one would do too.
                continue;
            }
            // Less than one in a hundred is not worth moving pods for.
            let least = Price::from_nanos(own.nanos() * 99 / 100);
            assert!(
                without >= least,
                "seed {seed}: {} costs {own}, and {without} would do",
                plan.after.nodes[index].name()
            );
        }
        let all: BTreeSet<usize> = (0..snapshot.nodes.len()).collect();
        let (anew, _) = cost_without(&snapshot, &indexed, &all);
        if anew > Price::ZERO {
            ratios.push(plan.price_after.nanos() * 1000 / anew.nanos());
        }
    }
    ratios.sort_unstable();
    let median = ratios[ratios.len() / 2];
    let worst = ratios.last().copied().unwrap_or(0);
    println!("price at standstill by price of building anew, in thousandths: median {median}, worst {worst}");
    assert!(median <= 1150, "the median is {median}");
}
