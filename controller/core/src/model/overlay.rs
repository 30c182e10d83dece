//! NodeOverlays: what users say of machines that their cloud does not know (spec core 1.6, 2.20).

use super::{
    Catalog, ClusterSnapshot, InstanceType, NodePoolName, Offering, Operator, Price, Requirement, Requirements,
    Resources,
};
use crate::api::{NodeOverlay, NodePool, Problem, labels, validate_node_overlay};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

/// Nano-percent in a whole.
const WHOLE: i128 = 100 * 1_000_000_000;

/// The NodeOverlays that count, and why the others do not.
///
/// Evaluated against everything that can be bought: whether two say different things of the same is seen there only. Unlike the
/// reference's, whose pools sell nothing until a loop has got to them, every decision finds them evaluated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlays {
    /// The heaviest first; of equally heavy ones the later name.
    accepted: Vec<Overlay>,
    refused: BTreeMap<String, WhyRefused>,
}

/// Why an overlay does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhyRefused {
    /// It is wrong in itself.
    Invalid(Vec<Problem>),
    /// Another one of the same weight says something of the same.
    Conflict {
        /// The other one.
        with: String,
        /// Of what, e.g. what `m5.large` of NodePool `default` costs.
        about: String,
    },
}

impl WhyRefused {
    /// The reason of the condition.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "RuntimeValidation",
            Self::Conflict { .. } => "Conflict",
        }
    }
}

impl fmt::Display for WhyRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(problems) => {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                f.write_str(&problems.join("; "))
            }
            Self::Conflict { with, about } => write!(
                f,
                "conflict with another overlay: `{with}` has the same weight and says {about} too; give one of them another weight"
            ),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Overlay {
    name: String,
    weight: i32,
    requirements: Requirements,
    price: Option<PriceChange>,
    capacity: Resources,
}

/// What becomes of a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PriceChange {
    /// It is this.
    To(Price),
    /// So much is added, or taken away where it is negative.
    By(Price),
    /// So many nano-percent of it are added, or taken away where that is negative.
    ByShare(i64),
}

impl PriceChange {
    /// What `spec.price` says.
    fn absolute(text: &str) -> Option<Self> {
        text.parse().ok().filter(|price| *price >= Price::ZERO).map(Self::To)
    }

    /// What `spec.priceAdjustment` says.
    fn adjustment(text: &str) -> Option<Self> {
        let (number, share) = text.strip_suffix('%').map_or((text, false), |number| (number, true));
        let amount: Price = Some(number).filter(|text| text.starts_with(['+', '-']))?.parse().ok()?;
        Some(if share { Self::ByShare(amount.nanos()) } else { Self::By(amount) })
    }

    /// The new price in place of `price`; never below zero.
    fn of(self, price: Price) -> Price {
        let changed = match self {
            Self::To(own) => own,
            Self::By(difference) => price.saturating_add(difference),
            Self::ByShare(share) => {
                let nanos = i128::from(price.nanos()) * (WHOLE + i128::from(share)) / WHOLE;
                Price::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
            }
        };
        changed.max(Price::ZERO)
    }
}

impl Overlay {
    fn read(object: &NodeOverlay) -> Result<Self, Vec<Problem>> {
        let mut problems = validate_node_overlay(object);
        let spec = &object.spec;
        let mut wrong = |field: &str, text: &str, right: &str| {
            problems.push(Problem { field: field.to_owned(), message: format!("`{text}` is no price: use {right}") });
        };
        let mut price = None;
        if let Some(text) = &spec.price {
            price = PriceChange::absolute(text);
            if price.is_none() {
                wrong("spec.price", text, "dollars per hour such as `0.096`");
            }
        }
        if let Some(text) = &spec.price_adjustment {
            price = PriceChange::adjustment(text);
            if price.is_none() {
                wrong(
                    "spec.priceAdjustment",
                    text,
                    "dollars per hour such as `+0.05` or `-0.05`, or a share such as `-10%`",
                );
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            name: name_of(object).to_owned(),
            weight: weight_of(object),
            requirements: spec.requirements.iter().map(|own| Requirement::from_spec(&own.to_spec())).collect(),
            price,
            capacity: Resources::of_capacity(&spec.capacity),
        })
    }

    /// The offerings of a type that it is about, with their positions.
    fn offerings<'a>(
        &self,
        labels: &Requirements,
        kind: &'a InstanceType,
    ) -> impl Iterator<Item = (usize, &'a Offering)> {
        kind.offerings.iter().enumerate().filter(|(_, offering)| self.is_about(labels, kind, offering))
    }

    /// Whether it is about machines that are bought so. Every label that it asks for must be stated: by the pool's template, by
    /// the type or by the offering.
    fn is_about(&self, labels: &Requirements, kind: &InstanceType, offering: &Offering) -> bool {
        let stated = [labels, &kind.requirements, &offering.requirements];
        self.requirements.iter().all(|asked| {
            let mut stated = stated.iter().filter_map(|own| own.get(asked.key())).peekable();
            match stated.peek() {
                Some(_) => stated.all(|own| own.compatible(asked)),
                // Catalogs may leave a type's own name out.
                None if asked.key() == labels::INSTANCE_TYPE => asked.has(&kind.name),
                None => asked.allows_absent(),
            }
        })
    }
}

/// A pool's types, with what its template says of all of them.
struct Scope<'a> {
    pool: &'a NodePoolName,
    labels: Requirements,
    types: &'a [Arc<InstanceType>],
}

impl<'a> Scope<'a> {
    fn new(pool: &'a NodePoolName, object: &NodePool, types: &'a [Arc<InstanceType>]) -> Self {
        let mut labels = Requirements::from_labels(&object.spec.template.metadata.labels);
        labels.add(Requirement::new(labels::NODE_POOL, Operator::In, [pool.as_str()]));
        Self { pool, labels, types }
    }

    fn all(catalog: &'a Catalog, node_pools: &BTreeMap<NodePoolName, Arc<NodePool>>) -> Vec<Self> {
        let known = catalog.by_pool.iter().filter_map(|(name, types)| Some((name, node_pools.get(name)?, types)));
        known.map(|(name, object, types)| Self::new(name, object, types)).collect()
    }
}

/// Of what an overlay says something: of a type of a pool, an offering's price or how much there is of a resource.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Price { scope: usize, kind: usize, offering: usize },
    Capacity { scope: usize, kind: usize, resource: String },
}

impl Subject {
    fn describe(&self, scopes: &[Scope<'_>]) -> String {
        match self {
            Self::Price { scope, kind, offering } => {
                let (pool, kind) = (scopes[*scope].pool, &scopes[*scope].types[*kind]);
                let Offering { zone, capacity_type, .. } = &kind.offerings[*offering];
                format!("what `{}` costs {capacity_type} in {zone} for NodePool `{pool}`", kind.name)
            }
            Self::Capacity { scope, kind, resource } => {
                let (pool, kind) = (scopes[*scope].pool, &scopes[*scope].types[*kind]);
                format!("how much `{resource}` `{}` has for NodePool `{pool}`", kind.name)
            }
        }
    }
}

impl Overlays {
    /// Sorts `overlays` out, against all that `catalog` offers to `node_pools`.
    pub fn evaluate(
        catalog: &Catalog,
        node_pools: &BTreeMap<NodePoolName, Arc<NodePool>>,
        overlays: &[Arc<NodeOverlay>],
    ) -> Self {
        let scopes = Scope::all(catalog, node_pools);
        let mut heaviest_first: Vec<&Arc<NodeOverlay>> = overlays.iter().collect();
        heaviest_first.sort_by(|a, b| (weight_of(b), name_of(b)).cmp(&(weight_of(a), name_of(a))));
        let mut found = Self::default();
        // Who said something last, thus with the least weight so far.
        let mut said: BTreeMap<Subject, usize> = BTreeMap::new();
        for object in heaviest_first {
            let verdict = Overlay::read(object).map_err(WhyRefused::Invalid).and_then(|own| {
                let subjects = subjects(&own, &scopes);
                let other = |subject: &Subject| said.get(subject).map(|index| &found.accepted[*index]);
                let conflict = subjects.iter().find_map(|subject| {
                    let other = other(subject).filter(|other| other.weight == own.weight)?;
                    Some(WhyRefused::Conflict { with: other.name.clone(), about: subject.describe(&scopes) })
                });
                conflict.map_or(Ok((own, subjects)), Err)
            });
            match verdict {
                Ok((own, subjects)) => {
                    said.extend(subjects.into_iter().map(|subject| (subject, found.accepted.len())));
                    found.accepted.push(own);
                }
                Err(why) => {
                    found.refused.insert(name_of(object).to_owned(), why);
                }
            }
        }
        found
    }

    /// Everything that is wrong with `overlay` in itself; empty where it can be used.
    pub fn problems(overlay: &NodeOverlay) -> Vec<Problem> {
        Overlay::read(overlay).err().unwrap_or_default()
    }

    /// `catalog` with what the snapshot's overlays say.
    pub fn of(snapshot: &ClusterSnapshot, catalog: &Catalog) -> Catalog {
        Self::evaluate(catalog, &snapshot.node_pools, &snapshot.node_overlays).catalog(catalog, &snapshot.node_pools)
    }

    /// Why the overlay of this name does not count; none where it does.
    pub fn why_refused(&self, name: &str) -> Option<&WhyRefused> {
        self.refused.get(name)
    }

    /// `catalog` with what the overlays say. What overlays said before is forgotten.
    #[must_use]
    pub fn catalog(&self, catalog: &Catalog, node_pools: &BTreeMap<NodePoolName, Arc<NodePool>>) -> Catalog {
        let mut known = Known::default();
        let mut changed = catalog.clone();
        for scope in Scope::all(catalog, node_pools) {
            changed.by_pool.insert(scope.pool.clone(), self.apply(&scope, &mut known).into());
        }
        changed
    }

    /// The types of one pool with what the overlays say.
    pub fn types(&self, name: &NodePoolName, pool: &NodePool, types: &[Arc<InstanceType>]) -> Vec<Arc<InstanceType>> {
        self.apply(&Scope::new(name, pool, types), &mut Known::default())
    }

    fn apply(&self, scope: &Scope<'_>, known: &mut Known) -> Vec<Arc<InstanceType>> {
        let overlaid = |kind: &Arc<InstanceType>| {
            let listed = kind.listed.as_ref().unwrap_or(kind);
            known.instance_type(listed, self.change_of(&scope.labels, listed))
        };
        scope.types.iter().map(overlaid).collect()
    }

    /// The prices of the type's offerings and what it has, as the heaviest overlay says that says something of each.
    fn change_of(&self, labels: &Requirements, kind: &InstanceType) -> Change {
        let mut prices: Vec<Price> = kind.offerings.iter().map(|own| own.price).collect();
        let (mut capacity, mut set) = (kind.capacity.clone(), BTreeSet::new());
        let mut priced = vec![false; prices.len()];
        for overlay in &self.accepted {
            let mut any = false;
            for (index, offering) in overlay.offerings(labels, kind) {
                any = true;
                if let (Some(change), false) = (overlay.price, priced[index]) {
                    (prices[index], priced[index]) = (change.of(offering.price), true);
                }
            }
            for (name, amount) in overlay.capacity.iter().filter(|_| any) {
                if set.insert(name.to_owned()) {
                    capacity.set(name, amount);
                }
            }
        }
        Change { prices, capacity }
    }
}

/// Everything that `overlay` says.
fn subjects(overlay: &Overlay, scopes: &[Scope<'_>]) -> Vec<Subject> {
    let mut all = Vec::new();
    for (at, scope) in scopes.iter().enumerate() {
        for (position, kind) in scope.types.iter().enumerate() {
            let offerings: Vec<usize> = overlay.offerings(&scope.labels, kind).map(|(index, _)| index).collect();
            if !offerings.is_empty() {
                let of_resource =
                    |(name, _): (&str, i64)| Subject::Capacity { scope: at, kind: position, resource: name.to_owned() };
                all.extend(overlay.capacity.iter().map(of_resource));
            }
            if overlay.price.is_some() {
                all.extend(offerings.into_iter().map(|offering| Subject::Price {
                    scope: at,
                    kind: position,
                    offering,
                }));
            }
        }
    }
    all
}

/// What a type is with overlays.
struct Change {
    prices: Vec<Price>,
    capacity: Resources,
}

/// Types with overlays, so that pools for which they are the same share them. A type is known by where it is kept: two pools'
/// types may have one name.
#[derive(Default)]
struct Known(BTreeMap<Key, Arc<InstanceType>>);

type Key = (*const InstanceType, Vec<Price>, Vec<(String, i64)>);

impl Known {
    fn instance_type(&mut self, listed: &Arc<InstanceType>, change: Change) -> Arc<InstanceType> {
        let same_prices = listed.offerings.iter().map(|own| own.price).eq(change.prices.iter().copied());
        if same_prices && listed.capacity == change.capacity {
            return Arc::clone(listed);
        }
        let Change { prices, capacity } = change;
        let amounts = capacity.iter().map(|(name, amount)| (name.to_owned(), amount)).collect();
        let made = || {
            let mut own = InstanceType { listed: Some(Arc::clone(listed)), capacity, ..InstanceType::clone(listed) };
            own.offerings.iter_mut().zip(&prices).for_each(|(offering, price)| offering.price = *price);
            Arc::new(own)
        };
        Arc::clone(self.0.entry((Arc::as_ptr(listed), prices.clone(), amounts)).or_insert_with(made))
    }
}

fn weight_of(overlay: &NodeOverlay) -> i32 {
    overlay.spec.weight.unwrap_or(0)
}

fn name_of(overlay: &NodeOverlay) -> &str {
    overlay.metadata.name.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CapacityType, Overhead};
    use rstest::rstest;
    use serde_json::{Value, json};

    fn overlay(name: &str, spec: &Value) -> Arc<NodeOverlay> {
        let object = json!({
            "apiVersion": "karpenter.sh/v1alpha1", "kind": "NodeOverlay", "metadata": {"name": name}, "spec": spec,
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn is(key: &str, value: &str) -> Value {
        json!([{"key": key, "operator": "In", "values": [value]}])
    }

    /// `small` and `large` for the pools `a` and `b`; of `b` every machine is `team=green`.
    fn world() -> (Catalog, BTreeMap<NodePoolName, Arc<NodePool>>) {
        let kind = |name: &str, dollars: &str| {
            let price: Price = dollars.parse().unwrap();
            Arc::new(InstanceType {
                name: name.to_owned(),
                requirements: Requirements::from_iter([Requirement::new(labels::ARCH, Operator::In, ["amd64"])]),
                offerings: vec![
                    Offering::new("z", CapacityType::Spot, price),
                    Offering::new("z", CapacityType::OnDemand, price),
                ],
                capacity: Resources::from_iter([("cpu", 2000)]),
                overhead: Overhead::default(),
                listed: None,
            })
        };
        let types: Arc<[Arc<InstanceType>]> = [kind("large", "2"), kind("small", "1")].into();
        let mut green = NodePool::default();
        green.spec.template.metadata.labels.insert("team".to_owned(), "green".to_owned());
        let pools = [("a", NodePool::default()), ("b", green)];
        let pools: BTreeMap<_, _> = pools.map(|(name, pool)| (NodePoolName::from(name), Arc::new(pool))).into();
        (Catalog { by_pool: pools.keys().map(|name| (name.clone(), types.clone())).collect() }, pools)
    }

    /// Every price and further resource, a line for each type of a pool that an overlay changes.
    fn changed(overlays: &[Arc<NodeOverlay>]) -> (Vec<String>, Overlays) {
        let (catalog, pools) = world();
        let found = Overlays::evaluate(&catalog, &pools, overlays);
        let after = found.catalog(&catalog, &pools);
        assert!(found.catalog(&after, &pools).by_pool.iter().all(|(pool, types)| {
            types.iter().zip(after.of(pool)).all(|(again, once)| again.capacity == once.capacity)
        }));
        let text = |pool: &NodePoolName, kind: &InstanceType| {
            let prices: Vec<String> = kind.offerings.iter().map(|own| own.price.to_string()).collect();
            format!("{pool} {}: {}; {}", kind.name, prices.join(" "), kind.capacity)
        };
        let lines = after
            .by_pool
            .iter()
            .flat_map(|(pool, types)| types.iter().filter(|kind| kind.listed.is_some()).map(|kind| text(pool, kind)));
        (lines.collect(), found)
    }

    /// Spec core A.6.
    #[rstest]
    #[case(json!({"price": "0.3"}), "0.3")]
    #[case(json!({"priceAdjustment": "+0.1"}), "1.1")]
    #[case(json!({"priceAdjustment": "-0.1"}), "0.9")]
    #[case(json!({"priceAdjustment": "+10%"}), "1.1")]
    #[case(json!({"priceAdjustment": "-10%"}), "0.9")]
    #[case(json!({"priceAdjustment": "-100%"}), "0")]
    #[case(json!({"priceAdjustment": "-5"}), "0")]
    fn prices_are_said_or_changed(#[case] mut spec: Value, #[case] dollars: &str) {
        spec["requirements"] = json!([]);
        let own = Overlay::read(&overlay("x", &spec)).unwrap();
        assert_eq!(own.price.unwrap().of("1".parse().unwrap()), dollars.parse().unwrap());
    }

    #[rstest]
    #[case(json!({"price": "-1"}), "spec.price")]
    #[case(json!({"price": "cheap"}), "spec.price")]
    #[case(json!({"priceAdjustment": "5"}), "spec.priceAdjustment")]
    #[case(json!({"priceAdjustment": "+5%%"}), "spec.priceAdjustment")]
    #[case(json!({"capacity": {"cpu": "1"}}), "spec.capacity[cpu]")]
    fn what_is_wrong_is_refused(#[case] mut spec: Value, #[case] field: &str) {
        spec["requirements"] = json!([]);
        let (lines, found) = changed(&[overlay("x", &spec)]);
        let Some(WhyRefused::Invalid(problems)) = found.why_refused("x") else { panic!("{found:?}") };
        assert_eq!((problems.len(), problems[0].field.as_str(), lines.len()), (1, field, 0));
    }

    #[test]
    fn an_overlay_is_about_what_pool_type_and_offering_state() {
        let spot =
            overlay("spot", &json!({"requirements": is(labels::CAPACITY_TYPE, "spot"), "priceAdjustment": "-50%"}));
        let small = overlay(
            "small",
            &json!({"requirements": is(labels::INSTANCE_TYPE, "small"), "capacity": {"x.y/fuse": "3"}}),
        );
        let green = overlay("green", &json!({"requirements": is("team", "green"), "capacity": {"x.y/disk": "1"}}));
        let nobody = overlay("nobody", &json!({"requirements": is("team", "red"), "price": "9"}));
        let (lines, found) = changed(&[spot, small, green, nobody]);
        assert_eq!(found.refused, BTreeMap::new());
        assert_eq!(
            lines,
            [
                "a large: $1.0000 $2.0000; cpu: 2",
                "a small: $0.5000 $1.0000; cpu: 2, x.y/fuse: 3",
                "b large: $1.0000 $2.0000; cpu: 2, x.y/disk: 1",
                "b small: $0.5000 $1.0000; cpu: 2, x.y/disk: 1, x.y/fuse: 3",
            ]
        );
    }

    #[test]
    fn the_heaviest_counts_and_equally_heavy_ones_conflict() {
        let priced = |name: &str, pool: &str, weight: i32, price: &str| {
            overlay(name, &json!({"requirements": is(labels::NODE_POOL, pool), "weight": weight, "price": price}))
        };
        let all = [
            priced("light", "a", 1, "1"),
            priced("heavy", "a", 9, "5"),
            priced("a-too", "a", 9, "7"),
            priced("light-b", "b", 1, "3"),
        ];
        let (lines, found) = changed(&all);
        assert_eq!(lines[..2], ["a large: $5.0000 $5.0000; cpu: 2", "a small: $5.0000 $5.0000; cpu: 2"]);
        assert_eq!(lines.len(), 4);
        assert_eq!(found.refused.keys().collect::<Vec<_>>(), ["a-too"]);
        let why = &found.refused["a-too"];
        assert_eq!(why.code(), "Conflict");
        assert_eq!(
            why.to_string(),
            "conflict with another overlay: `heavy` has the same weight and says what `large` costs spot in z for NodePool `a` too; \
             give one of them another weight"
        );
    }

    #[test]
    fn pools_for_which_types_are_the_same_share_them() {
        let (catalog, pools) = world();
        let found = Overlays::evaluate(&catalog, &pools, &[overlay("x", &json!({"requirements": [], "price": "9"}))]);
        let after = found.catalog(&catalog, &pools);
        assert!(Arc::ptr_eq(&after.of(&"a".into())[0], &after.of(&"b".into())[0]));
        assert!(Arc::ptr_eq(
            &found.types(&"a".into(), &pools[&"a".into()], after.of(&"a".into()))[0].listed.clone().unwrap(),
            &catalog.of(&"a".into())[0]
        ));
    }
}
