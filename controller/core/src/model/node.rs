//! What the deciders see of a machine (spec core 2.1): the NodeClaim speaks for it until its Node is registered, and fills in
//! what the Node does not report until it is initialized.

use super::{
    NodePoolName, Requirements, Resources, StateNode, ephemeral_taint, pod::is_terminal, pod::pod_requests,
    resources::NODES,
};
use crate::api::{NodeClaim, labels};
use k8s_openapi::api::core::v1::{Node, Taint};
use std::collections::BTreeMap;

impl StateNode {
    /// Whether the controller manages the machine: it has a NodeClaim.
    pub fn is_managed(&self) -> bool {
        self.node_claim.is_some()
    }

    /// Whether its Node has joined and been given its labels and taints; true of machines that are not managed.
    pub fn is_registered(&self) -> bool {
        !self.is_managed() || self.node_has(labels::REGISTERED) || self.node_has(labels::INITIALIZED)
    }

    /// Whether its Node has become ready with all it should have; true of machines that are not managed.
    pub fn is_initialized(&self) -> bool {
        !self.is_managed() || self.node_has(labels::INITIALIZED)
    }

    fn node_has(&self, label: &str) -> bool {
        let labels = self.node.as_ref().and_then(|node| node.metadata.labels.as_ref());
        labels.and_then(|labels| labels.get(label)).is_some_and(|value| value == "true")
    }

    /// Whether it is going away: claimed by a disruption command, or its NodeClaim (or, without one, its Node) is being deleted.
    pub fn is_going_away(&self) -> bool {
        let object_goes = match (&self.node_claim, &self.node) {
            (Some(claim), _) => {
                claim.metadata.deletion_timestamp.is_some() || has_condition(claim, "InstanceTerminating")
            }
            (None, Some(node)) => node.metadata.deletion_timestamp.is_some(),
            (None, None) => false,
        };
        self.marked_for_deletion || object_goes
    }

    /// Whether it is nominated at `now` for pods that are expected on it.
    pub fn is_nominated(&self, now: jiff::Timestamp) -> bool {
        self.nominated_until.is_some_and(|until| until > now)
    }

    /// Its labels: the Node's once registered, before that the NodeClaim's with what its requirements settle.
    pub fn labels(&self) -> BTreeMap<String, String> {
        match (self.labelled_node(), &self.node_claim) {
            (Some(node), _) => node.metadata.labels.clone().unwrap_or_default(),
            (None, Some(claim)) => claim_labels(claim),
            (None, None) => BTreeMap::new(),
        }
    }

    /// The value of one of its [`labels`](Self::labels).
    pub fn label(&self, key: &str) -> Option<String> {
        match (self.labelled_node(), &self.node_claim) {
            (Some(node), _) => node.metadata.labels.as_ref()?.get(key).cloned(),
            (None, Some(claim)) => claim_labels(claim).remove(key),
            (None, None) => None,
        }
    }

    /// The Node, if it is what speaks for the machine's labels.
    fn labelled_node(&self) -> Option<&Node> {
        self.node.as_deref().filter(|_| self.is_registered())
    }

    /// Its annotations: the Node's once registered, before that the NodeClaim's.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let of_node =
            self.node.as_ref().filter(|_| self.is_registered()).and_then(|node| node.metadata.annotations.clone());
        let of_claim = || self.node_claim.as_ref().and_then(|claim| claim.metadata.annotations.clone());
        of_node.or_else(of_claim).unwrap_or_default()
    }

    /// What is known of its labels. Of a machine that has not been launched this is what its NodeClaim requires, which may
    /// leave several values open.
    pub fn known_labels(&self) -> Requirements {
        let mut known = Requirements::from_labels(&self.labels());
        if let (Some(claim), false) = (&self.node_claim, self.is_registered()) {
            let open = Requirements::from_specs(&claim.spec.requirements);
            open.iter()
                .filter(|requirement| !known.contains(requirement.key()))
                .cloned()
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|requirement| known.add(requirement));
        }
        known
    }

    /// The pool that it belongs to.
    pub fn node_pool(&self) -> Option<NodePoolName> {
        self.label(labels::NODE_POOL).map(NodePoolName::from)
    }

    /// The taints that pods meet on it: the NodeClaim's until registration; without those that go away by themselves until
    /// initialization.
    pub fn taints(&self) -> Vec<Taint> {
        let of_node = || self.node.as_ref().and_then(|node| node.spec.as_ref()?.taints.clone()).unwrap_or_default();
        let Some(claim) = &self.node_claim else { return of_node() };
        let taints = if self.is_registered() { of_node() } else { claim.spec.taints.clone() };
        if self.is_initialized() {
            return taints;
        }
        let startup = claim.spec.startup_taints.as_slice();
        let goes_away = |taint: &Taint| {
            ephemeral_taint(taint) || startup.iter().any(|own| own.key == taint.key && own.effect == taint.effect)
        };
        taints.into_iter().filter(|taint| !goes_away(taint)).collect()
    }

    /// What the machine has, with `nodes: 1`.
    pub fn capacity(&self) -> Resources {
        let of_node = self.node.as_ref().and_then(|node| node.status.as_ref()?.capacity.as_ref());
        let of_claim = self.node_claim.as_ref().and_then(|claim| claim.status.as_ref()).map(|status| &status.capacity);
        self.filled(of_node.map(Resources::of_capacity), of_claim.map(Resources::of_capacity)).with(NODES, 1)
    }

    /// What of it pods can use. Of a machine that has not been launched this is what its NodeClaim asks for: it will have at
    /// least that.
    pub fn allocatable(&self) -> Resources {
        let status = self.node.as_ref().and_then(|node| node.status.as_ref());
        let of_node = status.and_then(|status| status.allocatable.as_ref().or(status.capacity.as_ref()));
        let of_claim = self.node_claim.as_ref().map(|claim| match &claim.status {
            Some(status) if !status.allocatable.is_empty() => Resources::of_capacity(&status.allocatable),
            _ => Resources::from_requests(&claim.spec.resources.requests).unwrap_or_default(),
        });
        self.filled(of_node.map(Resources::of_capacity), of_claim)
    }

    /// What its pods ask for. A pod whose amounts cannot be read counts for nothing: the API server admits none such.
    pub fn requested(&self) -> Resources {
        let mut sum = Resources::new();
        for pod in self.pods.iter().filter(|pod| !is_terminal(pod)) {
            sum.add(&pod_requests(pod).unwrap_or_default());
        }
        sum
    }

    /// What is left for further pods: allocatable less what its pods ask for.
    pub fn available(&self) -> Resources {
        self.allocatable().minus(&self.requested())
    }

    /// The Node's amounts; until it is initialized, those that are missing or zero come from the NodeClaim.
    fn filled(&self, of_node: Option<Resources>, of_claim: Option<Resources>) -> Resources {
        let mut amounts = of_node.unwrap_or_default();
        if !self.is_initialized() {
            let claim = of_claim.unwrap_or_default();
            claim.iter().for_each(|(name, amount)| {
                if amounts.get(name) == 0 {
                    amounts.set(name, amount);
                }
            });
        }
        amounts
    }
}

fn claim_labels(claim: &NodeClaim) -> BTreeMap<String, String> {
    let mut labels = Requirements::from_specs(&claim.spec.requirements).single_values();
    labels.extend(claim.metadata.labels.clone().unwrap_or_default());
    labels
}

fn has_condition(claim: &NodeClaim, condition: &str) -> bool {
    let conditions = claim.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|own| own.type_ == condition && own.status == "True")
}

#[cfg(test)]
mod tests {
    use super::StateNode;
    use rstest::rstest;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn machine(node: Option<Value>) -> StateNode {
        let claim = json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
            "metadata": {"name": "default-1", "labels": {"karpenter.sh/nodepool": "default"}},
            "spec": {
                "taints": [{"key": "gpu", "effect": "NoSchedule"}],
                "startupTaints": [{"key": "cni", "effect": "NoSchedule"}],
                "requirements": [
                    {"key": "zone", "operator": "In", "values": ["a"]},
                    {"key": "size", "operator": "In", "values": ["s", "m"]},
                ],
                "resources": {"requests": {"cpu": "1"}},
                "nodeClassRef": {"group": "g", "kind": "K", "name": "n"},
            },
            "status": {"capacity": {"cpu": "4", "nvidia.com/gpu": "1"}, "allocatable": {"cpu": "3900m", "nvidia.com/gpu": "1"}},
        });
        StateNode {
            node_claim: Some(Arc::new(serde_json::from_value(claim).unwrap())),
            node: node.map(|node| Arc::new(serde_json::from_value(node).unwrap())),
            ..StateNode::default()
        }
    }

    fn node(labels: Value) -> Value {
        let mut node = json!({"metadata": {"name": "n"},
            "spec": {"taints": [{"key": "cni", "effect": "NoSchedule"}, {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"},
                {"key": "other", "effect": "NoSchedule"}]},
            "status": {"allocatable": {"cpu": "3800m", "nvidia.com/gpu": "0"}}});
        node["metadata"]["labels"] = labels;
        node
    }

    #[rstest]
    #[case::launched(None, "gpu", "cpu: 3900m, nvidia.com/gpu: 1")]
    #[case::joining(Some(json!({})), "gpu", "cpu: 3800m, nvidia.com/gpu: 1")]
    #[case::registered(Some(json!({"karpenter.sh/registered": "true"})), "other", "cpu: 3800m, nvidia.com/gpu: 1")]
    #[case::initialized(
        Some(json!({"karpenter.sh/registered": "true", "karpenter.sh/initialized": "true"})),
        "cni node.kubernetes.io/not-ready other", "cpu: 3800m, nvidia.com/gpu: 0")]
    fn the_claim_speaks_until_the_node_does(
        #[case] labels: Option<Value>,
        #[case] taints: &str,
        #[case] allocatable: &str,
    ) {
        let machine = machine(labels.map(node));
        let keys: Vec<String> = machine.taints().into_iter().map(|taint| taint.key).collect();
        assert_eq!((keys.join(" ").as_str(), machine.allocatable().to_string().as_str()), (taints, allocatable));
    }

    #[test]
    fn before_the_launch_a_claim_promises_what_it_asks_for() {
        let mut machine = machine(None);
        Arc::make_mut(machine.node_claim.as_mut().unwrap()).status = None;
        assert_eq!(machine.allocatable().to_string(), "cpu: 1");
        assert_eq!(
            machine.known_labels().to_string(),
            "karpenter.sh/nodepool In [default], size In [m s], zone In [a]"
        );
    }

    #[test]
    fn pods_take_from_what_is_left() {
        let mut machine = machine(None);
        let pod = json!({"spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": "900m"}}}]}});
        machine.pods = vec![Arc::new(serde_json::from_value(pod.clone()).unwrap())];
        let mut done = pod;
        done["status"] = json!({"phase": "Succeeded"});
        machine.pods.push(Arc::new(serde_json::from_value(done).unwrap()));
        assert_eq!(machine.available().to_string(), "cpu: 3, pods: -1, nvidia.com/gpu: 1");
    }
}
