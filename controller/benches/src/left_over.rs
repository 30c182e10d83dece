//! What is left of a problem that was solved: half of its pods have gone, and some of the machines were bought too big.

use crate::{
    Problem, catalog,
    draw::Draw,
    nodes::{self, Place},
    pools,
};
use sawhorse_ambient::Seed;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Of a hundred pods so many have gone.
const GONE: u64 = 50;
/// Of a hundred machines so many are too big.
const TOO_BIG: u64 = 30;
/// At least so many times the CPU of the right one.
const BIGGER: u64 = 2;

/// A machine that a solver wanted.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Of which pool.
    pub pool: String,
    /// The types that would do; the first is the right one.
    pub types: Vec<String>,
    /// Where.
    pub zone: String,
    /// How it is paid for.
    pub capacity_type: String,
    /// The pool's labels.
    pub labels: BTreeMap<String, String>,
    /// The names of its pods.
    pub pods: Vec<String>,
}

/// The cluster in which `problem` was solved by `machines` and by pods on nodes that were there, `placed` by node.
pub fn left_over(problem: &Problem, machines: &[Machine], placed: &BTreeMap<String, Vec<String>>) -> Problem {
    let name = format!("left-of-{}", problem.name);
    let pods: BTreeMap<&str, &Value> = list(&problem.input["pods"]).map(|pod| (name_of(pod), pod)).collect();
    let stays = |pod: &&Value| !Seed(0).stream(&[&name, "pod", name_of(pod)]).chance(GONE);
    let of_names = |names: &[String]| -> Vec<Value> {
        names.iter().filter_map(|own| pods.get(own.as_str()).copied()).filter(stays).cloned().collect()
    };
    let mut nodes: Vec<Value> = Vec::new();
    for own in list(&problem.input["nodes"]) {
        let mut own = own.clone();
        let node = own["node"]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let mut left: Vec<Value> = list(&own["pods"]).filter(stays).cloned().collect();
        left.extend(of_names(placed.get(&node).map_or(&[], Vec::as_slice)));
        own["pods"] = json!(left);
        nodes.push(own);
    }
    for (index, machine) in machines.iter().enumerate() {
        let node = format!("machine-{index:04}");
        let kind = bought(machine, &format!("{name}/{node}"));
        let place = Place { zone: &machine.zone, capacity_type: &machine.capacity_type, pool: &machine.pool };
        let labels = machine.labels.iter().map(|(key, value)| (key.clone(), json!(value)));
        let mut object = nodes::launched(&node, kind, place, labels);
        if let Some(pool) = list(&problem.input["nodePools"]).find(|pool| name_of(pool) == machine.pool) {
            object["spec"]["taints"] = pool["spec"]["template"]["spec"]["taints"].clone();
        }
        nodes.push(json!({"node": object, "pods": of_names(&machine.pods)}));
    }
    let mut input = problem.input.clone();
    input["nodePools"] = list(&problem.input["nodePools"]).cloned().map(pools::consolidating).collect();
    input["nodes"] = json!(nodes);
    input["pods"] = json!([]);
    // Else spot machines would be kept for that alone, by us and by the reference.
    input["options"] = json!({"spotToSpotConsolidation": true});
    Problem { name, input }
}

/// The type that was bought: the right one, or one that is too big.
fn bought<'a>(machine: &Machine, what: &str) -> &'a Value {
    let find = |name: &String| catalog::ec2().iter().find(|kind| catalog::name(kind) == name);
    let kinds: Vec<&Value> = machine.types.iter().filter_map(find).collect();
    let right = kinds[0];
    let offered = |kind: &&&Value| {
        list(&kind["offerings"])
            .any(|own| own["zone"] == machine.zone.as_str() && own["capacityType"] == machine.capacity_type.as_str())
    };
    let bigger = |kind: &&&Value| catalog::allocatable(kind).0 >= BIGGER * catalog::allocatable(right).0;
    let too_big: Vec<&Value> = kinds.iter().filter(bigger).filter(offered).copied().collect();
    let mut stream = Seed(0).stream(&[what]);
    if stream.chance(TOO_BIG) && !too_big.is_empty() { stream.one(&too_big) } else { right }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}
