//! What scheduling needs to know of a pod, read once.

use super::{
    affinity::{Labels, NodeTerm, Requirement, Selector},
    resources::{Resources, requests},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Container, Pod, PodAffinityTerm, PodSpec, Toleration, TopologySpreadConstraint},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

/// A pod's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodName {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Which pods an affinity or spread rule is about, and over which topology.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PodRule {
    pub(super) selector: Selector,
    pub(super) namespaces: Namespaces,
    pub(super) topology_key: String,
}

/// The namespaces that a rule looks at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Namespaces {
    names: Vec<String>,
    /// Over the labels of namespaces, besides.
    selector: Selector,
}

/// The labels of each namespace.
pub(super) type NamespaceLabels = BTreeMap<String, Labels>;

impl PodRule {
    /// The rule as kube-scheduler takes it from the pod that it places: a selector that would select a namespace without labels
    /// selects every namespace there, whatever its labels.
    pub(super) fn widened(&self) -> Self {
        let mut own = self.clone();
        if own.namespaces.selector.matches(&Labels::new()) {
            own.namespaces.selector = Selector::of(Some(&LabelSelector::default()));
        }
        own
    }

    pub(super) fn matches(&self, pod: &PodInfo, namespaces: &NamespaceLabels) -> bool {
        let own = &pod.name.namespace;
        let selected = || match namespaces.get(own) {
            Some(labels) => self.namespaces.selector.matches(labels),
            None => self.namespaces.selector.is_empty(),
        };
        self.selector.matches(&pod.labels) && (self.namespaces.names.contains(own) || selected())
    }
}

/// A spread constraint.
#[derive(Clone, Debug)]
pub(super) struct Spread {
    pub(super) rule: PodRule,
    pub(super) max_skew: i64,
    pub(super) min_domains: i64,
    pub(super) hard: bool,
    pub(super) honour_affinity: bool,
    pub(super) honour_taints: bool,
}

/// A host port: protocol, address, port.
pub(super) type HostPort = (String, String, i32);

/// A claim that a pod uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClaimUse {
    pub(super) name: String,
    /// Whether the claim is made for this pod alone.
    pub(super) ephemeral: bool,
}

/// What scheduling needs to know of a pod.
#[derive(Clone, Debug)]
pub struct PodInfo {
    /// Its name.
    pub name: PodName,
    pub(super) uid: String,
    pub(super) generation: Option<i64>,
    pub(super) labels: Labels,
    pub(super) priority: i32,
    pub(super) created: Timestamp,
    pub(super) terminating: bool,
    pub(super) node: Option<String>,
    pub(super) requests: Resources,
    /// Requests with the least that counts when nodes are compared.
    pub(super) counted: Resources,
    pub(super) node_selector: Vec<Requirement>,
    pub(super) node_terms: Option<Vec<NodeTerm>>,
    pub(super) preferred_nodes: Vec<(i64, NodeTerm)>,
    pub(super) tolerations: Vec<Toleration>,
    pub(super) affinity: Vec<PodRule>,
    /// What it keeps away once it is on a node, and what it keeps away from: the same, but for [`PodRule::widened`].
    pub(super) anti_affinity: Vec<PodRule>,
    pub(super) avoided: Vec<PodRule>,
    pub(super) preferred_pods: Vec<(i64, PodRule)>,
    pub(super) spreads: Vec<Spread>,
    pub(super) host_ports: Vec<HostPort>,
    pub(super) claims: Vec<ClaimUse>,
    /// Whether it may displace others: part of the message only, nothing here displaces anything.
    pub(super) preempts: bool,
    /// Pods with the same signature fare the same: everything above but names, priority and age.
    pub(super) signature: Arc<str>,
}

impl PodInfo {
    /// The only nodes that required node affinity may allow; none if it does not name nodes in every term.
    pub(super) fn named_nodes(&self) -> Option<BTreeSet<&str>> {
        let mut all = BTreeSet::new();
        for term in self.node_terms.as_ref()? {
            all.extend(term.named()?);
        }
        Some(all)
    }

    /// Reads a pod.
    pub fn of(pod: &Pod) -> Self {
        let spec = pod.spec.clone().unwrap_or_default();
        let metadata = &pod.metadata;
        let name = PodName {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
        };
        let labels = metadata.labels.clone().unwrap_or_default();
        let (requests, counted) = requests(&spec);
        let claims = claims(&spec, &name.name);
        let signature = signature(&name.namespace, &labels, &claims, &spec);
        let rules = Rules { namespace: &name.namespace, labels: &labels };
        let node_affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
        let required =
            node_affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
        let preferred =
            node_affinity.and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_ref());
        let selector = spec.node_selector.iter().flatten();
        Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            generation: metadata.generation,
            priority: spec.priority.unwrap_or(0),
            created: metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            terminating: metadata.deletion_timestamp.is_some(),
            node: spec.node_name.clone().filter(|node| !node.is_empty()),
            requests,
            counted,
            node_selector: selector
                .map(|(key, value)| Requirement::new(key, "In", std::slice::from_ref(value)))
                .collect(),
            node_terms: required.map(|required| required.node_selector_terms.iter().map(NodeTerm::of).collect()),
            preferred_nodes: preferred
                .into_iter()
                .flatten()
                .map(|term| (i64::from(term.weight), NodeTerm::of(&term.preference)))
                .collect(),
            affinity: rules.required_affinity(&spec).iter().map(PodRule::widened).collect(),
            avoided: rules.required_anti_affinity(&spec).iter().map(PodRule::widened).collect(),
            anti_affinity: rules.required_anti_affinity(&spec),
            preferred_pods: rules.preferred(&spec),
            spreads: spec.topology_spread_constraints.iter().flatten().map(|given| rules.spread(given)).collect(),
            host_ports: host_ports(&spec),
            claims,
            preempts: spec.preemption_policy.as_deref() != Some("Never"),
            signature,
            tolerations: spec.tolerations.unwrap_or_default(),
            labels,
            name,
        }
    }
}

/// Everything about a pod that its fate may depend on, as text. Claims of its own make a pod unlike any other.
fn signature(namespace: &str, labels: &Labels, claims: &[ClaimUse], spec: &PodSpec) -> Arc<str> {
    let containers: Vec<_> = spec
        .init_containers
        .iter()
        .flatten()
        .chain(&spec.containers)
        .map(|container| (&container.resources, &container.ports, &container.restart_policy))
        .collect();
    let parts = serde_json::json!([
        namespace,
        labels,
        spec.node_selector,
        spec.affinity,
        spec.tolerations,
        spec.topology_spread_constraints,
        containers,
        spec.overhead,
        spec.resources,
        claims.iter().map(|claim| &claim.name).collect::<Vec<_>>(),
        spec.host_network,
        spec.node_name,
        spec.preemption_policy,
    ]);
    parts.to_string().into()
}

struct Rules<'a> {
    namespace: &'a str,
    labels: &'a Labels,
}

impl Rules<'_> {
    fn rule(&self, term: &PodAffinityTerm) -> PodRule {
        let mut selector = Selector::of(term.label_selector.as_ref());
        for (keys, within) in [(&term.match_label_keys, true), (&term.mismatch_label_keys, false)] {
            for key in keys.iter().flatten() {
                if let Some(value) = self.labels.get(key) {
                    selector = selector.and_in(key, value, within);
                }
            }
        }
        let mut names = term.namespaces.clone().unwrap_or_default();
        if names.is_empty() && term.namespace_selector.is_none() {
            names.push(self.namespace.to_owned());
        }
        let namespaces = Namespaces { names, selector: Selector::of(term.namespace_selector.as_ref()) };
        PodRule { selector, namespaces, topology_key: term.topology_key.clone() }
    }

    fn required_affinity(&self, spec: &PodSpec) -> Vec<PodRule> {
        let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.pod_affinity.as_ref());
        let terms = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
        terms.into_iter().flatten().map(|term| self.rule(term)).collect()
    }

    fn required_anti_affinity(&self, spec: &PodSpec) -> Vec<PodRule> {
        let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        let terms = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
        terms.into_iter().flatten().map(|term| self.rule(term)).collect()
    }

    /// Preferred affinity with its weights, anti-affinity with negative ones.
    fn preferred(&self, spec: &PodSpec) -> Vec<(i64, PodRule)> {
        let affinity = spec.affinity.as_ref();
        let near = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
        let near = near.and_then(|near| near.preferred_during_scheduling_ignored_during_execution.as_ref());
        let far = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        let far = far.and_then(|far| far.preferred_during_scheduling_ignored_during_execution.as_ref());
        let near = near.into_iter().flatten().map(|term| (i64::from(term.weight), self.rule(&term.pod_affinity_term)));
        let far = far.into_iter().flatten().map(|term| (-i64::from(term.weight), self.rule(&term.pod_affinity_term)));
        near.chain(far).collect()
    }

    fn spread(&self, given: &TopologySpreadConstraint) -> Spread {
        let mut selector = Selector::of(given.label_selector.as_ref());
        for key in given.match_label_keys.iter().flatten() {
            if let Some(value) = self.labels.get(key) {
                selector = selector.and_in(key, value, true);
            }
        }
        let namespaces = Namespaces { names: vec![self.namespace.to_owned()], selector: Selector::of(None) };
        Spread {
            rule: PodRule { selector, namespaces, topology_key: given.topology_key.clone() },
            max_skew: i64::from(given.max_skew),
            min_domains: i64::from(given.min_domains.unwrap_or(1)),
            hard: given.when_unsatisfiable == "DoNotSchedule",
            honour_affinity: given.node_affinity_policy.as_deref() != Some("Ignore"),
            honour_taints: given.node_taints_policy.as_deref() == Some("Honor"),
        }
    }
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec.init_containers.iter().flatten().filter(is_sidecar);
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let used = ports.filter_map(|port| {
        let host_port =
            port.host_port.or(if spec.host_network == Some(true) { Some(port.container_port) } else { None });
        let address = port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".to_owned());
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        host_port.filter(|port| *port > 0).map(|port| (protocol, address, port))
    });
    used.collect()
}

fn is_sidecar(container: &&Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn claims(spec: &PodSpec, pod: &str) -> Vec<ClaimUse> {
    let volumes = spec.volumes.iter().flatten();
    let claim = volumes.filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some(ClaimUse { name: claim.claim_name.clone(), ephemeral: false }),
        (None, Some(_)) => Some(ClaimUse { name: format!("{pod}-{}", volume.name), ephemeral: true }),
        (None, None) => None,
    });
    claim.collect()
}
