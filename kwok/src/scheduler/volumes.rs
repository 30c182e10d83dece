//! Claims, volumes and storage classes: where kube-scheduler's volume plugins let a pod go.

use super::{
    affinity::NodeTerm,
    pod::{ClaimUse, PodInfo},
    reason::Reason,
    snapshot::NodeInfo,
    storage::{Class, Known, Volume},
};
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::{CSINode, StorageClass},
};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of storage.
#[derive(Clone, Debug, Default)]
pub(super) struct Volumes {
    claims: BTreeMap<(String, String), Known>,
    volumes: BTreeMap<String, Volume>,
    classes: BTreeMap<String, Class>,
    /// How many volumes each node takes, by driver.
    limits: BTreeMap<String, BTreeMap<String, usize>>,
}

/// Volumes by the driver that attaches them.
type Attached = BTreeMap<String, BTreeSet<String>>;

/// Where a pod's volumes let it go.
#[derive(Debug, Default)]
pub(super) struct VolumeRules<'a> {
    /// Whether another pod uses a claim that only one may.
    in_use: bool,
    /// What the pod would have attached.
    attached: Attached,
    /// What is attached for the pods of each node, where that matters.
    attached_on: BTreeMap<&'a str, Attached>,
    limits: Option<&'a BTreeMap<String, BTreeMap<String, usize>>>,
    bound: Vec<&'a Volume>,
    /// Claims whose volume is chosen or made when the pod has a node, the smallest first.
    late: Vec<Late<'a>>,
}

#[derive(Debug)]
struct Late<'a> {
    name: (&'a str, &'a str),
    claim: &'a Known,
    class: &'a Class,
    /// Volumes of its class, by name.
    volumes: Vec<(&'a str, &'a Volume)>,
}

impl Volumes {
    pub(super) fn apply_claim(&mut self, claim: &PersistentVolumeClaim) {
        let metadata = &claim.metadata;
        let name = (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default());
        self.claims.insert(name, Known::of(claim));
    }

    pub(super) fn apply_volume(&mut self, volume: &PersistentVolume) {
        self.volumes.insert(volume.metadata.name.clone().unwrap_or_default(), Volume::of(volume));
    }

    pub(super) fn apply_class(&mut self, class: &StorageClass) {
        self.classes.insert(class.metadata.name.clone().unwrap_or_default(), Class::of(class));
    }

    pub(super) fn apply_csi_node(&mut self, node: &CSINode) {
        let count = |own: &Option<i32>| own.map(|count| usize::try_from(count).unwrap_or(0));
        let limits = node.spec.drivers.iter().filter_map(|driver| {
            let limit = driver.allocatable.as_ref().and_then(|allocatable| count(&allocatable.count))?;
            Some((driver.name.clone(), limit))
        });
        self.limits.insert(node.metadata.name.clone().unwrap_or_default(), limits.collect());
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

    pub(super) fn remove_csi_node(&mut self, name: &str) {
        self.limits.remove(name);
    }

    /// Where the pod's volumes let it go; an error if they let it go nowhere whatever the nodes. `others` are on nodes.
    pub(super) fn rules<'a>(
        &'a self,
        pod: &'a PodInfo,
        others: impl Iterator<Item = &'a PodInfo>,
    ) -> Result<VolumeRules<'a>, String> {
        let mut rules = VolumeRules::default();
        if pod.claims.is_empty() {
            return Ok(rules);
        }
        for used in &pod.claims {
            self.check_claim(pod, used)?;
        }
        let mut single = BTreeSet::new();
        for used in &pod.claims {
            let Some((name, claim)) = self.claim(pod, used) else { continue };
            if claim.is_exclusive() && !used.ephemeral {
                single.insert(used.name.as_str());
            }
            if let Some((driver, volume)) = self.attached(name, claim) {
                rules.attached.entry(driver).or_default().insert(volume);
            }
            self.place(name, claim, &mut rules)?;
        }
        rules.late.sort_by_key(|late| late.claim.size);
        let limited =
            rules.attached.keys().any(|driver| self.limits.values().any(|limits| limits.contains_key(driver)));
        rules.limits = limited.then_some(&self.limits);
        if limited || !single.is_empty() {
            for other in others {
                self.note_other(pod, other, &single, &mut rules);
            }
        }
        Ok(rules)
    }

    /// What is wrong with a claim whatever the nodes. That claims without a pod of their own are there comes first.
    fn check_claim(&self, pod: &PodInfo, used: &ClaimUse) -> Result<(), String> {
        let missing = pod.claims.iter().find(|used| !used.ephemeral && self.claim(pod, used).is_none());
        if let Some(ClaimUse { name, .. }) = missing {
            return Err(format!("persistentvolumeclaim \"{name}\" not found"));
        }
        let name = &used.name;
        let Some((_, claim)) = self.claim(pod, used) else {
            return Err(format!(
                "waiting for ephemeral volume controller to create the persistentvolumeclaim \"{name}\""
            ));
        };
        if claim.lost {
            let volume = claim.volume.as_deref().unwrap_or_default();
            return Err(format!(
                "persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{volume}\""
            ));
        }
        if claim.deleting {
            return Err(format!("persistentvolumeclaim \"{name}\" is being deleted"));
        }
        if used.ephemeral && claim.controller.as_deref() != Some(pod.uid.as_str()) {
            let (namespace, pod) = (&pod.name.namespace, &pod.name.name);
            return Err(format!("PVC {namespace}/{name} was not created for pod {namespace}/{pod} (pod is not owner)"));
        }
        Ok(())
    }

    fn claim(&self, pod: &PodInfo, used: &ClaimUse) -> Option<((&str, &str), &Known)> {
        let found = self.claims.get_key_value(&(pod.name.namespace.clone(), used.name.clone()));
        found.map(|((namespace, name), claim)| ((namespace.as_str(), name.as_str()), claim))
    }

    fn place<'a>(
        &'a self,
        name: (&'a str, &'a str),
        claim: &'a Known,
        rules: &mut VolumeRules<'a>,
    ) -> Result<(), String> {
        let class = self.classes.get(&claim.class).filter(|class| class.waits);
        match (&claim.volume, class) {
            // Nothing binds volumes here, so that a claim that names one counts as bound to it.
            (Some(volume), _) => match self.volumes.get(volume) {
                Some(volume) => rules.bound.push(volume),
                None => return Err(format!("persistentvolume \"{volume}\" not found")),
            },
            (None, Some(class)) => {
                let volumes = self.volumes.iter().filter(|(_, volume)| volume.class == claim.class);
                let volumes = volumes.map(|(name, volume)| (name.as_str(), volume)).collect();
                rules.late.push(Late { name, claim, class, volumes });
            }
            (None, None) => return Err("pod has unbound immediate PersistentVolumeClaims".to_owned()),
        }
        Ok(())
    }

    /// The driver that attaches the claim's volume, and what stands for the volume; none if nothing is to be attached.
    fn attached(&self, name: (&str, &str), claim: &Known) -> Option<(String, String)> {
        match claim.volume.as_ref().and_then(|volume| self.volumes.get(volume)) {
            Some(volume) => volume.driver.clone(),
            None => {
                let class = self.classes.get(&claim.class)?;
                Some((class.provisioner.clone(), format!("{}/{}", name.0, name.1)))
            }
        }
    }

    fn note_other<'a>(
        &'a self,
        pod: &PodInfo,
        other: &'a PodInfo,
        single: &BTreeSet<&str>,
        rules: &mut VolumeRules<'a>,
    ) {
        let Some(node) = other.node.as_deref() else { return };
        for used in &other.claims {
            let same = other.name.namespace == pod.name.namespace && single.contains(used.name.as_str());
            rules.in_use |= same && !used.ephemeral;
            let attached = self.claim(other, used).and_then(|(name, claim)| self.attached(name, claim));
            if let Some((driver, volume)) = attached {
                rules.attached_on.entry(node).or_default().entry(driver).or_default().insert(volume);
            }
        }
    }

    /// The pod's claims whose volumes are made once it has a node.
    pub(super) fn waiting<'a>(&'a self, pod: &'a PodInfo) -> impl Iterator<Item = &'a str> {
        let is_waiting = |used: &&ClaimUse| self.claim(pod, used).is_some_and(|(_, claim)| claim.volume.is_none());
        pod.claims.iter().filter(is_waiting).map(|used| used.name.as_str())
    }
}

impl VolumeRules<'_> {
    /// Why the pod's volumes keep it off the node.
    pub(super) fn check(&self, node: &NodeInfo) -> Result<(), Vec<Reason>> {
        if self.in_use {
            return Err(vec![Reason::VolumeInUse]);
        }
        if self.are_too_many(node) {
            return Err(vec![Reason::TooManyVolumes]);
        }
        let mut reasons = Vec::new();
        if !self.bound.iter().all(|volume| volume.is_usable(node)) {
            reasons.push(Reason::VolumeAffinity);
        }
        if !self.can_be_made(node) {
            reasons.push(Reason::NoVolume);
        }
        if !reasons.is_empty() {
            return Err(reasons);
        }
        if self.bound.iter().all(|volume| volume.is_in_zone(node)) { Ok(()) } else { Err(vec![Reason::VolumeZone]) }
    }

    fn are_too_many(&self, node: &NodeInfo) -> bool {
        let name = node.name.0.as_str();
        let Some(limits) = self.limits.and_then(|limits| limits.get(name)) else { return false };
        let none = BTreeSet::new();
        self.attached.iter().any(|(driver, new)| {
            let there = self.attached_on.get(name).and_then(|attached| attached.get(driver)).unwrap_or(&none);
            let more = new.difference(there).count();
            limits.get(driver).is_some_and(|limit| more > 0 && there.len() + more > *limit)
        })
    }

    /// Whether each claim that waits finds a volume there, or one can be made there.
    fn can_be_made(&self, node: &NodeInfo) -> bool {
        // A claim that already waits for a volume elsewhere keeps the pod off before anything else is looked at.
        let elsewhere = |late: &Late| late.claim.selected_node.as_ref().is_some_and(|chosen| *chosen != node.name.0);
        if self.late.iter().any(elsewhere) {
            return false;
        }
        let mut taken: BTreeSet<&str> = BTreeSet::new();
        self.late.iter().all(|late| {
            let found = if late.claim.selected_node.is_some() { None } else { late.matching(node, &taken) };
            found.is_some_and(|volume| taken.insert(volume)) || late.class.provisions(node)
        })
    }
}

impl<'a> Late<'a> {
    /// The volume that the claim would be bound to there: the one that is meant for it, or the smallest that will do.
    fn matching(&self, node: &NodeInfo, taken: &BTreeSet<&str>) -> Option<&'a str> {
        let mut best: Option<(&str, &Volume)> = None;
        for (name, volume) in &self.volumes {
            if taken.contains(name) || !volume.may_serve(self.claim) {
                continue;
            }
            if volume.claim.is_some() {
                // One that is meant for another claim serves nobody else.
                match volume.is_meant_for(self.name, self.claim) {
                    true => return volume.is_usable(node).then_some(*name),
                    false => continue,
                }
            }
            let serves = volume.is_free_for(self.claim) && volume.is_usable(node);
            if serves && best.is_none_or(|(_, best)| volume.size < best.size) {
                best = Some((name, volume));
            }
        }
        best.map(|(name, _)| name)
    }
}

impl Volume {
    /// Whether its node affinity allows the node.
    fn is_usable(&self, node: &NodeInfo) -> bool {
        let allows = |terms: &Vec<NodeTerm>| terms.iter().any(|term| term.matches("", &node.facts.labels));
        self.terms.as_ref().is_none_or(allows)
    }

    /// Whether its own labels of zone and region are the node's; a node without any such label is in every zone.
    fn is_in_zone(&self, node: &NodeInfo) -> bool {
        let labels = &node.facts.labels;
        let matches = |(key, values): &(String, BTreeSet<String>)| {
            let value = labels.get(key).or_else(|| labels.get(today(key)));
            value.is_some_and(|value| values.contains(value))
        };
        !ZONE_LABELS.iter().any(|key| labels.contains_key(*key)) || self.zones.iter().all(matches)
    }
}

impl Class {
    fn provisions(&self, node: &NodeInfo) -> bool {
        let allows = |term: &NodeTerm| term.matches(&node.name.0, &node.facts.labels);
        self.provisioner != "kubernetes.io/no-provisioner"
            && (self.topologies.is_empty() || self.topologies.iter().any(allows))
    }
}

/// The labels that tie a volume to a zone or region, the beta ones of long ago included.
pub(super) const ZONE_LABELS: [&str; 4] = [
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
];

/// What a beta label is called today.
fn today(key: &str) -> &str {
    match key {
        "failure-domain.beta.kubernetes.io/zone" => "topology.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region" => "topology.kubernetes.io/region",
        other => other,
    }
}
