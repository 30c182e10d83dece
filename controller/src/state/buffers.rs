//! CapacityBuffers with what they refer to looked up.

use super::State;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use sawhorse_core::{
    api::CapacityBuffer,
    lifecycle::{ResolvedBuffer, Template, TemplateKind, TemplateRef, WhyUnresolved, resolve, template_of},
    model::{BufferKey, PodKey},
};
use std::sync::Arc;

impl State {
    pub(super) fn buffers_listed(&self) -> bool {
        self.capacity_buffers.is_listed()
            && self.pod_templates.is_listed()
            && self.deployments.is_listed()
            && self.stateful_sets.is_listed()
            && self.replica_sets.is_listed()
    }

    pub(crate) fn capacity_buffer(&self, key: &BufferKey) -> Option<Arc<CapacityBuffer>> {
        self.capacity_buffers.get(&key.namespace, &key.name).cloned()
    }

    /// The buffers that keep room by `of`.
    pub(crate) fn buffers_by(&self, of: &TemplateRef) -> Vec<BufferKey> {
        let by = self.capacity_buffers.iter().filter(|buffer| template_of(buffer).is_ok_and(|named| named == *of));
        by.map(|buffer| BufferKey::of(buffer)).collect()
    }

    /// For which pods the buffer keeps room; why that is not known.
    pub(crate) fn resolved(&self, buffer: &CapacityBuffer) -> Result<ResolvedBuffer, WhyUnresolved> {
        resolve(buffer, |of| self.template(of))
    }

    /// The pods that stand for the room that buffers keep, in order.
    pub(super) fn virtual_pods(&self) -> Vec<Arc<Pod>> {
        let lasting = self.capacity_buffers.iter().filter(|buffer| buffer.metadata.deletion_timestamp.is_none());
        let resolved = lasting.filter_map(|buffer| self.resolved(buffer).ok());
        let mut pods: Vec<Arc<Pod>> = resolved.filter_map(|own| own.buffer.virtual_pods().ok()).flatten().collect();
        pods.sort_by_cached_key(|pod| PodKey::of(pod));
        pods
    }

    fn template(&self, TemplateRef { kind, namespace, name }: &TemplateRef) -> Option<Template> {
        match kind {
            TemplateKind::PodTemplate => {
                let found = self.pod_templates.get(namespace, name)?;
                Some(Template { template: found.template.clone()?, replicas: None, ..of(&found.metadata) })
            }
            TemplateKind::Deployment => {
                let found = self.deployments.get(namespace, name)?;
                let spec = found.spec.as_ref()?;
                Some(Template {
                    template: spec.template.clone(),
                    replicas: wanted(spec.replicas),
                    ..of(&found.metadata)
                })
            }
            TemplateKind::StatefulSet => {
                let found = self.stateful_sets.get(namespace, name)?;
                let spec = found.spec.as_ref()?;
                Some(Template {
                    template: spec.template.clone(),
                    replicas: wanted(spec.replicas),
                    ..of(&found.metadata)
                })
            }
            TemplateKind::ReplicaSet => {
                let found = self.replica_sets.get(namespace, name)?;
                let spec = found.spec.as_ref()?;
                let template = spec.template.clone().unwrap_or_default();
                Some(Template { template, replicas: wanted(spec.replicas), ..of(&found.metadata) })
            }
        }
    }
}

fn of(meta: &ObjectMeta) -> Template {
    Template { template: Default::default(), generation: meta.generation, replicas: None }
}

/// Workloads that do not say how many pods they want are of one.
fn wanted(replicas: Option<i32>) -> Option<i32> {
    Some(replicas.unwrap_or(1))
}
