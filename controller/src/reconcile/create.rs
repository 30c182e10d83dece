//! Creating planned NodeClaims, for the provisioner and for disruption.

use super::{Context, ReconcileError, claim_name, later};
use crate::metrics::Created;
use sawhorse_core::{
    api::{NodeClaim, NodePool},
    model::{ClusterSnapshot, is_virtual},
    scheduling::PlannedNodeClaim,
};
use std::sync::Arc;

/// How many characters distinguish the NodeClaims of a pool, as `generateName` would make them.
const SUFFIX_LENGTH: usize = 5;
/// The characters that `generateName` draws from: no vowels, nothing that looks like another.
const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Creates the NodeClaims of `planned`, one after the other, and nominates each for its pods, if any is real. Those that could not be
/// created are logged and left out; what they were for is decided anew.
///
/// Call it, and decide what it is given, under [`super::Memory::creation`]: the limits that the decision kept then still hold.
pub(super) async fn create_all(
    ctx: &Context,
    snapshot: &ClusterSnapshot,
    planned: &[PlannedNodeClaim],
    reason: &str,
) -> Vec<NodeClaim> {
    let mut created = Vec::with_capacity(planned.len());
    for planned in planned {
        let Some(pool) = snapshot.node_pools.get(&planned.node_pool) else { continue };
        match create(ctx, pool, planned, reason).await {
            Ok(claim) => created.push(claim),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, node_pool = %planned.node_pool, "creating nodeclaim failed");
            }
        }
    }
    created
}

/// Creates one NodeClaim; see [`create_all`].
pub(super) async fn create(
    ctx: &Context,
    pool: &Arc<NodePool>,
    planned: &PlannedNodeClaim,
    reason: &str,
) -> Result<NodeClaim, ReconcileError> {
    let mut claim = planned.node_claim(pool);
    claim.metadata.name = Some(name_of(ctx, planned));
    let created = ctx.apply.create_claim(&claim).await?;
    let name = claim_name(&created);
    if planned.pods.is_empty() || planned.pods.iter().any(|pod| !is_virtual(pod)) {
        let until = ctx.mirror.read(|state| later(ctx.now(), state.settings().nomination_window()));
        ctx.mirror.update(|state| state.nominate(&name, until));
    }
    let labels = Created {
        reason: reason.to_owned(),
        nodepool: planned.node_pool.to_string(),
        min_values_relaxed: planned.min_values_relaxed.to_string(),
    };
    ctx.metrics.node_claims_created.get_or_create(&labels).inc();
    ctx.decided("provisioner", "created nodeclaim", description(planned, &name));
    Ok(created)
}

/// A name that no other NodeClaim has: drawn from the seed by time and number, so a repeated run has the same names, and a
/// repeated request does not make a second object.
fn name_of(ctx: &Context, planned: &PlannedNodeClaim) -> String {
    let pool = planned.node_pool.as_str();
    let (time, number) = (ctx.now().as_nanosecond().to_string(), ctx.next_number().to_string());
    let suffix = ctx.seed.stream(&["nodeclaim", pool, &time, &number]).text(SUFFIX_ALPHABET, SUFFIX_LENGTH);
    format!("{pool}-{suffix}")
}

fn description(planned: &PlannedNodeClaim, name: &impl ToString) -> Vec<(&'static str, String)> {
    let types: Vec<&str> = planned.instance_types.iter().take(5).map(|it| it.name.as_str()).collect();
    let more = planned.instance_types.len().saturating_sub(types.len());
    let others = if more > 0 { format!(" and {more} other(s)") } else { String::new() };
    vec![
        ("NodePool", planned.node_pool.to_string()),
        ("NodeClaim", name.to_string()),
        ("requests", planned.resources.to_string()),
        ("pods", planned.pods.len().to_string()),
        ("instance-types", format!("{}{others}", types.join(", "))),
    ]
}
