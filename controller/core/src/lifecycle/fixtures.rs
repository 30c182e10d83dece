//! Objects for the tests of this room and of those that follow it.

use crate::{
    api::{NodeClaim, NodePool},
    model::{ClusterSnapshot, StateNode},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};
use std::sync::Arc;

/// `seconds` after the tests' beginning, 2026-01-01T00:00:00Z.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + seconds).unwrap()
}

pub(crate) fn claim(change: &Value) -> NodeClaim {
    of(
        json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
            "metadata": {
                "name": "default-1", "uid": "uid-1", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": { "karpenter.sh/nodepool": "default" },
            },
            "spec": { "requirements": [], "nodeClassRef": { "group": "g", "kind": "K", "name": "n" }, "expireAfter": "720h" },
        }),
        change,
    )
}

pub(crate) fn node(change: &Value) -> Node {
    of(
        json!({
            "metadata": { "name": "node-1", "labels": { "kubernetes.io/hostname": "node-1" } },
            "spec": {
                "providerID": "aws:///zone-a/i-1",
                "taints": [{ "key": "karpenter.sh/unregistered", "effect": "NoExecute" }],
            },
            "status": {
                "allocatable": { "cpu": "2", "memory": "4Gi", "pods": "10" },
                "conditions": [{ "type": "Ready", "status": "True" }],
            },
        }),
        change,
    )
}

pub(crate) fn pool(change: &Value) -> NodePool {
    of(
        json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": { "name": "default", "uid": "pool-uid" },
            "spec": { "template": { "spec": {
                "requirements": [], "nodeClassRef": { "group": "g", "kind": "K", "name": "n" },
            } } },
        }),
        change,
    )
}

pub(crate) fn pod(name: &str, change: &Value) -> Pod {
    of(
        json!({
            "metadata": { "name": name, "namespace": "default", "uid": name },
            "spec": { "nodeName": "node-1", "terminationGracePeriodSeconds": 30, "containers": [
                { "name": "c", "resources": { "requests": { "cpu": "100m", "memory": "64Mi" } } },
            ] },
            "status": { "phase": "Running", "startTime": "2026-01-01T00:00:00Z" },
        }),
        change,
    )
}

pub(crate) fn snapshot(nodes: Vec<StateNode>, now: Timestamp) -> ClusterSnapshot {
    ClusterSnapshot { nodes, ..ClusterSnapshot::empty(now) }
}

pub(crate) fn machine(claim: NodeClaim, node: Option<Node>) -> StateNode {
    StateNode { node: node.map(Arc::new), node_claim: Some(Arc::new(claim)), ..StateNode::default() }
}

fn of<T: serde::de::DeserializeOwned>(mut base: Value, change: &Value) -> T {
    merge(&mut base, change);
    serde_json::from_value(base).unwrap()
}

/// RFC 7396 without deletion: null replaces.
pub(crate) fn merge(base: &mut Value, patch: &Value) {
    match (base, patch) {
        (Value::Object(base), Value::Object(patch)) => {
            patch.iter().for_each(|(key, value)| merge(base.entry(key.clone()).or_insert(Value::Null), value));
        }
        (base, patch) => *base = patch.clone(),
    }
}
