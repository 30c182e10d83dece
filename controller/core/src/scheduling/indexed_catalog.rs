//! A catalog made ready for many snapshots.

use super::{
    key_index::KeyIndex,
    pool::{offering_requirements, type_requirements},
};
use crate::model::{Catalog, InstanceType, NodePoolName, Requirements, Resources};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A [`Catalog`] with what solves need of it besides: indices of the types' labels and the distinct requirements of offerings.
/// Make it once per catalog; clones share it.
#[derive(Clone, Debug)]
pub struct IndexedCatalog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    catalog: Catalog,
    by_pool: BTreeMap<NodePoolName, Arc<TypeIndex>>,
    signatures: Vec<Requirements>,
    keys: BTreeSet<String>,
    resources: BTreeSet<String>,
}

/// The types of one pool, by name, with what follows from them alone.
#[derive(Debug)]
pub(super) struct TypeIndex {
    pub(super) types: Vec<IndexedType>,
    /// What the types' nodes are labelled with, by position in `types`.
    pub(super) stated: KeyIndex,
}

#[derive(Debug)]
pub(super) struct IndexedType {
    pub(super) kind: Arc<InstanceType>,
    pub(super) allocatable: Resources,
    /// The number of each offering's requirements.
    pub(super) signatures: Vec<usize>,
}

impl IndexedCatalog {
    /// Indexes `catalog`.
    pub fn new(catalog: Catalog) -> Self {
        let mut interned: BTreeMap<Requirements, usize> = BTreeMap::new();
        let mut by_pool: BTreeMap<NodePoolName, Arc<TypeIndex>> = BTreeMap::new();
        for (name, types) in &catalog.by_pool {
            let known = by_pool.values().find(|index| index.is_of(types)).cloned();
            let index = known.unwrap_or_else(|| Arc::new(TypeIndex::new(types, &mut interned)));
            by_pool.insert(name.clone(), index);
        }
        let types = || by_pool.values().flat_map(|index| &index.types);
        let by_offering = interned.keys().flat_map(Requirements::keys);
        let by_type = types().flat_map(|own| own.kind.requirements.keys());
        let resources = types().flat_map(|own| own.kind.capacity.iter()).map(|(name, _)| name.to_owned());
        Self(Arc::new(Inner {
            keys: by_type.chain(by_offering).map(str::to_owned).collect(),
            resources: resources.collect(),
            signatures: in_order(interned),
            by_pool,
            catalog,
        }))
    }

    /// The catalog itself.
    pub fn catalog(&self) -> &Catalog {
        &self.0.catalog
    }

    /// The types of `pool`; none where nothing is known.
    pub(super) fn of(&self, pool: &NodePoolName) -> Option<&TypeIndex> {
        self.0.by_pool.get(pool).map(Arc::as_ref)
    }

    /// The distinct requirements of offerings, by their numbers.
    pub(super) fn signatures(&self) -> &[Requirements] {
        &self.0.signatures
    }

    /// The label keys of which types or offerings say something.
    pub(super) fn keys(&self) -> &BTreeSet<String> {
        &self.0.keys
    }

    /// The resources that some type has.
    pub(super) fn resources(&self) -> &BTreeSet<String> {
        &self.0.resources
    }
}

/// Nothing can be bought.
impl Default for IndexedCatalog {
    fn default() -> Self {
        Self::new(Catalog::default())
    }
}

impl From<&Catalog> for IndexedCatalog {
    fn from(catalog: &Catalog) -> Self {
        Self::new(catalog.clone())
    }
}

impl From<&Self> for IndexedCatalog {
    fn from(catalog: &Self) -> Self {
        catalog.clone()
    }
}

impl TypeIndex {
    fn new(types: &[Arc<InstanceType>], interned: &mut BTreeMap<Requirements, usize>) -> Self {
        let mut by_name: Vec<&Arc<InstanceType>> = types.iter().collect();
        by_name.sort_by(|a, b| a.name.cmp(&b.name));
        let stated: Vec<Requirements> = by_name.iter().map(|kind| type_requirements(kind)).collect();
        let indexed = |kind: &Arc<InstanceType>| IndexedType {
            kind: kind.clone(),
            allocatable: kind.allocatable(),
            signatures: kind.offerings.iter().map(|own| intern(interned, offering_requirements(own))).collect(),
        };
        Self { stated: KeyIndex::new(stated.iter()), types: by_name.into_iter().map(indexed).collect() }
    }

    /// Whether it was made of `types`, which providers hand out sorted by name.
    fn is_of(&self, types: &[Arc<InstanceType>]) -> bool {
        self.types.len() == types.len() && self.types.iter().zip(types).all(|(own, kind)| Arc::ptr_eq(&own.kind, kind))
    }
}

/// The number of a requirement set; a new one gets the next.
fn intern(interned: &mut BTreeMap<Requirements, usize>, set: Requirements) -> usize {
    let next = interned.len();
    *interned.entry(set).or_insert(next)
}

fn in_order(interned: BTreeMap<Requirements, usize>) -> Vec<Requirements> {
    let mut sets: Vec<(usize, Requirements)> = interned.into_iter().map(|(set, number)| (number, set)).collect();
    sets.sort_by_key(|(number, _)| *number);
    sets.into_iter().map(|(_, set)| set).collect()
}
