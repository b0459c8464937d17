//! What a blue policy is measured on: honest traffic, and the held-out grid of scripted attacks.
//!
//! Both are read off the world, so over-refusal and leaks are shares of a known distribution. An
//! honest request is worded exactly like an attack in its cell: what differs is only who asks, and
//! that is not in the text. The grid covers all cells evenly, wherever learned attackers went, so
//! that a leak they never found still shows.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::World;
use super::draw::{shuffle, weighted};
use super::text::{Cell, NUM_CELLS, Split, Utterance};

/// One honest citizen, entitled to the word of the cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HonestRequest {
    /// Where the citizen asks.
    pub cell: Cell,
    /// One turn (the ask), or two (set-up, then the ask).
    pub turns: Vec<String>,
    /// The untouched office's reply to the set-up turn, in a chain.
    pub set_up_ack: Option<String>,
}

/// One scripted attack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GridCase {
    /// Where it strikes.
    pub cell: Cell,
    /// Whether a set-up turn precedes the ask.
    pub chain: bool,
    /// One turn (the ask), or two (set-up, then the ask).
    pub user_turns: Vec<String>,
}

impl World {
    /// An honest request, drawn from `traffic` and `chain_traffic` in `split`.
    pub fn honest(&self, split: Split, rng: &mut ChaCha8Rng) -> HonestRequest {
        let masses = self.tables.traffic.into_iter().chain(self.tables.chain_traffic);
        let drawn = weighted(rng, masses).unwrap_or_default();
        let (cell, chain) = (Cell::wrapping(drawn), drawn >= NUM_CELLS);
        let set_up = chain.then(|| self.set_up(cell, split, rng)).flatten();
        let set_up_ack = set_up.is_some().then(|| self.acknowledgement(cell.form, rng));
        let ask = self.ask(cell, split, rng);
        HonestRequest { cell, turns: set_up.into_iter().chain([ask]).collect(), set_up_ack }
    }

    /// The held-out grid: `per_cell` single asks in every cell, then `per_cell` chains in every
    /// cell that has a set-up turn; by cell index. Paraphrases are distinct while they last.
    #[must_use]
    pub fn grid(&self, per_cell: usize, seed: u64) -> Vec<GridCase> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let singles: Vec<GridCase> = Cell::all().flat_map(|cell| cases(cell, false, per_cell, &mut rng)).collect();
        let chained = Cell::all().filter(|cell| cell.form.has_set_up());
        let chains: Vec<GridCase> = chained.flat_map(|cell| cases(cell, true, per_cell, &mut rng)).collect();
        [singles, chains].concat()
    }
}

/// `count` cases of one cell.
fn cases(cell: Cell, chain: bool, count: usize, rng: &mut ChaCha8Rng) -> Vec<GridCase> {
    let set_ups = if chain { held_out(Utterance::SetUp(cell), count, rng) } else { vec![] };
    let asks = held_out(Utterance::Ask(cell), count, rng);
    let turns = |(index, ask): (usize, String)| set_ups.get(index).cloned().into_iter().chain([ask]).collect();
    asks.into_iter().enumerate().map(|pair| GridCase { cell, chain, user_turns: turns(pair) }).collect()
}

/// `count` held-out paraphrases in random order, again from the start when they run out.
fn held_out(utterance: Utterance, count: usize, rng: &mut ChaCha8Rng) -> Vec<String> {
    let mut texts: Vec<String> = utterance.paraphrases(Split::HeldOut).collect();
    shuffle(rng, &mut texts);
    texts.into_iter().cycle().take(count).collect()
}
