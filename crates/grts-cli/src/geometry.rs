//! `grts geometry`: the shape of a run's meta-game, from its stored payoffs.
//!
//! It plays nothing and loads no model, so it is done in seconds; Ctrl-C ends it at once.

use crate::args::Geometry;
use crate::{output, signals, table};
use grts::error::Error;
use grts::store::RunDir;
use grts_game::geometry::Settings;

/// Surveys and prints.
pub fn run(arguments: &Geometry) -> Result<(), Error> {
    let run = RunDir::open(&arguments.run)?;
    signals::exit_on_ctrl_c()?;
    let settings = Settings { resamples: arguments.resamples as usize, seed: arguments.seed };
    let survey = grts::geometry::of_run(&run, &settings)?;
    let hint = "send stdout where there is space and ask again";
    output::result(&survey, arguments.json, || table::of_survey(&survey), hint)
}
