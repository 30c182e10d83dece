//! How fast consolidation looks at large clusters, and what it finds, beside the reference: `problems disruption`.

use crate::{
    options::Options,
    ours::now,
    reference::{Disrupted, Question, Reference, told},
};
use sawhorse_core::{
    disruption::{ConsolidationLook, DisruptionInput},
    model::{NodeName, Price},
    scheduling::IndexedCatalog,
    solve::Problem,
};
use sawhorse_problems::Standing;
use std::{collections::BTreeMap, process::ExitCode, time::Instant};

/// So many candidates, evenly spread over the order in which they are looked at, are asked about one by one. The reference's scan is
/// reckoned from them: it would take minutes, and ends by itself after three.
const SAMPLE: usize = 8;

/// One line of the table.
pub(crate) struct Row {
    pub(crate) standing: Standing,
    pub(crate) ours: Ours,
    pub(crate) theirs: Option<Disrupted>,
}

/// What ours took, in milliseconds, and what it would save per hour.
pub(crate) struct Ours {
    /// From objects to the first question.
    pub(crate) ready: f64,
    /// One candidate's simulation: the mean, and the longest.
    pub(crate) simulation: f64,
    pub(crate) slowest: f64,
    /// Every candidate, each by itself.
    pub(crate) scan: f64,
    candidates: usize,
    /// What those of the sample would save together.
    sample_saves: f64,
    sample: Vec<String>,
    /// Several nodes together.
    pub(crate) several: f64,
    several_save: f64,
    several_nodes: usize,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let mut reference = Reference::of(options);
    println!("consolidation of clusters that stand; ms; the reference's scan is its simulation times the candidates");
    println!(
        "{:<14}│{:>8}{:>10}{:>9}{:>9}{:>10}{:>13}{:>9}{:>13} │{:>9}{:>10}{:>10}{:>9}{:>13} │{:>18}",
        "cluster",
        "ready",
        "simulation",
        "slowest",
        "scan",
        "saves $/h",
        "",
        "multi",
        "saves $/h",
        "ref sim",
        "scan",
        "saves $/h",
        "multi",
        "saves $/h",
        "× faster: sim scan multi"
    );
    let mut rows = Vec::new();
    for standing in Standing::all().into_iter().filter(|standing| options.wants(&standing.name())) {
        let problem = standing.problem();
        let ours = measure(&problem.input.to_string());
        let asked = standing.nodes <= options.reference_nodes;
        let theirs = reference.as_mut().filter(|_| asked).and_then(|reference| {
            let question = Question { sample: ours.sample.clone(), multi: true, standstill: false };
            let answer = reference.disrupted(&problem.name, &problem.input, &question);
            reference.end();
            told(&problem.name, answer)
        });
        let row = Row { standing, ours, theirs };
        line(&row);
        rows.push(row);
    }
    crate::goals::disruption(&rows);
    ExitCode::SUCCESS
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn measure(text: &str) -> Ours {
    let problem = Problem::read(text).expect("generated clusters are well formed");
    let started = now();
    let catalog = IndexedCatalog::new(problem.catalog.clone());
    let mut look =
        ConsolidationLook::new(&DisruptionInput { snapshot: &problem.snapshot, catalog: &catalog, running: &[] });
    let ready = millis(started);
    let nodes: Vec<NodeName> = look.nodes().cloned().collect();
    let sample: Vec<NodeName> = (0..SAMPLE).map(|index| nodes[index * nodes.len() / SAMPLE].clone()).collect();
    let simulate = |node: &NodeName| {
        let started = now();
        std::hint::black_box(look.simulate(node));
        millis(started)
    };
    let simulations: Vec<f64> = sample.iter().map(simulate).collect();
    let started = now();
    let found: BTreeMap<NodeName, Price> =
        look.each().filter_map(|(node, saves)| Some((node.clone(), saves.ok()?))).collect();
    let scan = millis(started);
    let started = now();
    let command = look.several();
    let several = millis(started);
    Ours {
        ready,
        simulation: simulations.iter().sum::<f64>() / SAMPLE as f64,
        slowest: simulations.iter().copied().fold(0.0, f64::max),
        scan,
        candidates: nodes.len(),
        sample_saves: sample.iter().filter_map(|node| found.get(node)).map(|saves| saves.dollars()).sum(),
        sample: sample.iter().map(ToString::to_string).collect(),
        several,
        several_save: command.as_ref().map_or(0.0, |command| command.savings().dollars()),
        several_nodes: command.map_or(0, |command| command.candidates.len()),
    }
}

impl Row {
    fn their_simulation(&self) -> Option<f64> {
        let theirs = self.theirs.as_ref()?;
        Some(theirs.single.values().map(|look| look.millis).sum::<f64>() / theirs.single.len() as f64)
    }
}

fn line(row: &Row) {
    let ours = &row.ours;
    let saves = |dollars: f64, nodes: usize| format!("{dollars:.2} ({nodes})");
    let theirs = row.theirs.as_ref().zip(row.their_simulation()).map_or_else(
        || format!("{:>9}{:>10}{:>10}{:>9}{:>13} │{:>18}", "-", "-", "-", "-", "-", "-"),
        |(theirs, simulation)| {
            let scan = simulation * ours.candidates as f64;
            let saved: f64 = theirs.single.values().map(|look| look.saves).sum();
            format!(
                "{simulation:>9.0}{scan:>10.0}{saved:>10.2}{:>9.0}{:>13} │{:>8.0}{:>8.0}{:>8.0}",
                theirs.multi.millis,
                saves(theirs.multi.saves, theirs.multi.nodes),
                simulation / ours.simulation,
                scan / ours.scan,
                theirs.multi.millis / ours.several,
            )
        },
    );
    println!(
        "{:<14}│{:>8.0}{:>10.2}{:>9.2}{:>9.0}{:>10.2}{:>13}{:>9.0}{:>13} │{theirs}",
        row.standing.name(),
        ours.ready,
        ours.simulation,
        ours.slowest,
        ours.scan,
        ours.sample_saves,
        format!("of {SAMPLE}"),
        ours.several,
        saves(ours.several_save, ours.several_nodes),
    );
}
