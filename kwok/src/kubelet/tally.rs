//! What kubelets count, for whoever watches over them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Counts since the start; cheap to read at any time.
#[derive(Debug, Default)]
pub struct Tally {
    nodes: AtomicUsize,
    renewals: AtomicU64,
    not_renewed: AtomicU64,
    latest_millis: AtomicU64,
}

impl Tally {
    /// Nodes that are looked after.
    pub fn nodes(&self) -> usize {
        self.nodes.load(Relaxed)
    }

    /// Renewals of leases that were sent.
    pub fn renewals(&self) -> u64 {
        self.renewals.load(Relaxed)
    }

    /// Those of them that did not succeed.
    pub fn failed_renewals(&self) -> u64 {
        self.not_renewed.load(Relaxed)
    }

    /// How much later than due a renewal was sent at most, in milliseconds.
    pub fn latest_renewal_millis(&self) -> u64 {
        self.latest_millis.load(Relaxed)
    }

    pub(super) fn looks_after(&self, nodes: usize) {
        self.nodes.store(nodes, Relaxed);
    }

    pub(super) fn renews(&self, late_millis: u64) {
        self.renewals.fetch_add(1, Relaxed);
        self.latest_millis.fetch_max(late_millis, Relaxed);
    }

    pub(super) fn not_renewed(&self) {
        self.not_renewed.fetch_add(1, Relaxed);
    }
}
