//! A dialogue tree as an instance of the loop: a policy is a whole strategy, a response is a pure one.
//!
//! One speaker and a team differ in what red's strategies are and how the best one is found, and in nothing else: blue and
//! the payoffs see the plan of the tree that a strategy comes down to.

use super::{BluePlan, BlueStrategy, DialogueTree, RedPlan, RedStrategy, TeamStrategy, TeamTree};
use crate::exact::exact_response;
use crate::solver::{Arena, BestResponseOracle, Response, State};
use crate::{GameError, MetaGame};

/// Who plays red.
pub trait RedSide {
    /// A pure or mixed strategy.
    type Strategy: PartialEq;

    /// What is played on.
    fn tree(&self) -> &DialogueTree;

    /// The realisation plan of a strategy.
    fn plan(&self, strategy: &Self::Strategy) -> RedPlan;

    /// A best response to a plan of blue, and the return it gets.
    fn respond(&self, blue: &BluePlan) -> (Self::Strategy, f64);
}

impl RedSide for DialogueTree {
    type Strategy = RedStrategy;

    fn tree(&self) -> &DialogueTree {
        self
    }

    fn plan(&self, strategy: &RedStrategy) -> RedPlan {
        strategy.plan(self)
    }

    fn respond(&self, blue: &BluePlan) -> (RedStrategy, f64) {
        self.respond_red(blue)
    }
}

impl RedSide for TeamTree<'_> {
    type Strategy = TeamStrategy;

    fn tree(&self) -> &DialogueTree {
        self.tree()
    }

    fn plan(&self, strategy: &TeamStrategy) -> RedPlan {
        strategy.plan(self)
    }

    fn respond(&self, blue: &BluePlan) -> (TeamStrategy, f64) {
        self.respond_red(blue)
    }
}

/// Arena and oracle of one tree, both exact: red is one speaker (`TreeGame<DialogueTree>`) or a team.
#[derive(Debug, Clone)]
pub struct TreeGame<'a, S = DialogueTree> {
    red: &'a S,
}

impl<'a, S: RedSide> TreeGame<'a, S> {
    /// The game of `red`, a tree or a team at one.
    pub fn new(red: &'a S) -> Self {
        Self { red }
    }
}

impl<S: RedSide> Arena<S::Strategy, BlueStrategy> for TreeGame<'_, S> {
    type Error = GameError;

    fn payoff_range(&self) -> (f64, f64) {
        self.red.tree().payoff_range()
    }

    fn play(
        &mut self,
        _: usize,
        reds: &[S::Strategy],
        blues: &[BlueStrategy],
        game: &mut MetaGame,
    ) -> Result<(), GameError> {
        let (missing, tree) = (game.missing(1), self.red.tree());
        let plans: Vec<BluePlan> = blues.iter().map(|blue| blue.plan(tree)).collect();
        for entries in missing.chunk_by(|a, b| a.0 == b.0) {
            let plan = self.red.plan(&reds[entries[0].0]);
            for &(row, col) in entries {
                game.record(row, col, tree.value(&plan, &plans[col]))?;
            }
        }
        Ok(())
    }
}

impl<S: RedSide> BestResponseOracle<S::Strategy, BlueStrategy> for TreeGame<'_, S> {
    type Error = GameError;

    fn respond_red(
        &mut self,
        state: &State<'_, S::Strategy, BlueStrategy>,
    ) -> Result<Response<S::Strategy>, GameError> {
        let plan = BluePlan::mixture(self.red.tree(), state.blues, &state.equilibrium.col);
        let (policy, value) = self.red.respond(&plan);
        Ok(exact_response(policy, state.reds, value - state.equilibrium.value))
    }

    fn respond_blue(
        &mut self,
        state: &State<'_, S::Strategy, BlueStrategy>,
    ) -> Result<Response<BlueStrategy>, GameError> {
        let plan = RedPlan::sum(self.red.tree(), &state.equilibrium.row, |idx| self.red.plan(&state.reds[idx]));
        let (policy, value) = self.red.tree().respond_blue(&plan);
        Ok(exact_response(policy, state.blues, state.equilibrium.value - value))
    }
}
