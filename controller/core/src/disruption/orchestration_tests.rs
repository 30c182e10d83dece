use super::*;
use crate::{
    api::conditions::INITIALIZED,
    disruption::{DisruptionCost, MoveTo},
    lifecycle::fixtures::{at, claim, machine, node, snapshot},
    model::{CapacityType, Price, Requirements, Resources},
    scheduling::{IndexedCatalog, Launch, PlannedNodeClaim},
};
use serde_json::{Value, json};

fn existing(name: &str, claim_change: &Value) -> StateNode {
    let mut change = json!({ "metadata": { "name": format!("claim-{name}") } });
    crate::lifecycle::fixtures::merge(&mut change, claim_change);
    let of_node = json!({ "metadata": { "name": name }, "spec": { "taints": [] } });
    machine(claim(&change), Some(node(&of_node)))
}

fn candidate(name: &str) -> Candidate {
    Candidate {
        index: 0,
        node: name.into(),
        node_claim: format!("claim-{name}").into(),
        node_pool: "default".into(),
        instance_type: Some("t4".to_owned()),
        zone: Some("zone-a".to_owned()),
        capacity_type: Some(CapacityType::OnDemand),
        price: Price::from_nanos(200_000_000),
        cost: DisruptionCost::default(),
        pods: Vec::new(),
    }
}

fn planned() -> PlannedNodeClaim {
    PlannedNodeClaim {
        node_pool: "default".into(),
        pods: Vec::new(),
        instance_types: Vec::new(),
        requirements: Requirements::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        taints: Vec::new(),
        startup_taints: Vec::new(),
        resources: Resources::new(),
        cheapest_price: Price::from_nanos(100_000_000),
        launch: Launch {
            instance_type: "t2".to_owned(),
            zone: "zone-a".to_owned(),
            capacity_type: CapacityType::OnDemand,
            price: Price::from_nanos(100_000_000),
            reservation_id: None,
        },
        min_values_relaxed: false,
        largest_capacity: Resources::new(),
    }
}

/// A cluster that does what it is told.
struct World {
    snapshot: ClusterSnapshot,
    record: CommandRecord,
    done: Vec<String>,
    events: Vec<&'static str>,
}

impl World {
    fn new(method: Method, names: &[&str], replacements: usize) -> Self {
        let candidates = names.iter().map(|name| candidate(name)).collect();
        let moves = vec![super::super::Move {
            pod: crate::model::PodKey::new("default", "p"),
            to: MoveTo::Existing("other".to_owned()),
        }];
        let command = Command::new(method, candidates, vec![planned(); replacements], moves, at(0));
        let nodes = names.iter().map(|name| existing(name, &json!({}))).collect();
        Self {
            snapshot: snapshot(nodes, at(0)),
            record: CommandRecord::new(command),
            done: Vec::new(),
            events: Vec::new(),
        }
    }

    fn step(&mut self, now: i64) -> Option<i64> {
        self.snapshot.now = at(now);
        let running = [self.record.clone()];
        let catalog = IndexedCatalog::default();
        let input = DisruptionInput { snapshot: &self.snapshot, catalog: &catalog, running: &running };
        let step = advance(&self.record, &input);
        self.record = step.record;
        self.events.extend(step.events.iter().map(|event| event.reason));
        for action in &step.actions {
            self.done.push(format!("{action:?}"));
            self.act(action);
        }
        step.look_again.map(|time| time.as_second() - at(0).as_second())
    }

    fn act(&mut self, action: &OrchestrationAction) {
        match action {
            OrchestrationAction::Taint(name) => {
                self.node(name.as_str()).spec.get_or_insert_default().taints = Some(vec![labels::disrupted_taint()])
            }
            OrchestrationAction::Untaint(name) => self.node(name.as_str()).spec.get_or_insert_default().taints = None,
            OrchestrationAction::SetDisruptionReason(name, reason) => {
                let now = self.snapshot.now;
                self.claim(name.as_str()).set_true_with(DISRUPTION_REASON, reason.as_str(), reason.as_str(), now);
            }
            OrchestrationAction::ClearDisruptionReason(name) => {
                self.claim(name.as_str()).clear_condition(DISRUPTION_REASON);
            }
            OrchestrationAction::CreateReplacement(index) => {
                let name = format!("new-{index}");
                let made = claim(&json!({ "metadata": { "name": name } }));
                self.snapshot.nodes.push(machine(made, None));
                self.record.created(*index, name.as_str().into());
            }
            OrchestrationAction::DeleteClaim(name) => {
                let now = self.snapshot.now;
                self.claim(name.as_str()).metadata.deletion_timestamp =
                    Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
            }
            OrchestrationAction::Mark(_) | OrchestrationAction::Unmark(_) | OrchestrationAction::Nominate(_) => {}
        }
    }

    fn node(&mut self, name: &str) -> &mut Node {
        let found = self.snapshot.nodes.iter_mut().find(|own| own.name() == name).unwrap();
        Arc::make_mut(found.node.as_mut().unwrap())
    }

    fn claim(&mut self, name: &str) -> &mut NodeClaim {
        let is_it = |own: &&mut StateNode| {
            own.node_claim.as_ref().is_some_and(|claim| claim.metadata.name.as_deref() == Some(name))
        };
        Arc::make_mut(self.snapshot.nodes.iter_mut().find(is_it).unwrap().node_claim.as_mut().unwrap())
    }
}

#[test]
fn a_replacement_is_usable_before_anything_is_given_back() {
    let mut world = World::new(Method::Drift, &["a"], 1);
    assert_eq!((world.record.phase.code(), world.step(0)), ("claiming", Some(1)));
    assert_eq!(world.done, ["Taint(NodeName(\"a\"))", "SetDisruptionReason(NodeClaimName(\"claim-a\"), Drifted)"]);
    world.step(1);
    assert_eq!(world.done[2..], ["CreateReplacement(0)"]);
    world.step(2);
    assert_eq!(world.done[3..], ["Mark(NodeClaimName(\"claim-a\"))", "Nominate(\"other\")"]);
    assert_eq!(
        (world.record.phase.code(), world.events.as_slice()),
        ("waiting", ["DisruptionLaunching", "DisruptionWaitingReadiness"].as_slice())
    );
    world.step(3);
    assert_eq!(world.done.len(), 5);
    world.claim("new-0").set_true(INITIALIZED, at(60));
    world.step(60);
    assert_eq!(world.done[5..], ["DeleteClaim(NodeClaimName(\"claim-a\"))"]);
    assert_eq!(world.events[4..], ["DisruptionTerminating", "DisruptionTerminating"]);
    assert_eq!((world.step(61), world.record.phase.code()), (None, "done"));
}

#[test]
fn a_replacement_that_goes_undoes_the_command() {
    let mut world = World::new(Method::Drift, &["a"], 1);
    for now in 0..3 {
        world.step(now);
    }
    world.snapshot.nodes.retain(|own| own.name() != "new-0");
    world.step(10);
    assert_eq!(world.record.phase, Phase::RolledBack(WhyRolledBack::ReplacementDeleted("new-0".into())));
    let undone = [
        "Untaint(NodeName(\"a\"))",
        "ClearDisruptionReason(NodeClaimName(\"claim-a\"))",
        "Unmark(NodeClaimName(\"claim-a\"))",
    ];
    assert_eq!(world.done[5..], undone);
}

#[test]
fn a_replacement_that_cannot_be_created_undoes_the_command() {
    let mut world = World::new(Method::Drift, &["a"], 1);
    world.step(0);
    world.record.creation_failed(0, "resource usage exceeds limit");
    world.done.clear();
    assert_eq!(world.step(2), None);
    assert_eq!(world.done.len(), 3);
    let Phase::RolledBack(why) = &world.record.phase else { unreachable!("{:?}", world.record.phase) };
    assert_eq!(why.to_string(), "replacement could not be created: number 1: resource usage exceeds limit");
}

#[test]
fn a_command_that_takes_too_long_is_undone_and_its_replacement_stays() {
    let mut world = World::new(Method::Drift, &["a"], 1);
    for now in 0..3 {
        world.step(now);
    }
    world.step(599);
    assert_eq!(world.record.phase.code(), "waiting");
    world.step(600);
    assert_eq!(world.record.phase, Phase::RolledBack(WhyRolledBack::TimedOut));
    assert!(world.snapshot.nodes.iter().any(|own| own.name() == "new-0"));
    assert!(!world.done.iter().any(|action| action.starts_with("DeleteClaim")));
}

#[test]
fn a_command_that_waits_does_nothing_until_it_is_due_and_is_then_looked_at_again() {
    let mut world = World::new(Method::Emptiness, &["a"], 0);
    assert_eq!((world.step(14), world.record.phase.code(), world.done.len()), (Some(15), "proposed", 0));
    // The pool is unknown here, so that the machine is no longer a candidate.
    assert_eq!((world.step(15), world.record.phase.code(), world.done.len()), (None, "rejected", 0));
}

#[test]
fn a_command_whose_machines_are_gone_is_over() {
    let mut world = World::new(Method::Drift, &["a"], 1);
    world.snapshot.nodes.clear();
    world.step(1);
    assert_eq!(world.record.phase, Phase::RolledBack(WhyRolledBack::NothingLeft));
}

#[test]
fn taints_that_no_command_stands_behind_are_taken_off() {
    let mut world = World::new(Method::Drift, &["a", "b"], 0);
    world.step(0);
    let orphaned = stale(&world.snapshot, &[]);
    assert_eq!(orphaned.len(), 4);
    assert_eq!(stale(&world.snapshot, std::slice::from_ref(&world.record)), []);
    orphaned.iter().for_each(|action| world.act(action));
    assert_eq!(stale(&world.snapshot, &[]), []);
}
