//! Every family's prices beside the lower bound and the reference's.

use crate::{
    options::Options,
    ours::{Ours, bound, now, solve_problem},
    reference::{Answer, Reference, told},
    statistics::{greatest, quantile, ratio},
};
use sawhorse_core::{scheduling::Effort, solve::Problem};
use sawhorse_problems::{Family, SEEDS};
use std::{collections::BTreeSet, process::ExitCode, time::Duration};

/// So many problems are named where something is amiss, per table.
const NAMED: usize = 20;

struct Row {
    family: Family,
    name: String,
    ours: Ours,
    bound: f64,
    bounded_in: Duration,
    theirs: Option<Theirs>,
}

struct Theirs {
    answer: Answer,
    placed: BTreeSet<String>,
}

impl Row {
    fn gap(&self) -> Option<f64> {
        (self.bound > 0.0).then(|| self.ours.price / self.bound)
    }

    /// The reference's answer if it placed the same pods: others' prices say nothing.
    fn comparable(&self) -> Option<&Answer> {
        let theirs = self.theirs.as_ref()?;
        (theirs.placed == self.ours.placed && self.ours.price > 0.0 && theirs.answer.price > 0.0)
            .then_some(&theirs.answer)
    }

    fn their_gap(&self) -> Option<f64> {
        let price = self.comparable()?.price;
        (self.bound > 0.0).then(|| price / self.bound)
    }

    fn beside_theirs(&self) -> Option<f64> {
        self.comparable().map(|theirs| self.ours.price / theirs.price)
    }

    /// Pods that the reference places and the core does not.
    fn missed(&self) -> Vec<&str> {
        let placed = self.theirs.iter().flat_map(|theirs| &theirs.placed);
        placed.filter(|pod| !self.ours.placed.contains(*pod)).map(String::as_str).collect()
    }
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let mut reference = Reference::of(options);
    head();
    let mut all = Vec::new();
    for family in options.families() {
        let rows: Vec<Row> = (0..options.seeds.unwrap_or(SEEDS))
            .map(|seed| row(family, seed, reference.as_mut(), options.fewer_nodes_within))
            .collect();
        line(family.name(), &rows.iter().collect::<Vec<_>>());
        all.extend(rows);
    }
    let tight: Vec<&Row> = all.iter().filter(|row| row.family.has_tight_bound()).collect();
    line("tight", &tight);
    line("all", &all.iter().collect::<Vec<_>>());
    worst(&all, options);
    let wrong = wrong(&all);
    crate::goals::cost(&figures(&all, &tight));
    if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn row(family: Family, seed: u64, reference: Option<&mut Reference>, fewer_nodes_within: Option<u32>) -> Row {
    let problem = family.problem(seed);
    let mut read = Problem::read(&problem.input.to_string()).expect("generated problems are well formed");
    if let Some(permille) = fewer_nodes_within {
        read.snapshot.settings.fewer_nodes_within_permille = permille;
    }
    let (ours, (bound, bounded_in)) = solve_problem(&read, Effort::Thorough, true, |input, results| {
        let started = now();
        (bound(input, results), started.elapsed())
    });
    let theirs = reference.and_then(|reference| {
        let answer = told(&problem.name, reference.answer(&problem.name, &problem.input, 0.0))?;
        let pods = read.to_place().iter().map(|pod| crate::ours::pod_name(pod)).collect::<BTreeSet<_>>();
        let placed = pods.into_iter().filter(|pod| !answer.errors.contains_key(pod)).collect();
        Some(Theirs { answer, placed })
    });
    Row { family, name: problem.name, ours, bound, bounded_in, theirs }
}

fn head() {
    println!("ours ÷ bound, theirs ÷ bound, ours ÷ theirs: theirs only where both place the same pods; p50 = median");
    println!(
        "{:<10}{:>4} │{:>12}{:>6}{:>6}{:>6}{:>10}{:>10} │{:>7}{:>7}{:>7}{:>7} │{:>7}{:>7}{:>7} │{:>7}{:>7}{:>7} │{:>9}{:>9}{:>9}",
        "family",
        "n",
        "pods placed",
        "ref",
        "nodes",
        "ref",
        "$/h",
        "ref",
        "p50",
        "p90",
        "max",
        "sum",
        "p50",
        "p90",
        "sum",
        "p50",
        "max",
        "sum",
        "solve ms",
        "bound ms",
        "ref ms"
    );
}

fn line(name: &str, rows: &[&Row]) {
    let figures = Figures::of(rows);
    let sum = |of: fn(&Row) -> f64| rows.iter().map(|row| of(row)).sum::<f64>();
    let theirs = || rows.iter().filter_map(|row| row.theirs.as_ref());
    // The sum of nothing is a negative zero.
    let their_sum = |of: fn(&Answer) -> f64| 0.0 + theirs().map(|theirs| of(&theirs.answer)).sum::<f64>();
    let placed: usize = rows.iter().map(|row| row.ours.placed.len()).sum();
    let pods: usize = rows.iter().map(|row| row.ours.pods).sum();
    println!(
        "{name:<10}{:>4} │{:>12}{:>6}{:>6}{:>6}{:>10.2}{:>10.2} │{:>7}{:>7}{:>7}{:>7} │{:>7}{:>7}{:>7} │{:>7}{:>7}{:>7} │{:>9.0}{:>9.0}{:>9.0}",
        rows.len(),
        format!("{placed}/{pods}"),
        theirs().map(|theirs| theirs.placed.len()).sum::<usize>(),
        rows.iter().map(|row| row.ours.nodes).sum::<usize>(),
        theirs().map(|theirs| theirs.answer.nodes()).sum::<usize>(),
        sum(|row| row.ours.price),
        their_sum(|answer| answer.price),
        ratio(quantile(&figures.gaps, 50)),
        ratio(quantile(&figures.gaps, 90)),
        ratio(greatest(&figures.gaps)),
        ratio(figures.gap_of_sums),
        ratio(quantile(&figures.their_gaps, 50)),
        ratio(quantile(&figures.their_gaps, 90)),
        ratio(figures.their_gap_of_sums),
        ratio(quantile(&figures.beside, 50)),
        ratio(greatest(&figures.beside)),
        ratio(figures.beside_of_sums),
        sum(|row| row.ours.solved_in.as_secs_f64() * 1e3),
        sum(|row| row.bounded_in.as_secs_f64() * 1e3),
        their_sum(|answer| answer.solve),
    );
}

/// What a line of the table sums up.
pub(crate) struct Figures {
    pub(crate) gaps: Vec<f64>,
    pub(crate) gap_of_sums: Option<f64>,
    pub(crate) their_gaps: Vec<f64>,
    pub(crate) their_gap_of_sums: Option<f64>,
    pub(crate) beside: Vec<f64>,
    pub(crate) beside_of_sums: Option<f64>,
}

impl Figures {
    fn of(rows: &[&Row]) -> Self {
        let bounded: Vec<&&Row> = rows.iter().filter(|row| row.bound > 0.0).collect();
        let both: Vec<(&Row, &Answer)> = rows.iter().filter_map(|row| Some((*row, row.comparable()?))).collect();
        let over = |above: f64, below: f64| (below > 0.0).then(|| above / below);
        let ours: f64 = both.iter().map(|(row, _)| row.ours.price).sum();
        let theirs: f64 = both.iter().map(|(_, theirs)| theirs.price).sum();
        Self {
            gaps: rows.iter().filter_map(|row| row.gap()).collect(),
            gap_of_sums: over(
                bounded.iter().map(|row| row.ours.price).sum(),
                bounded.iter().map(|row| row.bound).sum(),
            ),
            their_gaps: rows.iter().filter_map(|row| row.their_gap()).collect(),
            their_gap_of_sums: over(theirs, both.iter().map(|(row, _)| row.bound).sum()),
            beside: rows.iter().filter_map(|row| row.beside_theirs()).collect(),
            beside_of_sums: over(ours, theirs),
        }
    }
}

/// The figures that goals are set for: of plain pods, of host ports, of the families with a tight bound, of all.
fn figures(all: &[Row], tight: &[&Row]) -> [Figures; 4] {
    let of = |family: Family| Figures::of(&all.iter().filter(|row| row.family == family).collect::<Vec<_>>());
    [of(Family::Plain), of(Family::Ports), Figures::of(tight), Figures::of(&all.iter().collect::<Vec<_>>())]
}

/// Names the problems that are furthest from their bounds.
fn worst(all: &[Row], options: &Options) {
    for family in options.families().filter(|_| options.worst > 0) {
        let mut rows: Vec<(&Row, f64)> =
            all.iter().filter(|row| row.family == family).filter_map(|row| Some((row, row.gap()?))).collect();
        rows.sort_by(|a, b| b.1.total_cmp(&a.1));
        for (row, gap) in rows.into_iter().take(options.worst) {
            let theirs = row.theirs.as_ref().map_or(0.0, |theirs| theirs.answer.price);
            println!(
                "{}: {gap:.3} × the bound of ${:.4}; {} nodes, reference ${theirs:.4}",
                row.name, row.bound, row.ours.nodes
            );
        }
    }
}

/// Names the problems in which something is wrong; true if a rule is broken.
fn wrong(all: &[Row]) -> bool {
    let broken: Vec<String> =
        all.iter().flat_map(|row| row.ours.wrong.iter().map(move |wrong| format!("{}: {wrong}", row.name))).collect();
    named("rules that the core's answers break", &broken);
    let missed = all.iter().filter(|row| !row.missed().is_empty()).map(|row| {
        let missed = row.missed();
        format!(
            "{}: {} pods, e.g. {} (replay: `make -s problem NAME={} | sawhorse solve`)",
            row.name,
            missed.len(),
            missed[0],
            row.name
        )
    });
    named("problems in which the reference places pods that the core does not", &missed.collect::<Vec<_>>());
    let mut dearer: Vec<(&Row, f64)> = all.iter().filter_map(|row| Some((row, row.beside_theirs()?))).collect();
    dearer.retain(|(_, beside)| *beside > 1.0 + 1e-9);
    dearer.sort_by(|a, b| b.1.total_cmp(&a.1));
    let dearer = dearer.into_iter().map(|(row, beside)| format!("{}: {beside:.3} × its price", row.name));
    named("problems in which the core is dearer than the reference", &dearer.collect::<Vec<_>>());
    let below = all.iter().filter(|row| row.their_gap().is_some_and(|gap| gap < 1.0 - 1e-6));
    let below = below.map(|row| format!("{}: {:.4} × the bound", row.name, row.their_gap().unwrap_or_default()));
    named(
        "problems in which the reference is below the bound (it breaks a rule, or the bound is wrong)",
        &below.collect::<Vec<_>>(),
    );
    !broken.is_empty()
}

fn named(what: &str, list: &[String]) {
    println!("{what}: {}", if list.is_empty() { "none".to_owned() } else { list.len().to_string() });
    for line in list.iter().take(NAMED) {
        println!("  {line}");
    }
    if list.len() > NAMED {
        println!("  … and {} more", list.len() - NAMED);
    }
}
