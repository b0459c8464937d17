//! `cargo xtask known-games`: the population's NashConv, iteration by iteration, on a game with a known curve.
//!
//! The tests hold the short curves; this is for the long ones, and for the time that `xtask/golden/known_games.py` is
//! compared with. Everything that is played here is exact.

use anyhow::{Context, Result};
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use grts_game::exact::families::{blotto, blotto_by_margin, game_of_skill};
use grts_game::exact::matrix_game::MatrixGame;
use grts_game::exact::poker::{Kuhn, Leduc};
use grts_game::exact::sequence_form::{SequenceForm, SequenceGame};
use grts_game::solver::{self, Config, Iteration, Observer, StopReason};
use grts_game::{Matrix, MetaSolver, Player};
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
    println!("   at  NashConv                  seconds");
    let mut printer = Printer { begun: Instant::now(), every: settings.every.max(1), last: None };
    match settings.game {
        Game::Kuhn => poker(&SequenceForm::unfold(&Kuhn)?, &config, &mut printer)?,
        Game::Leduc => poker(&SequenceForm::unfold(&Leduc)?, &config, &mut printer)?,
        Game::Blotto3 => matrix(blotto(10, 3)?, &config, &mut printer)?,
        Game::Blotto4 => matrix(blotto(10, 4)?, &config, &mut printer)?,
        Game::Blotto5 => matrix(blotto(10, 5)?, &config, &mut printer)?,
        Game::Margin4 => matrix(blotto_by_margin(10, 4)?, &config, &mut printer)?,
        Game::Margin5 => matrix(blotto_by_margin(10, 5)?, &config, &mut printer)?,
        Game::Skill1000 => matrix(game_of_skill(1000, 0)?, &config, &mut printer)?,
    }
    printer.last.iter().for_each(|record| printer.print(record));
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
