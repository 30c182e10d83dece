//! NodePools.

use crate::draw::Draw;
use sawhorse_ambient::{Seed, Stream};
use serde_json::{Value, json};

pub(crate) const ARCH: &str = "kubernetes.io/arch";
pub(crate) const CAPACITY_TYPE: &str = "karpenter.sh/capacity-type";
pub(crate) const CATEGORY: &str = "karpenter.k8s.aws/instance-category";
pub(crate) const CPU: &str = "karpenter.k8s.aws/instance-cpu";
pub(crate) const GENERATION: &str = "karpenter.k8s.aws/instance-generation";
pub(crate) const GPU: &str = "nvidia.com/gpu";
pub(crate) const GPU_NAME: &str = "karpenter.k8s.aws/instance-gpu-name";

pub(crate) fn requirement(key: &str, operator: &str, values: &[&str]) -> Value {
    match values {
        [] => json!({"key": key, "operator": operator}),
        _ => json!({"key": key, "operator": operator, "values": values}),
    }
}

/// A pool as users write it.
pub(crate) fn pool(name: &str, requirements: &[Value]) -> Value {
    json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodePool",
        "metadata": {"name": name},
        "spec": {"template": {"metadata": {"labels": {"team": name}}, "spec": {
            "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"},
            "requirements": requirements}}},
    })
}

fn taint(pool: &mut Value, key: &str, value: Option<&str>, effect: &str) {
    let mut taint = json!({"key": key, "effect": effect});
    if let Some(value) = value {
        taint["value"] = json!(value);
    }
    pool["spec"]["template"]["spec"]["taints"] = json!([taint]);
}

/// What a pool launches: everything, or what users usually restrict it to.
fn usual(stream: &mut Stream, narrow: bool) -> Vec<Value> {
    let mut list = Vec::new();
    if stream.chance(70) {
        list.push(requirement(CATEGORY, "In", &["c", "m", "r"]));
        list.push(requirement(GENERATION, "Gt", &[stream.one(&["2", "4", "5"])]));
    }
    if narrow && stream.chance(50) {
        list.push(requirement(ARCH, "In", &["amd64"]));
    }
    let sold: &[&[&str]] =
        if narrow { &[&["spot", "on-demand"], &["on-demand"], &["spot"]] } else { &[&["spot", "on-demand"]] };
    list.push(requirement(CAPACITY_TYPE, "In", stream.one(sold)));
    list
}

/// The only pool of a problem; `narrow` if it may leave out an architecture or a capacity type.
pub(crate) fn only(seed: Seed, family: &str, narrow: bool) -> Value {
    pool("default", &usual(&mut seed.stream(&[family, "pool", "default"]), narrow))
}

/// Several pools: taints, weights, limits, GPUs. Pods without tolerations can always fall back on `default`, which has no limit.
pub(crate) fn several(seed: Seed, family: &str) -> Vec<Value> {
    let mut stream = seed.stream(&[family, "pools"]);
    let mut list = vec![pool("default", &usual(&mut stream, false))];
    let general = requirement(CATEGORY, "In", &["c", "m", "r"]);
    if stream.chance(60) {
        let mut own = pool("cheap", &[general.clone(), requirement(CAPACITY_TYPE, "In", &["spot"])]);
        own["spec"]["weight"] = json!(stream.between(1, 100));
        if stream.chance(60) {
            own["spec"]["limits"] = json!({"cpu": stream.scale(8, 256).to_string()});
        }
        list.push(own);
    }
    if stream.chance(60) {
        let mut own = pool("batch", &[general.clone(), requirement(ARCH, "In", &["arm64"])]);
        taint(&mut own, "dedicated", Some("batch"), "NoSchedule");
        if stream.chance(50) {
            own["spec"]["limits"] = json!({"memory": format!("{}Gi", stream.scale(32, 1024))});
        }
        list.push(own);
    }
    if stream.chance(40) {
        let mut own = pool("few", &[general, requirement(CAPACITY_TYPE, "In", &["on-demand"])]);
        own["spec"]["limits"] = json!({"nodes": stream.between(1, 4).to_string()});
        list.push(own);
    }
    if stream.chance(70) {
        let mut own = pool("gpu", &[requirement(GPU_NAME, "Exists", &[])]);
        taint(&mut own, GPU, None, "NoSchedule");
        if stream.chance(60) {
            own["spec"]["limits"] = json!({GPU: stream.scale(2, 32).to_string()});
        }
        list.push(own);
    }
    if stream.chance(25) {
        taint(&mut list[0], "spread.example/last", None, "PreferNoSchedule");
    }
    list
}

/// Whether a pool of that name is there.
pub(crate) fn has(pools: &[Value], name: &str) -> bool {
    pools.iter().any(|pool| pool["metadata"]["name"] == name)
}

/// The pool with a disruption that budgets do not limit.
pub(crate) fn consolidating(mut pool: Value) -> Value {
    pool["spec"]["disruption"] = json!({
        "consolidationPolicy": "WhenEmptyOrUnderutilized", "consolidateAfter": "0s", "budgets": [{"nodes": "100%"}],
    });
    pool
}
