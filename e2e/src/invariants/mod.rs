//! What must hold at every moment of every run, recomputed from the cluster's objects and the world alone
//! (the numbers are those of the project's list of safety invariants).
//!
//! - [`Invariants`] — looks at all of them; what it saw before tells what is new
//! - `disruption` — those that speak of voluntary disruption
//! - `money` — those that speak of prices and of what was paid
//! - `moves` — those that speak of where moved pods go, as another scheduler (`second_opinion`) sees it
//! - `progress` — what must come to an end sooner or later

mod disruption;
mod money;
mod moves;
mod progress;
mod second_opinion;

pub(crate) use second_opinion::{Moment, Stored};

use crate::objects::{CLAIM_TAG, Cluster};
use disruption::Disruption;
use jiff::{SignedDuration, Timestamp};
use money::{Money, Paid};
use moves::Moves;
use progress::Progress;
use sawhorse_core::{
    api::{DisruptionReason, NodePool, allowed_disruptions},
    model::{Resources, Settings},
};
use sawhorse_fake_cloud::world::{Instance, InstanceState, Ledger, World};
use std::collections::{BTreeMap, BTreeSet};

/// How long a machine may run without a NodeClaim: the collector looks every two minutes, and ending takes a while.
const ORPHAN_GRACE: SignedDuration = SignedDuration::from_mins(5);

/// What was seen before, as far as it tells what is new.
#[derive(Debug, Default)]
pub struct Invariants {
    disruption: Disruption,
    money: Money,
    moves: Moves,
    progress: Progress,
}

impl Invariants {
    /// For a controller that decides by `settings`.
    pub fn new(settings: &Settings) -> Self {
        Self { disruption: Disruption::new(settings), progress: Progress::new(settings), ..Self::default() }
    }

    /// Everything that is violated now, as sentences; empty if all is well.
    /// `cluster`, `world`, its `ledger` and what is `stored` are of one moment.
    pub(crate) fn violations(
        &mut self,
        cluster: &Cluster,
        world: &World,
        ledger: &Ledger,
        stored: Stored<'_>,
    ) -> Vec<String> {
        let mut found = machines_have_claims(cluster, world);
        found.extend(limits_hold(cluster));
        found.extend(self.disruption.violations(cluster));
        found.extend(self.money.violations(cluster, Paid::of(world, ledger)));
        found.extend(self.moves.violations(cluster, stored));
        found.extend(self.progress.violations(cluster, stored));
        found
    }
}

/// The machines that run or are about to.
fn alive(world: &World) -> impl Iterator<Item = &Instance> {
    world.instances().filter(|own| matches!(own.state, InstanceState::Pending | InstanceState::Running))
}

/// S1 and S2: every running machine was bought for a NodeClaim that exists, and no NodeClaim has two.
fn machines_have_claims(cluster: &Cluster, world: &World) -> Vec<String> {
    let mut found = Vec::new();
    let mut by_claim: BTreeMap<&str, &str> = BTreeMap::new();
    let known: BTreeSet<&str> = cluster.claims.iter().map(|claim| claim.name.as_str()).collect();
    for instance in alive(world) {
        let claim = instance.tags.get(CLAIM_TAG).map_or("", String::as_str);
        if !known.contains(claim) && cluster.now.duration_since(instance.launched) > ORPHAN_GRACE {
            found.push(format!("S1: `{}` runs for `{claim}`, which does not exist", instance.id));
        }
        if let Some(other) = by_claim.insert(claim, &instance.id).filter(|_| !claim.is_empty()) {
            found.push(format!("S2: `{claim}` has two machines, `{other}` and `{}`", instance.id));
        }
    }
    found
}

/// S7: what the machines of a pool add up to is within its limits.
fn limits_hold(cluster: &Cluster) -> Vec<String> {
    let mut found = Vec::new();
    for pool in &cluster.pools {
        let mut used = Resources::default();
        for claim in cluster.claims.iter().filter(|claim| claim.pool == pool.name && !claim.is_deleted) {
            used.add(&claim.capacity);
        }
        for (name, limit) in pool.limits.iter() {
            let sum = used.get(name);
            if sum > limit {
                found.push(format!("S7: `{}` uses {sum} of `{name}`, its limit is {limit}", pool.name));
            }
        }
    }
    found
}

/// How many machines of the pool its budgets let be disrupted for this reason at a time, with as many as it has now.
fn allowed(pool: &NodePool, reason: DisruptionReason, cluster: &Cluster) -> u32 {
    let name = pool.metadata.name.as_deref().unwrap_or_default();
    let own = cluster.claims.iter().filter(|claim| claim.pool == name && claim.is_initialized);
    let total = u32::try_from(own.count()).unwrap_or(u32::MAX);
    allowed_disruptions(pool, reason, total, cluster.now).allowed
}

/// Notes since when each name of `due` is there, and gives those that are there for longer than it says.
fn overdue<'a>(
    since: &'a mut BTreeMap<String, Timestamp>,
    due: &BTreeMap<&str, SignedDuration>,
    now: Timestamp,
) -> impl Iterator<Item = (&'a String, &'a Timestamp)> {
    since.retain(|name, _| due.contains_key(name.as_str()));
    for name in due.keys() {
        since.entry((*name).to_owned()).or_insert(now);
    }
    since.iter().filter(move |(name, since)| now.duration_since(**since) > due[name.as_str()])
}
