//! NodePool `karpenter.sh/v1` (spec core 1.2–1.4).
#![expect(clippy::duplicated_attributes, reason = "each column of the table repeats the names of its properties")]

use super::{
    Budget, GoDuration, NillableDuration, NodeClassReference, NodeSelectorRequirementWithMinValues, ResourceList,
};
use k8s_openapi::{api::core::v1::Taint, apimachinery::pkg::apis::meta::v1::Condition};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// What machines of this pool are like, how many there may be, and when they may be taken away.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "karpenter.sh",
    version = "v1",
    kind = "NodePool",
    plural = "nodepools",
    category = "karpenter",
    status = "NodePoolStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "NodePool says which machines may be bought for pending pods, how many, and when they may be taken away.",
    scale(spec_replicas_path = ".spec.replicas", status_replicas_path = ".status.nodes"),
    printcolumn(name = "NodeClass", type_ = "string", json_path = ".spec.template.spec.nodeClassRef.name"),
    printcolumn(name = "Nodes", type_ = "string", json_path = ".status.resources.nodes"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Weight", type_ = "integer", json_path = ".spec.weight", priority = 1),
    printcolumn(name = "CPU", type_ = "string", json_path = ".status.resources.cpu", priority = 1),
    printcolumn(name = "Memory", type_ = "string", json_path = ".status.resources.memory", priority = 1)
)]
#[serde(rename_all = "camelCase", default)]
pub struct NodePoolSpec {
    /// What each NodeClaim of the pool is made from.
    pub template: NodeClaimTemplate,
    /// When machines of the pool may be taken away.
    pub disruption: Disruption,
    /// How much the pool may hold at most, by resource; `nodes` counts machines.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: ResourceList,
    /// Pools of higher weight are tried first. Unset means 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<i32>,
    /// A fixed number of machines. Unset means as many as pods need.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i64>,
}

impl NodePoolSpec {
    /// Whether the pool has a fixed number of machines rather than as many as pods need.
    pub fn is_static(&self) -> bool {
        self.replicas.is_some()
    }
}

/// What each NodeClaim of a pool is made from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeClaimTemplate {
    /// Labels and annotations for NodeClaims and Nodes.
    pub metadata: TemplateMetadata,
    /// The NodeClaims' spec.
    pub spec: NodeClaimTemplateSpec,
}

/// Labels and annotations for NodeClaims and Nodes; other metadata does not exist here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TemplateMetadata {
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The spec of NodeClaims to be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeClaimTemplateSpec {
    /// Taints that the nodes keep.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
    /// Taints that the nodes start with and that something else removes before they are used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub startup_taints: Vec<Taint>,
    /// What must hold of the machines' labels.
    pub requirements: Vec<NodeSelectorRequirementWithMinValues>,
    /// The cloud's configuration of the machines.
    pub node_class_ref: NodeClassReference,
    /// How long a machine may take to drain before its pods are deleted by force. Unset means as long as it needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub termination_grace_period: Option<GoDuration>,
    /// How old a machine may become.
    pub expire_after: NillableDuration,
}

impl Default for NodeClaimTemplateSpec {
    fn default() -> Self {
        Self {
            taints: Vec::new(),
            startup_taints: Vec::new(),
            requirements: Vec::new(),
            node_class_ref: NodeClassReference::default(),
            termination_grace_period: None,
            expire_after: super::default_expire_after(),
        }
    }
}

/// When machines of a pool may be taken away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Disruption {
    /// How long a machine must have been left alone by pods before it may be consolidated.
    pub consolidate_after: NillableDuration,
    /// Which machines may be consolidated.
    pub consolidation_policy: ConsolidationPolicy,
    /// How many machines may be disrupted at once; the tightest applies. Explicitly empty means no limit.
    pub budgets: Vec<Budget>,
}

impl Default for Disruption {
    fn default() -> Self {
        Self {
            consolidate_after: NillableDuration::from_secs(0),
            consolidation_policy: ConsolidationPolicy::default(),
            budgets: vec![Budget::default()],
        }
    }
}

/// Which machines may be consolidated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConsolidationPolicy {
    /// Only those without pods that would have to move.
    WhenEmpty,
    /// Also those whose pods fit elsewhere, or on a cheaper machine.
    #[default]
    WhenEmptyOrUnderutilized,
    /// As before, if the savings are worth the disruption.
    Balanced,
}

/// Why a machine is disrupted voluntarily.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum DisruptionReason {
    /// Its pods fit elsewhere, or on a cheaper machine.
    Underutilized,
    /// It has no pods that would have to move.
    Empty,
    /// It is no longer what its pool or class asks for.
    Drifted,
    /// It has reached its age. Budgets cannot name it: those for all reasons limit it.
    #[serde(skip)]
    Expired,
    /// Its Node says that it is broken. Budgets cannot name it: those for all reasons limit it.
    #[serde(skip)]
    Unhealthy,
    /// Its pool is to have fewer machines: no budget limits that.
    #[serde(skip)]
    ScaledDown,
}

impl DisruptionReason {
    /// Every reason that budgets limit.
    pub const BUDGETED: [Self; 5] = [Self::Underutilized, Self::Empty, Self::Drifted, Self::Expired, Self::Unhealthy];

    /// As written in budgets, conditions and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Underutilized => "Underutilized",
            Self::Empty => "Empty",
            Self::Drifted => "Drifted",
            Self::Expired => "Expired",
            Self::Unhealthy => "Unhealthy",
            Self::ScaledDown => "ScaledDown",
        }
    }
}

impl fmt::Display for DisruptionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known of a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodePoolStatus {
    /// What the pool's machines have in total.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: ResourceList,
    /// How many machines the pool has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<i64>,
    /// The generation of the NodeClass when the registration health was last reset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_class_observed_generation: Option<i64>,
    /// Conditions by type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
