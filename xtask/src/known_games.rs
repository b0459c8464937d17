//! `cargo xtask known-games`: the population's NashConv, iteration by iteration, on a game with a known curve.
//!
//! The tests hold the short curves; this is for the long ones, and for the time that `xtask/golden/known_games.py` is
//! compared with. Everything that is played here is exact. `blotto` prints where the four Blotto games end, by the loop
//! and by the same loop with equilibria of HiGHS: which equilibrium is responded to decides it.

use crate::bench_nash::highs;
use crate::bench_peers::environment::finish_with_output;
use anyhow::{Context, Result};
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use grts::exchange::{self, GameTable};
use grts_game::exact::families::{blotto, blotto_by_margin, game_of_skill};
use grts_game::exact::matrix_game::MatrixGame;
use grts_game::exact::poker::{Kuhn, Leduc};
use grts_game::exact::sequence_form::{SequenceForm, SequenceGame};
use grts_game::solver::{self, Config, Iteration, Observer, StopReason};
use grts_game::{Matrix, MetaSolver, Player};
use std::process::Command;
use std::time::Instant;

/// `cargo xtask known-games`
#[derive(Args)]
pub struct Settings {
    /// Which game
    game: Game,
    /// How populations become meta-strategies
    #[arg(long, default_value = "nash", value_parser = PossibleValuesParser::new(MetaSolver::ALL.map(MetaSolver::name)))]
    meta_strategy: String,
    /// Iterations at most
    #[arg(long, default_value_t = 250)]
    iterations: usize,
    /// Print every so many iterations
    #[arg(long, default_value_t = 10)]
    every: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Game {
    Kuhn,
    Leduc,
    /// Where four of the Blotto games end, beside HiGHS
    Blotto,
    Blotto3,
    Blotto4,
    Blotto5,
    Margin4,
    Margin5,
    Skill1000,
}

/// Prints as the loop goes.
struct Printer {
    begun: Instant,
    every: usize,
    last: Option<Iteration>,
}

impl Printer {
    fn print(&self, record: &Iteration) {
        let gap = record.gap.unwrap_or(f64::NAN);
        if self.last.is_none() {
            println!("   at  NashConv                  seconds");
        }
        println!("{:>5}  {gap:<22e}  {:>9.3}", record.index, self.begun.elapsed().as_secs_f64());
    }
}

impl Observer for Printer {
    fn iteration(&mut self, record: &Iteration) {
        if record.index.is_multiple_of(self.every) {
            self.print(record);
        }
        self.last = Some(record.clone());
    }

    fn should_stop(&mut self) -> Option<StopReason> {
        None
    }
}

pub fn run(settings: &Settings) -> Result<()> {
    let meta_strategy = MetaSolver::named(&settings.meta_strategy).context("clap has refused every other name")?;
    let config = Config { meta_strategy, ..Config::psro(settings.iterations + 1, 1e-9) };
    let mut printer = Printer { begun: Instant::now(), every: settings.every.max(1), last: None };
    match settings.game {
        Game::Kuhn => poker(&SequenceForm::unfold(&Kuhn)?, &config, &mut printer)?,
        Game::Leduc => poker(&SequenceForm::unfold(&Leduc)?, &config, &mut printer)?,
        Game::Blotto => return all_of_blotto(&config),
        Game::Blotto3 => matrix(blotto(10, 3)?, &config, &mut printer)?,
        Game::Blotto4 => matrix(blotto(10, 4)?, &config, &mut printer)?,
        Game::Blotto5 => matrix(blotto(10, 5)?, &config, &mut printer)?,
        Game::Margin4 => matrix(blotto_by_margin(10, 4)?, &config, &mut printer)?,
        Game::Margin5 => matrix(blotto_by_margin(10, 5)?, &config, &mut printer)?,
        Game::Skill1000 => matrix(game_of_skill(1000, 0)?, &config, &mut printer)?,
    }
    let unprinted = printer.last.iter().filter(|record| !record.index.is_multiple_of(printer.every));
    unprinted.for_each(|record| printer.print(record));
    Ok(())
}

fn poker(form: &SequenceForm, config: &Config, printer: &mut Printer) -> Result<()> {
    let (reds, blues) = (vec![form.uniform(Player::Red)], vec![form.uniform(Player::Blue)]);
    solver::solve(&mut SequenceGame::new(form), reds, blues, config, printer)?;
    Ok(())
}

fn matrix(payoffs: Matrix, config: &Config, printer: &mut Printer) -> Result<()> {
    solver::solve(&mut MatrixGame::new(payoffs), vec![0], vec![0], config, printer)?;
    Ok(())
}

/// A table of the Blotto games; for Nash with HiGHS, where it can be installed.
fn all_of_blotto(config: &Config) -> Result<()> {
    let games = [
        ("Blotto 10,3", blotto(10, 3)?),
        ("Blotto 10,4 by margin", blotto_by_margin(10, 4)?),
        ("Blotto 10,5 by margin", blotto_by_margin(10, 5)?),
        ("Blotto 10,4 by sign", blotto(10, 4)?),
    ];
    println!("| game | equilibria by | NashConv at 5 | at 10 | at 20 | below 1e-9 at |\n|---|---|---|---|---|---|");
    for (name, payoffs) in &games {
        let mut curve: Vec<Iteration> = Vec::new();
        solver::solve(&mut MatrixGame::new(payoffs.clone()), vec![0], vec![0], config, &mut curve)?;
        let gap = |record: &Iteration| record.gap.unwrap_or(f64::NAN);
        let at = [5, 10, 20].map(|at| curve.get(at).map_or_else(String::new, |record| format!("{:.3}", gap(record))));
        let last = curve.last().context("every run has a first iteration")?;
        let end = if gap(last) < 1e-9 { last.index.to_string() } else { format!("more than {}", last.index) };
        println!("| {name} | {} | {} | {end} |", config.meta_strategy.name(), at.join(" | "));
    }
    if config.meta_strategy != MetaSolver::Nash {
        return Ok(());
    }
    match highs() {
        Err(error) => println!("| | skipped: {error:#} | | | | |"),
        Ok((home, venv)) => {
            let mut command = Command::new(venv.python());
            command.arg(venv.scripts.join("psro_highs.py")).env("OMP_NUM_THREADS", "1");
            for (name, payoffs) in games {
                let file = home.join(name).with_extension("npy");
                let _ = std::fs::remove_file(&file);
                exchange::write(&file, &GameTable::from(payoffs))?;
                command.arg(file);
            }
            let said = finish_with_output(&mut command)?;
            said.lines().filter(|line| line.starts_with('|')).for_each(|line| println!("{line}"));
        }
    }
    Ok(())
}
