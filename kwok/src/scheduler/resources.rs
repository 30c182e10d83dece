//! Amounts of resources as kube-scheduler reckons them.

use crate::machine::quantity::Quantity;
use k8s_openapi::{
    api::core::v1::{Container, PodSpec},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use std::collections::BTreeMap;

/// Amounts by name: `cpu` in thousandths, all else in units or bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Resources(BTreeMap<String, i64>);

/// What a container that asks for no cpu counts as when nodes are compared.
const NON_ZERO_CPU: i64 = 100;
/// What a container that asks for no memory counts as when nodes are compared.
const NON_ZERO_MEMORY: i64 = 200 << 20;

impl Resources {
    pub(super) fn of(map: Option<&BTreeMap<String, ApiQuantity>>) -> Self {
        let amount = |(name, text): (&String, &ApiQuantity)| {
            let quantity: Quantity = text.0.parse().ok()?;
            Some((name.clone(), if name == "cpu" { quantity.millis() } else { quantity.units() }))
        };
        Self(map.into_iter().flatten().filter_map(amount).collect())
    }

    pub(super) fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    pub(super) fn add(&mut self, other: &Self) {
        other.0.iter().for_each(|(name, amount)| *self.0.entry(name.clone()).or_default() += amount);
    }

    pub(super) fn subtract(&mut self, other: &Self) {
        other.0.iter().for_each(|(name, amount)| *self.0.entry(name.clone()).or_default() -= amount);
    }

    fn raise_to(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let own = self.0.entry(name.clone()).or_default();
            *own = (*own).max(*amount);
        }
    }
}

/// What a pod asks for: its containers and sidecars together, or what its init containers need at their worst, plus overhead;
/// and the same with the least that counts when nodes are compared.
pub(super) fn requests(spec: &PodSpec) -> (Resources, Resources) {
    let exact = total(spec, requested);
    let counted = total(spec, |container| {
        let mut asked = requested(container);
        asked.0.entry("cpu".to_owned()).or_insert(NON_ZERO_CPU);
        asked.0.entry("memory".to_owned()).or_insert(NON_ZERO_MEMORY);
        asked
    });
    (exact, counted)
}

fn requested(container: &Container) -> Resources {
    Resources::of(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()))
}

fn total(spec: &PodSpec, of: impl Fn(&Container) -> Resources) -> Resources {
    let mut running = Resources::default();
    spec.containers.iter().for_each(|container| running.add(&of(container)));
    let (mut sidecars, mut worst) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let mut at_once = sidecars.clone();
        at_once.add(&of(container));
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars = at_once.clone();
        }
        worst.raise_to(&at_once);
    }
    running.add(&sidecars);
    running.raise_to(&worst);
    if let Some(pod) = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()) {
        // Resources stated for the whole pod stand in place of the sum of its containers'.
        running.0.extend(Resources::of(Some(pod)).0);
    }
    running.add(&Resources::of(spec.overhead.as_ref()));
    running
}

#[cfg(test)]
mod tests {
    use super::requests;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn container(cpu: &str) -> Value {
        json!({"name": "c", "resources": {"requests": {"cpu": cpu}}})
    }

    fn sidecar(cpu: &str) -> Value {
        json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}})
    }

    #[rstest]
    #[case::containers(json!({"containers": [container("1"), container("500m")]}), 1_500)]
    #[case::init_at_its_worst(json!({"containers": [container("1")], "initContainers": [container("2"), container("3")]}), 3_000)]
    #[case::sidecars_stay(json!({"containers": [container("1")], "initContainers": [sidecar("2"), container("500m")]}), 3_000)]
    #[case::init_beside_sidecars(json!({"containers": [container("1")], "initContainers": [sidecar("2"), container("4")]}), 6_000)]
    #[case::overhead(json!({"containers": [container("1")], "overhead": {"cpu": "250m"}}), 1_250)]
    #[case::whole_pod(json!({"containers": [container("1")], "resources": {"requests": {"cpu": "4"}}}), 4_000)]
    fn what_a_pod_asks_for(#[case] spec: Value, #[case] millis: i64) {
        assert_eq!(requests(&serde_json::from_value(spec).unwrap()).0.get("cpu"), millis);
    }
}
