//! Commands as they are written onto their NodeClaims, so that whoever comes next can go on with them or undo them.

use super::{
    Candidate, Command, CommandId, Method,
    candidates::candidate,
    orchestration::{CommandRecord, Phase, WhyRolledBack},
};
use crate::{
    api::{NodeClaim, labels},
    model::{
        CapacityType, Catalog, ClusterSnapshot, NodeClaimName, NodePoolName, Price, Requirements, Resources, StateNode,
    },
    scheduling::{Launch, PlannedNodeClaim},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// What each candidate's NodeClaim is annotated with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CandidateStamp {
    id: String,
    method: String,
    found_at: Timestamp,
    candidates: Vec<String>,
    replacements: usize,
}

/// What each replacement's NodeClaim is annotated with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReplacementStamp {
    id: String,
    index: usize,
    /// What it was expected to cost per hour.
    price: Price,
}

/// The annotation of the command's candidates.
pub(super) fn of_candidates(command: &Command) -> String {
    text(&CandidateStamp {
        id: command.id.to_string(),
        method: command.method.code().to_owned(),
        found_at: command.found_at,
        candidates: command.candidates.iter().map(|own| own.node_claim.to_string()).collect(),
        replacements: command.replacements.len(),
    })
}

/// The replacement at `index`, annotated; none if there is none.
pub(super) fn stamped(command: &Command, index: usize) -> Option<PlannedNodeClaim> {
    let mut planned = command.replacements.get(index)?.clone();
    let stamp = ReplacementStamp { id: command.id.to_string(), index, price: planned.cheapest_price };
    planned.annotations.insert(labels::REPLACEMENT_OF.to_owned(), text(&stamp));
    Some(planned)
}

/// The commands that NodeClaims tell of, by id: what an earlier process was doing. One all of whose replacements are there goes
/// on; one that lacks some is undone, as what was to come is not known any more.
pub fn resume(snapshot: &ClusterSnapshot, catalog: &Catalog) -> Vec<CommandRecord> {
    let mut stamps: BTreeMap<String, CandidateStamp> = BTreeMap::new();
    let mut created: BTreeMap<String, BTreeMap<usize, (PlannedNodeClaim, NodeClaimName)>> = BTreeMap::new();
    for machine in &snapshot.nodes {
        let Some(claim) = machine.node_claim.as_deref().filter(|own| own.metadata.deletion_timestamp.is_none()) else {
            continue;
        };
        if let Some(stamp) = read::<CandidateStamp>(claim, labels::COMMAND) {
            stamps.insert(stamp.id.clone(), stamp);
        }
        if let Some(stamp) = read::<ReplacementStamp>(claim, labels::REPLACEMENT_OF) {
            let planned = planned_as(machine, claim, stamp.price);
            let name = NodeClaimName::from(claim.metadata.name.as_deref().unwrap_or_default());
            created.entry(stamp.id).or_default().insert(stamp.index, (planned, name));
        }
    }
    let record = |stamp: CandidateStamp| {
        let created = created.remove(&stamp.id).unwrap_or_default();
        record_of(&stamp, created, snapshot, catalog)
    };
    stamps.into_values().filter_map(record).collect()
}

fn record_of(
    stamp: &CandidateStamp,
    created: BTreeMap<usize, (PlannedNodeClaim, NodeClaimName)>,
    snapshot: &ClusterSnapshot,
    catalog: &Catalog,
) -> Option<CommandRecord> {
    let method = Method::ALL.into_iter().find(|own| own.code() == stamp.method)?;
    let has_it = |machine: &StateNode| {
        let claim = machine.node_claim.as_ref().filter(|own| own.metadata.deletion_timestamp.is_none());
        claim.and_then(|own| own.metadata.name.as_ref()).is_some_and(|name| stamp.candidates.contains(name))
    };
    let machines = snapshot.nodes.iter().enumerate().filter(|(_, machine)| has_it(machine));
    let candidates: Vec<Candidate> =
        machines.filter_map(|(index, machine)| candidate(index, machine, catalog)).collect();
    if candidates.is_empty() {
        return None;
    }
    let complete = created.len() == stamp.replacements;
    let names = created.iter().map(|(index, (_, name))| (*index, name.clone())).collect();
    let command = Command {
        id: CommandId::known(&stamp.id),
        method,
        candidates,
        replacements: created.into_values().map(|(planned, _)| planned).collect(),
        moves: Vec::new(),
        found_at: stamp.found_at,
    };
    let phase = if complete { Phase::Claiming } else { Phase::RolledBack(WhyRolledBack::Interrupted) };
    Some(CommandRecord { command, phase, created: names, created_at: stamp.found_at })
}

/// What was planned, as far as its NodeClaim tells.
fn planned_as(machine: &StateNode, claim: &NodeClaim, price: Price) -> PlannedNodeClaim {
    let of_claim = machine.labels();
    let label = |key: &str| of_claim.get(key).cloned().unwrap_or_default();
    PlannedNodeClaim {
        node_pool: NodePoolName::from(label(labels::NODE_POOL)),
        pods: Vec::new(),
        instance_types: Arc::default(),
        requirements: Requirements::from_specs(&claim.spec.requirements),
        labels: claim.metadata.labels.clone().unwrap_or_default(),
        annotations: claim.metadata.annotations.clone().unwrap_or_default(),
        taints: claim.spec.taints.clone(),
        startup_taints: claim.spec.startup_taints.clone(),
        resources: Resources::of_capacity(&claim.spec.resources.requests),
        cheapest_price: price,
        launch: Launch {
            instance_type: label(labels::INSTANCE_TYPE),
            zone: label(labels::ZONE),
            capacity_type: CapacityType::parse(&label(labels::CAPACITY_TYPE)).unwrap_or(CapacityType::OnDemand),
            price,
            reservation_id: of_claim.get(labels::CAPACITY_RESERVATION_ID).cloned(),
        },
        min_values_relaxed: false,
        largest_capacity: machine.capacity(),
    }
}

fn text(stamp: &impl Serialize) -> String {
    serde_json::to_string(stamp).expect("names, numbers and times can be written as JSON")
}

/// What an annotation says; one that cannot be read says nothing.
fn read<T: for<'de> Deserialize<'de>>(claim: &NodeClaim, key: &str) -> Option<T> {
    serde_json::from_str(claim.metadata.annotations.as_ref()?.get(key)?).ok()
}
