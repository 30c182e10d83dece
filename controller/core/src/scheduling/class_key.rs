//! What makes two pods equal for scheduling, as bytes.

use super::topology::{required_affinity, required_anti};
use crate::model::{is_virtual, pod_spec};
use k8s_openapi::{
    api::core::v1::{Container, Pod, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// Writes the key of `pod` into `key`. Pods with equal keys ask the same of their node; what selects them is looked at later.
pub(super) fn class_key(pod: &Pod, key: &mut Vec<u8>) {
    key.clear();
    let spec = pod_spec(pod);
    spec.containers.iter().for_each(|container| put_container(key, b'c', container));
    spec.init_containers.iter().flatten().for_each(|container| put_container(key, b'i', container));
    // Real pods come before those that stand for a buffer.
    key.push(u8::from(is_virtual(pod)));
    put_amounts(key, b'o', spec.overhead.as_ref());
    put_resources(key, spec.resources.as_ref());
    for (label, value) in spec.node_selector.iter().flatten() {
        put(key, b's', label);
        put(key, b'=', value);
    }
    put_json(key, b't', spec.tolerations.as_ref().filter(|tolerations| !tolerations.is_empty()));
    put_json(key, b'a', spec.affinity.as_ref());
    put_spread(pod, key);
    put_term_labels(pod, key);
    put_resizes(pod, key);
    let speaks_of_pods =
        spec.affinity.as_ref().is_some_and(|own| own.pod_affinity.is_some() || own.pod_anti_affinity.is_some())
            || spec.topology_spread_constraints.is_some();
    if speaks_of_pods {
        put(key, b'n', super::topology::namespace(pod));
    }
}

fn put(key: &mut Vec<u8>, tag: u8, text: &str) {
    key.push(tag);
    key.extend_from_slice(&(text.len() as u32).to_be_bytes());
    key.extend_from_slice(text.as_bytes());
}

fn put_json<T: Serialize>(key: &mut Vec<u8>, tag: u8, value: Option<&T>) {
    if let Some(value) = value {
        put(key, tag, &serde_json::to_string(value).unwrap_or_default());
    }
}

fn put_amounts(key: &mut Vec<u8>, tag: u8, amounts: Option<&BTreeMap<String, Quantity>>) {
    key.push(tag);
    for (name, amount) in amounts.into_iter().flatten() {
        put(key, b'r', name);
        put(key, b'=', &amount.0);
    }
}

fn put_resources(key: &mut Vec<u8>, resources: Option<&ResourceRequirements>) {
    put_amounts(key, b'q', resources.and_then(|own| own.requests.as_ref()));
    put_amounts(key, b'l', resources.and_then(|own| own.limits.as_ref()));
}

fn put_container(key: &mut Vec<u8>, tag: u8, container: &Container) {
    key.push(tag);
    put_resources(key, container.resources.as_ref());
    if let Some(policy) = &container.restart_policy {
        put(key, b'p', policy);
    }
    for port in container.ports.iter().flatten().filter(|port| port.host_port.is_some_and(|number| number > 0)) {
        put_json(key, b'h', Some(&(port.host_port, &port.protocol, &port.host_ip)));
    }
}

/// Spread constraints, with the values of the labels that they compare with.
fn put_spread(pod: &Pod, key: &mut Vec<u8>) {
    for spread in pod_spec(pod).topology_spread_constraints.iter().flatten() {
        put_json(key, b'd', Some(spread));
        for label in spread.match_label_keys.iter().flatten() {
            let value = pod.metadata.labels.as_ref().and_then(|labels| labels.get(label));
            put_json(key, b'v', Some(&value));
        }
    }
}

/// The values of the labels that affinity terms compare with.
fn put_term_labels(pod: &Pod, key: &mut Vec<u8>) {
    for term in required_affinity(pod).chain(required_anti(pod)) {
        for label in term.match_label_keys.iter().chain(&term.mismatch_label_keys).flatten() {
            let value = pod.metadata.labels.as_ref().and_then(|labels| labels.get(label));
            put_json(key, b'v', Some(&value));
        }
    }
}

/// What containers hold while they are being resized.
fn put_resizes(pod: &Pod, key: &mut Vec<u8>) {
    let Some(status) = &pod.status else { return };
    let all = status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
    for container in all.filter(|own| own.allocated_resources.is_some() || own.resources.is_some()) {
        put(key, b'z', &container.name);
        put_amounts(key, b'z', container.allocated_resources.as_ref());
        put_resources(key, container.resources.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::class_key;
    use serde_json::{Value, json};

    fn key(pod: Value) -> Vec<u8> {
        let mut key = Vec::new();
        class_key(&serde_json::from_value(pod).unwrap(), &mut key);
        key
    }

    fn pod(name: &str, cpu: &str) -> Value {
        json!({"metadata": {"name": name, "labels": {"app": name}},
            "spec": {"containers": [{"name": name, "resources": {"requests": {"cpu": cpu}}}]}})
    }

    #[test]
    fn names_do_not_matter_but_requests_do() {
        assert_eq!(key(pod("a", "1")), key(pod("b", "1")));
        assert_ne!(key(pod("a", "1")), key(pod("a", "2")));
    }

    #[test]
    fn everything_that_decides_matters() {
        let base = pod("a", "1");
        for (field, value) in [
            ("nodeSelector", json!({"zone": "a"})),
            ("tolerations", json!([{"operator": "Exists"}])),
            ("overhead", json!({"cpu": "1"})),
            ("affinity", json!({"podAntiAffinity": {}})),
            (
                "topologySpreadConstraints",
                json!([{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]),
            ),
            ("initContainers", json!([{"name": "i", "restartPolicy": "Always"}])),
        ] {
            let mut other = base.clone();
            other["spec"][field] = value;
            assert_ne!(key(base.clone()), key(other), "{field}");
        }
        let mut port = base.clone();
        port["spec"]["containers"][0]["ports"] = json!([{"containerPort": 80, "hostPort": 80}]);
        assert_ne!(key(base), key(port));
    }
}
