//! The end of Nodes and NodeClaims: taint, drain, volumes, machine, finalizer (spec core 3.3, 3.4).

mod ended;
mod evict;

pub(crate) use evict::EvictionPace;

use super::{Context, Next, ReconcileError, node_claim, node_name};
use crate::cloud::DeleteProgress;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use sawhorse_core::{
    api::NodeClaim,
    model::{NodeName, ProviderId},
    termination::{
        InstanceState, NodeTermination, Question, TerminationAction, TerminationStep, WaitingFor, claim_step, node_step,
    },
};
use std::{sync::Arc, time::Duration};

/// A round asks each question once at most, and there are three.
const MAX_QUESTIONS: usize = 4;
/// How often the cloud is asked whether a machine is gone whose launch was never confirmed.
const UNCONFIRMED_POLL: Duration = Duration::from_secs(5);

/// What has been asked in a round.
#[derive(Default)]
struct Answers {
    instance: Option<InstanceState>,
    volumes: Option<Vec<String>>,
}

/// Does what one Node that is being deleted needs next.
pub(super) async fn reconcile(ctx: Context, name: NodeName) -> Result<Next, ReconcileError> {
    let mut answers = Answers::default();
    for _ in 0..MAX_QUESTIONS {
        let Some(node) = ctx.mirror.read(|state| state.node(name.as_str())) else {
            ctx.memory.eviction_pace.forget(&name);
            return Ok(Next::OnChange);
        };
        let (claim, pods) = (claim_of(&ctx, &node), ctx.mirror.read(|state| state.pods_on(&name)));
        let input = NodeTermination {
            node: &node,
            claim: claim.as_deref(),
            pods: &pods,
            instance: answers.instance,
            volumes: answers.volumes.as_deref(),
            now: ctx.now(),
        };
        let step = node_step(&input);
        write(&ctx, claim.as_deref(), Some(&node), &step).await?;
        let Some(question) = step.question else {
            return act(&ctx, claim.as_ref(), &node, step).await;
        };
        delete_claim_if_told(&ctx, claim.as_ref(), &step).await?;
        ask(&ctx, question, claim.as_deref(), &node, &pods, &mut answers).await?;
    }
    Ok(Next::Backoff)
}

/// Does what one NodeClaim that is being deleted needs next.
pub(super) async fn end_claim(ctx: &Context, claim: &NodeClaim) -> Result<Next, ReconcileError> {
    if let Some(next) = give_back_unconfirmed(ctx, claim).await? {
        return Ok(next);
    }
    let nodes = id_of(claim).map_or_else(Vec::new, |id| ctx.mirror.read(|state| state.nodes_of(&id)));
    let mut step = claim_step(claim, &nodes, None, ctx.now());
    if step.question == Some(Question::DeleteInstance) {
        write(ctx, Some(claim), None, &step).await?;
        let instance = delete_instance(ctx, claim).await?;
        let Some(claim) = ctx.mirror.read(|state| state.node_claim(&claim.name_any())) else {
            return Ok(Next::OnChange);
        };
        step = claim_step(&claim, &nodes, Some(instance), ctx.now());
        write(ctx, Some(&claim), None, &step).await?;
    } else {
        write(ctx, Some(claim), None, &step).await?;
    }
    for action in &step.actions {
        if let TerminationAction::DeleteNode(name) = action
            && let Some(node) = nodes.iter().find(|node| node.name_any() == *name)
        {
            ctx.apply.delete_node(node).await?;
        }
    }
    Ok(step.look_again.map_or(Next::OnChange, Next::At))
}

/// A NodeClaim may be deleted while it is not known whether its machine was bought: then the cloud is asked, so that none is
/// left behind.
async fn give_back_unconfirmed(ctx: &Context, claim: &NodeClaim) -> Result<Option<Next>, ReconcileError> {
    if id_of(claim).is_some() || !node_claim::is_launch_recorded(claim) {
        return Ok(None);
    }
    let bought = match ctx.memory.launches.concluded(claim) {
        Some(concluded) => concluded,
        None => {
            let listed = ctx.provider.list().await?;
            let is_its = |name: Option<&str>| name == claim.metadata.name.as_deref();
            listed
                .into_iter()
                .find(|instance| is_its(instance.node_claim.as_deref()))
                .map(|instance| instance.provider_id)
        }
    };
    let Some(id) = bought else { return Ok(None) };
    Ok(match ctx.provider.delete(&id).await? {
        DeleteProgress::Terminating => Some(ctx.after(UNCONFIRMED_POLL)),
        DeleteProgress::NotFound => None,
    })
}

/// Writes the objects as they should be, the NodeClaim first: a Node without its finalizer is gone.
async fn write(
    ctx: &Context,
    claim: Option<&NodeClaim>,
    node: Option<&Node>,
    step: &TerminationStep,
) -> Result<(), ReconcileError> {
    if let (Some(before), Some(after)) = (claim, &step.claim) {
        ctx.apply.update(&ctx.apply.claims(), before, after).await?;
        ended::say_if_claim_ended(ctx, before, after);
    }
    if let (Some(before), Some(after)) = (node, &step.node) {
        ctx.apply.update(&ctx.apply.nodes(), before, after).await?;
        ended::say_if_node_ended(ctx, before, after);
    }
    if step.tainted
        && let Some(node) = &step.node
    {
        ctx.decided("node.termination", "tainted node", vec![("Node", node.name_any())]);
    }
    if step.drained {
        ended::count_drained(ctx, step);
    }
    step.events.iter().for_each(|event| ctx.tell(event));
    Ok(())
}

/// Performs the actions of a step that asks nothing more.
async fn act(
    ctx: &Context,
    claim: Option<&Arc<NodeClaim>>,
    node: &Node,
    step: TerminationStep,
) -> Result<Next, ReconcileError> {
    delete_claim_if_told(ctx, claim, &step).await?;
    let mut next = Next::OnChange;
    for action in &step.actions {
        if let TerminationAction::Pod(action) = action {
            next = next.or(evict::tell(ctx, node, action, &step.eviction_reason).await?);
        }
    }
    // Pods report their end themselves, and their evictions have a pace of their own; only what changes by time alone is
    // waited for here.
    Ok(match (&step.waiting, step.look_again) {
        (Some(WaitingFor::Drain(drain)), _) => next.or(drain.changes_at.map_or(Next::OnChange, Next::At)),
        (_, Some(at)) => next.or(Next::At(at)),
        (_, None) => next,
    })
}

async fn delete_claim_if_told(
    ctx: &Context,
    claim: Option<&Arc<NodeClaim>>,
    step: &TerminationStep,
) -> Result<(), ReconcileError> {
    if let Some(claim) = claim.filter(|_| step.actions.contains(&TerminationAction::DeleteClaim)) {
        ctx.apply.delete_claim(claim).await?;
    }
    Ok(())
}

async fn ask(
    ctx: &Context,
    question: Question,
    claim: Option<&NodeClaim>,
    node: &Node,
    pods: &[Arc<Pod>],
    answers: &mut Answers,
) -> Result<(), ReconcileError> {
    match question {
        Question::Instance => answers.instance = Some(instance_state(ctx, node).await?),
        Question::Volumes => answers.volumes = Some(ctx.apply.volumes_to_wait_for(&node.name_any(), pods).await?),
        Question::DeleteInstance => {
            answers.instance = match claim {
                Some(claim) => Some(delete_instance(ctx, claim).await?),
                None => Some(InstanceState::Gone),
            }
        }
    }
    Ok(())
}

async fn instance_state(ctx: &Context, node: &Node) -> Result<InstanceState, ReconcileError> {
    let id = node.spec.as_ref().and_then(|spec| spec.provider_id.as_deref()).map(ProviderId::from);
    let Some(id) = id else { return Ok(InstanceState::Gone) };
    Ok(match ctx.provider.get(&id).await? {
        None => InstanceState::Gone,
        Some(instance) if instance.terminating => InstanceState::Terminating,
        Some(_) => InstanceState::Present,
    })
}

async fn delete_instance(ctx: &Context, claim: &NodeClaim) -> Result<InstanceState, ReconcileError> {
    let Some(id) = id_of(claim) else { return Ok(InstanceState::Gone) };
    Ok(match ctx.provider.delete(&id).await? {
        DeleteProgress::Terminating => InstanceState::Terminating,
        DeleteProgress::NotFound => InstanceState::Gone,
    })
}

/// The NodeClaim of the node; none if there is none, or several.
fn claim_of(ctx: &Context, node: &Node) -> Option<Arc<NodeClaim>> {
    let id = ProviderId::from(node.spec.as_ref()?.provider_id.as_deref()?);
    match ctx.mirror.read(|state| state.claims_of(&id)).as_slice() {
        [claim] => Some(Arc::clone(claim)),
        [] | [_, _, ..] => {
            tracing::debug!(node = %node_name(node), "no single nodeclaim has the node's provider id");
            None
        }
    }
}

fn id_of(claim: &NodeClaim) -> Option<ProviderId> {
    claim.status.as_ref()?.provider_id.as_deref().filter(|id| !id.is_empty()).map(ProviderId::from)
}
