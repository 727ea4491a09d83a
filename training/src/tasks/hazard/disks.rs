//! Backblaze: drives by day, and drives in start-stop form.

use super::rows::{DAY, Kind, Part, Rows, hash};
use isobar_datasets::{DriveDay, DriveSpan};
use isobar_models::hazard::{Gauge, GroupCount, GroupRates, PeerReadings, ReadingHistory};
use std::collections::BTreeMap;
use std::sync::Arc;

/// 2013-05-06.
const DAYS_TEST_FROM_H: f64 = 379_944.0;
/// The day before: its readings are the last that are known when the test begins.
const DAYS_KNOWN_UNTIL_H: f64 = DAYS_TEST_FROM_H - DAY;
/// 2016-01-01.
const SPANS_TEST_FROM_H: f64 = 403_224.0;
const DAY_WINDOWS_H: [f64; 4] = [24.0, 72.0, 168.0, 336.0];
const SPAN_WINDOWS_H: [f64; 4] = [168.0, 720.0, 2_160.0, 8_760.0];
/// One in so many rows without a failure is trained on, with that weight.
const DAY_THINNING: u64 = 4;
const SPAN_THINNING: u64 = 3;
/// Drives are looked at every 30 days; those about to fail every 5 in training, with a sixth of the weight.
const LOOK_H: f64 = 30.0 * DAY;
const LOOKS: f64 = 6.0;
/// Drives are compared with their peers of the same day, or of up to half a look before.
const DAY_PEERS_STEP_H: f64 = DAY;
const SPAN_PEERS_STEP_H: f64 = LOOK_H / 2.0;

/// One drive of either set.
struct Drive {
    name: String,
    family: String,
    make: String,
    /// Number of the make in the set, for its peers.
    make_number: u32,
    capacity_tb: f32,
    /// Power-on hours at the first reading, where known.
    first_h: f64,
    first_hours_on: f64,
    /// Last moment under watch.
    last_h: f64,
    fails_h: Vec<f64>,
    readings: ReadingHistory,
}

impl Drive {
    fn fails_after(&self, now_h: f64) -> f64 {
        self.fails_h.iter().copied().filter(|&at_h| at_h >= now_h).fold(f64::INFINITY, f64::min)
    }

    /// Failures and days up to a moment.
    fn count_until(&self, until_h: f64) -> GroupCount {
        let failures = self.fails_h.iter().filter(|&&at_h| at_h <= until_h).count() as f64;
        let days = (self.last_h.min(until_h) - self.first_h).max(0.0) / DAY;
        GroupCount { failures, days }
    }
}

/// What all drives before the test say of makes and families.
fn rates(drives: &[Drive], until_h: f64) -> GroupRates {
    let mut rates = GroupRates::default();
    for drive in drives.iter().filter(|drive| drive.first_h < until_h) {
        let count = drive.count_until(until_h);
        rates.add(&drive.family, &drive.make, count.failures, count.days);
    }
    rates
}

/// Drives of either set, with their makes numbered.
fn numbered(mut drives: Vec<Drive>) -> Vec<Drive> {
    let mut numbers = BTreeMap::new();
    for drive in &mut drives {
        let next = numbers.len() as u32;
        drive.make_number = *numbers.entry(drive.make.clone()).or_insert(next);
    }
    drives
}

/// The counters of all drives, step by step.
fn peers(drives: &[Drive], gauges: &[Gauge], step_h: f64) -> PeerReadings {
    let mut peers = PeerReadings::new(step_h);
    let counters = gauges.iter().filter(|gauge| gauge.counts_trouble).count();
    for drive in drives {
        for at_h in peers.moments_h(drive.first_h, drive.last_h) {
            let readings = (0..counters).map(|gauge| drive.readings.last(gauge, at_h));
            peers.add(drive.make_number, at_h, readings);
        }
    }
    peers.sort();
    peers
}

struct Frame<'a> {
    /// The counters of trouble come first.
    gauges: Vec<Gauge>,
    windows_h: &'a [f64],
    rates: &'a GroupRates,
    peers: PeerReadings,
    /// In training a drive's own record is taken off its make's.
    own_until_h: Option<f64>,
}

impl Frame<'_> {
    fn names(&self) -> Vec<(String, i8)> {
        let mut names = ReadingHistory::names(&self.gauges, self.windows_h);
        let counters = self.gauges.iter().filter(|gauge| gauge.counts_trouble);
        names.extend(counters.map(|gauge| (format!("{}_rarity", gauge.name), 1)));
        names.push(("rarity_sum".into(), 1));
        names.push(("trouble_kinds".into(), 1));
        names.push(("hours_on_h".into(), 0));
        names.push(("capacity_tb".into(), 0));
        names.push(("make_log_failures_per_day".into(), 1));
        names
    }

    fn row(&self, drive: &Drive, now_h: f64) -> Vec<f32> {
        let mut row = Vec::with_capacity(self.gauges.len() * 8 + 16);
        drive.readings.features(&self.gauges, self.windows_h, now_h, &mut row);
        let (mut kinds, mut rarities) = (0, 0.0);
        let counters = self.gauges.iter().filter(|gauge| gauge.counts_trouble).count();
        for gauge in 0..counters {
            let last = drive.readings.last(gauge, now_h);
            let rarity = self.peers.rarity(drive.make_number, now_h, gauge, last);
            kinds += usize::from(last > 0.0);
            rarities += rarity;
            row.push(rarity);
        }
        row.push(rarities);
        let hours_on = drive.first_hours_on + now_h - drive.first_h;
        let own = self.own_until_h.map(|until_h| drive.count_until(until_h)).unwrap_or_default();
        let rate = self.rates.log_rate(&drive.family, &drive.make, own);
        row.extend([kinds as f32, hours_on as f32, drive.capacity_tb, rate as f32]);
        row
    }
}

fn unit_names(drives: &[Drive]) -> Arc<[String]> {
    drives.iter().map(|drive| drive.name.clone()).collect()
}

fn gauge(name: String, counts_trouble: bool) -> Gauge {
    Gauge { name, counts_trouble }
}

/// Letters at the front of a make: `ST`, `WDC`, `Hitachi`.
fn family(make: &str) -> String {
    make.chars().take_while(|c| c.is_ascii_alphabetic()).collect()
}

/// A counter of 16 bits that is full, or overflowed, says nothing: such drives report it always.
fn known(value: f32) -> f32 {
    if (65_500.0..=65_600.0).contains(&value) { f32::NAN } else { value }
}

/// Rates come from the training part of what is read where none are given.
pub(super) fn day_rows(
    days: &[DriveDay],
    part: Part,
    rates_known: Option<&GroupRates>,
) -> (Rows, GroupRates) {
    let drives = days.chunk_by(|a, b| a.drive == b.drive).map(drive_of_days).collect();
    let drives = numbered(drives);
    let own = rates(&drives, DAYS_KNOWN_UNTIL_H);
    let rates = rates_known.unwrap_or(&own);
    let gauges: Vec<Gauge> = DriveDay::SMART
        .iter()
        .enumerate()
        .map(|(at, n)| gauge(format!("smart_{n}"), at < 2))
        .collect();
    let peers = peers(&drives, &gauges, DAY_PEERS_STEP_H);
    let own_until_h = (part == Part::Train).then_some(DAYS_KNOWN_UNTIL_H);
    let frame = Frame { gauges, windows_h: &DAY_WINDOWS_H, rates, peers, own_until_h };
    let end_h = days.iter().map(|day| day.at_h).fold(f64::MIN, f64::max);
    let known_until_h = if part == Part::Train { DAYS_KNOWN_UNTIL_H } else { end_h };
    let mut rows = Rows::new(frame.names(), unit_names(&drives), known_until_h.min(end_h));
    for (unit, drive) in drives.iter().enumerate() {
        for &at_h in drive.readings.times_h() {
            if (at_h >= DAYS_TEST_FROM_H) != (part == Part::Test) {
                continue;
            }
            let fails_at_h = drive.fails_after(at_h);
            let weight = match part {
                Part::Test => 1.0,
                // A failure that is not known yet must not decide what is kept.
                Part::Train if fails_at_h <= known_until_h && fails_at_h - at_h <= 14.0 * DAY => {
                    1.0
                }
                Part::Train if (hash(&drive.name, 0) + (at_h / DAY) as u64) % DAY_THINNING == 0 => {
                    DAY_THINNING as f64
                }
                Part::Train => continue,
            };
            rows.push(unit as u32, at_h, fails_at_h, weight, &frame.row(drive, at_h));
        }
    }
    (rows, own)
}

fn drive_of_days(days: &[DriveDay]) -> Drive {
    let first = &days[0];
    let values = |day: &DriveDay| {
        let [reallocated, pending, read_errors, temperature] = day.smart;
        (day.at_h, vec![known(reallocated), known(pending), read_errors, temperature])
    };
    Drive {
        name: first.drive.clone(),
        family: family(&first.model),
        make: first.model.clone(),
        make_number: 0,
        capacity_tb: first.capacity_tb,
        first_h: first.at_h,
        first_hours_on: f64::from(first.hours_on),
        last_h: days[days.len() - 1].at_h,
        fails_h: days.iter().filter(|day| day.failed).map(|day| day.at_h).collect(),
        readings: ReadingHistory::new(4, days.iter().map(values).collect()),
    }
}

/// `kind` says whether a row is a look at each drive every 30 days or each row that was filed.
pub(super) fn span_rows(
    spans: &[DriveSpan],
    kind: Kind,
    part: Part,
    rates_known: Option<&GroupRates>,
) -> (Rows, GroupRates) {
    let end_h = spans.iter().map(|span| span.last_seen_h).fold(f64::MIN, f64::max);
    let drives = spans.chunk_by(|a, b| a.drive == b.drive);
    let drives = numbered(drives.map(|spans| drive_of_spans(spans, end_h)).collect());
    let own = rates(&drives, SPANS_TEST_FROM_H);
    let rates = rates_known.unwrap_or(&own);
    // The counters of trouble come first: 5, 187, 197, 198, 188, 196, 10.
    let gauges: Vec<Gauge> = DriveSpan::SMART
        .iter()
        .enumerate()
        .map(|(at, n)| gauge(format!("smart_{n}"), at < 7))
        .collect();
    let peers = peers(&drives, &gauges, SPAN_PEERS_STEP_H);
    let own_until_h = (part == Part::Train).then_some(SPANS_TEST_FROM_H);
    let frame = Frame { gauges, windows_h: &SPAN_WINDOWS_H, rates, peers, own_until_h };
    let until_h = if part == Part::Train { SPANS_TEST_FROM_H.min(end_h) } else { end_h };
    let mut rows = Rows::new(frame.names(), unit_names(&drives), until_h);
    for (unit, drive) in drives.iter().enumerate() {
        for (at_h, weight) in looks(drive, kind, part, until_h) {
            let fails_at_h = drive.fails_after(at_h);
            rows.push(unit as u32, at_h, fails_at_h, weight, &frame.row(drive, at_h));
        }
    }
    (rows, own)
}

/// When a drive is looked at, with weights.
fn looks(drive: &Drive, kind: Kind, part: Part, until_h: f64) -> Vec<(f64, f64)> {
    let horizon_h = kind.horizons_h()[1];
    // A failure that is not known yet must not decide what is kept.
    let soon = |at_h: f64| {
        let fails_at_h = drive.fails_after(at_h);
        fails_at_h <= until_h && fails_at_h - at_h <= horizon_h
    };
    let lot = hash(&drive.name, 0);
    let thinned = |at: usize, at_h: f64| {
        let drawn = (lot.wrapping_add(at as u64)) % SPAN_THINNING == 0;
        if soon(at_h) { Some(1.0) } else { drawn.then_some(SPAN_THINNING as f64) }
    };
    if kind == Kind::DriveRecords {
        let times = drive.readings.times_h().iter().copied().enumerate();
        return match part {
            Part::Test => times
                .filter(|&(_, at_h)| at_h >= SPANS_TEST_FROM_H)
                .map(|(_, at_h)| (at_h, 1.0))
                .collect(),
            Part::Train => times
                .filter(|&(_, at_h)| at_h < SPANS_TEST_FROM_H)
                .filter_map(|(at, at_h)| Some((at_h, thinned(at, at_h)?)))
                .collect(),
        };
    }
    let watched = |at_h: f64| drive.first_h <= at_h && at_h < drive.last_h;
    let mut looks = Vec::new();
    if part == Part::Test {
        let mut at_h = SPANS_TEST_FROM_H;
        while at_h < until_h {
            looks.extend(watched(at_h).then_some((at_h, 1.0)));
            at_h += LOOK_H;
        }
        return looks;
    }
    let mut at_h = drive.first_h + (lot % 30) as f64 * DAY;
    let mut look = 0;
    while at_h < until_h.min(drive.last_h) {
        if soon(at_h) {
            looks.push((at_h, 1.0 / LOOKS));
        } else if look % LOOKS as usize == 0 {
            looks.extend(thinned(look / LOOKS as usize, at_h).map(|weight| (at_h, weight)));
        }
        at_h += LOOK_H / LOOKS;
        look += 1;
    }
    looks
}

fn drive_of_spans(spans: &[DriveSpan], end_h: f64) -> Drive {
    let first = &spans[0];
    // Power-on hours run a little faster or slower than the calendar; nothing was seen after the end of the watch.
    let date =
        |hours_on: f64| (first.first_seen_h + hours_on - first.first_seen_hours_on).min(end_h);
    let values = |span: &DriveSpan| {
        let mut values: Vec<f32> = span.smart.to_vec();
        values[0] = known(values[0]);
        values[2] = known(values[2]);
        values[3] = known(values[3]);
        (date(span.start_h), values)
    };
    let stop_h = spans.iter().map(|span| date(span.stop_h)).fold(f64::MIN, f64::max);
    Drive {
        name: first.drive.clone(),
        family: first.maker.clone(),
        make: first.model.clone(),
        make_number: 0,
        capacity_tb: first.capacity_tb,
        first_h: date(first.start_h),
        first_hours_on: first.start_h,
        last_h: stop_h,
        fails_h: spans.iter().filter(|span| span.failed).map(|span| date(span.stop_h)).collect(),
        readings: ReadingHistory::new(DriveSpan::SMART.len(), spans.iter().map(values).collect()),
    }
}
