//! Counts and times every call to a cloud (spec core 6.1, `cloudprovider_*`).

use super::{
    BatchObserver, CloudError, CloudInstance, CloudProvider, DeleteProgress, LaunchRequest, Launched, NodeClass,
    Notice, NoticeKind, ResolvedNodeClass,
};
use crate::metrics::{CloudCall, CloudFailure, Metrics, OfBatcher, seconds};
use async_trait::async_trait;
use sawhorse_ambient::Clock;
use sawhorse_core::{
    api::{NodeClaim, NodePool},
    model::{CapacityType, InstanceType, ProviderId, RepairPolicy},
};
use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

/// A provider whose calls are counted and timed.
pub(crate) struct MeteredProvider {
    inner: Arc<dyn CloudProvider>,
    metrics: Metrics,
    clock: Clock,
}

/// Counts what batches hold.
#[derive(Debug)]
struct Batches(Metrics);

impl BatchObserver for Batches {
    fn batched(&self, batcher: &'static str, requests: usize, waited: Duration) {
        let labels = OfBatcher { batcher: batcher.to_owned() };
        // As a float, which metrics are; there are never so many.
        self.0.batch_size.get_or_create(&labels).observe(requests as f64);
        self.0.batch_time.get_or_create(&labels).observe(seconds(waited));
    }
}

impl MeteredProvider {
    pub(crate) fn new(inner: Arc<dyn CloudProvider>, metrics: Metrics, clock: Clock) -> Self {
        inner.observe_batches(Arc::new(Batches(metrics.clone())));
        Self { inner, metrics, clock }
    }

    async fn metered<T>(
        &self,
        controller: &str,
        method: &str,
        call: impl Future<Output = Result<T, CloudError>>,
    ) -> Result<T, CloudError> {
        let started = self.clock.elapsed();
        let answer = call.await;
        let (controller, method, provider) = (controller.to_owned(), method.to_owned(), self.name().to_owned());
        if let Err(error) = &answer {
            let error = kind_of(error).to_owned();
            let labels = CloudFailure {
                controller: controller.clone(),
                method: method.clone(),
                provider: provider.clone(),
                error,
            };
            self.metrics.cloud_errors.get_or_create(&labels).inc();
        }
        let labels = CloudCall { controller, method, provider };
        self.metrics.cloud_duration.get_or_create(&labels).observe(seconds(self.clock.elapsed() - started));
        answer
    }
}

/// The reference's name of an error; empty for all that it does not name.
fn kind_of(error: &CloudError) -> &'static str {
    match error {
        CloudError::InsufficientCapacity { .. } => "InsufficientCapacityError",
        CloudError::NodeClassNotReady { .. } => "NodeClassNotReadyError",
        CloudError::Throttled { .. } | CloudError::Rejected { .. } | CloudError::Transport { .. } => "",
    }
}

#[async_trait]
impl CloudProvider for MeteredProvider {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn instance_types(
        &self,
        node_pool: &NodePool,
        node_class: &NodeClass,
    ) -> Result<Vec<Arc<InstanceType>>, CloudError> {
        self.metered("provisioner", "GetInstanceTypes", self.inner.instance_types(node_pool, node_class)).await
    }

    async fn create(&self, request: &LaunchRequest) -> Result<Launched, CloudError> {
        self.metered("nodeclaim.lifecycle", "Create", self.inner.create(request)).await
    }

    async fn delete(&self, id: &ProviderId) -> Result<DeleteProgress, CloudError> {
        self.metered("nodeclaim.lifecycle", "Delete", self.inner.delete(id)).await
    }

    async fn get(&self, id: &ProviderId) -> Result<Option<CloudInstance>, CloudError> {
        self.metered("node.termination", "Get", self.inner.get(id)).await
    }

    async fn list(&self) -> Result<Vec<CloudInstance>, CloudError> {
        self.metered("nodeclaim.garbagecollection", "List", self.inner.list()).await
    }

    async fn drift_reason(
        &self,
        claim: &NodeClaim,
        node_pool: &NodePool,
        node_class: &NodeClass,
    ) -> Result<Option<String>, CloudError> {
        self.metered("nodeclaim.disruption", "IsDrifted", self.inner.drift_reason(claim, node_pool, node_class)).await
    }

    async fn resolve_node_class(&self, node_class: &NodeClass) -> Result<ResolvedNodeClass, CloudError> {
        self.metered("nodeclass", "ResolveNodeClass", self.inner.resolve_node_class(node_class)).await
    }

    async fn release_node_class(&self, node_class: &NodeClass) -> Result<(), CloudError> {
        self.metered("nodeclass", "ReleaseNodeClass", self.inner.release_node_class(node_class)).await
    }

    fn repair_policies(&self) -> Vec<RepairPolicy> {
        self.inner.repair_policies()
    }

    fn sends_notices(&self) -> bool {
        self.inner.sends_notices()
    }

    async fn notices(&self) -> Result<Vec<Notice>, CloudError> {
        // How long it waits for something to happen says nothing of the cloud.
        self.inner.notices().await
    }

    async fn settle_notice(&self, handle: &str) -> Result<(), CloudError> {
        self.metered("interruption", "SettleNotice", self.inner.settle_notice(handle)).await
    }

    async fn troubles(&self) -> Result<BTreeMap<NoticeKind, Vec<String>>, CloudError> {
        self.metered("interruption.instancestatus", "Troubles", self.inner.troubles()).await
    }

    fn avoid(&self, capacity_type: CapacityType, instance_type: &str, zone: &str) {
        self.inner.avoid(capacity_type, instance_type, zone);
    }

    async fn refresh(&self) -> Result<Duration, CloudError> {
        self.metered("providers", "Refresh", self.inner.refresh()).await
    }
}
