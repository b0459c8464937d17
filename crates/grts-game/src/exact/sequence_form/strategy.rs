//! Strategies over sequences, what they are worth, and the best responses to them.
//!
//! A [`Strategy`] is a realisation plan together with its *stakes*: what it makes each sequence of the opponent worth. With
//! both at hand a payoff is one dot product, a mixture of whole strategies one weighted sum, and a best response needs no
//! look at the game at all. A [`Behaviour`] says how likely each action is where it can be taken; it is what one writes
//! down and reads, and the plan is what one computes with.

use super::{SequenceForm, Side};
use crate::exact::distribution;
use crate::linear_program::normalised;
use crate::matrix::dot;
use crate::{GameError, Player};

/// By what share of the payoff range a later action must be better than an earlier one: less is rounding, and a tie.
const TIE: f64 = 1e-13;

/// Per sequence the probability of its action at its information set; 1 for the empty sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Behaviour {
    probabilities: Vec<f64>,
}

/// A realisation plan of one player, and the stakes of the other against it.
#[derive(Debug, Clone, PartialEq)]
pub struct Strategy {
    plan: Vec<f64>,   // per own sequence: how likely the own choices lead through it
    stakes: Vec<f64>, // per sequence of the opponent: return to red when the opponent's choices lead through it
}

impl Behaviour {
    /// Probability of action `action` at the player's `information_set`-th information set; both must exist.
    pub fn probability(&self, form: &SequenceForm, player: Player, information_set: usize, action: usize) -> f64 {
        self.probabilities[form.side(player).information_sets[information_set].sequences.start + action]
    }
}

impl Strategy {
    /// Probability that the player's own choices lead through each of its sequences.
    pub fn plan(&self) -> &[f64] {
        &self.plan
    }

    /// The mixture of whole strategies of one player; weights sum to 1. There must be at least one.
    pub fn mixture(strategies: &[Self], weights: &[f64]) -> Self {
        let sum = |of: fn(&Self) -> &[f64]| {
            let mut sums = vec![0.0; of(&strategies[0]).len()];
            for (strategy, &weight) in strategies.iter().zip(weights).filter(|(_, weight)| **weight > 0.0) {
                sums.iter_mut().zip(of(strategy)).for_each(|(sum, &term)| *sum += weight * term);
            }
            sums
        };
        Self { plan: sum(|strategy| &strategy.plan), stakes: sum(|strategy| &strategy.stakes) }
    }
}

impl SequenceForm {
    /// Every action equally likely.
    pub fn uniform(&self, player: Player) -> Strategy {
        let mut probabilities = vec![1.0];
        for set in &self.side(player).information_sets {
            probabilities.extend(set.sequences.clone().map(|_| 1.0 / set.sequences.len() as f64));
        }
        self.strategy(player, &Behaviour { probabilities })
    }

    /// Actions in proportion to `weight(information, action)`.
    ///
    /// # Errors
    /// Weights at an information set that are negative, not finite, or all 0.
    pub fn behaviour(&self, player: Player, weight: impl Fn(&str, usize) -> f64) -> Result<Behaviour, GameError> {
        let mut probabilities = vec![1.0];
        for set in &self.side(player).information_sets {
            let weights: Vec<f64> = (0..set.sequences.len()).map(|action| weight(&set.information, action)).collect();
            probabilities.extend(distribution(&format!("action at `{}`", set.information), &weights)?);
        }
        Ok(Behaviour { probabilities })
    }

    /// The strategy that behaves like this.
    pub fn strategy(&self, player: Player, behaviour: &Behaviour) -> Strategy {
        self.with_stakes(player, self.side(player).plan(&behaviour.probabilities))
    }

    /// How a strategy behaves; uniform where its own choices never lead.
    pub fn behaviour_of(&self, player: Player, strategy: &Strategy) -> Behaviour {
        let mut probabilities = strategy.plan.clone();
        for set in &self.side(player).information_sets {
            let clean = normalised(&probabilities[set.sequences.clone()]);
            probabilities[set.sequences.clone()].copy_from_slice(&clean);
        }
        Behaviour { probabilities }
    }

    /// Expected return to red.
    pub fn value(&self, red: &Strategy, blue: &Strategy) -> f64 {
        dot(&red.stakes, &blue.plan)
    }

    /// Red's best response to a strategy of blue, pure, and the return that red gets.
    pub fn respond_red(&self, blue: &Strategy) -> (Strategy, f64) {
        let (plan, value) = self.red.maximise(blue.stakes.clone(), self.tie());
        (self.with_stakes(Player::Red, plan), value)
    }

    /// Blue's best response to a strategy of red, pure, and the return that red gets.
    pub fn respond_blue(&self, red: &Strategy) -> (Strategy, f64) {
        let (plan, value) = self.blue.maximise(red.stakes.iter().map(|stake| -stake).collect(), self.tie());
        (self.with_stakes(Player::Blue, plan), -value)
    }

    /// NashConv: what both could gain together by best responses.
    pub fn nash_conv(&self, red: &Strategy, blue: &Strategy) -> f64 {
        self.respond_red(blue).1 - self.respond_blue(red).1
    }

    fn tie(&self) -> f64 {
        TIE * (self.range.1 - self.range.0)
    }

    fn with_stakes(&self, player: Player, plan: Vec<f64>) -> Strategy {
        let mut stakes = match player {
            Player::Red => vec![0.0; self.blue.num_sequences],
            Player::Blue => vec![0.0; self.red.num_sequences],
        };
        for leaf in &self.leaves {
            match player {
                Player::Red => stakes[leaf.blue] += plan[leaf.red] * leaf.weight,
                Player::Blue => stakes[leaf.red] += plan[leaf.blue] * leaf.weight,
            }
        }
        Strategy { plan, stakes }
    }
}

impl Side {
    /// The realisation plan of a behaviour (probabilities by sequence).
    fn plan(&self, probabilities: &[f64]) -> Vec<f64> {
        let mut plan = probabilities.to_vec();
        for set in &self.information_sets {
            let before = plan[set.parent];
            plan[set.sequences.clone()].iter_mut().for_each(|p| *p *= before);
        }
        plan
    }

    /// The pure plan of largest Σ stakes · plan, and that sum: a backward sweep, since children follow their parents.
    ///
    /// `worth` starts as the stakes and ends as what each sequence and all after it are worth. The first action wins a
    /// tie, also where the opponent never goes.
    fn maximise(&self, mut worth: Vec<f64>, tie: f64) -> (Vec<f64>, f64) {
        let mut choices = vec![0.0; self.num_sequences];
        choices[0] = 1.0;
        for set in self.information_sets.iter().rev() {
            let first = set.sequences.start;
            let best =
                set.sequences.clone().fold(first, |best, at| if worth[at] > worth[best] + tie { at } else { best });
            choices[best] = 1.0;
            worth[set.parent] += worth[best];
        }
        (self.plan(&choices), worth[0])
    }
}
