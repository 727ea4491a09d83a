//! `isobar kv`: rows.

use super::input;
use crate::{
    args::Global,
    failure::{DONE, Exit, Outcome},
    reach,
    screen::{Screen, table},
};
use bytes::Bytes;
use clap::{ArgGroup, Args, Subcommand};
use isobar_api::{
    ApiError, KeyRange, Version,
    table::{key_from_text, key_to_text},
};
use isobar_client::{ReadLevel, Row, ScanPage, WriteOutcome};
use serde_json::{Value, json};
use std::path::PathBuf;

const KEYS: &str = "Keys and values are text; \\xNN stands for any byte and \\\\ for a backslash.";

/// The verbs of `kv`.
#[derive(Debug, Subcommand)]
pub enum Kv {
    /// Set a row
    #[command(
        after_help = KEYS,
        override_usage = "isobar kv put [OPTIONS] <TABLE> <KEY> <VALUE|--value-file <FILE>>"
    )]
    Put(Put),
    /// Print a row's value as it is; exit code 1 if there is no row
    #[command(after_help = KEYS)]
    Get(Get),
    /// Delete a row
    #[command(after_help = KEYS)]
    Delete(Place),
    /// List rows of a key range, in key order
    #[command(after_help = KEYS)]
    Scan(Scan),
    /// Compare and set: write only if the row has the expected version; exit code 1 if it has another
    #[command(
        after_help = KEYS,
        override_usage = "isobar kv cas [OPTIONS] --expect <VERSION> <TABLE> <KEY> <VALUE|--value-file <FILE>|--delete>"
    )]
    Cas(Cas),
}

/// A row's place.
#[derive(Args, Debug)]
pub struct Place {
    /// Table
    table: String,
    /// Key
    key: String,
}

/// A value on the command line or in a file.
#[derive(Args, Debug)]
#[group(id = "content", multiple = false)]
pub struct Content {
    /// Value
    value: Option<String>,
    /// Take the value's bytes from a file; `-`: from stdin
    #[arg(long, value_name = "FILE")]
    value_file: Option<PathBuf>,
}

/// `kv put`
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("what").required(true).args(["value", "value_file"])))]
pub struct Put {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    content: Content,
}

/// `kv get`
#[derive(Args, Debug)]
pub struct Get {
    #[command(flatten)]
    place: Place,
    /// How fresh: linearizable, bounded:MS or local
    #[arg(long, default_value = "linearizable", value_name = "LEVEL")]
    read: ReadLevel,
}

/// `kv scan`
#[derive(Args, Debug)]
pub struct Scan {
    /// Table
    table: String,
    /// First key
    #[arg(long, default_value = "", hide_default_value = true, value_name = "KEY")]
    start: String,
    /// First key that is not listed any more
    #[arg(long, default_value = "", hide_default_value = true, value_name = "KEY")]
    end: String,
    /// Only keys that begin with this
    #[arg(long, conflicts_with_all = ["start", "end"], value_name = "KEY")]
    prefix: Option<String>,
    /// Most rows
    #[arg(long, default_value_t = 100, value_name = "ROWS")]
    limit: usize,
    /// How fresh: linearizable, bounded:MS or local
    #[arg(long, default_value = "linearizable", value_name = "LEVEL")]
    read: ReadLevel,
}

/// `kv cas`
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("what").required(true).args(["value", "value_file", "delete"])))]
pub struct Cas {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    content: Content,
    /// Delete the row
    #[arg(long)]
    delete: bool,
    /// Version as `kv get -o json` shows it; 0: only if there is no row
    #[arg(long, value_name = "VERSION")]
    expect: Version,
}

/// Runs a verb.
pub async fn run(verb: Kv, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    match verb {
        Kv::Put(args) => put(args, global, screen).await,
        Kv::Get(args) => get(args, global, screen).await,
        Kv::Delete(args) => delete(args, global, screen).await,
        Kv::Scan(args) => scan(args, global, screen).await,
        Kv::Cas(args) => cas(args, global, screen).await,
    }
}

async fn put(args: Put, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    let key = key_from_text(&args.place.key)?;
    let value = content(args.content)?;
    let table = reach::cluster(global).await?.table(&args.place.table).await?;
    let version = table.put(key, value).await?;
    screen.show(&json!({ "version": version.to_string() }), |_| format!("ok {version}"))
}

async fn get(args: Get, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    let key = key_from_text(&args.place.key)?;
    let table = reach::cluster(global).await?.table(&args.place.table).await?;
    let Some(row) = table.get(&key, args.read).await? else {
        screen.say(&format!("no row `{}` in {}", args.place.key, args.place.table));
        if screen.json {
            screen.show(&Value::Null, |_| String::new())?;
        }
        return Ok(Exit(1));
    };
    if screen.json {
        return screen.show(&document(&row), |_| String::new());
    }
    screen.raw(&row.value)?;
    // Only so that the prompt begins on a line of its own; piped bytes stay as they are.
    if screen.prompt_follows && !row.value.ends_with(b"\n") {
        screen.raw(b"\n")?;
    }
    Ok(DONE)
}

async fn delete(args: Place, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    let key = key_from_text(&args.key)?;
    let table = reach::cluster(global).await?.table(&args.table).await?;
    let version = table.delete(key).await?;
    screen.show(&json!({ "version": version.to_string() }), |_| format!("ok {version}"))
}

async fn scan(args: Scan, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    let range = range(&args)?;
    let table = reach::cluster(global).await?.table(&args.table).await?;
    let page = table.scan(&range, args.limit, args.read).await?;
    let resume = page.resume.as_ref().map(|key| key_to_text(key));
    if let Some(resume) = &resume {
        let quoted = resume.replace('\'', "\\x27");
        screen.say(&format!("{} rows, more from --start '{quoted}'", page.rows.len()));
    }
    let rows: Vec<Value> = page.rows.iter().map(document).collect();
    screen.show(&json!({ "rows": rows, "resume": resume }), |_| listing(&page))
}

async fn cas(args: Cas, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    let key = key_from_text(&args.place.key)?;
    let value = if args.delete { None } else { Some(content(args.content)?) };
    let table = reach::cluster(global).await?.table(&args.place.table).await?;
    let outcome = table.compare_and_set(key, args.expect, value).await?;
    let current = outcome.current.first().filter(|version| **version != Version::ABSENT);
    let document = json!({
        "applied": outcome.applied,
        "version": outcome.applied.then(|| outcome.version.to_string()),
        "current": current.map(ToString::to_string),
    });
    screen.show(&document, |_| cas_text(&outcome))?;
    Ok(if outcome.applied { DONE } else { Exit(1) })
}

fn cas_text(outcome: &WriteOutcome) -> String {
    if outcome.applied {
        return format!("ok {}", outcome.version);
    }
    match outcome.current.first() {
        Some(&Version::ABSENT) | None => "unchanged: there is no such row".into(),
        Some(version) => format!("unchanged: the row has version {version}"),
    }
}

fn content(content: Content) -> Result<Bytes, ApiError> {
    let Some(path) = content.value_file else {
        return Ok(key_from_text(&content.value.unwrap_or_default())?.into());
    };
    // One byte more than allowed is enough to see that it is too much.
    Ok(input::read(&path, isobar_api::limits::VALUE_BYTES_MAX as u64 + 1)?.into())
}

fn range(args: &Scan) -> Result<KeyRange, ApiError> {
    let Some(prefix) = &args.prefix else {
        return Ok(KeyRange { start: key_from_text(&args.start)?, end: key_from_text(&args.end)? });
    };
    let start = key_from_text(prefix)?;
    // The first key behind the prefix: its last byte that can grow, grown by one.
    let mut end = start.clone();
    while end.last() == Some(&0xff) {
        end.pop();
    }
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    Ok(KeyRange { start, end })
}

fn document(row: &Row) -> Value {
    json!({
        "key": key_to_text(&row.key),
        "value": key_to_text(&row.value),
        "version": row.version.to_string(),
        "schema_version": row.schema_version,
    })
}

fn listing(page: &ScanPage) -> String {
    let rows = page
        .rows
        .iter()
        .map(|row| [key_to_text(&row.key), row.version.to_string(), key_to_text(&row.value)]);
    table(["key", "version", "value"], &[], rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;

    fn parse(line: &[&str]) -> Kv {
        let line = ["isobar", "kv"].iter().chain(line);
        match Cli::try_parse_from(line).expect("a legal line").command {
            Command::Kv(kv) => kv,
            other => panic!("{other:?}"),
        }
    }

    fn scan_range(line: &[&str]) -> KeyRange {
        match parse(line) {
            Kv::Scan(args) => range(&args).expect("legal keys"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(scan_range(&["scan", "t", "--prefix", "ab"]).end, b"ac");
        assert_eq!(scan_range(&["scan", "t", "--prefix", "a\\xff"]).end, b"b");
        assert_eq!(scan_range(&["scan", "t", "--prefix", "\\xff"]).end, b"");
        assert_eq!(scan_range(&["scan", "t", "--start", "a", "--end", "c"]).end, b"c");
    }

    #[test]
    fn values_may_have_any_byte() {
        let Kv::Put(args) = parse(&["put", "t", "k", "a\\x00b"]) else { panic!("put") };
        assert_eq!(content(args.content).expect("legal"), Bytes::from_static(b"a\0b"));
        let Kv::Cas(args) = parse(&["cas", "t", "k", "--expect", "0", "--delete"]) else {
            panic!("cas")
        };
        assert!(args.delete && args.expect == Version::ABSENT);
    }

    #[test]
    fn a_lost_race_names_the_version_it_met() {
        let version = "5.1@n2".parse().expect("a version");
        let outcome = WriteOutcome {
            applied: false,
            version: Version::ABSENT,
            current: vec![version],
            repeated: false,
        };
        assert_eq!(cas_text(&outcome), "unchanged: the row has version 5.1@n2");
    }
}
