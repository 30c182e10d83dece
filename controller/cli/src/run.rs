//! `sawhorse run`: scenarios in virtual time, or on real control planes in fast motion.

use crate::{args::RunArgs, progress};
use anyhow::{Context, bail};
use indicatif::MultiProgress;
use sawhorse_e2e::{
    control_plane::Programs,
    report,
    run::{Outcome, Progress, in_virtual_time, on_kubernetes},
    scenario::{Scenario, load},
    summary::table,
    timeline::timeline,
};
use std::{
    collections::BTreeMap,
    io::Write,
    num::NonZeroUsize,
    path::Path,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

/// Runs the files, a few side by side, and prints in their order; a bad file stops before anything has run.
pub(crate) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    for (option, file) in [("--events", &args.events), ("--report", &args.report)] {
        if file.is_some() && args.files.len() != 1 {
            bail!("`{option}` goes with one scenario, not with {}: run them one by one", args.files.len());
        }
    }
    let scenarios = args.files.iter().map(|file| read(file)).collect::<anyhow::Result<Vec<_>>>()?;
    let programs = args.plane.programs()?;
    let (scenarios, skipped) = runnable(scenarios, programs.is_some());
    let mut summaries = Vec::new();
    for (scenario, outcome) in scenarios.iter().zip(run_all(&scenarios, args, programs.as_ref())) {
        let outcome = outcome?;
        if let Some(file) = &args.events {
            write(file, &outcome.events)?;
        }
        if let Some(file) = &args.report {
            write(file, &report::html(&outcome, args.seed.unwrap_or(scenario.seed)))?;
        }
        if args.timeline {
            print(&timeline(&outcome.entries));
        }
        summaries.push(outcome.summary);
    }
    print(&table(&summaries));
    for scenario in &skipped {
        let why = scenario.virtual_time_only.as_deref().unwrap_or_default();
        print(&format!("{} skipped: {why}\n", scenario.name));
    }
    for summary in &summaries {
        if let Some(failure) = &summary.failure {
            print(&format!("\n{} FAILED: {failure}\n", summary.scenario));
        }
    }
    let failed = summaries.iter().any(|summary| summary.failure.is_some());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The scenarios that run, and those that need virtual time where there is none.
fn runnable(scenarios: Vec<Scenario>, in_real_time: bool) -> (Vec<Scenario>, Vec<Scenario>) {
    scenarios.into_iter().partition(|scenario| !in_real_time || scenario.virtual_time_only.is_none())
}

/// The outcomes in the order of the scenarios. Each runs in a thread of its own, in its own time.
fn run_all(scenarios: &[Scenario], args: &RunArgs, programs: Option<&Programs>) -> Vec<anyhow::Result<Outcome>> {
    let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    // In fast motion a run waits more than it computes.
    let jobs = args.jobs.map_or(processors + usize::from(programs.is_some()), NonZeroUsize::get);
    let (bars, next) = (MultiProgress::new(), AtomicUsize::new(0));
    let outcomes = Mutex::new(BTreeMap::new());
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(scenario) = scenarios.get(index) else { return };
            let outcome = one(scenario, args, programs, &bars);
            outcomes.lock().unwrap_or_else(PoisonError::into_inner).insert(index, outcome);
        }
    };
    std::thread::scope(|scope| (0..jobs.min(scenarios.len())).for_each(|_| drop(scope.spawn(work))));
    outcomes.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("`{}` cannot be written", file.display()))
}

pub(crate) fn read(file: &Path) -> anyhow::Result<Scenario> {
    let text = std::fs::read_to_string(file).with_context(|| format!("`{}` cannot be read", file.display()))?;
    load(&text).with_context(|| format!("`{}` is not a scenario", file.display()))
}

#[expect(clippy::disallowed_methods, reason = "the wall time of a run in virtual time is real time")]
fn one(
    scenario: &Scenario,
    args: &RunArgs,
    programs: Option<&Programs>,
    bars: &MultiProgress,
) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    let bar = bars.add(progress::bar(&scenario.name, scenario.steps.len()));
    let (show, wall) = (|progress: Progress<'_>| progress::show(&bar, progress), || started.elapsed());
    let outcome = match programs {
        None => in_virtual_time(scenario, args.seed, &show, wall),
        Some(programs) => on_kubernetes(scenario, args.seed, (programs, args.speed), &show, wall),
    };
    bar.finish_and_clear();
    outcome.with_context(|| format!("`{}` cannot be run", scenario.name))
}

fn print(text: &str) {
    // A reader that has gone away is no failure of the run.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
