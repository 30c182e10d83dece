//! NodePools: hash, validation, readiness, counters, registration health (spec core 1.4, 1.8, 3.1).

mod desired;
mod health;

pub(crate) use health::RegistrationHealth;

use super::{Context, Next, ReconcileError};
use desired::{Facts, adopted};
use kube::Api;
use sawhorse_core::{
    api::{
        NodePool,
        conditions::{self, Conditioned},
    },
    model::{NodePoolName, StateNode},
};

/// Brings one NodePool up to date.
pub(super) async fn reconcile(ctx: Context, name: NodePoolName) -> Result<Next, ReconcileError> {
    let Some(pool) = ctx.mirror.read(|state| state.node_pool(name.as_str())) else {
        return Ok(Next::OnChange);
    };
    if pool.metadata.deletion_timestamp.is_some() {
        return Ok(Next::OnChange);
    }
    let snapshot = ctx.snapshot();
    let machines: Vec<&StateNode> =
        snapshot.nodes.iter().filter(|node| node.node_pool().as_ref() == Some(&name)).collect();
    for claim in machines.iter().filter_map(|machine| machine.node_claim.as_ref()) {
        if let Some(claim_after) = adopted(claim, &pool) {
            ctx.apply.update(&ctx.apply.claims(), &**claim, &claim_after).await?;
        }
    }
    let node_class = ctx.node_class(&pool.spec.template.spec.node_class_ref);
    let health = ctx.memory.health.of(&pool);
    let facts = Facts { node_class: node_class.as_ref(), machines: &machines, health, now: snapshot.now };
    let desired = desired::node_pool(&pool, &facts);
    say_if_readiness_changed(&ctx, &pool, &desired, &name);
    ctx.apply.update(&Api::all(ctx.apply.client.clone()), &*pool, &desired).await?;
    Ok(Next::OnChange)
}

fn say_if_readiness_changed(ctx: &Context, before: &NodePool, after: &NodePool, name: &NodePoolName) {
    let ready =
        |pool: &NodePool| pool.condition(conditions::READY).map(|ready| (ready.status.clone(), ready.message.clone()));
    if let Some((status, message)) = ready(after).filter(|now| Some(now) != ready(before).as_ref()) {
        let fields = vec![("NodePool", name.to_string()), ("ready", status), ("message", message)];
        ctx.decided("nodepool.readiness", "readiness of nodepool changed", fields);
    }
}
