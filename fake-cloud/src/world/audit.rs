//! The audit trail: every call that reached a door, and how often each operation was called.

use jiff::Timestamp;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};

/// Entries kept; older ones are dropped. A day of a busy cluster is some 100,000 calls; at about 500 bytes each this is 50 MB.
pub const MAX_AUDIT_ENTRIES: usize = 100_000;
/// Operation names are the caller's: more different ones than all services have are counted together.
const MAX_OPERATIONS: usize = 2_000;
const OTHER_OPERATIONS: &str = "(others)";

/// A call as a door hands it in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallRecord {
    /// `ec2`, `ssm`, `pricing`, `control`.
    pub door: &'static str,
    /// E.g. `CreateFleet`.
    pub operation: String,
    /// The parameters, shortened.
    pub parameters: String,
    /// `ok`, or the vendor's error code as the caller saw it.
    pub result: String,
    /// The HTTP status; 0 if no answer was given.
    pub status: u16,
    /// Ids that the call made or touched.
    pub ids: Vec<String>,
}

/// A call as the trail keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// Its number, from 1, without gaps.
    pub number: u64,
    /// When it was answered.
    pub time: Timestamp,
    /// `ec2`, `ssm`, `pricing`, `control`.
    pub door: &'static str,
    /// E.g. `CreateFleet`.
    pub operation: String,
    /// The parameters, shortened.
    pub parameters: String,
    /// `ok`, or the vendor's error code as the caller saw it.
    pub result: String,
    /// The HTTP status; 0 if no answer was given.
    pub status: u16,
    /// Ids that the call made or touched.
    pub ids: Vec<String>,
}

/// How often an operation was called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CallCount {
    /// Calls that came.
    pub calls: u64,
    /// Calls answered with an error.
    pub errors: u64,
    /// Errors that were throttles (503 or a throttling code).
    pub throttled: u64,
    /// Calls whose answer was lost on purpose.
    pub lost: u64,
}

/// The trail.
#[derive(Clone, Debug, Default)]
pub(crate) struct Audit {
    entries: VecDeque<AuditEntry>,
    written: u64,
    counts: BTreeMap<String, CallCount>,
}

impl Audit {
    pub(crate) fn record(&mut self, now: Timestamp, call: CallRecord, lost: bool) {
        self.count(&call, lost);
        self.written += 1;
        if self.entries.len() == MAX_AUDIT_ENTRIES {
            self.entries.pop_front();
        }
        let CallRecord { door, operation, parameters, result, status, ids } = call;
        let number = self.written;
        self.entries.push_back(AuditEntry { number, time: now, door, operation, parameters, result, status, ids });
    }

    fn count(&mut self, call: &CallRecord, lost: bool) {
        let known = self.counts.contains_key(&call.operation) || self.counts.len() < MAX_OPERATIONS;
        let name = if known { &call.operation } else { OTHER_OPERATIONS };
        let count = self.counts.entry(name.to_owned()).or_default();
        count.calls += 1;
        count.errors += u64::from(call.result != "ok");
        count.throttled += u64::from(is_throttle(&call.result));
        count.lost += u64::from(lost);
    }

    pub(crate) fn counts(&self) -> &BTreeMap<String, CallCount> {
        &self.counts
    }

    /// The last entries, up to `limit`, oldest first.
    pub(crate) fn last(&self, limit: usize) -> impl Iterator<Item = &AuditEntry> {
        self.entries.iter().skip(self.entries.len().saturating_sub(limit))
    }

    /// Up to `limit` entries with a number above `after`, oldest first.
    pub(crate) fn page(&self, after: u64, limit: usize) -> impl Iterator<Item = &AuditEntry> {
        let first = self.entries.front().map_or(0, |entry| entry.number);
        let skip = usize::try_from((after + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        self.entries.iter().skip(skip).take(limit)
    }
}

fn is_throttle(code: &str) -> bool {
    matches!(code, "RequestLimitExceeded" | "ThrottlingException" | "Throttling")
}

#[cfg(test)]
mod tests {
    use super::{Audit, CallRecord, MAX_AUDIT_ENTRIES};
    use jiff::Timestamp;

    #[test]
    fn the_trail_is_bounded_and_pages_survive_dropping() {
        let mut audit = Audit::default();
        for _ in 0..MAX_AUDIT_ENTRIES + 5 {
            audit.record(Timestamp::UNIX_EPOCH, CallRecord::default(), false);
        }
        let numbers = |after, limit| audit.page(after, limit).map(|entry| entry.number).collect::<Vec<_>>();
        assert_eq!(numbers(0, 2), [6, 7]);
        assert_eq!(numbers(7, 2), [8, 9]);
        assert_eq!(numbers(MAX_AUDIT_ENTRIES as u64 + 4, 10), [MAX_AUDIT_ENTRIES as u64 + 5]);
        assert!(numbers(u64::MAX - 1, 10).is_empty());
    }
}
