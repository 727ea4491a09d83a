//! Events that are known beforehand: sales, maintenance, matches. What they do is learnt from their past occurrences,
//! shrunk to nothing where these are few, taken out of the history and put onto the forecast.
//!
//! As the regressors with windows before and after of Prophet (Taylor and Letham 2018), but relative to the usual
//! course, so that an event counts for more on a busy day.

use std::collections::BTreeMap;

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Events of one kind do alike.
    pub kind: String,
    /// First step.
    pub start: usize,
    /// Steps that it lasts.
    pub steps: usize,
}

/// How effects are learnt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CalendarConfig {
    /// Steps of the season.
    pub season: usize,
    /// Steps before and after an event that it may change, too.
    pub around: usize,
    /// So many occurrences without any effect are assumed beside those seen.
    pub shrink: f64,
}

/// Seasons that the usual course is taken from.
const SEASONS: usize = 8;
/// Effects are kept between nearly nothing and a multiple.
const EFFECT_MIN: f64 = -0.95;
const EFFECT_MAX: f64 = 20.0;
/// Longest event that is learnt, steps.
const STEPS_MAX: usize = 100_000;

/// Events in order of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Calendar {
    events: Vec<Event>,
    config: CalendarConfig,
}

impl Calendar {
    /// Takes events in any order; those without a length, or longer than all reason, are left out.
    pub fn new(mut events: Vec<Event>, config: CalendarConfig) -> Self {
        events.retain(|event| (1..=STEPS_MAX).contains(&event.steps));
        events.sort_by(|a, b| (a.start, &a.kind).cmp(&(b.start, &b.kind)));
        Self { events, config }
    }

    /// The history as it would have been without events. Each value is cleaned with what was known before its event
    /// began, so that a model may learn from any beginning of the result as it could have at that time.
    pub fn without_events(&self, values: &[f64]) -> Vec<f64> {
        let mut cleaned = values.to_vec();
        for (number, event) in self.events.iter().enumerate() {
            let window = self.window(event);
            let Some(effect) = self.effect(&event.kind, values, window.start, number) else {
                continue;
            };
            for (at, by) in window.zip(effect) {
                if let Some(value) = cleaned.get_mut(at) {
                    *value /= 1.0 + by;
                }
            }
        }
        cleaned
    }

    /// What the forecast of each step after the first `now` values is to be multiplied with.
    pub fn factors(&self, values: &[f64], now: usize, horizon: usize) -> Vec<f64> {
        let mut factors = vec![1.0; horizon];
        let now = now.min(values.len());
        for (number, event) in self.events.iter().enumerate() {
            let window = self.window(event);
            if window.end <= now || window.start >= now.saturating_add(horizon) {
                continue;
            }
            // An event that has begun was cleaned with what was known then.
            let known = window.start.min(now);
            let Some(effect) = self.effect(&event.kind, values, known, number) else { continue };
            for (at, by) in window.zip(effect) {
                if let Some(factor) = at.checked_sub(now).and_then(|ahead| factors.get_mut(ahead)) {
                    *factor *= 1.0 + by;
                }
            }
        }
        factors
    }

    /// The steps that an event may change.
    fn window(&self, event: &Event) -> std::ops::Range<usize> {
        let end = event.start.saturating_add(event.steps).saturating_add(self.config.around);
        event.start.saturating_sub(self.config.around)..end
    }

    /// Mean relative change by step of the window over the occurrences that were over before `known`.
    fn effect(&self, kind: &str, values: &[f64], known: usize, before: usize) -> Option<Vec<f64>> {
        let mut sums: BTreeMap<usize, f64> = BTreeMap::new();
        let mut seen = 0.0;
        for event in self.events[..before].iter().filter(|event| event.kind == kind) {
            let window = self.window(event);
            // A window cut off by the beginning would be out of step.
            if window.end > known.min(values.len()) || event.start < self.config.around {
                continue;
            }
            let Some(changes) = self.changes(values, window) else { continue };
            seen += 1.0;
            for (step, change) in changes.into_iter().enumerate() {
                *sums.entry(step).or_insert(0.0) += change;
            }
        }
        let share = 1.0 / (seen + self.config.shrink.max(0.0));
        let effect = |sum: &f64| (sum * share).clamp(EFFECT_MIN, EFFECT_MAX);
        (seen > 0.0).then(|| sums.values().map(effect).collect())
    }

    /// How one occurrence differed from the usual course of the days before it, at the level of the hours before it.
    fn changes(&self, values: &[f64], window: std::ops::Range<usize>) -> Option<Vec<f64>> {
        let season = self.config.season.max(1);
        let ahead = (season / 4).max(1);
        let from = window.start.checked_sub(ahead)?;
        let busy = |at: usize| self.events.iter().any(|event| self.window(event).contains(&at));
        let usual = |at: usize| {
            let before = (1..=2 * SEASONS).filter_map(|k| at.checked_sub(k * season));
            let mut quiet: Vec<f64> =
                before.filter(|&i| i < from && !busy(i)).take(SEASONS).map(|i| values[i]).collect();
            quiet.sort_by(f64::total_cmp);
            quiet.get(quiet.len() / 2).copied().filter(|v| *v > 0.0)
        };
        let mut ratios: Vec<f64> = (from..window.start)
            .filter(|&at| !busy(at))
            .filter_map(|at| Some(values[at] / usual(at)?))
            .collect();
        ratios.sort_by(f64::total_cmp);
        let level = ratios.get(ratios.len() / 2).copied().unwrap_or(1.0).clamp(0.2, 5.0);
        let change = |at: usize| Some(values[at] / (level * usual(at)?) - 1.0);
        window.map(|at| Some(change(at)?.clamp(EFFECT_MIN, EFFECT_MAX))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::{FitContext, Forecaster as _, SeasonalProfile};

    const SEASON: usize = 48;

    fn config() -> CalendarConfig {
        CalendarConfig { season: SEASON, around: 4, shrink: 0.3 }
    }

    fn noise(i: usize) -> f64 {
        ((i * 7919 + 13) % 1009) as f64 / 1009.0 - 0.5
    }

    /// A daily wave; sales double it for 6 steps, drills take most of it for 3.
    fn planted(days: usize) -> (Vec<f64>, Vec<Event>) {
        let mut values: Vec<f64> = (0..days * SEASON)
            .map(|i| {
                100.0 + 40.0 * (std::f64::consts::TAU * i as f64 / 48.0).sin() + 8.0 * noise(i)
            })
            .collect();
        let mut events = Vec::new();
        for (number, day) in (3..days).step_by(4).enumerate() {
            let (kind, steps, by) = [("sale", 6, 2.0), ("drill", 3, 0.3)][number % 2];
            let start = day * SEASON + 10 + (day * 7) % 20;
            values[start..start + steps].iter_mut().for_each(|v| *v *= by);
            events.push(Event { kind: kind.into(), start, steps });
        }
        (values, events)
    }

    #[test]
    fn event_days_are_forecast_far_better_than_without_the_calendar() {
        let (values, events) = planted(60);
        let calendar = Calendar::new(events.clone(), config());
        let cleaned = calendar.without_events(&values);
        let context = FitContext { horizon: SEASON, period: Some(SEASON) };
        let (mut with, mut without) = (0.0, 0.0);
        for event in events.iter().filter(|event| event.start > 30 * SEASON) {
            let now = event.start / SEASON * SEASON;
            let path = |values: &[f64]| {
                SeasonalProfile.fit(&values[..now], context).unwrap().points(&values[..now], SEASON)
            };
            let factors = calendar.factors(&values, now, SEASON);
            for (h, (plain, clean)) in path(&values).iter().zip(path(&cleaned)).enumerate() {
                without += (plain - values[now + h]).abs();
                with += (clean * factors[h] - values[now + h]).abs();
            }
        }
        assert!(with < 0.7 * without, "{with} {without}");
    }

    #[test]
    fn an_effect_is_known_only_after_it_was_seen() {
        let (values, events) = planted(20);
        let calendar = Calendar::new(events.clone(), config());
        let first = &events[0];
        let factors = calendar.factors(&values, first.start - 5, 20);
        assert!(factors.iter().all(|f| *f == 1.0), "{factors:?}");
        let third = &events[2]; // the second sale
        let factors = calendar.factors(&values, third.start, 6);
        assert!(factors.iter().all(|f| (1.5..2.2).contains(f)), "{factors:?}");
        let mut torn = values.clone();
        torn[third.start..].iter_mut().for_each(|v| *v = 1e6);
        assert_eq!(calendar.factors(&torn, third.start, 6), factors);
        let at = third.start - 4;
        assert_eq!(calendar.without_events(&torn)[..at], calendar.without_events(&values)[..at]);
    }

    #[test]
    fn odd_calendars_are_no_panic() {
        let odd = |start, steps| Event { kind: "odd".into(), start, steps };
        let events =
            vec![odd(0, 1), odd(usize::MAX, 5), odd(3, usize::MAX), odd(2, 0), odd(50, 10)];
        let calendar = Calendar::new(events, config());
        let values = vec![0.0; 60];
        assert_eq!(calendar.without_events(&values), values);
        assert_eq!(calendar.factors(&values, 60, 5), [1.0; 5]);
        assert_eq!(calendar.factors(&[], 0, 2), [1.0; 2]);
    }
}
