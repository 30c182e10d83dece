//! Garbage collection both ways: NodeClaims without a machine, machines without a NodeClaim (spec core 3.2).

use super::{Context, ReconcileError, node_claim};
use crate::cloud::CloudInstance;
use sawhorse_core::lifecycle::{DeletionReason, ListedInstance, orphans, uncollected_claims};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two looks. Nothing tells that a machine is gone, so this has to be asked.
const PERIOD: Duration = Duration::from_mins(2);

/// Looks until `stop`.
pub(super) async fn run(ctx: Context, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
        if let Err(error) = collect(&ctx).await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "garbage collection failed, will be tried again");
        }
    }
}

async fn collect(ctx: &Context) -> Result<(), ReconcileError> {
    let listed: Vec<ListedInstance> = ctx.provider.list().await?.into_iter().map(listed).collect();
    // Read after the list, so that a machine bought meanwhile has its NodeClaim in the snapshot.
    let snapshot = ctx.snapshot();
    for name in uncollected_claims(&snapshot, &listed) {
        if let Some(claim) = ctx.mirror.read(|state| state.node_claim(name.as_str())) {
            node_claim::delete(ctx, &claim, DeletionReason::GarbageCollected).await?;
        }
    }
    for id in orphans(&snapshot, &listed) {
        ctx.provider.delete(&id).await?;
        ctx.decided("instance.garbagecollection", "garbage collected instance", vec![("provider-id", id.to_string())]);
    }
    Ok(())
}

fn listed(instance: CloudInstance) -> ListedInstance {
    let CloudInstance { provider_id, node_claim, launched_at, terminating, .. } = instance;
    ListedInstance { provider_id, node_claim, launched_at, terminating }
}
