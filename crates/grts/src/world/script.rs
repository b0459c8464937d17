//! The attacker that does not learn: every cell as often as every other, in the words of the grammar.

use rand_chacha::ChaCha8Rng;

use super::World;
use super::draw::{below, chance};
use super::text::{Cell, NUM_CELLS, Split, Utterance, draw};

/// Share of dialogues that begin with the set-up turn of their cell, where it has one.
const SET_UP: f64 = 0.5;

impl World {
    /// What a scripted attacker says in a dialogue of `turns` turns: asks of one cell, drawn evenly, each a training
    /// paraphrase of its own; in half of the dialogues that have a turn to spare the cell's set-up turn comes first.
    ///
    /// It belongs to no instance, since all share the grammar and a script knows no table.
    #[must_use]
    pub fn script(turns: usize, rng: &mut ChaCha8Rng) -> Vec<String> {
        let cell = Cell::wrapping(below(rng, NUM_CELLS));
        let prepared = turns > 1 && cell.form.has_set_up() && chance(rng, SET_UP);
        let utterance = |turn| if prepared && turn == 0 { Utterance::SetUp(cell) } else { Utterance::Ask(cell) };
        (0..turns).map(|turn| draw(utterance(turn), Split::Train, rng)).collect()
    }
}
