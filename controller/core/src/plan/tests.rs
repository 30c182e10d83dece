use super::{Act, Manifests, PlanInput, plan};
use crate::scenario::Scenario;
use std::collections::BTreeSet;

const CATALOG: &str = "
zones: [zone-a, zone-b]
instanceTypes:
  - { name: small, capacity: { cpu: 2, memory: 8Gi, pods: 29 }, onDemand: 0.10, spot: 0.04 }
  - { name: large, capacity: { cpu: 8, memory: 32Gi, pods: 58 }, onDemand: 0.40, spot: 0.16 }
";

const POOL: &str = "
why: a plan
catalog: inline
nodePools:
  - metadata: { name: default }
    spec:
      disruption: { budgets: [{ nodes: \"1\" }] }
      template: { spec: { requirements: [{ key: karpenter.sh/capacity-type, operator: In, values: [on-demand] }] } }
";

fn planned(nodes: &str, removed: &[&str], apply: bool) -> (super::Plan, crate::scenario::World) {
    let world = Scenario::read(&format!("{POOL}{nodes}")).unwrap().world(CATALOG).unwrap();
    let mut applied = Manifests::default();
    if apply {
        let mut pool = world.snapshot.node_pools.values().next().unwrap().as_ref().clone();
        pool.spec.template.metadata.labels.insert("team".to_owned(), "new".to_owned());
        applied.node_pools.push(pool);
    }
    let removed: BTreeSet<String> = removed.iter().map(|name| (*name).to_owned()).collect();
    let input = PlanInput { snapshot: &world.snapshot, catalog: &world.catalog, applied: &applied, removed: &removed };
    (plan(&input), world)
}

#[test]
fn machines_go_one_after_the_other_under_a_budget_of_one_until_nothing_is_to_be_saved() {
    let nodes = "
nodes:
  - { name: a, pool: default, instanceType: large, zone: zone-a, pods: [{ name: web, requests: { cpu: 500m } }] }
  - { name: b, pool: default, instanceType: large, zone: zone-b, pods: [{ name: api, requests: { cpu: 500m } }] }
  - { name: c, pool: default, instanceType: large, zone: zone-b }
";
    let (plan, world) = planned(nodes, &[], false);
    assert_eq!(plan.price_before.to_string(), "$1.2000");
    assert_eq!(plan.price_after.to_string(), "$0.1000", "{:?}", plan.steps);
    assert!(!plan.unfinished && plan.homeless.is_empty());
    let pods: usize = plan.after.nodes.iter().map(|own| own.pods.len()).sum();
    assert_eq!(pods, 2);
    assert!(plan.takes(&world.snapshot).as_mins() >= 9, "a budget of one takes a round for each machine");
}

#[test]
fn a_changed_template_drifts_every_machine_and_each_is_replaced_once() {
    let nodes = "
nodes:
  - { name: a, pool: default, instanceType: small, zone: zone-a, pods: [{ name: web, requests: { cpu: 2 } }] }
  - { name: b, pool: default, instanceType: small, zone: zone-b, pods: [{ name: api, requests: { cpu: 2 } }] }
";
    let (plan, _) = planned(nodes, &[], true);
    assert_eq!(plan.drifted.len(), 2);
    let replaced = plan.steps.iter().filter(|step| matches!(&step.act, Act::Disrupt(..))).count();
    assert_eq!((replaced, plan.price_after), (2, plan.price_before), "{:?}", plan.steps);
    assert!(plan.after.nodes.iter().all(|own| own.name().starts_with("default-new-")));
}

#[test]
fn the_pods_of_a_removed_machine_get_another() {
    let nodes = "
nodes:
  - { name: a, pool: default, instanceType: small, zone: zone-a, pods: [{ name: web, requests: { cpu: 2 } }] }
  - { name: b, pool: default, instanceType: small, zone: zone-b, pods: [{ name: api, requests: { cpu: 2 } }] }
";
    let (plan, _) = planned(nodes, &["a"], false);
    assert!(matches!(&plan.steps[0].act, Act::Remove(name) if name == "a"));
    assert!(matches!(&plan.steps[1].act, Act::Launch { pods: 1, .. }), "{:?}", plan.steps);
    assert_eq!((plan.evictions(), plan.after.nodes.len()), (1, 2));
}

#[test]
fn an_overlay_is_applied_to_what_machines_cost_before_and_after() {
    let nodes = "
nodes:
  - { name: a, pool: default, instanceType: small, zone: zone-a, pods: [{ name: web, requests: { cpu: 2 } }] }
";
    let world = Scenario::read(&format!("{POOL}{nodes}")).unwrap().world(CATALOG).unwrap();
    let overlay = serde_json::json!({
        "apiVersion": "karpenter.sh/v1alpha1", "kind": "NodeOverlay", "metadata": {"name": "dear"},
        "spec": {"requirements": [{"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["small"]}], "price": "5"},
    });
    let applied = Manifests { node_overlays: vec![serde_json::from_value(overlay).unwrap()], ..Manifests::default() };
    let (snapshot, removed) = (&world.snapshot, BTreeSet::new());
    let plan = plan(&PlanInput { snapshot, catalog: &world.catalog, applied: &applied, removed: &removed });
    assert_eq!((plan.price_before.to_string(), plan.price_after.to_string()), ("$5.0000".into(), "$0.4000".into()));
}
