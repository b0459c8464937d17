//! `grts nash`: the solution of any zero-sum matrix game, from a file.
//!
//! The regret that is printed was recomputed from the strategies that are printed. The clock runs during the solution
//! only: reading a file is not what solvers are compared by.

use crate::args::Nash;
use crate::{output, signals};
use grts::error::Error;
use grts::exchange::{self, GameTable};
use grts_game::{Equilibrium, MetaSolver};
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
}

/// Reads, solves, prints.
pub fn run(arguments: &Nash) -> Result<(), Error> {
    signals::exit_on_ctrl_c()?;
    let table = exchange::read(&arguments.file)?;
    // clap has refused every other name.
    let solver = MetaSolver::named(&arguments.solver).unwrap_or(MetaSolver::Nash);
    let begun = Instant::now();
    let answer = solver.solve(&table.payoffs).map_err(|problem| Error::Game {
        path: arguments.file.clone(),
        problem: problem.to_string(),
        hint: "another `--solver` may do; `nash` and `regret_matching_plus` have no settings".to_owned(),
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    let Equilibrium { row, col, value, nash_conv } = &answer;
    let solved = Solved { solver: solver.name(), value: *value, row, col, exploitability: *nash_conv, seconds };
    output::result(&solved, arguments.json, || page(&solved, &table), "send stdout where there is space and ask again")
}

fn page(solved: &Solved<'_>, table: &GameTable) -> String {
    let (m, n) = (table.payoffs.rows(), table.payoffs.cols());
    let mut out = format!("{m} × {n} game, solver `{}`, {:.6} s\n\n", solved.solver, solved.seconds);
    let _ = writeln!(out, "value     {}", solved.value + 0.0);
    let _ = writeln!(out, "NashConv  {:e}", solved.exploitability);
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
