use super::{Change, State};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node, Pod},
};
use sawhorse_core::{
    api::{CapacityBuffer, NodeClaim, NodeOverlay},
    model::{NodeClaimName, NodeName},
};
use serde_json::{Value, json};

fn claim(name: &str, provider_id: Option<&str>) -> NodeClaim {
    serde_json::from_value(json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
        "metadata": {"name": name, "uid": name, "resourceVersion": "1"},
        "spec": {"requirements": [], "nodeClassRef": {"group": "g", "kind": "k", "name": "n"}},
        "status": {"providerID": provider_id},
    }))
    .unwrap()
}

fn claim_with_uid(name: &str, uid: &str) -> NodeClaim {
    let mut claim = claim(name, None);
    claim.metadata.uid = Some(uid.to_owned());
    claim
}

fn node(name: &str, provider_id: &str, patch: Value) -> Node {
    let mut value = json!({"metadata": {"name": name, "uid": name}, "spec": {"providerID": provider_id}});
    json_merge(&mut value, patch);
    serde_json::from_value(value).unwrap()
}

fn pod(name: &str, patch: Value) -> Pod {
    let mut value = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"containers": []},
        "status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]},
    });
    json_merge(&mut value, patch);
    serde_json::from_value(value).unwrap()
}

fn json_merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            patch.into_iter().for_each(|(key, value)| json_merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, patch) => *into = patch,
    }
}

#[test]
fn heartbeats_do_not_move_the_revision_but_conditions_do() {
    let beat = |time: &str, ready: &str| {
        let conditions = json!([{"type": "Ready", "status": ready, "lastHeartbeatTime": time}]);
        node("n", "id", json!({"status": {"conditions": conditions}}))
    };
    let mut state = State::default();
    state.apply(beat("2026-01-01T00:00:00Z", "True"));
    let before = state.revision();
    assert!(state.apply(beat("2026-01-01T00:05:00Z", "True")).is_none());
    assert_eq!(state.revision(), before);
    assert!(matches!(state.apply(beat("2026-01-01T00:10:00Z", "False")), Some(Change::Node(_))));
    assert!(state.revision() > before);
}

#[test]
fn a_claim_and_its_node_are_one_machine() {
    let mut state = State::default();
    state.apply(claim("default-a", Some("aws:///z/i-1")));
    state.apply(claim("default-b", None));
    state.apply(node("ip-1", "aws:///z/i-1", json!({})));
    state.apply(node("static", "", json!({})));
    let names: Vec<(String, bool, bool)> = state
        .snapshot(Timestamp::UNIX_EPOCH)
        .nodes
        .iter()
        .map(|machine| (machine.name().to_owned(), machine.node_claim.is_some(), machine.node.is_some()))
        .collect();
    let expected = [("default-b", true, false), ("ip-1", true, true), ("static", false, true)];
    assert_eq!(names, expected.map(|(name, claim, node)| (name.to_owned(), claim, node)));
}

#[test]
fn a_node_whose_claim_does_not_know_it_yet_is_not_counted_twice() {
    let mut state = State::default();
    let labels = json!({"metadata": {"labels": {"karpenter.sh/nodepool": "default"}}});
    state.apply(claim("default-a", None));
    state.apply(node("ip-1", "aws:///z/i-1", labels));
    assert_eq!(state.snapshot(Timestamp::UNIX_EPOCH).nodes.len(), 1);
    state.apply(claim("default-a", Some("aws:///z/i-1")));
    assert!(state.snapshot(Timestamp::UNIX_EPOCH).nodes[0].node.is_some());
}

#[test]
fn a_claim_counts_from_the_moment_it_was_written() {
    let mut state = State::default();
    state.reset::<NodeClaim>(Vec::new());
    state.wrote(claim("default-a", None));
    assert_eq!(state.snapshot(Timestamp::UNIX_EPOCH).nodes.len(), 1);
    state.reset::<NodeClaim>(Vec::new());
    assert_eq!(state.snapshot(Timestamp::UNIX_EPOCH).nodes.len(), 1, "a list made before the write does not undo it");
}

#[test]
fn pods_follow_their_binding() {
    let mut state = State::default();
    state.apply(node("n", "id", json!({})));
    state.apply(pod("a", json!({})));
    assert_eq!(state.snapshot(Timestamp::UNIX_EPOCH).pending.len(), 1);
    state.apply(pod("a", json!({"spec": {"nodeName": "n"}})));
    let snapshot = state.snapshot(Timestamp::UNIX_EPOCH);
    assert_eq!((snapshot.pending.len(), snapshot.nodes[0].pods.len()), (0, 1));
    state.apply(pod("a", json!({"spec": {"nodeName": "n"}, "status": {"phase": "Succeeded"}})));
    assert_eq!(state.snapshot(Timestamp::UNIX_EPOCH).nodes[0].pods.len(), 0);
    assert_eq!(state.pods_on(&NodeName::from("n")).len(), 1, "it is still there, though it needs nothing");
    state.delete::<Pod>(&pod("a", json!({})).metadata);
    assert!(state.pods_on(&NodeName::from("n")).is_empty());
}

#[test]
fn a_list_makes_the_state_anew() {
    let mut state = State::default();
    state.apply(pod("old", json!({})));
    let changes = state.reset(vec![pod("new", json!({}))]);
    assert_eq!(changes.len(), 2);
    let pending: Vec<_> =
        state.snapshot(Timestamp::UNIX_EPOCH).pending.iter().map(|pod| pod.metadata.name.clone()).collect();
    assert_eq!(pending, [Some("new".to_owned())]);
    assert!(!state.synced(), "other kinds have not been listed");
}

#[test]
fn marks_and_nominations_are_part_of_the_snapshot_and_end_with_the_claim() {
    let (now, later) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH + SignedDuration::from_secs(20));
    let name = NodeClaimName::from("default-a");
    let mut state = State::default();
    state.apply(claim("default-a", None));
    state.mark(&name, true);
    state.nominate(&name, later);
    let machine = &state.snapshot(now).nodes[0];
    assert_eq!((machine.marked_for_deletion, machine.nominated_until), (true, Some(later)));
    state.delete::<NodeClaim>(&claim("default-a", None).metadata);
    state.apply(claim("default-a", None));
    assert!(state.snapshot(now).nodes.is_empty(), "that object is gone for good");
    state.apply(claim_with_uid("default-a", "another"));
    let machine = &state.snapshot(now).nodes[0];
    assert_eq!((machine.marked_for_deletion, machine.nominated_until), (false, None));
}

#[test]
fn a_snapshot_is_made_anew_only_when_the_revision_moved() {
    let mut state = State::default();
    state.apply(claim("default-a", None));
    let first = state.snapshot(Timestamp::UNIX_EPOCH);
    let second = state.snapshot(Timestamp::UNIX_EPOCH + SignedDuration::from_secs(5));
    let claims = [&first, &second].map(|snapshot| snapshot.nodes[0].node_claim.clone().unwrap());
    assert!(std::sync::Arc::ptr_eq(&claims[0], &claims[1]));
    assert_eq!(second.now, Timestamp::UNIX_EPOCH + SignedDuration::from_secs(5));
    state.apply(claim("default-b", None));
    assert_eq!(state.snapshot(Timestamp::UNIX_EPOCH).nodes.len(), 2);
}

#[test]
fn machines_are_found_by_their_id_as_long_as_they_have_it() {
    let mut state = State::default();
    let nodes = |state: &State, id: &str| state.nodes_of(&id.into()).len();
    state.apply(claim("c", None));
    state.apply(claim("c", Some("i-1")));
    state.apply(node("n", "i-1", json!({})));
    assert_eq!((state.claims_of(&"i-1".into()).len(), nodes(&state, "i-1")), (1, 1));
    state.apply(node("n", "i-2", json!({})));
    assert_eq!((nodes(&state, "i-1"), nodes(&state, "i-2")), (0, 1));
    state.delete::<Node>(&node("n", "i-2", json!({})).metadata);
    assert_eq!(nodes(&state, "i-2"), 0);
}

fn deployment(replicas: u32, ready: u32) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "web"},
        "spec": {"replicas": replicas, "selector": {}, "template": {"spec": {"containers": [{"name": "c"}]}}},
        "status": {"readyReplicas": ready},
    }))
    .unwrap()
}

#[test]
fn a_buffer_follows_its_workload() {
    let buffer: CapacityBuffer = serde_json::from_value(json!({
        "apiVersion": "autoscaling.x-k8s.io/v1beta1", "kind": "CapacityBuffer",
        "metadata": {"name": "warm", "namespace": "default", "uid": "warm"},
        "spec": {"scalableRef": {"kind": "Deployment", "name": "web"}, "percentage": 50},
    }))
    .unwrap();
    let mut state = State::default();
    let room = |state: &mut State| state.snapshot(Timestamp::UNIX_EPOCH).virtual_pods.len();
    state.apply(buffer);
    assert_eq!((room(&mut state), state.arrivals(), state.is_demand()), (0, 1, true));
    state.apply(deployment(4, 0));
    assert_eq!((room(&mut state), state.arrivals()), (2, 2));
    assert!(state.apply(deployment(4, 3)).is_none(), "how many are ready is no news");
    state.apply(deployment(6, 3));
    assert_eq!((room(&mut state), state.arrivals()), (3, 3));
}

#[test]
fn what_an_overlay_says_may_be_what_a_pod_waits_for() {
    let overlay = |spec: Value, status: &str| -> NodeOverlay {
        serde_json::from_value(json!({
            "apiVersion": "karpenter.sh/v1alpha1", "kind": "NodeOverlay", "metadata": {"name": "fuse"}, "spec": spec,
            "status": {"conditions": [{"type": "Ready", "status": status, "reason": "Ready", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
        }))
        .unwrap()
    };
    let mut state = State::default();
    state.apply(overlay(json!({"requirements": []}), "Unknown"));
    state.apply(overlay(json!({"requirements": []}), "True"));
    assert_eq!(state.arrivals(), 1, "its status gives no machine anything");
    state.apply(overlay(json!({"requirements": [], "capacity": {"example.com/fuse": "1"}}), "True"));
    assert_eq!((state.arrivals(), state.snapshot(Timestamp::UNIX_EPOCH).node_overlays.len()), (2, 1));
}
