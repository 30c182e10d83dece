//! Objects as if they had been applied.

use crate::{
    api::{
        NodeOverlay, NodePool,
        conditions::{Conditioned, DRIFTED},
        hash, labels,
    },
    lifecycle::drift_reason,
    model::{Catalog, ClusterSnapshot, NodePoolName},
};
use std::{collections::BTreeMap, sync::Arc};

/// What is thought to be applied.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    /// NodePools.
    pub node_pools: Vec<NodePool>,
    /// NodeOverlays.
    pub node_overlays: Vec<NodeOverlay>,
}

impl Manifests {
    /// Whether it is nothing.
    pub fn is_empty(&self) -> bool {
        self.node_pools.is_empty() && self.node_overlays.is_empty()
    }
}

/// Puts what is applied into the snapshot, and says of each machine that it makes drift why.
pub(super) fn apply(snapshot: &mut ClusterSnapshot, manifests: &Manifests) -> Vec<(String, &'static str)> {
    let Manifests { node_pools: pools, node_overlays } = manifests;
    snapshot.node_overlays.retain(|own| node_overlays.iter().all(|new| new.metadata.name != own.metadata.name));
    snapshot.node_overlays.extend(node_overlays.iter().cloned().map(Arc::new));
    // Machines say which hash they were made for. Where one does not, it was made for its pool as it is now.
    let before: BTreeMap<NodePoolName, String> =
        snapshot.node_pools.iter().map(|(name, pool)| (name.clone(), hash::node_pool(pool))).collect();
    for pool in pools {
        let mut pool = pool.clone();
        let own = [
            (labels::NODE_POOL_HASH.to_owned(), hash::node_pool(&pool)),
            (labels::NODE_POOL_HASH_VERSION.to_owned(), hash::NODE_POOL_VERSION.to_owned()),
        ];
        pool.metadata.annotations.get_or_insert_default().extend(own);
        snapshot.node_pools.insert(name_of(&pool), Arc::new(pool));
    }
    let applied: Vec<NodePoolName> = pools.iter().map(name_of).collect();
    let mut drifted = Vec::new();
    for machine in &mut snapshot.nodes {
        let name = machine.name().to_owned();
        let Some(pool) = machine.node_pool().filter(|pool| applied.contains(pool)) else { continue };
        let (Some(after), Some(claim)) = (snapshot.node_pools.get(&pool), &mut machine.node_claim) else { continue };
        let claim = Arc::make_mut(claim);
        let annotations = claim.metadata.annotations.get_or_insert_default();
        if !annotations.contains_key(labels::NODE_POOL_HASH) || !is_current(annotations) {
            let made_for = before.get(&pool).cloned().unwrap_or_default();
            annotations.insert(labels::NODE_POOL_HASH.to_owned(), made_for);
            annotations.insert(labels::NODE_POOL_HASH_VERSION.to_owned(), hash::NODE_POOL_VERSION.to_owned());
        }
        if let Some(reason) = drift_reason(claim, after, None, snapshot.now) {
            claim.set_true_with(DRIFTED, reason, reason, snapshot.now);
            drifted.push((name, reason));
        }
    }
    drifted
}

/// Another version of the hash says nothing; the controller writes it anew.
fn is_current(annotations: &BTreeMap<String, String>) -> bool {
    annotations.get(labels::NODE_POOL_HASH_VERSION).map(String::as_str) == Some(hash::NODE_POOL_VERSION)
}

/// Pools that are new may buy whatever another pool may: their requirements decide.
pub(super) fn catalog_with(catalog: &Catalog, pools: &[NodePool]) -> Catalog {
    let mut catalog = catalog.clone();
    let widest = catalog.by_pool.values().max_by_key(|types| types.len()).cloned();
    for name in pools.iter().map(name_of) {
        if let (false, Some(types)) = (catalog.by_pool.contains_key(&name), &widest) {
            catalog.by_pool.insert(name, Arc::clone(types));
        }
    }
    catalog
}

fn name_of(pool: &NodePool) -> NodePoolName {
    NodePoolName::from(pool.metadata.name.as_deref().unwrap_or_default())
}
