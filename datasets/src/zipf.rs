//! Zipf-distributed ranks after Gray et al., "Quickly generating billion-record synthetic databases" (SIGMOD 1994).

use rand::{Rng, RngExt};

/// Terms of the zeta sum that are added one by one; the rest is an integral.
const EXACT_TERMS: u64 = 10_000;

/// Rank 0 is the most frequent; rank r has a probability proportional to 1/(r+1)^theta.
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    theta: f64,
    items: u64,
    zeta_items: f64,
    zeta_2: f64,
    /// Kept so that growing the number of items costs nothing.
    exact: Vec<f64>,
}

impl Zipf {
    /// For `items` ≥ 1 and 0 < theta < 1.
    pub(crate) fn new(items: u64, theta: f64) -> Self {
        let mut sum = 0.0;
        let term = |i: u64| 1.0 / (i as f64).powf(theta);
        let exact: Vec<f64> = (1..=EXACT_TERMS)
            .map(|i| {
                sum += term(i);
                sum
            })
            .collect();
        let zeta_2 = exact[1];
        let mut zipf = Self { theta, items: 0, zeta_items: 0.0, zeta_2, exact };
        zipf.set_items(items);
        zipf
    }

    /// Changes the number of items.
    pub(crate) fn set_items(&mut self, items: u64) {
        self.items = items.max(1);
        self.zeta_items = self.zeta(self.items);
    }

    fn zeta(&self, items: u64) -> f64 {
        if items <= EXACT_TERMS {
            return self.exact[items as usize - 1];
        }
        // Euler and Maclaurin: the integral plus half of the change at its ends; the next term is below 1e-9.
        let (low, high) = (EXACT_TERMS as f64, items as f64);
        let power = 1.0 - self.theta;
        let integral = (high.powf(power) - low.powf(power)) / power;
        let ends = (high.powf(-self.theta) - low.powf(-self.theta)) / 2.0;
        self.exact[EXACT_TERMS as usize - 1] + integral + ends
    }

    /// Draws a rank below the number of items.
    pub(crate) fn draw(&self, rng: &mut impl Rng) -> u64 {
        let u: f64 = rng.random();
        let uz = u * self.zeta_items;
        if uz < 1.0 || self.items == 1 {
            return 0;
        }
        if uz < self.zeta_2 {
            return 1;
        }
        let items = self.items as f64;
        let alpha = 1.0 / (1.0 - self.theta);
        let eta =
            (1.0 - (2.0 / items).powf(1.0 - self.theta)) / (1.0 - self.zeta_2 / self.zeta_items);
        let rank = items * (eta * u - eta + 1.0).powf(alpha);
        (rank as u64).min(self.items - 1)
    }
}

/// 64-bit FNV-1a of a number's bytes: spreads neighbours over the key space.
pub(crate) fn scatter(number: u64) -> u64 {
    number.to_le_bytes().iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    #[test]
    fn the_integral_agrees_with_the_sum() {
        let zipf = Zipf::new(1_000_000, 0.99);
        let sum: f64 = (1..=1_000_000_u64).map(|i| (i as f64).powf(-0.99)).sum();
        assert!((zipf.zeta_items - sum).abs() < 1e-6, "{} {sum}", zipf.zeta_items);
    }

    #[test]
    fn first_ranks_come_as_often_as_the_law_says() {
        let zipf = Zipf::new(1000, 0.99);
        let mut rng = StdRng::seed_from_u64(7);
        let draws = 200_000;
        let mut counts = vec![0_u32; 1000];
        for _ in 0..draws {
            counts[zipf.draw(&mut rng) as usize] += 1;
        }
        for rank in [0_usize, 1] {
            let expected = (rank as f64 + 1.0).powf(-0.99) / zipf.zeta_items;
            let found = f64::from(counts[rank]) / f64::from(draws);
            assert!((found - expected).abs() < 0.005, "rank {rank}: {found} {expected}");
        }
        assert!(counts[0] > counts[10] && counts[10] > counts[500]);
    }

    #[test]
    fn few_items_work() {
        let mut rng = StdRng::seed_from_u64(7);
        for items in [1, 2, 3] {
            let zipf = Zipf::new(items, 0.99);
            assert!((0..1000).all(|_| zipf.draw(&mut rng) < items));
        }
    }
}
