//! The nodes that a decision leads to.

use super::kubernetes::Labels;
use crate::{
    api::labels,
    model::{InstanceType, Offering, PodKey, Requirement, Requirements, Resources, StateNode, is_terminal},
    scheduling::{PlannedNodeClaim, Results, SchedulingInput},
};
use k8s_openapi::api::core::v1::{Pod, Taint};
use std::{collections::BTreeSet, sync::Arc};

/// A node, existing or to come, with what it may be and what will run on it.
#[derive(Debug)]
pub(super) struct Machine {
    /// The node's name, or the claim's position.
    pub(super) name: String,
    /// Everything that it may be: one for a node that exists, one per type and offering for a claim.
    pub(super) possible: Vec<Possible>,
    pub(super) taints: Vec<Taint>,
    /// Pods that run there already and stay.
    pub(super) running: Vec<Arc<Pod>>,
    /// Pods that the decision puts there.
    pub(super) coming: Vec<Arc<Pod>>,
}

/// One thing that a machine may be.
#[derive(Debug)]
pub(super) struct Possible {
    /// For messages: the type, zone and capacity type of a claim.
    pub(super) what: String,
    pub(super) labels: Labels,
    pub(super) allocatable: Resources,
}

impl Machine {
    pub(super) fn all(input: &SchedulingInput<'_>, results: &Results) -> Vec<Self> {
        let snapshot = input.prepared.snapshot();
        let moving: BTreeSet<PodKey> = input.pods.iter().map(|pod| PodKey::of(pod)).collect();
        let present = snapshot.nodes.iter().enumerate().filter(|(index, _)| !input.without.contains(index));
        let existing = present.map(|(index, node)| {
            let here = results.placements.iter().filter(|placement| placement.index == index);
            Self::existing(node, &moving, here.flat_map(|placement| placement.pods.iter().cloned()).collect())
        });
        let planned = results.planned.iter().enumerate().map(|(index, claim)| Self::planned(index, claim));
        existing.chain(planned).collect()
    }

    fn existing(node: &StateNode, moving: &BTreeSet<PodKey>, coming: Vec<Arc<Pod>>) -> Self {
        let mut labels = node.labels();
        labels.entry(labels::HOSTNAME.to_owned()).or_insert_with(|| node.name().to_owned());
        let stays = |pod: &&Arc<Pod>| !is_terminal(pod) && !moving.contains(&PodKey::of(pod));
        Self {
            name: node.name().to_owned(),
            possible: vec![Possible { what: node.name().to_owned(), labels, allocatable: node.allocatable() }],
            taints: node.taints(),
            running: node.pods.iter().filter(stays).cloned().collect(),
            coming,
        }
    }

    fn planned(index: usize, claim: &PlannedNodeClaim) -> Self {
        let name = format!("{}#{index}", claim.node_pool);
        let possible = claim.instance_types.iter().flat_map(|kind| {
            let offerings = offerings(claim, kind);
            offerings.into_iter().map(|offering| Possible {
                what: format!("{} {} {}", kind.name, offering.zone, offering.capacity_type),
                labels: node_labels(&name, claim, kind, offering),
                allocatable: kind.allocatable(),
            })
        });
        Self {
            possible: possible.collect(),
            taints: claim.taints.clone(),
            running: Vec::new(),
            coming: claim.pods.clone(),
            name,
        }
    }
}

/// The offerings of `kind` through which the claim may be launched.
pub(super) fn offerings<'a>(claim: &PlannedNodeClaim, kind: &'a InstanceType) -> Vec<&'a Offering> {
    let allowed = |offering: &&Offering| {
        let zone = claim.requirements.get(labels::ZONE).is_none_or(|own| own.has(&offering.zone));
        let paid =
            claim.requirements.get(labels::CAPACITY_TYPE).is_none_or(|own| own.has(offering.capacity_type.as_str()));
        let rest = offering
            .requirements
            .iter()
            .all(|own| claim.requirements.get(own.key()).is_none_or(|asked| overlaps(asked, own)));
        offering.available && zone && paid && rest
    };
    kind.offerings.iter().filter(allowed).collect()
}

fn overlaps(asked: &Requirement, own: &Requirement) -> bool {
    own.values().any(|value| asked.has(value)) || (own.allows_absent() && asked.allows_absent()) || !own.is_listed()
}

/// The labels that the node would have.
fn node_labels(name: &str, claim: &PlannedNodeClaim, kind: &InstanceType, offering: &Offering) -> Labels {
    let mut all = claim.labels.clone();
    let settled =
        |requirements: &Requirements| -> Vec<(String, String)> { requirements.single_values().into_iter().collect() };
    all.extend(settled(&claim.requirements));
    all.extend(settled(&kind.requirements));
    all.extend(settled(&offering.requirements));
    all.insert(labels::ZONE.to_owned(), offering.zone.clone());
    all.insert(labels::CAPACITY_TYPE.to_owned(), offering.capacity_type.as_str().to_owned());
    all.insert(labels::INSTANCE_TYPE.to_owned(), kind.name.clone());
    all.insert(labels::HOSTNAME.to_owned(), name.to_owned());
    for key in [labels::REGISTERED, labels::INITIALIZED] {
        all.insert(key.to_owned(), "true".to_owned());
    }
    all
}
