//! How many more machines of each pool may be disrupted (spec core 4.5).

use super::candidates::{earlier, is_claimed};
use crate::{
    api::{
        DisruptionReason, NodePool, allowed_disruptions,
        conditions::{Conditioned, INSTANCE_TERMINATING, TRUE},
    },
    lifecycle::{About, Event, node_ready},
    model::{ClusterSnapshot, NodeClaimName, NodePoolName, StateNode},
};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// How a pool's budget for one reason stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetUse {
    /// The pool.
    pub node_pool: NodePoolName,
    /// The reason.
    pub reason: DisruptionReason,
    /// The pool's machines that count.
    pub total: u32,
    /// How many may be disrupted at once; 2,147,483,647 where nothing limits it.
    pub allowed: u32,
    /// How many are being disrupted, for whatever reason, or (but for [`DisruptionReason::Unhealthy`]) are not Ready.
    pub disrupting: u32,
}

impl BudgetUse {
    /// How many more may be disrupted.
    pub fn left(&self) -> u32 {
        self.allowed.saturating_sub(self.disrupting)
    }
}

/// The machines of a pool that count.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    total: u32,
    leaving: u32,
    /// Of those that stay.
    unready: u32,
}

/// The budgets of all pools.
#[derive(Debug, Default)]
pub(super) struct Budgets {
    uses: BTreeMap<(NodePoolName, DisruptionReason), BudgetUse>,
    pub(super) changes_at: Option<Timestamp>,
}

impl Budgets {
    /// Counts the machines of `snapshot`. `claimed` are the NodeClaims that running commands have: they count as being
    /// disrupted from the start.
    pub(super) fn new(snapshot: &ClusterSnapshot, claimed: &BTreeSet<&NodeClaimName>) -> Self {
        let mut counts: BTreeMap<NodePoolName, Counted> = BTreeMap::new();
        for machine in snapshot.nodes.iter().filter(|machine| counts_for_budgets(machine)) {
            let Some(pool) = machine.node_pool() else { continue };
            let counted = counts.entry(pool).or_default();
            counted.total += 1;
            if is_leaving(machine, claimed) {
                counted.leaving += 1;
            } else if is_unready(machine) {
                counted.unready += 1;
            }
        }
        let mut budgets = Self::default();
        for (name, pool) in &snapshot.node_pools {
            let counted = counts.get(name).copied().unwrap_or_default();
            for reason in DisruptionReason::BUDGETED {
                budgets.add(name, pool, reason, counted, snapshot.now);
            }
        }
        budgets
    }

    fn add(
        &mut self,
        name: &NodePoolName,
        pool: &NodePool,
        reason: DisruptionReason,
        counted: Counted,
        now: Timestamp,
    ) {
        let Counted { total, leaving, unready } = counted;
        // What is broken does not stand in the way of its own repair.
        let disrupting = if reason == DisruptionReason::Unhealthy { leaving } else { leaving + unready };
        let allowed = allowed_disruptions(pool, reason, total, now);
        self.changes_at = earlier(self.changes_at, allowed.changes_at);
        let budget = BudgetUse { node_pool: name.clone(), reason, total, allowed: allowed.allowed, disrupting };
        self.uses.insert((name.clone(), reason), budget);
    }

    /// How many more machines of `pool` may be disrupted for `reason`.
    pub(super) fn left(&self, pool: &NodePoolName, reason: DisruptionReason) -> u32 {
        self.uses.get(&(pool.clone(), reason)).map_or(0, BudgetUse::left)
    }

    /// How each budget stands, by pool and reason.
    pub(super) fn uses(&self) -> Vec<BudgetUse> {
        self.uses.values().cloned().collect()
    }

    /// What the owners of pools that allow nothing at all are told.
    pub(super) fn events(&self) -> impl Iterator<Item = Event> {
        let blocking = self.uses.values().filter(|budget| budget.total > 0 && budget.allowed == 0);
        blocking.map(|budget| {
            let message =
                format!("No allowed disruptions for disruption reason {} due to blocking budget", budget.reason);
            Event::normal(About::NodePool(budget.node_pool.to_string()), "DisruptionBlocked", message)
                .window(SignedDuration::from_mins(1))
        })
    }
}

fn counts_for_budgets(machine: &StateNode) -> bool {
    let ending = machine.node_claim.as_ref().is_none_or(|claim| claim.is_true(INSTANCE_TERMINATING));
    !ending && machine.node.is_some() && machine.is_initialized()
}

fn is_leaving(machine: &StateNode, claimed: &BTreeSet<&NodeClaimName>) -> bool {
    is_claimed(machine, claimed) || machine.is_going_away()
}

fn is_unready(machine: &StateNode) -> bool {
    machine.node.as_ref().is_none_or(|node| node_ready(node) != Some(TRUE))
}
