//! `grts nash`: the solution of any zero-sum matrix game, from a file.
//!
//! The regret that is printed was recomputed from the strategies that are printed. If the file says how its payoffs were
//! sampled, it is the regret in one draw of the game, and its interval in the true one is printed with it. The clock runs
//! during the solution only: reading a file is not what solvers are compared by.

use crate::args::Nash;
use crate::{output, signals};
use grts::error::Error;
use grts::exchange::{self, GameTable};
use grts_game::sampling::{Bound, Region, bootstrap};
use grts_game::stream::StreamKey;
use grts_game::{Equilibrium, Estimate, GameError, MetaSolver};
use serde::Serialize;
use std::fmt::Write as _;
use std::time::Instant;

/// What is printed.
#[derive(Serialize)]
struct Solved<'a> {
    solver: &'a str,
    value: f64,
    row: &'a [f64],
    col: &'a [f64],
    /// NashConv.
    exploitability: f64,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sampled: Option<Sampled>,
}

/// NashConv in the game that the payoffs were sampled from.
#[derive(Serialize)]
struct Sampled {
    /// With 95 %, for sample sizes that were fixed beforehand; `None` where the range of a return is not known.
    certified: Option<Estimate>,
    /// What is likely.
    bootstrap: Estimate,
}

/// Probability that the certified interval is wrong, and games that the bootstrap draws.
const DELTA: f64 = 0.05;
const RESAMPLES: usize = 200;

/// Reads, solves, prints.
pub fn run(arguments: &Nash) -> Result<(), Error> {
    signals::exit_on_ctrl_c()?;
    let table = exchange::read(&arguments.file)?;
    // clap has refused every other name.
    let solver = MetaSolver::named(&arguments.solver).unwrap_or(MetaSolver::Nash);
    let begun = Instant::now();
    let fault = |hint: &str| {
        let (path, hint) = (arguments.file.clone(), hint.to_owned());
        move |problem: GameError| Error::Game { path, problem: problem.to_string(), hint }
    };
    let answer = solver
        .solve(&table.payoffs)
        .map_err(fault("another `--solver` may do; `nash` and `regret_matching_plus` have no settings"))?;
    let seconds = begun.elapsed().as_secs_f64();
    let sampled = sampled(&table, &answer).map_err(fault("give each sampled payoff a count of at least 1"))?;
    let Equilibrium { row, col, value, nash_conv } = &answer;
    let solved =
        Solved { solver: solver.name(), value: *value, row, col, exploitability: *nash_conv, seconds, sampled };
    output::result(&solved, arguments.json, || page(&solved, &table), "send stdout where there is space and ask again")
}

fn sampled(table: &GameTable, profile: &Equilibrium) -> Result<Option<Sampled>, GameError> {
    let Some(game) = grts::geometry::sampled(table)? else { return Ok(None) };
    let key = StreamKey { seed: 1, iteration: 0, purpose: 0, entry: 0, episode: 0, turn: 0 };
    let bootstrap = bootstrap::nash_conv(&game, profile, RESAMPLES, &mut key.rng())?;
    // Only shares say what a return can be; the range of other means is not that of the returns.
    let region = (game.payoff_range() == (0.0, 1.0))
        .then(|| Region::fixed(&game, Bound::ClopperPearson, DELTA, game.num_rows() * game.num_cols()));
    let certified = region.transpose()?.map(|region| region.nash_conv(profile));
    Ok(Some(Sampled { certified, bootstrap }))
}

fn page(solved: &Solved<'_>, table: &GameTable) -> String {
    let (m, n) = (table.payoffs.rows(), table.payoffs.cols());
    let mut out = format!("{m} × {n} game, solver `{}`, {:.6} s\n\n", solved.solver, solved.seconds);
    let _ = writeln!(out, "value     {}", solved.value + 0.0);
    let of = if solved.sampled.is_some() { " of these means; in the game that they were sampled from:" } else { "" };
    let _ = writeln!(out, "NashConv  {:e}{of}", solved.exploitability);
    if let Some(Sampled { certified, bootstrap }) = &solved.sampled {
        let told = |of: &Estimate| format!("{:.3} to {:.3}", of.low, of.high);
        let certain = certified.as_ref().map_or_else(
            || "no bound, since single payoffs may lie outside of 0 to 1".to_owned(),
            |of| format!("{}, 95 % certain if sample sizes were fixed beforehand", told(of)),
        );
        let _ = writeln!(out, "          {certain}");
        let _ = writeln!(out, "          {} by bootstrap, likely and not guaranteed", told(bootstrap));
    }
    for (side, (title, strategy)) in [("row player", solved.row), ("column player", solved.col)].into_iter().enumerate()
    {
        let played: Vec<_> = strategy.iter().enumerate().filter(|(_, weight)| **weight > 0.0).collect();
        let _ = writeln!(out, "\n{title}: {} of {} played", played.len(), strategy.len());
        for (idx, weight) in played {
            let name = table.names.as_ref().map_or_else(|| idx.to_string(), |names| names[side][idx].clone());
            let _ = writeln!(out, "  {name:<12} {weight:.6}");
        }
    }
    out
}
