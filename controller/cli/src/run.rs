//! `sawhorse run`: scenarios in virtual time.

use crate::{args::RunArgs, progress};
use anyhow::{Context, bail};
use sawhorse_e2e::{
    run::{Outcome, in_virtual_time},
    scenario::{Scenario, load},
    summary::table,
};
use std::{io::Write, path::Path, process::ExitCode, time::Instant};

/// Runs the files one after the other; a bad file stops before anything has run.
pub(crate) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    if args.events.is_some() && args.files.len() != 1 {
        bail!("`--events` goes with one scenario, not with {}: run them one by one", args.files.len());
    }
    let scenarios = args.files.iter().map(|file| read(file)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut summaries = Vec::new();
    for scenario in &scenarios {
        let outcome = one(scenario, args)?;
        if let Some(file) = &args.events {
            std::fs::write(file, &outcome.events).with_context(|| format!("`{}` cannot be written", file.display()))?;
        }
        if args.timeline {
            for entry in &outcome.entries {
                print(&format!("{entry}\n"));
            }
        }
        summaries.push(outcome.summary);
    }
    print(&table(&summaries));
    for summary in &summaries {
        if let Some(failure) = &summary.failure {
            print(&format!("\n{} FAILED: {failure}\n", summary.scenario));
        }
    }
    let failed = summaries.iter().any(|summary| summary.failure.is_some());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

pub(crate) fn read(file: &Path) -> anyhow::Result<Scenario> {
    let text = std::fs::read_to_string(file).with_context(|| format!("`{}` cannot be read", file.display()))?;
    load(&text).with_context(|| format!("`{}` is not a scenario", file.display()))
}

#[expect(clippy::disallowed_methods, reason = "the wall time of a run in virtual time is real time")]
fn one(scenario: &Scenario, args: &RunArgs) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    let bar = progress::bar(&scenario.name, scenario.steps.len());
    let outcome =
        in_virtual_time(scenario, args.seed, &|progress| progress::show(&bar, progress), || started.elapsed());
    bar.finish_and_clear();
    outcome.with_context(|| format!("`{}` cannot be run", scenario.name))
}

fn print(text: &str) {
    // A reader that has gone away is no failure of the run.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
