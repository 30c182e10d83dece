//! The one binary. It parses, wires and prints; everything else is in the libraries.

mod args;
mod capture;
mod cloud;
mod control;
mod crds;
mod explain;
mod machines;
mod nodes;
mod plan;
mod progress;
mod run;
mod serve;
mod snapshot;
mod solve;
mod up;

use args::{Cli, Command};
use clap::Parser;
use std::process::ExitCode;

/// A run makes and drops millions of small objects; this allocator is made for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code for input that cannot be used; 1 is for runs that fail.
const BAD_INPUT: u8 = 2;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Up(args) => up::up(&args),
        Command::Controller(args) => control::controller(*args),
        Command::Cloud(args) => cloud::cloud(&args),
        Command::Nodes(args) => nodes::nodes(*args),
        Command::Solve(args) => return solve::solve(args.disrupt),
        Command::Explain(args) => explain::explain(&args),
        Command::Plan(args) => plan::plan(&args),
        Command::Capture(args) => capture::capture(&args),
        Command::Crds(args) => crds::crds(args.out.as_deref()),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("sawhorse: {error:#}");
        ExitCode::from(BAD_INPUT)
    })
}
