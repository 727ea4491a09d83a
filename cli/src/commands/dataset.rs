//! `isobar dataset`: public data sets, fetched by pinned address and hash.

use crate::{
    failure::{Failure, Outcome},
    screen::{Screen, table},
    units::show_bytes,
};
use clap::{Args, Subcommand};
use isobar_api::ApiError;
use isobar_datasets::{Catalog, Entry, FetchOptions, fetch};
use serde_json::json;
use std::path::PathBuf;

/// The verbs of `dataset`.
#[derive(Debug, Subcommand)]
pub enum Dataset {
    /// List the data sets
    List,
    /// Show one: what it is for, format, licence, source, files
    Describe {
        /// Data set
        name: String,
    },
    /// Get its files; goes on where an earlier run stopped
    Fetch(Fetch),
}

/// `dataset fetch`
#[derive(Args, Debug)]
pub struct Fetch {
    /// Data set
    name: String,
    /// Folder; the files go into a folder of the set's name inside
    #[arg(long, default_value = "data/datasets", value_name = "DIR")]
    to: PathBuf,
    /// Largest file to accept, MiB
    #[arg(long, default_value_t = 1_024, value_name = "MIB")]
    max_mib: u64,
}

/// Runs a verb.
pub fn run(verb: Dataset, screen: &mut Screen<'_>) -> Outcome {
    let catalog = Catalog::builtin();
    match verb {
        Dataset::List => screen.show(&catalog.entries, |entries| listing(entries)),
        Dataset::Describe { name } => {
            let entry = catalog.get(&name).map_err(ApiError::from)?;
            screen.show(entry, describe)
        }
        Dataset::Fetch(args) => {
            let entry = catalog.get(&args.name).map_err(ApiError::from)?.clone();
            get(&entry, args, screen)
        }
    }
}

fn get(entry: &Entry, args: Fetch, screen: &mut Screen<'_>) -> Outcome {
    let dir = args.to.join(&entry.name);
    let options = FetchOptions {
        max_size_bytes: args.max_mib.saturating_mul(1 << 20),
        ..FetchOptions::default()
    };
    let bar = screen.progress(0, "{prefix} {bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  {eta}");
    // The download blocks its thread for as long as it takes; the runtime has others.
    let fetched = tokio::task::block_in_place(|| {
        fetch(entry, &dir, &options, &mut |progress| {
            bar.set_prefix(progress.path.to_owned());
            bar.set_length(progress.size_bytes);
            bar.set_position(progress.done_bytes);
        })
    });
    bar.finish_and_clear();
    let paths = fetched.map_err(|error| Failure::Api(error.into()))?;
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    screen.show(&json!({ "name": entry.name, "files": paths }), |_| paths.join("\n"))
}

fn size(entry: &Entry) -> String {
    if entry.is_fetchable() { show_bytes(entry.size_bytes()) } else { "by hand".into() }
}

fn listing(entries: &[Entry]) -> String {
    let rows = entries.iter().map(|e| [e.name.clone(), size(e), e.title.clone()]);
    table(["name", "size", "title"], &[1], rows)
}

fn describe(entry: &Entry) -> String {
    let mut text = format!(
        "{}: {}\n\ntask     {}\nformat   {}\nlicence  {}\nsource   {}\n",
        entry.name, entry.title, entry.task, entry.format, entry.licence, entry.source
    );
    if !entry.caveats.is_empty() {
        text.push_str(&format!("caveats  {}\n", entry.caveats));
    }
    match &entry.manual {
        Some(manual) => text.push_str(&format!("by hand  {manual}\n")),
        None => {
            let files = entry
                .files
                .iter()
                .map(|f| [f.path.clone(), show_bytes(f.size_bytes), f.sha256.clone()]);
            text.push_str(&format!("\n{}", table(["file", "size", "sha-256"], &[1], files)));
        }
    }
    text
}
