use super::*;
use crate::lifecycle::fixtures::{at, claim, merge, node, pod};
use rstest::rstest;
use serde_json::{Value, json};

fn dying_node(change: &Value) -> Node {
    let mut base = json!({
        "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["karpenter.sh/termination", "other"] },
        "spec": { "taints": [] },
    });
    merge(&mut base, change);
    node(&base)
}

fn dying_claim(change: &Value) -> NodeClaim {
    let mut base = json!({
        "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" }, "status": { "providerID": "aws:///zone-a/i-1" },
    });
    merge(&mut base, change);
    claim(&base)
}

/// Runs steps from `now` on, answering questions as told, until one waits or the finalizer is off.
fn run(
    node: &Node,
    claim: Option<NodeClaim>,
    pods: &[Arc<Pod>],
    volumes: &[String],
    answer: InstanceState,
    now: i64,
) -> (TerminationStep, Vec<Question>) {
    let (mut node, mut claim) = (node.clone(), claim);
    let (mut instance, mut known_volumes, mut asked) = (None, None, Vec::new());
    loop {
        let input = NodeTermination {
            node: &node,
            claim: claim.as_ref(),
            pods,
            instance,
            volumes: known_volumes,
            now: at(now),
        };
        let step = node_step(&input);
        let Some(question) = step.question else { return (step, asked) };
        assert!(asked.len() < 5, "asks on and on: {asked:?}");
        asked.push(question);
        (node, claim) = (step.node.clone().unwrap(), step.claim.clone());
        match question {
            Question::Instance | Question::DeleteInstance => instance = Some(answer),
            Question::Volumes => known_volumes = Some(volumes),
        }
    }
}

fn finalizers(step: &TerminationStep) -> Vec<&str> {
    step.node.as_ref().unwrap().metadata.finalizers.iter().flatten().map(String::as_str).collect()
}

#[test]
fn a_node_is_tainted_and_drained_first() {
    let pods = [Arc::new(pod("a", &json!({})))];
    let (step, asked) =
        run(&dying_node(&json!({})), Some(dying_claim(&json!({}))), &pods, &[], InstanceState::Terminating, 10);
    assert_eq!(asked, []);
    let node = step.node.as_ref().unwrap();
    assert_eq!(node.spec.as_ref().unwrap().taints.as_ref().unwrap(), &[disrupted_taint()]);
    assert_eq!(
        node.metadata.labels.as_ref().unwrap()["node.kubernetes.io/exclude-from-external-load-balancers"],
        "karpenter"
    );
    assert!(step.tainted && !step.drained);
    assert_eq!(step.actions, [TerminationAction::Pod(DrainAction::Evict(Arc::clone(&pods[0])))]);
    assert_eq!(step.claim.as_ref().unwrap().condition(DRAINED).unwrap().reason, "Draining");
    assert_eq!(step.waiting.as_ref().unwrap().to_string(), "Failed to drain node, 1 pods are waiting to be evicted");
    assert_eq!((step.events[0].reason, step.look_again), ("FailedDraining", Some(at(11))));
    assert_eq!(step.eviction_reason, "Forceful Termination");
}

#[test]
fn a_drain_takes_at_least_five_seconds() {
    let (step, _) =
        run(&dying_node(&json!({})), Some(dying_claim(&json!({}))), &[], &[], InstanceState::Terminating, 10);
    assert_eq!((step.waiting.clone(), step.look_again), (Some(WaitingFor::MinDrain), Some(at(15))));
    let (step, asked) = run(&step.node.unwrap(), step.claim, &[], &[], InstanceState::Terminating, 15);
    assert_eq!(asked, [Question::Volumes, Question::DeleteInstance]);
    let claim = step.claim.as_ref().unwrap();
    assert!(claim.is_true(DRAINED) && claim.is_true(VOLUMES_DETACHED) && claim.is_true(INSTANCE_TERMINATING));
    assert_eq!((step.waiting.clone(), step.look_again), (Some(WaitingFor::Instance), Some(at(20))));
    assert_eq!(finalizers(&step), ["karpenter.sh/termination", "other"]);
    let (step, asked) = run(&step.node.unwrap(), step.claim, &[], &[], InstanceState::Gone, 20);
    assert_eq!((asked, finalizers(&step)), (vec![Question::DeleteInstance], vec!["other"]));
}

#[test]
fn a_claim_that_lives_on_is_deleted_with_its_node() {
    let live = claim(&json!({ "status": { "providerID": "aws:///zone-a/i-1" } }));
    let (step, _) = run(&dying_node(&json!({})), Some(live), &[], &[], InstanceState::Terminating, 10);
    assert_eq!(step.actions, [TerminationAction::DeleteClaim]);
}

#[rstest]
#[case::dead_and_gone("False", InstanceState::Gone, vec!["other"])]
#[case::dead_but_there("False", InstanceState::Present, vec!["karpenter.sh/termination", "other"])]
#[case::alive("True", InstanceState::Gone, vec!["karpenter.sh/termination", "other"])]
fn a_dead_node_whose_machine_is_gone_is_not_drained(
    #[case] ready: &str,
    #[case] answer: InstanceState,
    #[case] left: Vec<&str>,
) {
    let node = dying_node(&json!({ "status": { "conditions": [{ "type": "Ready", "status": ready }] } }));
    let pods = [Arc::new(pod("a", &json!({})))];
    let (step, asked) = run(&node, Some(dying_claim(&json!({}))), &pods, &[], answer, 10);
    assert_eq!((finalizers(&step), asked.contains(&Question::Instance)), (left, ready == "False"));
}

#[test]
fn volumes_are_waited_for_until_the_deadline() {
    let drained = |change: &Value| {
        let mut claim = dying_claim(change);
        claim.set_true(DRAINED, at(5));
        claim
    };
    let volumes: Vec<String> = (1..=7).map(|number| format!("pv-{number}")).collect();
    let (step, _) =
        run(&dying_node(&json!({})), Some(drained(&json!({}))), &[], &volumes, InstanceState::Terminating, 50);
    assert_eq!(step.claim.as_ref().unwrap().condition(VOLUMES_DETACHED).unwrap().reason, "AwaitingVolumeDetachment");
    let message = "Awaiting deletion of bound volume attachments (pv-1, pv-2, pv-3, pv-4, pv-5 and 2 other(s))";
    assert_eq!(step.events[0].message, message);
    let deadline = json!({ "metadata": { "annotations": { "karpenter.sh/nodeclaim-termination-timestamp": "2026-01-01T00:00:50Z" } } });
    let (step, _) =
        run(&dying_node(&json!({})), Some(drained(&deadline)), &[], &volumes, InstanceState::Terminating, 50);
    let condition = step.claim.as_ref().unwrap().condition(VOLUMES_DETACHED).unwrap().clone();
    assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("False", "TerminationGracePeriodElapsed"));
    assert_eq!(step.waiting, Some(WaitingFor::Instance));
}

#[test]
fn without_a_claim_there_is_no_machine_to_end() {
    let (step, asked) = run(&dying_node(&json!({})), None, &[], &[], InstanceState::Present, 10);
    assert_eq!((asked, finalizers(&step)), (vec![Question::Volumes], vec!["other"]));
}

#[test]
fn forced_deletion_is_told_to_the_pod() {
    let deadline = json!({ "metadata": { "annotations": { "karpenter.sh/nodeclaim-termination-timestamp": "2026-01-01T00:01:00Z" } } });
    let pods = [Arc::new(pod("a", &json!({})))];
    let (step, _) = run(&dying_node(&json!({})), Some(dying_claim(&deadline)), &pods, &[], InstanceState::Present, 50);
    let events: Vec<(&str, &str)> = step.events.iter().map(|event| (event.reason, event.message.as_str())).collect();
    assert_eq!(events[0], ("TerminationGracePeriodExpiring", "All pods will be deleted by 2026-01-01T00:01:00Z"));
    assert_eq!(events[1].0, "Disrupted");
    assert!(
        events[1].1.contains("2026-01-01T00:01:00Z")
            && events[1].1.contains("granted 10 seconds")
            && events[1].1.contains("its 30")
    );
}

#[test]
fn an_unreadable_deadline_stops_the_drain_and_says_what_would_be_right() {
    let bad = json!({ "metadata": { "annotations": { "karpenter.sh/nodeclaim-termination-timestamp": "soon" } } });
    let pods = [Arc::new(pod("a", &json!({})))];
    let (step, _) = run(&dying_node(&json!({})), Some(dying_claim(&bad)), &pods, &[], InstanceState::Present, 50);
    let text = step.waiting.unwrap().to_string();
    assert!(text.contains("`soon`, which is no time: write RFC 3339"), "{text}");
    assert!(step.actions.is_empty());
}

#[test]
fn a_node_that_is_not_being_deleted_needs_nothing() {
    let live = node(&json!({ "metadata": { "finalizers": ["karpenter.sh/termination"] } }));
    let (step, asked) = run(&live, None, &[], &[], InstanceState::Present, 10);
    assert_eq!((step.node.as_ref(), asked.len(), step.actions.len()), (Some(&live), 0, 0));
}

#[test]
fn evictions_name_the_command_that_claimed_the_node() {
    let mut claim = dying_claim(&json!({}));
    claim.set_true_with(DISRUPTION_REASON, "Underutilized", "Underutilized", at(0));
    let (step, _) = run(&dying_node(&json!({})), Some(claim), &[], &[], InstanceState::Present, 10);
    assert_eq!(step.eviction_reason, "Underutilized");
}
