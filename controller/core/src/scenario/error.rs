//! What is wrong with a scenario.

use serde_saphyr::Location;
use thiserror::Error;

/// What is wrong with a scenario or a catalog, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{message}", place(*line, *column))]
pub struct ScenarioError {
    line: u64,
    column: u64,
    message: String,
}

impl ScenarioError {
    /// The YAML reader's error: its message has the place in it.
    pub(super) fn of_yaml(error: &serde_saphyr::Error) -> Self {
        Self::anywhere(error.to_string())
    }

    pub(super) fn at(location: Location, message: String) -> Self {
        Self { line: location.line(), column: location.column(), message }
    }

    pub(super) fn at_line(line: u64, column: u64, message: String) -> Self {
        Self { line, column, message }
    }

    /// An error that has no place of its own; its message names what it is about.
    pub(super) fn anywhere(message: String) -> Self {
        Self { line: 0, column: 0, message }
    }
}

fn place(line: u64, column: u64) -> String {
    if line == 0 { String::new() } else { format!("line {line}, column {column}: ") }
}
