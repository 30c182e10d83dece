//! The tight bound.
//!
//! Give every pod a worth such that on no machine the pods that it can hold are worth more than its price. Whatever machines
//! hold all pods then cost at least what the pods are worth together: that is the bound, and the best worths are a linear
//! program with one constraint for each filling of each machine (Gilmore and Gomory, 1961). There are too many fillings to write
//! down, so it begins with few, and those that the solution violates are added until none is. What a machine takes of a limit,
//! or a node that exists and costs nothing, has a worth of its own that is paid for once.
//!
//! The program's solver need not be trusted: at every step the worths are divided by what they exceed prices by, as
//! [`Knapsack::upper`] proves it, and that gives a valid bound at once (Farley, 1990).

use super::{
    knapsack::{Knapsack, Pattern, Search},
    machines::{Machine, Relaxed},
};
use crate::{model::Price, scheduling::SchedulingInput};
use k8s_openapi::api::core::v1::Pod;
use microlp::{ComparisonOp, OptimizationDirection, Problem, Solution, Variable};
use std::sync::Arc;

/// The bound is left as it is once the program's own value is within so much of it, or so often it was bettered.
const NEAR_ENOUGH: f64 = 0.001;
const ROUNDS: u32 = 200;
/// Fillings that are added at a time.
const CUTS: usize = 40;
/// Where a filling exceeds its machine's price, another is looked for that is worth more by so much of it, until there is none.
const BETTER: f64 = 1e-3;
/// A filling that exceeds its machine's price by less is not worth adding.
const VIOLATION: f64 = 2e-4;

/// No set of machines from the input's pools, together with the nodes that exist, holds `pods` for less per hour. Slower than
/// [`super::lower_bound`], and as a rule within a few hundredths of the truth; `pods` are those that have a place in some
/// decision.
pub fn tight_lower_bound(input: &SchedulingInput<'_>, pods: &[Arc<Pod>]) -> Price {
    let relaxed = Relaxed::of(input, pods);
    let bound = Master::new(&relaxed).map_or(0.0, Master::run);
    // Sums of floating-point numbers may err upwards in their last digits; a bound must not.
    Price::from_dollars(bound.max(0.0) * (1.0 - 1e-9)).unwrap_or(Price::ZERO)
}

/// The linear program as far as it is written down.
struct Master<'a> {
    relaxed: &'a Relaxed,
    clique_of: Vec<Option<usize>>,
    solution: Solution,
    /// By item.
    worth: Vec<Variable>,
    /// By machine: what all that comes onto a node that exists is worth.
    spared: Vec<Option<Variable>>,
    /// By limit: what all of it is worth.
    limits: Vec<Variable>,
    /// By machine: the weights that gave its last bound.
    weights: Vec<Vec<f64>>,
}

/// Values of the program's variables.
struct Point {
    worth: Vec<f64>,
    limits: Vec<f64>,
    spared: Vec<f64>,
}

/// What a look at every machine finds.
struct Look {
    bound: f64,
    cuts: Vec<(f64, usize, Pattern)>,
}

impl<'a> Master<'a> {
    /// The program with one filling for each item: as many of it as fit on the machine where that is cheapest.
    fn new(relaxed: &'a Relaxed) -> Option<Self> {
        let dearest = relaxed.machines.iter().map(|machine| machine.price).fold(0.0, f64::max);
        let mut problem = Problem::new(OptimizationDirection::Maximize);
        let worth: Vec<Variable> =
            relaxed.items.iter().map(|item| problem.add_var(f64::from(item.count), (0.0, 2.0 * dearest))).collect();
        let limits: Vec<Variable> = (0..relaxed.limits).map(|_| problem.add_var(-1.0, (0.0, f64::INFINITY))).collect();
        let spared: Vec<Option<Variable>> = (relaxed.machines.iter())
            .map(|machine| machine.exists.then(|| problem.add_var(-1.0, (0.0, f64::INFINITY))))
            .collect();
        for (item, variable) in worth.iter().enumerate() {
            let per_pod = |machine: &&Machine| machine.price / f64::from(machine.most[item]);
            let will_do = relaxed.machines.iter().filter(|machine| !machine.exists && machine.most[item] > 0);
            if let Some(best) = will_do.min_by(|a, b| per_pod(a).total_cmp(&per_pod(b))) {
                let mut terms = vec![(*variable, f64::from(best.most[item]))];
                terms.extend(best.limits.iter().map(|(limit, part)| (limits[*limit], -part)));
                problem.add_constraint(terms, ComparisonOp::Le, best.price);
            }
        }
        let mut clique_of = vec![None; relaxed.items.len()];
        for (number, clique) in relaxed.cliques.iter().enumerate() {
            clique.iter().for_each(|item| clique_of[*item] = Some(number));
        }
        let dimensions = relaxed.items.first().map_or(0, |item| item.request.len());
        let weights = vec![vec![1.0 / dimensions as f64; dimensions]; relaxed.machines.len()];
        let solution = problem.solve().ok()?.into_solution().ok()?;
        Some(Self { relaxed, clique_of, solution, worth, spared, limits, weights })
    }

    fn run(mut self) -> f64 {
        let mut best = 0.0f64;
        let mut steady: Option<Point> = None;
        for _ in 0..ROUNDS {
            let there = self.point();
            // Half way between the best worths so far and the program's: its own jump about.
            let half = steady.as_ref().map(|steady| steady.towards(&there));
            let mut look = self.look(half.as_ref().unwrap_or(&there));
            let point = if half.is_some() && !look.cuts.iter().any(|cut| self.violates(&there, cut)) {
                look = self.look(&there);
                there
            } else {
                half.unwrap_or(there)
            };
            if look.bound > best {
                best = look.bound;
                steady = Some(point);
            }
            let done = look.cuts.is_empty() || self.solution.objective() <= best * (1.0 + NEAR_ENOUGH);
            match if done { None } else { self.with(look.cuts) } {
                Some(next) => self = next,
                None => return best,
            }
        }
        best
    }

    fn point(&self) -> Point {
        let value = |variable: &Variable| self.solution.var_value(*variable).max(0.0);
        Point {
            worth: self.worth.iter().map(value).collect(),
            limits: self.limits.iter().map(value).collect(),
            spared: self.spared.iter().map(|variable| variable.as_ref().map_or(0.0, value)).collect(),
        }
    }

    fn look(&mut self, point: &Point) -> Look {
        let relaxed = self.relaxed;
        let total: f64 =
            point.worth.iter().zip(&relaxed.items).map(|(worth, item)| worth * f64::from(item.count)).sum();
        let (mut over, mut spared, mut cuts) = (1.0f64, 0.0, Vec::new());
        for (number, machine) in relaxed.machines.iter().enumerate() {
            let knapsack = Knapsack::new(relaxed, machine, &point.worth, &self.clique_of);
            if knapsack.is_empty() {
                continue;
            }
            let price = point.price_of(number, machine);
            let enough = price * (1.0 + VIOLATION);
            let mut upper = knapsack.upper(&mut self.weights[number], enough);
            let mut target = enough;
            while upper > target {
                match knapsack.search(&self.weights[number], target) {
                    Search::Found(pattern, worth) => {
                        cuts.push((worth / price.max(1e-6), number, pattern));
                        target = worth * (1.0 + BETTER);
                    }
                    Search::Proven => upper = target,
                    Search::GaveUp => break,
                }
            }
            if machine.exists {
                spared += upper;
            } else {
                // All worths are divided, those of limits too: the machine itself must make up for the rest.
                let paid_by_limits = price - machine.price;
                over = over.max((upper - paid_by_limits) / machine.price.max(1e-12));
            }
        }
        cuts.sort_by(|a, b| b.0.total_cmp(&a.0));
        cuts.truncate(CUTS);
        let bound = (total - spared - point.limits.iter().sum::<f64>()) / over;
        Look { bound, cuts }
    }

    fn violates(&self, point: &Point, (_, number, pattern): &(f64, usize, Pattern)) -> bool {
        let worth: f64 = pattern.iter().map(|(item, times)| point.worth[*item] * f64::from(*times)).sum();
        worth > point.price_of(*number, &self.relaxed.machines[*number]) * (1.0 + VIOLATION)
    }

    /// The program with further constraints, solved again; none if its solver fails.
    fn with(mut self, cuts: Vec<(f64, usize, Pattern)>) -> Option<Self> {
        for (_, number, pattern) in cuts {
            let machine = &self.relaxed.machines[number];
            let mut terms: Vec<(Variable, f64)> =
                pattern.iter().map(|(item, times)| (self.worth[*item], f64::from(*times))).collect();
            terms.extend(machine.limits.iter().map(|(limit, part)| (self.limits[*limit], -part)));
            terms.extend(self.spared[number].map(|spared| (spared, -1.0)));
            self.solution =
                self.solution.add_constraint(terms, ComparisonOp::Le, machine.price).ok()?.into_solution().ok()?;
        }
        Some(self)
    }
}

impl Point {
    /// What a machine may hold at most, by worth.
    fn price_of(&self, number: usize, machine: &Machine) -> f64 {
        let limits: f64 = machine.limits.iter().map(|(limit, part)| self.limits[*limit] * part).sum();
        machine.price + limits + self.spared[number]
    }

    fn towards(&self, other: &Self) -> Self {
        let half = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a + b) / 2.0).collect();
        Self {
            worth: half(&self.worth, &other.worth),
            limits: half(&self.limits, &other.limits),
            spared: half(&self.spared, &other.spared),
        }
    }
}
