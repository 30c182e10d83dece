//! The controllers around nodes, as cloud-controller-manager and kube-controller-manager run them.

use super::{
    agenda::Agenda,
    lease::NAMESPACE,
    node_health::{is_unknown, is_unwell, provider_id, unknown_status, wanted_taints},
    object::{RawObject, text},
    run::{KubeletConfig, next_event, watch},
    send::{Failure, JSON, Sender},
    world::after,
};
use http::Method;
use jiff::Timestamp;
use k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::Node},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, api::ListParams, core::ApiResource, runtime::watcher};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How the provider ids of kind's nodes begin: they have no instance in any cloud, and are nobody's to delete.
const OF_KIND: &str = "kind://";

/// How long the controllers wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeLifecycleOptions {
    /// How long a node may be silent before it is unknown (`--node-monitor-grace-period`); longer leases need more.
    pub grace: Duration,
    /// How long pods stay whose node is gone (the pod collector's quarantine).
    pub orphan_quarantine: Duration,
}

impl Default for NodeLifecycleOptions {
    /// Forty seconds each.
    fn default() -> Self {
        Self { grace: Duration::from_secs(40), orphan_quarantine: Duration::from_secs(40) }
    }
}

/// Which of the controllers around nodes run beside the kubelets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeControllers {
    /// Those of cloud-controller-manager and of kube-controller-manager.
    All(NodeLifecycleOptions),
    /// That of cloud-controller-manager only: Nodes go whose instance is gone. The rest is a real kube-controller-manager's.
    OfTheCloud,
    /// None.
    None,
}

/// What is due; the order is that of jobs at the same time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// Look after leases.
    Leases,
    /// Collect the pods of a node that is gone.
    Orphans(String),
}

struct Controllers<'a> {
    config: &'a KubeletConfig,
    /// What kube-controller-manager's part waits for; none leaves that part to others.
    options: Option<NodeLifecycleOptions>,
    sender: Sender,
    node_resource: ApiResource,
    nodes: BTreeMap<String, Value>,
    listed: BTreeSet<String>,
    instances: BTreeSet<String>,
    /// When each node was last heard of.
    heard: BTreeMap<String, Timestamp>,
    agenda: Agenda<Due, ()>,
}

/// Runs until `shutdown`.
pub(super) async fn run(config: &KubeletConfig, shutdown: &CancellationToken) {
    // A grace below what renewals need would call every node unknown.
    let least = config.leases.map_or(Duration::ZERO, |leases| leases.duration);
    let options = match config.node_controllers {
        NodeControllers::All(options) => Some(NodeLifecycleOptions { grace: options.grace.max(least), ..options }),
        NodeControllers::OfTheCloud => None,
        NodeControllers::None => return,
    };
    let node_resource = ApiResource::erase::<Node>(&());
    let mut watches = [watch(&config.client, &node_resource, "")];
    let mut controllers = Controllers {
        config,
        options,
        sender: Sender { client: config.client.clone() },
        node_resource,
        nodes: BTreeMap::new(),
        listed: BTreeSet::new(),
        instances: BTreeSet::new(),
        heard: BTreeMap::new(),
        agenda: Agenda::default(),
    };
    let clock = config.clock;
    let mut seen = 0;
    loop {
        let due = controllers.agenda.next();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            version = config.machines.changed(seen) => {
                seen = version;
                controllers.instances = config.machines.machines().into_iter().map(|machine| machine.provider_id).collect();
                controllers.check_all().await;
            }
            (_, event) = next_event(&mut watches) => controllers.event(event).await,
            () = async { match due { Some(at) => clock.sleep_until(at).await, None => std::future::pending().await } } => {
                match controllers.agenda.pop(clock.now()) {
                    Some((Due::Leases, ())) => controllers.check_leases().await,
                    Some((Due::Orphans(node), ())) => controllers.collect_orphans(&node).await,
                    None => {}
                }
            }
        }
    }
}

impl Controllers<'_> {
    async fn event(&mut self, event: watcher::Result<watcher::Event<RawObject>>) {
        match event {
            Ok(watcher::Event::Apply(node)) => self.applied(node).await,
            Ok(watcher::Event::InitApply(node)) => {
                self.listed.insert(text(&node.value, &["metadata", "name"]).to_owned());
                self.applied(node).await;
            }
            Ok(watcher::Event::Delete(node)) => self.gone(text(&node.value, &["metadata", "name"])),
            Ok(watcher::Event::Init) => self.listed.clear(),
            Ok(watcher::Event::InitDone) => {
                let gone: Vec<String> =
                    self.nodes.keys().filter(|name| !self.listed.contains(*name)).cloned().collect();
                gone.iter().for_each(|name| self.gone(name));
            }
            Err(error) => tracing::warn!(%error, "the watch of nodes broke; it is begun again"),
        }
    }

    async fn applied(&mut self, node: RawObject) {
        let node = node.into_value(&self.node_resource);
        let name = text(&node, &["metadata", "name"]).to_owned();
        let now = self.config.clock.now();
        if self.nodes.insert(name.clone(), node).is_none() {
            self.heard.insert(name.clone(), now);
            self.agenda.cancel(&Due::Orphans(name.clone()));
            self.watch_leases(now);
        }
        self.check(&name).await;
    }

    fn gone(&mut self, name: &str) {
        self.nodes.remove(name);
        self.heard.remove(name);
        if let Some(options) = self.options {
            let at = after(self.config.clock.now(), options.orphan_quarantine);
            self.agenda.schedule(Due::Orphans(name.to_owned()), at, ());
        }
    }

    async fn check_all(&mut self) {
        let names: Vec<String> = self.nodes.keys().cloned().collect();
        for name in names {
            self.check(&name).await;
        }
    }

    /// Brings one node's taints to what its conditions call for, and deletes it if it is not well and its instance is gone.
    async fn check(&mut self, name: &str) {
        let Some(node) = self.nodes.get(name) else { return };
        let has_instance = self.instances.contains(provider_id(node));
        let url = format!("/api/v1/nodes/{name}");
        let deleting = !node["metadata"]["deletionTimestamp"].is_null();
        let in_a_cloud = !provider_id(node).is_empty() && !provider_id(node).starts_with(OF_KIND);
        if is_unwell(node) && !has_instance && in_a_cloud && !deleting {
            let options = json!({"preconditions": {"uid": node["metadata"]["uid"]}});
            log(name, self.sender.request(Method::DELETE, &url, JSON, None, &options).await);
        } else if let Some(taints) = wanted_taints(node, has_instance, self.options.map(|_| self.config.clock.now())) {
            // With the version, so that a taint which someone else has just put on is not lost: they will be seen next.
            let version = &node["metadata"]["resourceVersion"];
            let body = json!({"metadata": {"resourceVersion": version}, "spec": {"taints": taints}});
            let merge = "application/merge-patch+json";
            log(name, self.sender.request(Method::PATCH, &url, merge, None, &body).await);
        }
    }

    /// Leases are looked at when the node heard of longest ago would become unknown.
    fn watch_leases(&mut self, now: Timestamp) {
        let Some(options) = self.options else { return };
        let known = self.heard.iter().filter(|(name, _)| self.nodes.get(*name).is_some_and(|node| !is_unknown(node)));
        match known.map(|(_, heard)| *heard).min() {
            None => self.agenda.cancel(&Due::Leases),
            Some(oldest) => {
                let at = after(oldest, options.grace).max(after(now, Duration::from_secs(1)));
                self.agenda.schedule(Due::Leases, at, ());
            }
        }
    }

    /// Nodes whose lease was not renewed in time become unknown. Without leases a node is heard of as long as its machine runs.
    async fn check_leases(&mut self) {
        let Some(options) = self.options else { return };
        let leases = Api::<Lease>::namespaced(self.config.client.clone(), NAMESPACE).list(&ListParams::default()).await;
        let now = self.config.clock.now();
        for lease in leases.into_iter().flatten() {
            let renewed = lease.spec.and_then(|spec| spec.renew_time);
            if let (Some(name), Some(MicroTime(renewed))) = (lease.metadata.name, renewed) {
                self.heard.entry(name).and_modify(|heard| *heard = (*heard).max(renewed));
            }
        }
        if self.config.leases.is_none() {
            for (name, node) in &self.nodes {
                if self.instances.contains(provider_id(node)) {
                    self.heard.insert(name.clone(), now);
                }
            }
        }
        let silent = |(name, node): &(&String, &Value)| {
            let heard = self.heard.get(*name).copied().unwrap_or(now);
            after(heard, options.grace) <= now && !is_unknown(node)
        };
        let silent: Vec<(String, Value)> =
            self.nodes.iter().filter(silent).map(|(name, node)| (name.clone(), unknown_status(node, now))).collect();
        for (name, status) in silent {
            let url = format!("/api/v1/nodes/{name}/status");
            let strategic = "application/strategic-merge-patch+json";
            log(&name, self.sender.request(Method::PATCH, &url, strategic, None, &status).await);
        }
        self.watch_leases(now);
    }

    /// Deletes the pods that are still bound to a node that has been gone for the quarantine.
    async fn collect_orphans(&mut self, node: &str) {
        if self.nodes.contains_key(node) {
            return;
        }
        let url = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}");
        let Ok(pods) = self.sender.request(Method::GET, &url, JSON, None, &Value::Null).await else {
            let at = after(self.config.clock.now(), Duration::from_secs(1));
            return self.agenda.schedule(Due::Orphans(node.to_owned()), at, ());
        };
        for pod in pods["items"].as_array().into_iter().flatten() {
            self.collect(pod).await;
        }
    }

    async fn collect(&mut self, pod: &Value) {
        let (namespace, name) = (text(pod, &["metadata", "namespace"]), text(pod, &["metadata", "name"]));
        let url = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        let time = self.config.clock.now().to_string();
        if !["Succeeded", "Failed"].contains(&text(pod, &["status", "phase"])) {
            let disrupted = json!({
                "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
                "message": "PodGC: node no longer exists", "lastTransitionTime": time,
            });
            let body = json!({"status": {"phase": "Failed", "conditions": [disrupted]}});
            let strategic = "application/strategic-merge-patch+json";
            log(name, self.sender.request(Method::PATCH, &format!("{url}/status"), strategic, None, &body).await);
        }
        let options = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}});
        log(name, self.sender.request(Method::DELETE, &url, JSON, None, &options).await);
    }
}

/// What could not be done now is tried again when the object changes or is looked at next.
fn log(name: &str, result: Result<Value, Failure>) {
    match result {
        Ok(_) => {}
        Err(Failure::Drop(error) | Failure::Retry(error)) => {
            tracing::debug!(object = %name, %error, "a request of the node controllers failed");
        }
    }
}
