//! What is known of one claim, one volume, one storage class.

use super::{
    affinity::{Labels, NodeTerm, Selector},
    volumes::ZONE_LABELS,
};
use crate::machine::quantity::Quantity;
use k8s_openapi::{
    api::{
        core::v1::{
            NodeSelectorRequirement, NodeSelectorTerm, ObjectReference, PersistentVolume, PersistentVolumeClaim,
        },
        storage::v1::StorageClass,
    },
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use std::collections::{BTreeMap, BTreeSet};

/// The annotation that named the class before there was a field.
const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
/// The annotation that tells who makes volumes where the claim's pod goes.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// A claim.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    pub(super) volume: Option<String>,
    /// Empty if it asks for none.
    pub(super) class: String,
    pub(super) deleting: bool,
    /// Whether its volume has gone away.
    pub(super) lost: bool,
    pub(super) selected_node: Option<String>,
    /// The uid of what owns it as its controller.
    pub(super) controller: Option<String>,
    pub(super) size: i64,
    uid: String,
    modes: BTreeSet<String>,
    block: bool,
    selector: Option<Selector>,
    attributes: String,
}

impl Known {
    pub(super) fn of(claim: &PersistentVolumeClaim) -> Self {
        let spec = claim.spec.clone().unwrap_or_default();
        let metadata = &claim.metadata;
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
        let annotation = |key: &str| metadata.annotations.as_ref()?.get(key).cloned();
        let controller = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
        Self {
            volume: spec.volume_name.filter(|name| !name.is_empty()),
            class: annotation(CLASS).or(spec.storage_class_name).unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            lost: phase == Some("Lost"),
            selected_node: annotation(SELECTED_NODE),
            controller: controller.map(|owner| owner.uid.clone()),
            size: storage(spec.resources.and_then(|resources| resources.requests).as_ref()),
            uid: metadata.uid.clone().unwrap_or_default(),
            modes: spec.access_modes.unwrap_or_default().into_iter().collect(),
            block: spec.volume_mode.as_deref() == Some("Block"),
            selector: spec.selector.as_ref().map(|selector| Selector::of(Some(selector))),
            attributes: spec.volume_attributes_class_name.unwrap_or_default(),
        }
    }

    /// Whether only one pod at a time may use it.
    pub(super) fn is_exclusive(&self) -> bool {
        self.modes.contains("ReadWriteOncePod")
    }
}

/// A volume.
#[derive(Clone, Debug)]
pub(super) struct Volume {
    /// Where it can be used; none: anywhere.
    pub(super) terms: Option<Vec<NodeTerm>>,
    /// Labels that tie it to zones or regions.
    pub(super) zones: Vec<(String, BTreeSet<String>)>,
    pub(super) class: String,
    pub(super) size: i64,
    /// The claim that it is bound to or meant for.
    pub(super) claim: Option<ObjectReference>,
    /// Who attaches it, and the name that it has there.
    pub(super) driver: Option<(String, String)>,
    labels: Labels,
    modes: BTreeSet<String>,
    block: bool,
    available: bool,
    deleting: bool,
    attributes: String,
}

impl Volume {
    pub(super) fn of(volume: &PersistentVolume) -> Self {
        let spec = volume.spec.clone().unwrap_or_default();
        let metadata = &volume.metadata;
        let labels = metadata.labels.clone().unwrap_or_default();
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
        let required = spec.node_affinity.and_then(|affinity| affinity.required);
        let class = metadata.annotations.as_ref().and_then(|annotations| annotations.get(CLASS)).cloned();
        Self {
            terms: required.map(|required| required.node_selector_terms.iter().map(NodeTerm::of).collect()),
            zones: zones(&labels),
            class: class.or(spec.storage_class_name).unwrap_or_default(),
            size: storage(spec.capacity.as_ref()),
            claim: spec.claim_ref,
            driver: spec.csi.map(|csi| (csi.driver, csi.volume_handle)),
            labels,
            modes: spec.access_modes.unwrap_or_default().into_iter().collect(),
            block: spec.volume_mode.as_deref() == Some("Block"),
            available: phase == Some("Available"),
            deleting: metadata.deletion_timestamp.is_some(),
            attributes: spec.volume_attributes_class_name.unwrap_or_default(),
        }
    }

    /// Whether it is of the kind that the claim asks for, and large enough.
    pub(super) fn may_serve(&self, claim: &Known) -> bool {
        self.size >= claim.size && self.block == claim.block && self.attributes == claim.attributes && !self.deleting
    }

    /// Whether it is meant for the claim of that namespace and name.
    pub(super) fn is_meant_for(&self, name: (&str, &str), claim: &Known) -> bool {
        self.claim.as_ref().is_some_and(|own| {
            let uid = own.uid.as_deref().unwrap_or_default();
            (own.namespace.as_deref(), own.name.as_deref()) == (Some(name.0), Some(name.1))
                && (uid.is_empty() || uid == claim.uid)
        })
    }

    /// Whether a claim that it is not meant for may have it.
    pub(super) fn is_free_for(&self, claim: &Known) -> bool {
        self.available
            && claim.selector.as_ref().is_none_or(|selector| selector.matches(&self.labels))
            && claim.modes.is_subset(&self.modes)
    }
}

/// The zones and regions that a volume's labels name; several are joined by two underscores.
fn zones(labels: &Labels) -> Vec<(String, BTreeSet<String>)> {
    let named = ZONE_LABELS.iter().filter_map(|key| Some((*key, labels.get(*key)?)));
    // A label with an empty part is ignored.
    let named = named.filter(|(_, value)| value.split("__").all(|part| !part.trim().is_empty()));
    named.map(|(key, value)| (key.to_owned(), value.split("__").map(str::to_owned).collect())).collect()
}

fn storage(amounts: Option<&BTreeMap<String, ApiQuantity>>) -> i64 {
    let amount = amounts.and_then(|amounts| amounts.get("storage"));
    amount.and_then(|text| text.0.parse::<Quantity>().ok()).map_or(0, Quantity::units)
}

/// A storage class.
#[derive(Clone, Debug)]
pub(super) struct Class {
    /// Whether volumes are only made once a pod has a node.
    pub(super) waits: bool,
    pub(super) topologies: Vec<NodeTerm>,
    pub(super) provisioner: String,
}

impl Class {
    pub(super) fn of(class: &StorageClass) -> Self {
        let topologies = class.allowed_topologies.iter().flatten().map(|term| {
            let requirements =
                term.match_label_expressions.iter().flatten().map(|expression| NodeSelectorRequirement {
                    key: expression.key.clone(),
                    operator: "In".to_owned(),
                    values: Some(expression.values.clone()),
                });
            NodeTerm::of(&NodeSelectorTerm { match_expressions: Some(requirements.collect()), match_fields: None })
        });
        Self {
            waits: class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"),
            topologies: topologies.collect(),
            provisioner: class.provisioner.clone(),
        }
    }
}
