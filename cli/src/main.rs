//! The one binary `isobar`.

use std::process::ExitCode;

fn main() -> ExitCode {
    isobar_cli::main()
}
