//! The seam to clouds: what the controller asks of one, in the core's vocabulary.

pub mod ec2;
mod metered;

pub(crate) use metered::MeteredProvider;

use async_trait::async_trait;
use jiff::Timestamp;
use sawhorse_core::{
    api::{NodeClaim, NodePool},
    model::{CapacityType, InstanceType, Price, ProviderId, RepairPolicy, Requirements, Resources},
};
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

/// A cloud that sells machines (spec core 8). Chosen at run time, so object-safe. It never talks to Kubernetes: NodeClasses
/// reach it as values and their status goes back as a value.
#[async_trait]
pub trait CloudProvider: Send + Sync + 'static {
    /// The provider's name in logs and metrics, e.g. `aws`.
    fn name(&self) -> &'static str;

    /// Every instance type that `node_pool` could use through its NodeClass, also those out of stock (their offerings are
    /// unavailable). Sorted by name.
    async fn instance_types(
        &self,
        node_pool: &NodePool,
        node_class: &NodeClass,
    ) -> Result<Vec<Arc<InstanceType>>, CloudError>;

    /// Buys one machine. Called again with the same token (same NodeClaim UID and attempt) it finds the machine bought
    /// before and buys no second.
    async fn create(&self, request: &LaunchRequest) -> Result<Launched, CloudError>;

    /// Gives a machine back; `NotFound` once the cloud no longer has it.
    async fn delete(&self, id: &ProviderId) -> Result<DeleteProgress, CloudError>;

    /// The machine, if the cloud has it.
    async fn get(&self, id: &ProviderId) -> Result<Option<CloudInstance>, CloudError>;

    /// Every machine of this cluster that is not terminated, sorted by id.
    async fn list(&self) -> Result<Vec<CloudInstance>, CloudError>;

    /// Why the machine of `claim` no longer is as its NodeClass wants it, e.g. `AMIDrift`; none while it is.
    async fn drift_reason(
        &self,
        claim: &NodeClaim,
        node_pool: &NodePool,
        node_class: &NodeClass,
    ) -> Result<Option<String>, CloudError>;

    /// Resolves a NodeClass (images, subnets, security groups …) and returns the status it should have.
    async fn resolve_node_class(&self, node_class: &NodeClass) -> Result<ResolvedNodeClass, CloudError>;

    /// Lets go of what the provider made for a NodeClass that is being deleted (launch templates, profiles).
    async fn release_node_class(&self, node_class: &NodeClass) -> Result<(), CloudError>;

    /// What Nodes say of themselves when their machines are broken, and for how long that is borne.
    fn repair_policies(&self) -> Vec<RepairPolicy> {
        RepairPolicy::OF_KUBELETS.to_vec()
    }

    /// Whether the cloud tells by itself what happens to machines.
    fn sends_notices(&self) -> bool {
        false
    }

    /// Waits for what the cloud says of machines; empty if there was nothing for a while. A notice comes again unless it is
    /// settled.
    async fn notices(&self) -> Result<Vec<Notice>, CloudError> {
        std::future::pending().await
    }

    /// A notice has been acted on.
    async fn settle_notice(&self, _handle: &str) -> Result<(), CloudError> {
        Ok(())
    }

    /// The machines whose checks fail for good or for which the cloud plans something, by what it is.
    async fn troubles(&self) -> Result<BTreeMap<NoticeKind, Vec<String>>, CloudError> {
        Ok(BTreeMap::new())
    }

    /// Takes a pool for empty for a while, as if it had refused.
    fn avoid(&self, _capacity_type: CapacityType, _instance_type: &str, _zone: &str) {}

    /// Has `observer` told of calls that several requests are put together into, from now on.
    fn observe_batches(&self, _observer: Arc<dyn BatchObserver>) {}

    /// Refreshes what is remembered of the cloud (types, offerings, prices) where it is due; returns when to call again.
    async fn refresh(&self) -> Result<Duration, CloudError>;
}

/// Told of every call that requests were put together into.
pub trait BatchObserver: fmt::Debug + Send + Sync {
    /// `requests` of the kind `batcher` were sent together, the first of which had waited for the others for so long.
    fn batched(&self, batcher: &'static str, requests: usize, waited: Duration);
}

/// Something that the cloud says of machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What it is settled by.
    pub handle: String,
    /// What.
    pub kind: NoticeKind,
    /// The cloud's ids of the machines.
    pub instance_ids: Vec<String>,
}

/// What a notice says, in the reference's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoticeKind {
    /// The spot market takes the machine back.
    SpotInterrupted,
    /// The machine is at risk of that.
    RebalanceRecommendation,
    /// The machine stops.
    InstanceStopped,
    /// The machine ends.
    InstanceTerminated,
    /// The cloud plans something for the machine.
    ScheduledChange,
    /// A check of the machine fails.
    InstanceImpaired,
    /// The reservation that the machine runs in is taken back.
    ReservationInterrupted,
    /// Nothing of interest.
    Nothing,
}

impl NoticeKind {
    /// The value of the metric label `message_type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SpotInterrupted => "spot_interrupted",
            Self::RebalanceRecommendation => "rebalance_recommendation",
            Self::InstanceStopped => "instance_stopped",
            Self::InstanceTerminated => "instance_terminated",
            Self::ScheduledChange => "scheduled_change",
            Self::InstanceImpaired => "instance_unhealthy",
            Self::ReservationInterrupted => "capacity_reservation_interrupted",
            Self::Nothing => "no_op",
        }
    }
}

/// A NodeClass of one of the providers.
#[derive(Clone, Debug)]
pub enum NodeClass {
    /// `karpenter.k8s.aws/v1` EC2NodeClass.
    Ec2(Arc<sawhorse_core::api::Ec2NodeClass>),
}

/// The status that a NodeClass should have.
#[derive(Clone, Debug)]
pub enum ResolvedNodeClass {
    /// Of an EC2NodeClass; conditions included (`lastTransitionTime` is set by the writer).
    Ec2 {
        /// The status.
        status: Box<sawhorse_core::api::Ec2NodeClassStatus>,
        /// When to resolve again.
        again_after: Duration,
    },
}

/// What to buy for one NodeClaim.
#[derive(Clone, Debug)]
pub struct LaunchRequest {
    /// The NodeClaim; its UID names the idempotency token.
    pub claim: Arc<NodeClaim>,
    /// 1 for the first try; raised when the parameters of a refused launch change (DESIGN 2.5).
    pub attempt: u32,
    /// The resolved NodeClass.
    pub node_class: NodeClass,
    /// The types that the claim allows, cheapest first, with their offerings as they are known now.
    pub instance_types: Vec<Arc<InstanceType>>,
    /// What the claim requires.
    pub requirements: Requirements,
    /// Labels that the node is to register with.
    pub labels: BTreeMap<String, String>,
}

/// A machine that was bought.
#[derive(Clone, Debug)]
pub struct Launched {
    /// The machine as it is known from the launch.
    pub instance: CloudInstance,
    /// Labels that the provider knows of the machine (zone, type, capacity type, …).
    pub labels: BTreeMap<String, String>,
    /// Annotations for the NodeClaim (hashes of the NodeClass, instance profile).
    pub annotations: BTreeMap<String, String>,
    /// The type's capacity, as the node is expected to report it.
    pub capacity: Resources,
    /// The type's allocatable.
    pub allocatable: Resources,
    /// What it costs per hour.
    pub price: Price,
}

/// A machine as the cloud describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudInstance {
    /// Its id as Nodes carry it.
    pub provider_id: ProviderId,
    /// The type's name.
    pub instance_type: String,
    /// The zone's name.
    pub zone: String,
    /// How it is paid for.
    pub capacity_type: CapacityType,
    /// The capacity reservation that it runs in, if any.
    pub reservation_id: Option<String>,
    /// The image it was started from.
    pub image_id: String,
    /// When it was launched.
    pub launched_at: Timestamp,
    /// Whether it is shutting down.
    pub terminating: bool,
    /// The NodeClaim it was bought for, from its tags; none where the tag is missing.
    pub node_claim: Option<String>,
    /// All tags.
    pub tags: BTreeMap<String, String>,
}

/// How far giving back has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteProgress {
    /// The cloud has accepted it and is shutting the machine down: ask again.
    Terminating,
    /// The machine is gone.
    NotFound,
}

/// Why the cloud did not do it. Each variant maps to exactly one behaviour of the NodeClaim's lifecycle (spec core 3.1).
#[derive(Debug, thiserror::Error)]
pub enum CloudError {
    /// No offering that was tried has capacity; they are remembered as unavailable.
    #[error("insufficient capacity: {message}")]
    InsufficientCapacity {
        /// One line: which offerings were refused and with which code.
        message: String,
    },
    /// The NodeClass cannot be used yet.
    #[error("the NodeClass `{name}` is not ready: {message}")]
    NodeClassNotReady {
        /// Its name.
        name: String,
        /// Why.
        message: String,
    },
    /// The cloud asks to slow down.
    #[error("throttled by `{operation}`")]
    Throttled {
        /// The operation that was refused.
        operation: &'static str,
    },
    /// The cloud refused the request as such.
    #[error("`{operation}` was refused: {code}: {message}")]
    Rejected {
        /// The operation.
        operation: &'static str,
        /// The cloud's error code.
        code: String,
        /// The cloud's words.
        message: String,
    },
    /// No answer: the connection failed or the answer could not be read.
    #[error("`{operation}` got no usable answer")]
    Transport {
        /// The operation.
        operation: &'static str,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
