//! Writes that RocksDB does not take for a while.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use rocksdb::properties::IS_WRITE_STOPPED;
use store::{Backend, Batch, Topic, Tuning};

use super::{ROWS, open, small};
use crate::columns::column;

fn batch(number: u64) -> Batch {
    let mut batch = Batch::new();
    let slot = batch.log(1, Bytes::copy_from_slice(&number.to_be_bytes()), [Topic::room("!a")]);
    batch.put_stamped(&ROWS, &number, slot, &Bytes::from_static(b"row"));
    batch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_stalled_waits_where_it_stands_in_nobodys_way_and_is_taken_in_the_end() {
    let root = tempfile::tempdir().unwrap();
    let (backend, store) = open(&small(root.path())).await;
    let db = backend.db().unwrap();
    // Two files are too many, and nothing makes one of them.
    let set = |stop: &str| {
        let wishes = [
            ("level0_file_num_compaction_trigger", "100"),
            ("level0_slowdown_writes_trigger", "100"),
            ("level0_stop_writes_trigger", stop),
        ];
        db.set_options_cf(column(&db, Tuning::Point), &wishes).unwrap();
    };
    set("2");
    for number in 0..2 {
        store.commit(batch(number)).await.unwrap();
        db.flush_cf(column(&db, Tuning::Point)).unwrap();
    }
    assert_eq!(db.property_int_value(IS_WRITE_STOPPED).unwrap(), Some(1));
    let receipt = store.submit(batch(2));
    // While a group is being written, nobody is told the head.
    while tokio::time::timeout(Duration::from_millis(20), backend.head()).await.is_ok() {}
    // To take a file in passes the queue of all that write, as does what recovers from a full disk.
    let file = root.path().join("taken_in.sst");
    let options = rocksdb::Options::default();
    let mut rows = rocksdb::SstFileWriter::create(&options);
    rows.open(&file).unwrap();
    rows.put([0xff; 8], b"row").unwrap();
    rows.finish().unwrap();
    let passing = tokio::task::spawn_blocking({
        let db = Arc::clone(&db);
        move || db.ingest_external_file_cf(column(&db, Tuning::Point), vec![file])
    });
    let passed = tokio::time::timeout(Duration::from_secs(10), passing).await;
    set("50");
    assert_eq!(receipt.await.unwrap().last(), store.head());
    passed.expect("it is in nobody's way").unwrap().unwrap();
    drop(db);
    store.close().await.unwrap();
}
