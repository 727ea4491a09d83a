//! `isobar soak`: the arguments; the work is done in `crate::soak`.

use crate::{args::Global, failure::Outcome, screen::Screen};
use clap::{Args, value_parser};
use std::time::Duration;

/// A cluster under load for a long time, with splits, moves, lead transfers and faults throughout.
#[derive(Args, Debug)]
#[command(after_help = "\
A line a minute on stderr; with `-o json` the last line of stdout is one JSON document.
Exit code 1 if an acknowledged write is missing, a read went back in time, or memory or file handles grow.
What is injected and how growth is judged: docs/src/reliability.md.")]
pub struct Soak {
    /// Length of the load
    #[arg(long, default_value = "60", value_parser = parse_minutes)]
    pub minutes: Duration,
    /// Nodes
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u8).range(3..=7))]
    pub nodes: u8,
    /// Operations per second, half of them writes, as far as answers allow
    #[arg(long, default_value_t = 400, value_parser = value_parser!(u32).range(10..=100_000))]
    pub rate: u32,
    /// Mean time between two faults, seconds
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u64).range(5..=3_600))]
    pub fault_every: u64,
    /// Seed of keys, faults and their times
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Keep data, configuration and logs
    #[arg(long)]
    pub keep: bool,
}

fn parse_minutes(text: &str) -> Result<Duration, String> {
    let minutes: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if !(0.5..=10_080.0).contains(&minutes) {
        return Err("must be 0.5 to 10080".into());
    }
    Ok(Duration::from_secs_f64(minutes * 60.0))
}

/// Runs the command.
pub async fn run(args: Soak, _global: &Global, screen: &mut Screen<'_>) -> Outcome {
    crate::soak::run(args, screen).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_may_be_parts() {
        assert_eq!(parse_minutes("0.5"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_minutes("60"), Ok(Duration::from_secs(3_600)));
        for bad in ["0", "-1", "x", "NaN", "20000"] {
            assert!(parse_minutes(bad).is_err(), "{bad}");
        }
    }
}
