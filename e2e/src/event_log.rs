//! Everything that happened in a run, in order: one JSON object a line (`--events`), one readable line in timelines.

use jiff::Timestamp;
use serde::Serialize;
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// Who tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The scenario's steps.
    Step,
    /// The cluster's objects.
    Cluster,
    /// What the controller decided and did.
    Controller,
    /// Calls to the cloud.
    Cloud,
    /// Machines and their kubelets.
    Machine,
}

impl Source {
    /// Its name in event logs and timelines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Cluster => "cluster",
            Self::Controller => "controller",
            Self::Cloud => "cloud",
            Self::Machine => "machine",
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// When, in virtual milliseconds from the start.
    pub at_ms: i64,
    /// Who tells.
    pub source: Source,
    /// What it is about, e.g. `pod/default/web-0`.
    pub subject: String,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.at_ms / 1000, self.at_ms % 1000);
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let source = self.source.as_str();
        write!(f, "+{hours:02}:{minutes:02}:{seconds:02}.{millis:03} {source:<10} {} {}", self.subject, self.what)
    }
}

/// The log of a run. Cheap to clone; all clones are the same log.
#[derive(Clone, Debug)]
pub struct EventLog {
    start: Timestamp,
    entries: Arc<Mutex<Vec<Entry>>>,
}

impl EventLog {
    /// An empty log of a run that starts at `start`.
    pub fn new(start: Timestamp) -> Self {
        Self { start, entries: Arc::default() }
    }

    /// Adds what happened at `at`.
    pub fn add(&self, at: Timestamp, source: Source, subject: impl Into<String>, what: impl Into<String>) {
        let at_ms = i64::try_from(at.duration_since(self.start).as_millis()).unwrap_or(i64::MAX);
        let entry = Entry { at_ms, source, subject: subject.into(), what: what.into() };
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    /// All entries by time; those of one moment in the order in which they were told.
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone();
        entries.sort_by_key(|entry| entry.at_ms);
        entries
    }

    /// The log as JSON lines.
    pub fn json_lines(&self) -> String {
        let lines = self.entries();
        let lines = lines.iter().map(|entry| serde_json::to_string(entry).expect("entries are plain data") + "\n");
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{EventLog, Source};

    #[test]
    fn entries_are_by_time_and_readable() {
        let start: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let log = EventLog::new(start);
        log.add(start + jiff::SignedDuration::from_millis(3_723_004), Source::Cloud, "CreateFleet", "ok");
        log.add(start, Source::Step, "1", "apply");
        let lines: Vec<String> = log.entries().iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["+00:00:00.000 step       1 apply", "+01:02:03.004 cloud      CreateFleet ok"]);
        assert!(log.json_lines().starts_with(r#"{"at_ms":0,"source":"step","subject":"1","what":"apply"}"#));
    }
}
