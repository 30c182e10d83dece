//! Whether a Node has what its NodeClaim was promised (spec core 3.2, `nodeclaim.consistency`). Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use sawhorse_core::{
    api::{
        NodeClaim,
        conditions::{CONSISTENT_STATE_FOUND, Conditioned, INITIALIZED},
    },
    model::{Resources, quantity_text},
};

/// A Node may have this much less, in percent: capacities of types are estimates.
const ENOUGH_PERCENT: i64 = 90;

/// The claim with its condition as it should be, and what is wrong.
pub(super) fn checked(claim: &NodeClaim, node: Option<&Node>, now: Timestamp) -> (NodeClaim, Vec<String>) {
    let mut after = claim.clone();
    let Some(node) = node.filter(|_| claim.is_true(INITIALIZED)) else { return (after, Vec::new()) };
    let failures = shortfalls(claim, node);
    if failures.is_empty() {
        after.set_true(CONSISTENT_STATE_FOUND, now);
    } else {
        after.set_false(CONSISTENT_STATE_FOUND, "ConsistencyCheckFailed", "Consistency Check Failed", now);
    }
    (after, failures)
}

/// The resources that were asked for and of which the Node has clearly less than expected.
fn shortfalls(claim: &NodeClaim, node: &Node) -> Vec<String> {
    let of_node = node.status.as_ref().and_then(|status| status.capacity.as_ref());
    let found = of_node.map_or_else(Resources::new, Resources::of_capacity);
    let expected = claim.status.as_ref().map_or_else(Resources::new, |status| Resources::of_capacity(&status.capacity));
    let requested = Resources::of_capacity(&claim.spec.resources.requests);
    let short = requested.iter().filter(|(_, amount)| *amount > 0).filter_map(|(name, _)| {
        let (expected, found) = (expected.get(name), found.get(name));
        let percent = found.saturating_mul(100).checked_div(expected).unwrap_or(100);
        (percent < ENOUGH_PERCENT).then(|| {
            let (expected, found) = (quantity_text(name, expected), quantity_text(name, found));
            format!("expected {expected} of resource {name}, but found {found} ({percent}% of expected)")
        })
    });
    short.collect()
}

#[cfg(test)]
mod tests {
    use super::checked;
    use jiff::Timestamp;
    use k8s_openapi::api::core::v1::Node;
    use rstest::rstest;
    use sawhorse_core::api::{
        NodeClaim,
        conditions::{CONSISTENT_STATE_FOUND, Conditioned, INITIALIZED},
    };
    use serde_json::json;

    #[rstest]
    #[case::all("8Gi", "8Gi", true, &[])]
    #[case::nearly_all("10Gi", "9Gi", true, &[])]
    #[case::half("8Gi", "4Gi", false, &["expected 8Gi of resource memory, but found 4Gi (50% of expected)"])]
    fn a_node_with_less_than_was_promised(
        #[case] expected: &str,
        #[case] found: &str,
        #[case] consistent: bool,
        #[case] failures: &[&str],
    ) {
        let claim = json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "metadata": {"name": "a"},
            "spec": {
                "requirements": [], "nodeClassRef": {"group": "g", "kind": "k", "name": "n"},
                "resources": {"requests": {"memory": "1Gi", "cpu": "0"}},
            },
            "status": {"capacity": {"memory": expected, "cpu": "4"}},
        });
        let mut claim: NodeClaim = serde_json::from_value(claim).unwrap();
        let node: Node = serde_json::from_value(json!({"status": {"capacity": {"memory": found}}})).unwrap();
        assert!(checked(&claim, Some(&node), Timestamp::UNIX_EPOCH).0.condition(CONSISTENT_STATE_FOUND).is_none());
        claim.set_true(INITIALIZED, Timestamp::UNIX_EPOCH);
        let (after, found) = checked(&claim, Some(&node), Timestamp::UNIX_EPOCH);
        assert_eq!(after.is_true(CONSISTENT_STATE_FOUND), consistent);
        assert_eq!(found, failures);
    }
}
