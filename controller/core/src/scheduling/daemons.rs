//! What DaemonSets take of each machine (spec core 2.11).

use super::{bits::Bits, key_index::KeyIndex, pool::Pool};
use crate::model::{
    HostPort, PREFER_NO_SCHEDULE, Requirements, Resources, WellKnownLabels, host_ports, pod_requests, tolerates_all,
};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Pod, PodSpec, Taint, Toleration},
};
use std::collections::BTreeSet;

/// The pod that a DaemonSet puts on each node that will do.
#[derive(Clone, Debug)]
pub(super) struct Daemon {
    requests: Resources,
    ports: BTreeSet<HostPort>,
    tolerations: Vec<Toleration>,
    /// Any of them must hold.
    alternatives: Vec<Requirements>,
}

/// The daemons that run together on some types.
#[derive(Clone, Debug, Default)]
pub(super) struct DaemonGroup {
    pub(super) requests: Resources,
    pub(super) ports: Vec<HostPort>,
}

impl DaemonGroup {
    pub(super) fn of<'a>(daemons: impl Iterator<Item = &'a Daemon>) -> Self {
        let mut group = Self::default();
        for daemon in daemons {
            group.requests.add(&daemon.requests);
            group.ports.extend(daemon.ports.iter().cloned());
        }
        group
    }
}

impl Daemon {
    /// The daemon of `set`; none where its template's amounts cannot be read, because then no pod of it can run.
    pub(super) fn of(set: &DaemonSet) -> Option<Self> {
        let template = &set.spec.as_ref()?.template;
        let spec = template.spec.clone()?;
        let mut tolerations = spec.tolerations.clone().unwrap_or_default();
        tolerations.extend(well_tolerated());
        let alternatives = required_alternatives(&spec);
        let pod = Pod { metadata: template.metadata.clone().unwrap_or_default(), spec: Some(spec), status: None };
        Some(Self { requests: pod_requests(&pod).ok()?, ports: host_ports(&pod), tolerations, alternatives })
    }

    /// The types of `pool` on which the daemon will run.
    pub(super) fn types_of(&self, pool: &Pool, signatures: &KeyIndex, well_known: &WellKnownLabels) -> Bits {
        let mut types = Bits::none(pool.types.len());
        if !tolerates_all(&self.tolerations, pool.taints()) {
            return types;
        }
        for asked in &self.alternatives {
            // A zone or capacity type is the offering's to say, so it is left open here and the daemon is counted.
            let open = asked.iter().filter(|requirement| !offering_label(requirement.key())).cloned().collect();
            let closed_by_pool = pool.template.compatible(asked, &WellKnownLabels::none().with(asked.keys())).is_err();
            if let (false, Ok(admission)) = (closed_by_pool, pool.admit(&open, signatures, well_known)) {
                types.unite(&admission.types);
            }
        }
        types
    }

    /// Whether the daemon runs on a node with these labels and taints.
    pub(super) fn runs_on(&self, labels: &Requirements, taints: &[Taint]) -> bool {
        let holds = |asked: &Requirements| super::existing::satisfied(labels, asked);
        tolerates_all(&self.tolerations, taints) && self.alternatives.iter().any(holds)
    }
}

fn offering_label(key: &str) -> bool {
    use crate::api::labels;
    [labels::ZONE, labels::CAPACITY_TYPE, labels::CAPACITY_RESERVATION_ID, labels::ZONE_ID].contains(&key)
}

/// What a pod's node selector and each of its required node affinity terms ask; any one of the results must hold.
pub(super) fn required_alternatives(spec: &PodSpec) -> Vec<Requirements> {
    let selector = Requirements::from_labels(spec.node_selector.iter().flatten());
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
    match required {
        None => vec![selector],
        Some(required) => {
            let stated = required.node_selector_terms.iter().filter(|term| {
                // A term without expressions and fields matches nothing, as in Kubernetes.
                term.match_expressions.as_ref().is_some_and(|expressions| !expressions.is_empty())
            });
            stated.map(|term| selector.and(&Requirements::from_term(term))).collect()
        }
    }
}

/// What the DaemonSet controller tolerates for its pods, and `PreferNoSchedule`.
fn well_tolerated() -> impl Iterator<Item = Toleration> {
    let exists = |key: Option<&str>, effect: &str| Toleration {
        key: key.map(str::to_owned),
        operator: Some("Exists".to_owned()),
        effect: Some(effect.to_owned()),
        ..Toleration::default()
    };
    let keys = [
        ("node.kubernetes.io/not-ready", "NoExecute"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
        ("node.kubernetes.io/disk-pressure", "NoSchedule"),
        ("node.kubernetes.io/memory-pressure", "NoSchedule"),
        ("node.kubernetes.io/pid-pressure", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ];
    keys.into_iter().map(move |(key, effect)| exists(Some(key), effect)).chain([exists(None, PREFER_NO_SCHEDULE)])
}
