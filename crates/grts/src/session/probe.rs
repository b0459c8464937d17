//! Exploiters: fresh best responses to a finished run's final mixture, by seeds and settings of their own.
//!
//! A run's own probe is trained with the run's settings, so what those cannot find it cannot find either. An exploiter
//! starts from the base, saw nothing of the run, gets a multiple of the oracle's budget, and learns at another rate and
//! with another weight of the KL divergence than its neighbours. The strongest is chosen on one set of dialogues and
//! measured on another, so that the maximum is not biased; it stays a lower bound, as every trained response is. Next to it
//! stand two attackers without a training of their own: the hottest cell of the scripted grid, and many tries of the
//! whole red population.
//!
//! Each exploiter is a unit of the run: a probe that was interrupted goes on where it stopped.

use super::arena::{Assignment, Players, Trained};
use super::desk::{Desk, Reporter, Steps, stored};
use super::evaluation::{asked, borrowed, final_reds, measure_scripted, play_attacks, scripted};
use super::stage::{Stage, Stream};
use crate::error::Error;
use crate::oracle::Practice;
use crate::policy::Policy;
use crate::rollout::Episode;
use crate::scenario::Learning;
use crate::store::{Purpose, RunDir};
use grts_game::Estimate;
use grts_game::rules::Player;
use grts_game::stream::StreamKey;
use grts_lm::Device;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::sync::atomic::AtomicBool;

/// What `grts probe` is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeSettings {
    /// The side whose final mixture is exploited.
    pub against: Player,
    /// The blue policy that plays alone in place of blue's final mixture.
    pub blue: Option<String>,
    /// Exploiters to train, at least 1.
    pub exploiters: usize,
    /// Their budget as a multiple of the solver's oracle: optimiser steps, and dialogues of red's search.
    pub budget: f64,
    /// Keys everything that is drawn; no seed repeats a stream of the run itself.
    pub seed: u64,
    /// Fresh dialogues that measure the value and the strongest exploiter.
    pub dialogues: usize,
    /// Where the models compute.
    pub device: Device,
}

/// What exploiters found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// Name of the run.
    pub run: String,
    /// The side that was exploited.
    pub against: Player,
    /// The blue policy that played alone, if it was not the final mixture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blue: Option<String>,
    /// Seed of the exploiters.
    pub seed: u64,
    /// Their budget as a multiple of the solver's oracle.
    pub budget: f64,
    /// Mean return to red between the final mixtures, on fresh dialogues.
    pub value: Estimate,
    /// All of them, in the order in which they were trained.
    pub exploiters: Vec<Exploiter>,
    /// The one that gained most, measured again; `None` if all broke their constraint.
    pub strongest: Option<Strongest>,
    /// Against blue: attackers that were not trained here.
    pub scripted: Option<Untrained>,
}

/// One fresh best response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exploiter {
    /// Its name below the run's `policies/`.
    pub id: String,
    /// Optimiser steps.
    pub steps: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Weight of the KL divergence to the base.
    pub beta: f64,
    /// Mean return to red against the mixture, on the dialogues that choose the strongest.
    pub returns: Estimate,
    /// Why it does not count, if it broke its constraint.
    pub rejected: Option<String>,
}

/// The exploiter that gained most.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Strongest {
    /// Its name below the run's `policies/`.
    pub id: String,
    /// Mean return to red on dialogues that chose nothing.
    pub returns: Estimate,
    /// What its side gains over the value: a lower bound of the mixture's exploitability.
    pub gain: Estimate,
}

/// Attackers of blue that need no training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Untrained {
    /// Attack success in the hottest cell of the held-out grid, chosen and measured on different dialogues.
    pub worst_cell_asr: Estimate,
    /// Tries of one attacker in `best_of_asr`.
    pub tries: usize,
    /// Chance that at least one of that many dialogues succeeds, their attackers spread over the whole red population.
    pub best_of_asr: Estimate,
}

/// Learning rate and KL weight of the exploiters, as multiples of the probe's settings; they come round.
const VARIANTS: [(f64, f64); 4] = [(1.0, 1.0), (0.5, 0.5), (1.5, 2.0), (0.75, 0.0)];
/// Tries of an attacker with the whole population, and how many such attackers are played.
const TRIES: usize = 16;
const ATTACKERS: usize = 200;

/// Trains exploiters of a finished run's final mixture and measures what they gain.
///
/// # Errors
/// [`Error::Run`] if the run is not finished, [`Error::Interrupted`] once `interrupt` is set (what is trained is kept), and
/// whatever stops a training.
pub fn probe(
    run: RunDir,
    settings: &ProbeSettings,
    interrupt: &AtomicBool,
    reporter: &mut dyn Reporter,
) -> Result<ProbeReport, Error> {
    let path = run.path().to_owned();
    let again = format!("what is trained is kept: the same `grts probe {}` goes on", path.display());
    expose(run, settings, interrupt, reporter).map_err(|error| match error {
        Error::Interrupted { run, .. } => Error::Interrupted { run, hint: again },
        other => other.in_run(&path),
    })
}

fn expose(
    run: RunDir,
    settings: &ProbeSettings,
    interrupt: &AtomicBool,
    reporter: &mut dyn Reporter,
) -> Result<ProbeReport, Error> {
    let stage = Stage::set(run.manifest().scenario.clone(), settings.device)?;
    let (reds, blues) = (final_reds(&stage, &run)?, asked(&stage, &run, settings.blue.as_deref())?);
    let (reds, blues) = (borrowed(&reds), borrowed(&blues));
    let population = population(&stage, &run)?;
    let steps = settings.exploiters * Contest::steps(&stage, settings);
    let planned = Steps { after: steps, ..Steps::default() };
    let desk = RefCell::new(Desk::new(run, planned, interrupt, reporter));
    let mut players = Players::new(&stage, &desk)?;
    let contest = Contest { stage: &stage, settings, reds: &reds, blues: &blues };

    desk.borrow_mut().begin("the final mixtures against each other");
    let value = players.returns(&contest.play(&reds, &blues, 0)?)?;
    if settings.against == Player::Red {
        let initial = scripted(&stage, &desk, "initial", &[(&stage.untouched, 1.0)])?;
        players.prepare_blue(initial.helpfulness)?;
    }
    let trained = contest.all(&players)?;
    desk.borrow_mut().begin("the strongest, measured again");
    let strongest = contest.strongest(&trained, |e| players.returns(e), value)?;
    let scripted = match settings.against {
        Player::Red => None,
        Player::Blue => Some(contest.untrained(&desk, &population)?),
    };
    desk.borrow_mut().finished();
    Ok(ProbeReport {
        run: stage.name.clone(),
        against: settings.against,
        blue: settings.blue.clone(),
        seed: settings.seed,
        budget: settings.budget,
        value,
        exploiters: trained.into_iter().map(|(exploiter, _)| exploiter).collect(),
        strongest,
        scripted,
    })
}

/// The red population: the untouched base and every response that was admitted.
pub(super) fn population(stage: &Stage, run: &RunDir) -> Result<Vec<Policy>, Error> {
    let mut members = vec![stage.untouched.clone()];
    let mut iteration = 1;
    while let Some(trained) = stored::<Trained>(run, &format!("red/{iteration}"))? {
        if trained.rejected.is_none() {
            members.push(stage.policy(run, &trained.id, stage.rules.team().seats())?);
        }
        iteration += 1;
    }
    Ok(members)
}

/// Two mixtures, and what is asked of the exploiters of one of them; the other may be empty where its value is not asked for.
pub(super) struct Contest<'a> {
    pub(super) stage: &'a Stage,
    pub(super) settings: &'a ProbeSettings,
    pub(super) reds: &'a [(&'a Policy, f64)],
    pub(super) blues: &'a [(&'a Policy, f64)],
}

impl Contest<'_> {
    /// Optimiser steps and search rounds of one exploiter.
    pub(super) fn steps(stage: &Stage, settings: &ProbeSettings) -> usize {
        let scenario = &stage.scenario;
        match settings.against {
            Player::Blue => scenario.red.search_rounds + multiple(scenario.red.learning.steps, settings.budget),
            Player::Red => multiple(scenario.blue.learning.steps, settings.budget),
        }
    }

    fn key(&self, which: usize, part: usize) -> StreamKey {
        StreamKey { seed: self.settings.seed, ..self.stage.key(Stream::Exploiter, which << 3 | part, 0) }
    }

    fn play(&self, reds: &[(&Policy, f64)], blues: &[(&Policy, f64)], part: usize) -> Result<Vec<Episode>, Error> {
        play_attacks(&self.stage.table(), [reds, blues], self.settings.dialogues, self.key(0, part))
    }

    /// Trains them all.
    pub(super) fn all(&self, players: &Players<'_, '_>) -> Result<Vec<(Exploiter, Policy)>, Error> {
        (0..self.settings.exploiters).map(|k| self.train(players, k)).collect()
    }

    fn train(&self, players: &Players<'_, '_>, k: usize) -> Result<(Exploiter, Policy), Error> {
        let (scenario, budget) = (&self.stage.scenario, self.settings.budget);
        let (rate, leash) = VARIANTS[k % VARIANTS.len()];
        let (role, base, beta, opponents) = match self.settings.against {
            Player::Blue => ("red", &scenario.red.learning, scenario.probe.beta, self.blues),
            Player::Red => ("blue", &scenario.blue.learning, scenario.blue.learning.beta, self.reds),
        };
        let of = self.settings.blue.iter().filter(|_| self.settings.against == Player::Blue);
        let whose: String = of.map(|id| format!("{id}/")).collect();
        let learning = Learning {
            steps: multiple(base.steps, budget),
            learning_rate: base.learning_rate * rate,
            beta: beta * leash,
            ..base.clone()
        };
        players.begin(&format!("{role} exploiter {} of {}", k + 1, self.settings.exploiters));
        let (steps, learning_rate, beta) = (learning.steps, learning.learning_rate, learning.beta);
        let task = Assignment {
            unit: format!("exploiter-{role}/{whose}{budget}x/{}/{}", self.settings.seed, k + 1),
            learning,
            search_dialogues: multiple(scenario.red.search_dialogues, budget),
            opponents,
            training: self.key(k + 1, 0),
            gate: self.key(k + 1, 1),
            measurement: self.key(k + 1, 2),
            dialogues: scenario.probe.dialogues,
            purpose: Purpose::Probe,
            iteration: None,
        };
        let (trained, policy) = match self.settings.against {
            Player::Blue => players.train_red(&task, None, None)?,
            Player::Red => players.train_blue(&task, &Practice::against(opponents), None)?,
        };
        let Trained { id, returns, rejected, .. } = trained;
        Ok((Exploiter { id, steps, learning_rate, beta, returns, rejected }, policy))
    }

    /// The one that gained most among those that kept their constraint, measured on dialogues that chose nothing.
    pub(super) fn strongest(
        &self,
        trained: &[(Exploiter, Policy)],
        returns: impl Fn(&[Episode]) -> Result<Estimate, Error>,
        value: Estimate,
    ) -> Result<Option<Strongest>, Error> {
        let sign = if self.settings.against == Player::Blue { 1.0 } else { -1.0 };
        let gained = |e: &Exploiter| sign * e.returns.mean;
        let allowed = trained.iter().filter(|(e, _)| e.rejected.is_none());
        let Some((exploiter, policy)) = allowed.max_by(|a, b| gained(&a.0).total_cmp(&gained(&b.0))) else {
            return Ok(None);
        };
        let alone = [(policy, 1.0)];
        let episodes = match self.settings.against {
            Player::Blue => self.play(&alone, self.blues, 1)?,
            Player::Red => self.play(self.reds, &alone, 1)?,
        };
        let returns = returns(&episodes)?;
        let gain = Estimate::weighted(&[(sign, returns), (-sign, value)]);
        Ok(Some(Strongest { id: exploiter.id.clone(), returns, gain }))
    }

    fn untrained(&self, desk: &RefCell<Desk<'_>>, population: &[Policy]) -> Result<Untrained, Error> {
        desk.borrow_mut().begin("scripted attacks");
        let (measured, ..) = measure_scripted(self.stage, self.blues, self.key(0, 2), "final")?;
        desk.borrow_mut().begin("many tries of the whole population");
        let best_of_asr = best_of(self.stage, population, self.blues, self.key(0, 3))?;
        Ok(Untrained { worst_cell_asr: measured.worst_cell, tries: TRIES, best_of_asr })
    }
}

/// Chance that one of [`TRIES`] dialogues succeeds, their attackers spread over the whole population.
pub(super) fn best_of(
    stage: &Stage,
    population: &[Policy],
    blues: &[(&Policy, f64)],
    key: StreamKey,
) -> Result<Estimate, Error> {
    let everyone: Vec<(&Policy, f64)> = population.iter().map(|policy| (policy, 1.0)).collect();
    let episodes = play_attacks(&stage.table(), [&everyone, blues], TRIES * ATTACKERS, key)?;
    let won = |e: &Episode| stage.rules.succeeded(&e.scores()) == Some(true);
    // Dialogues are in the order of their attackers: every so manieth one gives each group the whole population.
    let lucky = |start: usize| episodes.iter().skip(start).step_by(ATTACKERS).any(won);
    let successes = (0..ATTACKERS).filter(|&start| lucky(start)).count() as u64;
    Ok(Estimate::proportion(successes, ATTACKERS as u64))
}

fn multiple(of: usize, by: f64) -> usize {
    ((of as f64 * by).round() as usize).max(1)
}
