//! The side of a run that changes: the store, the counters, what is told to the user, and when to stop.

use super::stage::defect;
use crate::error::Error;
use crate::rollout::Episode;
use crate::scenario::{Budget, Scenario};
use crate::store::{IterationRecord, Records, RunDir};
use grts_game::solver::{Iteration, Observer, StopReason};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where a run stands, for a progress bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// What is being done.
    pub label: String,
    /// Optimiser steps and rounds of search and certificate done, of `total` planned for the whole run.
    pub done: u64,
    /// Those of them that took no time now: they came out of the store, or were not needed.
    pub stored: u64,
    /// Planned steps and rounds.
    pub total: u64,
    /// Value of the meta-game so far.
    pub value: Option<f64>,
    /// Certified gap of the last iteration.
    pub gap: Option<f64>,
    /// Mean return of the dialogues just played.
    pub asr: Option<f64>,
}

/// Is told what happens.
pub trait Reporter {
    /// Called after every optimiser step and every round of search and certificate.
    fn status(&mut self, status: &Status);
    /// Called after every iteration, with the number of planned ones.
    fn iteration(&mut self, record: &Iteration, of: usize);
    /// One line worth keeping.
    fn note(&mut self, line: &str);
}

/// Dialogues and tokens that something took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cost {
    pub(super) dialogues: u64,
    pub(super) tokens: u64,
}

impl Cost {
    pub(super) fn of(episodes: &[Episode]) -> Self {
        Self { dialogues: episodes.len() as u64, tokens: episodes.iter().map(Episode::num_tokens).sum() }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.dialogues += other.dialogues;
        self.tokens += other.tokens;
    }

    /// How much of what may be spent is spent; 0 where nothing bounds it.
    pub(super) fn share_of(self, budget: &Budget) -> f64 {
        let share = |limit: Option<u64>, used: u64| limit.map_or(0.0, |limit| used as f64 / limit as f64);
        share(budget.tokens, self.tokens).max(share(budget.dialogues, self.dialogues))
    }
}

/// A unit's output as stored.
#[derive(Serialize, Deserialize)]
struct Stored<T> {
    output: T,
    cost: Cost,
}

/// Steps that are planned: of optimisers, rounds of red's search and of the certificate.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Steps {
    /// In the solver loop, at most.
    pub(super) inside: usize,
    /// After it.
    pub(super) after: usize,
}

pub(super) struct Desk<'a> {
    pub(super) run: RunDir,
    pub(super) cost: Cost,
    pub(super) status: Status,
    planned: Steps,
    reporter: &'a mut dyn Reporter,
    interrupt: &'a AtomicBool,
}

impl<'a> Desk<'a> {
    pub(super) fn new(run: RunDir, planned: Steps, interrupt: &'a AtomicBool, reporter: &'a mut dyn Reporter) -> Self {
        let total = (planned.inside + planned.after) as u64;
        let status = Status { label: "start".to_owned(), done: 0, stored: 0, total, value: None, gap: None, asr: None };
        Self { run, cost: Cost::default(), status, planned, reporter, interrupt }
    }

    /// Plans again: what is left of the budget lasts as long as what was spent.
    fn plan(&mut self, budget: &Budget) {
        let share = self.cost.share_of(budget);
        if share > 0.0 {
            let inside = (self.status.done as f64 / share).ceil().min(self.planned.inside as f64);
            self.status.total = (inside as u64).max(self.status.done) + self.planned.after as u64;
        }
    }

    pub(super) fn begin(&mut self, label: &str) {
        self.status.label = label.to_owned();
        self.reporter.status(&self.status);
    }

    /// An optimiser step or a round is done.
    pub(super) fn step(&mut self, asr: f64) -> Result<(), Error> {
        self.status.done += 1;
        self.status.asr = Some(asr);
        self.reporter.status(&self.status);
        self.check()
    }

    /// Steps and rounds that need not be done again.
    pub(super) fn skip(&mut self, steps: usize) {
        self.status.done += steps as u64;
        self.status.stored += steps as u64;
    }

    pub(super) fn note(&mut self, line: &str) {
        self.reporter.note(line);
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        if self.interrupt.load(Ordering::Relaxed) {
            let run = self.run.path().to_owned();
            let hint = format!("go on with `grts resume {}`", run.display());
            return Err(Error::Interrupted { run, hint });
        }
        Ok(())
    }

    pub(super) fn finished(&mut self) {
        self.status.done = self.status.total;
        self.begin("done");
    }
}

/// The output of unit `key`: from the store if it was committed, else computed and committed. Returns whether it was
/// computed now.
pub(super) fn unit<T: Serialize + DeserializeOwned>(
    desk: &RefCell<Desk<'_>>,
    key: &str,
    compute: impl FnOnce() -> Result<(T, Cost, Records), Error>,
) -> Result<(T, bool), Error> {
    desk.borrow().check()?;
    let committed = desk.borrow().run.unit::<Stored<T>>(key)?;
    if let Some(stored) = committed {
        desk.borrow_mut().cost.add(stored.cost);
        return Ok((stored.output, false));
    }
    let (output, cost, records) = compute()?;
    let mut desk = desk.borrow_mut();
    let stored = Stored { output, cost };
    desk.run.commit_unit(key, &stored, &records)?;
    desk.cost.add(cost);
    Ok((stored.output, true))
}

/// The output of a committed unit of a run that is only read.
pub(super) fn stored<T: DeserializeOwned>(run: &RunDir, key: &str) -> Result<Option<T>, Error> {
    Ok(run.unit::<Stored<T>>(key)?.map(|stored| stored.output))
}

/// What a committed unit of a run took; nothing where there is none.
pub(super) fn cost_of(run: &RunDir, key: &str) -> Result<Cost, Error> {
    Ok(run.unit::<Stored<IgnoredAny>>(key)?.map_or_else(Cost::default, |stored| stored.cost))
}

/// Tells the user about iterations, records them, and ends the loop when a budget is spent.
pub(super) struct Watcher<'a, 'd> {
    desk: &'a RefCell<Desk<'d>>,
    scenario: &'a Scenario,
    pub(super) error: Option<Error>,
}

impl<'a, 'd> Watcher<'a, 'd> {
    pub(super) fn new(desk: &'a RefCell<Desk<'d>>, scenario: &'a Scenario) -> Self {
        Self { desk, scenario, error: None }
    }

    fn record(&self, record: &Iteration) -> Result<(), Error> {
        let value = serde_json::to_value(record).map_err(|e| defect(&e))?;
        let iterations = vec![IterationRecord { iteration: record.index as u32, record: value }];
        let records = Records { iterations, ..Records::default() };
        let key = format!("iteration/{}", record.index);
        unit(self.desk, &key, || Ok((record.clone(), Cost::default(), records)))?;
        Ok(())
    }

    fn over_budget(&self) -> Result<bool, Error> {
        let desk = self.desk.borrow();
        let budget = &self.scenario.budget;
        let late = |limit: u64| Ok::<_, Error>(desk.run.elapsed()? >= limit as f64);
        Ok(desk.cost.share_of(budget) >= 1.0 || budget.seconds.map_or(Ok(false), late)?)
    }
}

impl Observer for Watcher<'_, '_> {
    fn iteration(&mut self, record: &Iteration) {
        if let Err(error) = self.record(record) {
            self.error = Some(error);
        }
        let mut desk = self.desk.borrow_mut();
        desk.status.gap = record.gap;
        desk.plan(&self.scenario.budget);
        let of = self.scenario.solver.iterations;
        desk.reporter.iteration(record, of);
    }

    fn should_stop(&mut self) -> Option<StopReason> {
        match self.over_budget() {
            Ok(over) if self.error.is_none() => over.then_some(StopReason::Budget),
            Ok(_) => Some(StopReason::Interrupted),
            Err(error) => {
                self.error = Some(error);
                Some(StopReason::Interrupted)
            }
        }
    }
}
