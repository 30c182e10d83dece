//! What a NodePool should look like, given what is known. Pure.

use super::health::Health;
use crate::cloud::NodeClass;
use jiff::Timestamp;
use sawhorse_core::{
    api::{
        Ec2NodeClass, NodeClaim, NodePool,
        conditions::{self, Conditioned},
        hash, labels, validate,
    },
    model::{CPU, EPHEMERAL_STORAGE, MEMORY, NODES, PODS, Resources, StateNode},
};
use std::collections::BTreeMap;

/// What a pool's status follows from.
pub(super) struct Facts<'a> {
    pub(super) node_class: Option<&'a NodeClass>,
    pub(super) machines: &'a [&'a StateNode],
    pub(super) health: Health,
    pub(super) now: Timestamp,
}

/// The pool with its hash, conditions and counters as they should be.
pub(super) fn node_pool(pool: &NodePool, facts: &Facts<'_>) -> NodePool {
    let mut after = pool.clone();
    let annotations = after.metadata.annotations.get_or_insert_with(BTreeMap::new);
    annotations.insert(labels::NODE_POOL_HASH.to_owned(), hash::node_pool(pool));
    annotations.insert(labels::NODE_POOL_HASH_VERSION.to_owned(), hash::NODE_POOL_VERSION.to_owned());
    set_validation(&mut after, facts.now);
    set_class_readiness(&mut after, facts);
    set_health(&mut after, facts);
    let used = usage(facts.machines);
    let status = after.status.get_or_insert_default();
    status.nodes = Some(used.get(NODES));
    status.resources = used.to_quantities();
    status.node_class_observed_generation =
        facts.node_class.and_then(generation_of).or(status.node_class_observed_generation);
    after
}

fn set_validation(pool: &mut NodePool, now: Timestamp) {
    let problems: Vec<String> = validate(pool).iter().map(ToString::to_string).collect();
    if problems.is_empty() {
        pool.set_true(conditions::VALIDATION_SUCCEEDED, now);
    } else {
        pool.set_false(conditions::VALIDATION_SUCCEEDED, "NodePoolValidationFailed", &problems.join("; "), now);
    }
}

fn set_class_readiness(pool: &mut NodePool, facts: &Facts<'_>) {
    let now = facts.now;
    let Some(NodeClass::Ec2(class)) = facts.node_class else {
        pool.set_false(conditions::NODE_CLASS_READY, "NodeClassNotFound", "NodeClass not found on cluster", now);
        return;
    };
    let ready = class.condition(conditions::READY);
    match ready {
        _ if class.metadata.deletion_timestamp.is_some() => {
            pool.set_false(conditions::NODE_CLASS_READY, "NodeClassTerminating", "NodeClass is Terminating", now)
        }
        Some(ready) if ready.status == conditions::TRUE => pool.set_true(conditions::NODE_CLASS_READY, now),
        Some(ready) if ready.status == conditions::FALSE => {
            pool.set_false(conditions::NODE_CLASS_READY, &ready.reason, &ready.message, now)
        }
        Some(_) | None => pool.set_false(
            conditions::NODE_CLASS_READY,
            "NodeClassReadinessUnknown",
            "Node Class Readiness Unknown",
            now,
        ),
    };
}

fn set_health(pool: &mut NodePool, facts: &Facts<'_>) {
    let condition = conditions::NODE_REGISTRATION_HEALTHY;
    match facts.health {
        Health::Unknown => pool.set_unknown(
            condition,
            conditions::AWAITING_RECONCILIATION,
            "object is awaiting reconciliation",
            facts.now,
        ),
        Health::Healthy => pool.set_true(condition, facts.now),
        Health::Unhealthy => pool.set_false(condition, "RegistrationFailed", "Failed to register node", facts.now),
    };
}

/// What the pool's machines have, those that are going away left out; the usual resources are stated even as zero.
fn usage(machines: &[&StateNode]) -> Resources {
    let mut used = Resources::from_iter([CPU, MEMORY, EPHEMERAL_STORAGE, PODS, NODES].map(|name| (name, 0)));
    machines.iter().filter(|machine| !machine.is_going_away()).for_each(|machine| used.add(&machine.capacity()));
    used
}

fn generation_of(class: &NodeClass) -> Option<i64> {
    let NodeClass::Ec2(class) = class;
    let class: &Ec2NodeClass = class;
    class.metadata.generation
}

/// The NodeClaim with the pool's new hash, where the way that hashes are made has changed since (spec core 1.8); none where
/// nothing is to be done. A claim that has drifted already keeps its old hash, and stays drifted.
pub(super) fn adopted(claim: &NodeClaim, pool: &NodePool) -> Option<NodeClaim> {
    let version = |annotations: &Option<BTreeMap<String, String>>| {
        annotations.as_ref().and_then(|map| map.get(labels::NODE_POOL_HASH_VERSION).cloned())
    };
    let pool_is_current = version(&pool.metadata.annotations).as_deref() == Some(hash::NODE_POOL_VERSION);
    let claim_is_current = version(&claim.metadata.annotations).as_deref() == Some(hash::NODE_POOL_VERSION);
    if pool_is_current || claim_is_current {
        return None;
    }
    let mut after = claim.clone();
    let annotations = after.metadata.annotations.get_or_insert_with(BTreeMap::new);
    annotations.insert(labels::NODE_POOL_HASH_VERSION.to_owned(), hash::NODE_POOL_VERSION.to_owned());
    if !claim.is_true(conditions::DRIFTED) {
        annotations.insert(labels::NODE_POOL_HASH.to_owned(), hash::node_pool(pool));
    }
    Some(after)
}

#[cfg(test)]
mod tests {
    use super::{Facts, Health, adopted, node_pool};
    use crate::cloud::NodeClass;
    use jiff::Timestamp;
    use rstest::rstest;
    use sawhorse_core::{
        api::{
            Ec2NodeClass, NodeClaim, NodePool,
            conditions::{AMIS_READY, Conditioned, DRIFTED, NODE_CLASS_READY, NODE_REGISTRATION_HEALTHY},
            labels,
        },
        model::StateNode,
    };
    use serde_json::json;
    use std::sync::Arc;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn class(ready: &str) -> Ec2NodeClass {
        let mut class = Ec2NodeClass::default();
        class.initialize_conditions(NOW);
        match ready {
            "True" => {
                for dependent in class.dependents() {
                    class.set_true(dependent, NOW);
                }
            }
            "False" => {
                class.set_false(AMIS_READY, "AMIsNotFound", "no image matches", NOW);
            }
            _ => {}
        }
        class
    }

    #[rstest]
    #[case::ready(Some("True"), "True", "NodeClassReady")]
    #[case::not_ready(Some("False"), "False", "UnhealthyDependents")]
    #[case::not_known(Some("Unknown"), "False", "NodeClassReadinessUnknown")]
    #[case::absent(None, "False", "NodeClassNotFound")]
    fn readiness_follows_the_class(#[case] ready: Option<&str>, #[case] status: &str, #[case] reason: &str) {
        let class = ready.map(|ready| NodeClass::Ec2(Arc::new(class(ready))));
        let facts = Facts { node_class: class.as_ref(), machines: &[], health: Health::Unknown, now: NOW };
        let after = node_pool(&NodePool::default(), &facts);
        let condition = after.condition(NODE_CLASS_READY).unwrap();
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), (status, reason));
        assert!(after.is_unknown(NODE_REGISTRATION_HEALTHY));
    }

    #[test]
    fn machines_that_go_away_are_not_counted() {
        let claim = |name: &str| -> Arc<NodeClaim> {
            let value = json!({
                "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "metadata": {"name": name},
                "spec": {"requirements": [], "nodeClassRef": {"group": "g", "kind": "k", "name": "n"}},
                "status": {"capacity": {"cpu": "4", "memory": "8Gi"}},
            });
            Arc::new(serde_json::from_value(value).unwrap())
        };
        let stays = StateNode { node_claim: Some(claim("a")), ..StateNode::default() };
        let goes = StateNode { node_claim: Some(claim("b")), marked_for_deletion: true, ..StateNode::default() };
        let facts = Facts { node_class: None, machines: &[&stays, &goes], health: Health::Healthy, now: NOW };
        let status = node_pool(&NodePool::default(), &facts).status.unwrap();
        assert_eq!(status.nodes, Some(1));
        let resources = serde_json::to_value(&status.resources).unwrap();
        assert_eq!(
            resources,
            json!({"cpu": "4", "memory": "8Gi", "ephemeral-storage": "0", "pods": "0", "nodes": "1"})
        );
    }

    #[test]
    fn a_new_way_of_hashing_is_adopted_but_drift_stays() {
        let pool = NodePool::default();
        let fresh = adopted(&NodeClaim::default(), &pool).unwrap();
        assert!(fresh.metadata.annotations.unwrap().contains_key(labels::NODE_POOL_HASH));
        let mut drifted = NodeClaim::default();
        drifted.set_true(DRIFTED, NOW);
        let annotations = adopted(&drifted, &pool).unwrap().metadata.annotations.unwrap();
        assert!(!annotations.contains_key(labels::NODE_POOL_HASH));
        assert!(annotations.contains_key(labels::NODE_POOL_HASH_VERSION));
        let facts = Facts { node_class: None, machines: &[], health: Health::Unknown, now: NOW };
        assert!(adopted(&NodeClaim::default(), &node_pool(&pool, &facts)).is_none(), "the pool is up to date");
    }
}
