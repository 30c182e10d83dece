//! After a run the cluster is as it was before it.

use super::{access, mirror::Own};
use anyhow::bail;
use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::json;
use std::time::Duration;

/// What runs leave behind, in the order in which it is deleted: what makes others first.
const KINDS: [(&str, &str, &str, &str); 16] = [
    ("autoscaling.x-k8s.io", "v1beta1", "CapacityBuffer", "capacitybuffers"),
    ("karpenter.sh", "v1", "NodePool", "nodepools"),
    ("karpenter.sh", "v1alpha1", "NodeOverlay", "nodeoverlays"),
    ("apps", "v1", "Deployment", "deployments"),
    ("apps", "v1", "StatefulSet", "statefulsets"),
    ("apps", "v1", "DaemonSet", "daemonsets"),
    ("batch", "v1", "Job", "jobs"),
    ("apps", "v1", "ReplicaSet", "replicasets"),
    ("", "v1", "Pod", "pods"),
    ("", "v1", "PodTemplate", "podtemplates"),
    ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    ("karpenter.sh", "v1", "NodeClaim", "nodeclaims"),
    ("karpenter.k8s.aws", "v1", "EC2NodeClass", "ec2nodeclasses"),
    ("", "v1", "Node", "nodes"),
    ("", "v1", "Namespace", "namespaces"),
    ("", "v1", "Event", "events"),
];
/// Namespaces that are always there.
const DEFAULT_NAMESPACE: &str = "default";
/// How often it is looked whether something is left, how often that is, and how much is deleted at a time.
const LOOK_EVERY: Duration = Duration::from_millis(300);
const LOOKS: usize = 200;
const AT_A_TIME: usize = 16;

/// Takes away everything that is not the cluster's own, when nobody is left who makes more. `speed` seconds of the runtime pass in
/// each real one.
///
/// # Errors
/// Something stays; what.
pub(super) async fn clear(client: &Client, own: &Own, speed: u32) -> anyhow::Result<()> {
    // The next run's controller need not wait for its end.
    let leases: Api<Lease> = Api::namespaced(client.clone(), access::NAMESPACE);
    gone(leases.delete(access::LEASE, &DeleteParams::default()).await.map(drop))?;
    let mut left = Vec::new();
    for _ in 0..LOOKS {
        left = delete_all(client, own).await?;
        if left.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY * speed).await;
    }
    left.truncate(5);
    bail!("the run has left behind what cannot be deleted: {}", left.join(", "))
}

/// Deletes what there is, without waiting for its end; what that was.
async fn delete_all(client: &Client, own: &Own) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for (group, version, kind, plural) in KINDS {
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let objects = match api.list(&ListParams::default()).await {
            // A cluster in which no run has begun has no custom resources.
            Err(kube::Error::Api(status)) if status.code == 404 => continue,
            objects => objects?,
        };
        let left: Vec<DynamicObject> = objects.into_iter().filter(|object| is_of_a_run(own, kind, object)).collect();
        found.extend(
            left.iter().map(|object| format!("{kind}/{}", object.metadata.name.as_deref().unwrap_or_default())),
        );
        let deleted = left.into_iter().map(|object| delete(client, &resource, object));
        let outcomes: Vec<kube::Result<()>> =
            futures::stream::iter(deleted).buffer_unordered(AT_A_TIME).collect().await;
        outcomes.into_iter().collect::<kube::Result<Vec<()>>>()?;
    }
    // Events go with the rest: nobody waits for those that come late.
    found.retain(|what| !what.starts_with("Event/"));
    Ok(found)
}

/// Whether an object is not the cluster's own. Its own nodes' events go, too.
fn is_of_a_run(own: &Own, kind: &str, object: &DynamicObject) -> bool {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    match kind {
        "Namespace" => name != DEFAULT_NAMESPACE && !own.has_namespace(name),
        "Event" => !own.has("", object),
        _ => !own.has(kind, object),
    }
}

/// Deletes an object at once; nobody is left who would do what its finalizers wait for.
async fn delete(client: &Client, resource: &ApiResource, object: DynamicObject) -> kube::Result<()> {
    let metadata = object.metadata;
    let name = metadata.name.unwrap_or_default();
    let api: Api<DynamicObject> = match &metadata.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    };
    if metadata.finalizers.is_some_and(|finalizers| !finalizers.is_empty()) {
        let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        gone(api.patch(&name, &PatchParams::default(), &none).await.map(drop))?;
    }
    gone(api.delete(&name, &DeleteParams::background().grace_period(0)).await.map(drop))
}

/// What is not there any more, or another one already, is gone.
fn gone(result: kube::Result<()>) -> kube::Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        other => other,
    }
}
