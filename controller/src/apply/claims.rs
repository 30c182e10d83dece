//! Creating and deleting NodeClaims, and deleting Nodes.

use super::{Apply, ApplyError, FIELD_MANAGER};
use crate::state::Mirrored;
use k8s_openapi::api::{
    core::v1::{Node, PersistentVolumeClaim, Pod, Volume},
    storage::v1::VolumeAttachment,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, PostParams, Preconditions},
};
use sawhorse_core::{api::NodeClaim, model::is_terminal};
use std::sync::Arc;

/// How many VolumeAttachments are read at most: a node has some dozens at most, a cluster some thousands.
const MAX_VOLUME_ATTACHMENTS: u32 = 50_000;

impl Apply {
    pub(crate) fn claims(&self) -> Api<NodeClaim> {
        Api::all(self.client.clone())
    }

    pub(crate) fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    /// Creates a NodeClaim. It has a name of its own, so that trying again after a lost answer makes no second one.
    pub(crate) async fn create_claim(&self, claim: &NodeClaim) -> Result<NodeClaim, ApplyError> {
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let api = self.claims();
        let created = self.counted::<NodeClaim, _>("POST", &claim.name_any(), api.create(&params, claim)).await?;
        Ok(self.mirrored(created))
    }

    /// Deletes a NodeClaim; one that is gone already, or being deleted, is no error.
    pub(crate) async fn delete_claim(&self, claim: &NodeClaim) -> Result<(), ApplyError> {
        self.delete(&self.claims(), claim).await
    }

    /// Deletes a Node; one that is gone already, or being deleted, is no error.
    pub(crate) async fn delete_node(&self, node: &Node) -> Result<(), ApplyError> {
        self.delete(&self.nodes(), node).await
    }

    async fn delete<K: Mirrored>(&self, api: &Api<K>, object: &K) -> Result<(), ApplyError> {
        let preconditions = Preconditions { uid: object.uid(), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let name = object.name_any();
        let answer = self.counted::<K, _>("DELETE", &name, api.delete(&name, &params)).await;
        match answer {
            Ok(either) => {
                match either.left() {
                    Some(deleting) => drop(self.mirrored(deleting)),
                    None => self.mirror.delete::<K>(object.meta()),
                }
                Ok(())
            }
            // A conflict here is the UID precondition: the object we mean is gone.
            Err(ApplyError::NotFound { .. } | ApplyError::Conflict { .. }) => {
                self.mirror.delete::<K>(object.meta());
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The persistent volumes that are still attached to `node`, without those of `pods`, which stay on it. Asked for only at
    /// the end of a drain, so neither attachments nor claims are mirrored.
    pub(crate) async fn volumes_to_wait_for(&self, node: &str, pods: &[Arc<Pod>]) -> Result<Vec<String>, ApplyError> {
        let api: Api<VolumeAttachment> = Api::all(self.client.clone());
        let params = ListParams::default().limit(MAX_VOLUME_ATTACHMENTS);
        let attachments = match self.counted::<VolumeAttachment, _>("GET", node, api.list(&params)).await {
            Ok(list) => list.items,
            // A cluster without the storage API has no volumes to wait for.
            Err(ApplyError::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let here = attachments.into_iter().filter(|attachment| attachment.spec.node_name == node);
        let mut volumes: Vec<String> = here.filter_map(|it| it.spec.source.persistent_volume_name).collect();
        if !volumes.is_empty() {
            let stay = self.volumes_of(pods).await?;
            volumes.retain(|volume| !stay.contains(volume));
        }
        volumes.sort();
        Ok(volumes)
    }

    async fn volumes_of(&self, pods: &[Arc<Pod>]) -> Result<Vec<String>, ApplyError> {
        let mut volumes = Vec::new();
        for pod in pods.iter().filter(|pod| !is_terminal(pod)) {
            let namespace = pod.namespace().unwrap_or_else(|| "default".to_owned());
            let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &namespace);
            for claim in claims_of(pod) {
                match self.counted::<PersistentVolumeClaim, _>("GET", &claim, api.get(&claim)).await {
                    Ok(claim) => volumes.extend(claim.spec.and_then(|spec| spec.volume_name)),
                    Err(ApplyError::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(volumes)
    }
}

/// The names of the PersistentVolumeClaims that a pod uses; a generic ephemeral volume has one of its own.
fn claims_of(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let named = |volume: &Volume| {
        let ephemeral = volume.ephemeral.as_ref().map(|_| format!("{}-{}", pod.name_any(), volume.name));
        volume.persistent_volume_claim.as_ref().map(|source| source.claim_name.clone()).or(ephemeral)
    };
    volumes.filter_map(named).collect()
}
