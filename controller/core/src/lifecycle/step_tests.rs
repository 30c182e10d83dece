use super::*;
use crate::{
    api::conditions::{FALSE, TRUE, UNKNOWN},
    lifecycle::{
        LaunchedMachine,
        fixtures::{at, claim, node},
    },
    model::{Resources, Settings},
};
use rstest::rstest;
use serde_json::{Value, json};

fn launched() -> LaunchOutcome {
    LaunchOutcome::Launched(Box::new(LaunchedMachine {
        provider_id: "aws:///zone-a/i-1".to_owned(),
        image_id: "ami-1".to_owned(),
        labels: [
            ("topology.kubernetes.io/zone".to_owned(), "zone-a".to_owned()),
            ("karpenter.sh/nodepool".to_owned(), "x".to_owned()),
        ]
        .into(),
        annotations: [("hash".to_owned(), "1".to_owned())].into(),
        capacity: Resources::from_iter([("cpu", 2000)]),
        allocatable: Resources::from_iter([("cpu", 1900)]),
    }))
}

fn condition(step: &Step, type_: &str) -> (String, String, String) {
    let condition = step.claim.condition(type_).unwrap();
    (condition.status.clone(), condition.reason.clone(), condition.message.clone())
}

fn expect(status: &str, reason: &str, message: &str) -> (String, String, String) {
    (status.to_owned(), reason.to_owned(), message.to_owned())
}

/// A claim that has been launched, and (given nodes) whatever follows.
fn after_launch(change: &Value, nodes: &[Arc<Node>], now: i64) -> Step {
    let launched_claim = next_step(&claim(change), &[], Some(&launched()), &Settings::default(), at(1)).claim;
    next_step(&launched_claim, nodes, None, &Settings::default(), at(now))
}

#[test]
fn a_new_claim_gets_its_finalizer_and_conditions_and_is_launched() {
    let step = next_step(&claim(&json!({})), &[], None, &Settings::default(), at(1));
    assert_eq!(step.claim.metadata.finalizers.as_deref().unwrap(), ["karpenter.sh/termination"]);
    assert_eq!(
        condition(&step, LAUNCHED),
        expect(UNKNOWN, "AwaitingReconciliation", "object is awaiting reconciliation")
    );
    assert_eq!(step.actions, [Action::Launch]);
    assert_eq!(step.look_again, LookAgain::At(at(300)));
}

#[test]
fn a_launched_claim_carries_what_the_cloud_told() {
    let step = next_step(&claim(&json!({})), &[], Some(&launched()), &Settings::default(), at(2));
    let labels = step.claim.metadata.labels.clone().unwrap();
    assert_eq!(
        (labels["topology.kubernetes.io/zone"].as_str(), labels["karpenter.sh/nodepool"].as_str()),
        ("zone-a", "default")
    );
    let status = step.claim.status.clone().unwrap();
    assert_eq!(status.provider_id.as_deref(), Some("aws:///zone-a/i-1"));
    assert_eq!(status.capacity["cpu"].0, "2");
    assert_eq!(condition(&step, LAUNCHED), expect(TRUE, "Launched", ""));
    assert_eq!(condition(&step, REGISTERED), expect(UNKNOWN, "NodeNotFound", "Node not registered with cluster"));
    assert_eq!(
        (step.actions.as_slice(), step.milestones.as_slice()),
        ([].as_slice(), [Milestone::Launched].as_slice())
    );
    assert_eq!(step.look_again, LookAgain::At(at(900)));
}

#[rstest]
#[case::capacity(
    LaunchOutcome::InsufficientCapacity { message: "m5.large in zone-a".into() },
    vec![Action::DeleteClaim(DeletionReason::InsufficientCapacity)], "AwaitingReconciliation", LookAgain::OnChange,
)]
#[case::class(
    LaunchOutcome::NodeClassNotReady { message: "no subnets".into() },
    vec![Action::DeleteClaim(DeletionReason::NodeClassNotReady)], "AwaitingReconciliation", LookAgain::OnChange,
)]
#[case::create_error(
    LaunchOutcome::CreateError { reason: "BadRole".into(), message: "x".into() }, vec![], "BadRole", LookAgain::Backoff,
)]
#[case::other(LaunchOutcome::Failed { message: "x".into() }, vec![], "LaunchFailed", LookAgain::Backoff)]
fn each_launch_error_has_one_behaviour(
    #[case] outcome: LaunchOutcome,
    #[case] actions: Vec<Action>,
    #[case] reason: &str,
    #[case] look_again: LookAgain,
) {
    let step = next_step(&claim(&json!({})), &[], Some(&outcome), &Settings::default(), at(2));
    assert_eq!((step.actions.clone(), step.look_again), (actions, look_again));
    let launched = step.claim.condition(LAUNCHED).unwrap();
    assert_eq!((launched.status.as_str(), launched.reason.as_str()), (UNKNOWN, reason));
}

#[test]
fn out_of_capacity_is_told_with_a_cut_message() {
    let outcome = LaunchOutcome::InsufficientCapacity { message: "x".repeat(400) };
    let step = next_step(&claim(&json!({})), &[], Some(&outcome), &Settings::default(), at(2));
    assert_eq!(step.events[0].reason, "InsufficientCapacityError");
    assert_eq!(step.events[0].message, format!("NodeClaim default-1 event: {}...", "x".repeat(300)));
}

#[test]
fn a_node_that_joins_takes_over_what_its_claim_says() {
    let spec = json!({ "spec": {
        "taints": [{ "key": "gpu", "effect": "NoSchedule" }],
        "startupTaints": [{ "key": "boot", "value": "1", "effect": "NoExecute" }],
    } });
    let node = node(&json!({ "metadata": { "labels": { "topology.kubernetes.io/zone": "wrong" } } }));
    let step = after_launch(&spec, &[Arc::new(node)], 60);
    let joined = step.node.as_ref().unwrap();
    assert_eq!(joined.metadata.finalizers.as_deref().unwrap(), ["karpenter.sh/termination"]);
    let owner = &joined.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!(
        (owner.kind.as_str(), owner.uid.as_str(), owner.block_owner_deletion),
        ("NodeClaim", "uid-1", Some(true))
    );
    let labels = joined.metadata.labels.as_ref().unwrap();
    assert_eq!(
        (labels["topology.kubernetes.io/zone"].as_str(), labels["karpenter.sh/registered"].as_str()),
        ("zone-a", "true")
    );
    let taints: Vec<&str> =
        joined.spec.as_ref().unwrap().taints.iter().flatten().map(|taint| taint.key.as_str()).collect();
    assert_eq!(taints, ["gpu", "boot"]);
    assert_eq!(step.claim.status.as_ref().unwrap().node_name.as_deref(), Some("node-1"));
    assert_eq!(condition(&step, REGISTERED), expect(TRUE, "Registered", ""));
    assert_eq!(
        condition(&step, INITIALIZED),
        expect(UNKNOWN, "StartupTaintsExist", "StartupTaint \"boot=1:NoExecute\" still exists")
    );
    assert_eq!(step.actions, [Action::RecordRegistration { success: true }]);
    assert!(step.events.is_empty());
}

#[test]
fn a_node_may_keep_its_taints_to_itself() {
    let node = node(&json!({ "metadata": { "labels": { "karpenter.sh/do-not-sync-taints": "true" } } }));
    let step = after_launch(
        &json!({ "spec": { "taints": [{ "key": "gpu", "effect": "NoSchedule" }] } }),
        &[Arc::new(node)],
        60,
    );
    assert_eq!(step.node.unwrap().spec.unwrap().taints.unwrap(), []);
}

#[test]
fn a_node_without_the_unregistered_taint_is_reported_and_registered() {
    let step = after_launch(&json!({}), &[Arc::new(node(&json!({ "spec": { "taints": [] } })))], 60);
    assert_eq!(step.events[0].reason, "UnregisteredTaintMissing");
    assert!(step.claim.is_true(REGISTERED));
}

#[test]
fn two_nodes_with_one_provider_id_are_never_registered() {
    let nodes = [Arc::new(node(&json!({}))), Arc::new(node(&json!({ "metadata": { "name": "node-2" } })))];
    let step = after_launch(&json!({}), &nodes, 60);
    let message = "Invariant violated, matched multiple nodes";
    assert_eq!(condition(&step, REGISTERED), expect(FALSE, "MultipleNodesFound", message));
    let again = next_step(&step.claim, &nodes[..1], None, &Settings::default(), at(61));
    assert!(again.claim.is_false(REGISTERED) && again.node.is_none());
}

#[rstest]
#[case::not_ready(json!({ "status": { "conditions": [{ "type": "Ready", "status": "False" }] } }), "NodeNotReady", "Node status is NotReady")]
#[case::no_condition(json!({ "status": { "conditions": null } }), "NodeNotReady", "Node status is NotReady")]
#[case::startup(
    json!({ "spec": { "taints": [{ "key": "boot", "effect": "NoExecute" }, { "key": "node.kubernetes.io/not-ready", "effect": "NoSchedule" }] } }),
    "StartupTaintsExist", "StartupTaint \"boot:NoExecute\" still exists"
)]
#[case::ephemeral(
    json!({ "spec": { "taints": [{ "key": "node.kubernetes.io/not-ready", "effect": "NoSchedule" }] } }),
    "KnownEphemeralTaintsExist", "KnownEphemeralTaint \"node.kubernetes.io/not-ready:NoSchedule\" still exists"
)]
#[case::resource(
    json!({ "status": { "allocatable": { "nvidia.com/gpu": "0" } } }),
    "ResourceNotRegistered", "Resource \"nvidia.com/gpu\" was requested but not registered"
)]
fn initialization_waits_in_order(#[case] change: Value, #[case] reason: &str, #[case] message: &str) {
    let spec = json!({ "spec": {
        "startupTaints": [{ "key": "boot", "effect": "NoExecute" }],
        "resources": { "requests": { "cpu": "1", "nvidia.com/gpu": "1", "example.com/none": "0" } },
    } });
    let mut joined = json!({ "metadata": { "labels": { "karpenter.sh/do-not-sync-taints": "true" } } });
    crate::lifecycle::fixtures::merge(&mut joined, &change);
    let step = after_launch(&spec, &[Arc::new(node(&joined))], 60);
    assert_eq!(condition(&step, INITIALIZED), expect(UNKNOWN, reason, message));
}

#[test]
fn a_usable_node_is_registered_and_initialized_in_one_step_and_then_left_alone() {
    let step = after_launch(&json!({}), &[Arc::new(node(&json!({})))], 60);
    assert_eq!(step.milestones, [Milestone::Registered, Milestone::Initialized]);
    assert_eq!(step.node.as_ref().unwrap().metadata.labels.as_ref().unwrap()["karpenter.sh/initialized"], "true");
    assert!(step.claim.is_true("Ready"));
    let broken = node(&json!({ "status": { "conditions": [{ "type": "Ready", "status": "False" }] } }));
    let again = next_step(&step.claim, &[Arc::new(broken)], None, &Settings::default(), at(70));
    assert_eq!(again.claim, step.claim);
    assert!(again.node.is_none() && again.actions.is_empty() && again.milestones.is_empty());
    // Its age is disruption's to look at.
    assert_eq!(again.look_again, LookAgain::OnChange);
}

#[rstest]
#[case::launch_in_time(false, 299, None)]
#[case::launch_too_late(false, 300, Some(DeletionReason::LaunchTimeout))]
#[case::registration_in_time(true, 899, None)]
#[case::registration_too_late(true, 900, Some(DeletionReason::RegistrationTimeout))]
fn timeouts_count_from_creation(#[case] is_launched: bool, #[case] now: i64, #[case] deleted: Option<DeletionReason>) {
    let outcome = if is_launched { launched() } else { LaunchOutcome::Failed { message: "x".into() } };
    let before = next_step(&claim(&json!({})), &[], Some(&outcome), &Settings::default(), at(1)).claim;
    let step = next_step(&before, &[], None, &Settings::default(), at(now));
    let expected =
        deleted.map(|reason| vec![Action::RecordRegistration { success: false }, Action::DeleteClaim(reason)]);
    let retries = if is_launched { vec![] } else { vec![Action::Launch] };
    assert_eq!(step.actions, expected.unwrap_or(retries));
}

#[rstest]
#[case::in_time("1h", true, true, 3599, false)]
#[case::too_old("1h", true, true, 3600, true)]
#[case::never("Never", true, true, 1_000_000, false)]
#[case::left_to_disruption("1h", true, false, 3600, false)]
#[case::of_no_use_to_anyone("10m", false, false, 600, true)]
fn claims_expire(
    #[case] expire_after: &str,
    #[case] joins: bool,
    #[case] forceful: bool,
    #[case] now: i64,
    #[case] expired: bool,
) {
    let nodes = if joins { vec![Arc::new(node(&json!({})))] } else { Vec::new() };
    let step = after_launch(&json!({ "spec": { "expireAfter": expire_after } }), &nodes, 60);
    let settings = Settings { forceful_expiration: forceful, ..Settings::default() };
    let step = next_step(&step.claim, &[], None, &settings, at(now));
    assert_eq!(step.actions.contains(&Action::DeleteClaim(DeletionReason::Expired)), expired);
}

#[test]
fn a_claim_that_is_being_deleted_is_left_to_termination() {
    let deleting = claim(&json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:05Z" } }));
    let step = next_step(&deleting, &[], None, &Settings::default(), at(10));
    assert_eq!((step.claim, step.actions), (deleting, vec![]));
}
