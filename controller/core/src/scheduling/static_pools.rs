//! Machines of pools that are to have a fixed number of them (spec core 2.19).

use super::{IndexedCatalog, PlannedNodeClaim, Prepared, SchedulingInput, pool::unready, solve};
use crate::{
    api::{NodePool, hash, labels},
    model::{ClusterSnapshot, NODES, NodePoolName, PODS, Resources, StateNode, WhyNot},
};
use k8s_openapi::{
    api::core::v1::{Pod, PodSpec, Toleration},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use std::{collections::BTreeMap, sync::Arc};

/// What static pools lack.
#[derive(Clone, Debug, Default)]
pub struct StaticShortage {
    /// The machines to launch, by pool.
    pub planned: Vec<PlannedNodeClaim>,
    /// Pools that get fewer than they lack: how many fewer, and why.
    pub short: Vec<(NodePoolName, u64, WhyNot)>,
}

/// The machines that static pools lack; nothing unless [`crate::model::FeatureGates::static_capacity`] is on. Machines that a
/// command has count as being there until they are deleted: what comes in their place is the command's.
pub fn static_shortage(snapshot: &ClusterSnapshot, catalog: &IndexedCatalog) -> StaticShortage {
    let mut shortage = StaticShortage::default();
    for (name, pool) in static_pools(snapshot) {
        let there = machines_of(snapshot, name).filter(|(_, own)| !is_deleted(own)).count();
        let lacking = wanted(pool).saturating_sub(there) as u64;
        if lacking == 0 || unready(pool).is_some() {
            continue;
        }
        let allowed = lacking.min(nodes_left(snapshot, name, pool));
        let machine = if allowed > 0 { static_machine(snapshot, catalog, name) } else { Err(WhyNot::NodeLimit) };
        match machine {
            Ok(machine) => {
                shortage.planned.extend((0..allowed).map(|_| machine.clone()));
                if allowed < lacking {
                    shortage.short.push((name.clone(), lacking - allowed, WhyNot::NodeLimit));
                }
            }
            Err(why) => shortage.short.push((name.clone(), lacking, why)),
        }
    }
    shortage
}

/// The static pools that are looked after.
pub(crate) fn static_pools(snapshot: &ClusterSnapshot) -> impl Iterator<Item = (&NodePoolName, &Arc<NodePool>)> {
    let looked_after = |pool: &NodePool| pool.spec.is_static() && pool.metadata.deletion_timestamp.is_none();
    let on = snapshot.settings.feature_gates.static_capacity;
    snapshot.node_pools.iter().filter(move |(_, pool)| on && looked_after(pool))
}

/// How many machines a static pool is to have.
pub(crate) fn wanted(pool: &NodePool) -> usize {
    usize::try_from(pool.spec.replicas.unwrap_or(0)).unwrap_or(0)
}

/// The machines of a pool that have a NodeClaim, with their positions in the snapshot.
pub(crate) fn machines_of<'a>(
    snapshot: &'a ClusterSnapshot,
    pool: &'a NodePoolName,
) -> impl Iterator<Item = (usize, &'a StateNode)> {
    let own = |machine: &StateNode| machine.is_managed() && machine.node_pool().as_ref() == Some(pool);
    snapshot.nodes.iter().enumerate().filter(move |(_, machine)| own(machine))
}

/// Whether the machine's NodeClaim has been deleted, though it may still be there.
pub(crate) fn is_deleted(machine: &StateNode) -> bool {
    machine.node_claim.as_ref().is_some_and(|claim| claim.metadata.deletion_timestamp.is_some())
}

/// How many more machines the pool's limit allows. What is going away still counts.
pub(crate) fn nodes_left(snapshot: &ClusterSnapshot, name: &NodePoolName, pool: &NodePool) -> u64 {
    let limits = Resources::of_capacity(&pool.spec.limits);
    if !limits.contains(NODES) {
        return u64::MAX;
    }
    let limit = u64::try_from(limits.get(NODES)).unwrap_or(0);
    limit.saturating_sub(machines_of(snapshot, name).count() as u64)
}

/// One further machine of a static pool, whatever its limit: what would be launched for a pod that asks for nothing and bears
/// everything.
///
/// # Errors
/// Why nothing can be launched.
pub(crate) fn static_machine(
    snapshot: &ClusterSnapshot,
    catalog: &IndexedCatalog,
    name: &NodePoolName,
) -> Result<PlannedNodeClaim, WhyNot> {
    let Some(pool) = snapshot.node_pools.get(name) else { return Err(WhyNot::NoNodePools) };
    let mut dynamic = NodePool::clone(pool);
    dynamic.spec.replicas = None;
    dynamic.spec.limits = BTreeMap::new();
    let alone = ClusterSnapshot {
        node_pools: BTreeMap::from([(name.clone(), Arc::new(dynamic))]),
        nodes: Vec::new(),
        pending: Vec::new(),
        virtual_pods: Vec::new(),
        ..snapshot.clone()
    };
    let pods = [Arc::new(undemanding())];
    let prepared = Prepared::new(&alone, catalog);
    let mut results = solve(&SchedulingInput { reserved_fallback: true, ..SchedulingInput::new(&prepared, &pods) });
    let Some(mut machine) = results.planned.pop() else {
        return Err(results.unschedulable.pop().map_or(WhyNot::NoTypes, |own| own.why));
    };
    machine.pods.clear();
    machine.resources.subtract(&Resources::new().with(PODS, 1));
    // As of the pool with its `replicas`.
    machine.annotations.insert(labels::NODE_POOL_HASH.to_owned(), hash::node_pool(pool));
    Ok(machine)
}

fn undemanding() -> Pod {
    let anything = Toleration { operator: Some("Exists".to_owned()), ..Toleration::default() };
    Pod {
        metadata: ObjectMeta { name: Some("static-capacity".to_owned()), ..ObjectMeta::default() },
        spec: Some(PodSpec { tolerations: Some(vec![anything]), ..PodSpec::default() }),
        ..Pod::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;
    use rstest::rstest;

    const CATALOG: &str = include_str!("../../../../snapshots/catalogs/aws-small.yaml");

    /// A pool that is to have three machines and has those of `nodes`.
    fn shortage(gate: bool, pool: &str, nodes: &str) -> StaticShortage {
        let text = format!(
            "why: test\ncatalog: aws-small\nsettings: {{ staticCapacity: {gate} }}\nnodePools:\n  - metadata: {{ name: default }}\n    \
             spec: {{ replicas: 3, {pool}template: {{ spec: {{ taints: [{{ key: own, effect: NoSchedule }}], requirements: [{{ key: \
             karpenter.sh/capacity-type, operator: In, values: [on-demand] }}] }} }} }}\nnodes: [{nodes}]\n"
        );
        let world = Scenario::read(&text).unwrap().world(CATALOG).unwrap();
        static_shortage(&world.snapshot, &IndexedCatalog::new(world.catalog))
    }

    const NODE: &str = "{ name: node-a, pool: default, instanceType: m5.large, zone: zone-a }";

    #[rstest]
    #[case::all(true, "", "", 3, &[])]
    #[case::the_rest(true, "", NODE, 2, &[])]
    #[case::as_far_as_the_limit_goes(true, "limits: { nodes: 2 }, ", NODE, 1, &[1])]
    #[case::nothing_beyond_the_limit(true, "limits: { nodes: 1 }, ", NODE, 0, &[2])]
    #[case::without_the_gate(false, "", "", 0, &[])]
    #[case::one_that_a_command_has_is_there(true, "", "{ name: node-a, pool: default, instanceType: m5.large, zone: zone-a, markedForDeletion: true }", 2, &[])]
    #[case::one_that_is_deleted_is_not(true, "", "{ name: node-a, pool: default, instanceType: m5.large, zone: zone-a, deleted: 1m }", 3, &[])]
    fn static_pools_get_what_they_lack(
        #[case] gate: bool,
        #[case] pool: &str,
        #[case] nodes: &str,
        #[case] planned: usize,
        #[case] short: &[u64],
    ) {
        let shortage = shortage(gate, pool, nodes);
        assert_eq!(shortage.planned.len(), planned);
        assert_eq!(shortage.short.iter().map(|(_, count, _)| *count).collect::<Vec<_>>(), short);
    }

    #[test]
    fn a_machine_of_a_static_pool_is_the_cheapest_that_its_requirements_allow() {
        let machine = shortage(true, "", "").planned.remove(0);
        assert_eq!((machine.launch.instance_type.as_str(), machine.pods.len()), ("m5.large", 0));
        assert_eq!(machine.resources.get(PODS), 0);
    }
}
