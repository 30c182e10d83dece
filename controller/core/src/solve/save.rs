//! A snapshot as an input of `sawhorse solve`.
//!
//! Only what deciders read is written. Of containers that is their names, resources and ports: no environment, no arguments, no
//! images; of volumes the claims; of annotations those that karpenter and the scheduler know. Secrets and ConfigMaps are never
//! part of a snapshot.

use crate::{
    api::{NodeClaim, NodePool, labels},
    model::{Catalog, ClusterSnapshot, InstanceType, Offering, Resources, StateNode},
};
use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, DaemonSetSpec},
        core::v1::{
            Container, EphemeralVolumeSource, Node, NodeSpec, NodeStatus, PersistentVolume, PersistentVolumeClaim,
            PersistentVolumeClaimTemplate, Pod, PodSpec, PodStatus, PodTemplateSpec, Volume,
        },
        storage::v1::StorageClass,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// Annotations that deciders read begin so, or are in [`ANNOTATIONS`].
const ANNOTATION_PARTS: [&str; 3] = ["karpenter.sh/", "karpenter.k8s.aws/", "sawhorse.karpenter.sh/"];
const ANNOTATIONS: [&str; 1] = [labels::POD_DELETION_COST];

/// `snapshot` and `catalog` as JSON that [`super::Problem::read`] reads. A type that pools are offered differently is written as
/// the first pool is offered it; what NodeOverlays say is left to them.
pub fn save(snapshot: &ClusterSnapshot, catalog: &Catalog) -> String {
    let mut types: BTreeMap<&str, &Arc<InstanceType>> = BTreeMap::new();
    for own in catalog.by_pool.values().flat_map(|types| types.iter()) {
        types.entry(&own.name).or_insert(own.listed.as_ref().unwrap_or(own));
    }
    let claims = snapshot.nodes.iter().filter_map(|machine| machine.node_claim.as_deref()).map(claim);
    let storage = &snapshot.storage;
    let value = json!({
        "now": snapshot.now,
        "nodePools": snapshot.node_pools.values().map(|own| pool(own)).collect::<Vec<_>>(),
        "nodeOverlays": each(&snapshot.node_overlays, |own| own.metadata = meta(&own.metadata)),
        "nodeClaims": claims.collect::<Vec<_>>(),
        "instanceTypes": types.values().map(|own| instance_type(own)).collect::<Vec<_>>(),
        "nodes": snapshot.nodes.iter().filter_map(machine).collect::<Vec<_>>(),
        "pods": snapshot.pending.iter().chain(&snapshot.virtual_pods).map(|own| pod(own)).collect::<Vec<_>>(),
        "daemonSets": snapshot.daemon_sets.iter().map(|own| daemon_set(own)).collect::<Vec<_>>(),
        "podDisruptionBudgets": each(&snapshot.pod_disruption_budgets, |own| own.metadata = meta(&own.metadata)),
        "namespaces": each(&snapshot.namespaces, |own| {
            own.metadata = meta(&own.metadata);
            own.spec = None;
            own.status = None;
        }),
        "persistentVolumeClaims": each(storage.claims.values(), volume_claim),
        "persistentVolumes": each(storage.volumes.values(), volume),
        "storageClasses": each(storage.classes.values(), storage_class),
        "csiNodes": each(storage.csi_nodes.values(), |own| own.metadata = meta(&own.metadata)),
        "podGroups": snapshot.gangs.iter().map(|(key, min)| json!({
            "name": key.name, "namespace": key.namespace, "minMember": min,
        })).collect::<Vec<_>>(),
        "wellKnownLabels": snapshot.settings.well_known_labels,
        "options": {
            "preferencePolicy": snapshot.settings.preference_policy,
            "minValuesPolicy": snapshot.settings.min_values_policy,
            "spotToSpotConsolidation": snapshot.settings.feature_gates.spot_to_spot_consolidation,
            "maxInstanceTypes": snapshot.settings.max_instance_types,
            "fewerNodesWithin": f64::from(snapshot.settings.fewer_nodes_within_permille) / 1_000.0,
        },
    });
    serde_json::to_string_pretty(&value).expect("maps with text keys and finite numbers are JSON")
}

fn each<'a, T: Clone + 'a>(objects: impl IntoIterator<Item = &'a Arc<T>>, reduce: impl Fn(&mut T)) -> Vec<T> {
    let reduced = objects.into_iter().map(|own| {
        let mut own = T::clone(own);
        reduce(&mut own);
        own
    });
    reduced.collect()
}

fn meta(all: &ObjectMeta) -> ObjectMeta {
    let known = |key: &str| ANNOTATIONS.contains(&key) || ANNOTATION_PARTS.iter().any(|part| key.starts_with(part));
    let annotations = all
        .annotations
        .as_ref()
        .map(|own| own.iter().filter(|(key, _)| known(key)).map(|(key, value)| (key.clone(), value.clone())).collect());
    ObjectMeta {
        name: all.name.clone(),
        namespace: all.namespace.clone(),
        uid: all.uid.clone(),
        labels: all.labels.clone(),
        annotations,
        owner_references: all.owner_references.clone(),
        creation_timestamp: all.creation_timestamp.clone(),
        deletion_timestamp: all.deletion_timestamp.clone(),
        generation: all.generation,
        ..ObjectMeta::default()
    }
}

fn pool(own: &NodePool) -> NodePool {
    NodePool { metadata: meta(&own.metadata), ..own.clone() }
}

fn claim(own: &NodeClaim) -> NodeClaim {
    NodeClaim { metadata: meta(&own.metadata), ..own.clone() }
}

fn machine(own: &StateNode) -> Option<Value> {
    let node = node(own.node.as_deref()?);
    let pods: Vec<Pod> = own.pods.iter().map(|own| pod(own)).collect();
    Some(json!({ "node": node, "pods": pods, "markedForDeletion": own.marked_for_deletion }))
}

fn node(own: &Node) -> Node {
    let spec = own.spec.as_ref().map(|spec| NodeSpec {
        provider_id: spec.provider_id.clone(),
        taints: spec.taints.clone(),
        unschedulable: spec.unschedulable,
        ..NodeSpec::default()
    });
    let status = own.status.as_ref().map(|status| NodeStatus {
        capacity: status.capacity.clone(),
        allocatable: status.allocatable.clone(),
        conditions: status.conditions.clone(),
        ..NodeStatus::default()
    });
    Node { metadata: meta(&own.metadata), spec, status }
}

fn pod(own: &Pod) -> Pod {
    let status = own.status.as_ref().map(|status| PodStatus {
        phase: status.phase.clone(),
        conditions: status.conditions.clone(),
        start_time: status.start_time.clone(),
        nominated_node_name: status.nominated_node_name.clone(),
        ..PodStatus::default()
    });
    Pod { metadata: meta(&own.metadata), spec: own.spec.as_ref().map(pod_spec), status }
}

fn pod_spec(own: &PodSpec) -> PodSpec {
    PodSpec {
        affinity: own.affinity.clone(),
        containers: own.containers.iter().map(container).collect(),
        init_containers: own.init_containers.as_ref().map(|all| all.iter().map(container).collect()),
        host_network: own.host_network,
        node_name: own.node_name.clone(),
        node_selector: own.node_selector.clone(),
        overhead: own.overhead.clone(),
        priority: own.priority,
        priority_class_name: own.priority_class_name.clone(),
        resources: own.resources.clone(),
        scheduler_name: own.scheduler_name.clone(),
        scheduling_gates: own.scheduling_gates.clone(),
        termination_grace_period_seconds: own.termination_grace_period_seconds,
        tolerations: own.tolerations.clone(),
        topology_spread_constraints: own.topology_spread_constraints.clone(),
        volumes: own.volumes.as_ref().map(|all| all.iter().filter_map(mounted).collect()),
        ..PodSpec::default()
    }
}

fn container(own: &Container) -> Container {
    Container {
        name: own.name.clone(),
        ports: own.ports.clone(),
        resources: own.resources.clone(),
        restart_policy: own.restart_policy.clone(),
        ..Container::default()
    }
}

/// The volume, if it is a claim.
fn mounted(own: &Volume) -> Option<Volume> {
    let template = own.ephemeral.as_ref().and_then(|ephemeral| ephemeral.volume_claim_template.as_ref());
    let ephemeral = template.map(|template| EphemeralVolumeSource {
        volume_claim_template: Some(PersistentVolumeClaimTemplate { metadata: None, spec: template.spec.clone() }),
    });
    let is_claim = own.persistent_volume_claim.is_some() || ephemeral.is_some();
    is_claim.then(|| Volume {
        name: own.name.clone(),
        persistent_volume_claim: own.persistent_volume_claim.clone(),
        ephemeral,
        ..Volume::default()
    })
}

fn daemon_set(own: &DaemonSet) -> DaemonSet {
    let spec = own.spec.as_ref().map(|spec| DaemonSetSpec {
        selector: spec.selector.clone(),
        template: PodTemplateSpec {
            metadata: spec.template.metadata.as_ref().map(meta),
            spec: spec.template.spec.as_ref().map(pod_spec),
        },
        ..DaemonSetSpec::default()
    });
    DaemonSet { metadata: meta(&own.metadata), spec, status: None }
}

fn volume_claim(own: &mut PersistentVolumeClaim) {
    own.metadata = meta(&own.metadata);
}

fn volume(own: &mut PersistentVolume) {
    own.metadata = meta(&own.metadata);
    let Some(csi) = own.spec.as_mut().and_then(|spec| spec.csi.as_mut()) else { return };
    csi.volume_attributes = None;
    csi.controller_expand_secret_ref = None;
    csi.controller_publish_secret_ref = None;
    csi.node_expand_secret_ref = None;
    csi.node_publish_secret_ref = None;
    csi.node_stage_secret_ref = None;
}

/// Parameters may name secrets, and nothing is decided by them.
fn storage_class(own: &mut StorageClass) {
    own.metadata = meta(&own.metadata);
    own.parameters = None;
}

fn instance_type(own: &InstanceType) -> Value {
    let amounts = |all: &Resources| all.to_quantities();
    json!({
        "name": own.name,
        "capacity": amounts(&own.capacity),
        "overhead": {
            "kubeReserved": amounts(&own.overhead.kube_reserved),
            "systemReserved": amounts(&own.overhead.system_reserved),
            "evictionThreshold": amounts(&own.overhead.eviction_threshold),
        },
        "requirements": own.requirements.to_specs(),
        "offerings": own.offerings.iter().map(offering).collect::<Vec<_>>(),
    })
}

fn offering(own: &Offering) -> Value {
    let mut value = json!({
        "zone": own.zone, "capacityType": own.capacity_type, "price": own.price, "available": own.available,
        "requirements": own.requirements.to_specs(),
    });
    if let Some(id) = &own.reservation_id {
        value["reservationID"] = json!(id);
        value["reservationCapacity"] = json!(own.reservation_capacity);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::save;
    use crate::{
        disruption::{DisruptionInput, decide},
        report::disruption_text,
        scenario::{Scenario, World},
        scheduling::IndexedCatalog,
        solve::Problem,
    };
    use k8s_openapi::api::core::v1::EnvVar;
    use std::sync::Arc;

    const CATALOG: &str = include_str!("../../../../snapshots/catalogs/aws-small.yaml");
    const SCENARIO: &str =
        include_str!("../../../../snapshots/disruption/consolidation/two_machines_become_one_cheaper_one.yaml");

    fn world() -> World {
        Scenario::read(SCENARIO).unwrap().world(CATALOG).unwrap()
    }

    fn decided(snapshot: &crate::model::ClusterSnapshot, catalog: crate::model::Catalog) -> String {
        let catalog = IndexedCatalog::new(catalog);
        disruption_text(&decide(&DisruptionInput { snapshot, catalog: &catalog, running: &[] }), snapshot)
    }

    #[test]
    fn what_is_saved_is_read_again_and_decided_alike() {
        let world = world();
        let read = Problem::read(&save(&world.snapshot, &world.catalog)).unwrap();
        assert_eq!(decided(&read.snapshot, read.catalog), decided(&world.snapshot, world.catalog));
        assert_eq!(read.snapshot.now, world.snapshot.now);
    }

    #[test]
    fn nothing_of_a_containers_environment_is_saved() {
        let mut world = world();
        let pod = Arc::make_mut(&mut world.snapshot.nodes[0].pods[0]);
        let annotations = pod.metadata.annotations.get_or_insert_default();
        annotations.insert("kubectl.kubernetes.io/last-applied-configuration".to_owned(), "hunter2".to_owned());
        let container = &mut pod.spec.as_mut().unwrap().containers[0];
        container.env =
            Some(vec![EnvVar { name: "PASSWORD".into(), value: Some("hunter2".into()), ..EnvVar::default() }]);
        container.args = Some(vec!["--password=hunter2".into()]);
        container.command = Some(vec!["hunter2".into()]);
        let saved = save(&world.snapshot, &world.catalog);
        assert!(!saved.contains("hunter2") && !saved.contains("PASSWORD"), "{saved}");
    }
}
