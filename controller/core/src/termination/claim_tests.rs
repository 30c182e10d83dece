use super::*;
use crate::lifecycle::fixtures::{at, claim, merge, node};
use rstest::rstest;
use serde_json::{Value, json};

fn dying(change: &Value) -> NodeClaim {
    let mut base = json!({ "metadata": {
        "deletionTimestamp": "2026-01-01T00:01:00Z", "finalizers": ["karpenter.sh/termination"],
    }, "status": { "providerID": "aws:///zone-a/i-1" } });
    merge(&mut base, change);
    claim(&base)
}

fn registered(change: &Value) -> NodeClaim {
    let mut claim = dying(change);
    claim.set_true(REGISTERED, at(30));
    claim
}

fn held(step: &TerminationStep) -> bool {
    step.claim.as_ref().unwrap().metadata.finalizers.iter().flatten().count() == 1
}

#[test]
fn the_nodes_of_a_registered_claim_go_first() {
    let dying_node = node(&json!({ "metadata": { "name": "node-2", "deletionTimestamp": "2026-01-01T00:01:01Z" } }));
    let nodes = [Arc::new(node(&json!({}))), Arc::new(dying_node)];
    let step = claim_step(&registered(&json!({})), &nodes, None, at(61));
    assert_eq!(step.actions, [TerminationAction::DeleteNode("node-1".to_owned())]);
    assert_eq!(step.waiting, Some(WaitingFor::Nodes(vec!["node-1".to_owned(), "node-2".to_owned()])));
    assert!(held(&step));
}

#[rstest]
#[case::registered_without_nodes(true, None, Some(Question::DeleteInstance), true)]
#[case::never_registered_leaves_nodes_alone(false, None, Some(Question::DeleteInstance), true)]
#[case::being_ended(false, Some(InstanceState::Terminating), None, true)]
#[case::gone(false, Some(InstanceState::Gone), None, false)]
fn then_the_machine(
    #[case] was_registered: bool,
    #[case] instance: Option<InstanceState>,
    #[case] question: Option<Question>,
    #[case] still_held: bool,
) {
    let claim = if was_registered { registered(&json!({})) } else { dying(&json!({})) };
    let nodes = if was_registered { vec![] } else { vec![Arc::new(node(&json!({})))] };
    let step = claim_step(&claim, &nodes, instance, at(61));
    assert_eq!((step.question, held(&step)), (question, still_held));
    assert_eq!(step.claim.as_ref().unwrap().is_true(INSTANCE_TERMINATING), instance.is_some());
    assert_eq!(step.look_again, (instance == Some(InstanceState::Terminating)).then_some(at(66)));
}

#[test]
fn a_claim_that_was_never_launched_goes_at_once() {
    assert!(!held(&claim_step(&dying(&json!({ "status": { "providerID": null } })), &[], None, at(61))));
}

#[test]
fn the_grace_period_sets_a_deadline_once() {
    let step = claim_step(&registered(&json!({ "spec": { "terminationGracePeriod": "1h" } })), &[], None, at(61));
    let claim = step.claim.unwrap();
    assert_eq!(
        claim.metadata.annotations.as_ref().unwrap()["karpenter.sh/nodeclaim-termination-timestamp"],
        "2026-01-01T01:01:00Z"
    );
    assert_eq!(step.events[0].message, "All pods will be deleted by 2026-01-01T01:01:00Z");
    let again = claim_step(&claim, &[], None, at(62));
    assert!(again.events.is_empty());
    assert_eq!(again.claim.unwrap().metadata.annotations, claim.metadata.annotations);
}

#[test]
fn a_claim_that_is_not_being_deleted_needs_nothing() {
    let live = claim(&json!({ "metadata": { "finalizers": ["karpenter.sh/termination"] } }));
    let step = claim_step(&live, &[Arc::new(node(&json!({})))], None, at(61));
    assert_eq!((step.claim.as_ref(), step.actions.len(), step.question), (Some(&live), 0, None));
}
