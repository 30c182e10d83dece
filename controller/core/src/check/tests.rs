use super::violations;
use crate::{
    model::{Operator, Requirement},
    scheduling::{
        Prepared, Results, SchedulingInput,
        fixtures::{World, pod, pool},
        solve,
    },
};
use rstest::rstest;
use serde_json::json;
use std::sync::Arc;

/// Two pods, one of them in zone-b, on a node and a claim.
fn world() -> World {
    let mut world = World::new(&[pool("default", &json!({"limits": {"cpu": "8"}}))]);
    world.add_node(
        "old",
        json!({"topology.kubernetes.io/zone": "zone-a"}),
        json!({"cpu": "1", "memory": "2Gi", "pods": "9"}),
        &[],
    );
    world.add_pod(pod("big", "1500m", "1Gi", &json!({"nodeSelector": {"topology.kubernetes.io/zone": "zone-b"}})));
    world.add_pod(pod("small", "500m", "1Gi", &json!({})));
    world
}

#[rstest]
#[case::lost(|results: &mut Results| results.placements.clear(), "accounted: `default/small` is not decided upon")]
#[case::twice(
    |results: &mut Results| { let pods = results.placements[0].pods.clone(); results.planned[0].pods.extend(pods); },
    "accounted: `default/small` is decided upon 2 times")]
#[case::wrong_zone(
    |results: &mut Results| { let pods = std::mem::take(&mut results.planned[0].pods); results.placements[0].pods.extend(pods); },
    "requirements: `default/big` does not accept the labels of `old`")]
#[case::too_much(
    |results: &mut Results| { let pods = std::mem::take(&mut results.planned[0].pods); results.placements[0].pods.extend(pods); },
    "fits: `old` has 1000 of `cpu`")]
#[case::open_zone(
    |results: &mut Results| { results.planned[0].requirements.remove("topology.kubernetes.io/zone"); },
    "requirements: `default/big` does not accept the labels of `default#0`")]
#[case::wrong_price(
    |results: &mut Results| results.planned[0].cheapest_price = "0.01".parse().unwrap(),
    "claims: `default#0` says that it costs $0.0100")]
#[case::wrong_order(|results: &mut Results| Arc::make_mut(&mut results.planned[0].instance_types).reverse(), "after dearer types")]
#[case::more_types(
    |results: &mut Results| {
        results.planned[0].requirements.remove("node.kubernetes.io/instance-type");
        results.planned[0].requirements.add(Requirement::new("node.kubernetes.io/instance-type", Operator::In, ["c2"]));
    },
    "does not require just the instance types that it names")]
#[case::over_limits(
    |results: &mut Results| { let claim = results.planned[0].clone(); results.planned.extend(vec![claim; 8]); },
    "limits: `default` may hold 8000 of `cpu`")]
#[case::taint(
    |results: &mut Results| results.planned[0].taints.push(serde_json::from_value(json!({"key": "x", "effect": "NoSchedule"})).unwrap()),
    "taints: `default/big` does not tolerate `x:NoSchedule`")]
fn a_broken_answer_is_found_out(#[case] break_it: fn(&mut Results), #[case] expected: &str) {
    let world = world();
    let prepared = Prepared::new(&world.snapshot, &world.catalog);
    let input = SchedulingInput::new(&prepared, &world.pods);
    let mut results = solve(&input);
    assert_eq!(violations(&input, &results), []);
    break_it(&mut results);
    let found: Vec<String> = violations(&input, &results).iter().map(ToString::to_string).collect();
    assert!(found.iter().any(|own| own.contains(expected)), "{found:?}");
}

#[rstest]
#[case::apart("podAntiAffinity", "keeps `default/web-")]
#[case::spread("", "spread: `default/web-")]
fn pods_that_must_not_be_together_are_found(#[case] rule: &str, #[case] expected: &str) {
    let selector = json!({"matchLabels": {"app": "web"}});
    let spec = if rule.is_empty() {
        json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": selector}]})
    } else {
        json!({"affinity": {rule: {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": selector}]}}})
    };
    let mut world = World::new(&[pool("default", &json!({}))]);
    world.add_pod(pod("web-0", "500m", "1Gi", &spec)).add_pod(pod("web-1", "500m", "1Gi", &spec));
    let prepared = Prepared::new(&world.snapshot, &world.catalog);
    let input = SchedulingInput::new(&prepared, &world.pods);
    let mut results = solve(&input);
    assert_eq!(violations(&input, &results), []);
    let second = results.planned.pop().unwrap();
    results.planned[0].pods.extend(second.pods);
    let found: Vec<String> = violations(&input, &results).iter().map(ToString::to_string).collect();
    assert!(found.iter().any(|own| own.contains(expected)), "{found:?}");
}
