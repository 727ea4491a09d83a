//! The one binary `isobar`.

use std::process::ExitCode;

/// A tenth of what a write costs is memory taken and given back, by us and by RocksDB (docs/src/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    isobar_cli::main()
}
