//! `isobar config`: what is configured, and whether a file is right.

use crate::{
    args::Global,
    config::{Settings, Sources, example, load},
    failure::{DONE, Outcome},
    reach,
    screen::Screen,
};
use clap::Subcommand;
use isobar_api::{ApiError, ErrorCode};
use serde_json::json;
use std::path::PathBuf;

/// The verbs of `config`.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Print every key with the value it has here, from defaults, --config, environment and flags
    Show {
        /// Print the commented example with all defaults instead
        #[arg(long)]
        example: bool,
    },
    /// Check a file without using it
    Check {
        /// TOML file
        file: PathBuf,
    },
}

/// Runs a verb.
pub fn run(verb: Config, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    match verb {
        Config::Show { example: true } => {
            screen.raw(example().as_bytes())?;
            Ok(DONE)
        }
        Config::Show { example: false } => {
            let settings = reach::settings(global, Vec::new())?;
            let text = toml(&settings)?;
            screen.show(&settings, |_| text)
        }
        Config::Check { file } => {
            // The environment stays out: the file alone is judged.
            let sources = Sources { file: Some(&file), ..Sources::default() };
            load(&sources)?.validate()?;
            let name = file.display().to_string();
            screen.show(&json!({ "file": name, "ok": true }), |_| format!("{name} is right"))
        }
    }
}

fn toml(settings: &Settings) -> Result<String, ApiError> {
    toml::to_string(settings)
        .map_err(|error| ApiError::new(ErrorCode::Internal, format!("making TOML: {error}")))
}
