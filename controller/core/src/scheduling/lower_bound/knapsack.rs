//! The most that pods are worth on one machine.

use super::machines::{Machine, Relaxed};

/// Steps of the search for the weights under which a machine's resources are one; a step halves each time it gains nothing.
const STEPS: u32 = 24;
/// So many partial fillings are looked at before a search gives up.
const PATIENCE: u32 = 4_000;
/// Rounding must not make a bound of something that is none.
const SLACK: f64 = 1e-9;

/// A filling: how many of each item.
pub(super) type Pattern = Vec<(usize, u32)>;

/// What a machine could hold, given what each item is worth.
pub(super) struct Knapsack<'a> {
    machine: &'a Machine,
    relaxed: &'a Relaxed,
    worth: &'a [f64],
    /// Items that fit and are worth something, with the share of each resource that one takes.
    items: Vec<(usize, Vec<f64>)>,
    /// By item: the clique that it belongs to.
    clique_of: &'a [Option<usize>],
}

/// What became of a search for a filling that is worth more than some target.
pub(super) enum Search {
    Found(Pattern, f64),
    /// There is none.
    Proven,
    GaveUp,
}

/// A choice to make: how many of an item, or which one of a clique.
struct Stage {
    /// (index into `items`, size), the best per size first.
    options: Vec<(usize, f64)>,
    one_of: bool,
    best: f64,
}

/// A part of what a stage can add, in the order of worth per size.
struct Gain {
    stage: usize,
    worth: f64,
    size: f64,
    times: f64,
}

impl<'a> Knapsack<'a> {
    pub(super) fn new(
        relaxed: &'a Relaxed,
        machine: &'a Machine,
        worth: &'a [f64],
        clique_of: &'a [Option<usize>],
    ) -> Self {
        let shares = |item: usize| {
            let request = &relaxed.items[item].request;
            request.iter().zip(&machine.room).map(|(asked, room)| *asked as f64 / (*room).max(1) as f64).collect()
        };
        let fits = |item: &usize| machine.most[*item] > 0 && worth[*item] > 0.0 && relaxed.items[*item].count > 0;
        let items = (0..relaxed.items.len()).filter(fits).map(|item| (item, shares(item))).collect();
        Self { machine, relaxed, worth, items, clique_of }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    fn most(&self, position: usize) -> u32 {
        let item = self.items[position].0;
        self.machine.most[item].min(self.relaxed.items[item].count)
    }

    fn size(&self, position: usize, weights: &[f64]) -> f64 {
        self.items[position].1.iter().zip(weights).map(|(share, weight)| share * weight).sum()
    }

    /// No filling is worth more than this. `weights` add up to one; they are bettered until the bound is below `enough` or
    /// does not fall any more.
    pub(super) fn upper(&self, weights: &mut Vec<f64>, enough: f64) -> f64 {
        let mut bound = self.upper_with(weights);
        let mut step = 0.25f64;
        let mut left = STEPS;
        while bound > enough && left > 0 && step > 0.01 {
            let mut bettered = false;
            for (from, to) in pairs(weights.len()) {
                let moved = step.min(weights[from]);
                if moved <= 0.0 || left == 0 {
                    continue;
                }
                left -= 1;
                let mut other = weights.clone();
                other[from] -= moved;
                other[to] += moved;
                let there = self.upper_with(&other);
                if there < bound - SLACK {
                    (bound, *weights, bettered) = (there, other, true);
                }
            }
            if !bettered {
                step /= 2.0;
            }
        }
        bound
    }

    fn upper_with(&self, weights: &[f64]) -> f64 {
        let (_, gains) = self.plan(weights);
        most_of(&gains, 0, 1.0) * (1.0 + SLACK)
    }

    /// The choices in the order of what they are worth per size, and all gains in that order.
    fn plan(&self, weights: &[f64]) -> (Vec<Stage>, Vec<Gain>) {
        let mut stages: Vec<Stage> = Vec::new();
        let mut by_clique = vec![None; self.relaxed.cliques.len()];
        for position in 0..self.items.len() {
            let size = self.size(position, weights).max(1e-12);
            let value = self.worth[self.items[position].0] / size;
            let clique = self.clique_of[self.items[position].0];
            if let Some(stage) = clique.and_then(|clique: usize| by_clique[clique]) {
                let stage: &mut Stage = &mut stages[stage];
                stage.options.push((position, size));
                stage.best = stage.best.max(value);
            } else {
                if let Some(clique) = clique {
                    by_clique[clique] = Some(stages.len());
                }
                stages.push(Stage { options: vec![(position, size)], one_of: clique.is_some(), best: value });
            }
        }
        stages.sort_by(|a, b| b.best.total_cmp(&a.best));
        let mut gains: Vec<Gain> = Vec::new();
        for (number, stage) in stages.iter().enumerate() {
            self.gains(number, stage, &mut gains);
        }
        // Quotients, not products across: those are rounded, and need not be an order.
        gains.sort_by(|a, b| (b.worth / b.size).total_cmp(&(a.worth / a.size)));
        (stages, gains)
    }

    /// What a stage adds bit by bit: of one item its pods, of a clique the steps of its upper hull.
    fn gains(&self, number: usize, stage: &Stage, gains: &mut Vec<Gain>) {
        let worth = |position: usize| self.worth[self.items[position].0];
        if !stage.one_of {
            let (position, size) = stage.options[0];
            let times = f64::from(self.most(position));
            gains.push(Gain { stage: number, worth: worth(position), size, times });
            return;
        }
        let mut points: Vec<(f64, f64)> =
            stage.options.iter().map(|(position, size)| (*size, worth(*position))).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
        let mut hull: Vec<(f64, f64)> = vec![(0.0, 0.0)];
        for point in points {
            if point.1 <= hull[hull.len() - 1].1 {
                continue;
            }
            while let [.., a, b] = hull[..] {
                if (b.1 - a.1) * (point.0 - b.0) <= (point.1 - b.1) * (b.0 - a.0) {
                    hull.pop();
                } else {
                    break;
                }
            }
            hull.push(point);
        }
        for step in hull.windows(2) {
            let (size, worth) = ((step[1].0 - step[0].0).max(1e-12), step[1].1 - step[0].1);
            gains.push(Gain { stage: number, worth, size, times: 1.0 });
        }
    }

    /// Looks for a filling that is worth more than `target`.
    pub(super) fn search(&self, weights: &[f64], target: f64) -> Search {
        let (stages, gains) = self.plan(weights);
        let mut hunt = Hunt {
            knapsack: self,
            stages: &stages,
            gains: &gains,
            target,
            room: self.machine.room.clone(),
            chosen: Vec::new(),
            patience: PATIENCE,
        };
        match hunt.go(0, 1.0, 0.0) {
            Some(worth) => Search::Found(hunt.chosen, worth),
            None if hunt.patience == 0 => Search::GaveUp,
            None => Search::Proven,
        }
    }
}

/// Ordered pairs of different positions.
fn pairs(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).flat_map(move |from| (0..count).filter(move |to| *to != from).map(move |to| (from, to)))
}

/// The most that stages from `from` on add within `size`, if they can be taken in parts.
fn most_of(gains: &[Gain], from: usize, size: f64) -> f64 {
    let (mut left, mut worth) = (size, 0.0);
    for gain in gains.iter().filter(|gain| gain.stage >= from) {
        let times = gain.times.min(left / gain.size);
        worth += times * gain.worth;
        left -= times * gain.size;
        if left <= 0.0 {
            break;
        }
    }
    worth
}

/// A search, depth first.
struct Hunt<'a> {
    knapsack: &'a Knapsack<'a>,
    stages: &'a [Stage],
    gains: &'a [Gain],
    target: f64,
    room: Vec<i64>,
    chosen: Pattern,
    patience: u32,
}

impl Hunt<'_> {
    /// The worth of the first filling found that beats the target; `chosen` is what it holds then.
    fn go(&mut self, stage: usize, size: f64, worth: f64) -> Option<f64> {
        if worth > self.target {
            return Some(worth);
        }
        if self.patience == 0 || stage == self.stages.len() {
            return None;
        }
        self.patience -= 1;
        if worth + most_of(self.gains, stage, size + SLACK) * (1.0 + SLACK) <= self.target {
            return None;
        }
        let own = &self.stages[stage];
        for (position, each) in &own.options {
            let item = self.knapsack.items[*position].0;
            let request = &self.knapsack.relaxed.items[item].request;
            let value = self.knapsack.worth[item];
            let fit = super::super::dimensions::times_that_fit(request, &self.room, self.knapsack.most(*position));
            let fit = if own.one_of { fit.min(1) } else { fit };
            for times in (1..=fit).rev() {
                let (taken, gained) = (f64::from(times) * each, f64::from(times) * value);
                let rest = most_of(self.gains, stage + 1, size - taken + SLACK) * (1.0 + SLACK);
                if worth + gained + rest <= self.target {
                    // Of the best item per size, fewer are worth less; in a clique another may still do.
                    break;
                }
                self.take(request, i64::from(times));
                self.chosen.push((item, times));
                if let Some(found) = self.go(stage + 1, size - taken, worth + gained) {
                    return Some(found);
                }
                self.chosen.pop();
                self.take(request, -i64::from(times));
                if self.patience == 0 {
                    return None;
                }
            }
        }
        self.go(stage + 1, size, worth)
    }

    fn take(&mut self, request: &[i64], times: i64) {
        self.room.iter_mut().zip(request).for_each(|(room, asked)| *room -= asked * times);
    }
}
