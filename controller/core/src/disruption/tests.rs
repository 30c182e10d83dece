//! A small world: types by size, machines that are consolidatable unless said otherwise, pods by their CPU.

use super::*;
use crate::{
    api::{
        NodePool,
        conditions::{CONSOLIDATABLE, Conditioned, DRIFTED, INITIALIZED, LAUNCHED, REGISTERED},
        labels,
    },
    lifecycle::fixtures::{self, at, claim, merge, node, pod},
    model::{
        CapacityType, Catalog, ClusterSnapshot, InstanceType, Offering, Operator, Overhead, Price, Requirement,
        Requirements, Resources, StateNode,
    },
    scheduling::{Effort, IndexedCatalog},
};
use k8s_openapi::api::core::v1::Pod;
use rstest::rstest;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

const GIB: i64 = 1 << 30;
const ZONES: [&str; 2] = ["zone-a", "zone-b"];

/// A type with `cpu` CPUs and four times as many GiB, on-demand at five cents per CPU and spot at two.
fn instance_type(name: &str, cpu: i64, cents: i64, spot: bool) -> Arc<InstanceType> {
    let mut offerings = Vec::new();
    for zone in ZONES {
        let kinds = [(CapacityType::Spot, cents * 4 / 10), (CapacityType::OnDemand, cents)];
        for (kind, cents) in kinds.into_iter().filter(|(kind, _)| spot || *kind == CapacityType::OnDemand) {
            offerings.push(Offering::new(zone, kind, Price::from_nanos(cents * 10_000_000)));
        }
    }
    let kinds: &[&str] = if spot { &["spot", "on-demand"] } else { &["on-demand"] };
    Arc::new(InstanceType {
        name: name.to_owned(),
        requirements: Requirements::from_iter([
            Requirement::new(labels::INSTANCE_TYPE, Operator::In, [name]),
            Requirement::new(labels::ZONE, Operator::In, ZONES),
            Requirement::new(labels::CAPACITY_TYPE, Operator::In, kinds.iter().copied()),
            Requirement::new(labels::ARCH, Operator::In, ["amd64"]),
            Requirement::new(labels::OS, Operator::In, ["linux"]),
        ]),
        offerings,
        capacity: capacity(cpu),
        overhead: Overhead::default(),
        listed: None,
    })
}

fn capacity(cpu: i64) -> Resources {
    Resources::from_iter([("cpu", cpu * 1000), ("memory", cpu * 4 * GIB), ("pods", 100)])
}

/// t2, t4, t8, t16: 10, 20, 40 and 80 cents an hour.
fn types() -> Vec<Arc<InstanceType>> {
    vec![
        instance_type("t16", 16, 80, true),
        instance_type("t2", 2, 10, true),
        instance_type("t4", 4, 20, true),
        instance_type("t8", 8, 40, true),
    ]
}

struct World {
    snapshot: ClusterSnapshot,
    catalog: IndexedCatalog,
    running: Vec<orchestration::CommandRecord>,
}

fn pool(change: &Value) -> NodePool {
    let mut base = json!({ "spec": {
        "disruption": { "budgets": [{ "nodes": "100%" }] },
        "template": { "spec": { "requirements": [
            { "key": labels::CAPACITY_TYPE, "operator": "In", "values": ["on-demand"] },
        ] } },
    } });
    merge(&mut base, change);
    fixtures::pool(&base)
}

impl World {
    fn new(pool: NodePool, machines: Vec<StateNode>) -> Self {
        let mut snapshot = fixtures::snapshot(machines, at(1000));
        snapshot.node_pools.insert("default".into(), Arc::new(pool));
        let mut world = Self { snapshot, catalog: IndexedCatalog::default(), running: Vec::new() };
        world.sell(types());
        world
    }

    /// From now on the pool can buy `types`.
    fn sell(&mut self, types: Vec<Arc<InstanceType>>) {
        let by_pool = BTreeMap::from([("default".into(), Arc::from(types))]);
        self.catalog = IndexedCatalog::new(Catalog { by_pool });
    }

    fn input(&self) -> DisruptionInput<'_> {
        DisruptionInput { snapshot: &self.snapshot, catalog: &self.catalog, running: &self.running }
    }

    fn decide(&self) -> DisruptionDecision {
        decide(&self.input())
    }
}

/// A machine of `type_name` in zone-a with pods of so many CPU thousandths each.
fn machine(name: &str, type_name: &str, kind: &str, pods: &[i64]) -> StateNode {
    changed(name, type_name, kind, pods, &json!({}), &json!({}))
}

fn on_demand(name: &str, type_name: &str, pods: &[i64]) -> StateNode {
    machine(name, type_name, "on-demand", pods)
}

fn changed(name: &str, type_name: &str, kind: &str, pods: &[i64], of_claim: &Value, of_node: &Value) -> StateNode {
    let of_labels = json!({
        labels::NODE_POOL: "default", labels::INSTANCE_TYPE: type_name, labels::ZONE: "zone-a", labels::CAPACITY_TYPE: kind,
        labels::ARCH: "amd64", labels::OS: "linux",
    });
    let mut claim_change = json!({ "metadata": { "name": format!("claim-{name}"), "labels": of_labels } });
    merge(&mut claim_change, of_claim);
    let mut claim = claim(&claim_change);
    for condition in [LAUNCHED, REGISTERED, INITIALIZED, CONSOLIDATABLE] {
        claim.set_true(condition, at(60));
    }
    let cpu = type_name.trim_start_matches('t').parse().unwrap_or(2);
    let amounts = json!(capacity(cpu).to_quantities());
    let mut node_change = json!({
        "metadata": { "name": name, "labels": of_labels },
        "spec": { "taints": [] },
        "status": { "capacity": amounts, "allocatable": amounts },
    });
    for label in [labels::REGISTERED, labels::INITIALIZED] {
        node_change["metadata"]["labels"][label] = json!("true");
    }
    merge(&mut node_change, of_node);
    let pods = pods
        .iter()
        .enumerate()
        .map(|(index, cpu)| Arc::new(pod_of(&format!("{name}-{index}"), *cpu, &json!({}))))
        .collect();
    StateNode { pods, ..fixtures::machine(claim, Some(node(&node_change))) }
}

fn pod_of(name: &str, cpu: i64, change: &Value) -> Pod {
    let mut base = json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [
        { "name": "c", "resources": { "requests": { "cpu": format!("{cpu}m") } } },
    ] } });
    merge(&mut base, change);
    pod(name, &base)
}

fn with_pod(mut machine: StateNode, cpu: i64, change: &Value) -> StateNode {
    let name = format!("{}-special", machine.name());
    machine.pods.push(Arc::new(pod_of(&name, cpu, change)));
    machine
}

/// The commands as text without their ids.
fn commands(decision: &DisruptionDecision) -> Vec<String> {
    let text = |command: &Command| {
        let nodes: Vec<&str> = command.candidates.iter().map(|own| own.node.as_str()).collect();
        let new: Vec<&str> = command.replacements.iter().map(|own| own.launch.instance_type.as_str()).collect();
        format!("{} {} [{}] -> [{}]", command.method.code(), command.decision(), nodes.join(" "), new.join(" "))
    };
    decision.commands.iter().map(text).collect()
}

fn kept(decision: &DisruptionDecision) -> Vec<String> {
    decision.kept.iter().map(|(name, why)| format!("{name} {}", why.code())).collect()
}

fn one(machine: StateNode) -> DisruptionDecision {
    World::new(pool(&json!({})), vec![machine]).decide()
}

#[rstest]
#[case::unmanaged(StateNode { node_claim: None, ..on_demand("a", "t2", &[]) }, "a unmanaged")]
#[case::no_node(StateNode { node: None, ..on_demand("a", "t2", &[]) }, "claim-a no-node")]
#[case::not_initialized(
    changed("a", "t2", "on-demand", &[], &json!({}), &json!({ "metadata": { "labels": { labels::INITIALIZED: "" } } })), "a not-initialized"
)]
#[case::marked(StateNode { marked_for_deletion: true, ..on_demand("a", "t2", &[]) }, "a going-away")]
#[case::deleting(
    changed("a", "t2", "on-demand", &[], &json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:10:00Z" } }), &json!({})), "a going-away"
)]
#[case::nominated(StateNode { nominated_until: Some(at(1001)), ..on_demand("a", "t2", &[]) }, "a nominated")]
#[case::node_asks(
    changed("a", "t2", "on-demand", &[], &json!({}), &json!({ "metadata": { "annotations": { labels::DO_NOT_DISRUPT: "true" } } })), "a node-do-not-disrupt"
)]
#[case::no_pool(
    changed("a", "t2", "on-demand", &[], &json!({ "metadata": { "labels": null } }), &json!({ "metadata": { "labels": { labels::NODE_POOL: "other" } } })),
    "a node-pool-not-found"
)]
#[case::pod_asks(
    with_pod(on_demand("a", "t2", &[]), 100, &json!({ "metadata": { "annotations": { labels::DO_NOT_DISRUPT: "true" } } })), "a do-not-disrupt"
)]
#[case::daemon_pod_asks(
    with_pod(on_demand("a", "t2", &[]), 100, &json!({ "metadata": {
        "annotations": { labels::DO_NOT_DISRUPT: "true" },
        "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "d" }],
    } })), "a do-not-disrupt"
)]
fn machines_that_are_no_candidates(#[case] machine: StateNode, #[case] expected: &str) {
    let decision = one(machine);
    assert_eq!((commands(&decision), kept(&decision)), (vec![], vec![expected.to_owned()]));
}

#[test]
fn a_nomination_that_is_over_no_longer_counts_and_its_end_is_when_to_look_again() {
    let nominated = |until| StateNode { nominated_until: Some(at(until)), ..on_demand("a", "t2", &[]) };
    assert_eq!(one(nominated(1005)).next_check, Some(at(1005)));
    assert_eq!(commands(&one(nominated(1000))), ["emptiness delete [a] -> []"]);
}

#[test]
fn what_keeps_a_machine_is_told_to_its_node_and_claim() {
    let asks = json!({ "metadata": { "annotations": { labels::DO_NOT_DISRUPT: "true" } } });
    let decision = one(with_pod(on_demand("a", "t2", &[]), 100, &asks));
    let told: Vec<String> =
        decision.events.iter().map(|event| format!("{:?} {} {}", event.about, event.reason, event.message)).collect();
    let text = "DisruptionBlocked Pod has \"karpenter.sh/do-not-disrupt\" annotation (Pod=default/a-special)";
    assert_eq!(told, [format!("Node(\"a\") {text}"), format!("NodeClaim(\"claim-a\") {text}")]);
}

#[test]
fn a_budget_of_zero_for_pods_keeps_a_machine_and_tells_which() {
    let mut world = World::new(pool(&json!({})), vec![on_demand("a", "t4", &[100]), on_demand("b", "t4", &[100])]);
    let budget = json!({
        "metadata": { "name": "web", "namespace": "default" },
        "spec": { "selector": { "matchLabels": { "app": "web" } }, "maxUnavailable": 0 },
        "status": { "disruptionsAllowed": 0, "currentHealthy": 2, "desiredHealthy": 2, "expectedPods": 2 },
    });
    world.snapshot.pod_disruption_budgets.push(Arc::new(serde_json::from_value(budget).unwrap()));
    let decision = world.decide();
    assert_eq!((commands(&decision), kept(&decision)), (vec![], vec!["a pdb".to_owned(), "b pdb".to_owned()]));
    let why = decision.kept[0].1.to_string();
    assert_eq!(why, "Pdb prevents pod evictions (Pod=default/a-0, PodDisruptionBudget=default/web)");
}

#[rstest]
#[case::all(json!({}), &["emptiness delete [c a b] -> []"], &[])]
#[case::ten_percent_rounds_up(
    json!({ "spec": { "disruption": { "budgets": [{ "nodes": "10%" }] } } }), &["emptiness delete [c] -> []"], &["a budget", "b budget"]
)]
#[case::none(json!({ "spec": { "disruption": { "budgets": [{ "nodes": "0" }] } } }), &[], &["a budget", "b budget", "c budget"])]
#[case::other_reason(
    json!({ "spec": { "disruption": { "budgets": [{ "nodes": "0", "reasons": ["Drifted"] }] } } }), &["emptiness delete [c a b] -> []"], &[]
)]
#[case::never(
    json!({ "spec": { "disruption": { "consolidateAfter": "Never" } } }), &[],
    &["a consolidation-disabled", "b consolidation-disabled", "c consolidation-disabled"]
)]
#[case::when_empty(json!({ "spec": { "disruption": { "consolidationPolicy": "WhenEmpty" } } }), &["emptiness delete [c a b] -> []"], &[])]
#[case::static_pool(json!({ "spec": { "replicas": 3 } }), &[], &["a static-pool", "b static-pool", "c static-pool"])]
fn empty_machines_go_the_dearest_first_as_budgets_allow(
    #[case] change: Value,
    #[case] expected: &[&str],
    #[case] stay: &[&str],
) {
    let machines = vec![on_demand("a", "t2", &[]), on_demand("b", "t2", &[]), on_demand("c", "t4", &[])];
    let decision = World::new(pool(&change), machines).decide();
    assert_eq!(
        (commands(&decision), kept(&decision)),
        (expected.iter().map(ToString::to_string).collect(), stay.iter().map(ToString::to_string).collect())
    );
}

#[test]
fn machines_that_are_not_ready_or_going_use_up_the_budget() {
    let unready = changed(
        "a",
        "t2",
        "on-demand",
        &[],
        &json!({}),
        &json!({ "status": { "conditions": [{ "type": "Ready", "status": "False" }] } }),
    );
    let machines =
        vec![unready, on_demand("b", "t2", &[]), StateNode { marked_for_deletion: true, ..on_demand("c", "t2", &[]) }];
    let decision =
        World::new(pool(&json!({ "spec": { "disruption": { "budgets": [{ "nodes": "2" }] } } })), machines).decide();
    assert_eq!(commands(&decision), Vec::<String>::new());
    let of_empty = decision.budgets.iter().find(|own| own.reason == crate::api::DisruptionReason::Empty).unwrap();
    assert_eq!((of_empty.total, of_empty.allowed, of_empty.disrupting, of_empty.left()), (3, 2, 2, 0));
}

#[test]
fn a_blocking_budget_is_told_to_the_pool() {
    let decision = World::new(
        pool(&json!({ "spec": { "disruption": { "budgets": [{ "nodes": "0" }] } } })),
        vec![on_demand("a", "t2", &[])],
    )
    .decide();
    let messages: Vec<&str> = decision.events.iter().map(|event| event.message.as_str()).collect();
    assert!(
        messages.contains(&"No allowed disruptions for disruption reason Empty due to blocking budget"),
        "{messages:?}"
    );
}

#[test]
fn a_machine_that_pods_touched_a_moment_ago_settles_first() {
    let mut settling = on_demand("a", "t2", &[]);
    Arc::make_mut(settling.node_claim.as_mut().unwrap()).clear_condition(CONSOLIDATABLE);
    assert_eq!(kept(&one(settling)), ["a settling"]);
}

#[rstest]
#[case::room_elsewhere(vec![on_demand("a", "t4", &[500]), on_demand("b", "t4", &[3000])], &["single-node delete [a] -> []"])]
#[case::dear_machine_for_a_small_pod(vec![on_demand("a", "t8", &[1500])], &["single-node replace [a] -> [t2]"])]
#[case::right_size(vec![on_demand("a", "t2", &[1500])], &[])]
#[case::several_become_one(
    vec![on_demand("a", "t4", &[1500]), on_demand("b", "t4", &[1500]), on_demand("c", "t4", &[500])], &["multi-node delete [a b] -> []"]
)]
#[case::full(vec![on_demand("a", "t4", &[3500]), on_demand("b", "t4", &[3500])], &[])]
fn underused_machines_go_or_become_cheaper(#[case] machines: Vec<StateNode>, #[case] expected: &[&str]) {
    let decision = World::new(pool(&json!({})), machines).decide();
    assert_eq!(commands(&decision), expected);
}

#[test]
fn a_deleted_machine_tells_where_its_pods_go_and_what_it_saves() {
    let decision =
        World::new(pool(&json!({})), vec![on_demand("a", "t4", &[500]), on_demand("b", "t4", &[3000])]).decide();
    let command = &decision.commands[0];
    assert_eq!(command.savings(), "0.2".parse().unwrap());
    let moves: Vec<String> = command.moves.iter().map(|step| format!("{} {:?}", step.pod, step.to)).collect();
    assert_eq!(moves, ["default/a-0 Existing(\"b\")"]);
    let text = command.to_string();
    assert!(
        text.starts_with("Underutilized/") && text.ends_with(": delete: nodepools=[default]: [a] (savings: $0.20)"),
        "{text}"
    );
    assert_eq!(decision.next_check, Some(at(1015)));
}

#[rstest]
#[case::when_empty(json!({ "spec": { "disruption": { "consolidationPolicy": "WhenEmpty" } } }), "a policy-when-empty")]
#[case::never(json!({ "spec": { "disruption": { "consolidateAfter": "Never" } } }), "a consolidation-disabled")]
#[case::budget(json!({ "spec": { "disruption": { "budgets": [{ "nodes": "0" }] } } }), "a budget")]
#[case::too_small_for_its_pods(json!({ "spec": { "limits": { "cpu": "1" } } }), "a pods-do-not-fit")]
fn pools_hold_consolidation_back(#[case] change: Value, #[case] expected: &str) {
    let decision = World::new(pool(&change), vec![on_demand("a", "t8", &[1500])]).decide();
    assert_eq!((commands(&decision), kept(&decision)), (vec![], vec![expected.to_owned()]));
}

#[test]
fn a_machine_that_nothing_cheaper_can_replace_names_the_cheapest() {
    let decision = one(on_demand("a", "t2", &[1500]));
    let (name, why) = &decision.kept[0];
    let text = "Can't replace with a cheaper node (t2 $0.1000 is the cheapest that would do; now $0.1000)";
    assert_eq!((name.as_str(), why.code(), why.to_string().as_str()), ("a", "not-cheaper", text));
}

#[rstest]
#[case::unknown_type(changed("a", "x9", "on-demand", &[100], &json!({}), &json!({})), "a instance-type-not-found")]
#[case::no_zone(changed("a", "t2", "on-demand", &[100], &json!({}), &json!({ "metadata": { "labels": { labels::ZONE: "" } } })), "a missing-label")]
fn machines_whose_price_is_not_known_are_not_consolidated(#[case] mut machine: StateNode, #[case] expected: &str) {
    let node = Arc::make_mut(machine.node.as_mut().unwrap());
    node.metadata.labels.as_mut().unwrap().retain(|_, value| !value.is_empty());
    assert_eq!(kept(&one(machine)), [expected]);
}

/// A pool that may buy either, with so many types below t8.
fn spot_world(gate: bool, cheaper_types: usize) -> World {
    let either = json!({ "spec": { "template": { "spec": { "requirements": [] } } } });
    let mut world = World::new(pool(&either), vec![machine("a", "t8", "spot", &[1500])]);
    world.snapshot.settings.feature_gates.spot_to_spot_consolidation = gate;
    let mut types: Vec<_> =
        (0..cheaper_types).map(|index| instance_type(&format!("s{index:02}"), 2, 10, true)).collect();
    types.push(instance_type("t8", 8, 40, true));
    world.sell(types);
    world
}

#[rstest]
#[case::gate_off(spot_world(false, 20), "a spot-to-spot-disabled")]
#[case::too_few(spot_world(true, 14), "a spot-to-spot-too-few")]
fn spot_is_not_lightly_replaced_by_spot(#[case] world: World, #[case] expected: &str) {
    let decision = world.decide();
    assert_eq!((commands(&decision), kept(&decision)), (vec![], vec![expected.to_owned()]));
}

#[test]
fn spot_is_replaced_by_spot_where_there_is_a_choice_of_fifteen() {
    let decision = spot_world(true, 20).decide();
    let planned = &decision.commands[0].replacements[0];
    assert_eq!((planned.instance_types.len(), planned.launch.capacity_type), (15, CapacityType::Spot));
    assert!(!planned.requirements.get(labels::CAPACITY_TYPE).unwrap().has("on-demand"));
}

#[test]
fn on_demand_becomes_spot_and_stays_pinned_to_it() {
    let either = json!({ "spec": { "template": { "spec": { "requirements": [] } } } });
    let decision = World::new(pool(&either), vec![on_demand("a", "t8", &[1500])]).decide();
    let planned = &decision.commands[0].replacements[0];
    assert_eq!((planned.launch.capacity_type, planned.launch.instance_type.as_str()), (CapacityType::Spot, "t2"));
    assert!(!planned.requirements.get(labels::CAPACITY_TYPE).unwrap().has("on-demand"));
    assert!(decision.events.iter().any(|event| event.reason == "ConsolidationCandidate"
        && event.message == "Consolidation candidate: replace: [a] -> [1 replacement] (savings: $0.36)"));
}

/// Three machines of three CPUs each cannot become two, and one of the same kind would not hold their pods.
#[test]
fn several_machines_become_one_larger_machine_where_that_is_cheaper() {
    let machines = vec![on_demand("a", "t8", &[3500]), on_demand("b", "t8", &[3600]), on_demand("c", "t4", &[3500])];
    let mut world = World::new(pool(&json!({})), machines);
    let large = instance_type("l11", 11, 30, false);
    world.sell([vec![large], types()].concat());
    assert_eq!(commands(&world.decide()), ["multi-node replace [a b c] -> [l11]"]);
}

#[test]
fn a_pod_that_fits_nowhere_keeps_its_machine() {
    let apart = json!({ "spec": { "nodeSelector": { "example.com/rack": "nowhere" } } });
    assert_eq!(kept(&one(with_pod(on_demand("a", "t8", &[]), 100, &apart))), ["a pods-do-not-fit"]);
}

#[test]
fn balanced_lets_through_what_is_worth_it() {
    let balanced = json!({ "spec": { "disruption": { "consolidationPolicy": "Balanced" } } });
    let machines = vec![on_demand("a", "t4", &[500]), on_demand("b", "t4", &[1000, 1000, 1000])];
    let decision = World::new(pool(&balanced), machines).decide();
    assert_eq!(commands(&decision), ["single-node delete [a] -> []"]);
}

#[test]
fn balanced_keeps_what_is_not_worth_it() {
    let balanced = json!({ "spec": { "disruption": { "consolidationPolicy": "Balanced" } } });
    // Replacing t4 by t2 saves 10 of 100 cents, and moves eleven of thirteen shares.
    let machines = vec![on_demand("a", "t4", &[100; 10]), on_demand("b", "t16", &[15500])];
    let decision = World::new(pool(&balanced), machines).decide();
    assert_eq!(
        (commands(&decision), kept(&decision)),
        (vec![], vec!["a unbalanced".to_owned(), "b not-cheaper".to_owned()])
    );
}

#[test]
fn a_drifted_machine_is_replaced_whatever_it_costs() {
    let mut drifted = on_demand("a", "t2", &[1500]);
    Arc::make_mut(drifted.node_claim.as_mut().unwrap()).set_true_with(
        DRIFTED,
        "NodePoolDrifted",
        "NodePoolDrifted",
        at(500),
    );
    let decision = one(drifted);
    assert_eq!(commands(&decision), ["drift replace [a] -> [t2]"]);
    assert_eq!(decision.commands[0].validate_at(), None);
}

#[test]
fn a_drifted_machine_with_a_grace_period_goes_in_spite_of_its_pods_wishes() {
    let asks = json!({ "metadata": { "annotations": { labels::DO_NOT_DISRUPT: "true" } } });
    let decide = |spec: Value| {
        let mut drifted = with_pod(changed("a", "t2", "on-demand", &[], &spec, &json!({})), 100, &asks);
        Arc::make_mut(drifted.node_claim.as_mut().unwrap()).set_true_with(DRIFTED, "AMIDrift", "AMIDrift", at(500));
        one(drifted)
    };
    assert_eq!(commands(&decide(json!({ "spec": { "terminationGracePeriod": "1h" } }))), ["drift replace [a] -> [t2]"]);
    assert_eq!(kept(&decide(json!({}))), ["a do-not-disrupt"]);
}

#[test]
fn more_is_found_while_a_command_waits_to_be_looked_at_again() {
    let mut world = World::new(pool(&json!({})), vec![on_demand("a", "t2", &[]), on_demand("b", "t2", &[])]);
    let mut command = world.decide().commands.remove(0);
    command.candidates.truncate(1);
    world.running.push(orchestration::CommandRecord::new(command));
    let decision = world.decide();
    assert_eq!(decision.next_check, Some(at(1015)));
    assert_eq!(
        (commands(&decision), kept(&decision)),
        (vec!["emptiness delete [b] -> []".to_owned()], vec!["a in-command".to_owned()])
    );
}

#[test]
fn the_same_input_gives_the_same_command_and_another_time_another_id() {
    let mut world = World::new(pool(&json!({})), vec![on_demand("a", "t2", &[])]);
    let first = world.decide().commands.remove(0).id;
    assert_eq!(world.decide().commands.remove(0).id, first);
    world.snapshot.now = at(2000);
    assert_ne!(world.decide().commands.remove(0).id, first);
}

fn proposed(world: &World) -> Command {
    world.decide().commands.remove(0)
}

#[test]
fn of_empty_machines_those_that_still_are_go() {
    let mut world = World::new(pool(&json!({})), vec![on_demand("a", "t2", &[]), on_demand("b", "t2", &[])]);
    let command = proposed(&world);
    world.snapshot.nodes[0] = on_demand("a", "t2", &[100]);
    let again = revalidate(&command, &world.input()).unwrap();
    assert_eq!(again.candidates.iter().map(|own| own.node.as_str()).collect::<Vec<_>>(), ["b"]);
    world.snapshot.nodes[1] = StateNode { nominated_until: Some(at(2000)), ..on_demand("b", "t2", &[]) };
    let rejected = revalidate(&command, &world.input()).unwrap_err();
    assert_eq!(rejected.code(), "churn");
}

#[test]
fn a_consolidation_is_given_up_when_its_pods_need_something_else() {
    let mut world = World::new(pool(&json!({})), vec![on_demand("a", "t4", &[500]), on_demand("b", "t4", &[3000])]);
    let command = proposed(&world);
    assert!(revalidate(&command, &world.input()).is_ok());
    world.snapshot.nodes[1] = on_demand("b", "t4", &[3000, 900]);
    assert_eq!(revalidate(&command, &world.input()).unwrap_err(), Rejected::Scheduling(None));
    let frozen = pool(&json!({ "spec": { "disruption": { "budgets": [{ "nodes": "0" }] } } }));
    world.snapshot.node_pools.insert("default".into(), Arc::new(frozen));
    assert_eq!(revalidate(&command, &world.input()).unwrap_err().code(), "budget");
}

#[test]
fn a_full_machine_is_kept_without_a_simulation_and_for_the_same_reason() {
    let world = World::new(pool(&json!({})), vec![on_demand("a", "t4", &[3500]), on_demand("b", "t4", &[3500])]);
    let input = world.input();
    let pass = decide::Pass::new(&input, None);
    for candidate in &pass.survey.candidates {
        let by_bound = pass.bound().objection(&[candidate]).unwrap();
        let simulated = pass.simulator().without(&[candidate], Effort::Quick).unwrap().planned.remove(0);
        let rules = replacement::Rules { multi: false, spot_to_spot: false, choice_of_spot: true };
        let by_simulation = replacement::all_cheaper(vec![simulated], &[candidate], rules).unwrap_err();
        assert_eq!(by_bound, by_simulation);
    }
}

proptest::proptest! {
    /// Whatever the pods and machines, the bound rules nothing out that a simulation finds.
    #[test]
    fn the_bound_errs_on_one_side_only(machines in proptest::collection::vec((0_usize..4, proptest::collection::vec(1_i64..4000, 1..5)), 1..5)) {
        let names = ["t2", "t4", "t8", "t16"];
        let nodes = machines.iter().enumerate().map(|(index, (size, pods))| on_demand(&format!("n{index}"), names[*size], pods));
        let world = World::new(pool(&json!({})), nodes.collect());
        let input = world.input();
        let pass = decide::Pass::new(&input, None);
        for candidate in &pass.survey.candidates {
            let Some(_) = pass.bound().objection(&[candidate]) else { continue };
            let rules = replacement::Rules { multi: false, spot_to_spot: false, choice_of_spot: true };
            if let Ok(found) = pass.simulator().without(&[candidate], Effort::Quick) {
                proptest::prop_assert!(!found.planned.is_empty(), "{} can be deleted", candidate.node);
                let single = found.planned.len() == 1;
                let cheaper = found.planned.into_iter().next().map(|planned| replacement::all_cheaper(vec![planned], &[candidate], rules));
                proptest::prop_assert!(!single || cheaper.is_some_and(|cheaper| cheaper.is_err()), "{} can be replaced", candidate.node);
            }
        }
    }
}

#[test]
fn consolidation_sleeps_while_all_that_it_looks_at_is_the_same() {
    let mut world = World::new(pool(&json!({})), vec![on_demand("a", "t4", &[3500]), on_demand("b", "t4", &[3500])]);
    let mut memory = ConsolidationMemory::default();
    let first = decide_remembering(&world.input(), &mut memory);
    assert_eq!(kept(&first), ["a not-cheaper", "b not-cheaper"]);
    assert_eq!(first.next_check, Some(at(1300)));
    // A heartbeat is not looked at: what was found before is told again.
    Arc::make_mut(world.snapshot.nodes[0].node.as_mut().unwrap()).metadata.resource_version = Some("2".to_owned());
    world.snapshot.now = at(1299);
    assert_eq!(kept(&decide_remembering(&world.input(), &mut memory)), kept(&first));
    // A pod that has gone is.
    world.snapshot.nodes[1].pods.clear();
    assert_eq!(commands(&decide_remembering(&world.input(), &mut memory)), ["emptiness delete [b] -> []"]);
    world.snapshot.nodes[1] = on_demand("b", "t4", &[100]);
    assert_eq!(commands(&decide_remembering(&world.input(), &mut memory)), ["single-node delete [a] -> []"]);
}

#[test]
fn a_few_machines_are_looked_at_again_when_something_is_new_or_after_a_while() {
    let machines = vec![on_demand("a", "t4", &[1000]), on_demand("b", "t4", &[1000])];
    let mut world = World::new(pool(&json!({})), machines);
    let mut memory = ConsolidationMemory::default();
    let few = {
        let pass = decide::Pass::new(&world.input(), None);
        let few = pass.survey.candidates.clone();
        let known = memory.few(&pass);
        assert!(!known.has_tried(&few));
        known.has_failed(&few, at(1000));
        assert!(known.has_tried(&few));
        assert!(!known.has_tried(&few[..1]));
        let mut with_another = few.clone();
        with_another[0].pods.push(Arc::new(pod_of("new", 100, &json!({}))));
        assert!(!known.has_tried(&with_another));
        few
    };
    let has_tried = |world: &World| memory.clone().few(&decide::Pass::new(&world.input(), None)).has_tried(&few);
    world.snapshot.now = at(1000 + 29 * 60);
    assert!(has_tried(&world));
    world.snapshot.now = at(1000 + 30 * 60);
    assert!(!has_tried(&world));
    world.snapshot.now = at(1000);
    world.sell(types());
    assert!(!has_tried(&world), "prices may be others");
}

#[test]
fn cheaper_types_wake_consolidation() {
    let mut world = World::new(pool(&json!({})), vec![on_demand("a", "t2", &[1500])]);
    let mut memory = ConsolidationMemory::default();
    assert_eq!(commands(&decide_remembering(&world.input(), &mut memory)), Vec::<String>::new());
    let mut cheaper = types();
    cheaper.insert(0, instance_type("n2", 2, 8, false));
    world.sell(cheaper);
    assert_eq!(commands(&decide_remembering(&world.input(), &mut memory)), ["single-node replace [a] -> [n2]"]);
}

/// What can be bought is kept between passes, for as long as it is the same.
#[test]
fn a_pool_that_allows_more_wakes_consolidation() {
    let only_t4 = json!({ "spec": { "template": { "spec": { "requirements": [
        { "key": labels::CAPACITY_TYPE, "operator": "In", "values": ["on-demand"] },
        { "key": labels::INSTANCE_TYPE, "operator": "In", "values": ["t4"] },
    ] } } } });
    let mut world = World::new(pool(&only_t4), vec![on_demand("a", "t4", &[1500])]);
    let mut memory = ConsolidationMemory::default();
    assert_eq!(commands(&decide_remembering(&world.input(), &mut memory)), Vec::<String>::new());
    world.snapshot.node_pools.insert("default".into(), Arc::new(pool(&json!({}))));
    assert_eq!(commands(&decide_remembering(&world.input(), &mut memory)), ["single-node replace [a] -> [t2]"]);
}

/// A pass that may try one machine at a time gets round to each of them, and to the one that can be replaced.
#[test]
fn a_pass_that_has_to_stop_goes_on_where_it_stopped() {
    // Each is full, so that only a simulation tells; the pods of the last could do with less.
    let mut machines: Vec<StateNode> =
        ["a", "b", "c"].into_iter().map(|name| on_demand(name, "t4", &[1100, 1100])).collect();
    machines.push(on_demand("d", "t4", &[500, 500, 500]));
    let apart = json!({ "spec": { "nodeSelector": { labels::INSTANCE_TYPE: "t4" } } });
    for machine in machines.iter_mut().take(3) {
        *machine = with_pod(machine.clone(), 1500, &apart);
    }
    let world = World::new(pool(&json!({})), machines);
    let mut memory = ConsolidationMemory::default();
    let mut passes = 0;
    let found = loop {
        passes += 1;
        let decision = decide_within(&world.input(), &mut memory, 1);
        if !decision.commands.is_empty() || passes > 8 {
            break commands(&decision);
        }
        assert_eq!(decision.next_check, Some(world.snapshot.now), "a pass that stopped goes on at once");
    };
    assert_eq!(found, ["single-node replace [d] -> [t2]"], "after {passes} passes");
}

#[test]
fn what_came_as_a_replacement_is_not_replaced_again_at_once() {
    let replaced = json!({ "metadata": {
        "annotations": { labels::REPLACEMENT_FOR: "Underutilized" }, "creationTimestamp": "2026-01-01T00:10:00Z",
    } });
    let machine = changed("a", "t4", "on-demand", &[500], &replaced, &json!({}));
    let mut world = World::new(pool(&json!({})), vec![machine]);
    assert_eq!(kept(&world.decide()), ["a just-replaced"]);
    world.snapshot.now = at(1500);
    let command = world.decide().commands.remove(0);
    assert_eq!(
        command.replacements[0].annotations.get(labels::REPLACEMENT_FOR).map(String::as_str),
        Some("Underutilized")
    );
}
