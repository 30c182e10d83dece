//! What pods ask of their nodes and of one another.

use crate::{
    draw::Draw,
    pods::Workload,
    pools::{self, ARCH, CAPACITY_TYPE, CATEGORY, CPU, GENERATION, GPU, GPU_NAME, requirement},
};
use sawhorse_ambient::Stream;
use serde_json::{Value, json};

const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";
const ZONES: [&str; 3] = ["us-east-1a", "us-east-1b", "us-east-1c"];
/// Pods that share one node are few and small, so that there is a machine for them.
const TOGETHER: u64 = 8;

fn select(workload: &mut Workload, key: &str, value: &str) {
    workload.spec.entry("nodeSelector").or_insert_with(|| json!({}))[key] = json!(value);
}

fn affinity<'a>(workload: &'a mut Workload, kind: &str, rule: &str) -> &'a mut Value {
    let affinity = workload.spec.entry("affinity").or_insert_with(|| json!({}));
    &mut affinity[kind][rule]
}

fn push(list: &mut Value, value: Value) {
    match list.as_array_mut() {
        Some(list) => list.push(value),
        None => *list = json!([value]),
    }
}

/// Asks something of the node: by selector, by required terms of which one must hold, or as a preference.
pub(crate) fn node(workload: &mut Workload, stream: &mut Stream) {
    match stream.below(10) {
        0 | 1 => select(workload, ZONE, stream.one(&ZONES)),
        2 => select(workload, ARCH, stream.one(&["amd64", "arm64"])),
        3 => select(workload, CAPACITY_TYPE, "on-demand"),
        4 => select(workload, "team", "default"),
        5 | 6 => {
            let terms: Vec<Value> = (0..stream.between(1, 2))
                .map(|_| json!({"matchExpressions": [node_requirement(stream), node_requirement(stream)]}))
                .collect();
            let rule = affinity(workload, "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution");
            rule["nodeSelectorTerms"] = json!(terms);
        }
        7 => {
            let rule = affinity(workload, "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution");
            rule["nodeSelectorTerms"] = json!([{"matchExpressions": [node_requirement(stream)]}]);
        }
        _ => {
            let term = json!({"weight": stream.between(1, 100),
                "preference": {"matchExpressions": [node_requirement(stream)]}});
            push(affinity(workload, "nodeAffinity", "preferredDuringSchedulingIgnoredDuringExecution"), term);
        }
    }
}

fn node_requirement(stream: &mut Stream) -> Value {
    match stream.below(8) {
        0 => requirement(CATEGORY, "In", stream.one(&[&["c", "m"][..], &["m", "r"], &["r"]])),
        1 => requirement(CATEGORY, "NotIn", stream.one(&[&["t", "i"][..], &["c"], &["x", "u"]])),
        2 => requirement(CPU, "Gt", &[stream.one(&["3", "7"])]),
        3 => requirement(CPU, "Lt", &[stream.one(&["17", "33", "65"])]),
        4 => requirement(ZONE, "In", stream.one(&[&["us-east-1a", "us-east-1b"][..], &["us-east-1c"]])),
        5 => requirement(ZONE, "NotIn", &["us-east-1b"]),
        6 => requirement(GENERATION, "Gt", &["5"]),
        _ => requirement(GPU_NAME, "DoesNotExist", &[]),
    }
}

/// Asks to be spread.
pub(crate) fn spread(workload: &mut Workload, stream: &mut Stream) {
    let selector = workload.selector();
    let constraint = |key: &str, skew: u64, when: &str| json!({"topologyKey": key, "maxSkew": skew, "whenUnsatisfiable": when, "labelSelector": selector});
    let mut list = Vec::new();
    match stream.below(8) {
        0..=2 => list.push(constraint(ZONE, stream.between(1, 3), "DoNotSchedule")),
        3 | 4 => list.push(constraint(HOST, stream.between(1, 4), "DoNotSchedule")),
        5 => {
            list.push(constraint(ZONE, 1, "DoNotSchedule"));
            list.push(constraint(HOST, stream.between(1, 3), "DoNotSchedule"));
        }
        6 => list.push(constraint(CAPACITY_TYPE, stream.between(1, 2), "DoNotSchedule")),
        _ => list.push(constraint(stream.one(&[ZONE, HOST]), 1, "ScheduleAnyway")),
    }
    if list[0]["topologyKey"] == ZONE && list[0]["whenUnsatisfiable"] == "DoNotSchedule" && stream.chance(20) {
        list[0]["minDomains"] = json!(stream.between(2, 3));
    }
    workload.spec.insert("topologySpreadConstraints".to_owned(), json!(list));
}

/// Asks to be near or far from pods of its own or of `other`.
pub(crate) fn pods(workload: &mut Workload, other: Option<&Workload>, stream: &mut Stream) {
    let own = |key: &str| json!({"topologyKey": key, "labelSelector": workload.selector()});
    let of_other = |key: &str| other.map(|other| json!({"topologyKey": key, "labelSelector": other.selector()}));
    let (near, far) = ("podAffinity", "podAntiAffinity");
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    let choice = stream.below(9);
    let (kind, rule, term) = match choice {
        0 | 1 => (near, required, own(ZONE)),
        2 => {
            let term = own(HOST);
            workload.replicas = workload.replicas.min(TOGETHER);
            (near, required, term)
        }
        3 => match of_other(ZONE) {
            Some(term) => (near, required, term),
            None => (near, required, own(ZONE)),
        },
        4 | 5 => (far, required, own(HOST)),
        6 => match of_other(HOST) {
            Some(term) => (far, required, term),
            None => (far, required, own(HOST)),
        },
        7 => {
            let term = own(ZONE);
            workload.replicas = workload.replicas.min(3);
            (far, required, term)
        }
        _ => {
            let key = stream.one(&[ZONE, HOST]);
            let term = json!({"weight": stream.between(1, 100), "podAffinityTerm": own(key)});
            (stream.one(&[near, far]), preferred, term)
        }
    };
    push(affinity(workload, kind, rule), term);
}

/// Takes ports of its node.
pub(crate) fn ports(workload: &mut Workload, stream: &mut Stream) {
    let port = stream.one(&[80, 443, 8080, 9100]);
    let mut own = json!({"containerPort": port, "hostPort": port});
    if stream.chance(20) {
        own["protocol"] = json!("UDP");
    }
    if stream.chance(15) {
        own["hostIP"] = json!("10.0.0.1");
    }
    workload.replicas = workload.replicas.min(30);
    workload.ports = vec![own];
}

/// Belongs into one of the `pools`: GPUs, a dedicated pool, or tolerates what it need not.
pub(crate) fn pool(workload: &mut Workload, all: &[Value], stream: &mut Stream) {
    let tolerate = |workload: &mut Workload, toleration: Value| {
        push(workload.spec.entry("tolerations").or_insert(Value::Null), toleration);
    };
    if pools::has(all, "gpu") && stream.chance(40) {
        workload.extended = vec![(GPU, stream.one(&[1, 1, 1, 2, 4, 8]))];
        workload.replicas = workload.replicas.min(12);
        tolerate(workload, json!({"key": GPU, "operator": "Exists"}));
    } else if pools::has(all, "batch") && stream.chance(50) {
        tolerate(workload, json!({"key": "dedicated", "operator": "Equal", "value": "batch", "effect": "NoSchedule"}));
        if stream.chance(40) {
            select(workload, "team", "batch");
        }
    } else if pools::has(all, "few") && stream.chance(15) {
        workload.replicas = workload.replicas.min(6);
        select(workload, "team", "few");
    }
}
