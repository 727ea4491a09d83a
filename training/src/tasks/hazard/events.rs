//! Failures and alerts, unit by unit: was it said, how long before, and how often for nothing.

use super::rows::Rows;
use super::score::Said;
use isobar_models::hazard::AlertGate;
use std::collections::BTreeMap;

pub(super) const YEAR_H: f64 = 8_766.0;

/// What happened to one unit, or to many.
#[derive(Clone, Debug, Default)]
pub(super) struct Events {
    /// Its place in the names; of no meaning in a sum.
    pub(super) unit: u32,
    /// By failure that an alert stood for: how long before it the alert stood first, in the horizon, h.
    pub(super) leads_h: Vec<f64>,
    pub(super) missed: usize,
    /// Alerts raised with no failure in the horizon after.
    pub(super) false_alerts: usize,
    pub(super) watched_h: f64,
}

impl Events {
    pub(super) fn sum(all: &[Self]) -> Self {
        let mut sum = Self::default();
        for one in all {
            sum.leads_h.extend(&one.leads_h);
            sum.missed += one.missed;
            sum.false_alerts += one.false_alerts;
            sum.watched_h += one.watched_h;
        }
        sum.leads_h.sort_by(f64::total_cmp);
        sum
    }

    pub(super) fn count(&self) -> usize {
        self.leads_h.len() + self.missed
    }

    pub(super) fn recall(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.leads_h.len() as f64 / self.count() as f64)
    }

    /// Of a sum.
    pub(super) fn lead_median_h(&self) -> Option<f64> {
        self.leads_h.get(self.leads_h.len() / 2).copied()
    }

    pub(super) fn false_alerts_per_unit_year(&self) -> Option<f64> {
        (self.watched_h > 0.0).then(|| self.false_alerts as f64 / (self.watched_h / YEAR_H))
    }
}

/// By unit, in their order: failures that an alert stood for in the horizon before, and alerts for nothing.
pub(super) fn events(rows: &Rows, said: &Said, horizon_h: f64) -> Vec<Events> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|&a, &b| {
        rows.units[a].cmp(&rows.units[b]).then(rows.at_h[a].total_cmp(&rows.at_h[b]))
    });
    let of_unit = |unit: &[usize]| {
        let mut gate = AlertGate::new(said.raise, said.clear);
        let mut found = Events { unit: rows.units[unit[0]], ..Events::default() };
        // By failure: the lead of the first alert in the horizon before it.
        let mut by_failure: BTreeMap<u64, Option<f64>> = BTreeMap::new();
        for &row in unit {
            let raised = gate.update(said.probabilities[row]).is_some() && gate.on();
            let lead_h = rows.fails_at_h[row] - rows.at_h[row];
            if lead_h <= horizon_h {
                let lead = by_failure.entry(rows.fails_at_h[row].to_bits()).or_default();
                if gate.on() && lead.is_none() {
                    *lead = Some(lead_h);
                }
            } else if raised {
                found.false_alerts += 1;
            }
        }
        found.missed = by_failure.values().filter(|lead| lead.is_none()).count();
        found.leads_h = by_failure.into_values().flatten().collect();
        found.watched_h = rows.at_h[unit[unit.len() - 1]] - rows.at_h[unit[0]];
        found
    };
    order.chunk_by(|&a, &b| rows.units[a] == rows.units[b]).map(of_unit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_counts_once_and_leads_from_its_first_row_in_the_horizon() {
        let mut rows = Rows::new(vec![("x".into(), 0)], vec![String::new(); 8].into(), 200.0);
        for at_h in 0..60 {
            let fails_at_h = if at_h < 48 { 48.0 } else { f64::INFINITY };
            rows.push(7, f64::from(at_h), fails_at_h, 1.0, &[0.0]);
        }
        let p = |at: usize| match at {
            3 | 34 => 0.9,
            35..=40 => 0.4,
            _ => 0.1,
        };
        let probabilities: Vec<f64> = (0..60).map(p).collect();
        let said = Said { scores: probabilities.clone(), probabilities, raise: 0.5, clear: 0.3 };
        let by_unit = events(&rows, &said, 24.0);
        assert_eq!(by_unit.iter().map(|e| e.unit).collect::<Vec<_>>(), [7]);
        let found = Events::sum(&by_unit);
        assert_eq!(
            (found.count(), found.recall(), found.lead_median_h()),
            (1, Some(1.0), Some(14.0))
        );
        assert!((found.false_alerts_per_unit_year().unwrap() - 8_766.0 / 59.0).abs() < 1e-9);
        let (_, labels) = rows.labelled(24.0);
        assert_eq!(labels.iter().filter(|l| **l).count(), 24);
    }
}
