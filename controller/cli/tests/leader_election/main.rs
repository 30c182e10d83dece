//! kill -9 of the leader in each phase of a launch and of a disruption, on a real API server: the other replica goes on within
//! the lease time, no machine is bought twice, none is left behind, and no pod is lost that policy protects.
//!
//! A phase is held at by its next request: it is kept from the API server or the cloud, or its answer is kept from the leader.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy takes only the test functions themselves for tests, not their helpers"
)]

mod cluster;
mod door;

use cluster::{At, Cluster};
use door::Gate;
use sawhorse_e2e::{control_plane::Programs, facts::Facts};
use std::collections::BTreeSet;

const CLAIMS: &str = "/apis/karpenter.sh/v1/nodeclaims";
const CLOUD: (&str, &str, &str) = ("POST", "/", "/");

const fn before(request: (&'static str, &'static str, &'static str), says: &'static str) -> Gate {
    Gate { request, says, carried_out: false }
}

const fn after(request: (&'static str, &'static str, &'static str), says: &'static str) -> Gate {
    Gate { request, says, carried_out: true }
}

const CREATE_CLAIM: (&str, &str, &str) = ("POST", CLAIMS, "");
const CLAIM_STATUS: (&str, &str, &str) = ("PATCH", CLAIMS, "/status");
const NODE: (&str, &str, &str) = ("PATCH", "/api/v1/nodes/", "");
const EVICTION: (&str, &str, &str) = ("POST", "/api/v1/namespaces/default/pods/", "/eviction");

/// The phases of a launch: name, where the leader is killed, how many NodeClaims and machines the launch has made by then.
const LAUNCH: [(&str, At, i64, i64); 7] = [
    ("before the NodeClaim is created", At::Api(before(CREATE_CLAIM, "")), 0, 0),
    ("NodeClaim created, CreateFleet not sent", At::Cloud(before(CLOUD, "Action=CreateFleet&")), 1, 0),
    ("CreateFleet sent, not answered", At::Cloud(after(CLOUD, "Action=CreateFleet&")), 1, 1),
    ("answered, status not written", At::Api(before(CLAIM_STATUS, "\"providerID\"")), 1, 1),
    ("launched, not registered", At::Api(after(CLAIM_STATUS, "\"providerID\"")), 1, 1),
    ("registered half: the Node is told, the NodeClaim not", At::Api(after(NODE, "karpenter.sh/registered")), 1, 1),
    ("registered, not initialized", At::Api(before(NODE, "karpenter.sh/initialized")), 1, 1),
];

/// The phases of the replacement of a machine.
const DISRUPTION: [(&str, At, i64, i64); 5] = [
    ("candidate tainted", At::Api(before(CREATE_CLAIM, "")), 0, 0),
    ("replacement created", At::Cloud(before(CLOUD, "Action=CreateFleet&")), 1, 0),
    ("replacement launched, not initialized", At::Api(before(NODE, "karpenter.sh/initialized")), 1, 1),
    ("candidate deleted, draining", At::Api(after(EVICTION, "")), 1, 1),
    ("instance terminating", At::Cloud(after(CLOUD, "Action=TerminateInstances&")), 1, 1),
];

/// Of the pods that run, or of the NodeClaims: their names.
fn names(facts: &Facts, kind: &str) -> BTreeSet<String> {
    let facts = serde_json::to_value(facts).unwrap();
    let all = facts[kind].as_array().unwrap().iter();
    let there = all.filter(|object| kind == "nodeClaims" || object["phase"] == "Running");
    there.map(|object| object["name"].as_str().unwrap().to_owned()).collect()
}

/// Whether so many machines are all there is, initialized, and so many pods run on them.
fn is_settled(facts: &Facts, machines: i64, pods: i64) -> bool {
    let count = &facts.count;
    let claims = serde_json::to_value(&facts.node_claims).unwrap();
    (count.running, count.node_claims, count.nodes, count.instances) == (pods, machines, machines, machines)
        && claims.as_array().unwrap().iter().all(|claim| claim["conditions"]["Initialized"] == "True")
}

#[tokio::test]
async fn the_leader_dies_in_each_phase_of_a_launch() {
    let mut cluster = Cluster::start(&Programs::from_environment().unwrap()).await;
    let mut machines = 0;
    for (phase, at, claims, launched) in LAUNCH {
        let before = names(&cluster.facts(), "pods");
        let (took, found) =
            cluster.kill_leader(at, async |cluster| cluster.scale("lone", before.len() + 1).await).await;
        println!("launch, {phase}: the other led {:.1} s after the kill", took.as_secs_f64());
        assert_eq!((found.node_claims, found.launched), (machines + claims, machines + launched), "{phase}");
        machines += 1;
        cluster.settles(phase, |facts| is_settled(facts, machines, machines)).await;
        let facts = cluster.facts();
        assert_eq!(facts.count.launched, machines, "{phase}: a machine was bought twice");
        assert!(names(&facts, "pods").is_superset(&before), "{phase}: a pod was lost");
    }
    cluster.give_back_and_stop().await;
}

#[tokio::test]
async fn the_leader_dies_in_each_phase_of_a_disruption() {
    let mut cluster = Cluster::start(&Programs::from_environment().unwrap()).await;
    cluster.scale("pair", 2).await;
    cluster.settles("two pods run on one machine", |facts| is_settled(facts, 1, 2)).await;
    cluster.note_running();
    for (generation, (phase, at, claims, launched)) in (1..).zip(DISRUPTION) {
        let (machine, bought) = (names(&cluster.facts(), "nodeClaims"), cluster.facts().count.launched);
        let (took, found) = cluster.kill_leader(at, async |cluster| cluster.drift(generation).await).await;
        println!("disruption, {phase}: the other led {:.1} s after the kill", took.as_secs_f64());
        assert_eq!((found.node_claims, found.launched), (1 + claims, bought + launched), "{phase}");
        let is_replaced = |facts: &Facts| is_settled(facts, 1, 2) && names(facts, "nodeClaims").is_disjoint(&machine);
        cluster.settles(phase, is_replaced).await;
        assert_eq!(cluster.facts().count.launched, bought + 1, "{phase}: a machine was bought twice");
    }
    let evictions = cluster.environment.tally.lock().unwrap().evictions;
    // The leader that was killed before it had the answer to its eviction told nobody of that one.
    let told = 2 * DISRUPTION.len() as u64 - 1;
    assert_eq!(evictions, told, "each pod is evicted once from each machine");
    assert!(cluster.least_running() >= Some(1), "the PodDisruptionBudget leaves one pod running at all times");
    cluster.give_back_and_stop().await;
}
