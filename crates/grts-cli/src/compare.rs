//! `grts compare`: one game by several methods, at one budget, asked the same questions.
//!
//! Without a scenario it plays the built-in world with smaller responses than `grts solve`, so that all methods with three
//! seeds end within hours. Ctrl-C keeps what is done, and the same command goes on.

use crate::args::Compare;
use crate::progress::Progress;
use crate::solve::read;
use crate::{output, signals, table};
use grts::comparison::Arm;
use grts::error::Error;
use grts::scenario::Scenario;
use grts::session::{self, CompareSettings};
use std::path::Path;

/// Tokens of a method under `--quick`, at most.
const QUICK_TOKENS: u64 = 300_000;

/// Plays, measures and prints.
pub fn run(arguments: &Compare) -> Result<(), Error> {
    let settings = settings(arguments)?;
    let again = "the same `grts compare`";
    let interrupt = signals::flag_on_ctrl_c(again)?;
    let mut progress = Progress::on_stderr();
    let compared = session::compare(&arguments.dir, &settings, &interrupt, &mut progress);
    progress.close();
    let comparison = compared?;
    let hint = format!("the result is also in `{}`", arguments.dir.join("comparison.json").display());
    output::result(&comparison, arguments.common.json, || table::of_comparison(&comparison, &arguments.dir), &hint)
}

fn settings(arguments: &Compare) -> Result<CompareSettings, Error> {
    let mut scenario = match &arguments.scenario {
        Some(path) => Scenario::parse(&read(path)?, path)?,
        None => Scenario::compared()?,
    };
    if arguments.quick {
        scenario = scenario.quick();
        scenario.budget.tokens = scenario.budget.tokens.map(|tokens| tokens.min(QUICK_TOKENS));
    }
    scenario.budget.tokens = arguments.tokens.or(scenario.budget.tokens);
    scenario.agree(arguments.scenario.as_deref().unwrap_or(Path::new("the built-in scenario")))?;
    let h_min = if arguments.h_min.is_empty() { vec![scenario.game.h_min] } else { arguments.h_min.clone() };
    Ok(CompareSettings {
        methods: Arm::ALL.into_iter().filter(|arm| arguments.methods.iter().any(|name| name == arm.name())).collect(),
        seeds: (0..arguments.seeds).map(|k| scenario.seed + k).collect(),
        h_min,
        exploiters: usize::try_from(arguments.exploiters).unwrap_or(usize::MAX),
        exploiter_budget: arguments.exploiter_budget,
        device: arguments.common.device,
        scenario,
    })
}
