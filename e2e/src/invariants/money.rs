//! What must hold of money: what a consolidation buys is cheaper than what it gives back, and the ledger is price times time.

use super::alive;
use crate::objects::{CLAIM_TAG, Cluster, Command};
use sawhorse_fake_cloud::world::{Amount, Ledger, Market, Price, World};
use std::collections::{BTreeMap, BTreeSet};

/// What the machines of one moment cost.
#[derive(Clone, Debug, Default)]
pub(super) struct Paid {
    /// By id: how long each has run, in nanoseconds, and its price in nano-dollars per hour, of those that run.
    machines: BTreeMap<String, (u128, u64)>,
    /// By NodeClaim: the price of its machine, if that draws on no reservation.
    claims: BTreeMap<String, u64>,
    /// What all machines have cost, ever.
    total: Amount,
}

/// What was seen before.
#[derive(Debug, Default)]
pub(super) struct Money {
    before: Option<Paid>,
    /// Commands whose prices were compared.
    compared: BTreeSet<String>,
}

impl Paid {
    /// As the world has it now.
    pub(super) fn of(world: &World, ledger: &Ledger) -> Self {
        let mut paid = Self { total: ledger.by_market.values().copied().sum(), ..Self::default() };
        for instance in alive(world) {
            let cost = world.cost_of(instance);
            if let Some(price) = cost.price {
                paid.machines.insert(instance.id.clone(), (cost.ran_nanoseconds, price.nanos()));
            }
            let price = match instance.market {
                Market::Spot => world.spot_price(instance.machine_type, instance.zone.name),
                Market::OnDemand => world.on_demand_price(instance.machine_type),
            };
            let claim = instance.tags.get(CLAIM_TAG).filter(|_| instance.reservation.is_none());
            if let Some((claim, price)) = claim.zip(price) {
                paid.claims.insert(claim.clone(), price.nanos());
            }
        }
        paid
    }

    /// How long all machines have run since `before`, if no other ran and no price changed: nothing if that is not so.
    fn ran_since(&self, before: &Self) -> Option<u128> {
        let mut pairs = self.machines.iter().zip(&before.machines);
        let same = self.machines.len() == before.machines.len()
            && pairs.all(|((id, (_, price)), (other, (_, was)))| id == other && price == was);
        let ran = |paid: &Self| paid.machines.values().next().map(|(ran, _)| *ran);
        let span = ran(self)?.checked_sub(ran(before)?).filter(|_| same)?;
        let mut pairs = self.machines.values().zip(before.machines.values());
        pairs.all(|((ran, _), (was, _))| ran.checked_sub(*was) == Some(span)).then_some(span)
    }

    fn nanos_per_hour(&self) -> u128 {
        self.machines.values().map(|(_, price)| u128::from(*price)).sum()
    }
}

impl Money {
    /// Everything that is violated now.
    pub(super) fn violations(&mut self, cluster: &Cluster, paid: Paid) -> Vec<String> {
        let mut found = Vec::new();
        if let Some(before) = &self.before {
            found.extend(ledger_is_price_times_time(before, &paid));
        }
        found.extend(self.consolidation_saves(cluster, &paid));
        self.before = Some(paid);
        found
    }

    /// S8: when the last replacement of a consolidation has its machine, all of them cost less than what they replace.
    fn consolidation_saves(&mut self, cluster: &Cluster, paid: &Paid) -> Vec<String> {
        let mut coming: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for claim in &cluster.claims {
            if let Some(id) = claim.came_for.as_deref().filter(|id| !self.compared.contains(*id)) {
                coming.entry(id).or_default().push(&claim.name);
            }
        }
        if coming.is_empty() {
            return Vec::new();
        }
        let commands = cluster.claims.iter().filter_map(|claim| claim.command.as_ref());
        let commands: BTreeMap<&str, &Command> = commands.map(|command| (command.id.as_str(), command)).collect();
        let mut found = Vec::new();
        for (id, replacements) in coming {
            let Some(command) = commands.get(id) else { continue };
            let price = |name: &&str| paid.claims.get(*name).copied();
            let Some(after) = replacements.iter().map(price).sum::<Option<u64>>() else { continue };
            if command.replacements != replacements.len() as u64 {
                continue;
            }
            self.compared.insert(id.to_owned());
            // A spot price may just have changed: what counts is what the decision may have seen.
            let was = |name: &str| {
                let before = self.before.as_ref().and_then(|before| before.claims.get(name));
                paid.claims.get(name).into_iter().chain(before).max().copied()
            };
            let before = command.candidates.iter().map(|name| was(name)).sum::<Option<u64>>();
            let consolidates = command.method.ends_with("-node");
            if let Some(before) = before.filter(|before| consolidates && after >= *before) {
                found.push(format!("S8: command `{id}` replaces {before} by {after} nano-dollars per hour"));
            }
        }
        found
    }
}

/// S18: what was paid for machines never falls, and grows by price × time.
fn ledger_is_price_times_time(before: &Paid, now: &Paid) -> Option<String> {
    if now.total < before.total {
        return Some(format!("S18: ${} are paid, and it was ${}", now.total, before.total));
    }
    let span = now.ran_since(before)?;
    let mut expected = before.total;
    let per_hour = u64::try_from(now.nanos_per_hour()).ok()?;
    expected += Amount::of(Price::from_nanos(per_hour), span);
    (expected != now.total).then(|| format!("S18: ${} are paid, ${expected} are price × time", now.total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::each_of;
    use rstest::rstest;
    use sawhorse_core::api::labels;
    use serde_json::{Value, json};
    use std::borrow::Cow;

    const HOUR: u128 = 3_600_000_000_000;

    fn paid(hours: u128, total: u64) -> Paid {
        Paid {
            machines: BTreeMap::from([("i-0".to_owned(), (hours * HOUR, 7))]),
            claims: BTreeMap::new(),
            total: Amount::of(Price::from_nanos(total), HOUR),
        }
    }

    #[rstest]
    #[case::by_price_and_time(3, 14, false)]
    #[case::by_too_much(3, 15, true)]
    #[case::by_nothing(3, 0, true)]
    fn the_ledger_grows(#[case] hours: u128, #[case] total: u64, #[case] violated: bool) {
        assert_eq!(ledger_is_price_times_time(&paid(1, 0), &paid(hours, total)).is_some(), violated);
    }

    #[test]
    fn what_is_paid_never_falls() {
        assert!(ledger_is_price_times_time(&paid(1, 5), &Paid::default()).is_some_and(|own| own.starts_with("S18")));
    }

    #[rstest]
    #[case::cheaper(9, &[])]
    #[case::as_dear(10, &["S8"])]
    #[case::not_there_yet(0, &[])]
    fn a_consolidation_saves(#[case] price: u64, #[case] expected: &[&str]) {
        let claim = |name: &str, annotations: Value| json!({"metadata": {"name": name, "annotations": annotations}});
        let command = r#"{"id":"x","method":"single-node","candidates":["old"],"replacements":1}"#;
        let claims = [
            claim("old", json!({labels::COMMAND: command})),
            claim("new", json!({labels::REPLACEMENT_OF: r#"{"id":"x","index":0}"#})),
        ];
        let cluster = Cluster { claims: each_of(claims), ..Cluster::default() };
        let prices = [("old", 10), ("new", price)].into_iter().filter(|(_, price)| *price > 0);
        let claims = prices.map(|(name, price)| (name.to_owned(), price)).collect();
        let found = Money::default().violations(&cluster, Paid { claims, ..Paid::default() });
        let numbers: Vec<Cow<'_, str>> = found.iter().map(|text| text.split(':').next().unwrap().into()).collect();
        assert_eq!(numbers, expected);
    }
}
