//! What the calendar is worth: events are planted into a series, and its days with events are forecast with and without
//! knowing when they come.

use super::{rolling, sets::Rolling};
use crate::{
    Metrics,
    forecast_metrics::{Said, Tally, mase_scale},
};
use isobar_models::forecast::{
    calendar::{Calendar, CalendarConfig, Event},
    ensemble::Ensemble,
};

/// Days from one event to the next, and the kinds that take turns: hours they last, and what they multiply by.
const EVERY_DAYS: usize = 3;
const KINDS: [(&str, usize, f64); 2] = [("sale", 3, 2.5), ("maintenance", 2, 0.3)];

/// Plants events, and judges the days that hold one from their first moment. `None` without a day's season or without
/// such a day in the judged part.
pub(super) fn judge_planted(series: &Rolling) -> Option<Metrics> {
    let season = series.season;
    if season < 24 {
        return None;
    }
    let (values, events) = planted(series);
    let scale = mase_scale(&series.values[..series.train], season)?;
    let around = (season / 24).max(1);
    let calendar = Calendar::new(events.clone(), CalendarConfig { season, around, shrink: 0.3 });
    let cleaned = calendar.without_events(&values);
    let config = rolling::ensemble_config(series);
    let start = series.train - rolling::warm_up(series);
    let mut with = Ensemble::new(&cleaned, &config, None, start);
    let mut without = Ensemble::new(&values, &config, None, start);
    let mut tallies = [Tally::default(), Tally::default()];
    for event in &events {
        let now = event.start / season * season;
        if now < series.train || now + season > values.len() {
            continue;
        }
        let came = &values[now..now + season];
        with.advance(now);
        without.advance(now);
        let factors = calendar.factors(&values, now, season);
        let clean = with.forecast(now, season).into_iter().zip(factors);
        let clean: Vec<Said> = clean.map(|(said, by)| Said::from(said.mean * by)).collect();
        let plain: Vec<Said> =
            without.forecast(now, season).into_iter().map(|said| Said::from(said.mean)).collect();
        tallies[0].add(&clean, came, scale);
        tallies[1].add(&plain, came, scale);
    }
    let [with, without] = tallies.map(|tally| tally.mase());
    (without > 0.0).then(|| {
        Metrics::from([
            ("mase_with_calendar".to_owned(), with.into()),
            ("mase_without_calendar".to_owned(), without.into()),
            ("error_lower_by".to_owned(), (1.0 - with / without).into()),
        ])
    })
}

fn planted(series: &Rolling) -> (Vec<f64>, Vec<Event>) {
    let mut values = series.values.clone();
    let mut events = Vec::new();
    let hour = (series.season / 24).max(1);
    let days = values.len() / series.season;
    for (number, day) in (1..days).step_by(EVERY_DAYS).enumerate() {
        let (kind, hours, by) = KINDS[number % KINDS.len()];
        // Between 8 and 19 o'clock, never at the same hour twice in a row.
        let start = day * series.season + (8 + (day * 7) % 11) * hour;
        let steps = hours * hour;
        for value in values.iter_mut().skip(start).take(steps) {
            *value *= by;
        }
        events.push(Event { kind: kind.to_owned(), start, steps });
    }
    (values, events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metric;

    #[test]
    fn knowing_the_events_helps_by_far_more_than_a_third() {
        let season = 48;
        let noise = |i: usize| ((i * 7_919 + 13) % 1_009) as f64 / 50.0 - 10.0;
        let wave = |i: usize| (std::f64::consts::TAU * i as f64 / 48.0).sin();
        let values: Vec<f64> =
            (0..40 * season).map(|i| 200.0 + 80.0 * wave(i) + noise(i)).collect();
        let horizons = vec![("1day", season)];
        let name = "planted".to_owned();
        let series = Rolling { name, step_s: 1_800, season, values, train: 24 * season, horizons };
        let judged = judge_planted(&series).expect("days with events");
        let Metric::Number(lower_by) = judged["error_lower_by"] else { panic!("a number") };
        assert!(lower_by > 0.3, "{judged:?}");
        assert!(judge_planted(&Rolling { season: 1, ..series }).is_none());
    }
}
