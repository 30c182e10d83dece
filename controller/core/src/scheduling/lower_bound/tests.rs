use super::{lower_bound, tight_lower_bound};
use crate::{
    api::labels,
    model::{CapacityType, InstanceType, Price, pod_requests},
    scheduling::{
        Prepared, SchedulingInput,
        fixtures::{World, ZONES, instance_type, pod, pool},
        solve,
    },
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A pod of a tiny problem: what it asks, and whether it shares a node with its like.
#[derive(Clone, Debug)]
struct Tiny {
    cpu: i64,
    gib: i64,
    zone: Option<usize>,
    on_demand: bool,
    alone: Option<bool>,
}

impl Tiny {
    fn pod(&self, index: usize) -> Value {
        let mut spec = json!({});
        if let Some(zone) = self.zone {
            spec["nodeSelector"][labels::ZONE] = json!(ZONES[zone]);
        }
        if self.on_demand {
            spec["nodeSelector"][labels::CAPACITY_TYPE] = json!("on-demand");
        }
        let mut pod = pod(&format!("p{index}"), &format!("{}m", self.cpu), &format!("{}Gi", self.gib), &spec);
        match self.alone {
            Some(true) => {
                pod["metadata"]["labels"]["app"] = json!("apart");
                pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
                    json!([{"topologyKey": labels::HOSTNAME, "labelSelector": {"matchLabels": {"app": "apart"}}}]);
            }
            Some(false) => pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 80, "hostPort": 80}]),
            None => {}
        }
        pod
    }
}

fn tiny() -> impl Strategy<Value = Tiny> {
    let zone = prop_oneof![3 => Just(None), 1 => (0usize..3).prop_map(Some)];
    let alone = prop_oneof![4 => Just(None), 1 => any::<bool>().prop_map(Some)];
    (1i64..30, 1i64..12, zone, proptest::bool::weighted(0.2), alone)
        .prop_map(|(cpu, gib, zone, on_demand, alone)| Tiny { cpu: cpu * 100, gib, zone, on_demand, alone })
}

/// The usual small types at prices that have no common measure, and other ones in each zone.
fn types(cents: [i64; 4]) -> Vec<InstanceType> {
    let sizes = [("c2", 2, 4), ("m2", 2, 8), ("m4", 4, 16), ("c8", 8, 16)];
    let mut types: Vec<InstanceType> =
        sizes.iter().zip(cents).map(|((name, cpu, gib), cents)| instance_type(name, *cpu, *gib, cents)).collect();
    for kind in &mut types {
        for (index, offering) in kind.offerings.iter_mut().enumerate() {
            offering.price = Price::from_nanos(offering.price.nanos() / 10 * (9 + (index as i64 * 7) % 5));
        }
    }
    types
}

/// The least that the pods cost on these types, by trying everything; `node` is the room of a node that exists in the first
/// zone.
fn least(pods: &[Tiny], types: &[InstanceType], node: Option<(i64, i64)>) -> f64 {
    let requests = |own: &Tiny| pod_requests(&serde_json::from_value(own.pod(0)).unwrap()).unwrap();
    let together = |mask: usize| -> Vec<&Tiny> {
        pods.iter().enumerate().filter(|(index, _)| mask >> index & 1 == 1).map(|(_, own)| own).collect()
    };
    let may_share = |group: &[&Tiny]| {
        [true, false].iter().all(|kind| group.iter().filter(|own| own.alone == Some(*kind)).count() <= 1)
    };
    let sum = |group: &[&Tiny], name: &str| group.iter().map(|own| requests(own).get(name)).sum::<i64>();
    let machine = |mask: usize| -> f64 {
        let group = together(mask);
        let offers = |kind: &InstanceType| {
            let there = kind.allocatable();
            let fits = ["cpu", "memory", "pods"].iter().all(|name| sum(&group, name) <= there.get(name));
            let allowed = kind.offerings.iter().filter(|own| {
                let zone = |pod: &&Tiny| pod.zone.is_none_or(|zone| ZONES[zone] == own.zone);
                let sold = |pod: &&Tiny| !pod.on_demand || own.capacity_type == CapacityType::OnDemand;
                fits && group.iter().all(zone) && group.iter().all(sold)
            });
            allowed.map(|own| own.price.dollars()).fold(f64::INFINITY, f64::min)
        };
        if may_share(&group) { types.iter().map(offers).fold(f64::INFINITY, f64::min) } else { f64::INFINITY }
    };
    let onto_node = |mask: usize| {
        let group = together(mask);
        let (cpu, gib) = node.unwrap_or((0, 0));
        let fits = sum(&group, "cpu") <= cpu && sum(&group, "memory") <= gib << 30;
        mask == 0 || (fits && may_share(&group) && group.iter().all(|own| own.zone.is_none_or(|zone| zone == 0)))
    };
    let all = (1usize << pods.len()) - 1;
    let price: Vec<f64> = (0..=all).map(machine).collect();
    let mut best = vec![f64::INFINITY; all + 1];
    best[0] = 0.0;
    for mask in 1..=all {
        let mut part = mask;
        while part > 0 {
            best[mask] = best[mask].min(price[part] + best[mask ^ part]);
            part = (part - 1) & mask;
        }
    }
    (0..=all).filter(|part| onto_node(*part)).map(|part| best[all ^ part]).fold(f64::INFINITY, f64::min)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn no_packing_is_cheaper_than_the_tight_bound(
        pods in prop::collection::vec(tiny(), 1..7),
        cents in prop::array::uniform4(5i64..60),
        node in prop::option::of((5i64..40, 1i64..12)),
    ) {
        let types = types(cents);
        let mut world = World::new(&[pool("default", &json!({}))]);
        world.sell(&types);
        let node = node.map(|(cpu, gib)| (cpu * 100, gib));
        if let Some((cpu, gib)) = node {
            let node_labels = json!({labels::ZONE: ZONES[0], labels::CAPACITY_TYPE: "on-demand"});
            let allocatable = json!({"cpu": format!("{cpu}m"), "memory": format!("{gib}Gi"), "pods": "20"});
            world.add_node("node", node_labels, allocatable, &[]);
        }
        pods.iter().enumerate().for_each(|(index, own)| { world.add_pod(own.pod(index)); });
        let prepared = Prepared::new(&world.snapshot, &world.catalog);
        let input = SchedulingInput::new(&prepared, &world.pods);
        let results = solve(&input);
        prop_assume!(results.all_placed());
        let (bound, least) = (tight_lower_bound(&input, &world.pods).dollars(), least(&pods, &types, node));
        prop_assert!(bound <= least + 1e-9, "bound {bound}, least {least}");
        prop_assert!(least <= results.total_price().dollars() + 1e-9);
        if node.is_none() {
            let quick = lower_bound(&input, &results).dollars();
            prop_assert!(bound >= quick * 0.995, "tight {bound}, quick {quick}");
        }
    }
}

/// Pods of which two fill three quarters of a machine: in parts they would fit four on three machines, but they have no parts.
#[test]
fn the_tight_bound_knows_that_pods_have_no_parts() {
    let mut world = World::new(&[pool("default", &json!({}))]);
    world.sell(&[instance_type("c4", 4, 8, 40)]);
    (0..12).for_each(|index| {
        world.add_pod(pod(&format!("p{index}"), "1400m", "1Gi", &json!({})));
    });
    let prepared = Prepared::new(&world.snapshot, &world.catalog);
    let input = SchedulingInput::new(&prepared, &world.pods);
    let price = solve(&input).total_price().dollars();
    let bound = tight_lower_bound(&input, &world.pods).dollars();
    assert!((price - 6.0 * 0.16).abs() < 1e-9, "{price}");
    assert!(bound <= price && bound > price * 0.998, "{bound} of {price}");
}

/// A limit leaves room for one cheap machine; the other must be bought from the dear pool.
#[test]
fn the_tight_bound_knows_limits() {
    let cheap = pool(
        "cheap",
        &json!({"limits": {"cpu": 4}, "template": {"spec": {"requirements":
        [{"key": labels::CAPACITY_TYPE, "operator": "In", "values": ["spot"]}]}}}),
    );
    let dear = pool(
        "dear",
        &json!({"template": {"spec": {"requirements":
        [{"key": labels::CAPACITY_TYPE, "operator": "In", "values": ["on-demand"]}]}}}),
    );
    let mut world = World::new(&[cheap, dear]);
    world.sell(&[instance_type("c4", 4, 8, 40)]);
    (0..4).for_each(|index| {
        world.add_pod(pod(&format!("p{index}"), "1900m", "1Gi", &json!({})));
    });
    let prepared = Prepared::new(&world.snapshot, &world.catalog);
    let input = SchedulingInput::new(&prepared, &world.pods);
    let bound = tight_lower_bound(&input, &world.pods).dollars();
    assert!(bound <= 0.56 + 1e-9 && bound > 0.56 * 0.998, "{bound}");
}
