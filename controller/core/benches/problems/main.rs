//! How well and how fast the core decides on generated problems, beside the reference: `make bench-cost`, `make bench`.
//!
//! ```text
//! problems cost [--seeds N] [--only FAMILY]… [--worst N] [--reference PROGRAM]
//! problems speed [--only WORDS]… [--check] [--reference PROGRAM] [--reference-pods N]
//! problems standstill [--seeds N] [--only FAMILY]… [--worst N] [--reference PROGRAM]
//! problems disruption [--only WORDS]… [--reference PROGRAM] [--reference-nodes N]
//! problems one NAME [--check] [--first]
//! problems left NAME
//! ```
//!
//! - `cost` — every family's prices beside the lower bound and the reference's
//! - `speed` — large problems, each in a process of its own
//! - `standstill` — what is left of them after a while, moved until nothing more is decided
//! - `left` — such a cluster before anything is moved, as `sawhorse plan --snapshot` reads it
//! - `disruption` — large clusters, and how fast each method of consolidation looks at them
//! - `goals` — what is aimed at
//! - `ours` — one problem solved, checked and measured
//! - `reference` — the Go program under `controller/benches/karpenter`
#![expect(clippy::print_stdout, reason = "its tables are what it is for")]

mod cost;
mod disruption;
mod goals;
mod memory;
mod options;
mod ours;
mod reference;
mod speed;
mod standstill;
mod statistics;

use options::{Command, Options};
use std::process::ExitCode;

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    match &options.command {
        Command::Cost => cost::run(&options),
        Command::Standstill => standstill::run(&options),
        Command::Disruption => disruption::run(&options),
        Command::Speed => speed::run(&options),
        Command::Left(name) => standstill::print(name),
        Command::One(name) => speed::one(name, &options),
        Command::Nothing => ExitCode::SUCCESS,
    }
}
