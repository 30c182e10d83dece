//! What was asked, what differed, and how often.

use super::{explained::Explained, generate::Request};
use std::{collections::BTreeMap, fmt::Write};

/// The fewest requests that say something.
const ENOUGH: usize = 2000;

#[derive(Default)]
pub(crate) struct Report {
    sequences: usize,
    requests: usize,
    verbs: BTreeMap<&'static str, usize>,
    kinds: BTreeMap<&'static str, usize>,
    codes: BTreeMap<u16, usize>,
    /// Differences without one, each with the stories of its requests.
    unknown: BTreeMap<String, Vec<String>>,
}

impl Report {
    /// Adds an answered request and what differed; answers whether nothing did that is not explained.
    pub(crate) fn add(
        &mut self,
        explained: &Explained,
        request: &Request,
        found: &[String],
        told: impl Fn() -> String,
    ) -> bool {
        self.requests += 1;
        *self.verbs.entry(request.verb).or_default() += 1;
        *self.kinds.entry(request.kind).or_default() += 1;
        let asked = format!("{} {} {}", request.verb, request.kind, request.path);
        let mut all_known = true;
        for difference in found.iter().filter(|difference| !explained.covers(&asked, difference, "")) {
            self.unknown.entry(difference.clone()).or_default().push(told());
            all_known = false;
        }
        all_known
    }

    /// Says now and then how far it is: the run takes minutes.
    pub(crate) fn sequence_ends(&mut self) {
        self.sequences += 1;
        if self.sequences.is_multiple_of(25) {
            eprintln!("{} sequences, {} requests", self.sequences, self.requests);
        }
    }

    pub(crate) fn count_code(&mut self, code: u16) {
        *self.codes.entry(code).or_default() += 1;
    }

    pub(crate) fn text(&self, explained: &Explained) -> String {
        let mut text = String::new();
        let mut unknown: Vec<_> = self.unknown.iter().collect();
        unknown.sort_by_key(|(_, told)| std::cmp::Reverse(told.len()));
        for (difference, told) in unknown {
            let _ = writeln!(text, "{} × {difference}\n{}\n", told.len(), told[0]);
        }
        let table = |counts: &mut dyn Iterator<Item = (String, usize)>| {
            counts.map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>().join(", ")
        };
        let owned = |(what, count): (&&'static str, &usize)| ((*what).to_owned(), *count);
        let _ = writeln!(text, "by verb: {}", table(&mut self.verbs.iter().map(owned)));
        let _ = writeln!(text, "by kind: {}", table(&mut self.kinds.iter().map(owned)));
        let codes = &mut self.codes.iter().map(|(code, count)| (code.to_string(), *count));
        let _ = writeln!(text, "by the real server's code: {}", table(codes));
        for (what, count) in explained.counts() {
            let _ = writeln!(text, "{count:>6} × {what}");
        }
        let explained: usize = explained.counts().map(|(_, count)| count).sum();
        let unknown: usize = self.unknown.values().map(Vec::len).sum();
        let _ = write!(text, "{} requests; differences: {explained} explained, {unknown} unexplained", self.requests);
        text
    }

    pub(crate) fn check(&self, explained: &Explained) {
        assert!(self.unknown.is_empty(), "differences that nothing explains: see above");
        assert!(self.requests >= ENOUGH, "only {} requests were compared", self.requests);
        let stale = explained.unused();
        assert!(stale.is_empty(), "explained.yaml explains what does not occur: {stale:?}");
    }
}
