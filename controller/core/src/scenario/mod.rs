//! Scenario files ⇄ inputs.
//!
//! A scenario is YAML that a person writes: machines and pods in short forms, NodePools, tolerations and the like as in
//! Kubernetes. A key that nobody reads is refused with its line and column.
//!
//! - `schema` — what may be said
//! - `real` — Kubernetes' own objects inside of a scenario, strictly
//! - `catalog` — named instance catalogs
//! - `storage` — claims, volumes and the like
//! - `pods`, `nodes` — short forms written out

mod catalog;
mod error;
mod nodes;
mod pods;
mod real;
mod schema;
mod storage;

#[cfg(test)]
mod tests;

pub use error::ScenarioError;

use crate::{
    api::{NodeOverlay, NodePool},
    model::{
        Catalog, ClusterSnapshot, FeatureGates, NodePoolName, Overlays, Settings, StateNode, UnavailableOfferings,
    },
};
use std::{collections::BTreeMap, sync::Arc};

/// A scenario as it was written.
#[derive(Clone, Debug)]
pub struct Scenario {
    text: String,
    form: schema::Form,
}

/// What a scenario says: the input of the deciders.
#[derive(Clone, Debug)]
pub struct World {
    /// The cluster.
    pub snapshot: ClusterSnapshot,
    /// What each pool may buy.
    pub catalog: Catalog,
    /// Offerings that were refused for want of capacity; the catalog has them as unavailable already.
    pub unavailable: UnavailableOfferings,
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// The first key that nobody reads or value that cannot be read, with its line and column.
    pub fn read(text: &str) -> Result<Self, ScenarioError> {
        let form = serde_saphyr::from_str(text).map_err(|error| ScenarioError::of_yaml(&error))?;
        Ok(Self { text: text.to_owned(), form })
    }

    /// What the scenario shows.
    pub fn why(&self) -> &str {
        self.form.why.trim()
    }

    /// The name of the catalog that it wants; the caller finds its text, as nothing here reads files.
    pub fn catalog_name(&self) -> &str {
        &self.form.catalog
    }

    /// What it wants explained, as `node NAME` or `pod NAME`.
    pub fn explain(&self) -> Option<&str> {
        self.form.explain.as_deref()
    }

    /// The same scenario with every list in reverse, which must not change what is decided.
    #[must_use]
    pub fn reversed(&self) -> Self {
        let mut other = self.clone();
        let form = &mut other.form;
        form.unavailable.reverse();
        form.node_pools.reverse();
        form.node_overlays.reverse();
        form.nodes.reverse();
        form.nodes.iter_mut().for_each(|node| node.pods.reverse());
        form.pods.reverse();
        form.daemon_sets.reverse();
        form.capacity_buffers.reverse();
        form.storage.reverse();
        form.pod_disruption_budgets.reverse();
        other
    }

    /// Writes the short forms out. `catalog` is the text of the catalog that [`Self::catalog_name`] names.
    ///
    /// # Errors
    /// What is wrong with the catalog or with one of the scenario's Kubernetes objects, and names that do not exist.
    pub fn world(&self, catalog: &str) -> Result<World, ScenarioError> {
        let form = &self.form;
        let unavailable = catalog::refused(&form.unavailable, catalog, form.now)?;
        let types = catalog::types(catalog, &unavailable, form.now)?;
        let mut node_pools = BTreeMap::new();
        for value in &form.node_pools {
            let pool: NodePool = real::read(&self.text, value)?;
            let name = NodePoolName::from(pool.metadata.name.as_deref().unwrap_or_default());
            if name.as_str().is_empty() || node_pools.insert(name.clone(), Arc::new(pool)).is_some() {
                return Err(ScenarioError::at(
                    value.referenced,
                    format!("NodePool `{name}`: every pool needs a name of its own"),
                ));
            }
        }
        let mut node_overlays: Vec<Arc<NodeOverlay>> = Vec::new();
        for value in &form.node_overlays {
            node_overlays.push(Arc::new(real::read(&self.text, value)?));
        }
        node_overlays.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let writer = pods::Writer { text: &self.text, now: form.now };
        let mut nodes: Vec<StateNode> = Vec::new();
        for node in &form.nodes {
            nodes.push(nodes::write(node, &writer, &types, &node_pools)?);
        }
        nodes.sort_by(|a, b| a.name().cmp(b.name()));
        let snapshot = ClusterSnapshot {
            now: form.now,
            node_overlays,
            nodes,
            pending: writer.pending(&form.pods)?,
            virtual_pods: writer.virtual_pods(&form.capacity_buffers)?,
            daemon_sets: form.daemon_sets.iter().map(|set| writer.daemon_set(set)).collect::<Result<_, _>>()?,
            pod_disruption_budgets: (form.pod_disruption_budgets.iter())
                .map(|budget| writer.budget(budget))
                .collect::<Result<_, _>>()?,
            namespaces: form
                .namespaces
                .iter()
                .map(|(name, labels)| pods::namespace(name, labels))
                .collect::<Result<_, _>>()?,
            storage: Arc::new(storage::read(&self.text, &form.storage)?),
            gangs: form.gangs.iter().map(|gang| (gang.key(), gang.min_member)).collect(),
            settings: settings(&form.settings),
            node_pools,
        };
        let by_pool = snapshot.node_pools.keys().map(|name| (name.clone(), types.clone())).collect();
        let catalog = Overlays::of(&snapshot, &Catalog { by_pool });
        Ok(World { snapshot, catalog, unavailable })
    }
}

fn settings(form: &schema::SettingsForm) -> Settings {
    let default = Settings::default();
    let gates = default.feature_gates.clone();
    Settings {
        preference_policy: form.preference_policy.unwrap_or(default.preference_policy),
        min_values_policy: form.min_values_policy.unwrap_or(default.min_values_policy),
        max_instance_types: form.max_instance_types.unwrap_or(default.max_instance_types),
        fewer_nodes_within_permille: (form.fewer_nodes_within_permille).unwrap_or(default.fewer_nodes_within_permille),
        forceful_expiration: form.forceful_expiration.unwrap_or(default.forceful_expiration),
        forceful_repair: form.forceful_repair.unwrap_or(default.forceful_repair),
        feature_gates: FeatureGates {
            spot_to_spot_consolidation: form.spot_to_spot_consolidation.unwrap_or(gates.spot_to_spot_consolidation),
            reserved_capacity: form.reserved_capacity.unwrap_or(gates.reserved_capacity),
            node_repair: form.node_repair.unwrap_or(gates.node_repair),
            static_capacity: form.static_capacity.unwrap_or(gates.static_capacity),
            capacity_buffer: gates.capacity_buffer,
            node_overlay: gates.node_overlay,
        },
        ..default
    }
}
