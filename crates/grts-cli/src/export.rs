//! `grts export`: what a run made, as files for other programs.
//!
//! What is written is asked for by name: `--merged` for whole weights with an adapter in them, for programs that know no
//! adapters; `--meta-game` for the payoffs, for programs that know games. A format that holds less than the run knows is
//! no error, so the line that is printed says what the file holds.

use crate::args::Export;
use crate::{output, signals, table};
use grts::error::Error;
use grts::export::{self, Exported, ExportedGame};
use grts::models;
use grts::store::RunDir;
use std::path::{Path, PathBuf};

/// Writes, and says what was written.
pub fn run(arguments: &Export) -> Result<(), Error> {
    signals::exit_on_ctrl_c()?;
    match (&arguments.meta_game, &arguments.out) {
        (Some(file), _) => {
            let exported = export::game(&RunDir::open(Path::new(&arguments.model))?, file)?;
            output::result(&exported, arguments.json, || of_game(&exported), &written(file, "game"))
        }
        (None, Some(out)) => {
            let (directory, adapter) = source(arguments)?;
            let exported = export::merged(&directory, adapter.as_deref(), out)?;
            output::result(&exported, arguments.json, || of_model(&exported), &written(out, "model"))
        }
        // clap has asked for one of them.
        (None, None) => Ok(()),
    }
}

fn written(to: &Path, what: &str) -> String {
    format!("the {what} is in `{}`", to.display())
}

fn source(arguments: &Export) -> Result<(PathBuf, Option<PathBuf>), Error> {
    match &arguments.policy {
        Some(id) => models::of_policy(Path::new(&arguments.model), id),
        None => Ok((models::find(&arguments.model, &mut output::say)?, arguments.adapter.clone())),
    }
}

fn of_model(exported: &Exported) -> String {
    let weights = table::grouped(exported.parameters as u64);
    format!("`{}`: {weights} weights; {}\n", exported.out.display(), exported.files.join(", "))
}

fn of_game(exported: &ExportedGame) -> String {
    let ExportedGame { file, rows, cols, dialogues, holds } = exported;
    let dialogues = table::grouped(*dialogues);
    format!("`{}`: {rows} red × {cols} blue policies, {dialogues} dialogues; {}\n", file.display(), holds.join(", "))
}
