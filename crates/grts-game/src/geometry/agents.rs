//! Who plays whom: a meta-game as a symmetric zero-sum game between agents.
//!
//! The geometry of a game (Balduzzi et al. 2019; Czarnecki et al. 2020) is defined for agents that all play the same game,
//! with P(i, j) = −P(j, i). An antisymmetric payoff matrix is such a game already. Any other one becomes one by letting an
//! agent be a *pair* of a red and a blue policy that plays both sides, P((r,b),(r′,b′)) = ½(M[r,b′] − M[r′,b]).
//!
//! The pair game is never written out. An agent is a set of *features* (one policy, or two), and payoffs are a small
//! antisymmetric matrix between features; what a mixture of agents does depends on its weight per feature only.

use crate::{GameError, Matrix};

/// Agents of a symmetric zero-sum game.
#[derive(Debug, Clone, PartialEq)]
pub struct Agents {
    interaction: Matrix,  // features × features, antisymmetric
    width: usize,         // features of one agent
    features: Vec<usize>, // [agent][width]
}

/// Whether these payoffs are those of one population against itself, to the bit.
pub fn is_symmetric_game(payoffs: &Matrix) -> bool {
    let n = payoffs.rows();
    n == payoffs.cols() && (0..n).all(|i| (0..=i).all(|j| payoffs.get(i, j) == -payoffs.get(j, i)))
}

impl Agents {
    /// The agents of a game with these payoffs to red: one a policy if the payoffs are antisymmetric, else one a pair of a
    /// row and a column (pair `r · cols + b`).
    ///
    /// # Errors
    /// None for a valid matrix of moderate size; the pair game's features are `rows + cols`.
    pub fn of(payoffs: &Matrix) -> Result<Self, GameError> {
        let (m, n) = (payoffs.rows(), payoffs.cols());
        if is_symmetric_game(payoffs) {
            return Ok(Self { interaction: payoffs.clone(), width: 1, features: (0..n).collect() });
        }
        let interaction = Matrix::from_fn(m + n, m + n, |a, b| match (a < m, b < m) {
            (true, false) => 0.5 * payoffs.get(a, b - m),
            (false, true) => -0.5 * payoffs.get(b, a - m),
            _ => 0.0,
        })?;
        let features = (0..m * n).flat_map(|agent| [agent / n, m + agent % n]).collect();
        Ok(Self { interaction, width: 2, features })
    }

    /// Number of agents.
    pub fn len(&self) -> usize {
        self.features.len() / self.width
    }

    /// Whether there are none, which a valid matrix excludes.
    pub fn is_empty(&self) -> bool {
        self.features.is_empty()
    }

    /// Whether an agent is a pair of policies.
    pub fn are_pairs(&self) -> bool {
        self.width == 2
    }

    /// What agent `i` gains from agent `j`.
    pub fn payoff(&self, i: usize, j: usize) -> f64 {
        let of = |a: usize| self.features(j).iter().map(move |&b| self.interaction.get(a, b));
        self.features(i).iter().flat_map(|&a| of(a)).sum()
    }

    /// Features of one agent.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Payoffs between features, antisymmetric.
    pub(super) fn interaction(&self) -> &Matrix {
        &self.interaction
    }

    pub(super) fn features(&self, agent: usize) -> &[usize] {
        &self.features[agent * self.width..(agent + 1) * self.width]
    }
}
