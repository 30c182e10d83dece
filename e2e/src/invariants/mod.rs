//! What must hold at every moment of every run, recomputed from the cluster's objects and the world alone
//! (the numbers are those of the project's list of safety invariants).
//!
//! - [`Invariants`] — looks at all of them; what it saw before tells what is new
//! - `disruption` — those that speak of voluntary disruption
//! - `money` — those that speak of prices and of what was paid
//! - `progress` — what must come to an end sooner or later
//! - `objects` — what there is at one moment, and what all of them ask of it

mod disruption;
mod money;
mod objects;
mod progress;

use crate::control_plane::ControlPlane;
use disruption::Disruption;
use jiff::{SignedDuration, Timestamp};
use money::{Money, Paid};
use objects::{Cluster, Json, KnownPods};
use progress::Progress;
use sawhorse_core::model::{Resources, Settings};
use sawhorse_fake_cloud::world::{Instance, InstanceState, Ledger, World};
use sawhorse_kwok::apiserver::{GroupResource, Object};
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// How long a machine may run without a NodeClaim: the collector looks every two minutes, and ending takes a while.
const ORPHAN_GRACE: SignedDuration = SignedDuration::from_mins(5);
/// The tag that says which NodeClaim a machine was bought for.
const CLAIM_TAG: &str = "karpenter.sh/nodeclaim";

/// What was seen before, as far as it tells what is new.
#[derive(Debug, Default)]
pub struct Invariants {
    disruption: Disruption,
    money: Money,
    progress: Progress,
    pods: KnownPods,
}

impl Invariants {
    /// For a controller that decides by `settings`.
    pub fn new(settings: &Settings) -> Self {
        Self { disruption: Disruption::new(settings), ..Self::default() }
    }

    /// Everything that is violated now, as sentences; empty if all is well.
    /// `ledger` is the world's of this moment.
    pub fn violations(
        &mut self,
        objects: &ControlPlane,
        world: &World,
        ledger: &Ledger,
        now: Timestamp,
    ) -> Vec<String> {
        let list = |group: &str, resource: &str| objects.list(&GroupResource::new(group, resource));
        let claims = list("karpenter.sh", "nodeclaims");
        let pools = list("karpenter.sh", "nodepools");
        let (nodes, budgets) = (list("", "nodes"), list("policy", "poddisruptionbudgets"));
        let buffers = list("autoscaling.x-k8s.io", "capacitybuffers");
        let mut found = machines_have_claims(&claims, world, now);
        found.extend(limits_hold(&pools, &claims));
        let cluster = Cluster {
            pods: self.pods.of(list("", "pods")),
            nodes: json(&nodes),
            claims: json(&claims),
            pools: json(&pools),
            budgets: json(&budgets),
            buffers: json(&buffers),
            running: running(world),
            now,
        };
        found.extend(self.disruption.violations(&cluster));
        found.extend(self.money.violations(&cluster, Paid::of(world, ledger)));
        found.extend(self.progress.violations(&cluster));
        found
    }
}

fn json(objects: &[Arc<Object>]) -> Vec<Json<'_>> {
    objects.iter().map(|own| Json::Borrowed(own.value())).collect()
}

/// The NodeClaims whose machines run and are not about to be taken.
fn running(world: &World) -> BTreeSet<String> {
    let runs = world.instances().filter(|own| own.state == InstanceState::Running);
    runs.filter_map(|own| own.tags.get(CLAIM_TAG).cloned()).collect()
}

/// The machines that run or are about to.
fn alive(world: &World) -> impl Iterator<Item = &Instance> {
    world.instances().filter(|own| matches!(own.state, InstanceState::Pending | InstanceState::Running))
}

/// S1 and S2: every running machine was bought for a NodeClaim that exists, and no NodeClaim has two.
fn machines_have_claims(claims: &[Arc<Object>], world: &World, now: Timestamp) -> Vec<String> {
    let mut found = Vec::new();
    let mut by_claim: BTreeMap<&str, &str> = BTreeMap::new();
    let known: BTreeSet<&str> = claims.iter().map(|claim| claim.name()).collect();
    for instance in alive(world) {
        let claim = instance.tags.get(CLAIM_TAG).map_or("", String::as_str);
        if !known.contains(claim) && now.duration_since(instance.launched) > ORPHAN_GRACE {
            found.push(format!("S1: `{}` runs for `{claim}`, which does not exist", instance.id));
        }
        if let Some(other) = by_claim.insert(claim, &instance.id).filter(|_| !claim.is_empty()) {
            found.push(format!("S2: `{claim}` has two machines, `{other}` and `{}`", instance.id));
        }
    }
    found
}

/// S7: what the machines of a pool add up to is within its limits.
fn limits_hold(pools: &[Arc<Object>], claims: &[Arc<Object>]) -> Vec<String> {
    let mut found = Vec::new();
    for pool in pools.iter().filter(|pool| !pool.value()["spec"]["limits"].is_null()) {
        let limits = quantities(&pool.value()["spec"]["limits"]);
        let of_pool =
            claims.iter().filter(|claim| claim.value()["metadata"]["labels"]["karpenter.sh/nodepool"] == pool.name());
        let mut used = Resources::default();
        for claim in of_pool.filter(|claim| !claim.is_terminating()) {
            used.add(&quantities(&claim.value()["status"]["capacity"]));
        }
        for (name, limit) in limits.iter() {
            let sum = used.get(name);
            if sum > limit {
                found.push(format!("S7: `{}` uses {sum} of `{name}`, its limit is {limit}", pool.name()));
            }
        }
    }
    found
}

fn quantities(value: &Value) -> Resources {
    Resources::of_capacity(&BTreeMap::deserialize(value).unwrap_or_default())
}
