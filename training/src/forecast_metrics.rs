//! How forecasts are judged: MASE, sMAPE and the share of values inside their intervals.

use crate::Metrics;

/// Mean absolute change from one season to the next: the unit of MASE (Hyndman and Koehler 2006). `None` where there are
/// too few values or they repeat exactly.
pub(crate) fn mase_scale(values: &[f64], season: usize) -> Option<f64> {
    let season = season.max(1);
    let pairs = values.len().checked_sub(season).filter(|n| *n > 0)?;
    let sum: f64 =
        values.iter().skip(season).zip(values).map(|(now, then)| (now - then).abs()).sum();
    Some(sum / pairs as f64).filter(|scale| *scale > 0.0 && scale.is_finite())
}

/// A forecast with bounds, where it has any.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Said {
    pub(crate) point: f64,
    pub(crate) bounds: Option<(f64, f64)>,
}

impl From<f64> for Said {
    fn from(point: f64) -> Self {
        Self { point, bounds: None }
    }
}

/// Adds up forecasts; a path of forecasts counts as much as any other, whatever its length.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    paths: f64,
    mase: f64,
    smape: f64,
    covered: f64,
    bounded: f64,
}

impl Tally {
    /// One path: what was said step by step, what came, and the unit of MASE.
    pub(crate) fn add(&mut self, said: &[Said], came: &[f64], scale: f64) {
        let n = said.len().min(came.len());
        if n == 0 {
            return;
        }
        let (mut error, mut relative, mut inside, mut bounded) = (0.0, 0.0, 0.0, 0.0);
        for (said, came) in said.iter().zip(came) {
            let off = (said.point - came).abs();
            error += off;
            let size = said.point.abs() + came.abs();
            relative += if size > 0.0 { 200.0 * off / size } else { 0.0 };
            if let Some((low, high)) = said.bounds {
                bounded += 1.0;
                inside += f64::from(u8::from(low <= *came && *came <= high));
            }
        }
        let n = n as f64;
        self.paths += 1.0;
        self.mase += error / n / scale;
        self.smape += relative / n;
        if bounded > 0.0 {
            self.covered += inside / bounded;
            self.bounded += 1.0;
        }
    }

    /// Mean absolute scaled error.
    pub(crate) fn mase(&self) -> f64 {
        self.mase / self.paths.max(1.0)
    }

    /// The figures by their names; coverage only where there were bounds.
    pub(crate) fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::from([
            ("mase".to_owned(), self.mase().into()),
            ("smape".to_owned(), (self.smape / self.paths.max(1.0)).into()),
        ]);
        if self.bounded > 0.0 {
            metrics.insert("coverage_90".to_owned(), (self.covered / self.bounded).into());
        }
        metrics
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metric;

    #[test]
    fn figures_computed_by_hand() {
        assert_eq!(mase_scale(&[1.0, 5.0, 2.0, 9.0], 2), Some(2.5));
        assert_eq!(mase_scale(&[1.0, 5.0, 1.0, 5.0], 2), None);
        assert_eq!(mase_scale(&[1.0], 24), None);
        let mut tally = Tally::default();
        let bounded = Said { point: 10.0, bounds: Some((8.0, 14.0)) };
        tally.add(&[bounded, bounded], &[14.0, 30.0], 2.0);
        tally.add(&[Said::from(0.0)], &[0.0], 2.0);
        let metrics = tally.metrics();
        // (4 + 20) / 2 / 2 = 6 and 0; (200 * 4 / 24 + 200 * 20 / 40) / 2 = 66.67 and 0; one of two inside.
        assert_eq!(metrics["mase"], Metric::Number(3.0));
        let Metric::Number(smape) = metrics["smape"] else { panic!("a number") };
        assert!((smape - 100.0 / 3.0).abs() < 1e-9);
        assert_eq!(metrics["coverage_90"], Metric::Number(0.5));
    }
}
