//! A game in sequence form as an instance of the loop: a policy is a whole strategy, a response is a pure one.

use super::{SequenceForm, Strategy};
use crate::exact::exact_response;
use crate::solver::{Arena, BestResponseOracle, Response, State};
use crate::{GameError, MetaGame};

/// Arena and oracle of one game, both exact.
#[derive(Debug, Clone)]
pub struct SequenceGame<'a> {
    form: &'a SequenceForm,
}

impl<'a> SequenceGame<'a> {
    /// The loop's view of `form`.
    pub fn new(form: &'a SequenceForm) -> Self {
        Self { form }
    }
}

impl Arena<Strategy, Strategy> for SequenceGame<'_> {
    type Error = GameError;

    fn payoff_range(&self) -> (f64, f64) {
        self.form.payoff_range()
    }

    fn play(&mut self, _: usize, reds: &[Strategy], blues: &[Strategy], game: &mut MetaGame) -> Result<(), GameError> {
        for (row, col) in game.missing(1) {
            game.record(row, col, self.form.value(&reds[row], &blues[col]))?;
        }
        Ok(())
    }
}

impl BestResponseOracle<Strategy, Strategy> for SequenceGame<'_> {
    type Error = GameError;

    fn respond_red(&mut self, state: &State<'_, Strategy, Strategy>) -> Result<Response<Strategy>, GameError> {
        let blue = Strategy::mixture(state.blues, &state.equilibrium.col);
        let (policy, value) = self.form.respond_red(&blue);
        Ok(exact_response(policy, state.reds, value - state.equilibrium.value))
    }

    fn respond_blue(&mut self, state: &State<'_, Strategy, Strategy>) -> Result<Response<Strategy>, GameError> {
        let red = Strategy::mixture(state.reds, &state.equilibrium.row);
        let (policy, value) = self.form.respond_blue(&red);
        Ok(exact_response(policy, state.blues, state.equilibrium.value - value))
    }
}
