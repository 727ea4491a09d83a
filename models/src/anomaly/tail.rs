//! How rare a residual is among those before it.

/// Bins of the histogram: a third of an octave each, so 42 octaves between what counts as nothing and the most.
const BINS: usize = 128;
const BINS_PER_OCTAVE: f64 = 3.0;
/// Where the first residual goes; room is left for larger ones.
const FIRST_BIN: f64 = 64.0;
/// Weights grow instead of the old ones being decayed; beyond this all are scaled down.
const MOST_WEIGHT: f32 = 1e6;

/// A histogram of residuals on a logarithmic scale, in which old ones fade.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    /// Bin 0 holds the residuals that count as nothing.
    mass: [f32; BINS],
    total: f32,
    weight: f32,
    growth: f32,
    exponent: f64,
    /// log2 of what goes into [`FIRST_BIN`]: the first residual that was not nothing.
    anchor: Option<f64>,
    /// The Pareto tail begins here at the earliest.
    least: Option<f64>,
}

impl Tail {
    pub(super) fn new(half_life_points: f64, exponent: f64) -> Self {
        let growth = (1.0 / half_life_points).exp2() as f32;
        let (anchor, least) = (None, None);
        Self { mass: [0.0; BINS], total: 0.0, weight: 1.0, growth, exponent, anchor, least }
    }

    /// For residuals with a unit of their own: the first one above `least` is told from a small one.
    pub(super) fn from(self, least: f64) -> Self {
        Self { anchor: Some(least.log2()), least: Some(least), ..self }
    }

    /// `-log10 p` of a residual, where p is the share of those before it, and itself, that are at least as large. Beyond
    /// the largest seen, p is continued as a Pareto tail. 0 for a residual that counts as nothing, 0 where it is negative.
    pub(super) fn score(&self, residual: f64) -> f64 {
        if residual.is_nan() || residual <= 0.0 {
            return 0.0;
        }
        let anchor = self.anchor.unwrap_or_else(|| residual.log2());
        let at = bin(residual, anchor).min(BINS as f64 - 1.0) as usize;
        let above: f32 = self.mass[at..].iter().sum();
        // The sum of all bins may round to more than the total.
        let seen = ((self.total / self.weight + 1.0) / (above / self.weight + 1.0)).max(1.0);
        let beyond = if above > 0.0 { 0 } else { self.bins_beyond(at, anchor) };
        f64::from(seen).log10()
            + self.exponent * beyond as f64 / (BINS_PER_OCTAVE * std::f64::consts::LOG2_10)
    }

    /// From the largest residual seen, or what the tail begins with, up to this bin.
    fn bins_beyond(&self, at: usize, anchor: f64) -> usize {
        let held = (1..at).rev().find(|&below| self.mass[below] > 0.0);
        let least = self.least.map(|least| bin(least, anchor) as usize);
        held.max(least).map_or(0, |from| at.saturating_sub(from))
    }

    /// Remembers a residual.
    pub(super) fn add(&mut self, residual: f64) {
        let mut at = 0;
        if residual > 0.0 {
            let anchor = *self.anchor.get_or_insert(residual.log2());
            let most = BINS as f64 - 1.0;
            let bin = bin(residual, anchor);
            if bin > most {
                self.make_room(bin - most);
            }
            at = bin.min(most) as usize;
        }
        self.mass[at] += self.weight;
        self.total += self.weight;
        self.weight *= self.growth;
        if self.weight > MOST_WEIGHT {
            let scale = 1.0 / self.weight;
            self.mass.iter_mut().for_each(|mass| *mass *= scale);
            self.total *= scale;
            self.weight = 1.0;
        }
    }

    /// Moves all bins down by `bins`: what was small before is then among the smallest.
    fn make_room(&mut self, bins: f64) {
        let mut moved = [0.0; BINS];
        moved[0] = self.mass[0];
        for (bin, mass) in self.mass.iter().enumerate().skip(1) {
            moved[(bin as f64 - bins).max(1.0) as usize] += mass;
        }
        self.mass = moved;
        self.anchor = self.anchor.map(|anchor| anchor + bins / BINS_PER_OCTAVE);
    }
}

/// A whole number, at least 1.
fn bin(residual: f64, anchor: f64) -> f64 {
    ((residual.log2() - anchor) * BINS_PER_OCTAVE + FIRST_BIN).floor().max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_is_a_p_value() {
        let mut tail = Tail::new(1e7, 0.0);
        // 999 residuals, of which nine are large.
        for i in 0..999 {
            tail.add(if i % 111 == 0 { 100.0 } else { 1.0 });
        }
        assert!((tail.score(100.0) - 2.0).abs() < 1e-3, "{}", tail.score(100.0));
        assert!((tail.score(1e6) - 3.0).abs() < 1e-3, "{}", tail.score(1e6));
        assert!((tail.score(1.0) - 0.0).abs() < 1e-3);
        assert_eq!(tail.score(0.0), 0.0);
    }

    #[test]
    fn beyond_the_largest_the_tail_goes_on() {
        let mut tail = Tail::new(1e7, 2.0);
        (0..999).for_each(|_| tail.add(1.0));
        let grown = tail.score(100.0) - tail.score(10.0);
        assert!(
            (grown - 2.0).abs() < 0.25,
            "ten times as large is a hundred times as rare: {grown}"
        );
    }

    #[test]
    fn the_first_residual_is_as_rare_as_the_points_before_it() {
        let mut tail = Tail::new(1e7, 2.0);
        (0..999).for_each(|_| tail.add(0.0));
        assert!((tail.score(1e9) - 3.0).abs() < 1e-3, "no unit is known: {}", tail.score(1e9));
        let mut tail = Tail::new(1e7, 2.0).from(3.0);
        (0..999).for_each(|_| tail.add(0.0));
        assert!((tail.score(2.0) - 3.0).abs() < 1e-3, "{}", tail.score(2.0));
        assert!((tail.score(30.0) - 5.0).abs() < 0.25, "{}", tail.score(30.0));
    }

    #[test]
    fn old_residuals_fade() {
        let mut tail = Tail::new(100.0, 0.0);
        (0..1000).for_each(|_| tail.add(10.0));
        (0..1000).for_each(|_| tail.add(1.0));
        // A hundred-fold of them were as large, but ten half-lives ago.
        assert!(tail.score(10.0) > 2.0, "{}", tail.score(10.0));
        assert!(tail.score(1.0) < 0.01);
    }

    #[test]
    fn any_unit_fits_however_it_began() {
        let mut tail = Tail::new(1e7, 0.0);
        tail.add(1e-300);
        for i in 0..999 {
            tail.add(if i % 111 == 0 { 1e203 } else { 1e200 });
        }
        assert!((tail.score(1e203) - 2.0).abs() < 1e-2, "{}", tail.score(1e203));
        assert!(tail.score(1e200) < 0.1);
    }
}
