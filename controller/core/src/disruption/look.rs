//! Consolidation's questions about one cluster, asked one at a time: for tools that measure what they take and what they find.

use super::{
    Candidate, Command, DisruptionInput, WhyKept,
    consolidation::{consolidatable, evaluate_single, find_multi},
    decide::Pass,
};
use crate::{
    model::{NodeName, Price},
    scheduling::Effort,
};

/// A cluster about which questions are asked. What [`super::decide`] makes ready once for all its questions is ready here too.
#[derive(Debug)]
pub struct ConsolidationLook<'a> {
    pass: Pass<'a>,
    candidates: Vec<Candidate>,
}

impl<'a> ConsolidationLook<'a> {
    /// Looks at every machine.
    pub fn new(input: &DisruptionInput<'a>) -> Self {
        let mut pass = Pass::new(input, None);
        // Looking at each machine is not to use up what a look at several may take.
        pass.evaluations_left = u32::MAX;
        let candidates = consolidatable(&mut pass);
        pass.simulator().make_ready();
        pass.bound();
        Self { pass, candidates }
    }

    /// The machines that consolidation may look at, in its order.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeName> {
        self.candidates.iter().map(|candidate| &candidate.node)
    }

    /// Works out where the pods of a machine would go, whether or not it could be worth it; how many machines would be launched for
    /// them, none if some would be without a place or there is no such candidate.
    pub fn simulate(&self, node: &NodeName) -> Option<usize> {
        let candidate = self.candidates.iter().find(|own| own.node == *node)?;
        self.pass.simulator().without(&[candidate], Effort::Quick).ok().map(|simulated| simulated.planned.len())
    }

    /// What each machine by itself would save if it went or became something cheaper, or why that cannot be.
    pub fn each(&mut self) -> impl Iterator<Item = (&NodeName, Result<Price, WhyKept>)> {
        let Self { pass, candidates } = self;
        candidates.iter().map(|candidate| {
            let found = evaluate_single(pass, candidate);
            (&candidate.node, found.map(|found| found.saves(&[candidate])))
        })
    }

    /// Several machines that could go together.
    pub fn several(&mut self) -> Option<Command> {
        find_multi(&mut self.pass)
    }
}
