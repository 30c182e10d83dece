//! Nodes and pods of the cluster as this program sees them.

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client, ResourceExt,
    runtime::{WatchStreamExt, watcher, watcher::Event},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What has been seen.
#[derive(Default)]
pub(crate) struct Seen {
    /// Whether each node is Ready.
    pub(crate) nodes: BTreeMap<String, bool>,
    /// How often a node that was Ready was not any more.
    pub(crate) fell: u64,
    /// Whether each pod runs.
    pub(crate) pods: BTreeMap<String, bool>,
}

impl Seen {
    pub(crate) fn ready(&self) -> usize {
        self.nodes.values().filter(|ready| **ready).count()
    }

    pub(crate) fn running(&self) -> usize {
        self.pods.values().filter(|runs| **runs).count()
    }

    fn node(&mut self, node: &Node) {
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let ready = conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
        let before = self.nodes.insert(node.name_any(), ready);
        self.fell += u64::from(before == Some(true) && !ready);
    }

    fn pod(&mut self, pod: &Pod) {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        self.pods.insert(pod.name_any(), phase == Some("Running") && pod.metadata.deletion_timestamp.is_none());
    }
}

/// Follows the cluster from now on.
#[derive(Clone, Default)]
pub(crate) struct Watched(Arc<Mutex<Seen>>);

impl Watched {
    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows until dropped.
    pub(crate) async fn follow(self, client: Client) {
        let config = watcher::Config::default();
        let mut nodes = watcher(Api::<Node>::all(client.clone()), config.clone()).default_backoff().boxed();
        let mut pods = watcher(Api::<Pod>::all(client), config).default_backoff().boxed();
        let (mut listed_nodes, mut listed_pods) = (BTreeSet::new(), BTreeSet::new());
        loop {
            tokio::select! {
                biased;
                Some(event) = nodes.next() => match event {
                    Ok(Event::Init) => listed_nodes.clear(),
                    Ok(Event::InitApply(node)) => {
                        listed_nodes.insert(node.name_any());
                        self.seen().node(&node);
                    }
                    Ok(Event::InitDone) => self.seen().nodes.retain(|name, _| listed_nodes.contains(name)),
                    Ok(Event::Apply(node)) => self.seen().node(&node),
                    Ok(Event::Delete(node)) => drop(self.seen().nodes.remove(&node.name_any())),
                    Err(error) => eprintln!("the watch of nodes broke and is begun again: {error}"),
                },
                Some(event) = pods.next() => match event {
                    Ok(Event::Init) => listed_pods.clear(),
                    Ok(Event::InitApply(pod)) => {
                        listed_pods.insert(pod.name_any());
                        self.seen().pod(&pod);
                    }
                    Ok(Event::InitDone) => self.seen().pods.retain(|name, _| listed_pods.contains(name)),
                    Ok(Event::Apply(pod)) => self.seen().pod(&pod),
                    Ok(Event::Delete(pod)) => drop(self.seen().pods.remove(&pod.name_any())),
                    Err(error) => eprintln!("the watch of pods broke and is begun again: {error}"),
                },
            }
        }
    }
}
