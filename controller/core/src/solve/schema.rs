//! What the input may say.

use super::{SolveError, strict};
use crate::{
    api::{
        NodeClaim, NodeClaimSpec, NodeClaimStatus, NodeOverlay, NodeOverlaySpec, NodeOverlayStatus, NodePool,
        NodePoolSpec, NodePoolStatus, NodeSelectorRequirementWithMinValues, Problem,
    },
    model::{CapacityType, InvalidResource, MinValuesPolicy, Overlays, PodKey, PreferencePolicy, Price, Resources},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::DaemonSet,
        core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod},
        policy::v1::PodDisruptionBudget,
        storage::v1::{CSINode, StorageClass},
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// The problem.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Input {
    #[schemars(with = "Vec<NodePoolFields>")]
    pub(super) node_pools: Vec<NodePool>,
    #[schemars(with = "Vec<NodeOverlayFields>")]
    pub(super) node_overlays: Vec<NodeOverlay>,
    pub(super) instance_types: Vec<InstanceTypeInput>,
    pub(super) nodes: Vec<NodeInput>,
    #[schemars(with = "Vec<NodeClaimFields>")]
    pub(super) node_claims: Vec<NodeClaim>,
    #[schemars(with = "Option<String>")]
    pub(super) now: Option<Timestamp>,
    /// Those that are annotated `karpenter.sh/capacity-buffer-fake-pod` stand for room that a CapacityBuffer keeps.
    pub(super) pods: Vec<Pod>,
    pub(super) daemon_sets: Vec<DaemonSet>,
    pub(super) pod_disruption_budgets: Vec<PodDisruptionBudget>,
    pub(super) namespaces: Vec<Namespace>,
    pub(super) pod_groups: Vec<PodGroupInput>,
    pub(super) persistent_volume_claims: Vec<PersistentVolumeClaim>,
    pub(super) persistent_volumes: Vec<PersistentVolume>,
    pub(super) storage_classes: Vec<StorageClass>,
    #[serde(rename = "csiNodes")]
    pub(super) csi_nodes: Vec<CSINode>,
    pub(super) well_known_labels: BTreeSet<String>,
    pub(super) options: Options,
}

/// The fields of a NodePool: its own schema leaves those of every object out.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only its schema is used")]
struct NodePoolFields {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    spec: NodePoolSpec,
    status: Option<NodePoolStatus>,
}

/// The fields of a NodeOverlay, likewise.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only its schema is used")]
struct NodeOverlayFields {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    spec: NodeOverlaySpec,
    status: Option<NodeOverlayStatus>,
}

/// The fields of a NodeClaim, likewise.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only its schema is used")]
struct NodeClaimFields {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    spec: NodeClaimSpec,
    status: Option<NodeClaimStatus>,
}

/// Pods that start together: a PodGroup that they name, or a pod group of a Workload as `WORKLOAD/GROUP`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PodGroupInput {
    pub(super) name: String,
    #[serde(default = "default_namespace")]
    pub(super) namespace: String,
    pub(super) min_member: u32,
}

fn default_namespace() -> String {
    "default".to_owned()
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct InstanceTypeInput {
    pub(super) name: String,
    pub(super) capacity: BTreeMap<String, Quantity>,
    #[serde(default)]
    pub(super) overhead: OverheadInput,
    #[serde(default)]
    pub(super) requirements: Vec<NodeSelectorRequirementWithMinValues>,
    #[serde(default)]
    pub(super) offerings: Vec<OfferingInput>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct OverheadInput {
    pub(super) kube_reserved: BTreeMap<String, Quantity>,
    pub(super) system_reserved: BTreeMap<String, Quantity>,
    pub(super) eviction_threshold: BTreeMap<String, Quantity>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OfferingInput {
    pub(super) zone: String,
    #[schemars(with = "String")]
    pub(super) capacity_type: CapacityType,
    #[schemars(with = "f64")]
    pub(super) price: Price,
    #[serde(default = "yes")]
    pub(super) available: bool,
    #[serde(default)]
    pub(super) requirements: Vec<NodeSelectorRequirementWithMinValues>,
    #[serde(default, rename = "reservationID")]
    pub(super) reservation_id: Option<String>,
    #[serde(default)]
    pub(super) reservation_capacity: Option<u32>,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NodeInput {
    pub(super) node: Node,
    #[serde(default)]
    pub(super) pods: Vec<Pod>,
    #[serde(default)]
    pub(super) marked_for_deletion: bool,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Options {
    #[schemars(with = "Option<String>")]
    pub(super) preference_policy: Option<PreferencePolicy>,
    #[schemars(with = "Option<String>")]
    pub(super) min_values_policy: Option<MinValuesPolicy>,
    pub(super) reserved_fallback: bool,
    pub(super) spot_to_spot_consolidation: bool,
    pub(super) max_instance_types: Option<usize>,
    pub(super) timeout_seconds: Option<f64>,
    /// Among decisions whose price is within this part of the best that was found (0.02: two in a hundred), one with fewer nodes
    /// is taken.
    pub(super) fewer_nodes_within: Option<f64>,
}

/// Reads and checks the input.
pub(super) fn read(text: &str) -> Result<Input, SolveError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let input: Input = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| typed(&error))?;
    deserializer.end().map_err(|error| untyped(&error))?;
    strict::refuse_unknown_fields(text, &schemars::schema_for!(Input))?;
    let check = Check { text };
    check.all(&input)?;
    Ok(input)
}

fn typed(error: &serde_path_to_error::Error<serde_json::Error>) -> SolveError {
    let path = error.path().to_string();
    let inner = untyped(error.inner());
    // Text that is no JSON at all has no field that could be named.
    let named = error.inner().is_data() && path != ".";
    SolveError { path: named.then_some(path), ..inner }
}

/// The deserializer's message without the position, which is told apart.
fn untyped(error: &serde_json::Error) -> SolveError {
    let text = error.to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    SolveError { path: None, line: error.line(), message: message.to_owned() }
}

/// What types alone do not say.
struct Check<'a> {
    text: &'a str,
}

impl Check<'_> {
    fn all(&self, input: &Input) -> Result<(), SolveError> {
        self.names("nodePools", "metadata.name", input.node_pools.iter().map(|own| own.metadata.name.as_deref()))?;
        self.names("instanceTypes", "name", input.instance_types.iter().map(|own| Some(own.name.as_str())))?;
        self.names("nodes", "node.metadata.name", input.nodes.iter().map(|own| own.node.metadata.name.as_deref()))?;
        let overlays = input.node_overlays.iter().map(|own| own.metadata.name.as_deref());
        self.names("nodeOverlays", "metadata.name", overlays)?;
        for (index, own) in input.node_overlays.iter().enumerate() {
            if let Some(Problem { field, message }) = Overlays::problems(own).into_iter().next() {
                return Err(self.error(format!("nodeOverlays[{index}].{field}"), message));
            }
        }
        let claims = input.node_claims.iter().map(|own| own.metadata.name.as_deref());
        self.names("nodeClaims", "metadata.name", claims)?;
        self.pods(input)?;
        for (index, kind) in input.instance_types.iter().enumerate() {
            self.instance_type(&format!("instanceTypes[{index}]"), kind)?;
        }
        self.options(&input.options)
    }

    fn error(&self, path: String, message: impl Into<String>) -> SolveError {
        SolveError { line: strict::line_of(self.text, &path), path: Some(path), message: message.into() }
    }

    /// Every element of `list` has a name of its own.
    fn names<'b>(
        &self,
        list: &str,
        field: &str,
        names: impl Iterator<Item = Option<&'b str>>,
    ) -> Result<(), SolveError> {
        let mut seen = BTreeSet::new();
        for (index, name) in names.enumerate() {
            let path = format!("{list}[{index}].{field}");
            match name {
                None | Some("") => return Err(self.error(path, "a name is needed")),
                Some(name) if !seen.insert(name) => return Err(self.error(path, format!("`{name}` is there already"))),
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// No two pods, pending or bound, share namespace and name.
    fn pods(&self, input: &Input) -> Result<(), SolveError> {
        let pending = input.pods.iter().enumerate().map(|(index, pod)| (format!("pods[{index}]"), pod));
        let bound = input.nodes.iter().enumerate().flat_map(|(node, own)| {
            own.pods.iter().enumerate().map(move |(index, pod)| (format!("nodes[{node}].pods[{index}]"), pod))
        });
        let mut seen = BTreeSet::new();
        for (path, pod) in pending.chain(bound) {
            let path = || format!("{path}.metadata.name");
            if pod.metadata.name.as_deref().unwrap_or_default().is_empty() {
                return Err(self.error(path(), "a name is needed"));
            }
            let key = PodKey::of(pod);
            if !seen.insert(key.clone()) {
                return Err(self.error(path(), format!("the pod `{key}` is there already")));
            }
        }
        Ok(())
    }

    fn instance_type(&self, path: &str, kind: &InstanceTypeInput) -> Result<(), SolveError> {
        let overhead = [
            ("kubeReserved", &kind.overhead.kube_reserved),
            ("systemReserved", &kind.overhead.system_reserved),
            ("evictionThreshold", &kind.overhead.eviction_threshold),
        ];
        let amounts = |path: String, map: &BTreeMap<String, Quantity>| {
            let refused = |invalid: InvalidResource| {
                self.error(format!("{path}.{}", invalid.resource), invalid.source.to_string())
            };
            Resources::from_capacity(map).map(drop).map_err(refused)
        };
        amounts(format!("{path}.capacity"), &kind.capacity)?;
        for (name, map) in overhead {
            amounts(format!("{path}.overhead.{name}"), map)?;
        }
        for (index, offering) in kind.offerings.iter().enumerate() {
            self.offering(&format!("{path}.offerings[{index}]"), offering)?;
        }
        Ok(())
    }

    fn offering(&self, path: &str, offering: &OfferingInput) -> Result<(), SolveError> {
        if offering.zone.is_empty() {
            return Err(self.error(format!("{path}.zone"), "a zone is needed"));
        }
        let reserved = offering.capacity_type == CapacityType::Reserved;
        match (&offering.reservation_id, reserved) {
            (None, true) => Err(self.error(path.to_owned(), "a `reserved` offering needs its `reservationID`")),
            (Some(_), false) => {
                Err(self.error(format!("{path}.reservationID"), "only an offering of capacity type `reserved` has one"))
            }
            (Some(_), true) | (None, false) => Ok(()),
        }
    }

    fn options(&self, options: &Options) -> Result<(), SolveError> {
        if options.max_instance_types == Some(0) {
            return Err(self.error("options.maxInstanceTypes".to_owned(), "at least 1 is needed"));
        }
        if options.fewer_nodes_within.is_some_and(|part| !(0.0..=1.0).contains(&part)) {
            return Err(self.error("options.fewerNodesWithin".to_owned(), "a number between 0 and 1 is needed"));
        }
        if options.timeout_seconds.is_some_and(|seconds| !(seconds.is_finite() && seconds >= 0.0)) {
            return Err(self.error("options.timeoutSeconds".to_owned(), "a number that is not negative is needed"));
        }
        Ok(())
    }
}
