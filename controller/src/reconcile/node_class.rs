//! NodeClasses: what their selectors resolve to, their hash, and letting go of them.

use super::{Context, Next, ReconcileError};
use crate::{
    apply::Event,
    cloud::{NodeClass, ResolvedNodeClass},
};
use jiff::{SignedDuration, Timestamp};
use kube::{Api, ResourceExt};
use sawhorse_core::{
    api::{
        Ec2NodeClass, Ec2NodeClassStatus, NodeClaim,
        conditions::{self, Conditioned},
        hash, labels,
    },
    lifecycle::DeletionReason,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// A class that is still in use is looked at again when one of its NodeClaims goes, and at the latest after this long.
const IN_USE_RETRY: Duration = Duration::from_secs(600);
/// How often users are told that a class is still in use.
const IN_USE_EVENT_WINDOW: SignedDuration = SignedDuration::from_mins(10);

/// Brings one NodeClass up to date.
pub(super) async fn reconcile(ctx: Context, name: String) -> Result<Next, ReconcileError> {
    let Some(class) = ctx.mirror.read(|state| state.ec2_node_class(&name)) else { return Ok(Next::OnChange) };
    if class.metadata.deletion_timestamp.is_some() {
        return let_go(&ctx, &class).await;
    }
    let api: Api<Ec2NodeClass> = Api::all(ctx.apply.client.clone());
    // The finalizer comes before anything that has to be cleaned up.
    let class = Arc::new(ctx.apply.update(&api, &class, &with_finalizer_and_hash(&class)).await?);
    let ResolvedNodeClass::Ec2 { status, again_after } =
        ctx.provider.resolve_node_class(&NodeClass::Ec2(Arc::clone(&class))).await?;
    let resolved = with_status(&class, *status, ctx.now());
    if !class.is_true(conditions::READY) && resolved.is_true(conditions::READY) {
        ctx.decided("nodeclass", "resolved nodeclass", vec![("EC2NodeClass", name)]);
    }
    ctx.apply.update(&api, &class, &resolved).await?;
    drain_expiring_blocks(&ctx, &resolved).await?;
    Ok(ctx.after(again_after))
}

/// Machines of a capacity block that ends soon are given up while there is time to drain them (spec aws 4.3).
async fn drain_expiring_blocks(ctx: &Context, class: &Ec2NodeClass) -> Result<(), ReconcileError> {
    let reservations = class.status.iter().flat_map(|status| &status.capacity_reservations);
    let expiring: Vec<&str> = reservations.filter(|one| one.state == "expiring").map(|one| one.id.as_str()).collect();
    if expiring.is_empty() {
        return Ok(());
    }
    let inside = |claim: &&Arc<NodeClaim>| {
        let labels = claim.metadata.labels.as_ref();
        let id = labels.and_then(|labels| labels.get(labels::CAPACITY_RESERVATION_ID));
        id.is_some_and(|id| expiring.contains(&id.as_str())) && claim.metadata.deletion_timestamp.is_none()
    };
    let claims: Vec<Arc<NodeClaim>> =
        ctx.mirror.read(|state| state.node_claims().iter().filter(inside).cloned().collect());
    for claim in claims {
        super::node_claim::delete(ctx, &claim, DeletionReason::BlockExpiring).await?;
    }
    Ok(())
}

async fn let_go(ctx: &Context, class: &Arc<Ec2NodeClass>) -> Result<Next, ReconcileError> {
    if !class.finalizers().iter().any(|finalizer| finalizer == labels::EC2_TERMINATION_FINALIZER) {
        return Ok(Next::OnChange);
    }
    let users = ctx.mirror.read(|state| users_of(&state.node_claims(), &class.name_any()));
    if !users.is_empty() {
        let message = format!("Waiting on NodeClaim termination for {}", users.join(", "));
        ctx.apply
            .events
            .record(Event::warning(&**class, "WaitingOnNodeClaimTermination", message).window(IN_USE_EVENT_WINDOW));
        return Ok(ctx.after(IN_USE_RETRY));
    }
    ctx.provider.release_node_class(&NodeClass::Ec2(Arc::clone(class))).await?;
    let mut after = Ec2NodeClass::clone(class);
    after.finalizers_mut().retain(|finalizer| finalizer != labels::EC2_TERMINATION_FINALIZER);
    ctx.apply.update(&Api::all(ctx.apply.client.clone()), &**class, &after).await?;
    ctx.decided("nodeclass.termination", "deleted nodeclass", vec![("EC2NodeClass", class.name_any())]);
    Ok(Next::OnChange)
}

/// The NodeClaims that refer to the class, by name.
fn users_of(claims: &[Arc<NodeClaim>], class: &str) -> Vec<String> {
    claims.iter().filter(|claim| claim.spec.node_class_ref.name == class).map(|claim| claim.name_any()).collect()
}

fn with_finalizer_and_hash(class: &Ec2NodeClass) -> Ec2NodeClass {
    let mut after = class.clone();
    if !after.finalizers().iter().any(|finalizer| finalizer == labels::EC2_TERMINATION_FINALIZER) {
        after.finalizers_mut().push(labels::EC2_TERMINATION_FINALIZER.to_owned());
    }
    let annotations = after.metadata.annotations.get_or_insert_with(BTreeMap::new);
    annotations.insert(labels::EC2_NODE_CLASS_HASH.to_owned(), hash::ec2_node_class(class, None));
    annotations.insert(labels::EC2_NODE_CLASS_HASH_VERSION.to_owned(), hash::EC2_NODE_CLASS_VERSION.to_owned());
    after
}

/// The class with the status that the provider found; conditions keep their transition times where they stay as they are.
fn with_status(class: &Ec2NodeClass, found: Ec2NodeClassStatus, now: Timestamp) -> Ec2NodeClass {
    let mut after = class.clone();
    let kept = after.status.take().map(|status| status.conditions).unwrap_or_default();
    let wanted = found.conditions.clone();
    after.status = Some(Ec2NodeClassStatus { conditions: kept, ..found });
    for condition in wanted.iter().filter(|condition| condition.type_ != conditions::READY) {
        after.set_condition(&condition.type_, &condition.status, &condition.reason, &condition.message, now);
    }
    after
}

#[cfg(test)]
mod tests {
    use super::{with_finalizer_and_hash, with_status};
    use jiff::{SignedDuration, Timestamp};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
    use sawhorse_core::api::{
        Ec2NodeClass, Ec2NodeClassStatus,
        conditions::{AMIS_READY, Conditioned, READY},
        labels,
    };

    fn found(status: &str) -> Ec2NodeClassStatus {
        let condition = Condition {
            type_: AMIS_READY.to_owned(),
            status: status.to_owned(),
            reason: "Reason".to_owned(),
            message: String::new(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: None,
        };
        Ec2NodeClassStatus { conditions: vec![condition], ..Ec2NodeClassStatus::default() }
    }

    #[test]
    fn conditions_keep_their_time_while_they_stay_as_they_are() {
        let at = |second| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second);
        let mut class = Ec2NodeClass::default();
        class.metadata.creation_timestamp = Some(Time(at(0)));
        let class = with_status(&class, found("True"), at(10));
        let class = with_status(&class, found("True"), at(20));
        assert_eq!(class.condition(AMIS_READY).unwrap().last_transition_time.0, at(10));
        let class = with_status(&class, found("False"), at(30));
        assert_eq!(class.condition(AMIS_READY).unwrap().last_transition_time.0, at(30));
        assert_eq!(class.condition(READY).unwrap().status, "False");
    }

    #[test]
    fn the_finalizer_is_added_once() {
        let class = with_finalizer_and_hash(&with_finalizer_and_hash(&Ec2NodeClass::default()));
        assert_eq!(class.metadata.finalizers, Some(vec![labels::EC2_TERMINATION_FINALIZER.to_owned()]));
    }
}
