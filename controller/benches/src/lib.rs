//! Scheduling problems drawn from seeds, in the JSON that `sawhorse solve` reads: the same ones for benchmarks, tests, tools and
//! the reference.
//!
//! - [`Family`] — eight kinds of small problems, by which cost is judged
//! - [`Mix`] — large problems, by which speed is judged
//! - [`Standing`] — large clusters, by which the speed of disruption is judged
//! - [`left_over`] — what is left of a solved problem after a while: half of the pods, on machines of which some are too big
//! - [`Problem`] — one of the first three, by its name: `spread-17`, `mixed-5000x400`, `full-1000x30`
//!
//! One name gives the same problem for ever: every workload, pool and node draws from a stream of its own.

mod catalog;
mod draw;
mod families;
mod left_over;
mod mixes;
mod nodes;
mod pods;
mod pools;
mod rules;
mod standing;

pub use families::{Family, SEEDS};
pub use left_over::{Machine, left_over};
pub use mixes::{Mix, Speed};
pub use standing::{Fill, Standing};

use serde_json::Value;

/// A problem and its name.
#[derive(Clone, Debug)]
pub struct Problem {
    /// What it is found again by.
    pub name: String,
    /// The input of `sawhorse solve`.
    pub input: Value,
}

impl Problem {
    /// The problem called `name`; none if no problem is.
    ///
    /// ```
    /// let problem = sawhorse_problems::Problem::named("spread-17").unwrap();
    /// assert!(problem.input["pods"].as_array().unwrap().len() >= 20);
    /// assert!(sawhorse_problems::Problem::named("spread").is_none());
    /// ```
    pub fn named(name: &str) -> Option<Self> {
        let (kind, which) = name.rsplit_once('-')?;
        if let Ok(seed) = which.parse() {
            return Family::ALL.into_iter().find(|family| family.name() == kind).map(|family| family.problem(seed));
        }
        Speed::named(name).map(Speed::problem).or_else(|| Standing::named(name).map(Standing::problem))
    }
}
