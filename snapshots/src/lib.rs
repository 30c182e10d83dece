//! Decision snapshots: see `README.md`. There is nothing here but tests.
