//! Where a pod's volumes let it go, and how many they are for the drivers that attach them (spec core 2.3, 2.13).

use super::topology::namespace;
use crate::{
    api::labels,
    model::{Operator, Requirement, Requirements, Storage, WhyNot, pod_spec},
};
use k8s_openapi::api::{
    core::v1::{NodeSelectorTerm, PersistentVolume, PersistentVolumeClaim, Pod, Volume},
    storage::v1::{CSINode, StorageClass},
};
use std::collections::{BTreeMap, BTreeSet};

/// The annotation of a claim that has been bound for good.
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// What attaches the volumes that in-tree plugins once did.
const TRANSLATED: [(&str, &str); 2] =
    [("kubernetes.io/aws-ebs", "ebs.csi.aws.com"), ("kubernetes.io/azure-disk", "disk.csi.azure.com")];

/// What a pod's volumes ask for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PodVolumes {
    /// One of them must hold, if there are any.
    pub(super) alternatives: Vec<Requirements>,
    /// By driver: the claims whose volumes it attaches.
    attached: BTreeMap<String, BTreeSet<(String, String)>>,
}

impl PodVolumes {
    /// What the volumes of `pod` ask for; none if it claims none.
    ///
    /// # Errors
    /// A claim because of which the pod cannot run anywhere yet.
    pub(super) fn of(pod: &Pod, storage: &Storage) -> Result<Option<Self>, WhyNot> {
        let mut all = Self { alternatives: vec![Requirements::new()], attached: BTreeMap::new() };
        let mut any = false;
        for name in claim_names(pod) {
            any = true;
            all.add(namespace(pod), &name, storage)?;
        }
        Ok(any.then_some(all))
    }

    fn add(&mut self, namespace: &str, name: &str, storage: &Storage) -> Result<(), WhyNot> {
        let refused = |why: &'static str| WhyNot::Volume { claim: name.to_owned(), why };
        let key = (namespace.to_owned(), name.to_owned());
        let claim = storage.claims.get(&key).ok_or_else(|| refused("is not there"))?;
        let (places, driver) = match placed(claim, storage) {
            Ok(Placed::Bound(volume)) => (of_volume(volume), volume_driver(volume)),
            Ok(Placed::Waits(class)) => (of_class(class), Some(translated(&class.provisioner))),
            Err(why) => return Err(refused(why)),
        };
        if let Some(driver) = driver {
            self.attached.entry(driver.to_owned()).or_default().insert(key);
        }
        if places.is_empty() {
            return Ok(());
        }
        let both: Vec<Requirements> =
            self.alternatives.iter().flat_map(|own| places.iter().map(|place| own.and(place))).collect();
        let possible: Vec<Requirements> = both.iter().filter(|own| own.contradiction().is_none()).cloned().collect();
        // If nothing is possible the pod is to be told of it as of any contradiction.
        self.alternatives = if possible.is_empty() { both } else { possible };
        Ok(())
    }

    /// `own` and where the volumes are: alternatives.
    pub(super) fn and_where(&self, own: &Requirements) -> impl Iterator<Item = Requirements> {
        let nowhere_else = self.alternatives.is_empty().then(|| own.clone());
        nowhere_else.into_iter().chain(self.alternatives.iter().map(|place| own.and(place)))
    }

    /// How many volumes each driver attaches for the pod.
    pub(super) fn attachments(&self) -> impl Iterator<Item = (&str, i64)> {
        self.attached.iter().map(|(driver, claims)| (driver.as_str(), claims.len() as i64))
    }

    /// Writes what makes the volumes of two pods equal for scheduling.
    pub(super) fn put_key(&self, key: &mut Vec<u8>) {
        let counts: Vec<(&str, i64)> = self.attachments().collect();
        key.extend_from_slice(format!("v{:?}{counts:?}", self.alternatives).as_bytes());
    }
}

/// By driver: how many volumes `node` can still attach besides those of `pods`, for drivers that say how many they can.
pub(super) fn attachable<'a>(
    node: &str,
    pods: impl Iterator<Item = &'a Pod>,
    storage: &Storage,
) -> BTreeMap<String, i64> {
    let Some(csi_node) = storage.csi_nodes.get(node) else { return BTreeMap::new() };
    let mut left: BTreeMap<String, i64> =
        limits(csi_node).map(|(driver, count)| (driver.to_owned(), count.into())).collect();
    let mut claims: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for pod in pods {
        // A pod runs there, so what is wrong with its claims now does not matter.
        for (driver, own) in PodVolumes::of(pod, storage).ok().flatten().into_iter().flat_map(|own| own.attached) {
            claims.entry(driver).or_default().extend(own);
        }
    }
    for (driver, left) in &mut left {
        *left -= claims.get(driver).map_or(0, |claims| claims.len() as i64);
    }
    left
}

/// The drivers that say how many volumes they can attach to some node.
pub(super) fn limited_drivers(storage: &Storage) -> BTreeSet<&str> {
    storage.csi_nodes.values().flat_map(|node| limits(node)).map(|(driver, _)| driver).collect()
}

/// A driver that names no count has no limit (the reference takes it for zero).
fn limits(node: &CSINode) -> impl Iterator<Item = (&str, i32)> {
    node.spec.drivers.iter().filter_map(|driver| Some((driver.name.as_str(), driver.allocatable.as_ref()?.count?)))
}

/// The claims that a pod uses; a generic ephemeral volume has one of its own.
fn claim_names(pod: &Pod) -> impl Iterator<Item = String> {
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    let name = move |volume: &Volume| {
        let own = volume.ephemeral.as_ref().map(|_| format!("{pod_name}-{}", volume.name));
        volume.persistent_volume_claim.as_ref().map(|claim| claim.claim_name.clone()).or(own)
    };
    pod_spec(pod).volumes.iter().flatten().filter_map(name)
}

/// What a claim stands for.
enum Placed<'a> {
    /// A volume that exists.
    Bound(&'a PersistentVolume),
    /// One that is made once its first pod has a node.
    Waits(&'a StorageClass),
}

fn placed<'a>(claim: &PersistentVolumeClaim, storage: &'a Storage) -> Result<Placed<'a>, &'static str> {
    let spec = claim.spec.as_ref();
    if claim.metadata.deletion_timestamp.is_some() {
        return Err("is being deleted");
    }
    if claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Lost") {
        return Err("has lost its volume");
    }
    match spec.and_then(|spec| spec.volume_name.as_deref()).filter(|name| !name.is_empty()) {
        Some(name) => {
            let volume = storage.volumes.get(name).ok_or("names a volume that is not there")?;
            let bound = claim.metadata.annotations.as_ref().is_some_and(|own| own.contains_key(BIND_COMPLETED));
            match (volume.metadata.deletion_timestamp.is_some(), bound) {
                (true, _) => Err("names a volume that is being deleted"),
                (false, false) => Err("is not bound to its volume yet"),
                (false, true) => Ok(Placed::Bound(volume)),
            }
        }
        None => {
            let name = spec.and_then(|spec| spec.storage_class_name.as_deref()).filter(|name| !name.is_empty());
            let class = storage.classes.get(name.ok_or("has neither a volume nor a storage class")?);
            let class = class.ok_or("names a storage class that is not there")?;
            let waits = class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer");
            if waits { Ok(Placed::Waits(class)) } else { Err("waits for its volume to be made (binding is immediate)") }
        }
    }
}

/// Where a volume can be used; empty where that is everywhere.
fn of_volume(volume: &PersistentVolume) -> Vec<Requirements> {
    let spec = volume.spec.as_ref();
    let affinity = spec.and_then(|spec| spec.node_affinity.as_ref());
    let terms = affinity.and_then(|own| own.required.as_ref()).map(|required| required.node_selector_terms.as_slice());
    // A volume on one machine's own disk would tie the pod to that machine for ever; a new one is made elsewhere.
    let on_host = spec.is_some_and(|spec| spec.local.is_some() || spec.host_path.is_some());
    let places: Vec<Requirements> = terms.into_iter().flatten().map(|term| of_term(term, on_host)).collect();
    if places.iter().any(Requirements::is_empty) { Vec::new() } else { places }
}

fn of_term(term: &NodeSelectorTerm, on_host: bool) -> Requirements {
    let mut asked = Requirements::from_term(term);
    if on_host {
        asked.remove(labels::HOSTNAME);
    }
    asked
}

/// Where volumes of a class can be made; empty where that is everywhere.
fn of_class(class: &StorageClass) -> Vec<Requirements> {
    let term = |term: &k8s_openapi::api::core::v1::TopologySelectorTerm| {
        let expressions = term.match_label_expressions.iter().flatten();
        expressions.map(|own| Requirement::new(labels::normalize(&own.key), Operator::In, &own.values)).collect()
    };
    class.allowed_topologies.iter().flatten().map(term).collect()
}

fn volume_driver(volume: &PersistentVolume) -> Option<&str> {
    let spec = volume.spec.as_ref()?;
    let csi = spec.csi.as_ref().map(|own| own.driver.as_str());
    csi.or_else(|| spec.aws_elastic_block_store.as_ref().map(|_| "ebs.csi.aws.com"))
}

fn translated(provisioner: &str) -> &str {
    TRANSLATED.iter().find(|(old, _)| *old == provisioner).map_or(provisioner, |(_, new)| new)
}
