//! What a scenario may say.

use crate::{
    api::GoDuration,
    model::{CapacityType, GangKey, MinValuesPolicy, PreferencePolicy},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString};
use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;
use std::collections::BTreeMap;

/// A scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Form {
    pub(super) why: String,
    #[serde(default = "default_now")]
    pub(super) now: Timestamp,
    pub(super) catalog: String,
    #[serde(default)]
    pub(super) unavailable: Vec<UnavailableForm>,
    #[serde(default)]
    pub(super) node_pools: Vec<Spanned<Value>>,
    #[serde(default)]
    pub(super) node_overlays: Vec<Spanned<Value>>,
    #[serde(default)]
    pub(super) nodes: Vec<NodeForm>,
    #[serde(default)]
    pub(super) pods: Vec<PodForm>,
    #[serde(default)]
    pub(super) daemon_sets: Vec<PodForm>,
    #[serde(default)]
    pub(super) capacity_buffers: Vec<BufferForm>,
    #[serde(default)]
    pub(super) pod_disruption_budgets: Vec<BudgetForm>,
    /// PersistentVolumeClaims, PersistentVolumes, StorageClasses and CSINodes, as in Kubernetes.
    #[serde(default)]
    pub(super) storage: Vec<Spanned<Value>>,
    /// Sets of pods that start together.
    #[serde(default)]
    pub(super) gangs: Vec<GangForm>,
    /// Labels by namespace, for namespace selectors.
    #[serde(default)]
    pub(super) namespaces: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) settings: SettingsForm,
    /// Of scenarios in `explain/`: what is explained, as `node NAME` or `pod NAME`.
    pub(super) explain: Option<String>,
}

/// 2026-01-01T00:00:00Z.
fn default_now() -> Timestamp {
    Timestamp::constant(1_767_225_600, 0)
}

/// Offerings that are out of stock: of one zone and capacity type, or of all that are not named.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UnavailableForm {
    pub(super) instance_type: String,
    pub(super) zone: Option<String>,
    pub(super) capacity_type: Option<CapacityType>,
    /// From now, as `+3m`.
    pub(super) until: Option<String>,
}

/// A pod, or equal pods `NAME-0`, `NAME-1` and so on.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PodForm {
    pub(super) name: String,
    #[serde(default = "default_namespace")]
    pub(super) namespace: String,
    pub(super) replicas: Option<u32>,
    #[serde(default)]
    pub(super) requests: BTreeMap<String, Quantity>,
    /// Without them `app: NAME`.
    pub(super) labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) node_selector: BTreeMap<String, String>,
    pub(super) affinity: Option<Spanned<Value>>,
    #[serde(default)]
    pub(super) tolerations: Vec<Spanned<Value>>,
    /// The largest skew by topology key, over the pods with the same labels.
    #[serde(default)]
    pub(super) spread: BTreeMap<String, i32>,
    /// Spread constraints in full, as in Kubernetes.
    #[serde(default)]
    pub(super) topology_spread_constraints: Vec<Spanned<Value>>,
    /// The PodGroup that it starts with.
    pub(super) gang: Option<String>,
    /// PersistentVolumeClaims that it uses; `{}` stands for the number of the replica.
    #[serde(default)]
    pub(super) claims: Vec<String>,
    #[serde(default)]
    pub(super) host_ports: Vec<i32>,
    /// Anything else of a PodSpec, as in Kubernetes: init containers, overhead, resources of the pod as a whole.
    pub(super) spec: Option<Spanned<Value>>,
    #[serde(default)]
    pub(super) do_not_disrupt: bool,
    pub(super) deletion_cost: Option<i32>,
    pub(super) priority: Option<i32>,
    #[serde(default)]
    pub(super) gates: Vec<String>,
    /// Whether a DaemonSet owns it; only of pods that run on a node.
    #[serde(default)]
    pub(super) daemon: bool,
}

fn default_namespace() -> String {
    "default".to_owned()
}

/// A CapacityBuffer with the pods that it keeps room for.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BufferForm {
    pub(super) name: String,
    /// With `replicas` it is a workload's, otherwise a PodTemplate's.
    pub(super) template: PodForm,
    pub(super) replicas: Option<u32>,
    pub(super) percentage: Option<u32>,
    pub(super) limits: Option<BTreeMap<String, Quantity>>,
}

/// A PodGroup, or a pod group of a Workload as `WORKLOAD/GROUP`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GangForm {
    pub(super) name: String,
    #[serde(default = "default_namespace")]
    pub(super) namespace: String,
    pub(super) min_member: u32,
}

impl GangForm {
    pub(super) fn key(&self) -> GangKey {
        GangKey { namespace: self.namespace.clone(), name: self.name.clone(), replica: None }
    }
}

/// A machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NodeForm {
    pub(super) name: String,
    /// Without one the controller does not manage the machine.
    pub(super) pool: Option<String>,
    pub(super) instance_type: String,
    pub(super) zone: String,
    #[serde(default = "on_demand")]
    pub(super) capacity_type: CapacityType,
    pub(super) reservation: Option<String>,
    pub(super) age: Option<GoDuration>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    /// Besides those of its pool.
    #[serde(default)]
    pub(super) taints: Vec<Spanned<Value>>,
    #[serde(default)]
    pub(super) pods: Vec<PodForm>,
    /// Whether it has joined; otherwise there is a launched NodeClaim only.
    #[serde(default = "yes")]
    pub(super) registered: bool,
    #[serde(default = "yes")]
    pub(super) initialized: bool,
    #[serde(default = "yes")]
    pub(super) ready: bool,
    /// Conditions of its Node that have been False for so long.
    #[serde(default)]
    pub(super) broken: BTreeMap<String, GoDuration>,
    /// Whether its pods changed less than `consolidateAfter` ago.
    #[serde(default)]
    pub(super) settling: bool,
    /// Why it is not what its pool asks for any more.
    pub(super) drifted: Option<String>,
    #[serde(default)]
    pub(super) marked_for_deletion: bool,
    /// For how long it has been being deleted.
    pub(super) deleted: Option<GoDuration>,
    /// How long ago the command was given up that launched it in place of others.
    pub(super) abandoned: Option<GoDuration>,
    #[serde(default)]
    pub(super) do_not_disrupt: bool,
    pub(super) nominated_for: Option<GoDuration>,
    pub(super) termination_grace_period: Option<GoDuration>,
}

fn on_demand() -> CapacityType {
    CapacityType::OnDemand
}

fn yes() -> bool {
    true
}

/// A PodDisruptionBudget over the pods of its namespace with these labels.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BudgetForm {
    pub(super) name: String,
    #[serde(default = "default_namespace")]
    pub(super) namespace: String,
    pub(super) selector: BTreeMap<String, String>,
    pub(super) min_available: Option<IntOrString>,
    pub(super) max_unavailable: Option<IntOrString>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct SettingsForm {
    pub(super) preference_policy: Option<PreferencePolicy>,
    pub(super) min_values_policy: Option<MinValuesPolicy>,
    pub(super) max_instance_types: Option<usize>,
    pub(super) fewer_nodes_within_permille: Option<u32>,
    pub(super) spot_to_spot_consolidation: Option<bool>,
    pub(super) reserved_capacity: Option<bool>,
    pub(super) node_repair: Option<bool>,
    pub(super) static_capacity: Option<bool>,
    pub(super) forceful_expiration: Option<bool>,
    pub(super) forceful_repair: Option<bool>,
}

/// A catalog: types with prices that do not differ between zones, so that sums are easy.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CatalogForm {
    pub(super) zones: Vec<String>,
    pub(super) instance_types: Vec<TypeForm>,
}

/// An instance type.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TypeForm {
    pub(super) name: String,
    pub(super) capacity: BTreeMap<String, Quantity>,
    #[serde(default)]
    pub(super) overhead: BTreeMap<String, Quantity>,
    #[serde(default = "amd64")]
    pub(super) arch: String,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    /// Only these of the catalog's zones.
    pub(super) zones: Option<Vec<String>>,
    pub(super) on_demand: crate::model::Price,
    pub(super) spot: Option<crate::model::Price>,
    #[serde(default)]
    pub(super) reservations: Vec<ReservationForm>,
}

fn amd64() -> String {
    "amd64".to_owned()
}

/// Machines paid for beforehand.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ReservationForm {
    pub(super) id: String,
    pub(super) zone: String,
    pub(super) count: u32,
}
