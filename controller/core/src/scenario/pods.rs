//! Pods, DaemonSets and PodDisruptionBudgets, written out.

use super::{
    ScenarioError, real,
    schema::{BudgetForm, BufferForm, PodForm},
};
use crate::{
    api::labels,
    model::{Buffer, InvalidResource, PodKey, Resources},
};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Affinity, Namespace, Pod, PodSpec, Toleration, TopologySpreadConstraint},
    policy::v1::PodDisruptionBudget,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// How many pods one line of a scenario may stand for: scenarios are small, so more is a typing error.
const MAX_REPLICAS: u32 = 10_000;

/// Writes short forms out.
pub(super) struct Writer<'a> {
    /// The scenario.
    pub(super) text: &'a str,
    pub(super) now: Timestamp,
}

impl Writer<'_> {
    /// Pods that kube-scheduler found no node for.
    pub(super) fn pending(&self, forms: &[PodForm]) -> Result<Vec<Arc<Pod>>, ScenarioError> {
        let condition = json!([{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable" }]);
        let status = json!({ "phase": "Pending", "conditions": condition });
        self.pods(forms, &Value::Null, &status, self.now)
    }

    /// Pods that run on the node `node` since it is there.
    pub(super) fn running(
        &self,
        forms: &[PodForm],
        node: &str,
        since: Timestamp,
    ) -> Result<Vec<Arc<Pod>>, ScenarioError> {
        let ready = json!([{ "type": "Ready", "status": "True" }]);
        let status = json!({ "phase": "Running", "startTime": since.to_string(), "conditions": ready });
        let mut pods = self.pods(forms, &json!(node), &status, since)?;
        pods.sort_by_cached_key(|pod| PodKey::of(pod));
        Ok(pods)
    }

    fn pods(
        &self,
        forms: &[PodForm],
        node: &Value,
        status: &Value,
        since: Timestamp,
    ) -> Result<Vec<Arc<Pod>>, ScenarioError> {
        let mut pods = Vec::new();
        for form in forms {
            let replicas = form.replicas.unwrap_or(1);
            if replicas > MAX_REPLICAS {
                let message =
                    format!("pod `{}` has {replicas} replicas: at most {MAX_REPLICAS} are allowed", form.name);
                return Err(ScenarioError::anywhere(message));
            }
            let mut spec = self.spec(form)?;
            spec["nodeName"] = node.clone();
            for index in 0..replicas {
                spec["volumes"] = volumes(form, index);
                let name = form.replicas.map_or(form.name.clone(), |_| format!("{}-{index}", form.name));
                let metadata = metadata(form, &name, since);
                pods.push(Arc::new(made(&name, json!({ "metadata": metadata, "spec": spec, "status": status }))?));
            }
        }
        Ok(pods)
    }

    fn spec(&self, form: &PodForm) -> Result<Value, ScenarioError> {
        let affinity: Option<Affinity> =
            form.affinity.as_ref().map(|block| real::read(self.text, block)).transpose()?;
        let tolerations: Vec<Toleration> =
            form.tolerations.iter().map(|block| real::read(self.text, block)).collect::<Result<_, _>>()?;
        let own_labels = pod_labels(form);
        let in_full: Vec<TopologySpreadConstraint> = (form.topology_spread_constraints.iter())
            .map(|block| real::read(self.text, block))
            .collect::<Result<_, _>>()?;
        let spread = |(key, skew): (&String, &i32)| {
            json!({ "topologyKey": key, "maxSkew": skew, "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": { "matchLabels": own_labels } })
        };
        let ports: Vec<Value> =
            form.host_ports.iter().map(|port| json!({ "containerPort": port, "hostPort": port })).collect();
        let gates: Vec<Value> = form.gates.iter().map(|gate| json!({ "name": gate })).collect();
        let mut spec = json!({
            "containers": [{ "name": "main", "resources": { "requests": form.requests }, "ports": ports }],
            "nodeSelector": form.node_selector,
            "affinity": affinity,
            "tolerations": tolerations,
            "topologySpreadConstraints":
                form.spread.iter().map(spread).chain(in_full.iter().map(|own| json!(own))).collect::<Vec<_>>(),
            "priority": form.priority,
            "schedulingGates": gates,
        });
        if let Some(block) = &form.spec {
            let further: PodSpec = real::read(self.text, block)?;
            let further = serde_json::to_value(further).map_err(|error| ScenarioError::anywhere(error.to_string()))?;
            let written = block.value.as_object().into_iter().flat_map(|fields| fields.keys());
            written.for_each(|key| spec[key] = further[key].clone());
        }
        Ok(spec)
    }

    /// A DaemonSet with these pods.
    pub(super) fn daemon_set(&self, form: &PodForm) -> Result<Arc<DaemonSet>, ScenarioError> {
        let own_labels = pod_labels(form);
        let value = json!({
            "metadata": { "name": form.name, "namespace": form.namespace, "uid": form.name },
            "spec": {
                "selector": { "matchLabels": own_labels },
                "template": { "metadata": { "labels": own_labels }, "spec": self.spec(form)? },
            },
        });
        made(&form.name, value).map(Arc::new)
    }

    /// The pods that stand for these buffers.
    pub(super) fn virtual_pods(&self, forms: &[BufferForm]) -> Result<Vec<Arc<Pod>>, ScenarioError> {
        let mut pods = Vec::new();
        for form in forms {
            let wrong = |error: InvalidResource| ScenarioError::anywhere(format!("buffer `{}`: {error}", form.name));
            let template =
                json!({ "metadata": { "labels": pod_labels(&form.template) }, "spec": self.spec(&form.template)? });
            let buffer = Buffer {
                namespace: form.template.namespace.clone(),
                name: form.name.clone(),
                uid: form.name.clone(),
                template: made(&form.name, template)?,
                workload_replicas: form.template.replicas,
                replicas: form.replicas,
                percentage: form.percentage,
                limits: form.limits.as_ref().map(Resources::from_requests).transpose().map_err(wrong)?,
            };
            pods.extend(buffer.virtual_pods().map_err(wrong)?);
        }
        pods.sort_by_cached_key(|pod| PodKey::of(pod));
        Ok(pods)
    }

    /// A PodDisruptionBudget without a status: what it allows follows from the pods.
    pub(super) fn budget(&self, form: &BudgetForm) -> Result<Arc<PodDisruptionBudget>, ScenarioError> {
        let value = json!({
            "metadata": { "name": form.name, "namespace": form.namespace },
            "spec": {
                "selector": { "matchLabels": form.selector },
                "minAvailable": form.min_available,
                "maxUnavailable": form.max_unavailable,
            },
        });
        made(&form.name, value).map(Arc::new)
    }
}

/// A namespace with these labels.
pub(super) fn namespace(name: &str, labels: &BTreeMap<String, String>) -> Result<Arc<Namespace>, ScenarioError> {
    made(name, json!({ "metadata": { "name": name, "labels": labels } })).map(Arc::new)
}

fn volumes(form: &PodForm, replica: u32) -> Value {
    let volume = |(index, claim): (usize, &String)| {
        let name = claim.replace("{}", &replica.to_string());
        json!({ "name": format!("volume-{index}"), "persistentVolumeClaim": { "claimName": name } })
    };
    form.claims.iter().enumerate().map(volume).collect()
}

fn pod_labels(form: &PodForm) -> Value {
    form.labels.as_ref().map_or_else(|| json!({ "app": form.name }), |own| json!(own))
}

fn metadata(form: &PodForm, name: &str, since: Timestamp) -> Value {
    let mut annotations = json!({});
    if form.do_not_disrupt {
        annotations[labels::DO_NOT_DISRUPT] = json!("true");
    }
    if let Some(gang) = &form.gang {
        annotations["scheduling.k8s.io/group-name"] = json!(gang);
    }
    if let Some(cost) = form.deletion_cost {
        annotations[labels::POD_DELETION_COST] = json!(cost.to_string());
    }
    let kind = if form.daemon { "DaemonSet" } else { "ReplicaSet" };
    json!({
        "name": name, "namespace": form.namespace, "uid": format!("{}-{name}", form.namespace),
        "labels": pod_labels(form), "annotations": annotations, "creationTimestamp": since.to_string(),
        "ownerReferences": [{ "apiVersion": "apps/v1", "kind": kind, "name": form.name, "uid": form.name, "controller": true }],
    })
}

/// The object that `value` describes.
pub(super) fn made<T: DeserializeOwned>(name: &str, value: Value) -> Result<T, ScenarioError> {
    serde_json::from_value(value).map_err(|error| ScenarioError::anywhere(format!("`{name}`: {error}")))
}
