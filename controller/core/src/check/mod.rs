//! Independent rules that every decision must satisfy: a second opinion on [`crate::scheduling`].
//!
//! Nothing here uses the solver's own helpers. A planned claim is looked at as every machine that it may become, with the
//! labels such a node would have; Kubernetes' rules are then applied to those nodes as they are written in its documentation.
//!
//! - `accounted` — every pod is decided upon exactly once
//! - `fits` — requests, host ports and daemons fit
//! - `requirements_hold` — node selectors, node affinity and taints
//! - `claims` — what a claim says of itself is true: types, order, price, `minValues`
//! - `limits` — no pool holds more than it may
//! - `volumes` — volumes can be used and attached where their pods go
//! - `topology` — affinity between pods, and spread

mod accounted;
mod claims;
mod fits;
mod kubernetes;
mod limits;
mod machines;
mod requirements_hold;
mod topology;
mod volumes;

use crate::scheduling::{Results, SchedulingInput};
use machines::Machine;
use std::fmt;

/// A rule that a decision breaks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The rule's name.
    pub rule: &'static str,
    /// The pod, claim or pool.
    pub subject: String,
    /// What is wrong.
    pub detail: String,
}

impl Violation {
    fn new(rule: &'static str, subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { rule, subject: subject.into(), detail: detail.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}` {}", self.rule, self.subject, self.detail)
    }
}

/// The rules that `results` break as an answer to `input`, sorted; empty if it is right.
pub fn violations(input: &SchedulingInput<'_>, results: &Results) -> Vec<Violation> {
    let machines = Machine::all(input, results);
    let mut found = Vec::new();
    accounted::check(input, results, &mut found);
    claims::check(input, results, &mut found);
    limits::check(input, results, &mut found);
    for machine in &machines {
        fits::check(input, machine, &mut found);
        requirements_hold::check(machine, &mut found);
        volumes::check(input, machine, &mut found);
    }
    topology::check(input, &machines, &mut found);
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests;
