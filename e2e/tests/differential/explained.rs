//! Differences that are meant, each with its reason: `explained.yaml`, which `docs/api-server.md` shows.

use super::generate::Request;
use serde::Deserialize;

/// All of them.
#[derive(Deserialize)]
pub(crate) struct Explained(Vec<Explanation>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Explanation {
    /// Part of the difference as it is told.
    difference: String,
    /// Part of the request's verb, kind and path; all if not given.
    #[serde(default)]
    request: String,
    /// What the embedded server does otherwise.
    pub(crate) what: String,
    /// Why it is meant to.
    because: String,
}

impl Explained {
    pub(crate) fn read(text: &str) -> Self {
        let all: Self = serde_saphyr::from_str(text).unwrap();
        assert!(all.0.iter().all(|it| !it.because.is_empty()), "each has a reason");
        all
    }

    pub(crate) fn all(&self) -> &[Explanation] {
        &self.0
    }

    /// Which of them a difference is.
    pub(crate) fn of(&self, request: &Request, found: &str) -> Option<usize> {
        let line = format!("{} {} {}", request.verb, request.kind, request.path);
        self.0.iter().position(|it| found.contains(&it.difference) && line.contains(&it.request))
    }
}
