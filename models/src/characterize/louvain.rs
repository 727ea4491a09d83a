//! Louvain's method (Blondel et al., 2008) with Leiden's remedy in short: no community falls apart into pieces.

use std::collections::BTreeMap;

/// Passes over all nodes of one level; it settles long before.
const PASSES_MAX: usize = 64;
/// Gains below are rounding.
const GAIN_MIN: f64 = 1e-12;

/// An undirected graph by neighbours; a node's edge to itself holds what was merged into it.
pub(super) struct Graph {
    pub(super) neighbours: Vec<Vec<(usize, f64)>>,
    own: Vec<f64>,
}

impl Graph {
    /// Edges between different nodes below `nodes`; parallel ones add up.
    pub(super) fn new(nodes: usize, edges: impl Iterator<Item = (usize, usize, f64)>) -> Self {
        let mut sums = BTreeMap::<(usize, usize), f64>::new();
        let mut own = vec![0.0; nodes];
        for (a, b, weight) in edges {
            if a == b {
                own[a] += weight;
            } else {
                *sums.entry((a.min(b), a.max(b))).or_default() += weight;
            }
        }
        let mut neighbours = vec![Vec::new(); nodes];
        for ((a, b), weight) in sums {
            neighbours[a].push((b, weight));
            neighbours[b].push((a, weight));
        }
        Self { neighbours, own }
    }

    fn degree(&self, node: usize) -> f64 {
        2.0 * self.own[node] + self.neighbours[node].iter().map(|(_, w)| w).sum::<f64>()
    }

    /// One node for each community, numbered 0, 1, 2 ….
    fn merged(&self, community: &[usize], count: usize) -> Self {
        let all = self.neighbours.iter().enumerate().flat_map(|(a, list)| {
            list.iter().filter(move |(b, _)| a < *b).map(move |&(b, w)| (a, b, w))
        });
        let between = all.map(|(a, b, w)| (community[a], community[b], w));
        let within = self.own.iter().enumerate().map(|(a, w)| (community[a], community[a], *w));
        Self::new(count, between.chain(within))
    }
}

/// The community of each node, numbered by first appearance. The seed orders the visits.
pub(super) fn louvain(graph: Graph, seed: u64) -> Vec<usize> {
    let nodes = graph.neighbours.len();
    let mut whole: Vec<usize> = (0..nodes).collect();
    let mut level = graph;
    let mut state = seed;
    loop {
        let (moved, community) = settle(&level, &mut state);
        let connected = split(&level, &community);
        let (numbered, count) = renumbered(&connected);
        for place in &mut whole {
            *place = numbered[*place];
        }
        if !moved || count == level.neighbours.len() {
            return renumbered(&whole).0;
        }
        level = level.merged(&numbered, count);
    }
}

/// Moves nodes to the neighbouring community that raises modularity most until none gains.
fn settle(graph: &Graph, state: &mut u64) -> (bool, Vec<usize>) {
    let nodes = graph.neighbours.len();
    let degrees: Vec<f64> = (0..nodes).map(|node| graph.degree(node)).collect();
    let total: f64 = degrees.iter().sum::<f64>().max(1e-300);
    let mut community: Vec<usize> = (0..nodes).collect();
    let mut sizes = degrees.clone();
    let order = shuffled(nodes, state);
    let mut ever = false;
    let mut links = vec![0.0; nodes];
    for _ in 0..PASSES_MAX {
        let mut moved = false;
        for &node in &order {
            let home = community[node];
            sizes[home] -= degrees[node];
            let mut seen = vec![home];
            for &(other, weight) in &graph.neighbours[node] {
                let there = community[other];
                if links[there] == 0.0 && there != home {
                    seen.push(there);
                }
                links[there] += weight;
            }
            let gain = |c: usize, links: &[f64]| links[c] - degrees[node] * sizes[c] / total;
            let mut best = (home, gain(home, &links));
            for &there in &seen[1..] {
                let value = gain(there, &links);
                if value > best.1 + GAIN_MIN {
                    best = (there, value);
                }
            }
            seen.iter().for_each(|&c| links[c] = 0.0);
            sizes[best.0] += degrees[node];
            community[node] = best.0;
            moved |= best.0 != home;
        }
        ever |= moved;
        if !moved {
            break;
        }
    }
    (ever, community)
}

/// Communities cut into their connected pieces.
fn split(graph: &Graph, community: &[usize]) -> Vec<usize> {
    let nodes = community.len();
    let mut piece = vec![usize::MAX; nodes];
    for start in 0..nodes {
        if piece[start] != usize::MAX {
            continue;
        }
        piece[start] = start;
        let mut open = vec![start];
        while let Some(node) = open.pop() {
            for &(other, _) in &graph.neighbours[node] {
                if piece[other] == usize::MAX && community[other] == community[node] {
                    piece[other] = start;
                    open.push(other);
                }
            }
        }
    }
    piece
}

fn renumbered(labels: &[usize]) -> (Vec<usize>, usize) {
    let mut names = BTreeMap::new();
    let numbered = labels
        .iter()
        .map(|label| {
            let next = names.len();
            *names.entry(*label).or_insert(next)
        })
        .collect();
    (numbered, names.len())
}

fn shuffled(count: usize, state: &mut u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for at in (1..count).rev() {
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(at, ((*state >> 33) % (at as u64 + 1)) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_cliques_with_a_bridge_are_two_communities() {
        let clique = |from: usize| {
            (from..from + 5).flat_map(move |a| (a + 1..from + 5).map(move |b| (a, b, 1.0)))
        };
        let edges = clique(0).chain(clique(5)).chain([(4, 5, 1.0)]);
        let found = louvain(Graph::new(11, edges), 1);
        assert_eq!(found, [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2], "and the node without edges is alone");
    }

    #[test]
    fn a_community_never_has_two_pieces() {
        let graph = Graph::new(4, [(0, 1, 1.0), (2, 3, 1.0)].into_iter());
        assert_eq!(split(&graph, &[7, 7, 7, 7]), [0, 0, 2, 2]);
        assert!(louvain(Graph::new(0, std::iter::empty()), 1).is_empty());
    }
}
