//! Machines whose checks fail, or for which the cloud plans something: asked for each minute, since a queue may lose what it is
//! told, and there may be none (spec aws 4.2).

use super::{Context, ReconcileError, interruption, passes};
use crate::cloud::{CloudError, NoticeKind};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two looks, as in the reference.
const PERIOD: Duration = Duration::from_mins(1);

/// Looks until `stop`, or until it turns out that it may not.
pub(super) async fn run(ctx: Context, stop: CancellationToken) {
    while passes(PERIOD, &stop).await {
        match look(&ctx).await {
            Ok(()) => {}
            Err(ReconcileError::Cloud(CloudError::Rejected { code, .. })) if code == "UnauthorizedOperation" => {
                tracing::warn!("the status of machines may not be read: it is not looked at any more");
                return stop.cancelled().await;
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "the status of machines cannot be read, will be tried again");
            }
        }
    }
}

async fn look(ctx: &Context) -> Result<(), ReconcileError> {
    for (kind, instance_ids) in ctx.provider.troubles().await? {
        if kind == NoticeKind::InstanceImpaired {
            interruption::end_now(ctx, &instance_ids).await?;
        } else {
            interruption::act(ctx, kind, &instance_ids).await?;
        }
    }
    Ok(())
}
