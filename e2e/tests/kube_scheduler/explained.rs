//! Differences that are meant, each with its reason.

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Part of what kube-scheduler says.
    theirs: String,
    /// Part of what the embedded scheduler says.
    #[serde(default)]
    ours: String,
    /// Part of the pod, as JSON.
    #[serde(default)]
    pod: String,
    because: String,
    #[serde(skip)]
    used: bool,
}

pub(crate) struct Explained(Vec<Entry>);

impl Explained {
    pub(crate) fn read(text: &str) -> Self {
        let entries: Vec<Entry> = serde_saphyr::from_str(text).unwrap();
        assert!(entries.iter().all(|entry| !entry.because.is_empty()), "every difference that is meant has a reason");
        Self(entries)
    }

    pub(crate) fn covers(&mut self, pod: &Value, theirs: &str, ours: &str) -> bool {
        let pod = pod.to_string();
        let covers = |entry: &&mut Entry| {
            theirs.contains(&entry.theirs) && ours.contains(&entry.ours) && pod.contains(&entry.pod)
        };
        let found = self.0.iter_mut().find(covers);
        found.map(|entry| entry.used = true).is_some()
    }

    /// What entries say that covered nothing.
    pub(crate) fn unused(&self) -> Vec<String> {
        self.0.iter().filter(|entry| !entry.used).map(|entry| entry.because.clone()).collect()
    }
}

#[test]
fn the_documentation_lists_every_difference() {
    let documentation = include_str!("../../../docs/scheduler.md");
    for Entry { theirs, because, .. } in Explained::read(include_str!("explained.yaml")).0 {
        let row = documentation.lines().find(|line| line.contains(&theirs) && line.contains(&because));
        assert!(row.is_some(), "docs/scheduler.md does not say: {because}");
    }
}
