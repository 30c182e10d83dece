//! Telling pods to go, at a pace of their own (spec core 3.4, eviction queue).

use super::super::{Context, Next, ReconcileError, later, node_name};
use crate::{
    apply::{Event, Eviction},
    metrics::OfReason,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use sawhorse_core::{
    model::{NodeName, PodKey},
    termination::DrainAction,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// After the first refusal of a pod's eviction; doubled after each further one.
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// An accepted eviction shows on the pod within moments; it is not asked for again meanwhile.
const ACCEPTED_PAUSE: Duration = Duration::from_secs(10);

/// When each pod of a node may be asked to go again. Kept per node, and forgotten with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct EvictionPace {
    by_node: Arc<Mutex<BTreeMap<NodeName, BTreeMap<String, Asked>>>>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    refusals: u32,
    not_before: Timestamp,
}

impl EvictionPace {
    /// Until when the pod is left alone; none if it may be asked now.
    fn pause(&self, node: &NodeName, pod: &Pod, now: Timestamp) -> Option<Timestamp> {
        let by_node = self.by_node.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = by_node.get(node)?.get(pod.uid().as_deref().unwrap_or_default())?;
        (asked.not_before > now).then_some(asked.not_before)
    }

    /// Notes what an eviction came to; when to ask again.
    fn note(&self, node: &NodeName, pod: &Pod, accepted: bool, now: Timestamp) -> Timestamp {
        let mut by_node = self.by_node.lock().unwrap_or_else(PoisonError::into_inner);
        let pods = by_node.entry(node.clone()).or_default();
        let asked = pods.entry(pod.uid().unwrap_or_default()).or_insert(Asked { refusals: 0, not_before: now });
        let pause = if accepted {
            ACCEPTED_PAUSE
        } else {
            BACKOFF.saturating_mul(1_u32.checked_shl(asked.refusals).unwrap_or(u32::MAX)).min(BACKOFF_MAX)
        };
        asked.refusals = if accepted { 0 } else { asked.refusals.saturating_add(1) };
        asked.not_before = later(now, pause);
        asked.not_before
    }

    /// The node is gone.
    pub(super) fn forget(&self, node: &NodeName) {
        self.by_node.lock().unwrap_or_else(PoisonError::into_inner).remove(node);
    }
}

/// Tells one pod to go, unless it was told a moment ago; when to come again for it.
pub(super) async fn tell(
    ctx: &Context,
    node: &Node,
    action: &DrainAction,
    reason: &str,
) -> Result<Next, ReconcileError> {
    match action {
        DrainAction::Evict(pod) => evict(ctx, node, pod, reason).await,
        DrainAction::ForceDelete { pod, grace_seconds } => {
            let name = node_name(node);
            if let Some(until) = ctx.memory.eviction_pace.pause(&name, pod, ctx.now()) {
                return Ok(Next::At(until));
            }
            ctx.apply.force_delete(pod, *grace_seconds).await?;
            ctx.decided("node.termination", "deleted pod", pod_fields(pod, node, "Forceful Termination"));
            Ok(Next::At(ctx.memory.eviction_pace.note(&name, pod, true, ctx.now())))
        }
    }
}

async fn evict(ctx: &Context, node: &Node, pod: &Pod, reason: &str) -> Result<Next, ReconcileError> {
    let name = node_name(node);
    if let Some(until) = ctx.memory.eviction_pace.pause(&name, pod, ctx.now()) {
        return Ok(Next::At(until));
    }
    let outcome = ctx.apply.evict(pod).await?;
    let again =
        ctx.memory.eviction_pace.note(&name, pod, outcome != Eviction::Gone && is_accepted(&outcome), ctx.now());
    match outcome {
        Eviction::Gone => Ok(Next::OnChange),
        Eviction::Evicted => {
            ctx.metrics.pods_drained.get_or_create(&OfReason { reason: reason.to_owned() }).inc();
            ctx.apply.events.record(Event::normal(pod, "Evicted", format!("Evicted pod: {reason}")));
            ctx.decided("eviction", "evicted pod", pod_fields(pod, node, reason));
            Ok(Next::At(again))
        }
        Eviction::Blocked { message, several_budgets } => {
            tracing::debug!(pod = %PodKey::of(pod), message, "the pod cannot be evicted now");
            let why =
                if several_budgets { "eviction does not support multiple PDBs" } else { "evicting pod violates a PDB" };
            let text = format!("Failed to drain node, {why} (Pod={})", PodKey::of(pod));
            ctx.apply.events.record(Event::warning(node, "FailedDraining", text));
            Ok(Next::At(again))
        }
    }
}

fn is_accepted(outcome: &Eviction) -> bool {
    match outcome {
        Eviction::Evicted | Eviction::Gone => true,
        Eviction::Blocked { .. } => false,
    }
}

fn pod_fields(pod: &Pod, node: &Node, reason: &str) -> Vec<(&'static str, String)> {
    vec![("Pod", PodKey::of(pod).to_string()), ("Node", node.name_any()), ("reason", reason.to_owned())]
}

#[cfg(test)]
mod tests {
    use super::EvictionPace;
    use jiff::Timestamp;
    use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ObjectMeta};
    use sawhorse_core::model::NodeName;

    #[test]
    fn refusals_double_the_pause_up_to_ten_seconds() {
        let pace = EvictionPace::default();
        let (node, now) = (NodeName::from("n"), Timestamp::UNIX_EPOCH);
        let pod = Pod { metadata: ObjectMeta { uid: Some("u".into()), ..ObjectMeta::default() }, ..Pod::default() };
        assert_eq!(pace.pause(&node, &pod, now), None);
        let pauses: Vec<i64> = (0..8).map(|_| pace.note(&node, &pod, false, now).as_millisecond()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000]);
        assert_eq!(pace.pause(&node, &pod, now).unwrap().as_millisecond(), 10_000);
        pace.forget(&node);
        assert_eq!(pace.pause(&node, &pod, now), None);
    }
}
