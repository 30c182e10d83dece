//! What clusters cost once nothing more is found to disrupt, beside the least that their pods could cost on a cluster built anew and
//! beside the reference: `problems standstill`.

use crate::{
    options::Options,
    ours::now,
    reference::{Disrupted, Question, Reference, told},
    statistics::{greatest, quantile, ratio},
};
use sawhorse_core::{
    model::{ClusterSnapshot, PodKey},
    plan::{Manifests, PlanInput, plan},
    scheduling::{PlannedNodeClaim, Prepared, SchedulingInput, solve, tight_lower_bound},
    solve::Problem,
};
use sawhorse_problems::{Family, Machine, left_over};
use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
};

/// So many clusters of each family where nothing else is said.
const SEEDS: u64 = 5;

/// One cluster.
pub(crate) struct Row {
    family: Family,
    name: String,
    before: f64,
    bound: f64,
    /// What the same pods come to if all is decided anew by the core.
    rebuilt: f64,
    ours: End,
    theirs: Option<End>,
}

/// Where one side ends.
struct End {
    price: f64,
    nodes: usize,
    evictions: usize,
    commands: usize,
    seconds: f64,
}

impl Row {
    fn over_bound(&self, price: f64) -> f64 {
        price / self.bound
    }

    /// How ours stands to the reference.
    fn beside(&self) -> Option<f64> {
        Some(self.ours.price / self.theirs.as_ref()?.price)
    }
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let mut reference = Reference::of(options);
    head();
    let mut all: Vec<Row> = Vec::new();
    for family in options.families() {
        let seeds = 0..options.seeds.unwrap_or(SEEDS);
        let rows: Vec<Row> = seeds.filter_map(|seed| row(family, seed, reference.as_mut())).collect();
        line(family.name(), &rows.iter().collect::<Vec<_>>());
        all.extend(rows);
    }
    line("tight", &all.iter().filter(|row| row.family.has_tight_bound()).collect::<Vec<_>>());
    line("all", &all.iter().collect::<Vec<_>>());
    worst(&all, options.worst);
    crate::goals::standstill(&Totals::of(&all.iter().collect::<Vec<_>>()));
    ExitCode::SUCCESS
}

/// Prints what is left of a problem that is named without that: `plain-4`.
pub(crate) fn print(name: &str) -> ExitCode {
    let Some(problem) = sawhorse_problems::Problem::named(name) else {
        eprintln!("there is no problem `{name}`");
        return ExitCode::from(2);
    };
    println!("{}", cluster(&problem).input);
    ExitCode::SUCCESS
}

/// Solves the problem, takes half of its pods away and moves what is left to a standstill; none where nothing is left.
fn row(family: Family, seed: u64, reference: Option<&mut Reference>) -> Option<Row> {
    let problem = cluster(&family.problem(seed));
    let read = Problem::read(&problem.input.to_string()).expect("generated clusters are well formed");
    let removed = BTreeSet::new();
    let input = PlanInput {
        snapshot: &read.snapshot,
        catalog: &read.catalog,
        applied: &Manifests::default(),
        removed: &removed,
    };
    let started = now();
    let planned = plan(&input);
    let seconds = started.elapsed().as_secs_f64();
    if planned.unfinished || !planned.homeless.is_empty() {
        println!("{}: not finished, or {} pods are without a place", problem.name, planned.homeless.len());
    }
    let disrupting = |step: &&sawhorse_core::plan::Step| matches!(step.act, sawhorse_core::plan::Act::Disrupt(..));
    let ours = End {
        price: planned.price_after.dollars(),
        nodes: planned.after.nodes.len(),
        evictions: planned.steps.iter().map(|step| step.evictions).sum(),
        commands: planned.steps.iter().filter(disrupting).count(),
        seconds,
    };
    let (bound, rebuilt) = anew(&problem.name, &read);
    let theirs = reference.and_then(|reference| {
        let question = Question { sample: Vec::new(), multi: false, standstill: true };
        told(&problem.name, reference.disrupted(&problem.name, &problem.input, &question))
    });
    let theirs = theirs.map(|theirs| End::of(&problem.name, &theirs));
    let before = planned.price_before.dollars();
    (bound > 0.0).then_some(Row { family, name: problem.name, before, bound, rebuilt, ours, theirs })
}

impl End {
    fn of(name: &str, theirs: &Disrupted) -> Self {
        if theirs.homeless > 0 {
            println!("{name}: the reference leaves {} pods without a place", theirs.homeless);
        }
        let &Disrupted { price, nodes, evictions, commands, seconds, .. } = theirs;
        Self { price, nodes, evictions, commands, seconds }
    }
}

/// The cluster in which the core has solved the problem, after a while.
fn cluster(problem: &sawhorse_problems::Problem) -> sawhorse_problems::Problem {
    let read = Problem::read(&problem.input.to_string()).expect("generated problems are well formed");
    let prepared = Prepared::new(&read.snapshot, &read.catalog);
    let pods = read.to_place();
    let results = solve(&SchedulingInput::new(&prepared, &pods));
    let machines: Vec<Machine> = results.planned.iter().map(machine).collect();
    let placed = results.placements.iter().map(|own| (own.node.clone(), names(&own.pods))).collect::<BTreeMap<_, _>>();
    left_over(problem, &machines, &placed)
}

fn machine(planned: &PlannedNodeClaim) -> Machine {
    let launch = &planned.launch;
    let others = planned.instance_types.iter().map(|own| own.name.clone()).filter(|name| *name != launch.instance_type);
    Machine {
        pool: planned.node_pool.to_string(),
        types: [launch.instance_type.clone()].into_iter().chain(others).collect(),
        zone: launch.zone.clone(),
        capacity_type: launch.capacity_type.as_str().to_owned(),
        labels: planned.labels.clone(),
        pods: names(&planned.pods),
    }
}

fn names(pods: &[std::sync::Arc<k8s_openapi::api::core::v1::Pod>]) -> Vec<String> {
    pods.iter().map(|pod| PodKey::of(pod).name.to_string()).collect()
}

/// What the cluster's pods cost at least on machines that are bought for them, and what they come to if the core buys them. Pods that
/// follow others which are gone run where they are and nowhere else: with them a standstill is dearer, and building anew cheaper.
fn anew(name: &str, read: &Problem) -> (f64, f64) {
    let pods: Vec<_> = read.snapshot.nodes.iter().flat_map(|own| own.pods.iter().cloned()).collect();
    let empty = ClusterSnapshot { nodes: Vec::new(), ..read.snapshot.clone() };
    let prepared = Prepared::new(&empty, &read.catalog);
    let input = SchedulingInput::new(&prepared, &pods);
    let results = solve(&input);
    if !results.unschedulable.is_empty() {
        println!("{name}: built anew, {} of its pods would have no place", results.unschedulable.len());
    }
    (tight_lower_bound(&input, &pods).dollars(), results.total_price().dollars())
}

fn head() {
    let side = |median: &str| format!("{median:>7}    p90    max    sum  nodes    e/$ seconds");
    println!("price at the standstill ÷ the lower bound of building anew; e/$: evictions per dollar per hour saved");
    println!(
        "{:<10}{:>4} │{:>8}{:>9} │{} │{} │{:>9}{:>7}",
        "family",
        "n",
        "before",
        "rebuilt",
        side("p50"),
        side("ref p50"),
        "ours÷ref",
        "max"
    );
}

/// What a line of the table sums up.
pub(crate) struct Totals {
    pub(crate) ours: Vec<f64>,
    pub(crate) theirs: Vec<f64>,
    pub(crate) beside: Vec<f64>,
    pub(crate) per_dollar: Option<f64>,
    pub(crate) their_per_dollar: Option<f64>,
}

impl Totals {
    fn of(rows: &[&Row]) -> Self {
        let theirs = rows.iter().filter_map(|row| Some((*row, row.theirs.as_ref()?)));
        Self {
            ours: rows.iter().map(|row| row.over_bound(row.ours.price)).collect(),
            theirs: theirs.clone().map(|(row, theirs)| row.over_bound(theirs.price)).collect(),
            beside: rows.iter().filter_map(|row| row.beside()).collect(),
            per_dollar: per_dollar(rows.iter().map(|row| (*row, &row.ours))),
            their_per_dollar: per_dollar(theirs),
        }
    }
}

fn per_dollar<'a>(ends: impl Iterator<Item = (&'a Row, &'a End)>) -> Option<f64> {
    let (evictions, saved) = ends
        .fold((0, 0.0), |(evictions, saved), (row, end)| (evictions + end.evictions, saved + row.before - end.price));
    (saved > 0.0).then(|| evictions as f64 / saved)
}

fn line(name: &str, rows: &[&Row]) {
    let totals = Totals::of(rows);
    let bounds: f64 = rows.iter().map(|row| row.bound).sum();
    let over = |of: fn(&Row) -> f64| rows.iter().map(|row| of(row)).sum::<f64>() / bounds;
    let side = |gaps: &[f64], per_dollar: Option<f64>, end: fn(&Row) -> Option<&End>| {
        let ends: Vec<&End> = rows.iter().filter_map(|row| end(row)).collect();
        let told = |text: String| if ends.is_empty() { "-".to_owned() } else { text };
        format!(
            "{:>7}{:>7}{:>7}{:>7}{:>7}{:>7}{:>8}",
            ratio(quantile(gaps, 50)),
            ratio(quantile(gaps, 90)),
            ratio(greatest(gaps)),
            told(format!("{:.3}", ends.iter().map(|end| end.price).sum::<f64>() / bounds)),
            told(ends.iter().map(|end| end.nodes).sum::<usize>().to_string()),
            told(per_dollar.map_or_else(|| "-".to_owned(), |own| format!("{own:.1}"))),
            told(format!("{:.1}", ends.iter().map(|end| end.seconds).sum::<f64>())),
        )
    };
    println!(
        "{name:<10}{:>4} │{:>8.3}{:>9.3} │{} │{} │{:>9}{:>7}",
        rows.len(),
        over(|row| row.before),
        over(|row| row.rebuilt),
        side(&totals.ours, totals.per_dollar, |row| Some(&row.ours)),
        side(&totals.theirs, totals.their_per_dollar, |row| row.theirs.as_ref()),
        ratio(quantile(&totals.beside, 50)),
        ratio(greatest(&totals.beside)),
    );
}

/// Names the clusters in which ours is dearer, and those that end furthest from their bounds.
fn worst(all: &[Row], named: usize) {
    let mut dearer: Vec<(&Row, f64)> = all.iter().filter_map(|row| Some((row, row.beside()?))).collect();
    dearer.retain(|(_, beside)| *beside > 1.0 + 1e-9);
    dearer.sort_by(|a, b| b.1.total_cmp(&a.1));
    println!("clusters that are dearer than the reference's: {}", dearer.len());
    for (row, beside) in &dearer {
        println!("  {}: {beside:.3} × its price, {:.3} × the bound", row.name, row.over_bound(row.ours.price));
    }
    let mut far: Vec<&Row> = all.iter().collect();
    far.sort_by(|a, b| b.over_bound(b.ours.price).total_cmp(&a.over_bound(a.ours.price)));
    for row in far.into_iter().take(named) {
        println!(
            "{}: before {:.3}, rebuilt {:.3}, ours {:.3} × the bound of ${:.4}; {} nodes after {} commands",
            row.name,
            row.over_bound(row.before),
            row.over_bound(row.rebuilt),
            row.over_bound(row.ours.price),
            row.bound,
            row.ours.nodes,
            row.ours.commands,
        );
    }
}
