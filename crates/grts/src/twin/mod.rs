//! The tabular twin: the built-in world without its text, solved exactly (DESIGN §6).
//!
//! What language models reach is worth little without the number they should reach. The twin has the world's cells, leak
//! table, honest traffic, constraint and turns, but a blue whose every reply is free to choose; the linear program of
//! `grts-game` gives v* and the equilibrium. It is the game, not a model of what training reaches: it knows no text, no
//! neighbouring cells and no policy that cannot be learnt.
//!
//! **The game.** In each of T turns red asks in a cell or sets one up. To an ask blue refuses or serves; serving is a
//! leak, the return is then 1 and the dialogue is over. To a set-up blue can only nod, which scores 0. Honest people ask
//! at once (`Tables::traffic`) or set up and then ask (`Tables::chain_traffic`). Questions for open facts are left out:
//! they move nothing.
//!
//! **Which traffic counts.** A chain needs two turns. In a game of one turn nobody can finish it, whatever blue does, so
//! it is left out and the rest is scaled to 1: the constraint is about what blue refuses, not about what the rules cut
//! short. So v* = h_min for one turn as well, and a measurement beside it must draw from the requests that fit.
//!
//! **The tree that is solved** holds only what carries honest traffic: the asks that do at once, the set-ups that do,
//! and after each of those the ask in the same cell. Unfolded in full, the game is far too large, and the cut is exact:
//!
//! 1. Let blue serve at a history that ends no honest request. That leaks at once, 1, the largest return, and helps
//!    nobody. Refusing there instead, whatever follows, gives red no more and serves no honest person less. So for every
//!    feasible blue there is one, no worse against any red, that refuses at all those histories.
//! 2. Against such blues a move of red after which all histories end no honest request earns 0, the least return: some
//!    other move is never worse. Without those moves red's best return against any such blue is the same.
//!
//! Every ask after a refusal is of that kind, so turns beyond the second change nothing: blue stays refused. The
//! reduced equilibrium, with refusals everywhere else, is an equilibrium of the full game
//! (`reduction_is_exact_on_small_offices` in the tests solves both).

mod price;
mod tree;

pub use price::{BlueTable, Price, Rates};

use crate::world::{Cell, World};
use grts_game::GameError;
use grts_game::exact::dialogue_tree::{ConstrainedEquilibrium, DialogueTree, HonestTraffic, constrained_equilibrium};
use tree::{ACKNOWLEDGE, Moves, SERVE};

/// Honest mass by cell, and where a set-up turn exists. Masses need not be normalised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Masses<'a> {
    /// Asks at once; one per cell.
    pub ask: &'a [f64],
    /// Sets up, then asks; one per cell, 0 where there is no set-up turn.
    pub chain: &'a [f64],
    /// Whether the cell has a set-up turn; one per cell.
    pub has_set_up: &'a [bool],
}

/// One way of attacking in the reduced game.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attack {
    /// Cell index.
    pub cell: usize,
    /// Whether a set-up turn precedes the ask.
    pub chain: bool,
    /// Probability in red's mixture.
    pub weight: f64,
}

/// An equilibrium of the twin with its proof: `lower` ≤ v* ≤ `upper`.
#[derive(Debug, Clone, PartialEq)]
pub struct TwinSolution {
    /// v*, in units of the return: the middle of the bracket.
    pub value: f64,
    /// What blue must give at least against `red`.
    pub lower: f64,
    /// What red can get at most against this blue.
    pub upper: f64,
    /// Probability that a first ask is served, by cell.
    pub served_by_cell: Vec<f64>,
    /// Probability that the ask just after the cell's own set-up is served, by cell.
    pub served_chain_by_cell: Vec<f64>,
    /// Red's mixture; weights are positive and sum to 1.
    pub red: Vec<Attack>,
    /// μ ≥ 0: how fast v* rises with `h_min`.
    pub multiplier: f64,
    /// Share of honest traffic served.
    pub served: f64,
}

/// The tabular twin of one world and number of turns.
#[derive(Debug, Clone)]
pub struct Twin {
    turns: usize,
    ask: Vec<f64>,   // [cell]; sums to 1 with `chain`
    chain: Vec<f64>, // [cell]; 0 in a game of one turn
    has_set_up: Vec<bool>,
    moves: Moves,
    tree: DialogueTree,
    traffic: HonestTraffic,
}

impl Twin {
    /// The twin of `world` for dialogues of `turns` turns.
    ///
    /// # Errors
    /// `turns` is 0.
    pub fn new(world: &World, turns: usize) -> Result<Self, GameError> {
        let has_set_up: Vec<bool> = Cell::all().map(|cell| cell.form.has_set_up()).collect();
        let (ask, chain) = (&world.tables.traffic, &world.tables.chain_traffic);
        Self::from_masses(Masses { ask, chain, has_set_up: &has_set_up }, turns)
    }

    /// The same game on any number of cells.
    ///
    /// # Errors
    /// `turns` is 0; lists of different length; a mass that is negative, not finite, or on a chain that has no set-up
    /// turn; or no honest request that fits into `turns`.
    pub fn from_masses(masses: Masses<'_>, turns: usize) -> Result<Self, GameError> {
        masses.check()?;
        let fits = |mass: f64| if turns < 2 { 0.0 } else { mass };
        let total = masses.ask.iter().chain(masses.chain.iter().filter(|_| turns >= 2)).sum::<f64>();
        let ask: Vec<f64> = masses.ask.iter().map(|mass| mass / total).collect();
        let chain: Vec<f64> = masses.chain.iter().map(|&mass| fits(mass) / total).collect();
        let moves = Moves::new(&ask, &chain);
        let tree = moves.tree(turns)?;
        let traffic = moves.traffic(&ask, &chain);
        Ok(Self { turns, ask, chain, has_set_up: masses.has_set_up.to_vec(), moves, tree, traffic })
    }

    /// The equilibrium in which blue serves at least the share `h_min` of honest traffic.
    ///
    /// # Errors
    /// `h_min` lies outside [0, 1], or the programs fail to prove each other.
    pub fn solve(&self, h_min: f64) -> Result<TwinSolution, GameError> {
        let found = constrained_equilibrium(&self.tree, &self.traffic, h_min)?;
        Ok(TwinSolution {
            value: found.value,
            lower: found.lower,
            upper: found.upper,
            served_by_cell: self.serve_rates(&found, false),
            served_chain_by_cell: self.serve_rates(&found, true),
            red: self.attacks(&found),
            multiplier: found.multiplier,
            served: found.served,
        })
    }

    /// Probability of serving by cell; 0 where the reduced tree does not go.
    fn serve_rates(&self, found: &ConstrainedEquilibrium, chain: bool) -> Vec<f64> {
        let rate = |cell| {
            let reply = self.tree.find_reply(&self.moves.dialogue(cell, chain, SERVE));
            reply.map_or(0.0, |reply| found.blue.probability(reply))
        };
        (0..self.ask.len()).map(rate).collect()
    }

    fn attacks(&self, found: &ConstrainedEquilibrium) -> Vec<Attack> {
        let weigh = |cell, chain| {
            let first = if chain { [self.moves.set_up(cell), ACKNOWLEDGE] } else { [self.moves.ask(cell), SERVE] };
            let weight = found.red.probability(&self.tree, 0, self.tree.find_reply(&first)?);
            (weight > 0.0).then_some(Attack { cell, chain, weight })
        };
        let cells = 0..self.ask.len();
        cells.clone().filter_map(|cell| weigh(cell, false)).chain(cells.filter_map(|cell| weigh(cell, true))).collect()
    }
}

impl Masses<'_> {
    fn check(&self) -> Result<(), GameError> {
        let expected = self.ask.len();
        for (place, found) in [("chain masses", self.chain.len()), ("set-up turns", self.has_set_up.len())] {
            if found != expected {
                return Err(GameError::Shape { place: place.to_owned(), expected, found });
            }
        }
        for (cell, &value) in self.ask.iter().enumerate() {
            check_mass("ask", cell, value, true)?;
        }
        for ((cell, &value), &possible) in self.chain.iter().enumerate().zip(self.has_set_up) {
            check_mass("chain", cell, value, possible)?;
        }
        Ok(())
    }
}

fn check_mass(kind: &str, cell: usize, value: f64, possible: bool) -> Result<(), GameError> {
    let allowed = match (possible, value.is_finite() && value >= 0.0) {
        (true, true) => return Ok(()),
        (false, _) if value == 0.0 => return Ok(()),
        (true, false) => "a mass of at least 0",
        (false, _) => "0, but the cell has no set-up turn",
    };
    Err(GameError::Value { place: format!("honest {kind} in cell {cell}"), value, allowed: allowed.to_owned() })
}
