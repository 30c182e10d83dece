//! What the cloud says of machines: those that it takes back are drained while there is time (spec aws 4.1).

use super::{Context, ReconcileError, node_claim, pool_of};
use crate::{
    apply::Event,
    cloud::{Notice, NoticeKind},
    metrics::OfMessage,
};
use futures::future::join_all;
use sawhorse_core::{
    api::{NodeClaim, labels},
    lifecycle::DeletionReason,
    model::{CapacityType, ProviderId},
};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// After a cloud that could not be asked.
const RETRY: Duration = Duration::from_secs(5);

/// Listens until `stop`.
pub(super) async fn run(ctx: Context, stop: CancellationToken) {
    if !ctx.provider.sends_notices() {
        return stop.cancelled().await;
    }
    loop {
        let notices = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            notices = ctx.provider.notices() => notices,
        };
        match notices {
            Ok(notices) => {
                join_all(notices.iter().map(|notice| work_off(&ctx, notice))).await;
            }
            Err(error) => {
                warn(&error);
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

fn warn(error: &(dyn std::error::Error + 'static)) {
    tracing::warn!(error, "the cloud's notices cannot be read, will be tried again");
}

/// A notice that was acted on is settled; another comes again.
async fn work_off(ctx: &Context, notice: &Notice) {
    let kind = notice.kind.as_str();
    ctx.metrics.interruption_received.get_or_create(&OfMessage { message_type: kind.to_owned() }).inc();
    let outcome = async {
        act(ctx, notice.kind, &notice.instance_ids).await?;
        Ok::<(), ReconcileError>(ctx.provider.settle_notice(&notice.handle).await?)
    };
    match outcome.await {
        Ok(()) => {
            ctx.metrics.interruption_deleted.inc();
        }
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, kind, "a notice could not be acted on, it will come again");
        }
    }
}

/// Does for each of the machines what the kind of notice asks for.
pub(super) async fn act(ctx: &Context, kind: NoticeKind, instance_ids: &[String]) -> Result<(), ReconcileError> {
    for claim in instance_ids.iter().filter_map(|id| living_claim_of(ctx, id)) {
        tell(ctx, &claim, kind);
        if kind == NoticeKind::SpotInterrupted {
            avoid(ctx, &claim);
        }
        if let Some(reason) = deletion_reason(kind) {
            node_claim::delete(ctx, &claim, reason).await?;
        }
    }
    Ok(())
}

/// Ends machines whose checks fail without waiting for what runs on them, which may never answer.
pub(super) async fn end_now(ctx: &Context, instance_ids: &[String]) -> Result<(), ReconcileError> {
    for claim in instance_ids.iter().filter_map(|id| living_claim_of(ctx, id)) {
        tell(ctx, &claim, NoticeKind::InstanceImpaired);
        let claim = node_claim::hurry(ctx, &claim).await?;
        node_claim::delete_as(ctx, &claim, NoticeKind::InstanceImpaired.as_str()).await?;
    }
    Ok(())
}

/// What is being ended anyway says so too, at each step: that is of no interest.
fn living_claim_of(ctx: &Context, instance_id: &str) -> Option<Arc<NodeClaim>> {
    claim_of(ctx, instance_id).filter(|claim| claim.metadata.deletion_timestamp.is_none())
}

fn claim_of(ctx: &Context, instance_id: &str) -> Option<Arc<NodeClaim>> {
    let is_of = |claim: &&Arc<NodeClaim>| {
        let id = claim.status.as_ref().and_then(|status| status.provider_id.as_deref());
        id.and_then(|id| id.rsplit('/').next()) == Some(instance_id)
    };
    ctx.mirror.read(|state| state.node_claims().iter().find(is_of).cloned())
}

/// The pool will not be tried for a while: what takes machines back has none to give.
fn avoid(ctx: &Context, claim: &NodeClaim) {
    let label = |key: &str| claim.metadata.labels.as_ref().and_then(|labels| labels.get(key));
    if let (Some(kind), Some(zone)) = (label(labels::INSTANCE_TYPE), label(labels::ZONE)) {
        ctx.provider.avoid(CapacityType::Spot, kind, zone);
    }
}

fn tell(ctx: &Context, claim: &Arc<NodeClaim>, kind: NoticeKind) {
    let Some((warning, reason, message)) = event_of(kind) else { return };
    ctx.apply.events.record(Event::about(&**claim, warning, reason, message.to_owned()));
    let id = claim.status.as_ref().and_then(|status| status.provider_id.as_deref()).map(ProviderId::from);
    let nodes = id.map(|id| ctx.mirror.read(|state| state.nodes_of(&id))).unwrap_or_default();
    for node in nodes {
        ctx.apply.events.record(Event::about(&*node, warning, reason, message.to_owned()));
    }
    let pool = pool_of(claim.metadata.labels.as_ref());
    let fields = vec![
        ("NodeClaim", claim.metadata.name.clone().unwrap_or_default()),
        ("NodePool", pool.map(|pool| pool.to_string()).unwrap_or_default()),
        ("kind", kind.as_str().to_owned()),
    ];
    let message = if deletion_reason(kind).is_some() || kind == NoticeKind::InstanceImpaired {
        "initiating delete from interruption message"
    } else {
        "interruption message"
    };
    ctx.decided("interruption", message, fields);
}

/// The reference's events.
fn event_of(kind: NoticeKind) -> Option<(bool, &'static str, &'static str)> {
    match kind {
        NoticeKind::SpotInterrupted => Some((true, "SpotInterrupted", "Spot interruption warning was triggered")),
        NoticeKind::RebalanceRecommendation => {
            Some((false, "SpotRebalanceRecommendation", "Spot rebalance recommendation was triggered"))
        }
        NoticeKind::InstanceStopped => Some((true, "InstanceStopping", "Instance is stopping")),
        NoticeKind::InstanceTerminated => Some((true, "InstanceTerminating", "Instance is terminating")),
        NoticeKind::ScheduledChange | NoticeKind::InstanceImpaired => {
            Some((true, "InstanceUnhealthy", "An unhealthy warning was triggered"))
        }
        NoticeKind::ReservationInterrupted => Some((
            true,
            "CapacityReservationInstanceInterrupted",
            "Capacity reservation interruption warning was triggered",
        )),
        NoticeKind::Nothing => None,
    }
}

fn deletion_reason(kind: NoticeKind) -> Option<DeletionReason> {
    match kind {
        NoticeKind::SpotInterrupted => Some(DeletionReason::SpotInterrupted),
        NoticeKind::InstanceStopped => Some(DeletionReason::InstanceStopped),
        NoticeKind::InstanceTerminated => Some(DeletionReason::InstanceTerminated),
        NoticeKind::ScheduledChange => Some(DeletionReason::ScheduledChange),
        NoticeKind::ReservationInterrupted => Some(DeletionReason::ReservationInterrupted),
        // One is only told, the other ended in another way.
        NoticeKind::RebalanceRecommendation | NoticeKind::InstanceImpaired | NoticeKind::Nothing => None,
    }
}
