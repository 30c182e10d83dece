//! A cluster as it is now, as the deciders see it, read once and not followed.

use crate::{
    cloud::{CloudError, CloudProvider, NodeClass},
    state::{Mirrored, State},
};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
    core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, PodTemplate},
    policy::v1::PodDisruptionBudget,
    storage::v1::{CSINode, StorageClass},
};
use kube::{Api, Client, api::ListParams};
use sawhorse_core::{
    api::{
        CapacityBuffer, Ec2NodeClass, NodeClaim, NodeOverlay, NodePool,
        conditions::{Conditioned, READY},
    },
    lifecycle::is_ready_for_provisioning,
    model::{Catalog, ClusterSnapshot, Overlays, Settings},
};
use std::{collections::BTreeMap, sync::Arc};

/// Why a cluster could not be captured.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The API server did not list a kind.
    #[error("the cluster's objects of kind `{kind}` cannot be listed")]
    List {
        /// The kind.
        kind: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The cloud did not say what it offers.
    #[error("what NodePool `{node_pool}` may buy cannot be asked of the cloud")]
    Cloud {
        /// The pool.
        node_pool: String,
        /// Why.
        #[source]
        source: CloudError,
    },
}

/// Reads the cluster, and asks `provider`, if there is one, what each pool may buy. Nothing is written.
///
/// # Errors
/// The first thing that could not be read.
pub async fn capture(
    client: &Client,
    provider: Option<&dyn CloudProvider>,
    now: Timestamp,
) -> Result<(ClusterSnapshot, Catalog), CaptureError> {
    let mut state = State::new(Settings::default());
    list::<NodePool>(client, &mut state).await?;
    list::<NodeClaim>(client, &mut state).await?;
    list::<Node>(client, &mut state).await?;
    list::<Pod>(client, &mut state).await?;
    list::<DaemonSet>(client, &mut state).await?;
    list::<PodDisruptionBudget>(client, &mut state).await?;
    list::<Namespace>(client, &mut state).await?;
    list::<PersistentVolumeClaim>(client, &mut state).await?;
    list::<PersistentVolume>(client, &mut state).await?;
    list::<StorageClass>(client, &mut state).await?;
    list::<CSINode>(client, &mut state).await?;
    list_buffers(client, &mut state).await?;
    list_overlays(client, &mut state).await?;
    let snapshot = state.snapshot(now);
    let catalog = match provider {
        Some(provider) => catalog(client, provider, &snapshot).await?,
        None => Catalog::default(),
    };
    Ok((snapshot, catalog))
}

/// The buffers that a controller keeps room for, and what they refer to. Where the feature is off no buffer says that it is
/// ready.
async fn list_buffers(client: &Client, state: &mut State) -> Result<(), CaptureError> {
    let mut buffers = objects_if_defined::<CapacityBuffer>(client).await?;
    buffers.retain(is_ready_for_provisioning);
    if buffers.is_empty() {
        return Ok(());
    }
    state.reset(buffers);
    list::<PodTemplate>(client, state).await?;
    list::<Deployment>(client, state).await?;
    list::<StatefulSet>(client, state).await?;
    list::<ReplicaSet>(client, state).await
}

/// The overlays that a controller looks at. Where the feature is off no overlay says that it is ready.
async fn list_overlays(client: &Client, state: &mut State) -> Result<(), CaptureError> {
    let mut overlays = objects_if_defined::<NodeOverlay>(client).await?;
    overlays.retain(|overlay| overlay.is_true(READY));
    state.reset(overlays);
    Ok(())
}

/// The objects of a kind; none where the cluster does not have its definition.
async fn objects_if_defined<K: Mirrored>(client: &Client) -> Result<Vec<K>, CaptureError> {
    match objects::<K>(client).await {
        Err(CaptureError::List { source, .. }) if matches!(&*source, kube::Error::Api(status) if status.code == 404) => {
            Ok(Vec::new())
        }
        listed => listed,
    }
}

async fn list<K: Mirrored>(client: &Client, state: &mut State) -> Result<(), CaptureError> {
    state.reset(objects::<K>(client).await?);
    Ok(())
}

async fn objects<K: Mirrored>(client: &Client) -> Result<Vec<K>, CaptureError> {
    let listed = Api::<K>::all(client.clone()).list(&ListParams::default()).await;
    let listed =
        listed.map_err(|source| CaptureError::List { kind: K::kind(&()).into_owned(), source: Box::new(source) })?;
    Ok(listed.items)
}

async fn catalog(
    client: &Client,
    provider: &dyn CloudProvider,
    snapshot: &ClusterSnapshot,
) -> Result<Catalog, CaptureError> {
    let classes: BTreeMap<Option<String>, Ec2NodeClass> =
        objects::<Ec2NodeClass>(client).await?.into_iter().map(|own| (own.metadata.name.clone(), own)).collect();
    let failed = |node_pool: &str| {
        let node_pool = node_pool.to_owned();
        move |source| CaptureError::Cloud { node_pool, source }
    };
    provider.refresh().await.map_err(failed("any"))?;
    let mut catalog = Catalog::default();
    for (name, pool) in &snapshot.node_pools {
        let class = classes.get(&Some(pool.spec.template.spec.node_class_ref.name.clone()));
        let Some(class) = class.cloned().map(|class| NodeClass::Ec2(Arc::new(class))) else { continue };
        let types = provider.instance_types(pool, &class).await.map_err(failed(name.as_str()))?;
        catalog.by_pool.insert(name.clone(), types.into());
    }
    Ok(Overlays::of(snapshot, &catalog))
}
