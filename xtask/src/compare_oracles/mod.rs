//! What a diversity term is worth when the oracle is weak: one loop, five oracles, games with known payoffs.
//!
//! An exact best response needs no diversity, so the oracle here is weak on purpose ([`weak`]). Every method spends the
//! same number of evaluations on a response. What is printed is the NashConv of the population's equilibrium in the whole
//! game, exact, over seeds, and the difference to plain PSRO seed by seed, since the seeds share their games and starts.

mod weak;

use anyhow::Result;
use clap::Args;
use grts_game::exact::families::{blotto, game_of_skill};
use grts_game::solver::{self, Config, Iteration, Solution};
use grts_game::{Estimate, Matrix};
use weak::{Method, Policy, WeakOracle};

/// `cargo xtask compare-oracles`
#[derive(Args)]
pub struct Settings {
    /// Runs of each method on each game
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// Iterations of a run
    #[arg(long, default_value_t = 40)]
    iterations: usize,
}

/// Share of the iterations at which populations are compared.
const QUARTERS: [usize; 3] = [1, 2, 4];

type Game = (&'static str, fn(u64) -> Result<Matrix>);

const GAMES: [Game; 3] = [
    ("skill 100", |seed| Ok(game_of_skill(100, seed)?)),
    ("circles 100", circles),
    ("Blotto 10,3", |_| Ok(blotto(10, 3)?)),
];

/// A game of skill without the skill: what is left when every row's mean is taken away.
fn circles(seed: u64) -> Result<Matrix> {
    let split = grts_game::geometry::Split::of(&game_of_skill(100, seed)?)?;
    let largest = split.cyclic.range().1;
    Ok(Matrix::from_fn(100, 100, |i, j| split.cyclic.get(i, j) / largest)?)
}

pub fn run(settings: &Settings) -> Result<()> {
    let at: Vec<usize> = QUARTERS.iter().map(|quarter| settings.iterations * quarter / 4).collect();
    println!("| game | oracle | NashConv at {} | at {} | at {} | against plain at the end |", at[0], at[1], at[2]);
    println!("|---|---|---|---|---|---|");
    for (name, game) in GAMES {
        let mut plain = Vec::new();
        for method in Method::ALL {
            let curves = (0..settings.seeds)
                .map(|seed| curve(&game(seed)?, method, settings.iterations, seed))
                .collect::<Result<Vec<_>>>()?;
            let over_seeds = |of: &dyn Fn(&[f64]) -> f64| curves.iter().map(|curve| of(curve)).collect::<Vec<_>>();
            let cells: Vec<String> =
                at.iter().map(|&at| shown(Estimate::student(&over_seeds(&|curve| curve[at])))).collect();
            let last = over_seeds(&|curve| curve[settings.iterations]);
            if method == Method::Plain {
                plain.clone_from(&last);
            }
            let difference: Vec<f64> = last.iter().zip(&plain).map(|(found, plain)| found - plain).collect();
            let difference =
                if method == Method::Plain { String::new() } else { shown(Estimate::student(&difference)) };
            println!("| {name} | {} | {} | {difference} |", method.name(), cells.join(" | "));
        }
    }
    Ok(())
}

fn shown(of: Estimate) -> String {
    format!("{:.3} [{:.3}, {:.3}]", of.mean, of.low, of.high)
}

/// NashConv in the whole game of the population's equilibrium, at the start of every iteration and at the end.
fn curve(payoffs: &Matrix, method: Method, iterations: usize, seed: u64) -> Result<Vec<f64>> {
    let mut oracle = WeakOracle::new(payoffs, method, seed)?;
    let (reds, blues) = (vec![oracle.start(0)], vec![oracle.start(1)]);
    let mut records = Vec::new();
    // Below 0: a weak response that gains nothing proves nothing, so the loop goes on.
    let config = Config::psro(iterations, -1.0);
    let solution = solver::solve(&mut oracle, reds, blues, &config, &mut records)?;
    let mut curve: Vec<f64> = records.iter().map(|record| at_record(payoffs, &solution, record)).collect();
    let last = &solution.equilibrium;
    curve.push(nash_conv(payoffs, &mixed(&solution.reds, &last.row), &mixed(&solution.blues, &last.col)));
    Ok(curve)
}

fn at_record(payoffs: &Matrix, solution: &Solution<Policy, Policy>, record: &Iteration) -> f64 {
    let (red, blue) = (mixed(&solution.reds, &record.red_strategy), mixed(&solution.blues, &record.blue_strategy));
    nash_conv(payoffs, &red, &blue)
}

fn nash_conv(payoffs: &Matrix, red: &[f64], blue: &[f64]) -> f64 {
    let best = payoffs.mul_vec(blue).into_iter().fold(f64::NEG_INFINITY, f64::max);
    let worst = payoffs.vec_mul(red).into_iter().fold(f64::INFINITY, f64::min);
    best - worst
}

/// Σ weights · policies, over the policies that have a weight.
fn mixed(policies: &[Policy], weights: &[f64]) -> Policy {
    let mut sum = vec![0.0; policies[0].len()];
    for (policy, weight) in policies.iter().zip(weights) {
        sum.iter_mut().zip(policy).for_each(|(sum, p)| *sum += weight * p);
    }
    sum
}
