use super::Scenario;
use rstest::rstest;

const CATALOG: &str = "
zones: [zone-a, zone-b]
instanceTypes:
  - { name: m5.large, capacity: { cpu: 2, memory: 8Gi, pods: 29 }, onDemand: 0.10, spot: 0.04 }
";

fn error(text: &str) -> String {
    match Scenario::read(text).and_then(|scenario| scenario.world(CATALOG)) {
        Ok(_) => panic!("it was read"),
        Err(error) => error.to_string(),
    }
}

#[rstest]
#[case::top("why: x\ncatalog: c\nnodepools: []\n", "nodepools", 3)]
#[case::pod("why: x\ncatalog: c\npods:\n  - name: web\n    replica: 3\n", "replica", 5)]
#[case::node("why: x\ncatalog: c\nnodes:\n  - { name: n, instanceType: m5.large, zone: zone-a, pols: d }\n", "pols", 4)]
#[case::pool("why: x\ncatalog: c\nnodePools:\n  - metadata: { name: d }\n    spec:\n      wieght: 3\n", "wieght", 6)]
#[case::toleration(
    "why: x\ncatalog: c\npods:\n  - name: web\n    tolerations:\n      - { key: a, operater: Exists }\n",
    "operater",
    6
)]
fn a_key_that_nobody_reads_is_refused_with_its_line(#[case] text: &str, #[case] key: &str, #[case] line: u32) {
    let error = error(text);
    assert!(error.contains(&format!("`{key}`")) && error.contains(&format!("line {line}")), "{error}");
}

#[rstest]
#[case("nodes: [ { name: n, instanceType: m9.huge, zone: zone-a } ]", "instance type `m9.huge` is not in the catalog")]
#[case(
    "nodes: [ { name: n, pool: p, instanceType: m5.large, zone: zone-a } ]",
    "node `n` is of pool `p`, which is not there"
)]
#[case("nodePools: [ { metadata: {}, spec: {} } ]", "every pool needs a name of its own")]
#[case("unavailable: [ { instanceType: m5.large, until: soon } ]", "`soon` is not a duration")]
fn names_and_times_are_checked(#[case] line: &str, #[case] message: &str) {
    let error = error(&format!("why: x\ncatalog: c\n{line}\n"));
    assert!(error.contains(message), "{error}");
}

#[test]
fn replicas_and_types_are_written_out() {
    let text = "
why: x
catalog: c
unavailable: [ { instanceType: m5.large, zone: zone-b, capacityType: spot } ]
nodePools: [ { metadata: { name: d }, spec: { limits: { cpu: 10 } } } ]
nodes: [ { name: n, pool: d, instanceType: m5.large, zone: zone-a, pods: [ { name: db, requests: { cpu: 500m } } ] } ]
pods: [ { name: web, replicas: 2, requests: { cpu: 1 } } ]
";
    let world = Scenario::read(text).unwrap().world(CATALOG).unwrap();
    let names: Vec<_> = world.snapshot.pending.iter().map(|pod| pod.metadata.name.as_deref().unwrap()).collect();
    assert_eq!(names, ["web-0", "web-1"]);
    assert_eq!(world.snapshot.nodes[0].available().to_string(), "cpu: 1500m, memory: 8Gi, pods: 28");
    let types = world.catalog.of(&"d".into());
    let available: Vec<bool> = types[0].offerings.iter().map(|offering| offering.available).collect();
    assert_eq!(available, [true, true, false, true]);
}
