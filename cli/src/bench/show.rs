//! The results as tables for people, or as one JSON document.

use super::results::{Document, Results};
use crate::{
    commands::bench::Kv,
    failure::{DONE, Failure, Outcome},
    screen::{Screen, table},
};
use isobar_api::{ApiError, ErrorCode};
use isobar_benches::report::{Figures, Ratio, Spread};
use serde::Serialize;

/// What was measured.
pub(super) fn show(args: &Kv, results: &Results, screen: &mut Screen<'_>) -> Outcome {
    let document = results.document(args);
    print(screen, &describe(args, results, &document), &document)
}

/// Tables to stdout; or tables to stderr, and one line of JSON to stdout.
pub(super) fn print(screen: &mut Screen<'_>, text: &str, document: &impl Serialize) -> Outcome {
    if screen.json {
        screen.say(text);
        let json = serde_json::to_string(document).map_err(|why| {
            Failure::from(ApiError::new(ErrorCode::Internal, format!("making JSON: {why}")))
        })?;
        writeln!(screen.out, "{json}")?;
    } else {
        write!(screen.out, "{text}")?;
    }
    Ok(DONE)
}

fn describe(args: &Kv, results: &Results, document: &Document) -> String {
    let pace = match args.rate {
        Some(per_s) => format!("open loop at {per_s}/s"),
        None => "closed loop".into(),
    };
    let memory = if document.machine.tmpfs { ", in memory (tmpfs)" } else { "" };
    let mut text = format!(
        "{} clients, {pace}, {}-byte values, {} rows, {} s in {} rounds; {} cores, profile {}{memory}\n\n",
        args.clients,
        args.value_bytes,
        document.load.rows,
        args.seconds,
        args.rounds,
        document.machine.cores,
        document.machine.profile,
    );
    text.push_str(&systems(results, document));
    if !document.ratio.is_empty() {
        text.push_str("\nIsobar by peer, median (least to most of the rounds)\n");
        text.push_str(&ratios(document));
    }
    text.push_str("\nFloors\n");
    text.push_str(&floors(document));
    text
}

fn systems(results: &Results, document: &Document) -> String {
    let header = [
        "work",
        "system",
        "ops/s",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "cpu s/Mop",
        "client",
        "MiB",
        "errors",
    ];
    let mut rows = Vec::new();
    for work in results.works() {
        for system in &results.systems {
            let found = document.systems.get(&system.name).and_then(|of| of.get(&work.to_string()));
            rows.extend(found.map(|figures| row(work.to_string(), system.name.clone(), figures)));
        }
    }
    let mut text = table(header, &[2, 3, 4, 5, 6, 7, 8, 9], rows);
    text.push_str(&mixed(document));
    for (system, works) in &document.systems {
        for (work, figures) in works {
            if let Some(error) = &figures.first_error {
                text.push_str(&format!("first error of {system} at {work}: {error}\n"));
            }
            if figures.unsent > 0 {
                let unsent = figures.unsent;
                text.push_str(&format!(
                    "{system} at {work}: {unsent} requests waited until the end and were not sent\n"
                ));
            }
        }
    }
    text
}

/// Reads and writes of mixed work apart.
fn mixed(document: &Document) -> String {
    let mut rows = Vec::new();
    for (system, works) in &document.systems {
        for (work, figures) in works {
            if let (Some(reads), Some(writes)) = (figures.reads, figures.writes) {
                let times = [reads.p50_ms, reads.p99_ms, writes.p50_ms, writes.p99_ms];
                let [a, b, c, d] = times.map(|ms| format!("{ms:.2}"));
                rows.push([work.clone(), system.clone(), a, b, c, d]);
            }
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    rows.sort();
    let header = ["work", "system", "read p50 ms", "read p99", "write p50 ms", "write p99"];
    format!("\n{}", table(header, &[2, 3, 4, 5], rows))
}

fn row(work: String, system: String, figures: &Figures) -> [String; 10] {
    [
        work,
        system,
        format!("{:.0}", figures.ops_per_s),
        format!("{:.2}", figures.p50_ms),
        format!("{:.2}", figures.p99_ms),
        format!("{:.2}", figures.p999_ms),
        format!("{:.0}", figures.cpu_s_per_mop),
        format!("{:.0}", figures.client_cpu_s_per_mop),
        format!("{:.0}", figures.rss_mib),
        figures.errors.to_string(),
    ]
}

fn ratios(document: &Document) -> String {
    let spread = |s: &Spread| format!("{:.2} ({:.2} to {:.2})", s.median, s.min, s.max);
    let row = |peer: &str, work: &str, ratio: &Ratio| {
        [peer.to_owned(), work.to_owned(), spread(&ratio.ops_per_s), spread(&ratio.p99_ms)]
    };
    let rows = document
        .ratio
        .iter()
        .flat_map(|(peer, works)| works.iter().map(move |(work, ratio)| row(peer, work, ratio)));
    table(["peer", "work", "ops/s", "p99"], &[2, 3], rows)
}

fn floors(document: &Document) -> String {
    let rows = document.floors.iter().map(|(name, figures)| {
        [
            name.replace('_', " "),
            format!("{:.0}", figures.ops_per_s),
            format!("{:.2}", figures.p50_ms),
            format!("{:.2}", figures.p99_ms),
            format!("{:.0}", figures.cpu_s_per_mop),
        ]
    });
    table(["floor", "ops/s", "p50 ms", "p99 ms", "cpu s/Mop"], &[1, 2, 3, 4], rows)
}
