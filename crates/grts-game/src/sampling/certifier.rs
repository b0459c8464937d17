//! How far one profile is from equilibrium, from dialogues played for that question.
//!
//! NashConv of (p, q) is max_i (M q)_i − min_j (pᵀ M)_j: m + n numbers and not m · n. Each is a mean that can be sampled
//! directly: a *deviation* of red to row i plays i against columns drawn from q, one of blue to j plays rows drawn from p
//! against j. So each deviation is one stream of returns with one confidence sequence ([`super::sequence`]), its width
//! does not grow with the support, and δ is shared by m + n of them. The profile must be fixed before the dialogues are
//! played, which is why they are not those that the profile was computed from.
//!
//! **Pruning, valid for mixed profiles.** With [L, U] the intervals of the deviations, NashConv is at most
//! max_i U_i − min_j L_j. A row with U_i < max_k L_k is not red's best deviation, so no value it may have changes
//! NashConv, and no dialogue is spent on it; columns likewise. What is pruned is a deviation *against* the profile and
//! not a strategy *in* it, so nothing is assumed about supports. [`Allocation::Adaptive`] is the sharper form of this rule:
//! each side's next dialogues go to the deviation with the outermost end (Kalyanakrishnan et al. 2012 call it the upper
//! confidence bound of the challenger), which a pruned deviation never has.
//!
//! A new row or column leaves all intervals valid, since the profile gives it no weight: only its own deviation is new.

use super::sequence::anytime;
use crate::stream::pick;
use crate::{Equilibrium, Estimate, GameError, Moments, Player};
use rand_core::Rng;
use serde::{Deserialize, Serialize};

/// One player's change to one pure policy while the other keeps to the profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deviation {
    /// Who deviates.
    pub player: Player,
    /// To which of its policies: a row for red, a column for blue.
    pub policy: usize,
}

/// A dialogue to be played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draw {
    /// Red's policy.
    pub row: usize,
    /// Blue's policy.
    pub col: usize,
    /// The deviation that it samples; `None` for a dialogue that only explores.
    pub deviation: Option<Deviation>,
}

/// Which deviations the next dialogues sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allocation {
    /// Those that keep the bound up: the outermost end of each side.
    Adaptive,
    /// All of them as often: the baseline.
    Uniform,
}

/// What is known of a profile at the level 1 − δ, whenever one looks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// NashConv of the profile: `high` is the ε of which it is an equilibrium. The mean is that of the sampled
    /// deviations, which is too high by its noise.
    pub nash_conv: Estimate,
    /// The value of the whole game lies in this interval: red can guarantee `low` by its side of the profile, blue `high`.
    pub value: Estimate,
}

/// The deviations of one player and their returns to red.
#[derive(Debug, Clone, PartialEq)]
struct Side {
    /// The mixture that this player's policies meet.
    against: Vec<f64>,
    /// Returns by policy.
    returns: Vec<Moments>,
}

/// Returns of all deviations from one profile.
#[derive(Debug, Clone, PartialEq)]
pub struct Certifier {
    red: Side,
    blue: Side,
    range: (f64, f64),
    delta: f64, // of one deviation
}

impl Certifier {
    /// A certifier of `profile` in a game with returns in `range` (low, high). All its intervals hold together with
    /// probability 1 − `delta`, shared by `deviations`: as many rows and columns as the game can ever have.
    ///
    /// # Errors
    /// The profile has more rows and columns than that, or a side without any.
    pub fn new(profile: &Equilibrium, range: (f64, f64), delta: f64, deviations: usize) -> Result<Self, GameError> {
        let (rows, cols) = (profile.row.len(), profile.col.len());
        if rows == 0 || cols == 0 {
            return Err(GameError::Empty { what: "side of the profile" });
        }
        if rows + cols > deviations {
            let place = "deviations that share the error of a certificate".to_owned();
            return Err(GameError::Shape { place, expected: deviations, found: rows + cols });
        }
        let side =
            |against: &[f64], policies| Side { against: against.to_vec(), returns: vec![Moments::default(); policies] };
        let (red, blue) = (side(&profile.col, rows), side(&profile.row, cols));
        Ok(Self { red, blue, range, delta: delta / deviations as f64 })
    }

    /// Makes room for a new row (red) or column (blue), which has no weight in the profile.
    pub fn grow(&mut self, player: Player) {
        let (own, other) = match player {
            Player::Red => (&mut self.red, &mut self.blue),
            Player::Blue => (&mut self.blue, &mut self.red),
        };
        own.returns.push(Moments::default());
        other.against.push(0.0);
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        (self.red.returns.len(), self.blue.returns.len())
    }

    /// Adds the return of a dialogue of [`Certifier::plan`]; one that samples no deviation changes nothing.
    ///
    /// # Errors
    /// A return outside the range, or a deviation that the game does not have.
    pub fn record(&mut self, draw: &Draw, value: f64) -> Result<(), GameError> {
        let Some(Deviation { player, policy }) = draw.deviation else { return Ok(()) };
        let (low, high) = self.range;
        if !(value >= low && value <= high) {
            let allowed = format!("a payoff between {low} and {high}");
            return Err(GameError::Value { place: format!("entry ({}, {})", draw.row, draw.col), value, allowed });
        }
        let (rows, cols) = self.shape();
        let side = if player == Player::Red { &mut self.red } else { &mut self.blue };
        let missing = GameError::NoSuchEntry { row: draw.row, col: draw.col, rows, cols };
        side.returns.get_mut(policy).ok_or(missing)?.push(value);
        Ok(())
    }

    /// The next `dialogues` dialogues, as `allocation` would have them.
    pub fn plan(&self, dialogues: usize, allocation: Allocation, rng: &mut impl Rng) -> Vec<Draw> {
        match allocation {
            Allocation::Adaptive => self.plan_adaptive(dialogues, rng),
            Allocation::Uniform => self.plan_uniform(dialogues, rng),
        }
    }

    /// Each goes to the deviation with the fewest dialogues, red's and lower indices first.
    fn plan_uniform(&self, dialogues: usize, rng: &mut impl Rng) -> Vec<Draw> {
        let side = |player, side: &Side| {
            let counts: Vec<_> =
                (0..).zip(&side.returns).map(|(policy, sample)| (sample.count, Deviation { player, policy })).collect();
            counts
        };
        let mut counts = [side(Player::Red, &self.red), side(Player::Blue, &self.blue)].concat();
        let fewest = |_| {
            let (count, deviation) = counts.iter_mut().min_by_key(|(count, _)| *count)?;
            *count += 1;
            Some(self.draw(*deviation, rng))
        };
        (0..dialogues).filter_map(fewest).collect()
    }

    /// In portions that allow two for each deviation, each goes to the side whose leading deviation is
    /// known least, and there to the deviation with the outermost end, as it will be once the portions before it are in.
    fn plan_adaptive(&self, dialogues: usize, rng: &mut impl Rng) -> Vec<Draw> {
        let mut sides = [Forecast::new(self, Player::Red), Forecast::new(self, Player::Blue)];
        let (rows, cols) = self.shape();
        let portion = dialogues.div_ceil(2 * (rows + cols)).max(1);
        let mut draws = Vec::with_capacity(dialogues);
        while draws.len() < dialogues {
            let size = portion.min(dialogues - draws.len());
            let side = usize::from(sides[1].width() > sides[0].width());
            let deviation = Deviation { player: [Player::Red, Player::Blue][side], policy: sides[side].leader };
            sides[side].add(size as u64);
            draws.extend((0..size).map(|_| self.draw(deviation, rng)));
        }
        draws
    }

    fn draw(&self, deviation: Deviation, rng: &mut impl Rng) -> Draw {
        let policy = deviation.policy;
        let (row, col) = match deviation.player {
            Player::Red => (policy, pick(rng, &self.red.against)),
            Player::Blue => (pick(rng, &self.blue.against), policy),
        };
        Draw { row, col, deviation: Some(deviation) }
    }

    fn interval(&self, moments: &Moments) -> Estimate {
        anytime(moments, self.range, self.delta)
    }

    /// What holds now, of this profile and of the value.
    pub fn certificate(&self) -> Certificate {
        let [red, blue] =
            [&self.red, &self.blue].map(|side| side.returns.iter().map(|m| self.interval(m)).collect::<Vec<_>>());
        let n = red.iter().chain(&blue).map(|estimate| estimate.n).sum();
        let most = |of: fn(&Estimate) -> f64| red.iter().map(of).fold(f64::NEG_INFINITY, f64::max);
        let least = |of: fn(&Estimate) -> f64| blue.iter().map(of).fold(f64::INFINITY, f64::min);
        let (top, bottom) = (most(|e| e.mean), least(|e| e.mean));
        let (high, low) = (most(|e| e.high), least(|e| e.low));
        let regret = most(|e| e.low) - least(|e| e.high);
        let nash_conv =
            Estimate { mean: (top - bottom).max(0.0), low: regret.max(0.0), high: (high - low).max(0.0), n };
        let middle = low.max(high.min(bottom + (top - bottom) / 2.0));
        Certificate { nash_conv, value: Estimate { mean: middle, low, high, n } }
    }
}

/// One side's intervals as they will be once planned dialogues are in, if the means stay.
struct Forecast<'a> {
    certifier: &'a Certifier,
    player: Player,
    samples: Vec<Moments>,
    ends: Vec<Estimate>,
    leader: usize,
}

impl<'a> Forecast<'a> {
    fn new(certifier: &'a Certifier, player: Player) -> Self {
        let side = if player == Player::Red { &certifier.red } else { &certifier.blue };
        let samples = side.returns.clone();
        let ends = samples.iter().map(|moments| certifier.interval(moments)).collect();
        let mut forecast = Self { certifier, player, samples, ends, leader: 0 };
        forecast.lead();
        forecast
    }

    /// Width of the leader's interval. Not the distance from mean to end, which is 0 for a run of wins.
    fn width(&self) -> f64 {
        let leader = &self.ends[self.leader];
        leader.high - leader.low
    }

    fn add(&mut self, dialogues: u64) {
        let sample = &mut self.samples[self.leader];
        if sample.count == 0 {
            sample.mean = f64::midpoint(self.certifier.range.0, self.certifier.range.1);
        }
        sample.count += dialogues;
        self.ends[self.leader] = self.certifier.interval(sample);
        self.lead();
    }

    /// The first deviation whose end no other one exceeds.
    fn lead(&mut self) {
        let outer = |e: &Estimate| if self.player == Player::Red { e.high } else { -e.low };
        self.leader = (1..self.ends.len())
            .fold(0, |best, idx| if outer(&self.ends[idx]) > outer(&self.ends[best]) { idx } else { best });
    }
}
