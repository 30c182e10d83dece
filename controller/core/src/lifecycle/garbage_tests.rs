use super::*;
use crate::lifecycle::fixtures::{at, claim, machine, node, snapshot};
use rstest::rstest;
use serde_json::json;

fn registered(id: &str) -> NodeClaim {
    let mut claim = claim(&json!({ "status": { "providerID": id } }));
    claim.set_true(REGISTERED, at(60));
    claim
}

fn listed(id: &str, node_claim: Option<&str>, launched: i64, terminating: bool) -> ListedInstance {
    let node_claim = node_claim.map(str::to_owned);
    ListedInstance { provider_id: id.into(), node_claim, launched_at: at(launched), terminating }
}

#[rstest]
#[case::listed(Some(false), "False", false)]
#[case::terminating_counts_as_gone(Some(true), "False", true)]
#[case::gone(None, "False", true)]
#[case::gone_but_its_node_is_ready(None, "True", false)]
fn claims_without_a_machine(#[case] terminating: Option<bool>, #[case] ready: &str, #[case] collected: bool) {
    let node = node(&json!({ "status": { "conditions": [{ "type": "Ready", "status": ready }] } }));
    let snapshot = snapshot(vec![machine(registered("i-1"), Some(node))], at(1000));
    let listed: Vec<_> = terminating.map(|terminating| listed("i-1", None, 0, terminating)).into_iter().collect();
    let expected: Vec<NodeClaimName> = if collected { vec!["default-1".into()] } else { vec![] };
    assert_eq!(uncollected_claims(&snapshot, &listed), expected);
}

#[test]
fn a_claim_that_never_registered_is_left_to_liveness() {
    let snapshot = snapshot(vec![machine(claim(&json!({ "status": { "providerID": "i-1" } })), None)], at(1000));
    assert_eq!(uncollected_claims(&snapshot, &[]), []);
}

#[rstest]
#[case::known(listed("i-1", Some("default-1"), 0, false), false)]
#[case::unknown(listed("i-2", Some("gone"), 0, false), true)]
#[case::untagged(listed("i-2", None, 0, false), true)]
#[case::too_young(listed("i-2", None, 971, false), false)]
#[case::terminating(listed("i-2", None, 0, true), false)]
#[case::waits_for_its_claim(listed("i-2", Some("default-2"), 0, false), false)]
fn machines_without_a_claim(#[case] instance: ListedInstance, #[case] orphaned: bool) {
    let waiting = claim(&json!({ "metadata": { "name": "default-2" } }));
    let snapshot = snapshot(vec![machine(registered("i-1"), None), machine(waiting, None)], at(1000));
    assert_eq!(orphans(&snapshot, &[instance]).len(), usize::from(orphaned));
}
