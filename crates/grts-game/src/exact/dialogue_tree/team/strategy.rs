//! A pure strategy of the team: a plan for every seat, agreed on beforehand.
//!
//! It is written down by information set and computed with as a realisation plan of the tree, in which it is no longer to be
//! seen who spoke: returns depend on what was said alone. Plans of the tree can be mixed and answered as those of one
//! speaker, so blue and the loop need not know that there is a team.

use super::TeamTree;
use crate::exact::dialogue_tree::RedPlan;

/// What each seat says whenever it speaks, for each opening.
#[derive(Debug, Clone, PartialEq)]
pub struct TeamStrategy {
    pub(super) choices: Vec<Vec<usize>>, // [opening][information set], a position in its utterances
}

impl TeamStrategy {
    /// Utterance number `choice(opening, information_set)`; one beyond the last counts as the last.
    pub fn new(team: &TeamTree<'_>, choice: impl Fn(usize, usize) -> usize) -> Self {
        let of = |opening| {
            let sets = team.sets.iter().enumerate();
            sets.map(|(set, what)| choice(opening, set).min(what.utterances.len() - 1)).collect()
        };
        Self { choices: (0..team.tree.openings.len()).map(of).collect() }
    }

    /// Always the first utterance.
    pub fn first(team: &TeamTree<'_>) -> Self {
        Self::new(team, |_, _| 0)
    }

    /// What is said for `opening` at an information set; both must exist.
    pub fn utterance(&self, team: &TeamTree<'_>, opening: usize, information_set: usize) -> u32 {
        team.sets[information_set].utterances[self.choices[opening][information_set]]
    }

    /// Its realisation plan, over the draws of who speaks.
    pub fn plan(&self, team: &TeamTree<'_>) -> RedPlan {
        RedPlan { reach: self.choices.iter().map(|choices| team.reach(choices)).collect() }
    }
}

impl TeamTree<'_> {
    /// The plan of a mixture of joint plans; weights sum to 1.
    pub fn mixture(&self, strategies: &[TeamStrategy], weights: &[f64]) -> RedPlan {
        RedPlan::sum(self.tree, weights, |idx| strategies[idx].plan(self))
    }

    /// One opening's probability of coming to each blue node.
    pub(super) fn reach(&self, choices: &[usize]) -> Vec<f64> {
        let mut reach = vec![0.0; self.tree.blue_nodes.len()];
        for (position, weight) in self.positions.iter().zip(self.visits(|set| Some(choices[set]))) {
            reach[self.blue_after(position, choices[position.set])] += weight;
        }
        reach
    }

    /// Probability that chance and the seats' choices lead to each position, whatever blue replies; nothing is reached
    /// through an information set without a choice.
    pub(super) fn visits(&self, choice: impl Fn(usize) -> Option<usize>) -> Vec<f64> {
        let mut visits = vec![0.0; self.positions.len()];
        visits[self.roots.clone()].fill(1.0 / self.roots.len() as f64);
        for (at, position) in self.positions.iter().enumerate() {
            let Some(choice) = choice(position.set) else { continue };
            for (_, after) in self.replies(position, self.blue_after(position, choice)) {
                let share = visits[at] / after.len().max(1) as f64;
                visits[after].fill(share);
            }
        }
        visits
    }
}
