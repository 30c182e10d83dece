use super::*;
use crate::{
    api::conditions::INITIALIZED,
    disruption::{DisruptionCost, MoveTo, resume},
    lifecycle::fixtures::{at, claim, machine, node, snapshot},
    model::{CapacityType, Price, Requirements, Resources},
    scheduling::{IndexedCatalog, Launch, PlannedNodeClaim},
};
use serde_json::{Value, json};

fn existing(name: &str, claim_change: &Value) -> StateNode {
    let labels = json!({ labels::NODE_POOL: "default", labels::REGISTERED: "true" });
    let mut change = json!({ "metadata": { "name": format!("claim-{name}"), "labels": labels } });
    crate::lifecycle::fixtures::merge(&mut change, claim_change);
    let of_node = json!({ "metadata": { "name": name, "labels": labels }, "spec": { "taints": [] } });
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
        instance_types: Arc::default(),
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
            self.done.push(match action {
                OrchestrationAction::WriteRecord(name, _) => format!("WriteRecord({name})"),
                other => format!("{other:?}"),
            });
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
                self.annotate(name, labels::COMMAND, None);
            }
            OrchestrationAction::WriteRecord(name, text) => self.annotate(name, labels::COMMAND, Some(text)),
            OrchestrationAction::Abandon(name) => self.annotate(name, labels::ABANDONED, Some("2026-01-01T00:00:00Z")),
            OrchestrationAction::CreateReplacement(index) => {
                let name = format!("new-{index}");
                let planned = self.record.replacement(*index).unwrap();
                let made = claim(&json!({ "metadata": { "name": name, "annotations": planned.annotations } }));
                self.snapshot.nodes.push(machine(made, None));
                self.record.created(*index, name.as_str().into());
            }
            OrchestrationAction::DeleteClaim(name) | OrchestrationAction::GiveUpReplacement(name) => {
                let now = self.snapshot.now;
                self.claim(name.as_str()).metadata.deletion_timestamp =
                    Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
            }
            OrchestrationAction::Mark(_)
            | OrchestrationAction::Unmark(_)
            | OrchestrationAction::Nominate(_)
            | OrchestrationAction::Hurry(_) => {}
        }
    }

    fn annotate(&mut self, name: &NodeClaimName, key: &str, text: Option<&str>) {
        let annotations = self.claim(name.as_str()).metadata.annotations.get_or_insert_default();
        match text {
            Some(text) => drop(annotations.insert(key.to_owned(), text.to_owned())),
            None => drop(annotations.remove(key)),
        }
    }

    /// The commands that whoever comes next finds.
    fn resumed(&self) -> Vec<CommandRecord> {
        resume(&self.snapshot, &crate::model::Catalog::default())
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
    assert_eq!(
        world.done,
        ["WriteRecord(claim-a)", "Taint(NodeName(\"a\"))", "SetDisruptionReason(NodeClaimName(\"claim-a\"), Drifted)"]
    );
    world.step(1);
    assert_eq!(world.done[3..], ["CreateReplacement(0)"]);
    world.step(2);
    assert_eq!(world.done[4..], ["Mark(NodeClaimName(\"claim-a\"))", "Nominate(\"other\")"]);
    assert_eq!(
        (world.record.phase.code(), world.events.as_slice()),
        ("waiting", ["DisruptionLaunching", "DisruptionWaitingReadiness"].as_slice())
    );
    world.step(3);
    assert_eq!(world.done.len(), 6);
    world.claim("new-0").set_true(INITIALIZED, at(60));
    world.step(60);
    assert_eq!(world.done[6..], ["DeleteClaim(NodeClaimName(\"claim-a\"))"]);
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
    assert_eq!(world.done[6..], undone);
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
fn a_command_that_takes_too_long_is_undone_and_its_useless_replacement_is_given_up() {
    let mut world = World::new(Method::Drift, &["a"], 1);
    for now in 0..3 {
        world.step(now);
    }
    world.step(599);
    assert_eq!(world.record.phase.code(), "waiting");
    world.step(600);
    assert_eq!(world.record.phase, Phase::RolledBack(WhyRolledBack::TimedOut));
    assert!(world.done.contains(&"GiveUpReplacement(NodeClaimName(\"new-0\"))".to_owned()));
    assert!(!world.done.iter().any(|action| action.starts_with("DeleteClaim")));
}

#[test]
fn of_two_replacements_the_one_that_is_there_is_abandoned_when_the_other_goes() {
    let mut world = World::new(Method::Drift, &["a"], 2);
    for now in 0..3 {
        world.step(now);
    }
    world.claim("new-0").set_true(INITIALIZED, at(9));
    world.snapshot.nodes.retain(|own| own.name() != "new-1");
    world.step(10);
    assert_eq!(world.record.phase, Phase::RolledBack(WhyRolledBack::ReplacementDeleted("new-1".into())));
    assert!(world.done.contains(&"Abandon(NodeClaimName(\"new-0\"))".to_owned()), "{:?}", world.done);
}

#[test]
fn what_is_broken_is_given_no_time_to_go() {
    let mut world = World::new(Method::Repair, &["a"], 0);
    for now in 0..3 {
        world.step(now);
    }
    let last = &world.done[world.done.len() - 2..];
    assert_eq!(last, ["Hurry(NodeClaimName(\"claim-a\"))", "DeleteClaim(NodeClaimName(\"claim-a\"))"]);
}

#[test]
fn whoever_comes_next_goes_on_with_a_command_whose_replacements_are_there() {
    let mut world = World::new(Method::Drift, &["a"], 1);
    for now in 0..3 {
        world.step(now);
    }
    let resumed = world.resumed();
    let [record] = resumed.as_slice() else { panic!("{resumed:?}") };
    let (own, before) = (&record.command, &world.record.command);
    assert_eq!((&own.id, own.method, own.replacement_price()), (&before.id, before.method, before.replacement_price()));
    assert_eq!((&record.created, record.phase.code()), (&world.record.created, "claiming"));
    world.record = record.clone();
    world.step(4);
    assert_eq!(world.record.phase.code(), "waiting");
    world.claim("new-0").set_true(INITIALIZED, at(60));
    world.step(60);
    assert_eq!((world.step(61), world.record.phase.code()), (None, "done"));
    assert!(world.resumed().is_empty());
}

#[test]
fn whoever_comes_next_undoes_a_command_that_lacks_a_replacement() {
    let mut world = World::new(Method::Drift, &["a"], 1);
    world.step(0);
    let resumed = world.resumed();
    assert_eq!(resumed.iter().map(|own| own.phase.code()).collect::<Vec<_>>(), ["rolled-back"]);
    world.record = resumed[0].clone();
    world.step(5);
    assert!(world.resumed().is_empty());
    assert_eq!(stale(&world.snapshot, &[]), []);
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
