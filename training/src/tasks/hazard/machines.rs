//! Azure PdM: hourly rows of each machine.

use super::rows::{Part, Rows, hash};
use isobar_datasets::MachineEvents;
use isobar_models::hazard::EventHistory;
use std::collections::{BTreeMap, BTreeSet};

/// 2020-09-01: the set's README begins the test here.
const TEST_FROM_H: f64 = 444_144.0;
const ERRORS: usize = 5;
const COMPONENTS: usize = 4;
const WINDOWS_H: [f64; 3] = [24.0, 168.0, 720.0];
/// Of ten machines, those trained on where some must stay unseen.
const TRAINED_OF_TEN: u64 = 7;

/// `trained` are the machines a model was trained on: the test is about the others.
pub(super) fn rows(
    events: &MachineEvents,
    part: Part,
    seed: u64,
    trained: &BTreeSet<String>,
) -> Rows {
    let all = || events.errors.iter().chain(&events.failures).chain(&events.maintenance);
    let end_h = all().map(|event| event.0).fold(f64::MIN, f64::max);
    let begin_h = events.errors.iter().map(|event| event.0).fold(f64::MAX, f64::min);
    let (from_h, until_h) = match part {
        Part::Train => (begin_h, TEST_FROM_H.min(end_h)),
        Part::Test => (begin_h.max(TEST_FROM_H), end_h),
    };
    let unit_names = events.machines.iter().map(|machine| machine.id.to_string()).collect();
    let mut rows = Rows::new(names(), unit_names, until_h);
    let mut by_machine: BTreeMap<u32, Vec<(f64, usize)>> = BTreeMap::new();
    let kinds = [(&events.errors, 0), (&events.maintenance, ERRORS)];
    let failures = (&events.failures, ERRORS + COMPONENTS);
    for (list, first) in kinds.into_iter().chain([failures]) {
        for &(at_h, machine, number) in list {
            let kind = first + usize::from(number).saturating_sub(1);
            by_machine.entry(machine).or_default().push((at_h, kind));
        }
    }
    for (unit, machine) in events.machines.iter().enumerate() {
        let name = machine.id.to_string();
        let wanted = match part {
            Part::Train => hash(&name, seed) % 10 < TRAINED_OF_TEN,
            Part::Test => !trained.contains(&name),
        };
        if !wanted {
            continue;
        }
        let history = by_machine.get(&machine.id).cloned().unwrap_or_default();
        let history = EventHistory::new(ERRORS + 2 * COMPONENTS, history);
        let mut now_h = from_h.ceil();
        while now_h < until_h {
            let next = (0..COMPONENTS).filter_map(|c| history.next(ERRORS + COMPONENTS + c, now_h));
            let fails_at_h = next.fold(f64::INFINITY, f64::min);
            let mut row = Vec::with_capacity(rows.names.len());
            features(&history, now_h, &mut row);
            row.extend([machine.age_years, machine.model as f32]);
            rows.push(unit as u32, now_h, fails_at_h, 1.0, &row);
            now_h += 1.0;
        }
    }
    rows
}

/// The machines that [`rows`] with [`Part::Train`] takes.
pub(super) fn trained(events: &MachineEvents, seed: u64) -> BTreeSet<String> {
    let names = events.machines.iter().map(|machine| machine.id.to_string());
    names.filter(|name| hash(name, seed) % 10 < TRAINED_OF_TEN).collect()
}

fn names() -> Vec<(String, i8)> {
    let numbered =
        |what: &str, count| (1..=count).map(|n| format!("{what}{n}")).collect::<Vec<_>>();
    let kinds: Vec<String> = numbered("error", ERRORS)
        .into_iter()
        .chain(numbered("maintenance", COMPONENTS))
        .chain(numbered("failure", COMPONENTS))
        .collect();
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    let mut names = EventHistory::names(&kinds, &WINDOWS_H);
    names.extend((1..=ERRORS).map(|n| format!("error{n}_hour_of_day")));
    for name in ["hour_of_day", "error_since_h", "error_kinds_at_last", "error_count_168h"] {
        names.push(name.into());
    }
    names.extend(["age_years".into(), "model".into()]);
    // A part that was just replaced does not fail sooner than an old one: the same error means less then.
    let ages = |name: &str| name.starts_with("maintenance") && name.ends_with("_since_h");
    names
        .into_iter()
        .map(|name| (i8::from(ages(&name)), name))
        .map(|(up, name)| (name, up))
        .collect()
}

fn features(history: &EventHistory, now_h: f64, row: &mut Vec<f32>) {
    history.features(now_h, &WINDOWS_H, row);
    let last = |kind| history.until(kind, now_h).last().copied();
    for kind in 0..ERRORS {
        row.push(last(kind).map_or(f32::NAN, |at_h| at_h.rem_euclid(24.0) as f32));
    }
    let newest = (0..ERRORS).filter_map(last).fold(f64::NEG_INFINITY, f64::max);
    let together = (0..ERRORS).filter(|&kind| last(kind) == Some(newest)).count();
    let week: usize = (0..ERRORS).map(|kind| history.count(kind, now_h, 168.0)).sum();
    let since = if newest.is_finite() { (now_h - newest) as f32 } else { f32::NAN };
    row.extend([now_h.rem_euclid(24.0) as f32, since, together as f32, week as f32]);
}
