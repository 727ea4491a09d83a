//! Series with the score of each point.

use super::baselines::Baseline;
use crate::nab::probation_points;
use crate::{Error, Result};
use isobar_datasets::{LabelledSeries, Marks};
use isobar_models::anomaly::{Detector, Grouping, Settings};

/// A series is also scored without its first points, so that a threshold does not hang on where one series began.
const LATER_STARTS: [usize; 2] = [61, 173];
/// At most this part of a series is left out: less than the probation.
const LATEST_START: usize = 20;

/// What gives scores.
#[derive(Clone, Copy, Debug)]
pub(super) enum Method {
    Detector(Settings),
    Baseline(Baseline),
}

/// How near an alert another one is not raised.
#[derive(Clone, Copy, Debug)]
pub(super) enum Group {
    Points(u32),
    Seconds(i64),
}

impl Method {
    pub(super) fn grouping(self) -> Group {
        match self {
            Self::Detector(settings) => Group::Points(settings.grouping_points),
            Self::Baseline(baseline) => baseline.grouping(),
        }
    }

    fn scores(self, time_s: &[i64], values: &[f64]) -> Result<Vec<f64>> {
        match self {
            Self::Detector(settings) => {
                let detector = Detector::new(settings);
                let mut detector = detector.map_err(|e| Error::Unsuitable(e.to_string()))?;
                let points = time_s.iter().zip(values);
                Ok(points.map(|(time_s, value)| detector.push(*time_s, *value).score).collect())
            }
            Self::Baseline(baseline) => Ok(baseline.scores(time_s, values)),
        }
    }
}

/// A series with its scores.
#[derive(Clone, Debug)]
pub(super) struct Scored {
    /// Where the series is in the list of all.
    pub(super) series: usize,
    /// See [`LabelledSeries::group`].
    pub(super) group: String,
    pub(super) time_s: Vec<i64>,
    pub(super) scores: Vec<f64>,
    /// Empty where points are marked instead.
    pub(super) windows: Vec<(usize, usize)>,
}

impl Scored {
    fn new(at: usize, series: &LabelledSeries, from: usize, method: Method) -> Result<Self> {
        let windows = match &series.marks {
            Marks::Points(_) => Vec::new(),
            Marks::Windows(windows) => windows
                .iter()
                .filter(|window| window.0 >= from)
                .map(|(first, last)| (first - from, last - from))
                .collect(),
        };
        let time_s = series.time_s[from..].to_vec();
        let scores = method.scores(&time_s, &series.values[from..])?;
        let group = series.group().to_owned();
        Ok(Self { series: at, group, time_s, scores, windows })
    }

    /// The points that alert.
    pub(super) fn alerts(&self, threshold: f64, group: Group) -> Vec<usize> {
        let above = |at: &usize| self.scores[*at] >= threshold;
        match group {
            Group::Points(points) => {
                let mut grouping = Grouping::new(points);
                (0..self.scores.len()).filter(|at| grouping.pass(above(at))).collect()
            }
            Group::Seconds(seconds) => {
                let mut last_s: Option<i64> = None;
                let mut alerts = Vec::new();
                for at in (0..self.scores.len()).filter(above) {
                    if last_s.is_none_or(|last_s| self.time_s[at].saturating_sub(last_s) >= seconds)
                    {
                        alerts.push(at);
                        last_s = Some(self.time_s[at]);
                    }
                }
                alerts
            }
        }
    }

    /// Days after probation.
    pub(super) fn days(&self) -> f64 {
        days(&self.time_s[probation_points(self.time_s.len())..])
    }
}

/// From the first to the last of some times.
pub(super) fn days(time_s: &[i64]) -> f64 {
    let (Some(first), Some(last)) = (time_s.first(), time_s.last()) else {
        return 0.0;
    };
    last.saturating_sub(*first).max(0) as f64 / 86_400.0
}

/// Each series as it is.
pub(super) fn whole(series: &[LabelledSeries], method: Method) -> Result<Vec<Scored>> {
    series.iter().enumerate().map(|(at, series)| Scored::new(at, series, 0, method)).collect()
}

/// Each series as it is and without its first points.
pub(super) fn from_several_starts(
    series: &[LabelledSeries],
    method: Method,
) -> Result<Vec<Scored>> {
    let mut all = Vec::new();
    for (at, series) in series.iter().enumerate() {
        let latest = series.values.len() / LATEST_START;
        for from in std::iter::once(0).chain(LATER_STARTS) {
            all.push(Scored::new(at, series, from.min(latest), method)?);
        }
    }
    Ok(all)
}
