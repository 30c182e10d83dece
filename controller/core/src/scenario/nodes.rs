//! Machines, written out.

use super::{ScenarioError, catalog::unknown_type, pods::Writer, pods::made, real, schema::NodeForm};
use crate::{
    api::{GoDuration, NodePool, conditions, labels},
    model::{InstanceType, NodePoolName, Operator, StateNode},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Taint;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// How old a machine is that does not say.
const AGE: SignedDuration = SignedDuration::from_hours(1);

/// The machine that `form` describes.
pub(super) fn write(
    form: &NodeForm,
    writer: &Writer<'_>,
    types: &[Arc<InstanceType>],
    pools: &BTreeMap<NodePoolName, Arc<NodePool>>,
) -> Result<StateNode, ScenarioError> {
    let kind =
        types.iter().find(|own| own.name == form.instance_type).ok_or_else(|| unknown_type(&form.instance_type))?;
    let pool = form.pool.as_ref().map(|name| {
        let missing =
            || ScenarioError::anywhere(format!("node `{}` is of pool `{name}`, which is not there", form.name));
        pools.get(&NodePoolName::from(name)).ok_or_else(missing)
    });
    let pool = pool.transpose()?;
    let mut taints: Vec<Taint> = pool.map(|pool| pool.spec.template.spec.taints.clone()).unwrap_or_default();
    for block in &form.taints {
        taints.push(real::read(writer.text, block)?);
    }
    let now = writer.now;
    let since = form.age.as_ref().and_then(|age| ago(age, now)).unwrap_or(now - AGE);
    let draft = Draft { form, kind, pool: pool.map(AsRef::as_ref), taints, now, since };
    let nominated = form.nominated_for.as_ref().and_then(signed);
    Ok(StateNode {
        node: form.registered.then(|| made(&form.name, draft.node())).transpose()?.map(Arc::new),
        node_claim: draft.pool.map(|pool| made(&form.name, draft.claim(pool))).transpose()?.map(Arc::new),
        pods: writer.running(&form.pods, &form.name, since)?,
        marked_for_deletion: form.marked_for_deletion,
        nominated_until: nominated.map(|wait| writer.now + wait),
    })
}

fn signed(duration: &GoDuration) -> Option<SignedDuration> {
    SignedDuration::try_from(duration.value()).ok()
}

fn ago(duration: &GoDuration, now: Timestamp) -> Option<Timestamp> {
    now.checked_sub(signed(duration)?).ok()
}

/// A machine being written.
struct Draft<'a> {
    form: &'a NodeForm,
    kind: &'a InstanceType,
    pool: Option<&'a NodePool>,
    taints: Vec<Taint>,
    now: Timestamp,
    since: Timestamp,
}

impl Draft<'_> {
    /// What its type, its offering, its pool and the scenario say.
    fn labels(&self) -> BTreeMap<String, String> {
        let form = self.form;
        let single = self.kind.requirements.iter().filter(|own| own.operator() == Operator::In);
        let mut all: BTreeMap<String, String> =
            single.filter_map(|own| Some((own.key().to_owned(), own.single_value()?.to_owned()))).collect();
        let mut say = |key: &str, value: &str| all.insert(key.to_owned(), value.to_owned());
        say(labels::ZONE, &form.zone);
        say(labels::CAPACITY_TYPE, form.capacity_type.as_str());
        say(labels::HOSTNAME, &form.name);
        if let Some(pool) = &form.pool {
            say(labels::NODE_POOL, pool);
            say(labels::REGISTERED, "true");
        }
        if form.pool.is_some() && form.initialized {
            say(labels::INITIALIZED, "true");
        }
        all.remove(labels::CAPACITY_RESERVATION_ID);
        if let Some(id) = &form.reservation {
            all.insert(labels::CAPACITY_RESERVATION_ID.to_owned(), id.clone());
        }
        all.extend(self.pool.into_iter().flat_map(|pool| pool.spec.template.metadata.labels.clone()));
        all.extend(form.labels.clone());
        all
    }

    fn annotations(&self) -> Value {
        let mut annotations = json!({});
        if self.form.do_not_disrupt {
            annotations[labels::DO_NOT_DISRUPT] = json!("true");
        }
        if let Some(at) = self.form.abandoned.as_ref().and_then(|own| ago(own, self.now)) {
            annotations[labels::ABANDONED] = json!(at.to_string());
        }
        let deleted = self.form.deleted.as_ref().and_then(|own| ago(own, self.now));
        if let (Some(deleted), Some(grace)) = (deleted, self.grace().and_then(signed)) {
            annotations[labels::TERMINATION_TIMESTAMP] = json!((deleted + grace).to_string());
        }
        annotations
    }

    fn grace(&self) -> Option<&GoDuration> {
        let of_pool = self.pool.and_then(|pool| pool.spec.template.spec.termination_grace_period.as_ref());
        self.form.termination_grace_period.as_ref().or(of_pool)
    }

    fn provider_id(&self) -> String {
        format!("aws:///{}/{}", self.form.zone, self.form.name)
    }

    fn metadata(&self) -> Value {
        let mut metadata = json!({
            "name": self.form.name, "uid": self.form.name, "labels": self.labels(), "annotations": self.annotations(),
            "creationTimestamp": self.since.to_string(),
        });
        if let Some(at) = self.form.deleted.as_ref().and_then(|own| ago(own, self.now)) {
            metadata["deletionTimestamp"] = json!(at.to_string());
        }
        metadata
    }

    fn node(&self) -> Value {
        let broken = &self.form.broken;
        let condition = |kind: &str, status: &str, since: Timestamp| json!({ "type": kind, "status": status, "reason": "Scenario", "lastTransitionTime": since.to_string() });
        let mut conditions: Vec<Value> =
            broken.iter().filter_map(|(kind, own)| Some(condition(kind, "False", ago(own, self.now)?))).collect();
        if !broken.contains_key(conditions::READY) {
            conditions.push(condition(conditions::READY, if self.form.ready { "True" } else { "False" }, self.since));
        }
        json!({
            "metadata": self.metadata(),
            "spec": { "providerID": self.provider_id(), "taints": self.taints },
            "status": {
                "capacity": self.kind.capacity.to_quantities(),
                "allocatable": self.kind.allocatable().to_quantities(),
                "conditions": conditions,
            },
        })
    }

    fn claim(&self, pool: &NodePool) -> Value {
        let form = self.form;
        let template = &pool.spec.template.spec;
        let mut spec = json!({
            "taints": self.taints, "startupTaints": template.startup_taints, "requirements": [],
            "nodeClassRef": template.node_class_ref, "expireAfter": template.expire_after,
        });
        if let Some(grace) = self.grace() {
            spec["terminationGracePeriod"] = json!(grace);
        }
        json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
            "metadata": self.metadata(),
            "spec": spec,
            "status": {
                "nodeName": form.name, "providerID": self.provider_id(),
                "capacity": self.kind.capacity.to_quantities(),
                "allocatable": self.kind.allocatable().to_quantities(),
                "conditions": self.conditions(),
            },
        })
    }

    fn conditions(&self) -> Vec<Value> {
        let form = self.form;
        let initialized = form.registered && form.initialized;
        let held = [
            (conditions::LAUNCHED, true),
            (conditions::REGISTERED, form.registered),
            (conditions::INITIALIZED, initialized),
            (conditions::READY, initialized),
            (conditions::CONSOLIDATABLE, initialized && !form.settling),
            (conditions::DRIFTED, form.drifted.is_some()),
        ];
        let since = self.since.to_string();
        let reason = |condition: &str| match &form.drifted {
            Some(reason) if condition == conditions::DRIFTED => reason.clone(),
            _ => condition.to_owned(),
        };
        let held = held.into_iter().filter(|(_, holds)| *holds);
        held.map(|(condition, _)| {
            json!({ "type": condition, "status": "True", "reason": reason(condition), "message": "", "lastTransitionTime": since })
        })
        .collect()
    }
}
