//! `grts geometry`: the shape of a game, from the stored payoffs of a run or from a file.
//!
//! It plays nothing and loads no model, so it is done in seconds; Ctrl-C ends it at once.

use crate::args::Geometry;
use crate::{output, signals, table};
use grts::error::Error;
use grts::exchange;
use grts::store::RunDir;
use grts_game::geometry::{Settings, Survey};
use std::path::Path;

/// Surveys and prints.
pub fn run(arguments: &Geometry) -> Result<(), Error> {
    signals::exit_on_ctrl_c()?;
    let settings = Settings { resamples: arguments.resamples as usize, seed: arguments.seed };
    let survey = match arguments.game.is_file() {
        true => of_file(&arguments.game, &settings)?,
        false => grts::geometry::of_run(&RunDir::open(&arguments.game)?, &settings)?,
    };
    let hint = "send stdout where there is space and ask again";
    output::result(&survey, arguments.json, || table::of_survey(&survey), hint)
}

fn of_file(path: &Path, settings: &Settings) -> Result<Survey, Error> {
    grts::geometry::of_table(&exchange::read(path)?, settings).map_err(|problem| Error::Game {
        path: path.to_owned(),
        problem: problem.to_string(),
        hint: "give each entry a payoff and, where it was sampled, a count of at least 1".to_owned(),
    })
}
