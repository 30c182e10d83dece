//! Whether a pool's machines become nodes: the last few outcomes, in memory (spec core 3.1, NodePool registration health).

use sawhorse_core::api::{
    NodePool,
    conditions::{Conditioned, NODE_REGISTRATION_HEALTHY},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

/// How many outcomes are remembered.
const OUTCOMES: usize = 4;
/// So many failures among them mean that something is wrong.
const UNHEALTHY_FAILURES: usize = 2;

/// What the outcomes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// There are none.
    Unknown,
    /// Few enough of them are failures.
    Healthy,
    /// Too many of them are failures.
    Unhealthy,
}

/// The latest outcomes of registrations, by NodePool.
#[derive(Clone, Debug, Default)]
pub(crate) struct RegistrationHealth {
    by_pool: Arc<Mutex<BTreeMap<String, Outcomes>>>,
}

#[derive(Debug, Default)]
struct Outcomes {
    generations: (Option<i64>, Option<i64>),
    latest: VecDeque<bool>,
}

impl RegistrationHealth {
    /// A machine of the pool registered, or did not in time.
    pub(crate) fn record(&self, pool: &NodePool, success: bool) {
        self.with(pool, |outcomes| {
            outcomes.latest.truncate(OUTCOMES - 1);
            outcomes.latest.push_front(success);
        });
    }

    /// What is known of the pool.
    pub(crate) fn of(&self, pool: &NodePool) -> Health {
        self.with(pool, |outcomes| {
            let failures = outcomes.latest.iter().filter(|success| !**success).count();
            match outcomes.latest.is_empty() {
                true => Health::Unknown,
                false if failures >= UNHEALTHY_FAILURES => Health::Unhealthy,
                false => Health::Healthy,
            }
        })
    }

    fn with<R>(&self, pool: &NodePool, change: impl FnOnce(&mut Outcomes) -> R) -> R {
        let mut by_pool = self.by_pool.lock().unwrap_or_else(PoisonError::into_inner);
        let generations =
            (pool.metadata.generation, pool.status.as_ref().and_then(|status| status.node_class_observed_generation));
        let uid = pool.metadata.uid.clone().unwrap_or_default();
        let outcomes = by_pool.entry(uid).or_insert_with(|| Outcomes { generations, latest: seeded(pool) });
        // What machines of an older pool or class did says nothing about new ones.
        if outcomes.generations != generations {
            *outcomes = Outcomes { generations, latest: VecDeque::new() };
        }
        change(outcomes)
    }
}

/// What the condition remembers over a restart.
fn seeded(pool: &NodePool) -> VecDeque<bool> {
    if pool.is_true(NODE_REGISTRATION_HEALTHY) {
        VecDeque::from([true])
    } else if pool.is_false(NODE_REGISTRATION_HEALTHY) {
        VecDeque::from([false; UNHEALTHY_FAILURES])
    } else {
        VecDeque::new()
    }
}

#[cfg(test)]
mod tests {
    use super::{Health, RegistrationHealth};
    use sawhorse_core::api::NodePool;

    #[test]
    fn half_of_the_last_four_failing_is_unhealthy_until_the_pool_changes() {
        let health = RegistrationHealth::default();
        let mut pool = NodePool::default();
        assert_eq!(health.of(&pool), Health::Unknown);
        let after = |outcomes: &[bool]| {
            outcomes.iter().for_each(|success| health.record(&pool, *success));
            health.of(&pool)
        };
        assert_eq!(after(&[false]), Health::Healthy);
        assert_eq!(after(&[false]), Health::Unhealthy);
        assert_eq!(after(&[true, true, true]), Health::Healthy, "one failure is left of four");
        assert_eq!(after(&[false, false]), Health::Unhealthy);
        pool.metadata.generation = Some(2);
        assert_eq!(health.of(&pool), Health::Unknown);
    }
}
