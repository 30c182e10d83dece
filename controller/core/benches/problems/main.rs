//! How well and how fast the core decides on generated problems, beside the reference: `make bench-cost`, `make bench`.
//!
//! ```text
//! problems cost [--seeds N] [--only FAMILY]… [--worst N] [--reference PROGRAM]
//! problems speed [--only WORDS]… [--check] [--reference PROGRAM] [--reference-pods N]
//! problems one NAME [--check]
//! ```
//!
//! - `cost` — every family's prices beside the lower bound and the reference's
//! - `speed` — large problems, each in a process of its own
//! - `goals` — what is aimed at
//! - `ours` — one problem solved, checked and measured
//! - `reference` — the Go program under `controller/benches/karpenter`
#![expect(clippy::print_stdout, reason = "its tables are what it is for")]

mod cost;
mod goals;
mod memory;
mod options;
mod ours;
mod reference;
mod speed;
mod statistics;

use options::{Command, Options};
use std::process::ExitCode;

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
        Command::Speed => speed::run(&options),
        Command::One(name) => speed::one(name, &options),
        Command::Nothing => ExitCode::SUCCESS,
    }
}
