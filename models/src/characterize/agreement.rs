//! How well two divisions of the same things agree.

use std::collections::BTreeMap;

struct Table {
    cells: Vec<f64>,
    rows: Vec<f64>,
    columns: Vec<f64>,
    total: f64,
}

fn table(a: &[usize], b: &[usize]) -> Table {
    let count = |keys: &mut dyn Iterator<Item = (usize, usize)>| -> Vec<f64> {
        let mut counts = BTreeMap::<(usize, usize), f64>::new();
        for key in keys {
            *counts.entry(key).or_default() += 1.0;
        }
        counts.into_values().collect()
    };
    Table {
        cells: count(&mut a.iter().copied().zip(b.iter().copied())),
        rows: count(&mut a.iter().map(|&x| (x, 0))),
        columns: count(&mut b.iter().map(|&x| (x, 0))),
        total: a.len().min(b.len()) as f64,
    }
}

/// The adjusted Rand index (Hubert and Arabie, 1985) of two labelings of equal length: 1 for the same division, about 0 for chance.
pub fn adjusted_rand_index(a: &[usize], b: &[usize]) -> f64 {
    let table = table(a, b);
    let pairs = |counts: &[f64]| counts.iter().map(|n| n * (n - 1.0) / 2.0).sum::<f64>();
    let (together, rows, columns) =
        (pairs(&table.cells), pairs(&table.rows), pairs(&table.columns));
    let expected = rows * columns / (table.total * (table.total - 1.0) / 2.0).max(1.0);
    let most = (rows + columns) / 2.0;
    if (most - expected).abs() < 1e-12 { 1.0 } else { (together - expected) / (most - expected) }
}

/// Mutual information over the mean of the entropies: 1 for the same division, 0 for independent ones. Not
/// adjusted for chance, which favours many small parts.
pub fn normalized_mutual_information(a: &[usize], b: &[usize]) -> f64 {
    let table = table(a, b);
    let entropy = |counts: &[f64]| {
        counts.iter().map(|n| -(n / table.total) * (n / table.total).ln()).sum::<f64>()
    };
    let (rows, columns) = (entropy(&table.rows), entropy(&table.columns));
    let shared = rows + columns - entropy(&table.cells);
    let mean = (rows + columns) / 2.0;
    if mean < 1e-12 { 1.0 } else { (shared / mean).clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_scikit_learn() {
        let (a, b) = ([0, 0, 1, 1, 2, 2], [0, 0, 1, 2, 2, 2]);
        assert!((adjusted_rand_index(&a, &b) - 0.444_444_444_4).abs() < 1e-9);
        assert!((normalized_mutual_information(&a, &b) - 0.739_668_7).abs() < 1e-5);
        assert_eq!(adjusted_rand_index(&a, &[5, 5, 3, 3, 9, 9]), 1.0);
        assert_eq!(normalized_mutual_information(&a, &[1; 6]), 0.0);
        assert!(adjusted_rand_index(&a, &[1; 6]).abs() < 1e-12);
    }
}
