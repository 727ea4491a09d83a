//! Features of a history of events: how many of each kind in the last hours and days, and how long ago.

/// When events of each kind happened to one unit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventHistory {
    /// By kind, ascending, h.
    by_kind: Vec<Vec<f64>>,
}

impl EventHistory {
    /// Of (time in h, kind) in any order; kinds not below `kinds` and times that are no number are left out.
    pub fn new(kinds: usize, events: impl IntoIterator<Item = (f64, usize)>) -> Self {
        let mut by_kind = vec![Vec::new(); kinds];
        for (at_h, kind) in events {
            if let Some(times) = by_kind.get_mut(kind).filter(|_| at_h.is_finite()) {
                times.push(at_h);
            }
        }
        for times in &mut by_kind {
            times.sort_unstable_by(f64::total_cmp);
        }
        Self { by_kind }
    }

    /// Times of one kind up to and with `now_h`, ascending.
    pub fn until(&self, kind: usize, now_h: f64) -> &[f64] {
        let times = &self.by_kind[kind];
        &times[..times.partition_point(|&at| at <= now_h)]
    }

    /// Events of one kind in (`now_h` - `window_h`, `now_h`].
    pub fn count(&self, kind: usize, now_h: f64, window_h: f64) -> usize {
        let times = self.until(kind, now_h);
        times.len() - times.partition_point(|&at| at <= now_h - window_h)
    }

    /// Hours since the last event of one kind.
    pub fn since(&self, kind: usize, now_h: f64) -> Option<f64> {
        self.until(kind, now_h).last().map(|at| now_h - at)
    }

    /// The first event of one kind after `now_h`, h.
    pub fn next(&self, kind: usize, now_h: f64) -> Option<f64> {
        self.by_kind[kind].get(self.until(kind, now_h).len()).copied()
    }

    /// Appends, for each kind: hours since the last (NaN: none yet), and its count in each window.
    pub fn features(&self, now_h: f64, windows_h: &[f64], out: &mut Vec<f32>) {
        for kind in 0..self.by_kind.len() {
            out.push(self.since(kind, now_h).map_or(f32::NAN, |hours| hours as f32));
            for &window_h in windows_h {
                out.push(self.count(kind, now_h, window_h) as f32);
            }
        }
    }

    /// What [`EventHistory::features`] appends.
    pub fn names(kinds: &[&str], windows_h: &[f64]) -> Vec<String> {
        let of_kind = |kind: &&str| {
            let since = std::iter::once(format!("{kind}_since_h"));
            since
                .chain(windows_h.iter().map(move |w| format!("{kind}_count_{w}h")))
                .collect::<Vec<_>>()
        };
        kinds.iter().flat_map(of_kind).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_after_the_moment_is_seen() {
        let all = [(1.0, 0), (5.0, 0), (5.0, 1), (f64::NAN, 0), (3.0, 9), (30.0, 0)];
        let whole = EventHistory::new(2, all);
        let past = EventHistory::new(2, all.into_iter().filter(|e| e.0 <= 5.0));
        let (mut a, mut b) = (Vec::new(), Vec::new());
        whole.features(5.0, &[2.0, 4.0, 24.0], &mut a);
        past.features(5.0, &[2.0, 4.0, 24.0], &mut b);
        assert_eq!(a, b);
        assert_eq!(a, [0.0, 1.0, 1.0, 2.0, 0.0, 1.0, 1.0, 1.0]);
        assert_eq!(whole.next(0, 5.0), Some(30.0));
        assert_eq!(EventHistory::names(&["a", "b"], &[2.0, 4.0, 24.0]).len(), a.len());
    }
}
