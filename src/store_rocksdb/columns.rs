//! How data are laid out: one column family per tuning profile, one for facts about the whole.
//!
//! A row's key is its table's number (two bytes, big-endian) and its key. The log of changes is a
//! table in the append column whose keys are positions.

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB,
    DBCompressionType, DataBlockIndexType, LogLevel, Options, WriteBufferManager,
};
use store::{LOG, Position, RawTable, Tuning};

use crate::settings::Settings;

/// The column of facts about the whole.
pub(crate) const FACTS: &str = "default";

const MIB: usize = 1 << 20;

/// The column that tables of a profile live in.
pub(crate) fn name(tuning: Tuning) -> &'static str {
    match tuning {
        Tuning::Point => "point",
        Tuning::Append => "append",
        Tuning::Large => "large",
        Tuning::Queue => "queue",
        Tuning::Small => "small",
    }
}

/// The handle of a table's column; all columns are opened together with the database.
pub(crate) fn column(db: &DB, tuning: Tuning) -> &ColumnFamily {
    db.cf_handle(name(tuning)).expect("every column is opened with the database")
}

/// The stored key of a row.
pub(crate) fn stored_key(table: RawTable, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + key.len());
    out.extend_from_slice(&table.id.0.to_be_bytes());
    out.extend_from_slice(key);
    out
}

/// The stored key of the first thing behind a table.
pub(crate) fn table_end(table: RawTable) -> Vec<u8> {
    match table.id.0.checked_add(1) {
        Some(next) => next.to_be_bytes().to_vec(),
        None => vec![0xff; 3],
    }
}

/// The stored key of a log entry.
pub(crate) fn log_key(position: Position) -> Vec<u8> {
    stored_key(LOG, &position.0.to_be_bytes())
}

/// The position in the stored key of a log entry.
pub(crate) fn log_position(stored: &[u8]) -> Option<Position> {
    Some(Position(u64::from_be_bytes(stored.get(2..)?.try_into().ok()?)))
}

/// The options of the database as a whole.
pub(crate) fn database_options(settings: &Settings, cache: &Cache) -> Options {
    let memory = memory_bytes(settings);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_background_jobs(2);
    // Few files stay open at once, and nothing is read of the others when the database opens.
    options.set_max_open_files(512);
    options.set_skip_stats_update_on_db_open(true);
    options.set_max_file_opening_threads(1);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(4 * MIB);
    // What is replayed after a crash is bounded by the write-ahead logs that are kept.
    options.set_max_total_wal_size(64 * MIB as u64);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_bytes_per_sync(MIB as u64);
    // Write buffers are charged to the cache: the budget covers both. They have half: what is read again is mostly held
    // as what was made of it, by those who read it, and blocks are in the system's memory for files as well.
    let buffers = (memory / 2).min(128 * MIB);
    options.set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager_with_cache(
        buffers,
        false,
        cache.clone(),
    ));
    options
}

/// All columns with their options.
pub(crate) fn descriptors(settings: &Settings, cache: &Cache) -> Vec<ColumnFamilyDescriptor> {
    let facts = ColumnFamilyDescriptor::new(FACTS, column_options(Tuning::Small, settings, cache));
    let columns = Tuning::ALL
        .into_iter()
        .map(|tuning| ColumnFamilyDescriptor::new(name(tuning), column_options(tuning, settings, cache)));
    std::iter::once(facts).chain(columns).collect()
}

fn column_options(tuning: Tuning, settings: &Settings, cache: &Cache) -> Options {
    let buffer = (memory_bytes(settings) / 4).clamp(MIB, 32 * MIB);
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_format_version(6);
    // In parts, of which only those are read that a key lies in. The filter of a whole file of small rows takes most of
    // a megabyte: where the cache is small, each question whether an id is known read one or several of them anew.
    blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    blocks.set_partition_filters(true);
    blocks.set_metadata_block_size(4 << 10);
    blocks.set_pin_top_level_index_and_filter(true);

    let mut options = Options::default();
    options.set_write_buffer_size(buffer);
    options.set_arena_block_size(64 << 10);
    options.set_max_write_buffer_number(3);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_target_file_size_base(32 * MIB as u64);
    options.set_compression_type(DBCompressionType::Lz4);
    match tuning {
        Tuning::Point => {
            blocks.set_bloom_filter(10.0, false);
            blocks.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
            blocks.set_block_size(4 << 10);
        }
        Tuning::Append => {
            blocks.set_block_size(16 << 10);
            pack_tightly(&mut options);
        }
        Tuning::Large => {
            blocks.set_bloom_filter(10.0, false);
            blocks.set_block_size(16 << 10);
            pack_tightly(&mut options);
        }
        Tuning::Queue => {
            blocks.set_block_size(8 << 10);
            // A file in which most of a stretch of rows is deleted is compacted soon.
            options.add_compact_on_deletion_collector_factory(1_024, 512, 0.5);
        }
        Tuning::Small => {
            blocks.set_block_size(4 << 10);
            options.set_write_buffer_size(buffer.min(4 * MIB));
        }
    }
    options.set_block_based_table_factory(&blocks);
    options
}

/// Packs what has come to the last level with Zstandard, in its quickest way: a small database has what is written rewritten
/// there more than once, and that was seen in what a message costs.
fn pack_tightly(options: &mut Options) {
    const WINDOW_BITS: i32 = -14;
    const LEVEL: i32 = 1;
    options.set_bottommost_compression_type(DBCompressionType::Zstd);
    options.set_bottommost_compression_options(WINDOW_BITS, LEVEL, 0, 0, true);
}

/// The memory budget, never so small that the database could not work.
pub(crate) fn memory_bytes(settings: &Settings) -> usize {
    settings.memory.as_usize().max(8 * MIB)
}
