//! Large problems, each in a process of its own.

use crate::{
    memory,
    options::Options,
    ours::solve_problem,
    reference::{Answer, Reference, told},
};
use sawhorse_core::{scheduling::Effort, solve::Problem};
use sawhorse_problems::Speed;
use serde::{Deserialize, Serialize};
use std::process::{Command, ExitCode};

/// The reference is ended after so many seconds.
const PATIENCE: f64 = 1800.0;
/// It is asked about problems with up to so many types.
const REFERENCE_TYPES: usize = 400;

/// What a process of its own says of one problem.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Measured {
    pub(crate) pods: usize,
    pub(crate) placed: usize,
    pub(crate) nodes: usize,
    pub(crate) price: f64,
    pub(crate) seconds: f64,
    /// The most that the process had resident while solving, and what it had before, in bytes.
    pub(crate) peak: u64,
    pub(crate) before: u64,
    /// How many rules the answer breaks; none where that was not looked at.
    pub(crate) wrong: Option<usize>,
}

impl Measured {
    /// What solving took beside the objects that were there, in bytes.
    pub(crate) fn taken(&self) -> u64 {
        self.peak.saturating_sub(self.before)
    }

    pub(crate) fn pods_per_second(&self) -> f64 {
        self.placed as f64 / self.seconds
    }
}

/// One line of the table.
pub(crate) struct Row {
    pub(crate) speed: Speed,
    pub(crate) ours: Measured,
    /// The first answer, which could be used while it is made cheaper.
    pub(crate) first: Measured,
    pub(crate) theirs: Option<Answer>,
}

impl Row {
    /// How often the reference's throughput goes into ours.
    pub(crate) fn ratio(&self) -> Option<f64> {
        self.ratio_of(&self.ours)
    }

    /// How often it goes into that of our first answer.
    pub(crate) fn first_ratio(&self) -> Option<f64> {
        self.ratio_of(&self.first)
    }

    fn ratio_of(&self, own: &Measured) -> Option<f64> {
        Some(own.pods_per_second() / their_pods_per_second(self.speed, self.theirs.as_ref()?))
    }
}

fn their_pods_per_second(speed: Speed, theirs: &Answer) -> f64 {
    (speed.pods as f64 - theirs.errors.len() as f64) / (theirs.solve / 1e3)
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let mut reference = Reference::of(options);
    println!("the core from objects to a decision; the reference's Solve alone, what comes before it is not counted");
    println!("first: the answer that there is before machines are made cheaper, and by how much it is dearer");
    println!(
        "{:<20}│{:>14}{:>7}{:>10}{:>9}{:>9}{:>9}{:>9} │{:>9}{:>9}{:>8} │{:>9}{:>9}{:>9} │{:>9}{:>8}",
        "problem",
        "pods placed",
        "nodes",
        "$/h",
        "seconds",
        "pods/s",
        "peak MB",
        "taken MB",
        "first s",
        "pods/s",
        "dearer",
        "ref s",
        "pods/s",
        "peak MB",
        "× faster",
        "first ×"
    );
    let mut rows = Vec::new();
    for speed in Speed::all().into_iter().filter(|speed| options.wants(&speed.name())) {
        match (measure(speed, options, true), measure(speed, options, false)) {
            (Ok(first), Ok(ours)) => {
                let asked = speed.pods <= options.reference_pods && speed.types <= REFERENCE_TYPES;
                let theirs = reference.as_mut().filter(|_| asked).and_then(|reference| theirs(speed, reference));
                let row = Row { speed, ours, first, theirs };
                line(&row);
                rows.push(row);
            }
            (Err(error), _) | (_, Err(error)) => println!("{}: {error}", speed.name()),
        }
    }
    crate::goals::speed(&rows);
    ExitCode::SUCCESS
}

fn theirs(speed: Speed, reference: &mut Reference) -> Option<Answer> {
    let problem = speed.problem();
    let answer = reference.timed(&problem.name, &problem.input, PATIENCE);
    reference.end();
    told(&problem.name, answer)
}

fn line(row: &Row) {
    let ours = &row.ours;
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let theirs = row.theirs.as_ref().map_or_else(
        || format!("{:>9}{:>9}{:>9} │{:>9}{:>8}", "-", "-", "-", "-", "-"),
        |theirs| {
            let ended = if theirs.timed_out { ">" } else { "" };
            format!(
                "{:>9}{:>9.0}{:>9.0} │{:>9.0}{:>8.0}",
                format!("{ended}{:.1}", theirs.solve / 1e3),
                their_pods_per_second(row.speed, theirs),
                megabytes(theirs.peak),
                row.ratio().unwrap_or_default(),
                row.first_ratio().unwrap_or_default(),
            )
        },
    );
    println!(
        "{:<20}│{:>14}{:>7}{:>10.2}{:>9.3}{:>9.0}{:>9.0}{:>9.0} │{:>9.3}{:>9.0}{:>8} │{theirs}",
        row.speed.name(),
        format!("{}/{}", ours.placed, ours.pods),
        ours.nodes,
        ours.price,
        ours.seconds,
        ours.pods_per_second(),
        megabytes(ours.peak),
        megabytes(ours.taken()),
        row.first.seconds,
        row.first.pods_per_second(),
        format!("{:.1} %", (row.first.price / ours.price - 1.0) * 100.0),
    );
    if let Some(wrong) = ours.wrong.filter(|wrong| *wrong > 0) {
        println!("{}: the answer breaks {wrong} rules", row.speed.name());
    }
}

/// Has this program solve the problem again, in a process of its own.
fn measure(speed: Speed, options: &Options, first: bool) -> Result<Measured, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args(["one", &speed.name()]);
    if options.check {
        command.arg("--check");
    }
    if first {
        command.arg("--first");
    }
    let output = command.output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&said).map_err(|error| format!("{error}: {said}{}", String::from_utf8_lossy(&output.stderr)))
}

/// Solves the problem called `name` and prints what that took as JSON.
pub(crate) fn one(name: &str, options: &Options) -> ExitCode {
    let Some(problem) = sawhorse_problems::Problem::named(name) else {
        eprintln!("no problem is called `{name}`");
        return ExitCode::from(2);
    };
    let text = problem.input.to_string();
    drop(problem);
    let read = Problem::read(&text).expect("generated problems are well formed");
    drop(text);
    let effort = if options.first { Effort::Quick } else { Effort::Thorough };
    let before = memory::resident();
    memory::forget_peak();
    let (ours, peak) = solve_problem(&read, effort, options.check, |_, _| memory::peak());
    let measured = Measured {
        pods: ours.pods,
        placed: ours.placed.len(),
        nodes: ours.nodes,
        price: ours.price,
        seconds: ours.solved_in.as_secs_f64(),
        peak,
        before,
        wrong: options.check.then_some(ours.wrong.len()),
    };
    println!("{}", serde_json::to_string(&measured).expect("it has only numbers"));
    ExitCode::SUCCESS
}
