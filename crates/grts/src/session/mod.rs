//! A run from its settings to its summary: the solver loop over language models, with a store underneath.
//!
//! A run is a sequence of *units* (a batch of payoffs, a response, an evaluation). Each is a pure function of the settings
//! and of earlier units, and is committed whole. Resuming executes the same code from the start and takes the outputs of
//! committed units instead of computing them, so a resumed run cannot differ from an unbroken one.

mod admission;
mod arena;
mod attack;
mod certificate;
mod compare;
mod desk;
mod diversity;
mod evaluation;
mod evidence;
mod material;
mod probe;
mod stage;

pub use attack::{AttackReport, AttackSettings, attack};
pub use compare::{CompareSettings, compare};
pub use desk::{Reporter, Status};
pub use diversity::{Diversity, Strategy};
pub use evaluation::{CellReport, Evaluation, EvaluationSettings, evaluate};
pub use evidence::Worst;
pub use probe::{Exploiter, ProbeReport, ProbeSettings, Strongest, Untrained, probe};

use crate::error::Error;
use crate::meta_game::{PROFILE, Profile};
use crate::policy::{AVERAGE, Policy};
use crate::scenario::{MetaStrategy, Method, Scenario};
use crate::store::{Records, RunDir};
use crate::summary::{Blue, Exploitability, Outcome, ProbeGains, Summary};
use arena::Players;
use desk::{Desk, Steps, Watcher};
use evaluation::{Attacks, Measured};
use grts_game::MetaSolver;
use grts_game::solver::{Config, Solution, solve};
use grts_lm::Device;
use stage::Stage;
use std::cell::RefCell;
use std::sync::atomic::AtomicBool;

/// Loads and checks everything that `scenario` names, so that a wrong one never makes a run directory.
///
/// # Errors
/// What [`run`] would fail with before its first unit.
pub fn check(scenario: &Scenario, device: Device) -> Result<(), Error> {
    Stage::set(scenario.clone(), device).map(drop)
}

/// Runs, or goes on with, a run to its end on `device`; writes `summary.json` and returns what it came to. The device is not part of a
/// run's settings: it changes rounding, and with it what is drawn, and a run that is resumed on another one is still a run.
///
/// # Errors
/// [`Error::Interrupted`] once `interrupt` is set (the run can be resumed), and whatever stops a unit.
pub fn run(run: RunDir, device: Device, interrupt: &AtomicBool, reporter: &mut dyn Reporter) -> Result<Outcome, Error> {
    let path = run.path().to_owned();
    let result = run_units(run, device, interrupt, reporter);
    result.map_err(|e| e.in_run(&path))
}

fn run_units(
    run: RunDir,
    device: Device,
    interrupt: &AtomicBool,
    reporter: &mut dyn Reporter,
) -> Result<Outcome, Error> {
    let stage = Stage::set(run.manifest().scenario.clone(), device)?;
    let desk = RefCell::new(Desk::new(run, planned_steps(&stage.scenario), interrupt, reporter));
    let mut players = Players::new(&stage, &desk)?;
    let initial = evaluation::scripted(&stage, &desk, "initial", &[(&stage.untouched, 1.0)])?;
    players.initial_open = Some(initial.helpfulness);
    let mut watcher = Watcher::new(&desk, &stage.scenario);
    let (reds, blues) = (vec![stage.untouched.clone()], vec![players.first_blue(initial.over_refusal)?]);
    let solution = solve(&mut players, reds, blues, &config(&stage), &mut watcher)?;
    if let Some(error) = watcher.error.take() {
        return Err(error);
    }
    let outcome = finish(&stage, &desk, &mut players, &solution, initial)?;
    let desk = desk.into_inner();
    let json = serde_json::to_value(&outcome.summary).map_err(|e| stage::defect(&e))?;
    desk.run.write_summary(&json)?;
    Ok(outcome)
}

fn planned_steps(scenario: &Scenario) -> Steps {
    let (blue, search) = (scenario.blue.learning.steps, scenario.red.search_rounds);
    let red = if scenario.method == Method::Heuristic { 0 } else { search + scenario.red.learning.steps };
    let rounds = certificate::rounds(scenario.certify.dialogues).count();
    Steps { inside: scenario.solver.iterations * (red + blue), after: rounds + 2 * search + 3 * scenario.probe.steps }
}

/// The methods are constructors over one loop. All respond in turn, so that they differ in what is named and nothing else.
fn config(stage: &Stage) -> Config {
    let solver = &stage.scenario.solver;
    let order = grts_game::solver::Order::Alternating;
    match stage.scenario.method {
        Method::Psro => {
            let meta_strategy = solver.meta_strategy.map_or(MetaSolver::Nash, |MetaStrategy(rule)| rule);
            Config { order, meta_strategy, slack: solver.slack, ..Config::psro(solver.iterations, solver.epsilon) }
        }
        Method::Grts => Config { order, slack: solver.slack, ..Config::grts(solver.iterations, solver.epsilon) },
        Method::FictitiousPlay => Config { order, ..Config::fictitious_play(solver.iterations, solver.epsilon) },
        Method::SelfPlay => Config { order, ..Config::self_play(solver.iterations, solver.epsilon) },
        // Who attacks is the oracle's business. Blue trains on it at once, or round by round until the budget is spent.
        Method::SingleAttacker | Method::Heuristic => {
            let rounds = if stage.scenario.budget.is_counted() { usize::MAX } else { 1 };
            Config { iterations: rounds, ..Config::single_attacker() }
        }
    }
}

/// Saves blue's final mixture as one adapter, for whoever cannot draw one of several for each dialogue.
fn average(stage: &Stage, desk: &RefCell<Desk<'_>>, blues: &[(&Policy, f64)]) -> Result<(), Error> {
    desk::unit(desk, AVERAGE, || {
        if let Some(policy) = Policy::average(AVERAGE, blues)? {
            desk.borrow().run.save_policy(AVERAGE, |directory| policy.save(directory, &stage.base))?;
        }
        Ok(((), desk::Cost::default(), Records::default()))
    })
    .map(drop)
}

type Solved = Solution<Policy, Policy>;

fn finish(
    stage: &Stage,
    desk: &RefCell<Desk<'_>>,
    players: &mut Players<'_, '_>,
    solution: &Solved,
    initial: Measured,
) -> Result<Outcome, Error> {
    let blues = stage::mixture(&solution.blues, &solution.equilibrium.col);
    let reds = stage::mixture(&solution.reds, &solution.equilibrium.row);
    let untouched = [(&stage.untouched, 1.0)];
    let named = |m: &[(&Policy, f64)]| m.iter().map(|(p, w)| (p.id.clone(), *w)).collect();
    let profile = Profile { reds: named(&reds), blues: named(&blues) };
    desk::unit(desk, PROFILE, || Ok((profile, desk::Cost::default(), Records::default())))?;
    average(stage, desk, &blues)?;
    let value = solution.game.mixture_value(&solution.equilibrium.row, &solution.equilibrium.col);
    let regret = certificate::regret(stage, desk, solution)?;
    let last = evaluation::scripted(stage, desk, "final", &blues)?;
    let before = evaluation::attacks(stage, desk, "initial", &reds, &untouched)?;
    let after = evaluation::attacks(stage, desk, "final", &reds, &blues)?;
    let initial_probe = players.probe_red("initial", &untouched, value)?;
    let final_probe = players.probe_red("final", &blues, value)?;
    let blue_gain = players.probe_blue(&reds, value)?;
    let report = |measured: &Measured, attacks: &Attacks, probe| measured.report(attacks, probe);
    let (initial, r#final) = (report(&initial, &before, initial_probe.asr), report(&last, &after, final_probe.asr));
    let red = evaluation::red(stage, &before, solution)?;
    let mut desk = desk.borrow_mut();
    desk.finished();
    let summary = Summary {
        run: stage.name.clone(),
        stop_reason: solution.stop_reason,
        iterations: solution.iterations,
        dialogues: desk.cost.dialogues,
        tokens: desk.cost.tokens,
        seconds: desk.run.elapsed()?,
        value,
        reference_value: stage.reference_value,
        h_min: stage.scenario.game.h_min,
        exploitability: Exploitability {
            restricted: regret.certified,
            probe: ProbeGains { red_gain: final_probe.gain, blue_gain },
        },
        blue: Blue { initial, r#final },
        red,
    };
    Ok(Outcome { summary, likely_regret: regret.likely })
}
