//! A NodePool and its instance types as arrays.

use super::{
    bits::Bits,
    daemons::{Daemon, DaemonGroup},
    dimensions::{Dimensions, is_within},
    indexed_catalog::{IndexedType, TypeIndex},
    key_index::KeyIndex,
};
use crate::{
    api::{NodePool, conditions, labels},
    model::{
        Incompatible, InstanceType, NODES, NodePoolName, Offering, Operator, Requirement, Requirements, Resources,
        WellKnownLabels, WhyNot,
    },
};
use k8s_openapi::api::core::v1::Taint;
use std::{collections::BTreeMap, sync::Arc};

/// Labels that nodes of a pool will have though they are not written into NodeClaims, so that daemons that select by them are
/// counted (spec core 2.4).
const SIMULATED: [&str; 2] = [labels::REGISTERED, labels::INITIALIZED];

/// A pool from which machines can be launched.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) name: NodePoolName,
    pub(super) weight: i32,
    pub(super) object: Arc<NodePool>,
    /// What holds of every node of the pool.
    pub(super) template: Requirements,
    /// Labels of its NodeClaims.
    pub(super) labels: BTreeMap<String, String>,
    /// By name; each with at least one offering.
    pub(super) types: Vec<PoolType>,
    index: KeyIndex,
    pub(super) daemon_groups: Vec<DaemonGroup>,
    /// What may still be launched, by dimension; `i64::MAX` where there is no limit.
    pub(super) left: Vec<i64>,
    /// How many nodes may still be launched.
    pub(super) nodes_left: i64,
    pub(super) limited: bool,
}

/// An instance type as one pool may launch it.
#[derive(Debug)]
pub(super) struct PoolType {
    pub(super) kind: Arc<InstanceType>,
    /// Capacity by dimension: what counts against limits.
    pub(super) capacity: Vec<i64>,
    /// What is left for pods once daemons run, by dimension.
    pub(super) room: Vec<i64>,
    /// Position in the pool's `daemon_groups`.
    pub(super) daemon_group: usize,
    /// Offerings in stock that the pool allows: interned requirements, and position in the type's `offerings`.
    pub(super) offerings: Vec<PoolOffering>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct PoolOffering {
    pub(super) signature: usize,
    pub(super) position: usize,
}

/// What a pool could launch for some requirements.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    /// The requirements and the pool's template together.
    pub(super) requirements: Requirements,
    /// Positions in the pool's `types`.
    pub(super) types: Bits,
    /// Interned offering requirements.
    pub(super) signatures: Bits,
}

impl PoolType {
    pub(super) fn offering(&self, offering: PoolOffering) -> &Offering {
        &self.kind.offerings[offering.position]
    }

    /// The offerings that are admitted.
    pub(super) fn admitted<'a>(&'a self, by: &Admission) -> impl Iterator<Item = (PoolOffering, &'a Offering)> {
        let admitted = self.offerings.iter().copied().filter(|own| by.signatures.contains(own.signature));
        admitted.map(|own| (own, self.offering(own)))
    }
}

impl Pool {
    pub(super) fn taints(&self) -> &[Taint] {
        &self.object.spec.template.spec.taints
    }

    /// Whether only so much, or so many nodes, may be launched.
    pub(super) fn is_limited(&self) -> bool {
        self.limited || self.nodes_left != i64::MAX
    }

    /// The values that the pool or its types list for `key`.
    pub(super) fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        self.index.values(key).chain(self.template.get(key).into_iter().flat_map(crate::model::Requirement::values))
    }

    /// The keys of which at least so many values must remain.
    pub(super) fn min_values(&self) -> impl Iterator<Item = (&str, u32)> {
        self.template.iter().filter_map(|requirement| Some((requirement.key(), requirement.min_values()?)))
    }

    /// What the pool could launch for `asked`. Every label must come from somewhere: the pool, the instance type or the
    /// offering; a well-known label that none of them states is unknown (the reference would launch in hope).
    pub(super) fn admit(
        &self,
        asked: &Requirements,
        signatures: &KeyIndex,
        well_known: &WellKnownLabels,
    ) -> Result<Admission, Incompatible> {
        let mut admission = Admission {
            requirements: self.template.clone(),
            types: Bits::all(self.types.len()),
            signatures: Bits::all(signatures.size()),
        };
        for requirement in asked.iter() {
            self.narrow(&mut admission, requirement, signatures, well_known)?;
        }
        Ok(admission)
    }

    fn narrow(
        &self,
        admission: &mut Admission,
        asked: &Requirement,
        signatures: &KeyIndex,
        well_known: &WellKnownLabels,
    ) -> Result<(), Incompatible> {
        let key = asked.key();
        let own = admission.requirements.get(key);
        let (by_type, by_offering) = (self.index.get(key).is_some(), signatures.get(key).is_some());
        let allowed =
            if by_type || by_offering { WellKnownLabels::none().with([key]) } else { WellKnownLabels::none() };
        let one = || Requirements::from_iter([asked.clone()]);
        if let Err(refused) = admission.requirements.compatible(&one(), &allowed) {
            return Err(match refused {
                Incompatible::UnknownLabel { .. } => {
                    let known = self
                        .index
                        .keys()
                        .chain(signatures.keys())
                        .chain(well_known.iter())
                        .filter(|known| *known != key);
                    admission.requirements.unknown_label(key, &WellKnownLabels::none().with(known))
                }
                other => other,
            });
        }
        let stated = own.is_some();
        let merged = own.map_or_else(|| asked.clone(), |own| own.intersection(asked));
        let silent = stated || merged.allows_absent();
        admission.types.intersect(&self.index.satisfying(&merged, silent || by_offering));
        admission.signatures.intersect(&signatures.satisfying(&merged, silent || by_type));
        admission.requirements.add(asked.clone());
        Ok(())
    }

    /// Whether `capacity` of a further node is within what the pool may still launch.
    pub(super) fn within_limits(left: &[i64], nodes_left: i64, capacity: &[i64]) -> bool {
        nodes_left > 0 && is_within(capacity, left)
    }

    /// Requirements as they are written into a NodeClaim: without what only the simulation knows.
    pub(super) fn written(requirements: &Requirements) -> Requirements {
        let hidden = |key: &str| SIMULATED.contains(&key) || key == labels::HOSTNAME;
        requirements.iter().filter(|requirement| !hidden(requirement.key())).cloned().collect()
    }
}

/// Everything that a pool is built from.
pub(super) struct PoolParts<'a> {
    pub(super) name: &'a NodePoolName,
    pub(super) object: &'a Arc<NodePool>,
    pub(super) types: Option<&'a TypeIndex>,
    pub(super) dimensions: &'a Dimensions,
    pub(super) daemons: &'a [Daemon],
    /// Whether the pool is made of what can be bought now, or of what could be if it were in stock.
    pub(super) in_stock: bool,
    /// What the pool's machines have already, with `nodes`.
    pub(super) used: &'a Resources,
    pub(super) well_known: &'a WellKnownLabels,
}

/// Of the catalog's distinct offering requirements those that some pool may use, numbered as they are met.
pub(super) struct Signatures<'a> {
    all: &'a [Requirements],
    numbers: Vec<Option<usize>>,
    used: Vec<usize>,
}

impl<'a> Signatures<'a> {
    pub(super) fn new(all: &'a [Requirements]) -> Self {
        Self { all, numbers: vec![None; all.len()], used: Vec::new() }
    }

    /// Those that were numbered, in order.
    pub(super) fn used(&self) -> Vec<&'a Requirements> {
        self.used.iter().map(|index| &self.all[*index]).collect()
    }

    fn number(&mut self, index: usize) -> usize {
        let next = self.used.len();
        let number = *self.numbers[index].get_or_insert(next);
        if number == next {
            self.used.push(index);
        }
        number
    }
}

impl PoolParts<'_> {
    /// The pool.
    ///
    /// # Errors
    /// Why nothing can be launched from it.
    pub(super) fn build(&self, signatures: &mut Signatures<'_>) -> Result<Pool, WhyNot> {
        let labels = self.labels();
        let template = self.template(&labels);
        let index = self.types.ok_or(WhyNot::NoTypes)?;
        if template.contradiction().is_some() {
            return Err(WhyNot::NoTypes);
        }
        let mut admitted = Bits::all(index.types.len());
        template.iter().for_each(|asked| admitted.intersect(&index.stated.satisfying(asked, true)));
        let allowed: Vec<bool> = signatures.all.iter().map(|own| template.intersects(own)).collect();
        let built = admitted
            .iter()
            .filter_map(|position| Some((position, self.pool_type(&index.types[position], &allowed, signatures)?)));
        let (positions, types): (Vec<usize>, Vec<PoolType>) = built.unzip();
        if types.is_empty() {
            return Err(WhyNot::NoTypes);
        }
        let (left, nodes_left) = self.left();
        let mut pool = Pool {
            name: self.name.clone(),
            weight: self.object.spec.weight.unwrap_or(0),
            object: self.object.clone(),
            template,
            labels,
            index: index.stated.of_only(&positions),
            types,
            daemon_groups: Vec::new(),
            limited: !self.object.spec.limits.is_empty(),
            left,
            nodes_left,
        };
        self.add_daemons(&mut pool);
        Ok(pool)
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let template = &self.object.spec.template;
        let mut labels = template.metadata.labels.clone();
        labels.insert(labels::NODE_POOL.to_owned(), self.name.to_string());
        let class = &template.spec.node_class_ref;
        if !class.kind.is_empty() {
            labels.insert(class.label(), class.name.clone());
        }
        labels
    }

    fn template(&self, labels: &BTreeMap<String, String>) -> Requirements {
        let mut template = Requirements::from_specs(&self.object.spec.template.spec.requirements);
        template.extend(&Requirements::from_labels(labels));
        SIMULATED.into_iter().for_each(|key| template.add(Requirement::new(key, Operator::In, ["true"])));
        template
    }

    /// A type that the pool admits, if one of its offerings counts.
    fn pool_type(&self, own: &IndexedType, allowed: &[bool], signatures: &mut Signatures<'_>) -> Option<PoolType> {
        let counts = |(_, offering): &(usize, &Offering)| offering.available == self.in_stock;
        let offerings: Vec<PoolOffering> = (own.kind.offerings.iter().enumerate().filter(counts))
            .filter(|(position, _)| allowed[own.signatures[*position]])
            .map(|(position, _)| PoolOffering { signature: signatures.number(own.signatures[position]), position })
            .collect();
        (!offerings.is_empty()).then(|| PoolType {
            capacity: self.dimensions.array(&own.kind.capacity),
            room: self.dimensions.room(&own.allocatable),
            kind: own.kind.clone(),
            daemon_group: 0,
            offerings,
        })
    }

    /// Limits less what is used. Everything that still runs counts, also what is going away: limits are never overshot, which
    /// differs from the reference.
    fn left(&self) -> (Vec<i64>, i64) {
        let limits = Resources::of_capacity(&self.object.spec.limits);
        let left_of = |name: &str| {
            let limit = limits.contains(name).then(|| limits.get(name));
            limit.map_or(i64::MAX, |limit| limit.saturating_sub(self.used.get(name)))
        };
        let left = (0..self.dimensions.len()).map(|index| left_of(self.dimensions.name(index))).collect();
        (left, left_of(NODES))
    }

    fn add_daemons(&self, pool: &mut Pool) {
        let signatures = KeyIndex::default();
        let wanted: Vec<(usize, Bits)> = (self.daemons.iter().enumerate())
            .map(|(position, daemon)| (position, daemon.types_of(pool, &signatures, self.well_known)))
            .collect();
        let mut groups: BTreeMap<Vec<usize>, usize> = BTreeMap::new();
        for index in 0..pool.types.len() {
            let set: Vec<usize> =
                wanted.iter().filter(|(_, types)| types.contains(index)).map(|(position, _)| *position).collect();
            let next = groups.len();
            let group = *groups.entry(set.clone()).or_insert(next);
            if group == next {
                pool.daemon_groups.push(DaemonGroup::of(set.iter().map(|position| &self.daemons[*position])));
            }
            let overhead = self.dimensions.array(&pool.daemon_groups[group].requests);
            let kind = &mut pool.types[index];
            kind.daemon_group = group;
            super::dimensions::take(&overhead, &mut kind.room, 1);
        }
    }
}

/// What a type's nodes are labelled with; the type's own name is stated where the catalog leaves it out.
pub(super) fn type_requirements(kind: &InstanceType) -> Requirements {
    let mut requirements = kind.requirements.clone();
    if !requirements.contains(labels::INSTANCE_TYPE) {
        requirements.add(Requirement::new(labels::INSTANCE_TYPE, Operator::In, [&kind.name]));
    }
    // Zone and capacity type are the offering's to say.
    requirements.remove(labels::ZONE);
    requirements.remove(labels::CAPACITY_TYPE);
    requirements
}

/// What nodes bought through an offering are labelled with.
pub(super) fn offering_requirements(offering: &Offering) -> Requirements {
    let mut requirements = offering.requirements.clone();
    for (key, value) in
        [(labels::ZONE, offering.zone.as_str()), (labels::CAPACITY_TYPE, offering.capacity_type.as_str())]
    {
        if !requirements.contains(key) {
            requirements.add(Requirement::new(key, Operator::In, [value]));
        }
    }
    requirements
}

/// Why nothing may be launched from a pool by its own state: it is being deleted, static (none: it is not a pool of this kind),
/// or says that it is not ready. A pool that says nothing of its readiness counts as ready.
pub(super) fn unready(pool: &NodePool) -> Option<WhyNot> {
    if pool.metadata.deletion_timestamp.is_some() {
        return Some(WhyNot::PoolNotReady { message: "it is being deleted".to_owned() });
    }
    let ready = conditions::find(&pool.status.as_ref()?.conditions, conditions::READY)?;
    let message = if ready.message.is_empty() { ready.reason.clone() } else { ready.message.clone() };
    (ready.status != conditions::TRUE).then_some(WhyNot::PoolNotReady { message })
}
