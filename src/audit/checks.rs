//! The checks of this crate's tables.

use bytes::Bytes;
use store::{Key, Table, TableCheck, Value};

use crate::{
    deed::Record,
    gone::{KEPT, KeptRow, STUBS, StubRow},
    tables::{CHAINS, ChainRow, LINKS, LinkRow, RECORDS, SEALS, SealRow},
};

/// The checks of all tables of this crate, for `verify` of the store.
pub fn checks() -> Vec<TableCheck> {
    vec![
        check::<_, Record>(&RECORDS),
        check::<_, LinkRow>(&LINKS),
        check::<_, SealRow>(&SEALS),
        check::<_, ChainRow>(&CHAINS),
        check::<_, StubRow>(&STUBS),
        check::<_, KeptRow>(&KEPT),
    ]
}

/// The check that a table's bytes are rows of this type.
fn check<K: Key, V: Value>(table: &Table<K, Bytes>) -> TableCheck {
    Table::<K, V>::new(table.raw().id.0, table.name(), table.raw().tuning).check()
}
