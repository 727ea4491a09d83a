//! Limits that hold everywhere. Each is refused with a typed error, never cut off silently.

/// Longest key, bytes.
pub const KEY_BYTES_MAX: usize = 4 * 1024;
/// Longest value, bytes.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// Most mutations in one atomic batch.
pub const BATCH_MUTATIONS_MAX: usize = 1_000;
/// Most bytes (keys and values) in one atomic batch.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most keys in one multi-get item.
pub const GET_KEYS_MAX: usize = 1_000;
/// Most rows that one scan page returns.
pub const SCAN_ROWS_MAX: u32 = 10_000;
/// Most bytes that one scan page returns before it hands out a resume key.
pub const SCAN_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most items in one request.
pub const REQUEST_ITEMS_MAX: usize = 4_096;
/// Largest message any service accepts, bytes.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest deadline a request may carry, milliseconds.
pub const DEADLINE_MS_MAX: u64 = 300_000;
/// Unacknowledged sequence numbers one client instance may have open in one shard.
pub const CLIENT_WINDOW_MAX: u64 = 4_096;
/// How long a silent client's deduplication entries are kept, milliseconds (longer than any deadline).
pub const SESSION_TTL_MS: u64 = 3_600_000;
/// Chunk of a snapshot, bytes.
pub const SNAPSHOT_CHUNK_BYTES: usize = 512 * 1024;
/// Longest table name, bytes.
pub const TABLE_NAME_BYTES_MAX: usize = 63;
/// Most replicas of one shard.
pub const REPLICAS_MAX: u8 = 9;
/// Most shards that one table may be created with.
pub const INITIAL_SHARDS_MAX: u32 = 4_096;
/// How far a controller term may lie above the highest that a node has accepted. A takeover raises it by one: a longer leap is a
/// mistake, and to accept it would fence every later controller for good.
pub const CONTROLLER_TERM_LEAP_MAX: u64 = 1_000_000_000;
/// Steps in one directive.
pub const DIRECTIVE_STEPS_MAX: usize = 16;
