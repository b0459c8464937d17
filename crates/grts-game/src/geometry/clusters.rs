//! The spinning top: Nash clusters, how strong they are, and how much goes round inside them.
//!
//! The first cluster is the support of the maximum-entropy equilibrium; it is taken away, and the rest has an equilibrium
//! of its own (Czarnecki et al. 2020, def. 2). Games of skill come out as a spinning top: small clusters at both ends,
//! large ones between, and every earlier cluster at least holds its own against every later one.

use super::agents::Agents;
use super::central;
use crate::{GameError, Matrix, nash};

/// Weight in the equilibrium below which an agent is not part of its support.
const SUPPORT: f64 = 1e-7;

/// One layer of the spinning top.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Agents, ascending.
    pub members: Vec<usize>,
    /// Their weights in the equilibrium of largest entropy.
    pub weights: Vec<f64>,
}

/// All Nash clusters, the strongest first.
///
/// # Errors
/// An equilibrium could not be found.
pub fn nash_clusters(agents: &Agents) -> Result<Vec<Cluster>, GameError> {
    let mut alive: Vec<usize> = (0..agents.len()).collect();
    let mut clusters = Vec::new();
    while !alive.is_empty() {
        let weights = central::equilibrium(agents, &alive)?;
        let chosen = alive.iter().copied().zip(weights).filter(|(_, weight)| *weight > SUPPORT);
        let (members, weights): (Vec<usize>, Vec<f64>) = chosen.unzip();
        alive.retain(|agent| members.binary_search(agent).is_err());
        clusters.push(Cluster { members, weights });
    }
    Ok(clusters)
}

/// Relative population performance of one cluster against another: the value of the game in which the first draws from
/// its agents and the second from its own (Balduzzi et al. 2019, def. 3).
///
/// # Errors
/// The equilibrium could not be found.
pub fn relative_performance(agents: &Agents, first: &Cluster, second: &Cluster) -> Result<f64, GameError> {
    let payoff = |i: usize, j: usize| agents.payoff(first.members[i], second.members[j]);
    Ok(nash::solve(&Matrix::from_fn(first.members.len(), second.members.len(), payoff)?)?.value)
}

/// Relative performance of every cluster against every other, antisymmetric.
///
/// # Errors
/// As [`relative_performance`].
pub fn relative_performances(agents: &Agents, clusters: &[Cluster]) -> Result<Matrix, GameError> {
    let mut found = vec![vec![0.0; clusters.len()]; clusters.len()];
    for second in 0..clusters.len() {
        for first in 0..second {
            let value = relative_performance(agents, &clusters[first], &clusters[second])?;
            (found[first][second], found[second][first]) = (value, -value);
        }
    }
    Matrix::from_rows(&found)
}

/// Effective diversity Σ_ij ⌊P_ij⌋₊ x_i x_j of the equilibrium of a cluster (Balduzzi et al. 2019, def. 4): 0 where one
/// agent dominates, large where strong agents beat each other in circles.
pub fn effective_diversity(agents: &Agents, cluster: &Cluster) -> f64 {
    let members = || cluster.members.iter().zip(&cluster.weights);
    members().flat_map(|(&i, x)| members().map(move |(&j, y)| agents.payoff(i, j).max(0.0) * x * y)).sum()
}

/// Number of 3-cycles: triples of agents of which each beats the next by more than `margin`.
///
/// One pass over the pairs with a bit per agent: n³/128 word operations for n agents.
pub fn three_cycles(agents: &Agents, margin: f64) -> u64 {
    let n = agents.len();
    let words = n.div_ceil(64);
    let mut beats = vec![0_u64; n * words]; // [i][j]: i beats j
    let mut beaten_by = vec![0_u64; n * words]; // [i][j]: j beats i
    for i in 0..n {
        for j in (0..n).filter(|&j| agents.payoff(i, j) > margin) {
            beats[i * words + j / 64] |= 1 << (j % 64);
            beaten_by[j * words + i / 64] |= 1 << (i % 64);
        }
    }
    let row = |of: &[u64], i: usize| of[i * words..(i + 1) * words].to_vec();
    let mut found = 0;
    for i in 0..n {
        let behind = row(&beaten_by, i); // who beats i
        for j in (0..n).filter(|&j| beats[i * words + j / 64] >> (j % 64) & 1 == 1) {
            let ahead = &beats[j * words..(j + 1) * words];
            found += ahead.iter().zip(&behind).map(|(a, b)| u64::from((a & b).count_ones())).sum::<u64>();
        }
    }
    found / 3
}
