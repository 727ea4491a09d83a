//! Who is accessed together.

use super::louvain::{Graph, louvain};
use std::collections::BTreeMap;

/// Runs of Louvain's method, each in another order; the division with the highest modularity is kept.
const RUNS: u64 = 4;

/// How often two things were accessed together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CoAccess {
    /// One of them.
    pub a: usize,
    /// The other.
    pub b: usize,
    /// How often, above 0.
    pub weight: f64,
}

/// The graph with at most `keep` edges a node: an edge stays if it is among the strongest of either end. Strength is
/// the weight over the geometric mean of both ends' sums, so that what everything is accessed with binds nothing.
/// Edges with an end at or above `nodes`, to itself, or of no weight are left out.
pub fn sparsified(nodes: usize, edges: &[CoAccess], keep: usize) -> Vec<CoAccess> {
    let legal = |e: &&CoAccess| {
        e.a < nodes && e.b < nodes && e.a != e.b && e.weight > 0.0 && e.weight.is_finite()
    };
    let edges: Vec<CoAccess> = edges.iter().filter(legal).copied().collect();
    let mut sums = vec![0.0; nodes];
    let mut at_node = vec![Vec::new(); nodes];
    for (place, edge) in edges.iter().enumerate() {
        for end in [edge.a, edge.b] {
            sums[end] += edge.weight;
            at_node[end].push(place);
        }
    }
    let strength = |place: usize| {
        let edge = edges[place];
        edge.weight / (sums[edge.a] * sums[edge.b]).sqrt()
    };
    let mut kept = vec![false; edges.len()];
    for mut places in at_node {
        places.sort_by(|&x, &y| strength(y).total_cmp(&strength(x)).then(x.cmp(&y)));
        places.iter().take(keep).for_each(|&place| kept[place] = true);
    }
    edges.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(edge, _)| edge).collect()
}

/// The community of each of `nodes` things, numbered by first appearance; what is accessed with nothing is alone. The same
/// edges and seed give the same communities.
pub fn communities(nodes: usize, edges: &[CoAccess], seed: u64) -> Vec<usize> {
    let graph = || {
        let legal = edges.iter().filter(|e| e.a < nodes && e.b < nodes && e.weight > 0.0);
        Graph::new(nodes, legal.map(|e| (e.a, e.b, e.weight)))
    };
    let mut best: Option<(f64, Vec<usize>)> = None;
    for run in 0..RUNS {
        let found = louvain(graph(), seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(run));
        let value = modularity(edges, &found);
        if best.as_ref().is_none_or(|(highest, _)| value > *highest + 1e-12) {
            best = Some((value, found));
        }
    }
    best.map(|(_, found)| found).unwrap_or_default()
}

/// Weight within communities above what chance would put there, as a share of all weight.
fn modularity(edges: &[CoAccess], community: &[usize]) -> f64 {
    let mut sums = BTreeMap::<usize, f64>::new();
    let (mut within, mut total) = (0.0, 0.0);
    for edge in edges.iter().filter(|e| e.a < community.len() && e.b < community.len()) {
        total += edge.weight;
        within += if community[edge.a] == community[edge.b] { edge.weight } else { 0.0 };
        for end in [edge.a, edge.b] {
            *sums.entry(community[end]).or_default() += edge.weight;
        }
    }
    let chance: f64 = sums.values().map(|s| s * s).sum::<f64>() / (4.0 * total * total).max(1e-300);
    within / f64::max(total, 1e-300) - chance
}

/// The simple rule that the above is compared with: what hangs together at all.
pub fn components(nodes: usize, edges: &[CoAccess]) -> Vec<usize> {
    let mut parent: Vec<usize> = (0..nodes).collect();
    fn root(parent: &mut [usize], mut node: usize) -> usize {
        while parent[node] != node {
            parent[node] = parent[parent[node]];
            node = parent[node];
        }
        node
    }
    for edge in edges.iter().filter(|e| e.a < nodes && e.b < nodes) {
        let (a, b) = (root(&mut parent, edge.a), root(&mut parent, edge.b));
        parent[a.max(b)] = a.min(b);
    }
    (0..nodes).map(|node| root(&mut parent, node)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(a: usize, b: usize, weight: f64) -> CoAccess {
        CoAccess { a, b, weight }
    }

    #[test]
    fn a_hub_that_everything_is_accessed_with_binds_nothing() {
        // Two groups of four, and thing 8 that is accessed with all of them.
        let mut edges = Vec::new();
        for from in [0, 4] {
            for a in from..from + 4 {
                edges.extend((a + 1..from + 4).map(|b| edge(a, b, 3.0)));
                edges.push(edge(a, 8, 4.0));
            }
        }
        let thin = sparsified(9, &edges, 3);
        assert!(thin.iter().filter(|e| e.b == 8).count() <= 3, "{thin:?}");
        let found = communities(9, &thin, 1);
        assert!(
            found[..4].iter().all(|c| *c == found[0]) && found[4..8].iter().all(|c| *c == found[4])
        );
        assert_ne!(found[0], found[4]);
        assert_eq!(found, communities(9, &thin, 1));
    }

    #[test]
    fn what_is_no_edge_is_left_out() {
        let edges = [edge(0, 9, 1.0), edge(1, 1, 1.0), edge(0, 1, f64::NAN), edge(0, 1, -1.0)];
        assert!(sparsified(2, &edges, 5).is_empty());
        assert_eq!(communities(2, &[], 1), [0, 1]);
        assert_eq!(components(3, &[edge(0, 2, 1.0)]), [0, 1, 0]);
    }
}
