//! What each pool may buy, asked of the provider, and keeping what it remembers fresh.

use super::{Context, passes};
use sawhorse_core::{
    api::NodePool,
    model::{Catalog, ClusterSnapshot, InstanceType, NodePoolName},
    scheduling::IndexedCatalog,
};
use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// After a refresh that failed.
const REFRESH_RETRY: Duration = Duration::from_secs(10);

/// The catalog for every pool of the snapshot. A pool whose types cannot be read has no entry, so it launches nothing now.
pub(super) async fn read(ctx: &Context, snapshot: &ClusterSnapshot) -> IndexedCatalog {
    let mut catalog = Catalog::default();
    for (name, pool) in &snapshot.node_pools {
        if let Some(types) = types_of(ctx, name, pool).await {
            catalog.by_pool.insert(name.clone(), types);
        }
    }
    let mut last = ctx.memory.catalog.lock().unwrap_or_else(PoisonError::into_inner);
    if !last.catalog().is_same(&catalog) {
        *last = IndexedCatalog::new(catalog);
    }
    last.clone()
}

/// The types that one pool may buy; none where they cannot be read.
pub(super) async fn types_of(ctx: &Context, name: &NodePoolName, pool: &NodePool) -> Option<Arc<[Arc<InstanceType>]>> {
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
