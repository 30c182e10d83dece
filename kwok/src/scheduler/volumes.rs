//! Claims, volumes and storage classes: the basics of kube-scheduler's volume binding.

use super::{affinity::NodeTerm, pod::PodInfo, reason::Reason, snapshot::NodeInfo};
use k8s_openapi::api::{
    core::v1::{NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq)]
struct Claim {
    volume: Option<String>,
    class: Option<String>,
    deleting: bool,
}

#[derive(Clone, Debug)]
struct Class {
    /// Whether volumes are only made once a pod has a node.
    waits: bool,
    topologies: Vec<NodeTerm>,
}

/// What is known of storage.
#[derive(Clone, Debug, Default)]
pub(super) struct Volumes {
    claims: BTreeMap<(String, String), Claim>,
    /// Where each volume can be used; no terms: anywhere.
    volumes: BTreeMap<String, Vec<NodeTerm>>,
    classes: BTreeMap<String, Class>,
}

/// Where a pod's volumes let it go.
#[derive(Debug, Default)]
pub(super) struct VolumeRules<'a> {
    bound: Vec<&'a [NodeTerm]>,
    waiting: Vec<&'a [NodeTerm]>,
}

impl Volumes {
    pub(super) fn apply_claim(&mut self, claim: &PersistentVolumeClaim) {
        let spec = claim.spec.clone().unwrap_or_default();
        let metadata = &claim.metadata;
        let known = Claim {
            volume: spec.volume_name.filter(|name| !name.is_empty()),
            class: spec.storage_class_name,
            deleting: metadata.deletion_timestamp.is_some(),
        };
        let name = (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default());
        self.claims.insert(name, known);
    }

    pub(super) fn apply_volume(&mut self, volume: &PersistentVolume) {
        let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
        let required = affinity.and_then(|affinity| affinity.required.as_ref());
        let terms = required.map(|required| required.node_selector_terms.iter().map(NodeTerm::of).collect());
        self.volumes.insert(volume.metadata.name.clone().unwrap_or_default(), terms.unwrap_or_default());
    }

    pub(super) fn apply_class(&mut self, class: &StorageClass) {
        let topologies = class.allowed_topologies.iter().flatten().map(|term| {
            let requirements =
                term.match_label_expressions.iter().flatten().map(|expression| NodeSelectorRequirement {
                    key: expression.key.clone(),
                    operator: "In".to_owned(),
                    values: Some(expression.values.clone()),
                });
            NodeTerm::of(&NodeSelectorTerm { match_expressions: Some(requirements.collect()), match_fields: None })
        });
        let waits = class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer");
        let known = Class { waits, topologies: topologies.collect() };
        self.classes.insert(class.metadata.name.clone().unwrap_or_default(), known);
    }

    pub(super) fn remove_claim(&mut self, namespace: &str, name: &str) {
        self.claims.remove(&(namespace.to_owned(), name.to_owned()));
    }

    pub(super) fn remove_volume(&mut self, name: &str) {
        self.volumes.remove(name);
    }

    pub(super) fn remove_class(&mut self, name: &str) {
        self.classes.remove(name);
    }

    /// Where the pod's volumes let it go; an error if they let it go nowhere whatever the nodes.
    pub(super) fn rules(&self, pod: &PodInfo) -> Result<VolumeRules<'_>, String> {
        let mut rules = VolumeRules::default();
        for name in &pod.claims {
            let claim = self.claims.get(&(pod.name.namespace.clone(), name.clone()));
            let claim = claim.ok_or_else(|| format!("persistentvolumeclaim \"{name}\" not found"))?;
            let class = claim.class.as_ref().and_then(|class| self.classes.get(class));
            match (&claim.volume, class) {
                _ if claim.deleting => return Err(format!("persistentvolumeclaim \"{name}\" is being deleted")),
                (Some(volume), _) => rules.bound.extend(self.volumes.get(volume).map(Vec::as_slice)),
                (None, Some(class)) if class.waits => rules.waiting.push(&class.topologies),
                (None, _) => return Err("pod has unbound immediate PersistentVolumeClaims".to_owned()),
            }
        }
        Ok(rules)
    }

    /// The pod's claims whose volumes are made once it has a node.
    pub(super) fn waiting<'a>(&'a self, pod: &'a PodInfo) -> impl Iterator<Item = &'a str> {
        pod.claims.iter().map(String::as_str).filter(|name| {
            let claim = self.claims.get(&(pod.name.namespace.clone(), (*name).to_owned()));
            claim.is_some_and(|claim| claim.volume.is_none())
        })
    }
}

impl VolumeRules<'_> {
    pub(super) fn check(&self, node: &NodeInfo) -> Result<(), Reason> {
        let allows = |terms: &&[NodeTerm]| {
            terms.is_empty() || terms.iter().any(|term| term.matches(&node.name.0, &node.facts.labels))
        };
        if !self.bound.iter().all(allows) {
            return Err(Reason::VolumeAffinity);
        }
        if self.waiting.iter().all(allows) { Ok(()) } else { Err(Reason::StorageTopology) }
    }
}
