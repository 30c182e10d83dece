//! The decision as JSON.

use crate::{
    api::NodeSelectorRequirementWithMinValues,
    disruption::{Command, DisruptionDecision, MoveTo},
    model::{CapacityType, PodKey, Price},
    scheduling::{Launch, PlannedNodeClaim, Results},
};
use k8s_openapi::{
    api::core::v1::{Pod, Taint},
    apimachinery::pkg::api::resource::Quantity,
};
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc};

/// What is decided.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    new_node_claims: Vec<ClaimAnswer>,
    existing_nodes: Vec<NodeAnswer>,
    errors: BTreeMap<String, ErrorAnswer>,
    total_price: Price,
    lower_bound: Price,
    solve_millis: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    commands: Option<Vec<CommandAnswer>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClaimAnswer {
    node_pool: String,
    pods: Vec<String>,
    instance_types: Vec<String>,
    requirements: Vec<NodeSelectorRequirementWithMinValues>,
    labels: BTreeMap<String, String>,
    taints: Vec<Taint>,
    resources: BTreeMap<String, Quantity>,
    cheapest_price: Price,
    launch: LaunchAnswer,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LaunchAnswer {
    instance_type: String,
    zone: String,
    capacity_type: CapacityType,
    price: Price,
    #[serde(rename = "reservationID", skip_serializing_if = "Option::is_none")]
    reservation_id: Option<String>,
}

#[derive(Debug, Serialize)]
struct NodeAnswer {
    name: String,
    pods: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ErrorAnswer {
    code: &'static str,
    message: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CommandAnswer {
    method: &'static str,
    decision: String,
    delete: Vec<String>,
    delete_price: Price,
    replacements: Vec<ClaimAnswer>,
    moves: Vec<MoveAnswer>,
    savings: Price,
    candidates: usize,
    millis: u64,
}

/// A pod and where it goes: a node's name, or `replacement-0` for the first of the command's replacements.
#[derive(Debug, Serialize)]
struct MoveAnswer {
    pod: String,
    to: String,
}

impl Answer {
    pub(super) fn of(results: &Results, lower_bound: Price, solve_millis: u64) -> Self {
        let node = |placement: &crate::scheduling::Placement| NodeAnswer {
            name: placement.node.clone(),
            pods: names(&placement.pods),
        };
        let error = |pod: &crate::scheduling::Unschedulable| {
            (pod_name(&pod.key), ErrorAnswer { code: pod.why.code(), message: pod.why.to_string() })
        };
        Self {
            new_node_claims: results.planned.iter().map(ClaimAnswer::of).collect(),
            existing_nodes: results.placements.iter().map(node).collect(),
            errors: results.unschedulable.iter().map(error).collect(),
            total_price: results.total_price(),
            lower_bound,
            solve_millis,
            commands: None,
        }
    }

    /// Adds what should be disrupted; `millis` is how long that took to decide.
    pub(super) fn add_commands(&mut self, decision: &DisruptionDecision, millis: u64) {
        let looked_at =
            decision.commands.iter().map(|command| command.candidates.len()).sum::<usize>() + decision.kept.len();
        self.commands =
            Some(decision.commands.iter().map(|command| CommandAnswer::of(command, looked_at, millis)).collect());
    }
}

impl CommandAnswer {
    fn of(command: &Command, candidates: usize, millis: u64) -> Self {
        let to = |to: &MoveTo| match to {
            MoveTo::Existing(node) => node.clone(),
            MoveTo::Replacement(index) => format!("replacement-{index}"),
        };
        Self {
            method: command.method.code(),
            decision: command.decision().to_string(),
            delete: command.candidates.iter().map(|candidate| candidate.node.to_string()).collect(),
            delete_price: command.price(),
            replacements: command.replacements.iter().map(ClaimAnswer::of).collect(),
            moves: command.moves.iter().map(|own| MoveAnswer { pod: pod_name(&own.pod), to: to(&own.to) }).collect(),
            savings: command.savings(),
            candidates,
            millis,
        }
    }
}

impl ClaimAnswer {
    fn of(planned: &PlannedNodeClaim) -> Self {
        Self {
            node_pool: planned.node_pool.to_string(),
            pods: names(&planned.pods),
            instance_types: planned.instance_types.iter().map(|kind| kind.name.clone()).collect(),
            requirements: planned.requirements.to_specs(),
            labels: planned.labels.clone(),
            taints: planned.taints.clone(),
            resources: planned.resources.to_quantities(),
            cheapest_price: planned.cheapest_price,
            launch: LaunchAnswer::of(&planned.launch),
        }
    }
}

impl LaunchAnswer {
    fn of(launch: &Launch) -> Self {
        Self {
            instance_type: launch.instance_type.clone(),
            zone: launch.zone.clone(),
            capacity_type: launch.capacity_type,
            price: launch.price,
            reservation_id: launch.reservation_id.clone(),
        }
    }
}

fn names(pods: &[Arc<Pod>]) -> Vec<String> {
    pods.iter().map(|pod| pod_name(&PodKey::of(pod))).collect()
}

/// The name, with the namespace in front unless that is `default`.
fn pod_name(key: &PodKey) -> String {
    if &*key.namespace == "default" { key.name.to_string() } else { key.to_string() }
}
