//! What every namespace has: the account of pods that name none, and the authority that pods trust the API server by
//! (`serviceaccounts_controller.go`, `pkg/controller/certificates/rootcacertpublisher`).

use super::plan::{Action, Plan};
use serde_json::{Value, json};

/// Names of both.
pub(super) const ACCOUNT: &str = "default";
pub(super) const AUTHORITY: &str = "kube-root-ca.crt";

/// A namespace and what of it is there.
pub(super) struct Input<'a> {
    pub(super) name: &'a str,
    pub(super) terminating: bool,
    pub(super) has_account: bool,
    pub(super) has_authority: bool,
}

/// What the namespace needs next.
pub(super) fn decide(input: &Input<'_>) -> Plan {
    let mut plan = Plan::default();
    if input.terminating {
        return plan;
    }
    let namespace = input.name;
    if !input.has_account {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}});
        plan.push(create(namespace, "serviceaccounts", account));
    }
    if !input.has_authority {
        let note = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as \
                    the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of \
                    Kubernetes clusters.";
        let metadata = json!({"name": AUTHORITY, "annotations": {"kubernetes.io/description": note}});
        // The API is served without TLS.
        let authority = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"ca.crt": ""}});
        plan.push(create(namespace, "configmaps", authority));
    }
    plan
}

fn create(namespace: &str, plural: &str, object: Value) -> Action {
    Action::CreateUnlessThere { url: format!("/api/v1/namespaces/{namespace}/{plural}"), object }
}

#[cfg(test)]
mod tests {
    use super::{Input, decide};

    #[test]
    fn what_is_missing_is_made_until_the_namespace_goes() {
        let input = Input { name: "a", terminating: false, has_account: false, has_authority: false };
        assert_eq!(decide(&input).actions.len(), 2);
        assert_eq!(decide(&Input { has_account: true, ..input }).actions.len(), 1);
        let input = Input { name: "a", terminating: true, has_account: false, has_authority: false };
        assert!(decide(&input).actions.is_empty());
    }
}
