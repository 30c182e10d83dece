//! Every family's prices beside the lower bound and the reference's.

use crate::{
    options::Options,
    ours::{Ours, bound, now, solve_problem},
    statistics::{greatest, quantile, ratio},
};
use sawhorse_core::solve::Problem;
use sawhorse_problems::Family;
use std::{process::ExitCode, time::Duration};

struct Row {
    name: String,
    ours: Ours,
    bound: f64,
    bounded_in: Duration,
}

impl Row {
    fn gap(&self) -> Option<f64> {
        (self.bound > 0.0).then(|| self.ours.price / self.bound)
    }
}

pub(crate) fn run(options: &Options) -> ExitCode {
    println!(
        "{:<10} {:>3} {:>12} {:>6} {:>9} {:>7} {:>7} {:>7} {:>7} {:>9} {:>9}",
        "family", "n", "placed", "nodes", "$/h", "median", "p90", "max", "sum", "solve ms", "bound ms"
    );
    let mut all = Vec::new();
    for family in &options.families {
        let rows: Vec<Row> = (0..options.seeds).map(|seed| row(*family, seed)).collect();
        line(family.name(), &rows);
        all.extend(rows);
    }
    line("all", &all);
    ExitCode::SUCCESS
}

fn row(family: Family, seed: u64) -> Row {
    let problem = family.problem(seed);
    let read = Problem::read(&problem.input.to_string()).expect("generated problems are well formed");
    let (ours, (bound, bounded_in)) = solve_problem(&read, |input, results, _| {
        let started = now();
        (bound(input, results), started.elapsed())
    });
    for wrong in &ours.wrong {
        println!("{}: {wrong}", problem.name);
    }
    Row { name: problem.name, ours, bound, bounded_in }
}

fn line(name: &str, rows: &[Row]) {
    let gaps: Vec<f64> = rows.iter().filter_map(Row::gap).collect();
    let sum = |of: fn(&Row) -> f64| rows.iter().map(of).sum::<f64>();
    let placed: usize = rows.iter().map(|row| row.ours.placed.len()).sum();
    let pods: usize = rows.iter().map(|row| row.ours.pods).sum();
    println!(
        "{name:<10} {:>3} {:>12} {:>6} {:>9.2} {:>7} {:>7} {:>7} {:>7} {:>9.1} {:>9.1}",
        rows.len(),
        format!("{placed}/{pods}"),
        rows.iter().map(|row| row.ours.nodes).sum::<usize>(),
        sum(|row| row.ours.price),
        ratio(quantile(&gaps, 50)),
        ratio(quantile(&gaps, 90)),
        ratio(greatest(&gaps)),
        ratio(Some(sum(|row| row.ours.price) / sum(|row| row.bound))),
        sum(|row| row.ours.solved_in.as_secs_f64() * 1e3),
        sum(|row| row.bounded_in.as_secs_f64() * 1e3),
    );
    let _ = rows.iter().map(|row| &row.name);
}
