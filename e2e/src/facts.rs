//! What expectations can speak about: one value made from the cluster's objects and the cloud's ledger, and CEL over it.

use crate::{
    control_plane::ControlPlane,
    objects::{Cluster, is_deleted, is_true, label},
    report::Sample,
};
use cel::{Context, Program};
use sawhorse_fake_cloud::world::{Instance, InstanceState, Ledger, Reservation, World};
use sawhorse_kwok::apiserver::GroupResource;
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Who reports the controller's events.
pub(crate) const CONTROLLER: &str = "karpenter";
/// The names that expressions may use, with what they are.
pub const NAMES: [(&str, &str); 13] = [
    ("pods", "list of pods: name, namespace, app, phase, ready, node, deleting, reason, message"),
    ("nodes", "list of Nodes: name, ready, nodePool, capacityType, instanceType, zone, deleting"),
    ("nodeClaims", "list of NodeClaims: name, nodePool, capacityType, instanceType, zone, node, deleting, conditions"),
    ("instances", "list of machines that are not terminated: id, instanceType, zone, capacityType, state"),
    ("events", "list of events: reason, kind, name, message, source"),
    ("count", "numbers: pods, running, pending, succeeded, nodes, readyNodes, nodeClaims, instances, launched"),
    ("cost", "microDollarsPerHour, microDollars"),
    (
        "left",
        "numbers of what the cloud would have left behind: instances, volumes, networkInterfaces, launchTemplates, instanceProfiles",
    ),
    ("reservations", "list of capacity reservations: id, instanceType, zone, total, used, state, block"),
    ("buffers", "list of CapacityBuffers: name, namespace, replicas, conditions (reasons by type)"),
    ("overlays", "list of NodeOverlays: name, conditions (reasons by type)"),
    ("calls", "cloud API calls by operation; ask with `'CreateFleet' in calls`"),
    ("marks", "facts remembered by earlier steps, by name"),
];

/// The facts of one moment.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// Pods, in order of namespace and name.
    pub pods: Vec<PodFact>,
    /// Nodes, by name.
    pub nodes: Vec<NodeFact>,
    /// NodeClaims, by name.
    pub node_claims: Vec<ClaimFact>,
    /// Machines, by id.
    pub instances: Vec<InstanceFact>,
    /// Events, by name.
    pub events: Vec<EventFact>,
    /// Numbers.
    pub count: Counts,
    /// Money.
    pub cost: Cost,
    /// What the cloud would have left behind.
    pub left: Left,
    /// Capacity reservations, by id.
    pub reservations: Vec<ReservationFact>,
    /// CapacityBuffers, by namespace and name.
    pub buffers: Vec<BufferFact>,
    /// NodeOverlays, by name.
    pub overlays: Vec<OverlayFact>,
    /// Cloud API calls by operation.
    pub calls: BTreeMap<String, i64>,
}

/// A pod.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodFact {
    name: String,
    namespace: String,
    app: String,
    phase: String,
    ready: bool,
    node: String,
    deleting: bool,
    reason: String,
    message: String,
}

/// A Node.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeFact {
    name: String,
    ready: bool,
    node_pool: String,
    capacity_type: String,
    instance_type: String,
    zone: String,
    deleting: bool,
}

/// A NodeClaim.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimFact {
    name: String,
    node_pool: String,
    capacity_type: String,
    instance_type: String,
    zone: String,
    node: String,
    deleting: bool,
    conditions: BTreeMap<String, String>,
}

/// A machine.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceFact {
    id: String,
    instance_type: String,
    zone: String,
    capacity_type: String,
    state: String,
    /// Of its placement group; 0 if it is in none.
    partition: u32,
}

/// An event.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventFact {
    reason: String,
    kind: String,
    name: String,
    message: String,
    source: String,
}

/// A capacity reservation.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReservationFact {
    id: String,
    instance_type: String,
    zone: String,
    total: i64,
    used: i64,
    state: String,
    block: bool,
}

/// A CapacityBuffer.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BufferFact {
    name: String,
    namespace: String,
    replicas: i64,
    conditions: BTreeMap<String, String>,
}

/// A NodeOverlay.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OverlayFact {
    name: String,
    conditions: BTreeMap<String, String>,
}

/// How much would be left behind if the run ended now.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Left {
    instances: i64,
    volumes: i64,
    network_interfaces: i64,
    launch_templates: i64,
    instance_profiles: i64,
}

impl Left {
    fn of(world: &World) -> Self {
        let remaining = world.remaining();
        Self {
            instances: number(remaining.instances.len()),
            volumes: number(remaining.volumes.len()),
            network_interfaces: number(remaining.network_interfaces.len()),
            launch_templates: number(remaining.launch_templates.len()),
            instance_profiles: number(remaining.instance_profiles.len()),
        }
    }
}

fn reservations(world: &World) -> Vec<ReservationFact> {
    let fact = |one: &Reservation| ReservationFact {
        id: one.id.clone(),
        instance_type: one.machine_type.to_owned(),
        zone: one.zone.name.to_owned(),
        total: one.total.into(),
        used: one.used.into(),
        state: one.state.as_str().to_owned(),
        block: one.block,
    };
    world.reservations().map(fact).collect()
}

/// Numbers.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Pods that exist.
    pub pods: i64,
    /// Of these, in phase Running and not being deleted.
    pub running: i64,
    /// Of these, in phase Pending and not being deleted.
    pub pending: i64,
    /// Of these, in phase Succeeded.
    pub succeeded: i64,
    /// Nodes that exist.
    pub nodes: i64,
    /// Of these, Ready.
    pub ready_nodes: i64,
    /// NodeClaims that exist.
    pub node_claims: i64,
    /// Machines that are not terminated.
    pub instances: i64,
    /// Machines launched, ever.
    pub launched: i64,
}

/// Money, in millionths of a dollar.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// Being paid per hour now.
    pub micro_dollars_per_hour: i64,
    /// Paid so far.
    pub micro_dollars: i64,
}

impl Facts {
    /// The facts of this moment. Of pods and events, which are many, only those that are `wanted`; they are counted in any case.
    pub fn gather(objects: &ControlPlane, world: &mut World, wanted: Wanted) -> Self {
        let pods: Vec<PodFact> = if wanted.pods { list(objects, "", "pods", pod) } else { Vec::new() };
        let nodes: Vec<NodeFact> = list(objects, "", "nodes", node);
        let node_claims: Vec<ClaimFact> = list(objects, "karpenter.sh", "nodeclaims", claim);
        let instances: Vec<InstanceFact> = instances(world);
        let ledger = world.ledger();
        let (all_pods, phase) = count_pods(objects);
        let count = Counts {
            pods: all_pods,
            running: phase("Running"),
            pending: phase("Pending"),
            succeeded: phase("Succeeded"),
            nodes: number(nodes.len()),
            ready_nodes: number(nodes.iter().filter(|node| node.ready).count()),
            node_claims: number(node_claims.len()),
            instances: number(instances.len()),
            launched: i64::try_from(ledger.launched).unwrap_or(i64::MAX),
        };
        let cost =
            Cost { micro_dollars_per_hour: micro_dollars_per_hour(&ledger), micro_dollars: micro_dollars(&ledger) };
        let calls =
            ledger.calls.iter().map(|(name, count)| (name.clone(), i64::try_from(count.calls).unwrap_or(i64::MAX)));
        let calls = calls.collect();
        let events = if wanted.events { list(objects, "", "events", event) } else { Vec::new() };
        let (left, reservations) = (Left::of(world), reservations(world));
        let buffers = list(objects, "autoscaling.x-k8s.io", "capacitybuffers", buffer);
        let overlays = list(objects, "karpenter.sh", "nodeoverlays", overlay);
        Self { pods, nodes, node_claims, instances, events, count, cost, left, reservations, buffers, overlays, calls }
    }

    /// What the controller's events say of pods that have no place, with how often, the most frequent first.
    pub(crate) fn why_pods_wait(&self) -> Vec<(&str, usize)> {
        let waiting =
            self.events.iter().filter(|event| event.reason == "FailedScheduling" && event.source == CONTROLLER);
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        waiting.for_each(|event| *times.entry(&event.message).or_default() += 1);
        let mut said: Vec<_> = times.into_iter().collect();
        said.sort_by_key(|(_, times)| Reverse(*times));
        said
    }
}

/// Which of the long lists are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// Pods one by one.
    pub pods: bool,
    /// Events.
    pub events: bool,
}

/// What there is at this moment, for the report's plots: numbers only, so that it can be asked often.
pub(crate) fn sample(cluster: &Cluster, world: &World, ledger: &Ledger, elapsed: Duration) -> Sample {
    let phase = |phase: &str| number(cluster.pods.iter().filter(|pod| !pod.is_deleted && pod.phase == phase).count());
    Sample {
        elapsed,
        pending: phase("Pending"),
        running: phase("Running"),
        nodes: number(cluster.nodes.len()),
        instances: number(alive(world).count()),
        micro_dollars_per_hour: micro_dollars_per_hour(ledger),
    }
}

/// How many pods there are, and how many that are not being deleted are in a phase.
fn count_pods(objects: &ControlPlane) -> (i64, impl Fn(&str) -> i64) {
    let pods = objects.list(&GroupResource::new("", "pods"));
    let mut by_phase: BTreeMap<String, i64> = BTreeMap::new();
    for object in pods.iter().filter(|object| !object.is_terminating()) {
        let phase = object.value()["status"]["phase"].as_str().unwrap_or_default();
        *by_phase.entry(phase.to_owned()).or_default() += 1;
    }
    (number(pods.len()), move |phase| by_phase.get(phase).copied().unwrap_or(0))
}

/// Machines that are not terminated.
fn alive(world: &World) -> impl Iterator<Item = &Instance> {
    world.instances().filter(|instance| instance.state != InstanceState::Terminated)
}

fn micro_dollars_per_hour(ledger: &Ledger) -> i64 {
    i64::try_from(ledger.nano_dollars_per_hour / 1000).unwrap_or(i64::MAX)
}

/// What a ledger's total is in millionths of a dollar.
pub fn micro_dollars(ledger: &Ledger) -> i64 {
    i64::try_from(ledger.total.nano_dollars() / 1000).unwrap_or(i64::MAX)
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn list<T>(objects: &ControlPlane, group: &str, resource: &str, read: impl Fn(&Value) -> T) -> Vec<T> {
    objects.list(&GroupResource::new(group, resource)).iter().map(|object| read(object.value())).collect()
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn condition<'a>(value: &'a Value, kind: &str) -> &'a Value {
    let conditions = value["status"]["conditions"].as_array();
    conditions.into_iter().flatten().find(|condition| condition["type"] == kind).unwrap_or(&Value::Null)
}

fn pod(value: &Value) -> PodFact {
    let scheduled = condition(value, "PodScheduled");
    PodFact {
        name: text(value, "/metadata/name"),
        namespace: text(value, "/metadata/namespace"),
        app: label(value, "app"),
        phase: text(value, "/status/phase"),
        ready: is_true(value, "Ready"),
        node: text(value, "/spec/nodeName"),
        deleting: is_deleted(value),
        reason: text(scheduled, "/reason"),
        message: text(scheduled, "/message"),
    }
}

fn node(value: &Value) -> NodeFact {
    NodeFact {
        name: text(value, "/metadata/name"),
        ready: is_true(value, "Ready"),
        node_pool: label(value, "karpenter.sh/nodepool"),
        capacity_type: label(value, "karpenter.sh/capacity-type"),
        instance_type: label(value, "node.kubernetes.io/instance-type"),
        zone: label(value, "topology.kubernetes.io/zone"),
        deleting: is_deleted(value),
    }
}

fn claim(value: &Value) -> ClaimFact {
    let conditions = value["status"]["conditions"].as_array();
    let conditions = conditions.into_iter().flatten().map(|found| (text(found, "/type"), text(found, "/status")));
    ClaimFact {
        name: text(value, "/metadata/name"),
        node_pool: label(value, "karpenter.sh/nodepool"),
        capacity_type: label(value, "karpenter.sh/capacity-type"),
        instance_type: label(value, "node.kubernetes.io/instance-type"),
        zone: label(value, "topology.kubernetes.io/zone"),
        node: text(value, "/status/nodeName"),
        deleting: is_deleted(value),
        conditions: conditions.collect(),
    }
}

fn overlay(value: &Value) -> OverlayFact {
    OverlayFact { name: text(value, "/metadata/name"), conditions: reasons(value) }
}

/// The reasons of an object's conditions, by type.
fn reasons(value: &Value) -> BTreeMap<String, String> {
    let conditions = value["status"]["conditions"].as_array();
    conditions.into_iter().flatten().map(|found| (text(found, "/type"), text(found, "/reason"))).collect()
}

fn buffer(value: &Value) -> BufferFact {
    BufferFact {
        name: text(value, "/metadata/name"),
        namespace: text(value, "/metadata/namespace"),
        replicas: value["status"]["replicas"].as_i64().unwrap_or(0),
        conditions: reasons(value),
    }
}

fn event(value: &Value) -> EventFact {
    EventFact {
        reason: text(value, "/reason"),
        kind: text(value, "/involvedObject/kind"),
        name: text(value, "/involvedObject/name"),
        message: text(value, "/message"),
        source: text(value, "/source/component"),
    }
}

fn instances(world: &World) -> Vec<InstanceFact> {
    let fact = |instance: &Instance| InstanceFact {
        id: instance.id.clone(),
        instance_type: instance.machine_type.to_owned(),
        zone: instance.zone.name.to_owned(),
        capacity_type: instance.market.as_str().to_owned(),
        state: instance.state.as_str().to_owned(),
        partition: instance.placed.as_ref().and_then(|placed| placed.partition).unwrap_or(0),
    };
    alive(world).map(fact).collect()
}

/// Whether `expression` can be evaluated at all.
///
/// # Errors
/// A sentence that names it and what would be right.
pub fn check(expression: &str) -> Result<(), String> {
    let program = compile(expression)?;
    let references = program.references();
    for name in references.variables() {
        let is_fact = NAMES.iter().any(|(known, _)| *known == name);
        // Variables that macros such as `pods.filter(p, …)` bind are short names of their own.
        if !is_fact && !binds(expression, name) {
            let known: Vec<&str> = NAMES.iter().map(|(known, _)| *known).collect();
            return Err(format!("`{name}` is not a fact in `{expression}`: there are {}", known.join(", ")));
        }
    }
    Ok(())
}

fn binds(expression: &str, name: &str) -> bool {
    ["filter", "exists", "all", "map", "exists_one"]
        .iter()
        .any(|macro_| expression.contains(&format!(".{macro_}({name},")))
}

fn compile(expression: &str) -> Result<Program, String> {
    Program::compile(expression).map_err(|error| format!("`{expression}` is not a CEL expression: {error}"))
}

/// Expressions that must all be true, ready to be evaluated many times.
pub struct Expectations {
    programs: Vec<(String, Program)>,
    /// The facts that they speak about.
    named: BTreeSet<&'static str>,
}

impl Expectations {
    /// Reads `expressions`.
    ///
    /// # Errors
    /// The first that is not CEL, and why.
    pub fn compile(expressions: &[String]) -> Result<Self, String> {
        let compiled = expressions.iter().map(|text| Ok((text.clone(), compile(text)?)));
        let programs: Vec<(String, Program)> = compiled.collect::<Result<_, String>>()?;
        let is_named = |name: &str| programs.iter().any(|(_, program)| program.references().has_variable(name));
        let named = NAMES.iter().map(|(name, _)| *name).filter(|name| is_named(name)).collect();
        Ok(Self { programs, named })
    }

    /// The long lists that they speak about.
    pub fn wanted(&self) -> Wanted {
        Wanted { pods: self.named.contains("pods"), events: self.named.contains("events") }
    }

    /// Evaluates them over facts and marks.
    ///
    /// # Errors
    /// The first that is not true, and what it gave instead.
    pub fn all_true(&self, facts: &Facts, marks: &BTreeMap<String, Facts>) -> Result<(), String> {
        let mut context = Context::default();
        for name in &self.named {
            context.add_variable_from_value(*name, signed(&fact(name, facts, marks)));
        }
        for (expression, program) in &self.programs {
            match program.execute(&context) {
                Ok(cel::Value::Bool(true)) => {}
                Ok(cel::Value::Bool(false)) => return Err(format!("`{expression}` is false")),
                Ok(other) => return Err(format!("`{expression}` gives {other:?}, not true or false")),
                Err(error) => return Err(format!("`{expression}` cannot be evaluated: {error}")),
            }
        }
        Ok(())
    }
}

/// One of [`NAMES`] as JSON.
fn fact(name: &str, facts: &Facts, marks: &BTreeMap<String, Facts>) -> Value {
    match name {
        "pods" => json!(facts.pods),
        "nodes" => json!(facts.nodes),
        "nodeClaims" => json!(facts.node_claims),
        "instances" => json!(facts.instances),
        "events" => json!(facts.events),
        "count" => json!(facts.count),
        "cost" => json!(facts.cost),
        "left" => json!(facts.left),
        "reservations" => json!(facts.reservations),
        "buffers" => json!(facts.buffers),
        "overlays" => json!(facts.overlays),
        "calls" => json!(facts.calls),
        "marks" => {
            let mark = |facts: &Facts| json!({"count": facts.count, "cost": facts.cost, "calls": facts.calls});
            marks.iter().map(|(name, facts)| (name.clone(), mark(facts))).collect()
        }
        _ => Value::Null,
    }
}

/// JSON as CEL values with whole numbers as `int`, so that they compare with literals.
fn signed(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(flag) => cel::Value::Bool(*flag),
        Value::Number(number) => {
            number.as_i64().map_or_else(|| cel::Value::Float(number.as_f64().unwrap_or(f64::NAN)), cel::Value::Int)
        }
        Value::String(text) => cel::Value::String(std::sync::Arc::new(text.clone())),
        Value::Array(items) => cel::Value::List(std::sync::Arc::new(items.iter().map(signed).collect())),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), signed(value)));
            cel::Value::from(fields.collect::<BTreeMap<String, cel::Value>>().into_iter().collect::<CelMap>())
        }
    }
}

#[expect(
    clippy::disallowed_types,
    reason = "the CEL crate's maps are hash maps; they are looked up, and iterated only by size"
)]
type CelMap = std::collections::HashMap<String, cel::Value>;

#[cfg(test)]
mod tests {
    use super::{Expectations, Facts};
    use std::collections::BTreeMap;

    #[test]
    fn expressions_see_counts_and_marks() {
        let mut facts = Facts::default();
        facts.count.running = 3;
        let marks = BTreeMap::from([("before".to_owned(), Facts::default())]);
        let check = |expression: &str| Expectations::compile(&[expression.to_owned()])?.all_true(&facts, &marks);
        check("count.running == 3 && count.running > marks.before.count.running").unwrap();
        check("pods.filter(p, p.phase == 'Running').size() == 0").unwrap();
        assert_eq!(check("count.running < 3").unwrap_err(), "`count.running < 3` is false");
        assert!(check("count.walking == 1").unwrap_err().contains("cannot be evaluated"));
    }
}
