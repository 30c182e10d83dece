//! Objects of a real cluster as its watches tell of them.

use futures::StreamExt;
use kube::{
    Api, Client,
    core::{ApiResource, DynamicObject, GroupVersionKind},
    runtime::{WatchStreamExt, watcher, watcher::Event},
};
use sawhorse_kwok::apiserver::{GroupResource, Object};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// What is followed: group, version, kind, plural.
const KINDS: [(&str, &str, &str, &str); 8] = [
    ("", "v1", "Pod", "pods"),
    ("", "v1", "Node", "nodes"),
    ("", "v1", "Event", "events"),
    ("karpenter.sh", "v1", "NodeClaim", "nodeclaims"),
    ("karpenter.sh", "v1", "NodePool", "nodepools"),
    ("karpenter.sh", "v1alpha1", "NodeOverlay", "nodeoverlays"),
    ("autoscaling.x-k8s.io", "v1beta1", "CapacityBuffer", "capacitybuffers"),
    ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
];

/// Namespace and name.
type Key = (String, String);
/// Objects by resource and name.
type Objects = BTreeMap<GroupResource, BTreeMap<Key, Arc<Object>>>;

/// What belongs to a cluster itself: runs in it do not see that.
#[derive(Clone, Debug, Default)]
pub struct Own {
    nodes: BTreeSet<String>,
    namespaces: BTreeSet<String>,
}

impl Own {
    /// These nodes, and what is in these namespaces.
    pub(super) fn new(nodes: &BTreeSet<String>, namespaces: &[&str]) -> Self {
        Self { nodes: nodes.clone(), namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect() }
    }

    /// Whether a namespace is the cluster's own.
    pub(super) fn has_namespace(&self, name: &str) -> bool {
        self.namespaces.contains(name)
    }

    /// Whether an object is the cluster's own: one of its nodes, in one of its namespaces, or an event about one of its nodes.
    pub fn has(&self, kind: &str, object: &DynamicObject) -> bool {
        let metadata = &object.metadata;
        let about = match kind {
            "Node" => metadata.name.as_deref(),
            "Event" => object.data["involvedObject"]["name"].as_str(),
            _ => None,
        };
        about.is_some_and(|name| self.nodes.contains(name))
            || metadata.namespace.as_ref().is_some_and(|namespace| self.has_namespace(namespace))
    }
}

/// The objects, shared between the watches and those who ask.
#[derive(Clone, Debug, Default)]
pub(super) struct Mirror {
    objects: Arc<Mutex<Objects>>,
    revision: Arc<AtomicU64>,
    own: Arc<Own>,
}

impl Mirror {
    /// One that does not show a cluster's own nodes, and what is in its own namespaces.
    pub(super) fn without(nodes: &BTreeSet<String>, namespaces: &[&str]) -> Self {
        Self { own: Arc::new(Own::new(nodes, namespaces)), ..Self::default() }
    }

    /// What it does not show.
    pub(super) fn own(&self) -> &Own {
        &self.own
    }

    pub(super) fn list(&self, resource: &GroupResource) -> Vec<Arc<Object>> {
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.get(resource).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// Counts changes.
    pub(super) fn revision(&self) -> u64 {
        self.revision.load(Ordering::Relaxed)
    }

    /// Follows the cluster until dropped.
    pub(super) async fn follow(self, client: Client) {
        let watches = KINDS.map(|(group, version, kind, plural)| {
            let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            let watch = watcher(api, watcher::Config::default()).default_backoff();
            watch.map(move |event| (kind, GroupResource::new(group, plural), event)).boxed()
        });
        let mut events = futures::stream::select_all(watches);
        let mut listed: BTreeMap<GroupResource, BTreeSet<Key>> = BTreeMap::new();
        while let Some((kind, resource, event)) = events.next().await {
            match event {
                Ok(Event::Apply(object) | Event::InitApply(object)) if self.own.has(kind, &object) => {}
                Ok(Event::Apply(object)) => {
                    self.keep(&resource, &object);
                }
                Ok(Event::InitApply(object)) => {
                    let key = self.keep(&resource, &object);
                    listed.entry(resource).or_default().insert(key);
                }
                Ok(Event::Delete(object)) => self.retain(&resource, |key| *key != key_of(&object)),
                Ok(Event::Init) => {
                    listed.remove(&resource);
                }
                Ok(Event::InitDone) => {
                    let listed = listed.remove(&resource).unwrap_or_default();
                    self.retain(&resource, |key| listed.contains(key));
                }
                Err(error) => tracing::warn!(?resource, %error, "a watch broke; it is begun again"),
            }
        }
    }

    fn keep(&self, resource: &GroupResource, object: &DynamicObject) -> Key {
        let key = key_of(object);
        let value = serde_json::to_value(object).unwrap_or(Value::Null);
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let of_kind = objects.entry(resource.clone()).or_default();
        of_kind.insert(key.clone(), Arc::new(Object::received(value)));
        self.revision.fetch_add(1, Ordering::Relaxed);
        key
    }

    fn retain(&self, resource: &GroupResource, stays: impl Fn(&Key) -> bool) {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.entry(resource.clone()).or_default().retain(|key, _| stays(key));
        self.revision.fetch_add(1, Ordering::Relaxed);
    }
}

fn key_of(object: &DynamicObject) -> Key {
    let metadata = &object.metadata;
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::Mirror;
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case::its_node("Node", json!({"name": "kind-worker"}), Value::Null, true)]
    #[case::a_machines_node("Node", json!({"name": "ip-10-0-0-1"}), Value::Null, false)]
    #[case::its_pod("Pod", json!({"name": "coredns", "namespace": "kube-system"}), Value::Null, true)]
    #[case::a_pod_called_as_its_node("Pod", json!({"name": "kind-worker", "namespace": "default"}), Value::Null, false)]
    #[case::about_its_node("Event", json!({"name": "a", "namespace": "default"}), json!({"name": "kind-worker"}), true)]
    #[case::about_a_pod("Event", json!({"name": "b", "namespace": "default"}), json!({"name": "web"}), false)]
    fn runs_do_not_see_what_is_the_clusters_own(
        #[case] kind: &str,
        #[case] metadata: Value,
        #[case] about: Value,
        #[case] own: bool,
    ) {
        let mirror = Mirror::without(&["kind-worker".to_owned()].into(), &["kube-system"]);
        let object = serde_json::from_value(json!({"metadata": metadata, "involvedObject": about})).unwrap();
        assert_eq!(mirror.own().has(kind, &object), own);
    }
}
