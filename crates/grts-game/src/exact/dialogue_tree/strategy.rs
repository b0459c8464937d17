//! Strategies of a dialogue tree, in the two forms that computation needs.
//!
//! A *behaviour strategy* says how likely each utterance is where it can be said; it is what a policy is. A *realisation
//! plan* says how likely a player's own choices lead through an edge; expected returns are linear in it, and it is the
//! right form of a mixture: mixing whole strategies means adding their plans, never averaging their behaviour.

use super::DialogueTree;

/// Red's behaviour: per opening and blue node, the probability of the utterance that leads there.
#[derive(Debug, Clone, PartialEq)]
pub struct RedStrategy {
    pub(super) probabilities: Vec<Vec<f64>>, // [opening][blue node]
}

/// Blue's behaviour: per reply, its probability at its blue node.
#[derive(Debug, Clone, PartialEq)]
pub struct BlueStrategy {
    pub(super) probabilities: Vec<f64>, // [reply]
}

/// Red's realisation plan.
#[derive(Debug, Clone, PartialEq)]
pub struct RedPlan {
    pub(super) reach: Vec<Vec<f64>>, // [opening][blue node]
}

/// Blue's realisation plan.
#[derive(Debug, Clone, PartialEq)]
pub struct BluePlan {
    pub(super) reach: Vec<f64>, // [reply]
}

impl RedStrategy {
    /// Utterances in proportion to `weight(opening, history)`, non-negative, where `history` ends with the utterance;
    /// uniform where all weights are 0.
    pub fn new(tree: &DialogueTree, weight: impl Fn(usize, &[u32]) -> f64) -> Self {
        let histories: Vec<Vec<u32>> = (0..tree.blue_nodes.len()).map(|blue| tree.history_before(blue)).collect();
        let of = |opening| histories.iter().map(|history| weight(opening, history)).collect();
        RedPlan { reach: (0..tree.openings.len()).map(of).collect() }.behaviour(tree)
    }

    /// Every utterance equally likely.
    pub fn uniform(tree: &DialogueTree) -> Self {
        Self::from_fn(tree, |_, num_utterances| 1.0 / num_utterances as f64)
    }

    /// Always the first utterance.
    pub fn first(tree: &DialogueTree) -> Self {
        Self::from_fn(tree, |position, _| if position == 0 { 1.0 } else { 0.0 })
    }

    /// `weight(position, num_utterances)`, the same for every opening, must sum to 1 over a node's positions.
    fn from_fn(tree: &DialogueTree, weight: impl Fn(usize, usize) -> f64) -> Self {
        let behaviour = per_edge(tree.red_nodes.iter().map(|node| node.blues.len()), weight);
        Self { probabilities: vec![behaviour; tree.openings.len()] }
    }

    /// Its realisation plan.
    pub fn plan(&self, tree: &DialogueTree) -> RedPlan {
        let mut reach = self.probabilities.clone();
        for reach in &mut reach {
            for node in &tree.red_nodes {
                let before = node.parent.map_or(1.0, |reply| reach[tree.replies[reply].parent]);
                reach[node.blues.clone()].iter_mut().for_each(|p| *p *= before);
            }
        }
        RedPlan { reach }
    }

    /// Probability that red, asked for `opening`, says what it says in the round that ends with `reply`, once there.
    pub fn probability(&self, tree: &DialogueTree, opening: usize, reply: usize) -> f64 {
        self.probabilities[opening][tree.replies[reply].parent]
    }
}

impl BlueStrategy {
    /// Replies in proportion to `weight(history)`, non-negative, where `history` ends with the reply; uniform where all
    /// weights are 0.
    pub fn new(tree: &DialogueTree, weight: impl Fn(&[u32]) -> f64) -> Self {
        let reach = (0..tree.replies.len()).map(|reply| weight(&tree.history(reply))).collect();
        BluePlan { reach }.behaviour(tree)
    }

    /// Every reply equally likely.
    pub fn uniform(tree: &DialogueTree) -> Self {
        Self::from_fn(tree, |_, num_replies| 1.0 / num_replies as f64)
    }

    /// Always the first reply.
    pub fn first(tree: &DialogueTree) -> Self {
        Self::from_fn(tree, |position, _| if position == 0 { 1.0 } else { 0.0 })
    }

    fn from_fn(tree: &DialogueTree, weight: impl Fn(usize, usize) -> f64) -> Self {
        Self { probabilities: per_edge(tree.blue_nodes.iter().map(|node| node.replies.len()), weight) }
    }

    /// Its realisation plan.
    pub fn plan(&self, tree: &DialogueTree) -> BluePlan {
        let mut reach = self.probabilities.clone();
        for node in &tree.blue_nodes {
            let before = tree.red_nodes[node.parent].parent.map_or(1.0, |reply| reach[reply]);
            reach[node.replies.clone()].iter_mut().for_each(|p| *p *= before);
        }
        BluePlan { reach }
    }

    /// Probability of reply `reply` once its blue node is reached.
    pub fn probability(&self, reply: usize) -> f64 {
        self.probabilities[reply]
    }
}

impl RedPlan {
    /// The plan of a mixture of whole strategies; weights sum to 1.
    pub fn mixture(tree: &DialogueTree, strategies: &[RedStrategy], weights: &[f64]) -> Self {
        Self::sum(tree, weights, |idx| strategies[idx].plan(tree))
    }

    /// Σ weights · plans; `plan(idx)` is asked for where there is weight.
    pub(super) fn sum(tree: &DialogueTree, weights: &[f64], plan: impl Fn(usize) -> Self) -> Self {
        let mut reach = vec![vec![0.0; tree.blue_nodes.len()]; tree.openings.len()];
        for (idx, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
            for (sums, terms) in reach.iter_mut().zip(plan(idx).reach) {
                sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += weight * term);
            }
        }
        Self { reach }
    }

    /// The behaviour strategy with this plan; uniform where the plan never comes.
    pub fn behaviour(&self, tree: &DialogueTree) -> RedStrategy {
        let mut probabilities = self.reach.clone();
        for probabilities in &mut probabilities {
            tree.red_nodes.iter().for_each(|node| normalise(&mut probabilities[node.blues.clone()]));
        }
        RedStrategy { probabilities }
    }
}

impl BluePlan {
    /// The plan of a mixture of whole strategies; weights sum to 1.
    pub fn mixture(tree: &DialogueTree, strategies: &[BlueStrategy], weights: &[f64]) -> Self {
        let mut reach = vec![0.0; tree.replies.len()];
        for (strategy, &weight) in strategies.iter().zip(weights).filter(|(_, weight)| **weight > 0.0) {
            reach.iter_mut().zip(strategy.plan(tree).reach).for_each(|(sum, term)| *sum += weight * term);
        }
        Self { reach }
    }

    /// The behaviour strategy with this plan; uniform where the plan never comes.
    pub fn behaviour(&self, tree: &DialogueTree) -> BlueStrategy {
        let mut probabilities = self.reach.clone();
        tree.blue_nodes.iter().for_each(|node| normalise(&mut probabilities[node.replies.clone()]));
        BlueStrategy { probabilities }
    }
}

/// `weight(position, size)` for every edge of nodes with these numbers of edges.
fn per_edge(sizes: impl Iterator<Item = usize>, weight: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let edges = sizes.flat_map(|size| (0..size).map(move |position| (position, size)));
    edges.map(|(position, size)| weight(position, size)).collect()
}

/// Makes probabilities of a plan's edges at one node, rounding below 0 included.
fn normalise(edges: &mut [f64]) {
    let clean = crate::linear_program::normalised(edges);
    edges.copy_from_slice(&clean);
}
