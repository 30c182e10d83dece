//! What programs have used between two moments, as a table.

use crate::{
    Bench,
    program::{Usage, usage},
};
use std::{collections::BTreeMap, time::Duration};

/// A moment.
pub(crate) struct Moment {
    at: Duration,
    used: BTreeMap<&'static str, Usage>,
}

impl Moment {
    pub(crate) fn now(bench: &Bench) -> Self {
        let plane = bench.plane.processes().into_iter().map(|(name, id)| (name, usage(id)));
        let ours = bench.programs.iter().map(|program| (program.name, program.usage()));
        Self { at: bench.clock.elapsed(), used: plane.chain(ours).collect() }
    }

    /// Prints what has been used since `before`.
    pub(crate) fn print_since(&self, before: &Self, what: &str) {
        let passed = (self.at - before.at).as_secs_f64();
        println!("\n{what}, {passed:.0} s");
        println!("  {:<26} {:>9} {:>10} {:>9} {:>9}", "program", "cpu s", "% of core", "MB", "MB most");
        for (name, used) in &self.used {
            let cpu = self.cpu_since(before, name);
            let share = 100.0 * cpu / passed.max(0.001);
            println!("  {name:<26} {cpu:>9.2} {share:>10.2} {:>9.0} {:>9.0}", used.megabytes, used.most_megabytes);
        }
    }

    /// Processor time of a program since `before`.
    pub(crate) fn cpu_since(&self, before: &Self, name: &str) -> f64 {
        let of = |moment: &Self| moment.used.get(name).map_or(0.0, |used| used.cpu_seconds);
        of(self) - of(before)
    }

    /// Processor time of a program for each minute since `before`.
    pub(crate) fn cpu_per_minute(&self, before: &Self, name: &str) -> f64 {
        60.0 * self.cpu_since(before, name) / (self.at - before.at).as_secs_f64().max(0.001)
    }

    /// Memory of a program.
    pub(crate) fn megabytes(&self, name: &str) -> f64 {
        self.used.get(name).map_or(0.0, |used| used.megabytes)
    }
}
