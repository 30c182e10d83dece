//! Claimed volumes can be used where their pods go, and the nodes can attach them.

use super::{
    Violation,
    kubernetes::{Labels, expression_holds, value},
    machines::Machine,
};
use crate::{
    model::{PodKey, Storage, pod_spec},
    scheduling::SchedulingInput,
};
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::StorageClass,
};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(input: &SchedulingInput<'_>, machine: &Machine, found: &mut Vec<Violation>) {
    let storage = &input.prepared.snapshot().storage;
    for pod in &machine.coming {
        for (key, claim) in claims(pod, storage) {
            let subject = || PodKey::of(pod).to_string();
            let Some(claim) = claim else {
                found.push(Violation::new("volumes", subject(), format!("uses `{}`, which is not there", key.1)));
                continue;
            };
            if let Some(wrong) = machine.possible.iter().find(|possible| !usable(claim, storage, &possible.labels)) {
                let detail = format!("cannot use `{}` on `{}` ({})", key.1, machine.name, wrong.what);
                found.push(Violation::new("volumes", subject(), detail));
            }
        }
    }
    attachments(machine, storage, found);
}

/// The nodes that exist attach no more volumes than they say they can.
fn attachments(machine: &Machine, storage: &Storage, found: &mut Vec<Violation>) {
    let Some(node) = storage.csi_nodes.get(&machine.name).filter(|_| !machine.coming.is_empty()) else { return };
    let mut attached: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for pod in machine.running.iter().chain(&machine.coming) {
        for (key, claim) in claims(pod, storage) {
            if let Some(driver) = claim.and_then(|claim| driver(claim, storage)) {
                attached.entry(driver).or_default().insert(key);
            }
        }
    }
    for driver in &node.spec.drivers {
        let most = driver.allocatable.as_ref().and_then(|own| own.count);
        let there = attached.get(&driver.name).map_or(0, BTreeSet::len);
        if most.is_some_and(|most| i64::from(most) < there as i64) {
            let detail = format!("would attach {there} volumes by `{}`, more than it can", driver.name);
            found.push(Violation::new("volumes", machine.name.clone(), detail));
        }
    }
}

type Key = (String, String);

fn claims<'a>(pod: &'a Pod, storage: &'a Storage) -> Vec<(Key, Option<&'a PersistentVolumeClaim>)> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let mut all = Vec::new();
    for volume in pod_spec(pod).volumes.iter().flatten() {
        let name = match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(claim), _) => claim.claim_name.clone(),
            (None, Some(_)) => format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name),
            (None, None) => continue,
        };
        let key = (namespace.clone(), name);
        all.push((key.clone(), storage.claims.get(&key).map(AsRef::as_ref)));
    }
    all
}

fn volume<'a>(claim: &PersistentVolumeClaim, storage: &'a Storage) -> Option<&'a PersistentVolume> {
    storage.volumes.get(claim.spec.as_ref()?.volume_name.as_ref()?).map(AsRef::as_ref)
}

fn class<'a>(claim: &PersistentVolumeClaim, storage: &'a Storage) -> Option<&'a StorageClass> {
    storage.classes.get(claim.spec.as_ref()?.storage_class_name.as_ref()?).map(AsRef::as_ref)
}

fn usable(claim: &PersistentVolumeClaim, storage: &Storage, labels: &Labels) -> bool {
    if let Some(volume) = volume(claim, storage) {
        let Some(spec) = &volume.spec else { return true };
        let on_host = spec.local.is_some() || spec.host_path.is_some();
        let Some(required) = spec.node_affinity.as_ref().and_then(|own| own.required.as_ref()) else { return true };
        return required.node_selector_terms.iter().any(|term| {
            let ignored = |key: &str| on_host && key == crate::api::labels::HOSTNAME;
            let expressions = term.match_expressions.iter().flatten();
            expressions.into_iter().all(|own| ignored(&own.key) || expression_holds(own, labels))
        });
    }
    let Some(class) = class(claim, storage) else { return false };
    let terms = class.allowed_topologies.as_deref().unwrap_or_default();
    terms.is_empty()
        || terms.iter().any(|term| {
            let mut expressions = term.match_label_expressions.iter().flatten();
            expressions.all(|own| value(labels, &own.key).is_some_and(|there| own.values.contains(there)))
        })
}

fn driver(claim: &PersistentVolumeClaim, storage: &Storage) -> Option<String> {
    if let Some(volume) = volume(claim, storage) {
        return volume.spec.as_ref()?.csi.as_ref().map(|own| own.driver.clone());
    }
    class(claim, storage).map(|class| class.provisioner.clone())
}
