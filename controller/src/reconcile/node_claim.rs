//! A NodeClaim's life: launch, registration, initialization, liveness, expiration, and its end (spec core 3.1, 3.3).

mod launch;

pub(crate) use launch::Launches;
pub(super) use launch::is_recorded as is_launch_recorded;

use super::{Context, Next, ReconcileError, pool_of, termination};
use crate::metrics::{Disrupted, InPoolAndZone};
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use sawhorse_core::{
    api::{NodeClaim, NodePool, labels},
    lifecycle::{self, Action, DeletionReason, LaunchOutcome, LookAgain, Milestone, Step},
    model::{NodeClaimName, ProviderId},
};
use std::sync::Arc;

/// Does what one NodeClaim needs next.
pub(super) async fn reconcile(ctx: Context, name: NodeClaimName) -> Result<Next, ReconcileError> {
    let Some(claim) = ctx.mirror.read(|state| state.node_claim(name.as_str())) else {
        return Ok(Next::OnChange);
    };
    if let Some(id) = claim.status.as_ref().and_then(|status| status.provider_id.as_deref()) {
        tracing::Span::current().record("provider_id", id);
    }
    if claim.metadata.deletion_timestamp.is_some() {
        return termination::end_claim(&ctx, &claim).await;
    }
    let nodes = nodes_of(&ctx, &claim);
    let mut step = next_step(&ctx, &claim, &nodes, None);
    if !step.actions.contains(&Action::Launch) {
        return carry_out(&ctx, &claim, step).await.map(|(_, next)| next);
    }
    // Intent before action (DESIGN 2.5): the attempt is on the object before the cloud is asked, so that whoever comes next
    // asks with the same token.
    launch::record_attempt(&mut step.claim);
    let (claim, _) = carry_out(&ctx, &claim, step).await?;
    let outcome = launch::launch(&ctx, &claim).await;
    let mut step = next_step(&ctx, &claim, &nodes, Some(&outcome));
    launch::raise_attempt_if_refused(&mut step.claim, &outcome);
    carry_out(&ctx, &claim, step).await.map(|(_, next)| next)
}

fn next_step(ctx: &Context, claim: &NodeClaim, nodes: &[Arc<Node>], launch: Option<&LaunchOutcome>) -> Step {
    ctx.mirror.read(|state| lifecycle::next_step(claim, nodes, launch, state.settings(), ctx.now()))
}

fn nodes_of(ctx: &Context, claim: &NodeClaim) -> Vec<Arc<Node>> {
    let id = claim.status.as_ref().and_then(|status| status.provider_id.as_deref());
    id.map_or_else(Vec::new, |id| ctx.mirror.read(|state| state.nodes_of(&ProviderId::from(id))))
}

/// Writes the objects of a step, then performs its actions (all but the launch), then says what was reached.
async fn carry_out(ctx: &Context, before: &NodeClaim, step: Step) -> Result<(NodeClaim, Next), ReconcileError> {
    let Step { claim, node, actions, events, milestones, look_again } = step;
    if let Some(node) = &node {
        let seen = ctx.mirror.read(|state| state.node(&node.name_any()));
        if let Some(seen) = seen {
            ctx.apply.update(&ctx.apply.nodes(), &*seen, node).await?;
        }
    }
    let written = ctx.apply.update(&ctx.apply.claims(), before, &claim).await?;
    milestones.iter().for_each(|milestone| reached(ctx, &written, *milestone));
    events.iter().for_each(|event| ctx.tell(event));
    for action in actions {
        match action {
            Action::Launch => {}
            Action::RecordRegistration { success } => record_registration(ctx, &written, success),
            Action::DeleteClaim(reason) => delete(ctx, &written, reason).await?,
        }
    }
    let next = match look_again {
        LookAgain::OnChange => Next::OnChange,
        LookAgain::At(at) => Next::At(at),
        LookAgain::Backoff => Next::Backoff,
    };
    Ok((written, next))
}

fn reached(ctx: &Context, claim: &NodeClaim, milestone: Milestone) {
    let label =
        |key: &str| claim.metadata.labels.as_ref().and_then(|labels| labels.get(key)).cloned().unwrap_or_default();
    let status = claim.status.clone().unwrap_or_default();
    let mut fields =
        vec![("NodeClaim", claim.name_any()), ("provider-id", status.provider_id.clone().unwrap_or_default())];
    match milestone {
        Milestone::Launched => fields.extend([
            ("instance-type", label(labels::INSTANCE_TYPE)),
            ("zone", label(labels::ZONE)),
            ("capacity-type", label(labels::CAPACITY_TYPE)),
        ]),
        Milestone::Registered => {
            fields.push(("Node", status.node_name.unwrap_or_default()));
            let at = InPoolAndZone { nodepool: label(labels::NODE_POOL), zone: label(labels::ZONE) };
            ctx.metrics.nodes_created.get_or_create(&at).inc();
        }
        Milestone::Initialized => fields.push(("Node", status.node_name.unwrap_or_default())),
    }
    ctx.decided("nodeclaim.lifecycle", milestone.log_message(), fields);
}

/// Only NodeClaims that the pool owns say something of the pool (spec core 3.1).
fn record_registration(ctx: &Context, claim: &NodeClaim, success: bool) {
    let Some(pool) = owning_pool(ctx, claim) else { return };
    ctx.memory.health.record(&pool, success);
    ctx.queues.node_pools.add(sawhorse_core::model::NodePoolName::from(pool.name_any()));
}

fn owning_pool(ctx: &Context, claim: &NodeClaim) -> Option<Arc<NodePool>> {
    let name = pool_of(claim.metadata.labels.as_ref())?;
    let pool = ctx.mirror.read(|state| state.node_pool(name.as_str()))?;
    claim.owner_references().iter().any(|owner| Some(&owner.uid) == pool.metadata.uid.as_ref()).then_some(pool)
}

/// Deletes a NodeClaim for a reason other than voluntary disruption, which `garbage_collection` does too.
pub(super) async fn delete(ctx: &Context, claim: &NodeClaim, reason: DeletionReason) -> Result<(), ReconcileError> {
    delete_as(ctx, claim, reason.code()).await
}

/// The same for a reason that is the cloud's.
pub(super) async fn delete_as(ctx: &Context, claim: &NodeClaim, reason: &str) -> Result<(), ReconcileError> {
    ctx.apply.delete_claim(claim).await?;
    ctx.metrics.node_claims_disrupted.get_or_create(&disrupted(claim, reason, "")).inc();
    let fields = vec![("NodeClaim", claim.name_any()), ("reason", reason.to_owned())];
    ctx.decided("nodeclaim.lifecycle", "deleting nodeclaim", fields);
    Ok(())
}

/// Gives the pods of a machine no more time once its NodeClaim is deleted: what runs there may never answer.
pub(super) async fn hurry(ctx: &Context, claim: &NodeClaim) -> Result<NodeClaim, ReconcileError> {
    annotate(ctx, claim, labels::TERMINATION_TIMESTAMP, &format!("{:.0}", ctx.now())).await
}

/// Writes an annotation; the NodeClaim as it is then.
pub(super) async fn annotate(
    ctx: &Context,
    claim: &NodeClaim,
    key: &str,
    text: &str,
) -> Result<NodeClaim, ReconcileError> {
    let mut after = claim.clone();
    after.metadata.annotations.get_or_insert_default().insert(key.to_owned(), text.to_owned());
    Ok(ctx.apply.update(&ctx.apply.claims(), claim, &after).await?)
}

/// The labels under which a disrupted NodeClaim is counted (spec core 6.1).
pub(super) fn disrupted(claim: &NodeClaim, reason: &str, consolidation_policy: &str) -> Disrupted {
    let label =
        |key: &str| claim.metadata.labels.as_ref().and_then(|labels| labels.get(key)).cloned().unwrap_or_default();
    let termination_mode = match &claim.spec.termination_grace_period {
        None => "graceful",
        Some(period) if period.value().is_zero() => "forceful",
        Some(_) => "eventual",
    };
    Disrupted {
        reason: reason.to_owned(),
        nodepool: label(labels::NODE_POOL),
        capacity_type: label(labels::CAPACITY_TYPE),
        consolidation_policy: consolidation_policy.to_owned(),
        termination_mode: termination_mode.to_owned(),
    }
}
