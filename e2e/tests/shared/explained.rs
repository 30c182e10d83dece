//! Where the embedded control plane is meant to differ from the real one, each difference with its reason: the files `explained.yaml`
//! and the tables of `docs` that show them.

use regex::Regex;
use serde::Deserialize;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// All of a file.
#[derive(Deserialize)]
pub(crate) struct Explained(Vec<Explanation>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Explanation {
    /// Part of what was asked; anything if not given.
    #[serde(default)]
    asked: String,
    /// What the real one says: a pattern.
    #[serde(default)]
    real: String,
    /// What the embedded one says: a pattern.
    #[serde(default)]
    embedded: String,
    /// What the embedded one does otherwise.
    what: String,
    /// Why it is meant to.
    because: String,
    /// Whether it need not occur every time.
    #[serde(default)]
    seldom: bool,
    /// How often it was needed.
    #[serde(skip)]
    used: AtomicUsize,
}

impl Explained {
    pub(crate) fn read(text: &str) -> Self {
        let all: Self = serde_saphyr::from_str(text).unwrap();
        assert!(all.0.iter().all(|it| !it.because.is_empty()), "each difference that is meant has a reason");
        all
    }

    pub(crate) fn about<'a>(&'a self, asked: &'a str) -> impl Iterator<Item = &'a Explanation> {
        self.0.iter().filter(move |it| asked.contains(&it.asked))
    }

    /// Whether what both say is one of them.
    pub(crate) fn covers(&self, asked: &str, theirs: &str, ours: &str) -> bool {
        let says = |pattern: &str, text: &str| Regex::new(pattern).unwrap().is_match(text);
        let found = self.about(asked).find(|it| says(&it.real, theirs) && says(&it.embedded, ours));
        found.map(Explanation::count).is_some()
    }

    /// Whether they are all that differs in what both print: whole lines, which may be several.
    pub(crate) fn cover_lines(&self, asked: &str, theirs: &str, ours: &str) -> bool {
        let [mut theirs, mut ours] = [theirs.to_owned(), ours.to_owned()];
        for it in self.about(asked) {
            let patterns = [&it.real, &it.embedded].map(|pattern| lines(pattern));
            let matches = |pattern: &Option<Regex>, text: &str| pattern.as_ref().is_none_or(|one| one.is_match(text));
            if matches(&patterns[0], &theirs) && matches(&patterns[1], &ours) {
                it.count();
                theirs = without(patterns[0].as_ref(), &theirs);
                ours = without(patterns[1].as_ref(), &ours);
            }
        }
        theirs == ours
    }

    /// What each is, and how often it was needed.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&str, usize)> {
        self.0.iter().map(|it| (it.what.as_str(), it.used.load(Relaxed)))
    }

    /// Those that explained nothing: they are no differences any more.
    pub(crate) fn unused(&self) -> Vec<&str> {
        let unused = self.counts().zip(&self.0).filter(|((_, count), it)| *count == 0 && !it.seldom);
        unused.map(|((what, _), _)| what).collect()
    }

    /// The rows of the table that shows them.
    pub(crate) fn rows(&self) -> Vec<String> {
        self.0.iter().map(|it| format!("| {} | {} |", it.what, it.because)).collect()
    }
}

impl Explanation {
    fn count(&self) {
        self.used.fetch_add(1, Relaxed);
    }
}

fn lines(pattern: &str) -> Option<Regex> {
    (!pattern.is_empty()).then(|| Regex::new(&format!("(?m)^(?:{})$\\n?", pattern.trim_end())).unwrap())
}

fn without(pattern: Option<&Regex>, text: &str) -> String {
    let rest = pattern.map_or_else(|| text.to_owned(), |pattern| pattern.replace_all(text, "").into_owned());
    rest.trim_end().to_owned()
}
