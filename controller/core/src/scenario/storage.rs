//! Claims, volumes, storage classes and what nodes can attach, as in Kubernetes.

use super::{ScenarioError, real};
use crate::model::Storage;
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::{CSINode, StorageClass},
};
use serde_json::Value;
use serde_saphyr::Spanned;
use std::sync::Arc;

/// What `blocks`, parts of `text`, say.
pub(super) fn read(text: &str, blocks: &[Spanned<Value>]) -> Result<Storage, ScenarioError> {
    let (mut claims, mut volumes, mut classes, mut csi_nodes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for block in blocks {
        match block.value["kind"].as_str().unwrap_or_default() {
            "PersistentVolumeClaim" => claims.push(Arc::new(real::read::<PersistentVolumeClaim>(text, block)?)),
            "PersistentVolume" => volumes.push(Arc::new(real::read::<PersistentVolume>(text, block)?)),
            "StorageClass" => classes.push(Arc::new(real::read::<StorageClass>(text, block)?)),
            "CSINode" => csi_nodes.push(Arc::new(real::read::<CSINode>(text, block)?)),
            other => {
                let message = format!(
                    "kind `{other}`: storage is made of PersistentVolumeClaim, PersistentVolume, StorageClass and CSINode"
                );
                return Err(ScenarioError::at(block.referenced, message));
            }
        }
    }
    Ok(Storage::of(claims, volumes, classes, csi_nodes))
}
