//! What voluntary disruption goes by: `Drifted`, `Consolidatable`, and when a pod last came or went (spec core 3.2, 5).

mod consistency;

use super::{Context, Next, ReconcileError, pool_of};
use crate::apply::Event;
use k8s_openapi::api::core::v1::Node;
use sawhorse_core::{
    api::{
        NodeClaim, NodePool,
        conditions::{Conditioned, DRIFTED, LAUNCHED},
    },
    lifecycle::{disruption_conditions, drift_reason, with_pod_event},
    model::NodeClaimName,
};
use std::{sync::Arc, time::Duration};

/// What only the cloud knows (images, subnets, security groups …) is asked for so often.
const DRIFT_PERIOD: Duration = Duration::from_mins(5);

/// Brings the conditions of one NodeClaim up to date.
pub(super) async fn reconcile(ctx: Context, name: NodeClaimName) -> Result<Next, ReconcileError> {
    let Some(claim) = ctx.mirror.read(|state| state.node_claim(name.as_str())) else {
        return Ok(Next::OnChange);
    };
    if claim.metadata.deletion_timestamp.is_some() || !claim.is_true(LAUNCHED) {
        return Ok(Next::OnChange);
    }
    let pool = pool_of(claim.metadata.labels.as_ref())
        .and_then(|pool| ctx.mirror.read(|state| state.node_pool(pool.as_str())));
    let drift = match &pool {
        Some(pool) => reason_of_drift(&ctx, &claim, pool).await?,
        None => None,
    };
    let now = ctx.now();
    let noted = with_latest_pod_event(&ctx, &claim, &name);
    let (checked, failures) = consistency::checked(&noted, node_of(&ctx, &claim).as_deref(), now);
    for failure in failures {
        ctx.apply.events.record(Event::warning(&*claim, "FailedConsistencyCheck", failure));
    }
    let (after, due) = disruption_conditions(&checked, pool.as_deref(), drift.as_deref(), now);
    if after.is_true(DRIFTED) && !claim.is_true(DRIFTED) {
        let fields = vec![("NodeClaim", name.to_string()), ("reason", drift.unwrap_or_default())];
        ctx.decided("nodeclaim.disruption", "marking drifted", fields);
    }
    ctx.apply.update(&ctx.apply.claims(), &*claim, &after).await?;
    Ok(due.map_or(Next::OnChange, Next::At).or(ctx.after(DRIFT_PERIOD)))
}

fn node_of(ctx: &Context, claim: &NodeClaim) -> Option<Arc<Node>> {
    let name = claim.status.as_ref()?.node_name.as_deref()?;
    ctx.mirror.read(|state| state.node(name))
}

async fn reason_of_drift(
    ctx: &Context,
    claim: &NodeClaim,
    pool: &Arc<NodePool>,
) -> Result<Option<String>, ReconcileError> {
    let Some(node_class) = ctx.node_class(&claim.spec.node_class_ref) else { return Ok(None) };
    let types = ctx.provider.instance_types(pool, &node_class).await.ok();
    if let Some(reason) = drift_reason(claim, pool, types.as_deref(), ctx.now()) {
        return Ok(Some(reason.to_owned()));
    }
    Ok(ctx.provider.drift_reason(claim, pool, &node_class).await?)
}

/// The claim with the latest coming or going of a pod. One that follows another within seconds is not noted, to spare the API
/// server.
fn with_latest_pod_event(ctx: &Context, claim: &NodeClaim, name: &NodeClaimName) -> NodeClaim {
    let noted = claim.status.as_ref().and_then(|status| status.last_pod_event_time.as_ref()).map(|time| time.0);
    let latest = ctx.mirror.read(|state| state.last_pod_event(name));
    let latest = latest.filter(|at| noted.is_none_or(|noted| noted < *at));
    latest.and_then(|at| with_pod_event(claim, at)).unwrap_or_else(|| claim.clone())
}
