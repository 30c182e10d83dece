//! A snapshot and a catalog, made ready.

use super::{
    daemons::Daemon,
    dimensions::Dimensions,
    existing::ExistingNode,
    indexed_catalog::IndexedCatalog,
    key_index::KeyIndex,
    pool::{Pool, PoolParts, Signatures, unready},
    running::{Moving, Running, Tally},
    scopes::KnownOffers,
    sold_out::SoldOut,
    topology::{Group, Groups, required_anti},
    volumes::limited_drivers,
};
use crate::{
    api::labels,
    model::{
        Catalog, ClusterSnapshot, NODES, NodePoolName, PREFER_NO_SCHEDULE, Resources, StateNode, WellKnownLabels,
        WhyNot, is_active,
    },
};
use k8s_openapi::api::core::v1::{Pod, Taint};
use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};

/// What many solves of one snapshot share: pools, types, offerings, daemons and nodes as arrays and bit sets. Make it once per
/// snapshot.
#[derive(Debug)]
pub struct Prepared<'a> {
    snapshot: &'a ClusterSnapshot,
    catalog: IndexedCatalog,
    pub(super) dimensions: Dimensions,
    /// By weight, heaviest first, then by name.
    pub(super) pools: Vec<Pool>,
    /// Pools from which nothing can be launched, and why; in the same order.
    pub(super) closed: Vec<(NodePoolName, WhyNot)>,
    /// The distinct requirements of offerings.
    pub(super) signatures: KeyIndex,
    /// Machines that may take pods: initialized ones first, then by name.
    pub(super) nodes: Vec<ExistingNode>,
    /// Running pods that keep others away by required anti-affinity.
    keepers: Vec<Arc<Pod>>,
    pub(super) well_known: WellKnownLabels,
    /// Whether something keeps pods away where another node will do, so that tolerating that is worth a try.
    pub(super) prefers_no_schedule: bool,
    daemons: Vec<Daemon>,
    /// Counted when the first solve asks about pods that run.
    running: OnceLock<Running>,
    /// Worked out when the first pod lacks a type: most solves never ask.
    sold_out: OnceLock<SoldOut>,
    pub(super) known_offers: KnownOffers,
}

/// What pools are made of.
struct PoolFacts<'a> {
    snapshot: &'a ClusterSnapshot,
    catalog: &'a IndexedCatalog,
    dimensions: &'a Dimensions,
    daemons: &'a [Daemon],
    well_known: &'a WellKnownLabels,
}

/// Every pool of a snapshot that is not static.
pub(super) struct Pools {
    /// By weight, heaviest first, then by name.
    pub(super) open: Vec<Pool>,
    /// Those from which nothing can be launched, and why; in the order of the snapshot.
    pub(super) closed: Vec<(NodePoolName, WhyNot)>,
    /// The distinct requirements of offerings.
    pub(super) signatures: KeyIndex,
}

impl<'a> Prepared<'a> {
    /// Makes `snapshot` ready, and `catalog` where that has not been done.
    pub fn new(snapshot: &'a ClusterSnapshot, catalog: impl Into<IndexedCatalog>) -> Self {
        let catalog: IndexedCatalog = catalog.into();
        let daemons: Vec<Daemon> = snapshot.daemon_sets.iter().filter_map(|set| Daemon::of(set)).collect();
        let dimensions = dimensions(snapshot, &catalog);
        let well_known = well_known(snapshot, &catalog);
        let nodes = existing_nodes(snapshot, &dimensions, &daemons);
        let facts = PoolFacts {
            snapshot,
            catalog: &catalog,
            dimensions: &dimensions,
            daemons: &daemons,
            well_known: &well_known,
        };
        let Pools { open: pools, closed, signatures } = facts.pools(true);
        let prefers = |taints: &[Taint]| taints.iter().any(|taint| taint.effect == PREFER_NO_SCHEDULE);
        let prefers_no_schedule =
            pools.iter().any(|pool| prefers(pool.taints())) || nodes.iter().any(|node| prefers(&node.taints));
        let keepers = keepers(snapshot, &nodes);
        Self {
            snapshot,
            catalog,
            dimensions,
            pools,
            closed,
            signatures,
            nodes,
            keepers,
            well_known,
            prefers_no_schedule,
            daemons,
            running: OnceLock::new(),
            sold_out: OnceLock::new(),
            known_offers: KnownOffers::default(),
        }
    }

    /// What pools could launch besides, were it in stock.
    pub(super) fn sold_out(&self) -> &SoldOut {
        self.sold_out.get_or_init(|| SoldOut::of(self.facts().pools(false)))
    }

    /// What runs on the machines.
    pub(super) fn running(&self) -> &Running {
        self.running.get_or_init(|| {
            let mut kept_away = Groups::new(&self.snapshot.namespaces);
            for pod in &self.keepers {
                for term in required_anti(pod) {
                    kept_away.of_term(pod, term);
                }
            }
            Running::of(&self.nodes, kept_away.into_list())
        })
    }

    /// Counts what runs now rather than when the first solve asks.
    pub(crate) fn count_running(&self) {
        self.running().count(self.snapshot, &self.nodes);
    }

    /// The groups that some running pod keeps away, each once.
    pub(super) fn kept_away(&self) -> &[Group] {
        if self.keepers.is_empty() { &[] } else { &self.running().kept_away }
    }

    /// Those of `pods` that run on machines that are not `gone`.
    pub(super) fn moving(&self, pods: &[Arc<Pod>], gone: &BTreeSet<usize>) -> Moving {
        self.running().moving(pods, gone, (self.snapshot, &self.nodes))
    }

    /// The pods that keep a group away; none if there are none.
    pub(super) fn keepers_of(&self, identity: &str) -> Option<&Tally> {
        self.running().keepers(identity, self.snapshot, &self.nodes)
    }

    /// The pods that a group selects.
    pub(super) fn selected_by(&self, group: &Group) -> Arc<Tally> {
        self.running().selected(group, self.snapshot, &self.nodes)
    }

    /// The values that machines have, or may have, for a label.
    pub(super) fn values_with_nodes(&self, key: &str) -> Arc<BTreeSet<String>> {
        self.running().values(key, &self.nodes, || self.values_of(key))
    }

    fn facts(&self) -> PoolFacts<'_> {
        PoolFacts {
            snapshot: self.snapshot,
            catalog: &self.catalog,
            dimensions: &self.dimensions,
            daemons: &self.daemons,
            well_known: &self.well_known,
        }
    }

    /// The values that machines of some pool may have for the label `key`.
    pub(super) fn values_of(&self, key: &str) -> BTreeSet<String> {
        let by_pool = self.pools.iter().flat_map(|pool| pool.values(key));
        self.signatures.values(key).chain(by_pool).map(str::to_owned).collect()
    }

    /// The snapshot.
    pub fn snapshot(&self) -> &'a ClusterSnapshot {
        self.snapshot
    }

    /// The catalog.
    pub fn catalog(&self) -> &Catalog {
        self.catalog.catalog()
    }
}

impl PoolFacts<'_> {
    /// The pools, made of what is in stock or of what is not.
    fn pools(&self, in_stock: bool) -> Pools {
        let mut signatures = Signatures::new(self.catalog.signatures());
        let (mut open, mut closed) = (Vec::new(), Vec::new());
        for (name, object) in &self.snapshot.node_pools {
            if object.spec.is_static() {
                continue;
            }
            let used = &used_by(self.snapshot, self.catalog.catalog(), name);
            let types = self.catalog.of(name);
            let Self { dimensions, daemons, well_known, .. } = *self;
            let parts = PoolParts { name, object, types, dimensions, daemons, in_stock, used, well_known };
            let built = unready(object).map_or_else(|| parts.build(&mut signatures), Err);
            match built {
                Ok(pool) => open.push(pool),
                Err(why) => closed.push((name.clone(), why)),
            }
        }
        open.sort_by(|a, b| (b.weight, &a.name).cmp(&(a.weight, &b.name)));
        Pools { open, closed, signatures: KeyIndex::new(signatures.used().iter().copied()) }
    }
}

fn dimensions(snapshot: &ClusterSnapshot, catalog: &IndexedCatalog) -> Dimensions {
    let nodes: Vec<Resources> = snapshot.nodes.iter().map(StateNode::allocatable).collect();
    Dimensions::of(catalog.resources(), nodes.iter(), &limited_drivers(&snapshot.storage))
}

/// Keys that the controller, the cloud or the catalog defines.
fn well_known(snapshot: &ClusterSnapshot, catalog: &IndexedCatalog) -> WellKnownLabels {
    let of_cloud = snapshot.settings.well_known_labels.iter().cloned();
    WellKnownLabels::default().with(of_cloud).with(catalog.keys().iter().cloned())
}

fn existing_nodes(snapshot: &ClusterSnapshot, dimensions: &Dimensions, daemons: &[Daemon]) -> Vec<ExistingNode> {
    let usable = snapshot.nodes.iter().enumerate().filter(|(_, node)| !node.is_going_away());
    let mut nodes: Vec<ExistingNode> =
        usable.map(|(index, node)| ExistingNode::of(index, node, dimensions, daemons, &snapshot.storage)).collect();
    nodes.sort_by(|a, b| (!a.initialized, &a.name).cmp(&(!b.initialized, &b.name)));
    nodes
}

fn keepers(snapshot: &ClusterSnapshot, nodes: &[ExistingNode]) -> Vec<Arc<Pod>> {
    let running = nodes.iter().flat_map(|node| &snapshot.nodes[node.index].pods);
    running.filter(|pod| is_active(pod) && required_anti(pod).next().is_some()).cloned().collect()
}

/// What the machines of a pool have, `nodes` included. One that has not been launched counts as the largest that it may become.
fn used_by(snapshot: &ClusterSnapshot, catalog: &Catalog, pool: &NodePoolName) -> Resources {
    let mut used = Resources::new().with(NODES, 0);
    let own = snapshot.nodes.iter().filter(|node| node.node_pool().as_ref() == Some(pool));
    for node in own {
        let capacity = node.capacity();
        let known = capacity.iter().any(|(name, amount)| name != NODES && amount > 0);
        used.add(&if known { capacity } else { largest_possible(node, catalog, pool).with(NODES, 1) });
    }
    used
}

fn largest_possible(node: &StateNode, catalog: &Catalog, pool: &NodePoolName) -> Resources {
    let allowed = node.known_labels();
    let names = allowed.get(labels::INSTANCE_TYPE);
    let possible = catalog.of(pool).iter().filter(|kind| names.is_none_or(|names| names.has(&kind.name)));
    possible.fold(Resources::new(), |largest, kind| largest.max(&kind.capacity))
}
