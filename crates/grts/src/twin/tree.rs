//! The reduced tree: only the moves that honest traffic makes (why that is exact stands in the module above).
//!
//! Utterances are numbers: the ask in cell c is c, its set-up is c + the number of cells. Whether a dialogue goes on is
//! decided here and nowhere else: it does after a nod, and ends at the reply to an ask, because nothing that red could
//! do after a refusal is worth anything against a blue that stays refused.

use grts_game::GameError;
use grts_game::exact::dialogue_tree::{DialogueTree, HonestSequence, HonestTraffic, Utterances};
use grts_game::rules::{Aggregator, Rules};

/// Blue declines.
const REFUSE: u32 = 0;
/// Blue gives the word away.
pub(super) const SERVE: u32 = 1;
/// Blue nods at a set-up turn.
pub(super) const ACKNOWLEDGE: u32 = 2;

/// Red's moves at the start.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Moves {
    num_cells: usize,
    first: Vec<u32>, // asks, then set-ups
}

impl Moves {
    /// The moves with positive mass; masses by cell.
    pub(super) fn new(ask: &[f64], chain: &[f64]) -> Self {
        let moves = Self { num_cells: ask.len(), first: Vec::new() };
        let with_mass = |masses: &[f64]| -> Vec<usize> {
            masses.iter().enumerate().filter(|(_, mass)| **mass > 0.0).map(|(cell, _)| cell).collect()
        };
        let asks = with_mass(ask).into_iter().map(|cell| moves.ask(cell));
        let set_ups = with_mass(chain).into_iter().map(|cell| moves.set_up(cell));
        Self { first: asks.chain(set_ups).collect(), ..moves }
    }

    pub(super) fn ask(&self, cell: usize) -> u32 {
        cell as u32
    }

    pub(super) fn set_up(&self, cell: usize) -> u32 {
        (self.num_cells + cell) as u32
    }

    /// The cell that `utterance` sets up, if that is what it does.
    fn cell_set_up(&self, utterance: u32) -> Option<usize> {
        (utterance as usize).checked_sub(self.num_cells)
    }

    /// The dialogue in which the ask in `cell` gets `reply`.
    pub(super) fn dialogue(&self, cell: usize, chain: bool, reply: u32) -> Vec<u32> {
        let mut history = if chain { vec![self.set_up(cell), ACKNOWLEDGE] } else { Vec::new() };
        history.extend([self.ask(cell), reply]);
        history
    }

    pub(super) fn tree(&self, turns: usize) -> Result<DialogueTree, GameError> {
        let rules = Rules::new(turns, Aggregator::Max, 1.0)?;
        if self.first.is_empty() {
            return Err(GameError::Empty { what: "honest traffic that fits into the turns" });
        }
        DialogueTree::build(rules, &[1.0], self)
    }

    /// What honest people say; masses by cell.
    pub(super) fn traffic(&self, ask: &[f64], chain: &[f64]) -> HonestTraffic {
        let said = |first: u32| match self.cell_set_up(first) {
            None => HonestSequence { weight: ask[first as usize], utterances: vec![first] },
            Some(cell) => HonestSequence { weight: chain[cell], utterances: vec![first, self.ask(cell)] },
        };
        HonestTraffic { sequences: self.first.iter().map(|&first| said(first)).collect(), serving: vec![SERVE] }
    }
}

impl Utterances for Moves {
    fn red(&self, history: &[u32]) -> Vec<u32> {
        match history.first().and_then(|&utterance| self.cell_set_up(utterance)) {
            Some(cell) => vec![self.ask(cell)],
            None => self.first.clone(),
        }
    }

    fn blue(&self, history: &[u32]) -> Vec<u32> {
        match history.last().and_then(|&utterance| self.cell_set_up(utterance)) {
            Some(_) => vec![ACKNOWLEDGE],
            None => vec![REFUSE, SERVE],
        }
    }

    fn score(&self, _: usize, history: &[u32]) -> f64 {
        if history.last() == Some(&SERVE) { 1.0 } else { 0.0 }
    }

    fn ends(&self, history: &[u32]) -> bool {
        history.last() != Some(&ACKNOWLEDGE)
    }
}
