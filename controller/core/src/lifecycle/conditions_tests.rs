use super::*;
use crate::{
    lifecycle::fixtures::{at, claim, merge, pool},
    model::{Offering, Overhead, Price, Resources},
};
use rstest::rstest;
use serde_json::{Value, json};

fn hashed(hash: &str, version: &str) -> Value {
    json!({ "metadata": { "annotations": { labels::NODE_POOL_HASH: hash, labels::NODE_POOL_HASH_VERSION: version } } })
}

fn types() -> Vec<Arc<InstanceType>> {
    let offering = |zone: &str, capacity_type: CapacityType| Offering {
        available: false,
        ..Offering::new(zone, capacity_type, Price::from_nanos(1))
    };
    vec![Arc::new(InstanceType {
        name: "m5.large".to_owned(),
        requirements: Requirements::new(),
        offerings: vec![offering("zone-a", CapacityType::OnDemand), offering("zone-b", CapacityType::Spot)],
        capacity: Resources::new(),
        overhead: Overhead::default(),
        listed: None,
    })]
}

#[rstest]
#[case::same("1", "a", "1", "a", None)]
#[case::differs("1", "a", "2", "a", Some("NodePoolDrifted"))]
#[case::other_version("1", "a", "2", "b", None)]
fn the_hash_drifts_only_within_one_version(
    #[case] of_claim: &str,
    #[case] claim_version: &str,
    #[case] of_pool: &str,
    #[case] pool_version: &str,
    #[case] reason: Option<&str>,
) {
    let claim = claim(&hashed(of_claim, claim_version));
    assert_eq!(drift_reason(&claim, &pool(&hashed(of_pool, pool_version)), None, at(60)), reason);
}

#[rstest]
#[case::widened(json!([{ "key": "topology.kubernetes.io/zone", "operator": "In", "values": ["zone-a", "zone-b"] }]), false)]
#[case::narrowed(json!([{ "key": "topology.kubernetes.io/zone", "operator": "In", "values": ["zone-b"] }]), true)]
#[case::new_label(json!([{ "key": "example.com/team", "operator": "Exists" }]), true)]
#[case::label_that_must_be_absent(json!([{ "key": "example.com/team", "operator": "DoesNotExist" }]), false)]
fn requirements_drift_when_the_labels_no_longer_meet_them(#[case] requirements: Value, #[case] drifted: bool) {
    let claim = claim(&json!({ "metadata": { "labels": { "topology.kubernetes.io/zone": "zone-a" } } }));
    let pool = pool(&json!({ "spec": { "template": { "spec": { "requirements": requirements } } } }));
    assert_eq!(drift_reason(&claim, &pool, None, at(60)), drifted.then_some("RequirementsDrifted"));
}

#[rstest]
#[case::offered_though_out_of_stock("m5.large", "zone-a", "on-demand", 3600, false)]
#[case::not_offered_there("m5.large", "zone-a", "spot", 3600, true)]
#[case::reserved_lives_on_as_on_demand("m5.large", "zone-a", "reserved", 3600, false)]
#[case::reserved_does_not_become_spot("m5.large", "zone-b", "reserved", 3600, true)]
#[case::withdrawn("m1.large", "zone-a", "on-demand", 3600, true)]
#[case::too_young("m1.large", "zone-a", "on-demand", 3599, false)]
fn instance_types_drift(
    #[case] name: &str,
    #[case] zone: &str,
    #[case] kind: &str,
    #[case] age: i64,
    #[case] drifted: bool,
) {
    let claim = claim(&json!({ "metadata": { "labels": {
        labels::INSTANCE_TYPE: name, labels::ZONE: zone, labels::CAPACITY_TYPE: kind,
    } } }));
    let reason = drift_reason(&claim, &pool(&json!({})), Some(&types()), at(age));
    assert_eq!(reason, drifted.then_some("InstanceTypeNotFound"));
}

/// A claim that was initialized at 00:01:00.
fn initialized(change: &Value) -> NodeClaim {
    let mut base = json!({});
    merge(&mut base, change);
    let mut claim = claim(&base);
    claim.set_true(LAUNCHED, at(1));
    claim.set_true(INITIALIZED, at(60));
    claim
}

#[rstest]
#[case::at_once("0s", None, 60, true, None)]
#[case::waits_since_initialized("30s", None, 89, false, Some(90))]
#[case::has_waited("30s", None, 90, true, None)]
#[case::waits_since_the_last_pod("30s", Some("2026-01-01T00:02:00Z"), 149, false, Some(150))]
#[case::never("Never", None, 1_000_000, false, None)]
fn consolidatable_after_a_quiet_while(
    #[case] consolidate_after: &str,
    #[case] last_pod: Option<&str>,
    #[case] now: i64,
    #[case] consolidatable: bool,
    #[case] again: Option<i64>,
) {
    let claim = initialized(&json!({ "status": { "lastPodEventTime": last_pod } }));
    let pool = pool(&json!({ "spec": { "disruption": { "consolidateAfter": consolidate_after } } }));
    let (after, look_again) = disruption_conditions(&claim, Some(&pool), None, at(now));
    assert_eq!((after.is_true(CONSOLIDATABLE), look_again), (consolidatable, again.map(at)));
}

#[test]
fn a_pod_restarts_the_wait() {
    let pool = pool(&json!({ "spec": { "disruption": { "consolidateAfter": "30s" } } }));
    let (quiet, _) = disruption_conditions(&initialized(&json!({})), Some(&pool), None, at(90));
    assert!(quiet.is_true(CONSOLIDATABLE));
    let touched = with_pod_event(&quiet, at(100)).unwrap();
    assert!(with_pod_event(&touched, at(109)).is_none());
    let (after, look_again) = disruption_conditions(&touched, Some(&pool), None, at(100));
    assert_eq!((after.condition(CONSOLIDATABLE), look_again), (None, Some(at(130))));
}

#[test]
fn uninitialized_and_static_claims_are_not_consolidatable() {
    let (after, look_again) = disruption_conditions(&claim(&json!({})), Some(&pool(&json!({}))), None, at(1000));
    assert_eq!((after.condition(CONSOLIDATABLE), look_again), (None, None));
    let fixed = pool(&json!({ "spec": { "replicas": 1 } }));
    let (after, _) = disruption_conditions(&initialized(&json!({})), Some(&fixed), None, at(1000));
    assert_eq!(after.condition(CONSOLIDATABLE), None);
}

#[test]
fn drift_is_set_with_its_reason_and_cleared() {
    let pool = pool(&json!({}));
    let (drifted, _) = disruption_conditions(&initialized(&json!({})), Some(&pool), Some("AMIDrift"), at(100));
    let condition = drifted.condition(DRIFTED).unwrap();
    assert_eq!((condition.reason.as_str(), condition.message.as_str()), ("AMIDrift", "AMIDrift"));
    let (cleared, _) = disruption_conditions(&drifted, Some(&pool), None, at(200));
    assert!(cleared.condition(DRIFTED).is_none());
    let (not_launched, _) = disruption_conditions(&claim(&json!({})), Some(&pool), Some("AMIDrift"), at(100));
    assert!(not_launched.condition(DRIFTED).is_none());
}
