//! `grts export`: whole weights with an adapter in them, for programs that know no adapters.
//!
//! The one format so far is asked for by name (`--merged`), so that others can come without changing what this one means.

use crate::args::Export;
use crate::{output, signals, table};
use grts::error::Error;
use grts::export::{self, Exported};
use grts::models;
use std::path::{Path, PathBuf};

/// Finds, merges, writes, and says what was written.
pub fn run(arguments: &Export) -> Result<(), Error> {
    signals::exit_on_ctrl_c()?;
    let (directory, adapter) = source(arguments)?;
    let exported = export::merged(&directory, adapter.as_deref(), &arguments.out)?;
    let hint = format!("the model is in `{}`", arguments.out.display());
    output::result(&exported, arguments.json, || line(&exported), &hint)
}

fn source(arguments: &Export) -> Result<(PathBuf, Option<PathBuf>), Error> {
    match &arguments.policy {
        Some(id) => models::of_policy(Path::new(&arguments.model), id),
        None => Ok((models::find(&arguments.model, &mut output::say)?, arguments.adapter.clone())),
    }
}

fn line(exported: &Exported) -> String {
    let weights = table::grouped(exported.parameters as u64);
    format!("`{}`: {weights} weights; {}\n", exported.out.display(), exported.files.join(", "))
}
