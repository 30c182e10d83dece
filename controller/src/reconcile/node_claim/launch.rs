//! Buying the machine of a NodeClaim.

use super::super::{Context, catalog, pool_of};
use crate::cloud::{CloudError, LaunchRequest, Launched};
use sawhorse_core::{
    api::{NodeClaim, NodePool, labels},
    lifecycle::{LaunchOutcome, LaunchedMachine},
    model::{InstanceType, Price, ProviderId, Requirements, Resources},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Annotation of NodeClaims: which attempt to launch is under way; with the UID it names the idempotency token.
const LAUNCH_ATTEMPT: &str = "sawhorse.dev/launch-attempt";

/// What launches came to, by NodeClaim UID, until the NodeClaim is gone: its status may not say so yet when it is deleted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Launches {
    by_claim: Arc<Mutex<BTreeMap<String, Option<ProviderId>>>>,
}

impl Launches {
    fn note(&self, claim: &NodeClaim, outcome: &LaunchOutcome) {
        let concluded = match outcome {
            LaunchOutcome::Launched(machine) => Some(ProviderId::from(&machine.provider_id)),
            LaunchOutcome::InsufficientCapacity { .. } | LaunchOutcome::NodeClassNotReady { .. } => None,
            // It may have been bought all the same: nothing is known.
            LaunchOutcome::CreateError { .. } | LaunchOutcome::Failed { .. } => return,
        };
        let uid = claim.metadata.uid.clone().unwrap_or_default();
        self.by_claim.lock().unwrap_or_else(PoisonError::into_inner).insert(uid, concluded);
    }

    /// The machine that was bought, or that surely none was; `None` where this process does not know.
    pub(in super::super) fn concluded(&self, claim: &NodeClaim) -> Option<Option<ProviderId>> {
        let uid = claim.metadata.uid.as_deref().unwrap_or_default();
        self.by_claim.lock().unwrap_or_else(PoisonError::into_inner).get(uid).cloned()
    }

    pub(in super::super) fn forget(&self, claim: &NodeClaim) {
        let uid = claim.metadata.uid.as_deref().unwrap_or_default();
        self.by_claim.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// Says on the object which attempt is about to be made.
pub(super) fn record_attempt(claim: &mut NodeClaim) {
    let attempt = attempt(claim).unwrap_or(1);
    set_attempt(claim, attempt);
}

/// After a refusal the next request may differ, and a cloud refuses a different request under the same token. After a lost
/// answer the token stays, so that what was bought is found.
pub(super) fn raise_attempt_if_refused(claim: &mut NodeClaim, outcome: &LaunchOutcome) {
    if let (LaunchOutcome::CreateError { .. }, Some(attempt)) = (outcome, attempt(claim)) {
        set_attempt(claim, attempt.saturating_add(1));
    }
}

/// Whether a launch has been tried.
pub(in super::super) fn is_recorded(claim: &NodeClaim) -> bool {
    attempt(claim).is_some()
}

/// The attempt that is under way; none where no launch has been tried.
fn attempt(claim: &NodeClaim) -> Option<u32> {
    claim.metadata.annotations.as_ref()?.get(LAUNCH_ATTEMPT)?.parse().ok()
}

fn set_attempt(claim: &mut NodeClaim, attempt: u32) {
    let annotations = claim.metadata.annotations.get_or_insert_default();
    annotations.insert(LAUNCH_ATTEMPT.to_owned(), attempt.to_string());
}

/// Asks the cloud for the machine of `claim`.
pub(super) async fn launch(ctx: &Context, claim: &NodeClaim) -> LaunchOutcome {
    let outcome = match request(ctx, claim).await {
        Ok(request) => match ctx.provider.create(&request).await {
            Ok(launched) => LaunchOutcome::Launched(Box::new(machine(launched))),
            Err(error) => refusal(&error),
        },
        Err(error) => refusal(&error),
    };
    ctx.memory.launches.note(claim, &outcome);
    outcome
}

async fn request(ctx: &Context, claim: &NodeClaim) -> Result<LaunchRequest, CloudError> {
    let name = &claim.spec.node_class_ref.name;
    let node_class = ctx.node_class(&claim.spec.node_class_ref).ok_or_else(|| CloudError::NodeClassNotReady {
        name: name.clone(),
        message: "NodeClass not found on cluster".to_owned(),
    })?;
    let pool_name = pool_of(claim.metadata.labels.as_ref());
    let pool = pool_name.as_ref().and_then(|pool| ctx.mirror.read(|state| state.node_pool(pool.as_str())));
    let pool = pool.unwrap_or_else(|| Arc::new(stand_in(claim)));
    let types = ctx.provider.instance_types(&pool, &node_class).await?;
    let types = catalog::overlaid(ctx, &pool_name.unwrap_or_else(|| "".into()), &pool, types).await;
    let requirements = Requirements::from_specs(&claim.spec.requirements);
    Ok(LaunchRequest {
        claim: Arc::new(claim.clone()),
        attempt: attempt(claim).unwrap_or(1),
        node_class,
        instance_types: allowed(&types, &requirements, claim),
        requirements,
        labels: claim.metadata.labels.clone().unwrap_or_default(),
    })
}

/// For a NodeClaim that a user made: a pool that says no more than the claim does.
fn stand_in(claim: &NodeClaim) -> NodePool {
    let mut pool = NodePool::default();
    let template = &mut pool.spec.template.spec;
    template.requirements.clone_from(&claim.spec.requirements);
    template.node_class_ref = claim.spec.node_class_ref.clone();
    pool
}

/// The types that the claim allows and that hold what it asks for, cheapest first; those out of stock come last.
fn allowed(types: &[Arc<InstanceType>], requirements: &Requirements, claim: &NodeClaim) -> Vec<Arc<InstanceType>> {
    let requests = Resources::of_capacity(&claim.spec.resources.requests);
    let names = requirements.get(labels::INSTANCE_TYPE);
    let is_named = |it: &InstanceType| names.is_none_or(|names| names.has(&it.name));
    let fits = |it: &&Arc<InstanceType>| {
        is_named(it) && requirements.intersects(&it.requirements) && requests.fits(&it.allocatable())
    };
    let order = |it: &Arc<InstanceType>| -> (bool, Option<Price>, String) {
        let cheapest = it.cheapest(requirements).map(|offering| offering.price);
        (cheapest.is_none(), cheapest, it.name.clone())
    };
    let mut allowed: Vec<Arc<InstanceType>> = types.iter().filter(fits).cloned().collect();
    allowed.sort_by_cached_key(order);
    allowed
}

fn machine(launched: Launched) -> LaunchedMachine {
    let Launched { instance, labels, annotations, capacity, allocatable, price: _ } = launched;
    LaunchedMachine {
        provider_id: instance.provider_id.to_string(),
        image_id: instance.image_id,
        labels,
        annotations,
        capacity,
        allocatable,
    }
}

fn refusal(error: &CloudError) -> LaunchOutcome {
    match error {
        CloudError::InsufficientCapacity { message } => {
            LaunchOutcome::InsufficientCapacity { message: message.clone() }
        }
        CloudError::NodeClassNotReady { .. } => LaunchOutcome::NodeClassNotReady { message: error.to_string() },
        CloudError::Rejected { code, .. } => {
            LaunchOutcome::CreateError { reason: as_reason(code), message: error.to_string() }
        }
        CloudError::Throttled { .. } | CloudError::Transport { .. } => LaunchOutcome::Failed { message: chain(error) },
    }
}

/// A cloud's code as a condition's reason, which may hold letters, digits, `_`, `,` and `:` only.
fn as_reason(code: &str) -> String {
    let text: String = code.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let text = text.trim_matches('_').trim_start_matches(|c: char| c.is_ascii_digit());
    if text.is_empty() { "CreateError".to_owned() } else { text.to_owned() }
}

/// The error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::{as_reason, attempt, raise_attempt_if_refused, record_attempt, refusal};
    use crate::cloud::CloudError;
    use rstest::rstest;
    use sawhorse_core::{api::NodeClaim, lifecycle::LaunchOutcome};

    #[rstest]
    #[case("InvalidParameterValue", "InvalidParameterValue")]
    #[case("Server.Internal", "Server_Internal")]
    #[case("429", "CreateError")]
    #[case("", "CreateError")]
    fn codes_become_reasons(#[case] code: &str, #[case] reason: &str) {
        assert_eq!(as_reason(code), reason);
    }

    #[test]
    fn the_token_changes_after_a_refusal_and_stays_after_a_lost_answer() {
        let mut claim = NodeClaim::default();
        assert_eq!(attempt(&claim), None);
        record_attempt(&mut claim);
        record_attempt(&mut claim);
        assert_eq!(attempt(&claim), Some(1));
        let lost = refusal(&CloudError::Transport { operation: "CreateFleet", source: "connection reset".into() });
        assert_eq!(
            lost,
            LaunchOutcome::Failed { message: "`CreateFleet` got no usable answer: connection reset".to_owned() }
        );
        raise_attempt_if_refused(&mut claim, &lost);
        assert_eq!(attempt(&claim), Some(1));
        let refused =
            CloudError::Rejected { operation: "CreateFleet", code: "InvalidParameter".into(), message: "x".into() };
        raise_attempt_if_refused(&mut claim, &refusal(&refused));
        assert_eq!(attempt(&claim), Some(2));
    }
}
