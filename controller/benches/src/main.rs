//! Prints the problems that are named: `problem spread-17 | sawhorse solve`.

use std::{
    io::{Write, stdout},
    process::ExitCode,
};

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    if names.is_empty() {
        eprintln!("name a problem, e.g. `spread-17` or `mixed-5000x400`");
        return ExitCode::from(2);
    }
    for name in names {
        let Some(problem) = sawhorse_problems::Problem::named(&name) else {
            eprintln!("no problem is called `{name}`; they are called e.g. `spread-17` or `mixed-5000x400`");
            return ExitCode::from(2);
        };
        // A reader that has seen enough may close the pipe.
        if writeln!(stdout(), "{}", problem.input).is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}
