//! Performing the actions of a command.

use super::super::{Context, ReconcileError, create, later, node_claim};
use crate::metrics::{Disrupted, Unhealthy};
use kube::ResourceExt;
use sawhorse_core::{
    api::{
        ConsolidationPolicy, DisruptionReason, NodeClaim,
        conditions::{Conditioned, DISRUPTION_REASON},
        labels,
    },
    disruption::{
        Method, broken,
        orchestration::{CommandRecord, OrchestrationAction},
    },
    model::{NodeClaimName, NodeName, ProviderId, is_reschedulable},
};
use std::sync::Arc;

/// Performs `actions` in order; whether all of them succeeded. Those that did not are asked for again by the next step, which
/// goes by what it sees.
pub(super) async fn perform_all(
    ctx: &Context,
    record: &mut Option<CommandRecord>,
    actions: Vec<OrchestrationAction>,
) -> bool {
    let mut all = true;
    for action in actions {
        if let Err(error) = perform(ctx, record.as_mut(), &action).await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, ?action, "a step of a disruption failed, will be tried again");
            all = false;
        }
    }
    all
}

async fn perform(
    ctx: &Context,
    record: Option<&mut CommandRecord>,
    action: &OrchestrationAction,
) -> Result<(), ReconcileError> {
    match action {
        OrchestrationAction::Taint(node) => taint(ctx, node, true).await,
        OrchestrationAction::Untaint(node) => taint(ctx, node, false).await,
        OrchestrationAction::SetDisruptionReason(claim, reason) => set_reason(ctx, claim, Some(*reason)).await,
        OrchestrationAction::WriteRecord(claim, text) => annotate(ctx, claim, labels::COMMAND, text).await,
        OrchestrationAction::ClearDisruptionReason(claim) => set_reason(ctx, claim, None).await,
        OrchestrationAction::CreateReplacement(index) => match record {
            Some(record) => create_replacement(ctx, record, *index).await,
            None => Ok(()),
        },
        OrchestrationAction::Mark(claim) => {
            ctx.mirror.update(|state| state.mark(claim, true));
            Ok(())
        }
        OrchestrationAction::Unmark(claim) => {
            ctx.mirror.update(|state| state.mark(claim, false));
            Ok(())
        }
        OrchestrationAction::Nominate(machine) => {
            nominate(ctx, machine);
            Ok(())
        }
        OrchestrationAction::Hurry(claim) => match claim_of(ctx, claim) {
            Some(claim) => node_claim::hurry(ctx, &claim).await.map(drop),
            None => Ok(()),
        },
        OrchestrationAction::DeleteClaim(claim) => delete(ctx, record.as_deref(), claim).await,
        OrchestrationAction::Abandon(claim) => annotate(ctx, claim, labels::ABANDONED, &ctx.now().to_string()).await,
        OrchestrationAction::GiveUpReplacement(claim) => match claim_of(ctx, claim) {
            Some(claim) => node_claim::delete_as(ctx, &claim, "abandoned_replacement").await,
            None => Ok(()),
        },
    }
}

/// The NodeClaim as it is now; none once it is gone.
fn claim_of(ctx: &Context, name: &NodeClaimName) -> Option<Arc<NodeClaim>> {
    ctx.mirror.read(|state| state.node_claim(name.as_str()))
}

async fn annotate(ctx: &Context, name: &NodeClaimName, key: &str, text: &str) -> Result<(), ReconcileError> {
    let Some(claim) = claim_of(ctx, name) else { return Ok(()) };
    node_claim::annotate(ctx, &claim, key, text).await.map(drop)
}

async fn taint(ctx: &Context, name: &NodeName, disrupted: bool) -> Result<(), ReconcileError> {
    let Some(node) = ctx.mirror.read(|state| state.node(name.as_str())) else { return Ok(()) };
    let changed =
        if disrupted { ctx.apply.taint_disrupted(&node).await? } else { ctx.apply.untaint_disrupted(&node).await? };
    if changed {
        let message = if disrupted { "tainted node" } else { "untainted node" };
        ctx.decided("disruption", message, vec![("Node", name.to_string())]);
    }
    Ok(())
}

async fn set_reason(
    ctx: &Context,
    name: &NodeClaimName,
    reason: Option<DisruptionReason>,
) -> Result<(), ReconcileError> {
    let Some(claim) = claim_of(ctx, name) else { return Ok(()) };
    let mut after = NodeClaim::clone(&claim);
    match reason {
        Some(reason) => after.set_true_with(DISRUPTION_REASON, reason.as_str(), reason.as_str(), ctx.now()),
        None => {
            if let Some(annotations) = &mut after.metadata.annotations {
                annotations.remove(labels::COMMAND);
            }
            after.clear_condition(DISRUPTION_REASON)
        }
    };
    ctx.apply.update(&ctx.apply.claims(), &*claim, &after).await?;
    Ok(())
}

/// A failure is part of the record: the command is undone then.
async fn create_replacement(ctx: &Context, record: &mut CommandRecord, index: usize) -> Result<(), ReconcileError> {
    let Some(planned) = record.replacement(index) else { return Ok(()) };
    let pool = ctx.mirror.read(|state| state.node_pool(planned.node_pool.as_str()));
    let Some(pool) = pool else {
        record.creation_failed(index, &format!("NodePool `{}` is gone", planned.node_pool));
        return Ok(());
    };
    let reason = record.command.reason().as_str().to_lowercase();
    match create::create(ctx, &pool, &planned, &reason).await {
        Ok(claim) => record.created(index, NodeClaimName::from(claim.name_any())),
        Err(error) => record.creation_failed(index, &error.to_string()),
    }
    Ok(())
}

fn nominate(ctx: &Context, machine: &str) {
    let snapshot = ctx.snapshot();
    let found = snapshot.nodes.iter().find(|node| node.name() == machine);
    if let Some(claim) = found.and_then(|node| node.node_claim.as_ref()) {
        let until = later(snapshot.now, snapshot.settings.nomination_window());
        ctx.mirror.update(|state| state.nominate(&NodeClaimName::from(claim.name_any()), until));
    }
}

async fn delete(ctx: &Context, record: Option<&CommandRecord>, name: &NodeClaimName) -> Result<(), ReconcileError> {
    let Some(claim) = claim_of(ctx, name) else { return Ok(()) };
    ctx.apply.delete_claim(&claim).await?;
    let Some(record) = record else { return Ok(()) };
    let reason = record.command.reason().as_str().to_lowercase();
    let counted = node_claim::disrupted(&claim, &reason, &policy(ctx, &claim, record.command.method));
    ctx.metrics.node_claims_disrupted.get_or_create(&counted).inc();
    if record.command.method == Method::Repair {
        count_unhealthy(ctx, &claim, &counted);
    }
    ctx.metrics.pods_disruption_initiated.get_or_create(&counted).inc_by(pods_to_move(ctx, &claim));
    ctx.decided("disruption", "deleting nodeclaim", vec![("NodeClaim", name.to_string()), ("reason", reason)]);
    Ok(())
}

fn count_unhealthy(ctx: &Context, claim: &NodeClaim, counted: &Disrupted) {
    let snapshot = ctx.snapshot();
    let machine = snapshot.machine_of(&NodeClaimName::from(claim.name_any()));
    let condition = machine.and_then(|machine| broken(machine, &snapshot.settings)).map(|own| own.policy.condition);
    let labels = Unhealthy {
        condition: snake_case(condition.unwrap_or_default()),
        nodepool: counted.nodepool.clone(),
        capacity_type: counted.capacity_type.clone(),
        image_id: claim.status.as_ref().and_then(|status| status.image_id.clone()).unwrap_or_default(),
    };
    ctx.metrics.node_claims_unhealthy_disrupted.get_or_create(&labels).inc();
}

/// `AcceleratedHardwareReady` as `accelerated_hardware_ready`.
fn snake_case(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

/// The pool's policy as the metric label has it; empty for what is not consolidation.
fn policy(ctx: &Context, claim: &Arc<NodeClaim>, method: Method) -> String {
    let of_claim = claim.metadata.labels.as_ref().and_then(|of_claim| of_claim.get(labels::NODE_POOL));
    let pool = of_claim.and_then(|name| ctx.mirror.read(|state| state.node_pool(name)));
    match (method, pool.map(|pool| pool.spec.disruption.consolidation_policy)) {
        (Method::StaticScaleDown | Method::Repair | Method::Expiration | Method::Drift, _) | (_, None) => "",
        (_, Some(ConsolidationPolicy::WhenEmpty)) => "when_empty",
        (_, Some(ConsolidationPolicy::WhenEmptyOrUnderutilized)) => "when_empty_or_underutilized",
        (_, Some(ConsolidationPolicy::Balanced)) => "balanced",
    }
    .to_owned()
}

fn pods_to_move(ctx: &Context, claim: &NodeClaim) -> u64 {
    let id = claim.status.as_ref().and_then(|status| status.provider_id.as_deref()).map(ProviderId::from);
    let nodes = id.map_or_else(Vec::new, |id| ctx.mirror.read(|state| state.nodes_of(&id)));
    let on = |name: String| ctx.mirror.read(|state| state.pods_on(&NodeName::from(name)));
    let pods = nodes.iter().flat_map(|node| on(node.name_any()));
    pods.filter(|pod| is_reschedulable(pod)).count() as u64
}
