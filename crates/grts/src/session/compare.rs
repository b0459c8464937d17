//! A comparison: the same game by several methods, several seeds, one budget, and what became of each.
//!
//! It is a directory of ordinary runs. Each is played to its end, then questioned ([`evidence`](super::evidence)), and when
//! all methods of a seed have ended, every red meets every blue. All of that is units of the runs, so the same call on the same
//! directory goes on where the last one stopped, and one with more methods or seeds adds them. Tables are written after
//! every seed.

use super::desk::{Desk, Steps};
use super::evidence::{Attackers, Inquiry, gather};
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
    let mut contest = Series { directory, settings, interrupt, reporter, begun: 0 };
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
    /// Parts of the whole that were begun: three a trial.
    begun: usize,
}

impl Series<'_> {
    fn play(&mut self) -> Result<Comparison, Error> {
        let (mut runs, mut cross_play) = (Vec::new(), Vec::new());
        for &seed in &self.settings.seeds {
            for &h_min in &self.settings.h_min {
                let trials = self.settings.methods.iter().map(|&method| Trial { method, h_min, seed });
                let trials: Vec<Trial> = trials.collect();
                for trial in &trials {
                    runs.push(self.ended(trial)?);
                }
                cross_play.extend(self.cross(&trials)?);
                Comparison::new(runs.clone(), cross_play.clone()).write(self.directory)?;
            }
        }
        Ok(Comparison::new(runs, cross_play))
    }

    /// Plays a run to its end and questions it.
    fn ended(&mut self, trial: &Trial) -> Result<Evidence, Error> {
        let interrupt = self.interrupt;
        let &CompareSettings { exploiters, exploiter_budget: budget, device, .. } = self.settings;
        let mut run_dir = self.open(trial)?;
        let mut part = self.part(trial);
        if run_dir.summary::<Summary>()?.is_none() {
            run(run_dir, device, interrupt, &mut part)?;
            run_dir = self.open(trial)?;
        }
        let inquiry = Inquiry { exploiters, budget, device };
        gather(run_dir, trial, &inquiry, (interrupt, &mut self.part(trial)))
    }

    fn cross(&mut self, trials: &[Trial]) -> Result<Vec<CrossPlay>, Error> {
        let device = self.settings.device;
        let attackers: Vec<Attackers> =
            trials.iter().map(|trial| Attackers::of(&self.open(trial)?, trial, device)).collect::<Result<_, _>>()?;
        let mut pairs = Vec::new();
        for trial in trials {
            let run_dir = self.open(trial)?;
            let interrupt = self.interrupt;
            let mut part = self.part(trial);
            let desk = RefCell::new(Desk::new(run_dir, Steps::default(), interrupt, &mut part));
            for red in &attackers {
                let worst = red.against(&desk).map_err(|error| error.in_run(desk.borrow().run.path()))?;
                let Trial { h_min, seed, method: blue } = *trial;
                pairs.push(CrossPlay { red: red.trial.method, blue, h_min, seed, worst: worst.id, asr: worst.asr });
            }
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

    /// The next part of the whole, as the user is told of it.
    fn part(&mut self, trial: &Trial) -> Part<'_> {
        let settings = self.settings;
        let label = match settings.h_min.len() {
            1 => format!("{}, seed {}", trial.method.name(), trial.seed),
            _ => format!("{}, h_min {}, seed {}", trial.method.name(), trial.h_min, trial.seed),
        };
        let of = 3 * settings.methods.len() * settings.seeds.len() * settings.h_min.len();
        self.begun += 1;
        Part { inner: self.reporter, label, index: (self.begun - 1).min(of - 1) as u64, of: of as u64 }
    }
}

/// Tells of one part as a share of the whole. Parts count alike, so the time left is a rough one.
struct Part<'a> {
    inner: &'a mut dyn Reporter,
    label: String,
    index: u64,
    of: u64,
}

impl Reporter for Part<'_> {
    fn status(&mut self, status: &Status) {
        const GRAIN: u64 = 100;
        let within = (status.done * GRAIN / status.total.max(1)).min(GRAIN);
        self.inner.status(&Status {
            label: format!("{}: {}", self.label, status.label),
            done: self.index * GRAIN + within,
            total: self.of * GRAIN,
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
