//! Requests, host ports and daemons fit.

use super::{
    Violation,
    kubernetes::{node_will_do, tolerated},
    machines::{Machine, Possible},
};
use crate::{
    model::{Resources, host_ports, is_daemon_pod, pod_requests},
    scheduling::SchedulingInput,
};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Pod, Taint},
};

pub(super) fn check(input: &SchedulingInput<'_>, machine: &Machine, found: &mut Vec<Violation>) {
    if machine.coming.is_empty() {
        return;
    }
    let mut asked = Resources::new();
    for pod in machine.running.iter().chain(&machine.coming) {
        asked.add(&pod_requests(pod).unwrap_or_default());
    }
    let mut bound_daemons = Resources::new();
    for pod in machine.running.iter().filter(|pod| is_daemon_pod(pod)) {
        bound_daemons.add(&pod_requests(pod).unwrap_or_default());
    }
    let sets = &input.prepared.snapshot().daemon_sets;
    for possible in &machine.possible {
        let mut daemons = Resources::new();
        for set in sets.iter().filter(|set| runs_on(set, possible, &machine.taints)) {
            daemons.add(&daemon_pod(set).map(|pod| pod_requests(&pod).unwrap_or_default()).unwrap_or_default());
        }
        let still_to_come: Resources =
            daemons.iter().map(|(name, amount)| (name, (amount - bound_daemons.get(name)).max(0))).collect();
        let all = asked.plus(&still_to_come);
        if let Some((name, amount)) =
            all.iter().find(|(name, amount)| *amount > 0 && *amount > possible.allocatable.get(name))
        {
            let there = possible.allocatable.get(name);
            let detail = format!("has {there} of `{name}` as {}, {amount} are asked for", possible.what);
            found.push(Violation::new("fits", machine.name.clone(), detail));
        }
    }
    ports(machine, found);
}

fn ports(machine: &Machine, found: &mut Vec<Violation>) {
    let pods: Vec<_> = machine.running.iter().chain(&machine.coming).map(|pod| host_ports(pod)).collect();
    for (index, own) in pods.iter().enumerate().filter(|(_, own)| !own.is_empty()) {
        let others = pods[index + 1..].iter().flatten();
        if let Some(port) = others.into_iter().find(|other| own.iter().any(|own| own.conflicts_with(other))) {
            found.push(Violation::new("host-ports", machine.name.clone(), format!("has port {} twice", port.port)));
        }
    }
}

fn daemon_pod(set: &DaemonSet) -> Option<Pod> {
    let template = &set.spec.as_ref()?.template;
    Some(Pod { metadata: template.metadata.clone().unwrap_or_default(), spec: template.spec.clone(), status: None })
}

fn runs_on(set: &DaemonSet, possible: &Possible, taints: &[Taint]) -> bool {
    let Some(spec) = daemon_pod(set).and_then(|pod| pod.spec) else { return false };
    let tolerations = spec.tolerations.clone().unwrap_or_default();
    node_will_do(&spec, &possible.labels) && taints.iter().all(|taint| tolerated(&tolerations, taint))
}
