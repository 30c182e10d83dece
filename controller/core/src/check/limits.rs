//! No pool holds more than it may.

use super::Violation;
use crate::{
    model::{NODES, Resources},
    scheduling::{Results, SchedulingInput},
};

pub(super) fn check(input: &SchedulingInput<'_>, results: &Results, found: &mut Vec<Violation>) {
    let snapshot = input.prepared.snapshot();
    for (name, pool) in &snapshot.node_pools {
        let limits = Resources::of_capacity(&pool.spec.limits);
        let planned: Vec<_> = results.planned.iter().filter(|claim| claim.node_pool == *name).collect();
        if limits.is_empty() || planned.is_empty() {
            continue;
        }
        let mut held = Resources::new();
        for node in snapshot.nodes.iter().filter(|node| node.node_pool().as_ref() == Some(name)) {
            held.add(&node.capacity());
        }
        for claim in planned {
            let largest = claim.instance_types.iter().fold(Resources::new(), |most, kind| most.max(&kind.capacity));
            held.add(&largest.with(NODES, 1));
        }
        for (resource, limit) in limits.iter().filter(|(resource, limit)| held.get(resource) > *limit) {
            let detail = format!("may hold {limit} of `{resource}`, the plan comes to {}", held.get(resource));
            found.push(Violation::new("limits", name.to_string(), detail));
        }
    }
}
