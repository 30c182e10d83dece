//! Room that is kept free for pods to come: a CapacityBuffer, and the virtual pods that stand for it (spec core 2.18).

use super::{InvalidResource, Resources, pod_requests};
use crate::api::{CapacityBuffer, labels};
use k8s_openapi::{
    api::core::v1::{Pod, PodCondition, PodSpec, PodStatus, PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// Lower than that of any pod a user can write.
const PRIORITY: i32 = i32::MIN;

/// How many virtual pods one buffer may stand for: each is placed in every pass and simulation, and a typing error is to
/// cost no more than this.
const MAX_PODS: u32 = 10_000;

/// A CapacityBuffer's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BufferKey {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl BufferKey {
    /// The key of an object.
    pub fn of(buffer: &CapacityBuffer) -> Self {
        let text = |text: &Option<String>| Arc::from(text.as_deref().unwrap_or_default());
        Self { namespace: text(&buffer.metadata.namespace), name: text(&buffer.metadata.name) }
    }
}

impl fmt::Display for BufferKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Where the pods that stand for one buffer were placed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BufferRoom {
    /// How many on machines that are there or on their way.
    pub existing: u32,
    /// How many on machines to launch.
    pub planned: u32,
    /// How many nowhere.
    pub failed: u32,
}

impl BufferRoom {
    /// How many there are.
    pub fn total(self) -> u32 {
        self.existing + self.planned + self.failed
    }
}

/// A buffer with what it refers to looked up.
#[derive(Clone, Debug)]
pub struct Buffer {
    /// The buffer's namespace.
    pub namespace: String,
    /// The buffer's name.
    pub name: String,
    /// The buffer's uid.
    pub uid: String,
    /// The pods that room is kept for.
    pub template: PodTemplateSpec,
    /// How many replicas the workload has that the template is of; none of a PodTemplate.
    pub workload_replicas: Option<u32>,
    /// For how many pods.
    pub replicas: Option<u32>,
    /// For how many pods, as a part of the workload's replicas.
    pub percentage: Option<u32>,
    /// What the pods may ask for together.
    pub limits: Option<Resources>,
}

impl Buffer {
    /// The pods that stand for the room, `capacity-buffer-NAME-1` and so on. Their volumes are left out: nobody made the
    /// claims.
    ///
    /// # Errors
    /// What the template asks for and cannot be read.
    pub fn virtual_pods(&self) -> Result<Vec<Arc<Pod>>, InvalidResource> {
        let (spec, count) = self.spec_and_count()?;
        let own = self.template.metadata.as_ref().and_then(|metadata| metadata.labels.clone());
        let annotations = BTreeMap::from(
            [
                (labels::BUFFER_POD, "true"),
                (labels::BUFFER_NAME, self.name.as_str()),
                (labels::BUFFER_NAMESPACE, self.namespace.as_str()),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        let pod = |number: u32| {
            let metadata = ObjectMeta {
                name: Some(format!("capacity-buffer-{}-{number}", self.name)),
                namespace: Some(self.namespace.clone()),
                uid: Some(format!("{}-{number}", self.uid)),
                labels: own.clone(),
                annotations: Some(annotations.clone()),
                ..ObjectMeta::default()
            };
            Arc::new(Pod { metadata, spec: Some(spec.clone()), status: Some(unschedulable()) })
        };
        Ok((1..=count).map(pod).collect())
    }

    /// For how many pods room is kept.
    ///
    /// # Errors
    /// What the template asks for and cannot be read.
    pub fn pods(&self) -> Result<u32, InvalidResource> {
        self.spec_and_count().map(|(_, count)| count)
    }

    fn spec_and_count(&self) -> Result<(PodSpec, u32), InvalidResource> {
        let pod = Pod { spec: self.template.spec.clone().map(without_claims), ..Pod::default() };
        let count = self.count(&pod_requests(&pod)?);
        Ok((pod.spec.unwrap_or_default(), count))
    }

    /// The larger of `replicas` and the percentage of the workload, which is one at least (as Cluster Autoscaler has it, and
    /// unlike the field's own comment), as far as the limits go; where neither is said, as many as the limits allow.
    fn count(&self, requests: &Resources) -> u32 {
        let part = self.percentage.zip(self.workload_replicas.filter(|replicas| *replicas > 0)).map(|(percent, of)| {
            let part = (u64::from(of) * u64::from(percent)).div_ceil(100).max(1);
            u32::try_from(part).unwrap_or(u32::MAX)
        });
        let fits = self.limits.as_ref().and_then(|limits| {
            let times = |(name, asked): (&str, i64)| {
                let most = limits.iter().find(|(own, _)| *own == name)?.1;
                (asked > 0).then(|| u32::try_from((most / asked).max(0)).unwrap_or(u32::MAX))
            };
            requests.iter().filter_map(times).min()
        });
        let wanted = self.replicas.max(part);
        wanted.into_iter().chain(fits).min().unwrap_or(0).min(MAX_PODS)
    }
}

/// Whether the pod stands for a buffer: no API server knows of it.
pub fn is_virtual(pod: &Pod) -> bool {
    pod.metadata.annotations.as_ref().is_some_and(|own| own.contains_key(labels::BUFFER_POD))
}

/// The buffer that the pod stands for, if it does for one.
pub fn buffer_of(pod: &Pod) -> Option<BufferKey> {
    let own = pod.metadata.annotations.as_ref().filter(|own| own.contains_key(labels::BUFFER_POD))?;
    let text = |key: &str| own.get(key).map(|text| Arc::from(text.as_str()));
    Some(BufferKey { namespace: text(labels::BUFFER_NAMESPACE)?, name: text(labels::BUFFER_NAME)? })
}

fn without_claims(mut spec: PodSpec) -> PodSpec {
    let volumes = spec.volumes.take().unwrap_or_default();
    let (claims, kept): (Vec<_>, Vec<_>) =
        volumes.into_iter().partition(|own| own.persistent_volume_claim.is_some() || own.ephemeral.is_some());
    let gone: Vec<String> = claims.into_iter().map(|own| own.name).collect();
    let containers = spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten());
    for container in containers {
        container.volume_mounts.iter_mut().for_each(|mounts| mounts.retain(|mount| !gone.contains(&mount.name)));
    }
    PodSpec { volumes: Some(kept), node_name: None, priority: Some(PRIORITY), ..spec }
}

fn unschedulable() -> PodStatus {
    let condition = PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "False".to_owned(),
        reason: Some("Unschedulable".to_owned()),
        ..PodCondition::default()
    };
    PodStatus { phase: Some("Pending".to_owned()), conditions: Some(vec![condition]), ..PodStatus::default() }
}
