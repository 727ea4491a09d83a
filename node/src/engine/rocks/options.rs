//! Settings of RocksDB: bounded memory, checksums always on.

use super::super::Space;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, LogLevel,
    Options, ReadOptions,
};

// Limits of one RocksDB instance. They fit five nodes, each with two instances, on one laptop.

/// All write buffers of the instance together, as a multiple of those of one space.
const WRITE_BUFFERS: usize = 2;
/// Parts of a space's write buffer. Only one is written to: what finds the place of a key in a small one finds it in the
/// processor's cache. A quarter less processor time for a write than with one of the whole size.
const PARTS: i32 = 8;
/// Full parts that go to disk as one file, so that files are no smaller and compactions no more for it.
const PARTS_TO_FILE: i32 = 4;
const PART_BYTES_MIN: usize = 64 << 10;
/// Of a part, for the filter that tells a read which parts cannot hold its key.
const PART_FILTER_RATIO: f64 = 0.1;
/// Write-ahead log kept at most, before the buffers that hold it back are written out.
const WAL_TOTAL_BYTES: u64 = 64 << 20;
/// Table files kept open at most.
const OPEN_FILES: i32 = 256;
/// Flushes and compactions running at once.
const BACKGROUND_JOBS: i32 = 2;

/// What can be set of one RocksDB instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RocksConfig {
    /// Memory for recent writes of one space; all spaces of the instance together take at most twice as much.
    pub write_buffer_bytes: usize,
}

impl Default for RocksConfig {
    fn default() -> Self {
        Self { write_buffer_bytes: 16 << 20 }
    }
}

/// A cache of table blocks, shared by the instances of a node.
#[derive(Clone)]
pub struct BlockCache(Cache);

impl BlockCache {
    /// What a node uses unless told otherwise.
    pub const DEFAULT_SIZE_BYTES: usize = 64 << 20;

    /// A cache of this size. It fills as blocks are read.
    pub fn new(size_bytes: usize) -> Self {
        Self(Cache::new_lru_cache(size_bytes))
    }
}

impl Default for BlockCache {
    fn default() -> Self {
        Self::new(Self::DEFAULT_SIZE_BYTES)
    }
}

pub(super) fn database(config: &RocksConfig, recovery: DBRecoveryMode) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    options.set_wal_recovery_mode(recovery);
    // A write only fills a buffer in memory; `sync` writes and fsyncs it, for many groups at once.
    options.set_manual_wal_flush(true);
    options.set_max_total_wal_size(WAL_TOTAL_BYTES);
    options.set_db_write_buffer_size(config.write_buffer_bytes.saturating_mul(WRITE_BUFFERS));
    options.set_max_open_files(OPEN_FILES);
    options.set_max_background_jobs(BACKGROUND_JOBS);
    options.set_bytes_per_sync(1 << 20);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(4 << 20);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options
}

pub(super) fn families(config: &RocksConfig, cache: &BlockCache) -> Vec<ColumnFamilyDescriptor> {
    // RocksDB insists on a family named `default`; nothing is kept there.
    let names =
        Space::ALL.into_iter().map(|space| (space.name(), Some(space))).chain([("default", None)]);
    names
        .map(|(name, space)| ColumnFamilyDescriptor::new(name, family(space, config, cache)))
        .collect()
}

fn family(space: Option<Space>, config: &RocksConfig, cache: &BlockCache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&cache.0);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_format_version(5);
    if matches!(space, Some(Space::Data | Space::Sessions)) {
        table.set_bloom_filter(10.0, false);
    }
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    let part_bytes = config.write_buffer_bytes / PARTS as usize;
    options.set_write_buffer_size(part_bytes.max(PART_BYTES_MIN));
    options.set_max_write_buffer_number(PARTS);
    options.set_min_write_buffer_number_to_merge(PARTS_TO_FILE);
    options.set_memtable_prefix_bloom_ratio(PART_FILTER_RATIO);
    options.set_memtable_whole_key_filtering(true);
    // Log records are mostly gone before they reach a table file: packing them is wasted work.
    let packing =
        if space == Some(Space::Log) { DBCompressionType::None } else { DBCompressionType::Lz4 };
    options.set_compression_type(packing);
    options
}

pub(super) fn reading() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_verify_checksums(true);
    options
}
