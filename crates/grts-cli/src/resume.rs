//! `grts resume`: goes on with a run; all that follows once a run directory is open, for `solve` too.
//!
//! A new run and a resumed one take the same path from here, because the library treats them alike: what was committed
//! is taken, what is missing is played.

use crate::args::Resume;
use crate::progress::Progress;
use crate::{output, signals, table};
use grts::error::Error;
use grts::models::Device;
use grts::session;
use grts::store::RunDir;

/// Opens a run and plays it to its end.
pub fn run(arguments: &Resume) -> Result<(), Error> {
    to_the_end(RunDir::open(&arguments.run)?, arguments.common.device, arguments.common.json)
}

/// Plays an open run to its end and prints its result.
pub fn to_the_end(run: RunDir, device: Device, json: bool) -> Result<(), Error> {
    let path = run.path().to_owned();
    let interrupt = signals::flag_on_ctrl_c("`grts resume`")?;
    let mut progress = Progress::on_stderr();
    progress.say(&format!("run directory `{}`", path.display()));
    let played = session::run(run, device, &interrupt, &mut progress);
    progress.close();
    let outcome = played?;
    let hint = format!("the result is also in `{}`", path.join("summary.json").display());
    output::result(&outcome.summary, json, || table::of_outcome(&outcome, &path), &hint)
}
