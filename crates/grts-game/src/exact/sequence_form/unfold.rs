//! From rules to sequences: one depth-first walk through the game, which also checks that nobody forgets anything.

use super::{ExtensiveGame, InformationSet, Leaf, Node, SequenceForm, Side};
use crate::{GameError, Player};
use std::collections::HashMap;

/// Departure of a sum of probabilities from 1 that is still rounding.
const ROUNDING: f64 = 1e-9;

/// One side while it grows.
struct Growing {
    side: Side,
    known: HashMap<String, usize>, // information → information set
}

impl Growing {
    fn new() -> Self {
        Self { side: Side { information_sets: Vec::new(), num_sequences: 1 }, known: HashMap::new() }
    }

    /// First sequence of the information set, which is added when it is met for the first time.
    fn meet(&mut self, information: String, parent: usize, actions: usize) -> Result<usize, GameError> {
        if actions == 0 {
            return Err(GameError::NoActions { information });
        }
        if let Some(&idx) = self.known.get(&information) {
            let met = &self.side.information_sets[idx];
            let same = met.parent == parent && met.sequences.len() == actions;
            return if same { Ok(met.sequences.start) } else { Err(GameError::ImperfectRecall { information }) };
        }
        let first = self.side.num_sequences;
        self.side.num_sequences += actions;
        self.known.insert(information.clone(), self.side.information_sets.len());
        let sequences = first..first + actions;
        self.side.information_sets.push(InformationSet { information, parent, sequences });
        Ok(first)
    }
}

struct Walk<'a, G> {
    game: &'a G,
    red: Growing,
    blue: Growing,
    leaves: Vec<Leaf>,
    range: (f64, f64),
}

/// How the walk came to a state: both players' last sequences and the probability of chance's moves.
#[derive(Clone, Copy)]
struct Path {
    red: usize,
    blue: usize,
    chance: f64,
}

pub(super) fn unfold<G: ExtensiveGame>(game: &G) -> Result<SequenceForm, GameError> {
    let range = (f64::INFINITY, f64::NEG_INFINITY);
    let mut walk = Walk { game, red: Growing::new(), blue: Growing::new(), leaves: Vec::new(), range };
    walk.visit(&game.start(), Path { red: 0, blue: 0, chance: 1.0 })?;
    let Walk { red, blue, mut leaves, range, .. } = walk;
    leaves.sort_by_key(|leaf| (leaf.red, leaf.blue));
    leaves.dedup_by(|next, kept| {
        let same = (next.red, next.blue) == (kept.red, kept.blue);
        if same {
            kept.weight += next.weight;
        }
        same
    });
    Ok(SequenceForm { red: red.side, blue: blue.side, leaves, range })
}

impl<G: ExtensiveGame> Walk<'_, G> {
    fn visit(&mut self, state: &G::State, path: Path) -> Result<(), GameError> {
        match self.game.node(state) {
            Node::End { returns } => self.end(returns, path),
            Node::Chance { probabilities } => {
                check_distribution(&probabilities)?;
                for (outcome, probability) in probabilities.into_iter().enumerate().filter(|(_, p)| *p > 0.0) {
                    let path = Path { chance: path.chance * probability, ..path };
                    self.visit(&self.game.after(state, outcome), path)?;
                }
                Ok(())
            }
            Node::Decision { player, information, actions } => {
                let first = match player {
                    Player::Red => self.red.meet(information, path.red, actions)?,
                    Player::Blue => self.blue.meet(information, path.blue, actions)?,
                };
                for action in 0..actions {
                    let path = match player {
                        Player::Red => Path { red: first + action, ..path },
                        Player::Blue => Path { blue: first + action, ..path },
                    };
                    self.visit(&self.game.after(state, action), path)?;
                }
                Ok(())
            }
        }
    }

    fn end(&mut self, returns: f64, path: Path) -> Result<(), GameError> {
        if !returns.is_finite() {
            let (place, allowed) = ("return at an end of the game".to_owned(), "a finite number".to_owned());
            return Err(GameError::Value { place, value: returns, allowed });
        }
        self.range = (self.range.0.min(returns), self.range.1.max(returns));
        self.leaves.push(Leaf { red: path.red, blue: path.blue, weight: path.chance * returns });
        Ok(())
    }
}

fn check_distribution(probabilities: &[f64]) -> Result<(), GameError> {
    let sum: f64 = probabilities.iter().sum();
    if probabilities.iter().all(|p| *p >= 0.0) && (sum - 1.0).abs() <= ROUNDING {
        return Ok(());
    }
    let (place, allowed) = ("sum of the probabilities of a chance move".to_owned(), "1 over numbers of at least 0");
    Err(GameError::Value { place, value: sum, allowed: allowed.to_owned() })
}
