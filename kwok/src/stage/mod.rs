//! KWOK `Stage` objects: an object and the time → which stage comes next, when, and what it changes. Pure.
//!
//! - [`api`] — `Stage` as users write it (`kwok.x-k8s.io/v1alpha1`), read strictly
//! - [`library`] — the stages this project ships, by the names of KWOK's public ones
//! - [`Lifecycle`] — stages compiled once: [`Lifecycle::choose`] says which stage matches and within which time
//! - [`CompiledStage::effects`] — what a stage does to an object, as a list of [`Effect`]s that leave no choices
//!
//! Behaviour follows KWOK 0.8 (`pkg/utils/lifecycle`), with these differences on purpose: randomness is drawn from the
//! caller's stream, and `now`, `env` and `localtime` are refused in jq because they would read the surroundings.

pub mod api;
mod cel;
mod delay;
mod duration;
mod effect;
#[cfg(test)]
mod golden;
mod jq;
pub mod library;
mod lifecycle;
mod path;
mod select;
mod steps;
mod strategic;
mod template;

pub use api::{Stage, parse_stages};
pub use delay::{Bound, Window};
pub use effect::{Effect, PatchKind};
pub use lifecycle::{Chosen, CompiledStage, Lifecycle, MatchError, ResourceKind};
pub use steps::StepError;
pub use template::{Addresses, Facts};

/// A stage that cannot be used: which one, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// The text is not a stream of `Stage` objects.
    #[error("stages in `{origin}`: {problem}")]
    Unreadable {
        /// Where the text came from, e.g. a file name.
        origin: String,
        /// What the reader found, with line and column where known.
        problem: String,
    },
    /// A field of a stage has a value that cannot work.
    #[error("stage `{stage}`: `{field}`: {problem}")]
    Invalid {
        /// The stage's name.
        stage: String,
        /// The field's path, e.g. `spec.selector.matchExpressions[0].key`.
        field: String,
        /// What was wrong and what would be right.
        problem: String,
    },
}

impl StageError {
    pub(crate) fn invalid(stage: &str, field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid { stage: stage.to_owned(), field: field.into(), problem: problem.into() }
    }
}
