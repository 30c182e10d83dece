//! What would become of a cluster: decisions carried out on a copy, one round after the other, until nothing more is decided.
//!
//! - [`plan`] — the entry
//! - `carry_out` — a decision as if it had been carried out
//! - [`Manifests`] — NodePools and NodeOverlays as if they had been applied
//!
//! A round takes [`ROUND`] of the copy's time. Nothing fails in it: machines come, pods start at once, and have been quiet for
//! long enough when the next round begins.

mod carry_out;
mod manifests;

use crate::{
    disruption::{Command, DisruptionDecision, DisruptionInput, WhyKept, decide, machine_price},
    model::{Catalog, ClusterSnapshot, NodePoolName, Overlays, PodKey, Price, WhyNot},
    scheduling::{IndexedCatalog, Launch, Prepared, SchedulingInput, pods_to_provision, solve},
};
pub use manifests::Manifests;

use carry_out::World;
use jiff::{SignedDuration, Timestamp};
use std::{collections::BTreeSet, time::Duration};

/// How long a round is thought to take: a second look, a machine that boots, pods that move.
pub const ROUND: Duration = Duration::from_mins(3);
/// So many rounds are looked at.
const MAX_ROUNDS: usize = 2_000;
/// So far ahead is looked, e.g. for a budget's window.
const HORIZON: SignedDuration = SignedDuration::from_hours(24 * 14);

/// What is asked.
#[derive(Clone, Debug)]
pub struct PlanInput<'a> {
    /// The cluster.
    pub snapshot: &'a ClusterSnapshot,
    /// What each pool may buy.
    pub catalog: &'a Catalog,
    /// What is thought to be applied.
    pub applied: &'a Manifests,
    /// Machines that are thought to be gone, by name.
    pub removed: &'a BTreeSet<String>,
}

/// What would become of a cluster.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The cluster when nothing more is decided.
    pub after: ClusterSnapshot,
    /// What its machines cost per hour now.
    pub price_before: Price,
    /// What they cost then.
    pub price_after: Price,
    /// Machines now.
    pub nodes_before: usize,
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// Machines that the applied NodePools make drift, with the reason.
    pub drifted: Vec<(String, &'static str)>,
    /// Pods that have no place in the end.
    pub homeless: Vec<(PodKey, WhyNot)>,
    /// Why each machine is kept in the end.
    pub kept: Vec<(String, WhyKept)>,
    /// Whether something was still to be done when the plan had to end.
    pub unfinished: bool,
}

impl Plan {
    /// How long all of it takes.
    pub fn takes(&self, snapshot: &ClusterSnapshot) -> SignedDuration {
        self.after.now.duration_since(snapshot.now)
    }

    /// How many pods are evicted, or lose their machine.
    pub fn evictions(&self) -> usize {
        self.steps.iter().map(|step| step.evictions).sum()
    }
}

/// Something that is done.
#[derive(Clone, Debug)]
pub struct Step {
    /// When, from the beginning.
    pub after: SignedDuration,
    /// What.
    pub act: Act,
    /// How many pods have to move for it.
    pub evictions: usize,
}

/// What is done.
#[derive(Clone, Debug)]
pub enum Act {
    /// A machine is taken away because that was asked.
    Remove(String),
    /// A machine is launched for pods that wait.
    Launch {
        /// As what.
        name: String,
        /// Of which pool.
        node_pool: NodePoolName,
        /// Which machine.
        launch: Launch,
        /// For how many pods.
        pods: usize,
    },
    /// Pods that wait go to a machine that is there.
    Place {
        /// To which.
        node: String,
        /// How many.
        pods: usize,
    },
    /// A command is carried out; its replacements are named so.
    Disrupt(Box<Command>, Vec<String>),
}

/// Carries out what is decided for the cluster until nothing more is, and says what that was.
pub fn plan(input: &PlanInput<'_>) -> Plan {
    let mut planner = Planner {
        world: World::new(input.snapshot.clone()),
        catalog: IndexedCatalog::new(input.catalog.clone()),
        began: input.snapshot.now,
        steps: Vec::new(),
        homeless: Vec::new(),
    };
    let drifted = manifests::apply(&mut planner.world.snapshot, input.applied);
    if !input.applied.is_empty() {
        let catalog = manifests::catalog_with(input.catalog, &input.applied.node_pools);
        planner.catalog = IndexedCatalog::new(Overlays::of(&planner.world.snapshot, &catalog));
    }
    // Where prices are said to be others, they are that before, too.
    let price_before = price(input.snapshot, planner.catalog.catalog());
    for name in input.removed {
        planner.remove(name);
    }
    let (last, unfinished) = planner.run();
    let after = planner.world.snapshot;
    Plan {
        price_before,
        price_after: price(&after, planner.catalog.catalog()),
        nodes_before: input.snapshot.nodes.len(),
        after,
        steps: planner.steps,
        drifted,
        homeless: planner.homeless,
        kept: last.kept,
        unfinished,
    }
}

/// What the machines of a snapshot cost together per hour, as far as their prices are known.
pub fn price(snapshot: &ClusterSnapshot, catalog: &Catalog) -> Price {
    snapshot.nodes.iter().filter_map(|machine| machine_price(machine, catalog)).sum()
}

/// When the decision may change by time alone.
fn next_look(decision: &DisruptionDecision) -> Option<Timestamp> {
    let fresh = decision.kept.iter().filter_map(|(_, why)| match why {
        WhyKept::JustReplaced { until } => Some(*until),
        _ => None,
    });
    fresh.chain(decision.next_check).min()
}

struct Planner {
    world: World,
    catalog: IndexedCatalog,
    began: Timestamp,
    steps: Vec<Step>,
    homeless: Vec<(PodKey, WhyNot)>,
}

impl Planner {
    fn run(&mut self) -> (DisruptionDecision, bool) {
        for _ in 0..MAX_ROUNDS {
            let launched = self.provision();
            let input = DisruptionInput { snapshot: &self.world.snapshot, catalog: &self.catalog, running: &[] };
            let decision = decide(&input);
            let idle = decision.commands.is_empty();
            if idle && !self.waits_for_time(&decision) {
                if launched {
                    self.pass(ROUND);
                }
                return (decision, false);
            }
            if idle {
                let next = next_look(&decision).filter(|at| at.duration_since(self.began) <= HORIZON);
                let Some(next) = next else { return (decision, true) };
                self.world.snapshot.now = next;
                continue;
            }
            for command in decision.commands {
                self.disrupt(command);
            }
            self.pass(ROUND);
        }
        (DisruptionDecision::default(), true)
    }

    /// Whether a machine is kept by something that time alone takes away.
    fn waits_for_time(&self, decision: &DisruptionDecision) -> bool {
        let waits = |why: &WhyKept| {
            matches!(why, WhyKept::Budget { .. } | WhyKept::Nominated { .. } | WhyKept::JustReplaced { .. })
        };
        let later = next_look(decision).is_some_and(|at| at > self.world.snapshot.now);
        later && decision.kept.iter().any(|(_, why)| waits(why))
    }

    fn pass(&mut self, duration: Duration) {
        let now = self.world.snapshot.now;
        self.world.snapshot.now = now.checked_add(duration).unwrap_or(now);
    }

    fn note(&mut self, act: Act, evictions: usize) {
        let after = self.world.snapshot.now.duration_since(self.began);
        self.steps.push(Step { after, act, evictions });
    }

    /// Gives every pod that waits its place; whether there was one to give.
    fn provision(&mut self) -> bool {
        let pods = pods_to_provision(&self.world.snapshot);
        if pods.is_empty() {
            return false;
        }
        let prepared = Prepared::new(&self.world.snapshot, &self.catalog);
        let results = solve(&SchedulingInput::new(&prepared, &pods));
        self.homeless = results.unschedulable.iter().map(|own| (own.key.clone(), own.why.clone())).collect();
        for placement in &results.placements {
            self.note(Act::Place { node: placement.node.clone(), pods: placement.pods.len() }, 0);
            self.world.place(&placement.node, &placement.pods);
        }
        for planned in &results.planned {
            let name = self.world.launch(planned);
            let (launch, pods) = (planned.launch.clone(), planned.pods.len());
            self.note(Act::Launch { name: name.clone(), node_pool: planned.node_pool.clone(), launch, pods }, 0);
            self.world.place(&name, &planned.pods);
        }
        !results.placements.is_empty() || !results.planned.is_empty()
    }

    fn remove(&mut self, name: &str) {
        let homeless = self.world.remove(name);
        let evictions = homeless.len();
        self.world.wait(&homeless);
        self.note(Act::Remove(name.to_owned()), evictions);
    }

    fn disrupt(&mut self, command: Command) {
        let names: Vec<String> = command.replacements.iter().map(|planned| self.world.launch(planned)).collect();
        let evictions = self.world.carry_out(&command, &names);
        self.note(Act::Disrupt(Box::new(command), names), evictions);
    }
}

#[cfg(test)]
mod tests;
