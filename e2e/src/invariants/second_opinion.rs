//! Where pods could go if Nodes were gone, by the scheduler that knows nothing of the decision core.

use crate::objects::{belongs_to_node, is_deleted};
use k8s_openapi::api::core::v1::{Node, Pod};
use sawhorse_kwok::{
    apiserver::Object,
    scheduler::{PodInfo, PodName, Snapshot, feasible, has_finished, schedule},
};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeSet, sync::Arc};

/// Objects as they are stored, by group and resource.
pub(crate) type Stored<'a> = &'a dyn Fn(&str, &str) -> Vec<Arc<Object>>;

/// What scheduling depends on besides pods and Nodes: group and resource.
const OTHERS: [(&str, &str); 5] = [
    ("", "namespaces"),
    ("", "persistentvolumeclaims"),
    ("", "persistentvolumes"),
    ("storage.k8s.io", "storageclasses"),
    ("storage.k8s.io", "csinodes"),
];

/// Pods and Nodes of one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moment {
    pub(crate) pods: Vec<Arc<Object>>,
    pub(crate) nodes: Vec<Arc<Object>>,
}

impl Moment {
    /// The cluster without the Nodes `gone` and what is on them, with `coming` in place of these, and what else there is now.
    pub(super) fn without(&self, gone: &BTreeSet<&str>, coming: &[Node], stored: Stored<'_>) -> Snapshot {
        let mut without = Snapshot::new();
        let stays = |node: &str| !gone.contains(node);
        let nodes = self.nodes.iter().filter_map(|own| Node::deserialize(own.value()).ok());
        for node in nodes.chain(coming.iter().cloned()) {
            if node.metadata.name.as_deref().is_some_and(stays) {
                without.apply_node(&node);
            }
        }
        for other in OTHERS.iter().flat_map(|(group, resource)| stored(group, resource)) {
            // What cannot be read is missed by the pods that name it.
            let _unread = without.apply(other.value().clone());
        }
        for (pod, node) in self.bound(|_, node| stays(node)) {
            without.assign(PodInfo::of(&pod), &node);
        }
        without
    }

    /// The pods of the Nodes `gone` that want another one.
    pub(super) fn leaving(&self, gone: &BTreeSet<&str>) -> Vec<PodInfo> {
        let wants_another = |pod: &Value, node: &str| gone.contains(node) && !is_deleted(pod) && !belongs_to_node(pod);
        let homeless = self.bound(wants_another).map(|(mut pod, _)| {
            pod.spec.iter_mut().for_each(|spec| spec.node_name = None);
            PodInfo::of(&pod)
        });
        homeless.collect()
    }

    /// Those pods that are on a Node and have not finished there, with its name.
    fn bound(&self, those: impl Fn(&Value, &str) -> bool) -> impl Iterator<Item = (Pod, String)> {
        let bound = self.pods.iter().map(|own| own.value()).filter_map(move |pod| {
            let node = pod["spec"]["nodeName"].as_str().filter(|node| those(pod, node))?;
            Some((Pod::deserialize(pod).ok()?, node.to_owned()))
        });
        bound.filter(|(pod, _)| !has_finished(pod))
    }
}

/// Those of `pods` that could go nowhere in the cluster, even if none of the others took anything from them.
pub(super) fn without_a_place(cluster: &Snapshot, pods: &[PodInfo]) -> BTreeSet<PodName> {
    let alone = pods.iter().filter(|pod| feasible(cluster, pod).0.is_empty());
    let alone: BTreeSet<PodName> = alone.map(|pod| pod.name.clone()).collect();
    if alone.is_empty() {
        return alone;
    }
    // Those that follow others find a place once these have one.
    left_together(cluster.clone(), pods.to_vec()).into_iter().filter(|name| alone.contains(name)).collect()
}

/// Those of `pods` that find no place if all of them come, one after another.
pub(super) fn left_together(mut cluster: Snapshot, mut pods: Vec<PodInfo>) -> Vec<PodName> {
    loop {
        let mut left = Vec::new();
        let before = pods.len();
        for pod in pods {
            match schedule(&cluster, &pod) {
                Ok(node) => {
                    cluster.assign(pod, &node.0);
                }
                Err(_) => left.push(pod),
            }
        }
        if left.is_empty() || left.len() == before {
            return left.into_iter().map(|pod| pod.name).collect();
        }
        pods = left;
    }
}
