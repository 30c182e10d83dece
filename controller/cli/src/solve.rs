//! `sawhorse solve`: the core alone.

use std::{
    io::{Read, Write},
    process::ExitCode,
    time::Instant,
};

/// Reads standard input, prints the decision. Bad input: exit 2, one line on standard error, nothing on standard output.
#[expect(clippy::disallowed_methods, reason = "`solveMillis` is real time, measured here and handed in")]
pub(crate) fn solve(disrupt: bool) -> ExitCode {
    let mut input = String::new();
    if let Err(error) = std::io::stdin().read_to_string(&mut input) {
        eprintln!("sawhorse: standard input cannot be read: {error}");
        return ExitCode::from(crate::BAD_INPUT);
    }
    let started = Instant::now();
    let millis = || u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    match sawhorse_core::solve::solve_json(&input, disrupt, millis) {
        Ok(output) => {
            // A reader that has gone away is no failure of the decision.
            let _ = writeln!(std::io::stdout(), "{output}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("sawhorse: {error}");
            ExitCode::from(crate::BAD_INPUT)
        }
    }
}
