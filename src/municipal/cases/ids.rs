//! Numbers of cases.

store::key_newtype!(
    /// A case of an authority, counted from 1.
    CaseId(u64)
);
