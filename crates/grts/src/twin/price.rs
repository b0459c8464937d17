//! What a given blue is worth: red's best return against it in the full game, and the honest share it serves.
//!
//! A blue written down as a table looks at the cell, at whether the turn before set this cell up, and at whether it has
//! refused before; that is all the untouched office looks at too. Red's best response to it needs no tree: the turns
//! left and those two facts are the state, and of all cells only the hottest matters in each. The reduction that the
//! solver makes is not made here, because a blue that leaks after a refusal is worth more than its first turn. Blues
//! that remember more, a mixture of policies drawn once a dialogue for one, are not priced.

use super::{Twin, TwinSolution};
use crate::world::{Cell, Past, World};
use grts_game::GameError;

/// Probability of serving an ask.
#[derive(Debug, Clone, PartialEq)]
pub struct Rates {
    /// By cell, without the cell's own set-up in the turn before.
    pub ask: Vec<f64>,
    /// By cell, just after the cell's own set-up; ignored where there is none.
    pub chain: Vec<f64>,
}

/// A blue as a table.
#[derive(Debug, Clone, PartialEq)]
pub struct BlueTable {
    /// As long as it has not refused.
    pub fresh: Rates,
    /// After it has refused an ask in this dialogue.
    pub refused: Rates,
}

/// What a blue is worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Price {
    /// Return of red's best response: the blue's exact exploitability is this less v*.
    pub best_response: f64,
    /// Share of honest traffic served; feasible from `h_min` up.
    pub served: f64,
}

impl BlueTable {
    /// The untouched office, as the world's tables have it.
    #[must_use]
    pub fn base(world: &World) -> Self {
        let rates = |refused| {
            let rate = |cell, set_up| world.tables.leak_rate(cell, Past { set_up, refused });
            Rates {
                ask: Cell::all().map(|cell| rate(cell, None)).collect(),
                chain: Cell::all().map(|cell| rate(cell, Some(cell))).collect(),
            }
        };
        Self { fresh: rates(false), refused: rates(true) }
    }

    /// Serves nobody.
    #[must_use]
    pub fn always_refuse(num_cells: usize) -> Self {
        let rates = Rates { ask: vec![0.0; num_cells], chain: vec![0.0; num_cells] };
        Self { fresh: rates.clone(), refused: rates }
    }

    fn check(&self, num_cells: usize) -> Result<(), GameError> {
        let lists = [
            ("first asks", &self.fresh.ask),
            ("chains", &self.fresh.chain),
            ("asks after a refusal", &self.refused.ask),
            ("chains after a refusal", &self.refused.chain),
        ];
        for (place, list) in lists {
            if list.len() != num_cells {
                return Err(GameError::Shape { place: place.to_owned(), expected: num_cells, found: list.len() });
            }
            let wrong = list.iter().enumerate().find(|(_, rate)| !(0.0..=1.0).contains(*rate));
            if let Some((cell, &value)) = wrong {
                let place = format!("{place}, cell {cell}");
                return Err(GameError::Value { place, value, allowed: "a probability".to_owned() });
            }
        }
        Ok(())
    }
}

impl TwinSolution {
    /// Blue's equilibrium strategy in the full game: once it has refused it stays refused.
    ///
    /// A table cannot tell a first ask from one after another cell's set-up, which no honest person makes; this one
    /// treats them alike. Red gains nothing by that: it still has one ask, at a rate that it could have had at once.
    #[must_use]
    pub fn blue(&self) -> BlueTable {
        let fresh = Rates { ask: self.served_by_cell.clone(), chain: self.served_chain_by_cell.clone() };
        BlueTable { fresh, ..BlueTable::always_refuse(self.served_by_cell.len()) }
    }
}

/// Red's best return with so many turns left.
#[derive(Clone, Copy, Default)]
struct Worth {
    /// When the turn before set nothing up.
    plain: f64,
    /// When it set a cell up; red chose which.
    prepared: f64,
}

impl Twin {
    /// Prices `blue`, one rate per cell of this twin.
    ///
    /// # Errors
    /// A list of another length, or a rate outside [0, 1].
    pub fn price(&self, blue: &BlueTable) -> Result<Price, GameError> {
        blue.check(self.ask.len())?;
        let (mut fresh, mut refused) = (Worth::default(), Worth::default());
        for _ in 0..self.turns {
            fresh = self.one_turn_more(&blue.fresh, fresh, refused);
            refused = self.one_turn_more(&blue.refused, refused, refused);
        }
        let served = |mass: &[f64], rates: &[f64]| -> f64 { mass.iter().zip(rates).map(|(m, r)| m * r).sum() };
        let served = served(&self.ask, &blue.fresh.ask) + served(&self.chain, &blue.fresh.chain);
        Ok(Price { best_response: fresh.plain, served })
    }

    /// `after` is the worth a turn later, `refused` the same once an ask was refused.
    fn one_turn_more(&self, rates: &Rates, after: Worth, refused: Worth) -> Worth {
        // What follows a refusal is worth at most 1, so the likelier leak is the better one.
        let asked = |rate: f64| rate + (1.0 - rate) * refused.plain;
        let hottest = rates.ask.iter().copied().fold(0.0, f64::max);
        let set_ups =
            rates.chain.iter().zip(&self.has_set_up).filter(|(_, possible)| **possible).map(|(rate, _)| *rate);
        let Some(hottest_chain) = set_ups.reduce(f64::max) else {
            return Worth { plain: asked(hottest), prepared: 0.0 };
        };
        // A set-up that is not followed by its ask wastes a turn, which a best response never does.
        Worth { plain: asked(hottest).max(after.prepared), prepared: asked(hottest_chain) }
    }
}
