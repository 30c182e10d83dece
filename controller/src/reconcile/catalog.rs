//! What each pool may buy, asked of the provider, and keeping what it remembers fresh.

use super::{Context, passes};
use sawhorse_core::{
    api::{NodeOverlay, NodeOverlaySpec, NodePool},
    model::{Catalog, ClusterSnapshot, InstanceType, NodePoolName, Overlays},
    scheduling::IndexedCatalog,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// After a refresh that failed.
const REFRESH_RETRY: Duration = Duration::from_secs(10);

/// What the pools may buy, as last read: made anew only when the provider has learnt something, or users say something else.
#[derive(Debug, Default)]
pub(crate) struct KnownCatalog {
    /// As the provider lists it.
    listed: Catalog,
    said: Said,
    overlays: Overlays,
    /// As the overlays have it.
    indexed: IndexedCatalog,
}

/// What users say that catalogs depend on. Nothing where there are no overlays.
#[derive(Debug, Default, PartialEq)]
struct Said {
    overlays: BTreeMap<String, NodeOverlaySpec>,
    template_labels: BTreeMap<NodePoolName, BTreeMap<String, String>>,
}

impl Said {
    fn by(snapshot: &ClusterSnapshot) -> Self {
        let overlay = |own: &Arc<NodeOverlay>| (own.metadata.name.clone().unwrap_or_default(), own.spec.clone());
        let labels =
            |(name, pool): (&NodePoolName, &Arc<NodePool>)| (name.clone(), pool.spec.template.metadata.labels.clone());
        let overlays: BTreeMap<String, NodeOverlaySpec> = snapshot.node_overlays.iter().map(overlay).collect();
        let pools = snapshot.node_pools.iter().filter(|_| !overlays.is_empty());
        Self { template_labels: pools.map(labels).collect(), overlays }
    }
}

impl KnownCatalog {
    fn new(listed: Catalog, said: Said, snapshot: &ClusterSnapshot) -> Self {
        let pools = &snapshot.node_pools;
        let overlays = Overlays::evaluate(&listed, pools, &snapshot.node_overlays);
        let offered = if said.overlays.is_empty() { listed.clone() } else { overlays.catalog(&listed, pools) };
        Self { indexed: IndexedCatalog::new(offered), listed, said, overlays }
    }

    /// Whether an overlay counts in one of them only.
    fn judges_otherwise(&self, other: &Self) -> bool {
        let names = || self.said.overlays.keys().chain(other.said.overlays.keys());
        names().any(|name| self.overlays.why_refused(name) != other.overlays.why_refused(name))
    }
}

/// The catalog for every pool of the snapshot. A pool whose types cannot be read has no entry, so it launches nothing now.
pub(super) async fn read(ctx: &Context, snapshot: &ClusterSnapshot) -> IndexedCatalog {
    known(ctx, snapshot).await.indexed.clone()
}

/// Which NodeOverlays count now.
pub(super) async fn overlays(ctx: &Context) -> Overlays {
    known(ctx, &ctx.snapshot()).await.overlays.clone()
}

/// The types that one pool may buy, as the NodeOverlays have them; the pool need not be one of the cluster's.
pub(super) async fn overlaid(
    ctx: &Context,
    name: &NodePoolName,
    pool: &NodePool,
    types: Vec<Arc<InstanceType>>,
) -> Vec<Arc<InstanceType>> {
    if ctx.mirror.read(|state| state.node_overlays().is_empty()) {
        return types;
    }
    overlays(ctx).await.types(name, pool, &types)
}

async fn known<'a>(ctx: &'a Context, snapshot: &ClusterSnapshot) -> MutexGuard<'a, KnownCatalog> {
    let mut listed = Catalog::default();
    for (name, pool) in &snapshot.node_pools {
        if let Some(types) = types_of(ctx, name, pool).await {
            listed.by_pool.insert(name.clone(), types);
        }
    }
    let said = Said::by(snapshot);
    let mut last = ctx.memory.catalog.lock().unwrap_or_else(PoisonError::into_inner);
    if !last.listed.is_same(&listed) || last.said != said {
        let new = KnownCatalog::new(listed, said, snapshot);
        if new.judges_otherwise(&last) {
            ctx.queues.look_at_overlays(&ctx.mirror);
        }
        *last = new;
    }
    last
}

/// The types that one pool may buy; none where they cannot be read.
async fn types_of(ctx: &Context, name: &NodePoolName, pool: &NodePool) -> Option<Arc<[Arc<InstanceType>]>> {
    let node_class = ctx.node_class(&pool.spec.template.spec.node_class_ref)?;
    match ctx.provider.instance_types(pool, &node_class).await {
        Ok(types) => Some(types.into()),
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, node_pool = %name, "skipping, unable to resolve instance types");
            None
        }
    }
}

/// Refreshes what the provider remembers, when it says so.
pub(super) async fn keep_fresh(ctx: Context, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let wait = match ctx.provider.refresh().await {
            Ok(wait) => wait,
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "the provider could not be refreshed, will be tried again");
                REFRESH_RETRY
            }
        };
        passes(wait, &stop).await;
    }
}
