//! A comparison: the same game by several methods, several seeds, one budget, and what became of each.
//!
//! It is a directory of ordinary runs. Each is played to its end, then questioned ([`evidence`](super::evidence)), and when
//! all methods of a seed have ended, every red meets every blue. All of that is units of the runs, so the same call on the same
//! directory goes on where the last one stopped, and one with more methods or seeds adds them. Tables are written after
//! every seed.

use super::desk::{Desk, Steps};
use super::evidence::{Attackers, Inquiry, gather, gathered_before};
use super::{Reporter, Status, check, run};
use crate::comparison::{Arm, Comparison, CrossPlay, Evidence, Trial};
use crate::error::Error;
use crate::scenario::Scenario;
use crate::store::{Manifest, RunDir};
use crate::summary::Summary;
use grts_game::solver::Iteration;
use grts_lm::Device;
use std::cell::RefCell;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// What is compared.
#[derive(Debug, Clone, PartialEq)]
pub struct CompareSettings {
    /// What all methods start from; its `[budget]` bounds tokens or dialogues.
    pub scenario: Scenario,
    /// The methods.
    pub methods: Vec<Arm>,
    /// Seeds of the runs.
    pub seeds: Vec<u64>,
    /// Shares of look-alike requests that blue must serve; each is a comparison of its own.
    pub h_min: Vec<f64>,
    /// Fresh attackers trained against each blue.
    pub exploiters: usize,
    /// Their budget as a multiple of the solver's oracle.
    pub exploiter_budget: f64,
    /// Where the models compute.
    pub device: Device,
}

/// Plays, measures and writes a comparison below `directory`, or what of it is missing there.
///
/// # Errors
/// [`Error::Setting`] for a scenario without a counted budget, [`Error::Run`] if `directory` holds a run of the same name with
/// other settings, [`Error::Interrupted`] once `interrupt` is set, and whatever stops a run.
pub fn compare(
    directory: &Path,
    settings: &CompareSettings,
    interrupt: &AtomicBool,
    reporter: &mut dyn Reporter,
) -> Result<Comparison, Error> {
    if !settings.scenario.budget.is_counted() {
        return Err(Error::Setting {
            file: directory.to_owned(),
            line: None,
            problem: "methods are compared at an equal budget, and the scenario has none".to_owned(),
            hint: "set `[budget] tokens`, or give `--tokens`".to_owned(),
        });
    }
    settings.methods.iter().try_for_each(|arm| check(&arm.scenario(&settings.scenario), settings.device))?;
    let mut contest = Series { directory, settings, interrupt, reporter, done: 0, stored: 0 };
    contest.play().map_err(|error| match error {
        Error::Interrupted { run, .. } => {
            Error::Interrupted { run, hint: "the same `grts compare` goes on".to_owned() }
        }
        other => other,
    })
}

struct Series<'a> {
    directory: &'a Path,
    settings: &'a CompareSettings,
    interrupt: &'a AtomicBool,
    reporter: &'a mut dyn Reporter,
    /// Grains of the whole that are done, and those that were done before.
    done: u64,
    stored: u64,
}

/// What a trial takes, in grains: its run, the questions to it, its part of the cross-play. About what they took in the built-in
/// world.
const RUN: u64 = 1200;
const QUESTIONS: u64 = 700;
const CROSS_PLAY: u64 = 100;

impl Series<'_> {
    fn play(&mut self) -> Result<Comparison, Error> {
        let CompareSettings { methods, seeds, h_min, .. } = self.settings;
        let games = seeds.iter().flat_map(|&seed| h_min.iter().map(move |&h_min| (seed, h_min)));
        let games: Vec<Vec<Trial>> =
            games.map(|(seed, h_min)| methods.iter().map(|&method| Trial { method, h_min, seed }).collect()).collect();
        for trial in games.iter().flatten() {
            self.stored += self.known(trial)?;
        }
        self.done = self.stored;
        let (mut runs, mut cross_play) = (Vec::new(), Vec::new());
        for trials in games {
            for trial in &trials {
                runs.push(self.ended(trial)?);
            }
            cross_play.extend(self.cross(&trials)?);
            Comparison::new(runs.clone(), cross_play.clone()).write(self.directory)?;
        }
        Ok(Comparison::new(runs, cross_play))
    }

    fn inquiry(&self) -> Inquiry {
        let &CompareSettings { exploiters, exploiter_budget: budget, device, .. } = self.settings;
        Inquiry { exploiters, budget, device }
    }

    /// Grains of the whole parts of a trial that are there before anything is played: nobody waits for them, in whichever
    /// order they come.
    fn known(&self, trial: &Trial) -> Result<u64, Error> {
        if !RunDir::exists(&self.directory.join(trial.directory())) {
            return Ok(0);
        }
        let run_dir = self.open(trial)?;
        let played = run_dir.summary::<Summary>()?.is_some();
        let asked = gathered_before(&run_dir, &self.inquiry())?.is_some();
        Ok(u64::from(played) * RUN + u64::from(asked) * QUESTIONS)
    }

    /// Plays a run to its end and questions it, or takes what is [known](Self::known).
    fn ended(&mut self, trial: &Trial) -> Result<Evidence, Error> {
        let (interrupt, inquiry) = (self.interrupt, self.inquiry());
        let mut run_dir = self.open(trial)?;
        if run_dir.summary::<Summary>()?.is_none() {
            self.part(trial, RUN, |part| run(run_dir, inquiry.device, interrupt, part))?;
            run_dir = self.open(trial)?;
        }
        match gathered_before(&run_dir, &inquiry)? {
            Some(known) => Ok(known),
            None => self.part(trial, QUESTIONS, |part| gather(run_dir, trial, &inquiry, (interrupt, part))),
        }
    }

    fn cross(&mut self, trials: &[Trial]) -> Result<Vec<CrossPlay>, Error> {
        let device = self.settings.device;
        let attackers: Vec<Attackers> =
            trials.iter().map(|trial| Attackers::of(&self.open(trial)?, trial, device)).collect::<Result<_, _>>()?;
        let mut pairs = Vec::new();
        for trial in trials {
            let (run_dir, interrupt) = (self.open(trial)?, self.interrupt);
            pairs.extend(self.part(trial, CROSS_PLAY, |part| {
                let desk = RefCell::new(Desk::new(run_dir, Steps::default(), interrupt, part));
                let pair = |red: &Attackers| {
                    let worst = red.against(&desk).map_err(|error| error.in_run(desk.borrow().run.path()))?;
                    let Trial { h_min, seed, method: blue } = *trial;
                    Ok(CrossPlay { red: red.trial.method, blue, h_min, seed, worst: worst.id, asr: worst.asr })
                };
                attackers.iter().map(pair).collect::<Result<Vec<_>, Error>>()
            })?);
        }
        Ok(pairs)
    }

    fn open(&self, trial: &Trial) -> Result<RunDir, Error> {
        let path = self.directory.join(trial.directory());
        let scenario = trial.scenario(&self.settings.scenario);
        if !RunDir::exists(&path) {
            return RunDir::create_at(&path, &Manifest::new(scenario));
        }
        let run_dir = RunDir::open(&path)?;
        if run_dir.manifest().scenario != scenario {
            return Err(Error::Run {
                path,
                problem: "was begun with other settings".to_owned(),
                hint: "repeat the command that began it, or compare in another `--dir`".to_owned(),
            });
        }
        Ok(run_dir)
    }

    /// Does the next part of the whole, of so many grains, and tells the user of it.
    fn part<T>(
        &mut self,
        trial: &Trial,
        grains: u64,
        work: impl FnOnce(&mut Part<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let settings = self.settings;
        let label = match settings.h_min.len() {
            1 => format!("{}, seed {}", trial.method.name(), trial.seed),
            _ => format!("{}, h_min {}, seed {}", trial.method.name(), trial.h_min, trial.seed),
        };
        let trials = (settings.methods.len() * settings.seeds.len() * settings.h_min.len()) as u64;
        let total = trials * (RUN + QUESTIONS + CROSS_PLAY);
        let (before, stored) = (self.done, self.stored);
        let mut part = Part { inner: self.reporter, label, grains, before, stored, total, told: None };
        let result = work(&mut part)?;
        // What nobody was told of was there already.
        self.stored += part.told.unwrap_or(grains);
        self.done += grains;
        Ok(result)
    }
}

/// Tells of one part as a share of the whole.
struct Part<'a> {
    inner: &'a mut dyn Reporter,
    label: String,
    grains: u64,
    /// Grains of the parts before it, and those of them that were stored.
    before: u64,
    stored: u64,
    total: u64,
    /// Its own stored grains, once it has told of itself.
    told: Option<u64>,
}

impl Reporter for Part<'_> {
    fn status(&mut self, status: &Status) {
        let grains = |steps: u64| (steps * self.grains / status.total.max(1)).min(self.grains);
        let (done, stored) = (grains(status.done), grains(status.stored));
        self.told = Some(stored);
        self.inner.status(&Status {
            label: format!("{}: {}", self.label, status.label),
            done: self.before + done,
            stored: self.stored + stored,
            total: self.total,
            ..status.clone()
        });
    }

    fn iteration(&mut self, record: &Iteration, of: usize) {
        self.inner.iteration(record, of);
    }

    fn note(&mut self, line: &str) {
        self.inner.note(&format!("{}: {line}", self.label));
    }
}
