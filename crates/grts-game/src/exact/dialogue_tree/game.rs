//! A dialogue tree as an instance of the loop: a policy is a whole strategy, a response is a pure one.

use super::{BluePlan, BlueStrategy, DialogueTree, RedPlan, RedStrategy};
use crate::exact::exact_response;
use crate::solver::{Arena, BestResponseOracle, Response, State};
use crate::{GameError, MetaGame};

/// Arena and oracle of one tree, both exact.
#[derive(Debug, Clone)]
pub struct TreeGame<'a> {
    tree: &'a DialogueTree,
}

impl<'a> TreeGame<'a> {
    /// The game on `tree`.
    pub fn new(tree: &'a DialogueTree) -> Self {
        Self { tree }
    }
}

impl Arena<RedStrategy, BlueStrategy> for TreeGame<'_> {
    type Error = GameError;

    fn payoff_range(&self) -> (f64, f64) {
        self.tree.payoff_range()
    }

    fn play(
        &mut self,
        _: usize,
        reds: &[RedStrategy],
        blues: &[BlueStrategy],
        game: &mut MetaGame,
    ) -> Result<(), GameError> {
        let missing = game.missing(1);
        let plans: Vec<BluePlan> = blues.iter().map(|blue| blue.plan(self.tree)).collect();
        for entries in missing.chunk_by(|a, b| a.0 == b.0) {
            let plan = reds[entries[0].0].plan(self.tree);
            for &(row, col) in entries {
                game.record(row, col, self.tree.value(&plan, &plans[col]))?;
            }
        }
        Ok(())
    }
}

impl BestResponseOracle<RedStrategy, BlueStrategy> for TreeGame<'_> {
    type Error = GameError;

    fn respond_red(
        &mut self,
        state: &State<'_, RedStrategy, BlueStrategy>,
    ) -> Result<Response<RedStrategy>, GameError> {
        let plan = BluePlan::mixture(self.tree, state.blues, &state.equilibrium.col);
        let (policy, value) = self.tree.respond_red(&plan);
        Ok(exact_response(policy, state.reds, value - state.equilibrium.value))
    }

    fn respond_blue(
        &mut self,
        state: &State<'_, RedStrategy, BlueStrategy>,
    ) -> Result<Response<BlueStrategy>, GameError> {
        let plan = RedPlan::mixture(self.tree, state.reds, &state.equilibrium.row);
        let (policy, value) = self.tree.respond_blue(&plan);
        Ok(exact_response(policy, state.blues, state.equilibrium.value - value))
    }
}
