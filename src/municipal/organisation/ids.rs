//! Numbers of what an organisation is made of. All of an authority come from one counter, so none is ever given twice.

store::key_newtype!(
    /// A body (実施機関).
    BodyId(u64)
);
store::key_newtype!(
    /// A unit (部・局・課・係), through all its names.
    UnitId(u64)
);
store::key_newtype!(
    /// A post (職) of a unit.
    PostId(u64)
);
store::key_newtype!(
    /// A person, through all names and numbers.
    PersonId(u64)
);
store::key_newtype!(
    /// A record: one statement with its dates, and what was said in its place before.
    RecordId(u64)
);
store::key_newtype!(
    /// A change set.
    SetId(u64)
);

/// Gives out numbers that nothing has yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    next: u64,
}

impl Ids {
    /// Those from `next` on.
    #[must_use]
    pub fn from(next: u64) -> Self {
        Self { next }
    }

    /// The first that is not given out.
    #[must_use]
    pub fn next(self) -> u64 {
        self.next
    }

    /// A number.
    pub fn take(&mut self) -> u64 {
        let taken = self.next;
        // 2^64 of them are never reached by counting.
        self.next = taken.saturating_add(1);
        taken
    }

    /// A new record.
    pub fn record(&mut self) -> RecordId {
        RecordId(self.take())
    }
}
