//! A snapshot and a catalog, made ready.

use crate::model::{Catalog, ClusterSnapshot};

/// What many solves of one snapshot share.
#[derive(Debug)]
pub struct Prepared<'a> {
    snapshot: &'a ClusterSnapshot,
    catalog: &'a Catalog,
}

impl<'a> Prepared<'a> {
    /// Makes `snapshot` and `catalog` ready.
    pub fn new(snapshot: &'a ClusterSnapshot, catalog: &'a Catalog) -> Self {
        Self { snapshot, catalog }
    }

    /// The snapshot.
    pub fn snapshot(&self) -> &'a ClusterSnapshot {
        self.snapshot
    }

    /// The catalog.
    pub fn catalog(&self) -> &'a Catalog {
        self.catalog
    }
}
