//! Dialogues whose every choice and score is a function of the history and a seed.

use grts_game::exact::dialogue_tree::Utterances;
use grts_game::stream::{StreamKey, unit};

/// 2–3 utterances and a score per history, all drawn from the history's own stream.
pub struct RandomDialogue {
    pub seed: u64,
    /// Scores 0, ½ and 1 only.
    pub coarse: bool,
    /// What red can say depends on the turn only, and so does the number of replies.
    pub same_menus: bool,
}

impl RandomDialogue {
    pub fn new(seed: u64) -> Self {
        Self { seed, coarse: seed % 2 == 1, same_menus: false }
    }

    pub fn draw(&self, purpose: u32, history: &[u32]) -> f64 {
        let entry = history.iter().fold(1, |code, &utterance| code * 4 + u64::from(utterance));
        unit(&mut StreamKey { seed: self.seed, iteration: 0, purpose, entry, episode: 0, turn: 0 }.rng())
    }

    fn some(&self, history: &[u32]) -> Vec<u32> {
        let menu = if self.same_menus { &vec![0; history.len()] } else { history };
        (0..if self.draw(0, menu) < 0.5 { 2 } else { 3 }).collect()
    }
}

impl Utterances for RandomDialogue {
    fn red(&self, history: &[u32]) -> Vec<u32> {
        self.some(history)
    }

    fn blue(&self, history: &[u32]) -> Vec<u32> {
        self.some(history)
    }

    fn score(&self, opening: usize, history: &[u32]) -> f64 {
        let score = self.draw(1 + opening as u32, history);
        if self.coarse { (3.0 * score).floor() / 2.0 } else { score }
    }

    fn ends(&self, history: &[u32]) -> bool {
        self.draw(9, history) < 0.1
    }
}
