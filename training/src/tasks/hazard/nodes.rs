//! Nodes of supercomputers and GPUs: only events, no measurements.

use super::rows::{DAY, Part, Rows, hash};
use isobar_datasets::{GpuLife, Outage, UpDown};
use isobar_models::hazard::EventHistory;
use std::collections::BTreeMap;

/// 2004-01-01, 2006-06-01 and 2017-01-01.
const OUTAGES_TEST_FROM_H: f64 = 298_032.0;
const UP_DOWN_TEST_FROM_H: f64 = 319_200.0;
const LIVES_TEST_FROM_H: f64 = 412_008.0;
const WINDOWS_H: [f64; 5] = [24.0, 168.0, 720.0, 2_160.0, 8_760.0];
const SHORT_WINDOWS_H: [f64; 5] = [1.0, 6.0, 24.0, 168.0, 720.0];
const PEER_WINDOWS_H: [f64; 3] = [6.0, 24.0, 168.0];

fn free(names: Vec<String>) -> Vec<(String, i8)> {
    names.into_iter().map(|name| (name, 0)).collect()
}

/// What happened to the peers of a unit, as a share of them.
#[derive(Default)]
struct Peers {
    events: Vec<f64>,
    /// When each peer was first heard of, ascending.
    since: Vec<f64>,
}

impl Peers {
    fn sort(&mut self) {
        self.events.sort_by(f64::total_cmp);
        self.since.sort_by(f64::total_cmp);
    }

    fn features(&self, now_h: f64, windows_h: &[f64], row: &mut Vec<f32>) {
        let until = |list: &[f64], at_h: f64| list.partition_point(|&time| time <= at_h) as f32;
        let peers = until(&self.since, now_h).max(1.0);
        for &window_h in windows_h {
            let count = until(&self.events, now_h) - until(&self.events, now_h - window_h);
            row.push(count / peers);
        }
        row.push(peers);
    }

    fn names(of: &str, windows_h: &[f64]) -> Vec<String> {
        let mut names: Vec<String> =
            windows_h.iter().map(|w| format!("{of}_events_per_peer_{w}h")).collect();
        names.push(format!("{of}_peers"));
        names
    }
}

/// LANL: every node that had an outage before, once a week.
pub(super) fn outage_rows(outages: &[Outage], part: Part) -> Rows {
    let end_h = outages.iter().map(|outage| outage.start_h).fold(f64::MIN, f64::max);
    let (from_h, until_h) = bounds(part, OUTAGES_TEST_FROM_H, end_h);
    let mut systems: BTreeMap<&str, Peers> = BTreeMap::new();
    let nodes: Vec<&[Outage]> = outages.chunk_by(|a, b| a.node == b.node).collect();
    for node in &nodes {
        let peers = systems.entry(&node[0].system).or_default();
        peers.since.push(node[0].start_h);
        peers.events.extend(node.iter().map(|outage| outage.start_h));
    }
    systems.values_mut().for_each(Peers::sort);
    let mut kinds: Vec<&str> = Outage::CAUSES.to_vec();
    kinds.push("outage");
    let mut names = EventHistory::names(&kinds, &WINDOWS_H);
    names.extend(Peers::names("system", &PEER_WINDOWS_H));
    names.extend(["processors".into(), "last_down_h".into(), "known_for_h".into()]);
    names.push("outages_per_day".into());
    let unit_names = nodes.iter().map(|node| node[0].node.clone()).collect();
    let mut rows = Rows::new(free(names), unit_names, until_h);
    for (unit, node) in nodes.iter().enumerate() {
        let any = Outage::CAUSES.len();
        let both = node.iter().flat_map(|o| [(o.start_h, o.cause), (o.start_h, any)]);
        let history = EventHistory::new(any + 1, both);
        // Looked at on a day of the week of its own, so that weeks do not all begin alike.
        let first_h = node[0].start_h.max(from_h);
        let phase_h = (hash(&node[0].node, 0) % 168) as f64;
        let mut now_h = ((first_h - phase_h) / 168.0).ceil() * 168.0 + phase_h;
        while now_h < until_h {
            let mut row = Vec::with_capacity(rows.names.len());
            history.features(now_h, &WINDOWS_H, &mut row);
            systems[node[0].system.as_str()].features(now_h, &PEER_WINDOWS_H, &mut row);
            let past = history.until(any, now_h).len();
            let last_down_h = past.checked_sub(1).map_or(f32::NAN, |at| node[at].down_h);
            let known_for_h = now_h - node[0].start_h;
            let rate = past as f64 / (known_for_h / DAY + 30.0);
            row.extend([node[0].processors, last_down_h, known_for_h as f32, rate as f32]);
            let fails_at_h = history.next(any, now_h).unwrap_or(f64::INFINITY);
            rows.push(unit as u32, now_h, fails_at_h, 1.0, &row);
            now_h += 168.0;
        }
    }
    rows
}

fn bounds(part: Part, test_from_h: f64, end_h: f64) -> (f64, f64) {
    match part {
        Part::Train => (f64::MIN, test_from_h.min(end_h)),
        Part::Test => (test_from_h, end_h),
    }
}

/// Grid5000: every node that is up, each six hours.
pub(super) fn up_down_rows(intervals: &[UpDown], part: Part) -> Rows {
    let end_h = intervals.iter().map(|interval| interval.start_h).fold(f64::MIN, f64::max);
    let (from_h, until_h) = bounds(part, UP_DOWN_TEST_FROM_H, end_h);
    let group = |node: &str| node.rsplit_once('/').map_or("", |(group, _)| group).to_owned();
    let mut clusters: BTreeMap<String, Peers> = BTreeMap::new();
    let nodes: Vec<&[UpDown]> = intervals.chunk_by(|a, b| a.node == b.node).collect();
    for node in &nodes {
        let peers = clusters.entry(group(&node[0].node)).or_default();
        peers.since.push(node[0].start_h);
        peers.events.extend(node.iter().filter(|i| !i.up).map(|i| i.start_h));
    }
    clusters.values_mut().for_each(Peers::sort);
    let mut names = EventHistory::names(&["down", "up"], &SHORT_WINDOWS_H);
    names.extend(Peers::names("cluster", &[1.0, 6.0, 24.0, 168.0, 720.0]));
    for name in ["hour_of_day", "day_of_week", "last_down_h", "last_up_h", "downs_per_day"] {
        names.push(name.into());
    }
    names.extend(["up_share_168h".into(), "up_share_720h".into()]);
    let unit_names = nodes.iter().map(|node| node[0].node.clone()).collect();
    let mut rows = Rows::new(free(names), unit_names, until_h);
    for (unit, node) in nodes.iter().enumerate() {
        let events = node.iter().map(|i| (i.start_h, usize::from(i.up)));
        let history = EventHistory::new(2, events);
        let peers = &clusters[&group(&node[0].node)];
        let begin_h = from_h.max(node[0].start_h);
        let phase_h = (hash(&node[0].node, 0) % 6) as f64;
        let mut now_h = ((begin_h - phase_h) / 6.0).ceil() * 6.0 + phase_h;
        while now_h < until_h {
            let at = node.partition_point(|i| i.start_h <= now_h);
            let here = at.checked_sub(1).map(|at| &node[at]);
            if here.is_some_and(|i| i.up && now_h < i.stop_h) {
                let mut row = Vec::with_capacity(rows.names.len());
                history.features(now_h, &SHORT_WINDOWS_H, &mut row);
                peers.features(now_h, &[1.0, 6.0, 24.0, 168.0, 720.0], &mut row);
                up_down_features(&node[..at], now_h, history.until(0, now_h).len(), &mut row);
                let fails_at_h = history.next(0, now_h).unwrap_or(f64::INFINITY);
                rows.push(unit as u32, now_h, fails_at_h, 1.0, &row);
            }
            now_h += 6.0;
        }
    }
    rows
}

fn up_down_features(past: &[UpDown], now_h: f64, downs: usize, row: &mut Vec<f32>) {
    let last = |up: bool| {
        let closed = past.iter().rev().find(|i| i.up == up && i.stop_h <= now_h);
        closed.map_or(f32::NAN, |i| (i.stop_h - i.start_h) as f32)
    };
    let known_for_h = now_h - past[0].start_h;
    let share = |window_h: f64| {
        let from_h = now_h - window_h;
        let recent = past.iter().rev().take_while(|i| i.stop_h > from_h);
        let up = recent.filter(|i| i.up).map(|i| i.stop_h.min(now_h) - i.start_h.max(from_h));
        (up.sum::<f64>() / window_h.min(known_for_h.max(1.0))) as f32
    };
    // 1970-01-01 was a Thursday; only that weeks repeat matters.
    let day_of_week = (now_h / DAY).floor().rem_euclid(7.0);
    row.extend([now_h.rem_euclid(DAY) as f32, day_of_week as f32, last(false), last(true)]);
    row.push((downs as f64 / (known_for_h / DAY + 7.0)) as f32);
    row.extend([share(168.0), share(720.0)]);
}

/// Titan: every GPU in its place, each 30 days.
pub(super) fn life_rows(lives: &[GpuLife], part: Part) -> Rows {
    let end_h = lives.iter().map(|life| life.remove_h).fold(f64::MIN, f64::max);
    let (_, until_h) = bounds(part, LIVES_TEST_FROM_H, end_h);
    let windows_h = [30.0 * DAY, 90.0 * DAY, 365.0 * DAY];
    let gpus: Vec<&[GpuLife]> = lives.chunk_by(|a, b| a.gpu == b.gpu).collect();
    let (mut fleet, mut cages) = (Peers::default(), BTreeMap::<u32, Peers>::new());
    for gpu in &gpus {
        fleet.since.push(gpu[0].insert_h);
        fleet.events.extend(gpu.iter().filter(|l| l.failed).map(|l| l.remove_h));
        for life in gpu.iter() {
            let cage = cages.entry(life.place[2].to_bits()).or_default();
            cage.since.push(life.insert_h);
            cage.events.extend(life.failed.then_some(life.remove_h));
        }
    }
    fleet.sort();
    cages.values_mut().for_each(Peers::sort);
    let mut names = EventHistory::names(&["error", "insert"], &windows_h);
    names.extend(Peers::names("fleet", &windows_h));
    names.extend(Peers::names("cage", &windows_h));
    for name in ["column", "row", "cage", "slot", "node", "age_h", "in_place_h", "first_seen_h"] {
        names.push(name.into());
    }
    names.push("errors_per_year".into());
    let unit_names = gpus.iter().map(|gpu| gpu[0].gpu.clone()).collect();
    let mut rows = Rows::new(free(names), unit_names, until_h);
    for (unit, gpu) in gpus.iter().enumerate() {
        let errors = gpu.iter().filter(|l| l.failed).map(|l| (l.remove_h, 0));
        let history = EventHistory::new(2, errors.chain(gpu.iter().map(|l| (l.insert_h, 1))));
        for life in gpu.iter() {
            if (life.insert_h >= LIVES_TEST_FROM_H) != (part == Part::Test) {
                continue;
            }
            let mut now_h = life.insert_h;
            while now_h < life.remove_h.min(until_h) {
                let mut row = Vec::with_capacity(rows.names.len());
                history.features(now_h, &windows_h, &mut row);
                fleet.features(now_h, &windows_h, &mut row);
                cages[&life.place[2].to_bits()].features(now_h, &windows_h, &mut row);
                row.extend(life.place);
                let age_h = now_h - gpu[0].insert_h;
                let errors = history.until(0, now_h).len() as f64;
                let per_year = errors / (age_h / (365.0 * DAY) + 0.5);
                row.extend(
                    [age_h, now_h - life.insert_h, gpu[0].insert_h, per_year].map(|x| x as f32),
                );
                let fails_at_h = history.next(0, now_h).unwrap_or(f64::INFINITY);
                rows.push(unit as u32, now_h, fails_at_h, 1.0, &row);
                now_h += 30.0 * DAY;
            }
        }
    }
    rows
}
