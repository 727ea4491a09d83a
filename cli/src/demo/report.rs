//! The result: one document, and the same as text.

use super::{
    inputs::{Inputs, SHARDS},
    ledger::{Table, Tally},
    meter::{Figures, Meter, Phase},
    sites::NODES,
    story::began,
};
use crate::{commands::demo::Demo, screen::table};
use isobar_api::{
    DirectiveId, Region,
    directive::{DirectiveKind, DirectiveState},
    plan::{DirectiveRecord, Effect},
    policy::Mode,
};
use serde::Serialize;
use std::fmt::Write as _;

/// Directives that the text shows; the document has all.
const DIRECTIVES_SHOWN: usize = 12;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Mode of the controller at the end.
    mode: Mode,
    trace: String,
    /// The trace has no writes, so every tenth access was made one.
    writes_made_from_reads: bool,
    arrivals: String,
    rtt: String,
    population: String,
    nodes: usize,
    regions: Vec<Region>,
    shards_per_table: u64,
    keys: u64,
    rate_per_s: u64,
    seconds: u64,
    seed: u64,
    phases: Phases,
    reads: Reads,
    improvement: Improvement,
    directives: Vec<Done>,
    /// Directives that were only proposed, rejected by a check, or dropped before they began.
    directives_not_started: usize,
    champions: Vec<(String, u32)>,
    writes: Tally,
    /// Where data and logs are, if they were kept.
    kept: Option<String>,
}

/// How long each part took, seconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Phases {
    pub(super) setup_s: f64,
    pub(super) observe_s: f64,
    pub(super) act_s: f64,
}

#[derive(Debug, Serialize)]
struct Reads {
    /// The table that stays where hashing put it, in the seconds of `act`.
    #[serde(rename = "static")]
    hashed: Figures,
    /// The same table in the seconds of `observe`.
    static_observe: Figures,
    /// The table that the controller may move, before it does.
    observe: Figures,
    /// The same table while the controller acts, from the first moment on.
    act: Figures,
}

/// Shares: 0.4 is 40 % less.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Improvement {
    /// Of the mean, `act` against `static`: the same reads at the same moments.
    mean_share: f64,
    p99_share: f64,
    /// By how much less of the reads leave their region, as a difference of shares.
    cross_region_share_less: f64,
    /// What no placement of leaders can exceed on these reads, round trips alone.
    mean_share_possible: Option<f64>,
    /// The mean of `observe` against `static_observe`: how alike the two tables began. Below 0: `orders` began worse.
    mean_share_at_start: f64,
}

#[derive(Debug, Serialize)]
struct Done {
    id: DirectiveId,
    kind: DirectiveKind,
    shard: String,
    table: String,
    state: DirectiveState,
    reason: String,
    predicted: Effect,
    realised: Option<f64>,
}

/// What a report is made of.
pub(super) struct Measured<'a> {
    pub(super) args: &'a Demo,
    pub(super) inputs: &'a Inputs,
    pub(super) meter: &'a Meter,
    pub(super) phases: Phases,
    pub(super) mode: Mode,
    pub(super) champions: Vec<(String, u32)>,
    pub(super) directives: Vec<DirectiveRecord>,
    pub(super) writes: Tally,
    pub(super) kept: Option<String>,
}

impl Report {
    pub(super) fn new(measured: Measured<'_>) -> Self {
        let Measured { args, inputs, meter, .. } = measured;
        let reads = Reads {
            hashed: meter.figures(Table::Control, Phase::Act),
            static_observe: meter.figures(Table::Control, Phase::Observe),
            observe: meter.figures(Table::Orders, Phase::Observe),
            act: meter.figures(Table::Orders, Phase::Act),
        };
        let least_ms = meter.least_mean_ms(&inputs.rtt);
        let all = measured.directives.len();
        let mut records = measured.directives;
        records.retain(|record| began(Some(record.state)));
        records.sort_by_key(|record| record.directive.id);
        Self {
            mode: measured.mode,
            trace: inputs.trace.clone(),
            writes_made_from_reads: inputs.writes_made,
            arrivals: inputs.arrivals_name.clone(),
            rtt: inputs.rtt_name.clone(),
            population: inputs.population_name.clone(),
            nodes: NODES,
            regions: inputs.regions.clone(),
            shards_per_table: SHARDS,
            keys: inputs.keys,
            rate_per_s: args.rate,
            seconds: args.seconds,
            seed: args.seed,
            phases: measured.phases,
            improvement: Improvement::of(&reads, least_ms),
            reads,
            directives_not_started: all - records.len(),
            directives: records.into_iter().map(Done::of).collect(),
            champions: measured.champions,
            writes: measured.writes,
            kept: measured.kept,
        }
    }

    /// Whether every acknowledged write is there.
    pub(super) fn nothing_lost(&self) -> bool {
        self.writes.lost == 0 && self.writes.verified == self.writes.acknowledged
    }

    pub(super) fn text(&self) -> String {
        let row = |phase: &str, name: &str, f: &Figures| {
            [
                phase.into(),
                name.into(),
                f.count.to_string(),
                format!("{:.1}", f.mean_ms),
                format!("{:.1}", f.p50_ms),
                format!("{:.1}", f.p99_ms),
                format!("{:.0} %", f.cross_region_share * 100.0),
                f.failed.to_string(),
            ]
        };
        let reads = &self.reads;
        let rows = [
            row("observe", "control: hash placement", &reads.static_observe),
            row("observe", "orders", &reads.observe),
            row("act", "control: hash placement", &reads.hashed),
            row("act", "orders: moved by isobar", &reads.act),
        ];
        let header =
            ["phase", "table", "reads", "mean ms", "p50 ms", "p99 ms", "cross-region", "failed"];
        let mut text = table(header, &[2, 3, 4, 5, 6, 7], rows);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n{}", self.improvement.text());
        text.push_str(&self.directives_text());
        let w = &self.writes;
        let _ = writeln!(
            text,
            "writes: {} acknowledged, {} verified, {} lost; {} without an answer",
            w.acknowledged, w.verified, w.lost, w.unknown
        );
        let _ = match &self.kept {
            Some(folder) => writeln!(text, "data, configuration and logs are kept in {folder}"),
            None => writeln!(
                text,
                "all processes are stopped, data and logs are removed (--keep keeps them)"
            ),
        };
        text
    }

    fn directives_text(&self) -> String {
        let verified =
            self.directives.iter().filter(|d| d.state == DirectiveState::Verified).count();
        let mut text = format!(
            "\ndirectives: {} carried out, {verified} of them verified so far\n",
            self.directives.len()
        );
        let ms = |value: f64| format!("{value:.1}");
        let rows = self.directives.iter().take(DIRECTIVES_SHOWN).map(|d| {
            [
                d.id.to_string(),
                d.kind.to_string(),
                d.shard.clone(),
                d.state.to_string(),
                ms(d.predicted.before),
                ms(d.predicted.after),
                d.realised.map_or_else(|| "-".into(), ms),
                first_clause(&d.reason),
            ]
        });
        let header = ["id", "kind", "shard", "state", "before", "predicted", "realised", "reason"];
        text.push_str(&table(header, &[4, 5, 6], rows));
        if let Some(more) =
            self.directives.len().checked_sub(DIRECTIVES_SHOWN).filter(|more| *more > 0)
        {
            let _ = writeln!(text, "and {more} more: -o json has all of them");
        }
        text.push('\n');
        text
    }
}

impl Improvement {
    fn of(reads: &Reads, least_ms: Option<f64>) -> Self {
        let less = |now: f64, before: f64| if before > 0.0 { 1.0 - now / before } else { 0.0 };
        let (hashed, act) = (&reads.hashed, &reads.act);
        Self {
            mean_share: less(act.mean_ms, hashed.mean_ms),
            p99_share: less(act.p99_ms, hashed.p99_ms),
            cross_region_share_less: hashed.cross_region_share - act.cross_region_share,
            mean_share_possible: least_ms.map(|least_ms| less(least_ms, hashed.mean_ms)),
            mean_share_at_start: less(reads.observe.mean_ms, reads.static_observe.mean_ms),
        }
    }

    fn text(&self) -> String {
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        let most = self.mean_share_possible.map_or_else(String::new, |most| {
            format!(" (no placement of leaders could have exceeded {})", percent(most))
        });
        let start = match self.mean_share_at_start {
            s if s.abs() < 0.005 => "the two tables began alike".into(),
            s if s > 0.0 => format!("orders was {} faster before anything moved", percent(s)),
            s => format!("orders was {} slower before anything moved", percent(-s)),
        };
        let way = if self.mean_share < 0.0 { "raises" } else { "lowers" };
        format!(
            "acting {way} the mean read latency by {}{most}; {start}",
            percent(self.mean_share.abs())
        )
    }
}

impl Done {
    fn of(record: DirectiveRecord) -> Self {
        let directive = record.directive;
        Self {
            id: directive.id,
            kind: directive.kind,
            shard: directive.shard.to_string(),
            table: directive.table,
            state: record.state,
            reason: directive.reason,
            realised: directive.predicted.realised,
            predicted: directive.predicted,
        }
    }
}

fn first_clause(reason: &str) -> String {
    reason.split(';').next().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::{inputs::tests::args, meter::Sample, story::tests::record};
    use std::time::Duration;

    fn report(writes: Tally) -> Report {
        let (args, meter) = (args(), Meter::new());
        let inputs = Inputs::read(&args).expect("embedded");
        let [ap, us] = [&inputs.regions[0], &inputs.regions[2]];
        for (table, at_us, ms) in [
            (Table::Control, 1, 100),
            (Table::Orders, 1, 110),
            (Table::Control, 9, 100),
            (Table::Orders, 9, 40),
        ] {
            meter.record(Sample {
                table,
                at_us,
                latency: Duration::from_millis(ms),
                reader: ap.clone(),
                failed: false,
                served_in: Some(if ms == 40 { ap.clone() } else { us.clone() }),
                shard: 1,
                hour: 1.0,
            });
            meter.act_from(9);
        }
        Report::new(Measured {
            args: &args,
            inputs: &inputs,
            meter: &meter,
            phases: Phases { setup_s: 1.0, observe_s: 2.0, act_s: 3.0 },
            mode: Mode::Act,
            champions: Vec::new(),
            directives: vec![
                record(2, DirectiveState::Verified, Some(41.0)),
                record(1, DirectiveState::Cancelled, None),
            ],
            writes,
            kept: None,
        })
    }

    #[test]
    fn the_document_has_what_is_promised() {
        let json = serde_json::to_value(report(Tally::default())).expect("plain data");
        for path in [
            "/mode",
            "/trace",
            "/nodes",
            "/seconds",
            "/seed",
            "/reads/static/mean_ms",
            "/reads/observe/p50_ms",
            "/reads/act/p99_ms",
            "/reads/act/cross_region_share",
            "/reads/static/count",
            "/directives/0/id",
            "/directives/0/kind",
            "/directives/0/reason",
            "/directives/0/state",
            "/directives/0/predicted/after",
            "/directives/0/realised",
            "/writes/acknowledged",
            "/writes/verified",
            "/writes/lost",
            "/improvement/mean_share",
        ] {
            assert!(json.pointer(path).is_some(), "{path}");
        }
        assert_eq!(
            json["directives"].as_array().map(Vec::len),
            Some(1),
            "what never began is only counted"
        );
        assert_eq!(json["directives_not_started"], 1);
        assert!((json["improvement"]["mean_share"].as_f64().expect("a number") - 0.6).abs() < 0.01);
        assert!(
            (json["improvement"]["mean_share_possible"].as_f64().expect("a number") - 1.0).abs()
                < 0.01
        );
    }

    #[test]
    fn a_write_that_is_lost_or_could_not_be_read_is_not_nothing() {
        let tally = |verified, lost| Tally { acknowledged: 5, verified, lost, unknown: 0 };
        assert!(report(tally(5, 0)).nothing_lost());
        assert!(!report(tally(4, 1)).nothing_lost());
        assert!(!report(tally(4, 0)).nothing_lost());
    }

    #[test]
    fn the_text_has_all_four_rows_and_the_luck() {
        let text = report(Tally { acknowledged: 5, verified: 5, lost: 0, unknown: 1 }).text();
        assert!(text.contains("orders: moved by isobar"), "{text}");
        assert!(
            text.contains("lowers the mean read latency by 60 %")
                && text.contains("10 % slower before anything moved"),
            "{text}"
        );
        assert!(text.contains("5 acknowledged, 5 verified, 0 lost"), "{text}");
    }
}
