//! The input as a snapshot and a catalog.

use super::schema::{Input, InstanceTypeInput, NodeInput, OfferingInput, Options, PodGroupInput};
use crate::{
    api::{NodeClaim, NodeClaimSpec, NodeClaimStatus, NodeOverlay, NodePool, conditions, labels},
    model::{
        Catalog, ClusterSnapshot, FeatureGates, GangKey, InstanceType, NodePoolName, Offering, Operator, Overhead,
        Overlays, PodKey, Requirement, Requirements, Resources, Settings, StateNode, Storage, is_virtual,
    },
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::core::v1::{Node, NodeCondition},
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time},
};
use std::{collections::BTreeMap, sync::Arc};

/// The time at which every input is thought to be looked at: 2026-01-01.
const NOW: Timestamp = Timestamp::constant(1_767_225_600, 0);
/// How long a node is thought to have existed where it does not say.
const AGE: SignedDuration = SignedDuration::from_hours(1);

/// The input's cluster and cloud.
pub(super) fn of(input: Input) -> (ClusterSnapshot, Catalog) {
    let mut types: Vec<Arc<InstanceType>> =
        input.instance_types.iter().map(|own| Arc::new(instance_type(own))).collect();
    types.sort_by(|a, b| a.name.cmp(&b.name));
    let types: Arc<[Arc<InstanceType>]> = types.into();
    let name = |pool: &NodePool| NodePoolName::from(pool.metadata.name.as_deref().unwrap_or_default());
    let node_pools: BTreeMap<NodePoolName, Arc<NodePool>> =
        input.node_pools.into_iter().map(|pool| (name(&pool), Arc::new(pool))).collect();
    // Every type is offered to every pool; requirements filter.
    let by_pool = node_pools.keys().map(|name| (name.clone(), types.clone())).collect();
    let now = input.now.unwrap_or(NOW);
    let mut claims = Claims::of(input.node_claims);
    let mut nodes: Vec<StateNode> =
        input.nodes.into_iter().map(|own| state_node(own, &node_pools, &mut claims, now)).collect();
    nodes.extend(claims.without_node());
    nodes.sort_by(|a, b| a.name().cmp(b.name()));
    let (virtual_pods, pending) = input.pods.into_iter().map(Arc::new).partition(|pod| is_virtual(pod));
    let mut node_overlays: Vec<Arc<NodeOverlay>> = input.node_overlays.into_iter().map(Arc::new).collect();
    node_overlays.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let snapshot = ClusterSnapshot {
        now,
        node_pools,
        node_overlays,
        nodes,
        pending,
        virtual_pods,
        daemon_sets: input.daemon_sets.into_iter().map(Arc::new).collect(),
        pod_disruption_budgets: input.pod_disruption_budgets.into_iter().map(Arc::new).collect(),
        namespaces: input.namespaces.into_iter().map(Arc::new).collect(),
        storage: Arc::new(Storage::of(
            input.persistent_volume_claims.into_iter().map(Arc::new),
            input.persistent_volumes.into_iter().map(Arc::new),
            input.storage_classes.into_iter().map(Arc::new),
            input.csi_nodes.into_iter().map(Arc::new),
        )),
        gangs: input.pod_groups.into_iter().map(gang).collect(),
        settings: settings(&input.options, input.well_known_labels),
    };
    let catalog = Overlays::of(&snapshot, &Catalog { by_pool });
    (snapshot, catalog)
}

fn gang(input: PodGroupInput) -> (GangKey, u32) {
    let PodGroupInput { name, namespace, min_member } = input;
    (GangKey { namespace, name, replica: None }, min_member)
}

fn settings(options: &Options, well_known_labels: std::collections::BTreeSet<String>) -> Settings {
    let default = Settings::default();
    Settings {
        preference_policy: options.preference_policy.unwrap_or(default.preference_policy),
        min_values_policy: options.min_values_policy.unwrap_or(default.min_values_policy),
        max_instance_types: options.max_instance_types.unwrap_or(default.max_instance_types),
        fewer_nodes_within_permille: (options.fewer_nodes_within)
            .map_or(default.fewer_nodes_within_permille, |part| (part * 1_000.0).round() as u32),
        well_known_labels,
        feature_gates: FeatureGates {
            spot_to_spot_consolidation: options.spot_to_spot_consolidation,
            ..default.feature_gates.clone()
        },
        ..default
    }
}

fn instance_type(input: &InstanceTypeInput) -> InstanceType {
    let mut offerings: Vec<Offering> = input.offerings.iter().map(offering).collect();
    offerings.sort_by(|a, b| {
        (&a.zone, a.capacity_type, &a.reservation_id).cmp(&(&b.zone, b.capacity_type, &b.reservation_id))
    });
    let mut requirements = Requirements::from_specs(&input.requirements);
    if !requirements.contains(labels::INSTANCE_TYPE) {
        requirements.add(Requirement::new(labels::INSTANCE_TYPE, Operator::In, [&input.name]));
    }
    InstanceType {
        name: input.name.clone(),
        requirements,
        offerings,
        capacity: Resources::of_capacity(&input.capacity),
        overhead: Overhead {
            kube_reserved: Resources::of_capacity(&input.overhead.kube_reserved),
            system_reserved: Resources::of_capacity(&input.overhead.system_reserved),
            eviction_threshold: Resources::of_capacity(&input.overhead.eviction_threshold),
        },
        listed: None,
    }
}

fn offering(input: &OfferingInput) -> Offering {
    let mut requirements = Requirements::from_specs(&input.requirements);
    requirements.add(Requirement::new(labels::ZONE, Operator::In, [&input.zone]));
    requirements.add(Requirement::new(labels::CAPACITY_TYPE, Operator::In, [input.capacity_type.as_str()]));
    if let Some(id) = input.reservation_id.as_ref().filter(|_| !requirements.contains(labels::CAPACITY_RESERVATION_ID))
    {
        requirements.add(Requirement::new(labels::CAPACITY_RESERVATION_ID, Operator::In, [id]));
    }
    Offering {
        zone: input.zone.clone(),
        capacity_type: input.capacity_type,
        price: input.price,
        available: input.available,
        requirements,
        reservation_id: input.reservation_id.clone(),
        reservation_capacity: input.reservation_capacity.unwrap_or(0),
    }
}

/// A node as a machine. One that is labelled with a pool and has no NodeClaim of its own stands for an initialized one that
/// may be consolidated.
fn state_node(
    input: NodeInput,
    pools: &BTreeMap<NodePoolName, Arc<NodePool>>,
    claims: &mut Claims,
    now: Timestamp,
) -> StateNode {
    let NodeInput { mut node, pods, marked_for_deletion } = input;
    node.metadata.creation_timestamp.get_or_insert(Time(now - AGE));
    make_ready(&mut node);
    let node_name = node.metadata.name.clone();
    let given = claims.take(&node);
    let pool = node.metadata.labels.as_ref().and_then(|labels| labels.get(labels::NODE_POOL)).cloned();
    let stand_in = pool.filter(|_| given.is_none()).map(|pool| {
        let labels = node.metadata.labels.get_or_insert_default();
        for key in [labels::REGISTERED, labels::INITIALIZED] {
            labels.insert(key.to_owned(), "true".to_owned());
        }
        let spec = node.spec.get_or_insert_default();
        let id =
            spec.provider_id.get_or_insert_with(|| format!("solve:///{}", node_name.as_deref().unwrap_or_default()));
        let id = id.clone();
        node_claim(&node, id, pools.get(&NodePoolName::from(&pool)).map(AsRef::as_ref))
    });
    let node_claim = given.or(stand_in).map(Arc::new);
    let mut pods: Vec<_> = pods.into_iter().collect();
    for pod in &mut pods {
        pod.spec.get_or_insert_default().node_name.clone_from(&node_name);
    }
    pods.sort_by_cached_key(PodKey::of);
    StateNode {
        node: Some(Arc::new(node)),
        node_claim,
        pods: pods.into_iter().map(Arc::new).collect(),
        marked_for_deletion,
        nominated_until: None,
    }
}

/// The NodeClaims that are given, until they have found their nodes.
struct Claims(Vec<NodeClaim>);

impl Claims {
    fn of(claims: Vec<NodeClaim>) -> Self {
        Self(claims)
    }

    /// The NodeClaim of `node`: they share the machine's id, or it names the node.
    fn take(&mut self, node: &Node) -> Option<NodeClaim> {
        let id = node.spec.as_ref().and_then(|spec| spec.provider_id.as_deref());
        let is_its = |claim: &NodeClaim| {
            let Some(status) = &claim.status else { return false };
            let same_id = id.is_some() && status.provider_id.as_deref() == id;
            same_id || (status.node_name.is_some() && status.node_name == node.metadata.name)
        };
        let position = self.0.iter().position(is_its)?;
        Some(self.0.swap_remove(position))
    }

    /// Machines whose Nodes have not joined.
    fn without_node(self) -> impl Iterator<Item = StateNode> {
        self.0.into_iter().map(|claim| StateNode { node_claim: Some(Arc::new(claim)), ..StateNode::default() })
    }
}

/// A node that says nothing of its readiness is ready.
fn make_ready(node: &mut Node) {
    let own = node.status.get_or_insert_default().conditions.get_or_insert_default();
    if !own.iter().any(|condition| condition.type_ == conditions::READY) {
        let (type_, status) = (conditions::READY.to_owned(), conditions::TRUE.to_owned());
        own.push(NodeCondition { type_, status, ..NodeCondition::default() });
    }
}

fn node_claim(node: &Node, provider_id: String, pool: Option<&NodePool>) -> NodeClaim {
    let since = node.metadata.creation_timestamp.clone().unwrap_or(Time(NOW - AGE));
    let condition = |type_: &str| Condition {
        type_: type_.to_owned(),
        status: conditions::TRUE.to_owned(),
        reason: type_.to_owned(),
        message: String::new(),
        last_transition_time: since.clone(),
        observed_generation: None,
    };
    let all = [
        conditions::LAUNCHED,
        conditions::REGISTERED,
        conditions::INITIALIZED,
        conditions::CONSOLIDATABLE,
        conditions::READY,
    ];
    let template = pool.map(|pool| pool.spec.template.spec.clone()).unwrap_or_default();
    let status = node.status.as_ref();
    NodeClaim {
        metadata: ObjectMeta {
            name: node.metadata.name.clone(),
            labels: node.metadata.labels.clone(),
            annotations: node.metadata.annotations.clone(),
            creation_timestamp: Some(since.clone()),
            deletion_timestamp: node.metadata.deletion_timestamp.clone(),
            ..ObjectMeta::default()
        },
        spec: NodeClaimSpec {
            taints: template.taints,
            startup_taints: template.startup_taints,
            node_class_ref: template.node_class_ref,
            termination_grace_period: template.termination_grace_period,
            expire_after: template.expire_after,
            ..NodeClaimSpec::default()
        },
        status: Some(NodeClaimStatus {
            node_name: node.metadata.name.clone(),
            provider_id: Some(provider_id),
            capacity: status.and_then(|status| status.capacity.clone()).unwrap_or_default(),
            allocatable: status.and_then(|status| status.allocatable.clone()).unwrap_or_default(),
            conditions: all.into_iter().map(condition).collect(),
            ..NodeClaimStatus::default()
        }),
    }
}
