//! Garbage collection both ways: NodeClaims without a machine, machines without a NodeClaim (spec core 3.2); and, since the
//! machines are listed for that anyway, what has become of reservations that they ran in (spec aws 4.3).

use super::{Context, ReconcileError, node_claim, passes};
use crate::cloud::CloudInstance;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};
use sawhorse_core::{
    api::{NodeClaim, labels},
    lifecycle::{DeletionReason, ListedInstance, orphans, uncollected_claims},
    model::{CapacityType, ProviderId},
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Between two looks. Nothing tells that a machine is gone, so this has to be asked.
const PERIOD: Duration = Duration::from_mins(2);

/// Looks until `stop`.
pub(super) async fn run(ctx: Context, stop: CancellationToken) {
    while passes(PERIOD, &stop).await {
        if let Err(error) = collect(&ctx).await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "garbage collection failed, will be tried again");
        }
    }
}

async fn collect(ctx: &Context) -> Result<(), ReconcileError> {
    let instances = ctx.provider.list().await?;
    relabel_unreserved(ctx, &instances).await?;
    let listed: Vec<ListedInstance> = instances.into_iter().map(listed).collect();
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

/// A machine whose reservation was cancelled or has ended runs on and is paid for as on demand: its NodeClaim and Node say so, so
/// that what it costs is seen and nothing takes it for free.
async fn relabel_unreserved(ctx: &Context, instances: &[CloudInstance]) -> Result<(), ReconcileError> {
    let on_demand = instances.iter().filter(|instance| instance.capacity_type == CapacityType::OnDemand);
    let ids: BTreeSet<&ProviderId> = on_demand.map(|instance| &instance.provider_id).collect();
    let is_unreserved = |claim: &&Arc<NodeClaim>| {
        let id = claim.status.as_ref().and_then(|status| status.provider_id.as_deref()).map(ProviderId::from);
        is_reserved(claim.meta()) && id.is_some_and(|id| ids.contains(&id))
    };
    let claims: Vec<Arc<NodeClaim>> =
        ctx.mirror.read(|state| state.node_claims().iter().filter(is_unreserved).cloned().collect());
    for claim in claims {
        let id = claim.status.as_ref().and_then(|status| status.provider_id.as_deref()).map(ProviderId::from);
        for node in id.map(|id| ctx.mirror.read(|state| state.nodes_of(&id))).unwrap_or_default() {
            if is_reserved(&node.metadata) {
                let mut after = (*node).clone();
                unreserve(&mut after.metadata);
                ctx.apply.update(&ctx.apply.nodes(), &node, &after).await?;
            }
        }
        let mut after = NodeClaim::clone(&claim);
        unreserve(&mut after.metadata);
        ctx.apply.update(&ctx.apply.claims(), &claim, &after).await?;
        let fields = vec![("NodeClaim", claim.name_any())];
        ctx.decided(
            "capacityreservation.capacitytype",
            "the reservation is gone, the machine is on demand now",
            fields,
        );
    }
    Ok(())
}

fn is_reserved(object: &ObjectMeta) -> bool {
    let kind = object.labels.as_ref().and_then(|all| all.get(labels::CAPACITY_TYPE));
    kind.is_some_and(|kind| kind == CapacityType::Reserved.as_str())
}

fn unreserve(object: &mut ObjectMeta) {
    let all = object.labels.get_or_insert_default();
    all.insert(labels::CAPACITY_TYPE.to_owned(), CapacityType::OnDemand.as_str().to_owned());
    for key in
        [labels::CAPACITY_RESERVATION_ID, labels::CAPACITY_RESERVATION_TYPE, labels::CAPACITY_RESERVATION_INTERRUPTIBLE]
    {
        all.remove(key);
    }
}

fn listed(instance: CloudInstance) -> ListedInstance {
    let CloudInstance { provider_id, node_claim, launched_at, terminating, .. } = instance;
    ListedInstance { provider_id, node_claim, launched_at, terminating }
}
