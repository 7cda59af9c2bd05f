//! State snapshots.
