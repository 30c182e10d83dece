//! Volumes as objects: claims, what they are bound to, how new ones are made, and how many a node can attach.

use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::{CSINode, StorageClass},
};
use std::{collections::BTreeMap, sync::Arc};

/// What is known of storage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Storage {
    /// By namespace and name.
    pub claims: BTreeMap<(String, String), Arc<PersistentVolumeClaim>>,
    /// By name.
    pub volumes: BTreeMap<String, Arc<PersistentVolume>>,
    /// By name.
    pub classes: BTreeMap<String, Arc<StorageClass>>,
    /// By the node's name.
    pub csi_nodes: BTreeMap<String, Arc<CSINode>>,
}

impl Storage {
    /// These objects; one without a name is left out.
    ///
    /// ```
    /// use sawhorse_core::model::Storage;
    ///
    /// let claim = serde_json::from_str(r#"{"metadata": {"name": "data-db-0"}}"#).unwrap();
    /// let storage = Storage::of([std::sync::Arc::new(claim)], [], [], []);
    /// assert!(storage.claims.contains_key(&("default".to_owned(), "data-db-0".to_owned())));
    /// ```
    pub fn of(
        claims: impl IntoIterator<Item = Arc<PersistentVolumeClaim>>,
        volumes: impl IntoIterator<Item = Arc<PersistentVolume>>,
        classes: impl IntoIterator<Item = Arc<StorageClass>>,
        csi_nodes: impl IntoIterator<Item = Arc<CSINode>>,
    ) -> Self {
        let claim = |claim: Arc<PersistentVolumeClaim>| {
            let namespace = claim.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned());
            Some(((namespace, claim.metadata.name.clone()?), claim))
        };
        Self {
            claims: claims.into_iter().filter_map(claim).collect(),
            volumes: volumes.into_iter().filter_map(|own| Some((own.metadata.name.clone()?, own))).collect(),
            classes: classes.into_iter().filter_map(|own| Some((own.metadata.name.clone()?, own))).collect(),
            csi_nodes: csi_nodes.into_iter().filter_map(|own| Some((own.metadata.name.clone()?, own))).collect(),
        }
    }
}
