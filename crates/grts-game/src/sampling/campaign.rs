//! Where the next dialogues go, when neither the equilibrium nor the payoffs are known yet.
//!
//! A campaign alternates two questions. *Which profile?* The equilibrium of all means so far. *How far is it from
//! equilibrium?* [`Certifier`], whose dialogues are at the same time new samples of the entries that matter to the
//! profile: its supports, and the deviations that might beat it. When those dialogues show that the profile itself, and
//! no longer ignorance, is what keeps the bound up, the profile is replaced and certified anew: an *epoch* is over. It
//! must have used as many dialogues as all before it, so that there are few; epoch k may err with δ/(k(k+1)), which sums
//! to δ, so the certificate holds whenever one stops (progressive sampling, as Areyan Viqueira, Cousins & Greenwald 2020
//! for pure equilibria; the samples are spent as in Maiti, Jamieson & Ratliff 2023, on the support and its challengers).
//!
//! What no profile needs is never played much: an entry off both supports keeps its first few dialogues.
//!
//! The state holds no payoffs (those are the [`MetaGame`]'s) and no generator, so a campaign that is told the same
//! returns in the same order is the same campaign: that is what a resumed run does.

use super::certifier::{Allocation, Certificate, Certifier, Draw};
use crate::{Equilibrium, GameError, Matrix, MetaGame, Player, nash};
use rand_core::Rng;
use serde::{Deserialize, Serialize};

/// What a campaign is to prove, and with how much.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Probability that any of its certificates is wrong.
    pub delta: f64,
    /// Dialogues that every entry gets before a profile is looked for.
    pub first: u64,
    /// Rows and columns that the game can have at most.
    pub policies: usize,
}

/// Adaptive allocation with a certificate that holds at any time.
#[derive(Debug, Clone, PartialEq)]
pub struct Campaign {
    settings: Settings,
    epoch: Option<Epoch>,
    count: u32,
    before: u64,
}

/// The certification of one profile.
#[derive(Debug, Clone, PartialEq)]
struct Epoch {
    profile: Equilibrium,
    certifier: Certifier,
    dialogues: u64,
}

/// A profile is given up once its sampled NashConv is at least this share of the bound.
const REGRET_SHARE: f64 = 0.4;

impl Campaign {
    /// A campaign that has not begun.
    pub fn new(settings: Settings) -> Self {
        Self { settings, epoch: None, count: 0, before: 0 }
    }

    /// The next dialogues. Entries of a new game, row or column are explored first, however few are asked for; after that
    /// there are `dialogues` of them. Each must be played, and its return handed to [`Campaign::record`].
    ///
    /// # Errors
    /// A population is empty, there are more policies than announced, or the means have no equilibrium.
    pub fn plan(&mut self, game: &MetaGame, dialogues: usize, rng: &mut impl Rng) -> Result<Vec<Draw>, GameError> {
        let short = game.missing(self.settings.first);
        if !short.is_empty() {
            let missing = |(row, col)| self.settings.first.saturating_sub(game.entry(row, col).count);
            let explore = |(row, col)| (0..missing((row, col))).map(move |_| Draw { row, col, deviation: None });
            return Ok(short.into_iter().flat_map(explore).collect());
        }
        if self.epoch.as_ref().is_none_or(|epoch| epoch.dialogues >= self.before && epoch.regrets()) {
            self.begin(game)?;
        }
        let Some(epoch) = &mut self.epoch else { return Ok(Vec::new()) };
        epoch.grow(game);
        Ok(epoch.certifier.plan(dialogues, Allocation::Adaptive, rng))
    }

    /// Adds a return to `game`, and to the certificate if its dialogue was played for it.
    ///
    /// # Errors
    /// A return outside the payoff range, or an entry that does not exist.
    pub fn record(&mut self, game: &mut MetaGame, draw: &Draw, value: f64) -> Result<(), GameError> {
        game.record(draw.row, draw.col, value)?;
        match &mut self.epoch {
            None => Ok(()),
            Some(epoch) => {
                epoch.dialogues += u64::from(draw.deviation.is_some());
                epoch.certifier.record(draw, value)
            }
        }
    }

    /// The profile under certification and what is known of it; `None` before the first.
    pub fn certified(&self) -> Option<(&Equilibrium, Certificate)> {
        self.epoch.as_ref().map(|epoch| (&epoch.profile, epoch.certifier.certificate()))
    }

    /// Profiles tried.
    pub fn epochs(&self) -> u32 {
        self.count
    }

    fn begin(&mut self, game: &MetaGame) -> Result<(), GameError> {
        self.before += self.epoch.take().map_or(0, |epoch| epoch.dialogues);
        self.count += 1;
        let k = f64::from(self.count);
        let profile = nash::solve(&shrunk(game)?)?;
        let (range, delta) = (game.payoff_range(), self.settings.delta / (k * (k + 1.0)));
        let certifier = Certifier::new(&profile, range, delta, self.settings.policies)?;
        self.epoch = Some(Epoch { profile, certifier, dialogues: 0 });
        Ok(())
    }
}

impl Epoch {
    fn regrets(&self) -> bool {
        let found = self.certifier.certificate().nash_conv;
        found.mean >= REGRET_SHARE * found.high
    }

    /// New policies of the game join with no weight.
    fn grow(&mut self, game: &MetaGame) {
        let (rows, cols) = self.certifier.shape();
        for _ in rows..game.num_rows() {
            self.certifier.grow(Player::Red);
            self.profile.row.push(0.0);
        }
        for _ in cols..game.num_cols() {
            self.certifier.grow(Player::Blue);
            self.profile.col.push(0.0);
        }
    }
}

/// Means, each as if one more dialogue had returned the mean of all: what was seen a few times only is not trusted whole.
fn shrunk(game: &MetaGame) -> Result<Matrix, GameError> {
    let means = game.payoffs()?;
    let center = means.as_slice().iter().sum::<f64>() / means.as_slice().len() as f64;
    Matrix::from_fn(means.rows(), means.cols(), |row, col| {
        let n = game.entry(row, col).count as f64;
        (n * means.get(row, col) + center) / (n + 1.0)
    })
}
