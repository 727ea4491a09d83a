//! What every set becomes: rows of features at a moment, with the moment of the failure that followed.

use crate::random::mixed;
use isobar_models::boost::Columns;
use std::sync::Arc;

/// The kinds of sets, each with a model of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Machines,
    DriveDays,
    DriveSpans,
    /// The same set, one row for each that was filed.
    DriveRecords,
    Outages,
    UpDown,
    GpuLives,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Machines => "machines",
            Self::DriveDays => "drive_days",
            Self::DriveSpans => "drive_spans",
            Self::DriveRecords => "drive_records",
            Self::Outages => "outages",
            Self::UpDown => "up_down",
            Self::GpuLives => "gpu_lives",
        }
    }

    /// "Fails within", h; the first is the one that is judged.
    pub(super) fn horizons_h(self) -> [f64; 2] {
        match self {
            Self::Machines => [24.0, 72.0],
            Self::DriveDays => [7.0 * DAY, 14.0 * DAY],
            Self::DriveSpans | Self::DriveRecords => [30.0 * DAY, 90.0 * DAY],
            Self::Outages => [7.0 * DAY, 30.0 * DAY],
            Self::UpDown => [24.0, 72.0],
            Self::GpuLives => [90.0 * DAY, 180.0 * DAY],
        }
    }
}

pub(super) const DAY: f64 = 24.0;

/// Which rows are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Train,
    Test,
}

/// Rows of one part of a set.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    /// Name of each feature, and in which direction the hazard may go with it.
    pub(super) names: Vec<(String, i8)>,
    pub(super) columns: Vec<Vec<f32>>,
    /// Place of the row's unit in `unit_names`.
    pub(super) units: Vec<u32>,
    pub(super) unit_names: Arc<[String]>,
    /// h since 1970.
    pub(super) at_h: Vec<f64>,
    /// The next failure of the unit; infinite where none was seen.
    pub(super) fails_at_h: Vec<f64>,
    /// How many rows of the set this one stands for.
    pub(super) weights: Vec<f64>,
    /// What happens after this is not known, h since 1970.
    pub(super) known_until_h: f64,
}

impl Rows {
    pub(super) fn new(
        names: Vec<(String, i8)>,
        unit_names: Arc<[String]>,
        known_until_h: f64,
    ) -> Self {
        let columns = vec![Vec::new(); names.len()];
        Self {
            names,
            columns,
            unit_names,
            units: Vec::new(),
            at_h: Vec::new(),
            fails_at_h: Vec::new(),
            weights: Vec::new(),
            known_until_h,
        }
    }

    pub(super) fn push(&mut self, unit: u32, at_h: f64, fails_at_h: f64, weight: f64, row: &[f32]) {
        debug_assert_eq!(row.len(), self.columns.len(), "features and names differ");
        for (column, &value) in self.columns.iter_mut().zip(row) {
            column.push(value);
        }
        self.units.push(unit);
        self.at_h.push(at_h);
        self.fails_at_h.push(fails_at_h);
        self.weights.push(weight);
    }

    pub(super) fn len(&self) -> usize {
        self.units.len()
    }

    /// Whether the unit fails within the horizon; `None` where that is not known.
    pub(super) fn label(&self, row: usize, horizon_h: f64) -> Option<bool> {
        let (at_h, fails_at_h) = (self.at_h[row], self.fails_at_h[row]);
        if fails_at_h <= self.known_until_h && fails_at_h - at_h <= horizon_h {
            return Some(true);
        }
        (at_h + horizon_h <= self.known_until_h).then_some(false)
    }

    /// Keeps the rows whose outcome is known; gives the labels, too. A failure that is near is known early: keeping such
    /// rows where their neighbours' outcome is not known yet would make failures look frequent.
    pub(super) fn labelled(&self, horizon_h: f64) -> (Self, Vec<bool>) {
        let whole = |&row: &usize| self.at_h[row] + horizon_h <= self.known_until_h;
        let kept: Vec<usize> = (0..self.len()).filter(whole).collect();
        let labels = kept.iter().filter_map(|&row| self.label(row, horizon_h)).collect();
        (self.only(&kept), labels)
    }

    pub(super) fn only(&self, kept: &[usize]) -> Self {
        let pick = |column: &Vec<f32>| kept.iter().map(|&row| column[row]).collect();
        let pick_h = |column: &Vec<f64>| kept.iter().map(|&row| column[row]).collect();
        Self {
            names: self.names.clone(),
            columns: self.columns.iter().map(pick).collect(),
            units: kept.iter().map(|&row| self.units[row]).collect(),
            unit_names: self.unit_names.clone(),
            at_h: pick_h(&self.at_h),
            fails_at_h: pick_h(&self.fails_at_h),
            weights: pick_h(&self.weights),
            known_until_h: self.known_until_h,
        }
    }

    /// The table as a booster takes it; `None` where it is empty.
    pub(super) fn table(&self) -> Option<Columns> {
        Columns::new(self.columns.clone()).ok()
    }

    pub(super) fn row_into(&self, row: usize, out: &mut Vec<f32>) {
        out.clear();
        out.extend(self.columns.iter().map(|column| column[row]));
    }

    /// One feature by name.
    pub(super) fn feature(&self, name: &str) -> Option<&[f32]> {
        let at = self.names.iter().position(|(other, _)| other == name)?;
        Some(&self.columns[at])
    }
}

/// A number of a unit's name that does not depend on the other units: FNV-1a, then mixed.
pub(super) fn hash(name: &str, seed: u64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ seed;
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    mixed(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_given_only_where_the_outcome_is_known() {
        let mut rows = Rows::new(vec![("x".into(), 0)], ["a".into(), "b".into()].into(), 100.0);
        for (at_h, fails_at_h) in [(0.0, 50.0), (40.0, 50.0), (95.0, 99.0), (95.0, 104.0)] {
            rows.push(1, at_h, fails_at_h, 1.0, &[0.0]);
        }
        let labels: Vec<_> = (0..4).map(|row| rows.label(row, 24.0)).collect();
        assert_eq!(labels, [Some(false), Some(true), Some(true), None]);
        assert_eq!(rows.labelled(24.0).1, [false, true]);
    }
}
